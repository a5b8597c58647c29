"""What a method answers: a value with bounds and coverage, or that it cannot say, and because of what.

Plain values alone. A code never stands for a number and a number never for "unknown"; the sentences are in `words`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Figure(NamedTuple):
    """A quantity that is only known to lie between `low` and `high`, with its best `value`.

    `coverage`: share of what was to be seen that was seen. A breach rests on `low`, an all-clear on `high`.
    """

    low: float
    value: float
    high: float
    coverage: float = 1.0

    def over(self, divisor: float) -> Figure:
        return Figure(self.low / divisor, self.value / divisor, self.high / divisor, self.coverage)


class Why(StrEnum):
    """Why nothing can be said."""

    NO_DATA = "no_data"  # nothing was given
    NOT_A_NUMBER = "not_a_number"  # what was given is no number
    WRONG_SHAPE = "wrong_shape"  # what was given does not belong together
    TOO_FEW = "too_few"  # fewer days, pairs or periods than the release asks
    COVERAGE = "coverage"  # too much of the time is missing
    NO_SPREAD = "no_spread"  # always the same: nothing to tell a slope or a spread by
    TOO_SMALL = "too_small"  # energy, current or step of a register in which nothing can be told
    FACT_UNKNOWN = "fact_unknown"  # the archive does not know what this rests on
    FACT_CHANGED = "fact_changed"  # it changed meanwhile: a baseline begins anew
    OUT_OF_ORDER = "out_of_order"  # not later than what was seen before
    NOT_POSSIBLE = "not_possible"  # no network and no meter does this: a reading is wrong
    AMBIGUOUS = "ambiguous"  # it fits more than one explanation


@dataclass(frozen=True, slots=True)
class CannotSay:
    """No answer, and why: `what` names the input, `have` and `need` say how far it is from enough."""

    because: Why
    what: str = ""
    have: float | None = None
    need: float | None = None
