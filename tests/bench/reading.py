"""Modbus TCP on one core: questions of 60 registers with decoding, beside a bare asyncio protocol, in one run.

The meters are a process of their own that answers at once (on another core where there is one); the reader has one core
for itself. 1, 10, 100 and 1,000 devices with a connection each, and units behind one connection, as gateways have them.
Agent and peer take turns; each figure is the median of its runs.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench import REGISTERS, ROOT, VALUES
from tests.bench.figures import Figure, Table
from tests.bench.processes import SPARE_FILES, Child, files_allowed, python

AGENT, BARE = "agent", "bare"
DEVICES = (1, 10, 100, 1000)
BEHIND_ONE = (10, 100)
LINEAR = 1.25
"""So much more than with ten devices may a question cost with a thousand."""


class Cost(NamedTuple):
    """Of one question: CPU time, and how many were answered in a second of wall time."""

    cpu_us: float
    per_s: float


class Case(NamedTuple):
    devices: int
    connections: int

    def __str__(self) -> str:
        many = f"{self.devices:,} device" + ("s" if self.devices > 1 else "")
        return many if self.connections == self.devices else f"{many} behind one port"


def measure(folder: Path, *, runs: int, reads: int) -> dict[Case, tuple[Cost, Cost]]:
    """What a question costs the agent, and what it costs the peer. RuntimeError where one did not read everything."""
    cases = [Case(n, n) for n in DEVICES if n + SPARE_FILES <= files_allowed()] + [Case(n, 1) for n in BEHIND_ONE]
    found: dict[Case, tuple[list[Cost], list[Cost]]] = {case: ([], []) for case in cases}
    with meters(folder, max(case.connections for case in cases)) as port:
        for _ in range(runs):
            for case in cases:
                for way, costs in zip((AGENT, BARE), found[case], strict=True):
                    costs.append(_run(way, port, case, reads))
    return {case: (_median(ours), _median(peers)) for case, (ours, peers) in found.items()}


def report(table: Table, folder: Path, *, quick: bool) -> None:
    runs, reads = (3, 2_000) if quick else (5, 20_000)
    found = measure(folder, runs=runs, reads=reads)
    table.note(
        f"reading: questions of {REGISTERS} registers, {VALUES} values decoded and checked, Modbus TCP, one core; "
        f"{reads:,} questions a run, medians of {runs} runs in turn with the peer, which unpacks and checks nothing"
    )
    for case, (ours, peer) in found.items():
        table.add(Figure(f"Modbus TCP, {case}: questions a second, beside bare asyncio", "/s", ours.per_s, peer.per_s))
    for case, (ours, peer) in found.items():
        table.add(Figure(f"Modbus TCP, {case}: CPU of a question, beside bare asyncio", "us", ours.cpu_us, peer.cpu_us))
    few, many = Case(DEVICES[1], DEVICES[1]), Case(DEVICES[-1], DEVICES[-1])
    if many in found:
        table.add(
            Figure(
                f"Modbus TCP, CPU of a question with {many}, beside with {few}", "us",
                found[many][0].cpu_us, found[few][0].cpu_us, at_most=LINEAR,
            )
        )  # fmt: skip
    else:
        table.note(f"reading: only {files_allowed()} open files are allowed here, so {many} were not measured")


@contextmanager
def meters(folder: Path, connections: int) -> Iterator[int]:
    """The port of meters that answer at once."""
    with ExitStack() as stage:
        child = stage.enter_context(
            Child("answers", python("-m", "tests.bench.answers", str(connections)), folder, talks=True)
        )
        port = int(child.ask())
        os.sched_setaffinity(child.pid, _cores()[1:] or _cores())
        yield port
        child.check()


def _run(way: str, port: int, case: Case, reads: int) -> Cost:
    words = [str(word) for word in (way, port, case.devices, case.connections, reads)]
    command = [str(word) for word in python("-m", "tests.bench.reader", *words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{way} did not read {case}: {done.stderr[-2000:]}")
    said = json.loads(done.stdout)
    return Cost(1e6 * said["cpu_s"] / said["reads"], said["reads"] / said["took_s"])


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _median(costs: list[Cost]) -> Cost:
    return Cost(median(c.cpu_us for c in costs), median(c.per_s for c in costs))
