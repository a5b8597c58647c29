"""SIGTERM ends the agent within five seconds whatever is missing around it, and the next start goes on from there."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.broker import HOST, Broker, free_port
from tests.e2e.centre import Centre, agent_chain, centre_chain, recomputed
from tests.e2e.processes import Play, wait_until
from tests.e2e.site import PointPlan, steady, steps

TOPIC = "cap-over-contract"
CALM = PointPlan("factory", steady(50))
ENDS_WITHIN_S = 5.0


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port whose owner never answers: connections to it hang, as behind a firewall that drops."""
    with ExitStack() as held:
        owner = held.enter_context(socket.socket())
        owner.bind((HOST, 0))
        owner.listen(0)
        for _ in range(8):  # fill the queue of those that nobody lets in
            caller = held.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(owner.getsockname())
        with socket.socket() as probe:
            probe.settimeout(0.3)
            with pytest.raises(TimeoutError):
                probe.connect(owner.getsockname())
        yield owner.getsockname()[1]


def ends_cleanly(stage: Play) -> float:
    began = time.monotonic()
    assert stage.agent.stop(ENDS_WITHIN_S) == 0
    assert stage.agent.lines("agent stopped"), "it has not said goodbye"
    chain = agent_chain(stage.stage.findings_db)
    assert recomputed(chain.records) == chain.head
    return time.monotonic() - began


@pytest.mark.parametrize("absent", ["nothing", "broker", "meter"])
def test_it_ends_within_five_seconds(absent: str, mosquitto: Callable[..., Broker], play: Callable[..., Play]):
    port = free_port() if absent == "broker" else mosquitto().port
    stage = play([CALM], rate=60.0, broker_port=port)
    if absent != "meter":
        stage.start_meters()
    stage.start_agent()
    told = {"nothing": "broker connected", "broker": "no broker", "meter": "link down"}[absent]
    wait_until(lambda: stage.agent.lines(told), 15, told)
    ends_cleanly(stage)


def test_it_ends_within_five_seconds_when_broker_and_meter_do_not_answer_at_all(
    deaf_port: int, play: Callable[..., Play]
):
    stage = play([CALM], rate=60.0, broker_port=deaf_port, meter_port=deaf_port)
    stage.start_agent()
    time.sleep(3.0)  # both connections hang by now
    assert not stage.agent.lines("broker connected")
    ends_cleanly(stage)


def test_it_ends_within_five_seconds_when_the_brokers_name_has_no_address(play: Callable[..., Play]):
    stage = play([CALM], rate=60.0, broker_port=1883, broker_host="broker.invalid")
    stage.start_meters()
    stage.start_agent()
    time.sleep(2.5)
    ends_cleanly(stage)


@pytest.mark.timeout(120)
def test_the_second_start_goes_on_from_there(mosquitto: Callable[..., Broker], play: Callable[..., Play]):
    broker = mosquitto()
    long_overload = PointPlan("factory", steps((0, 60), (20, 130), (260, 60)))
    stage = play([long_overload], rate=1200.0, broker_port=broker.port)
    centre = Centre(stage, broker.port).start()
    stage.start_meters()
    stage.start_agent()
    opened = wait_until(lambda: centre.step(TOPIC, "opened"), 30, "the finding is opened")
    wait_until(lambda: agent_chain(stage.stage.findings_db).upto >= opened.seq, 5, "the agent has the receipt")
    assert stage.agent.stop() == 0
    before = agent_chain(stage.stage.findings_db)
    assert [s["why"] for s in [centre.look().state("status") or {}]] == ["stopped"]

    stage.start_agent()
    assert stage.agent.lines("agent started")[-1]["open_findings"] == 1
    listed = json.loads(stage.verb("findings", "--json").stdout)
    assert [(f["finding"], f["active"]) for f in listed] == [(opened.finding, True)]
    cleared = wait_until(lambda: centre.step(TOPIC, "cleared"), 40, "the finding is cleared after the second start")
    wait_until(lambda: agent_chain(stage.stage.findings_db).upto >= cleared.seq, 5, "the agent has the receipt")
    assert stage.agent.stop() == 0

    after = agent_chain(stage.stage.findings_db)
    assert after.epoch == before.epoch
    assert after.records[: len(before.records)] == before.records
    assert [s.step for s in centre.steps(TOPIC)].count("opened") == 1
    assert {s.finding for s in centre.steps(TOPIC)} == {opened.finding}
    assert len(centre.records("boot")) == 2
    centre.no_complaints()
    theirs = centre_chain(centre.db, after.epoch)
    assert recomputed(theirs.records) == theirs.head
    assert theirs.records == after.records[: len(theirs.records)]
