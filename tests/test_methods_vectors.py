"""The methods against the domain's numeric vectors, by name."""

from __future__ import annotations

from decimal import Decimal
from math import hypot, nan, sqrt
from typing import Any

import pytest

from edge_agent.load.answers import CannotSay, Figure, Why
from edge_agent.load.methods import cusum, hot_spot, phases, power_factor
from edge_agent.load.methods.ct_tables import ct_error_percent, noise_floor_percent, standard_ratio
from edge_agent.load.methods.load_rate import count
from edge_agent.load.methods.phases import Pattern
from edge_agent.load.methods.powers import apparent_va, line_current_a, power_factor_at
from edge_agent.load.methods.register_sanity import Passage, Shown, Went, passage
from edge_agent.load.methods.regression import huber, least_squares, theil_sen
from edge_agent.load.methods.side_by_side import Agreement, PairAnswer, compare
from edge_agent.load.methods.sum_of_rates import RatesAnswer, total_against_rates
from edge_agent.load.views import Band
from tests.on_paper import MINUTE_MS
from tests.released import PAIR, PHASE, RATE, RATES, SANITY, SMALL_OIL, STEP, changed


def said(answer: Any, kind: type[Any] = Figure) -> Any:
    assert isinstance(answer, kind), answer
    return answer


@pytest.mark.parametrize(
    ("kw", "pf", "kva", "load_rate", "primary_a", "secondary_a", "of_ct"),
    [(220, 0.85, 258.82, 103.53, 373.6, 4.670, 93.4), (160, 0.90, 177.78, 71.11, 256.6, 3.208, 64.15)],
)
def test_V01_apparent_power_and_currents(
    kw: float, pf: float, kva: float, load_rate: float, primary_a: float, secondary_a: float, of_ct: float
):
    s = said(apparent_va(kw * 1000, kw * 1000 * sqrt(1 - pf * pf) / pf))
    assert s.value / 1000 == pytest.approx(kva, abs=0.01)
    assert s.over(250_000).value * 100 == pytest.approx(load_rate, abs=0.01)
    current = said(line_current_a(s, 400))
    assert current.value == pytest.approx(primary_a, abs=0.05)
    assert current.value / 80 == pytest.approx(secondary_a, abs=0.001)
    assert current.value / 400 * 100 == pytest.approx(of_ct, abs=0.05)


def test_V01_kva_is_never_inferred_from_kw():
    alone = said(apparent_va(220_000, None))
    assert alone.low == 220_000
    assert alone.high == float("inf")
    assert power_factor_at(220_000, 250_000) == 0.88


def test_V02_fifteen_sliding_minutes_are_counted_as_blocks():
    """The sliding maximum is the ledger's; what is counted are the blocks: 193.33 and 206.67 kW against 200 kW."""
    blocks = [(100 * 8 + 300 * 7) / 15, (300 * 8 + 100 * 7) / 15]
    assert blocks == pytest.approx([193.33, 206.67], abs=0.01)
    rates = [b / 200 for b in blocks]
    made = count(rates, rates, rates, [0, 0], RATE)
    assert not isinstance(made, CannotSay)
    assert [made.at(n).sure for n in range(4)] == [2, 1, 0, 0]


@pytest.mark.parametrize(
    ("s_cap_va", "went", "moved"), [(1_000_000.0, Went.ROLLED_OVER, 2550.0), (sqrt(3) * 400 * 400, Went.DECREASED, 0.0)]
)
def test_V03_rollover(s_cap_va: float, went: Went, moved: float):
    last, new = Shown(0, 999_998_750.0, 10.0, "1"), Shown(15 * MINUTE_MS, 1_300.0, 10.0, "1")
    made = said(passage(last, new, k=80.0, s_cap_va=s_cap_va, modulus=1e9, rule=SANITY), Passage)
    assert made.went is went
    assert made.moved == pytest.approx(moved)
    assert made.moved * 80 / 1000 == pytest.approx(204.00 if moved else 0.0)
    assert made.moved * 80 * 4 / 1000 == pytest.approx(816.00 if moved else 0.0)


def test_V03_other_passages():
    last = Shown(0, 1_000_000.0, 10.0, "1")
    facts: dict[str, Any] = {"k": 80.0, "s_cap_va": 277_128.0, "modulus": 1e9, "rule": SANITY}

    def to(value: float, serial: str | None = "1", t_ms: int = 15 * MINUTE_MS, **changes: Any) -> Any:
        made = passage(last, Shown(t_ms, value, 10.0, serial), **{**facts, **changes})
        return made.because if isinstance(made, CannotSay) else made.went

    assert to(1_000_500.0) is Went.ON
    assert to(1_002_000.0) is Went.JUMPED
    assert to(999_000.0) is Went.DECREASED
    assert to(999_995.0) is Went.ON, "less than the least decrease"
    assert to(0.0, serial="2") is Went.EXCHANGED
    assert to(999_000.0, serial=None) is Why.FACT_UNKNOWN, "it may be another meter"
    assert to(nan) is Why.NOT_A_NUMBER
    assert to(1_000_500.0, t_ms=0) is Why.OUT_OF_ORDER
    assert to(1_000_500.0, k=None) is Why.FACT_UNKNOWN


