"""Energy of days by registers, of main meters and of the meters behind them, and the balance of both.

A day's energy is what lies between the register at its two ends; where a piece of it is missing, every end of every
piece is off by a step of its own. A day is balanced when it is over for the main meter and for all meters behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from edge_agent.audit.topic import Release, Site
from edge_agent.load.answers import CannotSay, Why
from edge_agent.load.methods.kept import from_plain, to_plain
from edge_agent.load.methods.sum_check import SumAnswer, SumRule, SumTrack, seen
from edge_agent.load.views import Band, Interval, LoadView
from edge_agent.model import Ms, PointId

HOUR_MS = 3_600_000


class DayEnergy(msgspec.Struct, frozen=True):
    """A local day of one point as far as it goes, primary side, Wh."""

    start_ms: Ms = 0
    end_ms: Ms = 0
    taken_to: Ms = 0
    read_to: Ms = 0  # end of the last block that was read
    covered_ms: Ms = 0
    pieces: int = 0
    moved_wh: float = 0.0
    off_wh: float = 0.0  # the furthest that one block may be off

    @property
    def band(self) -> Band:
        off = self.off_wh * max(1, self.pieces)
        return Band(max(0.0, self.moved_wh - off), self.moved_wh, self.moved_wh + off)

    @property
    def coverage(self) -> float:
        return self.covered_ms / (self.end_ms - self.start_ms)


@dataclass(frozen=True, slots=True)
class Balanced:
    """A day of a main meter."""

    point: PointId
    subs: tuple[PointId, ...]
    start_ms: Ms
    end_ms: Ms
    said: SumAnswer | CannotSay
    main: DayEnergy
    behind: tuple[DayEnergy, ...] = ()


class Balances:
    """The study. What was learnt of a main meter begins anew when the archive of any of the points changes."""

    def __init__(self, release: Release) -> None:
        self._rule = SumRule(**{name: release.params[name] for name in SumRule.__slots__})
        self._running: dict[PointId, DayEnergy] = {}
        self._over: dict[PointId, DayEnergy] = {}  # the last day that is over
        self._tracks: dict[PointId, SumTrack] = {}
        self._mains: dict[PointId, tuple[PointId, ...]] = {}
        self._owed: dict[PointId, DayEnergy] = {}  # days of main meters that wait for the others
        self.changed = False

    def feed(self, view: LoadView, site: Site) -> Sequence[Balanced]:
        out: list[Balanced] = []
        for interval in view.closed:
            if interval.block and interval.count == 1:
                self._take(interval, site, out)
        for point, day in list(self._owed.items()):
            self._balance(point, day, site, out)
        return out

    def dump(self) -> Mapping[str, Any]:
        return {
            "running": {p: to_plain(day) for p, day in self._running.items()},
            "over": {p: to_plain(day) for p, day in self._over.items()},
            "owed": {p: to_plain(day) for p, day in self._owed.items()},
            "tracks": {p: to_plain(track) for p, track in self._tracks.items()},
            "mains": {p: list(subs) for p, subs in self._mains.items()},
        }

    def restore(self, plain: Mapping[str, Any]) -> None:
        for name, held in (("running", self._running), ("over", self._over), ("owed", self._owed)):
            for point, kept in plain[name].items():
                held[point] = _made(DayEnergy, kept)
        for point, kept in plain["tracks"].items():
            self._tracks[point] = _made(SumTrack, kept)
        self._mains = {p: tuple(subs) for p, subs in plain["mains"].items()}

    # -- inside -------------------------------------------------------------------------------------------------

    def _take(self, interval: Interval, site: Site, out: list[Balanced]) -> None:
        point = interval.point
        day = self._running.get(point, DayEnergy())
        if interval.end_ms <= day.taken_to:
            return
        if interval.end_ms > day.end_ms:
            if day.end_ms:
                self._over[point] = day
                self.changed = True
                subs = site.subs(point)
                if subs:
                    if (late := self._owed.pop(point, None)) is not None:
                        self._give_up(point, late, out)
                    self._mains[point], self._owed[point] = subs, day
            span = site.day_span(point, interval.end_ms)
            day = DayEnergy(span.start_ms, span.end_ms)
        energy = None if interval.register is None or interval.spans else interval.register.active
        if energy is None:
            self._running[point] = replace(day, taken_to=interval.end_ms)
            return
        hours = (interval.end_ms - interval.start_ms) / HOUR_MS
        self._running[point] = replace(
            day,
            taken_to=interval.end_ms,
            read_to=interval.end_ms,
            covered_ms=day.covered_ms + interval.end_ms - interval.start_ms,
            pieces=day.pieces + (day.read_to != interval.start_ms),
            moved_wh=day.moved_wh + energy.value * hours,
            off_wh=max(day.off_wh, (energy.high - energy.value) * hours, (energy.value - energy.low) * hours),
        )

    def _balance(self, point: PointId, day: DayEnergy, site: Site, out: list[Balanced]) -> None:
        subs = self._mains[point]
        behind = [self._over.get(s) for s in subs]
        if any(d is None or d.start_ms < day.start_ms for d in behind):
            return  # not over yet
        del self._owed[point]
        self.changed = True
        known = tuple(d for d in behind if d is not None)
        if any((d.start_ms, d.end_ms) != (day.start_ms, day.end_ms) for d in known):
            self._give_up(point, day, out)
            return
        version = "/".join(site.facts_version(p) for p in (point, *subs))
        hours = (day.end_ms - day.start_ms) / HOUR_MS
        track, said = seen(
            self._tracks.get(point, SumTrack()), day.start_ms // HOUR_MS, hours, day.band, [d.band for d in known],
            coverage=min(d.coverage for d in (day, *known)), archive=version, rule=self._rule,
        )  # fmt: skip
        self._tracks[point] = track
        out.append(Balanced(point, subs, day.start_ms, day.end_ms, said, day, known))

    def _give_up(self, point: PointId, day: DayEnergy, out: list[Balanced]) -> None:
        said = CannotSay(Why.COVERAGE, "subs", 0.0, self._rule.least_coverage)
        out.append(Balanced(point, self._mains[point], day.start_ms, day.end_ms, said, day))


def _made(kind: Any, plain: Any) -> Any:
    made = from_plain(kind, plain)
    if made is None:
        raise ValueError("not written by this version")
    return made
