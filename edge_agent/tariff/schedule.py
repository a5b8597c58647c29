"""时段表: in which rate a meter counts at which minute of a local day, as the utility has set it.

Wall time of the point, in minutes since midnight. A day is told by its month and by what kind of day it is: a workday,
a day of the weekend or a holiday. The utility numbers the rates as its meters do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

DAY_MIN = 1440
MONTHS = range(1, 13)
DAY_CLASSES = ("workday", "weekend", "holiday")


@dataclass(frozen=True, slots=True)
class RatePeriod:
    """From `from_min` on and until `to_min`, rate `rate` counts; `months`, `days` empty: in all of them."""

    rate: int
    from_min: int
    to_min: int
    months: frozenset[int] = frozenset()
    days: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.rate} {wall(self.from_min)}-{wall(self.to_min)}"

    def counts(self, month: int, day_class: str) -> bool:
        return (not self.months or month in self.months) and (not self.days or day_class in self.days)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The periods of a table; those that count on one day fill it without gap or overlap."""

    periods: tuple[RatePeriod, ...]

    def of_day(self, month: int, day_class: str) -> tuple[RatePeriod, ...]:
        """The day's periods, first to last."""
        found = (p for p in self.periods if p.counts(month, day_class))
        return tuple(sorted(found, key=lambda p: (p.from_min, p.to_min)))

    def rates(self, month: int, day_class: str, from_min: float, to_min: float) -> frozenset[int]:
        """Every rate that counts somewhere between these two minutes of a day."""
        return frozenset(p.rate for p in self.of_day(month, day_class) if p.from_min < to_min and from_min < p.to_min)

    @property
    def knows_holidays(self) -> bool:
        """Whether a holiday is another day than the workday or the weekend that it falls on."""
        return any(
            self.of_day(m, "holiday") != self.of_day(m, other) for m in MONTHS for other in ("workday", "weekend")
        )

    def faults(self) -> Iterator[tuple[str, int, str, int, int]]:
        """("gap" or "overlap", month, kind of day, from, to): where a day is not filled, or filled twice."""
        for month in MONTHS:
            for day_class in DAY_CLASSES:
                at = 0
                for period in self.of_day(month, day_class):
                    if period.from_min > at:
                        yield "gap", month, day_class, at, period.from_min
                    elif period.from_min < at:
                        yield "overlap", month, day_class, period.from_min, min(at, period.to_min)
                    at = max(at, period.to_min)
                if at < DAY_MIN:
                    yield "gap", month, day_class, at, DAY_MIN


def minutes(written: str) -> int:
    """`"08:30"` as minutes since midnight; `"24:00"` is the day's end."""
    hour, minute = written.split(":")
    return int(hour) * 60 + int(minute)


def wall(at_min: int) -> str:
    """510 as `"08:30"`."""
    return f"{at_min // 60:02d}:{at_min % 60:02d}"
