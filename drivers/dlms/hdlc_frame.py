"""HDLC frames of DLMS: bytes to frames and back, and the way back into the stream after noise.

    7E  A.LL  destination  source  control  [HCS  information]  FCS  7E

The length in the format field decides where a frame ends: there is no transparency, and 7E inside it is an octet like
any other. The header's own checksum is looked at before the rest is waited for, so that noise which looks like a
beginning holds nobody up. Addresses are one octet (a client), or one, two or four (a server: logical device, then
physical); the lowest bit ends them.

Source: IEC 62056-46 (DLMS UA 1000-2, chapter 8), frame format type 3 and addressing; ISO/IEC 13239.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from drivers.link.checksums import hdlc_check

FLAG = 0x7E
MOST_FRAME = 2047
"""Octets between the flags: what eleven bits of length can say."""

SNRM, DISC, UA, DM, FRMR, UI = 0x83, 0x43, 0x63, 0x0F, 0x87, 0x03
"""Unnumbered controls, without the poll/final bit."""
RR, RNR, REJ = 0x01, 0x05, 0x09
"""Supervisory controls, without N(R) and the poll/final bit."""
FINAL = 0x10
"""The poll bit in what a client sends, the final bit in what a server sends."""

_LEAST_FRAME = 7
_MOST_KEPT = 16 * MOST_FRAME
_MOST_NOISE = 64


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A logical device of a physical one. `physical` None: one octet, for a meter that is alone on its line."""

    logical: int = 1
    physical: int | None = None
    octets: int = 0
    """1, 2 or 4; 0: as few as hold both parts."""

    def __post_init__(self) -> None:
        parts = (self.logical, self.physical or 0)
        most = 0x3FFF if self._size == 4 else 0x7F
        if self._size not in {1, 2, 4} or not all(0 <= part <= most for part in parts):
            raise ValueError(f"{self.logical}/{self.physical} is no HDLC server address of {self._size} octets")
        if self._size == 1 and self.physical is not None:
            raise ValueError("an HDLC address with a physical part has two or four octets")

    @property
    def _size(self) -> int:
        if self.octets:
            return self.octets
        if self.physical is None:
            return 1 if self.logical <= 0x7F else 4
        return 2 if max(self.logical, self.physical) <= 0x7F else 4

    def to_octets(self) -> bytes:
        physical = self.physical or 0
        match self._size:
            case 1:
                return bytes((self.logical << 1 | 1,))
            case 2:
                return bytes((self.logical << 1, physical << 1 | 1))
        return bytes(
            (self.logical >> 6 & 0xFE, self.logical << 1 & 0xFE, physical >> 6 & 0xFE, physical << 1 & 0xFF | 1)
        )


def client_octet(client: int) -> bytes:
    """A client's address, 16 for the public one."""
    if not 0 < client <= 0x7F:
        raise ValueError(f"{client} is no HDLC client address")
    return bytes((client << 1 | 1,))


class Frame(NamedTuple):
    """One frame off the line, right to its last octet."""

    destination: bytes
    source: bytes
    control: int
    info: bytes
    segmented: bool
    """Whether the information goes on in another frame."""
    raw: bytes

    @property
    def is_final(self) -> bool:
        return bool(self.control & FINAL)

    @property
    def kind(self) -> int:
        """The control without poll/final, and of a numbered frame without its numbers: 0 is information."""
        if self.control & 1 == 0:
            return 0
        if self.control & 3 == 1:
            return self.control & 0x0F
        return self.control & ~FINAL

    @property
    def ns(self) -> int:
        return self.control >> 1 & 7

    @property
    def nr(self) -> int:
        return self.control >> 5


def encode(destination: bytes, source: bytes, control: int, info: bytes = b"", *, segmented: bool = False) -> bytes:
    """A frame with its flags. Raises ValueError for more information than a frame can hold."""
    header = len(destination) + len(source) + 3
    length = header + (len(info) + 4 if info else 2)
    if length > MOST_FRAME:
        raise ValueError(f"{len(info)} octets do not fit an HDLC frame")
    body = (0xA000 | segmented << 11 | length).to_bytes(2, "big") + destination + source + bytes((control,))
    if info:
        body += hdlc_check(body).to_bytes(2, "little") + info
    return bytes((FLAG,)) + body + hdlc_check(body).to_bytes(2, "little") + bytes((FLAG,))


class FrameReader:
    """Frames out of a stream of bytes. Feed it whatever arrives; `take` gives the next whole frame, or None."""

    def __init__(self) -> None:
        self.noise = bytearray()
        """The newest octets that belonged to no frame."""
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Octets that may yet become a frame."""
        return len(self._buffer.lstrip(b"\x7e"))

    def feed(self, received: bytes) -> None:
        self._buffer += received
        if len(self._buffer) > _MOST_KEPT:
            self._drop(len(self._buffer) - _MOST_KEPT)

    def clear(self) -> None:
        self._buffer.clear()
        self.noise.clear()

    def take(self) -> Frame | None:
        """The next frame whose checksums are right; what lies before it is dropped."""
        buffer = self._buffer
        while (start := buffer.find(FLAG)) >= 0:
            self._drop(start)
            while len(buffer) > 1 and buffer[1] == FLAG:
                del buffer[0]
            length = _length(buffer)
            if length is None:
                return None
            if length:
                frame = _frame(bytes(buffer[: length + 2]))
                del buffer[: length + 1]  # its last flag may be the first of the next
                return frame
            self._drop(1)
        self._drop(len(buffer))
        return None

    def _drop(self, count: int) -> None:
        self.noise += self._buffer[:count]
        del self._buffer[:count]
        del self.noise[:-_MOST_NOISE]


def _length(head: bytearray) -> int | None:
    """Octets between the flags of the frame that begins here; 0: none does; None: it is too early to tell."""
    have = len(head)
    if have > 1 and head[1] & 0xF0 != 0xA0:
        return 0
    if have < 3:
        return None
    length = (head[1] & 7) << 8 | head[2]
    if length < _LEAST_FRAME:
        return 0
    control = _control_at(head)
    if not control:
        return control
    behind = length - control - 2  # of the FCS: the HCS and the information
    if behind:
        if behind < 2:
            return 0
        if have < control + 3:
            return None
        if hdlc_check(head[1 : control + 1]) != head[control + 1] | head[control + 2] << 8:
            return 0
    if have < length + 2:
        return None
    right = head[length + 1] == FLAG and hdlc_check(head[1 : length - 1]) == head[length - 1] | head[length] << 8
    return length if right else 0


def _control_at(head: bytearray | bytes) -> int | None:
    """Where the control octet is; 0: these are no addresses; None: it has not come yet."""
    at = 3
    for _ in range(2):
        size = next((n for n in range(4) if at + n < len(head) and head[at + n] & 1), None)
        if size is None:
            return None if len(head) < at + 4 else 0
        if size == 2:
            return 0
        at += size + 1
    return at if at < len(head) else None


def _frame(raw: bytes) -> Frame:
    control = _control_at(raw)
    assert control
    split = next(n for n in range(3, control) if raw[n] & 1) + 1
    info = raw[control + 3 : -3] if len(raw) > control + 4 else b""
    return Frame(raw[3:split], raw[split:control], raw[control], info, bool(raw[1] & 8), raw)
