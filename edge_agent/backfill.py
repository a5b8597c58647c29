"""Gaps that a meter's own load profile can fill: what closes behind one waits until it is filled, or given up.

A point that was not read for a while (agent down, line cut, meter left alone) has demand periods of which nothing is
known. Its meter may have recorded them. A finding's life runs on interval time, so nothing after the gap is judged
before what lies in it: the point's intervals are held here, in order, for as long as the profile may be expected, and
are then released with the recorded periods in their places. What no record covers stays unknown, and says why.

A gap that was given up because nothing could be had of its meter in time is not forgotten: what the meter says of it
within a week is handed out beside the live intervals, with the tracks as they were parked before it (`Refilled`).

A record is believed where it does not contradict what was read: a period's energy lies within what the readings on
both sides allow, and the periods of a gap together are what the register moved meanwhile. Pure: time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from msgspec.structs import replace

from edge_agent.load.views import Band, Demand, Interval, Source
from edge_agent.model import Ms, PointId

PATIENCE_MS = 1_800_000
"""From when the meter answers again: a profile that cannot be had by then is given up, and the gap stays unknown."""

RIPE_MS = PATIENCE_MS * 2 // 3
"""So long a gap waits for the first boundary behind it, at which the register says what it moved meanwhile."""

LONGEST_MS = 7 * 86_400_000
"""Of a longer gap the last so much is asked for: no finding is raised over what is older."""

UNREAD = frozenset({"gap", "no_reading"})
"""Why an interval has no demand: nobody read. Other reasons are not the reading's fault, and no record cures them."""

WHOLE = 0.999
"""From this coverage on readings vouch for a period as a whole, and no record is asked for it."""


NOT_HAD = "gap_not_had"
"""Why a period is unknown whose meter did not say it in time; other codes come from whoever asked."""


class Missing(NamedTuple):
    """Demand periods of a point of which nothing is known: (start, end], on the grid of its periods.

    `late`: what followed has been judged without them.
    """

    point: PointId
    start_ms: Ms
    end_ms: Ms
    late: bool = False


class Filled(NamedTuple):
    """How many periods of a gap are known now, and how many records were not believed."""

    periods: int
    contradicted: int


@dataclass(slots=True)
class _Held:
    """The intervals of one point behind a gap, and the periods in it."""

    since_ms: Ms
    periods: set[Ms] = field(default_factory=set)  # ends of the periods that are missing
    intervals: list[Interval] = field(default_factory=list)
    why: str = NOT_HAD  # what has stood in the way so far


@dataclass(slots=True)
class Parked:
    """A gap behind which life went on. `tracks`: the point's, as they stood before it; plain, see `audit.track`."""

    gap: Missing
    periods: set[Ms]
    evidence: list[Interval]  # what was read before, in and behind it
    tracks: list[dict[str, Any]] | None = None  # None: not laid down yet


class Refilled(NamedTuple):
    """What a meter has said of a parked gap after all: its intervals in order, those included that stay unknown.

    `judged`: what readings said of the same periods, and was judged then.
    """

    tracks: list[dict[str, Any]]
    intervals: list[Interval]
    judged: list[Interval]


