"""The reference centre: what it keeps, what it counts as known, what it refuses, and what it says to the gateway.

Messages are made with the agent's own envelope, so that the published schemas judge what an agent really sends; the
chain's hashes are recomputed here from the definition.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.contract.demand import demand_message, demand_row
from edge_agent.contract.envelope import seal
from edge_agent.model import ClockQuality, ClockState, Letter, Severity
from simulator.broker import InProcessBroker
from simulator.central.centre import Centre
from simulator.central.ledger import Ack, Chain, Ledger
from simulator.central.pace import AckPace
from simulator.central.schemas import Schemas
from simulator.central.view import View
from tests.broker import Broker, free_port

GATEWAY = "demo/gw-1"
EPOCH = "00c0ffee00c0ffee"
T0 = 1_772_380_800_000
ZERO = "00" * 32


def hashed(head: str, seq: int, body: bytes) -> str:
    """reliability: h[n] = SHA-256(0x00 || h[n-1] || u64be(n) || u32be(len) || body)"""
    before = bytes.fromhex(head)
    return hashlib.sha256(b"\0" + before + seq.to_bytes(8, "big") + len(body).to_bytes(4, "big") + body).hexdigest()


class Gateway:
    """An agent's outbox: a chain of records as they would be sent."""

    def __init__(self, epoch: str = EPOCH) -> None:
        self.epoch = epoch
        self.head = ZERO
        self.bodies: list[bytes] = []
        self.heads = [ZERO]

    def write(self, finding: str = "demo-gw-1-factory-cap-202603", step: str = "opened", **spoil: Any) -> bytes:
        n = len(self.bodies) + 1
        body = seal(record(finding, step, n), n, self.epoch, self.head)
        if spoil:
            message = json.loads(body)
            message.update(spoil)
            body = json.dumps(message).encode()
        self.bodies.append(body)
        self.head = hashed(self.head, n, body)
        self.heads.append(self.head)
        return body


def record(finding: str, step: str, n: int) -> Letter:
    return Letter(
        id=f"{finding}/{step}/{n}",
        kind="finding",
        type=f"edge-agent.finding.{step}.v1",
        source="/demo/gw-1/factory",
        subject="cap-over-contract",
        time_ms=T0 + n * 900_000,
        severity=Severity.NOTICE,
        clock=ClockState(ClockQuality.SYNCED, 0, 10),
        boot_id="0" * 32,
        data={
            "finding": finding, "step": step, "n": n, "episode": "2026-03", "active": step != "cleared",
            "reason": "level", "topic": "cap-over-contract", "release": "cap-over-contract@7",
            "params_digest": f"sha-256:{'0' * 64}", "route": "customer-inspection", "interval": {}, "point": "factory",
            "trial": False, "exempt": False, "test": False, "check_archive": False, "origin": "agent",
            "measured": [], "counts": [], "facts": [],
        },
    )  # fmt: skip


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "centre.db"


SCHEMAS = Schemas()


class Desk:
    """A ledger with a clock of its own: every `say` is one batch."""

    def __init__(self, db: Path, **pace: int) -> None:
        self.ledger = Ledger(db, SCHEMAS, **{"ack_every_ms": 0, **pace})
        self.now_ms = T0

    def say(self, *bodies: bytes, topic: str = "finding", gateway: str = GATEWAY) -> list[Ack]:
        self.now_ms += 1000
        for body in bodies:
            self.ledger.take(gateway, topic, body, self.now_ms)
        return self.ledger.commit(self.now_ms)

    def wait(self, ms: int) -> list[Ack]:
        self.now_ms += ms
        return self.ledger.commit(self.now_ms)


@pytest.fixture
def desk(db: Path) -> Iterator[Desk]:
    desk = Desk(db)
    yield desk
    desk.ledger.close()


def last(acks: list[Ack]) -> tuple[int, str, tuple[int, int] | None, tuple[int, ...]]:
    ack = acks[-1]
    assert ack.chain == Chain(GATEWAY, EPOCH)
    return ack.upto, ack.head, ack.need, ack.nack


