"""From readings to demand: the numeric vectors of the domain, ratios, directions, order and time."""

from __future__ import annotations

from math import nan, sqrt

import pytest

from edge_agent.load.ledger import LoadLedger
from edge_agent.load.views import Source
from edge_agent.model import Reading
from tests.ledger_bench import (
    EP,
    EP_OUT,
    EQ,
    EQ_OUT,
    POLL_MS,
    S_CAP_VA,
    STEP_WH,
    TEN,
    Bench,
    K,
    P,
    Q,
    kinds,
    point,
    register,
    sampled,
)
from tests.on_paper import DAY_MS, MINUTE_MS, local_ms

# -- vectors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kw", "pf", "kva", "load_rate"),
    [(220, 0.85, 258.82, 103.53), (160, 0.90, 177.78, 71.11), (220, 0.88, 250.0, 100.0)],
)
def test_V01_the_worked_example(kw: float, pf: float, kva: float, load_rate: float):
    bench = Bench(quantities=frozenset({EP, EQ}))
    kvar = kw * sqrt(1 - pf * pf) / pf
    for t in range(TEN, TEN + 15 * MINUTE_MS + 1, POLL_MS):
        hours = (t - TEN) / 3.6e6
        bench.read(t, ep=1000 + kw * hours / K, eq=500 + kvar * hours / K, step=0.0)
    apparent = register(bench.ending("10:15")).apparent
    assert apparent is not None
    assert apparent.low == pytest.approx(apparent.high)
    assert apparent.value / 1000 == pytest.approx(kva, abs=0.01)
    assert apparent.value / 2500 == pytest.approx(load_rate, abs=0.01)


def test_V01_a_day_moves_the_register_by_48_kwh():
    bench = Bench(period_ms=DAY_MS, slide_ms=DAY_MS)
    day = local_ms("2026-03-10 08:00")  # midnight UTC: the grid of this point
    assert bench.runs(day, day + DAY_MS, 1000.0, 160_000.0, 5 * MINUTE_MS) == pytest.approx(1048.00)
    assert bench.ledger.energy_wh("p", EP) / 1000 == pytest.approx(3840.00)


def minutes_of_v02() -> list[float]:
    return [300.0 if 8 <= minute < 23 else 100.0 for minute in range(30)]


@pytest.mark.parametrize("source", ["registers", "recorded rows"])
@pytest.mark.parametrize(
    ("period", "slide", "expected"),
    [
        (15, 15, {"10:15": 193.33, "10:30": 206.67}),
        (15, 1, {"10:15": 193.33, "10:23": 300.00, "10:30": 206.67}),
        (30, 30, {"10:30": 200.00}),
        (10, 10, {"10:10": 140.0, "10:20": 300.0, "10:30": 160.0}),
    ],
)
def test_V02_block_against_sliding(source: str, period: int, slide: int, expected: dict[str, float]):
    bench = Bench(period_ms=period * MINUTE_MS, slide_ms=slide * MINUTE_MS, poll_ms=MINUTE_MS)
    kwh = 1000.0
    if source == "registers":
        bench.read(TEN, ep=kwh, step=0.0)
    for minute, kw in enumerate(minutes_of_v02(), start=1):
        kwh += kw / 60 / K
        if source == "registers":
            bench.read(TEN + minute * MINUTE_MS, ep=kwh, step=0.0)
        else:
            bench.ledger.feed_mean("p", TEN + minute * MINUTE_MS, MINUTE_MS, {P: kw * 1000})
            bench.settle(TEN + minute * MINUTE_MS)
    for end, kw in expected.items():
        interval = bench.ending(end)
        demand = register(interval) if source == "registers" else sampled(interval)
        assert demand.active is not None
        assert demand.active == pytest.approx((kw * 1000,) * 3, abs=10)
        assert demand.coverage == 1.0
    highest = max(d.active.value for i in bench.intervals for d in i.demands if d.active)
    assert highest / 1000 == pytest.approx(max(expected.values()), abs=0.01), "and nothing is above that"
    if source == "registers":
        assert bench.ledger.energy_wh("p", EP) / 1000 == pytest.approx(100.00)


