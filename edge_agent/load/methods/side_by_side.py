"""An independent current transformer beside the meter: do both see the same current? (domain rule 4.2)

Pairs of interval means of one phase, the meter's with K of the archive. The line y = a + b x tells what differs: a
factor (another ratio than the archive's, or a part of the current that never reaches the meter), a constant (a load
that is not metered), or now and then one of the two. What fits two explanations is said to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np

from edge_agent.load.answers import CannotSay, Figure, Why
from edge_agent.load.methods.ct_tables import standard_ratio
from edge_agent.load.methods.given import Floats, columns, sane
from edge_agent.load.methods.regression import Line, theil_sen


class Agreement(StrEnum):
    """What the pairs look like; an explanation to be checked on site, never an accusation."""

    GOOD = "good"
    RATIO = "ratio"  # one factor, and it is that of another standard transformer
    CONSTANT = "constant"  # a constant current that the meter does not see
    SHUNT = "shunt"  # a part of the current, not that of a standard ratio, does not reach the meter
    INTERMITTENT = "intermittent"  # at times they agree, at times current is not seen by the meter
    LESS = "less"  # the independent one sees less: look at how it is placed first


@dataclass(frozen=True, slots=True)
class PairRule:
    """Parameters of a release. Shares of the rated primary current where nothing else is said."""

    least_pairs: int
    least_spread: float  # between the 2.5th and the 97.5th percentile of x
    slope_margin: float  # plus what the classes allow
    intercept_margin: float
    errors: float  # so many standard errors are a difference
    ratio_r2: float  # from here on one factor explains all
    snap: float  # a ratio this near to a standard one is that one
    modes_apart: float  # distance of two groups of residuals, in spreads within the groups
    mode_share: float  # least share of either group
    exact_pairs: int  # up to here all slopes are taken


@dataclass(frozen=True, slots=True)
class PairAnswer:
    """`slope`, `intercept_a`: with `errors` standard errors; `unseen_a`: current beside the meter, while it flows."""

    kind: Agreement
    slope: Figure
    intercept_a: Figure
    r2: float
    pairs: int
    ratio: float | None  # archive's ratio times slope, where a factor is what differs
    standard: tuple[float, float] | None  # the standard transformer it snaps to, primary and secondary A
    unseen_a: Figure | None
    unseen_share: float  # of the pairs


class PairTrack(msgspec.Struct, frozen=True):
    """The pairs of one phase since the last judgement, in the order of time; None is a gap."""

    archive: str = ""
    x: tuple[float | None, ...] = ()
    y: tuple[float | None, ...] = ()
    hours: tuple[str, ...] = ()


def add(
    track: PairTrack, x: float | None, y: float | None, *, hour: str, archive: str, keep_pairs: int
) -> PairTrack:  # fmt: skip
    """One more pair; the oldest go, and all of them where the archive has changed: they rest on another ratio."""
    if track.archive != archive:
        track = PairTrack(archive)
    keep = max(1, keep_pairs)
    return PairTrack(
        archive, (*track.x, _known(x))[-keep:], (*track.y, _known(y))[-keep:], (*track.hours, hour)[-keep:]
    )


def compare(
    x: Sequence[Any],
    y: Sequence[Any],
    *,
    rated_a: float | None,
    ratio: float | None,
    class_sum: float,
    rule: PairRule,
    hours: Sequence[str] | None = None,
) -> PairAnswer | CannotSay:
    """`x`: the meter's primary A; `y`: the independent one's, same windows, in the order of time; NaN is a gap.

    `rated_a`, `ratio`: of the current transformer in the archive. `class_sum`: what the accuracy classes allow the two
    to differ by, share. `hours`: class of each pair's hour, for loads that come and go with the hour.
    """
    if rated_a is None or ratio is None or not (sane(rated_a, ratio) and rated_a > 0 and ratio > 0):
        return CannotSay(Why.FACT_UNKNOWN, "ct")
    rows = columns(x, y)
    if isinstance(rows, CannotSay):
        return rows
    if hours is not None and len(hours) != len(rows[0]):
        return CannotSay(Why.WRONG_SHAPE, "hours", float(len(hours)), float(len(rows[0])))
    both = np.isfinite(rows[0]) & np.isfinite(rows[1])
    meter, independent = rows[0][both], rows[1][both]
    coverage = float(both.mean())
    least = max(3, rule.least_pairs)
    if len(meter) < least:
        return CannotSay(Why.TOO_FEW, "pairs", float(len(meter)), float(least))
    margin_a = rule.intercept_margin * rated_a
    kinds = None if hours is None else np.asarray([str(h) for h in hours])[both]
    by_hour = None if kinds is None else _by_hour(meter, independent, kinds, margin_a, class_sum, rule)
    spread = float(np.subtract(*np.quantile(meter, (0.975, 0.025))))
    if spread < rule.least_spread * rated_a:
        return CannotSay(Why.NO_SPREAD, "x", spread / rated_a, rule.least_spread)
    line = theil_sen(meter, independent, exact_pairs=rule.exact_pairs)
    if isinstance(line, CannotSay):
        return line
    found = by_hour or _modes(independent - meter, line, margin_a, class_sum * rated_a, rule)
    if found is not None:
        low, high, share = found
        return _answer(Agreement.INTERMITTENT, line, coverage, rule, unseen=(low, high), share=share)
    return _straight(line, ratio, round(rated_a / ratio, 6), margin_a, class_sum, coverage, rule)


def _straight(
    line: Line, ratio: float, secondary_a: float, margin_a: float, class_sum: float, coverage: float, rule: PairRule
) -> PairAnswer | CannotSay:
    """One line for all pairs: factor, constant, both or none."""
    off_slope = abs(line.slope - 1) > max(rule.errors * line.slope_se, rule.slope_margin + class_sum)
    off_constant = abs(line.intercept) > max(rule.errors * line.intercept_se, margin_a)
    constant = (line.intercept - rule.errors * line.intercept_se, line.intercept + rule.errors * line.intercept_se)
    snapped = standard_ratio(ratio * line.slope, within=rule.snap, secondary_a=secondary_a)
    other = snapped is not None and abs(snapped[0] / snapped[1] / ratio - 1) > rule.snap
    if not off_slope and not off_constant:
        return _answer(Agreement.GOOD, line, coverage, rule)
    if not off_slope:
        if line.intercept < 0:
            return _answer(Agreement.LESS, line, coverage, rule)
        return _answer(Agreement.CONSTANT, line, coverage, rule, unseen=constant, share=1.0)
    if line.r2 > rule.ratio_r2 and other and line.intercept >= -margin_a:
        return _answer(
            Agreement.RATIO, line, coverage, rule, ratio=ratio * line.slope, standard=snapped,
            unseen=constant if off_constant else None, share=1.0 if off_constant else 0.0,
        )  # fmt: skip
    if line.slope > 1 and line.intercept >= -margin_a:
        return _answer(Agreement.SHUNT, line, coverage, rule, ratio=ratio * line.slope)
    if line.slope < 1 and not off_constant:
        return _answer(Agreement.LESS, line, coverage, rule, ratio=ratio * line.slope)
    return CannotSay(Why.AMBIGUOUS, "line", line.slope, line.intercept)


def _answer(
    kind: Agreement,
    line: Line,
    coverage: float,
    rule: PairRule,
    *,
    ratio: float | None = None,
    standard: tuple[float, float] | None = None,
    unseen: tuple[float, float] | None = None,
    share: float = 0.0,
) -> PairAnswer:
    b, a = rule.errors * line.slope_se, rule.errors * line.intercept_se
    figure = None if unseen is None else Figure(unseen[0], sum(unseen) / 2, unseen[1], coverage)
    return PairAnswer(
        kind, Figure(line.slope - b, line.slope, line.slope + b, coverage),
        Figure(line.intercept - a, line.intercept, line.intercept + a, coverage),
        line.r2, line.pairs, ratio, standard, figure, share,
    )  # fmt: skip


def _known(value: float | None) -> float | None:
    return value if value is not None and sane(value) else None


def _modes(
    unseen: Floats, line: Line, margin_a: float, class_a: float, rule: PairRule
) -> tuple[float, float, float] | None:
    """Two groups of differences, one of them about zero: their distance (low, high) and the share of the upper one."""
    if line.r2 > rule.ratio_r2 and abs(line.slope - 1) > rule.slope_margin:
        return None  # one factor explains all: at two levels of load it makes two groups as well
    cut = two_groups(unseen)
    if cut is None:
        return None
    lower, upper = unseen[unseen <= cut], unseen[unseen > cut]
    share = len(upper) / len(unseen)
    within = max(float(lower.std()), float(upper.std()))
    apart = float(upper.mean() - lower.mean())
    fits = min(share, 1 - share) >= rule.mode_share and abs(float(lower.mean())) <= margin_a + class_a
    if not fits or apart <= margin_a + class_a or apart < rule.modes_apart * within:
        return None
    return apart - within, apart + within, share


def two_groups(values: Floats) -> float | None:
    """The value at and under which the lower group lies, such that both groups are as narrow as they can be.

    The exact best split of one row in two (largest variance between the groups). Source: Otsu 1979, on values
    instead of a histogram.
    """
    ordered = np.sort(values)
    n = len(ordered)
    if n < 2 or ordered[0] == ordered[-1]:
        return None
    count = np.arange(1, n)
    left = np.cumsum(ordered)[:-1]
    between = (left / count - (ordered.sum() - left) / (n - count)) ** 2 * count * (n - count)
    return float(ordered[int(np.argmax(between))])


def _by_hour(
    meter: Floats, independent: Floats, kinds: Any, margin_a: float, class_sum: float, rule: PairRule
) -> tuple[float, float, float] | None:
    """In some hours both agree, in others current is missing: by the median difference, whatever the load's spread."""
    unseen = independent - meter
    allowed = np.maximum(margin_a, (rule.slope_margin + class_sum) * meter)
    good, off = [], []
    for kind in np.unique(kinds):
        here = kinds == kind
        if here.mean() < rule.mode_share:
            continue
        middle = float(np.median(unseen[here]))
        limit = float(np.median(allowed[here]))
        if abs(middle) <= limit:
            good.append((kind, float(np.median(meter[here])), middle))
        elif middle > limit:
            off.append((kind, float(np.quantile(unseen[here], 0.25)), float(np.quantile(unseen[here], 0.75))))
    # A factor shows where the load is high and hides where it is low: hours agree only at a load that would show it.
    loaded = max((load for _, load, _ in good), default=0.0)
    if not good or not off:
        return None
    telling = [
        (low, high, kind) for kind, low, high in off
        if low / max(float(np.median(meter[kinds == kind])), 1e-9) * loaded > margin_a
    ]  # fmt: skip
    if not telling:
        return None
    share = sum(float((kinds == kind).mean()) for _, _, kind in telling)
    return min(t[0] for t in telling), max(t[1] for t in telling), share
