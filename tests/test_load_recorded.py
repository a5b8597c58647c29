"""What a meter's load profile says of a period: registers at both ends, energies that fill it, or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.load.points import LoadPoint
from edge_agent.load.recorded import recorded_periods, why_unknown
from edge_agent.load.views import Band, Source
from edge_agent.model import Ms, Quantity, Recorded
from edge_agent.words import say
from tests.ledger_bench import EP, EQ, TEN, point
from tests.on_paper import MINUTE_MS

QUARTER_MS = 15 * MINUTE_MS


def entry(quantity: Quantity, kind: str, value: float, end_ms: Ms, *status: str, **more: Any) -> Recorded:
    step, period_ms = more.get("step", 10.0), more.get("period_ms", QUARTER_MS)
    return Recorded("m1", quantity, kind, value, step, end_ms, period_ms, status, None)


def kw(made: LoadPoint, entries: list[Recorded]) -> dict[int, float]:
    """Primary kW by the quarter hour, counted from ten."""
    found = {}
    for interval in recorded_periods(made, entries):
        assert interval.register is not None
        assert interval.register.active is not None
        assert interval.register.source is Source.PROFILE
        assert interval.end_ms - interval.start_ms == made.period_ms
        found[(interval.end_ms - TEN) // QUARTER_MS] = interval.register.active.value / 1000
    return found


def test_registers_at_both_ends_make_a_period():
    """500 Wh in a quarter hour behind 400/5: 2 kW x 80."""
    entries = [entry(EP, "register", 1_000_000 + n * 500, TEN + n * QUARTER_MS) for n in (0, 1, 2, 4)]
    assert kw(point(), entries) == {1: 160.0, 2: 160.0}


def test_bounds_are_a_step_to_either_side_and_reactive_makes_apparent():
    entries = [entry(q, "register", n * wh, TEN + n * QUARTER_MS) for n in (0, 1) for q, wh in ((EP, 300), (EQ, 400))]
    (interval,) = recorded_periods(point(), entries)
    demand = interval.register
    assert demand is not None
    assert demand.active == Band(92_800, 96_000, 99_200)
    assert demand.apparent is not None
    assert demand.apparent.value == pytest.approx(160_000)
    assert demand.coverage == 1.0


def test_energies_of_five_minutes_fill_a_quarter_hour_and_one_that_is_missing_leaves_it_unknown():
    five = 5 * MINUTE_MS
    entries = [entry(EP, "energy", 100.0, TEN + n * five, period_ms=five) for n in (1, 2, 3, 4, 6)]
    assert kw(point(), entries) == {1: 96.0}


def test_a_mean_is_worth_its_period():
    assert kw(point(), [entry(EP, "demand", 2_000.0, TEN + QUARTER_MS)]) == {1: 160.0}


@pytest.mark.parametrize("minutes", [30, 60])
def test_a_coarser_profile_says_the_mean_of_several_periods_and_nothing_of_one(minutes: int):
    """320 Wh in each quarter hour behind 400/5 are 102.4 kW."""
    count = minutes // 15
    period_ms = minutes * MINUTE_MS
    for kind, values in (("energy", [320.0 * count] * 2), ("register", [5_000.0, 5_000.0 + 320.0 * count])):
        entries = [entry(EP, kind, v, TEN + n * period_ms, period_ms=period_ms) for n, v in enumerate(values)]
        (mean,) = recorded_periods(point(), entries)[-1:]
        assert (mean.start_ms, mean.end_ms, mean.count) == (TEN, TEN + period_ms, count)
        assert mean.register is not None
        assert mean.register.active is not None
        assert mean.register.active.value == pytest.approx(102_400)
    assert recorded_periods(point(), [entry(EP, "energy", 1.0, TEN + 20 * MINUTE_MS, period_ms=20 * MINUTE_MS)]) == []


def test_two_entries_of_one_stamp_that_differ_are_both_not_used_and_the_same_twice_is_one():
    """The clock was set back by an hour: nobody can say which of them belongs there."""
    entries = [entry(EP, "register", 1_000 + n * 500, TEN + n * QUARTER_MS) for n in range(6)]
    assert kw(point(), [*entries, *reversed(entries)]) == dict.fromkeys((1, 2, 3, 4, 5), 160.0)
    again = entry(EP, "register", 9_000, TEN + 2 * QUARTER_MS)
    assert kw(point(), [*entries, again]) == dict.fromkeys((1, 4, 5), 160.0)


def test_of_what_is_not_known_the_reason_is_given():
    entries = [entry(EP, "register", 1_000 + n * 500, TEN + n * QUARTER_MS) for n in range(10) if n not in {6, 7}]
    entries[1] = entry(EP, "register", 1_500, TEN + QUARTER_MS, "clock_adjusted")
    made = point(changes_ms=(TEN + 4 * QUARTER_MS + MINUTE_MS,))
    why = why_unknown(made, entries, TEN, TEN + 9 * QUARTER_MS)
    assert {(end - TEN) // QUARTER_MS: code for end, code in why.items()} == {
        1: "gap_distrusted", 2: "gap_distrusted", 5: "archive_change", 6: "gap_not_recorded", 7: "gap_not_recorded",
        8: "gap_not_recorded",
    }  # fmt: skip
    assert set(kw(made, entries)) == {3, 4, 9}
    assert set(why_unknown(point(k=()), entries, TEN, TEN + QUARTER_MS).values()) == {"ratio_unknown"}
    for code in why.values():
        assert say(f"verdict.{code}")


@pytest.mark.parametrize("status", ["critical_error", "clock_invalid", "data_invalid", "clock_adjusted"])
def test_what_the_meter_does_not_vouch_for_is_not_used(status: str):
    entries = [entry(EP, "energy", 100.0, TEN + n * QUARTER_MS, *((status,) if n == 1 else ())) for n in (1, 2)]
    assert kw(point(), entries) == {2: 32.0}


def test_a_power_failure_leaves_the_energy_right_but_of_a_mean_nobody_knows_over_what_time():
    assert kw(point(), [entry(EP, "demand", 2_000.0, TEN + QUARTER_MS, "power_down")]) == {}
    assert kw(point(), [entry(EP, "energy", 100.0, TEN + QUARTER_MS, "power_down")]) == {1: 32.0}


def test_a_register_that_rolled_over_goes_on_and_one_that_fell_is_unknown():
    ends = [TEN, TEN + QUARTER_MS]
    made = point(modulus={EP: 1_000_000.0})
    assert kw(made, [entry(EP, "register", v, t) for v, t in zip((999_900, 400), ends, strict=True)]) == {1: 160.0}
    assert kw(made, [entry(EP, "register", v, t) for v, t in zip((5_000, 4_000), ends, strict=True)]) == {}


def test_a_period_over_which_the_archive_changes_is_nobodys():
    made = point(changes_ms=(TEN + 7 * MINUTE_MS,))
    entries = [entry(EP, "energy", 100.0, TEN + n * QUARTER_MS) for n in (1, 2)]
    assert list(kw(made, entries)) == [2]


def test_without_a_ratio_nothing_is_said():
    assert kw(point(k=()), [entry(EP, "energy", 100.0, TEN + QUARTER_MS)]) == {}


def test_an_entry_off_the_grid_is_no_period():
    assert kw(point(), [entry(EP, "energy", 100.0, TEN + QUARTER_MS + 1000)]) == {}
