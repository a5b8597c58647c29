"""DLMS/COSEM on one core: a GET, and a with-list of twelve, in the clear and ciphered, beside Gurux's library.

The meters are those of the simulator, in a process of their own (on another core where there is one): what is asked a
second has their time in it, CPU has not. Questions are asked one after the other in one association. The peer is run as
a program, twice with more and with fewer questions, and judged by the difference: its start and its association are not
counted, as ours are not. `pydlms-client`'s command reads one attribute and ends, so that its figure is that of a whole
process, beside a whole process of ours. A peer that is not installed says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.bench import ROOT
from tests.bench.dlms_meters import AK, EK, port_of, served
from tests.bench.dlms_reader import METERS, PROFILE
from tests.bench.figures import Figure, Table
from tests.bench.processes import python

PEERS = ROOT / ".venv-peers/bin"
GURUX = ROOT / "tests/peers/gurux_client.py"
GURUX_TITLE, PYDLMS_TITLE = "4755520000000001", "5059440000000001"
LIST = len(PROFILE.registers)
NAMES = ["1.0." + r.address.partition(":")[2].replace("*", ".").partition("/")[0] for r in PROFILE.registers]
SINGLE = 2 * LIST + 2
"""GETs of the peer's step "single": value and scaler of each register, clock, and one more."""


class Cost(NamedTuple):
    """CPU time of a question, µs, and how many were answered in a second; medians of the runs."""

    cpu_us: float
    per_s: float


class Spent(NamedTuple):
    """By a whole process."""

    cpu_s: float
    took_s: float
    said: str


PICKS: dict[str, Callable[[Spent], float]] = {"CPU": lambda one: one.cpu_s, "wall time": lambda one: one.took_s}


def spent(command: Sequence[str | Path]) -> Spent:
    """Run it to its end on the first core. RuntimeError where it fails."""
    began_s = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, _cores()[:1]),  # noqa: PLW1509
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    said = process.stdout.read()
    words = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took_s = time.perf_counter() - began_s
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {words[-1500:] or said[-1500:]}")
    return Spent(used.ru_utime + used.ru_stime, took_s, said)


def ours(port: int, meter: str, attributes: int, reads: int, folder: Path) -> Cost:
    words = [str(word) for word in (port, meter, attributes, reads, folder)]
    said = json.loads(
        spent(python("-m", "tests.bench.dlms_reader", *words)).said.splitlines()[-1]
    )  # behind what is logged
    return Cost(1e6 * said["cpu_s"] / said["reads"], said["reads"] / said["took_s"])


