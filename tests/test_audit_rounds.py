"""Stories of what a meter samples, of its means and its words; and how the arithmetic that topics share comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from edge_agent.load.views import Block, Claim, LoadView, Mean, Role
from edge_agent.model import Quantity
from tests.on_paper import DAY_MS, MINUTE_MS, local_ms, published
from tests.on_rounds import rounds_of, shown
from tests.stories import Office, Played, Player, cases, told_alike_after_restarts, told_as_written

RELEASES, TOPICS = published()

# -- rounds in, steps out -------------------------------------------------------------------------------------------


def play_rounds(case: Mapping[str, Any], office: Office) -> Played:
    """`shows`: so many rounds, and in what they differ from a good day. Told: "<min>:<s> <step> <key>"."""
    start_ms = local_ms(case["start"])
    told: list[str] = []
    for now_ms, round_, says in rounds_of(case, start_ms):
        before = len(office.steps)
        view = LoadView(now_ms, rounds=[round_] if round_ else [], meter_events=says)
        now = office.look(view) + office.confirm({"p": now_ms}, now_ms)
        at = f"{(now_ms - start_ms) // MINUTE_MS}:{(now_ms - start_ms) // 1000 % 60:02d}"
        keys = [s.key for s in office.steps[before:]]
        told += [f"{at} {step} {key}".rstrip() for step, key in zip(now, [*keys, *[""] * len(now)], strict=False)]
    return Played(told, case["expect"], office)


# -- means over blocks in, steps out ----------------------------------------------------------------------------------


def play_blocks(case: Mapping[str, Any], office: Office) -> Played:
    """`shows`: so many blocks, with means of a good day but for what differs; long ones are told by days."""
    end_ms, told, start_ms = local_ms(case["start"]), [], local_ms(case["start"])
    long_ms = case.get("block_min", 15) * MINUTE_MS
    for count, changes in case["shows"]:
        end_ms += changes.get("gap_min", 0) * MINUTE_MS
        for _ in range(count):
            end_ms += long_ms
            means = {q: Mean(v, v, v, changes.get("coverage", 1.0)) for q, v in shown(case, changes).items()}
            view = LoadView(end_ms, blocks=[Block("p", Role.METER, end_ms - long_ms, end_ms, means)])
            now = office.look(view) + office.confirm({"p": end_ms}, end_ms)
            passed = (end_ms - start_ms) // (DAY_MS if long_ms > 15 * MINUTE_MS else MINUTE_MS)
            told += [f"{passed} {step}" for step in now]
    return Played(told, case["expect"], office)


# -- status words in, steps out ---------------------------------------------------------------------------------------


def play_status(case: Mapping[str, Any], office: Office) -> Played:
    at_ms, told, start_ms = local_ms(case["start"]), [], local_ms(case["start"])
    word = ""
    for count, value in case["shows"]:
        for _ in range(count):
            at_ms += case.get("every_min", 5) * MINUTE_MS
            claim = Claim("p", "m1", Role.METER, Quantity.METER_STATUS_7, value, at_ms, value == word)
            word = value
            before = len(office.steps)
            now = office.look(LoadView(at_ms, claims=[claim]))
            keys = [s.key for s in office.steps[before:]]
            named = zip(now, [*keys, *[""] * len(now)], strict=False)
            told += [f"{(at_ms - start_ms) // MINUTE_MS} {step} {key}".rstrip() for step, key in named]
    return Played(told, case["expect"], office)


PLAYERS: dict[str, Player] = {
    "met-volt-loss": play_rounds,
    "met-curr-loss": play_rounds,
    "met-phase-break": play_rounds,
    "met-power-consistency": play_rounds,
    "met-reverse": play_rounds,
    "met-unbalance-i": play_rounds,
    "met-ct-overrange": play_rounds,
    "met-phase-seq": play_status,
    "met-ct-oversized": play_blocks,
    "pq-volt-event": play_rounds,
    "pq-outage": play_rounds,
    "pq-volt-deviation": play_blocks,
    "pq-unbalance-u": play_blocks,
}


@pytest.mark.parametrize(("topic", "case"), cases(PLAYERS))
def test_story(topic: str, case: dict[str, Any]):
    told_as_written(PLAYERS[topic], topic, case)


@pytest.mark.parametrize(("topic", "case"), cases(PLAYERS))
def test_story_with_a_restart_at_every_instant(topic: str, case: dict[str, Any]):
    told_alike_after_restarts(PLAYERS[topic], case)
