"""Energy over many intervals, with bounds that do not grow with their number.

A register's uncertainty at a boundary between two intervals adds to one of them what it takes from the other: of a
stretch of intervals that adjoin only both ends are uncertain. Sources that are no register err in every interval anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from math import isfinite
from typing import Any

from edge_agent.load.views import Band, Demand, Interval, Source
from edge_agent.model import Ms

HOUR_MS = 3_600_000


@dataclass(slots=True)
class Flow:
    """Wh (varh) since the beginning; `seen_ms` is the time that it is known of."""

    value: float = 0.0
    closed: float = 0.0  # error of stretches that are over
    first: float = 0.0  # error of the running stretch at its beginning, and at its end
    last: float = 0.0
    end_ms: Ms = 0
    seen_ms: Ms = 0

    def add(self, band: Band | None, source: Source, start_ms: Ms, end_ms: Ms) -> None:
        """A mean power over (start, end]; what is not known is time without knowledge."""
        if band is None or not all(map(isfinite, band)) or end_ms <= start_ms:
            return
        hours = (end_ms - start_ms) / HOUR_MS
        error = max(band.high - band.value, 0.0) * hours
        if start_ms == self.end_ms and source is Source.REGISTER:
            self.last = error
        else:
            self.closed += self.first + self.last
            self.first, self.last = error, 0.0
        self.value += band.value * hours
        self.end_ms, self.seen_ms = end_ms, self.seen_ms + end_ms - start_ms

    @property
    def band(self) -> Band:
        error = self.closed + self.first + self.last
        return Band(max(0.0, self.value - error), self.value, self.value + error)

    def plain(self) -> list[Any]:
        return list(astuple(self))

    @classmethod
    def of(cls, plain: Sequence[Any]) -> Flow:
        """Raises TypeError or ValueError on what is none."""
        value, closed, first, last, end_ms, seen_ms = plain
        return cls(float(value), float(closed), float(first), float(last), int(end_ms), int(seen_ms))


def counted(interval: Interval) -> Demand | None:
    """The demand that counts energy: registers, or what was written down; samples alone count none."""
    for demand in interval.demands:
        if demand.source is not Source.POWER and not interval.spans:
            return demand
    return None
