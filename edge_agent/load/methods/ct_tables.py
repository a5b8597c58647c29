"""What the standards say of current transformers, as data, and the noise floor that follows from it.

A comparison of two measurements cannot be finer than their errors. Between two points of the table the limit of the
lower current holds, which is the larger: nothing is promised in between [C]. Below the first point and above the last
one nothing is promised at all.
"""

from __future__ import annotations

from bisect import bisect_right
from math import hypot, isfinite

from edge_agent.load.answers import CannotSay, Why

RATIO_ERROR_PERCENT: dict[str, tuple[tuple[float, float], ...]] = {
    "0.2S": ((0.01, 0.75), (0.05, 0.35), (0.20, 0.2), (1.00, 0.2), (1.20, 0.2)),
    "0.5S": ((0.01, 1.5), (0.05, 0.75), (0.20, 0.5), (1.00, 0.5), (1.20, 0.5)),
    "0.2": ((0.05, 0.75), (0.20, 0.35), (1.00, 0.2), (1.20, 0.2)),
    "0.5": ((0.05, 1.5), (0.20, 0.75), (1.00, 0.5), (1.20, 0.5)),
    "1": ((0.05, 3.0), (0.20, 1.5), (1.00, 1.0), (1.20, 1.0)),
}
"""Limit of the ratio error, %, by the share of the rated primary current, at 25 to 100 % burden.
Source: IEC 61869-2, domain rule 2.6 [V]."""

PHASE_ERROR_MINUTES: dict[str, tuple[tuple[float, float], ...]] = {
    "0.2S": ((0.01, 30), (0.05, 15), (0.20, 10), (1.00, 10)),
    "0.5S": ((0.01, 90), (0.05, 45), (0.20, 30), (1.00, 30)),
    "0.2": ((0.05, 30), (0.20, 15), (1.00, 10)),
    "0.5": ((0.05, 90), (0.20, 45), (1.00, 30)),
    "1": ((0.05, 180), (0.20, 90), (1.00, 60)),
}
"""Limit of the phase displacement, minutes of arc. Source: as above."""

STANDARD_PRIMARIES_A: tuple[float, ...] = (
    5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 250, 300, 400, 500, 600, 750, 800, 1000, 1200, 1500, 2000, 3000,
    4000, 5000,
)  # fmt: skip
"""Rated primary currents of low-voltage transformers. Source: domain rule 2.6 [V]."""

STANDARD_SECONDARIES_A: tuple[float, ...] = (5, 1)


def ct_error_percent(accuracy_class: str, load: float) -> float | CannotSay:
    """Limit of the ratio error at `load` (share of rated primary), %."""
    table = RATIO_ERROR_PERCENT.get(accuracy_class)
    if table is None:
        return CannotSay(Why.FACT_UNKNOWN, "accuracy_class")
    if not isfinite(load):
        return CannotSay(Why.NOT_A_NUMBER, "load")
    if load < table[0][0]:
        return CannotSay(Why.TOO_SMALL, "load", load, table[0][0])
    if load > table[-1][0]:
        return CannotSay(Why.NOT_POSSIBLE, "load", load, table[-1][0])
    return table[bisect_right(table, load, key=lambda point: point[0]) - 1][1]


def noise_floor_percent(
    accuracy_class: str, load: float, *, meter_percent: float, independent_percent: float
) -> float | CannotSay:
    """What an independent measurement and the meter behind its transformers may differ by at `load`, %.

    Root of the sum of squares of the three errors. Source: domain rule 2.6.
    """
    error = ct_error_percent(accuracy_class, load)
    if isinstance(error, CannotSay):
        return error
    if not (isfinite(meter_percent) and isfinite(independent_percent)):
        return CannotSay(Why.NOT_A_NUMBER, "class")
    return hypot(error, meter_percent, independent_percent)


def standard_ratio(ratio: float, *, within: float, secondary_a: float = 5) -> tuple[float, float] | None:
    """The standard transformer (primary, secondary, A) whose ratio lies nearest, not further off than `within`.

    `secondary_a`: what the meter behind it is made for; a transformer with another one is no candidate.
    """
    if not (isfinite(ratio) and ratio > 0) or secondary_a not in STANDARD_SECONDARIES_A:
        return None
    off, primary = min((abs(p / secondary_a / ratio - 1), p) for p in STANDARD_PRIMARIES_A)
    return (primary, secondary_a) if off <= within else None
