"""Registers against powers and against one another: energy and its integral, sum of sub-meters, a month's factor."""

from __future__ import annotations

import json
from math import inf, nan
from random import Random
from time import process_time
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from edge_agent.load.answers import CannotSay, Why
from edge_agent.load.methods import power_factor, power_integral, sum_check
from edge_agent.load.methods.kept import from_plain, to_plain
from edge_agent.load.methods.power_integral import Pace, PaceAnswer, PaceTrack, Stretch
from edge_agent.load.methods.sum_check import Balance, SumAnswer, SumTrack
from edge_agent.load.methods.sum_of_rates import total_against_rates
from edge_agent.load.views import Band
from tests import figures
from tests.released import PACE, RATES, SUM

QUARTER_S = 900.0


def again(state: Any) -> Any:
    made = from_plain(type(state), json.loads(json.dumps(to_plain(state))))
    assert made == state
    return made


# -- energy against the integral of power -----------------------------------------------------------------------


def meter(
    watts: list[float], *, factor: float = 1.0, step_wh: float = 10.0, coverage: float = 1.0, stands: range = range(0)
) -> list[Stretch]:
    """Quarters of an hour at these secondary powers, as a register of this step shows them."""
    true, shown, out = 0.0, 0.0, []
    for n, p in enumerate(watts):
        expected = p * QUARTER_S / 3600
        true += 0.0 if n in stands else expected * factor
        now = true // step_wh * step_wh
        seen = expected * coverage
        out.append(Stretch(QUARTER_S, now - shown, step_wh, seen, expected, seen + 3000 * (1 - coverage), coverage))
        shown = now
    return out


def paced(stretches: list[Stretch], *, restarts: bool = False) -> list[Any]:
    track, out = PaceTrack(), []
    for n, stretch in enumerate(stretches):
        if restarts:
            track = again(track)
        made = power_integral.add(track, stretch, archive="7")
        assert isinstance(made, PaceTrack)
        track = made
        out.append(power_integral.pace(track, PACE))
        if n % 96 == 95:
            track = power_integral.restart(track)
    return out


def paces(answers: list[Any]) -> set[Pace]:
    return {a.pace for a in answers if isinstance(a, PaceAnswer)}


@pytest.mark.parametrize(
    ("factor", "pace"), [(1.0, Pace.KEEPS), (0.93, Pace.OFF), (1.08, Pace.OFF), (1.05, Pace.BETWEEN), (2 / 3, Pace.OFF)]
)
def test_a_day_of_a_register_that_is_off(factor: float, pace: Pace):
    at_the_end = paced(meter([2500.0] * 96, factor=factor))[-1]
    assert isinstance(at_the_end, PaceAnswer)
    assert at_the_end.pace is pace
    assert at_the_end.rho.low <= factor <= at_the_end.rho.high


def test_a_coarse_register_and_little_load_say_nothing():
    answers = paced(meter([30.0] * 96))  # 0.72 kWh secondary a day
    assert {a.because for a in answers} == {Why.TOO_SMALL}


def test_samples_that_miss_half_of_the_time_say_nothing():
    answers = paced(meter([2500.0] * 96, factor=0.9, coverage=0.5))
    assert {a.because for a in answers} == {Why.COVERAGE}


@pytest.mark.parametrize(("watts", "from_there"), [(2500.0, 4), (40.0, 11)])
def test_a_register_that_stops(watts: float, from_there: int):
    """Not before an hour, nor before 0.1 kWh beyond its next step has passed it by."""
    answers = paced(meter([watts] * 96, stands=range(48, 96)))
    stops = [n for n, a in enumerate(answers) if isinstance(a, PaceAnswer) and a.pace is Pace.STOPS]
    assert stops
    assert 0 <= stops[0] - 48 - from_there + 1 <= 1
    assert stops == list(range(stops[0], 96))
    missed = answers[95].missed_wh
    assert missed.low <= watts * 12 <= missed.high + 10


@pytest.mark.parametrize("step_wh", [10.0, 1000.0])
def test_a_register_between_two_of_its_steps_has_not_stopped(step_wh: float):
    answers = paced(meter([45.0] * 960, step_wh=step_wh))
    assert Pace.STOPS not in paces(answers)


def test_a_day_that_ends_does_not_end_a_stop():
    answers = paced(meter([2500.0] * 192, stands=range(90, 192)))
    assert all(isinstance(a, PaceAnswer) and a.pace is Pace.STOPS for a in answers[96:])


