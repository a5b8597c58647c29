"""What a simulated meter's registers hold as whole numbers: cut to their last digit as a display cuts, with a scaler.

A power that goes the other way is 0 in the register of its direction. Source: IEC 62056-6-1 (OBIS codes of
electricity); IEC 62056-6-2 (DLMS UA 1000-1), class_id 3, 4 and 5, and physical units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from simulator.clock import Ms
from simulator.device import DEMAND_PERIOD_MS, ENERGIES, SimMeter
from simulator.dlms.clock import NEVER, MeterClock
from simulator.dlms.codec import NULL, Data, Tag, enum, i8, name_of, octet_string, structure, u8, u16, u32
from simulator.dlms.objects import CosemObject
from simulator.faults import FaultKind, Faults
from simulator.profile import SimProfile

PROFILE = SimProfile("dlms", "secondary", 0, ())
"""What a meter of this kind is to `SimMeter`: all its values are on the secondary side."""

W, VA, VAR, WH, VAH, VARH, A, V, HZ, NO_UNIT = 27, 28, 29, 30, 31, 32, 33, 35, 44, 255
REGISTER, EXTENDED, DEMAND = 3, 4, 5
_WHEELS = 10**8
"""An energy register has eight digits at its first scaler."""


class Shown(NamedTuple):
    """A quantity as a register shows it. `way`: +1 or -1 shows that direction alone, 0 both."""

    quantity: str
    unit: int
    scaler: int
    tag: Tag
    way: int = 0


_U32, _I32, _U16, _I16 = Tag.DOUBLE_LONG_UNSIGNED, Tag.DOUBLE_LONG, Tag.LONG_UNSIGNED, Tag.LONG
REGISTERS: dict[str, Shown] = {
    "1-0:1.8.0.255": Shown("active_energy_import", WH, 1, _U32),
    "1-0:2.8.0.255": Shown("active_energy_export", WH, 1, _U32),
    "1-0:3.8.0.255": Shown("reactive_energy_import", VARH, 1, _U32),
    "1-0:4.8.0.255": Shown("reactive_energy_export", VARH, 1, _U32),
    "1-0:9.8.0.255": Shown("apparent_energy_import", VAH, 1, _U32),
    "1-0:1.7.0.255": Shown("active_power", W, 0, _U32, 1),
    "1-0:2.7.0.255": Shown("active_power", W, 0, _U32, -1),
    "1-0:3.7.0.255": Shown("reactive_power", VAR, 0, _U32, 1),
    "1-0:4.7.0.255": Shown("reactive_power", VAR, 0, _U32, -1),
    "1-0:9.7.0.255": Shown("apparent_power", VA, 0, _U32),
    "1-0:16.7.0.255": Shown("active_power", W, 0, _I32),
    "1-0:13.7.0.255": Shown("power_factor", NO_UNIT, -3, _I16),
    "1-0:14.7.0.255": Shown("frequency", HZ, -2, _U16),
    "1-0:91.7.0.255": Shown("current_n", A, -3, _U32),
    **{f"1-0:{11 + 20 * n}.7.0.255": Shown(f"current_l{n}", A, -3, _U32) for n in (1, 2, 3)},
    **{f"1-0:{12 + 20 * n}.7.0.255": Shown(f"voltage_l{n}", V, -1, _U16) for n in (1, 2, 3)},
    **{f"1-0:{1 + 20 * n}.7.0.255": Shown(f"active_power_l{n}", W, 0, _U32, 1) for n in (1, 2, 3)},
    **{f"1-0:{16 + 20 * n}.7.0.255": Shown(f"active_power_l{n}", W, 0, _I32) for n in (1, 2, 3)},
}
MAXIMUM, AVERAGE = "1-0:1.6.0.255", "1-0:1.4.0.255"
QUANTITIES = frozenset({*(shown.quantity for shown in REGISTERS.values()), "maximum_demand"})
"""What a fault of a meter of this kind may name."""

_RANGE = {
    _U32: (0, 0xFFFF_FFFF), _I32: (-0x8000_0000, 0x7FFF_FFFF), _U16: (0, 0xFFFF), _I16: (-0x8000, 0x7FFF),
}  # fmt: skip


class Registers:
    """The registers of one meter. `scalers`: by quantity, where they are not those of the table above."""

    def __init__(self, meter: SimMeter, faults: Faults, clock: MeterClock, scalers: Mapping[str, int]) -> None:
        if unknown := set(scalers) - QUANTITIES:
            raise ValueError(f"no register of {', '.join(sorted(unknown))}")
        self.meter = meter
        self._faults = faults
        self._clock = clock
        self._scalers = scalers
        self._rescaled = faults.in_meter(FaultKind.RESCALED)

    def objects(self) -> list[CosemObject]:
        return [
            *(self._register(name_of(text), shown) for text, shown in REGISTERS.items()),
            self._maximum(),
            self._average(),
        ]

    def scaler(self, shown: Shown, at_ms: Ms) -> int:
        for fault in self._rescaled:
            if fault.in_force(at_ms) and fault.quantity in {None, shown.quantity}:
                return round(fault.value)
        return self._scalers.get(shown.quantity, shown.scaler)

    def value(self, shown: Shown, at_ms: Ms, *, scaled_at_ms: Ms | None = None) -> Data:
        """A register at an instant, in the scale of another (now, for what was captured before); null: no value."""
        number = self._number(shown.quantity, at_ms)
        if number is None:
            return NULL
        if shown.way:
            number = max(number * shown.way, 0.0)
        steps = number / 10.0 ** self.scaler(shown, at_ms if scaled_at_ms is None else scaled_at_ms)
        if shown.quantity in ENERGIES:
            wheels = _WHEELS * 10 ** (shown.scaler - self.scaler(shown, scaled_at_ms or at_ms))
            count = math.floor(steps + 1e-6) % max(round(wheels), 1)
        else:
            count = round(steps)
        low, high = _RANGE[shown.tag]
        if count > 0xFFFF_FFFF and shown.quantity in ENERGIES:
            return Data(Tag.LONG64_UNSIGNED, count)
        return Data(shown.tag, min(max(count, low), high))

    def energy(self, quantity: str, at_ms: Ms) -> float:
        """The register before it is cut, Wh on the meter's side; negative: before the meter was new."""
        return float(self.meter.value(quantity, at_ms))

    def _number(self, quantity: str, at_ms: Ms) -> float | None:
        """In SI units, as a fault of the display lets it be seen."""
        fault = self._faults.on_display(quantity, at_ms) if self._faults.all else None
        if fault is not None:
            match fault.kind:
                case FaultKind.STUCK:
                    at_ms = max(fault.from_ms, self.meter.start_ms)
                case FaultKind.HELD:
                    return fault.value
                case _:
                    return None
        return float(self.meter.value(quantity, at_ms))

    def _register(self, name: bytes, shown: Shown) -> CosemObject:
        return CosemObject(
            REGISTER,
            name,
            {2: lambda at_ms: self.value(shown, at_ms), 3: lambda at_ms: self._scaler_unit(shown, at_ms)},
            quantities=(shown.quantity,),
        )

    def _scaler_unit(self, shown: Shown, at_ms: Ms) -> Data:
        return structure(i8(self.scaler(shown, at_ms)), enum(shown.unit))

    def _maximum(self) -> CosemObject:
        """The maximum demand and when its block ended."""
        shown = Shown("maximum_demand", W, 0, _U32)

        def captured(at_ms: Ms) -> Data:
            peak_ms = self.meter.maximum_demand_ms(at_ms)
            return octet_string(NEVER if peak_ms is None else self._clock.date_time(peak_ms))

        attributes = {
            2: lambda at_ms: self.value(shown, at_ms),
            3: lambda at_ms: self._scaler_unit(shown, at_ms),
            4: lambda at_ms: u8(0),
            5: captured,
        }
        return CosemObject(EXTENDED, name_of(MAXIMUM), attributes, quantities=(shown.quantity,))

    def _average(self) -> CosemObject:
        """The demand of the block that runs, and of the one before it."""
        shown = Shown("maximum_demand", W, 0, _U32)
        block_ms = DEMAND_PERIOD_MS

        def begun(at_ms: Ms) -> Ms:
            return at_ms // block_ms * block_ms

        attributes = {
            2: lambda at_ms: u32(self._mean_w(begun(at_ms), at_ms)),  # the block counts in full, as far as it has come
            3: lambda at_ms: u32(self._mean_w(begun(at_ms) - block_ms, begun(at_ms))),
            4: lambda at_ms: self._scaler_unit(shown, at_ms),
            5: lambda at_ms: u8(0),
            6: lambda at_ms: octet_string(self._clock.date_time(begun(at_ms))),
            7: lambda at_ms: octet_string(self._clock.date_time(begun(at_ms))),
            8: lambda at_ms: u32(block_ms // 1000),
            9: lambda at_ms: u16(1),
        }
        return CosemObject(DEMAND, name_of(AVERAGE), attributes)

    def _mean_w(self, from_ms: Ms, to_ms: Ms) -> int:
        """What flowed, over the whole block."""
        flowed_wh = self.energy("active_energy_import", to_ms) - self.energy("active_energy_import", from_ms)
        return max(round(flowed_wh * 3_600_000 / DEMAND_PERIOD_MS), 0)
