"""What can be wrong with a point, written into its `World`; each says what is true from when on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from edge_agent.model import EVENTS, Ms, Quantity
from tests.truth.customer import PRIMARIES_A, Customer, table_of
from tests.truth.meter import BERLIN, World

DAY_S = 86_400


@dataclass
class Happening:
    """What is true: from when, until when (None: to the end), and what differs in the site file."""

    from_ms: Ms
    until_ms: Ms | None = None
    table: dict[str, Any] = field(default_factory=dict)


Apply = Callable[[World, np.random.Generator], Happening]
Change = Callable[[Customer, np.random.Generator], Customer]


def same(customer: Customer, rng: np.random.Generator) -> Customer:
    return customer


def at(world: World, share: float) -> int:
    return int(share * world.load.ticks)


def when(world: World, tick: int) -> Ms:
    """The end of the tick before: from there on what was written from `tick` on is so."""
    return world.load.start_ms + tick * world.load.every_s * 1000


def onset(world: World, rng: np.random.Generator, low: float = 0.15, high: float = 0.45) -> int:
    return at(world, float(rng.uniform(low, high)))


# -- metering ---------------------------------------------------------------------------------------------------------


def with_ct(customer: Customer, rng: np.random.Generator) -> Customer:
    return replace(customer, has_ct=True, share=max(customer.share, 0.6), register="0.01 kWh")


def fine(customer: Customer, rng: np.random.Generator) -> Customer:
    return replace(customer, register="0.01 kWh", share=max(customer.share, 0.6))


def ratio(world: World, rng: np.random.Generator) -> Happening:
    """The transformers that hang there are one or two sizes larger than the archive's."""
    size = PRIMARIES_A.index(world.customer.ct_a)
    real = PRIMARIES_A[min(size + int(rng.integers(1, 3)), len(PRIMARIES_A) - 1)]
    world.ratio = real / world.customer.ct_a
    return Happening(world.load.start_ms)


def larger_exists(customer: Customer, rng: np.random.Generator) -> Customer:
    customer = with_ct(customer, rng)
    return replace(customer, ct_a=min(customer.ct_a, 1000.0), contract_kva=min(customer.contract_kva, 500.0))


def unmetered(world: World, rng: np.random.Generator) -> Happening:
    tick = at(world, 0.25)
    phases = [int(rng.integers(3))] if rng.random() < 0.5 else [0, 1, 2]
    world.unseen_a[phases, tick:] = 40.0
    return Happening(when(world, tick))


def small_ct(customer: Customer, rng: np.random.Generator) -> Customer:
    """40 A are a lot for transformers of up to 400 A."""
    kva = float(rng.choice((100.0, 125.0, 160.0, 200.0, 250.0)))
    ct_a = next(a for a in PRIMARIES_A if a >= kva * 1000 / 692.8 * 1.05)
    return replace(with_ct(customer, rng), contract_kva=kva, ct_a=ct_a)


def volt_loss(world: World, rng: np.random.Generator) -> Happening:
    tick = onset(world, rng)
    world.volts[int(rng.integers(3)), tick:] = float(rng.uniform(0.0, 0.6))
    return Happening(when(world, tick))


def curr_loss(world: World, rng: np.random.Generator) -> Happening:
    tick = onset(world, rng)
    world.amps[int(rng.integers(3)), tick:] = 0.0
    return Happening(when(world, tick))


def phase_break(world: World, rng: np.random.Generator) -> Happening:
    tick, phase = onset(world, rng), int(rng.integers(3))
    world.volts[phase, tick:] = float(rng.uniform(0.0, 0.3))
    world.amps[phase, tick:] = 0.0
    return Happening(when(world, tick))


def reversed(world: World, rng: np.random.Generator) -> Happening:
    tick = onset(world, rng)
    world.turned[int(rng.integers(3)), tick:] = -1.0
    return Happening(when(world, tick))


def element_lost(world: World, rng: np.random.Generator) -> Happening:
    tick = onset(world, rng)
    world.mute[int(rng.integers(3)), tick:] = 0.0
    return Happening(when(world, tick))


def stop(world: World, rng: np.random.Generator) -> Happening:
    tick = onset(world, rng)
    world.pace[tick:] = 0.0
    return Happening(when(world, tick))


def fly(world: World, rng: np.random.Generator) -> Happening:
    tick = onset(world, rng)
    world.pace[tick:] = float(rng.uniform(12, 40))
    return Happening(when(world, tick))


def off(world: World, rng: np.random.Generator) -> Happening:
    tick = at(world, 0.25)
    world.pace[tick:] = 1 + float(rng.choice([-1, 1])) * float(rng.uniform(0.09, 0.2))
    return Happening(when(world, tick))


def decrease(world: World, rng: np.random.Generator) -> Happening:
    tick = onset(world, rng)
    world.moved_wh[tick] = -float(rng.uniform(100, 50_000)) - 100.0
    return Happening(when(world, tick))


def counter(*codes: str) -> Apply:
    def apply(world: World, rng: np.random.Generator) -> Happening:
        tick = onset(world, rng)
        world.counts[EVENTS[str(rng.choice(codes))]][tick] = 1.0
        return Happening(when(world, tick))

    return apply


# -- capacity ---------------------------------------------------------------------------------------------------------


