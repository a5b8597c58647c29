"""Demand at the end of the running period, from what has flowed and what flows now (domain rule 4.10).

D = (E so far + P now x time left) / T
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from edge_agent.load.answers import CannotSay, Figure, Why
from edge_agent.load.methods.given import sane
from edge_agent.load.methods.regression import theil_sen
from edge_agent.load.views import Band


@dataclass(frozen=True, slots=True)
class ForecastRule:
    """Parameters of a release."""

    least_elapsed_s: float
    least_coverage: float
    trend_samples: int  # so many last powers say whether it falls
    trend_falls: float  # share of the power by which it must fall in the rest of the period


@dataclass(frozen=True, slots=True)
class Forecast:
    """`demand`: mean over the whole period, unit of the power; its `low` cannot be undercut any more."""

    demand: Figure
    already: float  # mean over the whole period if nothing flowed from now on
    recent: Sequence[float]  # the last powers, `sample_s` apart, with `left_s` still to come
    left_s: float
    sample_s: float
    rule: ForecastRule

    @property
    def falling(self) -> bool:
        """Going on so, the power will be lower by the release's share at the end."""
        if len(self.recent) < self.rule.trend_samples:
            return False
        line = theil_sen([k * self.sample_s for k in range(len(self.recent))], self.recent)
        if isinstance(line, CannotSay):
            return False
        return line.slope * self.left_s < -self.rule.trend_falls * abs(self.recent[-1])


def forecast(
    energy: Band, powers: Sequence[Any], *, elapsed_s: float, period_s: float, sample_s: float, coverage: float,
    cap_va: float | None, rule: ForecastRule,
) -> Forecast | CannotSay:  # fmt: skip
    """`energy`: so far in the period, power x s; `powers`: the last samples, oldest first, `sample_s` apart.

    `cap_va`: the most that can flow, the bound of what is still to come; without it nothing bounds it.
    """
    if not (sane(elapsed_s, period_s, sample_s) and 0 < elapsed_s <= period_s and sample_s > 0):
        return CannotSay(Why.NOT_POSSIBLE, "elapsed_s", elapsed_s, period_s)
    if elapsed_s < rule.least_elapsed_s:
        return CannotSay(Why.TOO_FEW, "elapsed_s", elapsed_s, rule.least_elapsed_s)
    if not (isfinite(coverage) and coverage >= rule.least_coverage):
        return CannotSay(Why.COVERAGE, "energy", coverage, rule.least_coverage)
    known = [float(p) for p in powers if isinstance(p, float | int) and sane(p)]
    if not known or not sane(*energy):
        return CannotSay(Why.NO_DATA, "powers" if not known else "energy")
    left_s, now = period_s - elapsed_s, known[-1]
    most = cap_va if cap_va is not None and isfinite(cap_va) and cap_va >= 0 else float("inf")
    demand = Figure(
        energy.low / period_s,
        (energy.value + now * left_s) / period_s,
        (energy.high + (most * left_s if left_s else 0.0)) / period_s,
        coverage,
    )
    return Forecast(demand, energy.low / period_s, known[-rule.trend_samples :], left_s, sample_s, rule)
