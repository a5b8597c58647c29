"""Frames with something wrong in them, fed as a line would hand them over; how long a decoder works on one."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple, Protocol

from edge_agent.ports import DriverError

FRAMES = int(os.environ.get("EDGE_PROVE_FRAMES", "20000"))
"""How many mutated frames each decoder gets."""

LONGEST_S = 0.25
"""A frame that took so much of the processor is a decoder that hangs; a garbage collection is well below."""

KINDS = ("right", "octets", "octets", "fixed up", "fixed up", "cut", "inserted", "dropped", "swapped", "noise", "front")

PutRight = Callable[[bytearray], None]
"""Makes the frame's checksum or length that of what stands in it now, so that only its meaning is wrong."""


def mutated(chance: Random, frame: bytes, put_right: PutRight, odd: Sequence[int]) -> tuple[str, bytes]:
    """What is wrong, and the stream. `odd` are the octets that mean something to the decoder."""
    kind = chance.choice(KINDS)
    wrong = bytearray(frame)

    def octet() -> int:
        return chance.choice((*odd, chance.randrange(256)))

    match kind:
        case "octets" | "fixed up":
            for _ in range(chance.randint(1, 3)):
                wrong[chance.randrange(len(wrong))] = octet()
        case "cut":
            del wrong[chance.randrange(len(wrong)) :]
        case "inserted":
            wrong.insert(chance.randrange(len(wrong)), octet())
        case "dropped":
            del wrong[chance.randrange(len(wrong))]
        case "swapped":
            at = chance.randrange(len(wrong) - 1)
            wrong[at], wrong[at + 1] = wrong[at + 1], wrong[at]
        case "noise":
            wrong = bytearray(octet() for _ in range(chance.randint(1, 40)))
        case "front":
            wrong[:0] = bytes(octet() for _ in range(chance.randint(1, 40)))
    if kind == "fixed up" or (kind in {"inserted", "dropped", "swapped"} and chance.random() < 0.5):
        put_right(wrong)
    return kind, bytes(wrong)


def pieces(chance: Random, stream: bytes) -> list[bytes]:
    """The stream whole, octet by octet, or as it falls."""
    way = chance.randrange(3)
    if way == 0:
        return [stream]
    if way == 1:
        return [stream[i : i + 1] for i in range(len(stream))]
    cuts = sorted({0, len(stream), *(chance.randrange(len(stream) + 1) for _ in range(4))})
    return [stream[a:b] for a, b in itertools.pairwise(cuts)]


class Feeds(Protocol):
    """An exchange."""

    def feed(self, received: bytes) -> bytes | None: ...

    def expired(self) -> DriverError: ...


class Came(NamedTuple):
    """What a decoder made of a stream and of the silence behind it."""

    value: bytes | None
    failure: DriverError | None


class Stopwatch:
    """Feeds exchanges and keeps the longest time that the processor was needed for one."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    def feed(self, exchange: Feeds, parts: Sequence[bytes]) -> Came:
        began_s = time.process_time()
        try:
            for part in parts:
                if (value := exchange.feed(part)) is not None:
                    return Came(value, None)
            return Came(None, exchange.expired())
        except DriverError as error:
            return Came(None, error)
        finally:
            self.longest_s = max(self.longest_s, time.process_time() - began_s)


CRC_TABLE: list[int] = []
for _octet in range(256):
    _value = _octet
    for _ in range(8):
        _value = _value >> 1 ^ 0xA001 if _value & 1 else _value >> 1
    CRC_TABLE.append(_value)


def crc(data: bytes | bytearray) -> int:
    """MODBUS over Serial Line V1.02, 6.2.2."""
    value = 0xFFFF
    for octet in data:
        value = value >> 8 ^ CRC_TABLE[(value ^ octet) & 0xFF]
    return value


def rtu(unit: int, pdu: bytes) -> bytes:
    body = bytes((unit,)) + pdu
    return body + crc(body).to_bytes(2, "little")
