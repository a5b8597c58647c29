"""A gateway's uplink and a centre for it, to be put on either side of a broker."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.contract import messages
from edge_agent.evidence import GENESIS, next_hash
from edge_agent.model import ClockQuality, ClockState
from edge_agent.settings.site import Delivery, Mqtt, Tls
from edge_agent.uplink import backoff, delivery
from edge_agent.uplink.uplink import TimeFromCentre, Uplink
from tests.outbox import Ids, MemoryOutbox
from tests.published import checked

BASE = "ea/v1/demo/gw-1"
UTC_MS = 1_773_454_500_000


class SteadyClock:
    """Boot time from the steady clock, UTC at a fixed offset."""

    def __init__(self, quality: ClockQuality = ClockQuality.SYNCED) -> None:
        self._offset_ms = UTC_MS - self.now_ms()
        self.quality = quality

    def now_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def state(self) -> ClockState:
        if self.quality is ClockQuality.UNSET:
            return ClockState(self.quality, None, None)
        return ClockState(self.quality, self._offset_ms, 500)

    async def sleep_until(self, bt_ms: int) -> None:
        await asyncio.sleep(max(0, bt_ms - self.now_ms()) / 1000)


class Papers:
    """What the agent says about itself."""

    def __init__(self, outbox: MemoryOutbox) -> None:
        self._outbox = outbox
        self.loads = {"factory": 0.8, "mill": 0.3}
        self.beats = 0

    def status(self) -> bytes:
        last, head = self._outbox.head()
        return msgspec.json.encode(
            messages.Online(
                boot_id="b-1",
                agent="0.1.0",
                contract="v1",
                clock=messages.ClockNow(quality="synced"),
                epoch=self._outbox.epoch,
                first=min(1, last),
                last=last,
                upto=self._outbox.upto,
                head=head,
                ack="centre",
            )
        )

    def heartbeat(self) -> bytes:
        self.beats += 1
        return msgspec.json.encode(
            messages.Heartbeat(
                up_s=1,
                clock=messages.ClockNow(quality="synced"),
                chain=messages.ChainNow(last=self._outbox.head()[0], upto=self._outbox.upto),
                backlog=messages.Backlog(depth=0),
                links=[],
            )
        )

    def points(self) -> Mapping[str, bytes]:
        return {
            point: msgspec.json.encode(messages.PointState(state="accepted", load=load, findings=[]))
            for point, load in self.loads.items()
        }


class Gateway:
    """One uplink with a store in memory."""

    def __init__(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        version: Literal["5", "3.1.1"] = "5",
        ack: Literal["centre", "broker"] = "centre",
        keepalive_s: int = 60,
        tls: Tls | None = None,
        clock: SteadyClock | None = None,
        packages: dict[str, Callable[[bytes], None]] | None = None,
        **limits: Any,
    ) -> None:
        self.outbox = MemoryOutbox()
        self.papers = Papers(self.outbox)
        self.clock = clock or SteadyClock()
        self.times: list[TimeFromCentre] = []
        self.uplink = Uplink(
            Mqtt(host=host, port=port, version=version, ack=ack, keepalive_s=keepalive_s, tls=tls),
            Ids(),
            self.outbox,
            self.clock,
            self.papers,
            boot_id="b-1",
            limits=Delivery(**({"drain_per_s": 0.0, "telemetry_spread_s": 0.0} | limits)),
            on_time=self.times.append,
            packages=packages,
        )

    def write(self, count: int) -> None:
        self.outbox.fill(count)
        self.uplink.news()

    @property
    def fault(self) -> str:
        """Why there is no connection, "" where none has failed yet."""
        fault = self.uplink.report.fault
        return fault.code.removeprefix("uplink.") if fault else ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Gateway]:
        """Runs inside the block; leaving it is a clean stop that must not take long."""
        task = asyncio.create_task(self.uplink.run())
        try:
            yield self
        finally:
            self.uplink.stop()
            async with asyncio.timeout(5):
                await task


async def until(what: Callable[[], object], within_s: float = 10.0) -> None:
    """Wait until `what` is true."""
    try:
        async with asyncio.timeout(within_s):
            while not what():  # noqa: ASYNC110  # what it waits for happens in other processes
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s") from None


class Centre:
    """A centre as the contract asks for it, on a connection of its own: keeps, checks, acknowledges after keeping."""

    def __init__(self, port: int, epoch: str, *, acknowledges: bool = True, host: str = "127.0.0.1") -> None:
        self.epoch = epoch
        self.acknowledges = acknowledges
        self.kept: dict[int, bytes] = {}
        self.arrivals: list[int] = []
        self.heard: list[tuple[str, bytes, bool]] = []
        self.lose: Callable[[int], bool] = lambda _seq: False
        self._lock = threading.Lock()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="centre", clean_session=False)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{BASE}/up/#", qos=1)
        self._client.on_message = self._take
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(host, port)
        self._client.loop_start()

    def _take(self, _client: Any, _user: Any, message: Any) -> None:
        topic = message.topic.removeprefix(f"{BASE}/up/")
        with self._lock:
            self.heard.append((topic, message.payload, message.retain))
            if topic in {"record", "finding", "case"}:
                seq = json.loads(message.payload)["seq"]
                if self.lose(seq):
                    return
                self.arrivals.append(seq)
                assert self.kept.setdefault(seq, message.payload) == message.payload, "bytes never change"
                if self.acknowledges:
                    self.acknowledge()

    @property
    def upto(self) -> int:
        seq = 0
        while seq + 1 in self.kept:
            seq += 1
        return seq

    def head(self, upto: int) -> str:
        head = GENESIS
        for seq in range(1, upto + 1):
            assert json.loads(self.kept[seq])["prevhash"] == head.hex()
            head = next_hash(head, seq, self.kept[seq])
        return head.hex()

    def acknowledge(self, **more: Any) -> None:
        upto = self.upto
        missing = [seq for seq in range(upto + 1, max(self.kept, default=0)) if seq not in self.kept]
        ack = {"epoch": self.epoch, "upto": upto, "head": self.head(upto)}
        if missing:
            ack["need"] = [missing[0], missing[-1]]
        self.say(json.dumps(ack | more).encode())

    def say(self, payload: bytes, topic: str = "ack") -> None:
        self._client.publish(f"{BASE}/down/{topic}", payload, qos=1)

    def topics(self, topic: str) -> list[bytes]:
        with self._lock:
            return [payload for name, payload, _ in self.heard if name == topic]

    def check_everything(self) -> set[str]:
        """Every message heard fits its schema; the kinds that were heard."""
        with self._lock:
            heard = list(self.heard)
        kinds = set()
        for topic, payload, _ in heard:
            kind = topic.split("/")[0]
            checked(kind, payload)
            kinds.add(kind)
        return kinds

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def ack(**fields: Any) -> bytes:
    """An acknowledgement as a centre sends it, with some of its fields changed."""
    return json.dumps({"epoch": "0123456789abcdef", "upto": 1, "head": "0" * 64} | fields).encode()


def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same waits as on a gateway, shorter."""
    monkeypatch.setattr(backoff, "LEAST_S", 0.02)
    monkeypatch.setattr(backoff, "FIRST_S", 0.05)
    monkeypatch.setattr(delivery, "PAUSE_FIRST_MS", 100)
