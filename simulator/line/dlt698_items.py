"""The objects of a DL/T 698.45 meter, computed from a simulated meter, and the octets in which it shows them.

Simplified: the shares of the rates do not move with the hour; the meter's load is in the quadrants I and IV; event
counts are what the scenario says. Source: DL/T 698.45-2017, Annex E as given in the object tables of the package
`dlt698` 1.0.1; of events, the tables of public firmware that the profile `dlt698-3p` cites.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from simulator.clock import Ms
from simulator.device import SimMeter
from simulator.faults import FaultKind, Faults
from simulator.profile import SimProfile

PROFILE = SimProfile("dlt698", "secondary", 0, ())
"""What a meter of this kind is to `SimMeter`: all its values are on the secondary side."""

NOT_ALLOWED, NO_SUCH_OBJECT, OUT_OF_RANGE = 3, 6, 8
"""Data access results."""

RATE_SHARES = (0.1, 0.4, 0.3, 0.2)
DEMAND_MS = 900_000
NOTHING = b"\x00"


class Energy(NamedTuple):
    plus: str = ""
    minus: str = ""
    signed: bool = False


ENERGIES: dict[int, Energy] = {
    0x0000: Energy("active_energy_import", "active_energy_export", True),
    0x0010: Energy("active_energy_import"),
    0x0020: Energy("active_energy_export"),
    0x0030: Energy("reactive_energy_import", signed=True),  # combination 1: quadrants I + II
    0x0040: Energy("reactive_energy_export", signed=True),  # combination 2: III + IV
    0x0050: Energy("reactive_energy_import"),
    0x0060: Energy(),  # always 0
    0x0070: Energy(),
    0x0080: Energy("reactive_energy_export"),
    0x0090: Energy("apparent_energy_import"),
}

_PHASES = ("_l1", "_l2", "_l3")


class Shown(NamedTuple):
    tag: int  # of the type in which each value goes out
    per_unit: float  # steps in one SI unit
    names: tuple[str, ...]
    is_array: bool = True


VARIABLES: dict[int, Shown] = {
    0x2000: Shown(0x12, 10, tuple(f"voltage{p}" for p in _PHASES)),
    0x2001: Shown(0x05, 1000, tuple(f"current{p}" for p in _PHASES)),
    0x2004: Shown(0x05, 10, ("active_power", *(f"active_power{p}" for p in _PHASES))),
    0x2005: Shown(0x05, 10, ("reactive_power", *(f"reactive_power{p}" for p in _PHASES))),
    0x2006: Shown(0x05, 10, ("apparent_power", *(f"apparent_power{p}" for p in _PHASES))),
    0x200A: Shown(0x10, 1000, ("power_factor", *(f"power_factor{p}" for p in _PHASES))),
    0x200F: Shown(0x12, 100, ("frequency",), is_array=False),
    0x2017: Shown(0x05, 10, ("running_demand",), is_array=False),  # kW with four decimals
}
NEUTRAL = Shown(0x05, 1000, ("current_n",), is_array=False)

BY_PHASE = frozenset(range(0x3000, 0x3009))
"""Events with a count for each phase, after that of all."""
EVENTS = frozenset({0x3011, 0x3012, 0x3013, 0x3014, 0x3015, 0x3016, 0x301B, 0x301C, 0x302A})

_OCTETS = {0x05: 4, 0x06: 4, 0x10: 2, 0x11: 1, 0x12: 2, 0x14: 8, 0x15: 8}


def integer(tag: int, value: int) -> bytes:
    """A number with its type in front; what does not fit rolls over."""
    octets = _OCTETS[tag]
    return bytes((tag,)) + (value % (1 << 8 * octets)).to_bytes(octets, "big")


def cut(value: float, per_unit: float) -> int:
    """As a display cuts a number: at its last digit, towards 0."""
    steps = math.floor(abs(value) * per_unit + 1e-6)
    return -steps if value < 0 else steps


def array(values: Sequence[bytes]) -> bytes:
    return bytes((0x01, len(values))) + b"".join(values)


def structure(*values: bytes) -> bytes:
    return bytes((0x02, len(values))) + b"".join(values)


def octets(data: bytes) -> bytes:
    return bytes((0x09, len(data))) + data


def text(shown: str) -> bytes:
    return bytes((0x0A, len(shown))) + shown.encode("ascii")


def moment(at: datetime) -> bytes:
    """date_time_s."""
    return b"\x1c" + at.year.to_bytes(2, "big") + bytes((at.month, at.day, at.hour, at.minute, at.second))


@dataclass
class Objects:
    """What one meter answers to an object attribute.

    `counters`: event counts by attribute, and with the index of a phase: "30130700", "30000A02"; 0 where the scenario
    is silent. `fixed`: octets by attribute, before anything computed.
    """

    meter: SimMeter
    address: str
    faults: Faults = field(default_factory=Faults)
    utc_offset_min: int = 480
    clock_error_s: float = 0.0
    counters: Mapping[str, int] = field(default_factory=dict)
    fixed: Mapping[str, bytes] = field(default_factory=dict)

    def read(self, oad: int, at_ms: Ms) -> bytes | int:
        """The value's octets with their types, or the data access result."""
        if (fixed := self.fixed.get(f"{oad:08X}")) is not None:
            return fixed
        found = self._attribute(oad >> 16, oad >> 8 & 0xFF, at_ms)
        index = oad & 0xFF
        if found is None:
            return NO_SUCH_OBJECT
        if index == 0:
            return found if isinstance(found, bytes) else array(found)
        if isinstance(found, bytes) or index > len(found):
            return OUT_OF_RANGE
        return found[index - 1]

    def quantities(self, oad: int) -> tuple[str, ...]:
        """What an attribute is about, for faults that strike one quantity."""
        oi = oad >> 16
        if oi in ENERGIES:
            return tuple(name for name in ENERGIES[oi][:2] if name)
        if oi in VARIABLES:
            return VARIABLES[oi].names
        return {0x1010: ("maximum_demand",), 0x4002: ("meter_serial",)}.get(oi, ())

    def _attribute(self, oi: int, attribute: int, at_ms: Ms) -> bytes | list[bytes] | None:
        if oi in ENERGIES and attribute in {2, 4}:
            return self._energy(ENERGIES[oi], attribute == 4, at_ms)
        if oi in {0x1010, 0x1020} and attribute == 2:
            never = structure(integer(0x06, 0), b"\x1c" + b"\xff" * 7)
            peak = self._peak(at_ms) if oi == 0x1010 else never
            return [peak, never, peak, never, never]  # the load's highest quarter of an hour is in rate 2
        if oi == 0x2001 and attribute == 4:
            return self._number(NEUTRAL, "current_n", at_ms)
        if oi in VARIABLES and attribute == 2:
            shown = VARIABLES[oi]
            values = [self._number(shown, name, at_ms) for name in shown.names]
            return values if shown.is_array else values[0]
        if oi == 0x2014 and attribute == 2:
            return [b"\x04\x10\x00\x00"] * 7
        if (oi in BY_PHASE and attribute == 10) or (oi in EVENTS and attribute == 7):
            return self._events(oi, attribute)
        return self._parameter(oi, at_ms) if attribute == 2 else None

    def _energy(self, energy: Energy, fine: bool, at_ms: Ms) -> list[bytes]:
        tag = (0x14 if energy.signed else 0x15) if fine else (0x05 if energy.signed else 0x06)
        plus, minus = (self._value(name, at_ms) if name else 0.0 for name in energy[:2])
        if plus is None or minus is None:
            return [NOTHING] * 5
        return [integer(tag, cut((plus - minus) * share, 10 if fine else 0.1)) for share in (1.0, *RATE_SHARES)]

    def _peak(self, at_ms: Ms) -> bytes:
        value = self._value("maximum_demand", at_ms)
        peak_ms = self.meter.maximum_demand_ms(at_ms)
        if value is None or peak_ms is None:
            return structure(integer(0x06, 0), b"\x1c" + b"\xff" * 7)
        return structure(integer(0x06, cut(value, 10)), moment(self._local(peak_ms, right=True)))

    def _events(self, oi: int, attribute: int) -> list[bytes]:
        def counted(index: int) -> bytes:
            key = f"{oi:04X}{attribute:02X}{index:02X}"
            return structure(integer(0x06, self.counters.get(key, 0)), integer(0x06, 0))

        if attribute == 7:
            return [structure(NOTHING, counted(0))]
        return [counted(index) for index in range(1, 5)]

    def _parameter(self, oi: int, at_ms: Ms) -> bytes | None:
        match oi:
            case 0x4000:
                return moment(self._local(at_ms))
            case 0x4001:
                return octets(bytes.fromhex(self.address))
            case 0x4002:
                return octets(bytes.fromhex(f"{int(str(self.meter.value('meter_serial', at_ms)) or 0):012d}"))
            case 0x4100:
                return integer(0x11, 15)
            case 0x4101:
                return integer(0x11, 1)
            case 0x4103:
                return text("SIM-ASSET-0001".ljust(32))
            case 0x4104:
                return text("220V".ljust(6))
            case 0x4105:
                return text("1.5A".ljust(6))
            case 0x4106:
                return text("6A".ljust(6))
        return None

    def _number(self, shown: Shown, quantity: str, at_ms: Ms) -> bytes:
        value = self._value(quantity, at_ms)
        return NOTHING if value is None else integer(shown.tag, cut(value, shown.per_unit))

    def _value(self, quantity: str, at_ms: Ms) -> float | None:
        """In SI units, as a fault of the display lets it be seen; None: the meter shows no value."""
        fault = self.faults.on_display(quantity, at_ms) if self.faults.all else None
        if fault is not None:
            match fault.kind:
                case FaultKind.STUCK:
                    at_ms = max(fault.from_ms, self.meter.start_ms)
                case FaultKind.HELD:
                    return fault.value
                case _:
                    return None
        if quantity == "running_demand":
            return self._demand(at_ms)
        return float(self.meter.value(quantity, at_ms))

    def _demand(self, at_ms: Ms) -> float:
        """The mean over the last period, of the meter's side."""
        from_ms = max(at_ms - DEMAND_MS, self.meter.start_ms)
        if at_ms <= from_ms:
            return 0.0
        before, now = (self.meter.truth(ms) for ms in (from_ms, at_ms))
        flowed = now.since_start.minus(before.since_start).times(3_600_000 / (at_ms - from_ms) / now.k)
        return flowed.active_import_wh - flowed.active_export_wh

    def _local(self, at_ms: Ms, *, right: bool = False) -> datetime:
        """The meter's local time; `right`: without the error of its clock."""
        error_s = 0.0 if right else self.clock_error_s
        return datetime.fromtimestamp(at_ms // 1000, UTC) + timedelta(minutes=self.utc_offset_min, seconds=error_s)


def quantities_known() -> tuple[str, ...]:
    """Every quantity that a fault of a meter of this kind may name."""
    return (
        "maximum_demand", "meter_serial", "current_n",
        *(name for energy in ENERGIES.values() for name in energy[:2] if name),
        *(name for shown in VARIABLES.values() for name in shown.names),
    )  # fmt: skip
