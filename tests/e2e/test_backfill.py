"""The agent is killed over an overload and the meter's own load profile tells of it afterwards, once."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from simulator.central.view import Row
from simulator.clock import Ms, iso, to_ms
from tests.broker import Broker
from tests.e2e.centre import Centre, Witness, agent_chain, centre_chain, recomputed
from tests.e2e.processes import wait_until
from tests.e2e.recorded_day import CONTROL, LEAD_S, RECORDED, STEP_WH, K, RecordedDay, RecordedPlay
from tests.figures import report

HOURS = int(os.environ.get("EDGE_PROVE_BACKFILL_HOURS", "10"))
RATE = float(os.environ.get("EDGE_PROVE_BACKFILL_RATE", "1440"))
QUARTER_MS = 900_000
KILLED_MIN, BACK_MIN = 127, 127 + 6 * 60
OVER_MIN, DOWN_MIN = 4 * 60, 6 * 60 + 30
LEVELS = ((-1e6, 120.0), (OVER_MIN, 240.0), (DOWN_MIN, 120.0))  # 120 kW at 0.85 are 141 kVA, 240 kW are 282 of 250


@pytest.fixture
def day(short_path: Path, mosquitto: Callable[..., Broker]) -> Iterator[RecordedPlay]:
    play = RecordedPlay(RecordedDay(short_path / "s", LEVELS, RATE, mosquitto().port))
    yield play
    play.end()


def rows_of(state: Path, columns: str) -> list[tuple[Any, ...]]:
    """Of all intervals that telemetry.db holds."""
    with closing(sqlite3.connect(f"file:{state / 'telemetry.db'}?mode=ro", uri=True, timeout=10.0)) as db:
        names = [
            n for (n,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'intervals%'")
        ]
        return [row for name in names for row in db.execute(f"SELECT {columns} FROM {name}")]


def blocks(state: Path, point: str) -> list[tuple[Ms, dict[str, Any]]]:
    return [(end, msgspec.json.decode(body)) for of, end, body in rows_of(state, "point, end_ms, body") if of == point]


def unsent(state: Path, upto_ms: Ms) -> int:
    return sum(sent == 0 and end <= upto_ms for end, sent in rows_of(state, "end_ms, sent"))


@pytest.mark.timeout(300)
def test_an_overload_while_the_agent_was_dead_is_found_in_the_meters_own_profile(
    day: RecordedPlay, witness: Callable[[int], Witness]
):
    stage, ears = day.day, witness(day.day.broker_port)
    centre = Centre(day, stage.broker_port).start()
    day.start_meters()
    day.start_agent()
    assert stage.minute < -15, "it took too long to start"
    wait_until(lambda: stage.minute >= KILLED_MIN, stage.real_s(KILLED_MIN) + LEAD_S + 5, "the morning passes")
    day.agent.kill()
    assert centre.steps("cap-over-contract") == []
    wait_until(lambda: stage.minute >= BACK_MIN, stage.real_s(360) + 10, "six hours pass")
    day.start_agent()
    end_min = HOURS * 60
    wait_until(lambda: stage.minute >= end_min + 20, stage.real_s(end_min) + 10, "the day passes")
    said = day.status()
    wait_for_everything(day, centre)

    ends = range(stage.at_ms(15), stage.at_ms(end_min) + 1, QUARTER_MS)
    with centre.look() as view:
        at_centre = {(point, to_ms(datetime.fromisoformat(end))): row for point, end, row in view.demand()}
    off_wh: dict[str, float] = {}
    from_profile = 0
    for point in RECORDED:
        # Every interval once, in the store and at the centre; together they are what the register moved.
        rows = {end: row for end, row in blocks(stage.state, point) if end in ends}
        assert sorted(rows) == list(ends)
        assert {end: at_centre[point, end] for end in ends} == rows
        while_dead = [row["source"] for end, row in rows.items() if KILLED_MIN < minute_of(stage, end) <= BACK_MIN]
        assert set(while_dead) == {"profile"}
        assert len(while_dead) == 24
        from_profile += len(while_dead)
        moved = (stage.shown_wh(point, ends[-1]) - stage.shown_wh(point, stage.at_ms(0))) * K
        off_wh[point] = sum(row["p"][1] for row in rows.values()) / 4 - moved
        assert abs(off_wh[point]) <= STEP_WH * K

        opened, updated, cleared = centre.steps("cap-over-contract", point)
        assert [s.step for s in (opened, updated, cleared)] == ["opened", "updated", "cleared"]
        assert to_ms(datetime.fromisoformat(str(opened.time))) == stage.at_ms(OVER_MIN + 15)
        assert to_ms(datetime.fromisoformat(str(cleared.time))) == stage.at_ms(DOWN_MIN + 45)
        interval = opened.message["data"]["interval"]
        assert (interval["start"], interval["end"]) == (iso(stage.at_ms(OVER_MIN)), iso(stage.at_ms(OVER_MIN + 15)))
        for step in (opened, updated, cleared):
            assert measured(step)["source"] == "profile"
        counts = {c["name"]: c["value"] for c in cleared.message["data"]["counts"]}
        assert counts["intervals"] == counts["longest_run"] == (DOWN_MIN - OVER_MIN) / 15

    # Without the one line in the device's profile: no finding, and it is said of what time nothing is known.
    topics = ("cap-over-contract", "cap-overload-sustained")  # 113 % for two and a half hours
    assert {s.finding for s in centre.steps()} == {f"gw-1.{p}.{t}.2026-03" for p in RECORDED for t in topics}
    missing = [end for end in ends if (CONTROL, end) not in at_centre]
    assert len(missing) >= 22
    (control,) = [p for p in said["points"] if p["id"] == CONTROL]
    (gap,) = [u for u in control["unknown"] if u["reason"] == "gap"]
    assert to_ms(datetime.fromisoformat(gap["from"])) <= stage.at_ms(OVER_MIN)
    assert to_ms(datetime.fromisoformat(gap["to"])) >= stage.at_ms(DOWN_MIN)
    assert gap["said"] == "no readings for longer than a demand period"
    assert not any(p["unknown"] for p in said["points"] if p["id"] in RECORDED)
    versions = {(r["point"], m["end"], json.dumps(r)) for m in ears.said("up/demand") for r in m["points"]}
    replaced = len(versions) - len({v[:2] for v in versions})
    report(
        "killed for 6 h over an overload", points=len(RECORDED), intervals=f"{len(ends)} of {HOURS * 4} each",
        from_profile=from_profile, off_wh=" and ".join(f"{wh:+.0f}" for wh in off_wh.values()), step_wh=STEP_WH * K,
        findings=len(RECORDED) * len(topics), twice=0, telemetry_replaced=replaced, control_unknown=len(missing),
    )  # fmt: skip


def wait_for_everything(day: RecordedPlay, centre: Centre) -> None:
    """The centre has it all, the chain recomputed from its bytes; the agent is stopped then."""
    db = day.day.findings_db
    wait_until(lambda: (c := agent_chain(db)).upto == c.last, 30, "the centre has the chain")
    wait_until(lambda: unsent(day.day.state, day.day.at_ms(HOURS * 60)) == 0, 30, "the centre has the telemetry")
    assert day.agent.stop() == 0
    ours = agent_chain(db)
    theirs = centre_chain(centre.db, ours.epoch)
    assert len(theirs.records) >= len(ours.records) - 2  # what the end itself says may be under way
    assert theirs.records == ours.records[: len(theirs.records)]
    assert recomputed(theirs.records) == theirs.head
    assert recomputed(ours.records) == ours.head
    said = Counter((s.finding, s.step, s.message["id"]) for s in centre.steps())
    assert set(said.values()) == {1}, "a step is there twice"
    centre.no_complaints()


def measured(step: Row) -> dict[str, Any]:
    return {m["name"]: m.get("text", m.get("value")) for m in step.message["data"]["measured"]}


def minute_of(stage: RecordedDay, at_ms: Ms) -> float:
    return (at_ms - stage.day_ms) / 60_000
