"""Reads a meter's load profile: by time, else by place, else whole, and only from a meter whose clock is right.

How the profile is made (columns, period, order) and what its columns' numbers mean is read once for each meter. The
clock is read in the same association: what a clock stamped that is off is evidence of nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto

from drivers.dlms import load_profile, selection
from drivers.dlms.axdr import NULL, Data
from drivers.dlms.cosem_time import ANY_DEVIATION, CosemTime
from drivers.dlms.initiate import Conformance
from drivers.dlms.load_profile import Layout, ends_of, layout_of, recorded_of, scaled_column, scaler_of
from drivers.dlms.objects import (
    CLOCK,
    Class,
    Row,
    SortMethod,
    attribute,
    capture_objects,
    obis,
    rows,
    scaler_unit,
    sort_method,
    time_of,
)
from drivers.dlms.refused import ClockOff, ClockUnknown, Malformed, NoProfile, TimeUnset, access_error
from drivers.dlms.session import Fetched, Session
from drivers.dlms.xdlms import Attribute
from edge_agent.model import DeviceSpec, Frame, Ms, Recorded
from edge_agent.ports import DriverError, Refused

MOST_OFF_MS = 300_000
"""From so much on nothing that the meter's clock stamped is used."""

PATIENCE_S = 15.0
"""For the first block of a profile: a meter searches its memory."""

DAYLIGHT_SAVING_MIN = 60
MARGIN_ROWS = 8
MOST_PIECES = 8
"""So often the rows by place are asked for further back or on, if the first were not those."""

TIME = attribute(Class.CLOCK, CLOCK, "time")


class Way(Enum):
    """How rows are asked for, in the order in which it is tried."""

    RANGE = auto()
    ENTRIES = auto()
    WHOLE = auto()