def test_a_register_that_flies_does_so_at_once():
    stretches = meter([2500.0] * 40)
    stretches[30] = Stretch(QUARTER_S, 7000.0, 10.0, 625.0, 625.0, 625.0, 1.0)
    answers = paced(stretches)
    assert [n for n, a in enumerate(answers) if isinstance(a, PaceAnswer) and a.pace is Pace.FLIES] == [30]


def test_what_is_no_stretch():
    track = PaceTrack("7", seconds=900.0)
    for stretch, why in [
        (Stretch(900, nan, 10, 1, 1, 1, 1), Why.NOT_A_NUMBER),
        (Stretch(900, 1, 10, 1, 1, inf, 1), Why.NOT_A_NUMBER),
        (Stretch(0, 1, 10, 1, 1, 1, 1), Why.NOT_POSSIBLE),
        (Stretch(900, -1, 10, 1, 1, 1, 1), Why.NOT_POSSIBLE),
    ]:
        made = power_integral.add(track, stretch, archive="7")
        assert isinstance(made, CannotSay)
        assert made.because is why
    assert power_integral.pace(PaceTrack(), PACE) == CannotSay(Why.NO_DATA, "stretch")
    fresh = power_integral.add(track, Stretch(60, 1, 10, 1, 1, 1, 1), archive="8")
    assert isinstance(fresh, PaceTrack)
    assert fresh.seconds == 60, "K is another one: what was added up before is worth nothing"


@given(
    st.lists(st.floats(0, 4000), min_size=1, max_size=200), st.sampled_from([1.0, 10.0, 100.0]),
    st.sampled_from([1.0, 0.95, 0.7]),
)  # fmt: skip
def test_a_register_that_keeps_up_is_never_accused(watts: list[float], step_wh: float, coverage: float):
    found = paced(meter(watts, step_wh=step_wh, coverage=coverage), restarts=True)
    assert not {Pace.OFF, Pace.STOPS, Pace.FLIES} & paces(found)
    event(f"said: {bool(paces(found))}")


def test_a_year_of_quarters():
    chance = Random(1)
    stretches = meter([chance.uniform(500, 3000) for _ in range(35_136)])
    start = process_time()
    answers = paced(stretches)
    took_s = process_time() - start
    assert not {Pace.OFF, Pace.STOPS, Pace.FLIES} & paces(answers)
    figures.report("pace, a year of quarters", quarters=len(answers), cpu_seconds=round(took_s, 3))


# -- main against the sum ---------------------------------------------------------------------------------------


def exact(value: float) -> Band:
    return Band(value, value, value)


def feeder(
    days: int,
    *,
    from_day: int = 10_000,
    missing: float = 0.0,
    seed: int = 1,
    restarts: bool = False,
    width: float = 0.0,
) -> tuple[SumTrack, list[Any]]:
    """Three sub-meters behind a main one: 0.5 kWh an hour without load and 1.5e-5 E^2/T; more missing from a day on."""
    chance, track, out = Random(seed), SumTrack(), []
    for day in range(days):
        through = 1000 * chance.uniform(0.5, 1.2)
        loss = 0.5 * 24 + 1.5e-5 * 24 * through**2 / 24 + chance.gauss(0, 2)
        main = through + loss
        lost = missing * main if day >= from_day else 0.0
        subs = [Band(v - width, v, v + width) for v in ((through - lost) * share for share in (0.5, 0.3, 0.2))]
        track = again(track) if restarts else track
        track, answer = sum_check.seen(track, day, 24.0, exact(main), subs, coverage=1.0, archive="7", rule=SUM)
        out.append(answer)
    return track, out


def test_the_loss_is_learnt_and_its_parts_are_those_of_the_line():
    track, answers = feeder(120)
    assert all(isinstance(a, CannotSay) and a.because is Why.TOO_FEW for a in answers[:28])
    assert {a.balance for a in answers[28:]} == {Balance.KEEPS}
    no_load, copper, sigma = sum_check.fitted(track.days, sigmas=3.0)
    assert no_load == pytest.approx(0.5, abs=0.1)
    assert copper == pytest.approx(1.5e-5 * 24, rel=0.1)
    assert 1 < sigma < 4


