"""Octets of a data item to readings, compiled once per question.

Numbers are packed decimals, the lowest octet first. Where the standard gives a sign it is the top bit of the highest
octet. An item of octets FF is one that the meter does not have; a demand that never happened has a time of zeros: both
are gaps. Any other nibble that is no digit, a length that is not the format's, and a date that no calendar has are
gaps as well, and say so: the frame was right, its meaning is not what the profile says.

Types, `bcdI.D` with I digits before and D after the point:

    bcd6.2 sbcd2.4    a number; with s the top bit is its sign
    demand            XX.XXXX and YYMMDDhhmm: the number
    demand_time       the same item: its time, as a text in the meter's local time
    date time clock   YYMMDDWW, hhmmss, YYMMDDWWhhmmss: a text
    digits:6 bits:2 ascii:32    that many octets: decimal digits, bits in hex, characters

Source: DL/T 645-2007, 5.2.5 and Annex A.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from datetime import date
from fractions import Fraction
from typing import NamedTuple

from drivers.dlt645.frame import FOLLOW, FUNCTION, Reader
from drivers.plausible import BOUNDS
from edge_agent.model import UNIT, DeviceId, Frame, Gap, GapCause, Identity, Ms, Outcome, Quantity, Reading, Register

_ADDRESS = re.compile(r"\Adi:([0-9A-F]{8})(?:/([1-9][0-9]?))?\Z")
_NUMBER = re.compile(r"\A(s?)bcd([1-9][0-9]?)\.([0-9])\Z")
_SIZED = re.compile(r"\A(ascii|digits|bits):([1-9][0-9]?)\Z")

_FIXED = {"demand": 8, "demand_time": 8, "date": 4, "time": 3, "clock": 7}
"""Octets of the types that have one length."""

_DEMAND = 3  # octets of the number in front of the time

_PREFIX = {"": Fraction(1), "m": Fraction(1, 1000), "k": Fraction(1000), "M": Fraction(10**6), "G": Fraction(10**9)}

Value = int | str
_Read = Callable[[bytes], tuple[Value, GapCause | None]]


class Place(NamedTuple):
    """Where a register sits: an identifier, and which item of its block; 0: the identifier is one item."""

    di: int
    item: int


class _Item(NamedTuple):
    """One register, ready to be decoded: value = raw x num / den, in the quantity's unit."""

    quantity: Quantity
    address: str
    item: int
    octets: int
    num: int
    den: int
    low: float
    high: float
    step: float
    read: _Read


def place_of(register: Register) -> Place:
    """From the profile's notation `di:0201FF00/2`; ValueError names the register."""
    written = _ADDRESS.match(register.address)
    if written is None:
        raise ValueError(f"{register.quantity}: address {register.address!r} is not like di:00010000 or di:0201FF00/1")
    return Place(int(written[1], 16), int(written[2] or 0))


def octets_of(register: Register) -> int:
    """How many octets the item takes; ValueError names the register."""
    if number := _NUMBER.match(register.type):
        digits = int(number[2]) + int(number[3])
        if digits % 2 == 0:
            return digits // 2
        raise ValueError(f"{register.quantity} at {register.address}: {register.type!r} is not whole octets")
    if sized := _SIZED.match(register.type):
        return int(sized[2])
    if register.type in _FIXED:
        return _FIXED[register.type]
    raise ValueError(f"{register.quantity} at {register.address}: type {register.type!r} is not known")


@functools.lru_cache(maxsize=256)
def layout(registers: tuple[Register, ...]) -> tuple[_Item, ...]:
    """Worked out once for all devices of a model; ValueError names the register that cannot be read as it says."""
    items = tuple(_item(r) for r in registers)
    places = {place_of(r).di for r in registers}
    if len(places) != 1:
        raise ValueError(f"{registers[0].quantity} at {registers[0].address}: one question, one identifier")
    if len({bool(i.item) for i in items}) > 1:
        raise ValueError(f"{items[0].quantity} at {items[0].address}: an identifier is one item, or a block of them")
    widths = {i.octets for i in items}
    if len(widths) > 1:
        raise ValueError(f"{items[0].quantity} at {items[0].address}: the items of a block have one length")
    return items


