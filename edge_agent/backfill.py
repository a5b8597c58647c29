"""Gaps that a meter's own load profile can fill: what closes behind one waits until it is filled, or given up.

A point that was not read for a while (agent down, line cut, meter left alone) has demand periods of which nothing is
known. Its meter may have recorded them. A finding's life runs on interval time, so nothing after the gap is judged
before what lies in it: the point's intervals are held here, in order, for as long as the profile may be expected, and
are then released with the recorded periods in their places. What no record covers stays unknown.

A record is believed where it does not contradict what was read: a period's energy lies within what the readings on
both sides allow, and the periods of a gap together are what the register moved meanwhile. Pure: time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from edge_agent.load.views import Band, Demand, Interval, Source
from edge_agent.model import Ms, PointId

PATIENCE_MS = 1_800_000
"""From when the meter answers again: a profile that cannot be had by then is given up, and the gap stays unknown."""

LONGEST_MS = 7 * 86_400_000
"""Of a longer gap the last so much is asked for: no finding is raised over what is older."""

UNREAD = frozenset({"gap", "no_reading"})
"""Why an interval has no demand: nobody read. Other reasons are not the reading's fault, and no record cures them."""

WHOLE = 0.999
"""From this coverage on readings vouch for a period as a whole, and no record is asked for it."""


class Missing(NamedTuple):
    """Demand periods of a point of which nothing is known: (start, end], on the grid of its periods."""

    point: PointId
    start_ms: Ms
    end_ms: Ms


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


class Gaps:
    """What is held back, per point. `periods`: the demand period of each point whose meter has a load profile."""

    def __init__(self, periods: Mapping[PointId, Ms], offsets: Mapping[PointId, Ms] | None = None) -> None:
        self._periods = dict(periods)
        self._offsets = dict(offsets or {})
        self._held: dict[PointId, _Held] = {}
        self._filled: dict[PointId, list[Interval]] = {}

    # -- intervals in and out -----------------------------------------------------------------------------------

    def pass_on(self, closed: Sequence[Interval], now_ms: Ms) -> list[Interval]:
        """The intervals that may be judged now, in order per point."""
        out: list[Interval] = []
        for interval in closed:
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
            out += self._held.pop(point).intervals
        for intervals in self._filled.values():
            out += intervals
        self._filled = {}
        return out

    def missing(self) -> list[Missing]:
        """What to ask the meters' load profiles for."""
        out = []
        for point, held in self._held.items():
            if held.periods:
                last = max(held.periods)
                first = max(min(held.periods) - self._periods[point], last - LONGEST_MS)
                out.append(Missing(point, first, last))
        return out

    def fill(self, point: PointId, recorded: Iterable[Interval]) -> Filled:
        """The recorded periods, as far as they lie in the point's gap; released at the next `pass_on`."""
        held = self._held.get(point)
        if held is None:
            return Filled(0, 0)
        fits = {i.end_ms: i for i in recorded if i.end_ms in held.periods and i.register is not None}
        wrong = _contradicted(held.intervals, fits, self._periods[point])
        fits = {end: i for end, i in fits.items() if end not in wrong}
        if fits:
            del self._held[point]
            self._filled[point] = _woven(held.intervals, fits, self._periods[point])
        return Filled(len(fits), len(wrong))

    def give_up(self, point: PointId) -> None:
        """Nobody will say what was in the gap: it is unknown."""
        held = self._held.pop(point, None)
        if held is not None:
            self._filled[point] = held.intervals

    def stepped(self) -> None:
        """The clock was set: what is held lies on the old grid, and is judged as it is."""
        for point in list(self._held):
            self.give_up(point)

    def clear(self) -> None:
        """Nothing is held any more, and nothing is told of what was."""
        self._held, self._filled = {}, {}

    # -- what survives a restart --------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """As plain data; empty while nothing is held."""
        held = {p: [h.since_ms, sorted(h.periods), [_plain(i) for i in h.intervals]] for p, h in self._held.items()}
        filled = {p: [_plain(i) for i in intervals] for p, intervals in self._filled.items()}
        return {"held": held, "filled": filled} if held or filled else {}

    def restore(self, plain: Mapping[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError for what this version did not write."""
        for point, (since_ms, periods, intervals) in plain.get("held", {}).items():
            held = [_interval(i) for i in intervals]
            if point in self._periods:
                self._held[point] = _Held(since_ms, set(periods), held)
            else:  # its meter no longer has a profile
                self._filled[point] = held
        for point, intervals in plain.get("filled", {}).items():
            self._filled[point] = [_interval(i) for i in intervals]

    # -- inside -------------------------------------------------------------------------------------------------

    def _periods_in(self, interval: Interval) -> set[Ms]:
        """Ends of the whole demand periods that the interval touches and of which it says nothing."""
        period, offset = self._periods[interval.point], self._offsets.get(interval.point, 0)
        if _is_sliding(interval):
            return set()  # the periods that it touches are told by blocks
        first = -(-(interval.start_ms - offset + 1) // period) * period + offset
        return set(range(first, interval.end_ms + 1, period))


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


def _woven(held: Sequence[Interval], recorded: Mapping[Ms, Interval], period_ms: Ms) -> list[Interval]:
    """The held intervals with the recorded periods in their places.

    What readings leave open goes where records say it; a mean over several periods goes when the records cover one of
    them: it is the same energy once more.
    """
    out: list[Interval] = list(recorded.values())
    for interval in held:
        covered = _covered(interval, recorded, period_ms)
        if not covered or not (_is_poor(interval) or interval.count > 1):
            out.append(interval)
        elif interval.spans == "gap":
            out += _rest(interval, covered, period_ms)
    return sorted(out, key=lambda i: (i.end_ms, not i.block, i.start_ms))


def _covered(interval: Interval, recorded: Mapping[Ms, Interval], period_ms: Ms) -> list[Ms]:
    return sorted(e for e in recorded if e - period_ms < interval.end_ms and e > interval.start_ms)


def _rest(interval: Interval, covered: Sequence[Ms], period_ms: Ms) -> list[Interval]:
    """What is left of a gap between the recorded periods."""
    rest, at = [], interval.start_ms
    for end in [*covered, interval.end_ms + period_ms]:
        start = min(end - period_ms, interval.end_ms)
        if start > at:
            rest.append(replace(interval, start_ms=at, end_ms=start, count=max(1, (start - at) // period_ms)))
        at = end
    return rest


def _contradicted(held: Sequence[Interval], fits: Mapping[Ms, Interval], period_ms: Ms) -> set[Ms]:
    """Ends of the records that cannot be so, by what was read before, in and after the gap."""
    read = {i.end_ms: i for i in held if i.block and i.count == 1 and i.register is not None}
    wrong = {end for end in fits if end in read and not _agree(_active(fits[end]), _active(read[end]))}
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
