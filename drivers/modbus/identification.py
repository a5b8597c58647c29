"""Read device identification (function 43, type 14): what a device says about itself, in texts.

An answer lists its objects, each with its number and length, so where it ends is known only from its inside. What does
not fit into one answer comes in the next: it names the object to go on with.

Source: MODBUS Application Protocol V1.1b3, 6.21.
"""

from __future__ import annotations

from typing import NamedTuple

from drivers.link.checksums import is_modbus_rtu, modbus_crc
from drivers.modbus.exchange import Session, exception_of
from edge_agent.ports import BadReply, DriverError, NoReply

IDENTIFY, TYPE = 0x2B, 0x0E
BASIC, REGULAR = 1, 2

NAMES = ("vendor", "product", "revision", "url", "product_name", "model", "application")
"""Of the objects 0 to 6; 0 to 2 are basic."""

_HEAD = 7
"""Function, type, category, conformity, more, next object, how many."""


class Part(NamedTuple):
    """One answer: its objects, the object to go on with or None, and the highest category that the device has."""

    texts: tuple[tuple[str, str], ...]
    next_object: int | None
    category: int


def question(category: int, first_object: int) -> bytes:
    return bytes((IDENTIFY, TYPE, category, first_object))


def length_of(pdu: bytes | bytearray) -> int | None:
    """How long the answer is that begins here; None: more is needed to tell. BadReply: it is none."""
    if len(pdu) < 2:
        return None
    if pdu[0] == IDENTIFY | 0x80:
        return 2
    if pdu[0] != IDENTIFY or pdu[1] != TYPE:
        raise BadReply(f"asked for the identification, got function {pdu[0]}")
    if len(pdu) < _HEAD:
        return None
    at = _HEAD
    for _ in range(pdu[6]):
        if len(pdu) < at + 2:
            return None
        at += 2 + pdu[at + 1]
        if at > 252:
            raise BadReply("an identification that is longer than a frame")
    return at


def part_of(unit: int, pdu: bytes) -> Part:
    """Raises what an exception means, and BadReply for an answer that is none."""
    if len(pdu) == 2 and pdu[0] == IDENTIFY | 0x80:
        raise exception_of(unit, pdu[1])
    if length_of(pdu) != len(pdu):
        raise BadReply(f"unit {unit}: an identification of {len(pdu)} bytes does not end where it says")
    texts, at = [], _HEAD
    for _ in range(pdu[6]):
        number, size = pdu[at], pdu[at + 1]
        text = pdu[at + 2 : at + 2 + size].strip(b"\0 ")
        at += 2 + size
        if number < len(NAMES) and text and all(0x20 <= byte < 0x7F for byte in text):
            texts.append((NAMES[number], text.decode("ascii")))
    return Part(tuple(texts), pdu[5] if pdu[4] == 0xFF else None, pdu[3] & 0x7F)


class RtuIdentification:
    """One question and its answer on a line."""

    def __init__(self, unit: int, category: int, first_object: int) -> None:
        body = bytes((unit,)) + question(category, first_object)
        self.request = body + modbus_crc(body).to_bytes(2, "little")
        self._unit = unit
        self._received = bytearray()

    @property
    def received(self) -> bytes:
        return bytes(self._received)

    def feed(self, received: bytes) -> bytes | None:
        self._received += received
        came = self._received
        if came[0] != self._unit:
            raise BadReply(f"asked unit {self._unit}, got {came[:8].hex(' ')}")
        length = length_of(came[1:])
        if length is None or len(came) < length + 3:
            return None
        if len(came) > length + 3 or not is_modbus_rtu(came):
            raise BadReply(f"unit {self._unit}: the identification's checksum is wrong")
        return bytes(came[1:-2])

    def expired(self) -> DriverError:
        if not self._received:
            return NoReply(f"unit {self._unit} kept silent")
        return BadReply(f"unit {self._unit} stopped after {len(self._received)} bytes of its identification")


class TcpIdentification:
    """The same over Modbus TCP."""

    def __init__(self, session: Session, unit: int, category: int, first_object: int) -> None:
        self._id = session.next_id()
        self._session = session
        self._unit = unit
        self._received = bytearray()
        asked = question(category, first_object)
        self.request = self._id.to_bytes(2, "big") + bytes((0, 0, 0, len(asked) + 1, unit)) + asked

    @property
    def received(self) -> bytes:
        return bytes(self._received)

    def feed(self, received: bytes) -> bytes | None:
        self._received += received
        self._session.buffer += received
        while (frame := self._session.take(self._id)) is not None:
            tid = frame[0] << 8 | frame[1]
            self._session.answered(tid)
            if tid != self._id:
                continue
            if frame[6] != self._unit:
                raise BadReply(f"asked unit {self._unit}, {frame[6]} answered")
            return frame[7:]
        return None

    def expired(self) -> DriverError:
        if not self._received:
            return NoReply(f"unit {self._unit} kept silent")
        return BadReply(f"unit {self._unit} stopped after {len(self._received)} bytes of its identification")
