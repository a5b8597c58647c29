"""DL/T 645-2007 frames: bytes to frames and back, and the way back into the stream after noise.

    FE FE FE FE  68  A0..A5  68  C  L  DATA  CS  16

The address goes lowest octet first, every data octet goes out 0x33 higher, and CS is the sum of all octets from the
first 68, both modulo 256. A meter sends any number of FE in front, some send a doubled 68, and a line carries noise:
whatever could be the beginning of a frame is tried, and only a frame that is right to its last octet is taken.

Source: DL/T 645-2007, 5.2.
"""

from __future__ import annotations

import re
from typing import NamedTuple

START, END, OFFSET, PREAMBLE = 0x68, 0x16, 0x33, b"\xfe" * 4
WILDCARD = "A" * 12
"""The address that every meter answers to when its own is asked for."""

MOST_DATA = 200
"""Octets of data in a frame that answers a read."""

ANSWER, ERROR, MORE, FUNCTION = 0x80, 0x40, 0x20, 0x1F
"""Bits of the control octet: from the meter, it refuses, another frame follows; and the function."""

READ, FOLLOW, ADDRESS = 0x11, 0x12, 0x13

OVERHEAD = 12
"""Octets of a frame besides its data."""

_LENGTHS = {
    0x91: (4, MOST_DATA),
    0xB1: (4, MOST_DATA),
    0xD1: (1, 1),
    0x92: (5, MOST_DATA),
    0xB2: (5, MOST_DATA),
    0xD2: (1, 1),
    0x93: (6, 6),
    0xD3: (1, 1),
    0x11: (4, 10),
    0x12: (5, 5),
    0x13: (0, 0),
}
"""Octets of data, least and most, in what reads and what answers it."""

_MOST_ASKED = 64
"""Octets of data in whatever else another master may say; a meter's other answers have up to 200."""

_SHORT = re.compile(r"\A(AA){0,5}([0-9]{2})+\Z")


class Telegram(NamedTuple):
    """One frame off the line."""

    address: str  # 12 characters, highest digit first; AA is a wildcard
    control: int
    data: bytes  # 0x33 taken off again, in the order of the wire: lowest octet first
    raw: bytes  # from the first 68 to the 16
    began: int  # where its first octet lay in everything that was ever fed


def encode(address: str, control: int, data: bytes = b"") -> bytes:
    """A frame without preamble; `address` as 12 characters, highest digit first."""
    body = bytes((START, *bytes.fromhex(address)[::-1], START, control, len(data)))
    body += bytes((octet + OFFSET) % 256 for octet in data)
    return body + bytes((sum(body) % 256, END))


def address_of(unit: int | str) -> str:
    """The address as 12 characters; fewer digits are a short address, filled with the wildcard AA in front.

    A number is a whole address, with the zeros in front that a number does not have.
    Raises ValueError for what is no address, and for 999999999999, which no meter ever answers.
    """
    text = f"{unit:012d}" if isinstance(unit, int) else unit.upper()
    if len(text) > 12 or not _SHORT.match(text):
        raise ValueError(f"{unit!r} is no DL/T 645 address: 12 digits, or an even number of them for a short one")
    if text == "9" * 12:
        raise ValueError("999999999999 is the broadcast address: no meter answers it")
    return text.rjust(12, "A")


def is_address(asked: str, answered: str) -> bool:
    """Whether the address in an answer is the one that was asked, wildcards aside."""
    return all(a in {"A", b} for a, b in zip(asked, answered, strict=True))


class Reader:
    """Frames out of a stream of bytes. Feed it whatever arrives; `take` gives the next whole frame, or None."""

    def __init__(self) -> None:
        self.seen = 0
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes that may yet become a frame."""
        return len(self._buffer)

    def feed(self, received: bytes) -> None:
        self._buffer += received
        self.seen += len(received)

    def clear(self) -> None:
        self._buffer.clear()

    def take(self) -> Telegram | None:
        """The next frame whose every octet is right; what lies before it is noise and is dropped.

        A beginning that is not whole is waited for, even when a whole frame lies inside what came: what it is, only
        its own last octet tells.
        """
        buffer = self._buffer
        while (start := buffer.find(START)) >= 0:
            del buffer[:start]
            length = _length(buffer)
            if length is None:
                return None
            if length:
                raw = bytes(buffer[:length])
                began = self.seen - len(buffer)
                del buffer[:length]
                data = bytes((octet - OFFSET) % 256 for octet in raw[10:-2])
                return Telegram(raw[6:0:-1].hex().upper(), raw[8], data, raw, began)
            del buffer[:1]
        buffer.clear()
        return None


def _length(head: bytearray) -> int | None:
    """Octets of the frame that begins here; 0: none does; None: it is too early to tell."""
    have = len(head)
    if not all(_is_address_octet(octet) for octet in head[1:7]):
        return 0
    if have > 7 and head[7] != START:
        return 0
    if have > 8 and not _is_control(head[8]):
        return 0
    if have < 10:
        return None
    least, most = _LENGTHS.get(head[8], (0, MOST_DATA if head[8] & ANSWER else _MOST_ASKED))
    if not least <= head[9] <= most:
        return 0
    length = OVERHEAD + head[9]
    if have < length:
        return None
    right = head[length - 1] == END and sum(head[: length - 2]) % 256 == head[length - 2]
    return length if right else 0


def _is_address_octet(octet: int) -> bool:
    return octet == 0xAA or (octet >> 4 <= 9 and octet & 0x0F <= 9)


def _is_control(control: int) -> bool:
    """A question has neither error nor more, an answer not both; no function is 0."""
    both = control & (ERROR | MORE)
    return control & FUNCTION != 0 and (both != ERROR | MORE if control & ANSWER else both == 0)
