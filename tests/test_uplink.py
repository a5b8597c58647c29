"""The uplink against real brokers and against one that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from edge_agent.model import ClockQuality
from edge_agent.uplink import backoff, delivery, mqtt, uplink
from edge_agent.words import sentences
from tests.broker import Broker
from tests.fake_broker import FakeBroker, packet
from tests.gateway import BASE, UTC_MS, Centre, Gateway, SteadyClock, until

Factory = Callable[..., Broker]
Version = Literal["5", "3.1.1"]
VERSIONS: list[Version] = ["5", "3.1.1"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same waits, shorter."""
    monkeypatch.setattr(backoff, "LEAST_S", 0.02)
    monkeypatch.setattr(backoff, "FIRST_S", 0.05)
    monkeypatch.setattr(delivery, "PAUSE_FIRST_MS", 100)


@asynccontextmanager
async def fake() -> AsyncIterator[FakeBroker]:
    broker = FakeBroker()
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


# --- real brokers


@pytest.mark.parametrize("version", VERSIONS)
def test_everything_reaches_the_centre_in_order_and_is_done_when_it_says_so(mosquitto: Factory, version: Version):
    broker = mosquitto()

    async def story() -> None:
        gateway = Gateway(broker.port, version=version, heartbeat_s=0.2)
        centre = Centre(broker.port, gateway.outbox.epoch)
        gateway.outbox.fill_rows("factory", [UTC_MS - 900_000 * n for n in range(1, 5)])
        gateway.outbox.fill_rows("mill", [UTC_MS - 900_000])
        async with gateway.running():
            gateway.write(300)
            await until(lambda: gateway.outbox.upto == 300)
            await until(lambda: len(gateway.outbox.sent_rows) == 5)
            await until(lambda: len(centre.topics("heartbeat")) >= 2)
            gateway.papers.loads["mill"] = 0.4
            gateway.uplink.points_changed("mill")
            await until(lambda: len(centre.topics("points/mill")) == 2)
        await until(lambda: json.loads(centre.topics("status")[-1])["state"] == "offline")
        assert centre.arrivals == list(range(1, 301)), "in order, and none of them twice"
        assert json.loads(centre.topics("status")[-1])["why"] == "stopped"
        assert len(centre.topics("points/factory")) == 1, "only what changed is said again"
        blocks = [json.loads(body) for body in centre.topics("demand")]
        ends = [b["end"] for b in blocks]
        assert ends == sorted(ends, reverse=True), "newest first"
        assert len(blocks) == 4
        assert [p["point"] for p in blocks[0]["points"]] == ["factory", "mill"], "one message for all points of a block"
        order = [topic for topic, _, _ in centre.heard]
        assert order.index("demand") > max(n for n, topic in enumerate(order) if topic == "record")
        assert centre.check_everything() == {"status", "heartbeat", "points", "record", "demand"}
        centre.close()

    asyncio.run(story())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_broker_that_is_killed_and_forgets_costs_nothing(mosquitto: Factory, version: Version):
    broker = mosquitto()

    async def story() -> None:
        gateway = Gateway(broker.port, version=version, resend_after_s=1.0)
        centre = Centre(broker.port, gateway.outbox.epoch)
        centre.lose = lambda seq: seq % 7 == 0 and centre.arrivals.count(seq) == 0 and seq not in forgiven
        forgiven: set[int] = set()
        async with gateway.running():
            for round_ in range(3):
                gateway.write(100)
                await until(lambda: len(centre.arrivals) > 20 * (round_ + 1))  # noqa: B023
                await asyncio.to_thread(broker.restart, clean=False)
                forgiven.update(range(1, 100 * (round_ + 1)))
            centre.lose = lambda _seq: False
            await until(lambda: gateway.outbox.upto == 300, 30)
        assert sorted(centre.kept) == list(range(1, 301))
        assert gateway.uplink.report.connects >= 3
        centre.close()

    asyncio.run(story())


def test_the_will_speaks_when_the_agent_cannot(mosquitto: Factory):
    broker = mosquitto()

    async def story() -> None:
        gateway = Gateway(broker.port, version="3.1.1")
        centre = Centre(broker.port, gateway.outbox.epoch)
        task = asyncio.create_task(gateway.uplink.run())
        await until(lambda: centre.topics("status"))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: json.loads(centre.topics("status")[-1])["state"] == "offline")
        assert json.loads(centre.topics("status")[-1])["why"] == "lost"
        assert centre.check_everything() >= {"status"}
        centre.close()

    asyncio.run(story())


