"""Selective access to a load profile: a part of its buffer by range, usually of time, or by entry.

Meters differ in what they take as the ends of a range: some refuse a deviation, others its absence. A `CosemTime` says
exactly what is sent, whichever it is.

Source: IEC 62056-6-2 (DLMS UA 1000-1), class_id 7, selective access (range_descriptor, entry_descriptor).
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.dlms.axdr import Data, Tag, array, encode, structure
from drivers.dlms.cosem_time import CosemTime
from drivers.dlms.objects import CLOCK, CaptureObject, Class

BY_RANGE, BY_ENTRY = 1, 2

CLOCK_COLUMN = CaptureObject(Class.CLOCK, CLOCK, 2)


def by_time(
    first: CosemTime,
    last: CosemTime,
    *,
    restricting: CaptureObject = CLOCK_COLUMN,
    columns: Sequence[CaptureObject] = (),
) -> bytes:
    """Rows from `first` to `last`, both included; no columns: all of them."""
    ends = [Data(Tag.OCTET_STRING, time.to_octets()) for time in (first, last)]
    return by_range(restricting, *ends, columns=columns)


def by_range(restricting: CaptureObject, first: Data, last: Data, *, columns: Sequence[CaptureObject] = ()) -> bytes:
    """Rows in which the restricting object lies between two values, both included."""
    selected = array(*(column.to_data() for column in columns))
    return bytes((BY_RANGE,)) + encode(structure(restricting.to_data(), first, last, selected))


def by_entry(first: int, last: int = 0, *, first_column: int = 1, last_column: int = 0) -> bytes:
    """Rows and columns by number, from 1 on; a last one of 0 is the highest there is."""
    numbers = [Data(Tag.DOUBLE_LONG_UNSIGNED, n) for n in (first, last)]
    numbers += [Data(Tag.LONG_UNSIGNED, n) for n in (first_column, last_column)]
    return bytes((BY_ENTRY,)) + encode(structure(*numbers))