def rolls_over(s_cap_va: float) -> Bench:
    bench = Bench(s_cap_va=((0, s_cap_va),), poll_ms=15 * MINUTE_MS, slide_ms=15 * MINUTE_MS)
    bench.read(TEN - 15 * MINUTE_MS, ep=999_998.75 - 1.0)
    bench.read(TEN, ep=999_998.75)
    bench.read(TEN + 15 * MINUTE_MS, ep=1.30)
    bench.read(TEN + 30 * MINUTE_MS, ep=2.30)
    return bench


def test_V03_a_rollover_that_the_transformers_can_carry_is_energy():
    bench = rolls_over(1_000_000.0)
    assert kinds(bench) == ["rollover"]
    assert bench.kw("10:15") == pytest.approx(816.00), "2.55 kWh x 80 in a quarter of an hour"
    assert bench.ledger.energy_wh("p", EP) / 1000 == pytest.approx((1.0 + 2.55 + 1.0) * K)


def test_V03_one_that_they_cannot_carry_is_a_decrease_and_books_nothing():
    bench = rolls_over(277_130.0)
    assert kinds(bench) == ["decrease"]
    (event,) = bench.events
    assert (event.before, event.after) == (999_998_750.0, 1_300.0)
    assert event.confirmed, "both levels were read twice"
    assert bench.ledger.energy_wh("p", EP) / 1000 == pytest.approx((1.0 + 1.0) * K)
    assert bench.ending("10:15").register is None
    assert bench.ending("10:15").spans == "register_break"
    assert bench.kw("10:30") == pytest.approx(320.0)


def test_V03_a_register_that_is_not_near_its_end_does_not_roll_over():
    bench = Bench(s_cap_va=((0, 1e12),))
    for i, kwh in enumerate((980_000.0, 980_000.0, 1.30, 1.30)):
        bench.read(TEN + i * POLL_MS, ep=kwh)
    assert kinds(bench) == ["decrease"]


@pytest.mark.parametrize(("valid", "value"), [(15, 200.0), (12, 200.0), (11, nan)])
def test_V04_a_mean_of_samples_needs_four_fifths_of_its_minutes(valid: int, value: float):
    bench = Bench(poll_ms=MINUTE_MS)
    minutes = [m for m in range(1, 16) if m not in (3, 7, 8, 11)[: 15 - valid]]
    assert len(minutes) == valid
    for minute in [-1, 0, *minutes, 16, 17]:
        bench.ledger.feed_mean("p", TEN + minute * MINUTE_MS, MINUTE_MS, {P: 200_000.0})
    bench.settle(0)
    demand = sampled(bench.ending("10:15"))
    assert demand.source is Source.RECORDED
    assert demand.coverage == pytest.approx(valid / 15)
    assert demand.active is not None
    assert demand.active.value == pytest.approx(value * 1000, nan_ok=True)
    assert demand.active.low == pytest.approx(200_000 * valid / 15), "missing time counts zero"
    assert demand.active.high == pytest.approx((200_000 * valid + S_CAP_VA * (15 - valid)) / 15), (
        "or what the CTs carry"
    )


@pytest.mark.parametrize("slide", [1, 15])
def test_V04_a_register_that_missed_a_boundary_bounds_the_maximum(slide: int):
    bench = Bench(slide_ms=slide * MINUTE_MS, poll_ms=15 * MINUTE_MS)
    bench.read(TEN, ep=1234.56, step=0.0)
    bench.read(TEN + 30 * MINUTE_MS, ep=1235.31, step=0.0)
    both = bench.ending("10:30", count=2)
    assert both.start_ms == TEN
    active = register(both).active
    assert active is not None
    assert active == pytest.approx((120_000.0, 120_000.0, 240_000.0)), "at least one of the two reached 120 kW"
    blocks = [i for i in bench.intervals if i.block and i.count == 1 and i.register is not None and i.start_ms >= TEN]
    assert blocks, "the first half is told for itself"
    for interval in blocks:
        alone = register(interval).active
        assert alone is not None
        assert (alone.low, alone.high) == pytest.approx((0.0, 240_000.0))


