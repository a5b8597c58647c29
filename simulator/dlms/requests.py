"""What a client asks: GET in its three forms, and ACTION; and how their answers are put together.

Source: IEC 62056-5-3 (DLMS UA 1000-2), GET and ACTION services; abstract syntax of COSEM APDUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from simulator.dlms.codec import Data, Decoder, Malformed, Octets, encode, length_octets, string_octets

GET, SET, ACTION = 0xC0, 0xC1, 0xC3
GIVEN, ACTED = 0xC4, 0xC7


class Target(NamedTuple):
    """An attribute, or with a selector a part of it."""

    class_id: int
    name: bytes
    attribute: int
    selector: int = 0
    parameter: Data | None = None


class Get(NamedTuple):
    invoke: int
    targets: tuple[Target, ...]
    listed: bool


class Next(NamedTuple):
    """The block after `block`."""

    invoke: int
    block: int


class Act(NamedTuple):
    invoke: int
    class_id: int
    name: bytes
    method: int
    parameter: Data | None


class Unknown(NamedTuple):
    """A service that a meter here has not; `writes`: it would change the meter."""

    tag: int
    writes: bool


Answered = Data | int
"""A value, or a Data-Access-Result."""


def request(plain: bytes) -> Get | Next | Act | Unknown:
    """Raises Malformed."""
    source = Octets(plain)
    tag = source.u8()
    asked: Get | Next | Act
    if tag == GET:
        asked = _get(source)
    elif tag == ACTION:
        source.expect(1, "ACTION-Request-Normal")
        invoke, class_id, name = source.u8(), source.u16(), source.take(6)
        method = source.u8()
        asked = Act(invoke, class_id, name, method, Decoder(source).take() if source.flag() else None)
    else:
        return Unknown(tag, writes=tag in {SET, 0x06, 0x26, 0xC9, 0xD1})
    source.end("the request")
    return asked


def _get(source: Octets) -> Get | Next:
    kind, invoke = source.u8(), source.u8()
    match kind:
        case 1:
            return Get(invoke, (_target(source),), listed=False)
        case 2:
            return Next(invoke, source.u32())
        case 3:
            return Get(invoke, tuple(_target(source) for _ in range(source.length())), listed=True)
    raise Malformed(f"GET has no request of kind {kind}")


def _target(source: Octets) -> Target:
    class_id, name, attribute = source.u16(), source.take(6), source.i8()
    if not source.flag():
        return Target(class_id, name, attribute)
    return Target(class_id, name, attribute, source.u8(), Decoder(source).take())


def normal(invoke: int, answered: Answered) -> bytes:
    return bytes((GIVEN, 1, invoke)) + _result(answered)


def listed(invoke: int, results: bytes) -> bytes:
    return bytes((GIVEN, 3, invoke)) + results


def results(answered: Sequence[Answered]) -> bytes:
    """The results of a list with their number."""
    return length_octets(len(answered)) + b"".join(_result(one) for one in answered)


def block(invoke: int, number: int, content: bytes | int, *, last: bool) -> bytes:
    """A block, or why there is none."""
    inside = bytes((1, content)) if isinstance(content, int) else b"\x00" + string_octets(content)
    return bytes((GIVEN, 2, invoke, last)) + number.to_bytes(4, "big") + inside


def acted(invoke: int, result: int, data: Data | None = None) -> bytes:
    given = b"\x00" if data is None else b"\x01\x00" + encode(data)
    return bytes((ACTED, 1, invoke, result)) + given


BLOCK_HEAD = 13
"""Octets around the content of a block, at most."""


def _result(answered: Answered) -> bytes:
    return bytes((1, answered)) if isinstance(answered, int) else b"\x00" + encode(answered)
