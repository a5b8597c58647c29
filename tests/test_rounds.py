"""What a device showed at about one instant, and its means over a block: nothing mixed, nothing vouched for twice."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from datetime import date
from zoneinfo import ZoneInfo

import pytest

from edge_agent.assembly import samplers_of
from edge_agent.load.blocks import Blocks
from edge_agent.load.claims import Claims
from edge_agent.load.days import Days
from edge_agent.load.points import LoadPoint
from edge_agent.load.rounds import Rounds, Sampler, sampled_of
from edge_agent.load.views import Band, Block, Day, Demand, Interval, Role, Round, Source
from edge_agent.model import Identity, Ms, Quantity, Reading
from tests.meters import ROOT, meter, read_profile
from tests.on_paper import MINUTE_MS, archive_of, local_ms

U1, I1, P, F = Quantity.VOLTAGE_L1, Quantity.CURRENT_L1, Quantity.ACTIVE_POWER, Quantity.FREQUENCY
BRISK = frozenset({U1, I1, P})
METER = Sampler("p", "m1", Role.METER, BRISK | {F}, BRISK, 60_000, ((0, 80.0),), ((0, 1.0),), ((0, 80.0),))
POINT = LoadPoint("p", "m1", 900_000, 60_000, 15_000, ((0, 80.0),), ((0, 277_128.0),))


def read(quantity: Quantity, value: float, t_ms: Ms, device: str = "m1") -> tuple[Reading, Ms]:
    return Reading(device, quantity, value, 0.0, t_ms, None), t_ms


def showed(t_ms: Ms, u: float, i: float, p: float) -> list[tuple[Reading, Ms]]:
    """A round in three questions, 200 ms apart."""
    return [read(U1, u, t_ms), read(I1, i, t_ms + 200), read(P, p, t_ms + 400)]


# -- rounds ---------------------------------------------------------------------------------------------------------


def test_a_round_is_complete_when_all_that_is_asked_as_often_is_fresh():
    rounds = Rounds([METER])
    rounds.feed(showed(0, 230, 2.0, 1000)[:2])
    assert not rounds.settle(200)
    rounds.feed(showed(0, 230, 2.0, 1000)[2:])
    (first,) = rounds.settle(400)
    assert (first.start_ms, first.end_ms, first.spread_ms) == (400, 400, 400)
    assert first.now == {U1: 230, I1: 160.0, P: 80_000.0} == first.before
    rounds.feed(showed(15_000, 231, 3.0, 1500))
    (second,) = rounds.settle(15_400)
    assert (second.start_ms, second.end_ms, second.before) == (400, 15_400, first.now)


def test_a_slow_register_is_carried_along_and_named_and_not_for_ever():
    rounds = Rounds([METER])
    rounds.feed([read(F, 50.0, 0), *showed(100, 230, 2.0, 1000)])
    assert rounds.settle(500)[0].stale == frozenset(), "it was read for this round"
    rounds.feed(showed(59_000, 230, 2.0, 1000))
    (second,) = rounds.settle(59_400)
    assert (second.now[F], second.stale) == (50.0, frozenset({F}))
    rounds.feed(showed(61_000, 230, 2.0, 1000))
    assert F not in rounds.settle(61_400)[0].now


def test_what_a_round_misses_is_missing_and_nothing_of_before_stands_for_it():
    rounds = Rounds([METER])
    rounds.feed(showed(0, 230, 2.0, 1000))
    rounds.settle(400)
    rounds.feed(showed(70_000, 230, 2.0, 1000)[:2])  # the third question was not answered
    rounds.feed(showed(85_000, 229, 2.0, 1000))
    cut, whole = rounds.settle(85_400)
    assert P not in cut.now
    assert cut.start_ms == cut.end_ms == 70_200, "the round before is too far away"
    assert whole.before == cut.now
    assert whole.now[P] == 80_000.0
    rounds.feed(showed(100_000, 230, 2.0, 1000)[:1])
    assert not rounds.settle(130_000)
    assert [r.end_ms for r in rounds.settle(161_000)] == [100_000], "told when the rest will not come any more"


def test_a_current_whose_ratio_is_not_known_is_not_shown():
    rounds = Rounds([replace(METER, amps=((10_000, 80.0),))])
    rounds.feed(showed(0, 230, 2.0, 1000))
    assert I1 not in rounds.settle(400)[0].now
    rounds.feed(showed(15_000, 230, 2.0, 1000))
    assert rounds.settle(15_400)[0].now[I1] == 160.0


def test_after_the_clock_was_set_nothing_continues():
    rounds = Rounds([METER])
    rounds.feed(showed(0, 230, 2.0, 1000))
    rounds.stepped()
    rounds.feed(showed(15_000, 230, 2.0, 1000))
    assert [r.start_ms for r in rounds.settle(15_400)] == [400, 15_400]


def test_values_that_are_no_numbers_and_foreign_devices_are_passed_over():
    rounds = Rounds([METER])
    rounds.feed([read(U1, math.nan, 0), read(U1, 230, 0, "m9"), read(Quantity.MAXIMUM_DEMAND, 5.0, 0)])
    assert not rounds.settle(100_000)
    assert Quantity.MAXIMUM_DEMAND not in sampled_of([Quantity.MAXIMUM_DEMAND, U1])


def test_meter_and_independent_ct_of_a_point_become_samplers_with_their_ratios():
    archive = archive_of({"ct_device": "c1"})
    profiles = {"m1": "acrel-dtsd1352", "c1": "eastron-sdm120"}
    devices = {
        d: replace(meter(device=d), profile=read_profile(ROOT / f"config/profiles/{name}.toml"))
        for d, name in profiles.items()
    }
    made = {s.role: s for s in samplers_of(archive, devices)}
    assert (made[Role.METER].device, made[Role.CT].device) == ("m1", "c1")
    at_ms = local_ms("2026-03-10 10:00")
    for role, sampler in made.items():
        assert sampler.brisk, role
        assert sampler.brisk <= sampler.quantities, role
        secondary = devices[sampler.device].profile.side == "secondary"
        assert sampler.factor(I1, at_ms) == (80.0 if secondary else 1.0)
        assert sampler.factor(P, at_ms) == (80.0 if secondary else 1.0)
        assert sampler.factor(U1, at_ms) == 1.0
    assert {devices[d].profile.side for d in devices} == {"primary", "secondary"}
    assert not samplers_of(archive, {})


# -- blocks ---------------------------------------------------------------------------------------------------------


def rounds_of(values: list[tuple[Ms, float]], role: Role = Role.METER) -> list[Round]:
    out = []
    for (start, before), (end, now) in itertools.pairwise(values):
        out.append(Round("p", "m1", role, start, end, {I1: before}, {I1: now}))
    return out


def closed_by(values: list[tuple[Ms, float]], now_ms: Ms) -> list[Block]:
    blocks = Blocks([POINT])
    blocks.feed(rounds_of(values))
    return list(blocks.settle(now_ms))


def test_a_mean_is_the_area_under_straight_lines_between_rounds():
    (block,) = closed_by([(t * MINUTE_MS, 10.0 if t < 7.5 else 20.0) for t in range(16)], 15 * MINUTE_MS)
    mean = block.means[I1]
    assert (block.start_ms, block.end_ms, mean.coverage) == (0, 900_000, 1.0)
    assert mean.value == pytest.approx((7 * 10 + 15 + 7 * 20) / 15)
    assert (mean.least, mean.most) == (10.0, 20.0)


def test_a_round_across_the_border_is_shared_out():
    first, second = closed_by([(14 * MINUTE_MS, 0.0), (16 * MINUTE_MS, 20.0)], 60 * MINUTE_MS)
    assert first.means[I1].value == pytest.approx(5.0)
    assert second.means[I1].value == pytest.approx(15.0)
    assert first.means[I1].coverage == second.means[I1].coverage == pytest.approx(1 / 15)


def test_what_no_round_vouches_for_is_not_covered():
    lonely = Round("p", "m1", Role.METER, 300_000, 300_000, {I1: 9.0}, {I1: 9.0})
    blocks = Blocks([POINT])
    blocks.feed([lonely, *rounds_of([(600_000, 4.0), (690_000, 4.0)])])
    (block,) = blocks.settle(1_800_000)
    assert block.means[I1].value == 4.0
    assert block.means[I1].coverage == pytest.approx(0.1)


def test_a_quantity_that_is_asked_less_often_runs_straight_from_reading_to_reading():
    """Power every 30 s and voltage every minute, read after the power: a whole hour of blocks is covered."""
    brisk = frozenset({P})
    rounds = Rounds([replace(METER, quantities=frozenset({P, U1}), brisk=brisk)])
    blocks = Blocks([POINT])
    for number in range(121):
        t_ms = number * 30_000
        rounds.feed([read(P, 1000.0, t_ms), *([read(U1, 230.0 + number, t_ms + 300)] if number % 2 == 0 else [])])
        blocks.feed(rounds.settle(t_ms + 500))
    out = blocks.settle(3_600_000)
    assert len(out) == 4
    for number, block in enumerate(out):
        assert block.means[P].coverage == 1.0
        assert block.means[U1].coverage >= (0.96 if number else 0.93), "across a border a line is the later block's"
    mean = out[1].means[U1]
    assert mean.value == pytest.approx(230 + 45 - 0.5, abs=1.5)
    assert mean.least < mean.value < mean.most


def test_a_carried_value_vouches_for_no_block():
    blocks = Blocks([POINT])
    blocks.feed([Round("p", "m1", Role.METER, 0, 60_000, {F: 50.0}, {F: 50.0}, frozenset({F}))])
    assert not blocks.settle(1_800_000)


def test_the_blocks_of_two_devices_stay_apart():
    blocks = Blocks([POINT])
    blocks.feed([*rounds_of([(0, 1.0), (900_000, 1.0)]), *rounds_of([(0, 2.0), (900_000, 2.0)], Role.CT)])
    assert {b.role: b.means[I1].value for b in blocks.settle(900_000)} == {Role.METER: 1.0, Role.CT: 2.0}


# -- days -----------------------------------------------------------------------------------------------------------


def interval(end: str, kw: float = 100.0, *, spans: str = "", block: bool = True) -> Interval:
    end_ms = local_ms(end)
    band = Band(kw * 990, kw * 1000, kw * 1010)
    demand = Demand(Source.REGISTER, band, None, band.over(0.85), 1.0, 800.0)
    return Interval("p", end_ms - 900_000, end_ms, block, demand, None, end_ms + 100, spans=spans)


def days(zone: str = "Asia/Shanghai") -> Days:
    return Days([("p", 900_000)], archive_of({"time_zone": zone}).day_span)


def test_a_day_is_told_once_when_an_interval_of_the_next_has_closed():
    kept = days()
    kept.feed([interval("2026-03-10 00:15"), interval("2026-03-10 12:00", 220), interval("2026-03-11 00:00")])
    assert not kept.settle(local_ms("2026-03-11 00:00"))
    kept.feed([interval("2026-03-11 00:15")])
    (day,) = kept.settle(local_ms("2026-03-11 00:15"))
    assert (day.day, day.expected, len(day.blocks)) == (date(2026, 3, 10), 96, 3)
    assert [b.active.value for b in day.blocks if b.active] == [100_000, 220_000, 100_000]
    assert day.blocks[0].reactive is None
    assert not kept.settle(local_ms("2026-03-11 00:30"))


def test_a_day_of_a_point_that_has_fallen_silent_is_told_an_hour_after_its_end():
    kept = days()
    kept.feed([interval("2026-03-10 00:15")])
    assert not kept.settle(local_ms("2026-03-11 00:59"))
    assert len(kept.settle(local_ms("2026-03-11 01:00"))) == 1


def test_neither_sliding_windows_nor_a_second_telling_count():
    kept = days()
    kept.feed(
        [interval("2026-03-10 00:15"), interval("2026-03-10 00:20", block=False), interval("2026-03-10 00:15", 999)]
    )
    kept.feed([interval("2026-03-10 00:30", spans="clock_step")])
    (day,) = kept.settle(local_ms("2026-03-12 00:00"))
    assert [b.apparent is None for b in day.blocks] == [False, True], "what may not be judged is there without a value"


@pytest.mark.parametrize(("day", "blocks"), [("2026-03-29", 92), ("2026-10-25", 100), ("2026-06-01", 96)])
def test_the_days_on_which_clocks_change_have_their_own_length(day: str, blocks: int):
    kept = days("Europe/Madrid")
    noon_ms = local_ms(f"{day} 12:00", ZoneInfo("Europe/Madrid"))
    kept.feed([Interval("p", noon_ms - 900_000, noon_ms, True, None, None, noon_ms)])
    (told,) = kept.settle(noon_ms + 86_400_000)
    assert told.expected == blocks


def test_a_day_that_was_cut_by_a_restart_comes_back_whole():
    told: list[Day] = []
    rows = [interval(f"2026-03-10 {h:02d}:{m:02d}", h) for h in range(24) for m in (0, 15, 30, 45) if (h, m) != (0, 0)]
    for cut in (0, 40, len(rows)):
        kept = days()
        kept.restore(rows[:cut])
        kept.feed(rows[max(0, cut - 3) :])
        told += kept.settle(local_ms("2026-03-11 02:00"))
    assert len(told) == 3
    assert told[0] == told[1] == told[2]
    assert len(told[0].blocks) == 95


# -- claims ---------------------------------------------------------------------------------------------------------


def test_a_claim_says_whether_it_was_made_twice():
    claims = Claims([("m1", "p", Role.METER)])
    for at_ms, text in enumerate(("0000123456", "0000123456", "0000123457")):
        claims.identify(Identity("m1", Quantity.METER_SERIAL, text, at_ms, None), at_ms)
    claims.identify(Identity("m9", Quantity.METER_SERIAL, "1", 9, None), 9)
    claims.feed([read(Quantity.CT_RATIO, 80.0, 5), read(U1, 230.0, 6)])
    assert [(c.value, c.again) for c in claims.settle()] == [
        ("0000123456", False), ("0000123456", True), ("0000123457", False), (80.0, False),
    ]  # fmt: skip
    assert not claims.settle()