def test_what_an_agent_seals_is_accepted_and_the_head_is_the_chains(desk: Desk, db: Path):
    gateway = Gateway()
    acks = desk.say(*(gateway.write(step=step) for step in ("opened", "updated", "cleared")))
    assert last(acks) == (3, gateway.head, None, ())
    assert json.loads(acks[-1].body()) == {
        "epoch": EPOCH, "upto": 3, "head": gateway.head, "nack": [], "at": "2026-03-01T16:00:01.000Z"
    }  # fmt: skip
    assert SCHEMAS.objection("ack", json.loads(acks[-1].body())) is None
    with View(db) as view:
        assert view.quarantine() == []
        assert [(f.finding, f.step, f.point) for f in view.findings()] == [
            ("demo-gw-1-factory-cap-202603", "cleared", "factory")
        ]
        assert [e.step for e in view.events()] == ["opened", "updated", "cleared"]


def test_a_message_again_is_counted_and_kept_once(desk: Desk, db: Path):
    gateway = Gateway()
    first, second = gateway.write(), gateway.write(step="cleared")
    desk.say(first, second)
    acks = desk.say(first, second, first)
    assert last(acks)[:2] == (2, gateway.head)  # and said again: its sender did not hear it the first time
    with View(db) as view:
        assert view.tally("duplicates") == 3
        assert [e.step for e in view.events()] == ["opened", "cleared"]


def test_the_same_event_in_a_new_epoch_counts_in_the_chain_and_is_one_event(desk: Desk, db: Path):
    old, new = Gateway(), Gateway("1111222233334444")
    desk.say(old.write())
    desk.say(new.write())
    with View(db) as view:
        assert sorted((h.epoch, h.upto, h.head) for h in view.heads()) == [
            (EPOCH, 1, old.head), ("1111222233334444", 1, new.head)
        ]  # fmt: skip
        assert len(view.events()) == 1
        assert view.tally("events_known") == 1


def test_out_of_order_is_put_in_order(desk: Desk, db: Path):
    gateway = Gateway()
    bodies = [gateway.write(f"f{i}") for i in range(1, 7)]
    uptos = []
    for i in (1, 0, 4, 5, 3, 2):
        uptos.append(last(desk.say(bodies[i]))[0])
    assert uptos == [0, 2, 2, 2, 2, 6]
    with View(db) as view:
        assert [e.seq for e in view.events()] == [1, 2, 3, 4, 5, 6]
        assert view.heads()[0].head == gateway.head
        assert view.gaps() == []


def test_a_gap_is_asked_for_once_it_has_stood(db: Path):
    desk, gateway = Desk(db, ack_every_ms=2000), Gateway()
    bodies = [gateway.write(f"f{i}") for i in range(1, 8)]
    desk.say(bodies[0], bodies[4], bodies[6])
    first = desk.wait(2000)
    assert last(first) == (1, gateway.heads[1], None, ())  # it may only have been overtaken
    second = desk.wait(2000)
    assert last(second)[2] == (2, 4)
    assert desk.wait(2000) == []  # said; again only after a while
    assert last(desk.wait(30_000))[2] == (2, 4)
    with View(db) as view:
        assert view.gaps() == [(GATEWAY, EPOCH, 2, 4)]
    desk.say(*bodies[1:4])
    assert last(desk.wait(2000))[:3] == (5, gateway.heads[5], None)
    assert last(desk.wait(2000))[2] == (6, 6)
    desk.ledger.close()


def test_a_message_that_breaks_its_schema_is_refused_by_its_number_and_the_chain_goes_on(desk: Desk, db: Path):
    gateway = Gateway()
    acks = desk.say(gateway.write(), gateway.write(severity="enormous"), gateway.write(step="cleared"))
    assert last(acks) == (3, gateway.head, None, (2,))
    with View(db) as view:
        assert [e.seq for e in view.events()] == [1, 3]
        (topic, reason, detail, seq, times), = view.quarantine()  # fmt: skip
        assert (topic, reason, seq, times) == ("finding", "schema", 2, 1)
        assert "enormous" in detail


