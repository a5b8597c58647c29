"""A DL/T 645 station: the Chinese meter protocol, 2007 edition, and enough of the 1997 one to be recognised.

`68 A0..A5 68 C L DATA CS 16`; the address goes lowest octet first, every data octet goes out + 0x33, the checksum is
the sum from the first 68. It answers 0x11 (read), 0x12 (following frame) and 0x13 (read address); whatever would change
the meter is refused and counted. A frame with a wrong checksum or another meter's address meets silence. Source:
DL/T 645-2007, 5 (frames), 7.1 and 7.2 (reading); DL/T 645-1997, 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import NamedTuple

from simulator.clock import SimClock
from simulator.faults import Fault, FaultKind, Faults
from simulator.line.dlt645_items import Items
from simulator.line.station import Turnaround, spoil
from simulator.line.wire import Reply

READ, FOLLOW, ADDRESS = 0x11, 0x12, 0x13
LOAD = 0x06
"""The first octet of an identifier of load records."""

WRITES = frozenset({0x08, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D})
READ_1997 = 0x01
WRITES_1997 = frozenset({0x04, 0x08, 0x0A, 0x0C, 0x0F, 0x10})

OTHER_ERROR, NO_SUCH_DATA, NOT_AUTHORISED = 0x01, 0x02, 0x04
"""Bits of the error word (annex C)."""

ANY_DIGITS, EVERYBODY = 0xAA, b"\x99" * 6
MOST_DATA = 200
"""Octets of data that a reply may carry (5.3.5)."""

_OCTET_GAP_S = 0.5


class Frame(NamedTuple):
    address: bytes  # six octets as they go out
    control: int
    data: bytes  # without the 0x33


def to_bytes(address: bytes, control: int, data: bytes) -> bytes:
    body = b"\x68" + address + bytes((0x68, control, len(data))) + bytes((octet + 0x33) % 256 for octet in data)
    return body + bytes((sum(body) % 256, 0x16))


def address_octets(digits: str) -> bytes:
    """Twelve digits as they go out."""
    if len(digits) != 12 or not digits.isdecimal():
        raise ValueError(f"a DL/T 645 address has twelve digits, not {digits!r}")
    return bytes.fromhex(digits)[::-1]


def take(came: bytearray) -> Frame | None:
    """The first whole frame, removed with everything before it; what cannot begin a frame is dropped."""
    while True:
        start = came.find(0x68)
        if start < 0:
            came.clear()
            return None
        del came[:start]
        if len(came) < 8:
            return None
        if came[7] != 0x68:
            del came[0]
            continue
        if len(came) < 10 or len(came) < 12 + came[9]:
            return None
        end = 12 + came[9]
        if came[end - 1] != 0x16 or sum(came[: end - 2]) % 256 != came[end - 2]:
            del came[0]
            continue
        frame = Frame(bytes(came[1:7]), came[8], bytes((octet - 0x33) % 256 for octet in came[10 : end - 2]))
        del came[:end]
        return frame


def answers(request: bytes, came: bytes) -> bool:
    """Whether what came is a reply to the request: the meter asked, the right function and item, no error."""
    asked, reply = take(bytearray(request)), take(bytearray(came))
    if asked is None or reply is None:
        return False
    return (
        reply.address == asked.address
        and reply.control & ~0x20 == asked.control | 0x80
        and reply.data[:4] == asked.data[:4]
    )


@dataclass(slots=True)
class Counts645:
    """What a meter has been asked."""

    requests: int = 0
    writes_seen: int = 0
    refused: int = 0


@dataclass
class Dlt645Station:
    """One meter on a line.

    `preamble`: FE octets before each reply, 0 to 4. `most_data`: octets of data in one reply, the item's identifier
    counted; what is longer comes in following frames. `edition`: 2007 or 1997.
    """

    name: str
    address: str  # twelve digits
    items: Items
    clock: SimClock
    turnaround: Turnaround = field(default_factory=Turnaround)
    preamble: int = 4
    most_data: int = MOST_DATA
    edition: int = 2007
    seed: int = 0
    counts: Counts645 = field(default_factory=Counts645)

    def __post_init__(self) -> None:
        self._octets = address_octets(self.address)
        self._came = bytearray()
        self._came_s = 0.0
        self._chance = Random(self.seed)
        self._rest: dict[bytes, list[bytes]] = {}  # by identifier: what the following frames will carry

    @property
    def faults(self) -> Faults:
        return self.items.faults

    @property
    def writes_seen(self) -> int:
        return self.counts.writes_seen

    def heard(self, data: bytes, at_s: float) -> Sequence[Reply]:
        if at_s - self._came_s > _OCTET_GAP_S + len(data) * 0.01:
            self._came.clear()
        self._came_s = at_s
        self._came += data
        replies: list[Reply] = []
        while (frame := take(self._came)) is not None:
            replies += self.answer(frame)
        return replies

    def quiet(self, at_s: float) -> Sequence[Reply]:
        return ()

    def answer(self, frame: Frame) -> Sequence[Reply]:
        """The replies to a frame; none where it is not for this meter."""
        writes = WRITES if self.edition == 2007 else WRITES_1997
        if frame.address == EVERYBODY:
            self.counts.writes_seen += frame.control in writes
            return ()
        if frame.control & 0x80 or not self._is_meant(frame.address):
            return ()
        self.counts.requests += 1
        if frame.control in writes:
            self.counts.writes_seen += 1
            return self._say(frame.control | 0xC0, self._refused(NOT_AUTHORISED), None)
        if self.edition == 1997:
            return self._answer_1997(frame) if frame.control == READ_1997 else ()
        match frame.control:
            case 0x11 if len(frame.data) >= 4:
                return self._read(frame.data[:4], frame.data[4:])
            case 0x12 if len(frame.data) == 5:
                return self._follow(frame.data[:4], frame.data[4])
            case 0x13:
                fault = self.faults.on_wire((), self.clock.utc_ms())
                return self._say(ADDRESS | 0x80, self._octets, fault)
        return self._say(frame.control | 0xC0, self._refused(OTHER_ERROR), None)

    def _read(self, identifier: bytes, which: bytes) -> Sequence[Reply]:
        di = int.from_bytes(identifier, "little")
        at_ms = self.clock.utc_ms()
        data = self._load_records(di, which, at_ms) if identifier[3] == LOAD else self.items.read(di, at_ms)
        fault = self.faults.on_wire(self.items.quantities(di), at_ms)
        if (error := self._error(fault)) is not None or data is None:
            return self._say(READ | 0xC0, self._refused(NO_SUCH_DATA if error is None else error), fault)
        room = self.most_data - 4
        if len(data) <= room:
            self._rest.pop(identifier, None)
            return self._say(READ | 0x80, identifier + data, fault)
        room -= 1  # for the number of a following frame
        first, rest = data[: room + 1], data[room + 1 :]
        self._rest = {identifier: [rest[i : i + room] for i in range(0, len(rest), room)]}
        return self._say(READ | 0xA0, identifier + first, fault)

    def _load_records(self, di: int, which: bytes, at_ms: int) -> bytes | None:
        """Asked for with how many, and minute, hour, day, month and year from when on (7.1, format 3)."""
        if len(which) != 6 or not which.hex().isdecimal():
            return None
        count, minute, hour, day, month, year = (int(f"{octet:02x}") for octet in which)
        try:
            local = datetime(2000 + year, month, day, hour, minute, tzinfo=UTC)
        except ValueError:
            return None
        from_ms = int(local.timestamp() * 1000) - self.items.utc_offset_min * 60_000
        return self.items.load_records(di, count, from_ms, at_ms)

    def _follow(self, identifier: bytes, number: int) -> Sequence[Reply]:
        """Following frames count from 1; the last one asked may be asked again."""
        parts = self._rest.get(identifier, [])
        fault = self.faults.on_wire((), self.clock.utc_ms())
        if (error := self._error(fault)) is not None or not 1 <= number <= len(parts):
            return self._say(FOLLOW | 0xC0, self._refused(NO_SUCH_DATA if error is None else error), fault)
        more = 0x20 if number < len(parts) else 0
        return self._say(FOLLOW | 0x80 | more, identifier + parts[number - 1] + bytes((number,)), fault)

    def _answer_1997(self, frame: Frame) -> Sequence[Reply]:
        identifier = frame.data[:2]
        at_ms = self.clock.utc_ms()
        data = self.items.read_1997(int.from_bytes(identifier, "little"), at_ms)
        fault = self.faults.on_wire((), at_ms)
        if (error := self._error(fault)) is not None or data is None:
            return self._say(READ_1997 | 0xC0, self._refused(NO_SUCH_DATA if error is None else error), fault)
        return self._say(READ_1997 | 0x80, identifier + data, fault)

    def _is_meant(self, address: bytes) -> bool:
        return all(asked in (own, ANY_DIGITS) for asked, own in zip(address, self._octets, strict=True))

    def _error(self, fault: Fault | None) -> int | None:
        if fault is None or fault.kind not in {FaultKind.EXCEPTION, FaultKind.BUSY}:
            return None
        return OTHER_ERROR if fault.kind is FaultKind.BUSY else fault.code

    def _refused(self, error: int) -> bytes:
        self.counts.refused += 1
        return bytes((error,))

    def _say(self, control: int, data: bytes, fault: Fault | None) -> Sequence[Reply]:
        after_s = self.turnaround.next_s()
        octets = self._octets
        if fault is not None and fault.kind is FaultKind.WRONG_UNIT:
            digits = int(octets[::-1].hex()) + 1
            octets = address_octets(f"{digits % 10**12:012d}")
        if fault is not None and fault.kind is FaultKind.WRONG_FUNCTION:
            control ^= 0x02
        if fault is not None and fault.kind is FaultKind.SHORT and len(data) > 5:
            data = data[:-1]
        frame = b"\xfe" * self.preamble + to_bytes(octets, control, data)
        if fault is None:
            return (Reply(frame, after_s),)
        return spoil(frame, fault, after_s, check=-2, chance=self._chance)
