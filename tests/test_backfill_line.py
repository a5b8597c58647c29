"""Gaps at meters on a line: the agent down, the line cut, the meter left alone; and what its records say of them."""

from __future__ import annotations

import asyncio

import pytest

from simulator.faults import Fault, FaultKind
from simulator.line.virtual import run_virtual
from tests import figures
from tests.lines import T0
from tests.recorded_line import ALL, HOUR_MS, HOUR_S, STEP_WH, K, RecordedLine

WAYS = ("agent down", "line cut", "meter left alone")
FROM_H, TO_H, END_H = 1.12, 7.07, 9.05


async def gap(site: RecordedLine, way: str) -> None:
    """An hour of readings, six without, over the overload; and readings again, until hour nine."""
    if way == "agent down":
        await site.agent(FROM_H * HOUR_S)
        await asyncio.sleep((TO_H - FROM_H) * HOUR_S)
        await site.agent((END_H - TO_H) * HOUR_S)
        return
    loop = asyncio.get_running_loop()
    if way == "line cut":
        loop.call_at(FROM_H * HOUR_S, site.carrier.unplug)
        loop.call_at(TO_H * HOUR_S, site.carrier.plug)
    await site.agent(END_H * HOUR_S)


def made(protocol: str, way: str, **more: object) -> RecordedLine:
    faults = []
    if way == "meter left alone":
        faults = [Fault(FaultKind.SILENCE, T0 + round(FROM_H * HOUR_MS), T0 + round(TO_H * HOUR_MS))]
    return RecordedLine(protocol, *faults, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("protocol", "way"),
    [(p, w) for p in ("dlt645", "dlms") for w in WAYS if ALL or (p == "dlt645") == (w != "agent down")],
)
def test_an_overload_in_a_gap_is_found_whatever_made_the_gap(protocol: str, way: str):
    async def story() -> RecordedLine:
        site = made(protocol, way)
        await gap(site, way)
        return site

    site = run_virtual(story())
    site.overload_is_told_once()
    assert set(site.known(FROM_H, TO_H).values()) == {"profile"}
    assert {s for h, s in site.known(0, 9).items() if not 1 < h < 7.6} <= {"register", "profile"}
    off_wh = site.energy_off_wh(0.25, 8.75)
    assert abs(off_wh) <= STEP_WH * K
    assert site.reasons() == []
    assert site.station.writes_seen == 0
    figures.report(f"{protocol}, {way}", known="34 of 34", off_wh=round(off_wh), step_wh=STEP_WH * K, twice=0)


@pytest.mark.parametrize("way", WAYS if ALL else WAYS[:1])
def test_without_records_the_gap_hides_it_and_says_so(way: str):
    async def story() -> RecordedLine:
        site = made("dlt645", way, recorded="")
        await gap(site, way)
        return site

    site = run_virtual(story())
    assert site.told() == []
    assert site.known(1.25, 7) == {}
    assert site.reasons() == ["gap"]
    (unknown,) = [u for u in site.core.unknown["p"] if u.why == "gap"]
    assert (unknown.start_ms, unknown.end_ms) == pytest.approx((T0 + 1.25 * HOUR_MS, T0 + 7 * HOUR_MS), abs=HOUR_MS / 4)


# -- what comes late


@pytest.mark.parametrize("restarted", [False, True] if ALL else [True])
def test_what_a_meter_says_hours_later_is_judged_from_where_the_tracks_were_parked(restarted: bool):
    """Life has gone on behind the gap: the finding is told all the same, at its times, and once."""

    async def story() -> RecordedLine:
        site = RecordedLine("dlt645")
        site.withheld_s = 9.5 * HOUR_S
        await gap(site, "agent down")
        assert site.told() == []
        assert "gap_not_had" in site.reasons()
        assert any(m.late for m in site.core.gaps.missing())
        await site.agent((0.25 if restarted else 3) * HOUR_S)
        if restarted:
            await site.agent(3 * HOUR_S)
        return site

    site = run_virtual(story())
    site.overload_is_told_once()
    assert set(site.known(1.25, 7).values()) == {"profile"}
    assert abs(site.energy_off_wh(0.25, 8.75)) <= STEP_WH * K
    assert site.core.gaps.missing() == []


def test_a_mean_over_the_whole_gap_is_not_told_besides_the_records_of_it():
    """An overload all through: 24 records say so one by one, and the register's mean over them says it once more."""

    async def story() -> RecordedLine:
        site = RecordedLine("dlt645", levels=((0.0, 240.0),))
        await gap(site, "agent down")
        return site

    site = run_virtual(story())
    assert site.told()[0] == "opened"
    track = site.core.lifecycle.tracks["cap-over-contract/p/"]
    assert track.finding is not None
    assert track.finding.counts.intervals == len(site.blocks()) == track.finding.counts.longest_run
    assert [i for i in site.closed if i.count > 1 and i.register is not None] == []
