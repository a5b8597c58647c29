"""A simulated meter: what its transformers show it, what its registers count, and the truth beside them.

The meter's state is a function of the scenario's time: events that change it (an exchange, a register that falls, a
change of the transformers) are known from the scenario, so its life is cut into eras when it is made, and any instant
can be asked for, in any order. `step` and `advance` move the meter's own time for those who want to walk through it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from simulator.clock import Ms
from simulator.profile import SimProfile, SimRegister
from simulator.shape import Curve, Energies, Power

ENERGIES = (
    "active_energy_import",
    "active_energy_export",
    "reactive_energy_import",
    "reactive_energy_export",
    "apparent_energy_import",
)
"""The registers of a meter in the order of `Energies`."""

DEMAND_PERIOD_MS = 900_000


@dataclass(frozen=True, slots=True)
class Nameplate:
    """What is fixed about a meter and its transformers."""

    serial: str
    u_n_v: float = 400.0  # between conductors, primary
    ct: float = 1.0
    vt: float = 1.0
    shares: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)  # of the load on each phase
    frequency_hz: float = 50.0


@dataclass(frozen=True, slots=True)
class Fell:
    """A register that jumps back by `by` (Wh or varh on the meter's side): what a meter must never do."""

    at_ms: Ms
    quantity: str
    by: float


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A new meter hangs on the wall: its own serial number and its own registers (Wh or varh on its side)."""

    at_ms: Ms
    serial: str
    registers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RatioChanged:
    """Other current transformers, from this instant."""

    at_ms: Ms
    ct: float


@dataclass(frozen=True, slots=True)
class Turned:
    """The current transformers of these phases (1 to 3) sit the wrong way round from this instant; none: all right."""

    at_ms: Ms
    phases: tuple[int, ...] = ()


Event = Fell | Exchanged | RatioChanged | Turned


@dataclass(frozen=True, slots=True)
class Truth:
    """What really happened, primary side: the judge of everything that was read from the meter."""

    at_ms: Ms
    power: Power
    since_start: Energies
    serial: str
    k: float


@dataclass(frozen=True, slots=True)
class _Era:
    """A stretch of life without events: registers grow from `registers` by what flows after `from_ms`."""

    from_ms: Ms
    registers: Energies  # on the meter's side
    flowed: Energies  # the curve's energies at `from_ms`
    serial: str
    ct: float
    signs: tuple[int, int, int] = (1, 1, 1)  # -1: the phase's current transformer sits the wrong way round


class SimMeter:
    """One meter. All values in SI units on the side of the transformers that its profile names."""

    def __init__(
        self,
        profile: SimProfile,
        curve: Curve,
        nameplate: Nameplate,
        *,
        start_ms: Ms,
        registers: Mapping[str, float] | None = None,
        events: Sequence[Event] = (),
    ) -> None:
        self.profile = profile
        self.nameplate = nameplate
        self.start_ms = start_ms
        self.now_ms = start_ms
        self._curve = curve
        self._eras = self._lay_out(_energies(registers or {}), sorted(events, key=lambda e: e.at_ms))
        self._starts = [era.from_ms for era in self._eras]
        # Closed blocks up to here, the highest mean among them, and when its block ended.
        self._demand: tuple[Ms, float, Ms | None] = (start_ms, 0.0, None)

    def step(self, dt_s: float) -> None:
        self.advance(self.now_ms + round(dt_s * 1000))

    def advance(self, utc_ms: Ms) -> None:
        self.now_ms = max(self.now_ms, utc_ms)

    def truth(self, at_ms: Ms | None = None) -> Truth:
        at_ms = self.now_ms if at_ms is None else at_ms
        era = self._era(at_ms)
        return Truth(
            at_ms=at_ms,
            power=self._curve.at(at_ms),
            since_start=self._curve.energies(at_ms).minus(self._curve.energies(self.start_ms)),
            serial=era.serial,
            k=era.ct * self.nameplate.vt,
        )

    def value(self, quantity: str, at_ms: Ms | None = None) -> float | str:
        """What the meter holds for a quantity, before its display cuts it. Raises KeyError: it has no such thing."""
        at_ms = self.now_ms if at_ms is None else at_ms
        era = self._era(at_ms)
        if quantity in ENERGIES:
            index = ENERGIES.index(quantity)
            return self._registers(era, self._curve.energies(at_ms))[index]
        match quantity:
            case "meter_serial":
                return era.serial
            case "ct_ratio":
                return era.ct
            case "vt_ratio":
                return self.nameplate.vt
            case "maximum_demand":
                return self._maximum_demand_w(at_ms) / self._side(era)
        return self._instantaneous(quantity, self._curve.at(at_ms), era)

    def raw(self, register: SimRegister, at_ms: Ms | None = None) -> bytes:
        """The bytes that stand in a register at an instant."""
        if register.fixed is not None:
            return register.fixed
        value = self.value(register.quantity, at_ms)
        if isinstance(value, str) and register.kind == "ascii":
            return register.encode_text(value)
        return register.encode(float(value))  # a serial number of digits in an integer register

    def hung_ms(self, at_ms: Ms) -> Ms | None:
        """When the meter that hangs on the wall at an instant was put there; None: it has always been."""
        index = max(bisect_right(self._starts, at_ms) - 1, 0)
        serial = self._eras[index].serial
        while index and self._eras[index - 1].serial == serial:
            index -= 1
        return self._eras[index].from_ms if index else None

    def _lay_out(self, registers: Energies, events: Sequence[Event]) -> list[_Era]:
        plate = self.nameplate
        eras = [_Era(self.start_ms, registers, self._curve.energies(self.start_ms), plate.serial, plate.ct)]
        for event in events:
            last = eras[-1]
            flowed = self._curve.energies(event.at_ms)
            registers = self._registers(last, flowed)
            serial, ct, signs = last.serial, last.ct, last.signs
            match event:
                case Fell():
                    values = list(registers)
                    values[ENERGIES.index(event.quantity)] -= event.by
                    registers = Energies(*values)
                case Exchanged():
                    registers, serial = _energies(event.registers), event.serial
                case RatioChanged():
                    ct = event.ct
                case Turned():
                    one, two, three = (-1 if phase in event.phases else 1 for phase in (1, 2, 3))
                    signs = (one, two, three)
            eras.append(_Era(event.at_ms, registers, flowed, serial, ct, signs))
        return eras

    def _registers(self, era: _Era, flowed: Energies) -> Energies:
        """What stands in them once `flowed` has flowed: the meter adds its phases up before it counts."""
        counted = flowed.minus(era.flowed).times(abs(self._net(era)) / self._side(era))
        return era.registers.plus(counted if self._net(era) >= 0 else _other_way(counted))

    def _net(self, era: _Era) -> float:
        """The share of the load that the meter sees, its phases added up: 1 where all transformers sit right."""
        return math.fsum(s * share for s, share in zip(era.signs, self.nameplate.shares, strict=True))

    def _era(self, at_ms: Ms) -> _Era:
        return self._eras[max(bisect_right(self._starts, at_ms) - 1, 0)]

    def _side(self, era: _Era) -> float:
        """Primary quantities divided by this are what the meter holds."""
        return era.ct * self.nameplate.vt if self.profile.side == "secondary" else 1.0

    def _instantaneous(self, quantity: str, power: Power, era: _Era) -> float:
        plate = self.nameplate
        side = self._side(era)
        u_side = plate.vt if self.profile.side == "secondary" else 1.0
        i_side = era.ct if self.profile.side == "secondary" else 1.0
        name, _, phase = quantity.rpartition("_")
        if phase in {"l12", "l23", "l31"} and name == "voltage":
            return plate.u_n_v / u_side
        if phase in {"l1", "l2", "l3"}:
            share, sign = plate.shares[int(phase[1]) - 1], era.signs[int(phase[1]) - 1]
        elif min(era.signs) > 0:
            name, share, sign = quantity, 1.0, 1
        else:
            name, share, sign = quantity, abs(self._net(era)), -1 if self._net(era) < 0 else 1
        match name:
            case "active_power":
                return power.p_w * share * sign / side
            case "reactive_power":
                return power.q_var * share * sign / side
            case "apparent_power":
                return power.s_va * share / side
            case "power_factor":
                return sign * power.p_w / power.s_va if power.s_va else 1.0
            case "voltage":
                return plate.u_n_v / math.sqrt(3) / u_side
            case "current":
                return self._current_a(power, share) / i_side
            case "current_n":
                return self._neutral_a(power) / i_side
            case "frequency":
                return plate.frequency_hz
        raise KeyError(quantity)

    def _current_a(self, power: Power, share: float) -> float:
        return power.s_va * share / (self.nameplate.u_n_v / math.sqrt(3))

    def _neutral_a(self, power: Power) -> float:
        """Sum of three phasors 120 degrees apart."""
        a, b, c = (self._current_a(power, share) for share in self.nameplate.shares)
        return math.sqrt(max(a * a + b * b + c * c - a * b - b * c - c * a, 0.0))

    def maximum_demand_ms(self, at_ms: Ms) -> Ms | None:
        """When the block of the maximum demand ended; None while no block with a load has closed."""
        self._maximum_demand_w(at_ms)
        return self._demand[2]

    def _maximum_demand_w(self, at_ms: Ms) -> float:
        """Highest mean of a closed quarter-hour block since the start, primary. Walks each block once."""
        closed_ms, highest_w, highest_ms = self._demand
        if at_ms < closed_ms:
            closed_ms, highest_w, highest_ms = self.start_ms, 0.0, None
        block_ms = -(-closed_ms // DEMAND_PERIOD_MS) * DEMAND_PERIOD_MS
        while block_ms + DEMAND_PERIOD_MS <= at_ms:
            flowed = self._curve.energies(block_ms + DEMAND_PERIOD_MS).minus(self._curve.energies(block_ms))
            mean_w = flowed.active_import_wh * 3_600_000 / DEMAND_PERIOD_MS
            block_ms += DEMAND_PERIOD_MS
            if mean_w > highest_w:
                highest_w, highest_ms = mean_w, block_ms
        self._demand = (block_ms, highest_w, highest_ms)
        return highest_w


def _other_way(flowed: Energies) -> Energies:
    active_in, active_out, reactive_in, reactive_out, apparent = flowed
    return Energies(active_out, active_in, reactive_out, reactive_in, apparent)


def _energies(registers: Mapping[str, float]) -> Energies:
    if unknown := set(registers) - set(ENERGIES):
        raise ValueError(f"not an energy register: {', '.join(sorted(unknown))}")
    return Energies(*(float(registers.get(name, 0.0)) for name in ENERGIES))
