"""How a register moves against the powers that were sampled beside it, day by day and block by block.

What three topics ask: has the register stopped, does it fly, is it off? Blocks of the demand period in which both were
seen are added up. Where one of them is missing nothing is taken for it: the chain breaks, a stop begins to count anew,
and the day has covered less. Both sides hold the same K, so nothing here rests on it but the smallest energies of the
release, which are the meter's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import msgspec
from msgspec.structs import replace

from edge_agent.audit.flight import Flights, Flown
from edge_agent.audit.topic import Release, Site
from edge_agent.load.answers import CannotSay, Why
from edge_agent.load.methods.kept import from_plain, to_plain
from edge_agent.load.methods.power_integral import PaceAnswer, PaceRule, PaceTrack, Stretch, add, pace, restart
from edge_agent.load.views import Interval, LoadView, RegisterEvent
from edge_agent.model import Ms, PointId, Quantity

ENERGY = Quantity.ACTIVE_ENERGY_IMPORT


class Moved(msgspec.Struct, frozen=True):
    """The last stretch alone, secondary Wh: what the register moved, less or plus `step_wh`, and what was expected."""

    seconds: float
    moved_wh: float
    step_wh: float
    expected_low: float
    expected_high: float


class Paced(msgspec.Struct, frozen=True):
    """One thing found: of a block as it closed, of a day that is over, or of a jump that the ledger told."""

    point: PointId
    start_ms: Ms
    end_ms: Ms
    decided_ms: Ms
    kind: str  # "block", "day", "jump"
    said: PaceAnswer | CannotSay
    last: Moved | None = None
    event: RegisterEvent | None = None
    flown: Flown | None = None  # where this jump goes on from the last one


@dataclass(slots=True)
class Running:
    """The memory about one point, moved on block by block."""

    day_start: Ms = 0
    day_end: Ms = 0
    last_end: Ms = 0
    pieces: int = 1
    step_wh: float = 0.0
    taken_to: Ms = 0
    display_wh: float = 0.0
    """The register's step as it was last seen, whatever day that was; 0: not yet."""


def rule_of(release: Release) -> PaceRule:
    """The release's parameters; energies are the meter's own, Wh."""
    return PaceRule(**{name: float(release.params[name]) for name in PaceRule.__slots__})


class Paces:
    """The study. Blocks that have been taken are passed over; another archive begins anew."""

    def __init__(self, release: Release) -> None:
        self._rule = rule_of(release)
        self._running: dict[PointId, Running] = {}
        self._tracks: dict[PointId, PaceTrack] = {}
        self._flights = Flights(self._rule.fly_expected_wh)
        self.changed = False

    def feed(self, view: LoadView, site: Site) -> Sequence[Paced]:
        out: list[Paced] = []
        for interval, stretch, why in _stretches(view, site):
            self._take(interval, stretch, why, site, out)
        self._flights.see(view.rounds, site)
        for event in view.events:
            if event.kind == "jump" and event.quantity is ENERGY:
                out.append(self._jumped(event, site))
        return out

    def dump(self) -> Mapping[str, Any]:
        points = {p: [to_plain(r), to_plain(self._tracks.get(p, PaceTrack()))] for p, r in self._running.items()}
        return {"points": points, "flights": self._flights.dump()}

    def restore(self, plain: Mapping[str, Any]) -> None:
        self._flights.restore(plain["flights"])
        for point, (running, track) in plain["points"].items():
            made, kept = from_plain(Running, running), from_plain(PaceTrack, track)
            if made is None or kept is None:
                raise ValueError("not written by this version")
            self._running[point], self._tracks[point] = made, kept

    # -- inside -------------------------------------------------------------------------------------------------

    def _take(self, interval: Interval, stretch: Stretch | None, why: Why, site: Site, out: list[Paced]) -> None:
        point = interval.point
        running = self._running.get(point)
        if running is None:
            running = self._running[point] = Running()
        if interval.end_ms <= running.taken_to:
            return
        if interval.end_ms > running.day_end:
            if running.day_end:
                out += self._day(point, running)
            span = site.day_span(point, interval.end_ms)
            running.day_start, running.day_end, running.pieces, running.step_wh = span.start_ms, span.end_ms, 1, 0.0
            self._tracks[point] = replace(restart(self._tracks.get(point, PaceTrack())), step_wh=0.0)
            self.changed = True
        running.taken_to = interval.end_ms
        if stretch is None:
            self._tracks[point] = _stood_up(self._tracks[point])
            out.append(_told(interval, CannotSay(why, "interval")))
            return
        track, pieces = self._tracks[point], running.pieces
        version = site.facts_version(point)
        if track.archive != version:
            track, pieces = PaceTrack(version), 1
        elif interval.start_ms != running.last_end and track.seconds > 0:
            track, pieces = _stood_up(track), pieces + 1  # each end of each piece is off by a step of its own
        own_wh = stretch.step_wh
        worst = max(running.step_wh, own_wh)
        if worst * pieces != stretch.step_wh:
            stretch = replace(stretch, step_wh=worst * pieces)
        made = add(track, stretch, archive=version)
        if isinstance(made, CannotSay):
            self._tracks[point] = _stood_up(track)
            out.append(_told(interval, made))
            return
        running.last_end, running.pieces, running.step_wh = interval.end_ms, pieces, worst
        running.display_wh = own_wh
        self._tracks[point] = made
        last = Moved(stretch.seconds, stretch.moved_wh, own_wh, stretch.expected_low, stretch.expected_high)
        out.append(_told(interval, pace(made, self._rule), last))

    def _day(self, point: PointId, running: Running) -> list[Paced]:
        track = self._tracks.get(point, PaceTrack())
        covered, whole = track.seconds * 1000, running.day_end - running.day_start
        said: PaceAnswer | CannotSay = pace(track, self._rule)
        if covered < self._rule.least_coverage * whole:
            said = CannotSay(Why.COVERAGE, "day", covered / whole, self._rule.least_coverage)
        return [Paced(point, running.day_start, running.day_end, running.taken_to, "day", said)]

    def _jumped(self, event: RegisterEvent, site: Site) -> Paced:
        """More than the transformers carry: no energy is booked, and what flies may be a meter that was exchanged."""
        ratings = site.ratings(event.point, event.after_ms)
        said = CannotSay(Why.NOT_POSSIBLE, "register")
        flown = self._flights.jumped(event, site)
        running = self._running.get(event.point)
        step_wh = running.display_wh if running is not None else 0.0
        last = None
        if ratings.k is not None and ratings.s_cap_va is not None:
            seconds = (event.after_ms - event.before_ms) / 1000
            most = ratings.s_cap_va * seconds / 3600 / ratings.k
            last = Moved(seconds, event.after - event.before, step_wh, 0.0, most)
        return Paced(event.point, event.before_ms, event.after_ms, event.after_ms, "jump", said, last, event, flown)


