"""Load over time: counters and percentiles, shape of a class, forecast in a period, a transformer's hot spot."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from math import ceil, exp, inf, isfinite, nan
from random import Random
from time import process_time
from typing import Any

import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from edge_agent.load.answers import CannotSay, Figure, Why
from edge_agent.load.methods import hot_spot, load_shape
from edge_agent.load.methods.distribution import Classes, Distribution, counted, merged, percentile
from edge_agent.load.methods.forecast import Forecast, forecast
from edge_agent.load.methods.hot_spot import HotSpot, HotSpotTrack, Paper
from edge_agent.load.methods.kept import from_plain, to_plain
from edge_agent.load.methods.load_rate import RateCount, count, rate_percentile, together
from edge_agent.load.methods.load_shape import ShapeAnswer, ShapeTrack
from edge_agent.load.methods.side_by_side import PairTrack, add
from edge_agent.load.views import Band
from tests import figures
from tests.released import FORECAST, RATE, SHAPE, SMALL_OIL

YEAR = 35_136


def again(state: Any) -> Any:
    made = from_plain(type(state), json.loads(json.dumps(to_plain(state))))
    assert made == state
    return made


# -- counters and percentiles -----------------------------------------------------------------------------------

rates = st.lists(st.one_of(st.floats(0, 3), st.just(nan)), min_size=1, max_size=60)


def counts(values: list[float], first: int = 0) -> RateCount:
    made = count(values, values, values, [(first + n) // 4 for n in range(len(values))], RATE)
    assert isinstance(made, RateCount)
    return made


def by_hand(values: list[float], level: float) -> tuple[int, int, int]:
    """Periods, days and the longest run above a level, as an inspector would count them."""
    run = longest = 0
    for v in values:
        run = run + 1 if v > level else 0
        longest = max(longest, run)
    return sum(v > level for v in values), len({n // 4 for n, v in enumerate(values) if v > level}), longest


@given(rates, st.lists(st.integers(0, 60), max_size=4))
def test_parts_put_together_are_the_whole(values: list[float], cuts: list[int]):
    whole = counts(values)
    kept = RateCount()
    edges = [0, *sorted(c for c in cuts if c <= len(values)), len(values)]
    for a, b in pairwise(edges):
        if a < b:
            kept = again(together(kept, counts(values[a:b], first=a)))
    assert kept == whole
    for n, level in enumerate(RATE.levels):
        above = whole.at(n)
        assert (above.sure, above.days, above.longest) == by_hand(values, level)
    event(f"above 1: {min(3, whole.at(1).sure)}")


def test_a_gap_ends_a_run():
    assert counts([1.2, 1.2, nan, 1.2, 1.2, 1.2]).at(1).longest == 3


def test_another_archive_is_another_count():
    one, other = counts([1.2, 1.2]), replace(counts([1.2]), archive="8")
    assert together(one, other) == other
    assert together(one, RateCount()) == one


@given(rates, st.floats(0.01, 1))
def test_a_percentile_lies_between_its_bounds(values: list[float], share: float):
    good = sorted(v for v in values if isfinite(v))
    made = rate_percentile(counts(values), share, RATE)
    if not good:
        assert isinstance(made, CannotSay)
        return
    assert isinstance(made, Figure)
    true = good[ceil(share * len(good) - 1e-9) - 1]
    assert made.low - 1e-6 <= true <= made.high + 1e-6
    assert made.high - made.low <= RATE.class_width + 1e-9 or made.high == inf
    event("above the last class" if made.high == inf else "inside")


@given(st.lists(rates, max_size=5))
def test_the_order_does_not_matter_and_parts_add_up(parts: list[list[float]]):
    classes = Classes(0.005, 2.0)
    kept, back = Distribution(), Distribution()
    for part in parts:
        kept = merged(kept, counted(Distribution(), part, classes))
    for part in reversed(parts):
        back = counted(again(back), part[::-1], classes)
    assert again(kept) == back
    assert kept.values + kept.gaps == sum(map(len, parts))


def test_memory_is_bounded_by_the_classes():
    chance = Random(1)
    kept: Any = counts([chance.uniform(0, 10) for _ in range(20_000)])
    assert len(kept.value) <= RATE.classes.count
    assert len(json.dumps(to_plain(kept))) < 30_000


def test_what_is_no_distribution():
    empty = percentile(Distribution(), 0.95, RATE.classes)
    assert empty == CannotSay(Why.TOO_FEW, "values", 0.0, 1.0)
    assert isinstance(percentile(Distribution({"1": 5}), nan, RATE.classes), CannotSay)
    wrong = count([1.0], [1.0, 2.0], [1.0], [0], RATE)
    assert isinstance(wrong, CannotSay)
    assert wrong.because is Why.WRONG_SHAPE


def test_a_year_of_counting():
    chance = Random(2)
    values = [chance.uniform(0.2, 1.1) for _ in range(YEAR)]
    start = process_time()
    kept = RateCount()
    for day in range(YEAR // 96):
        part = values[day * 96 : day * 96 + 96]
        made = count(part, part, part, [day] * 96, RATE)
        assert isinstance(made, RateCount)
        kept = together(kept, made)
    took_s = process_time() - start
    whole = count(values, values, values, [n // 96 for n in range(YEAR)], RATE)
    assert kept == whole
    figures.report("load rate, a year by days", periods=kept.periods, cpu_seconds=round(took_s, 3))


# -- shape of a class -------------------------------------------------------------------------------------------

N = 96
HOUR = [q * 24 / N for q in range(N)]
HOUSE = [0.3 + 0.7 * (7 <= h < 9) + 1.2 * (18 <= h < 22) for h in HOUR]
SHOP = [0.15 + 1.0 * (9 <= h < 18) for h in HOUR]
FARM = [0.3 + 1.1 * (5 <= h < 8) + 1.1 * (17 <= h < 20) for h in HOUR]
CLASSES: dict[str, list[float]] = {
    "household": HOUSE + HOUSE, "trade": SHOP + [0.15] * N, "farm": FARM + FARM,
}  # fmt: skip


def lived(work: list[float], off: list[float], *, days: int = 28, seed: int = 1) -> tuple[ShapeTrack, list[Any]]:
    chance, track, answers = Random(seed), ShapeTrack(), []
    for day in range(days):
        shape = off if day % 7 >= 5 else work
        powers = [5000 * v * chance.gauss(1, 0.1) for v in shape]
        made = load_shape.add_day(again(track), day, powers, off=day % 7 >= 5, archive="7", rule=SHAPE)
        assert isinstance(made, ShapeTrack)
        track = made
        answers.append(load_shape.judge(track, "household", CLASSES, SHAPE))
    return track, answers


def test_a_household_is_one():
    _, answers = lived(HOUSE, HOUSE)
    assert all(isinstance(a, CannotSay) and a.because is Why.TOO_FEW for a in answers[:27])
    made = answers[27]
    assert isinstance(made, ShapeAnswer)
    assert (made.best, made.differs, made.margin) == ("household", False, 0.0)
    assert made.features.work_by_off == pytest.approx(1.0, abs=0.02)


def test_a_shop_with_a_households_contract():
    made = lived(SHOP, [0.15] * N)[1][-1]
    assert isinstance(made, ShapeAnswer)
    assert made.best == "trade"
    assert made.differs
    assert made.margin > 0.3
    assert made.features.work_by_off == pytest.approx(3.5, abs=0.1)
    assert made.features.night < 0.15


def test_old_weeks_go():
    track, _ = lived(SHOP, [0.15] * N, days=70)
    assert len(track.weeks) == 4
    assert sum(w[1] for w in track.weeks) == 28
    assert len(json.dumps(to_plain(track))) < 30_000


def test_the_features_of_a_flat_load():
    made = lived([1.0] * N, [1.0] * N)[1][-1]
    assert isinstance(made, ShapeAnswer)
    assert made.features.night == pytest.approx(8 / 24, abs=0.01)
    assert made.features.evening == pytest.approx(4 / 24, abs=0.01)
    assert 0.6 < made.features.load_factor <= 1


def test_what_a_shape_cannot_say():
    track, _ = lived(HOUSE, HOUSE)

    def why(made: Any) -> Why:
        assert isinstance(made, CannotSay)
        return made.because

    assert why(load_shape.judge(track, "household", {}, SHAPE)) is Why.FACT_UNKNOWN
    assert why(load_shape.judge(track, None, CLASSES, SHAPE)) is Why.FACT_UNKNOWN
    assert why(load_shape.judge(track, "inn", CLASSES, SHAPE)) is Why.FACT_UNKNOWN
    assert why(load_shape.judge(track, "household", {"household": [1.0]}, SHAPE)) is Why.WRONG_SHAPE
    assert why(load_shape.judge(ShapeTrack(), "household", CLASSES, SHAPE)) is Why.TOO_FEW
    day: dict[str, Any] = {"off": False, "archive": "7", "rule": SHAPE}
    assert why(load_shape.add_day(track, 27, HOUSE, **day)) is Why.OUT_OF_ORDER
    assert why(load_shape.add_day(track, 28, [nan] * N, **day)) is Why.COVERAGE
    assert why(load_shape.add_day(track, 28, [], **day)) is Why.NO_DATA
    idle: Any = ShapeTrack()
    for d in range(28):
        idle = load_shape.add_day(idle, d, [0.0] * N, off=d % 7 >= 5, archive="7", rule=SHAPE)
    assert why(load_shape.judge(idle, "household", CLASSES, SHAPE)) is Why.TOO_SMALL
    fresh = load_shape.add_day(track, 28, HOUSE, **{**day, "archive": "8"})
    assert isinstance(fresh, ShapeTrack)
    assert fresh.weeks[0][1] == 1
    assert len(fresh.weeks) == 1


# -- forecast ---------------------------------------------------------------------------------------------------


def at(minute: float, kw: list[float], *, so_far: float = 200.0, **changes: Any) -> Any:
    energy = so_far * minute * 60
    given_: dict[str, Any] = {
        "elapsed_s": minute * 60, "period_s": 900.0, "sample_s": 60.0, "coverage": 1.0, "cap_va": 400.0,
        "rule": FORECAST,
    }  # fmt: skip
    return forecast(Band(energy * 0.99, energy, energy * 1.01), kw, **{**given_, **changes})


def test_the_demand_that_is_coming():
    made = at(5, [300.0] * 5)
    assert isinstance(made, Forecast)
    assert made.demand.value == pytest.approx((200 * 5 + 300 * 10) / 15)
    assert made.demand.low == pytest.approx(200 * 0.99 * 5 / 15)
    assert made.demand.high == pytest.approx((200 * 1.01 * 5 + 400 * 10) / 15)
    assert not made.falling
    assert at(15, [300.0] * 5).demand.value == pytest.approx(200)


@pytest.mark.parametrize(
    ("kw", "falling"),
    [
        ([300, 280, 260, 240, 220], True),
        ([220, 240, 260, 280, 300], False),
        ([300, 280], False),
        ([300.0, 299.9, 300.1, 300, 299.9], False),
    ],
)
def test_a_load_that_is_falling_already(kw: list[float], falling: bool):
    assert at(6, kw).falling is falling


def test_what_a_forecast_cannot_say():
    for made, why in [
        (at(4, [300.0]), Why.TOO_FEW), (at(6, []), Why.NO_DATA), (at(6, [nan, None]), Why.NO_DATA),  # type: ignore[list-item]
        (at(6, [300.0], coverage=0.5), Why.COVERAGE), (at(16, [300.0]), Why.NOT_POSSIBLE),
        (at(nan, [300.0]), Why.NOT_POSSIBLE), (at(6, [300.0], so_far=nan), Why.NO_DATA),
    ]:  # fmt: skip
        assert isinstance(made, CannotSay)
        assert made.because is why
    assert at(6, [300.0], cap_va=None).demand.high == inf


@given(st.lists(st.floats(0, 400), min_size=15, max_size=15), st.integers(5, 15))
def test_what_comes_lies_between_its_bounds(kw: list[float], minute: int):
    so_far = sum(kw[:minute]) * 60
    made = forecast(Band(so_far, so_far, so_far), kw[:minute], elapsed_s=minute * 60, period_s=900, sample_s=60,
                    coverage=1, cap_va=400, rule=FORECAST)  # fmt: skip
    assert isinstance(made, Forecast)
    assert made.demand.low - 1e-9 <= sum(kw) / 15 <= made.demand.high + 1e-9


# -- hot spot ---------------------------------------------------------------------------------------------------


def same(load: float) -> Band:
    return Band(load, load, load)


def heated(loads: list[Band], *, minutes: float = 15.0, restarts: bool = False) -> HotSpotTrack:
    track = HotSpotTrack()
    for load in loads:
        made = hot_spot.step(again(track) if restarts else track, load, 20.0, minutes, SMALL_OIL)
        assert isinstance(made, HotSpotTrack)
        track = made
    return track


def answered(track: HotSpotTrack) -> HotSpot:
    made = hot_spot.hot_spot(track)
    assert isinstance(made, HotSpot)
    return made


def test_nobody_knows_at_first_how_warm_it_is():
    first, later = answered(heated([same(0.8)])), answered(heated([same(0.8)] * 96))
    assert first.hot_spot_c.high - first.hot_spot_c.low > 50
    assert later.hot_spot_c.high - later.hot_spot_c.low < 0.1


def test_a_load_that_is_not_known_widens_the_bounds_and_reading_on_closes_them():
    gap = Band(nan, nan, nan)
    blind = answered(heated([same(0.8)] * 96 + [gap] * 8))
    assert blind.hot_spot_c.low < 50
    assert blind.hot_spot_c.high > 120
    assert blind.hot_spot_c.value == pytest.approx(answered(heated([same(0.8)] * 104)).hot_spot_c.value)
    assert blind.hot_spot_c.coverage == pytest.approx(96 / 104)
    after = answered(heated([same(0.8)] * 96 + [gap] * 8 + [same(0.8)] * 96))
    assert after.hot_spot_c.high - after.hot_spot_c.low < 0.1


@given(st.lists(st.floats(0, 1.5), min_size=1, max_size=40), st.sampled_from([1.0, 15.0, 240.0]))
def test_the_bounds_hold_and_restarts_change_nothing(loads: list[float], minutes: float):
    """Of a load known to a tenth, the true temperature lies between those of its bounds."""
    wide = [Band(max(0.0, v - 0.1), v, v + 0.1) for v in loads]
    known = heated(wide, minutes=minutes, restarts=True)
    assert known == heated(wide, minutes=minutes)
    made = answered(known)
    true = answered(heated([same(v) for v in loads], minutes=minutes))
    for figure, exact in ((made.hot_spot_c, true.hot_spot_c), (made.aged_h, true.aged_h), (made.oil_c, true.oil_c)):
        assert figure.low <= exact.value <= figure.high
        assert all(map(isfinite, figure))
    event(f"over 98: {made.hot_spot_c.value > 98}")


def test_a_constant_load_ages_by_its_own_rate():
    track = hot_spot.new_day(heated([same(1.0)] * 192))
    for _ in range(96):
        made = hot_spot.step(track, same(1.0), 20.0, 15.0, SMALL_OIL)
        assert isinstance(made, HotSpotTrack)
        track = made
    aged = answered(track)
    assert aged.hours == pytest.approx(24)
    assert aged.aged_h.value == pytest.approx(24, rel=0.001), "at 98 °C a day is a day"


def test_upgraded_paper_is_normal_at_110():
    warm = replace(SMALL_OIL, paper=Paper.UPGRADED)
    made = hot_spot.steady(1.0, 32.0, warm)
    assert not isinstance(made, CannotSay)
    assert made[1] == pytest.approx(110)
    assert made[2] == pytest.approx(1.0)


def test_what_no_temperature_can_be_said_of():
    for made, why in [
        (hot_spot.step(HotSpotTrack(), same(1.0), nan, 15, SMALL_OIL), Why.NOT_A_NUMBER),
        (hot_spot.step(HotSpotTrack(), same(1.0), 20, 0, SMALL_OIL), Why.NOT_POSSIBLE),
        (hot_spot.hot_spot(HotSpotTrack()), Why.NO_DATA),
        (hot_spot.run(HotSpotTrack(), [1.0], [20.0, 20.0], 15, SMALL_OIL), Why.WRONG_SHAPE),
        (hot_spot.run(HotSpotTrack(), [1.0], [nan], 15, SMALL_OIL), Why.NOT_A_NUMBER),
        (hot_spot.steady(nan, 20, SMALL_OIL), Why.NOT_A_NUMBER),
    ]:
        assert isinstance(made, CannotSay)
        assert made.because is why
    other = hot_spot.step(heated([same(1.2)] * 96), same(1.0), 20.0, 15.0, SMALL_OIL, archive="8", ambient_assumed=True)
    assert isinstance(other, HotSpotTrack)
    assert answered(other).hours == 0.25, "another transformer: its past is not this one's"
    assert answered(other).ambient_assumed


def test_a_year_of_quarters_of_heat():
    chance = Random(3)
    loads = [chance.uniform(0.2, 1.1) for _ in range(YEAR)]
    start = process_time()
    made = hot_spot.run(HotSpotTrack(), loads, [20.0] * YEAR, 15.0, SMALL_OIL)
    took_s = process_time() - start
    assert not isinstance(made, CannotSay)
    assert hot_spot.run(HotSpotTrack(), loads[:500], [20.0] * 500, 15.0, SMALL_OIL) == (
        heated([same(v) for v in loads[:500]]),
        made[1][:500],
    )
    assert len(made[1]) == YEAR
    figures.report("hot spot, a year of quarters", quarters=YEAR, cpu_seconds=round(took_s, 3))


# -- pairs that wait --------------------------------------------------------------------------------------------


def test_pairs_wait_in_a_bounded_row_and_across_restarts():
    track = PairTrack()
    for n in range(300):
        track = add(again(track), float(n), None if n % 10 == 0 else n + 0.5, hour="day", archive="7", keep_pairs=96)
    assert track.x == tuple(float(n) for n in range(204, 300))
    assert track.y.count(None) == 9
    assert add(track, nan, 1.0, hour="day", archive="8", keep_pairs=96) == PairTrack("8", (None,), (1.0,), ("day",))


def test_a_value_on_a_border_belongs_to_the_class_above_it():
    classes = Classes(0.005, 2.0)
    for hundredths in range(199):
        kept = counted(Distribution(), [hundredths / 100], classes)
        made = percentile(kept, 0.5, classes)
        assert isinstance(made, Figure)
        assert made.low == pytest.approx(hundredths / 100)


def test_one_long_step_bounds_what_many_short_ones_age():
    cool = hot_spot.new_day(heated([same(0.3)] * 192))
    long = hot_spot.step(cool, same(1.3), 20.0, 120.0, SMALL_OIL)
    short: Any = cool
    for _ in range(120):
        short = hot_spot.step(short, same(1.3), 20.0, 1.0, SMALL_OIL)
    assert isinstance(long, HotSpotTrack)
    bounds, fine = answered(long).aged_h, answered(short).aged_h
    assert bounds.low < fine.low <= fine.value <= fine.high < bounds.high
    assert answered(long).hot_spot_c.value == pytest.approx(answered(short).hot_spot_c.value)


def test_a_winding_that_heats_before_its_oil_overshoots():
    """k21 = 2, as of larger transformers: 1.5 times the gradient at first, by and by the same as with k21 = 1."""
    larger = replace(SMALL_OIL, k21=2.0)
    track: Any = heated([same(0.2)] * 192)
    track = msgspec.structs.replace(track, rise_1=tuple(2 * v for v in track.rise_1), rise_2=track.rise_1)
    rises = []
    for _ in range(600):
        track = hot_spot.step(track, same(1.0), 20.0, 2.0, larger)
        rises.append(track.rise_1[1] - track.rise_2[1])
    assert max(rises) > 1.5 * 23
    assert rises[-1] == pytest.approx(23.0, abs=0.1)
    after_90_min = 46 - 23 + (23 - 1.75) * exp(-90 * 2 / 180)
    assert rises[44] == pytest.approx(after_90_min, abs=0.1)