class Gaps:
    """What is held back, per point. `periods`: the demand period of each point whose meter has a load profile."""

    def __init__(self, periods: Mapping[PointId, Ms], offsets: Mapping[PointId, Ms] | None = None) -> None:
        self._periods = dict(periods)
        self._offsets = dict(offsets or {})
        self._held: dict[PointId, _Held] = {}
        self._filled: dict[PointId, list[Interval]] = {}
        self._parked: list[Parked] = []
        self._refilled: list[Refilled] = []
        self._told_upto: dict[PointId, Ms] = {}  # up to here records have told, per point

    # -- intervals in and out -----------------------------------------------------------------------------------

    def pass_on(self, closed: Sequence[Interval], now_ms: Ms) -> list[Interval]:
        """The intervals that may be judged now, in order per point."""
        out: list[Interval] = []
        for interval in closed:
            if interval.count > 1 and interval.demands and interval.start_ms < self._told_upto.get(interval.point, 0):
                continue  # a mean over periods that records have told one by one: the same energy once more
            held = self._held.get(interval.point)
            gap = interval.point in self._periods and _is_poor(interval)
            if held is None and not gap:
                out.append(interval)
                continue
            if held is None:
                held = self._held[interval.point] = _Held(now_ms)
            if gap:
                held.periods |= self._periods_in(interval)
            held.intervals.append(interval)
        for point in [p for p, h in self._held.items() if not h.periods or now_ms - h.since_ms >= PATIENCE_MS]:
            held = self._held.pop(point)
            if not held.periods:
                out += held.intervals
            else:
                out += _named(held.intervals, held.why)
                self._park(point, held)
        for intervals in self._filled.values():
            out += intervals
        self._filled = {}
        return out

    def missing(self, now_ms: Ms | None = None) -> list[Missing]:
        """What to ask the meters' load profiles for; of one point what is held first, and one gap at a time.

        With `now_ms`: only where what was read behind a gap can be held against the records.
        """
        if now_ms is not None:
            self._parked = [p for p in self._parked if now_ms - p.gap.end_ms < LONGEST_MS]
        late = {p.gap.point: p.gap for p in reversed(self._parked)}
        held = {p: self._gap(p, h) for p, h in self._held.items() if h.periods and _is_ripe(h, now_ms)}
        return list((late | held).values())

    def fill(
        self,
        point: PointId,
        recorded: Iterable[Interval],
        why: Mapping[Ms, str] | None = None,
        gap: Missing | None = None,
    ) -> Filled:
        """The recorded periods, as far as they lie in the point's gap; released at the next `pass_on`.

        `why`: of a period that is in none of them, by its end. `gap`: which one, where it may be a late one.
        """
        if gap is not None and gap.late:
            return self._fill_late(gap, recorded)
        held = self._held.get(point)
        if held is None:
            return Filled(0, 0)
        period_ms = self._periods[point]
        fits, wrong = _believed(recorded, held.periods, held.intervals, period_ms)
        if fits:
            del self._held[point]
            reasons = {**(why or {}), **dict.fromkeys(wrong, "gap_contradicted")}
            self._filled[point] = _woven(held.intervals, fits, period_ms, reasons)
            self._told_upto[point] = max(fits)
        elif wrong:
            held.why = "gap_contradicted"
        return Filled(len(fits), len(wrong))

    def note(self, point: PointId, why: str) -> None:
        """What stands in the way of a point's records for now: why its gap is unknown, should it stay so."""
        if point in self._held:
            self._held[point].why = why

    def give_up(self, point: PointId, why: str = "", gap: Missing | None = None) -> None:
        """Nobody will say what was in the gap: it is unknown."""
        if gap is not None and gap.late:
            self._parked = [p for p in self._parked if p.gap != gap]
            return
        held = self._held.pop(point, None)
        if held is not None:
            self._filled[point] = _named(held.intervals, why or held.why)

    def parked(self) -> list[Parked]:
        """Gaps given up for now whose tracks are not laid down: the caller does it, before what follows is judged."""
        return [p for p in self._parked if p.tracks is None]

    def refilled(self) -> list[Refilled]:
        """What has been said of parked gaps since the last call."""
        out, self._refilled = self._refilled, []
        return out

    def stepped(self) -> None:
        """The clock was set: what is held lies on the old grid, and is judged as it is; what is parked, nowhere."""
        self._parked, self._told_upto = [], {}
        for point in list(self._held):
            self.give_up(point)

    def clear(self) -> None:
        """Nothing is held any more, and nothing is told of what was."""
        self._held, self._filled, self._parked, self._refilled, self._told_upto = {}, {}, [], [], {}

    # -- what survives a restart --------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """As plain data; empty while nothing is held."""
        held = {p: [h.since_ms, sorted(h.periods), [_plain(i) for i in h.intervals], h.why]
                for p, h in self._held.items()}  # fmt: skip
        filled = {p: [_plain(i) for i in intervals] for p, intervals in self._filled.items()}
        parked = [[*p.gap, sorted(p.periods), [_plain(i) for i in p.evidence], p.tracks] for p in self._parked]
        refilled = [[r.tracks, *([_plain(i) for i in found] for found in r[1:])] for r in self._refilled]
        if not (held or filled or parked or refilled or self._told_upto):
            return {}
        return {
            "held": held,
            "filled": filled,
            "parked": parked,
            "refilled": refilled,
            "told_upto": dict(self._told_upto),
        }

    def restore(self, plain: Mapping[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError for what this version did not write."""
        for point, (since_ms, periods, intervals, *why) in plain.get("held", {}).items():
            held = [_interval(i) for i in intervals]
            if point in self._periods:
                self._held[point] = _Held(since_ms, set(periods), held, *why)
            else:  # its meter no longer has a profile
                self._filled[point] = held
        for point, intervals in plain.get("filled", {}).items():
            self._filled[point] = [_interval(i) for i in intervals]
        self._told_upto = dict(plain.get("told_upto", {}))
        for *gap, periods, evidence, tracks in plain.get("parked", ()):
            if gap[0] in self._periods:
                self._parked.append(Parked(Missing(*gap), set(periods), [_interval(i) for i in evidence], tracks))
        for tracks, *found in plain.get("refilled", ()):
            self._refilled.append(Refilled(tracks, *([_interval(i) for i in intervals] for intervals in found)))

    # -- inside -------------------------------------------------------------------------------------------------

    def _gap(self, point: PointId, held: _Held) -> Missing:
        last = max(held.periods)
        first = max(min(held.periods) - self._periods[point], last - LONGEST_MS)
        return Missing(point, first, last)

    def _park(self, point: PointId, held: _Held) -> None:
        """Keep what a record will be held against, and no more."""
        last_ms = max(i.end_ms for i in held.intervals if i.count > 1 or _is_poor(i))
        evidence = [i for i in held.intervals if i.end_ms <= last_ms and (i.block or i.spans in UNREAD)]
        self._parked.append(Parked(self._gap(point, held)._replace(late=True), set(held.periods), evidence))

    def _fill_late(self, gap: Missing, recorded: Iterable[Interval]) -> Filled:
        parked = next((p for p in self._parked if p.gap == gap and p.tracks is not None), None)
        if parked is None:
            return Filled(0, 0)
        period_ms = self._periods[gap.point]
        fits, wrong = _believed(recorded, parked.periods, parked.evidence, period_ms)
        if fits:
            assert parked.tracks is not None
            self._parked.remove(parked)
            poor = [i for i in parked.evidence if _is_poor(i)]
            judged = [i for i in parked.evidence if i.demands and _covered(i, fits, period_ms)]
            judged = sorted((i for i in judged if i.count > 1 or _is_poor(i)), key=lambda i: i.count)
            self._refilled.append(Refilled(parked.tracks, _woven(poor, fits, period_ms, {}), judged))
        return Filled(len(fits), len(wrong))

    def _periods_in(self, interval: Interval) -> set[Ms]:
        """Ends of the whole demand periods that the interval touches and of which it says nothing."""
        period, offset = self._periods[interval.point], self._offsets.get(interval.point, 0)
        if _is_sliding(interval):
            return set()  # the periods that it touches are told by blocks
        first = -(-(interval.start_ms - offset + 1) // period) * period + offset
        return set(range(first, interval.end_ms + 1, period))


def _is_ripe(held: _Held, now_ms: Ms | None) -> bool:
    if now_ms is None or now_ms - held.since_ms >= RIPE_MS:
        return True
    last_ms = max(held.periods)
    return any(i.block and i.count == 1 and i.demands and i.end_ms >= last_ms for i in held.intervals)


def _is_sliding(interval: Interval) -> bool:
    return interval.count == 1 and not interval.block and interval.spans != "gap"


def _is_poor(interval: Interval) -> bool:
    """Whether readings leave open what happened in it, and a record could say it.

    Where both ends were read the register says it all, however few readings lie between.
    """
    if interval.count > 1:
        return not interval.demands and interval.spans in UNREAD
    if interval.spans and interval.spans not in UNREAD:
        return False
    register = interval.register
    if register is not None and register.active is not None and register.coverage < WHOLE:
        return register.active.high - register.active.low > 2.1 * register.resolution
    return interval.coverage < WHOLE


def _believed(
    recorded: Iterable[Interval], periods: set[Ms], held: Sequence[Interval], period_ms: Ms
) -> tuple[dict[Ms, Interval], set[Ms]]:
    """Records by the end of each period that they tell of, where all of it is missing; and those not believed."""
    fits = {
        end: interval
        for interval in sorted(recorded, key=lambda i: -i.count)  # of two, the finer one
        if interval.register is not None and periods.issuperset(ends := _ends(interval, period_ms))
        for end in ends
    }
    wrong = _contradicted(held, fits, period_ms)
    return {end: i for end, i in fits.items() if end not in wrong}, wrong


def _ends(interval: Interval, period_ms: Ms) -> range:
    """Of the whole demand periods in an interval that is recorded."""
    return range(interval.start_ms + period_ms, interval.end_ms + 1, period_ms)


def _named(intervals: Sequence[Interval], why: str) -> list[Interval]:
    """With the reason at those of which nothing is known; windows that slide are told by the blocks."""
    return [
        replace(i, spans=why) if i.spans in UNREAD and not i.demands and not _is_sliding(i) else i for i in intervals
    ]


def _woven(
    held: Sequence[Interval], recorded: Mapping[Ms, Interval], period_ms: Ms, why: Mapping[Ms, str]
) -> list[Interval]:
    """The held intervals with the recorded periods in their places, and a reason at each that is still unknown.

    What readings leave open goes where records say it; a mean over several periods goes when the records cover one of
    them: it is the same energy once more.
    """
    out: list[Interval] = list({(i.start_ms, i.end_ms): i for i in recorded.values()}.values())
    for interval in held:
        covered = _covered(interval, recorded, period_ms)
        if interval.spans == "gap" and (covered or why):
            out += _rest(interval, covered, period_ms, why)
        elif not covered or not (_is_poor(interval) or interval.count > 1):
            out += _named([interval], why.get(interval.end_ms, interval.spans))
    return sorted(out, key=lambda i: (i.end_ms, not i.block, i.start_ms))


def _covered(interval: Interval, recorded: Mapping[Ms, Interval], period_ms: Ms) -> list[Ms]:
    return sorted(e for e in recorded if e - period_ms < interval.end_ms and e > interval.start_ms)


def _rest(interval: Interval, covered: Sequence[Ms], period_ms: Ms, why: Mapping[Ms, str]) -> list[Interval]:
    """What is left of a gap between the recorded periods: a piece for each reason."""
    rest, at = [], interval.start_ms
    for end in [*covered, interval.end_ms + period_ms]:
        until = min(end - period_ms, interval.end_ms)
        edges = [e for e in sorted(why) if at < e < until and why[e] != why.get(e + period_ms, why[e])]
        for start, stop in pairwise([at, *edges, until]):
            if stop > start:
                spans = why.get(stop, why.get(start + period_ms, interval.spans))
                count = max(1, (stop - start) // period_ms)
                rest.append(replace(interval, start_ms=start, end_ms=stop, count=count, spans=spans))
        at = end
    return rest


def _contradicted(held: Sequence[Interval], fits: Mapping[Ms, Interval], period_ms: Ms) -> set[Ms]:
    """Ends of the records that cannot be so, by what was read before, in and after the gap."""
    read = {i.end_ms: i for i in held if i.block and i.count == 1 and i.register is not None}
    wrong = {
        end for end, fit in fits.items()
        if fit.count == 1 and end in read and not _agree(_active(fit), _active(read[end]))
    }  # fmt: skip
    known = {**{end: i for end, i in read.items() if i.coverage >= WHOLE}, **fits}
    for mean in held:
        band = _active(mean)
        if mean.count == 1 or band is None or mean.register is None:
            continue
        ends = range(mean.start_ms + period_ms, mean.end_ms + 1, period_ms)
        parts = [_active(known[end]) for end in ends if end in known]
        if len(parts) < len(ends):
            continue  # part of it is not known: nothing can be compared
        # A record's rounding is made good by the next one: together they are off by a step at each end, not by each.
        moved, recorded = mean.count * band.value, sum(p.value for p in parts if p is not None)
        step = mean.count * mean.register.resolution + max(
            r.resolution for end in ends if (r := known[end].register) is not None
        )
        if abs(moved - recorded) > 2 * step:
            wrong |= fits.keys() & set(ends)
    return wrong


def _active(interval: Interval) -> Band | None:
    return interval.register.active if interval.register is not None else None


def _agree(one: Band | None, other: Band | None) -> bool:
    return one is None or other is None or (one.low <= other.high and other.low <= one.high)


def _plain(i: Interval) -> list[Any]:
    return [i.point, i.start_ms, i.end_ms, i.block, _demand_plain(i.register), _demand_plain(i.sampled), i.decided_ms,
            i.count, i.spans]  # fmt: skip


def _demand_plain(d: Demand | None) -> list[Any] | None:
    if d is None:
        return None
    return [d.source.value, d.active, d.reactive, d.apparent, d.coverage, d.resolution, d.export, d.export_apparent]


def _interval(plain: Sequence[Any]) -> Interval:
    point, start, end, block, register, sampled, decided, count, spans = plain
    return Interval(point, start, end, block, _demand(register), _demand(sampled), decided, count, spans)


def _demand(plain: Sequence[Any] | None) -> Demand | None:
    if plain is None:
        return None
    source, active, reactive, apparent, coverage, resolution, *given = plain
    p, q, s, *out = (None if b is None else Band(*b) for b in (active, reactive, apparent, *given))
    return Demand(Source(source), p, q, s, coverage, resolution, *out)
