"""An independent current transformer beside the meter: what the pairs say, and what they cannot say."""

from __future__ import annotations

from math import nan
from random import Random
from time import process_time
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from edge_agent.load.answers import CannotSay, Why
from edge_agent.load.methods.regression import huber, least_squares, theil_sen
from edge_agent.load.methods.side_by_side import Agreement, PairAnswer, compare
from tests import figures
from tests.released import PAIR, changed

RATED_A, RATIO = 400.0, 80.0
FACTS: dict[str, Any] = {"rated_a": RATED_A, "ratio": RATIO, "class_sum": 0.02, "rule": PAIR}


def a_day(seed: int, n: int = 96, low: float = 80.0, high: float = 340.0) -> list[float]:
    """A working day by quarters of an hour: night, day, and something of its own in every one."""
    chance = Random(seed)
    return [(low + (high - low) * (0.1 + 0.8 * (28 <= q % 96 < 76))) * chance.gauss(1, 0.08) for q in range(n)]


def beside(x: list[float], seed: int, *, factor: float = 1.0, extra: Any = None, error: float = 0.01) -> list[float]:
    """What an independent transformer of class 1 shows: a constant error of its own, and noise of each mean."""
    chance = Random(1000 + seed)
    own = 1 + chance.uniform(-error, error)
    return [(v * factor + (0.0 if extra is None else extra(q))) * own * chance.gauss(1, 0.004) for q, v in enumerate(x)]


def told(x: list[float], y: list[float], **changes: Any) -> PairAnswer:
    made = compare(x, y, **{**FACTS, **changes})
    assert isinstance(made, PairAnswer), made
    return made


SEEDS = range(20)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_good_pair(seed: int):
    x = a_day(seed)
    made = told(x, beside(x, seed))
    assert made.kind is Agreement.GOOD
    assert made.slope.low < 1.02
    assert made.slope.high > 0.98


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("true_primary", "factor"), [(600, 1.5), (500, 1.25), (300, 0.75), (200, 0.5)])
def test_another_ratio_than_the_archives(seed: int, true_primary: int, factor: float):
    x = a_day(seed)
    made = told(x, beside(x, seed, factor=factor))
    assert (made.kind, made.standard, made.unseen_a) == (Agreement.RATIO, (true_primary, 5), None)


