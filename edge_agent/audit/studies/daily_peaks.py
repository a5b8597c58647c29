"""Daily peaks of every point against its own baseline: which days belong to a step, since when, and how high.

A day counts when enough of its blocks are known. What it is judged by is learnt from the days before, apart for working
days, weekends and holidays, and never while something is suspected; other facts in the archive begin anew. Beside the
peaks the mean day before and since is kept, and how far the current transformers were loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from math import ceil, floor
from typing import Any

from edge_agent.audit.topic import Release, Site
from edge_agent.load.answers import CannotSay
from edge_agent.load.methods.cusum import DayPeak, StepRule, StepSeen, StepTrack, accepted, dismissed, seen
from edge_agent.load.methods.kept import from_plain, to_plain
from edge_agent.load.views import Band, Block, Day, DayBlock, LoadView
from edge_agent.model import Capacity, Ms, PointId, Quantity

CURRENTS = (Quantity.CURRENT_L1, Quantity.CURRENT_L2, Quantity.CURRENT_L3)
HOUR_MS = 3_600_000
NOTHING = Band(0.0, 0.0, 0.0)
NOTHING = Band(0.0, 0.0, 0.0)
USABLE = 0.80
"""From this coverage a block counts as known."""


@dataclass(frozen=True, slots=True)
class PeakDay:
    """What the study says of one day: where the step stands, or why it cannot be said."""

    point: PointId
    day: date
    start_ms: Ms
    end_ms: Ms
    capacity: Capacity | None
    step: StepSeen | None
    reason: str = ""
    since: Band = NOTHING  # median of the last days of the step, as a share of the level before
    p95: float = 0.0  # median of them, VA or W
    before: tuple[float, ...] = ()  # mean power by hour of the day, VA or W
    after: tuple[float, ...] = ()
    ct_most: float | None = None  # largest mean current since the onset as a share of the rated primary


@dataclass(slots=True)
class _Kept:
    facts: str = ""
    last_day: int = 0
    exported_day: int = 0
    before: list[float] = field(default_factory=list)
    before_days: int = 0
    after: list[float] = field(default_factory=list)
    after_days: int = 0
    ct_now: float = 0.0  # of days that have not been judged yet
    ct_most: float = 0.0  # since suspicion began


class DailyPeaks:
    """A study (`audit.study`)."""

    def __init__(self, release: Release) -> None:
        self.changed = False
        params = release.params
        self._rule = StepRule(**params["step"])
        self._valid, self._blind_days = float(params["valid_share"]), int(params["generation_days"])
        self._export_wh, self._profile_days = float(params["generation_wh"]), int(params["profile_days"])
        self._kept: dict[PointId, _Kept] = {}
        self._tracks: dict[PointId, StepTrack] = {}

    def feed(self, view: LoadView, site: Site) -> Sequence[PeakDay]:
        for interval in view.closed:
            export = interval.register.export if interval.register is not None else None
            hours = (interval.end_ms - interval.start_ms) / HOUR_MS
            if export is not None and not interval.spans and export.low * hours > self._export_wh:
                day = site.local_day(interval.point, interval.end_ms).toordinal()
                self._kept.setdefault(interval.point, _Kept()).exported_day = day
        for block in view.blocks:
            self._current(block, site)
        return [said for day in view.days if (said := self._day(day, site)) is not None]

    def answered(self, point: PointId, *, agreed: bool) -> None:
        """A person has looked: the new level is what is `agreed`, or there was no step."""
        if point in self._tracks:
            settle = accepted if agreed else dismissed
            self._tracks[point], self.changed = settle(self._tracks[point], self._rule), True

    def dump(self) -> Mapping[str, Any]:
        return {
            point: {"kept": asdict(kept), "track": to_plain(self._tracks.get(point, StepTrack()))}
            for point, kept in self._kept.items()
        }

    def restore(self, plain: Mapping[str, Any]) -> None:
        kept: dict[PointId, _Kept] = {}
        tracks: dict[PointId, StepTrack] = {}
        for point, written in plain.items():
            track = from_plain(StepTrack, written["track"])
            if track is None:
                raise ValueError("no track of this version")
            kept[point], tracks[point] = _Kept(**written["kept"]), track
        self._kept, self._tracks = kept, tracks

    # -- inside -------------------------------------------------------------------------------------------------

    def _current(self, block: Block, site: Site) -> None:
        rated = site.ratings(block.point, block.end_ms).i_rated_a
        amps = [block.means[q].value for q in CURRENTS if q in block.means]
        if rated and amps:
            kept = self._kept.setdefault(block.point, _Kept())
            kept.ct_now = max(kept.ct_now, max(amps) / rated)

    def _day(self, day: Day, site: Site) -> PeakDay | None:
        kept = self._kept.setdefault(day.point, _Kept())
        number = day.day.toordinal()
        if number <= kept.last_day:
            return None
        self.changed = True
        facts = site.facts_version(day.point)
        if kept.facts != facts:
            kept = self._kept[day.point] = _Kept(facts, exported_day=kept.exported_day, ct_now=kept.ct_now)
        kept.last_day = number
        ct_now, kept.ct_now = kept.ct_now, 0.0
        capacity = site.capacity(day.point, day.start_ms, day.end_ms)
        track = self._tracks.get(day.point, StepTrack())
        undeclared = not site.ratings(day.point, day.end_ms).generation
        if capacity is None:
            return _cannot(day, None, "capacity_unknown")
        if undeclared and kept.exported_day and number - kept.exported_day < self._blind_days:
            return _cannot(day, capacity, "generation_undeclared")
        known = [(b, band) for b in day.blocks if (band := _band(b, capacity)) is not None and b.coverage >= USABLE]
        if len(known) < self._valid * day.expected:
            drawn = sum(b.active is not None for b in day.blocks)
            short = capacity.unit == "VA" and drawn >= self._valid * day.expected
            return _cannot(day, capacity, "active_power_only" if short else "too_little_of_the_day")
        today = _peak(number, site.day_class(day.point, day.day), [band for _, band in known])
        track, said = seen(track, today, archive=facts, capacity_va=capacity.contracted, rule=self._rule)
        self._tracks[day.point] = track
        suspected = track.up > 0 or track.down > 0 or bool(track.side)
        self._remember(kept, _by_hour(day, known), suspected, ct_now)
        if isinstance(said, CannotSay):
            return _cannot(day, capacity, f"baseline_{said.because}")
        lows, highs, p95 = (sorted(s[i] for s in track.since) or [0.0] for i in range(3))
        since = Band(_middle(lows), (_middle(lows) + _middle(highs)) / 2, _middle(highs))
        return PeakDay(
            day.point, day.day, day.start_ms, day.end_ms, capacity, said, "", since, _middle(p95),
            tuple(kept.before), tuple(kept.after), kept.ct_most if kept.ct_most > 0 else None,
        )  # fmt: skip

    def _remember(self, kept: _Kept, hours: Sequence[float], suspected: bool, ct_now: float) -> None:
        if suspected:
            kept.after_days += 1
            kept.after = _mixed(kept.after, hours, min(kept.after_days, self._profile_days))
            kept.ct_most = max(kept.ct_most, ct_now)
        else:
            kept.before_days += 1
            kept.before = _mixed(kept.before, hours, min(kept.before_days, self._profile_days))
            kept.after, kept.after_days, kept.ct_most = [], 0, 0.0


def _cannot(day: Day, capacity: Capacity | None, reason: str) -> PeakDay:
    return PeakDay(day.point, day.day, day.start_ms, day.end_ms, capacity, None, reason)


def _band(block: DayBlock, capacity: Capacity) -> Band | None:
    return block.apparent if capacity.unit == "VA" else block.active


def _peak(day: int, kind: str, bands: Sequence[Band]) -> DayPeak:
    lows = sorted(b.low for b in bands)
    peak = Band(lows[-1], max(b.value for b in bands), max(b.high for b in bands))
    return DayPeak(day, kind, peak, lows[max(0, ceil(0.95 * len(lows)) - 1)])


def _by_hour(day: Day, known: Sequence[tuple[DayBlock, Band]]) -> list[float]:
    """Mean power of each hour of the day, rounded; an hour without any block takes the one before."""
    sums: dict[int, list[float]] = {}
    for block, band in known:
        sums.setdefault(floor((block.end_ms - 1 - day.start_ms) / HOUR_MS), []).append(band.value)
    out: list[float] = []
    for hour in range(24):
        here = sums.get(hour)
        out.append(round(sum(here) / len(here)) if here else out[-1] if out else 0.0)
    return out


def _mixed(mean: Sequence[float], today: Sequence[float], days: int) -> list[float]:
    if len(mean) != len(today):
        return list(today)
    return [round(m + (t - m) / days, 1) for m, t in zip(mean, today, strict=True)]


def _middle(ordered: Sequence[float]) -> float:
    n = len(ordered)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
