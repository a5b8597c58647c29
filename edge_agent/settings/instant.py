"""A moment as a person writes it into a site file, and what it means in a point's time zone.

A date stands for the local midnight that begins it. Where that midnight does not exist (the clock is put forward over
it) it is the first instant of the day; where it comes twice it is the first of the two.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from zoneinfo import ZoneInfo

from edge_agent.model import Ms

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
FIRST_YEAR, LAST_YEAR = 1970, 2199
"""Outside of these a date is a slip of the pen, and close to the ends of `datetime` arithmetic overflows."""


class Instant:
    """A TOML date (a local midnight, once the zone is known) or a date-time with its offset."""

    __slots__ = ("written",)

    def __init__(self, written: date | datetime) -> None:
        if isinstance(written, datetime) and written.tzinfo is None:
            raise ValueError("a date-time without an offset")
        if not FIRST_YEAR <= written.year <= LAST_YEAR:
            raise ValueError(f"the year {written.year}")
        self.written = written

    def ms(self, zone: ZoneInfo) -> Ms:
        """UTC milliseconds; `zone` counts for a date only."""
        if isinstance(self.written, datetime):
            return utc_ms(self.written)
        return midnight_ms(self.written, zone)

    def end_ms(self, zone: ZoneInfo) -> Ms:
        """As the end of a span: a date is the last day in it, so the midnight that ends that day."""
        if isinstance(self.written, datetime):
            return utc_ms(self.written)
        return midnight_ms(self.written + timedelta(days=1), zone)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Instant) and self.written == other.written

    def __hash__(self) -> int:
        return hash(self.written)

    def __str__(self) -> str:
        return self.written.isoformat()

    def __repr__(self) -> str:
        return f"Instant({self})"


def utc_ms(moment: datetime) -> Ms:
    """UTC milliseconds of an aware date-time."""
    return (moment - _EPOCH) // _MILLISECOND


def midnight_ms(day: date, zone: ZoneInfo) -> Ms:
    """UTC milliseconds of the first instant of `day` in `zone`."""
    return utc_ms(datetime.combine(day, time_of_day(), zone).astimezone(UTC))


def local_time(ms: Ms, zone: ZoneInfo) -> datetime:
    """The wall clock of `zone` at a UTC instant."""
    return (_EPOCH + timedelta(milliseconds=ms)).astimezone(zone)