@pytest.mark.parametrize("seed", SEEDS)
def test_forty_amperes_that_the_meter_does_not_see(seed: int):
    x = a_day(seed)
    made = told(x, beside(x, seed, extra=lambda _: 40.0))
    assert made.kind is Agreement.CONSTANT
    assert made.unseen_a is not None
    assert made.unseen_a.low < 42
    assert made.unseen_a.high > 38


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("when", "hours"),
    [
        ("every other hour", lambda q: 40.0 * (q // 4 % 2)),
        ("one hour in four", lambda q: 60.0 * (q // 4 % 4 == 0)),
    ],
)
def test_at_times(seed: int, when: str, hours: Any):
    x = a_day(seed)
    made = told(x, beside(x, seed, extra=hours))
    assert made.kind is Agreement.INTERMITTENT, when
    assert made.unseen_a is not None
    true = max(hours(q) for q in range(96))
    assert made.unseen_a.low < true < made.unseen_a.high
    assert made.unseen_share == pytest.approx(sum(hours(q) > 0 for q in range(96)) / 96, abs=0.05)


@pytest.mark.parametrize("seed", SEEDS)
def test_by_day_alone_it_looks_like_a_factor_until_the_hours_are_told(seed: int):
    x = a_day(seed)
    y = beside(x, seed, extra=lambda q: 60.0 * (28 <= q < 76))
    hours = ["day" if 28 <= q < 76 else "night" for q in range(96)]
    blind = compare(x, y, **FACTS)
    assert isinstance(blind, CannotSay) or blind.kind is not Agreement.GOOD
    made = told(x, y, hours=hours)
    assert made.kind is Agreement.INTERMITTENT
    assert made.unseen_share == pytest.approx(0.5)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_hours_alone_make_no_difference(seed: int, factor: float):
    x = a_day(seed)
    hours = ["day" if 28 <= q < 76 else "night" for q in range(96)]
    made = told(x, beside(x, seed, factor=factor), hours=hours)
    assert made.kind is (Agreement.GOOD if factor == 1.0 else Agreement.RATIO)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_part_of_the_current_that_never_arrives(seed: int):
    x = a_day(seed)
    made = told(x, beside(x, seed, factor=1.38))
    assert made.kind is Agreement.SHUNT, "no standard transformer has this ratio"
    assert made.standard is None


@pytest.mark.parametrize("seed", SEEDS)
def test_an_independent_one_that_sees_less_is_looked_at_first(seed: int):
    x = a_day(seed)
    assert told(x, beside(x, seed, factor=0.9)).kind is Agreement.LESS


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tenth_of_the_pairs_may_be_anything(seed: int):
    x = a_day(seed)
    y = beside(x, seed)
    for q in range(3, 96, 12):
        y[q] = Random(q).uniform(0, 400)
    assert told(x, y).kind is Agreement.GOOD


def test_what_cannot_be_said():
    x = a_day(1)
    y = beside(x, 1)

    def why(x: Any, y: Any, **changes: Any) -> Why:
        made = compare(x, y, **{**FACTS, **changes})
        assert isinstance(made, CannotSay), made
        return made.because

    assert why(x, y, ratio=None) is Why.FACT_UNKNOWN
    assert why(x, y, rated_a=nan) is Why.FACT_UNKNOWN
    assert why(x[:50], y[:50]) is Why.TOO_FEW
    assert why(x, [nan, *y[1:]]) is Why.TOO_FEW, "a gap is no pair"
    assert why(x, y[:-1]) is Why.WRONG_SHAPE
    assert why([x], [y]) is Why.WRONG_SHAPE
    assert why([], []) is Why.NO_DATA
    assert why(["a"] * 96, y) is Why.NOT_A_NUMBER
    assert why([100.0] * 96, y) is Why.NO_SPREAD
    assert why([0.0] * 96, [0.0] * 96) is Why.NO_SPREAD
    assert why(x, y, hours=["day"]) is Why.WRONG_SHAPE


def test_a_run_of_equal_deviations_is_not_many_independent_ones():
    x = [100.0 + (q * 37) % 96 for q in range(96)]
    chance = Random(5)
    swings = [chance.gauss(0, 2) for _ in range(12)]
    alone = theil_sen(x, [v + chance.gauss(0, 2) for v in x])
    runs = theil_sen(x, [v + swings[q // 8] for q, v in enumerate(x)])
    assert not isinstance(alone, CannotSay)
    assert not isinstance(runs, CannotSay)
    assert runs.slope_se / runs.sigma > 2 * alone.slope_se / alone.sigma


@given(
    st.floats(-3, 3), st.floats(-100, 100), st.lists(st.floats(0, 400), min_size=3, max_size=60),
    st.sampled_from([least_squares, theil_sen, huber]),
)  # fmt: skip
def test_a_line_is_found_again(slope: float, intercept: float, x: list[float], fit: Any):
    made = fit(x, [intercept + slope * v for v in x])
    if isinstance(made, CannotSay):
        assert made.because is Why.NO_SPREAD
        event("no spread")
        return
    event("a line")
    if max(x) - min(x) > 1:
        assert made.slope == pytest.approx(slope, abs=1e-6)
        assert made.intercept == pytest.approx(intercept, abs=1e-3)


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=120), st.sampled_from([0, 3, 96]))
def test_whatever_comes_there_is_an_answer(pairs: list[tuple[float, float]], least: int):
    x, y = [p[0] for p in pairs], [p[1] for p in pairs]
    made = compare(x, y, **{**FACTS, "rule": changed(PAIR, least_pairs=least)})
    event(made.because.value if isinstance(made, CannotSay) else made.kind.value)


def test_a_subset_of_the_slopes_says_what_all_of_them_say():
    x = a_day(3, n=960)
    y = beside(x, 3, factor=4 / 3, error=0.0)
    whole, part = theil_sen(x, y, exact_pairs=960), theil_sen(x, y, exact_pairs=200)
    assert not isinstance(whole, CannotSay)
    assert not isinstance(part, CannotSay)
    assert part.slope == pytest.approx(whole.slope, abs=0.003)
    assert theil_sen(x, y, exact_pairs=200) == part


def test_a_year_of_days():
    """365 days of 96 pairs, one phase."""
    days = [(x := a_day(d), beside(x, d)) for d in range(365)]
    start = process_time()
    kinds = [told(x, y).kind for x, y in days]
    took_s = process_time() - start
    assert set(kinds) == {Agreement.GOOD}
    figures.report(
        "side by side, a year of days, one phase", days=len(days), good=len(kinds), cpu_seconds=round(took_s, 3)
    )


def test_a_factor_with_less_than_nothing_at_no_load_fits_no_explanation():
    x = a_day(1)
    made = compare(x, [1.25 * v - 25 for v in x], **FACTS)
    assert isinstance(made, CannotSay)
    assert made.because is Why.AMBIGUOUS


@pytest.mark.parametrize("seed", SEEDS)
def test_current_that_swells_and_fades_is_not_two_groups(seed: int):
    """Neither of the groups into which it can be cut is narrow."""
    x = a_day(seed)
    swell = [Random(seed * 100 + q).uniform(0, 50) for q in range(96)]
    made = compare(x, beside(x, seed, extra=lambda q: swell[q], error=0.0), **FACTS)
    assert isinstance(made, PairAnswer)
    assert made.kind is Agreement.CONSTANT


@pytest.mark.parametrize("seed", SEEDS)
def test_a_factor_that_hides_at_low_load_is_not_intermittent(seed: int):
    """Six percent are nothing to see at 40 A, and plain at 300."""
    x = a_day(seed, low=5, high=385)
    hours = ["day" if 28 <= q < 76 else "night" for q in range(96)]
    made = compare(x, beside(x, seed, factor=1.08, error=0.0), **FACTS, hours=hours)
    assert isinstance(made, PairAnswer)
    assert made.kind is Agreement.SHUNT
