"""DL/T 698.45 frames: bytes to frames and back, and the way back into the stream after noise.

    FE FE FE FE  68  L L  C  AF SA.. CA  HCS HCS  APDU..  FCS FCS  16

L counts everything between 68 and 16. AF says how many octets of address follow, and of which kind; the address goes
lowest octet first. HCS checks the header, so that a length can be believed before the frame is whole; FCS checks all of
it. Both are CRC-16/X-25, low octet first. A frame that says so in C carries its APDU 0x33 higher.

Source: DL/T 698.45-2017, 5 and Annex A.
"""

from __future__ import annotations

from typing import NamedTuple

from drivers.link.checksums import hdlc_check

START, END, OFFSET, PREAMBLE = 0x68, 0x16, 0x33, b"\xfe" * 4

ANSWER, CLIENTS, PIECE, SCRAMBLED = 0x80, 0x40, 0x20, 0x08
"""Bits of C: from the meter; an exchange that the client began; a piece of an APDU; the APDU is 0x33 higher."""

ASKS = CLIENTS | 0x03
ANSWERS = ANSWER | CLIENTS | 0x03
"""C of a question with user data and of its answer, the bits of form aside."""

WILDCARD = "A" * 12
"""Everybody's address: a digit A stands for any. Only the question for an address goes to it."""

NOBODY = 0
"""The client's address of one that has none; a meter gives it back."""

MOST_FRAME = 2048
"""Octets of the longest frame that is listened to: more than any answer to our questions has."""

_HEADER = 14
"""Octets up to the HCS, with an address of six."""

OVERHEAD = _HEADER + 3
"""Octets of a frame besides its APDU."""


class Telegram(NamedTuple):
    """One frame off the line."""

    address: str  # digits, highest first; AF in front, in hex, where it is not the address of one meter
    client: int
    control: int
    apdu: bytes
    raw: bytes  # from 68 to 16
    began: int  # where its first octet lay in everything that was ever fed


def encode(address: str, apdu: bytes, *, client: int = NOBODY) -> bytes:
    """A question without preamble, to one meter; `address` as 12 digits, or with A in front for any."""
    body = (OVERHEAD - 2 + len(apdu)).to_bytes(2, "little") + bytes((ASKS, 0x45 if "A" in address else 5))
    body += bytes.fromhex(address)[::-1] + bytes((client,))
    body += hdlc_check(body).to_bytes(2, "little") + apdu
    return bytes((START, *body, *hdlc_check(body).to_bytes(2, "little"), END))


def address_of(unit: int | str) -> str:
    """The address as 12 digits; a number gets the zeros in front that a number does not have.

    Raises ValueError for what is no address.
    """
    text = f"{unit:012d}" if isinstance(unit, int) else unit
    if len(text) != 12 or not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{unit!r} is no DL/T 698.45 address: 12 digits")
    return text


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

        A beginning that is not whole is waited for: once its header is right, its length is.
        """
        buffer = self._buffer
        while (start := buffer.find(START)) >= 0:
            del buffer[:start]
            length = length_of(buffer)
            if length is None or length > len(buffer):
                return None
            if length and is_whole(raw := bytes(buffer[:length])):
                began = self.seen - len(buffer)
                del buffer[:length]
                return _telegram(raw, began)
            del buffer[:1]
        buffer.clear()
        return None


def length_of(head: bytearray | bytes) -> int | None:
    """Octets of the frame that begins here, once its header is there; 0: none does; None: it is too early to tell."""
    have = len(head)
    if have < 3:
        return None
    length = (head[1] | head[2] << 8) + 2
    if length > MOST_FRAME:
        return 0
    if have > 3 and (head[3] & 0x10 or head[3] & 7 not in {1, 3}):
        return 0
    if have < 5:
        return None
    header = 8 + (head[4] & 0x0F) + 1
    if length < header + 3:
        return 0
    if have < header:
        return None
    return length if hdlc_check(head[1 : header - 2]) == head[header - 2] | head[header - 1] << 8 else 0


def is_whole(raw: bytes) -> bool:
    """Whether a frame whose header is right is right to its end."""
    return raw[-1] == END and hdlc_check(raw[1:-3]) == raw[-3] | raw[-2] << 8


def _telegram(raw: bytes, began: int) -> Telegram:
    end = 5 + (raw[4] & 0x0F) + 1
    apdu = raw[end + 3 : -3]
    if raw[3] & SCRAMBLED:
        apdu = bytes((octet - OFFSET) % 256 for octet in apdu)
    digits = raw[end - 1 : 4 : -1].hex().upper()
    address = digits if raw[4] & 0xF0 == 0 else f"{raw[4]:02X}:{digits}"
    return Telegram(address, raw[end], raw[3] & ~SCRAMBLED, apdu, raw, began)
