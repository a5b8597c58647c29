"""Whatever numbers come, a method answers or says why it cannot, and what it keeps can be stored."""

from __future__ import annotations

import json
import os
from math import isfinite
from typing import Any

import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from edge_agent.load.answers import CannotSay
from edge_agent.load.methods import cusum, hot_spot, load_shape, phases, power_factor, power_integral, sum_check
from edge_agent.load.methods.cusum import DayPeak, StepTrack
from edge_agent.load.methods.forecast import forecast
from edge_agent.load.methods.hot_spot import HotSpotTrack
from edge_agent.load.methods.kept import from_plain, to_plain
from edge_agent.load.methods.load_rate import RateCount, count, rate_percentile, together
from edge_agent.load.methods.load_shape import ShapeTrack
from edge_agent.load.methods.power_factor import FactorMonth
from edge_agent.load.methods.power_integral import PaceTrack, Stretch
from edge_agent.load.methods.powers import apparent_va, line_current_a, power_factor_at
from edge_agent.load.methods.register_sanity import Shown, passage
from edge_agent.load.methods.side_by_side import PairTrack, add
from edge_agent.load.methods.sum_check import SumTrack
from edge_agent.load.methods.sum_of_rates import total_against_rates
from edge_agent.load.views import Band
from tests.released import (
    FORECAST,
    PACE,
    PHASE,
    RATE,
    RATES,
    SANITY,
    SHAPE,
    SMALL_OIL,
    STEP,
    SUM,
    changed,
)

wild = st.one_of(st.floats(), st.floats(-500, 500), st.sampled_from([0.0, 1e-320, 1e15, 1.7e308, -1.7e308]))
band = st.builds(Band, wild, wild, wild)
three = st.lists(wild, min_size=3, max_size=3)
few = settings(
    max_examples=int(os.environ.get("EDGE_PROVE_METHODS", "40")), phases=[Phase.explicit, Phase.generate], deadline=None
)
"""As they come, not the smallest: thousands of wild numbers are slow to make small."""

QUICK = {"least_days": 3, "least_class_days": 1, "settle_days": 5, "confirm_days": 2}


def kept(state: Any) -> Any:
    """What is kept holds no number that JSON does not know."""
    text = json.dumps(to_plain(state), allow_nan=False)
    again = from_plain(type(state), json.loads(text))
    assert again == state
    return again


def noted(answer: Any) -> None:
    event(answer.because.value if isinstance(answer, CannotSay) else type(answer).__name__)


@few
@given(st.lists(st.tuples(band, wild, wild), max_size=30))
def test_steps(days: list[tuple[Band, float, float]]):
    track, rule = StepTrack(), changed(STEP, **QUICK)
    for n, (peak, p95, capacity) in enumerate(days):
        track, answer = cusum.seen(
            kept(track), DayPeak(n, "work", peak, p95), archive="7", capacity_va=capacity, rule=rule
        )
        noted(answer)
    kept(cusum.accepted(track, rule))
    kept(cusum.dismissed(track, rule))


@few
@given(st.lists(st.builds(Stretch, wild, wild, wild, wild, wild, wild, wild), max_size=20))
def test_stretches(stretches: list[Stretch]):
    track = PaceTrack()
    for stretch in stretches:
        made = power_integral.add(kept(track), stretch, archive="7")
        track = made if isinstance(made, PaceTrack) else track
        noted(power_integral.pace(track, PACE))


@few
@given(st.lists(st.tuples(wild, band, st.lists(band, max_size=3), wild, wild), max_size=20))
def test_sums(days: list[tuple[float, Band, list[Band], float, float]]):
    track, rule = SumTrack(), changed(SUM, least_days=3)
    for n, (hours, main, subs, coverage, skew) in enumerate(days):
        track, answer = sum_check.seen(
            kept(track), n, hours, main, subs, coverage=coverage, skew=skew, archive="7", rule=rule
        )
        noted(answer)


@few
@given(st.lists(three, min_size=4, max_size=40))
def test_attribution(rows: list[list[float]]):
    noted(sum_check.attribute([r[0] for r in rows], [[r[1] for r in rows], [r[2] for r in rows]], errors=3.0))


