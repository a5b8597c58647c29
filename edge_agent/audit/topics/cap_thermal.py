"""变压器热点老化: how hot is the winding of the customer's transformer, and how fast does its paper age?

Computed from the load by the standard's model: nobody measures it. Without a sensor outside the air is taken from a
table by month, and every figure says so. Where the load is not known the bounds spread between standing idle and the
most that is assumed, and only the lower one accuses.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

from edge_agent.audit.load_rate import cannot_say, written_down
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict, grade
from edge_agent.load.answers import CannotSay, Figure
from edge_agent.load.methods.hot_spot import HotSpot, HotSpotTrack, Paper, Transformer, hot_spot, new_day, step
from edge_agent.load.methods.kept import from_plain, to_plain
from edge_agent.load.views import Band, Interval, LoadView
from edge_agent.model import Ms, PointId, Ratings

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
_WIDTH = 5  # numbers of an hour in `_Warm.hours`
COOL, WARM, AGES, HOT = 0.0, 1.0, 2.0, 3.0
"""What the levels of the release stand for: above the rated hot spot, a day's ageing above normal, above the limit."""


@dataclass(slots=True)
class _Warm:
    track: HotSpotTrack
    end_ms: Ms
    hours: array[float] = field(default_factory=lambda: array("d"))
    """The last day, hour by hour: its end so far, how much of it, ageing by the lower, best and upper bound."""


class HotSpots:
    """The temperatures of every point that has a nameplate, carried from block to block."""

    def __init__(self, release: Release) -> None:
        self.changed = False
        self._release = release
        params = release.params
        self._plate = Transformer(**{**params["transformer"], "paper": Paper(params["paper"])})
        self._ambient: Sequence[float] = params["ambient_c"]
        self._warm: dict[PointId, _Warm] = {}

    def feed(self, view: LoadView, site: Site) -> Sequence[Verdict]:
        return [v for i in view.closed if i.count == 1 and (i.block or i.spans == "gap") for v in self._go(i, site)]

    def dump(self) -> Mapping[str, Any]:
        return {
            p: {"track": to_plain(w.track), "end_ms": w.end_ms, "hours": [row.tolist() for row in _rows(w.hours)]}
            for p, w in self._warm.items()
        }

    def restore(self, plain: Mapping[str, Any]) -> None:
        warm: dict[PointId, _Warm] = {}
        for point, kept in plain.items():
            track = from_plain(HotSpotTrack, kept["track"])
            if track is None:
                raise ValueError("no track of this version")
            if any(len(row) != _WIDTH for row in kept["hours"]):
                raise ValueError("no hours of this version")
            warm[point] = _Warm(track, int(kept["end_ms"]), array("d", (x for row in kept["hours"] for x in row)))
        self._warm = warm

    def _go(self, interval: Interval, site: Site) -> Iterator[Verdict]:
        point, ratings = interval.point, site.ratings(interval.point, interval.end_ms)
        rated_va = ratings.transformer_va
        if not rated_va:
            yield cannot_say(interval, "nameplate_unknown")
            return
        known = self._warm.get(point)
        if known is not None and interval.end_ms <= known.end_ms:
            return
        load = _load(interval, rated_va)
        facts, month = site.facts_version(point), site.local_day(point, interval.end_ms).month
        start_ms = interval.start_ms if known is None else max(known.end_ms, interval.end_ms - DAY_MS)
        before = HotSpotTrack() if known is None else new_day(known.track)
        minutes = (interval.end_ms - start_ms) / 60_000
        track = step(
            before, load, float(self._ambient[month - 1]), minutes, self._plate, archive=facts, ambient_assumed=True
        )
        if isinstance(track, CannotSay):
            yield cannot_say(interval, "no_reading")
            return
        known = self._warm[point] = _Warm(track, interval.end_ms, known.hours if known is not None else array("d"))
        _note(known.hours, interval.end_ms, minutes / 60, track.aged_h)
        seen = hot_spot(track)
        if isinstance(seen, HotSpot):
            yield _judge(interval, seen, _day(known.hours), load, ratings, self._release)


