"""Three phases that must fit together: P against U I cos phi, unbalance, sequence (domain rules 2.7, 4.6).

Where one element of a meter is lost or a current transformer is reversed, the total power is short by what that phase
carries, or by twice that. For a balanced load this gives 2/3, 1/3, -1/3; with the measured shares of the phases it is
said of any load, and which phase it is as far as the shares tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from math import isfinite, sqrt
from typing import Any

import numpy as np

from edge_agent.load.answers import CannotSay, Figure, Why
from edge_agent.load.methods.given import LARGEST, Floats, sane


class Pattern(StrEnum):
    """What a total power ratio looks like, 疑似错接线: to be checked on site."""

    FITS = "fits"
    ONE_LOST = "one_lost"  # 2/3 of a balanced load
    ONE_REVERSED = "one_reversed"  # 1/3
    TWO_REVERSED = "two_reversed"  # -1/3
    ALL_REVERSED = "all_reversed"  # -1
    NONE = "none"  # off, and like none of these


_SIGNS: dict[Pattern, list[tuple[int, ...]]] = {
    Pattern.FITS: [(1, 1, 1)],
    Pattern.ONE_LOST: [s for s in product((1, 0), repeat=3) if sum(s) == 2],
    Pattern.ONE_REVERSED: [s for s in product((1, -1), repeat=3) if s.count(-1) == 1],
    Pattern.TWO_REVERSED: [s for s in product((1, -1), repeat=3) if s.count(-1) == 2],
    Pattern.ALL_REVERSED: [(-1, -1, -1)],
}
_PATTERNS = [pattern for pattern, signs in _SIGNS.items() for _ in signs]
_WIRINGS = np.array([s for signs in _SIGNS.values() for s in signs], np.float64)


@dataclass(frozen=True, slots=True)
class PhaseRule:
    """Parameters of a release. Shares."""

    tolerance: float  # of the ratio, classes included
    least_current: float  # of the rated current: below, a phase tells nothing
    least_pf: float
    pattern_within: float  # a pattern this near is named
    silent_share: float  # a phase that tells nothing may carry so much of the power, and the total still be judged


@dataclass(frozen=True, slots=True)
class PhasePower:
    """Ratio of the power shown to U I cos phi; phases L1, L2, L3. None: too little current or too low a cos phi."""

    total: float
    phases: tuple[float | None, float | None, float | None]
    fits: bool
    pattern: Pattern
    at: tuple[str, ...]  # the phases that it points at; of several that fit alike, none


def consistency(
    u: Sequence[Any], i: Sequence[Any], pf: Sequence[Any], p: Sequence[Any], p_total: float, *,
    rated_a: float | None, rule: PhaseRule,
) -> PhasePower | CannotSay:  # fmt: skip
    """One instant: V, A, cos phi and W of the phases, and the total W shown; all of one side of the transformers.

    A phase's own W may be absent (None); currents are taken without the sign that some meters give them.
    """
    found = series([u], [i], [pf], [p], [p_total], rated_a=rated_a, rule=rule)
    return found if isinstance(found, CannotSay) else found[0]


def series(
    u: Any, i: Any, pf: Any, p: Any, p_total: Any, *, rated_a: float | None, rule: PhaseRule
) -> list[PhasePower | CannotSay] | CannotSay:
    """Many instants at once: n rows of three phases each."""
    if rated_a is None or not (sane(rated_a) and rated_a > 0):
        return CannotSay(Why.FACT_UNKNOWN, "rated_a")
    try:
        volts, amps, cos, watts = (_clean(a) for a in (u, i, pf, p))
        shown = _clean(p_total)
    except (TypeError, ValueError):
        return CannotSay(Why.NOT_A_NUMBER, "phases")
    if any(a.ndim != 2 or a.shape[1] != 3 or len(a) != len(shown) for a in (volts, amps, cos, watts)):
        return CannotSay(Why.WRONG_SHAPE, "phases")
    amps, cos = np.abs(amps), np.abs(cos)
    product_w = volts * amps * cos
    whole = product_w.sum(axis=1)
    tells = (amps > rule.least_current * rated_a) & (cos > rule.least_pf) & (product_w > 0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        total = shown / whole
        each = np.where(tells, watts / product_w, np.nan)
        would = product_w / whole[:, None] @ _WIRINGS.T
        off = np.abs(would - total[:, None])
    known = np.isfinite(whole) & np.isfinite(shown)
    # A phase that tells nothing by itself still moves the total.
    silent = ~tells & (product_w > rule.silent_share * whole[:, None])
    mute = np.asarray(silent.any(axis=1), np.bool_)
    some = np.asarray(tells.any(axis=1), np.bool_)
    rows = zip(
        known.tolist(), some.tolist(), mute.tolist(), total.tolist(), each.tolist(), off, strict=True
    )  # fmt: skip
    return [_told(*row, rule=rule) for row in rows]


def _clean(values: Any) -> Floats:
    made = np.asarray(values, np.float64)
    return np.where(np.abs(made) <= LARGEST, made, np.nan)


def _told(
    known: bool, tells: bool, mute: bool, total: float, each: list[float], off: Any, *, rule: PhaseRule
) -> PhasePower | CannotSay:
    if not known:
        return CannotSay(Why.NOT_A_NUMBER, "phases")
    if not tells or mute:
        return CannotSay(Why.TOO_SMALL, "phase" if tells else "current")
    ratios = [r if isfinite(r) else None for r in each]
    fits = abs(total - 1) <= rule.tolerance
    pattern, at = (Pattern.FITS, ()) if fits else _nearest(off.tolist(), rule)
    return PhasePower(total, (ratios[0], ratios[1], ratios[2]), fits, pattern, at)


def _nearest(off: Sequence[float], rule: PhaseRule) -> tuple[Pattern, tuple[str, ...]]:
    """The pattern that is nearest, and its phases where only one choice of them is near."""
    near = [k for k in range(1, len(_PATTERNS)) if off[k] <= rule.pattern_within]
    if not near:
        return Pattern.NONE, ()
    best = min(near, key=lambda k: off[k])
    same = [k for k in near if _PATTERNS[k] is _PATTERNS[best]]
    if len(same) > 1:
        return _PATTERNS[best], ()
    return _PATTERNS[best], tuple(f"L{j + 1}" for j in range(3) if _WIRINGS[best][j] < 1)


def spread_unbalance(values: Sequence[Any]) -> Figure | CannotSay:
    """(max - min) / max, as meters and terminals have it (Q/GDW 1354 [M])."""
    row = _three(values)
    if isinstance(row, CannotSay):
        return row
    made = (max(row) - min(row)) / max(row)
    return Figure(made, made, made)


def mean_deviation(values: Sequence[Any]) -> Figure | CannotSay:
    """Largest deviation from the mean, by the mean (NEMA MG 1)."""
    row = _three(values)
    if isinstance(row, CannotSay):
        return row
    mean = sum(row) / 3
    made = max(abs(v - mean) for v in row) / mean
    return Figure(made, made, made)


def negative_sequence(line_voltages: Sequence[Any]) -> Figure | CannotSay:
    """Negative by positive sequence voltage from three line voltages (IEC 61000-4-30), share."""
    row = _three(line_voltages)
    if isinstance(row, CannotSay):
        return row
    a, b, c = (v / max(row) for v in row)
    if max(row) > sum(row) - max(row):
        return CannotSay(Why.NOT_POSSIBLE, "triangle")
    beta = (a**4 + b**4 + c**4) / (a**2 + b**2 + c**2) ** 2
    root = sqrt(max(0.0, 3 - 6 * beta))
    made = min(1.0, sqrt(max(0.0, 1 - root) / (1 + root)))
    return Figure(made, made, made)


class Sequence3(StrEnum):
    """Order in which the phases follow one another."""

    ABC = "abc"
    ACB = "acb"


def phase_sequence(angles_deg: Sequence[Any], *, within_deg: float, lagging: bool = True) -> Sequence3 | CannotSay:
    """From the angles of three voltages or currents. `lagging`: a meter counts them as lag (0, 120, 240 is ABC)."""
    if len(angles_deg) != 3:
        return CannotSay(Why.WRONG_SHAPE, "angles", float(len(angles_deg)), 3.0)
    try:
        angles = [float(a) for a in angles_deg]
    except (TypeError, ValueError):
        return CannotSay(Why.NOT_A_NUMBER, "angles")
    if not sane(*angles):
        return CannotSay(Why.NOT_A_NUMBER, "angles")
    steps = [(angles[(k + 1) % 3] - angles[k]) % 360 for k in range(3)]
    if all(abs(step - 120) <= within_deg for step in steps):
        return Sequence3.ABC if lagging else Sequence3.ACB
    if all(abs(step - 240) <= within_deg for step in steps):
        return Sequence3.ACB if lagging else Sequence3.ABC
    return CannotSay(Why.AMBIGUOUS, "angles")


def _three(values: Sequence[Any]) -> list[float] | CannotSay:
    try:
        row = [float(v) for v in values]
    except (TypeError, ValueError):
        return CannotSay(Why.NOT_A_NUMBER, "phases")
    if len(row) != 3:
        return CannotSay(Why.WRONG_SHAPE, "phases", float(len(row)), 3.0)
    if not sane(*row) or min(row) < 0:
        return CannotSay(Why.NOT_A_NUMBER, "phases")
    return row if max(row) > 1e-9 else CannotSay(Why.TOO_SMALL, "phases", max(row))
