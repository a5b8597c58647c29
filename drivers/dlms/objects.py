"""The interface classes that reading needs: which attribute is what, and what its data means.

A register's value is a whole number with a scaler and a unit. A load profile (class 7) says what its columns are; a
cell that is null repeats what stood there before it, and a null time stamp is the one before it and a period on.

Source: IEC 62056-6-2 (DLMS UA 1000-1), clause 4, by class_id: 1, 3, 4, 5, 7, 8, 15, 23, 41, 64.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import IntEnum
from typing import NamedTuple

from drivers.dlms.axdr import Data, Tag
from drivers.dlms.cosem_time import CosemTime, date_time
from drivers.dlms.refused import Malformed
from drivers.dlms.units import ScalerUnit, scaled
from drivers.dlms.xdlms import Attribute


class Class(IntEnum):
    """Interface classes."""

    DATA = 1
    REGISTER = 3
    EXTENDED_REGISTER = 4
    DEMAND_REGISTER = 5
    PROFILE_GENERIC = 7
    CLOCK = 8
    ASSOCIATION_LN = 15
    HDLC_SETUP = 23
    TCP_UDP_SETUP = 41
    SECURITY_SETUP = 64


ATTRIBUTES: dict[Class, tuple[str, ...]] = {
    Class.DATA: ("value",),
    Class.REGISTER: ("value", "scaler_unit"),
    Class.EXTENDED_REGISTER: ("value", "scaler_unit", "status", "capture_time"),
    Class.DEMAND_REGISTER: (
        "current_average_value", "last_average_value", "scaler_unit", "status", "capture_time", "start_time_current",
        "period", "number_of_periods",
    ),
    Class.PROFILE_GENERIC: (
        "buffer", "capture_objects", "capture_period", "sort_method", "sort_object", "entries_in_use",
        "profile_entries",
    ),
    Class.CLOCK: (
        "time", "time_zone", "status", "daylight_savings_begin", "daylight_savings_end", "daylight_savings_deviation",
        "daylight_savings_enabled", "clock_base",
    ),
    Class.ASSOCIATION_LN: (
        "object_list", "associated_partners_id", "application_context_name", "xdlms_context_info",
        "authentication_mechanism_name", "secret", "association_status", "security_setup_reference",
    ),
    Class.HDLC_SETUP: (
        "comm_speed", "window_size_transmit", "window_size_receive", "max_info_field_length_transmit",
        "max_info_field_length_receive", "inter_octet_time_out", "inactivity_time_out", "device_address",
    ),
    Class.TCP_UDP_SETUP: ("tcp_udp_port", "ip_reference", "mss", "nb_of_sim_conn", "inactivity_time_out"),
    Class.SECURITY_SETUP: (
        "security_policy", "security_suite", "client_system_title", "server_system_title",
    ),
}  # fmt: skip
"""Attributes from 2 on; 1 is the logical name of every class."""

CLOCK = bytes((0, 0, 1, 0, 0, 255))


def attribute(class_id: Class, instance: bytes, name: str) -> Attribute:
    """One attribute by its name in the Blue Book. Raises ValueError for a name that the class lacks."""
    if name == "logical_name":
        return Attribute(class_id, instance, 1)
    return Attribute(class_id, instance, ATTRIBUTES[class_id].index(name) + 2)


def obis(text: str) -> bytes:
    """Six octets from `1-0:1.8.0.255` or `1.0.1.8.0.255`. Raises ValueError."""
    parts = text.replace("-", ".").replace(":", ".").split(".")
    if len(parts) != 6 or not all(part.isdecimal() and int(part) < 256 for part in parts):
        raise ValueError(f"{text!r} is no OBIS code of six numbers")
    return bytes(int(part) for part in parts)


class Measured(NamedTuple):
    """A register's value, exactly as the meter has it."""

    raw: int
    unit: ScalerUnit

    @property
    def value(self) -> Decimal:
        return scaled(self.raw, self.unit.scaler)


def scaler_unit(data: Data) -> ScalerUnit:
    """Attribute scaler_unit. Raises Malformed."""
    scaler, unit = data.items("scaler_unit", Tag.STRUCTURE, 2)
    return ScalerUnit(scaler.integer("scaler"), unit.integer("unit"))


def measured(data: Data, unit: ScalerUnit) -> Measured:
    """A register's value with its scaler and unit. Raises Malformed for a value that is no whole number."""
    return Measured(data.integer("value"), unit)


def time_of(data: Data) -> CosemTime:
    """A date-time, by its own type or as an octet-string of twelve. Raises Malformed."""
    if data.tag in {Tag.DATE_TIME, Tag.OCTET_STRING} and isinstance(data.value, bytes):
        return date_time(data.value)
    raise Malformed(f"a date-time wanted, {data.tag.name} came")


