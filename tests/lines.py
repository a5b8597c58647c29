"""Simulated lines for tests, and a reader of Modbus RTU and DL/T 645 frames written from the standards alone.

Nothing here uses the simulator's or the agent's codecs: a CRC bit by bit, a checksum by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from simulator.clock import Ms
from simulator.device import Nameplate, SimMeter
from simulator.faults import Fault, Faults
from simulator.line.carrier import Carrier
from simulator.line.dlt645 import Dlt645Station
from simulator.line.dlt645_items import Items
from simulator.line.dlt645_tables import PROFILE
from simulator.line.modbus_rtu import RtuStation
from simulator.line.station import Station, Turnaround, seat
from simulator.line.uart import Format
from simulator.line.virtual import LoopClock, run_virtual
from simulator.line.wire import PacedLine
from simulator.modbus import SimUnit
from simulator.profile import SimProfile, SimRegister
from simulator.shape import constant

T0: Ms = 1_772_380_800_000  # 2026-03-02 00:00 +08:00


def crc16(data: bytes) -> int:
    """MODBUS over Serial Line V1.02, 6.2.2: bit by bit."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            odd = crc & 1
            crc >>= 1
            if odd:
                crc ^= 0xA001
    return crc


def ask_rtu(unit: int, pdu_hex: str) -> bytes:
    body = bytes((unit,)) + bytes.fromhex(pdu_hex)
    crc = crc16(body)
    return body + bytes((crc & 0xFF, crc >> 8))


def pdu_of(frame: bytes, unit: int) -> bytes:
    """The PDU of one whole RTU frame of that unit; AssertionError for anything else."""
    assert len(frame) >= 4, f"no frame: {frame.hex()}"
    crc = crc16(frame[:-2])
    assert frame[-2:] == bytes((crc & 0xFF, crc >> 8)), f"wrong CRC: {frame.hex()}"
    assert frame[0] == unit, f"unit {frame[0]} answered"
    return frame[1:-2]


def ask_dlt(address: str, control: int, data: bytes) -> bytes:
    """`data` as it is meant, without the 0x33."""
    body = bytes((0x68,)) + bytes.fromhex(address)[::-1] + bytes((0x68, control, len(data)))
    body += bytes((octet + 0x33) & 0xFF for octet in data)
    return b"\xfe\xfe\xfe\xfe" + body + bytes((sum(body) & 0xFF, 0x16))


def read_item(address: str, item: str) -> bytes:
    return ask_dlt(address, 0x11, bytes.fromhex(item)[::-1])


def dlt_parts(frame: bytes) -> tuple[str, int, bytes]:
    """(address, control, data) of one whole DL/T 645 frame; AssertionError for anything else."""
    body = frame.lstrip(b"\xfe")
    assert len(body) >= 12, f"no frame: {frame.hex()}"
    assert (body[0], body[7], body[-1]) == (0x68, 0x68, 0x16), f"no frame: {frame.hex()}"
    assert len(body) == 12 + body[9], f"wrong length: {frame.hex()}"
    assert sum(body[:-2]) & 0xFF == body[-2], f"wrong checksum: {frame.hex()}"
    return body[1:7][::-1].hex(), body[8], bytes((octet - 0x33) & 0xFF for octet in body[10:-2])


class Desk:
    """One line with stations and an ear."""

    def __init__(self, form: Format | None = None) -> None:
        self.line = PacedLine(form)
        self.clock = LoopClock(self.line.loop, T0)
        self.ear = Ear(Carrier(self.line))

    def hang(self, *stations: Station) -> None:
        for station in stations:
            seat(station, self.line, self.clock)

    async def ask(self, question: bytes, wait_s: float = 1.0) -> bytes:
        return await self.ear.ask(question, wait_s)


class Ear:
    """A master that writes what it is told and remembers what it heard, and when."""

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self.heard: list[tuple[float, bytes]] = []
        self.hears = asyncio.Event()
        self.lost: list[str] = []
        self.open()

    def open(self) -> None:
        self.carrier.start(self._take, self.lost.append)

    @property
    def came(self) -> bytes:
        return b"".join(data for _, data in self.heard)

    async def ask(self, question: bytes, wait_s: float = 1.0) -> bytes:
        """Everything that comes within `wait_s` of the question's first character."""
        self.heard.clear()
        self.carrier.write(question)
        await asyncio.sleep(wait_s)
        return self.came

    def _take(self, data: bytes) -> None:
        self.heard.append((self.carrier.line.loop.time(), data))
        self.hears.set()


def register(quantity: str, address: int, kind: str = "f32", unit: float = 1.0) -> SimRegister:
    width = {"u16": 1, "u32": 2, "f32": 2}[kind]
    return SimRegister(quantity, "input", address, kind, width, unit, 1.0, "ABCD", None, None, (0xFFFF,))


SMALL = SimProfile(
    "small",
    "primary",
    60,
    (register("active_power", 0), register("voltage_l1", 2), register("active_energy_import", 8, "u32", 1000.0)),
)
READ_SMALL = "04 0000 000A"


def sim_meter(profile: SimProfile = SMALL, *, p_w: float = 8000.0, serial: str = "000000123456") -> SimMeter:
    return SimMeter(profile, constant(p_w, 0.8, origin_ms=T0), Nameplate(serial, ct=80.0), start_ms=T0)


def rtu_station(
    line: PacedLine,
    unit_id: int = 1,
    *faults: Fault,
    turnaround: Turnaround | None = None,
    name: str = "",
    profile: SimProfile = SMALL,
    **more: Any,
) -> RtuStation:
    unit = SimUnit(sim_meter(profile), Faults(faults))
    clock = LoopClock(line.loop, T0)
    return RtuStation(name or f"unit {unit_id}", unit_id, unit, clock, turnaround or Turnaround(0.02), **more)


def dlt_station(line: PacedLine, address: str, *faults: Fault, meter: Any = None, **more: Any) -> Dlt645Station:
    items = Items(meter or sim_meter(PROFILE), address, Faults(faults))
    return Dlt645Station(address, address, items, LoopClock(line.loop, T0), **more)


def virtually(story: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that lives in virtual time."""

    def test() -> None:
        run_virtual(story())

    test.__name__, test.__doc__ = story.__name__, story.__doc__
    return test


def overlapping(ours: Sequence[tuple[float, float]], theirs: tuple[float, float]) -> bool:
    return any(start_s < theirs[1] and end_s > theirs[0] for start_s, end_s in ours)
