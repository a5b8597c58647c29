"""COSEM `Data` in A-XDR: octets to typed values and back.

A value keeps its tag: a long-unsigned is not a double-long, a string of octets is no text. Nothing is a binary float: a
float32 or float64 keeps its bits, and its exact decimal beside them. What a meter may send is bounded in depth, in
elements and in octets, and nothing is set aside for elements that have not come.

A compact-array and the delta types of compressed profiles are recognised and refused.

Source: IEC 62056-6-2 (DLMS UA 1000-1), 4.1.5 (data types); IEC 61334-6 (A-XDR).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from drivers.dlms.octets import Octets, length_octets, string_octets
from drivers.dlms.refused import Malformed, NotSupported, Unsupported


class Tag(IntEnum):
    """The types of `Data`."""

    NULL = 0
    ARRAY = 1
    STRUCTURE = 2
    BOOLEAN = 3
    BIT_STRING = 4
    DOUBLE_LONG = 5
    DOUBLE_LONG_UNSIGNED = 6
    OCTET_STRING = 9
    VISIBLE_STRING = 10
    UTF8_STRING = 12
    BCD = 13
    INTEGER = 15
    LONG = 16
    UNSIGNED = 17
    LONG_UNSIGNED = 18
    COMPACT_ARRAY = 19
    LONG64 = 20
    LONG64_UNSIGNED = 21
    ENUM = 22
    FLOAT32 = 23
    FLOAT64 = 24
    DATE_TIME = 25
    DATE = 26
    TIME = 27
    DELTA_INTEGER = 28
    DELTA_LONG = 29
    DELTA_DOUBLE_LONG = 30
    DELTA_UNSIGNED = 31
    DELTA_LONG_UNSIGNED = 32
    DELTA_DOUBLE_LONG_UNSIGNED = 33
    DONT_CARE = 255


class Bits(NamedTuple):
    """A string of bits: how many, and their octets, the first bit the highest of the first octet."""

    size: int
    octets: bytes

    def __contains__(self, bit: object) -> bool:
        """Whether that bit, counted from 0, is set."""
        return isinstance(bit, int) and 0 <= bit < self.size and bool(self.octets[bit >> 3] & 0x80 >> (bit & 7))


class Float(NamedTuple):
    """An IEEE 754 number: its bits, and exactly what they mean (NaN and Infinity are Decimal's)."""

    bits: int
    exact: Decimal


Value: TypeAlias = bool | int | bytes | str | Bits | Float | tuple["Data", ...] | None


class Data(NamedTuple):
    """One value with its type."""

    tag: Tag
    value: Value

    @property
    def is_integer(self) -> bool:
        return self.tag in INTEGERS

    def items(self, what: str, tag: Tag, count: int | None = None) -> tuple[Data, ...]:
        """The elements of an array or a structure. Raises Malformed when it is none, or has another number."""
        if self.tag is not tag or not isinstance(self.value, tuple):
            raise Malformed(f"{what}: {tag.name} wanted, {self.tag.name} came")
        if count is not None and len(self.value) != count:
            raise Malformed(f"{what}: {count} elements wanted, {len(self.value)} came")
        return self.value

    def integer(self, what: str) -> int:
        """Any of the integer types, and enum. Raises Malformed for anything else."""
        if self.tag in INTEGERS and isinstance(self.value, int):
            return self.value
        raise Malformed(f"{what}: a whole number wanted, {self.tag.name} came")

    def octets(self, what: str, count: int | None = None) -> bytes:
        """An octet-string. Raises Malformed for anything else, or for another length."""
        if self.tag is not Tag.OCTET_STRING or not isinstance(self.value, bytes):
            raise Malformed(f"{what}: OCTET_STRING wanted, {self.tag.name} came")
        if count is not None and len(self.value) != count:
            raise Malformed(f"{what}: {count} octets wanted, {len(self.value)} came")
        return self.value


NULL = Data(Tag.NULL, None)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one answer may bring: levels of nesting, elements in all, octets in all."""

    depth: int = 16
    elements: int = 65_536
    octets: int = 524_288


LIMITS = Limits()
"""A month of quarter hours in twenty columns fits; a gateway's memory does not notice it."""

_FIXED = {
    Tag.DOUBLE_LONG: (4, True),
    Tag.DOUBLE_LONG_UNSIGNED: (4, False),
    Tag.BCD: (1, False),
    Tag.INTEGER: (1, True),
    Tag.LONG: (2, True),
    Tag.UNSIGNED: (1, False),
    Tag.LONG_UNSIGNED: (2, False),
    Tag.LONG64: (8, True),
    Tag.LONG64_UNSIGNED: (8, False),
    Tag.ENUM: (1, False),
}
"""Octets, and whether there is a sign. A bcd is the octet that holds its two digits."""

INTEGERS = frozenset(_FIXED) - {Tag.BCD}

_TIMES = {Tag.DATE_TIME: 12, Tag.DATE: 5, Tag.TIME: 4}
_FLOATS = {Tag.FLOAT32: (4, ">f"), Tag.FLOAT64: (8, ">d")}
_TAGS = {int(tag): tag for tag in Tag}
_DELTAS = range(Tag.DELTA_INTEGER, Tag.DELTA_DOUBLE_LONG_UNSIGNED + 1)


def decode(octets: bytes, limits: Limits = LIMITS) -> Data:
    """Exactly one value. Raises Malformed, and NotSupported for what is recognised and not read."""
    if len(octets) > limits.octets:
        raise Malformed(f"{len(octets)} octets of data, at most {limits.octets} are taken")
    source = Octets(octets)
    data = Decoder(source, limits).take()
    source.end("the data")
    return data


class Decoder:
    """Values out of octets, one after the other, under one common limit."""

    def __init__(self, source: Octets, limits: Limits = LIMITS) -> None:
        self._source = source
        self._depth = limits.depth
        self._elements = limits.elements

    def take(self) -> Data:
        """The next value."""
        return self._take(self._depth)

    def _take(self, depth: int) -> Data:
        self._elements -= 1
        if self._elements < 0:
            raise Malformed("more elements than an answer may bring")
        source = self._source
        number = source.u8()
        tag = _TAGS.get(number)
        if tag is None:
            raise Malformed(f"there is no type {number}")
        if (fixed := _FIXED.get(tag)) is not None:
            return Data(tag, int.from_bytes(source.take(fixed[0]), "big", signed=fixed[1]))
        match tag:
            case Tag.OCTET_STRING:
                return Data(tag, source.string())
            case Tag.NULL | Tag.DONT_CARE:
                return NULL if tag is Tag.NULL else Data(tag, None)
            case Tag.ARRAY | Tag.STRUCTURE:
                return Data(tag, self._sequence(depth))
            case Tag.BOOLEAN:
                return Data(tag, source.u8() != 0)
            case Tag.VISIBLE_STRING:
                return Data(tag, source.string().decode("latin-1"))
            case Tag.UTF8_STRING:
                return Data(tag, _utf8(source.string()))
            case Tag.BIT_STRING:
                count = source.length()
                return Data(tag, Bits(count, source.take((count + 7) // 8)))
            case Tag.FLOAT32 | Tag.FLOAT64:
                octets, form = _FLOATS[tag]
                return Data(tag, _float(source.take(octets), form))
            case Tag.DATE_TIME | Tag.DATE | Tag.TIME:
                return Data(tag, source.take(_TIMES[tag]))
        if tag is Tag.COMPACT_ARRAY:
            raise NotSupported(Unsupported.COMPACT_ARRAY, "an attribute given as a compact-array")
        raise NotSupported(Unsupported.DELTA, f"a profile compressed with {tag.name}")

    def _sequence(self, depth: int) -> tuple[Data, ...]:
        if depth <= 0:
            raise Malformed("nested deeper than anything in the standard")
        count = self._source.length()
        # An element has an octet at least: more than that cannot come.
        if count > min(self._source.left, self._elements):
            raise Malformed(f"{count} elements promised, {self._source.left} octets left")
        return tuple([self._take(depth - 1) for _ in range(count)])


def encode(data: Data) -> bytes:
    """The octets of a value. Raises ValueError for a value that its type cannot hold."""
    tag, value = data
    head = bytes((tag,))
    try:
        return head + _content(tag, value)
    except (OverflowError, AttributeError, TypeError) as error:
        raise ValueError(f"{value!r} is no {tag.name}") from error


def _content(tag: Tag, value: Value) -> bytes:
    if tag in _FIXED and isinstance(value, int):
        octets, signed = _FIXED[tag]
        return value.to_bytes(octets, "big", signed=signed)
    match value:
        case None if tag in {Tag.NULL, Tag.DONT_CARE}:
            return b""
        case bool() if tag is Tag.BOOLEAN:
            return bytes((value,))
        case bytes() if tag is Tag.OCTET_STRING:
            return string_octets(value)
        case bytes() if _TIMES.get(tag) == len(value):
            return value
        case str() if tag is Tag.VISIBLE_STRING:
            return string_octets(value.encode("latin-1"))
        case str() if tag is Tag.UTF8_STRING:
            return string_octets(value.encode("utf-8"))
        case Bits() if tag is Tag.BIT_STRING and len(value.octets) == (value.size + 7) // 8:
            return length_octets(value.size) + value.octets
        case Float() if tag in _FLOATS:
            return value.bits.to_bytes(_FLOATS[tag][0], "big")
        case tuple() if tag in {Tag.ARRAY, Tag.STRUCTURE} and not isinstance(value, Bits | Float):
            return length_octets(len(value)) + b"".join([encode(item) for item in value])
    raise TypeError(tag)


def structure(*items: Data) -> Data:
    return Data(Tag.STRUCTURE, items)


def array(*items: Data) -> Data:
    return Data(Tag.ARRAY, items)


def octet_string(octets: bytes) -> Data:
    return Data(Tag.OCTET_STRING, octets)


def float_of(octets: bytes) -> Data:
    """Four or eight octets as a float32 or float64."""
    tag = Tag.FLOAT32 if len(octets) == 4 else Tag.FLOAT64
    return Data(tag, _float(octets, _FLOATS[tag][1]))


def _float(octets: bytes, form: str) -> Float:
    # Every binary32 and binary64 is exactly a Python float, and Decimal(float) is exact.
    return Float(int.from_bytes(octets, "big"), Decimal(struct.unpack(form, octets)[0]))


def _utf8(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("a text that is not UTF-8") from None
