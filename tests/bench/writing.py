"""What findings and an idle day cost the card: bytes per finding over its whole life, bytes of a day of 8 meters.

Findings go through the agent's own keeping, each with its track and the open intervals of 8 points, and are received by
the centre. The idle day is real time of a real agent, because commits are grouped by real seconds: some minutes of it,
multiplied. Its demand periods are 5 minutes, so that intervals close within the time: three times as often as usual.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench import PROFILES
from tests.bench.disk import Disk, disk
from tests.bench.figures import Figure, Table
from tests.bench.processes import Child, python
from tests.bench.sites import Place, scenario, write_site
from tests.broker import Broker

METERS = 8
POLL_S = 30
DAY_MB = 50
FINDINGS = (
    ("single", 14_000, "alone in its commit with its state"),
    ("grouped", 3_500, "20 in a commit with their state"),
    ("single-alone", 14_000, "alone in its commit, message only"),
    ("grouped-alone", 3_500, "20 in a commit, messages only"),
)
"""How the keeper keeps them, and the goal in bytes: it was set with messages of 339 bytes and nothing beside them."""

DAY_S = 86_400
WARM_UP_S = 1200.0
"""Until the database's log has reached its size and old state is dropped as new comes: the state of every later day."""


def report(table: Table, folder: Path, *, quick: bool, idle: Idle | None = None) -> None:
    """`idle`: a gateway that was started early, so that its warm-up went by while other things were measured."""
    with ExitStack() as stage:
        idle = idle or stage.enter_context(idle_gateway(folder / "idle", quick=quick))
        _findings(table, folder / "findings", count=200 if quick else 1000)
        _idle_day(table, idle, seconds=60.0 if quick else 600.0, quick=quick)


def _findings(table: Table, folder: Path, *, count: int) -> None:
    with disk(folder) as card:
        config = _config(folder)
        state = card.folder / "state"
        site = write_site(folder, [Place(502, 1 + i) for i in range(METERS)], mqtt_port=1883, state=state)
        command = card.under(python("-m", "tests.bench.keeper", site, config))
        with Child("keeper", command, folder, talks=True) as keeper:
            keeper.ask()
            for how, goal, words in FINDINGS:
                keeper.ask(f"{how} {count}")  # the log is still growing: dearer than what follows
                rounds, size = [], 0.0
                for _ in range(3):
                    before = card.written()
                    size = float(keeper.ask(f"{how} {count}"))
                    rounds.append((card.written() - before) / count)
                what = f"written per finding, {words}, {size:.0f} B"
                table.add(Figure(what, "B", median(rounds), at_most=goal))
            table.note(f"writing: per finding: {card.how}; whole life, median of 3 x {count} after {count}")


@dataclass(frozen=True, slots=True)
class Idle:
    """A gateway with 8 meters and nothing to say."""

    card: Disk
    agent: Child
    warm_s: float  # on the steady clock: from here on the log is written in place


@contextmanager
def idle_gateway(folder: Path, *, quick: bool) -> Iterator[Idle]:
    with ExitStack() as stage:
        card = stage.enter_context(disk(folder))
        broker = stage.enter_context(Broker(folder / "broker"))
        plan = scenario(folder, METERS)
        meters = stage.enter_context(
            Child("meters", python("-m", "tests.bench.meters", plan, "1", "0"), folder, talks=True)
        )
        port = json.loads(meters.ask())[0][0]
        centre = ("-m", "simulator.cli", "central", "--port", str(broker.port), "--db", folder / "centre.db")
        stage.enter_context(Child("centre", python(*centre), folder))
        site = write_site(
            folder, [Place(port, 1 + i) for i in range(METERS)], mqtt_port=broker.port, every_s=POLL_S, period_min=5,
            state=card.folder / "state",
        )  # fmt: skip
        command = card.under(python("-m", "tests.bench.launch", _config(folder), "run", "--site", site))
        agent = stage.enter_context(Child("agent", command, folder))
        yield Idle(card, agent, time.monotonic() + (75.0 if quick else WARM_UP_S))


def _idle_day(table: Table, idle: Idle, *, seconds: float, quick: bool) -> None:
    time.sleep(max(0.0, idle.warm_s - time.monotonic()))
    idle.agent.check()
    before = idle.card.written()
    time.sleep(seconds)
    written = idle.card.written() - before
    idle.agent.check()
    day_mb = written * DAY_S / seconds / 1e6
    table.add(Figure(f"written on an idle day, {METERS} meters, {POLL_S} s polls", "MB", day_mb, at_most=DAY_MB))
    growing = "; the log is still growing, which costs more than a day does" if quick else ""
    how = f"{written / 1024:.0f} KiB in {seconds:.0f} s of real time, multiplied{growing}"
    table.note(f"writing: idle day: {how}; {idle.card.how}")


def _config(folder: Path) -> Path:
    """What stands in for /etc/edge-agent."""
    config = folder / "config"
    config.mkdir()
    (config / "profiles").symlink_to(PROFILES)
    return config
