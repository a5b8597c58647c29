"""Reads the buffer of a profile (class 7): by time, else by place, else whole, and only by a clock that is right.

Load profiles and logs of events are the same to it: rows, each with the instant that its stamp names. The clock is read
in the same association: what a clock stamped that is off is evidence of nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from typing import NamedTuple

from drivers.dlms import selection
from drivers.dlms.axdr import NULL, Data
from drivers.dlms.cosem_time import ANY_DEVIATION, CosemTime, of_utc
from drivers.dlms.initiate import Conformance
from drivers.dlms.objects import (
    CLOCK,
    CaptureObject,
    Class,
    Row,
    SortMethod,
    attribute,
    capture_objects,
    rows,
    sort_method,
    time_of,
)
from drivers.dlms.refused import ClockOff, ClockUnknown, Malformed, NoProfile, TimeUnset, access_error
from drivers.dlms.session import Fetched, Session
from drivers.dlms.xdlms import Attribute
from edge_agent.model import Frame, Ms
from edge_agent.ports import DriverError, Refused

MOST_OFF_MS = 300_000
"""From so much on nothing that the meter's clock stamped is used."""

PATIENCE_S = 15.0
"""For the first block of a profile: a meter searches its memory."""

MARGIN_ROWS = 8
MOST_PIECES = 8
"""So often the rows by place are asked for further back or on, if the first were not those."""

FIRST_ROWS = 8
"""So many of the newest rows of what is captured at no fixed time are asked for first, then twice as many at a time."""

IN_ORDER = frozenset({SortMethod.FIFO, SortMethod.LIFO})
"""Buffers in which a row's place says how old it is."""

TIME = attribute(Class.CLOCK, CLOCK, "time")


class Shape(NamedTuple):
    """How a profile is made. `period_s` 0: it is captured at no fixed time."""

    instance: bytes
    objects: tuple[CaptureObject, ...]
    period_s: int
    sort: SortMethod
    stamp: int

    @property
    def clock(self) -> CaptureObject:
        return self.objects[self.stamp]


class Timed(NamedTuple):
    """A row and its instant, UTC by the meter's clock; None: its stamp names none."""

    utc_ms: Ms | None
    row: Row
    frame: Frame | None = None


class MeterClock(NamedTuple):
    """What the meter's clock shows, in UTC, and its deviation now, daylight saving included."""

    utc_ms: Ms
    deviation_min: int


class Way(Enum):
    """How rows are asked for, in the order in which it is tried."""

    RANGE = auto()
    ENTRIES = auto()
    WHOLE = auto()


