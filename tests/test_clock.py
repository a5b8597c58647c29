"""The gateway's clocks: durations on boot time, names from the wall, and UNSET where neither can be believed."""

from __future__ import annotations

import asyncio
import time

import pytest

from edge_agent import clock as module
from edge_agent.clock import FLOOR_MS, ReplayedClock, ScaledClock, SystemClock
from edge_agent.model import ClockQuality, ClockState


def at_wall(monkeypatch: pytest.MonkeyPatch, wall_ms: int) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: wall_ms * 1_000_000)


def test_a_gateway_that_wakes_up_in_the_past_has_no_time(monkeypatch):
    at_wall(monkeypatch, FLOOR_MS - 1)
    assert SystemClock().state() == ClockState(ClockQuality.UNSET, None, None)
    assert SystemClock().state().utc_ms(5) is None


@pytest.mark.parametrize(("synchronised", "quality"), [(True, ClockQuality.SYNCED), (False, ClockQuality.RTC)])
def test_quality_comes_from_the_service_that_sets_the_clock(monkeypatch, tmp_path, synchronised, quality):
    stamp = tmp_path / "synchronized"
    if synchronised:
        stamp.touch()
    monkeypatch.setattr(module, "TIMESYNCD", stamp)
    at_wall(monkeypatch, FLOOR_MS + 1000)
    clock = SystemClock()
    state = clock.state()
    assert state.quality is quality
    assert (state.error_ms is not None) == synchronised, "a clock that nobody compared has no bound"
    assert state.utc_ms(clock.now_ms()) == pytest.approx(FLOOR_MS + 1000, abs=1000)


def test_boot_time_goes_on_when_the_wall_clock_is_set(monkeypatch):
    clock = SystemClock()
    before = clock.now_ms()
    at_wall(monkeypatch, FLOOR_MS + 10**9)
    assert 0 <= clock.now_ms() - before < 5000


def test_a_scaled_clock_is_the_same_in_every_process_that_is_told_the_same():
    anchor = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    one, two = (ScaledClock(start_ms=1_000_000, anchor_bt_ms=anchor, rate=600.0) for _ in range(2))
    assert abs(one.now_ms() - two.now_ms()) < 600_000
    assert one.state().utc_ms(0) == 1_000_000, "the start is the anchor's UTC"
    with pytest.raises(ValueError, match="rate is 0"):
        ScaledClock(start_ms=0, anchor_bt_ms=0, rate=0)


def test_a_scaled_minute_is_short():
    clock = ScaledClock(start_ms=0, anchor_bt_ms=time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000, rate=6000.0)
    began = time.monotonic()
    until = clock.now_ms() + 60_000
    asyncio.run(clock.sleep_until(until))
    assert clock.now_ms() >= until - 100
    assert time.monotonic() - began < 5


def test_a_replayed_clock_stands_until_it_is_told():
    clock = ReplayedClock(5, ClockState(ClockQuality.SYNCED, 100, 0))
    assert clock.state().utc_ms(clock.now_ms()) == 105
    clock.set(9, ClockState(ClockQuality.UNSET, None, None))
    assert (clock.now_ms(), clock.state().offset_ms) == (9, None)
    clock.set(10)
    assert clock.state().quality is ClockQuality.UNSET
    asyncio.run(clock.sleep_until(50))
    asyncio.run(clock.sleep_until(20))
    assert clock.now_ms() == 50
