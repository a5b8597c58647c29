"""Total register against the sum of its rate registers, read together (domain rule 3.3).

Each register drops what lies under its last digit, so the sum of n rates can lie n steps under the total and one above.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.load.answers import CannotSay, Figure, Why
from edge_agent.load.methods.given import sane


@dataclass(frozen=True, slots=True)
class RatesRule:
    """Parameters of a release; the unit of the registers."""

    least: float  # a difference up to here is none
    apart_s: float  # readings further apart than this are not of one instant


@dataclass(frozen=True, slots=True)
class RatesAnswer:
    """`difference`: total less sum, with what truncation leaves open; `fits`: within `limit`."""

    difference: Figure
    limit: float
    fits: bool


def total_against_rates(
    total: float, rates: Sequence[Any], *, step: float, spread_s: float, rule: RatesRule
) -> RatesAnswer | CannotSay:
    """`step`: of the registers; `spread_s`: from the first to the last of these readings. A rate not read is None."""
    if not rates:
        return CannotSay(Why.NO_DATA, "rates")
    given = [float(r) for r in rates if isinstance(r, float | int) and not isinstance(r, bool) and sane(r)]
    if len(given) < len(rates) or not (sane(total, step) and step >= 0):
        return CannotSay(Why.NOT_A_NUMBER, "rates", float(len(given)), float(len(rates)))
    if not spread_s <= rule.apart_s:
        return CannotSay(Why.OUT_OF_ORDER, "rates", spread_s, rule.apart_s)
    difference = total - sum(given)
    limit = max(rule.least, (len(given) + 1) * step)
    # A register's last digit is exact; the sum of binary fractions is not.
    fits = abs(difference) <= limit + 1e-9 * abs(total)
    return RatesAnswer(Figure(difference - len(given) * step, difference, difference + step), limit, fits)