def test_V04_a_bound_alone_counts_as_possible_and_not_as_sure():
    """15-min maximum between 120 and 240 kW, against 200 kW."""
    made = count([120 / 200], [nan], [240 / 200], [0], RATE)
    assert not isinstance(made, CannotSay)
    assert (made.at(1).sure, made.at(1).possible, made.gaps) == (0, 1, 0)


X = [60.0, 90, 120, 150, 180, 210, 240, 270]
Y = [81.0, 119, 161, 199, 241, 279, 321, 359]


def test_V12_least_squares():
    line = said(least_squares(X, Y), object)
    assert line.slope == pytest.approx(1.33016, abs=5e-6)
    assert line.slope_se == pytest.approx(0.00580, abs=5e-6)
    assert line.intercept == pytest.approx(0.524, abs=5e-4)
    assert line.intercept_se == pytest.approx(1.036, abs=5e-4)
    assert line.r2 == pytest.approx(0.99989, abs=5e-6)


@pytest.mark.parametrize("fit", [theil_sen, huber])
def test_V12_robust_lines_say_the_same(fit: Any):
    line = fit(X, Y)
    assert line.slope == pytest.approx(4 / 3, rel=0.005)
    assert line.intercept == pytest.approx(0.0, abs=1.5)


def test_V12_wrong_ratio():
    made = said(compare(X * 12, Y * 12, rated_a=300, ratio=60, class_sum=0.02, rule=PAIR), PairAnswer)
    assert made.kind is Agreement.RATIO
    assert made.ratio == pytest.approx(79.8, abs=0.3)
    assert made.standard == (400, 5)
    assert made.unseen_a is None, "no current beside the meter"
    assert standard_ratio(79.8, within=0.02) == (400, 5)


def test_V13_cusum():
    x = [151, 148, 152, 149, 150, 163, 168, 164, 170, 166, 169]
    up, down = said(cusum.sums([(v - 150) / 10 for v in x], 0.5), tuple)
    assert up == pytest.approx([0, 0, 0, 0, 0, 0.8, 2.1, 3.0, 4.5, 5.6, 7.0])
    assert down == pytest.approx([0.0] * 11)


def test_V13_as_days_go_by():
    """The same days after a baseline of median 150 and spread 10."""
    rule = changed(STEP, h=5.0, least_class_days=1, spread_floor=0.0, settle_days=0)
    spread = 10 / 1.4826
    track = cusum.StepTrack("1", last_day=-1, learnt={"work": (150 - spread, 150.0, 150.0 + spread) * 10})
    x = [151, 148, 152, 149, 150, 163, 168, 164, 170, 166, 169]
    answers = []
    for day, peak in enumerate(x):
        seen = cusum.DayPeak(day, "work", Band(peak, peak, peak), peak)
        track, answer = cusum.seen(track, seen, archive="1", capacity_va=0.0, rule=rule)
        answers.append(said(answer, cusum.StepSeen))
        if not answers[-1].side:
            # The vector holds the baseline still.
            track = cusum.StepTrack(
                **{**_fields(track), "learnt": {"work": (150 - spread, 150.0, 150.0 + spread) * 10}}
            )
    assert [a.up for a in answers] == pytest.approx([0, 0, 0, 0, 0, 0.8, 2.1, 3.0, 4.5, 5.6, 7.0])
    assert [a.side for a in answers] == [""] * 9 + ["up"] * 2
    at = answers[9]
    assert at.onset_day == 5
    assert at.days == 5
    assert said(at.level).value == pytest.approx(166.2)


def _fields(state: Any) -> dict[str, Any]:
    return {name: getattr(state, name) for name in state.__slots__}


V14 = [(0.5, 45.10, 52.68, None), (1.0, 75.00, 98.00, 1.000), (1.0353, 77.62, 101.93, 1.57), (1.3, 99.10, 134.10, 64.7)]


@pytest.mark.parametrize(("load", "oil_c", "hot_c", "ageing"), V14)
def test_V14_steady_state(load: float, oil_c: float, hot_c: float, ageing: float | None):
    oil, hot, rate = said(hot_spot.steady(load, 20.0, SMALL_OIL), tuple)
    assert oil == pytest.approx(oil_c, abs=0.1)
    assert hot == pytest.approx(hot_c, abs=0.1)
    if ageing is not None:
        assert rate == pytest.approx(ageing, rel=0.01)


