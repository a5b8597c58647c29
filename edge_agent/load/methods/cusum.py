"""Step of a customer's daily peaks: CUSUM against a robust baseline per day class (domain rule 4.1).

    z = (x - median_c) / max(1.4826 MAD_c, floor)        S+ = max(0, S+ + z - k)        S- = max(0, S- - z - k)

An alarm is a sum above h; the onset is the first day after its sum was last zero. Upward evidence rests on a day's
`low`, downward on its `high`. Days are learnt only while nothing is suspected: those of a sum above zero wait; they are
learnt when it has come back to zero, and never after an alarm. (Dropping them instead would narrow the baseline to the
middle of its distribution, until ordinary days give alarms.)

A season drifts, equipment that is added steps: a confirmation also asks that the rise came about at once, at the day
that parts the days best in two [C].
Source: Montgomery, Introduction to Statistical Quality Control (tabular CUSUM) [M]; ARL figures of domain rule 4.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt

import numpy as np

from edge_agent.load.answers import CannotSay, Figure, Why
from edge_agent.load.methods.given import MAD_TO_SIGMA, NOTHING, column, sane
from edge_agent.load.views import Band


@dataclass(frozen=True, slots=True)
class StepRule:
    """Parameters of a release. `k`, `h` in spreads; days are valid days."""

    k: float
    h: float
    least_days: int  # before anything is judged
    least_class_days: int  # of the day's own class
    keep_days: int  # most days of one class that a baseline remembers
    spread_floor: float  # least spread, share of the capacity
    confirm_days: int
    confirm_ratio: float  # new level against the old one, median of `confirm_days`
    confirm_load: float  # 95th percentile of the load against the capacity
    confirm_jump: float  # `confirm_days` after the step against as many before it; 1: a drift is as good as a step
    settle_days: int  # a rise that this many days did not confirm is a new normal; 0: never


@dataclass(frozen=True, slots=True)
class DayPeak:
    """One local day: its largest demand (VA or W, with bounds) and the 95th percentile of its demands."""

    day: int  # number of the day, growing by one a day
    kind: str  # day class: workday, weekend, holiday
    peak: Band
    p95: float


@dataclass(frozen=True, slots=True)
class StepTrack:
    """What is remembered of one point between two days. Same unit as the peaks."""

    archive: str = ""  # version of the archive that all of it rests on
    last_day: int | None = None
    learnt: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # by day class, oldest first
    before: tuple[float, ...] = ()  # peak / median of the last days that were not suspected
    waiting: tuple[tuple[int, str, float, float], ...] = ()  # day, class, peak, peak / median: not learnt yet
    up: float = 0.0
    down: float = 0.0
    up_days: int = 0
    down_days: int = 0
    onset: int = 0  # day of the alarm's onset, or of the larger sum's
    side: str = ""  # of the alarm: "", "up", "down"
    alarm_days: int = 0  # valid days since the alarm, that day included
    since: tuple[tuple[float, float, float], ...] = ()  # last days of the step: peak low and high / median, p95
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class StepSeen:
    """Where the sums stand. `level`: mean after the change, this day's class; `ratio`: it against the median before."""

    side: str  # "", "up", "down": which sum is above h
    up: float
    down: float
    median: float
    spread: float
    onset_day: int | None
    step_day: int | None  # of an alarm: the day that parts those before from those after best
    jump: float | None  # median after it against median before it
    days: int  # in the sum
    level: Figure | None
    ratio: Figure | None
    confirmed: bool
    settled: bool  # the alarm was not confirmed: what follows is judged by the level since, or by the old one again


