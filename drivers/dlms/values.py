"""From an attribute's data to an outcome: scaled as the meter says, in the quantity's unit, or a gap that says why not.

A register's number means nothing without the meter's own scaler and unit. A profile says only which quantity is where:
if the meter measures something else there, the value is a gap. Objects of class 1 have neither; what they count, the
profile says.

An address is `[class/]A-B:C.D.E*F[/attribute]`. Without a class it is a register (3), for a text data (1), for the
meter's clock a clock (8); without an attribute it is the value: 2, of a demand register (5) the last average, 3.

Source: IEC 62056-6-2 (DLMS UA 1000-1), class_id 1, 3, 4, 5, 8, and enumerated values for physical units.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from drivers.dlms.axdr import Bits, Data, Float, Tag
from drivers.dlms.cosem_time import ANY, ANY_YEAR, CosemTime, date_time
from drivers.dlms.objects import Class
from drivers.dlms.refused import Malformed
from drivers.dlms.units import COUNT, ScalerUnit
from drivers.dlms.xdlms import Attribute
from drivers.plausible import BOUNDS
from edge_agent.model import UNIT, DeviceId, Frame, Gap, GapCause, Identity, Ms, Outcome, Quantity, Reading, Register

_ADDRESS = re.compile(
    r"\A(?:([1-9][0-9]{0,2})/)?([0-9]{1,3})-([0-9]{1,3}):([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\*([0-9]{1,3})"
    r"(?:/([1-9][0-9]?))?\Z"
)
_SCALED = {Class.REGISTER: 3, Class.EXTENDED_REGISTER: 3, Class.DEMAND_REGISTER: 4}
"""By class: the attribute that holds scaler and unit."""

_TIMES = {(Class.CLOCK, 2), (Class.EXTENDED_REGISTER, 5), (Class.DEMAND_REGISTER, 6), (Class.DEMAND_REGISTER, 7)}
"""Attributes that are a date-time, also where they come as a string of octets."""

_MINUTE, _SECOND, _HOUR, _PERCENT = 6, 7, 5, 56
_UNITS: dict[str, dict[int, Fraction]] = {
    **{symbol: {number: Fraction(1)} for symbol, number in
       {"Wh": 30, "varh": 32, "VAh": 31, "W": 27, "var": 29, "VA": 28, "V": 35, "A": 33, "Hz": 44}.items()},
    "min": {_MINUTE: Fraction(1), _SECOND: Fraction(1, 60), _HOUR: Fraction(60)},
    "1": {COUNT: Fraction(1), _PERCENT: Fraction(1, 100)},
    "count": {COUNT: Fraction(1)},
}  # fmt: skip
"""By the quantity's unit: the meter's units that are the same, and how much of it each is."""

_PREFIX = {"": Fraction(1), "m": Fraction(1, 1000), "k": Fraction(1000), "M": Fraction(10**6), "G": Fraction(10**9)}
MOST_SCALER = 15
"""No meter counts in larger or smaller steps than ten to that power."""


class Scaled:
    """What one count of a register is, in the quantity's unit."""

    __slots__ = ("_factor", "_of", "step")

    def __init__(self, factor: Fraction) -> None:
        self._factor = factor
        self._of = factor.as_integer_ratio()
        self.step = float(factor)

    def value(self, raw: int | Decimal) -> float:
        if isinstance(raw, int):  # a division of whole numbers is rounded once, as a Fraction's is
            return raw * self._of[0] / self._of[1]
        return float(Fraction(raw) * self._factor)


_ONE = Scaled(Fraction(1))


class Item(NamedTuple):
    """One register: where it is, and where the meter says what it means."""

    register: Register
    attribute: Attribute
    scaler: Attribute | None
    """None: an object without scaler and unit."""
    counted: Scaled
    """Of an object without scaler and unit: what one of its counts is."""

    @property
    def quantity(self) -> Quantity:
        return self.register.quantity


def item_of(register: Register) -> Item:
    """Raises ValueError, naming the register, for a place that is none or a number that the class has not."""
    where = f"{register.quantity} at {register.address}"
    written = _ADDRESS.match(register.address)
    if written is None or any(int(part) > 255 for part in written.groups()[1:7]):
        raise ValueError(f"{where}: not like 1-0:1.8.0*255/2 or 3/1-0:1.8.0*255/2")
    is_text = UNIT[register.quantity] == ""
    usual = Class.CLOCK if register.quantity is Quantity.METER_CLOCK else Class.DATA if is_text else Class.REGISTER
    class_id = int(written[1] or usual)
    number = int(written[8] or (3 if class_id == Class.DEMAND_REGISTER else 2))
    instance = bytes(int(part) for part in written.groups()[1:7])
    scaled = not is_text and class_id in _SCALED
    if not is_text and class_id not in {*_SCALED, Class.DATA}:
        raise ValueError(f"{where}: an object of class {class_id} holds no number")
    return Item(
        register,
        Attribute(class_id, instance, number),
        Attribute(class_id, instance, _SCALED[Class(class_id)]) if scaled else None,
        _ONE if is_text or scaled else Scaled(_factor(register, where)),
    )


