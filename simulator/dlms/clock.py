"""A meter's own idea of time: date-times written and read, and a clock that is off or jumps.

The deviation is what is added to local time for UTC. Source: IEC 62056-6-2 (DLMS UA 1000-1), 4.1.6.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from simulator.clock import Ms
from simulator.dlms.codec import Malformed
from simulator.faults import Fault

NO_DEVIATION = -0x8000
NEVER = bytes.fromhex("FFFFFFFFFFFFFFFFFF8000FF")
"""A date-time in which nothing is specified."""


class Jump(NamedTuple):
    """From this true instant on the clock shows so much more (or less) than UTC."""

    at_ms: Ms
    error_ms: int


class MeterClock:
    """Shown time of a true instant. `offset_min` is the meter's zone, east of Greenwich positive."""

    def __init__(
        self, offset_min: int, *, error_s: float = 0.0, jumps: Sequence[Fault] = (), shows_deviation: bool = True
    ) -> None:
        self.offset_min = offset_min
        self.shows_deviation = shows_deviation
        self._jumps = _stretches(round(error_s * 1000), jumps)
        self._from = [jump.at_ms for jump in self._jumps]

    def error_ms(self, at_ms: Ms) -> int:
        return self._jumps[bisect_right(self._from, at_ms) - 1].error_ms

    def shown_ms(self, at_ms: Ms) -> Ms:
        """UTC as the meter believes it."""
        return at_ms + self.error_ms(at_ms)

    def date_time(self, at_ms: Ms) -> bytes:
        """The clock at a true instant, to the second."""
        return self.written(self.shown_ms(at_ms) // 1000 * 1000)

    def written(self, shown_ms: Ms) -> bytes:
        """Twelve octets of a time that the meter believes."""
        local = datetime.fromtimestamp(shown_ms // 1000, UTC) + timedelta(minutes=self.offset_min)
        deviation = -self.offset_min if self.shows_deviation else NO_DEVIATION
        return (
            local.year.to_bytes(2, "big")
            + bytes((local.month, local.day, local.isoweekday(), local.hour, local.minute, local.second, 0))
            + deviation.to_bytes(2, "big", signed=True)
            + b"\x00"
        )

    def read(self, octets: bytes) -> Ms | None:
        """A date-time of a client as the meter's UTC; None where its date is not specified. Raises Malformed."""
        if len(octets) != 12:
            raise Malformed(f"a date-time of {len(octets)} octets")
        year, month, day = int.from_bytes(octets[:2], "big"), octets[2], octets[3]
        if year == 0xFFFF or 0xFF in (month, day):
            return None
        hour, minute, second = (0 if part == 0xFF else part for part in octets[5:8])
        deviation = int.from_bytes(octets[9:11], "big", signed=True)
        try:
            local = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError:
            raise Malformed(f"no such time: {octets.hex()}") from None
        minutes = -self.offset_min if deviation == NO_DEVIATION else deviation
        return int((local + timedelta(minutes=minutes)).timestamp()) * 1000

    def instants(self, period_ms: Ms, from_ms: Ms, to_ms: Ms) -> Iterator[tuple[Ms, Ms]]:
        """True and shown instant of every full period that this clock passes in [from_ms, to_ms], in true order."""
        phase_ms = self.offset_min * 60_000
        for (at_ms, error_ms), until_ms in zip(self._jumps, [*self._from[1:], to_ms + 1], strict=True):
            first_ms = max(at_ms, from_ms) + error_ms + phase_ms
            shown_ms = -(-first_ms // period_ms) * period_ms - phase_ms
            while shown_ms - error_ms < min(until_ms, to_ms + 1):
                yield shown_ms - error_ms, shown_ms
                shown_ms += period_ms

    @property
    def jumps(self) -> Iterator[tuple[Ms, int, int]]:
        """When the clock was set: the true instant, the error before and after."""
        for before, after in zip(self._jumps, self._jumps[1:], strict=False):
            yield after.at_ms, before.error_ms, after.error_ms


def _stretches(error_ms: int, faults: Iterable[Fault]) -> list[Jump]:
    """The clock's error over time; of two faults in force the later one counts."""
    listed = list(faults)
    stretches = [Jump(-(1 << 62), error_ms)]
    for edge_ms in sorted({edge for fault in listed for edge in (fault.from_ms, fault.to_ms)}):
        off = [round(fault.value * 1000) for fault in listed if fault.in_force(edge_ms)]
        now_ms = error_ms + (off[-1] if off else 0)
        if edge_ms <= stretches[0].at_ms:
            stretches = [Jump(edge_ms, now_ms)]
        elif now_ms != stretches[-1].error_ms:
            stretches.append(Jump(edge_ms, now_ms))
    return stretches