def test_a_message_with_other_bytes_than_were_kept_changes_nothing(desk: Desk, db: Path):
    gateway = Gateway()
    body = gateway.write()
    desk.say(body)
    forged = body.replace(b'"notice"', b'"critical"')
    assert last(desk.say(forged))[:2] == (1, hashed(ZERO, 1, body))
    with View(db) as view:
        assert [q[1] for q in view.quarantine()] == ["conflict"]
        assert view.events()[0].severity == "notice"


def test_a_record_that_does_not_follow_is_quarantined_and_asked_for_not_refused(desk: Desk, db: Path):
    gateway = Gateway()
    first, second, third = gateway.write(), gateway.write(), gateway.write()
    desk.say(first)
    wrong = second.replace(gateway.heads[1].encode(), ("ab" * 32).encode())
    assert wrong != second
    acks = desk.say(wrong, third)
    assert last(acks) == (1, gateway.heads[1], (2, 2), ())
    with View(db) as view:
        assert [(q[1], q[3]) for q in view.quarantine()] == [("chain", 2)]
        assert len(view.events()) == 1
    assert last(desk.say(second))[:3] == (3, gateway.head, None)


def test_of_two_that_wait_for_one_number_the_chain_decides(desk: Desk, db: Path):
    gateway = Gateway()
    first, second, third = gateway.write("f1"), gateway.write("f2"), gateway.write("f3")
    wrong = second.replace(gateway.heads[1].encode(), ("cd" * 32).encode()).replace(b"f2", b"xx")
    acks = desk.say(wrong, second, third, first)
    assert last(acks)[:2] == (3, gateway.head)
    with View(db) as view:
        assert [e.finding for e in view.events()] == ["f1", "f2", "f3"]
        assert [(q[1], q[3]) for q in view.quarantine()] == [("chain", 2)]


