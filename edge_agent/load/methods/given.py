"""What a caller gives, as arrays: rows of floats in, or the reason why it is none. Never raises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.load.answers import CannotSay, Why

Floats = NDArray[np.float64]
Row = Sequence[Any] | Floats

LARGEST = 1e15
"""No quantity of a network is larger, in any unit that is used here: what is counts as a gap, and no sum overflows."""

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution by its median absolute deviation: 1 / quantile(3/4)."""

NOTHING = 1e-9
"""Smaller than any unit is read to: as a divisor it tells nothing."""


def column(values: Row, what: str = "") -> Floats | CannotSay:
    """One row of numbers; None, NaN and what no network has are gaps and become NaN."""
    try:
        made = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        return CannotSay(Why.NOT_A_NUMBER, what)
    if made.ndim != 1:
        return CannotSay(Why.WRONG_SHAPE, what, float(made.ndim), 1.0)
    if not made.size:
        return CannotSay(Why.NO_DATA, what)
    return np.where(np.abs(made) <= LARGEST, made, np.nan)


def sane(*values: float) -> bool:
    """Numbers all of them, and none larger than a network has."""
    # A loop, since this is asked more often than anything else; NaN compares false.
    for value in values:  # noqa: SIM110
        if not -LARGEST <= value <= LARGEST:
            return False
    return True


def columns(*rows: Row) -> list[Floats] | CannotSay:
    """Rows that belong together: of one length."""
    out: list[Floats] = []
    for index, row in enumerate(rows):
        made = column(row, f"row {index}")
        if isinstance(made, CannotSay):
            return made
        if out and len(made) != len(out[0]):
            return CannotSay(Why.WRONG_SHAPE, f"row {index}", float(len(made)), float(len(out[0])))
        out.append(made)
    return out if out else CannotSay(Why.NO_DATA)


def robust_sigma(values: Floats) -> float:
    """Spread by the median absolute deviation: half of the values may be anything."""
    return MAD_TO_SIGMA * float(np.median(np.abs(values - np.median(values))))
