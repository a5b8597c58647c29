"""Time of a scenario: straight-line from the boot clock, so that processes on one machine agree without talking.

`utc_ms = start_ms + (boot_ms - anchor_bt_ms) * rate`. The agent's clock of kind "scaled" is the same line: give both
the same three numbers and they read the same instant, at any rate.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

Ms = int

DAY_MS = 86_400_000


class SimClock(Protocol):
    def utc_ms(self) -> Ms:
        """UTC now, in the scenario's time."""


@dataclass(frozen=True, slots=True)
class ScaledClock:
    """Scenario time at `rate` seconds a second; it was `start_ms` when the boot clock read `anchor_bt_ms`."""

    start_ms: Ms
    rate: float
    anchor_bt_ms: Ms

    def utc_ms(self) -> Ms:
        # Not from whole milliseconds of boot time: at rate 864 one of them is most of a second.
        return self.utc_at(time.clock_gettime_ns(time.CLOCK_BOOTTIME) / 1e6)

    def utc_at(self, bt_ms: float) -> Ms:
        return self.start_ms + int((bt_ms - self.anchor_bt_ms) * self.rate)

    def real_s_until(self, utc_ms: Ms) -> float:
        """Real seconds from now until scenario time reaches `utc_ms`; negative when it has passed."""
        return (utc_ms - self.utc_ms()) / self.rate / 1000


@dataclass(slots=True)
class HandClock:
    """Time that moves when a test says so."""

    now_ms: Ms

    def utc_ms(self) -> Ms:
        return self.now_ms


def boot_ms() -> Ms:
    """CLOCK_BOOTTIME in ms: counts suspend, the same for every process of the machine."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def system_utc_ms() -> Ms:
    return time.time_ns() // 1_000_000


def to_ms(instant: datetime) -> Ms:
    """UTC ms of an instant that names its offset.

    Raises ValueError for a naive one: a scenario that depends on the reader's time zone is two scenarios.
    """
    if instant.tzinfo is None:
        raise ValueError(f"{instant.isoformat()} names no offset from UTC")
    return int((instant - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


def iso(utc_ms: Ms) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(utc_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