def test_every_flipped_bit_of_a_record_is_noticed(tmp_path: Path):
    """A changed byte breaks the schema, the JSON, the identity or the next record's prevhash; the honest bytes win."""
    gateway = Gateway()
    first, second = gateway.write(), gateway.write()
    noticed = 0
    for at in range(0, 8 * len(first), 97):
        spoiled = bytearray(first)
        spoiled[at // 8] ^= 1 << at % 8
        desk = Desk(tmp_path / f"{at}.db")
        acks = desk.say(bytes(spoiled), second)
        upto, head, _, nack = last(acks)
        assert (upto, head) != (2, gateway.head)
        noticed += 1
        assert upto == 0 or head == hashed(ZERO, 1, bytes(spoiled)) or nack
        desk.ledger.close()
    assert noticed > 50


@pytest.mark.parametrize(
    ("topic", "body", "reason"),
    [
        ("finding", b"{", "json"),
        ("finding", b"[1, 2]", "json"),
        ("finding", b'{"seq": NaN}', "json"),
        ("finding", b"\xff\xfe{}", "json"),
        ("finding", b"[" * 100_000, "json"),
        ("finding", b"{}" + b" " * 262_144, "size"),
        ("finding", b"{}", "schema"),
        ("weather", b'{"sunny": true}', "no-schema"),
        ("", b"{}", "no-schema"),
        ("demand", b'{"start": "2026-03-01T23:45:00Z", "end": "2026-03-02T00:00:00Z", "points": "none"}', "schema"),
    ],
)
def test_nonsense_is_quarantined_with_its_reason_and_harms_nobody(
    desk: Desk, db: Path, topic: str, body: bytes, reason: str
):
    gateway = Gateway()
    assert desk.say(body, body, topic=topic) == []
    assert last(desk.say(gateway.write()))[:2] == (1, gateway.head)
    with View(db) as view:
        assert [(q[0], q[1], q[4]) for q in view.quarantine()] == [(topic, reason, 2)]
        assert view.tally("rejected") == 2


def test_a_gateway_speaks_for_itself_only(desk: Desk, db: Path):
    gateway = Gateway()
    acks = desk.say(gateway.write(source="/demo/gw-2/factory"))
    assert last(acks)[3] == (1,)
    with View(db) as view:
        assert [q[1] for q in view.quarantine()] == ["source"]
        assert view.events() == []


def test_a_centre_that_comes_back_goes_on_where_it_was(db: Path):
    gateway = Gateway()
    bodies = [gateway.write(f"f{i}") for i in range(1, 6)]
    desk = Desk(db)
    desk.say(*bodies[:2], bodies[3])
    desk.ledger.close()
    desk = Desk(db)
    assert last(desk.say(bodies[1]))[:2] == (2, gateway.heads[2])
    assert last(desk.say(bodies[2]))[:2] == (4, gateway.heads[4])  # what waited before still waits
    desk.ledger.close()


def test_what_is_not_committed_is_neither_kept_nor_said(db: Path):
    gateway = Gateway()
    desk = Desk(db)
    desk.ledger.take(GATEWAY, "finding", gateway.write(), T0)
    with closing(sqlite3.connect(db)) as other:
        assert other.execute("SELECT count(*) FROM chain").fetchone() == (0,)
    desk.ledger.rollback()
    assert desk.wait(1) == []
    with View(db) as view:
        assert (view.heads(), view.events(), view.tally("messages")) == ([], [], 0)
    desk.ledger.close()


def test_a_birth_is_answered_with_where_to_go_on(desk: Desk, db: Path):
    gateway = Gateway()
    desk.say(gateway.write())
    birth = {
        "state": "online", "boot_id": "0" * 32, "agent": "0.1.0", "contract": "v1", "clock": {"quality": "synced"},
        "epoch": EPOCH, "first": 1, "last": 4, "upto": 0, "head": gateway.head, "ack": "centre",
    }  # fmt: skip
    assert last(desk.say(json.dumps(birth).encode(), topic="status"))[:2] == (1, gateway.head)
    fresh = {**birth, "epoch": "9999888877776666"}
    acks = desk.say(json.dumps(fresh).encode(), topic="status")
    assert [(a.chain.epoch, a.upto, a.head) for a in acks] == [("9999888877776666", 0, ZERO)]
    with View(db) as view:
        assert view.quarantine() == []
        status = view.state("status")
        assert status is not None
        assert status["last"] == 4


def test_demand_is_kept_by_point_and_end_and_the_later_word_wins(desk: Desk, db: Path):
    def block(p_w: float) -> bytes:
        row = demand_row(
            "factory", source="register", coverage=1.0,
            active_w=(p_w - 1, p_w, p_w + 1), apparent_va=None,
        )  # fmt: skip
        return demand_message(T0, T0 + 900_000, [row])

    assert desk.say(block(100.0), block(220_000.0), topic="demand") == []
    with View(db) as view:
        ((point, end, row),) = view.demand()
        assert (point, end[:16], row["p"][1]) == ("factory", "2026-03-01T16:15", 220_000)
        assert view.quarantine() == []


def test_an_acknowledgement_comes_after_fifty_messages_or_two_seconds():
    pace: AckPace[str] = AckPace(after=50, every_ms=2000)
    for i in range(49):
        pace.news("gw", i)
    assert pace.take_due(48) == []
    assert pace.next_ms() == 2000
    pace.news("gw", 49)
    assert pace.take_due(49) == ["gw"]
    assert pace.next_ms() is None
    pace.news("gw", 100)
    assert pace.take_due(2099) == []
    assert pace.take_due(2100) == ["gw"]


# --- over a real broker --------------------------------------------------------------------------------------------


class Mouth:
    """A gateway's connection: publishes the chain and listens for what the centre says."""

    def __init__(self, port: int, *, v5: bool) -> None:
        self.acks: list[dict[str, Any]] = []
        protocol = MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, "gw-1", protocol=protocol)
        self.client.on_message = lambda _c, _u, message: self.acks.append(json.loads(message.payload))
        heard = threading.Event()
        self.client.on_connect = lambda client, *_: client.subscribe("ea/v1/demo/gw-1/down/#", qos=1) and None
        self.client.on_subscribe = lambda *_: heard.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert heard.wait(5)

    def send(self, *bodies: bytes, topic: str = "finding") -> None:
        for body in bodies:
            self.client.publish(f"ea/v1/demo/gw-1/up/{topic}", body, qos=1)

    def hears(self, upto: int, within_s: float = 8.0) -> dict[str, Any]:
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            for ack in self.acks:
                if ack["upto"] == upto:
                    return ack
            time.sleep(0.01)
        raise AssertionError(f"no word of {upto} in {self.acks}")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def centre_of(db: Path, port: int, version: str) -> Centre:
    return Centre(db, port=port, version=version, ack_every_s=0.05)