@pytest.mark.parametrize("minutes", [1.0, 15.0, 60.0])
@pytest.mark.parametrize(("load", "oil_c", "hot_c", "ageing"), V14)
def test_V14_is_reached_with_steps_of_any_length(
    load: float, oil_c: float, hot_c: float, ageing: float | None, minutes: float
):
    track: Any = hot_spot.HotSpotTrack()
    for _ in range(int(2880 / minutes)):
        track = hot_spot.step(track, Band(load, load, load), 20.0, minutes, SMALL_OIL)
    made = said(hot_spot.hot_spot(track), hot_spot.HotSpot)
    for figure, expected in ((made.oil_c, oil_c), (made.hot_spot_c, hot_c)):
        assert figure == pytest.approx((expected, expected, expected, 1.0), abs=0.1)


def test_V15_unbalance():
    assert said(phases.spread_unbalance([230, 225, 215])).value * 100 == pytest.approx(6.52, abs=0.005)
    assert said(phases.mean_deviation([230, 225, 215])).value * 100 == pytest.approx(3.73, abs=0.005)
    assert said(phases.negative_sequence([400, 396, 388])).value * 100 == pytest.approx(1.784, abs=0.0005)
    assert said(phases.negative_sequence([390, 380, 400])).value * 100 == pytest.approx(2.962, abs=0.0005)
    assert said(phases.spread_unbalance([100, 80, 30])).value * 100 == pytest.approx(70.0)
    assert said(phases.spread_unbalance([100, 100, 8])).value * 100 == pytest.approx(92.0)


@pytest.mark.parametrize(
    ("total", "difference", "fits"), [(1234.56, 0.03, True), (1247.03, 12.50, False), (1234.54, 0.01, True)]
)
def test_V17_sum_of_rates(total: float, difference: float, fits: bool):
    rates = [400.12, 433.01, 401.40, 0.00]
    made = said(total_against_rates(total, rates, step=0.01, spread_s=0.0, rule=RATES), RatesAnswer)
    assert made.difference.value == pytest.approx(difference, abs=0.001)
    assert made.limit == pytest.approx(0.1)
    assert made.fits is fits


@pytest.mark.parametrize(
    ("shown", "ratio", "pattern"),
    [
        (6210.0, 1.0, Pattern.FITS),
        (4140.0, 0.6667, Pattern.ONE_LOST),
        (2070.0, 0.3333, Pattern.ONE_REVERSED),
        (-2070.0, -0.3333, Pattern.TWO_REVERSED),
        (-6210.0, -1.0, Pattern.ALL_REVERSED),
    ],
)
def test_V18_power_ratio(shown: float, ratio: float, pattern: Pattern):
    found = phases.consistency(
        [230] * 3, [10] * 3, [0.9] * 3, [None] * 3, shown, rated_a=10, rule=PHASE,
    )  # fmt: skip
    made = said(found, phases.PhasePower)
    assert made.total == pytest.approx(ratio, abs=0.0001)
    assert made.pattern is pattern
    assert made.fits is (pattern is Pattern.FITS)


@pytest.mark.parametrize(
    ("active", "reactive", "rounded"),
    [(92_800, 50_000, "0.88"), (115_200, 29_000, "0.97"), (92_800, 44_946, "0.90")],
)
def test_V06_power_factor_of_the_month(active: float, reactive: float, rounded: str):
    month: Any = power_factor.FactorMonth()
    parts = 2976
    for _ in range(parts):
        p, q = active / parts, reactive / parts
        month = power_factor.add(month, "2026-03", Band(p, p, p), Band(q, q, q), seconds=900)
    made = said(power_factor.power_factor(month, least_coverage=0.9, least_wh=1.0), power_factor.FactorAnswer)
    assert made.factor.value == pytest.approx(active / hypot(active, reactive))
    assert made.rounded == Decimal(rounded)


def test_what_the_classes_of_current_transformers_allow():
    assert ct_error_percent("0.5S", 0.03) == 1.5, "between two points the larger limit"
    assert ct_error_percent("0.5S", 0.20) == 0.5
    assert ct_error_percent("0.2", 0.05) == 0.75
    assert noise_floor_percent("0.5S", 1.0, meter_percent=0.5, independent_percent=1.0) == pytest.approx(sqrt(1.5))
    for kind, load, why in [
        ("0.5", 0.01, Why.TOO_SMALL),
        ("0.5S", 1.3, Why.NOT_POSSIBLE),
        ("5P", 1.0, Why.FACT_UNKNOWN),
    ]:
        made = ct_error_percent(kind, load)
        assert isinstance(made, CannotSay)
        assert made.because is why
