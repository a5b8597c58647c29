"""The broker is away for a day: everything arrives, the chain first and in order, the telemetry after it and whole."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from simulator.clock import iso, to_ms
from tests.broker import Broker
from tests.e2e.centre import Centre, Heard, Witness, agent_chain, centre_chain, recomputed
from tests.e2e.processes import Play, wait_until
from tests.e2e.site import PointPlan, rounds
from tests.figures import report

DAY_MIN = 24 * 60
BLOCK_MS = 3_600_000
POINTS = int(os.environ.get("EDGE_PROVE_OUTAGE_POINTS", "4"))
RATE = 3600.0 if POINTS <= 8 else 720.0
"""Slow enough that the hourly blocks of the present leave room for those of the past: the uplink sends ten a second."""

BACK_WITHIN_S = 150.0
"""After a long outage the agent, as its whole fleet, tries again within two minutes."""


@pytest.mark.timeout(480)
def test_after_a_day_without_a_broker_everything_arrives_in_order(
    mosquitto: Callable[..., Broker], play: Callable[..., Play], witness: Callable[[int], Witness]
):
    broker = mosquitto()
    points = [PointPlan(f"p{i}", rounds(6, (0, 50), (3, 130), shift_h=i % 6)) for i in range(POINTS)]
    stage = play(points, rate=RATE, broker_port=broker.port, every_s=300.0, period_min=60, slide_min=60)
    centre = Centre(stage, broker.port).start()
    stage.start_meters()
    stage.start_agent()
    wait_until(lambda: centre.steps() and len(centre.look().demand()) > POINTS, 40, "findings and demand arrive")

    broker.stop()
    gone_min = stage.stage.minute
    wait_until(lambda: stage.stage.minute > gone_min + DAY_MIN, stage.stage.real_s(DAY_MIN) + 10, "a day passes")
    owed = agent_chain(stage.stage.findings_db)
    assert owed.last - owed.upto >= POINTS, "nothing was held back"
    broker.start()
    back_min = stage.stage.minute
    ears = witness(broker.port)

    theirs: Any = wait_until(
        lambda: (c := centre_chain(centre.db, owed.epoch)).upto >= owed.last and c, BACK_WITHIN_S, "the chain arrives"
    )
    # What ended before the broker went may have its PUBACK and be gone with it: telemetry is done at that.
    expected = {
        (p.id, iso(end))
        for p in points
        for end in range(
            to_ms(stage.stage.start) + round(gone_min * 60_000) // BLOCK_MS * BLOCK_MS + BLOCK_MS,
            to_ms(stage.stage.start) + round(back_min * 60_000) // BLOCK_MS * BLOCK_MS - BLOCK_MS + 1,
            BLOCK_MS,
        )
    }

    def arrived() -> set[tuple[str, str]]:
        with centre.look() as view:
            return {(point, iso(to_ms(datetime.fromisoformat(end)))) for point, end, _ in view.demand()}

    with contextlib.suppress(AssertionError):
        wait_until(lambda: expected <= arrived(), 60, "the demand of the outage arrives")
    assert expected - arrived() == set()
    assert stage.agent.stop() == 0

    ours = agent_chain(stage.stage.findings_db)
    assert theirs.records == ours.records[: len(theirs.records)]
    assert recomputed(theirs.records) == theirs.head
    centre.no_complaints()

    chain = {"up/finding", "up/record", "up/evaluation", "up/case"}
    heard = [h for h in ears.heard() if h.topic in {*chain, "up/demand", "up/status"}]
    birth = next(s for s in ears.said("up/status") if s["state"] == "online")
    first: dict[int, int] = {}  # of each number: when it first came
    for place, (topic, message) in enumerate(zip((h.topic for h in heard), map(_seq, heard), strict=True)):
        if topic in chain:
            first.setdefault(message, place)
    backlog = range(birth["upto"] + 1, birth["last"] + 1)
    assert set(backlog) <= first.keys()
    places = [first[seq] for seq in sorted(first)]
    assert places == sorted(places), "the chain did not arrive in its order"
    demand = [place for place, h in enumerate(heard) if h.topic == "up/demand"]
    assert demand[0] > first[backlog[-1]], "telemetry overtook the backlog of the chain"
    ends = [m["end"] for m in ears.said("up/demand")]
    assert ends[1] < ends[0], "of the telemetry, the newest goes first"
    with centre.look() as view:
        whole = [row for _, end, row in view.demand() if row["coverage"] > 0.99]
    assert len(whole) > 0.9 * len(expected)
    report(
        "broker away for a day", points=POINTS, backlog=len(backlog),
        lost=len(backlog) - len(first.keys() & set(backlog)),
        intervals=len(expected), intervals_missing=len(expected - arrived()),
    )  # fmt: skip


def _seq(heard: Heard) -> int:
    return int(json.loads(heard.body).get("seq", 0))