def test_V04_with_the_steps_of_the_display():
    bench = Bench(slide_ms=15 * MINUTE_MS, poll_ms=15 * MINUTE_MS)
    bench.read(TEN, ep=1234.56)
    bench.read(TEN + 30 * MINUTE_MS, ep=1235.31)
    active = register(bench.ending("10:30", count=2)).active
    assert active is not None
    assert active == pytest.approx((118_400.0, 120_000.0, 243_200.0)), "one step of 0.8 kWh more or less"


def test_V05_another_ct_from_one_midnight_on():
    march, middle, april = (local_ms(f"2026-{d} 00:00") for d in ("03-01", "03-16", "04-01"))
    bench = Bench(
        k=((0, 80.0), (middle, 120.0)), s_cap_va=((0, S_CAP_VA), (middle, 1.5 * S_CAP_VA)), changes_ms=(middle,),
        poll_ms=DAY_MS, period_ms=15 * MINUTE_MS, slide_ms=15 * MINUTE_MS,
    )  # fmt: skip
    for at, kwh in ((march, 1000.0), (middle, 1620.0), (april, 1980.0)):
        bench.read(at, ep=kwh)
    assert bench.ledger.energy_wh("p", EP) / 1000 == 92_800.00


def test_V05_day_by_day_with_the_change_between_two_polls():
    """Nobody read the register at the change: what flowed between the two readings is booked at neither ratio."""
    middle = local_ms("2026-03-16 00:00")
    bench = Bench(k=((0, 80.0), (middle, 120.0)), changes_ms=(middle,))
    bench.read(middle - 20_000, ep=1000.00)
    bench.read(middle - 5_000, ep=1000.01)
    bench.read(middle + 10_000, ep=1000.02)
    bench.read(middle + 25_000, ep=1000.03)
    assert bench.ledger.energy_wh("p", EP) == pytest.approx(10 * 80 + 10 * 120)


def test_a_window_over_a_change_of_the_archive_says_so():
    change = TEN + 7 * MINUTE_MS
    bench = Bench(k=((0, 80.0), (change, 120.0)), changes_ms=(change,))
    bench.runs(TEN - 15 * MINUTE_MS, TEN + 40 * MINUTE_MS, 1000.0, 100_000.0)
    assert bench.ending("10:00").spans == ""
    assert {bench.ending(f"10:{m:02d}").spans for m in range(8, 22)} == {"archive_change"}
    assert bench.ending("10:22").spans == ""
    assert bench.kw("10:22") == pytest.approx(150.0), "the register as before, times the new ratio"


# -- K, S_cap, directions ---------------------------------------------------------------------------------------


def test_K_is_applied_once():
    bench = Bench(quantities=frozenset({EP, P, Q}))
    bench.runs(TEN, TEN + 15 * MINUTE_MS, 1000.0, 160_000.0, p=2000.0, q=1500.0)
    interval = bench.ending("10:15")
    for demand in (register(interval), sampled(interval)):
        assert demand.active == pytest.approx((160_000.0,) * 3)
    assert sampled(interval).apparent == pytest.approx((200_000.0,) * 3), "S of samples of the same instant"


def test_a_meter_that_shows_primary_values_has_K_one():
    bench = Bench(k=((0, 1.0),))
    bench.runs(TEN, TEN + 15 * MINUTE_MS, 1000.0, 160_000.0 / 80 * K)
    assert bench.kw("10:15") == pytest.approx(160.0 / K)


def test_with_an_unknown_ratio_nothing_can_be_said():
    bench = Bench(k=(), quantities=frozenset({EP, P}))
    bench.runs(TEN, TEN + 40 * MINUTE_MS, 1000.0, 160_000.0, p=2000.0)
    assert [i for i in bench.intervals if i.demands] == []
    assert bench.ledger.energy_wh("p", EP) == 0.0


