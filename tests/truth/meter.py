"""What a meter shows of a load, phase by phase, with the classes of meter and transformers and the steps of displays.

Registers count what reaches the meter. Whatever is wrong is in `World`, in arrays over the ticks that a fault writes
to; a world that nobody has touched is a point in order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import sqrt
from zoneinfo import ZoneInfo

import numpy as np

from edge_agent.model import Quantity
from tests.truth.customer import COUNTERS, ENERGIES, I_PHASE, P_PHASE, PF_PHASE, POWERS, U_N_V, U_PHASE, Customer
from tests.truth.load import Load
from tests.truth.profiles import ZONE, Floats

MODULUS_WH = 1e9
BERLIN = ZoneInfo(ZONE)


@dataclass
class World:
    """A customer, what is taken, and what is wrong between the load and the display.

    `volts`, `amps`: what of a phase's voltage and current reaches the meter; `turned`: -1 where a current transformer
    is reversed; `mute`: an element that counts nothing. `pace`: registers move so much faster than the energy;
    `moved_wh`: what is added to the register at once. `unseen_a`: current of a phase past the meter. `ratio`: that of
    the transformers that hang there over the archive's. `generated_w`: at each step. `supply`: 0 in an outage.
    `clock_s`: how far the clock is ahead. `lost`: the meter does not answer.
    """

    customer: Customer
    load: Load
    volts: Floats = field(init=False)
    amps: Floats = field(init=False)
    turned: Floats = field(init=False)
    mute: Floats = field(init=False)
    pace: Floats = field(init=False)
    moved_wh: Floats = field(init=False)
    unseen_a: Floats = field(init=False)
    supply: Floats = field(init=False)
    clock_s: Floats = field(init=False)
    lost: np.typing.NDArray[np.bool_] = field(init=False)
    ratio: float = 1.0
    generated_w: Floats | None = None
    counts: dict[Quantity, Floats] = field(default_factory=dict)
    serials: list[tuple[int, str]] = field(default_factory=list)
    settings: dict[Quantity, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, customer = self.load.ticks, self.customer
        self.volts, self.amps, self.turned, self.mute = (np.ones((3, n)) for _ in range(4))
        self.unseen_a = np.zeros((3, n))
        self.pace, self.supply = np.ones(n), np.ones(n)
        self.moved_wh, self.clock_s = np.zeros(n), np.zeros(n)
        self.lost = np.zeros(n, np.bool_)
        self.counts = {q: np.zeros(n) for q in COUNTERS}
        self.serials = [(0, customer.serial)]
        self.settings = {
            Quantity.CT_RATIO: customer.k,
            Quantity.DEMAND_PERIOD: 15.0,
            Quantity.DEMAND_SLIDE: float(customer.slide_min),
        }


@dataclass
class Shown:
    """Per quantity and tick, the display's value in the quantity's unit; the meter's own side, J primary."""

    meter: dict[Quantity, Floats]
    ct: dict[Quantity, Floats]
    clock: list[str]


