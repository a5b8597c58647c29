"""What the rows of a meter's load profile mean: columns to quantities, status words to names. Pure.

A column is known by its object: the value of a register that the device's profile reads is what it showed at the stamp
("register"); an energy in the period (OBIS group D = 29) is that ("energy"); the last average of a demand register
(D = 4 as attribute 3, or D = 5) is a mean ("demand") where its averaging period is the capture period. Everything else
is left alone. A row whose stamp names no instant is not used.

Source: IEC 62056-6-2 (DLMS UA 1000-1), class_id 5 and 7; IEC 62056-6-1, value group D; status of the load profile as
in the AMR profile status of DLMS companion profiles (0-b:96.10.e).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from drivers.dlms.axdr import Bits, Data, Tag
from drivers.dlms.buffer import Shape, Timed
from drivers.dlms.objects import CaptureObject, Class, Row
from drivers.dlms.refused import NoProfile
from drivers.dlms.units import ScalerUnit
from drivers.dlms.values import Scaled, item_of, number_of, scaled_by
from drivers.dlms.xdlms import Attribute
from drivers.plausible import BOUNDS
from edge_agent.model import CUMULATIVE, UNIT, DeviceId, Quantity, Recorded, Register

STATUS_BITS = (
    (0x01, "critical_error"),
    (0x02, "clock_invalid"),
    (0x04, "data_invalid"),
    (0x08, "daylight_saving"),
    (0x20, "clock_adjusted"),
    (0x80, "power_down"),
)
"""Of the octet that a load profile keeps about each entry."""

_KINDS = ("register", "energy", "demand")
"""The first is preferred, where several columns tell of one quantity."""

_POWER = {"Wh": Quantity.ACTIVE_POWER, "varh": Quantity.REACTIVE_POWER, "VAh": Quantity.APPARENT_POWER}
"""By an energy's unit: a quantity in the unit of its mean over time."""


class Column(NamedTuple):
    """A column that can be used."""

    place: int
    quantity: Quantity
    kind: str
    source: CaptureObject


class Layout(NamedTuple):
    """What can be used of a load profile."""

    shape: Shape
    status: int | None
    columns: tuple[Column, ...]
    scaled: dict[int, Scaled]
    """By place: what one count of a column is; a column without is not used."""


def layout_of(shape: Shape, registers: Iterable[Register]) -> Layout:
    """Which columns can be used. Raises NoProfile for a profile without any."""
    known = {(i.attribute.instance, i.attribute.attribute): i.quantity for i in map(item_of, registers)}
    found: dict[Quantity, Column] = {}
    for place, captured in enumerate(shape.objects):
        column = _column(place, captured, known)
        if column is None or (column.kind != "register" and not shape.period_s):
            continue
        before = found.get(column.quantity)
        if before is None or _KINDS.index(column.kind) < _KINDS.index(before.kind):
            found[column.quantity] = column
    if not found:
        raise NoProfile("none of its columns is an energy that the device's profile reads")
    status = next((n for n, o in enumerate(shape.objects) if _is_status(o)), None)
    return Layout(shape, status, tuple(found.values()), {})


def scaler_of(column: Column) -> Attribute:
    """Where the captured object says what its number means."""
    number = 4 if column.source.class_id == Class.DEMAND_REGISTER else 3
    return Attribute(column.source.class_id, column.source.instance, number)


def averaging_of(column: Column) -> tuple[Attribute, Attribute] | None:
    """Where a demand register says over what it averages: period, and how many of them; None: it need not."""
    if column.source.class_id != Class.DEMAND_REGISTER:
        return None
    instance = column.source.instance
    return Attribute(Class.DEMAND_REGISTER, instance, 8), Attribute(Class.DEMAND_REGISTER, instance, 9)


def scaled_column(column: Column, unit: ScalerUnit) -> Scaled | str:
    """What a count is in Wh, varh or VAh, or for a mean in W, var or VA; or why it is not that."""
    return scaled_by(unit, _POWER[UNIT[column.quantity]] if column.kind == "demand" else column.quantity)


def recorded_of(layout: Layout, rows: Iterable[Timed], device: DeviceId) -> list[Recorded]:
    """The values of rows, in order of time; a row without an instant has none."""
    found: list[Recorded] = []
    period_ms = 1000 * layout.shape.period_s
    for end_ms, row, frame in rows:
        if end_ms is None:
            continue
        status = _status(layout, row)
        for column in layout.columns:
            scaled, raw = layout.scaled.get(column.place), number_of(row.cells[column.place])
            if scaled is None or raw is None:
                continue
            value, bounds = scaled.value(raw), BOUNDS[column.quantity]
            if bounds.low <= value <= bounds.high:
                found.append(
                    Recorded(device, column.quantity, column.kind, value, scaled.step, end_ms, period_ms, status, frame)
                )
    return sorted(found, key=lambda r: r.end_ms)


def _column(place: int, captured: CaptureObject, known: dict[tuple[bytes, int], Quantity]) -> Column | None:
    if captured.part:
        return None
    of_value = captured.attribute == 2 and captured.class_id in {Class.REGISTER, Class.EXTENDED_REGISTER}
    quantity = known.get((captured.instance, captured.attribute))
    if quantity in CUMULATIVE and of_value:
        return Column(place, quantity, "register", captured)
    d = captured.instance[3]
    quantity = known.get((captured.instance[:3] + b"\x08" + captured.instance[4:], 2))
    if quantity is None or quantity not in CUMULATIVE:
        return None
    if d == 29 and of_value:
        return Column(place, quantity, "energy", captured)
    last_average = captured.class_id == Class.DEMAND_REGISTER and captured.attribute == 3 and d in {4, 5}
    if last_average or (d == 5 and of_value):
        return Column(place, quantity, "demand", captured)
    return None


def _is_status(captured: CaptureObject) -> bool:
    return captured.class_id == Class.DATA and captured.attribute == 2 and captured.instance[2:4] == b"\x60\x0a"


def _status(layout: Layout, row: Row) -> tuple[str, ...]:
    names = [] if layout.status is None else _names(row.cells[layout.status])
    if row.time is not None and row.time.is_doubtful:
        names.append("clock_invalid")
    return tuple(dict.fromkeys(names))


def _names(cell: Data) -> list[str]:
    """What the meter says of an entry. Of a wider word than an octet nobody knows what its bits mean."""
    match cell:
        case Data(Tag.UNSIGNED | Tag.ENUM, int() as word):
            octet = word
        case Data(Tag.BIT_STRING, Bits(8, octets)):
            octet = octets[0]
        case Data(_, None):
            return []
        case _:
            return ["status_unknown"]
    return [name for bit, name in STATUS_BITS if octet & bit]
