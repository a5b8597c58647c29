"""What findings and an idle day cost the card: bytes per finding over its whole life, bytes of a day of 8 meters.

Findings go through the agent's own keeping, each with its track and the open intervals of 8 points, and are received by
the centre. The idle day is real time of a real agent, because commits are grouped by real seconds: some minutes of it,
multiplied. Its demand periods are 5 minutes, so that intervals close within the time: three times as often as usual.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.bench import PROFILES
from tests.bench.disk import disk
from tests.bench.figures import Figure, Table
from tests.bench.processes import Child, python
from tests.bench.sites import Place, scenario, write_site
from tests.broker import Broker

METERS = 8
POLL_S = 30
SINGLE_BYTES, GROUPED_BYTES, DAY_MB = 14_000, 3_500, 50
DAY_S = 86_400
WARM_UP_S = 75.0  # past the first minutely commit


def report(table: Table, folder: Path, *, quick: bool) -> None:
    _findings(table, folder / "findings", count=200 if quick else 1000)
    _idle(table, folder / "idle", seconds=60.0 if quick else 600.0)


def _findings(table: Table, folder: Path, *, count: int) -> None:
    with disk(folder) as card:
        config = _config(folder)
        state = card.folder / "state"
        site = write_site(folder, [Place(502, 1 + i) for i in range(METERS)], mqtt_port=1883, state=state)
        command = card.under(python("-m", "tests.bench.keeper", site, config))
        with Child("keeper", command, folder, talks=True) as keeper:
            keeper.ask()
            for how, goal in (("single", SINGLE_BYTES), ("grouped", GROUPED_BYTES)):
                keeper.ask(f"{how} {count}")  # the log is still growing: dearer than what follows
                rounds, size = [], 0.0
                for _ in range(3):
                    before = card.written()
                    size = float(keeper.ask(f"{how} {count}"))
                    rounds.append((card.written() - before) / count)
                table.add(Figure(f"written per finding, whole life, {how}", "B", median(rounds), at_most=goal))
            table.note(f"writing: {card.how}; messages of {size:.0f} bytes, 3 x {count} findings after {count}")


def _idle(table: Table, folder: Path, *, seconds: float) -> None:
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
        time.sleep(WARM_UP_S)
        before = card.written()
        time.sleep(seconds)
        written = card.written() - before
        agent.check()
        agent.stop()
    day_mb = written * DAY_S / seconds / 1e6
    table.add(Figure(f"written on an idle day, {METERS} meters, {POLL_S} s polls", "MB", day_mb, at_most=DAY_MB))
    table.note(f"writing: idle day from {seconds:.0f} s of real time, {written / 1024:.0f} KiB, multiplied; {card.how}")


def _config(folder: Path) -> Path:
    """What stands in for /etc/edge-agent."""
    config = folder / "config"
    config.mkdir()
    (config / "profiles").symlink_to(PROFILES)
    return config
