"""Registers that misbehave, meters that are exchanged, and a restart in the middle of it."""

from __future__ import annotations

from math import hypot, isnan, nan
from typing import Any

import pytest

from edge_agent.load.ledger import SERIAL_WAIT_MS, LoadLedger
from edge_agent.model import Reading
from tests.ledger_bench import (
    EP,
    POLL_MS,
    S_CAP_VA,
    TEN,
    Bench,
    K,
    P,
    kinds,
    point,
    register,
)
from tests.on_paper import DAY_MS, MINUTE_MS

# -- registers that misbehave -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [0.0, 999.99, 1234.56 * 2, 4_000_000.0, -3.0], ids=str)
@pytest.mark.parametrize("s_cap_va", [S_CAP_VA, 5e6])
def test_a_single_bad_frame_is_neither_energy_nor_an_event(bad: float, s_cap_va: float):
    bench, clean = Bench(s_cap_va=((0, s_cap_va),)), Bench(s_cap_va=((0, s_cap_va),))
    for i in range(130):
        t, kwh = TEN + i * POLL_MS, 1234.56 + 0.01 * i
        if i != 60:
            clean.read(t, ep=kwh)
        bench.read(t, ep=bad if i == 60 else kwh)
        assert bool(bench.ledger.wants()) == (i == 60), "the next reading settles it"
    assert bench.events == []
    assert [repr(i.register) for i in bench.intervals] == [repr(i.register) for i in clean.intervals]
    assert any(i.register for i in bench.intervals)


def test_a_bad_frame_as_the_very_first_reading_is_left_behind():
    bench = Bench()
    for i in range(80):
        bench.read(TEN + i * POLL_MS, ep=0.0 if i == 0 else 1234.56 + 0.01 * i)
    assert bench.kw("10:16") == pytest.approx(192.0)
    assert bench.ledger.energy_wh("p", EP) == pytest.approx(78 * 10 * K), "the way up to the true level is no energy"
    assert [e.confirmed for e in bench.events] == [False]


def test_a_bad_frame_too_high_by_little_confirms_nothing():
    """It passes for energy at first; the readings after it lie below: what it decided has not been confirmed."""
    bench = Bench()
    last = bench.runs(TEN, TEN + 15 * MINUTE_MS - POLL_MS, 1000.0, 250_000.0)
    at = TEN + 15 * MINUTE_MS
    bench.read(at, ep=last + 0.012, step=0.0)
    assert bench.intervals[-1].end_ms == at, "the bad frame closed the window"
    for i in (1, 2, 3):
        bench.read(at + i * POLL_MS, ep=last + 0.001 * i, step=0.0)
    assert bench.ledger.contradicted_ms() == {"p": at}
    assert kinds(bench) == ["decrease"]
    assert not bench.events[0].confirmed, "the level above was read once: a bad frame, not a decrease"


def test_a_level_that_stays_is_a_jump_and_no_energy():
    bench = Bench()
    for i, kwh in enumerate((1000.0, 1000.01, 2000.0, 2000.01, 2000.02)):
        bench.read(TEN + i * POLL_MS, ep=kwh)
    assert kinds(bench) == ["jump"]
    assert bench.ledger.energy_wh("p", EP) == pytest.approx(30 * K)


def test_a_register_that_flies_is_told_though_no_two_readings_agree():
    bench = Bench()
    for i in range(6):
        bench.read(TEN + i * POLL_MS, ep=1000.0 + (0.01 * i if i < 3 else 50.0 * i))
    assert kinds(bench)[:1] == ["jump"]
    assert bench.events[0].after == pytest.approx(1_150_000.0)
    assert bench.ledger.energy_wh("p", EP) == pytest.approx(20 * K), "what flies is no energy"
    for i in range(6, 20):
        bench.read(TEN + i * POLL_MS, ep=1250.0 + 0.01 * i)
    assert bench.ledger.energy_wh("p", EP) == pytest.approx((20 + 130) * K), "and it is counted again afterwards"


def test_a_decrease_waits_for_the_serial():
    bench = Bench(has_serial=True)
    bench.identify(TEN - 1, "0000123456")
    for i, kwh in enumerate((1000.0, 1000.01, 900.0, 900.01)):
        bench.read(TEN + i * POLL_MS, ep=kwh)
    assert bench.events == []
    assert bench.ledger.wants() == {"m1"}
    bench.identify(TEN + 5 * POLL_MS, "0000123456")
    assert [(e.kind, e.confirmed, e.serial_known) for e in bench.events] == [("decrease", True, True)]
    assert not bench.ledger.wants()


def test_a_decrease_whose_serial_never_comes_is_told_with_the_serial_unknown():
    bench = Bench(has_serial=True)
    bench.identify(TEN - 1, "0000123456")
    for i, kwh in enumerate((1000.0, 1000.01, 900.0, 900.01)):
        bench.read(TEN + i * POLL_MS, ep=kwh)
    bench.settle(TEN + 2 * POLL_MS + SERIAL_WAIT_MS)
    assert [(e.kind, e.serial_known) for e in bench.events] == [("decrease", False)]


def test_a_serial_that_was_not_known_before_proves_nothing():
    bench = Bench(has_serial=True)
    for i, kwh in enumerate((1000.0, 1000.01, 900.0, 900.01)):
        bench.read(TEN + i * POLL_MS, ep=kwh)
    bench.identify(TEN + 5 * POLL_MS, "0000123456")
    assert [(e.kind, e.serial_known) for e in bench.events] == [("decrease", False)]