def test_without_a_broker_in_sight_the_agent_waits_and_finds_it_later(mosquitto: Factory, free_port: int):
    async def story() -> None:
        gateway = Gateway(free_port)
        async with gateway.running():
            gateway.write(5)
            await until(lambda: gateway.fault == "nobody_listens")
            assert str(free_port) in str(gateway.uplink.report.fault)
            broker = await asyncio.to_thread(mosquitto, port=free_port)
            centre = Centre(broker.port, gateway.outbox.epoch)
            await until(lambda: gateway.outbox.upto == 5)
            assert gateway.uplink.report.fault is None
            centre.close()

    asyncio.run(story())


def test_by_broker_a_record_is_done_at_its_puback(mosquitto: Factory):
    broker = mosquitto()

    async def story() -> None:
        gateway = Gateway(broker.port, ack="broker")
        centre = Centre(broker.port, gateway.outbox.epoch, acknowledges=False)
        await until(lambda: "centre" in broker.log)
        async with gateway.running():
            gateway.write(250)
            await until(lambda: gateway.outbox.upto == 250)
        assert centre.arrivals == list(range(1, 251))
        centre.close()

    asyncio.run(story())


def test_by_broker_what_nobody_has_subscribed_to_is_not_done(mosquitto: Factory):
    broker = mosquitto()

    async def story() -> None:
        gateway = Gateway(broker.port, ack="broker")
        async with gateway.running():
            gateway.write(3)
            await until(lambda: gateway.uplink.report.refused.get(0x10))
            assert gateway.outbox.upto == 0
            centre = Centre(broker.port, gateway.outbox.epoch, acknowledges=False)
            await until(lambda: gateway.outbox.upto == 3)
            centre.close()

    asyncio.run(story())


def test_what_an_acl_throws_away_is_not_done(mosquitto: Factory, tmp_path: Path):
    acl = tmp_path / "acl"
    acl.write_text(f"topic readwrite {BASE}/down/#\ntopic write {BASE}/up/status\n")
    acl.chmod(0o700)
    broker = mosquitto(extra=f"acl_file {acl}")

    async def story() -> None:
        gateway = Gateway(broker.port)
        async with gateway.running():
            gateway.write(3)
            await until(lambda: gateway.uplink.report.refused.get(0x87))
            assert gateway.outbox.upto == 0
            assert gateway.uplink.delivery.last == 3

    asyncio.run(story())


def test_broker_as_judge_needs_mqtt_5():
    with pytest.raises(ValueError, match="needs MQTT 5"):
        Gateway(1, ack="broker", version="3.1.1")


# --- acknowledgements


def ack(**fields: Any) -> bytes:
    return json.dumps({"epoch": "0123456789abcdef", "upto": 1, "head": "0" * 64} | fields).encode()


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (ack(epoch="f" * 16), "epoch"),
        (ack(), "head"),
        (ack(upto=9), "ahead"),
        (b"\xff\xfe garbage", "malformed"),
        (b"[" * 100_000, "malformed"),
        (b"[" * 60_000, "malformed"),
        (b"", "malformed"),
        (ack(upto="1"), "malformed"),
        (ack(need=[5, 1, 2]), "malformed"),
        (ack(surprise=1), "malformed"),
    ],
)
def test_an_acknowledgement_that_is_not_ours_acknowledges_nothing(payload: bytes, kind: str):
    async def story() -> None:
        async with fake() as broker:
            gateway = Gateway(broker.port)
            async with gateway.running():
                gateway.write(2)
                await until(lambda: len(broker.chain) == 2)
                broker.publish(f"{BASE}/down/ack", payload)
                await until(lambda: gateway.uplink.report.acks.count)
                assert gateway.uplink.report.acks.kind == kind
                assert gateway.outbox.upto == 0
                broker.publish(f"{BASE}/down/ack", ack(head=gateway.outbox.records[0].hash_hex))
                await until(lambda: gateway.outbox.upto == 1)
                assert gateway.uplink.report.acks.kind == ""
                assert gateway.uplink.report.acks.by_kind == {kind: 1}
            assert gateway.uplink.report.connects == 1

    asyncio.run(story())


