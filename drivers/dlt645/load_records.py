"""Load records of a meter: blocks A0 A0 ... E5 from a given time on, of which the energy registers are used.

    ask     11  DI0..DI3  N  mm hh DD MM YY                     N records from that time on
    block   A0 A0  n  mm hh DD MM YY  (values, AA)*6  CS  E5    n octets from mm to before CS; CS the sum from A0 on

Each block has six classes of values, each followed by AA; a class that the meter does not record is empty. Class 4
holds the registers: active import and export, reactive combinations 1 and 2, XXXXXX.XX each, lowest octet first.
Decimal digits are never AA, so AA is always a border. A block E0 E0 is one that the meter itself calls wrong. Some
meters give the records of one class (DI2 = 4) with all six borders, some without those in front.

Source: DL/T 645-2007, 7.1 (frame formats 2 and 3 of a read), Annex A, table A.7, and Annex B, not read themselves but
as others say them. Request and block: a terminal that asks, checks and takes apart, wuhuangrui/C82_DL689
ClouSoft/MeterPro/DL645V07.cpp at cbf4c18d (DL645V07AskItem1, GetDataVal); the request also in AmmeterReader.java of
LoverITer/energy-management-sys_communication-sub-sys at 2c3c47d5. The block also as a meter's firmware builds it
(LoadCurve.c, BuildOneCurveFrame and BuildTotalCurveFrame); the order of the values in it and in comments of a third
program. Nobody says whether N is decimal or binary: it is never more than 9.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

from drivers.dlt645.events import stamp_ms
from edge_agent.model import DeviceId, Frame, Ms, Quantity, Recorded

AT_ONCE = 6
"""Records of class 4 that fill one frame."""

_WRITTEN = re.compile(r"\Adi:(0600|0604)0001/([1-9][0-9]{0,2})\Z")
_BORDER, _END, _STAMP, _REGISTER = 0xAA, 0xE5, 5, 4
_CLASS_4 = 3  # of six, from 0
_QUANTITIES = (
    Quantity.ACTIVE_ENERGY_IMPORT,
    Quantity.ACTIVE_ENERGY_EXPORT,
    Quantity.REACTIVE_ENERGY_IMPORT,
    Quantity.REACTIVE_ENERGY_EXPORT,
)
STEP_WH = 10.0  # 0.01 kWh


class Records(NamedTuple):
    """Where a meter keeps its load records, and how far they are apart."""

    di: int
    period_ms: Ms


class Block(NamedTuple):
    """One record: its time, and the registers in Wh and varh; None: the meter does not record it."""

    end_ms: Ms
    registers: tuple[float | None, ...]


def records_of(written: str) -> Records | None:
    """From a profile's `di:06040001/15`: class 4 (or 06000001, all classes), every 15 minutes; None for ""."""
    if not written:
        return None
    found = _WRITTEN.match(written)
    if found is None:
        raise ValueError(f"load_profile {written!r} is not like di:06040001/15 or di:06000001/15, minutes last")
    return Records(int(found[1] + "0001", 16), int(found[2]) * 60_000)


def asked(since_ms: Ms, count: int, zone: tzinfo) -> bytes:
    """What follows the identifier in a question for records from `since_ms` on."""
    local = datetime.fromtimestamp(since_ms / 1000, UTC).astimezone(zone)
    parts = (count, local.minute, local.hour, local.day, local.month, local.year % 100)
    return bytes(int(f"{part:02d}", 16) for part in parts)


def blocks(data: bytes, zone: tzinfo) -> Iterator[Block]:
    """The records of an answer, in its order; one that is not whole, or whose sum is wrong, ends them."""
    at = 0
    while len(data) - at >= _STAMP + 5 and data[at : at + 2] in {b"\xa0\xa0", b"\xe0\xe0"}:
        end = at + 3 + data[at + 2]  # where CS is
        if end + 2 > len(data) or data[end + 1] != _END or sum(data[at:end]) & 0xFF != data[end]:
            return
        if data[at] == 0xA0 and (block := _block(data[at + 3 : end], zone)) is not None:
            yield block
        at = end + 2


def recorded(device: DeviceId, block: Block, period_ms: Ms, frame: Frame | None) -> Iterator[Recorded]:
    for quantity, value in zip(_QUANTITIES, block.registers, strict=True):
        if value is not None:
            yield Recorded(device, quantity, "register", value, STEP_WH, block.end_ms, period_ms, (), frame)


def _block(body: bytes, zone: tzinfo) -> Block | None:
    end_ms = _instant_ms(body[:_STAMP], zone) if len(body) > _STAMP else None
    classes = body[_STAMP:].split(bytes((_BORDER,)))
    filled = [values for values in classes if values]
    if len(filled) == 1:  # of one class; it may stand without the borders in front
        values = filled[0]
    elif len(classes) > _CLASS_4:
        values = classes[_CLASS_4]
    else:
        return None
    if end_ms is None or len(values) != _REGISTER * len(_QUANTITIES):
        return None
    registers = tuple(_register(values[i : i + _REGISTER]) for i in range(0, len(values), _REGISTER))
    return Block(end_ms, registers)


def _instant_ms(octets: bytes, zone: tzinfo) -> Ms | None:
    """UTC ms of mm hh DD MM YY; None for a time that the hour's change of a clock makes twice, or never."""
    end_ms = stamp_ms(b"\0" + octets, zone)
    if end_ms is None:
        return None
    local = datetime.fromtimestamp(end_ms / 1000, UTC).astimezone(zone)
    is_twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    return None if is_twice or asked(end_ms, 0, zone)[1:] != octets else end_ms


def _register(octets: bytes) -> float | None:
    """Wh or varh; None for FF, and for what are no digits (a combination may be negative: it is no register)."""
    digits = octets[::-1].hex()
    return int(digits) * STEP_WH if digits.isdecimal() and int(digits) < 80_000_000 else None