@pytest.mark.parametrize(
    ("missing", "balance"), [(0.06, Balance.OVER), (-0.08, Balance.NEGATIVE), (0.01, Balance.KEEPS)]
)
def test_energy_that_goes_missing(missing: float, balance: Balance):
    track, answers = feeder(100, from_day=60, missing=missing)
    assert {a.balance for a in answers[60:]} == {balance}
    if balance is not Balance.KEEPS:
        assert [a.off_days for a in answers[60:63]] == [1, 2, 3]
        assert len(track.days) == 60, "none of the days that are off is learnt"


def test_registers_too_coarse_to_tell_say_neither():
    _, answers = feeder(80, from_day=60, missing=0.06, width=30.0)
    assert {a.balance for a in answers[60:]} == {Balance.BETWEEN}


def test_the_sum_after_restarts():
    assert feeder(80, from_day=60, missing=0.06) == feeder(80, from_day=60, missing=0.06, restarts=True)


def test_what_the_sum_cannot_say():
    track, _ = feeder(40)
    facts: dict[str, Any] = {"coverage": 1.0, "archive": "7", "rule": SUM}

    def why(day: int, hours: float, main: Band, subs: list[Band], **changes: Any) -> Why:
        after, answer = sum_check.seen(track, day, hours, main, subs, **{**facts, **changes})
        assert isinstance(answer, CannotSay)
        assert after.days == track.days or answer.because is Why.TOO_FEW
        return answer.because

    good = [exact(500.0), exact(480.0)]
    assert why(40, 24, exact(nan), good) is Why.NOT_A_NUMBER
    assert why(40, 24, exact(1000), []) is Why.NO_DATA
    assert why(39, 24, exact(1000), good) is Why.OUT_OF_ORDER
    assert why(40, 24, exact(1000), good, coverage=0.9) is Why.COVERAGE
    assert why(40, 24, exact(0), [exact(0)]) is Why.TOO_SMALL
    assert why(40, 24, exact(1000), good, archive="8") is Why.TOO_FEW


def test_a_clock_that_is_off_is_allowed_for():
    track, _ = feeder(40)
    main, subs = exact(1000.0), [exact(930.0)]
    for skew, balance in [(0.0, Balance.OVER), (sum_check.skew_energy(600, 0, 240_000) / 1000, Balance.BETWEEN)]:
        _, answer = sum_check.seen(track, 40, 24, main, subs, coverage=1, skew=skew, archive="7", rule=SUM)
        assert isinstance(answer, SumAnswer)
        assert answer.balance is balance


def test_which_meter_counts_too_little():
    chance = Random(4)
    subs = [[chance.uniform(50, 150) for _ in range(200)] for _ in range(5)]
    main = [sum(s[n] * (1.25 if k == 3 else 1.0) for k, s in enumerate(subs)) + chance.gauss(5, 2) for n in range(200)]
    found = sum_check.attribute(main, subs, errors=3.0)
    assert not isinstance(found, CannotSay)
    assert [s.sub for s in found if s.factor.low > 1.05] == [3]
    assert found[3].factor.low < 1.25 < found[3].factor.high
    twins = sum_check.attribute(main, [subs[0], subs[0]], errors=3.0)
    assert isinstance(twins, CannotSay)
    assert twins.because is Why.AMBIGUOUS
    few = sum_check.attribute(main[:5], [s[:5] for s in subs], errors=3.0)
    assert isinstance(few, CannotSay)
    assert few.because is Why.TOO_FEW


@given(st.lists(st.tuples(st.floats(0.1, 48), st.floats(0, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=60))
def test_a_loss_that_is_learnt_is_never_negative(days: list[tuple[float, float, float]]):
    no_load, copper, sigma = sum_check.fitted(days, sigmas=3.0)
    assert no_load >= 0
    assert copper >= 0
    assert sigma >= 0


# -- the rest ---------------------------------------------------------------------------------------------------


def test_rates_that_were_not_read_together_say_nothing():
    cases: list[tuple[list[Any], float, Why]] = [
        ([400.12, None], 0.0, Why.NOT_A_NUMBER),
        ([400.12, nan], 0.0, Why.NOT_A_NUMBER),
        ([], 0.0, Why.NO_DATA),
        ([400.12, 433.01], 9.0, Why.OUT_OF_ORDER),
        ([400.12, 433.01], nan, Why.OUT_OF_ORDER),
    ]
    for rates, spread_s, why in cases:
        made = total_against_rates(833.13, rates, step=0.01, spread_s=spread_s, rule=RATES)
        assert isinstance(made, CannotSay)
        assert made.because is why


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=12), st.lists(st.floats(0, 1), min_size=12, max_size=12))
def test_truncation_alone_never_differs(rates: list[int], fractions: list[float]):
    """Whatever stands behind the last digits, a meter that counts rightly is within the limit."""
    hidden = [r + f * 0.999 for r, f in zip(rates, fractions, strict=False)]
    total = int(sum(hidden)) / 100
    made = total_against_rates(total, [r / 100 for r in rates], step=0.01, spread_s=0.0, rule=RATES)
    assert not isinstance(made, CannotSay)
    assert made.fits
    assert made.difference.low <= 1e-6
    assert made.difference.high >= -1e-6
    event(f"differs: {abs(made.difference.value) > 0.02}")