def outcomes(items: Sequence[_Item], device: DeviceId, data: bytes, bt_ms: Ms, frame: Frame | None) -> list[Outcome]:
    """One outcome per register, in order, from the octets of the answer, the lowest first."""
    return [_outcome(item, device, data, bt_ms, frame) for item in items]


def raw_of(register: Register, frame: Frame) -> bytes:
    """The register's own octets, as sent less 0x33, out of the round trip that brought them; `b""` when it has none."""
    reader = Reader()
    reader.feed(frame.reply)
    data = bytearray()
    while (telegram := reader.take()) is not None:
        data += telegram.data[4:-1] if telegram.control & FUNCTION == FOLLOW else telegram.data[4:]
    octets = octets_of(register)
    first = max(place_of(register).item - 1, 0) * octets
    return bytes(data[first : first + octets])


def _outcome(item: _Item, device: DeviceId, data: bytes, bt_ms: Ms, frame: Frame | None) -> Outcome:
    quantity, address = item.quantity, item.address
    if not data:
        return Gap(device, quantity, GapCause.NOT_AVAILABLE, bt_ms, f"{address} is empty", frame)
    if len(data) % item.octets or (not item.item and len(data) != item.octets):
        detail = f"{address} has {len(data)} octets, not {'a multiple of ' if item.item else ''}{item.octets}"
        return Gap(device, quantity, GapCause.IMPLAUSIBLE, bt_ms, detail, frame)
    first = max(item.item - 1, 0) * item.octets
    octets = data[first : first + item.octets]
    if not octets:
        detail = f"{address}: the block has {len(data) // item.octets} items"
        return Gap(device, quantity, GapCause.NOT_AVAILABLE, bt_ms, detail, frame)
    value, cause = item.read(octets)
    if cause is not None:
        return Gap(device, quantity, cause, bt_ms, f"{address} reads {_shown(octets)}", frame)
    if isinstance(value, str):
        return Identity(device, quantity, value, bt_ms, frame)
    scaled = value * item.num / item.den
    if item.low <= scaled <= item.high:
        return Reading(device, quantity, scaled, item.step, bt_ms, frame)
    detail = (
        f"{address} reads {_shown(octets)}: {scaled:g} {UNIT[quantity]} is not within {item.low:g} to {item.high:g}"
    )
    return Gap(device, quantity, GapCause.IMPLAUSIBLE, bt_ms, detail, frame)


def _item(register: Register) -> _Item:
    quantity, where = register.quantity, f"{register.quantity} at {register.address}"
    if register.order != "ABCD" or register.not_available:
        raise ValueError(f"{where}: DL/T 645 has one octet order and one way to say that there is no value")
    unit, number = UNIT[quantity], _NUMBER.match(register.type)
    is_number = number is not None or register.type == "demand"
    if is_number != (unit != ""):
        raise ValueError(f"{where}: {register.type!r} is {'a number' if is_number else 'a text'}, the quantity is not")
    conversion = _conversion(register, unit) if is_number else Fraction(1)
    decimals = int(number[3]) if number else 4 if is_number else 0
    factor = Fraction(str(register.scale)) * conversion / 10**decimals
    low, high = BOUNDS[quantity][:2] if is_number else (-math.inf, math.inf)
    return _Item(
        quantity=quantity,
        address=register.address,
        item=place_of(register).item,
        octets=octets_of(register),
        num=factor.numerator,
        den=factor.denominator,
        low=low,
        high=high,
        step=max(abs(float(factor)), float(Fraction(str(register.step or 0)) * conversion)),
        read=_reader(register),
    )


def _conversion(register: Register, unit: str) -> Fraction:
    """What turns the register's unit into the quantity's."""
    if register.unit == unit:
        return Fraction(1)
    prefix = register.unit.removesuffix(unit)
    if unit != "1" and register.unit.endswith(unit) and prefix in _PREFIX:
        return _PREFIX[prefix]
    raise ValueError(f"{register.quantity} at {register.address}: {register.unit!r} cannot become {unit!r}")


def _reader(register: Register) -> _Read:
    if number := _NUMBER.match(register.type):
        return _signed if number[1] else _unsigned
    match register.type.partition(":")[0]:
        case "demand":
            return _demand
        case "demand_time":
            return _demand_time
        case "date":
            return _date
        case "time":
            return _time
        case "clock":
            return _clock
        case "ascii":
            return _ascii
        case "digits":
            return _digits
    return _bits


