"""What the rows of a meter's load profile mean: columns to quantities, stamps to UTC, status words to names. Pure.

A column is known by its object: the value of a register that the device's profile reads is what it showed at the stamp
("register"); an energy in the period (OBIS group D = 29) is that ("energy"); the last average of a demand register
(D = 4 as attribute 3, or D = 5) is a mean ("demand") where its averaging period is the capture period. Everything else
is left alone. A row whose stamp names no instant is not used.

Source: IEC 62056-6-2 (DLMS UA 1000-1), class_id 5 and 7; IEC 62056-6-1, value group D; status of the load profile as
in the AMR profile status of DLMS companion profiles (0-b:96.10.e).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from drivers.dlms.axdr import Bits, Data, Tag
from drivers.dlms.cosem_time import ANY_DEVIATION, CosemTime, of_utc
from drivers.dlms.objects import CaptureObject, Class, Row, SortMethod
from drivers.dlms.refused import ClockUnknown, NoProfile
from drivers.dlms.units import ScalerUnit
from drivers.dlms.values import Scaled, item_of, number_of, scaled_by
from drivers.dlms.xdlms import Attribute
from drivers.plausible import BOUNDS
from edge_agent.model import CUMULATIVE, UNIT, DeviceId, Frame, Ms, Quantity, Recorded, Register

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
    """How a load profile is made. `period_s` 0: it is captured at no fixed time."""

    instance: bytes
    objects: tuple[CaptureObject, ...]
    period_s: int
    sort: SortMethod
    stamp: int
    status: int | None
    columns: tuple[Column, ...]
    scaled: dict[int, Scaled]
    """By place: what one count of a column is; a column without is not used."""

    @property
    def clock(self) -> CaptureObject:
        return self.objects[self.stamp]


def layout_of(
    instance: bytes, objects: Sequence[CaptureObject], period_s: int, sort: SortMethod, registers: Iterable[Register]
) -> Layout:
    """Which columns can be used. Raises NoProfile for one without time stamps, or without any such column."""
    stamp = next((n for n, o in enumerate(objects) if o.is_time and not o.part), None)
    if stamp is None:
        raise NoProfile("its rows have no time stamp")
    known = {(i.attribute.instance, i.attribute.attribute): i.quantity for i in map(item_of, registers)}
    found: dict[Quantity, Column] = {}
    for place, captured in enumerate(objects):
        column = _column(place, captured, known)
        if column is None or (column.kind != "register" and not period_s):
            continue
        before = found.get(column.quantity)
        if before is None or _KINDS.index(column.kind) < _KINDS.index(before.kind):
            found[column.quantity] = column
    if not found:
        raise NoProfile("none of its columns is an energy that the device's profile reads")
    status = next((n for n, o in enumerate(objects) if _is_status(o)), None)
    return Layout(instance, tuple(objects), period_s, sort, stamp, status, tuple(found.values()), {})


def scaler_of(column: Column) -> Attribute:
    """Where the captured object says what its number means."""
    number = 4 if column.source.class_id == Class.DEMAND_REGISTER else 3
    return Attribute(column.source.class_id, column.source.instance, number)


def averaging_of(column: Column) -> tuple[Attribute, Attribute] | None:
    """Where a demand register says over what it averages: period, and how many of them; None: it need not."""
    if column.source.class_id != Class.DEMAND_REGISTER:
        return None
    return tuple(Attribute(Class.DEMAND_REGISTER, column.source.instance, n) for n in (8, 9))  # type: ignore[return-value]


def scaled_column(column: Column, unit: ScalerUnit) -> Scaled | str:
    """What a count is in Wh, varh or VAh, or for a mean in W, var or VA; or why it is not that."""
    return scaled_by(unit, _POWER[UNIT[column.quantity]] if column.kind == "demand" else column.quantity)


def recorded_of(
    layout: Layout, rows: Iterable[Row], device: DeviceId, *, standard_min: int | None, frame: Frame | None
) -> list[Recorded]:
    """The values of rows, in order of time. `standard_min`: deviation of a meter that leaves its own out.

    Raises ClockUnknown where no row can be told in UTC, and one of them lacks nothing but its deviation.
    """
    found: list[Recorded] = []
    no_deviation = timed = 0
    for row in rows:
        if row.time is None:
            continue
        end_ms = row.time.instant(standard_min=standard_min).utc_ms
        if end_ms is None:
            no_deviation += row.time.deviation_min == ANY_DEVIATION
            continue
        timed += 1
        status = _status(layout, row)
        for column in layout.columns:
            scaled, raw = layout.scaled.get(column.place), number_of(row.cells[column.place])
            if scaled is None or raw is None:
                continue
            value, bounds = scaled.value(raw), BOUNDS[column.quantity]
            if bounds.low <= value <= bounds.high:
                found.append(
                    Recorded(device, column.quantity, column.kind, value, scaled.step, end_ms, 1000 * layout.period_s,
                             status, frame)
                )  # fmt: skip
    if no_deviation and not timed:
        raise ClockUnknown("they leave the deviation from UTC out")
    return sorted(found, key=lambda r: r.end_ms)


def ends_of(since_ms: Ms, until_ms: Ms, *, deviation_min: int, way: str) -> tuple[CosemTime, CosemTime]:
    """The ends of a range as this meter takes them; what more they let in is left out afterwards.

    Local time is ambiguous for an hour in autumn, and the deviation of the past may not be today's: an hour more on
    either side. A deviation of zero may be read as UTC or be passed over: the range then holds both.
    """
    wide_ms = 3_600_000
    if way == "zero":
        shift_ms = -deviation_min * 60_000
        first = of_utc(since_ms + min(shift_ms, 0) - wide_ms, deviation_min=0)
        last = of_utc(until_ms + max(shift_ms, 0) + wide_ms, deviation_min=0)
        return first, last
    ends = [of_utc(ms, deviation_min=deviation_min) for ms in (since_ms - wide_ms, until_ms + wide_ms)]
    if way == "unspecified":
        ends = [end._replace(deviation_min=ANY_DEVIATION) for end in ends]
    return ends[0], ends[1]


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
