"""Values of object attributes to readings, compiled once per question.

A register names its attribute and, where that holds several values, the way to one of them. Its type is the one that
the meter has to send: a value of another type is a gap that says so, and so is a value that is not where it should be.
NULL is a value that the meter does not have; so is a time of FF or of zeros, which is what never happened.

Types:

    u8 u16 u32 u64 i8 i16 i32 i64   a number; `scale` is the standard's for the object
    demand             a structure of a number (u32 or i32) and its time: the number
    demand_time        the same value: its time, as a text in the meter's local time
    clock              a time to the second (date_time_s): a text in the meter's local time
    digits             octets of two decimal digits each, the highest first: a text
    ascii              characters: a text
    bits               bits: a text, in hex

Source: DL/T 698.45-2017, the table of data types and Annex E, by way of the package `dlt698` 1.0.1.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from fractions import Fraction
from typing import NamedTuple

from drivers.dlt698 import codec
from drivers.dlt698.codec import Dar, Value
from drivers.dlt698.exchange import dar_words
from drivers.dlt698.frame import Reader
from drivers.plausible import BOUNDS
from edge_agent.model import UNIT, DeviceId, Frame, Gap, GapCause, Identity, Ms, Outcome, Quantity, Reading, Register

_ADDRESS = re.compile(r"\Aoad:([0-9A-F]{8})(?:/([1-9][0-9]?(?:\.[1-9][0-9]?)*))?\Z")

OCTETS = {
    "u8": 2, "i8": 2, "u16": 3, "i16": 3, "u32": 5, "i32": 5, "u64": 9, "i64": 9, "demand": 15, "demand_time": 15,
    "clock": 8, "digits": 8, "ascii": 18, "bits": 4,
}  # fmt: skip
"""What a value of each type takes in an answer, its type octet counted; of texts, about."""

_NUMBERS = {"u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64"}
_PREFIX = {"": Fraction(1), "m": Fraction(1, 1000), "k": Fraction(1000), "M": Fraction(10**6), "G": Fraction(10**9)}

_Read = Callable[[Value], "tuple[int | str, GapCause | None]"]


class Place(NamedTuple):
    """Where a register sits: an object attribute, and the way to one of the values in it, counted from 1."""

    oad: int
    path: tuple[int, ...]


class Item(NamedTuple):
    """One register, ready to be decoded: value = raw x num / den, in the quantity's unit."""

    quantity: Quantity
    address: str
    place: Place
    num: int
    den: int
    low: float
    high: float
    step: float
    not_available: tuple[int, ...]
    read: _Read


def place_of(register: Register) -> Place:
    """From the profile's notation `oad:00100200/1`; ValueError names the register."""
    written = _ADDRESS.match(register.address)
    if written is None:
        raise ValueError(
            f"{register.quantity}: address {register.address!r} is not like oad:00100200 or oad:20000200/1"
        )
    return Place(int(written[1], 16), tuple(int(step) for step in written[2].split(".")) if written[2] else ())


@functools.lru_cache(maxsize=256)
def layout(registers: tuple[Register, ...]) -> tuple[Item, ...]:
    """Worked out once for all devices of a model; ValueError names the register that cannot be read as it says."""
    return tuple(_item(r) for r in registers)


def outcome(item: Item, device: DeviceId, found: Value | Dar, bt_ms: Ms, frame: Frame | None) -> Outcome:
    """What the meter said about the item's attribute, as this register."""
    quantity, address = item.quantity, item.address
    if isinstance(found, Dar):
        return Gap(device, quantity, GapCause.REFUSED, bt_ms, f"{address}: {dar_words(found.code)}", frame)
    value = _inside(found, item.place.path)
    if value is None:
        if found.kind == "null" or (found.kind == "array" and not found.content):
            return Gap(device, quantity, GapCause.NOT_AVAILABLE, bt_ms, f"{address} is empty", frame)
        if found.kind == "array" and len(item.place.path) == 1:
            assert isinstance(found.content, tuple)
            detail = f"{address}: there are {len(found.content)} values"
            return Gap(device, quantity, GapCause.NOT_AVAILABLE, bt_ms, detail, frame)
        return Gap(device, quantity, GapCause.IMPLAUSIBLE, bt_ms, f"{address} holds {_shown(found)}", frame)
    if value.kind == "null":
        return Gap(device, quantity, GapCause.NOT_AVAILABLE, bt_ms, f"{address} is empty", frame)
    raw, cause = item.read(value)
    if cause is None and raw in item.not_available:
        cause = GapCause.NOT_AVAILABLE
    if cause is not None:
        return Gap(device, quantity, cause, bt_ms, f"{address} reads {_shown(value)}", frame)
    if isinstance(raw, str):
        return Identity(device, quantity, raw, bt_ms, frame)
    scaled = raw * item.num / item.den
    if item.low <= scaled <= item.high:
        return Reading(device, quantity, scaled, item.step, bt_ms, frame)
    detail = f"{address} reads {_shown(value)}: {scaled:g} {UNIT[quantity]} is not within {item.low:g} to {item.high:g}"
    return Gap(device, quantity, GapCause.IMPLAUSIBLE, bt_ms, detail, frame)


def outcomes(
    items: Sequence[Item], device: DeviceId, found: Mapping[int, Value | Dar], bt_ms: Ms, frame: Frame | None
) -> list[Outcome]:
    """One outcome per register, in order; `found` by attribute, each of which was answered for."""
    return [outcome(item, device, found[item.place.oad], bt_ms, frame) for item in items]


def raw_of(register: Register, frame: Frame) -> bytes:
    """The register's own octets, its type in front, out of the round trip that brought them; `b""`: it has none."""
    reader, place = Reader(), place_of(register)
    reader.feed(frame.reply)
    while (telegram := reader.take()) is not None:
        if octets := codec.raw(telegram.apdu, place.oad, place.path):
            return octets
    return b""


