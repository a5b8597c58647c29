"""After a restart: the days so far, from the telemetry store. A day is judged whole, whoever restarted in between."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from edge_agent.archive import Archive
from edge_agent.contract.messages import DemandRow
from edge_agent.core import Core
from edge_agent.evidence.recent import BOUNDARIES
from edge_agent.load.views import Band, Demand, Interval, Source
from edge_agent.model import Ms
from edge_agent.store import BoundaryRow, IntervalRow, Store, StoreError

log = structlog.get_logger()

MOST = 50_000
"""Intervals that are taken back: two days of 64 points in blocks of five minutes are 36,864."""

PART_MS = 10_800_000
"""So much at a time: all of it at once would be memory that the agent never gives back."""
_DAY_MS = 86_400_000


def recall(
    core: Core,
    store: Store,
    archive: Archive,
    now_ms: Ms,
    taken: Callable[[list[Interval], list[BoundaryRow]], None] = lambda intervals, boundaries: None,
) -> int:
    """Yesterday and today as they were stored, into the core's days; how many intervals that were.

    Yesterday may be told a second time: whoever learns from days passes over those that he has seen.
    """
    spans = [archive.day_span(p, now_ms) for p in archive.points]
    if not spans:
        return 0
    since_ms = min(s.start_ms for s in spans) - _DAY_MS
    count = 0
    try:
        for from_ms in range(since_ms, now_ms, PART_MS):
            rows = store.intervals(from_ms, min(from_ms + PART_MS, now_ms), MOST - count).result()
            intervals = [i for row in rows if row.point in archive.points and (i := interval_from(row)) is not None]
            core.days.restore(intervals)
            taken(intervals, [])
            count += len(intervals)
    except StoreError as error:
        log.warning("the day so far is not known: it counts from now on", cause=error.code)
        return count
    taken([], _boundaries(core, store, now_ms))
    return count


def _boundaries(core: Core, store: Store, now_ms: Ms) -> list[BoundaryRow]:
    """The registers at the latest blocks' ends, with their frames."""
    rows: list[BoundaryRow] = []
    try:
        for point in core.ledger.points:
            rows += store.boundaries(point.device, now_ms - BOUNDARIES * point.period_ms, now_ms).result()
    except StoreError as error:
        log.warning("the latest registers are not known: evidence has those to come", cause=error.code)
    return rows


def interval_from(row: IntervalRow) -> Interval | None:
    """A closed block as it was sent; None for bytes that are no such row."""
    try:
        said = msgspec.json.decode(row.body, type=DemandRow)
    except msgspec.DecodeError:
        return None
    bands = [None if isinstance(b, msgspec.UnsetType) else Band(*b) for b in (said.p, said.s)]
    demand = None
    if not isinstance(said.source, msgspec.UnsetType) and any(bands):
        demand = Demand(Source(said.source), bands[0], None, bands[1], said.coverage, 0.0)
    return Interval(row.point, row.start_ms, row.end_ms, True, demand, None, row.end_ms)