class CaptureObject(NamedTuple):
    """A column of a profile: which attribute, and with `part` which part of it (0: the whole)."""

    class_id: int
    instance: bytes
    attribute: int
    part: int = 0

    @property
    def is_time(self) -> bool:
        return (self.class_id, self.attribute) == (Class.CLOCK, 2)

    def to_data(self) -> Data:
        return Data(
            Tag.STRUCTURE,
            (
                Data(Tag.LONG_UNSIGNED, self.class_id),
                Data(Tag.OCTET_STRING, self.instance),
                Data(Tag.INTEGER, self.attribute),
                Data(Tag.LONG_UNSIGNED, self.part),
            ),
        )


class SortMethod(IntEnum):
    """How a buffer is sorted."""

    FIFO = 1
    LIFO = 2
    LARGEST = 3
    SMALLEST = 4
    NEAREST_TO_ZERO = 5
    FARTHEST_FROM_ZERO = 6


def capture_objects(data: Data) -> tuple[CaptureObject, ...]:
    """Attribute capture_objects of a profile. Raises Malformed."""
    return tuple(_capture_object(item) for item in data.items("capture_objects", Tag.ARRAY))


def sort_method(data: Data) -> SortMethod:
    """Attribute sort_method of a profile. Raises Malformed."""
    number = data.integer("sort_method")
    if number not in set(SortMethod):
        raise Malformed(f"there is no sort method {number}")
    return SortMethod(number)


class Row(NamedTuple):
    """A row of a profile with nothing left out. `time` None: it has no time stamp, or none that can be told."""

    time: CosemTime | None
    cells: tuple[Data, ...]
    """As they came, but for a null cell: that has what stood in its column before; NULL where nothing did."""


def rows(
    buffer: Data, columns: Sequence[CaptureObject], *, period_s: int = 0, sort: SortMethod = SortMethod.FIFO
) -> tuple[Row, ...]:
    """The rows of a buffer, in the order of the meter. Raises Malformed for a row of another width.

    A null time stamp is a period after the one above it (before it, where the newest comes first); without a period, or
    in a buffer sorted otherwise, it cannot be told.
    """
    step_s = {SortMethod.FIFO: period_s, SortMethod.LIFO: -period_s}.get(sort, 0)
    stamp = next((n for n, column in enumerate(columns) if column.is_time), None)
    above: list[Data] = [Data(Tag.NULL, None)] * len(columns)
    time: CosemTime | None = None
    found = []
    for item in buffer.items("buffer", Tag.ARRAY):
        cells = item.items("row", Tag.STRUCTURE, len(columns))
        if stamp is not None:
            if cells[stamp].tag is not Tag.NULL:
                time = time_of(cells[stamp])
            else:
                time = time.plus(step_s) if time is not None and step_s else None
        above = [was if cell.tag is Tag.NULL else cell for cell, was in zip(cells, above, strict=True)]
        if stamp is not None and cells[stamp].tag is Tag.NULL:
            above[stamp] = Data(Tag.OCTET_STRING, time.to_octets()) if time is not None else Data(Tag.NULL, None)
        found.append(Row(time, tuple(above)))
    return tuple(found)


class Listed(NamedTuple):
    """An object in the list of an association."""

    class_id: int
    version: int
    instance: bytes
    readable: frozenset[int]
    """Attributes that may be read; empty where the meter says nothing of rights."""


def object_list(data: Data, *, version: int = 0) -> tuple[Listed, ...]:
    """Attribute object_list of an association of that version. Raises Malformed."""
    return tuple(_listed(item, version) for item in data.items("object_list", Tag.ARRAY))


def _capture_object(data: Data) -> CaptureObject:
    parts = data.items("capture object", Tag.STRUCTURE)
    if len(parts) not in {4, 5}:  # a fifth one restricts what of the attribute is captured
        raise Malformed(f"a capture object of {len(parts)} parts")
    class_id, instance, number, index = parts[:4]
    return CaptureObject(
        class_id.integer("class"),
        instance.octets("logical name", 6),
        number.integer("attribute"),
        index.integer("data index"),
    )


def _listed(data: Data, of_version: int) -> Listed:
    class_id, version, instance, rights = data.items("object", Tag.STRUCTURE, 4)
    return Listed(
        class_id.integer("class"),
        version.integer("version"),
        instance.octets("logical name", 6),
        _readable(rights, of_version),
    )


_READABLE = {1, 3, 4, 6}
"""Access modes of an association before version 3 that let an attribute be read, as it is or authenticated."""


def _readable(rights: Data, version: int) -> frozenset[int]:
    """Access rights as attributes that may be read: modes by number, from version 3 on bits of which 0 is reading."""
    attributes, _ = rights.items("access rights", Tag.STRUCTURE, 2)
    found = set()
    for item in attributes.items("attribute access", Tag.ARRAY):
        entry, mode = item.items("attribute access", Tag.STRUCTURE, 3)[:2]
        granted = mode.integer("access mode")
        if granted & 1 if version >= 3 else granted in _READABLE:
            found.add(entry.integer("attribute"))
    return frozenset(found)