class Buffer:
    """The buffer of one profile of one meter, whose association is open. Everything here raises a `DriverError`."""

    def __init__(self, session: Session, instance: bytes, utc_ms: Callable[[], Ms | None]) -> None:
        self._session = session
        self._instance = instance
        self._utc_ms = utc_ms
        self._way = Way.RANGE

    def forget(self) -> None:
        """It may be another meter."""
        self._way = Way.RANGE

    async def shape(self) -> Shape:
        """How it is made. Raises NoProfile for one without time stamps."""
        names = ("capture_objects", "capture_period", "sort_method")
        objects, period, sort = await self.data(
            [attribute(Class.PROFILE_GENERIC, self._instance, name) for name in names]
        )
        return shape_of(self._instance, capture_objects(objects), period.integer("capture_period"), sort_method(sort))

    async def clock(self) -> MeterClock:
        """Raises ClockOff, ClockUnknown or TimeUnset."""
        (data,) = await self.data([TIME])
        time = time_of(data)
        standard_min = self._standard_min
        instant = time.instant(standard_min=standard_min)
        if instant.utc_ms is None:
            raise ClockUnknown(str(instant.missing))
        now_ms = self._utc_ms()
        if now_ms is None:
            raise TimeUnset
        if abs(instant.utc_ms - now_ms) >= MOST_OFF_MS:
            raise ClockOff((instant.utc_ms - now_ms) / 1000)
        return MeterClock(instant.utc_ms, _deviation_min(time, standard_min))

    async def rows(self, shape: Shape, since_ms: Ms, until_ms: Ms, clock: MeterClock) -> list[Timed]:
        """Those from `since_ms` to `until_ms` at least, and of those without an instant whatever came with them."""
        if not self._session.agreed.conformance & Conformance.SELECTIVE_ACCESS and self._way is not Way.WHOLE:
            self._way = Way.WHOLE
        while True:
            try:
                match self._way:
                    case Way.RANGE:
                        found = await self._by_range(shape, since_ms, until_ms, clock.deviation_min)
                        if found or shape.sort not in IN_ORDER:
                            return found
                        # Nothing at all: it may have read the ends of the range otherwise than they were meant.
                        return await self._by_entries(shape, since_ms, until_ms, clock.utc_ms)
                    case Way.ENTRIES:
                        return await self._by_entries(shape, since_ms, until_ms, clock.utc_ms)
                    case Way.WHOLE:
                        return await self._some(shape, b"")
            except (ClockUnknown, NoProfile):
                raise
            except Refused:
                if self._way is Way.WHOLE:
                    self._way = Way.RANGE
                    raise
                self._way = Way.ENTRIES if self._way is Way.RANGE else Way.WHOLE
                await self._session.open()

    async def data(self, wanted: Sequence[Attribute]) -> list[Data]:
        """All of them, or the `DriverError` of the first that is not given."""
        came: dict[Attribute, Fetched] = {}
        await self._session.values(list(dict.fromkeys(wanted)), came)
        return [_given(came[place], place) for place in wanted]

    @property
    def _standard_min(self) -> int | None:
        offset_min = self._session.spec.utc_offset_min
        return None if offset_min is None else -offset_min

    async def _by_range(self, shape: Shape, since_ms: Ms, until_ms: Ms, deviation_min: int) -> list[Timed]:
        way = self._session.spec.range_deviation
        first, last = ends_of(since_ms, until_ms, deviation_min=deviation_min, way=way)
        return await self._some(shape, selection.by_time(first, last, restricting=shape.clock))

    async def _by_entries(self, shape: Shape, since_ms: Ms, until_ms: Ms, clock_ms: Ms) -> list[Timed]:
        """Rows by number: about as many from the newest back as periods have passed, and on from there if need be."""
        if shape.sort not in IN_ORDER:
            raise NoProfile("its rows can be asked for neither by time nor by place")
        (data,) = await self.data([attribute(Class.PROFILE_GENERIC, self._instance, "entries_in_use")])
        count = data.integer("entries_in_use")
        if count <= 0:
            return []
        newest_first = shape.sort is SortMethod.LIFO
        low, high = newest, oldest = _places(shape.period_s, count, clock_ms - until_ms, clock_ms - since_ms)
        found: dict[tuple[Ms | None, tuple[Data, ...]], Timed] = {}
        for _ in range(MOST_PIECES):
            ends = (low + 1, high + 1) if newest_first else (count - high, count - low)
            piece = await self._some(shape, selection.by_entry(*ends))
            found |= {(t.utc_ms, t.row.cells): t for t in piece}
            stamps = [t.utc_ms for t in found.values() if t.utc_ms is not None]
            wide = high - low + 1 if shape.period_s else 2 * (high - low + 1)
            if stamps and max(stamps) < until_ms and newest > 0:
                low, high = max(0, newest - wide), newest - 1  # rows are missing: those wanted are newer
                newest = low
            elif stamps and min(stamps) > since_ms and oldest < count - 1:
                low, high = oldest + 1, min(count - 1, oldest + wide)
                oldest = high
            else:
                break
        return list(found.values())

    async def _some(self, shape: Shape, chosen: bytes) -> list[Timed]:
        place = Attribute(Class.PROFILE_GENERIC, self._instance, 2, chosen)
        (result,), frame = await self._session.get([place], patience_s=PATIENCE_S)
        if not isinstance(result, Data):
            raise access_error(result, str(place))
        found = rows(result, shape.objects, period_s=shape.period_s, sort=shape.sort)
        return timed(found, standard_min=self._standard_min, frame=frame)


def shape_of(instance: bytes, objects: Sequence[CaptureObject], period_s: int, sort: SortMethod) -> Shape:
    """Raises NoProfile for a profile without time stamps."""
    stamp = next((n for n, o in enumerate(objects) if o.is_time and not o.part), None)
    if stamp is None:
        raise NoProfile("its rows have no time stamp")
    return Shape(instance, tuple(objects), period_s, sort, stamp)


def timed(found: Iterable[Row], *, standard_min: int | None, frame: Frame | None) -> list[Timed]:
    """Rows with their instants. `standard_min`: deviation of a meter that leaves its own out.

    Raises ClockUnknown where no row can be told in UTC, and one of them lacks nothing but its deviation.
    """
    out = []
    no_deviation = False
    for row in found:
        utc_ms = None if row.time is None else row.time.instant(standard_min=standard_min).utc_ms
        no_deviation |= utc_ms is None and row.time is not None and row.time.deviation_min == ANY_DEVIATION
        out.append(Timed(utc_ms, row, frame))
    if no_deviation and all(t.utc_ms is None for t in out):
        raise ClockUnknown("they leave the deviation from UTC out")
    return out


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


def _places(period_s: int, count: int, until_ago_ms: Ms, since_ago_ms: Ms) -> tuple[int, int]:
    """Where to look first: places counted from the newest, 0, to the oldest, count - 1."""
    if not period_s:
        return 0, min(count, FIRST_ROWS) - 1
    back = [min(count, max(0, ago_ms // (1000 * period_s))) for ago_ms in (until_ago_ms, since_ago_ms)]
    low, high = max(0, back[0] - MARGIN_ROWS), min(count - 1, back[1] + MARGIN_ROWS)
    return min(low, high), high


def _given(fetched: Fetched, place: Attribute) -> Data:
    result = fetched.result
    if isinstance(result, DriverError):
        raise result
    if not isinstance(result, Data):
        raise access_error(result, str(place))
    if result == NULL:
        raise Malformed(f"{place} is empty")
    return result


def _deviation_min(time: CosemTime, standard_min: int | None) -> int:
    """In force now, daylight saving included."""
    if time.deviation_min != ANY_DEVIATION:
        return time.deviation_min
    return (standard_min or 0) - (60 if time.is_daylight else 0)