def seen(
    track: StepTrack, today: DayPeak, *, archive: str, capacity_va: float | None, rule: StepRule
) -> tuple[StepTrack, StepSeen | CannotSay]:
    """One valid day after the other; a day that cannot be judged leaves the sums where they are."""
    if track.archive != archive:
        track = StepTrack(archive=archive)
    if not sane(*today.peak):
        return track, CannotSay(Why.NOT_A_NUMBER, "peak")
    if track.last_day is not None and today.day <= track.last_day:
        return track, CannotSay(Why.OUT_OF_ORDER, "day", today.day, track.last_day + 1)
    track = replace(track, last_day=today.day)
    floor = rule.spread_floor * capacity_va if capacity_va is not None and sane(capacity_va) else 0.0
    known = sum(len(v) for v in track.learnt.values())
    own = track.learnt.get(today.kind, ())
    if known < rule.least_days or len(own) < max(1, rule.least_class_days):
        few = (known, rule.least_days) if known < rule.least_days else (len(own), max(1, rule.least_class_days))
        said = CannotSay(Why.TOO_FEW, "days", *map(float, few))
        if track.up > 0 or track.down > 0 or track.side:
            return track, said  # a rare day class is not learnt while another one is suspected either
        return _learn(track, [(today.day, today.kind, today.peak.value)], rule), said
    median, spread = baseline(own, floor)
    if spread < NOTHING:
        return _learn(track, [(today.day, today.kind, today.peak.value)], rule), CannotSay(Why.NO_SPREAD, "baseline")
    return _judge(track, today, median, spread, capacity_va, rule)


def baseline(values: Sequence[float], floor: float) -> tuple[float, float]:
    """Median and spread, never under `floor`."""
    ordered = sorted(values)
    median = _median(ordered)
    return median, max(MAD_TO_SIGMA * _median(sorted(abs(v - median) for v in ordered)), floor)


