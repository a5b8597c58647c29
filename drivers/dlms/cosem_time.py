"""COSEM date-time: twelve octets of which any may say "not specified", and the instant that they name, if they do.

The deviation is what must be ADDED to local time to get UTC, in minutes, daylight saving included: -120 in a summer at
UTC+2. Meters that leave it out (8000) can only be understood by someone who knows how they were set. No instant is
made up: what is missing is named.

Source: IEC 62056-6-2 (DLMS UA 1000-1), 4.1.6 (date and time formats).
"""

from __future__ import annotations

from datetime import date, timedelta
from enum import StrEnum
from typing import NamedTuple

from drivers.dlms.refused import Malformed

ANY = 0xFF
ANY_YEAR = 0xFFFF
ANY_DEVIATION = -0x8000
DAYLIGHT_BEGINS, DAYLIGHT_ENDS = 0xFE, 0xFD
"""As a month: that of the change to daylight saving, and back."""
LAST_DAY, SECOND_LAST_DAY = 0xFE, 0xFD
"""As a day of the month."""

INVALID, DOUBTFUL, OTHER_BASE, INVALID_STATUS, DAYLIGHT = 0x01, 0x02, 0x04, 0x08, 0x80
"""Bits of the clock status."""

_EPOCH = date(1970, 1, 1).toordinal()


class Missing(StrEnum):
    """Why a date-time names no instant."""

    YEAR = "year not specified"
    MONTH = "month not specified"
    DAY = "day not specified"
    HOUR = "hour not specified"
    MINUTE = "minute not specified"
    SECOND = "second not specified"
    DEVIATION = "deviation from UTC not specified"
    NO_SUCH_DAY = "no such day in the calendar"
    INVALID = "the meter says that its clock is invalid"


class Instant(NamedTuple):
    """UTC in ms since 1970, or why there is none."""

    utc_ms: int | None
    missing: Missing | None = None


