"""Demand from what a meter wrote into its own load profile: whole periods, K applied here, nothing interpolated.

A period is known when entries say what flowed in exactly that time: registers at both ends, or energies (or means) of
entries that fill it. An entry that the meter itself does not vouch for is not used, and a period over which the
archive changes is nobody's. Two entries with one stamp that say different things (a clock that was set back) are both
not used: nobody can say which of them belongs there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from edge_agent.load.closing import demand_of
from edge_agent.load.points import ENERGIES, LoadPoint, in_force
from edge_agent.load.views import Interval, Source
from edge_agent.model import Ms, Quantity, Recorded

DISTRUSTED = frozenset({"critical_error", "clock_invalid", "data_invalid", "clock_adjusted"})
"""What a meter may say of an entry that makes its time or its value doubtful. Source: DLMS UA Blue Book, AMR profile
status. A power failure inside a period (`power_down`) leaves registers and energies right; of a mean nobody knows over
what time it was taken then."""

_MS_PER_H = 3_600_000


class _Flow(NamedTuple):
    """What flowed in some time, secondary side, Wh or varh."""

    energy: float
    step: float


def recorded_periods(point: LoadPoint, entries: Iterable[Recorded]) -> list[Interval]:
    """The demand periods of a point that its meter's records say, in order; `register` has `Source.PROFILE`.

    Records further apart than a demand period say the mean over several of them: one interval with that `count`.
    Wh, varh in; W, var and VA on the primary side out.
    """
    by_quantity, _ = _trusted(entries)
    ends = sorted({end for found in by_quantity.values() for end in found if _is_boundary(point, end)})
    return [made for end in ends if (made := _ending(point, end, by_quantity)) is not None]


def _ending(point: LoadPoint, end_ms: Ms, by_quantity: Mapping[Quantity, Mapping[Ms, Recorded]]) -> Interval | None:
    made = _period(point, end_ms, by_quantity)
    last = by_quantity.get(ENERGIES[0], {}).get(end_ms)
    if made is None and last is not None and last.period_ms > point.period_ms:
        count, rest = divmod(last.period_ms, point.period_ms)
        return None if rest else _period(point, end_ms, by_quantity, count)
    return made


def why_unknown(point: LoadPoint, entries: Iterable[Recorded], start_ms: Ms, end_ms: Ms) -> dict[Ms, str]:
    """Of each demand period in (start, end] that is not known from the records: why, as a code of `words`."""
    held = list(entries)
    known = {end for i in recorded_periods(point, held) for end in range(i.end_ms, i.start_ms, -point.period_ms)}
    _, distrusted = _trusted(held)
    first = start_ms + (point.grid_offset_ms - start_ms) % point.period_ms
    ends = range(first if first > start_ms else first + point.period_ms, end_ms + 1, point.period_ms)
    return {end: _why(point, end, distrusted) for end in ends if end not in known}


def _why(point: LoadPoint, end_ms: Ms, distrusted: Iterable[Ms]) -> str:
    start_ms = end_ms - point.period_ms
    if any(start_ms < change < end_ms for change in point.changes_ms):
        return "archive_change"
    if in_force(point.k, end_ms - 1) is None:
        return "ratio_unknown"
    return "gap_distrusted" if any(start_ms <= at <= end_ms for at in distrusted) else "gap_not_recorded"


def _trusted(entries: Iterable[Recorded]) -> tuple[dict[Quantity, dict[Ms, Recorded]], set[Ms]]:
    """What may be used, by quantity and stamp; and the stamps of what may not."""
    found: dict[Quantity, dict[Ms, Recorded]] = {}
    distrusted: set[Ms] = set()
    twice: set[tuple[Quantity, Ms]] = set()
    for entry in entries:
        if DISTRUSTED & set(entry.status) or (entry.kind == "demand" and "power_down" in entry.status):
            distrusted.add(entry.end_ms)
            continue
        other = found.setdefault(entry.quantity, {}).setdefault(entry.end_ms, entry)
        if (other.kind, other.value) != (entry.kind, entry.value):
            twice.add((entry.quantity, entry.end_ms))
    for quantity, end_ms in twice:
        del found[quantity][end_ms]
        distrusted.add(end_ms)
    return found, distrusted


def _period(
    point: LoadPoint, end_ms: Ms, by_quantity: Mapping[Quantity, Mapping[Ms, Recorded]], count: int = 1
) -> Interval | None:
    start_ms = end_ms - count * point.period_ms
    k = in_force(point.k, end_ms - 1)
    at = bisect_right(point.changes_ms, start_ms)
    if k is None or (at < len(point.changes_ms) and point.changes_ms[at] < end_ms):
        return None
    flows = [_flow(by_quantity.get(q, {}), start_ms, end_ms, point.modulus.get(q)) for q in ENERGIES]
    if flows[0] is None:
        return None
    known = [f is not None for f in flows]
    per = k * _MS_PER_H / (end_ms - start_ms)
    middle = [0.0 if f is None else f.energy * per for f in flows]
    step = [0.0 if f is None else f.step * per for f in flows]
    low = [max(m - s, 0.0) for m, s in zip(middle, step, strict=True)]
    high = [m + s for m, s in zip(middle, step, strict=True)]
    demand = demand_of(known, low, middle, high, step, [1.0] * len(ENERGIES), Source.PROFILE)
    return Interval(point.id, start_ms, end_ms, True, demand, None, end_ms, count)


def _flow(entries: Mapping[Ms, Recorded], start_ms: Ms, end_ms: Ms, modulus: float | None) -> _Flow | None:
    last = entries.get(end_ms)
    if last is None:
        return None
    if last.kind == "register":
        first = entries.get(start_ms)
        if first is None or first.kind != "register":
            return None
        moved = last.value - first.value
        if moved < 0 and modulus is not None and moved + modulus < modulus / 2:
            moved += modulus
        return None if moved < 0 else _Flow(moved, max(first.step, last.step))
    energy, step, at = 0.0, 0.0, end_ms
    while at > start_ms:
        entry = entries.get(at)
        if entry is None or entry.kind == "register" or entry.period_ms <= 0 or entry.value < 0:
            return None
        hours = entry.period_ms / _MS_PER_H if entry.kind == "demand" else 1.0
        energy, step, at = energy + entry.value * hours, step + entry.step * hours, at - entry.period_ms
    return _Flow(energy, step) if at == start_ms else None


def _is_boundary(point: LoadPoint, end_ms: Ms) -> bool:
    return (end_ms - point.grid_offset_ms) % point.period_ms == 0