def test_need_nack_and_the_centres_time():
    async def story() -> None:
        async with fake() as broker:
            gateway = Gateway(broker.port)
            async with gateway.running():
                gateway.write(4)
                await until(lambda: len(broker.chain) == 4)
                heads = [r.hash_hex for r in gateway.outbox.records]
                at = "2026-03-14T02:15:00.500Z"
                broker.publish(f"{BASE}/down/ack", ack(upto=2, head=heads[1], need=[1, 3], nack=[4], at=at))
                await until(lambda: len(broker.chain) == 7)
                assert [json.loads(p.payload)["seq"] for p in broker.chain[4:]] == [1, 2, 3]
                assert gateway.outbox.dead_letters == [4]
                (told,) = gateway.times
                assert told.utc_ms == 1_773_454_500_500
                assert 0 <= told.error_ms < 2_000
                assert abs(gateway.clock.now_ms() - told.bt_ms) < 2_000

    asyncio.run(story())


def test_a_slow_answer_is_no_source_of_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(uplink, "TIME_SOURCE_MS", 50)

    async def story() -> None:
        async with fake() as broker:
            gateway = Gateway(broker.port)
            async with gateway.running():
                gateway.write(1)
                await until(lambda: broker.chain)
                await asyncio.sleep(0.1)
                head = gateway.outbox.records[0].hash_hex
                broker.publish(f"{BASE}/down/ack", ack(head=head, at="2026-03-14T02:15:00Z"))
                await until(lambda: gateway.outbox.upto == 1)
                assert gateway.times == []

    asyncio.run(story())


# --- a broker that refuses

CONNACKS: list[tuple[Version, int, str]] = [
    ("5", 0x80, "refused"),
    ("5", 0x81, "refused"),
    ("5", 0x84, "refused_version"),
    ("5", 0x85, "refused_client_id"),
    ("5", 0x86, "refused_login"),
    ("5", 0x87, "refused_rights"),
    ("5", 0x88, "refused_busy"),
    ("5", 0x89, "refused_busy"),
    ("5", 0x8A, "refused_banned"),
    ("5", 0x8C, "refused_login"),
    ("5", 0x95, "refused_too_large"),
    ("5", 0x97, "refused_busy"),
    ("5", 0x9A, "refused_retain"),
    ("5", 0x9B, "refused_qos"),
    ("5", 0x9C, "refused_elsewhere"),
    ("5", 0x9D, "refused_elsewhere"),
    ("5", 0x9F, "refused_busy"),
    ("3.1.1", 1, "refused_version"),
    ("3.1.1", 2, "refused_client_id"),
    ("3.1.1", 3, "refused_busy"),
    ("3.1.1", 4, "refused_login"),
    ("3.1.1", 5, "refused_rights"),
]


