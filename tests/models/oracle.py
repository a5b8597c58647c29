"""Demand with bounds, the slow way: straight lines between readings, plain lists, one window at a time.

Written from the rule, not from the ledger: a register moves in steps, so a difference is known to one step; a boundary
inside a segment that vouches for its time lies on the straight line, inside any other it lies anywhere between the two
readings; sampled power that is missing counts zero in `low` and what the transformers carry in `high`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise
from math import hypot, nan

HOUR_MS = 3_600_000
USABLE = 0.80


@dataclass(frozen=True)
class At:
    """What a register can have shown at one instant, primary side, counted from its first reading."""

    low_wh: float
    high_wh: float
    step_wh: float


@dataclass(frozen=True)
class Window:
    """Mean power over a window, W (or var, VA); `told`: whether the readings bound it at all."""

    low: float
    value: float
    high: float
    coverage: float
    told: bool = True


def vouches(dt_ms: int, poll_ms: int) -> bool:
    """A segment longer than one and a half polls, and a minute, vouches for nothing."""
    return dt_ms <= max(1.5 * poll_ms, 60_000)


class RegisterOracle:
    """One register's readings: (t_ms, value, step) in its own unit, in order."""

    def __init__(
        self, readings: list[tuple[int, float, float]], *, k: float, poll_ms: int, modulus: float | None = None
    ) -> None:
        self.t = [t for t, _, _ in readings]
        self.step = [s * k for _, _, s in readings]
        self.energy = [0.0]
        self.poll_ms = poll_ms
        for (_, old, _), (_, new, _) in pairwise(readings):
            moved = new - old
            if moved < 0:
                assert modulus is not None
                moved += modulus
            self.energy.append(self.energy[-1] + moved * k)

    def segment(self, at_ms: int) -> int | None:
        """The number of the reading at or after `at_ms`, None where no reading has passed it or none is before."""
        if at_ms < self.t[0] or at_ms > self.t[-1]:
            return None
        return bisect_left(self.t, at_ms)

    def at(self, at_ms: int) -> At | None:
        i = self.segment(at_ms)
        if i is None:
            return None
        if self.t[i] == at_ms:
            return At(self.energy[i], self.energy[i], self.step[i])
        t0, t1, before, after = self.t[i - 1], self.t[i], self.energy[i - 1], self.energy[i]
        step = max(self.step[i - 1], self.step[i])
        if not vouches(t1 - t0, self.poll_ms):
            return At(before, after, step)
        between = before + (after - before) * (at_ms - t0) / (t1 - t0)
        return At(between, between, step)

    def window(self, start_ms: int, end_ms: int) -> Window | None:
        first, last = self.at(start_ms), self.at(end_ms)
        if first is None or last is None:
            return None
        step = max(first.step_wh, last.step_wh)
        hours = (end_ms - start_ms) / HOUR_MS
        low = max(0.0, last.low_wh - first.high_wh - step) / hours
        high = (last.high_wh - first.low_wh + step) / hours
        middle = ((last.low_wh + last.high_wh) - (first.low_wh + first.high_wh)) / 2 / hours
        return Window(low, middle, high, self.coverage(start_ms, end_ms), not self.blind(start_ms, end_ms))

    def exact(self, at_ms: int) -> float | None:
        """The register at an instant that a reading or a vouched segment pins down."""
        there = self.at(at_ms)
        return there.low_wh if there is not None and there.high_wh - there.low_wh <= 1e-6 else None

    def moved_in_every_gap(self) -> bool:
        gaps = [i for i in range(1, len(self.t)) if not vouches(self.t[i] - self.t[i - 1], self.poll_ms)]
        return all(self.energy[i] > self.energy[i - 1] for i in gaps)

    def blind(self, start_ms: int, end_ms: int) -> bool:
        """Whether one long segment hides the whole window: nothing but its sum over all is known."""
        i, j = self.segment(start_ms), self.segment(end_ms)
        if i is None or j is None or i == 0 or self.t[j] == end_ms or self.t[i] == start_ms:
            return False
        return i == j and not vouches(self.t[i] - self.t[i - 1], self.poll_ms)

    def coverage(self, start_ms: int, end_ms: int) -> float:
        covered = 0
        for i in range(max(1, bisect_right(self.t, start_ms)), len(self.t)):
            t0, t1 = self.t[i - 1], self.t[i]
            if t0 >= end_ms:
                break
            if vouches(t1 - t0, self.poll_ms):
                covered += min(t1, end_ms) - max(t0, start_ms)
        return covered / (end_ms - start_ms)


class PowerOracle:
    """Samples (t_ms, power), primary side: between two of them the power lies between them."""

    def __init__(self, samples: list[tuple[int, float]], *, s_cap_va: float, poll_ms: int) -> None:
        self.t = [t for t, _ in samples]
        self.power = [p for _, p in samples]
        self.s_cap_va = s_cap_va
        self.poll_ms = poll_ms

    def window(self, start_ms: int, end_ms: int) -> Window | None:
        if start_ms < self.t[0] or end_ms > self.t[-1]:
            return None
        low = high = value = 0.0
        covered, told = 0, True
        for i in range(bisect_right(self.t, start_ms), len(self.t)):
            t0, t1, p0, p1 = self.t[i - 1], self.t[i], self.power[i - 1], self.power[i]
            overlap = min(t1, end_ms) - max(t0, start_ms)
            if overlap <= 0:
                break
            if vouches(t1 - t0, self.poll_ms):
                low += overlap * min(p0, p1)
                high += overlap * max(p0, p1)
                value += overlap * (p0 + p1) / 2
                covered += overlap
            else:
                high += overlap * self.s_cap_va
                told = told and overlap < end_ms - start_ms
        span = end_ms - start_ms
        mean = value / covered if covered >= USABLE * span else nan
        return Window(low / span, mean, high / span, covered / span, told)


def apparent(active: Window, reactive: Window) -> tuple[float, float]:
    """Bounds of apparent power from those of active and reactive."""
    return hypot(active.low, reactive.low), hypot(active.high, reactive.high)