def test_a_ratio_that_becomes_known_counts_from_then_on():
    known_from = TEN + 10 * MINUTE_MS
    bench = Bench(k=((known_from, K),), changes_ms=(known_from,))
    bench.runs(TEN, TEN + 40 * MINUTE_MS, 1000.0, 160_000.0)
    assert next(i.end_ms for i in bench.intervals if i.demands) == known_from + 15 * MINUTE_MS + MINUTE_MS
    assert bench.kw("10:30") == pytest.approx(160.0)


def test_import_and_export_are_kept_apart():
    bench = Bench(quantities=frozenset({EP, EP_OUT, P, Q}))
    for t in range(TEN, TEN + 15 * MINUTE_MS + 1, POLL_MS):
        hours = (t - TEN) / 3.6e6
        bench.read(t, ep=1000.0, ep_out=50 + 100 * hours / K, p=-100_000 / K, q=0.0, step=0.0)
    interval = bench.ending("10:15")
    assert register(interval).active == pytest.approx((0.0, 0.0, 0.0))
    assert sampled(interval).active == pytest.approx((0.0, 0.0, 0.0))
    assert sampled(interval).apparent == pytest.approx((0.0, 0.0, 0.0)), "export is not use"
    assert bench.ledger.energy_wh("p", EP_OUT) == pytest.approx(25_000.0)


def test_reactive_energy_of_both_directions():
    bench = Bench(quantities=frozenset({EP, EQ, EQ_OUT}))
    for t in range(TEN, TEN + 15 * MINUTE_MS + 1, POLL_MS):
        hours = (t - TEN) / 3.6e6
        bench.read(t, ep=1000 + 160 * hours / K, eq=10 + 40 * hours / K, eq_out=20 + 160 * hours / K, step=0.0)
    demand = register(bench.ending("10:15"))
    assert demand.reactive is not None
    assert demand.reactive.value == pytest.approx(120_000.0)
    assert demand.reactive.low <= 120_000.0 * (1 + 1e-9)
    assert demand.reactive.high >= 120_000.0 * (1 - 1e-9)
    assert demand.apparent is not None
    assert demand.apparent.value == pytest.approx(200_000.0)


def test_active_registers_alone_give_no_apparent_power():
    bench = Bench()
    bench.runs(TEN, TEN + 15 * MINUTE_MS, 1000.0, 160_000.0)
    demand = register(bench.ending("10:15"))
    assert demand.apparent is None
    assert demand.active == pytest.approx((160_000.0,) * 3)


def test_sampled_power_between_two_samples_lies_between_them():
    bench = Bench(quantities=frozenset({P}))
    for i, t in enumerate(range(TEN, TEN + 15 * MINUTE_MS + 1, POLL_MS)):
        bench.read(t, p=(1000.0, 3000.0)[i % 2])
    active = sampled(bench.ending("10:15")).active
    assert active == pytest.approx((80_000.0, 160_000.0, 240_000.0))


def test_a_gap_in_sampled_power_counts_zero_or_what_the_transformers_carry():
    bench = Bench(quantities=frozenset({P}))
    gap = range(TEN + 6 * MINUTE_MS + 1, TEN + 9 * MINUTE_MS)
    for t in range(TEN, TEN + 15 * MINUTE_MS + 1, POLL_MS):
        if t not in gap:
            bench.read(t, p=2000.0)
    demand = sampled(bench.ending("10:15"))
    assert demand.coverage == pytest.approx(0.8)
    assert demand.active is not None
    assert demand.active.low == pytest.approx(160_000 * 0.8)
    assert demand.active.high == pytest.approx(160_000 * 0.8 + S_CAP_VA * 0.2)
    assert demand.active.value == pytest.approx(160_000)


