"""A line on which every value tells who was asked for what, and when; its devices answer late, wrongly or not at all.

Each register of each meter shows another number at every millisecond, worked out from the meter, the quantity and the
instant alone. So the simulator's record of its questions is the truth about all that was accepted: a value is right if
it is what the meter showed at a question that the client had asked for it, and wrong if it is anything else.

What is corrupted is so in a way that a frame's own checksum is made to find: one octet with any of its bits wrong, one
dropped, one doubled, the end cut off; behind a CRC also two octets side by side. The sum of DL/T 645 cannot see two
errors that make up for one another; no reader of that protocol can.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from edge_agent.model import DeviceSpec, Outcome, Profile, Quantity, Reading, Register
from simulator.clock import Ms, SimClock
from simulator.device import Nameplate, SimMeter
from simulator.faults import Faults
from simulator.line.dlt645 import MOST_DATA, Dlt645Station
from simulator.line.dlt645_items import Items
from simulator.line.dlt645_tables import PROFILE
from simulator.line.modbus_rtu import RtuStation
from simulator.line.station import Turnaround
from simulator.line.wire import Reply
from simulator.modbus import SimUnit
from simulator.profile import SimProfile, SimRegister
from simulator.shape import constant
from tests.lines import T0

STEPS: dict[str, tuple[float, int]] = {
    "voltage": (0.1, 9_999),
    "current": (0.001, 799_999),
    "active_power": (0.1, 799_999),
    "reactive_power": (0.1, 799_999),
    "active_energy": (10.0, 99_999_999),
    "reactive_energy": (10.0, 99_999_999),
}
"""Of each kind of quantity: a display step in its unit, and the most steps that both protocols can show."""


def kind_of(quantity: str) -> str:
    return next(kind for kind in STEPS if quantity.startswith(kind))


def number(device: str, quantity: str, at_ms: Ms) -> int:
    """How many steps the meter shows at that instant."""
    return zlib.crc32(f"{device} {quantity} {at_ms}".encode()) % STEPS[kind_of(quantity)][1]


class Telltale(SimMeter):
    """A meter that shows these numbers."""

    def __init__(self, device: str, profile: SimProfile) -> None:
        super().__init__(profile, constant(1000.0, 0.8, origin_ms=T0), Nameplate(device), start_ms=T0)
        self.device = device

    def value(self, quantity: str, at_ms: Ms | None = None) -> float | str:
        assert at_ms is not None
        return number(self.device, quantity, at_ms) * STEPS[kind_of(quantity)][0]


class Place(NamedTuple):
    """A Modbus register: its quantity, table, address, type and cadence."""

    quantity: str
    table: str
    address: int
    kind: str
    every_s: float


MODBUS = (
    Place("active_power", "input", 0x00, "i32", 15.0),
    Place("reactive_power", "input", 0x02, "i32", 15.0),
    Place("voltage_l1", "input", 0x04, "u16", 15.0),
    Place("voltage_l2", "input", 0x05, "u16", 15.0),
    Place("voltage_l3", "input", 0x06, "u16", 15.0),
    Place("active_energy_import", "input", 0x100, "u32", 60.0),
    Place("active_energy_export", "input", 0x102, "u32", 60.0),
    Place("reactive_energy_import", "input", 0x200, "u32", 60.0),
    Place("reactive_energy_export", "input", 0x202, "u32", 60.0),
    Place("current_l1", "holding", 0x00, "u32", 15.0),
    Place("current_l2", "holding", 0x02, "u32", 15.0),
)
"""Two pairs of energies of one shape far apart, and currents behind another function."""

NARROW = (Place("voltage_l1", "input", 0x10, "u16", 15.0),)
"""A device that can be asked in one way only."""

DLT645 = tuple(
    Register(Quantity(quantity), f"di:{di}", kind, unit, every_s=every_s)
    for quantity, di, kind, unit, every_s in (
        ("active_energy_import", "00010000", "bcd6.2", "kWh", 60.0),
        ("active_energy_export", "00020000", "bcd6.2", "kWh", 60.0),
        ("voltage_l1", "0201FF00/1", "bcd3.1", "V", 15.0),
        ("voltage_l2", "0201FF00/2", "bcd3.1", "V", 15.0),
        ("voltage_l3", "0201FF00/3", "bcd3.1", "V", 15.0),
        ("current_l1", "0202FF00/1", "sbcd3.3", "A", 15.0),
        ("current_l2", "0202FF00/2", "sbcd3.3", "A", 15.0),
        ("active_power", "0203FF00/1", "sbcd2.4", "kW", 15.0),
        ("active_power_l1", "0203FF00/2", "sbcd2.4", "kW", 15.0),
    )
)

_WIDE = {"u16": (1, "H"), "i32": (2, "i"), "u32": (2, "I")}
_UNITS = {"voltage": "V", "current": "A", "active_power": "W", "reactive_power": "var"}
_UNITS |= {"active_energy": "Wh", "reactive_energy": "varh"}


def rtu_profile(places: Sequence[Place]) -> SimProfile:
    return SimProfile(
        "telltale",
        "primary",
        60,
        tuple(
            SimRegister(p.quantity, p.table, p.address, p.kind, _WIDE[p.kind][0], 1.0, STEPS[kind_of(p.quantity)][0],
                        "ABCD", None, None, ())
            for p in places
        ),
    )  # fmt: skip


def rtu_spec(device: str, unit_id: int, places: Sequence[Place]) -> DeviceSpec:
    registers = tuple(
        Register(Quantity(p.quantity), f"{p.table}:{p.address:#06x}", p.kind, _UNITS[kind_of(p.quantity)],
                 STEPS[kind_of(p.quantity)][0], every_s=p.every_s)
        for p in places
    )  # fmt: skip
    return DeviceSpec(device, "bus", unit_id, Profile("telltale", "modbus", "t", "t", "primary", 60, registers))


def dlt_spec(device: str, address: str) -> DeviceSpec:
    profile = Profile("telltale-645", "dlt645", "t", "t", "primary", 20, DLT645)
    return DeviceSpec(device, "bus", 0, profile, address=address)


ADDRESSES = {"d1": "558890213594", "d2": "558890213595", "d3": "000000000021"}
UNITS = {"m1": (1, MODBUS), "m2": (2, MODBUS), "m3": (3, MODBUS), "m4": (4, MODBUS), "m5": (17, NARROW)}

SHORT_FRAMES = 12
"""Octets of data in an answer of d3: its currents and powers come in two frames."""

IN_TURN = frozenset({"m1", "m3", "d1", "d3"})
"""Those that work off their questions one after another: a late answer holds up the next. Elsewhere it is overtaken."""

DEVICES: tuple[DeviceSpec, ...] = (
    *(rtu_spec(device, unit_id, places) for device, (unit_id, places) in UNITS.items()),
    *(dlt_spec(device, address) for device, address in ADDRESSES.items()),
)


# --- what goes wrong


@dataclass
class Trouble:
    """What befalls how many answers of each hundred, drawn as cards are so that a short run meets it too."""

    chance: Random
    late: int = 5
    corrupted: int = 2
    lost: int = 2
    late_from_s: float = 0.6
    late_to_s: float = 8.0
    struck: Counter[str] = field(default_factory=Counter)
    _fates: list[str] = field(default_factory=list)

    def befall(self, reply: Reply, *, has_crc: bool) -> Reply | None:
        """The answer as it leaves; None: not at all."""
        self.struck["answers"] += 1
        fate, chance = self._fate(), self.chance
        self.struck[fate] += 1
        if fate == "late":
            longer_s = self.late_to_s - self.late_from_s
            return reply._replace(after_s=reply.after_s + self.late_from_s + longer_s * chance.random() ** 2)
        if fate == "lost":
            return None
        if fate == "corrupted":
            return reply._replace(data=corrupted(reply.data, chance, has_crc=has_crc))
        return reply

    def _fate(self) -> str:
        if not self._fates:
            struck = ["late"] * self.late + ["lost"] * self.lost + ["corrupted"] * self.corrupted
            self._fates = [*struck, *["in order"] * (100 - len(struck))]
            self.chance.shuffle(self._fates)
        return self._fates.pop()


def corrupted(frame: bytes, chance: Random, *, has_crc: bool) -> bytes:
    """Another frame than was meant, whose checksum is made to tell."""
    wrong = bytearray(frame)
    at = chance.randrange(len(wrong) - wrong.startswith(b"\xfe") * 5) + wrong.startswith(b"\xfe") * 5
    match chance.choice(("octet", "octet", "dropped", "doubled", "cut", "two octets")):
        case "octet":
            wrong[at] ^= chance.randrange(1, 256)
        case "two octets":
            wrong[at] ^= chance.randrange(1, 256)
            if has_crc and at + 1 < len(wrong):
                wrong[at + 1] ^= chance.randrange(1, 256)
        case "dropped":
            del wrong[at]
        case "doubled":
            wrong.insert(at, wrong[at])
        case "cut":
            del wrong[at:]
    return bytes(wrong)


class Frozen:
    """A clock that stands while a question is being answered."""

    def __init__(self) -> None:
        self.at_ms: Ms = T0

    def utc_ms(self) -> Ms:
        return self.at_ms


class Book:
    """Who was asked when; every client's values are judged by it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Ms]] = []
        self.seen: Counter[str] = Counter()

    @property
    def page(self) -> int:
        """Where the next question will stand."""
        return len(self.asked)

    def judge(self, device: str, quantity: str, value: float, since: int) -> bool:
        """Whether this is what the device showed at one of its questions since then; counts it."""
        steps = round(value / STEPS[kind_of(quantity)][0])
        right = any(number(device, quantity, at_ms) == steps for who, at_ms in self.asked[since:] if who == device)
        self.seen["right" if right else "WRONG"] += 1
        return right

    def judge_all(self, found: Sequence[Outcome], since: int) -> None:
        for outcome in found:
            if isinstance(outcome, Reading):
                self.judge(outcome.device, outcome.quantity, outcome.value, since)
            else:
                self.seen["gap"] += 1