def _load(interval: Interval, rated_va: float) -> Band:
    """Share of the nameplate: the widest of what the sources say; not known: anything."""
    bands = [d.apparent for d in interval.demands if d.apparent is not None and not interval.spans]
    if not bands:
        return Band(0.0, nan, nan)
    return Band(min(b.low for b in bands), bands[0].value, max(b.high for b in bands)).over(rated_va)


def _rows(hours: array[float]) -> Iterator[array[float]]:
    return (hours[i : i + _WIDTH] for i in range(0, len(hours), _WIDTH))


def _note(hours: array[float], end_ms: Ms, length_h: float, aged_h: Sequence[float]) -> None:
    """What is older than a day falls out, an hour at a time."""
    while hours and hours[0] <= end_ms - DAY_MS:
        del hours[:_WIDTH]
    row = [length_h, *aged_h]
    if hours and (hours[-_WIDTH] - 1) // HOUR_MS == (end_ms - 1) // HOUR_MS:
        row = [a + b for a, b in zip(hours[1 - _WIDTH :], row, strict=True)]
        del hours[-_WIDTH:]
    hours.extend((float(end_ms), *row))


def _day(hours: array[float]) -> Figure | None:
    """Mean ageing of the last 24 hours; None: they are not over yet."""
    whole = sum(hours[1::_WIDTH])
    return None if whole < 23.0 else Figure(*(sum(hours[i::_WIDTH]) / whole for i in range(2, _WIDTH)))


def _judge(
    interval: Interval, seen: HotSpot, day: Figure | None, load: Band, ratings: Ratings, release: Release
) -> Verdict:
    params = release.params
    low, high = (_grade(getattr(seen.hot_spot_c, b), getattr(day, b, None), params) for b in ("low", "high"))
    if seen.hot_spot_c.high >= params["cool_c"]:
        high = max(high, WARM)  # not cool yet: it holds
    answer = grade(release, low, high)
    reason = "" if answer is not Answer.BETWEEN or load.value == load.value else "no_reading"
    return Verdict(
        interval.point, answer, interval.start_ms, interval.end_ms, low=low, high=high,
        decided_ms=interval.decided_ms, confirmed=written_down(interval), block=interval.block, reason=reason,
        measured=_measured(seen, day, load, ratings, params) if answer is Answer.BREACH else {},
        facts=(*((ratings.plate,) if ratings.plate is not None else ()), *ratings.facts),
    )  # fmt: skip


def _measured(
    seen: HotSpot, day: Figure | None, load: Band, ratings: Ratings, params: Mapping[str, Any]
) -> dict[str, Any]:
    measured: dict[str, Any] = {
        "hot_spot_c": _plain(seen.hot_spot_c),
        "oil_c": _plain(seen.oil_c),
        "ageing": _plain(seen.ageing, 3),
        "rated_va": ratings.transformer_va,
        "ambient": "assumed" if seen.ambient_assumed else "measured",
        "loss_ratio": params["transformer"]["loss_ratio"],
        "loss_ratio_source": params["loss_ratio_source"],
    }
    if day is not None:
        measured["ageing_24h"] = _plain(day, 3)
    if load.value == load.value:
        measured["load"] = _plain(Figure(*load), 4)
    return measured


def _grade(hot_spot_c: float, ageing_24h: float | None, params: Mapping[str, Any]) -> float:
    if hot_spot_c > params["limit_c"]:
        return HOT
    if ageing_24h is not None and ageing_24h > params["ageing"]:
        return AGES
    return WARM if hot_spot_c > params["rated_c"] else COOL


def _plain(figure: Figure, digits: int = 1) -> dict[str, float]:
    return {n: round(getattr(figure, n), digits) for n in ("low", "value", "high")}


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from view.studied


TOPIC = AuditTopic(
    "cap-thermal", examine, needs=("apparent_demand",), blinded_by=("dat-implausible", "met-fly"),
    biased_by=("met-curr-loss", "met-phase-break", "met-volt-loss"), study=HotSpots,
)  # fmt: skip