def test_another_serial_is_another_meter_and_opens_a_new_segment():
    bench = Bench(has_serial=True)
    bench.identify(TEN - 1, "0000123456")
    for i, kwh in enumerate((1000.0, 1000.01, 3.0, 3.01)):
        bench.read(TEN + i * POLL_MS, ep=kwh)
    before = bench.ledger.energy_wh("p", EP)
    bench.identify(TEN + 3 * POLL_MS + 1, "0000999999")
    assert kinds(bench) == ["replacement"]
    bench.runs(TEN + 4 * POLL_MS, TEN + 40 * MINUTE_MS, 3.02, 160_000.0)
    assert bench.ledger.energy_wh("p", EP) - before == pytest.approx(160_000 * 39 / 60, rel=1e-6)
    assert {bench.ending(f"10:{m:02d}").spans for m in range(1, 16)} == {"meter_exchange"}
    assert bench.kw("10:30") == pytest.approx(160.0)


def test_another_meter_with_a_higher_register_is_no_energy_either():
    bench = Bench(has_serial=True)
    bench.identify(TEN - 1, "0000123456")
    bench.runs(TEN, TEN + MINUTE_MS, 1000.0, 100_000.0)
    bench.identify(TEN + MINUTE_MS + 1, "0000999999")
    booked = bench.ledger.energy_wh("p", EP)
    bench.read(TEN + 75_000, ep=1000.9)
    assert kinds(bench) == ["replacement"]
    assert bench.ledger.energy_wh("p", EP) == booked


def test_a_value_that_is_no_number_is_no_reading():
    bench = Bench()
    for i in range(70):
        t = TEN + i * POLL_MS
        bench.read(t, ep=nan if i % 7 == 0 else 1000 + 0.01 * i)
    assert bench.events == []
    demand = register(bench.ending("10:16"))
    assert demand.active is not None
    assert not isnan(demand.active.value)
    assert hypot(demand.active.value, 0) == pytest.approx(192_000, rel=1e-3)


# -- restart ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", range(44))
def test_a_restart_at_any_reading_of_a_troubled_meter_changes_nothing(at: int):
    """Bad frames, a decrease, a rollover, an exchange: what had been seen of them is remembered."""
    steady, restarted = (Bench(has_serial=True, poll_ms=MINUTE_MS, quantities=frozenset({EP, P})) for _ in range(2))
    for bench in (steady, restarted):
        bench.identify(TEN - 1, "0000123456")
        levels = [*(1000 + 0.02 * i for i in range(10)), 0.0, *(1000.22 + 0.02 * i for i in range(6))]
        levels += [*(900 + 0.02 * i for i in range(6)), 950.0, *(900.14 + 0.02 * i for i in range(20))]
        for i, kwh in enumerate(levels):
            bench.read(TEN + i * MINUTE_MS, ep=kwh, p=1000.0 + i)
            if i == 30:
                bench.identify(TEN + i * MINUTE_MS + 1, "0000123456")
            if i == 36:
                bench.identify(TEN + i * MINUTE_MS + 1, "0000999999")
            if i == at and bench is restarted:
                bench.restarted()
    assert len(steady.intervals) > 35
    assert [repr(i) for i in restarted.intervals] == [repr(i) for i in steady.intervals]
    assert kinds(restarted) == kinds(steady) == ["decrease", "replacement"]


@pytest.mark.parametrize(
    "changes",
    [{"slide_ms": 15 * MINUTE_MS}, {"period_ms": 30 * MINUTE_MS}, {"device": "m2"}],
    ids=lambda c: next(iter(c)),
)
def test_a_point_with_another_grid_or_another_meter_begins_anew(changes: dict[str, Any]):
    bench = Bench()
    kwh = bench.runs(TEN, TEN + 20 * MINUTE_MS, 1000.0, 160_000.0)
    delta = bench.ledger.delta()
    other = LoadLedger([point(**changes)])
    other.restore([delta])
    closed, device = [], changes.get("device", "m1")
    for t in range(TEN + 21 * MINUTE_MS, TEN + 100 * MINUTE_MS, MINUTE_MS):
        value = (3.0 if device == "m2" else kwh) * 1000 + 2000 * (t - TEN - 20 * MINUTE_MS) / 3.6e6
        other.feed([(Reading(device, EP, value, 0.0, t, None), t)])
        closed += other.close()
    told = [i for i in closed if i.register is not None]
    assert told
    assert all(register(i).active == pytest.approx((160_000.0,) * 3) for i in told)
    assert min(i.start_ms for i in told) >= TEN + 21 * MINUTE_MS
    assert other.events(TEN + DAY_MS) == []


def test_a_point_that_is_gone_is_passed_over():
    bench = Bench()
    bench.runs(TEN, TEN + 20 * MINUTE_MS, 1000.0, 160_000.0)
    other = LoadLedger([point(id="other", device="m7")])
    other.restore([bench.ledger.delta()])
    other.feed([(Reading("m7", EP, 1.0, 0.0, TEN + i * MINUTE_MS, None), TEN + i * MINUTE_MS) for i in range(20)])
    assert any(i.register for i in other.close())
