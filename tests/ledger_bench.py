"""A ledger of one point on the bench: readings in by name, everything that came out of it kept."""

from __future__ import annotations

import json
from math import sqrt
from typing import Any

from edge_agent.load.ledger import LoadLedger
from edge_agent.load.points import LoadPoint
from edge_agent.load.views import Demand, Interval, RegisterEvent
from edge_agent.model import Identity, Ms, Quantity, Reading
from tests.on_paper import MINUTE_MS, local_ms

EP, EQ = Quantity.ACTIVE_ENERGY_IMPORT, Quantity.REACTIVE_ENERGY_IMPORT
EP_OUT, EQ_OUT = Quantity.ACTIVE_ENERGY_EXPORT, Quantity.REACTIVE_ENERGY_EXPORT
P, Q, S = Quantity.ACTIVE_POWER, Quantity.REACTIVE_POWER, Quantity.APPARENT_POWER
TEN = local_ms("2026-03-10 10:00")
K = 80.0
S_CAP_VA = sqrt(3) * 400 * 400
"""A CT 400/5 at 400 V: 277.13 kVA."""
STEP_WH = 10.0
POLL_MS = 15_000


def point(**changes: Any) -> LoadPoint:
    """The factory of the paper: 15/1 behind a CT 400/5, registers in the 6.2 format, polled every 15 s."""
    facts: dict[str, Any] = {
        "id": "p", "device": "m1", "period_ms": 15 * MINUTE_MS, "slide_ms": MINUTE_MS, "poll_ms": POLL_MS,
        "k": ((0, K),), "s_cap_va": ((0, S_CAP_VA),), "modulus": {EP: 1e9, EQ: 1e9}, "quantities": frozenset({EP}),
    }  # fmt: skip
    return LoadPoint(**{**facts, **changes})


class Bench:
    """A ledger of one point with everything that came out of it."""

    def __init__(self, **changes: Any) -> None:
        self.ledger = LoadLedger([point(**changes)])
        self.intervals: list[Interval] = []
        self.events: list[RegisterEvent] = []

    def read(self, t_ms: Ms, **values: float) -> None:
        """One tick: values by name, energies in kWh and kvarh, powers in W and var as the meter shows them."""
        names = {"ep": EP, "eq": EQ, "ep_out": EP_OUT, "eq_out": EQ_OUT, "p": P, "q": Q, "s": S}
        step = values.pop("step", STEP_WH)
        energies = {n: Reading("m1", names[n], v * 1000, step, t_ms, None) for n, v in values.items() if n[0] == "e"}
        powers = {n: Reading("m1", names[n], v, 0.0, t_ms, None) for n, v in values.items() if n[0] != "e"}
        self.feed([*energies.values(), *powers.values()])

    def feed(self, readings: list[Reading]) -> None:
        self.ledger.feed((r, r.bt_ms) for r in readings)
        self.settle(max((r.bt_ms for r in readings), default=0))

    def identify(self, t_ms: Ms, serial: str) -> None:
        self.ledger.identify(Identity("m1", Quantity.METER_SERIAL, serial, t_ms, None), t_ms)
        self.settle(t_ms)

    def settle(self, now_ms: Ms) -> None:
        self.intervals += self.ledger.close()
        self.events += self.ledger.events(now_ms)

    def runs(
        self, start_ms: Ms, until_ms: Ms, kwh: float, watts: float, every_ms: Ms = POLL_MS, **more: float
    ) -> float:
        """Constant primary power from `start_ms`, register `kwh` there; the register at `until_ms`."""
        for t in range(start_ms, until_ms + 1, every_ms):
            self.read(t, ep=kwh + watts / 1000 / K * (t - start_ms) / 3.6e6, step=0.0, **more)
        return kwh + watts / 1000 / K * (until_ms - start_ms) / 3.6e6

    def restarted(self) -> None:
        plain = json.loads(json.dumps(self.ledger.delta()))
        self.ledger = LoadLedger(self.ledger.points)
        self.ledger.restore([plain])

    def ending(self, end: str, count: int = 1) -> Interval:
        (found,) = [i for i in self.intervals if i.end_ms == local_ms(f"2026-03-10 {end}") and i.count == count]
        return found

    def kw(self, end: str) -> float:
        demand = register(self.ending(end))
        assert demand.active is not None
        return demand.active.value / 1000


def register(interval: Interval) -> Demand:
    assert interval.register is not None, interval
    return interval.register


def sampled(interval: Interval) -> Demand:
    assert interval.sampled is not None, interval
    return interval.sampled


def kinds(bench: Bench) -> list[str]:
    return [e.kind for e in bench.events]
