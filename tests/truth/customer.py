"""A customer as drawn from a seed: load class, contract, transformers, meter; and the site and device made of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from math import sqrt
from typing import Any

import msgspec
import numpy as np
import tomli

from edge_agent.archive import Archive
from edge_agent.model import EVENTS, DeviceSpec, Profile, Quantity, Register
from edge_agent.settings.site import Site, Transformer, as_instant
from tests.on_paper import FACTORY
from tests.truth.profiles import ZONE

U_N_V = 400.0
CONTRACTS_KVA = (50.0, 63.0, 80.0, 100.0, 125.0, 160.0, 200.0, 250.0, 315.0, 400.0, 500.0, 630.0)
PRIMARIES_A = (75.0, 100.0, 150.0, 200.0, 250.0, 300.0, 400.0, 500.0, 600.0, 750.0, 1000.0, 1200.0, 1500.0)
REGISTERS = ("0.01 kWh", "0.01 kWh", "0.1 kWh", "float32", "0.001 kWh", "0.0001 kWh")
"""Displays of DL/T 645 count 0.01 kWh (items of six and two digits); meters read over Modbus or DLMS count finer."""
HOLIDAYS_2016 = tuple(
    date.fromisoformat(f"2016-{day}")
    for day in ("01-01", "03-25", "03-28", "05-05", "05-16", "10-03", "12-25", "12-26", "12-31")
)
PHASES = (1, 2, 3)
P_PHASE, U_PHASE, I_PHASE, PF_PHASE = (
    tuple(Quantity(f"{name}_l{phase}") for phase in PHASES)
    for name in ("active_power", "voltage", "current", "power_factor")
)
ENERGIES = (
    Quantity.ACTIVE_ENERGY_IMPORT, Quantity.ACTIVE_ENERGY_EXPORT,
    Quantity.REACTIVE_ENERGY_IMPORT, Quantity.REACTIVE_ENERGY_EXPORT,
)  # fmt: skip
POWERS = (Quantity.ACTIVE_POWER, Quantity.REACTIVE_POWER)
COUNTERS = tuple(EVENTS[code] for code in ("programming", "meter_reset", "demand_reset", "cover_open",
                                           "terminal_cover_open", "magnetic", "power_off"))  # fmt: skip
_VERIFIED = {"state": "verified"} if "state" in Transformer.__struct_fields__ else {}
"""Of a nameplate, where this version asks how sure it is."""

SLOW_S = 14_400
"""Serial, clock, settings and counters of events are asked so often, s."""


@dataclass(frozen=True)
class Customer:
    """Everything that is fixed about a point. `share`: highest sliding 15-minute demand over the contract."""

    id: str
    seed: int
    shape: str
    share: float
    contract_kva: float
    ct_a: float
    pf: float
    register: str
    start_kwh: float
    unbalance: float
    noise: float
    has_ct: bool
    has_calendar: bool
    by_demand: bool
    every_s: int
    slide_min: int

    @property
    def meter(self) -> str:
        return f"m-{self.id}"

    @property
    def ct_device(self) -> str:
        return f"j-{self.id}"

    @property
    def k(self) -> float:
        return self.ct_a / 5.0

    def step_wh(self, kwh: float) -> float:
        """What the register moves at once, when it stands at `kwh`."""
        if self.register == "float32":
            return float(np.spacing(np.float32(kwh))) * 1000
        return float(self.register.split()[0]) * 1000

    @property
    def serial(self) -> str:
        return f"{self.seed % 10**10:010d}"

    @property
    def contract_w(self) -> float:
        """Contracted demand, where that is the basis: what the contract's kVA gives at the power factor."""
        return round(self.contract_kva * self.pf) * 1000.0


def drawn(id_: str, shape: str, seed: int, *, every_s: int, slide_min: int) -> Customer:
    """One variant of a load class: scale, power factor, transformer, register, noise, holidays."""
    rng = np.random.default_rng([seed, 1])
    contract = float(rng.choice(CONTRACTS_KVA))
    share = float(rng.choice([rng.uniform(0.40, 0.78), rng.uniform(0.78, 0.95), rng.uniform(0.95, 0.995)],
                             p=[0.6, 0.25, 0.15]))  # fmt: skip
    wanted_a = contract * 1000 / (sqrt(3) * U_N_V) * 1.05
    ct_a = next(a for a in PRIMARIES_A if a >= wanted_a)
    return Customer(
        id=id_, seed=seed, shape=shape, share=share, contract_kva=contract, ct_a=ct_a,
        pf=float(rng.uniform(0.80, 0.98)), register=str(rng.choice(REGISTERS)),
        start_kwh=float(10 ** rng.uniform(2, 5.5)), unbalance=float(rng.uniform(0, 0.08)),
        noise=float(rng.uniform(0.01, 0.08)), has_ct=bool(rng.random() < 0.5), has_calendar=bool(rng.random() < 0.5),
        by_demand=bool(rng.random() < 0.3), every_s=every_s, slide_min=slide_min,
    )  # fmt: skip