@few
@given(st.lists(st.tuples(band, wild, wild), max_size=20))
def test_heat(steps: list[tuple[Band, float, float]]):
    track = HotSpotTrack()
    for load, ambient, minutes in steps:
        made = hot_spot.step(kept(track), load, ambient, minutes, SMALL_OIL)
        track = made if isinstance(made, HotSpotTrack) else track
        noted(hot_spot.hot_spot(track))
    noted(hot_spot.run(HotSpotTrack(), [s[0].value for s in steps], [s[1] for s in steps], 15.0, SMALL_OIL))


@few
@given(three, three, three, three, wild, wild)
def test_phases(u: list[float], i: list[float], pf: list[float], p: list[float], total: float, rated_a: float):
    noted(phases.consistency(u, i, pf, p, total, rated_a=rated_a, rule=PHASE))
    for measure in (phases.spread_unbalance, phases.mean_deviation, phases.negative_sequence):
        measure(u)
    phases.phase_sequence(u, within_deg=15)


@few
@given(st.lists(st.lists(wild, min_size=4, max_size=4), max_size=35), st.lists(wild, min_size=8, max_size=8))
def test_shapes(days: list[list[float]], shape: list[float]):
    track: Any = ShapeTrack()
    for n, powers in enumerate(days):
        made = load_shape.add_day(kept(track), n, powers, off=n % 7 >= 5, archive="7", rule=SHAPE)
        track = made if isinstance(made, ShapeTrack) else track
    noted(load_shape.judge(track, "a", {"a": shape, "b": [1.0, 2.0] * 4}, changed(SHAPE, least_days=1)))


@few
@given(st.lists(st.tuples(wild, wild, wild, st.integers(0, 400)), min_size=1, max_size=40))
def test_counts(rows: list[tuple[float, float, float, int]]):
    low, value, high, days = zip(*rows, strict=True)
    made = count(low, value, high, sorted(days), RATE)
    assert isinstance(made, RateCount)
    noted(rate_percentile(kept(together(made, made)), 0.95, RATE))


@few
@given(band, st.lists(wild, max_size=8), wild, wild, wild, wild)
def test_forecasts(energy: Band, powers: list[float], elapsed: float, period: float, sample: float, cap: float):
    noted(
        forecast(
            energy, powers, elapsed_s=elapsed, period_s=period, sample_s=sample, coverage=1.0, cap_va=cap, rule=FORECAST
        )
    )


@few
@given(st.lists(st.tuples(band, band, wild), max_size=10))
def test_months(periods: list[tuple[Band, Band, float]]):
    month = FactorMonth()
    for active, reactive, seconds in periods:
        made = power_factor.add(kept(month), "2026-03", active, reactive, seconds=seconds)
        month = made if isinstance(made, FactorMonth) else month
        noted(power_factor.power_factor(month, least_coverage=0.0, least_wh=0.0))


@few
@given(wild, wild, wild, wild, wild, wild)
def test_two_readings(last: float, new: float, step: float, k: float, cap: float, modulus: float):
    shown = Shown(0, last, step, "1"), Shown(900_000, new, step, "1")
    noted(passage(*shown, k=k, s_cap_va=cap, modulus=modulus, rule=SANITY))
    noted(total_against_rates(last, [new, step], step=step, spread_s=0.0, rule=RATES))


@few
@given(wild, wild, wild)
def test_working_points(active: float, reactive: float, volts: float):
    made = apparent_va(active, reactive)
    noted(made)
    if not isinstance(made, CannotSay):
        line_current_a(made, volts)
    power_factor_at(active, volts)


@few
@given(st.lists(st.tuples(wild, wild), max_size=20))
def test_pairs(pairs: list[tuple[float, float]]):
    track = PairTrack()
    for x, y in pairs:
        track = add(kept(track), x, y, hour="day", archive="7", keep_pairs=5)
    assert len(kept(track).x) == min(5, len(pairs))


@pytest.mark.parametrize(
    "kind", [StepTrack, PaceTrack, SumTrack, HotSpotTrack, ShapeTrack, RateCount, FactorMonth, PairTrack]
)
def test_a_fresh_state_is_kept_as_it_is(kind: Any):
    assert kept(kind()) == kind()
    assert from_plain(kind, {}) is None
    assert from_plain(kind, None) is None
    assert from_plain(kind, {**to_plain(kind()), "more": 1}) is None
    assert all(isfinite(v) for v in to_plain(kind()).values() if isinstance(v, float))
