"""kill -9 at random instants, from the meter to the centre: nothing that was committed is lost, nothing is there twice.

After each death the store is read beside the agent: what it had once committed must be there ever after, with the same
bytes. At the end the centre's chain is compared with the agent's and recomputed from its bytes.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.broker import Broker
from tests.e2e.centre import Centre, Chain, agent_chain, centre_chain, recomputed
from tests.e2e.feeder import FEEDER
from tests.e2e.processes import Play, wait_until
from tests.figures import report

KILLS = int(os.environ.get("EDGE_PROVE_KILLS", "20"))
LEAST_MESSAGES = 5 * KILLS


def drained(stage: Play) -> Chain:
    """Start the agent until it has been stopped with everything acknowledged; its chain."""
    for _ in range(8):
        stage.start_agent()
        wait_until(lambda: (c := agent_chain(stage.stage.findings_db)).upto == c.last, 60, "the centre has everything")
        assert stage.agent.stop() == 0
        chain = agent_chain(stage.stage.findings_db)
        if chain.upto == chain.last:
            return chain
    raise AssertionError("the last messages never got out")


@pytest.mark.timeout(120 + 8 * KILLS)
def test_no_committed_record_is_lost_or_doubled_over_kills_at_random_instants(
    mosquitto: Callable[..., Broker], play: Callable[..., Play]
):
    chance = random.Random(KILLS)
    broker = mosquitto()
    stage = play(**FEEDER, broker_port=broker.port)
    centre = Centre(stage, broker.port, ack_every_s=0.5).start()
    stage.start_meters()

    committed: dict[int, bytes] = {}
    epochs: set[str] = set()
    hits: Counter[str] = Counter()
    for _ in range(KILLS):
        stage.agent.start()
        # A life is short: from the first imports, over the first commit and the first connection, to hours of load.
        time.sleep(chance.uniform(0.2, 2.0) if chance.random() < 0.3 else 2.0 + chance.expovariate(0.7))
        stage.agent.kill()
        if not stage.stage.findings_db.exists():
            hits["before the store was made"] += 1
            continue
        chain = agent_chain(stage.stage.findings_db)
        there = {r.seq: r.body for r in chain.records}
        assert committed.items() <= there.items(), "what was committed once has gone or changed"
        owed = [r for r in chain.records if r.seq > chain.upto]
        hits["with unacknowledged records"] += bool(owed)
        hits["with unacknowledged findings"] += any("/record/" not in r.id and b'"finding"' in r.body for r in owed)
        hits["with new records"] += len(there) > len(committed)
        committed = there
        epochs.add(chain.epoch)

    ours = drained(stage)
    theirs = centre_chain(centre.db, ours.epoch)
    centre.no_complaints()
    with centre.look() as view:
        heads, doubles = view.heads(), view.tally("duplicates")
    epochs |= {ours.epoch, *(h.epoch for h in heads)}
    lost = {r.seq for r in ours.records} - {r.seq for r in theirs.records}
    steps = centre.steps()
    report(
        "SIGKILL of the agent", kills=KILLS, messages=len(theirs.records), finding_steps=len(steps), lost=len(lost),
        twice=len(theirs.records) - len({r.id for r in theirs.records}), resent_and_folded=doubles,
        kills_with_unacked=hits["with unacknowledged records"],
        kills_with_unacked_findings=hits["with unacknowledged findings"],
    )  # fmt: skip

    assert committed.items() <= {r.seq: r.body for r in ours.records}.items()
    assert not lost
    assert theirs.records == ours.records  # number, event id and bytes of each
    assert len(epochs) == 1
    assert (theirs.upto, theirs.last) == (ours.last, ours.last)
    assert recomputed(theirs.records) == theirs.head == ours.head
    said = [(s.finding, s.step, s.message["id"]) for s in steps]
    assert len({id_ for _, _, id_ in said}) == len(said)
    opened = Counter(finding for finding, step, _ in said if step == "opened")
    assert set(opened.values()) == {1}, "a finding was opened twice"
    # It cannot pass by doing nothing.
    assert len(theirs.records) >= LEAST_MESSAGES
    assert len(steps) >= LEAST_MESSAGES // 2
    assert hits["with unacknowledged records"] >= KILLS // 4
    assert hits["with unacknowledged findings"] >= KILLS // 20
    assert hits["with new records"] >= KILLS // 2