def sums(z: Sequence[float], k: float) -> tuple[list[float], list[float]] | CannotSay:
    """S+ and S- of a whole row at once, a gap (NaN) holding both where they are."""
    row = column(z, "z")
    if isinstance(row, CannotSay):
        return row
    gap = ~np.isfinite(row)

    def one(rise: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
        # S = C - min(0, all C so far), C the running sum: the recursion without its loop.
        running = np.cumsum(np.where(gap, 0.0, rise))
        return [float(s) for s in running - np.minimum(np.minimum.accumulate(running), 0.0)]

    return one(row - k), one(-row - k)


def dismissed(track: StepTrack, rule: StepRule) -> StepTrack:
    """Somebody has looked: there was no step. Its days were ordinary ones, and are learnt as such."""
    return _learn(StepTrack(track.archive, track.last_day, track.learnt), _plain(track.waiting), rule)


def accepted(track: StepTrack, rule: StepRule) -> StepTrack:
    """Somebody has looked: the new level is what is agreed. It becomes the baseline."""
    fresh = StepTrack(track.archive, track.last_day)
    return _learn(fresh, _plain(w for w in track.waiting if w[0] >= track.onset), rule)


# -- inside -----------------------------------------------------------------------------------------------------


def _judge(
    track: StepTrack, today: DayPeak, median: float, spread: float, capacity_va: float | None, rule: StepRule
) -> tuple[StepTrack, StepSeen | CannotSay]:
    up = max(0.0, track.up + (today.peak.low - median) / spread - rule.k)
    down = max(0.0, track.down - (today.peak.high - median) / spread - rule.k)
    up_days, down_days = track.up_days + 1 if up > 0 else 0, track.down_days + 1 if down > 0 else 0
    side = "up" if track.side == "up" or up > rule.h else "down" if track.side or down > rule.h else ""
    if side != track.side:
        track = replace(track, alarm_days=0, confirmed=False)  # a rise out of a fall is an alarm of its own
    leads_up = side == "up" or (not side and up >= down)
    onset = track.onset
    if not side or side != track.side:
        onset = _onset([*(w[0] for w in track.waiting), today.day], up_days if leads_up else down_days)
    track = replace(
        track, up=up, down=down, up_days=up_days, down_days=down_days, side=side, onset=onset,
        alarm_days=track.alarm_days + 1 if side else 0,
        waiting=(*track.waiting, (today.day, today.kind, today.peak.value, _ratio(today.peak.value, median)))[
            -_room(rule) :
        ],
        since=(*track.since, _against(today, median))[-rule.confirm_days :] if up > 0 or down > 0 or side else (),
    )  # fmt: skip
    days = up_days if leads_up else down_days
    shift = (rule.k + (up if leads_up else down) / days) * (1 if leads_up else -1) if days else 0.0
    level = None
    if days:
        mean, error = median + spread * shift, spread / sqrt(days)
        level = Figure(mean - error, mean, mean + error)
    step_day, jump = _parted(track, rule) if side else (None, None)
    track = replace(track, confirmed=track.confirmed or _confirms(track, days, jump, capacity_va, rule))
    ratio = level.over(median) if level is not None and median > NOTHING else None
    # Nobody is asked about a fall: once it has lasted for a baseline of its own, it is one.
    lasts = rule.least_days if side == "down" else 0 if track.confirmed else rule.settle_days
    settled = bool(side) and 0 < lasts <= track.alarm_days
    onset_day = onset if days or side else None
    answer = StepSeen(
        side, up, down, median, spread, onset_day, step_day, jump, days, level, ratio, track.confirmed, settled
    )
    if settled:
        return _settle(track, rule), answer
    if not side and up == 0.0 and down == 0.0:
        before = (*track.before, *(w[3] for w in track.waiting))[-rule.confirm_days :]
        return _learn(replace(track, waiting=(), before=before), _plain(track.waiting), rule), answer
    return track, answer


def _onset(days: Sequence[int], in_sum: int) -> int:
    """The first day of a sum that has been above zero for so many valid days."""
    return days[max(0, len(days) - in_sum)] if in_sum else 0


def _against(today: DayPeak, median: float) -> tuple[float, float, float]:
    p95 = today.p95 if sane(today.p95) else 0.0  # unknown confirms nothing
    return _ratio(today.peak.low, median), _ratio(today.peak.high, median), p95


def _ratio(peak: float, median: float) -> float:
    return peak / median if median > NOTHING else 0.0


def _parted(track: StepTrack, rule: StepRule) -> tuple[int, float | None]:
    """The day that parts the days best in two, and the jump there; too few days on a side: no jump yet.

    The best parting is that of largest variance between both sides.
    """
    ratios = (*track.before, *(w[3] for w in track.waiting))
    first, n, least = len(track.before), len(ratios), max(1, rule.confirm_days)
    whole, left, best, at = sum(ratios), 0.0, -1.0, first
    for k in range(1, n):
        left += ratios[k - 1]
        between = (left / k - (whole - left) / (n - k)) ** 2 * k * (n - k)
        if k >= first and between > best:
            best, at = between, k
    after, before = ratios[at : at + least], ratios[max(0, at - least) : at]
    middle = _median(sorted(before))
    jump = (
        _median(sorted(after)) / middle
        if len(after) == least and len(before) * 2 >= least and middle > NOTHING
        else None
    )
    return track.waiting[at - first][0], jump


def _confirms(track: StepTrack, days: int, jump: float | None, capacity_va: float | None, rule: StepRule) -> bool:
    """The last days all belong to the step, their median says so, and it came about at once."""
    if not track.side or len(track.since) < rule.confirm_days or days < rule.confirm_days:
        return False
    if jump is None:
        return False
    if track.side == "down":
        at_once = jump <= 1 / rule.confirm_jump
        return at_once and _median(sorted(s[1] for s in track.since)) <= 1 / rule.confirm_ratio
    if capacity_va is None or not capacity_va > 0 or jump < rule.confirm_jump:
        return False
    loaded = _median(sorted(s[2] for s in track.since)) > rule.confirm_load * capacity_va
    return loaded and _median(sorted(s[0] for s in track.since)) >= rule.confirm_ratio


def _settle(track: StepTrack, rule: StepRule) -> StepTrack:
    """Not confirmed in time: back at the old level the old baseline goes on, else the days since are the new one."""
    low, high = (_median(sorted(s[i] for s in track.since)) for i in (0, 1))
    if not (low <= 1.0 if track.side == "up" else high >= 1.0):
        return accepted(track, rule)
    lately = track.waiting[-rule.confirm_days :]  # those by which it is back; the ones before may be of the step
    return _learn(StepTrack(track.archive, track.last_day, track.learnt), _plain(lately), rule)


def _learn(track: StepTrack, days: Sequence[tuple[int, str, float]], rule: StepRule) -> StepTrack:
    learnt = dict(track.learnt)
    for _, kind, peak in days:
        learnt[kind] = (*learnt.get(kind, ()), peak)[-rule.keep_days :]
    return replace(track, learnt=learnt)


def _plain(waiting: Iterable[tuple[int, str, float, float]]) -> list[tuple[int, str, float]]:
    return [w[:3] for w in waiting]


def _room(rule: StepRule) -> int:
    """Days that may wait: enough for a baseline of their own."""
    return max(2 * rule.keep_days, rule.settle_days, rule.least_days)


def _median(ordered: Sequence[float]) -> float:
    n = len(ordered)
    if not n:
        return 0.0
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