class Troubled:
    """A station of the simulator whose questions are recorded and whose answers meet trouble."""

    def __init__(self, device: str, trouble: Trouble, book: Book, clock: SimClock, seed: int) -> None:
        self.name = device
        self._trouble = trouble
        self._book = book
        self._clock = clock
        self._held = Frozen()
        self._free_s = 0.0
        turnaround = Turnaround(0.02, 0.02, Random(seed))
        self._station: RtuStation | Dlt645Station
        if device in UNITS:
            unit_id, places = UNITS[device]
            unit = SimUnit(Telltale(device, rtu_profile(places)))
            self._station = RtuStation(device, unit_id, unit, self._held, turnaround)
        else:
            items = Items(Telltale(device, PROFILE), ADDRESSES[device])
            most_data = SHORT_FRAMES if device == "d3" else MOST_DATA
            self._station = Dlt645Station(device, ADDRESSES[device], items, self._held, turnaround, most_data=most_data)

    @property
    def faults(self) -> Faults:
        return self._station.faults

    @property
    def writes_seen(self) -> int:
        return self._station.writes_seen

    def heard(self, data: bytes, at_s: float) -> Sequence[Reply]:
        self._held.at_ms = self._clock.utc_ms()
        return list(self._met(self._station.heard(data, at_s), at_s))

    def quiet(self, at_s: float) -> Sequence[Reply]:
        self._held.at_ms = self._clock.utc_ms()
        return list(self._met(self._station.quiet(at_s), at_s))

    def _met(self, replies: Sequence[Reply], at_s: float) -> Iterator[Reply]:
        for reply in replies:
            self._book.asked.append((self.name, self._held.at_ms))
            met = self._trouble.befall(reply, has_crc=self.name in UNITS)
            if met is None:
                continue
            if self.name in IN_TURN and met.after_s < self._free_s - at_s:
                self._trouble.struck["held up"] += 1
                met = met._replace(after_s=self._free_s - at_s)
            self._free_s = at_s + met.after_s + 0.01
            yield met


