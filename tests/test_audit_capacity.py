"""Stories of capacity that is used: while suspended, for hours, the other way round; and of what it would cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from edge_agent.load.views import Band, Interval, LoadView
from tests.stories import POLL_MS, Office, Played, Player, cases, told_alike_after_restarts, told_as_written
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
