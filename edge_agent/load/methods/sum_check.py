"""Main meter against the sum of its sub-meters: is the loss what it always was? (domain rule 4.4)

    loss = E_main - sum(E_sub)        expected = a T + b E_main^2 / T        (no-load part and copper part)

a and b are learnt from the point's own days, both never below zero, by least squares without the days that lie far off;
sigma is the spread of the residuals. A day that is off is never learnt, nor is any while days in a row are off. All
energies in one unit, primary side, of one day or other period of T hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import sqrt
from typing import Any

import numpy as np

from edge_agent.load.answers import CannotSay, Figure, Why
from edge_agent.load.methods.given import Floats, columns, robust_sigma, sane
from edge_agent.load.views import Band


class Balance(StrEnum):
    KEEPS = "keeps"
    OVER = "over"  # more is missing than was learnt
    NEGATIVE = "negative"  # the subs count more than the main: a ratio or a direction is wrong
    BETWEEN = "between"


@dataclass(frozen=True, slots=True)
class SumRule:
    """Parameters of a release."""

    least_days: int
    keep_days: int
    sigmas: float
    margin: float  # share of the main's energy
    negative: float  # share of the main's energy that the subs may count more
    least_coverage: float


@dataclass(frozen=True, slots=True)
class SumTrack:
    archive: str = ""
    last_day: int | None = None
    days: tuple[tuple[float, float, float], ...] = ()  # hours, main, loss
    off_days: int = 0  # in a row


@dataclass(frozen=True, slots=True)
class SumAnswer:
    balance: Balance
    loss: Figure
    expected: float
    sigma: float
    share: float  # loss of the main's energy
    off_days: int


def seen(
    track: SumTrack, day: int, hours: float, main: Band, subs: Sequence[Band], *,
    coverage: float, skew: float = 0.0, archive: str, rule: SumRule,
) -> tuple[SumTrack, SumAnswer | CannotSay]:  # fmt: skip
    """One period. `skew`: energy by which clocks that differ can shift the balance, see `skew_energy`."""
    if track.archive != archive:
        track = SumTrack(archive)
    numbers = (hours, coverage, skew, *main, *(v for band in subs for v in band))
    if not sane(*numbers):
        return track, CannotSay(Why.NOT_A_NUMBER, "energy")
    if not subs or hours <= 0:
        return track, CannotSay(Why.NO_DATA, "subs" if not subs else "hours")
    if track.last_day is not None and day <= track.last_day:
        return track, CannotSay(Why.OUT_OF_ORDER, "day", day, track.last_day + 1)
    track = replace(track, last_day=day)
    if coverage < rule.least_coverage:
        return track, CannotSay(Why.COVERAGE, "energy", coverage, rule.least_coverage)
    if main.value <= 0:
        return track, CannotSay(Why.TOO_SMALL, "main", main.value, 0.0)
    loss = Figure(
        main.low - sum(s.high for s in subs) - abs(skew),
        main.value - sum(s.value for s in subs),
        main.high - sum(s.low for s in subs) + abs(skew),
        coverage,
    )
    floor = -rule.negative * main.value
    if len(track.days) < rule.least_days:
        known = CannotSay(Why.TOO_FEW, "days", float(len(track.days)), float(rule.least_days))
        if loss.high < floor:
            track = replace(track, off_days=track.off_days + 1)
            return track, SumAnswer(Balance.NEGATIVE, loss, 0.0, 0.0, loss.value / main.value, track.off_days)
        return _learn(track, hours, main.value, loss.value, rule), known
    no_load, copper, sigma = fitted(track.days, sigmas=rule.sigmas)
    expected = no_load * hours + copper * main.value**2 / hours
    limit = expected + max(rule.sigmas * sigma, rule.margin * main.value)
    if loss.high < floor:
        balance = Balance.NEGATIVE
    elif loss.low > limit:
        balance = Balance.OVER
    else:
        balance = Balance.KEEPS if loss.high <= limit and loss.low >= floor else Balance.BETWEEN
    off = balance in {Balance.OVER, Balance.NEGATIVE}
    off_days = track.off_days + 1 if off else 0 if balance is Balance.KEEPS else track.off_days
    answer = SumAnswer(balance, loss, expected, sigma, loss.value / main.value, off_days)
    track = replace(track, off_days=off_days)
    if balance is Balance.KEEPS:
        track = _learn(track, hours, main.value, loss.value, rule)
    return track, answer


def fitted(days: Sequence[tuple[float, float, float]], *, sigmas: float) -> tuple[float, float, float]:
    """No-load part per hour, copper factor, spread of what is left: from (hours, main, loss).

    Days further off than `sigmas` spreads are left out, and the rest fitted again.
    """
    hours, main, loss = (np.array(c, np.float64) for c in zip(*days, strict=True))
    copper = main**2 / hours
    keep = np.ones(len(loss), np.bool_)
    a = b = sigma = 0.0
    for _ in range(3):
        a, b = _not_negative(hours[keep], copper[keep], loss[keep])
        rest = loss - a * hours - b * copper
        sigma = robust_sigma(rest)
        near = np.abs(rest - np.median(rest)) <= sigmas * max(sigma, 1e-12 * float(np.abs(loss).max()))
        if near.sum() < 3 or bool((near == keep).all()):
            break
        keep = near
    return a, b, sigma


def skew_energy(skew_s: float, power_start: float, power_end: float) -> float:
    """Energy that a clock off by `skew_s` moves across both ends of a period: W in, Wh out."""
    return abs(skew_s) / 3600 * abs(power_end - power_start)


@dataclass(frozen=True, slots=True)
class Share:
    """How much of what flows through one sub-meter the main meter sees per unit that it counts."""

    factor: Figure  # above 1: it counts too little; with three standard errors
    sub: int


def attribute(main: Sequence[Any], subs: Sequence[Sequence[Any]], *, errors: float) -> list[Share] | CannotSay:
    """The main regressed on all subs: a factor above 1 points at the meter that counts too little.

    Source: Yip et al. 2017, multiple linear regression (domain rule 4.2).
    """
    rows = columns(main, *subs)
    if isinstance(rows, CannotSay):
        return rows
    if len(rows) < 2:
        return CannotSay(Why.NO_DATA, "subs")
    whole = np.column_stack(rows)
    whole = whole[np.isfinite(whole).all(axis=1)]
    n, m = len(whole), len(rows) - 1
    if n < 3 * m + 3:
        return CannotSay(Why.TOO_FEW, "periods", float(n), float(3 * m + 3))
    design = np.column_stack((whole[:, 1:], np.ones(n)))
    scale = np.abs(design).max(axis=0)
    if not (scale > 0).all():
        return CannotSay(Why.NO_SPREAD, "subs")
    solution, _, rank, _ = np.linalg.lstsq(design / scale, whole[:, 0], rcond=1e-9)
    if rank < m + 1:
        return CannotSay(Why.AMBIGUOUS, "subs", float(rank), float(m + 1))
    rest = whole[:, 0] - design / scale @ solution
    variance = float(rest @ rest) / (n - m - 1) * np.diag(np.linalg.inv((design / scale).T @ (design / scale)))
    out = []
    for i in range(m):
        value, error = float(solution[i] / scale[i]), errors * sqrt(max(0.0, float(variance[i]))) / float(scale[i])
        out.append(Share(Figure(value - error, value, value + error, n / len(rows[0])), i))
    return out


def _not_negative(hours: Floats, copper: Floats, loss: Floats) -> tuple[float, float]:
    """Least squares with both parts at least zero: the free solution, or the better of the two edges."""
    hh, hc, cc = float(hours @ hours), float(hours @ copper), float(copper @ copper)
    hl, cl = float(hours @ loss), float(copper @ loss)
    det = hh * cc - hc * hc
    if det > 1e-9 * hh * cc:
        a, b = (hl * cc - cl * hc) / det, (cl * hh - hl * hc) / det
        if a >= 0 and b >= 0:
            return a, b
    edges = [(max(0.0, hl / hh), 0.0), (0.0, max(0.0, cl / cc) if cc > 0 else 0.0)]
    return min(edges, key=lambda e: float(((loss - e[0] * hours - e[1] * copper) ** 2).sum()))


def _learn(track: SumTrack, hours: float, main: float, loss: float, rule: SumRule) -> SumTrack:
    return replace(track, days=(*track.days, (hours, main, loss))[-rule.keep_days :])
