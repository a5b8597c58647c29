"""The uplink against brokers that refuse, fall silent, are no brokers, or mean it ill."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from edge_agent.uplink import uplink
from edge_agent.words import sentences
from tests.broker import Broker
from tests.fake_broker import Published, fake, packet
from tests.gateway import BASE, Centre, Gateway, ack, short_waits, until

Factory = Callable[..., Broker]
Version = Literal["5", "3.1.1"]
VERSIONS: list[Version] = ["5", "3.1.1"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    short_waits(monkeypatch)


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


def test_a_refusal_while_the_store_is_being_read_is_not_passed_over():
    async def story() -> None:
        async with fake() as broker:
            mids: dict[int, bytes] = {}
            gateway = Gateway(broker.port, ack="broker", window=2)

            def answer(_n: int, message: Published) -> int | None:
                """The first record's answer comes late, by hand."""
                first = message.topic.endswith("record") and b'"seq":1,' in message.payload and not mids
                if first:
                    mids[1] = message.mid
                return None if first else 0

            broker.puback = answer
            gateway.papers.loads.clear()
            async with gateway.running():
                await until(lambda: gateway.uplink.report.confirmed == 1)
                gateway.write(2)
                await until(lambda: gateway.uplink.report.confirmed == 2)
                gateway.outbox.slow_s = 0.3
                gateway.write(2)
                await asyncio.sleep(0.1)
                broker.say(packet(0x40, mids[1] + b"\x97\x00"))
                await until(lambda: gateway.outbox.upto == 4)
            assert gateway.uplink.report.refused == {0x97: 1}

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
                assert "ever acknowledged" in str(gateway.uplink.report.fault)
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


def test_stopping_does_not_wait_for_a_broker_that_does_not_answer():
    async def story() -> None:
        async with fake() as broker:
            broker.silent = True
            gateway = Gateway(broker.port)
            loop = asyncio.get_running_loop()
            async with gateway.running():
                await until(lambda: broker.connects)
                began = loop.time()
            assert loop.time() - began < 1
            assert gateway.fault == "", "it was our own wish"

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


# --- words


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