@pytest.mark.parametrize(("version", "code", "name"), CONNACKS)
def test_a_refusal_is_named_and_the_agent_comes_again(
    version: Version, code: int, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("edge_agent.uplink.faults._PATIENCE_S", {})

    async def story() -> None:
        async with fake() as broker:
            broker.connack = [code]
            gateway = Gateway(broker.port, version=version)
            faults: list[str] = []
            async with gateway.running():
                gateway.write(1)
                await until(lambda: gateway.fault or gateway.uplink.report.connected)
                faults.append(gateway.fault)
                await until(lambda: broker.chain)
            assert faults == [name]
            assert [c.version for c in broker.connects] == [5 if version == "5" else 4] * 2, "no quiet fall back"

    asyncio.run(story())


def test_a_busy_broker_is_given_time():
    async def story() -> None:
        async with fake() as broker:
            broker.connack = [0x89] * 100
            gateway = Gateway(broker.port)
            async with gateway.running():
                await until(lambda: gateway.fault == "refused_busy")
                await asyncio.sleep(0.5)
                assert len(broker.connects) == 1
                assert gateway.uplink.report.fault is not None
                assert gateway.uplink.report.fault.at_least_s == 10

    asyncio.run(story())


@pytest.mark.parametrize("reason", [0x10, 0x87, 0x97])
def test_a_puback_that_refuses_loses_nothing(reason: int):
    async def story() -> None:
        async with fake() as broker:
            refusals = iter([reason] * 12)
            broker.puback = lambda _n, p: next(refusals, 0) if p.topic.endswith("record") else 0
            gateway = Gateway(broker.port, ack="broker")
            async with gateway.running():
                gateway.write(10)
                await until(lambda: gateway.outbox.upto == 10)
            assert gateway.uplink.report.refused == {reason: 12}
            seen = [json.loads(p.payload)["seq"] for p in broker.chain]
            assert seen[:10] == list(range(1, 11))
            assert seen[10:13] == [1, 1, 1], "one message, again after each pause, shows whether the trouble is over"
            assert seen[13:] == list(range(2, 11))

    asyncio.run(story())


def test_late_pubacks_never_widen_the_window():
    async def story() -> None:
        async with fake() as broker:
            broker.connack_properties = b"\x21\x00\x07"  # Receive Maximum 7
            broker.puback_after_s = 0.01
            waiting: list[int] = []
            gateway = Gateway(broker.port, ack="broker")
            async with gateway.running():
                gateway.write(60)
                while gateway.outbox.upto < 60:
                    waiting.append(gateway.uplink.delivery.flying)
                    await asyncio.sleep(0.002)
            assert max(waiting) == 7
            assert [json.loads(p.payload)["seq"] for p in broker.chain] == list(range(1, 61))

    asyncio.run(story())


def test_a_subscription_that_is_refused_is_said():
    async def story() -> None:
        async with fake() as broker:
            broker.suback = 0x87
            gateway = Gateway(broker.port)
            async with gateway.running():
                await until(lambda: gateway.fault == "no_subscription")
                assert "never acknowledged" in str(gateway.uplink.report.fault)
                assert broker.chain == []

    asyncio.run(story())


def test_a_broker_that_keeps_nothing_is_not_asked_to():
    async def story() -> None:
        async with fake() as broker:
            broker.connack_properties = b"\x25\x00"  # Retain Available 0
            gateway = Gateway(broker.port)
            async with gateway.running():
                await until(lambda: len(broker.published) >= 3)
            assert not any(p.retain for p in broker.published)

    asyncio.run(story())


def test_a_broker_that_knows_no_mqtt_5_is_named():
    """It answers in the form of 3.1.1: two bytes, the second of them 1."""

    async def story() -> None:
        async with fake() as broker:
            broker.greeting = packet(0x20, b"\x00\x01")
            gateway = Gateway(broker.port)
            async with gateway.running():
                await until(lambda: gateway.fault == "refused_version")

    asyncio.run(story())


# --- a broker that is not there, or not one


def test_a_half_open_connection_is_noticed_within_two_keepalives():
    async def story() -> None:
        async with fake() as broker:
            gateway = Gateway(broker.port, keepalive_s=1)
            loop = asyncio.get_running_loop()
            async with gateway.running():
                await until(lambda: gateway.uplink.report.connected)
                broker.silent = True
                began = loop.time()
                await until(lambda: not gateway.uplink.report.connected)
                assert loop.time() - began < 3.2
                assert gateway.fault in {"half_open", "no_puback"}
                broker.silent = False
                gateway.write(1)
                await until(lambda: len(broker.chain) == 1)

    asyncio.run(story())


def test_a_frozen_broker_is_noticed(mosquitto: Factory):
    broker = mosquitto()

    async def story() -> None:
        gateway = Gateway(broker.port, keepalive_s=1)
        centre = Centre(broker.port, gateway.outbox.epoch)
        async with gateway.running():
            gateway.write(1)
            await until(lambda: gateway.outbox.upto == 1)
            broker.freeze()
            gateway.write(1)
            await until(lambda: not gateway.uplink.report.connected, 3.5)
            broker.thaw()
            await until(lambda: gateway.outbox.upto == 2)
        centre.close()

    asyncio.run(story())


def test_a_broker_that_answers_pings_and_confirms_nothing_is_left():
    async def story() -> None:
        async with fake() as broker:
            broker.puback = lambda _n, p: None if p.topic.endswith("record") else 0
            gateway = Gateway(broker.port, keepalive_s=1)
            async with gateway.running():
                gateway.write(3)
                await until(lambda: gateway.fault == "no_puback")
                broker.puback = lambda _n, _p: 0
                await until(lambda: len(broker.chain) >= 6)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("greeting", "name"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "web_server"),
        (b"<html>please log in</html>", "not_mqtt"),
        (b"\x00" * 50, "not_mqtt"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "web_server"),
    ],
)
def test_what_is_no_broker_is_said_to_be_none(greeting: bytes, name: str):
    async def story() -> None:
        async with fake() as broker:
            broker.greeting = greeting
            gateway = Gateway(broker.port)
            async with gateway.running():
                await until(lambda: gateway.fault == name)
            assert not gateway.uplink.report.connects

    asyncio.run(story())


