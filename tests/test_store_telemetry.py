"""Telemetry: idempotent, newest first, dropped by the day, and never the reason why a finding waits."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.store import BoundaryRow, Shed, Store, StoreError, StoreEvent
from edge_agent.store.shapes import DAY_MS
from tests.letters import NOON_MS, QUARTER_MS, QUICK, Hand, interval, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.close()


def test_intervals_are_idempotent_by_point_and_end_and_leave_newest_first(tmp_path: Path):
    store = open_store(tmp_path)
    rows = [interval(k, point=p) for k in range(1, 60) for p in ("factory", "school")]
    assert store.add_intervals(rows).result(5) == 118
    assert store.add_intervals(rows).result(5) == 0
    newest = store.unsent_intervals(3).result()
    assert newest == [interval(59), interval(59, point="school"), interval(58)]
    store.mark_sent(newest).result(5)
    assert store.unsent_intervals(1).result() == [interval(58, point="school")]
    store.close()
    store = open_store(tmp_path)
    assert len(store.unsent_intervals(1000).result()) == 115
    everything = store.intervals(NOON_MS, NOON_MS + 60 * QUARTER_MS, 1000).result()
    assert everything == sorted(rows, key=lambda r: (r.end_ms, r.point))
    assert store.intervals(NOON_MS + QUARTER_MS, NOON_MS + 2 * QUARTER_MS, 9).result() == rows[2:4]
    store.close()


def test_a_row_that_changed_is_sent_again_even_if_its_old_bytes_are_marked_late(store: Store):
    store.add_intervals([interval(1, b"thin")]).result(5)
    on_the_way = store.unsent_intervals(9).result()
    assert store.add_intervals([interval(1, b"whole")]).result(5) == 1
    store.mark_sent(on_the_way).result(5)
    assert store.unsent_intervals(9).result() == [interval(1, b"whole")]


def test_an_interval_that_ends_at_midnight_belongs_to_the_day_that_ends(store: Store, tmp_path: Path):
    midnight = interval(48)
    store.add_intervals([midnight]).result(5)
    with sqlite3.connect(tmp_path / "telemetry.db") as connection:
        tables = [t for (t,) in connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'intervals%'")]
    connection.close()
    assert tables == ["intervals_20260314", "intervals_20260314_unsent"]


def test_an_interval_without_a_time_fails_alone(store: Store):
    good = store.add_intervals([interval(1)])
    bad = store.add_intervals([interval(2)._replace(end_ms=0)])
    assert good.result(5) == 1
    with pytest.raises(StoreError):
        bad.result(5)


def test_telemetry_is_kept_13_months_registers_7_days(tmp_path: Path):
    clock = Hand()
    store = open_store(tmp_path, now_ms=clock)
    days = [interval(1 + 96 * d) for d in range(4)]
    registers = [BoundaryRow("m1", row.end_ms, b"\x01frame") for row in days]
    store.add_intervals(days, registers).result(5)
    assert store.boundaries("m1", NOON_MS, NOON_MS + 4 * DAY_MS).result() == registers
    assert store.boundaries("m2", NOON_MS, NOON_MS + 4 * DAY_MS).result() == []
    clock.now_ms = NOON_MS + 9 * DAY_MS
    for _ in range(4):
        store.tend().result(5)
    assert store.boundaries("m1", NOON_MS, NOON_MS + 4 * DAY_MS).result() == registers[2:]
    assert len(store.unsent_intervals(9).result()) == 4
    clock.now_ms = NOON_MS + 398 * DAY_MS
    store.tend().result(5)
    assert len(store.unsent_intervals(9).result()) == 3  # a day an hour, whatever the clock says
    store.tend().result(5)
    store.tend().result(5)
    assert store.unsent_intervals(9).result() == [days[3], days[2]]
    store.close()


def test_over_its_quota_telemetry_is_shed_oldest_day_first_and_reported(tmp_path: Path):
    events: list[StoreEvent] = []
    limits = replace(QUICK, telemetry_quota_bytes=300_000)
    store = open_store(tmp_path, limits=limits, report=events.append)
    rows = [interval(1 + 96 * d + k, b"x" * 1000) for d in range(5) for k in range(90)]
    store.add_intervals(rows).result(5)
    sent = store.intervals(NOON_MS, rows[9].end_ms, 99).result()
    store.mark_sent(sent).result(5)
    store.tend().result(5)
    assert store.stats().telemetry_used_bytes <= 300_000
    left = store.intervals(0, NOON_MS + 9 * DAY_MS, 1000).result()
    shed = [e for e in events if isinstance(e, Shed)]
    assert sum(e.intervals for e in shed) == len(rows) - len(left)
    assert sum(e.unsent for e in shed) == len(rows) - len(left) - len(sent)
    assert shed[0].first_ms == rows[0].end_ms
    assert shed[-1].last_ms < left[0].end_ms
    assert left[-1] == rows[-1]
    store.close()