def grows(factor: float) -> Apply:
    """Equipment is added when what is agreed is nearly used: the days since reach the contract."""

    def apply(world: World, rng: np.random.Generator) -> Happening:
        load, contract_va = world.load, world.customer.contract_kva * 1000
        blocks = load.blocks_va()
        before = blocks[: int(0.6 * len(blocks)) // 96 * 96].reshape(-1, 96)
        usual = float(np.median(np.quantile(before, 0.95, axis=1)))
        scale = contract_va * float(rng.uniform(0.98, 1.03)) / factor / usual
        tick = at(world, 0.6)
        step = tick * load.sub
        load.p *= scale
        load.q *= scale
        load.p[step:] *= factor
        load.q[step:] *= factor
        return Happening(when(world, tick))

    return apply


def near(share: float) -> Change:
    def change(customer: Customer, rng: np.random.Generator) -> Customer:
        share_now = share * float(rng.uniform(0.99, 1.01))
        return replace(customer, share=share_now, by_demand=False, register="0.01 kWh")

    return change


def over(low: float, high: float, *, by_demand: bool = False) -> Change:
    def change(customer: Customer, rng: np.random.Generator) -> Customer:
        share = float(rng.uniform(low, high))
        larger = PRIMARIES_A[min(PRIMARIES_A.index(customer.ct_a) + 1, len(PRIMARIES_A) - 1)]
        register = str(rng.choice(("0.01 kWh", "0.001 kWh", "0.0001 kWh")))
        return replace(customer, share=share, by_demand=by_demand, register=register, ct_a=larger)

    return change


def as_drawn(world: World, rng: np.random.Generator) -> Happening:
    """The load itself is what is true: the first window over the contract."""
    customer, load = world.customer, world.load
    if customer.by_demand:
        over = load.sliding_w() > customer.contract_w * 1.05
    else:
        over = load.sliding_va() > customer.contract_kva * 1000
    width = round(900 / load.step_s)
    first = int(np.argmax(over)) + width if over.any() else len(load.p)
    return Happening(load.start_ms + round(first * load.step_s * 1000))


def suspended(world: World, rng: np.random.Generator) -> Happening:
    """The whole capacity is suspended for a fortnight, and used as before."""
    start = datetime.fromtimestamp(world.load.start_ms / 1000, BERLIN).date()
    from_, to = start + timedelta(days=4), start + timedelta(days=18)
    known = table_of(world.customer)["capacity"][0]
    table = {"capacity": [known, {**known, "from": from_, "status": "suspended"}, {**known, "from": to}]}
    return Happening(_midnight_ms(from_), _midnight_ms(to), table)


def _midnight_ms(day: date) -> Ms:
    return round(datetime(day.year, day.month, day.day, tzinfo=BERLIN).timestamp() * 1000)


# -- archive, data, supply --------------------------------------------------------------------------------------------


def serial(world: World, rng: np.random.Generator) -> Happening:
    tick = onset(world, rng)
    world.serials.append((tick, f"{int(rng.integers(10**9)):010d}"))
    return Happening(when(world, tick))


def setting(world: World, rng: np.random.Generator) -> Happening:
    if rng.random() < 0.5:
        world.settings[Quantity.CT_RATIO] = world.customer.k * float(rng.choice((0.5, 1.5, 2.0)))
    else:
        world.settings[Quantity.DEMAND_PERIOD] = 30.0
    return Happening(world.load.start_ms)


def drifts(world: World, rng: np.random.Generator) -> Happening:
    """The clock runs away until it is 2 to 15 minutes off; from 60 s on it is."""
    way, end = float(rng.choice([-1, 1])), float(rng.uniform(120, 900))
    drift = np.linspace(0, end, world.load.ticks)
    world.clock_s[:] = way * drift
    return Happening(when(world, int(np.argmax(drift > 62))))


def silent(world: World, rng: np.random.Generator) -> Happening:
    tick = onset(world, rng)
    end = tick + round(float(rng.uniform(0.75, 6)) * 3600 / world.load.every_s)
    world.lost[tick:end] = True
    return Happening(when(world, tick), when(world, end))


def gappy(world: World, rng: np.random.Generator) -> Happening:
    """Half of all rounds of a day do not come, in stretches: much more than one in twenty of its intervals is lost."""
    per_day = DAY_S // world.load.every_s
    stretch = 3600 // world.load.every_s
    for start in range(per_day, 2 * per_day, 2 * stretch):
        world.lost[start : start + stretch] = True
    return Happening(when(world, per_day), when(world, 2 * per_day))


def outage(world: World, rng: np.random.Generator) -> Happening:
    tick = onset(world, rng)
    end = tick + round(float(rng.uniform(0.5, 4)) * 3600 / world.load.every_s)
    world.supply[tick:end] = 0.0
    return Happening(when(world, tick), when(world, end))


def generates(world: World, rng: np.random.Generator) -> Happening:
    """From the second day on more is generated around noon than is used."""
    load = world.load
    tick = at(world, 0.25)
    hour = (np.arange(len(load.p)) * load.step_s / 3600.0) % 24
    curve = np.clip(np.cos((hour - 12.5) / 12.5 * np.pi), 0, None) ** 1.5
    curve[: tick * load.sub] = 0.0
    world.generated_w = curve * load.p.max() * float(rng.uniform(0.9, 1.3))
    return Happening(when(world, tick))
