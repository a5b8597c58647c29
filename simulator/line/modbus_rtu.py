"""A Modbus RTU station: a simulated meter behind a frame with a CRC.

What its registers hold is `SimUnit`'s affair; framing, CRC, bits and identification are written here from the standard
and share nothing with any client. A frame is what came between two silences of 3.5 characters. Source: MODBUS over
Serial Line V1.02; MODBUS Application Protocol V1.1b3, 6.1, 6.2 and 6.21.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from simulator.clock import SimClock
from simulator.faults import Fault, FaultKind, Faults
from simulator.line.station import Turnaround, spoil
from simulator.line.wire import Reply
from simulator.modbus import BUSY, ILLEGAL_ADDRESS, ILLEGAL_VALUE, WRITES, SimUnit

READ_COILS, READ_DISCRETE, IDENTIFY = 1, 2, 43
_MEI_IDENTIFY = 14
_MAX_BITS = 2000


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC = _table()


def crc(data: bytes) -> int:
    value = 0xFFFF
    for byte in data:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value


def rtu(unit_id: int, pdu: bytes) -> bytes:
    """A frame; the CRC goes low octet first."""
    body = bytes((unit_id,)) + pdu
    return body + crc(body).to_bytes(2, "little")


def whole(frame: bytes) -> bool:
    """Whether these octets are one RTU frame."""
    return 4 <= len(frame) <= 256 and crc(frame[:-2]) == int.from_bytes(frame[-2:], "little")


def answers(request: bytes, came: bytes) -> bool:
    """Whether what came is a reply to the request: the right unit and function, no exception, and whole."""
    return whole(came) and came[:2] == request[:2] and len(came) == 5 + came[2]


@dataclass
class RtuStation:
    """One unit on a line.

    `bits`: what functions 1 ("coil") and 2 ("discrete") read, from address 0 on; without any they are refused.
    `identity`: vendor, product code, revision: objects 0 to 2 of function 43/14; without any it is refused.
    """

    name: str
    unit_id: int
    unit: SimUnit
    clock: SimClock
    turnaround: Turnaround = field(default_factory=Turnaround)
    identity: tuple[str, ...] = ()
    bits: Mapping[str, Sequence[bool]] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        self._came = bytearray()
        self._chance = Random(self.seed)

    @property
    def faults(self) -> Faults:
        return self.unit.faults

    @property
    def writes_seen(self) -> int:
        return self.unit.counts.writes_seen

    def heard(self, data: bytes, at_s: float) -> Sequence[Reply]:
        self._came += data
        return ()

    def quiet(self, at_s: float) -> Sequence[Reply]:
        frame = bytes(self._came)
        self._came.clear()
        if not frame or frame[0] not in {self.unit_id, 0} or not whole(frame):
            return ()
        if frame[0] == 0:  # to everybody: nobody answers
            self.unit.counts.writes_seen += frame[1] in WRITES
            return ()
        return self.answer(frame[1:-2])

    def answer(self, pdu: bytes) -> Sequence[Reply]:
        """The replies to a request PDU that was meant for this unit."""
        after_s = self.turnaround.next_s()
        reply, fault = self._reply(pdu)
        if fault is None:
            return (Reply(rtu(self.unit_id, reply), after_s),)
        unit_id = self.unit_id % 247 + 1 if fault.kind is FaultKind.WRONG_UNIT else self.unit_id
        return spoil(rtu(unit_id, reply), fault, after_s, check=-1, chance=self._chance)

    def _reply(self, pdu: bytes) -> tuple[bytes, Fault | None]:
        function = pdu[0]
        if function in {READ_COILS, READ_DISCRETE} and self.bits:
            return self._met(function, self._bits(function, pdu))
        if function == IDENTIFY and self.identity:
            return self._met(function, self._identify(pdu))
        answer = self.unit.answer(pdu, self.clock.utc_ms())
        return answer.pdu, answer.fault

    def _met(self, function: int, right: bytes) -> tuple[bytes, Fault | None]:
        fault = self.faults.on_wire((), self.clock.utc_ms())
        if fault is not None and fault.kind in {FaultKind.EXCEPTION, FaultKind.BUSY}:
            return bytes((function | 0x80, BUSY if fault.kind is FaultKind.BUSY else fault.code)), fault
        return right, fault

    def _bits(self, function: int, pdu: bytes) -> bytes:
        self.unit.counts.requests += 1
        bits = self.bits.get("coil" if function == READ_COILS else "discrete", ())
        if len(pdu) != 5:
            return self._refused(function, ILLEGAL_VALUE)
        address, count = struct.unpack_from(">HH", pdu, 1)
        if not 1 <= count <= _MAX_BITS:
            return self._refused(function, ILLEGAL_VALUE)
        if address + count > len(bits):
            return self._refused(function, ILLEGAL_ADDRESS)
        packed = sum(1 << i for i in range(count) if bits[address + i])
        octets = (count + 7) // 8
        return bytes((function, octets)) + packed.to_bytes(octets, "little")

    def _identify(self, pdu: bytes) -> bytes:
        """Basic identification, as a stream (code 1) or one object (code 4)."""
        self.unit.counts.requests += 1
        if len(pdu) != 4 or pdu[1] != _MEI_IDENTIFY or pdu[2] not in {1, 4}:
            return self._refused(IDENTIFY, ILLEGAL_VALUE)
        objects = list(enumerate(text.encode("ascii") for text in self.identity[:3]))
        if pdu[2] == 4:
            objects = [entry for entry in objects if entry[0] == pdu[3]]
            if not objects:
                return self._refused(IDENTIFY, ILLEGAL_ADDRESS)
        listed = b"".join(bytes((number, len(text))) + text for number, text in objects)
        return bytes((IDENTIFY, _MEI_IDENTIFY, pdu[2], 0x81, 0, 0, len(objects))) + listed

    def _refused(self, function: int, code: int) -> bytes:
        self.unit.counts.refused += 1
        return bytes((function | 0x80, code))
