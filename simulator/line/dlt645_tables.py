"""What a DL/T 645-2007 meter holds, as tables: which item is which quantity, in how many octets, and its digits.

Source: DL/T 645-2007, annex A, tables A.1 to A.7; the items of 1997 from DL/T 645-1997, annex A.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from simulator.profile import SimProfile

PROFILE = SimProfile("dlt645-2007", "secondary", 0, ())
"""What a meter of this kind is to `SimMeter`: all its values are on the secondary side."""

RATES = 4
MONTHS = 12
"""Settlement days that a meter remembers."""

FROZEN_DAYS = 62
EVENT_RECORDS = 10
DEMAND_MS = 900_000
NOTHING = 0xFF
ALL = 0xFF


@dataclass(frozen=True, slots=True)
class Plate645:
    """What is written on the meter and set in it. Texts are padded to the item's length."""

    rated_v: str = "220"
    rated_a: str = "1.5"
    imax_a: str = "6"
    class_active: str = "0.5S"
    class_reactive: str = "2"
    pulses_active: int = 6400
    pulses_reactive: int = 6400
    model: str = "DTZ-SIM"
    made: str = "2024-01-01"
    version: str = "DL/T645-2007"
    asset: str = ""
    period_min: int = 15
    slide_min: int = 1
    rate_shares: tuple[float, float, float, float] = (0.1, 0.4, 0.3, 0.2)
    rate_switches: tuple[tuple[int, int], ...] = ()  # (minute of the day, rate from then on); none: shares all day
    shows_ratios: bool = True  # CT and VT ratio, an extension


class Energy(NamedTuple):
    plus: str
    minus: str = ""


ENERGIES: dict[int, Energy | None] = {
    0x00: Energy("active_energy_import", "active_energy_export"),
    0x01: Energy("active_energy_import"),
    0x02: Energy("active_energy_export"),
    0x03: Energy("reactive_energy_import"),  # combination 1: quadrants I + II
    0x04: Energy("reactive_energy_export"),  # combination 2: III + IV
    0x05: Energy("reactive_energy_import"),
    0x06: None,  # always 0
    0x07: None,
    0x08: Energy("reactive_energy_export"),
    0x09: Energy("apparent_energy_import"),
    0x0A: None,
}
PHASE_ENERGIES = {
    0x15: ("active_energy_import", 0), 0x16: ("active_energy_export", 0), 0x29: ("active_energy_import", 1),
    0x2A: ("active_energy_export", 1), 0x3D: ("active_energy_import", 2), 0x3E: ("active_energy_export", 2),
}  # fmt: skip


class Size(NamedTuple):
    octets: int
    decimals: int
    per_unit: float = 1.0  # of SI units


VOLTS, AMPERES, KILOWATTS = Size(2, 1), Size(3, 3), Size(3, 4, 1000.0)
FACTOR, HUNDREDTHS, KILOWATT_HOURS = Size(2, 3), Size(2, 2), Size(4, 2, 1000.0)
_PHASES = ("_l1", "_l2", "_l3")
VARIABLES: dict[int, tuple[Size, tuple[str, ...]]] = {
    0x01: (VOLTS, tuple(f"voltage{p}" for p in _PHASES)),
    0x02: (AMPERES, tuple(f"current{p}" for p in _PHASES)),
    0x03: (KILOWATTS, ("active_power", *(f"active_power{p}" for p in _PHASES))),
    0x04: (KILOWATTS, ("reactive_power", *(f"reactive_power{p}" for p in _PHASES))),
    0x05: (KILOWATTS, ("apparent_power", *(f"apparent_power{p}" for p in _PHASES))),
    0x06: (FACTOR, ("power_factor", *(f"power_factor{p}" for p in _PHASES))),
    0x07: (VOLTS, ("angle", "angle", "angle")),
    0x08: (HUNDREDTHS, ("thd_u", "thd_u", "thd_u")),
    0x09: (HUNDREDTHS, ("thd_i", "thd_i", "thd_i")),
}
"""Table A.3: by the second octet of the identifier; the third counts from 0 for a total, else from 1."""

OTHERS: dict[int, tuple[Size, str]] = {
    0x01: (AMPERES, "current_n"),
    0x02: (HUNDREDTHS, "frequency"),
    0x03: (KILOWATTS, "active_power"),
    0x04: (KILOWATTS, "demand_w"),
    0x05: (KILOWATTS, "demand_var"),
    0x06: (KILOWATTS, "demand_va"),
    0x07: (VOLTS, "temperature"),
    0x08: (HUNDREDTHS, "battery_v"),
    0x09: (HUNDREDTHS, "battery_v"),
    0x0A: (Size(4, 0), "nothing"),
}
"""Identifiers 028000NN."""

FIXED = {"thd_u": 1.2, "thd_i": 3.4, "temperature": 25.0, "battery_v": 3.6, "nothing": 0.0}

EIGHTEEN = frozenset({1, 2, 3, 4, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x12})  # three phases, or six counts
SIX = frozenset({5, 7, 8, 9, 0x0A})
EXTENDED = frozenset({0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1F, 0x20, 0x21})

ON_1997: dict[int, int] = {
    0x9010: 0x00010000, 0x9011: 0x00010100, 0x9012: 0x00010200, 0x9013: 0x00010300, 0x9014: 0x00010400,
    0x9020: 0x00020000, 0x9110: 0x00030000, 0xB630: 0x02030000, 0xB631: 0x02030100, 0xB632: 0x02030200,
    0xB633: 0x02030300, 0xC010: 0x04000101, 0xC011: 0x04000102, 0xC032: 0x04000402,
}  # fmt: skip
"""Items that both editions hold in the same octets."""


def bcd(value: int, octets: int) -> bytes:
    """Digits, two an octet, least significant first; what does not fit rolls over."""
    return bytes.fromhex(f"{value % 100**octets:0{2 * octets}d}")[::-1]


def pairs(*values: int) -> bytes:
    return b"".join(bcd(value, 1) for value in values)


def fixed_point(value: float, size: Size) -> bytes:
    """A number in BCD, cut at its last digit as a display cuts it; a negative one has the top bit set."""
    octets = bytearray(bcd(math.floor(abs(value) * 10**size.decimals + 1e-6), size.octets))
    if value < 0 and any(octets):
        octets[-1] |= 0x80
    return bytes(octets)


def quantities_known() -> Iterable[str]:
    """Every quantity that a fault of a meter of this kind may name."""
    yield from ("maximum_demand", "ct_ratio", "vt_ratio", "meter_serial")
    yield from (name for energy in ENERGIES.values() if energy is not None for name in energy if name)
    yield from (name for _, names in VARIABLES.values() for name in names)
    yield from (name for _, name in OTHERS.values())