def test_a_port_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(uplink, "CONNECT_S", 0.3)

    async def story() -> None:
        async with fake() as broker:
            broker.silent = True
            gateway = Gateway(broker.port)
            async with gateway.running():
                await until(lambda: gateway.fault == "no_answer")
                broker.silent = False
                gateway.write(1)
                await until(lambda: broker.chain)

    asyncio.run(story())


def test_a_name_that_nobody_knows_is_said():
    async def story() -> None:
        gateway = Gateway(1883, host="no-such-host.invalid")
        async with gateway.running():
            await until(lambda: gateway.fault in {"no_such_host", "unreachable"}, 20)
            assert "no-such-host.invalid" in str(gateway.uplink.report.fault)

    asyncio.run(story())


# --- hostile packets


@pytest.mark.parametrize(
    "hostile",
    [
        packet(0x90, b"\x00"),  # SUBACK cut short
        packet(0x30, b"\xff\xff"),  # PUBLISH whose topic is longer than the packet
        packet(0x40, b""),  # PUBACK of nothing
        packet(0xF0, b""),  # a packet type that there is not
        b"\x30\xff\xff\xff\xff\xff\x01",  # a length without end
        packet(0xE0, b"\x8e\x00"),  # DISCONNECT: session taken over
    ],
    ids=["suback", "publish", "puback", "auth", "length", "taken over"],
)
def test_a_broken_packet_costs_one_connection_at_most(hostile: bytes):
    async def story() -> None:
        async with fake() as broker:
            gateway = Gateway(broker.port)
            async with gateway.running():
                await until(lambda: gateway.uplink.report.connected)
                broker.say(hostile)
                await asyncio.sleep(0.1)
                gateway.write(1)
                await until(lambda: broker.chain)
                assert gateway.uplink.report.connected

    asyncio.run(story())


def test_a_client_with_the_same_id_is_named():
    async def story() -> None:
        async with fake() as broker:
            gateway = Gateway(broker.port)
            seen = []
            async with gateway.running():
                await until(lambda: gateway.uplink.report.connected)
                broker.say(packet(0xE0, b"\x8e\x00"))
                await until(lambda: gateway.fault)
                seen.append(gateway.fault)
            assert seen == ["taken_over"]

    asyncio.run(story())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_monstrous_packet_is_not_read(version: Version):
    async def story() -> None:
        async with fake() as broker:
            gateway = Gateway(broker.port, version=version)
            async with gateway.running():
                await until(lambda: gateway.uplink.report.connected)
                broker.say(b"\x30\xff\xff\xff\x7f" + bytes(1_000_000))  # it announces 256 MiB
                await until(lambda: gateway.uplink.report.dropped == 1)
                await until(lambda: len(broker.connects) == 2)
                gateway.write(1)
                await until(lambda: broker.chain)
            assert [c.clean for c in broker.connects] == [False, True], "else it would come again, for ever"

    asyncio.run(story())


def test_a_flood_is_bounded_and_counted():
    async def story() -> None:
        async with fake() as broker:
            gateway = Gateway(broker.port)
            async with gateway.running():
                gateway.write(1)
                await until(lambda: broker.chain)
                for _ in range(20_000):
                    broker.publish(f"{BASE}/down/ack", ack(epoch="f" * 16))
                broker.publish(f"{BASE}/down/command", b"x" * 1_000)
                await until(lambda: gateway.uplink.report.acks.by_kind.get("epoch"))
                head = gateway.outbox.records[0].hash_hex
                broker.publish(f"{BASE}/down/ack", ack(head=head))
                await until(lambda: gateway.outbox.upto == 1)
            assert len(gateway.outbox.outcomes) == 1, "nothing of the flood reached the store"
            assert gateway.uplink.report.dropped >= 1

    asyncio.run(story())