@lru_cache(maxsize=256)
def scaled_by(unit: ScalerUnit, quantity: Quantity) -> Scaled | str:
    """What a count is under the meter's scaler and unit, or why it is no such quantity."""
    same = _UNITS.get(UNIT[quantity], {})
    if unit.unit not in same:
        return f"the meter counts it in {unit.symbol or 'no unit'}, not in {UNIT[quantity]}"
    if abs(unit.scaler) > MOST_SCALER:
        return f"the meter gives it the scaler {unit.scaler}"
    return Scaled(Fraction(10) ** unit.scaler * same[unit.unit])


def outcome_of(
    item: Item, data: Data, unit: ScalerUnit | None, device: DeviceId, bt_ms: Ms, frame: Frame | None
) -> Outcome:
    """The value in the quantity's unit, a text, or a gap."""
    quantity, address = item.quantity, item.register.address

    def gap(cause: GapCause, why: str) -> Gap:
        return Gap(device, quantity, cause, bt_ms, f"{address}: {why}", frame)

    if data.tag in {Tag.NULL, Tag.DONT_CARE}:
        return gap(GapCause.NOT_AVAILABLE, "the meter has no value")
    if UNIT[quantity] == "":
        text = text_of(data, item.attribute)
        if text:
            return Identity(device, quantity, text, bt_ms, frame)
        return gap(GapCause.NOT_AVAILABLE, "the meter gives nothing that can be written")
    raw = number_of(data)
    if raw is None:
        return gap(GapCause.IMPLAUSIBLE, f"{data.tag.name} is no number")
    if raw in item.register.not_available:
        return gap(GapCause.NOT_AVAILABLE, f"reads {raw}")
    scaled = item.counted if unit is None else scaled_by(unit, quantity)
    if isinstance(scaled, str):
        return gap(GapCause.IMPLAUSIBLE, scaled)
    value = scaled.value(raw)
    bounds = BOUNDS[quantity]
    if not bounds.low <= value <= bounds.high:
        why = f"reads {raw}: {value:g} {UNIT[quantity]} is not within {bounds.low:g} to {bounds.high:g}"
        return gap(GapCause.IMPLAUSIBLE, why)
    ulp = math.ulp(value) if isinstance(data.value, Float) else 0.0
    return Reading(device, quantity, value, max(scaled.step, ulp), bt_ms, frame)


def number_of(data: Data) -> int | Decimal | None:
    """A whole number or an exact decimal; None for what is neither, or not finite."""
    if data.is_integer and isinstance(data.value, int):
        return data.value
    if isinstance(data.value, Float) and data.value.exact.is_finite():
        return data.value.exact
    return None


def text_of(data: Data, attribute: Attribute) -> str:
    """As a person writes it; "" for what cannot be written. A time is the meter's own, without a zone."""
    if (attribute.class_id, attribute.attribute) in _TIMES or data.tag is Tag.DATE_TIME:
        return _time(data)
    match data.value:
        case str() as text:
            return _printable(text)
        case bytes() as octets:
            stripped = octets.strip(b"\0 ")
            if stripped and all(0x20 <= octet < 0x7F for octet in stripped):
                return stripped.decode("ascii").strip()
            return octets.hex().upper() if octets.strip(b"\xff\0") else ""
        case bool() | int() as number:
            return str(int(number))
        case Bits() as bits:
            return bits.octets.hex().upper()
        case Float() as number:
            return f"{number.exact:f}" if number.exact.is_finite() else ""
    return ""


def _time(data: Data) -> str:
    if not isinstance(data.value, bytes):
        return ""
    try:
        time = date_time(data.value)
    except Malformed:
        return ""
    if time.year == ANY_YEAR or ANY in {time.month, time.day, time.hour, time.minute} or time.month > 12:
        return ""
    return _written(time)


def _written(time: CosemTime) -> str:
    second = "" if time.second == ANY else f":{time.second:02}"
    return f"{time.year:04}-{time.month:02}-{time.day:02}T{time.hour:02}:{time.minute:02}{second}"


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable()).strip()


def _factor(register: Register, where: str) -> Fraction:
    """Of a number that has no scaler in the meter: the profile's unit and scale."""
    unit = UNIT[register.quantity]
    prefix = register.unit.removesuffix(unit)
    conversion = {"%": Fraction(1, 100)}.get(register.unit) if unit == "1" else None
    if conversion is None:
        if not register.unit.endswith(unit) or prefix not in _PREFIX:
            raise ValueError(f"{where}: {register.unit!r} cannot become {unit!r}")
        conversion = _PREFIX[prefix]
    return Fraction(str(register.scale)) * conversion