class Gurux:
    """Gurux's library, by the script of tests/peers. Its counters go up from run to run."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._counter = 1

    def cost(self, meter: str, attributes: int, reads: int) -> Cost:
        step, questions = ("listed", 1) if attributes > 1 else ("single", SINGLE)
        few, many = max(1, reads // (10 * questions)), max(2, reads // questions)
        less, more = self._run(meter, step, few), self._run(meter, step, many)
        asked = (many - few) * questions
        return Cost(1e6 * (more.cpu_s - less.cpu_s) / asked, asked / max(more.took_s - less.took_s, 1e-9))

    def _run(self, meter: str, step: str, times: int) -> Spent:
        work: dict[str, Any] = {
            "hdlc": False, "client": 1, "server": METERS[meter], "auth": "none" if meter == "plain" else "gmac",
            "password": "", "general": False, "title": GURUX_TITLE, "encryption_key": EK, "authentication_key": AK,
            "counter": self._counter, "most_pdu": 1200, "registers": NAMES, "clock": "0.0.1.0.0.255",
            "data": "0.0.96.1.0.255", "profile": "1.0.99.1.0.255", "range": [], "entries": [],
            "steps": ["associate", *[step] * times, "release"],
        }  # fmt: skip
        self._counter += 1_000_000
        done = spent([PEERS / "python", "-I", GURUX, f"127.0.0.1:{self._port}", json.dumps(work)])
        said = [json.loads(line) for line in done.said.splitlines()]
        if wrong := [one for one in said if "error" in one and one["step"] != "release"]:
            raise RuntimeError(f"gurux-dlms did not read: {wrong[0]}")
        if (came := sum(one["step"] == step for one in said)) != times:
            raise RuntimeError(f"gurux-dlms stopped after {came} of {times} steps")
        return done


def pydlms(port: int, meter: str, counter: int) -> Spent:
    command: list[str | Path] = [
        PEERS / "pydlms", "read", f"tcp://127.0.0.1:{port}", "--client", "1", "--server", str(METERS[meter]),
        "--obis", NAMES[0], "--class", "3", "--attr", "2",
    ]  # fmt: skip
    if meter == "ciphered":
        command += ["--auth", "gmac", "--key", EK, "--auth-key", AK, "--system-title", PYDLMS_TITLE]
        command += ["--invocation-counter", str(counter)]
    return spent(command)


def installed(package: str) -> str:
    """The version of a peer's package, or "" where it is not there."""
    if not (PEERS / "python").exists():
        return ""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([PEERS / "python", "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def report(table: Table, folder: Path, *, quick: bool) -> None:
    runs, reads = (3, 500) if quick else (5, 5_000)
    versions = {name: installed(name) for name in ("gurux-dlms", "pydlms-client")}
    with_gurux = bool(versions["gurux-dlms"]) and GURUX.exists()
    cases = [(meter, attributes) for attributes in (1, LIST) for meter in METERS]
    found: dict[tuple[str, int], tuple[list[Cost], list[Cost]]] = {case: ([], []) for case in cases}
    whole: dict[str, tuple[list[Spent], list[Spent]]] = {meter: ([], []) for meter in METERS}
    with served(folder, METERS) as child:
        port = port_of(child)
        os.sched_setaffinity(child.pid, _cores()[1:] or _cores())
        gurux = Gurux(port)
        for run in range(runs):
            for case in cases:
                found[case][0].append(ours(port, *case, reads, folder / "counters"))
                if with_gurux:
                    found[case][1].append(gurux.cost(*case, reads))
            for meter in METERS:
                words = [str(word) for word in (port, meter, 1, 0, folder / "counters")]
                whole[meter][0].append(spent(python("-m", "tests.bench.dlms_reader", *words)))
                if versions["pydlms-client"]:
                    whole[meter][1].append(pydlms(port, meter, 1 + 100 * run))
    table.note(
        f"dlms: TCP wrapper, one core, one question at a time, simulated meters; {reads:,} questions a run, medians of "
        f"{runs} runs in turn with the peers: "
        + ", ".join(f"{name} {version or 'not installed'}" for name, version in versions.items())
    )
    if not with_gurux:
        table.note("dlms: gurux-dlms or its script in tests/peers is not here: nothing to compare a question with")
    for case in cases:
        mine, peer = (_median(costs) if costs else None for costs in found[case])
        assert mine is not None
        name = _named(*case)
        table.add(Figure(f"{name}: questions a second", "/s", mine.per_s, None if peer is None else peer.per_s))
        each = 1 / case[1]
        theirs = None if peer is None else peer.cpu_us * each
        table.add(Figure(f"{name}: CPU of an attribute", "us", mine.cpu_us * each, theirs))
    for meter, (us, them) in whole.items():
        name = f"DLMS {meter}, three readings by a new process, beside one by pydlms-client"
        for what, pick in PICKS.items():
            theirs = 1e3 * median(map(pick, them)) if them else None
            table.add(Figure(f"{name}: {what}", "ms", 1e3 * median(map(pick, us)), theirs))


def _named(meter: str, attributes: int) -> str:
    return f"DLMS {meter}, " + ("GET" if attributes == 1 else f"with-list of {attributes}")


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _median(costs: list[Cost]) -> Cost:
    return Cost(median(c.cpu_us for c in costs), median(c.per_s for c in costs))
