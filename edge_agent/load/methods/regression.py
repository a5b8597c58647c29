"""A straight line y = a + b x through pairs: least squares, Theil-Sen, Huber, each with standard errors.

Theil-Sen takes the median slope of all pairs of pairs: up to 29 % of them may be anything. Above `exact_pairs` it takes
the slopes over evenly spread distances in x instead of all, the same ones every time. Interval means follow one another
and so do their residuals: errors are widened by the residuals' own correlation (as many pairs as are worth something),
so that a run of equal deviations is not taken for many independent ones.
Sources: Sen 1968 (median slope); Huber 1981, k = 1.345 (95 % efficiency at the normal distribution) [M].
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np

from edge_agent.load.answers import CannotSay, Why
from edge_agent.load.methods.given import Floats, Row, columns, robust_sigma


@dataclass(frozen=True, slots=True)
class Line:
    """y = intercept + slope x; intercept and `sigma` (residuals) in the unit of y."""

    slope: float
    intercept: float
    slope_se: float
    intercept_se: float
    r2: float
    sigma: float
    pairs: int


def least_squares(x: Row, y: Row) -> Line | CannotSay:
    """The textbook line; one wrong pair can turn it."""
    pairs = clean(x, y)
    if isinstance(pairs, CannotSay):
        return pairs
    slope, intercept = _weighted(*pairs, np.ones(len(pairs[0])))
    rest = _rest(*pairs, slope, intercept)
    sigma = sqrt(float(rest @ rest) / max(1, len(rest) - 2))
    return _line(*pairs, slope, intercept, sigma, 1.0, 1.0)


def theil_sen(x: Row, y: Row, *, exact_pairs: int = 1000) -> Line | CannotSay:
    """The median slope, and the intercept that halves the residuals. Pairs with a gap are left out."""
    pairs = clean(x, y)
    if isinstance(pairs, CannotSay):
        return pairs
    slope = _median_slope(*pairs, exact_pairs)
    intercept = float(np.median(pairs[1] - slope * pairs[0]))
    rest = _rest(*pairs, slope, intercept)
    # The median's own error at the normal distribution is sqrt(pi / 2) of the mean's.
    return _line(*pairs, slope, intercept, robust_sigma(rest), _worth(rest), sqrt(pi / 2))


def huber(x: Row, y: Row, *, tuning: float = 1.345, rounds: int = 50, exact_pairs: int = 1000) -> Line | CannotSay:
    """Least squares in which a residual above `tuning` spreads counts no more than one of that size."""
    start = theil_sen(x, y, exact_pairs=exact_pairs)
    pairs = clean(x, y)
    if isinstance(start, CannotSay) or isinstance(pairs, CannotSay):
        return start
    slope, intercept = start.slope, start.intercept
    for _ in range(rounds):
        rest = _rest(*pairs, slope, intercept)
        sigma = robust_sigma(rest)
        if sigma <= 0:  # more than half lie on the line: nothing to weigh by
            break
        before = slope, intercept
        slope, intercept = _weighted(*pairs, np.minimum(1.0, tuning * sigma / np.maximum(np.abs(rest), 1e-300)))
        if np.allclose((slope, intercept), before, rtol=1e-10, atol=1e-12 * sigma):
            break
    rest = _rest(*pairs, slope, intercept)
    return _line(*pairs, slope, intercept, robust_sigma(rest), _worth(rest), 1.0)


def clean(x: Row, y: Row) -> tuple[Floats, Floats] | CannotSay:
    """The pairs that have both values, three or more of them, in which x is not always the same."""
    rows = columns(x, y)
    if isinstance(rows, CannotSay):
        return rows
    both = np.isfinite(rows[0]) & np.isfinite(rows[1])
    left, right = rows[0][both], rows[1][both]
    if len(left) < 3:
        return CannotSay(Why.TOO_FEW, "pairs", float(len(left)), 3.0)
    if not np.ptp(left) > max(1e-9 * float(np.abs(left).max()), 1e-12):
        return CannotSay(Why.NO_SPREAD, "x")
    return left, right


# -- inside -----------------------------------------------------------------------------------------------------


def _median_slope(x: Floats, y: Floats, exact_pairs: int) -> float:
    n = len(x)
    if n <= exact_pairs:
        i, j = np.triu_indices(n, 1)
    else:
        order = np.argsort(x, kind="stable")
        distances = np.unique(np.linspace(n // 8, n - 1, max(3, exact_pairs * exact_pairs // (2 * n))).astype(np.int64))
        i = np.concatenate([order[: n - d] for d in distances])
        j = np.concatenate([order[d:] for d in distances])
    run = x[j] - x[i]
    apart = np.abs(run) > max(1e-9 * float(np.abs(x).max()), 1e-12)
    return float(np.median((y[j][apart] - y[i][apart]) / run[apart]))


def _weighted(x: Floats, y: Floats, weight: Floats) -> tuple[float, float]:
    whole = float(weight.sum())
    mid_x, mid_y = float(weight @ x) / whole, float(weight @ y) / whole
    across = x - mid_x
    slope = float((weight * across) @ (y - mid_y)) / float((weight * across) @ across)
    return slope, mid_y - slope * mid_x


def _rest(x: Floats, y: Floats, slope: float, intercept: float) -> Floats:
    return np.asarray(y - intercept - slope * x, np.float64)


def _worth(rest: Floats) -> float:
    """Share of the pairs that count: (1 - r) / (1 + r) at the residuals' lag-one correlation r, never above 1."""
    apart = rest - np.median(rest)
    power = float(apart @ apart)
    r = float(apart[1:] @ apart[:-1]) / power if power > 0 else 0.0
    r = min(max(r, 0.0), 0.98)
    return (1 - r) / (1 + r)


def _line(x: Floats, y: Floats, slope: float, intercept: float, sigma: float, worth: float, widen: float) -> Line:
    across = x - x.mean()
    spread = float(across @ across) * worth
    rest = _rest(x, y, slope, intercept)
    whole = y - y.mean()
    power = float(whole @ whole)
    r2 = 1.0 - float(rest @ rest) / power if power > 0 else 0.0
    intercept_se = widen * sigma * sqrt(1 / (len(x) * worth) + float(x.mean()) ** 2 / spread)
    return Line(slope, intercept, sigma / sqrt(spread), intercept_se, max(0.0, r2), sigma, len(x))
