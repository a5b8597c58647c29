"""A customer's daily peaks over months: what is taken for a step, when, and what is never learnt."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from itertools import pairwise
from math import isfinite, nan
from random import Random
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from edge_agent.load.answers import CannotSay, Why
from edge_agent.load.methods import cusum
from edge_agent.load.methods.cusum import DayPeak, StepSeen, StepTrack
from edge_agent.load.methods.kept import from_plain, to_plain
from edge_agent.load.views import Band
from tests import figures
from tests.house.tree import ROOT
from tests.released import STEP, changed

CAPACITY = 250.0


def a_day(day: int, peak: float, p95: float | None = None, kind: str = "") -> DayPeak:
    kind = kind or ("work" if day % 7 < 5 else "off")
    return DayPeak(day, kind, Band(peak, peak, peak), peak * 0.97 if p95 is None else p95)


def factory(
    days: int, *, step_day: int = 10_000, factor: float = 1.12, seed: int = 1, level: float = 230
) -> list[DayPeak]:
    """Peaks about `level` on working days and two thirds of it on the others; more by `factor` from a day on."""
    chance = Random(seed)
    return [
        a_day(d, (level if d % 7 < 5 else level * 2 / 3) * chance.gauss(1, 0.02) * (factor if d >= step_day else 1))
        for d in range(days)
    ]


def through(
    days: Iterable[DayPeak],
    *,
    rule: Any = STEP,
    track: StepTrack | None = None,
    archive: str = "7",
    restarts: bool = False,
) -> tuple[StepTrack, list[StepSeen | CannotSay]]:
    track = track or StepTrack()
    answers = []
    for day in days:
        if restarts:
            again = from_plain(StepTrack, json.loads(json.dumps(to_plain(track))))
            assert again == track
            track = again
        track, answer = cusum.seen(track, day, archive=archive, capacity_va=CAPACITY, rule=rule)
        answers.append(answer)
    return track, answers


def alarms(answers: Iterable[Any]) -> list[StepSeen]:
    return [a for a in answers if isinstance(a, StepSeen) and a.side]


def test_a_step_of_12_percent_is_found_dated_and_confirmed():
    _, answers = through(factory(160, step_day=120))
    first = alarms(answers)[0]
    assert first.side == "up"
    assert first.onset_day is not None
    assert 115 <= first.onset_day <= 121
    confirmed = [n for n, a in enumerate(answers) if isinstance(a, StepSeen) and a.confirmed]
    assert 126 <= confirmed[0] <= 130, "seven days of the new level, not fewer"
    at = answers[confirmed[0]]
    assert isinstance(at, StepSeen)
    assert at.step_day == 120
    assert at.jump == pytest.approx(1.12, abs=0.04)
    assert at.ratio is not None
    assert at.ratio.low < 1.13
    assert at.ratio.high > 1.09


@pytest.mark.parametrize(
    ("why", "changes"),
    [
        ("too small a step", {"factor": 1.07}),
        ("a drift over two months", {"drift": 60}),
        ("far below the capacity", {"level": 150}),
        ("a fall", {"factor": 0.85}),
    ],
)
def test_what_is_no_expansion_is_not_confirmed_as_one(why: str, changes: dict[str, Any]):
    drift = changes.pop("drift", 0)
    days = factory(240, **{"step_day": 10_000 if drift else 120, **changes})
    if drift:
        days = [a_day(d.day, d.peak.value * (1 + 0.15 * min(1.0, max(0, d.day - 100) / drift))) for d in days]
    _, answers = through(days)
    said = alarms(answers)
    assert said, f"{why}: nothing was suspected, so nothing was tested"
    assert not [a for a in said if a.side == "up" and a.confirmed], why


def test_a_rise_out_of_a_fall_is_found():
    days = factory(120, step_day=100, factor=0.9) + [a_day(d.day, d.peak.value * 1.15) for d in factory(150)[120:]]
    _, answers = through(days)
    up = [a for a in alarms(answers) if a.side == "up" and a.confirmed]
    assert up
    assert up[0].step_day == 120


def test_it_never_learns_while_something_is_suspected():
    rule = changed(STEP, settle_days=0)
    days = factory(200, step_day=120)
    held: Any = None
    suspicious = 0
    track = StepTrack()
    for day in days:
        before = track
        track, _ = cusum.seen(track, day, archive="7", capacity_va=CAPACITY, rule=rule)
        if track.up > 0 or track.down > 0 or track.side:
            suspicious += 1
            assert track.learnt == before.learnt
        if day.day == 122:
            held = track.learnt
    assert suspicious > 80
    assert track.learnt == held, "the new level, two months of it, is not what is normal"


def test_ordinary_days_do_not_narrow_the_baseline():
    """Were the days of a sum above zero dropped instead of waiting, the spread would shrink to nothing."""
    chance = Random(3)
    track, answers = through(
        (a_day(d, 150 + 10 * chance.gauss(0, 1), kind="work") for d in range(1500)),
        rule=changed(STEP, spread_floor=0.0, keep_days=90),
    )
    median, spread = cusum.baseline(track.learnt["work"], 0.0)
    assert median == pytest.approx(150, abs=3)
    assert 7 < spread < 13
    false = sum(1 for a, b in pairwise(answers) if _side(b) and not _side(a))
    assert false <= 10
    figures.report("step, ordinary days", days=1500, false_alarms=false, confirmed=sum(_confirmed(a) for a in answers))


def _side(answer: Any) -> str:
    return answer.side if isinstance(answer, StepSeen) else ""


def _confirmed(answer: Any) -> bool:
    return isinstance(answer, StepSeen) and answer.confirmed and answer.side == "up"


def test_another_archive_begins_anew():
    track, _ = through(factory(100))
    track, answer = cusum.seen(track, a_day(100, 280), archive="8", capacity_va=CAPACITY, rule=STEP)
    assert answer == CannotSay(Why.TOO_FEW, "days", 0.0, 28.0)
    assert track.archive == "8"
    assert sum(len(v) for v in track.learnt.values()) == 1


def test_a_restart_after_every_day_changes_nothing():
    days = factory(200, step_day=120)
    kept, once = through(days), through(days, restarts=True)
    assert kept == once
    assert alarms(kept[1])


def test_what_somebody_has_looked_at():
    track, answers = through(factory(140, step_day=120))
    assert _confirmed(answers[-1])
    normal = cusum.accepted(track, STEP)
    _, after = through(factory(260, step_day=120)[140:], track=normal)
    assert isinstance(after[0], CannotSay), "the new level is not known well enough yet"
    assert any(isinstance(a, StepSeen) for a in after)
    assert not any(_confirmed(a) for a in after)
    ordinary = cusum.dismissed(track, STEP)
    assert not ordinary.side
    assert sum(map(len, ordinary.learnt.values())) > sum(map(len, track.learnt.values()))


def test_a_rise_that_is_not_confirmed_becomes_normal():
    track, answers = through(factory(240, step_day=120, factor=1.07))
    settled = [n for n, a in enumerate(answers) if isinstance(a, StepSeen) and a.settled]
    assert settled
    assert not track.side
    assert cusum.baseline(track.learnt["work"], 0.0)[0] == pytest.approx(230 * 1.07, rel=0.02)


@pytest.mark.parametrize(
    ("peak", "day", "why"),
    [(nan, 100, Why.NOT_A_NUMBER), (float("inf"), 100, Why.NOT_A_NUMBER), (230.0, 99, Why.OUT_OF_ORDER)],
)
def test_what_is_no_day_changes_nothing(peak: float, day: int, why: Why):
    track, _ = through(factory(100))
    after, answer = cusum.seen(track, a_day(day, peak), archive="7", capacity_va=CAPACITY, rule=STEP)
    assert isinstance(answer, CannotSay)
    assert answer.because is why
    assert after == track


def test_without_spread_and_without_a_capacity_nothing_is_said():
    track = StepTrack()
    answer: Any = None
    for day in range(60):
        track, answer = cusum.seen(track, a_day(day, 100.0), archive="7", capacity_va=None, rule=STEP)
    assert answer == CannotSay(Why.NO_SPREAD, "baseline")


def test_bounds_that_are_wide_confirm_nothing():
    """Upward evidence rests on `low`: a register too coarse to tell the rise gives none."""
    days = [
        DayPeak(d.day, d.kind, Band(d.peak.value - 40, d.peak.value, d.peak.value + 40), d.p95)
        for d in factory(200, step_day=120)
    ]
    _, answers = through(days)
    assert not [a for a in alarms(answers) if a.side == "up"]
    assert any(isinstance(a, StepSeen) for a in answers)


@given(st.lists(st.one_of(st.floats(-10, 10), st.just(nan)), min_size=1, max_size=80), st.floats(0, 2))
def test_the_sums_of_a_row_are_those_of_one_day_after_the_other(z: list[float], k: float):
    found = cusum.sums(z, k)
    assert not isinstance(found, CannotSay)
    up = down = 0.0
    for n, value in enumerate(z):
        if isfinite(value):
            up, down = max(0.0, up + value - k), max(0.0, down - value - k)
        assert found[0][n] == pytest.approx(up, abs=1e-9)
        assert found[1][n] == pytest.approx(down, abs=1e-9)
    event(f"above zero at the end: {up > 0 or down > 0}")


HOLIDAYS = {"01.01", "25.03", "28.03", "01.05", "05.05", "16.05", "03.10", "25.12", "26.12"}


def year_of_g3h(factor: float) -> list[DayPeak]:
    """The paper's factory, 258.8 kVA at its yearly peak, with its seasons; more by `factor` from day 120 on."""
    rows = gzip.decompress((ROOT / "tests/data/simbench-2016-g3h.csv.gz").read_bytes()).decode().splitlines()
    days: dict[str, list[float]] = {}
    for row in rows[1:]:
        time, p, *_ = row.split(",")
        days.setdefault(time[:10], []).append(float(p))
    out = []
    for n, (date, powers) in enumerate(days.items()):
        weekday = (n + 4) % 7  # 2016 began on a Friday
        kind = "sunday" if weekday == 6 or date[:5] in HOLIDAYS else "saturday" if weekday == 5 else "work"
        ordered = sorted(p * 220 / 0.85 * (factor if n >= 120 else 1.0) for p in powers)
        out.append(a_day(n, ordered[-1], ordered[int(0.95 * len(ordered))], kind))
    return out


