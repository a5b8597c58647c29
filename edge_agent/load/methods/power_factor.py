"""Power factor of a month, 月平均功率因数: cos phi = Wp / sqrt(Wp^2 + Wq^2) on energies (1983 rule, domain rule 2.4).

Energies of the periods add up with their bounds; import of active energy against what counts as reactive. Which
quadrants count is the meter's setting and the ledger's business: reverse reactive comes in by its absolute value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from math import hypot, inf

from edge_agent.load.answers import CannotSay, Figure, Why
from edge_agent.load.methods.given import sane
from edge_agent.load.views import Band


@dataclass(frozen=True, slots=True)
class FactorMonth:
    """What has flowed since the month began, Wh and varh, and for how much of the time that is known."""

    month: str = ""
    active_low: float = 0.0
    active: float = 0.0
    active_high: float = 0.0
    reactive_low: float = 0.0
    reactive: float = 0.0
    reactive_high: float = 0.0
    seconds: float = 0.0
    seen_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FactorAnswer:
    """`rounded`: to two digits, half up, as it is billed; `sure`: both bounds round to it."""

    factor: Figure
    rounded: Decimal
    sure: bool


def add(
    kept: FactorMonth, month: str, active: Band | None, reactive: Band | None, *, seconds: float
) -> FactorMonth | CannotSay:
    """Energy of one more period of `seconds`; None, and anything that is no number, is time without knowledge."""
    if not (sane(seconds) and seconds > 0):
        return CannotSay(Why.NOT_POSSIBLE, "seconds", seconds)
    if kept.month != month:
        kept = FactorMonth(month)
    if active is None or reactive is None or not sane(*active, *reactive) or min(*active, *reactive) < 0:
        return replace(kept, seconds=kept.seconds + seconds)
    return FactorMonth(
        month,
        kept.active_low + active.low, kept.active + active.value, kept.active_high + active.high,
        kept.reactive_low + reactive.low, kept.reactive + reactive.value, kept.reactive_high + reactive.high,
        kept.seconds + seconds, kept.seen_s + seconds,
    )  # fmt: skip


def power_factor(kept: FactorMonth, *, least_coverage: float, least_wh: float) -> FactorAnswer | CannotSay:
    """The month so far; without energy there is no factor."""
    if kept.seconds <= 0:
        return CannotSay(Why.NO_DATA, "energy")
    coverage = kept.seen_s / kept.seconds
    if coverage < least_coverage:
        return CannotSay(Why.COVERAGE, "energy", coverage, least_coverage)
    if not kept.active > max(0.0, least_wh):
        return CannotSay(Why.TOO_SMALL, "active", kept.active, least_wh)
    low = _factor(kept.active_low, kept.reactive_high)
    value, high = _factor(kept.active, kept.reactive), _factor(kept.active_high, kept.reactive_low)
    figure = Figure(low, value, high, coverage)
    return FactorAnswer(figure, half_up(value), half_up(low) == half_up(value) == half_up(high))


def half_up(value: float) -> Decimal:
    """Two digits, 0.895 up: the tenth digit is where a binary fraction ends to mean something."""
    return Decimal(repr(round(value, 10))).quantize(Decimal("0.01"), ROUND_HALF_UP)


def _factor(active: float, reactive: float) -> float:
    whole = hypot(active, reactive)
    return 0.0 if whole in {0.0, inf} else active / whole
