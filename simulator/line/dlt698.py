"""A DL/T 698.45 station: the object-oriented protocol of China's newer meters, as far as reading goes.

`68 L L C AF SA.. CA HCS HCS APDU FCS FCS 16`; the address goes lowest octet first, HCS and FCS are CRC-16/X-25. It
answers GET of one attribute, of a list, and of the next block; whatever would change the meter is refused and counted.
A frame with a wrong check or another meter's address meets silence; one with digits A in a wildcard address is for
every meter whose other digits are those. Source: DL/T 698.45-2017, 5, 6.3 and Annexes A and D, as described with the
vectors of the package `dlt698` 1.0.1; none of its code is used here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from simulator.clock import SimClock
from simulator.faults import Fault, FaultKind, Faults
from simulator.line.dlt698_items import NOT_ALLOWED, Objects
from simulator.line.station import Turnaround, spoil
from simulator.line.wire import Reply

GET, SET, ACTION, PROXY, SECURITY, CONNECT = 0x05, 0x06, 0x07, 0x09, 0x10, 0x02
WRITES = frozenset({SET, ACTION, PROXY, SECURITY})

QUESTION, ANSWER, SCRAMBLED = 0x43, 0xC3, 0x08
CANNOT_PARSE, NO_SUCH_SERVICE = 1, 2

WILDCARD = 0x45
"""In front of six octets of address that stand for several meters."""

_OCTET_GAP_S = 0.5
_MOST = 2048


class Frame(NamedTuple):
    control: int
    address: bytes  # AF and the octets as they go out
    client: int
    apdu: bytes


def check(data: bytes) -> bytes:
    """CRC-16/X-25 by nibbles, low octet first."""
    crc = 0xFFFF
    for octet in data:
        for half in (octet & 0x0F, octet >> 4):
            crc = crc >> 4 ^ _NIBBLE[(crc ^ half) & 0x0F]
    return (crc ^ 0xFFFF).to_bytes(2, "little")


_NIBBLE = (
    0x0000, 0x1081, 0x2102, 0x3183, 0x4204, 0x5285, 0x6306, 0x7387,
    0x8408, 0x9489, 0xA50A, 0xB58B, 0xC60C, 0xD68D, 0xE70E, 0xF78F,
)  # fmt: skip


def to_bytes(control: int, address: bytes, client: int, apdu: bytes) -> bytes:
    if control & SCRAMBLED:
        apdu = bytes((octet + 0x33) & 0xFF for octet in apdu)
    head = bytes((control,)) + address + bytes((client,))
    length = 2 + len(head) + 2 + len(apdu) + 2
    head = length.to_bytes(2, "little") + head
    body = head + check(head) + apdu
    return b"\x68" + body + check(body) + b"\x16"


def address_octets(digits: str) -> bytes:
    """Twelve digits as they go out, with what says that there are six octets of one meter in front."""
    if len(digits) != 12 or not digits.isdecimal():
        raise ValueError(f"a DL/T 698.45 address has twelve digits, not {digits!r}")
    return b"\x05" + bytes.fromhex(digits)[::-1]


def take(came: bytearray) -> Frame | None:
    """The first whole frame, removed with everything before it; what cannot begin a frame is dropped."""
    while came:
        if came[0] != 0x68:
            del came[0]
            continue
        if len(came) < 5:
            return None
        end = int.from_bytes(came[1:3], "little") + 2
        head = 5 + (came[4] & 0x0F) + 1 + 1
        if end > _MOST or end < head + 5:
            del came[0]
            continue
        if len(came) < head + 2:
            return None
        if bytes(came[head : head + 2]) != check(bytes(came[1:head])):
            del came[0]
            continue
        if len(came) < end:
            return None
        if came[end - 1] != 0x16 or bytes(came[end - 3 : end - 1]) != check(bytes(came[1 : end - 3])):
            del came[0]
            continue
        apdu = bytes(came[head + 2 : end - 3])
        if came[3] & SCRAMBLED:
            apdu = bytes((octet - 0x33) & 0xFF for octet in apdu)
        frame = Frame(came[3], bytes(came[4 : head - 1]), came[head - 1], apdu)
        del came[:end]
        return frame
    return None


def asking(address: str, oads: Sequence[int], piid: int = 1, client: int = 0) -> bytes:
    """A question as another master puts it."""
    listed = bytes((2, piid, len(oads))) if len(oads) > 1 else bytes((1, piid))
    apdu = bytes((GET,)) + listed + b"".join(oad.to_bytes(4, "big") for oad in oads) + b"\x00"
    return to_bytes(QUESTION, address_octets(address), client, apdu)


def answers(request: bytes, came: bytes) -> bool:
    """Whether what came is a reply to the request: the meter asked, its number, GET."""
    asked, reply = take(bytearray(request)), take(bytearray(came))
    if asked is None or reply is None:
        return False
    return (
        reply.address == asked.address
        and bool(reply.control & 0x80)
        and reply.apdu[0] == asked.apdu[0] | 0x80
        and reply.apdu[2] & 0x3F == asked.apdu[2] & 0x3F
    )


@dataclass(slots=True)
class Counts698:
    """What a meter has been asked."""

    requests: int = 0
    writes_seen: int = 0
    refused: int = 0


@dataclass
class Dlt698Station:
    """One meter on a line.

    `preamble`: FE octets before each reply. `most_apdu`: octets of an answer; what is longer comes in blocks.
    `scrambled`: whether its answers go out 0x33 higher. `lists`: whether it answers to lists at all.
    """

    name: str
    address: str  # twelve digits
    items: Objects
    clock: SimClock
    turnaround: Turnaround = field(default_factory=Turnaround)
    preamble: int = 4
    most_apdu: int = 512
    scrambled: bool = False
    lists: bool = True
    seed: int = 0
    counts: Counts698 = field(default_factory=Counts698)

    def __post_init__(self) -> None:
        self._octets = address_octets(self.address)
        self._came = bytearray()
        self._came_s = 0.0
        self._chance = Random(self.seed)
        self._blocks: tuple[int, list[bytes]] = (-1, [])  # the question's number; the results of its later blocks

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
        service = frame.apdu[0] if frame.apdu else 0
        if frame.control & 0x80 or not self._is_meant(frame.address):
            self.counts.writes_seen += service in WRITES and frame.address[0] >> 6 != 0
            return ()
        self.counts.requests += 1
        if service in WRITES:
            self.counts.writes_seen += 1
        if service != GET or len(frame.apdu) < 4:
            return self._error(frame, NO_SUCH_SERVICE)
        kind, piid = frame.apdu[1], frame.apdu[2]
        rest = frame.apdu[3:]
        if kind == 1 and len(rest) == 5:
            return self._read(frame, piid, [rest[:4]], listed=False)
        if kind == 2 and self.lists and rest[0] and len(rest) == 1 + 4 * rest[0] + 1:
            return self._read(frame, piid, [rest[1 + 4 * n : 5 + 4 * n] for n in range(rest[0])], listed=True)
        if kind == 5 and len(rest) == 3:
            return self._next(frame, piid, int.from_bytes(rest[:2], "big"))
        return self._error(frame, CANNOT_PARSE if kind in {1, 2, 5} and self.lists else NO_SUCH_SERVICE)

    def _is_meant(self, address: bytes) -> bool:
        """Its own address; or a wildcard (45) whose digits are A or its own."""
        if address[0] != WILDCARD:
            return address == self._octets
        asked, own = address[1:].hex(), self._octets[1:].hex()
        return len(asked) == len(own) and all(a in {"a", o} for a, o in zip(asked, own, strict=True))

    def _read(self, frame: Frame, piid: int, oads: Sequence[bytes], *, listed: bool) -> Sequence[Reply]:
        at_ms = self.clock.utc_ms()
        numbers = [int.from_bytes(oad, "big") for oad in oads]
        fault = self.faults.on_wire([q for number in numbers for q in self.items.quantities(number)], at_ms)
        results = []
        for oad, number in zip(oads, numbers, strict=True):
            found = self.items.read(number, at_ms)
            if fault is not None and fault.kind is FaultKind.EXCEPTION:
                found = fault.code if fault.code != 4 else NOT_ALLOWED
            if isinstance(found, int):
                self.counts.refused += 1
                results.append(oad + bytes((0, found)))
            else:
                results.append(oad + b"\x01" + found)
        head = bytes((GET | 0x80, 2 if listed else 1, piid)) + (bytes((len(results),)) if listed else b"")
        whole = head + b"".join(results) + b"\x00\x00"
        if len(whole) <= self.most_apdu:
            return self._say(frame, whole, fault)
        blocks: list[bytes] = []
        together: list[bytes] = []
        for result in results:
            if together and 8 + sum(map(len, together)) + len(result) > self.most_apdu:
                blocks.append(bytes((1, len(together))) + b"".join(together))
                together = []
            together.append(result)
        blocks.append(bytes((1, len(together))) + b"".join(together))
        self._blocks = (piid, blocks)
        return self._block(frame, piid, 0, fault)

    def _next(self, frame: Frame, piid: int, received: int) -> Sequence[Reply]:
        fault = self.faults.on_wire((), self.clock.utc_ms())
        if self._blocks[0] != piid or received + 1 >= len(self._blocks[1]):
            return self._error(frame, CANNOT_PARSE)
        return self._block(frame, piid, received + 1, fault)

    def _block(self, frame: Frame, piid: int, number: int, fault: Fault | None) -> Sequence[Reply]:
        last = number + 1 == len(self._blocks[1])
        head = bytes((GET | 0x80, 5, piid, last)) + number.to_bytes(2, "big")
        return self._say(frame, head + self._blocks[1][number] + b"\x00\x00", fault)

    def _error(self, frame: Frame, code: int) -> Sequence[Reply]:
        self.counts.refused += 1
        piid = frame.apdu[2] if len(frame.apdu) > 2 else 0
        return self._say(frame, bytes((0xEE, piid, code, 0, 0)), None)

    def _say(self, asked: Frame, apdu: bytes, fault: Fault | None) -> Sequence[Reply]:
        after_s = self.turnaround.next_s()
        octets = self._octets
        if fault is not None and fault.kind is FaultKind.WRONG_UNIT:
            octets = address_octets(f"{(int(self.address) + 1) % 10**12:012d}")
        if fault is not None and fault.kind is FaultKind.WRONG_FUNCTION:
            apdu = bytes((SET | 0x80,)) + apdu[1:]
        if fault is not None and fault.kind is FaultKind.SHORT:
            apdu = apdu[:-1]
        control = ANSWER | (SCRAMBLED if self.scrambled else 0)
        frame = b"\xfe" * self.preamble + to_bytes(control, octets, asked.client, apdu)
        if fault is None:
            return (Reply(frame, after_s),)
        return spoil(frame, fault, after_s, check=-3, chance=self._chance)
