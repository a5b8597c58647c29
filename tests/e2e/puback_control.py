"""The control: a sender that takes a PUBACK for a receipt, and a consumer that keeps what it gets. Both are careful.

The sender commits each record before it publishes it and deletes it when the broker has confirmed it, as many agents
do; the consumer has a session that the broker keeps, commits each record, and only then acknowledges it. What the
broker had and lost, nobody has any more.

    python -m tests.e2e.puback_control send DB PORT
    python -m tests.e2e.puback_control take DB PORT
"""

from __future__ import annotations

import queue
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

TOPIC = "control/up"
EVERY_S = 0.02
SESSION_EXPIRY_S = 300


def opened(path: Path, *tables: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    for table in tables:
        db.execute(f"CREATE TABLE IF NOT EXISTS {table} (n INTEGER PRIMARY KEY)")
    return db


def connected(name: str, port: int, **handlers: Any) -> paho.Client:
    client = paho.Client(
        CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5, manual_ack=True, reconnect_on_failure=True
    )
    client.reconnect_delay_set(1, 1)
    client.max_inflight_messages = 100
    for event, handler in handlers.items():
        setattr(client, event, handler)
    kept = Properties(PacketTypes.CONNECT)
    kept.SessionExpiryInterval = SESSION_EXPIRY_S
    while True:
        try:
            client.connect("127.0.0.1", port, clean_start=False, properties=kept)
            break
        except OSError:
            time.sleep(0.1)
    client.loop_start()
    return client


def send(path: Path, port: int) -> None:
    """A record every 20 ms; `made` has all of them, `outbox` those that no PUBACK has come for."""
    db = opened(path, "made", "outbox")
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    client = connected(
        "control-sender", port,
        on_publish=lambda _c, _u, mid, reason, _p: done.put(mid) if reason.value < 0x80 else None,
    )  # fmt: skip
    number_of: dict[int, int] = {}
    owed = [n for (n,) in db.execute("SELECT n FROM outbox ORDER BY n")]
    last = db.execute("SELECT coalesce(max(n), 0) FROM made").fetchone()[0]
    while True:
        last += 1
        db.execute("BEGIN")
        db.execute("INSERT INTO made VALUES (?)", (last,))
        db.execute("INSERT INTO outbox VALUES (?)", (last,))
        db.execute("COMMIT")
        owed.append(last)
        while owed and client.is_connected() and len(number_of) < 50:
            n = owed.pop(0)
            number_of[client.publish(TOPIC, str(n), qos=1).mid] = n
        while not done.empty():
            n = number_of.pop(done.get(), 0)
            db.execute("DELETE FROM outbox WHERE n = ?", (n,))
        time.sleep(EVERY_S)


def take(path: Path, port: int) -> None:
    db = opened(path, "taken")
    arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
    client = connected(
        "control-consumer", port,
        on_connect=lambda c, *_: c.subscribe(TOPIC, qos=1),
        on_message=lambda _c, _u, message: arrived.put(message),
    )  # fmt: skip
    while True:
        message = arrived.get()
        db.execute("INSERT OR IGNORE INTO taken VALUES (?)", (int(message.payload),))
        client.ack(message.mid, message.qos)


if __name__ == "__main__":
    {"send": send, "take": take}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