def shown(world: World) -> Shown:
    """Everything that can be read, tick by tick."""
    customer, load = world.customer, world.load
    rng = np.random.default_rng([customer.seed, 3])
    n = load.ticks
    day = np.arange(n) * customer.every_s / 86_400.0
    p, q = load.p, load.q
    if world.generated_w is not None:
        p = p - world.generated_w
    if (world.supply != 1).any():
        held = np.repeat(world.supply, load.sub)
        p, q = p * held, q * held
    k = customer.k * world.ratio
    shares = _shares(customer, n, rng)
    classes = 1 + rng.uniform(-0.004, 0.004, 3)  # meter and transformers of class 0.5
    metered = shares * world.volts * world.amps * world.turned * world.mute * classes[:, None]
    p_tick, q_tick = load.at_ticks(p), load.at_ticks(q)
    s_tick = np.hypot(p_tick, q_tick)
    depth = s_tick / (customer.contract_kva * 1000)
    level = (
        1 + 0.012 * np.sin(2 * np.pi * (day + rng.random())) + 0.006 * rng.standard_normal(n) + rng.uniform(-0.01, 0.02)
    )
    u_true = U_N_V / sqrt(3) * (level - 0.02 * depth) * (1 + rng.uniform(-0.004, 0.004, 3))[:, None] * world.supply
    i_true = shares * s_tick / np.maximum(u_true, 1.0)
    out: dict[Quantity, Floats] = {}
    u, i = u_true * world.volts, i_true * world.amps * classes[:, None] / k
    cos = np.divide(p_tick, s_tick, out=np.ones(n), where=s_tick > 0)
    phase_w = metered * p_tick / k
    for phase in range(3):
        out[U_PHASE[phase]] = _steps(u[phase] * (1 + 0.001 * rng.standard_normal(n)), 0.1)
        out[I_PHASE[phase]] = _steps(i[phase], 0.001)
        out[P_PHASE[phase]] = _steps(phase_w[phase], 0.1)
        sign = np.where(phase_w[phase] < 0, -1.0, 1.0) if world.generated_w is not None else world.turned[phase]
        out[PF_PHASE[phase]] = _steps(np.where(world.volts[phase] > 0.1, np.abs(cos) * sign, 1.0), 0.001)
    total_w, total_var = phase_w.sum(axis=0), metered.sum(axis=0) * q_tick / k
    out[POWERS[0]], out[POWERS[1]] = _steps(total_w, 0.1), _steps(total_var, 0.1)
    total_va = np.hypot(total_w, total_var)
    out[Quantity.POWER_FACTOR] = _steps(np.divide(total_w, total_va, out=np.ones(n), where=total_va > 0), 0.001)
    part = metered.sum(axis=0) * world.pace / k
    for quantity, flow in zip(ENERGIES, (p, -p, q, -q), strict=True):
        forward = load.over_ticks(np.maximum(flow, 0.0)) * np.maximum(part, 0.0)
        turned = load.over_ticks(np.maximum(-flow, 0.0)) * np.maximum(-part, 0.0)
        wh = forward + turned + (world.moved_wh if quantity is ENERGIES[0] else 0.0)
        start = customer.start_kwh * 1000 * (1.0, 0.001, 0.4, 0.002)[ENERGIES.index(quantity)]
        out[quantity] = _register(customer, start + np.cumsum(wh))
    for quantity, counts in world.counts.items():
        out[quantity] = np.cumsum(counts) + float(rng.integers(0, 40))
    out |= {quantity: np.full(n, value) for quantity, value in world.settings.items()}
    ct: dict[Quantity, Floats] = {}
    if customer.has_ct:
        off = 1 + rng.uniform(-0.007, 0.007, 3)
        for phase in range(3):
            seen = (i_true[phase] + world.unseen_a[phase] * (world.supply > 0)) * off[phase]
            ct[I_PHASE[phase]] = _steps(seen * (1 + 0.002 * rng.standard_normal(n)), 0.01)
    return Shown(out, ct, [])


def clock_text(utc_ms: int, ahead_s: float) -> str:
    """What a meter's clock shows: local time without its offset, whole seconds."""
    local = datetime.fromtimestamp(utc_ms / 1000 + ahead_s, UTC).astimezone(BERLIN)
    return local.replace(tzinfo=None, microsecond=0).isoformat()


def _shares(customer: Customer, n: int, rng: np.random.Generator) -> Floats:
    fixed = 1 + customer.unbalance * rng.uniform(-1, 1, 3)
    moving = np.ones((3, n)) * fixed[:, None] * (1 + 0.02 * rng.standard_normal((3, n)))
    return np.asarray(moving / moving.sum(axis=0))


def _steps(values: Floats, step: float) -> Floats:
    return np.asarray(np.round(values / step) * step)


def _register(customer: Customer, wh: Floats) -> Floats:
    if customer.register == "float32":
        return np.asarray((wh / 1000).astype(np.float32).astype(np.float64) * 1000)
    step = customer.step_wh(0.0)
    return np.asarray(np.floor((wh % MODULUS_WH) / step + 1e-9) * step)