_ABSENT: tuple[Value, GapCause | None] = (0, GapCause.NOT_AVAILABLE)
_WRONG: tuple[Value, GapCause | None] = (0, GapCause.IMPLAUSIBLE)


def _unsigned(octets: bytes) -> tuple[Value, GapCause | None]:
    digits, cause = _digits(octets)
    return (0, cause) if cause else (int(digits), None)


def _signed(octets: bytes) -> tuple[Value, GapCause | None]:
    if _is_absent(octets):
        return _ABSENT
    value, cause = _unsigned(octets[:-1] + bytes((octets[-1] & 0x7F,)))
    return (-int(value) if octets[-1] & 0x80 else value, None) if cause is None else _WRONG


def _digits(octets: bytes) -> tuple[Value, GapCause | None]:
    if _is_absent(octets):
        return _ABSENT
    digits = octets[::-1].hex()
    return (digits, None) if digits.isdecimal() else _WRONG


def _bits(octets: bytes) -> tuple[Value, GapCause | None]:
    return _ABSENT if _is_absent(octets) else (octets[::-1].hex().upper(), None)


def _ascii(octets: bytes) -> tuple[Value, GapCause | None]:
    text = octets[::-1].strip(b"\0 \xff")
    if not text:
        return _ABSENT
    return (text.decode("ascii"), None) if all(0x20 <= octet < 0x7F for octet in text) else _WRONG


def _demand(octets: bytes) -> tuple[Value, GapCause | None]:
    """The number, if its time is one: a demand that never happened is not a demand of 0 kW."""
    number, cause = _unsigned(octets[:_DEMAND])
    _, of_time = _minute(octets[_DEMAND:])
    if cause is None and of_time is GapCause.NOT_AVAILABLE and number:
        return number, None  # a demand whose time the meter does not keep
    return (0, cause or of_time) if cause or of_time else (number, None)


def _demand_time(octets: bytes) -> tuple[Value, GapCause | None]:
    return _minute(octets[_DEMAND:])


def _minute(octets: bytes) -> tuple[Value, GapCause | None]:
    """YYMMDDhhmm; 00-00-00 00:00 is what never happened."""
    if _is_absent(octets) or not any(octets):
        return _ABSENT
    day = _day(octets[2:])
    clock = _of_day(octets[1::-1])
    return (f"{day}T{clock}", None) if day and clock else _WRONG


def _date(octets: bytes) -> tuple[Value, GapCause | None]:
    if _is_absent(octets):
        return _ABSENT
    day = _day(octets[1:])
    return (day, None) if day and octets[0] <= 7 else _WRONG


def _time(octets: bytes) -> tuple[Value, GapCause | None]:
    if _is_absent(octets):
        return _ABSENT
    clock = _of_day(octets[::-1])
    return (clock, None) if clock else _WRONG


def _clock(octets: bytes) -> tuple[Value, GapCause | None]:
    if _is_absent(octets):
        return _ABSENT
    day, cause = _date(octets[3:])
    clock = _of_day(octets[2::-1])
    return (f"{day}T{clock}", None) if cause is None and clock else _WRONG


def _day(octets: bytes) -> str:
    """DD MM YY, the lowest octet first, as a date of this century; empty when the calendar has none like it."""
    digits = octets[::-1].hex()
    if not digits.isdecimal():
        return ""
    try:
        return date(2000 + int(digits[0:2]), int(digits[2:4]), int(digits[4:6])).isoformat()
    except ValueError:
        return ""


def _of_day(octets: bytes) -> str:
    """hh mm, or hh mm ss, the hour first; empty when no clock shows it."""
    shown = octets.hex(":")
    parts = zip(shown.split(":"), (24, 60, 60), strict=False)
    return shown if all(part.isdecimal() and int(part) < limit for part, limit in parts) else ""


def _is_absent(octets: bytes) -> bool:
    return all(octet == 0xFF for octet in octets)


def _shown(octets: bytes) -> str:
    """As a person writes it: the highest octet first."""
    return octets[::-1].hex(" ").upper()
