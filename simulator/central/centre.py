"""The reference centre on the wire: takes every gateway's messages, commits them, and only then acknowledges.

paho's callbacks put into a queue and do nothing else; one worker thread owns the database, the PUBACKs and what is
said on `down/ack`. A message is acknowledged to the broker after its commit, so that a centre that dies gets it again.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from simulator.central.ledger import Ack, Ledger
from simulator.central.schemas import Schemas
from simulator.clock import Ms, system_utc_ms

log = logging.getLogger(__name__)

BATCH = 200
SESSION_EXPIRY_S = 300
KEEPALIVE_S = 30
_CONNECTED = None  # what the queue holds for "a connection is up"


class _Arrival(NamedTuple):
    topic: str
    body: bytes
    mid: int
    qos: int
    connection: int


class Centre:
    """One consumer of `<root>/v1/+/+/up/#`, with its database. `with Centre(...) as centre: ...`"""

    def __init__(
        self,
        db: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 1883,
        version: str = "5",
        root: str = "ea",
        client_id: str = "centre",
        schemas: Schemas | None = None,
        ack_after: int = 50,
        ack_every_s: float = 2.0,
        utc_ms: Callable[[], Ms] = system_utc_ms,
    ) -> None:
        self.root = root
        self.connected = threading.Event()
        self._address = (host, port)
        self._v5 = version == "5"
        self._utc_ms = utc_ms  # what acknowledgements call the time; the pace keeps to the system's
        self._queue: queue.SimpleQueue[_Arrival | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._connection = 0
        self._ledger = Ledger(
            db, Schemas() if schemas is None else schemas, ack_after=ack_after, ack_every_ms=round(ack_every_s * 1000)
        )
        self._client = self._make_client(client_id)
        self._worker = threading.Thread(target=self._work, name="centre", daemon=True)

    def start(self) -> None:
        """Connects, and connects again whenever the broker is lost. Raises OSError if it is not there to begin with."""
        host, port = self._address
        if self._v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
            properties.ReceiveMaximum = 4 * BATCH  # what the broker may send ahead of our commits
            self._client.connect(host, port, KEEPALIVE_S, clean_start=False, properties=properties)
        else:
            self._client.connect(host, port, KEEPALIVE_S)
        self._worker.start()
        self._client.loop_start()

    def stop(self) -> None:
        """Finish the batch in hand, then leave. The broker keeps the session and what arrives in it."""
        self._stopping.set()
        self._queue.put(_CONNECTED)
        if self._worker.is_alive():
            self._worker.join(10.0)
        self._client.disconnect()
        self._client.loop_stop()
        self._ledger.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _make_client(self, client_id: str) -> mqtt.Client:
        if self._v5:
            client = mqtt.Client(
                CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True
            )
        else:
            client = mqtt.Client(
                CallbackAPIVersion.VERSION2,
                client_id,
                clean_session=False,
                protocol=MQTTProtocolVersion.MQTTv311,
                manual_ack=True,
            )
        client.reconnect_delay_set(1, 30)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    # paho's thread: nothing here may raise, wait or publish.

    def _on_connect(self, _client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not reason.is_failure:
            self._connection += 1
            self._queue.put(_CONNECTED)

    def _on_disconnect(self, *_: Any) -> None:
        self.connected.clear()

    def _on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        arrival = _Arrival(message.topic, bytes(message.payload), message.mid, message.qos, self._connection)
        self._queue.put(arrival)

    # The worker's thread: the only one that touches the database.

    def _work(self) -> None:
        while not self._stopping.is_set():
            batch = self._gather()
            while not self._stopping.is_set():
                try:
                    acks = self._store(batch)
                except sqlite3.Error as error:
                    log.error("the database refuses, trying again: %s", error)
                    self._ledger.rollback()
                    self._stopping.wait(1.0)
                else:
                    self._answer(batch, acks)
                    break

    def _gather(self) -> list[_Arrival]:
        """Whatever has arrived, up to a batch; waits until something does or an acknowledgement is due."""
        due_ms = self._ledger.next_ack_ms()
        # At most a second, because the system's clock may be set meanwhile.
        timeout_s = 1.0 if due_ms is None else min(max((due_ms - system_utc_ms()) / 1000, 0.0), 1.0)
        batch: list[_Arrival] = []
        try:
            item = self._queue.get(timeout=timeout_s) if timeout_s > 0 else self._queue.get_nowait()
            while True:
                if item is None:
                    self._subscribe()
                else:
                    batch.append(item)
                if len(batch) == BATCH:
                    break
                item = self._queue.get_nowait()
        except queue.Empty:
            pass
        return batch

    def _subscribe(self) -> None:
        if self._client.is_connected():
            self._client.subscribe(f"{self.root}/v1/+/+/up/#", qos=1)
            self.connected.set()

    def _store(self, batch: list[_Arrival]) -> list[Ack]:
        now_ms = system_utc_ms()
        for arrival in batch:
            # The filter fixes the first five levels, <root>/v1/<utility>/<gateway>/up, and lets nothing below be there.
            _, _, utility, gateway, _, *below_up = arrival.topic.split("/", 5)
            self._ledger.take(f"{utility}/{gateway}", "".join(below_up), arrival.body, now_ms)
        return self._ledger.commit(now_ms, self._utc_ms())

    def _answer(self, batch: list[_Arrival], acks: list[Ack]) -> None:
        for arrival in batch:
            # A mid of an earlier connection may by now belong to another message.
            if arrival.qos and arrival.connection == self._connection:
                self._client.ack(arrival.mid, arrival.qos)
        for ack in acks if self._client.is_connected() else ():  # paho would keep it and say it late
            self._client.publish(f"{self.root}/v1/{ack.chain.gateway}/down/ack", ack.body(), qos=1)