@pytest.mark.parametrize("factor", [1.0, 1.12, 1.20, 1.30])
def test_a_year_of_a_real_factory(factor: float):
    _, answers = through(year_of_g3h(factor))
    up = [a for a in alarms(answers) if a.side == "up" and a.confirmed]
    if factor == 1.0:
        assert len(alarms(answers)) > 10, "its seasons do look like steps"
        assert not up, "and none is confirmed"
    else:
        assert up[0].step_day == 120
    figures.report(
        "step, year of a factory", factor=factor, confirmed=bool(up), step_day=up[0].step_day or 0 if up else 0
    )


@given(
    st.dictionaries(st.sampled_from(["archive", "last_day", "learnt", "up", "x"]), st.integers() | st.text(max_size=3))
)
def test_a_state_that_does_not_fit_is_none(changes: dict[str, Any]):
    plain = {**to_plain(StepTrack("7", 5, {"work": (1.0,)})), **changes}
    made = from_plain(StepTrack, json.loads(json.dumps(plain)))
    if made is not None:
        cusum.seen(made, a_day(10**9, 1.0), archive="8", capacity_va=1.0, rule=STEP)
    event(f"taken: {made is not None}")


def test_a_fall_that_lasts_is_what_is_normal():
    track, answers = through(factory(200, step_day=120, factor=0.8))
    assert [n for n, a in enumerate(answers) if isinstance(a, StepSeen) and a.settled]
    assert cusum.baseline(track.learnt["work"], 0.0)[0] == pytest.approx(230 * 0.8, rel=0.02)
    assert not track.side
