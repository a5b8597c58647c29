"""Records that are not as one would wish: other periods, doubtful entries, a clock that is off, changes in the gap."""

from __future__ import annotations

from datetime import datetime

import pytest

from simulator.device import Exchanged, RatioChanged
from simulator.faults import Fault, FaultKind
from simulator.line.virtual import run_virtual
from tests.lines import T0
from tests.on_paper import POINT
from tests.recorded_line import ALL, HOUR_MS, STEP_WH, K, RecordedLine
from tests.test_backfill_line import gap


def at(hour: float) -> int:
    return T0 + round(hour * HOUR_MS)


def built(*arguments: object, **more: object) -> RecordedLine:
    """In the loop that it lives in."""

    async def story() -> RecordedLine:
        site = RecordedLine(*arguments, **more)  # type: ignore[arg-type]
        await gap(site, "agent down")
        return site

    return run_virtual(story())


# -- periods


@pytest.mark.parametrize("protocol", ["dlt645", "dlms"])
def test_a_finer_profile_is_added_up(protocol: str):
    site = built(protocol, every_min=5)
    site.overload_is_told_once()
    assert abs(site.energy_off_wh(0.25, 8.75)) <= STEP_WH * K


@pytest.mark.parametrize(("protocol", "every_min"), [("dlt645", 30), ("dlms", 60), *([("dlt645", 60)] * ALL)])
def test_a_coarser_profile_shows_an_overload_by_its_means_and_no_single_period(protocol: str, every_min: int):
    """At least one of the periods reached the mean: the finding is there, each record counted as one."""
    site = built(protocol, every_min=every_min)
    assert "opened" in site.told()
    opened = next(s for s in site.steps if s.topic == "cap-over-contract")
    assert opened.measured["source"] == "profile"
    assert opened.measured["periods"] == every_min / 15
    assert opened.time_ms == at(2) + every_min * 60_000
    assert set(site.known(1.25, 7).values()) <= {"register"}
    means = [i for i in site.closed if i.count > 1 and i.register is not None and at(1) <= i.start_ms < at(7)]
    assert {i.count for i in means} == {every_min / 15}
    starts = [i.start_ms for i in means]
    assert starts == sorted(set(starts)), "none of them twice"


# -- entries


def test_a_profile_that_reaches_back_only_part_of_the_way_fills_that_part():
    """It keeps twelve entries, as of 07:15: from 04:30 on. What is older stays unknown, and why."""
    site = built("dlms", most_entries=12)
    known = site.known(1.25, 7)
    assert min(known) == 4.75
    assert len(known) == 10
    assert "gap_not_recorded" in site.reasons()
    unknown = [u for u in site.core.unknown["p"] if u.why == "gap_not_recorded"]
    assert [(u.end_ms) for u in unknown] == [at(4.5)]
    assert site.told() == [], "the overload was over by then"


def test_newest_first_is_as_good_as_oldest_first():
    built("dlms", newest_first=True).overload_is_told_once()


def test_without_power_there_are_no_entries_and_the_rest_is_filled():
    site = built("dlms", Fault(FaultKind.PROFILE_HOLE, at(5.1), at(6.1)))
    known = site.known(1.25, 7)
    assert {h for h in range(20, 25) if (5 + (h - 20) / 4) not in known}, "05:15 to 06:00 are not there"
    assert [h for h in (5.25, 5.5, 5.75, 6.0, 6.25) if h in known] == []
    assert [h for h in (2.25, 4.5, 5.0, 6.5, 7.0) if h not in known] == []
    assert site.told() == ["opened", "updated", "cleared"]
    assert "gap_not_recorded" in site.reasons()


def test_entries_of_a_clock_that_was_set_are_not_used_and_those_beside_them_are():
    """For an hour the clock was two minutes ahead: stamps off the grid, and status words at both ends."""
    site = built("dlms", Fault(FaultKind.CLOCK_JUMP, at(5.1), at(6.1), value=120.0))
    known = site.known(1.25, 7)
    assert [h for h in (5.25, 6.25) if h in known] == [], "the clock was set in these"
    assert [h for h in (2.25, 4.5, 5.0, 6.75) if h not in known] == []
    assert site.told()[:2] == ["opened", "updated"]
    assert "gap_distrusted" in site.reasons()


# -- clocks


@pytest.mark.parametrize("protocol", ["dlt645", "dlms"])
@pytest.mark.parametrize("off_s", [45.0, 90.0, 400.0, -400.0] if ALL else [90.0, -400.0])
def test_a_clock_that_is_off(protocol: str, off_s: float):
    """Up to five minutes a record is one, of a period that is shifted by so much; beyond, it is evidence of nothing."""
    site = built(protocol, clock_error_s=off_s)
    if abs(off_s) < 300:
        assert site.told() == ["opened", "updated", "cleared"]
        assert abs(site.energy_off_wh(0.25, 8.75)) <= 120_000 * abs(off_s) / 3600 + STEP_WH * K
        return
    assert site.told() == []
    assert site.known(1.25, 7) == {}
    assert "gap_clock_off" in site.reasons()


# -- changes inside the gap


@pytest.mark.parametrize("protocol", ["dlt645", "dlms"])
def test_a_ratio_that_changes_in_the_gap_counts_from_then_on(protocol: str):
    """500/5 instead of 400/5 from 03:07 on, in truth and in the archive: each record at the ratio of its time."""
    change = at(3.12)
    ct = [
        *POINT["ct"],
        {"from": datetime.fromisoformat("2026-03-02T03:07:12+08:00"), "ratio": "500/5", "state": "verified"},
    ]
    site = built(protocol, events=[RatioChanged(change, 100.0)], point={"ct": ct})
    known = site.known(1.25, 7)
    assert 3.25 not in known, "the change lies in it"
    assert [h for h in (2.25, 3.0, 3.5, 4.5, 7.0) if h not in known] == []
    blocks = site.blocks()
    for hour, kw in ((2.25, 240), (3.0, 240), (3.5, 240), (4.5, 240), (5.0, 120), (7.0, 120)):
        demand = blocks[at(hour)].register
        assert demand is not None
        assert demand.active is not None
        assert demand.active.low <= kw * 1000 <= demand.active.high
    assert site.told()[0] == "opened"


@pytest.mark.parametrize("protocol", ["dlt645", "dlms"])
def test_what_another_meter_wrote_down_is_not_used(protocol: str):
    """The meter was exchanged in the gap: where the new one was before is nobody's business."""
    registers = {"active_energy_import": 500_000_000.0, "reactive_energy_import": 400_000_000.0}
    site = built(protocol, events=[Exchanged(at(3.12), "000000654321", registers)])
    assert site.told() == []
    assert site.known(1.25, 7) == {}
    assert {"meter_exchange", "register_break"} & {i.spans for i in site.closed}
