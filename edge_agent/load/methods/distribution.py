"""How often a ratio was how large: counts in equal classes, from which percentiles follow with bounds.

Exact to one class, the same in whatever order the values come, and two parts add up to the whole: days can be counted
apart and put together. Memory is bounded by the number of classes, whatever the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, isfinite
from typing import Any

import numpy as np

from edge_agent.load.answers import CannotSay, Figure, Why
from edge_agent.load.methods.given import column


@dataclass(frozen=True, slots=True)
class Classes:
    """Classes of `width` from zero to `top`; what lies above counts in the last one, what lies below in the first."""

    width: float
    top: float

    @property
    def count(self) -> int:
        return max(1, ceil(self.top / self.width - 1e-9))


@dataclass(frozen=True, slots=True)
class Distribution:
    """Counts by class number, as text (JSON has no other keys); gaps are counted, and judged by none."""

    counts: Mapping[str, int] = field(default_factory=dict)
    gaps: int = 0

    @property
    def values(self) -> int:
        return sum(self.counts.values())


def counted(kept: Distribution, values: Sequence[Any], classes: Classes) -> Distribution:
    """The values added; None and NaN are gaps. What is no row of numbers adds nothing."""
    row = column(values)
    if isinstance(row, CannotSay):
        return kept
    good = row[np.isfinite(row)]
    # A value right on a border belongs to the class above it, whatever the last bit of the division says.
    place = np.clip(np.floor(good / classes.width + 1e-9), 0, classes.count - 1).astype(np.int64)
    numbers, times = np.unique(place, return_counts=True)
    fresh = dict(zip((str(n) for n in numbers.tolist()), times.tolist(), strict=True))
    return merged(kept, Distribution(fresh, len(row) - len(good)))


def merged(one: Distribution, other: Distribution) -> Distribution:
    counts = dict(one.counts)
    for key, times in other.counts.items():
        counts[key] = counts.get(key, 0) + times
    return Distribution(counts, one.gaps + other.gaps)


def percentile(kept: Distribution, share: float, classes: Classes, *, least: int = 1) -> Figure | CannotSay:
    """The least value that `share` of the values do not exceed, between the borders of its class."""
    n = kept.values
    if n < max(1, least):
        return CannotSay(Why.TOO_FEW, "values", float(n), float(max(1, least)))
    if not (isfinite(share) and 0 < share <= 1):
        return CannotSay(Why.NOT_POSSIBLE, "share", share)
    rank, passed = ceil(share * n - 1e-9), 0
    for key in sorted(kept.counts, key=int):
        passed += kept.counts[key]
        if passed >= rank:
            low = int(key) * classes.width
            high = float("inf") if int(key) == classes.count - 1 else low + classes.width
            return Figure(low, low + classes.width / 2, high, n / (n + kept.gaps))
    return CannotSay(Why.NO_DATA, "values")
