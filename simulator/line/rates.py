"""Registers of the rates of a meter that switches by a table of its own, at what its own clock takes for local time.

What the registers held at the beginning is split by shares; from then on every watt-hour goes into the one rate that
counts. The sum of the rates is the total.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from simulator.clock import DAY_MS, Ms
from simulator.device import SimMeter


class RateRegisters:
    """`switches`: (minute of the day, rate from then on), in order; before the first one the last one counts.

    `offset_ms`: from UTC to what the meter's clock shows.
    """

    def __init__(
        self, meter: SimMeter, switches: Sequence[tuple[int, int]], shares: Sequence[float], offset_ms: Ms
    ) -> None:
        self._meter = meter
        self._switches = [(minute * 60_000, rate) for minute, rate in switches]
        self._shares = tuple(shares)
        self._offset_ms = offset_ms
        self._marks: dict[str, tuple[list[Ms], list[list[float]]]] = {}

    def value(self, quantity: str, rate: int, at_ms: Ms) -> float:
        """What the rate's register of an energy holds at an instant, Wh on the meter's side."""
        if quantity not in self._marks:
            start = float(self._meter.value(quantity, self._meter.start_ms))
            self._marks[quantity] = [self._meter.start_ms], [[start * share for share in self._shares]]
        times, held = self._marks[quantity]
        while (next_ms := self._next_ms(times[-1])) <= at_ms:
            held.append(self._counted(quantity, times[-1], held[-1], next_ms))
            times.append(next_ms)
        index = max(0, bisect_right(times, at_ms) - 1)
        return self._counted(quantity, times[index], held[index], max(at_ms, times[0]))[rate - 1]

    def _counted(self, quantity: str, from_ms: Ms, held: Sequence[float], to_ms: Ms) -> list[float]:
        flowed = float(self._meter.value(quantity, to_ms)) - float(self._meter.value(quantity, from_ms))
        counting = self._rate(from_ms)
        return [wh + flowed if n == counting else wh for n, wh in enumerate(held, 1)]

    def _rate(self, at_ms: Ms) -> int:
        of_day = (at_ms + self._offset_ms) % DAY_MS
        return next((rate for start, rate in reversed(self._switches) if start <= of_day), self._switches[-1][1])

    def _next_ms(self, at_ms: Ms) -> Ms:
        of_day = (at_ms + self._offset_ms) % DAY_MS
        ahead = (start for start, _ in self._switches if start > of_day)
        return at_ms - of_day + next(ahead, DAY_MS + self._switches[0][0])
