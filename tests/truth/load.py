"""What a customer really takes: a load class scaled to a contract, with noise inside the quarter hour; primary side.

The truth is finer than what is read: every tick, at which the agent reads, ends so many equal steps of constant power.
Everything is reckoned from these steps: what flowed, what was drawn at the tick, and the demand of every window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.truth.customer import Customer
from tests.truth.profiles import ROWS, YEAR_START_MS, Floats

QUARTER_S = 900


@dataclass
class Load:
    """`p`, `q`: W and var of each step; `sub` steps a tick; `t_ms`: the ticks, `t_ms[0]` before the first step."""

    start_ms: int
    every_s: int
    sub: int
    p: Floats
    q: Floats

    @property
    def ticks(self) -> int:
        return len(self.p) // self.sub

    @property
    def step_s(self) -> float:
        return self.every_s / self.sub

    def times_ms(self) -> np.typing.NDArray[np.int64]:
        return self.start_ms + np.arange(1, self.ticks + 1, dtype=np.int64) * (self.every_s * 1000)

    def at_ticks(self, values: Floats) -> Floats:
        """What is drawn as the tick reads: the step that ends with it."""
        return values[self.sub - 1 :: self.sub]

    def over_ticks(self, values: Floats) -> Floats:
        """What flowed in each tick, W to Wh."""
        return np.asarray(values.reshape(-1, self.sub).sum(axis=1) * (self.step_s / 3600.0))

    def sliding_va(self) -> Floats:
        """Apparent demand over 15 minutes ending with each step, from P and Q as a meter of energies has it."""
        width = round(QUARTER_S / self.step_s)
        p, q = (np.concatenate([[0.0], np.cumsum(x)]) for x in (self.p, self.q))
        return np.asarray(np.hypot(p[width:] - p[:-width], q[width:] - q[:-width]) / width)

    def sliding_w(self) -> Floats:
        width = round(QUARTER_S / self.step_s)
        p = np.concatenate([[0.0], np.cumsum(self.p)])
        return np.asarray((p[width:] - p[:-width]) / width)

    def blocks_w(self) -> Floats:
        width = round(QUARTER_S / self.step_s)
        whole = len(self.p) // width * width
        return np.asarray(self.p[:whole].reshape(-1, width).mean(axis=1))

    def blocks_va(self) -> Floats:
        width = round(QUARTER_S / self.step_s)
        whole = len(self.p) // width * width
        p, q = (x[:whole].reshape(-1, width).mean(axis=1) for x in (self.p, self.q))
        return np.asarray(np.hypot(p, q))


def load_of(customer: Customer, shape: Floats, *, first_day: int, days: int, sub: int) -> Load:
    """`days` from 00:00 of the `first_day` of 2016 on, so scaled that the highest demand is the customer's share."""
    rng = np.random.default_rng([customer.seed, 2])
    per_row = QUARTER_S * sub // customer.every_s
    start = first_day * 96
    rows = shape[np.arange(start, start + days * 96) % ROWS]
    p = np.repeat(rows, per_row)
    steps = np.arange(len(p))
    step_min = customer.every_s / sub / 60.0
    knots = np.arange(0, len(p) + 1, max(1, round(6 / step_min)))
    slow = np.interp(steps, knots, rng.standard_normal(len(knots)))
    p = p * np.clip(1 + customer.noise * slow + 0.3 * customer.noise * rng.standard_normal(len(p)), 0.2, 2.0)
    p = np.maximum(p, 0.002)
    # The power factor wanders by the day and is a little worse where little is drawn.
    knots = np.arange(0, len(p) + 1, round(360 / step_min))
    wander = np.interp(steps, knots, rng.standard_normal(len(knots)))
    tan = np.tan(np.arccos(customer.pf)) * (1 + 0.08 * wander) * (1 + 0.25 * (1 - p / p.max()))
    load = Load(YEAR_START_MS + start * QUARTER_S * 1000, customer.every_s, sub, p, p * np.maximum(tan, 0.02))
    top = float(load.sliding_w().max()) / customer.contract_w if customer.by_demand else (
        float(load.sliding_va().max()) / (customer.contract_kva * 1000)
    )  # fmt: skip
    load.p *= customer.share / top
    load.q *= customer.share / top
    return load
