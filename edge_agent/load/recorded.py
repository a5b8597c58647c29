"""Demand from what a meter wrote into its own load profile: whole periods, K applied here, nothing interpolated.

A period is known when entries say what flowed in exactly that time: registers at both ends, or energies (or means) of
entries that fill it. An entry that the meter itself does not vouch for is not used, and a period over which the
archive changes is nobody's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from edge_agent.load.closing import demand_of
from edge_agent.load.points import ENERGIES, LoadPoint, in_force
from edge_agent.load.views import Interval, Source
from edge_agent.model import Ms, Quantity, Recorded

DISTRUSTED = frozenset({"critical_error", "clock_invalid", "data_invalid", "clock_adjusted"})
"""What a meter may say of an entry that makes its time or its value doubtful. Source: DLMS UA Blue Book, AMR profile
status; a power failure inside a period (`power_down`) leaves its energy right."""

_MS_PER_H = 3_600_000


class _Flow(NamedTuple):
    """What flowed in some time, secondary side, Wh or varh."""

    energy: float
    step: float


def recorded_periods(point: LoadPoint, entries: Iterable[Recorded]) -> list[Interval]:
    """The demand periods of a point that its meter's records say, in order; `register` has `Source.PROFILE`.

    Wh, varh in; W, var and VA on the primary side out.
    """
    by_quantity: dict[Quantity, dict[Ms, Recorded]] = {}
    for entry in entries:
        if not DISTRUSTED & set(entry.status):
            by_quantity.setdefault(entry.quantity, {})[entry.end_ms] = entry
    ends = sorted({end for found in by_quantity.values() for end in found if _is_boundary(point, end)})
    return [made for end in ends if (made := _period(point, end, by_quantity)) is not None]


def _period(point: LoadPoint, end_ms: Ms, by_quantity: Mapping[Quantity, Mapping[Ms, Recorded]]) -> Interval | None:
    start_ms = end_ms - point.period_ms
    k = in_force(point.k, end_ms - 1)
    at = bisect_right(point.changes_ms, start_ms)
    if k is None or (at < len(point.changes_ms) and point.changes_ms[at] < end_ms):
        return None
    flows = [_flow(by_quantity.get(q, {}), start_ms, end_ms, point.modulus.get(q)) for q in ENERGIES]
    if flows[0] is None:
        return None
    known = np.array([f is not None for f in flows])
    per = k * _MS_PER_H / point.period_ms
    middle = np.array([0.0 if f is None else f.energy for f in flows]) * per
    step = np.array([0.0 if f is None else f.step for f in flows]) * per
    low, high = np.maximum(middle - step, 0.0), middle + step
    demand = demand_of(known, low, middle, high, step, np.ones(len(ENERGIES)), Source.PROFILE)
    return Interval(point.id, start_ms, end_ms, True, demand, None, end_ms)


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
