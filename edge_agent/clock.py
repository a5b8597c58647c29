"""Time: the gateway's own, a scaled one for demonstrations, a replayed one for files and tests.

Waits and durations run on boot time; the wall clock only names instants. A gateway without a battery-backed clock
wakes up in the past: until it has true time the state is UNSET and has no offset.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.model import ClockQuality, ClockState, Ms

TIMESYNCD = Path("/run/systemd/timesync/synchronized")
FLOOR_MS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
"""No gateway runs this program before it was written."""


class SystemClock:
    """CLOCK_BOOTTIME for durations, CLOCK_REALTIME for names; quality from timesyncd's stamp file."""

    def now_ms(self) -> Ms:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def state(self) -> ClockState:
        wall_ms, boot_ms = time.time_ns() // 1_000_000, self.now_ms()
        if wall_ms < FLOOR_MS:
            return ClockState(ClockQuality.UNSET, None, None)
        if TIMESYNCD.exists():
            return ClockState(ClockQuality.SYNCED, wall_ms - boot_ms, 500)
        return ClockState(ClockQuality.RTC, wall_ms - boot_ms, None)

    async def sleep_until(self, bt_ms: Ms) -> None:
        await asyncio.sleep(max(0, bt_ms - self.now_ms()) / 1000)


class ScaledClock:
    """A day in minutes: UTC = start + (boot time - anchor) x rate, the same in every process that is told the same.

    Its own boot time is scaled too, so that time-outs of the field bus must be given in real seconds by their owners.
    """

    def __init__(self, *, start_ms: Ms, anchor_bt_ms: Ms, rate: float) -> None:
        if rate <= 0:
            raise ValueError(f"clock rate is {rate}, must be above 0")
        self.rate = rate
        self._start_ms = start_ms
        self._anchor_ms = anchor_bt_ms

    def now_ms(self) -> Ms:
        real_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return int((real_ns / 1e6 - self._anchor_ms) * self.rate)

    def state(self) -> ClockState:
        return ClockState(ClockQuality.SYNCED, self._start_ms, 500)

    async def sleep_until(self, bt_ms: Ms) -> None:
        await asyncio.sleep(max(0, bt_ms - self.now_ms()) / 1000 / self.rate)


class ReplayedClock:
    """Time that stands until it is told to move."""

    def __init__(self, now_ms: Ms = 0, state: ClockState | None = None) -> None:
        self._now_ms = now_ms
        self._state = state if state is not None else ClockState(ClockQuality.SYNCED, 0, 0)

    def now_ms(self) -> Ms:
        return self._now_ms

    def state(self) -> ClockState:
        return self._state

    def set(self, now_ms: Ms, state: ClockState | None = None) -> None:
        self._now_ms = now_ms
        self._state = state if state is not None else self._state

    async def sleep_until(self, bt_ms: Ms) -> None:
        self._now_ms = max(self._now_ms, bt_ms)
        await asyncio.sleep(0)