def test_the_power_factor_of_a_month():
    month: Any = power_factor.FactorMonth()
    none = power_factor.power_factor(month, least_coverage=0.9, least_wh=1.0)
    assert none == CannotSay(Why.NO_DATA, "energy")
    for n in range(100):
        active = None if n % 4 == 0 else exact(900.0)
        month = power_factor.add(again(month), "2026-03", active, exact(430.0), seconds=900)
    poor = power_factor.power_factor(month, least_coverage=0.9, least_wh=1.0)
    assert poor == CannotSay(Why.COVERAGE, "energy", 0.75, 0.9)
    made = power_factor.power_factor(month, least_coverage=0.7, least_wh=1.0)
    assert isinstance(made, power_factor.FactorAnswer)
    assert made.factor.value == pytest.approx(0.9023, abs=0.0001)
    assert made.factor.coverage == 0.75
    month = power_factor.add(month, "2026-04", Band(890, 900, 910), Band(420, 430, 440), seconds=900)
    made = power_factor.power_factor(month, least_coverage=0.9, least_wh=1.0)
    assert isinstance(made, power_factor.FactorAnswer)
    assert not made.sure
    idle = power_factor.power_factor(
        power_factor.FactorMonth("2026-03", seconds=9, seen_s=9), least_coverage=0.9, least_wh=1
    )
    assert isinstance(idle, CannotSay)
    assert idle.because is Why.TOO_SMALL


@pytest.mark.parametrize(
    ("value", "rounded"), [(0.895, "0.90"), (0.8949999, "0.89"), (0.905, "0.91"), (0.9, "0.90"), (1.0, "1.00")]
)
def test_half_is_rounded_up(value: float, rounded: str):
    assert str(power_factor.half_up(value)) == rounded


def test_a_coarse_register_is_off_only_where_its_bounds_are():
    at_the_end = paced(meter([2500.0] * 96, factor=1.068, step_wh=1000.0))[-1]
    assert isinstance(at_the_end, PaceAnswer)
    assert at_the_end.rho.value > 1.05
    assert at_the_end.pace is Pace.BETWEEN


def test_a_clock_that_is_off_makes_no_negative_loss():
    track, _ = feeder(40)
    for skew, balance in [(0.0, Balance.NEGATIVE), (40.0, Balance.BETWEEN)]:
        _, answer = sum_check.seen(
            track, 40, 24, exact(1000.0), [exact(1030.0)], coverage=1, skew=skew, archive="7", rule=SUM
        )
        assert isinstance(answer, SumAnswer)
        assert answer.balance is balance


@pytest.mark.parametrize(("difference", "fits"), [(0.13, True), (0.14, False), (-0.13, True), (-0.14, False)])
def test_twelve_rates_leave_thirteen_steps_open(difference: float, fits: bool):
    made = total_against_rates(120.0 + difference, [10.0] * 12, step=0.01, spread_s=0.0, rule=RATES)
    assert not isinstance(made, CannotSay)
    assert made.fits is fits


def test_the_bounds_of_a_power_factor():
    month = power_factor.add(power_factor.FactorMonth(), "m", Band(890, 900, 910), Band(420, 430, 440), seconds=900)
    assert isinstance(month, power_factor.FactorMonth)
    made = power_factor.power_factor(month, least_coverage=0.9, least_wh=1.0)
    assert isinstance(made, power_factor.FactorAnswer)
    assert made.factor[:3] == pytest.approx((0.89643, 0.90230, 0.90796), abs=1e-5)
