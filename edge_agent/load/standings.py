"""What the energy registers of a meter show at about one instant: the total beside its rates, on its own side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite

from edge_agent.load.points import LoadPoint
from edge_agent.load.views import Standing
from edge_agent.model import DeviceId, Ms, Quantity, Reading

TOTAL = Quantity.ACTIVE_ENERGY_IMPORT
RATES = (
    Quantity.ACTIVE_ENERGY_IMPORT_T1,
    Quantity.ACTIVE_ENERGY_IMPORT_T2,
    Quantity.ACTIVE_ENERGY_IMPORT_T3,
    Quantity.ACTIVE_ENERGY_IMPORT_T4,
)


class Standings:
    """Readings in; out, once, each set of which every register that the meter has is fresh."""

    def __init__(self, points: Iterable[LoadPoint]) -> None:
        self._points: dict[DeviceId, list[LoadPoint]] = {}
        for point in points:
            if TOTAL in point.quantities and point.quantities & set(RATES):
                self._points.setdefault(point.device, []).append(point)
        self._fresh: dict[DeviceId, dict[Quantity, tuple[Ms, Reading]]] = {d: {} for d in self._points}
        self._out: list[Standing] = []

    def feed(self, readings: Iterable[tuple[Reading, Ms]]) -> None:
        for reading, t_ms in readings:
            points = self._points.get(reading.device)
            if points is None or not (reading.quantity is TOTAL or reading.quantity in RATES):
                continue
            fresh = self._fresh[reading.device]
            if not isfinite(reading.value):
                fresh.clear()
                continue
            if reading.quantity in fresh:
                fresh.clear()  # the next round has begun: what this one misses did not come
            fresh[reading.quantity] = (t_ms, reading)
            if fresh.keys() >= (points[0].quantities & {TOTAL, *RATES}):
                times = [t for t, _ in fresh.values()]
                values = {q: r.value for q, (_, r) in fresh.items()}
                step = max(r.step for _, r in fresh.values())
                self._out += [
                    Standing(p.id, reading.device, max(times), max(times) - min(times), values, step) for p in points
                ]
                fresh.clear()

    def settle(self) -> Sequence[Standing]:
        out, self._out = self._out, []
        return out