def _inside(value: Value, path: tuple[int, ...]) -> Value | None:
    for step in path:
        if value.kind not in {"array", "structure"} or not isinstance(value.content, tuple):
            return None
        if len(value.content) < step:
            return None
        value = value.content[step - 1]
    return value


def _item(register: Register) -> Item:
    quantity, where = register.quantity, f"{register.quantity} at {register.address}"
    if register.type not in OCTETS:
        raise ValueError(f"{where}: type {register.type!r} is not known")
    if register.order != "ABCD":
        raise ValueError(f"{where}: DL/T 698.45 has one octet order")
    unit = UNIT[quantity]
    is_number = register.type in _NUMBERS or register.type == "demand"
    if is_number != (unit != ""):
        raise ValueError(f"{where}: {register.type!r} is {'a number' if is_number else 'a text'}, the quantity is not")
    conversion = _conversion(register, unit) if is_number else Fraction(1)
    factor = Fraction(str(register.scale)) * conversion
    low, high = BOUNDS[quantity][:2] if is_number else (-math.inf, math.inf)
    return Item(
        quantity=quantity,
        address=register.address,
        place=place_of(register),
        num=factor.numerator,
        den=factor.denominator,
        low=low,
        high=high,
        step=max(abs(float(factor)), float(Fraction(str(register.step or 0)) * conversion)),
        not_available=register.not_available,
        read=_reader(register.type),
    )


def _conversion(register: Register, unit: str) -> Fraction:
    """What turns the register's unit into the quantity's."""
    if register.unit == unit:
        return Fraction(1)
    prefix = register.unit.removesuffix(unit)
    if unit == "1" and register.unit == "%":
        return Fraction(1, 100)
    if unit != "1" and register.unit.endswith(unit) and prefix in _PREFIX:
        return _PREFIX[prefix]
    raise ValueError(f"{register.quantity} at {register.address}: {register.unit!r} cannot become {unit!r}")


def _reader(kind: str) -> _Read:
    if kind in _NUMBERS:
        return functools.partial(_number, kind)
    return {
        "demand": _demand,
        "demand_time": _demand_time,
        "clock": _clock,
        "digits": _digits,
        "ascii": _ascii,
        "bits": _bits,
    }[kind]


_ABSENT: tuple[int | str, GapCause | None] = (0, GapCause.NOT_AVAILABLE)
_WRONG: tuple[int | str, GapCause | None] = (0, GapCause.IMPLAUSIBLE)


def _number(kind: str, value: Value) -> tuple[int | str, GapCause | None]:
    return (value.content, None) if value.kind == kind and isinstance(value.content, int) else _WRONG


def _demand(value: Value) -> tuple[int | str, GapCause | None]:
    """The number, if its time is one: a demand that never happened is not a demand of 0 kW."""
    number, when = _pair(value)
    if number is None or when is None:
        return _WRONG
    _, of_time = _clock(when)
    if of_time is GapCause.NOT_AVAILABLE and number:
        return number, None  # a demand whose time the meter does not keep
    return (0, of_time) if of_time else (number, None)


def _demand_time(value: Value) -> tuple[int | str, GapCause | None]:
    number, when = _pair(value)
    return _WRONG if number is None or when is None else _clock(when)


def _pair(value: Value) -> tuple[int | None, Value | None]:
    inner = value.content
    if value.kind != "structure" or not isinstance(inner, tuple) or len(inner) != 2:
        return None, None
    number = inner[0].content if inner[0].kind in {"u32", "i32"} else None
    return (number if isinstance(number, int) else None), inner[1]


def _clock(value: Value) -> tuple[int | str, GapCause | None]:
    """Year in two octets, month, day, hour, minute, second."""
    if value.kind == "null":
        return _ABSENT
    octets = value.content
    if value.kind != "date_time_s" or not isinstance(octets, bytes) or len(octets) != 7:
        return _WRONG
    if all(octet == 0xFF for octet in octets) or not any(octets):
        return _ABSENT
    year, (month, day, hour, minute, second) = int.from_bytes(octets[:2], "big"), octets[2:]
    if not 2000 <= year < 2100 or hour > 23 or minute > 59 or second > 59:
        return _WRONG
    try:
        return f"{date(year, month, day).isoformat()}T{hour:02d}:{minute:02d}:{second:02d}", None
    except ValueError:
        return _WRONG


def _digits(value: Value) -> tuple[int | str, GapCause | None]:
    octets = value.content
    if value.kind != "octets" or not isinstance(octets, bytes):
        return _WRONG
    if not octets or all(octet == 0xFF for octet in octets):
        return _ABSENT
    digits = octets.hex()
    return (digits, None) if digits.isdecimal() else _WRONG


def _ascii(value: Value) -> tuple[int | str, GapCause | None]:
    if value.kind != "text" or not isinstance(value.content, str):
        return _WRONG
    text = value.content.strip("\0 ")
    if not text:
        return _ABSENT
    return (text, None) if text.isascii() and text.isprintable() else _WRONG


def _bits(value: Value) -> tuple[int | str, GapCause | None]:
    if value.kind != "bits" or not isinstance(value.content, bytes):
        return _WRONG
    return (value.content.hex().upper(), None) if value.content else _ABSENT


def _shown(value: Value) -> str:
    """As a person reads it: the type, and what can be shown of the value."""
    content = value.content
    if isinstance(content, bytes):
        return f"{value.kind} {content.hex(' ').upper()}"
    if isinstance(content, tuple):
        return f"{value.kind} of {len(content)}"
    return f"{value.kind}" if content is None else f"{value.kind} {content!r}"[:80]
