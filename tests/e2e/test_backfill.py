"""The agent is killed over an overload and the meter's own load profile tells of it afterwards, once."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from simulator.clock import Ms
from tests.broker import Broker
from tests.e2e.centre import Centre
from tests.e2e.processes import wait_until
from tests.e2e.recorded_day import POINTS, RecordedDay, RecordedPlay

HOURS = int(os.environ.get("EDGE_PROVE_BACKFILL_HOURS", "12"))
RATE = float(os.environ.get("EDGE_PROVE_BACKFILL_RATE", "1440"))
QUARTER_MS = 900_000
KILLED_MIN, BACK_MIN = 127, 127 + 6 * 60
OVER_MIN, DOWN_MIN = 4 * 60, 6 * 60 + 30
LEVELS = ((-60.0, 120.0), (OVER_MIN, 240.0), (DOWN_MIN, 120.0))  # 120 kW at 0.85 are 141 kVA, 240 kW are 282 of 250


@pytest.fixture
def day(short_path: Path, mosquitto: Callable[..., Broker]) -> Iterator[RecordedPlay]:
    play = RecordedPlay(RecordedDay(short_path / "s", LEVELS, RATE, mosquitto().port))
    yield play
    play.end()


def blocks(state: Path, point: str) -> list[tuple[Ms, dict[str, Any]]]:
    """What telemetry.db holds of a point: end and row, in order."""
    found: list[tuple[Ms, dict[str, Any]]] = []
    with closing(sqlite3.connect(f"file:{state / 'telemetry.db'}?mode=ro", uri=True)) as db:
        names = [n for (n,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        for name in names:
            columns = {row[1] for row in db.execute(f"PRAGMA table_info({name})")}
            if {"point", "end_ms", "body"} <= columns:
                rows = db.execute(f"SELECT end_ms, body FROM {name} WHERE point = ?", (point,))
                found += [(end, msgspec.json.decode(body)) for end, body in rows]
    return sorted(found, key=lambda row: row[0])


@pytest.mark.timeout(240)
def test_an_overload_while_the_agent_was_dead_is_found_in_the_meters_own_profile(day: RecordedPlay):
    stage = day.day
    centre = Centre(day, stage.broker_port).start()
    day.start_meters()
    day.start_agent()
    wait_until(lambda: stage.minute >= KILLED_MIN, 60, "the morning passes")
    day.agent.kill()
    assert centre.steps("cap-over-contract") == []
    wait_until(lambda: stage.minute >= BACK_MIN, 60, "six hours pass")
    day.start_agent()
    end_min = HOURS * 60
    wait_until(lambda: stage.minute >= end_min + 20, 120, "the day passes")
    assert day.agent.stop() == 0
    print(day.agent.log)
    for point in POINTS:
        rows = blocks(stage.state, point)
        print(point, len(rows), [((e - stage.day_ms) // 60000, r.get("source"), r.get("p")) for e, r in rows])
    for s in centre.steps():
        print(s)
    assert 0
