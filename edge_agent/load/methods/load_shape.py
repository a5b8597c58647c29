"""Does a customer's load look like the class in the contract? (domain rule 4.7)

The mean working day and the mean day off of 28 days, slot by slot, each by the mean over all, against the shapes that
the utility has loaded for its classes: cosine of the angle between them. The answer is which class is nearest and by
how much; it asks for a look at the archive, never more. Weeks are remembered apart, so that the oldest can go.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

import numpy as np

from edge_agent.load.answers import CannotSay, Why
from edge_agent.load.methods.given import Floats, column


@dataclass(frozen=True, slots=True)
class ShapeRule:
    """Parameters of a release. Hours are local; slots are demand periods of the day."""

    weeks: int
    least_days: int
    least_day_coverage: float
    night_from_h: float
    night_to_h: float
    evening_from_h: float
    evening_to_h: float
    margin: float  # by which another class must be nearer


@dataclass(frozen=True, slots=True)
class ShapeTrack:
    """Weeks, oldest first: its number and days counted; `sums` and `counts` hold for each week in turn the slots of
    its working days, then those of its days off."""

    archive: str = ""
    slots: int = 0
    last_day: int | None = None
    weeks: tuple[tuple[int, int], ...] = ()
    peak: tuple[float, ...] = ()  # largest mean of one period, by week
    sums: array[float] = field(default_factory=lambda: array("f"))  # a shape needs no more, and it takes half of it
    counts: array[int] = field(default_factory=lambda: array("B"))


@dataclass(frozen=True, slots=True)
class Features:
    """Shares of the energy, and ratios; None where no such day was seen or nothing flowed on it."""

    night: float
    evening: float
    work_by_off: float | None  # mean of a working day against that of a day off
    load_factor: float


@dataclass(frozen=True, slots=True)
class ShapeAnswer:
    """`margin`: similarity of `best` less that of the contracted class; `differs`: at least what the release asks."""

    best: str
    contracted: str
    similarity: Mapping[str, float]
    margin: float
    differs: bool
    features: Features
    days: int


def add_day(
    track: ShapeTrack, day: int, powers: Sequence[Any], *, off: bool, archive: str, rule: ShapeRule
) -> ShapeTrack | CannotSay:
    """One local day of demands, W; NaN is a gap. `off`: a weekend or a holiday."""
    row = column(powers, "powers")
    if isinstance(row, CannotSay):
        return row
    if track.archive != archive or track.slots not in {0, len(row)}:
        track = ShapeTrack(archive)
    if track.last_day is not None and day <= track.last_day:
        return CannotSay(Why.OUT_OF_ORDER, "day", day, track.last_day + 1)
    good = np.isfinite(row)
    if good.mean() < rule.least_day_coverage:
        return CannotSay(Why.COVERAGE, "powers", float(good.mean()), rule.least_day_coverage)
    week, n = day // 7, len(row)
    weeks = [w for w in track.weeks if w[0] > week - rule.weeks]
    gone = len(track.weeks) - len(weeks)
    peaks = list(track.peak[gone:])
    sums, counts = np.array(track.sums[gone * 2 * n :], np.float64), np.array(track.counts[gone * 2 * n :], np.uint8)
    if not weeks or weeks[-1][0] != week:
        weeks.append((week, 0))
        peaks.append(0.0)
        sums, counts = np.append(sums, np.zeros(2 * n)), np.append(counts, np.zeros(2 * n, np.uint8))
    begin = len(sums) - (n if off else 2 * n)
    sums[begin : begin + n] += np.where(good, row, 0.0)
    counts[begin : begin + n] += good
    weeks[-1], peaks[-1] = (week, weeks[-1][1] + 1), max(peaks[-1], float(row[good].max()))
    return replace(
        track, archive=archive, slots=n, last_day=day, weeks=tuple(weeks), peak=tuple(peaks),
        sums=array("f", sums.astype(np.float32).tobytes()), counts=array("B", counts.tobytes()),
    )  # fmt: skip


def judge(
    track: ShapeTrack, contracted: str | None, classes: Mapping[str, Sequence[Any]], rule: ShapeRule
) -> ShapeAnswer | CannotSay:
    """`classes`: per class the slots of a working day, then those of a day off, in any unit."""
    if not classes:
        return CannotSay(Why.FACT_UNKNOWN, "class_shapes")
    if contracted is None or contracted not in classes:
        return CannotSay(Why.FACT_UNKNOWN, "contracted_class")
    days = sum(w[1] for w in track.weeks)
    if days < rule.least_days:
        return CannotSay(Why.TOO_FEW, "days", float(days), float(rule.least_days))
    n = track.slots
    sums = np.array(track.sums, np.float64).reshape(-1, 2 * n).sum(axis=0)
    counts = np.array(track.counts, np.int64).reshape(-1, 2 * n).sum(axis=0)
    if (counts[:n] == 0).any():
        return CannotSay(Why.COVERAGE, "working_days")
    seen = counts > 0
    mean = np.where(seen, sums / np.maximum(counts, 1), 0.0)
    if not mean.sum() > 0:
        return CannotSay(Why.TOO_SMALL, "load", float(mean.sum()))
    similarity: dict[str, float] = {}
    for name, shape in classes.items():
        made = column(shape, name)
        if isinstance(made, CannotSay):
            return made
        if len(made) != 2 * n or not np.isfinite(made).all():
            return CannotSay(Why.WRONG_SHAPE, name, float(len(made)), float(2 * n))
        similarity[name] = _cosine(mean[seen], made[seen])
    best = max(similarity, key=lambda name: (similarity[name], name == contracted))
    margin = similarity[best] - similarity[contracted]
    differs = best != contracted and margin >= rule.margin
    return ShapeAnswer(best, contracted, similarity, margin, differs, _features(mean, seen, track, rule), days)


def _cosine(one: Floats, other: Floats) -> float:
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    made = float(one @ other) / size if size > 0 else 0.0
    return made if isfinite(made) else 0.0


def _features(mean: Floats, seen: Any, track: ShapeTrack, rule: ShapeRule) -> Features:
    n = track.slots
    hour = np.arange(n) * 24 / n
    work, off = mean[:n], mean[n:]
    off_known = bool(seen[n:].all()) and off.sum() > 0
    # A week as it is lived: five working days and two off.
    week = 5 * work + 2 * off if bool(seen[n:].all()) else work
    late, early = hour >= rule.night_from_h, hour < rule.night_to_h
    night = late | early if rule.night_from_h > rule.night_to_h else late & early
    evening = (hour >= rule.evening_from_h) & (hour < rule.evening_to_h)
    return Features(
        float(week[night].sum() / week.sum()),
        float(week[evening].sum() / week.sum()),
        float(work.mean() / off.mean()) if off_known else None,
        float(week.mean() / (7 if bool(seen[n:].all()) else 1) / max(track.peak)) if max(track.peak) > 0 else 0.0,
    )
