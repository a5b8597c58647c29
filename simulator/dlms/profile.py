"""A profile: rows that a meter has captured, given whole, by range or by entry.

Source: IEC 62056-6-2 (DLMS UA 1000-1), class_id 7 and its selective access.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from simulator.clock import Ms
from simulator.dlms.clock import NO_DEVIATION, MeterClock
from simulator.dlms.codec import (
    NULL,
    UNREADABLE,
    Data,
    Malformed,
    Tag,
    array,
    decode,
    enum,
    i8,
    octet_string,
    structure,
    u16,
    u32,
)
from simulator.dlms.codes import Access
from simulator.dlms.objects import CosemObject, NotGiven
from simulator.faults import FaultKind, Faults

CLASS = 7
BY_RANGE, BY_ENTRY = 1, 2
OLDEST_FIRST, NEWEST_FIRST = 1, 2
"""Sort methods: FIFO, LIFO."""


class Entry(NamedTuple):
    """A row's instant, true and as the clock showed it; `code`: what happened, in an event log."""

    at_ms: Ms
    shown_ms: Ms
    code: int = 0


class Column(NamedTuple):
    """An attribute that is captured; `cell(entry, now_ms)`."""

    class_id: int
    name: bytes
    attribute: int
    cell: Callable[[Entry, Ms], Data]
    quantity: str = ""

    @property
    def is_time(self) -> bool:
        return (self.class_id, self.attribute) == (8, 2)

    def to_data(self) -> Data:
        return structure(u16(self.class_id), octet_string(self.name), i8(self.attribute), u16(0))


def clock_column(clock: MeterClock) -> Column:
    return Column(8, bytes((0, 0, 1, 0, 0, 255)), 2, lambda entry, now_ms: octet_string(clock.written(entry.shown_ms)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """`entries(now_ms)`: what has been captured by then, the oldest first; at most `most` are kept.

    `ranges`: how the ends of a range must name their deviation: "any", "needed", "refused", or "none": there is no
    selection by range.
    """

    name: bytes
    columns: Sequence[Column]
    entries: Callable[[Ms], Sequence[Entry]]
    clock: MeterClock
    period_s: int = 0
    most: int = 1000
    sort: int = OLDEST_FIRST
    ranges: str = "any"
    faults: Faults = field(default_factory=Faults)

    def object(self) -> CosemObject:
        attributes = {
            2: lambda at_ms: self._buffer(self._kept(at_ms), self.columns, at_ms),
            3: lambda at_ms: array(*(column.to_data() for column in self.columns)),
            4: lambda at_ms: u32(self.period_s),
            5: lambda at_ms: enum(self.sort),
            6: lambda at_ms: self.columns[0].to_data(),
            7: lambda at_ms: u32(len(self._kept(at_ms))),
            8: lambda at_ms: u32(self.most),
        }
        quantities = tuple(column.quantity for column in self.columns if column.quantity)
        return CosemObject(CLASS, self.name, attributes, version=1, quantities=quantities, select=self.selected)

    def selected(self, at_ms: Ms, selector: int, parameter: Data) -> Data:
        """Raises NotGiven for a selection that this meter does not make."""
        try:
            if selector == BY_RANGE and self.ranges != "none":
                return self._by_range(at_ms, parameter)
            if selector == BY_ENTRY:
                return self._by_entry(at_ms, parameter)
        except Malformed:
            raise NotGiven(Access.TYPE_UNMATCHED) from None
        raise NotGiven(Access.OTHER)

    def _kept(self, at_ms: Ms) -> list[Entry]:
        kept = list(self.entries(at_ms))[-self.most :]
        return kept[::-1] if self.sort == NEWEST_FIRST else kept

    def _by_range(self, at_ms: Ms, parameter: Data) -> Data:
        restricting, first, last, chosen = parameter.items("range", Tag.STRUCTURE, 4)
        by = self._column(restricting)
        columns = [self._column(wanted) for wanted in chosen.items("columns", Tag.ARRAY)] or self.columns
        entries = self._kept(at_ms)
        if by.is_time:
            low, high = self._end(first), self._end(last)
            entries = [
                entry
                for entry in entries
                if (low is None or entry.shown_ms >= low) and (high is None or entry.shown_ms <= high)
            ]
        else:
            least, most = first.integer("least"), last.integer("most")
            entries = [entry for entry in entries if least <= self._number(by, entry, at_ms) <= most]
        return self._buffer(entries, columns, at_ms)

    def _by_entry(self, at_ms: Ms, parameter: Data) -> Data:
        numbers = [item.integer("entry") for item in parameter.items("entries", Tag.STRUCTURE, 4)]
        entries, columns = self._kept(at_ms), list(self.columns)
        (first, last), (left, right) = numbers[:2], numbers[2:]
        if not first or not left or left > len(columns) or right > len(columns):
            raise NotGiven(Access.OTHER)
        return self._buffer(entries[first - 1 : last or None], columns[left - 1 : right or None], at_ms)

    def _column(self, wanted: Data) -> Column:
        class_id, name, attribute = wanted.items("capture object", Tag.STRUCTURE)[:3]
        key = (class_id.integer("class"), name.octets("name", 6), attribute.integer("attribute"))
        for column in self.columns:
            if (column.class_id, column.name, column.attribute) == key:
                return column
        raise NotGiven(Access.OTHER)

    def _end(self, data: Data) -> Ms | None:
        octets = data.value if data.tag is Tag.DATE_TIME else data.octets("end of the range", 12)
        if not isinstance(octets, bytes):
            raise Malformed("no end of a range")
        named = int.from_bytes(octets[9:11], "big", signed=True) != NO_DEVIATION
        if self.ranges == ("refused" if named else "needed"):
            raise NotGiven(Access.OTHER)
        return self.clock.read(octets)

    def _number(self, column: Column, entry: Entry, now_ms: Ms) -> int:
        cell = column.cell(entry, now_ms)
        return cell.integer("cell") if cell.is_integer else -1

    def _buffer(self, entries: Sequence[Entry], columns: Sequence[Column], now_ms: Ms) -> Data:
        nulls = self.faults.in_meter(FaultKind.NULL_CELLS)
        step_ms = self.period_s * (1000 if self.sort == OLDEST_FIRST else -1000)
        rows: list[Data] = []
        above: list[Data] = []
        before: Entry | None = None
        for entry in entries:
            cells = [column.cell(entry, now_ms) for column in columns]
            shown = cells
            for fault in nulls:
                if fault.in_force(entry.at_ms):
                    shown = list(shown)
                    for n, column in enumerate(columns):
                        follows = before is not None and (
                            entry.shown_ms - before.shown_ms == step_ms if column.is_time else cells[n] == above[n]
                        )
                        if fault.quantity == column.quantity if fault.quantity else follows:
                            shown[n] = NULL
            rows.append(structure(*shown))
            above, before = cells, entry
        return array(*rows)


def whole(encoded: bytes) -> Data:
    """A value that the scenario gives as octets. Raises ValueError."""
    try:
        return decode(encoded)
    except UNREADABLE as error:
        raise ValueError(f"{encoded.hex()} is no value: {error}") from error
