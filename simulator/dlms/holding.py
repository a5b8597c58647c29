"""All that a simulated meter holds, object by object, whoever asks; and who it says it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from simulator.clock import Ms
from simulator.device import SimMeter
from simulator.dlms.clock import NEVER, MeterClock
from simulator.dlms.codec import (
    Data,
    Tag,
    array,
    enum,
    i8,
    i16,
    name_of,
    octet_string,
    structure,
    u8,
    u16,
    u32,
)
from simulator.dlms.history import CAPTURED, History, Logged
from simulator.dlms.objects import CosemObject, fixed
from simulator.dlms.profile import OLDEST_FIRST, whole
from simulator.dlms.registers import REGISTERS, Registers
from simulator.faults import Faults

DATA, CLOCK, SAPS, HDLC, TCP = 1, 8, 17, 23, 41


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """How a meter remembers: the load profile's period, columns, size and order, and what its logs hold."""

    period_s: int = 900
    columns: Sequence[str] = CAPTURED
    most: int = 2880
    sort: int = OLDEST_FIRST
    history_s: float = 86_400.0
    ranges: str = "any"
    logged: Sequence[Logged] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plate:
    """What is written on a meter and set in it. `title` empty: made of the serial."""

    title: bytes = b""
    sap: int = 1
    firmware: str = "SIM 1.0"
    inactivity_s: int = 120
    physical: int = 0
    port: int = 4059
    most_info: int = 128  # octets of information in an HDLC frame, both ways
    window: int = 1


class Holding:
    """The objects of one meter, and its identity at an instant."""

    def __init__(
        self,
        meter: SimMeter,
        faults: Faults,
        clock: MeterClock,
        plate: Plate,
        memory: Memory,
        *,
        scalers: Mapping[str, int],
        counters: Mapping[str, int],
        items: Mapping[str, bytes],
    ) -> None:
        self.meter, self.faults, self.clock, self.plate = meter, faults, clock, plate
        if unknown := set(memory.columns) - set(REGISTERS):
            raise ValueError(f"the load profile cannot capture {', '.join(sorted(unknown))}")
        registers = Registers(meter, faults, clock, scalers)
        self.history = History(
            registers,
            faults,
            clock,
            period_s=memory.period_s,
            history_s=memory.history_s,
            logged=memory.logged,
        )
        self.neighbours: Callable[[Ms], Sequence[tuple[int, bytes]]] = lambda at_ms: [(plate.sap, self.ldn(at_ms))]
        """Logical devices that are reached the same way: SAP and name."""
        objects = [
            *registers.objects(),
            *self._identity(),
            self._clock_object(),
            self._saps(),
            self._hdlc(),
            self._tcp(),
        ]
        profile = self.history.profile(
            {name: REGISTERS[name] for name in memory.columns},
            most=memory.most, sort=memory.sort, ranges=memory.ranges, faults=faults,
        )  # fmt: skip
        objects.append(profile.object())
        for log in sorted({0, *(event.log for event in memory.logged)}):
            objects.append(self.history.log(log, most=100, ranges=memory.ranges).object())
        objects += [_data(name, fixed(u32(count))) for name, count in counters.items()]
        objects += [_data(name, fixed(whole(octets))) for name, octets in items.items()]
        self.objects = {found.name: found for found in objects}  # what the scenario gives comes last, and stays

    def serial(self, at_ms: Ms) -> str:
        return str(self.meter.value("meter_serial", at_ms))

    def ldn(self, at_ms: Ms) -> bytes:
        """Logical device name: three letters of the maker, the serial."""
        return b"SIM" + self.serial(at_ms).encode("ascii")[-13:].rjust(13, b"0")

    def title(self, at_ms: Ms) -> bytes:
        """System title: three letters of the maker, and a number."""
        if self.plate.title:
            return self.plate.title
        return b"SIM" + int.from_bytes(self.serial(at_ms).encode("ascii"), "big").to_bytes(32, "big")[-5:]

    def _identity(self) -> list[CosemObject]:
        return [
            _data("0-0:42.0.0.255", lambda at_ms: octet_string(self.ldn(at_ms))),
            _data("0-0:96.1.0.255", lambda at_ms: octet_string(self.serial(at_ms).encode("ascii"))),
            _data("1-0:0.2.0.255", fixed(octet_string(self.plate.firmware.encode("ascii")))),
            _data("0-0:96.2.0.255", lambda at_ms: u32(self.history.changes(at_ms))),
            _data("0-0:96.7.21.255", lambda at_ms: u32(self.history.power_failures(at_ms))),
            _data("1-0:0.4.2.255", lambda at_ms: u16(round(float(self.meter.value("ct_ratio", at_ms))))),
            _data("1-0:0.4.3.255", lambda at_ms: u16(round(float(self.meter.value("vt_ratio", at_ms))))),
        ]

    def _clock_object(self) -> CosemObject:
        attributes = {
            2: lambda at_ms: octet_string(self.clock.date_time(at_ms)),
            3: fixed(i16(-self.clock.offset_min)),
            4: fixed(u8(0)),
            5: fixed(octet_string(NEVER)),
            6: fixed(octet_string(NEVER)),
            7: fixed(i8(0)),
            8: fixed(Data(Tag.BOOLEAN, False)),
            9: fixed(enum(1)),
        }
        return CosemObject(CLOCK, name_of("0-0:1.0.0.255"), attributes)

    def _saps(self) -> CosemObject:
        def assigned(at_ms: Ms) -> Data:
            return array(*(structure(u16(sap), octet_string(name)) for sap, name in self.neighbours(at_ms)))

        return CosemObject(SAPS, name_of("0-0:41.0.0.255"), {2: assigned})

    def _hdlc(self) -> CosemObject:
        plate = self.plate
        values = (
            enum(5), u8(plate.window), u8(plate.window), u16(plate.most_info), u16(plate.most_info), u16(500),
            u16(plate.inactivity_s), u16(plate.physical),
        )  # fmt: skip
        attributes = {number: fixed(value) for number, value in enumerate(values, start=2)}
        return CosemObject(HDLC, name_of("0-0:22.0.0.255"), attributes, version=1)

    def _tcp(self) -> CosemObject:
        reference = octet_string(name_of("0-0:25.1.0.255"))
        values = (u16(self.plate.port), reference, u16(576), u8(1), u16(self.plate.inactivity_s))
        attributes = {number: fixed(value) for number, value in enumerate(values, start=2)}
        return CosemObject(TCP, name_of("0-0:25.0.0.255"), attributes)

    def about(self, name: bytes) -> tuple[str, ...]:
        """The quantities of an object, for faults that strike one."""
        found = self.objects.get(name)
        return () if found is None else found.quantities


def _data(name: str, give: Callable[[Ms], Data]) -> CosemObject:
    return CosemObject(DATA, name_of(name), {2: give})