# --- what a client that only looks at checksums asks, and how it reads an answer


class Poll(NamedTuple):
    """A question of a client: bytes, what an answer begins with and its length, and the values in it."""

    device: str
    question: bytes
    head: bytes
    length: int
    values: tuple[tuple[str, int, str], ...]
    """Quantity, where it lies in the answer, and how it is written."""

    def accepts(self, came: bytes) -> bytes | None:
        """The first whole frame of the right sender, function and length in what came whose checksum is right."""
        at = came.find(self.head)
        while at >= 0:
            frame = came[at : at + self.length]
            if len(frame) == self.length and self._sum_is_right(frame):
                return frame
            at = came.find(self.head, at + 1)
        return None

    def read(self, frame: bytes) -> Iterator[tuple[str, float]]:
        for quantity, at, how in self.values:
            if how.startswith(">"):
                (steps,) = struct.unpack_from(how, frame, at)
            else:
                octets = bytes((octet - 0x33) & 0xFF for octet in frame[at : at + int(how)])[::-1]
                steps = int(octets.hex()) if octets.hex().isdecimal() else -1
            yield quantity, steps * STEPS[kind_of(quantity)][0]

    def _sum_is_right(self, frame: bytes) -> bool:
        if self.head[0] == 0x68:
            return frame[-1] == 0x16 and sum(frame[:-2]) & 0xFF == frame[-2]
        return _crc(frame[:-2]) == int.from_bytes(frame[-2:], "little")


