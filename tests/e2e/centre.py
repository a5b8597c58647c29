"""The reference centre as a process, a witness at the broker, and the chain recomputed without either's code."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import struct
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from simulator.central.view import Row, View
from tests.broker import HOST
from tests.e2e.processes import Play, Process, wait_until
from tests.published import checked


class Centre:
    """Started, killed and started again on the same database."""

    def __init__(self, play: Play, broker_port: int, *, version: str = "5", ack_every_s: float = 0.2) -> None:
        self.db = play.stage.folder / "centre.db"
        self.process: Process = play.process(
            "centre", sys.executable, "-m", "simulator.cli", "central", "--port", str(broker_port),
            "--db", str(self.db), "--version", version, "--ack-every-s", str(ack_every_s),
        )  # fmt: skip

    def start(self) -> Centre:
        before = self.process.log.count("centre of")
        self.process.start()
        wait_until(
            lambda: self.process.log.count("centre of") > before or not self.process.running, 20.0, "the centre starts"
        )
        assert self.process.running, self.process.log
        return self

    def look(self) -> View:
        return View(self.db)

    def steps(self, topic: str = "", point: str = "") -> list[Row]:
        """The steps of findings that joined the chain, in order."""
        with self.look() as view:
            rows = view.events(kind="finding")
        return [r for r in rows if topic in {"", r.topic} and point in {"", r.point}]

    def step(self, topic: str, step: str, point: str = "") -> Any:  # Row, or None
        return next((r for r in self.steps(topic, point) if r.step == step), None)

    def records(self, kind: str) -> list[dict[str, Any]]:
        with self.look() as view:
            return [r.message for r in view.events(kind="record") if r.topic == kind]

    def upto(self) -> int:
        with self.look() as view:
            return max((h.upto for h in view.heads()), default=0)

    def no_complaints(self) -> None:
        with self.look() as view:
            assert view.quarantine() == []
            assert view.gaps() == []


class Heard(NamedTuple):
    topic: str  # below <root>/v1/<utility>/<gateway>/
    body: bytes
    retained: bool


class Witness:
    """Hears everything that goes through the broker, in the order in which it goes."""

    def __init__(self, port: int, name: str = "witness") -> None:
        self._heard: list[Heard] = []
        self._lock = threading.Lock()
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, name, clean_session=False, protocol=paho.MQTTv311)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("ea/#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._take
        self._client.connect(HOST, port)
        self._client.loop_start()
        assert self._subscribed.wait(10.0)

    def _take(self, _client: Any, _userdata: Any, message: Any) -> None:
        with self._lock:
            self._heard.append(Heard(message.topic.split("/", 4)[4], bytes(message.payload), message.retain))

    def heard(self, topic: str = "") -> list[Heard]:
        """Everything, or what came on one topic or below it."""
        with self._lock:
            return [h for h in self._heard if topic in ("", h.topic) or h.topic.startswith(f"{topic}/")]

    def said(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(h.body) for h in self.heard(topic)]

    def check_everything(self) -> set[str]:
        """Every message heard fits its schema; the kinds that were heard."""
        kinds = set()
        for heard in self.heard():
            kind = heard.topic.split("/")[1]
            checked(kind, heard.body)
            kinds.add(kind)
        return kinds

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Record(NamedTuple):
    seq: int
    id: str
    body: bytes


class Chain(NamedTuple):
    """One epoch's chain as a database has it."""

    epoch: str
    upto: int  # the centre's: highest without a hole; the agent's: acknowledged up to here
    last: int
    head: str
    records: tuple[Record, ...]


def agent_chain(findings_db: Path) -> Chain:
    """What the agent has committed, read beside it or after its death."""
    with closing(sqlite3.connect(f"file:{findings_db}?mode=ro", uri=True, timeout=10.0)) as db:
        db.execute("BEGIN")
        epoch, last, head, upto = db.execute("SELECT epoch, head_seq, head, kept_upto FROM meta").fetchone()
        records = tuple(Record(*row) for row in db.execute("SELECT seq, id, body FROM chain ORDER BY seq"))
    return Chain(epoch, upto, last, head.hex(), records)


def centre_chain(db_path: Path, epoch: str) -> Chain:
    with closing(sqlite3.connect(f"file:{db_path}?mode=ro", uri=True, timeout=10.0)) as db:
        db.execute("BEGIN")
        upto, head, highest = db.execute("SELECT upto, head, highest FROM head WHERE epoch = ?", (epoch,)).fetchone()
        rows = db.execute("SELECT seq, event_id, body FROM chain WHERE epoch = ? ORDER BY seq", (epoch,))
        return Chain(epoch, upto, highest, head, tuple(Record(*row) for row in rows))


def recomputed(records: Sequence[Record]) -> str:
    """The head over these bytes: numbers from 1 without a hole, each `prevhash` the head before it, no id twice.

    h[0] = 0^32; h[n] = SHA-256(0x00 || h[n-1] || u64be(n) || u32be(len) || body)
    """
    head = bytes(32)
    for expected, record in enumerate(records, start=1):
        message = json.loads(record.body)
        assert record.seq == message["seq"] == expected, f"after {expected - 1} comes {record.seq}"
        assert message["prevhash"] == head.hex(), f"{expected} does not follow from what is before it"
        length = struct.pack(">Q", record.seq) + struct.pack(">I", len(record.body))
        head = hashlib.sha256(b"\x00" + head + length + record.body).digest()
    ids = [json.loads(r.body)["id"] for r in records]
    assert len(set(ids)) == len(ids), "an event is there twice"
    return head.hex()