class CosemTime(NamedTuple):
    """A date-time as the meter gave it. `weekday` is 1 on Monday; `deviation_min` is added to local time for UTC."""

    year: int = ANY_YEAR
    month: int = ANY
    day: int = ANY
    weekday: int = ANY
    hour: int = ANY
    minute: int = ANY
    second: int = ANY
    hundredths: int = ANY
    deviation_min: int = ANY_DEVIATION
    status: int = ANY

    def to_octets(self) -> bytes:
        deviation = self.deviation_min.to_bytes(2, "big", signed=True)
        return self.year.to_bytes(2, "big") + bytes(self[1:8]) + deviation + bytes((self.status,))

    @property
    def is_daylight(self) -> bool:
        """Whether the meter says that daylight saving is in force."""
        return self.status != ANY and bool(self.status & DAYLIGHT)

    @property
    def is_doubtful(self) -> bool:
        """Whether the meter had to recover its time and does not vouch for it, or cannot tell."""
        return self.status != ANY and bool(self.status & (DOUBTFUL | OTHER_BASE | INVALID_STATUS))

    def instant(self, *, standard_min: int | None = None, daylight_min: int = -60) -> Instant:
        """The instant, if the octets name one.

        `standard_min` is the deviation in standard time of a meter that leaves its own out; `daylight_min` comes on top
        where the meter says that daylight saving is in force. Hundredths that are left out are none.
        """
        for field, missing in zip(self, (Missing.YEAR, Missing.MONTH, Missing.DAY), strict=False):
            if field in {ANY, ANY_YEAR}:
                return Instant(None, missing)
        for field, missing in zip(self[4:7], (Missing.HOUR, Missing.MINUTE, Missing.SECOND), strict=True):
            if field == ANY:
                return Instant(None, missing)
        if self.status != ANY and self.status & INVALID:
            return Instant(None, Missing.INVALID)
        deviation_min = self.deviation_min
        if deviation_min == ANY_DEVIATION:
            if standard_min is None:
                return Instant(None, Missing.DEVIATION)
            deviation_min = standard_min + (daylight_min if self.is_daylight else 0)
        day = self._day()
        if day is None:
            return Instant(None, Missing.NO_SUCH_DAY)
        minutes = ((day.toordinal() - _EPOCH) * 24 + self.hour) * 60 + self.minute + deviation_min
        hundredths = 0 if self.hundredths == ANY else self.hundredths
        return Instant((minutes * 60 + self.second) * 1000 + hundredths * 10)

    def plus(self, seconds: int) -> CosemTime | None:
        """So much later on the same clock, with the same deviation; None where a part of it is not specified."""
        day = None if ANY in self[4:7] or ANY in self[1:3] or self.year == ANY_YEAR else self._day()
        if day is None:
            return None
        days, of_day = divmod((self.hour * 60 + self.minute) * 60 + self.second + seconds, 86_400)
        try:
            day += timedelta(days=days)
        except OverflowError:
            return None
        minutes, second = divmod(of_day, 60)
        weekday = ANY if self.weekday == ANY else day.isoweekday()
        hour, minute = divmod(minutes, 60)
        return self._replace(
            year=day.year, month=day.month, day=day.day, weekday=weekday, hour=hour, minute=minute, second=second
        )

    def _day(self) -> date | None:
        """The day, also where it is named as the last or second last of its month."""
        if not 1 <= self.month <= 12:  # the month of a change to daylight saving, whichever it is
            return None
        try:
            if self.day in {LAST_DAY, SECOND_LAST_DAY}:
                back = 1 if self.day == LAST_DAY else 2
                following = (self.year + self.month // 12, self.month % 12 + 1)
                return date.fromordinal(date(*following, 1).toordinal() - back)
            return date(self.year, self.month, self.day)
        except (ValueError, OverflowError):
            return None


def date_time(octets: bytes) -> CosemTime:
    """From twelve octets. Raises Malformed for a field that no clock shows."""
    if len(octets) != 12:
        raise Malformed(f"a date-time has 12 octets, not {len(octets)}")
    year = int.from_bytes(octets[:2], "big")
    deviation_min = int.from_bytes(octets[9:11], "big", signed=True)
    time = CosemTime(*(year, *octets[2:9], deviation_min, octets[11]))
    _check(time)
    return time


def date_only(octets: bytes) -> CosemTime:
    """From the five octets of a date."""
    if len(octets) != 5:
        raise Malformed(f"a date has 5 octets, not {len(octets)}")
    return date_time(octets + b"\xff\xff\xff\xff\x80\x00\xff")


def time_only(octets: bytes) -> CosemTime:
    """From the four octets of a time."""
    if len(octets) != 4:
        raise Malformed(f"a time has 4 octets, not {len(octets)}")
    return date_time(b"\xff\xff\xff\xff\xff" + octets + b"\x80\x00\xff")


def of_utc(utc_ms: int, *, deviation_min: int) -> CosemTime:
    """The instant as a meter shows it whose clock has that deviation; no status."""
    days, of_day_ms = divmod(utc_ms - deviation_min * 60_000, 86_400_000)
    day = date.fromordinal(_EPOCH + days)
    seconds, rest_ms = divmod(of_day_ms, 1000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    weekday, hundredths = day.isoweekday(), rest_ms // 10
    return CosemTime(day.year, day.month, day.day, weekday, hour, minute, second, hundredths, deviation_min)


_MOST = (("hour", 23), ("minute", 59), ("second", 59), ("hundredths", 99))


def _check(time: CosemTime) -> None:
    wrong = next((name for (name, most), n in zip(_MOST, time[4:8], strict=True) if n > most and n != ANY), "")
    if not 1 <= time.month <= 12 and time.month not in {ANY, DAYLIGHT_BEGINS, DAYLIGHT_ENDS}:
        wrong = "month"
    elif not 1 <= time.day <= 31 and time.day not in {ANY, LAST_DAY, SECOND_LAST_DAY}:
        wrong = "day"
    elif not 1 <= time.weekday <= 7 and time.weekday != ANY:
        wrong = "day of the week"
    elif not -840 <= time.deviation_min <= 840 and time.deviation_min != ANY_DEVIATION:
        wrong = "deviation"
    if wrong:
        raise Malformed(f"a date-time with an impossible {wrong}: {time.to_octets().hex()}")