def table_of(customer: Customer, **changes: Any) -> dict[str, Any]:
    """The point's table in a site file, as written there."""
    since = {"from": date(2014, 1, 1), "state": "verified"}
    basis = {"kw": customer.contract_w / 1000, "basis": "contracted-demand"}
    capacity = basis if customer.by_demand else {"kva": customer.contract_kva, "basis": "capacity"}
    table: dict[str, Any] = {
        "id": customer.id,
        "meter": customer.meter,
        "time_zone": ZONE,
        "u_n_v": U_N_V,
        "wiring": "3p4w",
        "accepted": {"at": date(2015, 1, 5), "by": "t-17"},
        "demand": {"period_min": 15, "slide_min": customer.slide_min},
        "capacity": [{**since, **capacity}],
        "ct": [{**since, "ratio": f"{customer.ct_a:g}/5"}],
        "meter_serial": [{**since, "serial": customer.serial}],
        "transformer": {"rated_kva": customer.contract_kva, "uk_percent": 4.0, **_VERIFIED},
    }
    if customer.has_ct:
        table["ct_device"] = customer.ct_device
    if customer.has_calendar:
        table["holiday_calendar"] = "de-2016"
    return {**table, **changes}


def archive_of(tables: Iterable[dict[str, Any]]) -> Archive:
    calendar = [{"id": "de-2016", "days": list(HOLIDAYS_2016)}]
    plain = {**tomli.loads(FACTORY), "calendar": calendar, "point": list(tables)}
    return Archive.of(msgspec.convert(plain, Site, dec_hook=as_instant))


def devices_of(customer: Customer) -> list[DeviceSpec]:
    """The meter and, where there is one, the independent current transformer, with what they are asked for."""
    devices = [DeviceSpec(customer.meter, "bus", 1, meter_profile(customer), zone=ZONE)]
    if customer.has_ct:
        devices.append(DeviceSpec(customer.ct_device, "bus", 2, _ct_profile(customer.every_s), zone=ZONE))
    return devices


def meter_profile(customer: Customer) -> Profile:
    """Secondary side: energies, powers, voltages, currents and power factors together, the rest slowly."""
    every = float(customer.every_s)
    if customer.register == "float32":
        energy = Register(ENERGIES[0], "", "f32", "kWh", every_s=every)
    else:
        shown = customer.register.split()[0]
        digits = f"6.{max(2, len(shown) - 2)}"
        energy = Register(ENERGIES[0], "", "u64", "kWh", scale=float(shown), digits=digits, every_s=every)
    quick: list[Register] = []
    for quantity in ENERGIES:
        unit = "kWh" if quantity.startswith("active") else "kvarh"
        quick.append(replace(energy, quantity=quantity, unit=unit))
    quick += [Register(q, "", "i32", "W", scale=0.1, every_s=every) for q in (POWERS[0], *P_PHASE)]
    quick.append(Register(POWERS[1], "", "i32", "var", scale=0.1, every_s=every))
    quick += [Register(q, "", "u32", "V", scale=0.1, every_s=every) for q in U_PHASE]
    quick += [Register(q, "", "u32", "A", scale=0.001, every_s=every) for q in I_PHASE]
    quick += [Register(q, "", "u32", "1", scale=0.001, every_s=every) for q in (Quantity.POWER_FACTOR, *PF_PHASE)]
    slow = [Register(q, "", "u32", "count", every_s=SLOW_S) for q in COUNTERS]
    slow += [Register(q, "", "ascii:8", "", every_s=SLOW_S) for q in (Quantity.METER_SERIAL, Quantity.METER_CLOCK)]
    slow += [Register(q, "", "u32", "min", every_s=SLOW_S) for q in (Quantity.DEMAND_PERIOD, Quantity.DEMAND_SLIDE)]
    slow.append(Register(Quantity.CT_RATIO, "", "u32", "1", every_s=SLOW_S))
    return Profile("truth-3p", "modbus", "truth", "tests", "secondary", 125, (*quick, *slow))


def _ct_profile(every_s: int) -> Profile:
    currents = tuple(Register(q, "", "u32", "A", scale=0.01, every_s=float(every_s)) for q in I_PHASE)
    return Profile("truth-ct", "modbus", "truth", "tests", "primary", 125, currents)
