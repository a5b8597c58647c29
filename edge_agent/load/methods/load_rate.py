"""Heavy-load counters: how many periods, on how many days and how long in a row a load rate was above each level, and
its percentiles (domain rule 4.8). What inspectors ask for first.

Counts are of demand periods that do not overlap. `low` counts what surely was above, `high` what may have been; a run
ends where `low` is not above, and a gap ends it too. Two parts that adjoin can be put together: runs across the seam
count whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from edge_agent.load.answers import CannotSay, Figure, Why
from edge_agent.load.methods.distribution import Classes, Distribution, counted, merged, percentile
from edge_agent.load.methods.given import columns


@dataclass(frozen=True, slots=True)
class RateRule:
    """Parameters of a release. Load rates are shares of the capacity in force."""

    levels: tuple[float, ...]
    class_width: float
    top: float

    @property
    def classes(self) -> Classes:
        return Classes(self.class_width, self.top)


class Above(NamedTuple):
    """Periods above one level."""

    sure: int = 0  # N15 by `low`
    possible: int = 0  # N15 by `high`
    days: int = 0  # with at least one that is sure
    longest: int = 0
    head: int = 0  # length of the run that begins with the first period
    tail: int = 0  # of the run that goes on with the last one
    first_day: int | None = None  # with one that is sure
    last_day: int | None = None


@dataclass(frozen=True, slots=True)
class RateCount:
    """What was counted, in the order of time; `above` in the order of the release's levels."""

    archive: str = ""
    periods: int = 0
    gaps: int = 0
    above: tuple[tuple[Any, ...], ...] = ()
    low: Mapping[str, int] = field(default_factory=dict)  # distributions by class
    value: Mapping[str, int] = field(default_factory=dict)
    high: Mapping[str, int] = field(default_factory=dict)

    def at(self, level: int) -> Above:
        return Above(*self.above[level]) if level < len(self.above) else Above()


def count(
    low: Sequence[Any], value: Sequence[Any], high: Sequence[Any], days: Sequence[int], rule: RateRule,
    *, archive: str = "",
) -> RateCount | CannotSay:  # fmt: skip
    """Periods of one stretch in the order of time, with the number of the local day each belongs to; NaN is a gap."""
    rows = columns(low, value, high, days)
    if isinstance(rows, CannotSay):
        return rows
    seen = np.isfinite(rows[0]) & np.isfinite(rows[2])
    above = tuple(tuple(_above(rows[0] > level, (rows[2] > level) & seen, rows[3])) for level in rule.levels)
    row_counts = [dict(counted(Distribution(), r[seen & np.isfinite(r)].tolist(), rule.classes).counts)
                  for r in rows[:3]]  # fmt: skip
    return RateCount(archive, len(rows[0]), int((~seen).sum()), above, *row_counts)


def together(one: RateCount, later: RateCount) -> RateCount:
    """Two stretches that adjoin; another version of the archive begins anew: shares of two capacities do not add up."""
    if not one.periods or one.archive != later.archive or len(one.above) != len(later.above):
        return later if later.periods else one
    if not later.periods:
        return one
    above = tuple(
        tuple(_joined(Above(*a), Above(*b), one.periods, later.periods))
        for a, b in zip(one.above, later.above, strict=True)
    )
    rows = [
        dict(merged(Distribution(a), Distribution(b)).counts)
        for a, b in ((one.low, later.low), (one.value, later.value), (one.high, later.high))
    ]
    return RateCount(one.archive, one.periods + later.periods, one.gaps + later.gaps, above, *rows)


def rate_percentile(kept: RateCount, share: float, rule: RateRule, *, least: int = 1) -> Figure | CannotSay:
    """A percentile of the load rate: `low` of what surely was, `high` of what may have been."""
    found = [percentile(Distribution(row), share, rule.classes, least=least) for row in (kept.low, kept.high)]
    middle = percentile(Distribution(kept.value or kept.low), share, rule.classes, least=1)
    low, high = found
    if isinstance(low, CannotSay):
        return low
    if isinstance(high, CannotSay) or isinstance(middle, CannotSay):
        return CannotSay(Why.NO_DATA, "load_rate")
    return Figure(low.low, min(max(middle.value, low.low), high.high), high.high, 1 - kept.gaps / kept.periods)


# -- inside -----------------------------------------------------------------------------------------------------


def _above(sure: Any, possible: Any, days: Any) -> Above:
    n = len(sure)
    if not sure.any():
        return Above(0, int(possible.sum()))
    edges = np.flatnonzero(np.diff(np.concatenate(([False], sure, [False])).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    runs = ends - starts
    when = days[sure]
    return Above(
        int(sure.sum()), int(possible.sum()), len(np.unique(when)), int(runs.max()),
        int(runs[0]) if starts[0] == 0 else 0, int(runs[-1]) if ends[-1] == n else 0,
        int(when[0]), int(when[-1]),
    )  # fmt: skip


def _joined(a: Above, b: Above, before: int, after: int) -> Above:
    shared = a.last_day is not None and a.last_day == b.first_day
    return Above(
        a.sure + b.sure, a.possible + b.possible, a.days + b.days - shared,
        max(a.longest, b.longest, a.tail + b.head),
        before + b.head if a.head == before else a.head,
        after + a.tail if b.tail == after else b.tail,
        a.first_day if a.first_day is not None else b.first_day,
        b.last_day if b.last_day is not None else a.last_day,
    )  # fmt: skip
