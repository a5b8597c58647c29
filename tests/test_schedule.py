"""A schedule of rates: every minute of every kind of day has one, and what is told of it is what a person wrote."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import event, given
from hypothesis import strategies as st

from edge_agent.tariff.schedule import DAY_CLASSES, DAY_MIN, MONTHS, RatePeriod, Schedule, minutes, wall

RATES = st.integers(1, 4)
EVERY: frozenset[str] = frozenset()
KINDS = [(EVERY,), (frozenset({"workday"}), frozenset({"weekend", "holiday"}))]


@st.composite
def filled_days(draw: st.DrawFn) -> Schedule:
    """Periods that fill the day, by kinds of day and by halves of the year."""
    periods: list[RatePeriod] = []
    for months in (frozenset(range(1, 7)), frozenset(range(7, 13))):
        for days in draw(st.sampled_from(KINDS)):
            cuts = sorted({0, DAY_MIN, *draw(st.lists(st.integers(1, DAY_MIN - 1), max_size=6))})
            periods += [RatePeriod(draw(RATES), a, b, months, days) for a, b in pairwise(cuts)]
    return Schedule(tuple(draw(st.permutations(periods))))


@given(filled_days())
def test_a_filled_day_has_no_fault_and_one_rate_at_every_minute(schedule: Schedule):
    assert list(schedule.faults()) == []
    event(f"knows holidays: {schedule.knows_holidays}")
    for month in (1, 12):
        for day_class in DAY_CLASSES:
            rates = [schedule.rates(month, day_class, m, m + 1) for m in range(DAY_MIN)]
            assert {len(found) for found in rates} == {1}
            assert schedule.rates(month, day_class, 0, DAY_MIN) == frozenset().union(*rates)


@given(filled_days(), st.data())
def test_a_period_that_is_taken_out_leaves_a_gap_and_one_that_is_doubled_an_overlap(
    schedule: Schedule, data: st.DataObject
):
    taken = data.draw(st.sampled_from(schedule.periods))
    rest = list(schedule.periods)
    rest.remove(taken)
    for kind, periods in (("gap", rest), ("overlap", [*schedule.periods, taken])):
        faults = list(Schedule(tuple(periods)).faults())
        assert {(f[0], f[3], f[4]) for f in faults} == {(kind, taken.from_min, taken.to_min)}
        assert {f[1] for f in faults} == taken.months
        assert len(faults) == len(taken.months) * len(taken.days or DAY_CLASSES)


def test_only_a_schedule_with_rates_of_its_own_for_them_knows_holidays():
    everyday = RatePeriod(2, 0, DAY_MIN)
    assert not Schedule((everyday,)).knows_holidays
    workday, rest = (RatePeriod(r, 0, DAY_MIN, days=frozenset(d)) for r, d in ((2, {"workday"}), (4, DAY_CLASSES[1:])))
    assert Schedule((workday, rest)).knows_holidays, "a holiday may fall on what would be a workday"
    alike = RatePeriod(2, 0, DAY_MIN, days=frozenset(DAY_CLASSES))
    assert not Schedule((alike,)).knows_holidays


def test_wall_time_is_told_as_it_was_written():
    assert [wall(minutes(written)) for written in ("00:00", "08:30", "24:00")] == ["00:00", "08:30", "24:00"]
    assert str(RatePeriod(3, 510, DAY_MIN)) == "3 08:30-24:00"
    assert len(MONTHS) == 12