class Recording:
    """The load profile of one meter."""

    def __init__(self, session: Session, device: DeviceSpec, utc_ms: Callable[[], Ms | None]) -> None:
        self._session = session
        self._device = device
        self._utc_ms = utc_ms
        self._layout: Layout | None = None
        self._way = Way.RANGE
        self._apart_min = 0
        """Deviation of the rows' stamps, less that of the clock; daylight saving aside they should be one."""

    def forget(self) -> None:
        """It may be another meter."""
        self._layout, self._way, self._apart_min = None, Way.RANGE, 0

    async def read(self, since_ms: Ms, until_ms: Ms) -> list[Recorded]:
        """What was recorded at (since, until], in order. The association is open. Raises a `DriverError`."""
        layout = await self._laid_out()
        clock, deviation_min = await self._clock()
        found = await self._rows(layout, since_ms, until_ms, clock_ms=clock, deviation_min=deviation_min)
        return [r for r in found if since_ms < r.end_ms <= until_ms]

    # -- what must be known first --------------------------------------------------------------------------------

    async def _laid_out(self) -> Layout:
        if self._layout is not None:
            return self._layout
        if not self._device.profile.load_profile:
            raise NoProfile("the device's profile names none")
        instance = obis(self._device.profile.load_profile.replace("*", "."))
        names = ("capture_objects", "capture_period", "sort_method")
        wanted = [attribute(Class.PROFILE_GENERIC, instance, name) for name in names]
        objects, period, sort = await self._data(wanted)
        layout = layout_of(
            instance,
            capture_objects(objects),
            period.integer("capture_period"),
            sort_method(sort),
            self._device.profile.registers,
        )
        scalers = await self._data([scaler_of(c) for c in layout.columns])
        for column, data in zip(layout.columns, scalers, strict=True):
            scaled = scaled_column(column, scaler_unit(data))
            if not isinstance(scaled, str) and await self._averages(column, layout.period_s):
                layout.scaled[column.place] = scaled
        if not layout.scaled:
            raise NoProfile("none of its columns is measured in the unit that it should be")
        self._layout = layout
        return layout

    async def _averages(self, column: load_profile.Column, period_s: int) -> bool:
        """Whether a mean is one over exactly the capture period."""
        places = load_profile.averaging_of(column)
        if places is None:
            return True
        period, count = await self._data(places)
        return period.integer("period") == period_s and count.integer("number_of_periods") == 1

    async def _clock(self) -> tuple[Ms, int]:
        """The meter's time in UTC, and its deviation now. Raises ClockOff, ClockUnknown or TimeUnset."""
        (data,) = await self._data([TIME])
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
        return instant.utc_ms, _deviation_min(time, standard_min)

    @property
    def _standard_min(self) -> int | None:
        offset_min = self._session.spec.utc_offset_min
        return None if offset_min is None else -offset_min

    # -- rows ----------------------------------------------------------------------------------------------------

    async def _rows(
        self, layout: Layout, since_ms: Ms, until_ms: Ms, *, clock_ms: Ms, deviation_min: int
    ) -> list[Recorded]:
        if not self._session.agreed.conformance & Conformance.SELECTIVE_ACCESS and self._way is not Way.WHOLE:
            self._way = Way.WHOLE
        while True:
            try:
                match self._way:
                    case Way.RANGE:
                        if found := await self._by_range(layout, since_ms, until_ms, deviation_min):
                            return found
                        # Nothing at all: it may have read the ends of the range otherwise than they were meant.
                        return await self._by_entries(layout, since_ms, until_ms, clock_ms)
                    case Way.ENTRIES:
                        return await self._by_entries(layout, since_ms, until_ms, clock_ms)
                    case Way.WHOLE:
                        return await self._some(layout, b"")
            except (ClockUnknown, NoProfile):
                raise
            except Refused:
                if self._way is Way.WHOLE:
                    self._way = Way.RANGE
                    raise
                self._way = Way.ENTRIES if self._way is Way.RANGE else Way.WHOLE
                await self._session.open()

    async def _by_range(self, layout: Layout, since_ms: Ms, until_ms: Ms, deviation_min: int) -> list[Recorded]:
        """Asked for as the clock shows time; once more where the rows turn out to be stamped in another zone."""
        for _ in range(2):
            ends_min = deviation_min + self._apart_min
            way = self._session.spec.range_deviation
            first, last = ends_of(since_ms, until_ms, deviation_min=ends_min, way=way)
            found, frame = await self._chosen(layout, selection.by_time(first, last, restricting=layout.clock))
            stamped_min = next((m for r in found if r.time and (m := r.time.deviation_min) != ANY_DEVIATION), ends_min)
            if abs(stamped_min - ends_min) <= DAYLIGHT_SAVING_MIN:  # the ends are wide enough for that
                break
            self._apart_min = stamped_min - deviation_min
        return self._recorded(layout, found, frame)

    async def _by_entries(self, layout: Layout, since_ms: Ms, until_ms: Ms, clock_ms: Ms) -> list[Recorded]:
        """Rows by number: about as many from the newest back as periods have passed, and on from there if need be."""
        if layout.sort not in {SortMethod.FIFO, SortMethod.LIFO} or not layout.period_s:
            raise NoProfile("its rows can be asked for neither by time nor by place")
        (data,) = await self._data([attribute(Class.PROFILE_GENERIC, layout.instance, "entries_in_use")])
        count, period_ms = data.integer("entries_in_use"), 1000 * layout.period_s
        if count <= 0:
            return []
        newest_first = layout.sort is SortMethod.LIFO
        back = [min(count, max(0, (clock_ms - ms) // period_ms)) for ms in (until_ms, since_ms)]
        # Places counted from the newest, 0, to the oldest, count - 1.
        low, high = max(0, back[0] - MARGIN_ROWS), min(count - 1, back[1] + MARGIN_ROWS)
        low = min(low, high)
        found: dict[tuple[Ms, str], Recorded] = {}
        for _ in range(MOST_PIECES):
            ends = (low + 1, high + 1) if newest_first else (count - high, count - low)
            piece = await self._some(layout, selection.by_entry(*ends))
            found |= {(r.end_ms, r.quantity): r for r in piece}
            stamps = [end for end, _ in found]
            if stamps and max(stamps) < until_ms and low > 0:
                low, high = max(0, low - (high - low + 1)), low - 1  # rows are missing: those wanted are newer
            elif stamps and min(stamps) > since_ms and high < count - 1:
                low, high = high + 1, min(count - 1, high + 1 + (high - low))
            else:
                break
        return sorted(found.values(), key=lambda r: r.end_ms)

    async def _some(self, layout: Layout, chosen: bytes) -> list[Recorded]:
        return self._recorded(layout, *await self._chosen(layout, chosen))

    async def _chosen(self, layout: Layout, chosen: bytes) -> tuple[Sequence[Row], Frame]:
        place = Attribute(Class.PROFILE_GENERIC, layout.instance, 2, chosen)
        (result,), frame = await self._session.get([place], patience_s=PATIENCE_S)
        if not isinstance(result, Data):
            raise access_error(result, str(place))
        return rows(result, layout.objects, period_s=layout.period_s, sort=layout.sort), frame

    def _recorded(self, layout: Layout, found: Sequence[Row], frame: Frame) -> list[Recorded]:
        return recorded_of(layout, found, self._device.id, standard_min=self._standard_min, frame=frame)

    async def _data(self, wanted: Sequence[Attribute]) -> list[Data]:
        """All of them, or the `DriverError` of the first that is not given."""
        came: dict[Attribute, Fetched] = {}
        await self._session.values(list(dict.fromkeys(wanted)), came)
        return [_given(came[place], place) for place in wanted]


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
