"""Shares and rates with what is not known about them."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, lgamma, log


def share(hits: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a share; (0, 1) where nothing was counted."""
    if of == 0:
        return 0.0, 1.0
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else _root(lambda p: 1 - _binomial(hits - 1, of, p) - tail, rising=True)
    high = 1.0 if hits == of else _root(lambda p: _binomial(hits, of, p) - tail, rising=False)
    return low, high


def rate_bound(count: int, exposure: float, level: float = 0.95) -> float:
    """One-sided upper bound of a rate of so many in so much, Poisson."""
    if exposure <= 0:
        return float("inf")
    low, high = 0.0, 10.0 + 4.0 * count
    for _ in range(60):
        middle = (low + high) / 2
        if sum(exp(-middle + k * log(middle) - lgamma(k + 1)) for k in range(count + 1)) > 1 - level:
            low = middle
        else:
            high = middle
    return high / exposure


def median(values: list[float]) -> float | None:
    if not values:
        return None
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _binomial(k: int, n: int, p: float) -> float:
    """Chance of at most k of n."""
    if p <= 0:
        return 1.0
    if p >= 1:
        return 1.0 if k >= n else 0.0
    return sum(
        exp(lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) + i * log(p) + (n - i) * log(1 - p)) for i in range(k + 1)
    )


def _root(f: Callable[[float], float], *, rising: bool) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if (f(middle) < 0) == rising:
            low = middle
        else:
            high = middle
    return (low + high) / 2
