"""The data items of a DL/T 645-2007 meter, computed from a simulated meter.

Octets are given as they go out, least significant first, before the 0x33. BCD throughout; the top bit of the last octet
is the sign where an item can be negative; FF is "no value". A block (FF in the identifier) is its items one after the
other. Simplified: the rates switch by the hour only where the plate says so; the meter's load is in the quadrants I and
IV; thresholds, tariffs and counters are what the scenario says. Source: DL/T 645-2007, annex A, tables A.1 to A.7.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from simulator.clock import DAY_MS, Ms
from simulator.device import SimMeter
from simulator.faults import FaultKind, Faults
from simulator.line import dlt645_tables as tables
from simulator.line.dlt645_records import Happened, block, counted, kind_of, octets_of
from simulator.line.dlt645_tables import Plate645, Size, bcd, fixed_point, pairs
from simulator.line.rates import RateRegisters


@dataclass
class Items:
    """What one meter answers to an identifier.

    `counters`: event counts by identifier ("03300D00"), 0 where the scenario is silent. `fixed`: octets by identifier,
    as they go out, before anything computed. `happened`: what the meter counts from then on, and writes down.
    `utc_offset_min`, `clock_error_s`: the meter's own idea of local time.
    """

    meter: SimMeter
    address: str
    faults: Faults = field(default_factory=Faults)
    plate: Plate645 = field(default_factory=Plate645)
    utc_offset_min: int = 480
    clock_error_s: float = 0.0
    counters: Mapping[str, int] = field(default_factory=dict)
    fixed: Mapping[str, bytes] = field(default_factory=dict)
    status: Sequence[int] = (0, 0, 0, 0, 0, 0, 0)
    happened: Sequence[Happened] = ()
    load_every_min: int = 15

    def __post_init__(self) -> None:
        self._counters = {int(di, 16): count for di, count in self.counters.items()}
        self._fixed = {int(di, 16): octets for di, octets in self.fixed.items()}
        offset_ms = self.utc_offset_min * 60_000 + round(self.clock_error_s * 1000)
        plate = self.plate
        self._rates = (
            RateRegisters(self.meter, plate.rate_switches, plate.rate_shares, offset_ms)
            if plate.rate_switches
            else None
        )

    def read(self, di: int, at_ms: Ms) -> bytes | None:
        """An item's octets, or None where the meter has no such item."""
        if di in self._fixed:
            return self._fixed[di]
        family, kind, sort, number = di.to_bytes(4, "big")
        match family:
            case 0x00:
                return self._energy(kind, sort, number, at_ms)
            case 0x01 if number == 0:
                return self._maximum(kind, sort, at_ms)
            case 0x02:
                return self._variable(kind, sort, number, at_ms)
            case 0x03:
                return self._event(kind, sort, number, di, at_ms)
            case 0x04 if kind == 0:
                return self._parameter(sort, number, at_ms)
            case 0x04 if kind == 1 and sort == 0 and number <= 8:
                return bytes((1, 1, 1) if number == 0 else (2, 0, 0)) * 14  # one zone; one rate all day
            case 0x05 if kind == 6 and sort <= 2 and 1 <= number <= tables.FROZEN_DAYS:
                return self._frozen(sort, number, at_ms)
            case _ if family in tables.EXTENDED and number in {0, 1}:
                return bcd(self._counters.get(di, 0), 3)
        return None

    def load_records(self, di: int, count: int, from_ms: Ms, at_ms: Ms) -> bytes | None:
        """Load records of class 4 (06040001) or of all classes (06000001) from a time on; None where there are none."""
        if di not in {0x06000001, 0x06040001}:
            return None
        period_ms, offset_ms = self.load_every_min * 60_000, self.utc_offset_min * 60_000
        first_ms = -(-(max(from_ms, self.meter.start_ms) + offset_ms) // period_ms) * period_ms - offset_ms
        ends = range(first_ms, min(at_ms, first_ms + count * period_ms - 1) + 1, period_ms)
        found = [self._record(di, end_ms) for end_ms in ends if not self._has_no_record(end_ms)]
        return b"".join(found) or None

    def _record(self, di: int, end_ms: Ms) -> bytes:
        names = ("active_energy_import", "active_energy_export", "reactive_energy_import", "reactive_energy_export")
        registers = b"".join(self._shown(name, tables.KILOWATT_HOURS, end_ms) for name in names)
        power = b"".join(self._shown(name, tables.KILOWATTS, end_ms) for name in tables.VARIABLES[0x03][1])
        stamp = self._minutes(self._local(end_ms, right=True))
        return block(stamp, registers, power + bytes(12) if di == 0x06000001 else b"")

    def _has_no_record(self, end_ms: Ms) -> bool:
        return any(h.what == "power_off" and h.at_ms <= end_ms < (h.until_ms or end_ms + 1) for h in self.happened)

    def read_1997(self, di: int, at_ms: Ms) -> bytes | None:
        if di in tables.ON_1997:
            return self.read(tables.ON_1997[di], at_ms)
        for base, size, name in ((0xB610, Size(2, 0), "voltage"), (0xB620, Size(2, 2), "current")):
            if base < di <= base + 3:
                return self._shown(f"{name}_l{di - base}", size, at_ms)
        return None

    def quantities(self, di: int) -> tuple[str, ...]:
        """What an item is about, for faults that strike one quantity."""
        family, kind, sort, number = di.to_bytes(4, "big")
        if family == 0x00 and (energy := tables.ENERGIES.get(kind)) is not None:
            return energy
        if family == 0x01:
            return ("maximum_demand",)
        if family == 0x02 and kind == 0x80 and number in tables.OTHERS:
            return (tables.OTHERS[number][1],)
        if family == 0x02 and kind in tables.VARIABLES:
            return tuple(name for _, name in self._named(kind, sort))
        return {0x04000306: ("ct_ratio",), 0x04000307: ("vt_ratio",), 0x04000402: ("meter_serial",)}.get(di, ())

    def _energy(self, kind: int, sort: int, number: int, at_ms: Ms) -> bytes | None:
        if kind in tables.PHASE_ENERGIES and sort == 0 and number == 0:
            quantity, phase = tables.PHASE_ENERGIES[kind]
            return self._shown(quantity, tables.KILOWATT_HOURS, at_ms, share=self.meter.nameplate.shares[phase])
        if kind not in tables.ENERGIES:
            return None
        rates = range(tables.RATES + 1) if sort == tables.ALL else (sort,)
        months = range(tables.MONTHS + 1) if number == tables.ALL else (number,)
        if rates[-1] > tables.RATES or months[-1] > tables.MONTHS:
            return None
        return b"".join(self._register(kind, rate, self._settled(month, at_ms)) for month in months for rate in rates)

    def _register(self, kind: int, rate: int, at_ms: Ms | None) -> bytes:
        energy = tables.ENERGIES[kind]
        if energy is None or at_ms is None:
            return bytes(4)
        share = self.plate.rate_shares[rate - 1] if rate else 1.0
        if not energy.minus and rate and self._rates is not None:
            if self._value(energy.plus, at_ms) is None:
                return bytes((tables.NOTHING,)) * 4
            return fixed_point(self._rates.value(energy.plus, rate, at_ms) / 1000, tables.KILOWATT_HOURS)
        if not energy.minus:
            return self._shown(energy.plus, tables.KILOWATT_HOURS, at_ms, share=share)
        values = [self._value(name, at_ms) for name in energy]
        if values[0] is None or values[1] is None:
            return bytes((tables.NOTHING,)) * 4
        return fixed_point((values[0] - values[1]) * share / 1000, tables.KILOWATT_HOURS)

    def _settled(self, month: int, at_ms: Ms) -> Ms | None:
        """Now for 0, else the n-th settlement day back (the first of a month, 00:00 local); None before the meter."""
        if month == 0:
            return at_ms
        local = self._local(at_ms, right=True)
        months = local.year * 12 + local.month - 1 - (month - 1)
        first = datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)
        settled_ms = int(first.timestamp() * 1000) - self.utc_offset_min * 60_000
        return settled_ms if settled_ms >= self.meter.start_ms else None

    def _maximum(self, kind: int, sort: int, at_ms: Ms) -> bytes | None:
        """Value and time: the total of active import, and the same in the peak rate; all else has never happened."""
        if not 1 <= kind <= 8 or (sort > tables.RATES and sort != tables.ALL):
            return None
        rates = range(tables.RATES + 1) if sort == tables.ALL else (sort,)
        return b"".join(self._peak(at_ms) if kind == 1 and rate in {0, 2} else bytes(8) for rate in rates)

    def _peak(self, at_ms: Ms) -> bytes:
        value = self._shown("maximum_demand", tables.KILOWATTS, at_ms)
        peak_ms = self.meter.maximum_demand_ms(at_ms)
        return value + (bytes(5) if peak_ms is None else self._minutes(self._local(peak_ms, right=True)))

    def _variable(self, kind: int, sort: int, number: int, at_ms: Ms) -> bytes | None:
        if kind == 0x80 and sort == 0 and number in tables.OTHERS:
            size, quantity = tables.OTHERS[number]
            return self._shown(quantity, size, at_ms)
        if kind not in tables.VARIABLES or number != 0:
            return None
        named = self._named(kind, sort)
        size = tables.VARIABLES[kind][0]
        return b"".join(self._shown(q, size, at_ms, phase=p) for p, q in named) if named else None

    def _named(self, kind: int, sort: int) -> list[tuple[int, str]]:
        names = tables.VARIABLES[kind][1]
        known = dict(enumerate(names, start=0 if len(names) == 4 else 1))
        return list(known.items()) if sort == tables.ALL else [(sort, known[sort])] if sort in known else []

    def _event(self, kind: int, sort: int, number: int, di: int, at_ms: Ms) -> bytes | None:
        if number:
            return self._event_record(di, number, at_ms)
        if sort != 0 and kind != 0x30:
            return None
        octets = 18 if kind in tables.EIGHTEEN else 6 if kind in tables.SIX else 3
        if octets == 3 and kind not in {0x06, 0x10, 0x11, 0x30, 0x35, 0x36, 0x37}:
            return None
        counts = bytearray(bcd(self._counters.get(di, 0), 3) + bytes(octets - 3))
        for at, more in counted(self.happened, di, at_ms).items():
            before = self._counters.get(di, 0) if at == 0 else 0
            counts[at : at + 3] = bcd(before + more, 3)
        return bytes(counts)

    def _event_record(self, di: int, number: int, at_ms: Ms) -> bytes | None:
        """The n-th newest of its kind; zeros where there is none yet, nothing for a kind that is not written down."""
        what = kind_of(di & ~0xFF)
        if what is None or number > tables.EVENT_RECORDS:
            return None
        written = sorted((h for h in self.happened if h.what == what and h.at_ms <= at_ms), key=lambda h: -h.at_ms)
        return octets_of(what, written[number - 1] if number <= len(written) else None, self._stamp, at_ms)

    def _stamp(self, at_ms: Ms) -> bytes:
        local = self._local(at_ms)
        return pairs(local.second) + self._minutes(local)

    def _parameter(self, sort: int, number: int, at_ms: Ms) -> bytes | None:
        plate = self.plate
        now = self._local(at_ms)
        match (sort, number):
            case (1, 1):
                return self._date(now)
            case (1, 2):
                return self._time(now)
            case (1, 3):
                return bcd(plate.period_min, 1)
            case (1, 4):
                return bcd(plate.slide_min, 1)
            case (1, 6 | 7):
                return bytes(5)  # no switch of tariffs is due
            case (1, 0x0C):
                return self._time(now) + self._date(now)
            case (2, 1 | 2 | 3):
                return b"\x01"
            case (2, 4):
                return bcd(tables.RATES, 1)
            case (3, 6) if plate.shows_ratios:
                return self._shown("ct_ratio", Size(3, 0), at_ms)
            case (3, 7) if plate.shows_ratios:
                return self._shown("vt_ratio", Size(3, 0), at_ms)
            case (4, 1):
                return bytes.fromhex(self.address)[::-1]
            case (4, 2):
                return bcd(int(str(self.meter.value("meter_serial", at_ms)) or 0), 6)
            case (4, 9):
                return bcd(plate.pulses_active, 3)
            case (4, 0x0A):
                return bcd(plate.pulses_reactive, 3)
            case (4, _):
                return self._text(number)
            case (5, 0xFF):
                return b"".join(word.to_bytes(2, "little") for word in self.status)
            case (5, n) if 1 <= n <= 7:
                return self.status[n - 1].to_bytes(2, "little")
            case (6, 1):
                return b"\x09"  # combined active = import - export
            case (6, 2):
                return b"\x05"  # I + II
            case (6, 3):
                return b"\x50"  # III + IV
        return None

    def _text(self, number: int) -> bytes | None:
        plate = self.plate
        texts = {
            3: (plate.asset, 32), 4: (plate.rated_v + "V", 6), 5: (plate.rated_a + "A", 6), 6: (plate.imax_a + "A", 6),
            7: (plate.class_active, 4), 8: (plate.class_reactive, 4), 0x0B: (plate.model, 10), 0x0C: (plate.made, 10),
            0x0D: (plate.version, 16),
        }  # fmt: skip
        if number not in texts:
            return None
        text, octets = texts[number]
        return text.encode("ascii")[:octets].ljust(octets, b"\x00")[::-1]  # last character first, like a number

    def _frozen(self, sort: int, number: int, at_ms: Ms) -> bytes | None:
        """Daily freeze: the n-th midnight back, its time and the energies with their rates."""
        offset_ms = self.utc_offset_min * 60_000
        midnight_ms = (at_ms + offset_ms) // DAY_MS * DAY_MS - offset_ms - (number - 1) * DAY_MS
        if midnight_ms < self.meter.start_ms:
            return None
        if sort == 0:
            return self._minutes(self._local(midnight_ms, right=True))
        return b"".join(self._register(sort, rate, midnight_ms) for rate in range(tables.RATES + 1))

    def _shown(self, quantity: str, size: Size, at_ms: Ms, *, share: float = 1.0, phase: int = 0) -> bytes:
        value = self._angle(phase, at_ms) if quantity == "angle" else self._value(quantity, at_ms)
        if value is None:
            return bytes((tables.NOTHING,)) * size.octets
        return fixed_point(value * share / size.per_unit, size)

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
        if quantity in tables.FIXED:
            return tables.FIXED[quantity]
        if quantity.startswith("demand_"):
            return self._demand(quantity, at_ms)
        return float(self.meter.value(quantity, at_ms))

    def _demand(self, quantity: str, at_ms: Ms) -> float:
        """The mean over the last period, of the meter's side."""
        from_ms = max(at_ms - tables.DEMAND_MS, self.meter.start_ms)
        if at_ms <= from_ms:
            return 0.0
        before, now = (self.meter.truth(ms) for ms in (from_ms, at_ms))
        flowed = now.since_start.minus(before.since_start).times(3_600_000 / (at_ms - from_ms) / now.k)
        by_name = {
            "demand_w": flowed.active_import_wh - flowed.active_export_wh,
            "demand_var": flowed.reactive_import_varh - flowed.reactive_export_varh,
            "demand_va": flowed.apparent_vah,
        }
        return by_name[quantity]

    def _angle(self, phase: int, at_ms: Ms) -> float:
        """Degrees from voltage to current, 0 to 360."""
        p, q = (float(self.meter.value(f"{name}_power_l{phase}", at_ms)) for name in ("active", "reactive"))
        return round(math.degrees(math.atan2(q, p)) % 360, 1) % 360

    def _local(self, at_ms: Ms, *, right: bool = False) -> datetime:
        """The meter's local time; `right`: without the error of its clock."""
        error_s = 0.0 if right else self.clock_error_s
        return datetime.fromtimestamp(at_ms // 1000, UTC) + timedelta(minutes=self.utc_offset_min, seconds=error_s)

    def _date(self, now: datetime) -> bytes:
        return pairs(now.isoweekday() % 7, now.day, now.month, now.year % 100)  # Sunday is 0

    def _time(self, now: datetime) -> bytes:
        return pairs(now.second, now.minute, now.hour)

    def _minutes(self, now: datetime) -> bytes:
        return pairs(now.minute, now.hour, now.day, now.month, now.year % 100)