def story(db: Path, port: int, version: str) -> None:
    """Findings arrive, the centre dies, findings arrive, the centre comes back: every one is acknowledged once."""
    gateway = Gateway()
    with centre_of(db, port, version) as centre:
        assert centre.connected.wait(5)
        mouth = Mouth(port, v5=version == "5")
        mouth.send(*(gateway.write(f"f{i}") for i in range(20)))
        assert mouth.hears(20)["head"] == gateway.head
        mouth.send(b"nonsense", topic="finding")
    mouth.send(*(gateway.write(f"f{i}") for i in range(20, 30)))  # the broker keeps them for the centre's session
    time.sleep(0.2)
    with centre_of(db, port, version) as centre:
        assert centre.connected.wait(5)
        assert mouth.hears(30)["head"] == gateway.head
    mouth.close()
    with View(db) as view:
        assert [e.finding for e in view.events()] == [f"f{i}" for i in range(30)]
        assert [q[1] for q in view.quarantine()] == ["json"]
        assert view.heads() == [(GATEWAY, EPOCH, 30, gateway.head, 30)]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_the_centre_behind_mosquitto(db: Path, mosquitto: Callable[..., Broker], version: str):
    story(db, mosquitto().port, version)


def test_the_centre_behind_the_broker_in_process(db: Path):
    with InProcessBroker(free_port()) as broker:
        story(db, broker.port, "3.1.1")


def test_the_centre_finds_its_broker_again(db: Path, mosquitto: Callable[..., Broker]):
    broker = mosquitto()
    gateway = Gateway()
    with centre_of(db, broker.port, "5") as centre:
        assert centre.connected.wait(5)
        broker.stop()
        end = time.monotonic() + 5
        while centre.connected.is_set() and time.monotonic() < end:
            time.sleep(0.01)
        broker.start()
        assert centre.connected.wait(10)
        mouth = Mouth(broker.port, v5=True)
        mouth.send(gateway.write())
        assert mouth.hears(1)["head"] == gateway.head
        mouth.close()


def test_the_broker_in_process_keeps_the_last_word_and_speaks_for_the_dead():
    with InProcessBroker(free_port()) as broker:
        heard: list[tuple[str, bytes, bool]] = []
        lost = mqtt.Client(CallbackAPIVersion.VERSION2, "gw-1", protocol=MQTTProtocolVersion.MQTTv311)
        lost.will_set("ea/status", b"offline", qos=1, retain=True)
        lost.connect("127.0.0.1", broker.port)
        lost.loop_start()
        lost.publish("ea/status", b"online", qos=1, retain=True).wait_for_publish(5)
        late = mqtt.Client(CallbackAPIVersion.VERSION2, "late", protocol=MQTTProtocolVersion.MQTTv311)
        late.on_message = lambda _c, _u, m: heard.append((m.topic, bytes(m.payload), m.retain))
        late.connect("127.0.0.1", broker.port)
        late.loop_start()
        late.subscribe("ea/#", qos=1)
        end = time.monotonic() + 5
        while not heard and time.monotonic() < end:
            time.sleep(0.01)
        assert heard == [("ea/status", b"online", True)]
        lost.loop_stop()
        sock = lost.socket()
        assert sock is not None
        sock.close()  # no DISCONNECT: the broker says the will
        while len(heard) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        assert heard[1:] == [("ea/status", b"offline", False)]
        late.disconnect()
        late.loop_stop()
