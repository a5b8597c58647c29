"""Stories of capacity that is used: while suspended, for hours, the other way round; and of what it would cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from edge_agent.archive import Archive
from edge_agent.audit.topic import Step
from edge_agent.contract.finding import finding_letter
from edge_agent.contract.messages import FindingData
from edge_agent.explain import action_of, explain, reckoned
from edge_agent.load.views import Band, Interval, LoadView
from edge_agent.model import ClockQuality, ClockState
from edge_agent.settings.site import Ids
from tests.stories import POLL_MS, Office, Played, Player, cases, office_of, told_alike_after_restarts, told_as_written
from tests.test_audit import demand_rows, interval_of, play_demand


def play_given_out(case: Mapping[str, Any], office: Office) -> Played:
    """The same demands, given out instead of drawn."""
    told, expected = [], []
    for number, (end_ms, value, expect) in enumerate(demand_rows(case, "kva")):
        now = office.look(LoadView(end_ms + 200, [turned(interval_of(end_ms, value, "kva"))]))
        later = {"p": end_ms - POLL_MS if number in case.get("unconfirmed", ()) else end_ms}
        now += office.confirm(later, end_ms + 2 * POLL_MS)
        now += office.confirm(later, end_ms + 2 * POLL_MS + 120_000)
        told.append(", ".join(now))
        expected.append(expect)
    return Played(told, expected, office)


def turned(interval: Interval) -> Interval:
    demand = interval.register
    if demand is None:
        return interval
    nothing = Band(0.0, 0.0, 0.0)
    given = replace(demand, active=nothing, apparent=nothing, export=demand.active, export_apparent=demand.apparent)
    return replace(interval, register=given)


PLAYERS: dict[str, Player] = {
    "cap-suspended-use": play_demand,
    "cap-overload-sustained": play_demand,
    "cap-reverse-overload": play_given_out,
}


@pytest.mark.parametrize(("topic", "case"), cases(PLAYERS))
def test_story(topic: str, case: dict[str, Any]):
    told_as_written(PLAYERS[topic], topic, case)


@pytest.mark.parametrize(("topic", "case"), cases(PLAYERS))
def test_story_with_a_restart_at_every_instant(topic: str, case: dict[str, Any]):
    told_alike_after_restarts(PLAYERS[topic], case)


def first_told(topic: str) -> tuple[list[Step], Archive]:
    """The steps of the first story of a topic in which something is told."""
    for parameters in cases([topic]):
        case = parameters.values[1]
        office = office_of(case, forgetful=False)
        PLAYERS[topic](case, office)
        if office.steps:
            return [s for s in office.steps if s.finding == office.steps[0].finding], office.archive
    raise AssertionError(f"nothing is ever told of {topic}")


def message_of(step: Step, archive: Archive) -> dict[str, Any]:
    letter = finding_letter(
        step, site=Ids(utility="demo", gateway="gw-1"), point=archive.points["p"], archive_version=archive.version,
        clock=ClockState(ClockQuality.SYNCED, 0, 500), boot_id="b", bt_ms=0, action=action_of(step.topic),
        capacity=archive.capacity("p", step.time_ms - 1, step.time_ms), k=80.0,
        reckoned=reckoned(step.measured.get("estimate")),
    )  # fmt: skip
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(letter.data))
    msgspec.convert(plain, FindingData)
    return {**plain, "severity": step.severity.value, "time": "2026-02-25T06:15:00.000Z"}


@pytest.mark.parametrize("topic", sorted(PLAYERS))
def test_what_is_told_reads_as_sentences(topic: str):
    steps, archive = first_told(topic)
    text = "\n".join(explain([message_of(step, archive) for step in steps]))
    assert "?" not in text, text
    assert "{" not in text
    assert "nan" not in text
    assert action_of(topic)[1] in text
    for word in FORBIDDEN:
        assert word not in text.lower()


FORBIDDEN = ["the" + "ft", "fra" + "ud", "by" + "pass", "ste" + "al", "crimin", "guilty", "offen", "illegal"]


def test_an_estimate_is_told_with_its_arithmetic_and_is_no_bill():
    case = next(c.values[1] for c in cases(["cap-suspended-use"]) if "two-part" in c.values[1]["name"])
    office = office_of(case, forgetful=False)
    play_demand(case, office)
    text = "\n".join(explain([message_of(s, office.archive) for s in office.steps]))
    assert "Estimate, not a bill, under the rule cn/cn-suspended@1:" in text
    assert "To be made up: 250 kVA x 30 CNY x 1 / 30 days = 250.00 CNY." in text
    assert "Together at most 750.00 CNY (estimate, not a bill)." in text