def test_the_same_gap_costs_a_register_nothing():
    bench = Bench()
    gap = range(TEN + 6 * MINUTE_MS + 1, TEN + 9 * MINUTE_MS)
    for t in range(TEN, TEN + 15 * MINUTE_MS + 1, POLL_MS):
        if t not in gap:
            bench.read(t, ep=1000 + 2.0 * (t - TEN) / 3.6e6, step=0.0)
    demand = register(bench.ending("10:15"))
    assert demand.coverage == pytest.approx(0.8)
    assert demand.active == pytest.approx((160_000.0,) * 3)


def test_no_load_is_no_load_however_coarse_the_register():
    bench = Bench()
    for t in range(TEN, TEN + 15 * MINUTE_MS + 1, POLL_MS):
        bench.read(t, ep=1_000_000.0, step=62.5)
    assert register(bench.ending("10:15")).active == pytest.approx((0.0, 0.0, 20_000.0))


# -- order and time ---------------------------------------------------------------------------------------------


def test_the_same_instant_twice_and_an_older_reading_change_nothing():
    bench, plain = Bench(quantities=frozenset({EP, P})), Bench(quantities=frozenset({EP, P}))
    for i in range(140):
        t, kwh = TEN + i * POLL_MS, 1000 + 0.01 * i
        plain.read(t, ep=kwh, p=2000.0)
        bench.read(t, ep=kwh, p=2000.0)
        bench.read(t, ep=kwh + 0.003, p=9000.0)
        bench.read(t - 7_000, ep=kwh - 0.001, p=9000.0)
    assert any(i.demands for i in plain.intervals)
    assert [repr(i.demands) for i in bench.intervals] == [repr(i.demands) for i in plain.intervals]


def test_many_readings_in_one_tick_close_what_they_would_have_closed_one_by_one():
    """Readings wait while the clock is unset, and then come all at once."""
    one_by_one, at_once = Bench(), Bench()
    readings = [Reading("m1", EP, 1e6 + 30.0 * i, STEP_WH, TEN + i * 60_000, None) for i in range(6 * 60)]
    for reading in readings:
        one_by_one.feed([reading])
    at_once.feed(readings)
    assert len(one_by_one.intervals) > 300
    assert [repr(i.register) for i in at_once.intervals] == [repr(i.register) for i in one_by_one.intervals]


def test_a_row_that_is_slower_than_the_others_is_waited_for():
    """Registers once a minute, power every 15 s: no window closes without its register."""
    bench = Bench(quantities=frozenset({EP, P}), poll_ms=MINUTE_MS)
    for t in range(TEN, TEN + 40 * MINUTE_MS, POLL_MS):
        late = {"ep": 1000 + 2.0 * (t - TEN) / 3.6e6} if (t - TEN) % MINUTE_MS == 30_000 else {}
        bench.read(t, p=2000.0, step=0.0, **late)
    judged = [i for i in bench.intervals if i.start_ms >= TEN + MINUTE_MS]
    assert len(judged) > 20
    assert all(i.register is not None and i.sampled is not None for i in judged)


def test_a_row_that_stopped_holds_nobody_up():
    bench = Bench(quantities=frozenset({EP, P}))
    for t in range(TEN, TEN + 40 * MINUTE_MS + 1, POLL_MS):
        alive = {"p": 2000.0} if t < TEN + 20 * MINUTE_MS else {}
        bench.read(t, ep=1000 + 2.0 * (t - TEN) / 3.6e6, step=0.0, **alive)
    assert bench.ending("10:39").sampled is None
    assert bench.kw("10:39") == pytest.approx(160.0)
    assert bench.ledger.confirmed_ms()["p"] == TEN + 40 * MINUTE_MS - POLL_MS, "nor the confirmation of a finding"


def test_confirmed_up_to_the_reading_before_the_last():
    bench = Bench()
    bench.read(TEN, ep=1000.0)
    assert bench.ledger.confirmed_ms()["p"] < TEN
    bench.read(TEN + POLL_MS, ep=1000.01)
    assert bench.ledger.confirmed_ms() == {"p": TEN}
    bench.read(TEN + 2 * POLL_MS, ep=0.0)
    assert bench.ledger.confirmed_ms() == {"p": TEN}, "a bad frame confirms nothing"
    bench.read(TEN + 3 * POLL_MS, ep=1000.02)
    assert bench.ledger.confirmed_ms() == {"p": TEN + POLL_MS}