def _stretches(view: LoadView, site: Site) -> Sequence[tuple[Interval, Stretch | None, Why]]:
    """The blocks of a view, each worked out once for the three topics."""
    place = f"stretches/{id(site)}"
    found: Sequence[tuple[Interval, Stretch | None, Why]] | None = view.worked.get(place)
    if found is None:
        blocks = [i for i in view.closed if i.block and i.count == 1]
        found = view.worked[place] = [(i, *_stretch(i, site)) for i in blocks]
    return found


def _stretch(interval: Interval, site: Site) -> tuple[Stretch | None, Why]:
    """One block on the meter's own side; None where one of the two was not seen."""
    register, sampled = interval.register, interval.sampled
    if interval.spans:
        return None, Why.FACT_CHANGED if interval.spans == "archive_change" else Why.NO_DATA
    if register is None or sampled is None or register.active is None or sampled.active is None:
        return None, Why.NO_DATA
    k = site.ratings(interval.point, interval.start_ms).k
    if k is None or k <= 0:
        return None, Why.FACT_UNKNOWN
    hours = (interval.end_ms - interval.start_ms) / 3.6e6 / k
    moved, power = register.active, sampled.active
    value = (power.low + power.high) / 2 if isnan(power.value) else power.value
    step = max(moved.high - moved.value, moved.value - moved.low)
    return Stretch(
        (interval.end_ms - interval.start_ms) / 1000, max(0.0, moved.value) * hours, step * hours,
        max(0.0, power.low) * hours, max(0.0, value) * hours, max(0.0, power.high) * hours, sampled.coverage,
    ), Why.NO_DATA  # fmt: skip


def _stood_up(track: PaceTrack) -> PaceTrack:
    """What was not seen may have been a movement."""
    if not (track.still_s or track.still_low_wh or track.still_wh or track.still_high_wh):
        return track
    return replace(track, still_s=0.0, still_low_wh=0.0, still_wh=0.0, still_high_wh=0.0)


def _told(interval: Interval, said: PaceAnswer | CannotSay, last: Moved | None = None) -> Paced:
    return Paced(interval.point, interval.start_ms, interval.end_ms, interval.decided_ms, "block", said, last)


def reason_of(said: CannotSay) -> str:
    """`register_or_power_missing` and the like: the code of the sentence."""
    match said.because:
        case Why.NO_DATA:
            return "register_or_power_missing"
        case Why.FACT_UNKNOWN:
            return "ratio_unknown"
        case Why.FACT_CHANGED:
            return "archive_change"
        case Why.TOO_SMALL:
            return "too_little_expected"
    return said.because.value
