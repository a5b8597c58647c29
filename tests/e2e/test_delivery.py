"""One finding from the meter to the acknowledged record, over real sockets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.broker import Broker, TlsFiles, free_port
from tests.e2e.centre import Centre, Witness, agent_chain, centre_chain, recomputed
from tests.e2e.processes import Play, wait_until
from tests.e2e.site import PointPlan, steps

TOPIC = "cap-over-contract"
OVERLOAD = PointPlan("factory", steps((0, 60), (60, 120), (165, 60)), profile="acrel-dtsd1352")  # 133 % of 100 kVA


@pytest.mark.timeout(90)
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_finding_is_opened_and_cleared_at_the_centre_and_every_message_fits_its_schema(
    version: str, mosquitto: Callable[..., Broker], play: Callable[..., Play], witness: Callable[[int], Witness]
):
    broker = mosquitto()
    stage = play([OVERLOAD], rate=900.0, broker_port=broker.port, mqtt={"version": f'"{version}"'})
    centre = Centre(stage, broker.port, version=version).start()
    ears = witness(broker.port)
    stage.start_meters()
    stage.start_agent()

    opened = wait_until(lambda: centre.step(TOPIC, "opened"), 25, "the finding is opened")
    state = wait_until(
        lambda: [s for s in ears.said("up/points/factory") if s["findings"]], 5, "points/factory tells of it"
    )
    cleared = wait_until(lambda: centre.step(TOPIC, "cleared"), 30, "the finding is cleared")
    wait_until(lambda: agent_chain(stage.stage.findings_db).upto >= cleared.seq, 5, "the agent has the receipt")
    wait_until(lambda: ears.said("up/points/factory")[-1]["findings"] == [], 5, "points/factory tells of its end")

    assert opened.finding == cleared.finding == f"gw-1.factory.{TOPIC}.2026-03"
    assert opened.message["data"]["interval"]["end"] == stage.stage.at(75)  # the first above 100 kVA
    assert cleared.time == stage.stage.at(210)  # half an hour after the first interval below 95 %
    assert state[0]["findings"][0]["finding"] == opened.finding
    blocks = {row[1] for row in centre.look().demand()}
    assert len(blocks) >= 10

    stage.agent.kill()
    if version == "3.1.1":  # with MQTT 5 the will waits a minute, to spare the centre the flicker of a reconnect
        wait_until(lambda: ears.said("up/status")[-1].get("why") == "lost", 10, "the will is published")
    births = [s for s in ears.said("up/status") if s["state"] == "online"]
    assert len(births) == 1
    assert births[0]["epoch"] == agent_chain(stage.stage.findings_db).epoch
    late = witness(broker.port)
    wait_until(lambda: late.heard("up/status"), 5, "the status is retained")
    assert late.heard("up/status")[0].retained
    assert late.heard("up/points")[0].retained

    kinds = ears.check_everything()
    assert kinds == {"status", "heartbeat", "points", "record", "finding", "case", "demand", "ack"}
    centre.no_complaints()
    ours = agent_chain(stage.stage.findings_db)
    theirs = centre_chain(centre.db, ours.epoch)
    assert recomputed(theirs.records) == theirs.head == ours.head


@pytest.mark.timeout(90)
def test_without_a_broker_in_sight_the_agent_works_and_everything_arrives_when_there_is_one(
    mosquitto: Callable[..., Broker], play: Callable[..., Play]
):
    port = free_port()
    stage = play([OVERLOAD], rate=1800.0, broker_port=port)
    stage.start_meters()
    stage.start_agent()
    wait_until(lambda: stage.agent.lines("finding"), 20, "a finding without a broker")
    wait_until(lambda: agent_chain(stage.stage.findings_db).last >= 2, 5, "it is kept")
    assert agent_chain(stage.stage.findings_db).upto == 0
    wait_until(lambda: stage.agent.lines("no broker"), 10, "it says so")
    assert stage.agent.lines("no broker")[0]["code"] == "uplink.nobody_listens"

    broker = mosquitto(port=port)
    centre = Centre(stage, broker.port).start()
    wait_until(lambda: centre.step(TOPIC, "cleared"), 60, "everything arrives")
    wait_until(lambda: agent_chain(stage.stage.findings_db).upto >= 3, 5, "the agent has the receipt")
    centre.no_complaints()
    births = centre.records("boot")
    assert (len(births), births[0]["seq"]) == (1, 1)


class Papers:
    """Certificates of one authority, as files."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        self.server, self.client = folder / "server.pem", folder / "client.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(self.server))
        client = authority.issue_cert("gw-1@example.org", common_name="gw-1")
        client.private_key_and_cert_chain_pem.write_to_path(str(self.client))


@pytest.mark.timeout(90)
def test_a_finding_goes_through_tls_with_client_certificates_and_a_wrong_authority_is_named(
    tmp_path: Path, mosquitto: Callable[..., Broker], play: Callable[..., Play]
):
    ours, strangers = Papers(tmp_path / "ours"), Papers(tmp_path / "strangers")
    plain = free_port()  # for the centre, which stands beside the broker
    files = TlsFiles(ours.ca, ours.server, ours.server, require_client=True)
    broker = mosquitto(tls=files, extra=f"listener {plain} 127.0.0.1\nallow_anonymous true")
    wrong = play(
        [OVERLOAD], rate=1800.0, broker_port=broker.port,
        tls={"ca": strangers.ca, "cert": ours.client, "key": ours.client},
    )  # fmt: skip
    wrong.start_meters()
    wrong.start_agent()
    wait_until(lambda: wrong.agent.lines("no broker"), 10, "the agent says why there is no broker")
    said = wrong.agent.lines("no broker")[0]
    assert said["code"].startswith("uplink.tls")
    assert str(strangers.ca) in said["says"] or "authority" in said["says"]
    wait_until(lambda: wrong.agent.lines("finding"), 10, "it goes on polling and judging")
    assert wrong.agent.stop() == 0
    assert "u'gw-1'" not in broker.log

    right = play(
        [OVERLOAD], rate=1800.0, broker_port=broker.port, tls={"ca": ours.ca, "cert": ours.client, "key": ours.client}
    )
    centre = Centre(right, plain).start()
    right.start_meters()
    right.start_agent()
    cleared = wait_until(lambda: centre.step(TOPIC, "cleared"), 30, "a finding over TLS")
    wait_until(lambda: agent_chain(right.stage.findings_db).upto >= cleared.seq, 5, "the agent has the receipt")
    centre.no_complaints()
    assert "u'gw-1'" in broker.log  # the certificate's common name is the user