def test_a_gap_of_many_hours_is_told_as_one_and_its_mean_as_at_least_one():
    bench = Bench()
    kwh = bench.runs(TEN - 15 * MINUTE_MS, TEN, 1000.0, 160_000.0)
    later = TEN + 8 * 60 * MINUTE_MS
    bench.runs(later, later + 30 * MINUTE_MS, kwh + 16.0, 160_000.0)
    (gap,) = [i for i in bench.intervals if i.spans == "gap"]
    assert gap.demands == ()
    assert gap.end_ms - gap.start_ms > 7 * 60 * MINUTE_MS
    (mean,) = [i for i in bench.intervals if i.count > 1 and i.spans != "gap"]
    assert (mean.start_ms, mean.end_ms, mean.count) == (TEN, later, 32)
    active = register(mean).active
    assert active is not None
    assert active.low == pytest.approx(160_000.0)
    assert bench.kw("18:30") == pytest.approx(160.0)
    ends = [i.end_ms for i in bench.intervals if i.count == 1]
    assert ends == sorted(set(ends))


@pytest.mark.parametrize("step_ms", [-2 * 3_600_000, -90_000, 90_000, 5 * 3_600_000, -400 * DAY_MS])
def test_a_step_of_the_clock_breaks_the_windows_that_it_lies_in_and_no_others(step_ms: int):
    bench = Bench(quantities=frozenset({EP, P}))
    kwh = bench.runs(TEN, TEN + 40 * MINUTE_MS, 1000.0, 160_000.0, p=2000.0)
    before = len(bench.intervals)
    set_to = TEN + 40 * MINUTE_MS + step_ms
    bench.ledger.stepped(set_to)
    bench.runs(set_to + POLL_MS, set_to + 40 * MINUTE_MS, kwh, 160_000.0, p=2000.0)
    after = [i for i in bench.intervals[before:] if i.spans != "gap"]
    across = [i for i in after if i.start_ms < set_to < i.end_ms]
    whole = [i for i in after if i.start_ms > set_to]
    assert len(across) >= 14
    assert {i.spans for i in across} == {"clock_step"}
    assert all(i.demands == () for i in across)
    assert len(whole) >= 20
    assert {i.spans for i in whole} == {""}
    assert all(register(i).active == pytest.approx((160_000.0,) * 3) for i in whole)


def test_the_grid_follows_the_zone_of_the_point():
    """Nepal is 5 h 45 min ahead: an hour's demand there ends at a quarter past the hour of UTC."""
    bench = Bench(period_ms=60 * MINUTE_MS, slide_ms=60 * MINUTE_MS, grid_offset_ms=15 * MINUTE_MS)
    bench.runs(TEN, TEN + 3 * 60 * MINUTE_MS, 1000.0, 160_000.0, MINUTE_MS)
    assert [i.end_ms % (60 * MINUTE_MS) for i in bench.intervals if i.demands] == [15 * MINUTE_MS] * 2


def test_two_points_read_in_one_tick_on_either_side_of_a_change():
    """What the first was read at still counts at the old ratio, though the second was read after the change."""
    change = TEN + 10 * MINUTE_MS
    line = ((0, 80.0), (change, 120.0))
    ledger = LoadLedger([point(id=i, device=f"m-{i}", k=line, changes_ms=(change,)) for i in ("a", "b")])
    for n in range(-4, 5):
        at = {"a": change + n * POLL_MS, "b": change + n * POLL_MS + 5_000}
        ledger.feed([(Reading(f"m-{i}", EP, 1e6 + 10.0 * n, STEP_WH, t, None), t) for i, t in at.items()])
    assert ledger.energy_wh("a", EP) == pytest.approx(4 * 10 * 80 + 4 * 10 * 120)
    assert ledger.energy_wh("b", EP) == pytest.approx(3 * 10 * 80 + 4 * 10 * 120), "one step lies across the change"
