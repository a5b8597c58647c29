"""The door to the package `dlt698`: the only file that knows it. Octets of an APDU to values, and questions to octets.

The package is compiled code with a client, a server and threads of its own; taken of it is what turns octets into
objects and back, without a wire and without a thread. Its release is pinned to one minor number. What it makes of an
APDU is handed on as plain values; what it cannot make anything of is `Unreadable`.
"""

from __future__ import annotations

from typing import NamedTuple

try:
    from dlt698.codec import decode_apdu, encode_apdu, encode_data
    from dlt698.errors import Dlt698Error
    from dlt698.model import BitString, Data, DataType, Oad
    from dlt698.protocol import (
        AttributeResult,
        ErrorResponse,
        GetNextRequest,
        GetNextResponse,
        GetRequest,
        GetResponse,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'DL/T 698.45 meters need the extra dlt698: pip install "edge-agent[dlt698]"', name=error.name
    ) from error


class Unreadable(Exception):
    """Octets that are no APDU, or one that the package cannot read to its last octet."""


class Value(NamedTuple):
    """One value with its type: the name in the standard's table of data types, shortened as in profiles."""

    kind: str  # "null" "array" "structure" "bits" "i8".."i64" "u8".."u64" "octets" "text" "date_time_s"; or another
    content: int | str | bytes | tuple[Value, ...] | None


class Dar(NamedTuple):
    """Why there is no value: the standard's data access result."""

    code: int


class Result(NamedTuple):
    """What came for one object attribute."""

    oad: int
    found: Value | Dar


class Got(NamedTuple):
    """An answer to GET."""

    piid: int
    listed: bool
    results: tuple[Result, ...]
    block: int | None  # None: all of it in one APDU
    last: bool
    dar: int  # of a block that was refused as a whole; else 0


class Error(NamedTuple):
    """The meter could not do anything with the question."""

    piid: int
    code: int


class Protected(NamedTuple):
    """An answer under the meter's security module."""


class Other(NamedTuple):
    """Anything else that a meter may say."""

    name: str


PIIDS = 64
"""The numbers that a question may have; the other two bits of the octet mean something else."""

_SECURITY_RESPONSE = b"\x90"

_KINDS = {
    DataType.null: "null",
    DataType.array: "array",
    DataType.structure: "structure",
    DataType.bit_string: "bits",
    DataType.octet_string: "octets",
    DataType.visible_string: "text",
    DataType.int8: "i8",
    DataType.int16: "i16",
    DataType.int32: "i32",
    DataType.int64: "i64",
    DataType.uint8: "u8",
    DataType.uint16: "u16",
    DataType.uint32: "u32",
    DataType.uint64: "u64",
    DataType.date_time_s: "date_time_s",
}


def asking(piid: int, oads: tuple[int, ...]) -> bytes:
    """GET of one attribute or of several at once."""
    return encode_apdu(GetRequest(piid=piid, list=len(oads) > 1, attributes=[_oad(oad) for oad in oads]))


def asking_next(piid: int, block: int) -> bytes:
    """GET of the block after the one that was received last."""
    return encode_apdu(GetNextRequest(piid=piid, block=block))


def understood(apdu: bytes) -> Got | Error | Protected | Other:
    """Raises `Unreadable`."""
    if apdu[:1] == _SECURITY_RESPONSE:
        return Protected()
    try:
        said = decode_apdu(apdu)
        if isinstance(said, GetResponse):
            return Got(said.piid_acd % PIIDS, said.list, _results(said.attributes), None, True, 0)
        if isinstance(said, GetNextResponse):
            found = said.result
            attributes: list[AttributeResult] = []
            if isinstance(found, list):
                attributes = [r for r in found if isinstance(r, AttributeResult)]
                if len(attributes) < len(found):
                    return Other("records that nobody asked for")
            dar = found if isinstance(found, int) else 0
            return Got(said.piid_acd % PIIDS, True, _results(attributes), said.block, said.last, dar)
        if isinstance(said, ErrorResponse):
            return Error(said.piid % PIIDS, said.type)
    except (Dlt698Error, ValueError, TypeError, OverflowError) as error:
        raise Unreadable(str(error)) from error
    return Other(type(said).__name__)


def raw(apdu: bytes, oad: int, path: tuple[int, ...]) -> bytes:
    """The octets of a value inside an answer, its type in front; `b""` where the answer has none there."""
    try:
        said = decode_apdu(apdu)
        if not isinstance(said, GetResponse | GetNextResponse):
            return b""
        attributes = said.attributes if isinstance(said, GetResponse) else said.result
        for result in attributes if isinstance(attributes, list) else ():
            if not isinstance(result, AttributeResult) or _number(result.attribute) != oad:
                continue
            data: object = result.result
            for step in path:
                inner = data.value if isinstance(data, Data) else None
                if not isinstance(inner, list) or len(inner) < step or not isinstance(inner[step - 1], Data):
                    return b""
                data = inner[step - 1]
            return encode_data(data) if isinstance(data, Data) else b""
    except (Dlt698Error, ValueError, TypeError, OverflowError):
        pass
    return b""


def _results(attributes: list[AttributeResult]) -> tuple[Result, ...]:
    return tuple(
        Result(_number(a.attribute), Dar(a.result) if isinstance(a.result, int) else _value(a.result))
        for a in attributes
    )


def _value(data: Data) -> Value:
    kind = _KINDS.get(data.type)
    if kind is None:
        return Value(data.type.name, None)
    content = data.value
    match content:
        case list():
            inner = [each for each in content if isinstance(each, Data)]
            if kind == "date_time_s":
                return Value(kind, bytes(each for each in content if isinstance(each, int)))
            return Value(kind, tuple(_value(each) for each in inner))
        case BitString():
            return Value(kind, content.value)
        case int() | str() | bytes() | None:
            return Value(kind, content)
    return Value(data.type.name, None)


def _oad(number: int) -> Oad:
    return Oad(oi=number >> 16, attribute=number >> 8 & 0xFF, index=number & 0xFF)


def _number(oad: Oad) -> int:
    return oad.oi << 16 | oad.attribute << 8 | oad.index
