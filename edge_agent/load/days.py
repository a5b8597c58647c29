"""Local days of closed blocks: what daily peaks, completeness and shapes are taken from.

A day's blocks are kept as plain numbers until an interval of a later day has closed, or the day has been over for so
long that nothing more will come. After a restart the day so far comes back from the telemetry store.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from typing import overload

from edge_agent.load.views import Band, Day, DayBlock, Interval
from edge_agent.model import DaySpan, Ms, PointId

LATE_MS = 3_600_000
"""By then the last blocks of a day are in, where there are any; a gap that a load profile may fill waits no longer."""

_WIDTH = 11  # end_ms, coverage, then active, reactive, apparent as low, value, high


@dataclass(slots=True)
class _Running:
    span: DaySpan
    rows: array[float] = field(default_factory=lambda: array("d"))
    last_ms: Ms = 0  # the latest end

    def knows(self, end_ms: Ms) -> bool:
        """Whether the block that ends then has been taken; they come in order but for a few."""
        return end_ms <= self.last_ms and float(end_ms) in self.rows[::_WIDTH]


class Days:
    """Closed intervals in, whole local days out. `span` says to which day of a point an interval's end belongs."""

    def __init__(self, periods: Iterable[tuple[PointId, Ms]], span: Callable[[PointId, Ms], DaySpan]) -> None:
        self._period_ms = dict(periods)
        self._span = span
        self._running: dict[PointId, _Running] = {}
        self._out: list[Day] = []

    def feed(self, closed: Iterable[Interval]) -> None:
        """Blocks of the demand period; windows that slide and means over several are another's business."""
        for interval in closed:
            if interval.block and interval.count == 1 and interval.point in self._period_ms:
                self._take(interval)

    def restore(self, intervals: Iterable[Interval]) -> None:
        """Days so far, as they were stored; what has been taken already stays as it is."""
        self.feed(intervals)

    def settle(self, now_ms: Ms) -> Sequence[Day]:
        """Days that are over, each once."""
        for point in [p for p, r in self._running.items() if now_ms >= r.span.end_ms + LATE_MS]:
            self._close(point)
        out, self._out = self._out, []
        return out

    def vouched(self, point: PointId) -> tuple[float, int] | None:
        """Of the day so far: how many blocks readings vouch for, and how many there should be; None: none yet."""
        running = self._running.get(point)
        if running is None or not running.rows:
            return None
        expected = (running.last_ms - running.span.start_ms) // self._period_ms[point]
        return sum(running.rows[1::_WIDTH]), expected

    def _take(self, interval: Interval) -> None:
        point = interval.point
        running = self._running.get(point)
        if running is not None and interval.end_ms > running.span.end_ms:
            self._close(point)
            running = None
        if running is None:
            running = self._running[point] = _Running(self._span(point, interval.end_ms))
        if interval.end_ms <= running.span.start_ms or running.knows(interval.end_ms):
            return  # of a day that was told already, or told twice
        running.last_ms = max(running.last_ms, interval.end_ms)
        demand = next((d for d in interval.demands if d.apparent is not None), None)
        demand = None if interval.spans else demand or next(iter(interval.demands), None)
        running.rows.append(float(interval.end_ms))
        running.rows.append(0.0 if demand is None else interval.coverage)
        bands = (None, None, None) if demand is None else (demand.active, demand.reactive, demand.apparent)
        for band in bands:
            running.rows.extend((nan, nan, nan) if band is None else band)

    def _close(self, point: PointId) -> None:
        running = self._running.pop(point)
        span = running.span
        expected = (span.end_ms - span.start_ms) // self._period_ms[point]
        self._out.append(Day(point, span.day, span.start_ms, span.end_ms, expected, _Blocks(running.rows)))


class _Blocks(Sequence[DayBlock]):
    """A day's blocks in order, made when they are looked at: the days of all points end together."""

    def __init__(self, rows: array[float]) -> None:
        self._rows = rows
        ends = rows[::_WIDTH]
        self._order = array("H", sorted(range(len(ends)), key=ends.__getitem__))

    def __len__(self) -> int:
        return len(self._order)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Blocks) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    @overload
    def __getitem__(self, at: int) -> DayBlock: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[DayBlock]: ...
    def __getitem__(self, at: int | slice) -> DayBlock | Sequence[DayBlock]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        first = self._order[at] * _WIDTH
        row = self._rows[first : first + _WIDTH]
        return DayBlock(int(row[0]), row[1], _band(row, 2), _band(row, 5), _band(row, 8))


def _band(row: array[float], at: int) -> Band | None:
    return None if isnan(row[at]) else Band(row[at], row[at + 1], row[at + 2])
