"""Reads what a meter wrote down about events: its logs are profiles whose rows are a stamp and a number of a kind.

What a number means is each maker's own, so the device's profile says it; a number that it does not name stays a number.
The column of the number is an object 96.11.e, as the standard has it; without one nothing is taken for it. Where a row
also has a counter of events that the device's profile reads, the entry is known by what the counter stood at.

Source: IEC 62056-6-2 (DLMS UA 1000-1), class_id 7; IEC 62056-6-1, abstract objects 0-b:99.98.e (event logs) and
0-b:96.11.e (event codes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import structlog

from drivers.dlms.buffer import Buffer, Shape, Timed
from drivers.dlms.objects import CaptureObject, Class, obis
from drivers.dlms.refused import ClockUnknown, NoLog, NoProfile
from drivers.dlms.session import Session
from drivers.dlms.values import item_of, number_of
from edge_agent.model import COUNTED, DeviceId, DeviceSpec, EventNumber, MeterEvent, Ms, Register
from edge_agent.ports import Refused

log = structlog.get_logger()

_NUMBER = b"\x60\x0b"  # 96.11


class Book(NamedTuple):
    """How one log is made."""

    name: str
    shape: Shape
    number: int
    """The column of the event's number."""
    counters: Mapping[str, int]
    """Columns of what a counter stood at, by the code of the events that it counts."""
    codes: Mapping[int, str]


def book_of(name: str, shape: Shape, registers: Iterable[Register], numbers: Iterable[EventNumber]) -> Book:
    """Raises NoLog for one without a column of event numbers."""
    number = next((n for n, o in enumerate(shape.objects) if _holds_value(o) and o.instance[2:4] == _NUMBER), None)
    if number is None:
        raise NoLog("none of its columns is an event's number (96.11)")
    counted = {
        (i.attribute.instance, i.attribute.attribute): COUNTED[i.quantity]
        for i in map(item_of, registers)
        if i.quantity in COUNTED
    }
    places = [(o.instance, o.attribute) for o in shape.objects]
    counters = {counted[where]: n for n, where in enumerate(places) if where in counted}
    return Book(name, shape, number, counters, {e.number: e.code for e in numbers if e.log in {"", name}})


def events_of(book: Book, rows: Iterable[Timed], device: DeviceId) -> list[MeterEvent]:
    """What the rows say; a row without a number says nothing."""
    found = []
    for when_ms, row, frame in rows:
        number = number_of(row.cells[book.number])
        if not isinstance(number, int):
            continue
        code = book.codes.get(number, f"{book.name}/{number}")
        place = book.counters.get(code)
        counter = None if place is None else number_of(row.cells[place])
        stood = counter if isinstance(counter, int) else None
        found.append(MeterEvent(device, code, when_ms, stood, frame=frame))
    return found


class Logbook:
    """The event logs of one meter."""

    def __init__(self, session: Session, device: DeviceSpec, utc_ms: Callable[[], Ms | None]) -> None:
        self._device = device
        names = [name.strip() for name in device.profile.event_log.split(",") if name.strip()]
        self._buffers = {name: Buffer(session, obis(name.replace("*", ".")), utc_ms) for name in names}
        self._books: dict[str, Book] = {}
        self._unknown: set[str] = set()

    def forget(self) -> None:
        """It may be another meter."""
        self._books.clear()
        for buffer in self._buffers.values():
            buffer.forget()

    async def read(self, since_ms: Ms) -> list[MeterEvent]:
        """The entries from `since_ms` on of all logs. The association is open.

        A log that the meter does not have hides nothing of the others. Raises a `DriverError`: Refused where there is
        none at all.
        """
        if not self._buffers:
            raise NoLog("the device's profile names none")
        clock = await next(iter(self._buffers.values())).clock()
        refused: Refused | None = None
        found: list[MeterEvent] = []
        for name, buffer in self._buffers.items():
            try:
                book = self._books.get(name) or await self._described(name, buffer)
                rows = await buffer.rows(book.shape, since_ms, clock.utc_ms, clock)
            except ClockUnknown:
                raise
            except Refused as error:
                refused = NoLog(str(error.fields["why"])) if isinstance(error, NoProfile) else error
                continue
            self._books[name] = book
            found += events_of(book, rows, self._device.id)
        if refused is not None and not self._books:
            raise refused
        kept = [e for e in found if e.when_ms is None or e.when_ms >= since_ms]
        self._say_unknown(kept)
        return kept

    async def _described(self, name: str, buffer: Buffer) -> Book:
        profile = self._device.profile
        return book_of(name, await buffer.shape(), profile.registers, profile.events)

    def _say_unknown(self, events: Iterable[MeterEvent]) -> None:
        codes = {e.code for e in events if "/" in e.code}
        for code in sorted(codes - self._unknown):
            log.info("the device's profile does not say what this event is", device=self._device.id, number=code)
        self._unknown |= codes


def _holds_value(captured: CaptureObject) -> bool:
    return captured.class_id in {Class.DATA, Class.REGISTER} and (captured.attribute, captured.part) == (2, 0)
