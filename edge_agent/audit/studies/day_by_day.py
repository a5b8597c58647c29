"""A study that goes through the blocks of each point in order and says something when a local day is over.

What is kept of a point is its keeper's own; it outlives restarts, and a block that comes twice is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

from edge_agent.audit.topic import Release, Site, Verdict
from edge_agent.load.views import Interval, LoadView
from edge_agent.model import DaySpan, Ms, PointId


class Keeper(Protocol):
    """What one topic keeps of one point."""

    def take(self, interval: Interval, span: DaySpan, site: Site) -> None: ...
    def over(self, point: PointId, span: DaySpan, site: Site, release: Release) -> Iterator[Verdict]: ...
    def plain(self) -> Any: ...


@dataclass(slots=True)
class _Point:
    keeper: Keeper
    facts: str
    end_ms: Ms = 0
    span: DaySpan | None = None


class DayByDay:
    """`fresh`: a new keeper, or with plain values the one that was kept. `baseline`: other facts begin anew."""

    def __init__(self, release: Release, fresh: Callable[[Any], Keeper], *, baseline: bool = False) -> None:
        self.changed = False
        self._release = release
        self._fresh = fresh
        self._baseline = baseline
        self._points: dict[PointId, _Point] = {}

    def feed(self, view: LoadView, site: Site) -> Sequence[Verdict]:
        out: list[Verdict] = []
        for interval in view.closed:
            if interval.block and interval.count == 1:
                out += self._take(interval, site)
        for day in view.days:
            known = self._points.get(day.point)
            if known is not None and known.span is not None and known.span.day == day.day:
                out += self._over(day.point, known, site)
        return out

    def dump(self) -> Mapping[str, Any]:
        return {
            point: {
                "facts": p.facts,
                "end_ms": p.end_ms,
                "span": None if p.span is None else [p.span.day.isoformat(), p.span.start_ms, p.span.end_ms],
                "kept": p.keeper.plain(),
            }
            for point, p in self._points.items()
        }

    def restore(self, plain: Mapping[str, Any]) -> None:
        points: dict[PointId, _Point] = {}
        for point, kept in plain.items():
            span = kept["span"]
            points[point] = _Point(
                self._fresh(kept["kept"]), str(kept["facts"]), int(kept["end_ms"]),
                None if span is None else DaySpan(date.fromisoformat(span[0]), int(span[1]), int(span[2])),
            )  # fmt: skip
        self._points = points

    def _take(self, interval: Interval, site: Site) -> Iterator[Verdict]:
        point, facts = interval.point, site.facts_version(interval.point)
        known = self._points.get(point)
        if known is None or (self._baseline and known.facts != facts):
            known = self._points[point] = _Point(self._fresh(None), facts, known.end_ms if known else 0)
        if interval.end_ms <= known.end_ms:
            return
        span = site.day_span(point, interval.end_ms)
        if known.span is not None and known.span.day != span.day:
            yield from self._over(point, known, site)
        known.span, known.end_ms = span, interval.end_ms
        known.keeper.take(interval, span, site)

    def _over(self, point: PointId, known: _Point, site: Site) -> Iterator[Verdict]:
        span, known.span = known.span, None
        if span is not None:
            self.changed = True
            yield from known.keeper.over(point, span, site, self._release)
