"""Broker, centre and agent killed at random: the agent loses nothing, a sender that trusts the PUBACK loses records.

Both run on the same broker through the same kills. Without the second half nobody could tell whether the kills were
hard enough for the first half to mean anything.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.broker import Broker
from tests.e2e.centre import Centre, centre_chain, recomputed
from tests.e2e.feeder import FEEDER
from tests.e2e.processes import Play, wait_until
from tests.e2e.test_kill import drained
from tests.figures import report

ROUNDS = max(3, int(os.environ.get("EDGE_PROVE_KILLS", "20")) // 7)
"""Of three kills each."""


def numbers(db_path: Path, table: str) -> set[int]:
    with closing(sqlite3.connect(f"file:{db_path}?mode=ro", uri=True, timeout=10.0)) as db:
        return {n for (n,) in db.execute(f"SELECT n FROM {table}")}


@pytest.mark.timeout(90 + 15 * ROUNDS)
@pytest.mark.parametrize("keeps", ["nothing", "what its autosave has saved"])
def test_the_agent_loses_nothing_where_a_sender_that_trusts_the_puback_does(
    keeps: str, mosquitto: Callable[..., Broker], play: Callable[..., Play], tmp_path: Path
):
    chance = random.Random(ROUNDS)
    # mosquitto as it comes saves every half hour: to a kill that is never.
    autosave = f"persistence true\npersistence_location {tmp_path}/" if keeps != "nothing" else ""
    broker = mosquitto(extra=autosave)
    stage = play(**FEEDER, broker_port=broker.port)
    centre = Centre(stage, broker.port, ack_every_s=0.5).start()
    made_db, taken_db = stage.stage.folder / "made.db", stage.stage.folder / "taken.db"
    control = (sys.executable, "-m", "tests.e2e.puback_control")
    sender = stage.process("sender", *control, "send", str(made_db), str(broker.port)).start()
    consumer = stage.process("consumer", *control, "take", str(taken_db), str(broker.port)).start()
    stage.start_meters()
    stage.start_agent()
    wait_until(lambda: centre.upto() and taken_db.exists() and numbers(taken_db, "taken"), 20, "everything flows")

    kills = 0
    for _ in range(ROUNDS):
        time.sleep(chance.uniform(1.0, 4.0))
        centre.process.kill()  # the central is away, ...
        consumer.kill()
        time.sleep(chance.uniform(0.1, 1.5))
        stage.agent.kill()
        sender.kill()
        broker.kill()  # ... and then the broker dies with what it had taken
        kills += 3
        broker.start()
        centre.start()
        consumer.start()
        time.sleep(chance.uniform(0.0, 0.5))
        sender.start()
        stage.agent.start()
    wait_until(lambda: stage.agent.lines("agent started"), 20, "the agent starts")
    stage.agent.kill()

    ours = drained(stage)
    theirs = centre_chain(centre.db, ours.epoch)
    wait_until(lambda: len(numbers(made_db, "outbox")) < 50, 20, "the control has nothing old to send")
    sender.kill()
    made, outbox = numbers(made_db, "made"), numbers(made_db, "outbox")
    deadline = time.monotonic() + 3.0
    while time.monotonic() < deadline and made - outbox - numbers(taken_db, "taken"):
        time.sleep(0.1)  # what is still on its way to the consumer is not lost
    control_lost = made - outbox - numbers(taken_db, "taken")
    lost = {r.seq for r in ours.records} - {r.seq for r in theirs.records}
    with centre.look() as view:
        report(
            f"PUBACK control, the broker keeps {keeps}", kills=kills, agent_messages=len(ours.records),
            agent_lost=len(lost), resent_and_folded=view.tally("duplicates"), control_messages=len(made),
            control_lost=len(control_lost),
        )  # fmt: skip

    assert not lost
    assert theirs.records == ours.records
    assert recomputed(theirs.records) == theirs.head == ours.head
    assert len(ours.records) >= 10 * ROUNDS // 3
    centre.no_complaints()
    assert len(made) >= 100 * ROUNDS
    assert control_lost, "the kills were not hard enough to show anything"