# --- the session, the store, the rest


def test_the_session_outlives_the_connection_and_the_will_waits():
    async def story() -> None:
        async with fake() as broker:
            for version in VERSIONS:
                async with Gateway(broker.port, version=version, keepalive_s=240).running():
                    await until(lambda: broker.subscribed)
                    broker.subscribed.clear()
            five, three = broker.connects
            assert (five.client_id, five.clean, five.keepalive_s) == ("gw-1", False, 240)
            assert b"\x11" + (300).to_bytes(4, "big") in five.properties, "session expiry 300 s"
            assert b"\x27" + mqtt.PACKET_MAX.to_bytes(4, "big") in five.properties, "maximum packet size"
            assert (three.client_id, three.clean) == ("gw-1", False)

    asyncio.run(story())


def test_a_store_that_fails_for_a_while_is_asked_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(uplink, "STORE_AGAIN_MS", 50)

    async def story() -> None:
        async with fake() as broker:
            gateway = Gateway(broker.port, ack="broker")
            gateway.outbox.broken = OSError("disk")
            async with gateway.running():
                gateway.write(3)
                await until(lambda: gateway.uplink.report.connected)
                await asyncio.sleep(0.2)
                assert broker.chain == []
                gateway.outbox.broken = None
                await until(lambda: gateway.outbox.upto == 3)
            assert gateway.uplink.report.connects == 1

    asyncio.run(story())


def test_telemetry_that_the_broker_refuses_stays():
    async def story() -> None:
        async with fake() as broker:
            broker.puback = lambda _n, p: 0x97 if p.topic.endswith("demand") else 0
            gateway = Gateway(broker.port)
            gateway.outbox.fill_rows("factory", [UTC_MS - 900_000])
            async with gateway.running():
                await until(lambda: gateway.uplink.report.refused.get(0x97))
                await asyncio.sleep(0.1)
            assert gateway.outbox.sent_rows == []

    asyncio.run(story())


def test_telemetry_waits_for_true_time():
    async def story() -> None:
        async with fake() as broker:
            gateway = Gateway(broker.port, clock=SteadyClock(ClockQuality.UNSET))
            gateway.outbox.fill_rows("factory", [UTC_MS - 900_000])
            async with gateway.running():
                await until(lambda: gateway.uplink.report.connected)
                await asyncio.sleep(0.1)
                assert not [p for p in broker.published if p.topic.endswith("demand")]
                gateway.clock.quality = ClockQuality.SYNCED
                gateway.uplink.news()
                await until(lambda: gateway.outbox.sent_rows)

    asyncio.run(story())


def test_every_fault_has_its_sentence():
    """A code without a sentence would be a KeyError at the worst moment."""
    known = sentences("en")
    folder = Path(uplink.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    used = set(re.findall(r'MqttFault\(\s*"([a-z0-9_]+)"', code)) | set(re.findall(r'\.drop\("([a-z0-9_]+)"', code))
    used |= set(re.findall(r'(?:0x[0-9A-F]{2}|\d{1,2}|"ALERT_[A-Z_]+"): "([a-z0-9_]+)"', code))
    used |= {f"ack_{kind}" for kind in ("epoch", "head", "ahead", "malformed")}
    used |= set(re.findall(r'"((?:tls|refused|web|not|taken|disconnected)[a-z_]*)" (?:if|else)', code))
    assert len(used) > 40
    assert {f"uplink.{name}" for name in used} <= known.keys()
    unused = {name for name in known if name.startswith("uplink.")} - {f"uplink.{name}" for name in used}
    assert unused <= {"uplink.refused", "uplink.not_mqtt", "uplink.disconnected", "uplink.tls_not_trusted"}


def test_the_uplink_does_not_load_cryptography():
    code = (
        "import sys, edge_agent.uplink; heavy = {'cryptography', 'jsonschema', 'hypothesis', 'rich', 'aiohttp'}; "
        "print(sorted(heavy & set(sys.modules)), 'paho.mqtt.client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[] True"