def _crc(data: bytes) -> int:
    value = 0xFFFF
    for octet in data:
        value ^= octet
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return value


def polls() -> list[Poll]:
    """The agent's registers, asked for by hand: Modbus value by value, as most configurations do; DL/T 645 by item.

    What takes two frames is left out: that client knows no following frames.
    """
    found = [_rtu_poll(device, [place]) for device, (_, places) in UNITS.items() for place in places]
    items = dict.fromkeys(r.address[3:11] for r in DLT645)
    found += [_dlt_poll(device, di) for device in ADDRESSES for di in items]
    return [poll for poll in found if poll.device != "d3" or poll.length <= 12 + SHORT_FRAMES]


def _rtu_poll(device: str, group: Sequence[Place]) -> Poll:
    unit_id, first = UNITS[device][0], group[0].address
    count = sum(_WIDE[p.kind][0] for p in group)
    body = struct.pack(">BBHH", unit_id, 4 if group[0].table == "input" else 3, first, count)
    values = tuple((p.quantity, 3 + 2 * (p.address - first), f">{_WIDE[p.kind][1]}") for p in group)
    head = body[:2] + bytes((2 * count,))
    return Poll(device, body + _crc(body).to_bytes(2, "little"), head, 5 + 2 * count, values)


def _dlt_poll(device: str, di: str) -> Poll:
    registers = [r for r in DLT645 if r.address[3:11] == di]
    octets = {"bcd6.2": 4, "bcd3.1": 2, "sbcd3.3": 3, "sbcd2.4": 3}[registers[0].type]
    items = {"0201FF00": 3, "0202FF00": 3, "0203FF00": 4}.get(di, 1)
    address = bytes.fromhex(ADDRESSES[device])[::-1]
    data = bytes((octet + 0x33) & 0xFF for octet in bytes.fromhex(di)[::-1])
    body = b"\x68" + address + b"\x68\x11\x04" + data
    question = b"\xfe" * 4 + body + bytes((sum(body) & 0xFF, 0x16))
    size = 4 + octets * items
    values = tuple((r.quantity.value, 14 + octets * (int(r.address[12:] or 1) - 1), str(octets)) for r in registers)
    return Poll(device, question, b"\x68" + address + bytes((0x68, 0x91, size)) + data, 12 + size, values)
