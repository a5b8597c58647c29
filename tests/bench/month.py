"""The agent's memory with 64 points, TLS and a month behind it, beside the same agent that begins today.

What topics have learnt, the open findings, the days so far and the pages of two databases that are no longer empty: an
agent takes them up when it starts, and the memory of that moment counts too, for the process keeps most of it. Living
the days takes minutes in which nobody read the meters: the intervals of that gap all close with the first reading.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench import ROOT
from tests.bench.figures import Figure, Table
from tests.bench.memory import GOAL_MIB, POINTS, PROFILE, agent_with_tls, held
from tests.bench.processes import python
from tests.bench.sites import Place, write_site

DAYS = 31
WARM_UP_S = 15.0
QUARTER_S = 900.0


class Left(NamedTuple):
    """What an agent has left behind. `grew_mib`: the memory of the process that lived it, from the third day on."""

    state: Path
    days: int
    findings: int
    grew_mib: float


def left_behind(folder: Path, days: int = DAYS) -> Left:
    """Days up to now, lived in minutes. Raises CalledProcessError."""
    folder.mkdir(parents=True)
    places = [Place(1502, 1 + i) for i in range(POINTS)]
    site = write_site(folder, places, mqtt_port=1883, profile=PROFILE, every_s=QUARTER_S)
    command = python("-m", "tests.bench.history", site, str(round(time.time() * 1000)), str(days))
    said = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return Left(folder / "state", days, int(said[0]), float(said[2]) - float(said[1]))


def rss_mib(folder: Path, left: Left | None, seconds: float) -> float:
    """Raises RuntimeError where the agent did not take up what was left."""
    folder.mkdir(parents=True)
    with agent_with_tls(folder, state=None if left is None else left.state) as agent:
        found = held(agent, seconds).rss_mib
        log = agent.log.read_text("utf-8")
    if "dropped" in log or "anew" in log:
        raise RuntimeError(f"the agent did not take up its state:\n{log[:2000]}")
    return found


def report(table: Table, folder: Path, *, quick: bool) -> None:
    left = left_behind(folder / "left", 3 if quick else DAYS)
    without: list[float] = []
    behind: list[float] = []
    for run in range(1 if quick else 3):
        without.append(rss_mib(folder / f"{run}-new", None, WARM_UP_S))
        behind.append(rss_mib(folder / f"{run}-old", left, WARM_UP_S))
    what = f"RSS with {POINTS} points, TLS and {left.days} days of history"
    table.add(Figure(what, "MiB", median(behind), at_most=GOAL_MIB))
    table.note(
        f"month: after {WARM_UP_S:.0f} s, medians of {len(behind)} run(s): {median(behind):.1f} MiB with {left.days} "
        f"days and {left.findings} findings behind it, {median(without):.1f} MiB without; the core, keeping and "
        f"store that lived these days grew by {left.grew_mib:.1f} MiB after the second"
    )
