"""Poll histories as a field bus makes them, with the truth beside: polls late or lost, gaps, rollovers, coarse floats.

Power is constant between two readings that vouch for their time and does what it likes in any longer gap, so that the
truth of every window can be integrated exactly and must lie between the bounds.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from math import floor, frexp, hypot, sqrt
from random import Random

from edge_agent.load.points import LoadPoint
from edge_agent.model import Quantity, Reading
from tests.models.oracle import HOUR_MS, vouches

MINUTE_MS = 60_000
START_MS = 1_772_323_200_000  # 2026-03-01 00:00 UTC
GRIDS = ((15, 1), (15, 5), (15, 15), (30, 30), (60, 1))
K = 80.0
S_CAP_VA = sqrt(3) * 400 * 400
MODULUS_WH = 1e9  # six digits of kWh
P, Q = Quantity.ACTIVE_POWER, Quantity.REACTIVE_POWER
EP, EQ = Quantity.ACTIVE_ENERGY_IMPORT, Quantity.REACTIVE_ENERGY_IMPORT


def float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def ulp32(value: float) -> float:
    """Distance between two neighbouring 32-bit floats at this value."""
    return float(2.0 ** (frexp(value)[1] - 24))


@dataclass(frozen=True)
class Meter:
    """How a cumulative register shows its energy: in steps of a display, or as a 32-bit float of kWh."""

    start_wh: float
    step_wh: float | None  # None: float32

    def shows(self, moved_wh: float) -> tuple[float, float]:
        """Reading and step, Wh, its own side of the transformers."""
        total = self.start_wh + moved_wh
        if self.step_wh is None:
            kwh = float32(total / 1000)
            return kwh * 1000, ulp32(kwh) * 1000
        return floor((total % MODULUS_WH) / self.step_wh + 1e-9) * self.step_wh, self.step_wh


@dataclass
class Truth:
    """Power that is constant from each instant to the next, primary side."""

    t: list[int] = field(default_factory=list)
    watts: list[float] = field(default_factory=list)
    energy_wms: list[float] = field(default_factory=list)

    def goes_on(self, t_ms: int, watts: float) -> None:
        """From `t_ms` on the power is this."""
        passed = self.watts[-1] * (t_ms - self.t[-1]) if self.t else 0.0
        self.energy_wms.append((self.energy_wms[-1] if self.t else 0.0) + passed)
        self.t.append(t_ms)
        self.watts.append(watts)

    def wms(self, at_ms: int) -> float:
        i = bisect_right(self.t, at_ms) - 1
        return self.energy_wms[i] + self.watts[i] * (at_ms - self.t[i])

    def mean(self, start_ms: int, end_ms: int) -> float:
        return (self.wms(end_ms) - self.wms(start_ms)) / (end_ms - start_ms)


@dataclass
class PointHistory:
    """One point: what it is, when it was read, what the meter showed, and what was true."""

    point: LoadPoint
    times: list[int]
    registers: dict[Quantity, list[tuple[int, float, float]]]
    samples: dict[Quantity, list[tuple[int, float]]]
    truth: dict[Quantity, Truth]
    rollovers: int

    def readings(self) -> list[tuple[Reading, int]]:
        device = self.point.device
        out = [
            (Reading(device, quantity, value, step, t, None), t)
            for quantity, rows in self.registers.items()
            for t, value, step in rows
        ]
        return out + [
            (Reading(device, quantity, watts / K, 0.0, t, None), t)
            for quantity, rows in self.samples.items()
            for t, watts in rows
        ]


def point_history(name: str, random: Random) -> PointHistory:
    period, slide = random.choice(GRIDS)
    poll_ms = random.choice((15_000, 30_000, 30_000, 60_000, 60_000))
    times = _times(random, poll_ms, period * MINUTE_MS, slide * MINUTE_MS)
    truth = {P: Truth(), Q: Truth()}
    for t0, t1 in zip(times, [*times[1:], times[-1] + poll_ms], strict=True):
        pieces = [t0]
        if not vouches(t1 - t0, poll_ms):
            pieces += sorted(random.randrange(t0 + 1, t1) for _ in range(random.randrange(4)))
        for t in dict.fromkeys(pieces):
            truth[P].goes_on(t, random.choice((0.0, 0.1, 0.5, 0.7)) * random.uniform(0.8, 1.0) * S_CAP_VA)
            truth[Q].goes_on(t, random.uniform(0.0, 0.6) * S_CAP_VA)
    kinds = random.choice((("registers", "samples"), ("registers",), ("registers",), ("samples",)))
    with_q = random.random() < 0.85
    meter, rolls = _meter(random)
    registers: dict[Quantity, list[tuple[int, float, float]]] = {}
    samples: dict[Quantity, list[tuple[int, float]]] = {}
    for energy, power in ((EP, P), (EQ, Q)):
        if power is Q and not with_q:
            continue
        if "registers" in kinds:
            registers[energy] = [(t, *meter.shows(truth[power].wms(t) / HOUR_MS / K)) for t in times]
        if "samples" in kinds:
            samples[power] = [(t, truth[power].watts[bisect_right(truth[power].t, t) - 1]) for t in times]
    point = LoadPoint(
        id=name,
        device=f"meter-{name}",
        period_ms=period * MINUTE_MS,
        slide_ms=slide * MINUTE_MS,
        poll_ms=poll_ms,
        k=((0, K),),
        s_cap_va=((0, S_CAP_VA),),
        modulus=dict.fromkeys((EP, EQ), MODULUS_WH),
        quantities=frozenset([*registers, *samples]),
    )
    wrapped = sum(b[1] < a[1] for rows in registers.values() for a, b in pairwise(rows))
    assert rolls or not wrapped
    return PointHistory(point, times, registers, samples, truth, wrapped)


def apparent_samples(history: PointHistory) -> list[tuple[int, float]]:
    """S of samples taken at the same instant."""
    active, reactive = history.samples[P], history.samples[Q]
    return [(t, hypot(p, q)) for (t, p), (_, q) in zip(active, reactive, strict=True)]


def _meter(random: Random) -> tuple[Meter, bool]:
    if random.random() < 0.3:
        return Meter(random.choice((1e6, 6.5535e7, 3e8, 9.99e8)), None), False
    if random.random() < 0.4:
        return Meter(MODULUS_WH - random.uniform(0, 800), 10.0), True
    return Meter(random.uniform(0, 9e8), random.choice((1.0, 10.0, 100.0))), False


def _times(random: Random, poll_ms: int, period_ms: int, slide_ms: int) -> list[int]:
    """When the meter answered: polls on a grid with jitter, some lost, some long gaps; some right on a boundary."""
    t = START_MS + random.choice((0, random.randrange(period_ms)))
    end = t + round(random.uniform(1.6, 4.0) * period_ms)
    longest = max(2 * slide_ms, period_ms)
    times = [t]
    while t < end:
        kind = random.random()
        if kind < 0.90:
            step = poll_ms
        elif kind < 0.96:
            step = poll_ms * random.randrange(2, 6)
        else:
            gap = random.choice((61_000, 90_500, 5 * MINUTE_MS, period_ms, round(2.3 * longest)))
            step = round(gap * random.uniform(0.7, 1.3))
            end += step
        jitter = random.choice((0, 0, random.randrange(0, 400), random.randrange(-poll_ms // 6, poll_ms // 6)))
        after = t + step + jitter
        if random.random() < 0.25:
            after = round(after / MINUTE_MS) * MINUTE_MS
        t = max(t + 1_000, after)
        times.append(t)
    return times
