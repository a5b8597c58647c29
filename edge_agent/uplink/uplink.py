"""From the outbox to the broker: the thin shell around `Delivery`, for as long as the agent lives.

    wait (backoff) -> connect -> subscribe -> birth, points -> chain, then telemetry -> lost: from the start

The agent works without a broker in sight: nothing here raises past `run`, and what keeps it from connecting is said
once, in words. Timers run on a steady clock of their own; the site's clock only names instants.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import structlog

from edge_agent.contract.demand import demand_message
from edge_agent.contract.messages import Offline
from edge_agent.contract.topics import Ids, Topics
from edge_agent.model import ClockQuality, Ms
from edge_agent.ports import Clock
from edge_agent.uplink import acks
from edge_agent.uplink.acks import AckProblems, Heard
from edge_agent.uplink.backoff import Backoff, chance
from edge_agent.uplink.blocks import Block, Blocks
from edge_agent.uplink.delivery import Delivery, Pace, accepted
from edge_agent.uplink.faults import MqttFault
from edge_agent.uplink.mqtt import Session, Will
from edge_agent.uplink.neighbours import Documents, Limits, Outbox, Settings

log = structlog.get_logger()

TIME_SOURCE_MS = 2_000
STORE_AGAIN_MS = 5_000
LOOK_MS = 15_000
CONNECT_S = 20.0
ROWS_AT_ONCE = 400
PIECES_MOST = 400
"""Pieces of evidence that wait: some findings' worth, a few megabytes at the most. Who asked for more asks again."""

ANSWERS_MOST = 50


class TimeFromCentre(NamedTuple):
    """The centre's UTC, known to within the round trip, and the boot time at which it held."""

    utc_ms: Ms
    error_ms: Ms
    bt_ms: Ms


@dataclass(slots=True)
class Report:
    """How the uplink fares: for heartbeat, status verb and health."""

    connected: bool = False
    since_ms: Ms = 0  # boot time of the last change of `connected`
    connects: int = 0
    fault: MqttFault | None = None  # what keeps or kept it from being connected
    acks: AckProblems = field(default_factory=AckProblems)
    dropped: int = 0  # messages from the broker thrown away: too large, too many, on topics that nobody asked for
    refused: dict[int, int] = field(default_factory=dict)  # PUBACK reason -> how often
    published: int = 0
    confirmed: int = 0


class _Flight(NamedTuple):
    """One publish that awaits its PUBACK."""

    topic: str
    seq: int = 0
    block: Block | None = None
    piece: bytes = b""  # of evidence, sent again where its PUBACK never came


class Uplink:
    """Owns the connection. `run` until cancelled or stopped; `news` and `points_changed` from the event loop."""

    def __init__(
        self,
        mqtt: Settings,
        site: Ids,
        store: Outbox,
        clock: Clock,
        documents: Documents,
        *,
        boot_id: str,
        limits: Limits,
        on_time: Callable[[TimeFromCentre], None] = lambda _: None,
        packages: Mapping[str, Callable[[bytes], None]] | None = None,
        greet: Callable[[], Iterable[tuple[str, bytes]]] = lambda: (),
        steady_ms: Callable[[], Ms] = lambda: time.monotonic_ns() // 1_000_000,
    ) -> None:
        self.report = Report()
        self._mqtt = mqtt
        self._topics = Topics(site)
        self._client_id = site.gateway
        self._store = store
        self._clock = clock
        self._documents = documents
        self._boot_id = boot_id
        self._limits = limits
        self._on_time = on_time
        self._packages = {self._topics.down(kind): take for kind, take in (packages or {}).items()}
        self._greet = greet
        self._now_ms = steady_ms
        self._by_broker = mqtt.ack == "broker"
        if self._by_broker and mqtt.protocol != "5":
            raise ValueError("ack = broker needs MQTT 5: on 3.1.1 a message thrown away looks delivered")
        share = chance(site.gateway, "share of the fleet's spread").random()
        self._backoff = Backoff(chance(site.gateway, boot_id))
        self._pace = Pace(
            window=limits.window,
            unacked=limits.unacked,
            resend_after_ms=round(limits.resend_after_s * 1000),
            live_per_s=10.0 if limits.drain_per_s else 0.0,
            drain_per_s=limits.drain_per_s,
            drain_start_ms=round(limits.telemetry_spread_s * 1000 * share),
        )
        upto = store.stats().kept_upto
        self.delivery = Delivery(self._pace, upto=upto, last=store.head()[0], by_broker=self._by_broker)
        self._blocks = Blocks(round(limits.telemetry_spread_s * 1000 * share), self._now_ms())
        self._session: Session | None = None
        self._flights: dict[int, _Flight] = {}
        self._heard: deque[Heard] = deque(maxlen=64)
        self._points: set[str] | None = None  # None: all of them
        self._told: dict[str, bytes] = {}
        self._pieces: deque[tuple[str, bytes]] = deque()
        self._bell = asyncio.Event()
        self._stop = asyncio.Event()
        self._fresh = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._settling = False
        self._store_silent_until_ms: Ms = 0
        self._look_ms: Ms = 0
        self._beat_ms: Ms = 0

    # --- for the agent

    def news(self) -> None:
        """The store has committed something."""
        self.delivery.news(self._store.head()[0])
        self._look_ms = 0
        self._bell.set()

    def points_changed(self, *points: str) -> None:
        """What `documents.points` says about these is new."""
        if self._points is not None:
            self._points.update(points)
        self._bell.set()

    def send_evidence(self, finding: str, pieces: Iterable[bytes]) -> bool:
        """Send these when there is room, after what is in the chain; False: too many wait already. In memory only."""
        return self._queue([(self._topics.evidence(finding), piece) for piece in pieces])

    def send(self, messages: Iterable[tuple[str, bytes]]) -> bool:
        """The same for what a command has asked for, each with its topic below `up/`."""
        return self._queue([(self._topics.up(level), payload) for level, payload in messages])

    def _queue(self, messages: Sequence[tuple[str, bytes]]) -> bool:
        """One message by itself, an answer, has some room of its own."""
        if len(self._pieces) + len(messages) > PIECES_MOST + (ANSWERS_MOST if len(messages) == 1 else 0):
            return False
        self._pieces += messages
        self._bell.set()
        return True

    def stop(self) -> None:
        """Say goodbye to the broker; `run` returns."""
        self._stop.set()
        self._bell.set()
        if self._session is not None and not self.report.connected:
            self._session.drop("closed")

    async def run(self) -> None:
        """Connect, deliver, connect again. Returns after `stop`; raises nothing but a cancellation."""
        patience_s = 0.0
        try:
            while not await _rings(self._stop, self._backoff.next_s(at_least_s=patience_s)):
                try:
                    await self._connection()
                    patience_s = 0.0
                except MqttFault as fault:
                    if not self._stop.is_set():
                        patience_s = fault.at_least_s
                        self._trouble(fault)
                except Exception as error:
                    log.exception("uplink broke", host=self._mqtt.host)
                    self._trouble(MqttFault("broken", host=self._mqtt.host, port=self._mqtt.port, detail=repr(error)))
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- one connection

    async def _connection(self) -> None:
        will = Will(self._topics.status, self._offline("lost"))
        check_time = self._clock.state().quality is not ClockQuality.UNSET
        session = Session(
            self._mqtt,
            client_id=self._client_id,
            will=will,
            window=self._pace.window,
            check_time=check_time,
            fresh=self._fresh,
        )
        self._session = session
        session.on_message = self._on_message
        session.on_published = self._on_published
        session.on_lost = lambda _words: self._bell.set()
        began_ms: Ms | None = None
        try:
            await session.connect(CONNECT_S)
            self._fresh = False
            if not self._by_broker:
                await session.subscribe([self._topics.ack], CONNECT_S)
            await self._listen(session)
            began_ms = self._now_ms()
            self._is_up(session, began_ms)
            await self._serve(session)
        finally:
            self.delivery.lost()
            self._blocks.lost(flight.block for flight in self._flights.values() if flight.block is not None)
            self._pieces.extendleft((f.topic, f.piece) for f in reversed(self._flights.values()) if f.piece)
            self._flights.clear()
            self.report.dropped += session.dropped + session.oversized
            self._fresh = session.oversized > 0  # else the broker would send the monster again, for ever
            if began_ms is not None:
                self._backoff.lasted((self._now_ms() - began_ms) / 1000)
            if self.report.connected:
                self.report.connected, self.report.since_ms = False, self._clock.now_ms()
            session.drop("closed")
            self._session = None

    async def _listen(self, session: Session) -> None:
        """For signed packages. A broker that will not have it must not keep the findings from the centre."""
        for topic in self._packages:
            try:
                await session.subscribe([topic], CONNECT_S)
            except MqttFault as fault:
                log.warning("no packages from the centre", topic=topic, code=fault.code, says=str(fault))

    def _is_up(self, session: Session, now_ms: Ms) -> None:
        self.report.connected, self.report.since_ms = True, self._clock.now_ms()
        self.report.connects += 1
        self.report.fault = None
        log.info("broker connected", host=self._mqtt.host, port=self._mqtt.port, session=self.report.connects)
        self.delivery.news(self._store.head()[0])
        self.delivery.connected(now_ms, receive_maximum=session.receive_maximum, backlog_age_ms=self._backlog_age_ms())
        self._points, self._told = None, {}
        self._look_ms = self._beat_ms = 0

    async def _serve(self, session: Session) -> None:
        self._publish(session, _Flight(self._topics.status), self._documents.status(), retain=True)
        for level, payload in self._greet():
            self._publish(session, _Flight(self._topics.up(level)), payload)
        stall_ms = 2 * self._mqtt.keepalive_s * 1000
        while session.alive and not self._stop.is_set():
            self._bell.clear()
            if self.delivery.stalled(self._now_ms(), stall_ms):
                session.drop("no_puback", silent_s=stall_ms // 1000)
                break
            self._take_acks()
            self._beat(session)
            self._send_points(session)
            await self._send_chain(session)
            self._send_pieces(session)
            await self._send_blocks(session)
            await _rings(self._bell, self._rest_s())
        if self._stop.is_set() and session.alive:
            self._publish(session, _Flight(self._topics.status), self._offline("stopped"), retain=True)
            await session.disconnect()
            return
        raise session.fault or MqttFault("lost", host=self._mqtt.host, port=self._mqtt.port, detail="-")

    def _publish(self, session: Session, flight: _Flight, payload: bytes, *, retain: bool = False) -> None:
        """QoS 1; of the chain, the caller tells the delivery."""
        mid = session.publish(flight.topic, payload, qos=1, retain=retain)
        self._flights[mid] = flight
        self.report.published += 1
        if not flight.seq:
            self.delivery.other_sent(self._now_ms())

    def _beat(self, session: Session) -> None:
        now_ms = self._now_ms()
        if now_ms >= self._beat_ms:
            self._beat_ms = now_ms + round(self._limits.heartbeat_s * 1000)
            session.publish(self._topics.heartbeat, self._documents.heartbeat(), qos=0, retain=False)

    def _send_points(self, session: Session) -> None:
        if self._points is not None and not self._points:
            return
        documents = self._documents.points()
        for point in sorted(documents if self._points is None else self._points & documents.keys()):
            if self._told.get(point) == documents[point]:
                continue
            if self.delivery.spare() <= 0:
                return  # the next PUBACK rings
            self._publish(session, _Flight(self._topics.point(point)), documents[point], retain=True)
            self._told[point] = documents[point]
        self._points = set()

    async def _send_chain(self, session: Session) -> None:
        """Everything that may go now."""
        delivery = self.delivery
        while session.alive and self._store_speaks() and (ask := delivery.ask(self._now_ms())) is not None:
            many = ask.last - ask.first + 1
            rows = await self._of_store(
                self._store.sealed(ask.first, ask.last) if ask.again else self._store.unsent(ask.first - 1, many)
            )
            if rows is None or not delivery.current(ask):
                continue
            upto = ask.last
            for row in rows:
                if row.seq > ask.last:
                    break
                now_ms = self._now_ms()
                if not delivery.wanted(ask, row.seq):
                    continue
                if delivery.room(now_ms) <= 0:
                    upto = row.seq - 1
                    break
                self._publish(session, _Flight(self._topics.chain(row.kind), seq=row.seq), row.body)
                delivery.sent(ask, row.seq, row.hash_hex, now_ms)
            delivery.passed(ask, upto)

    def _send_pieces(self, session: Session) -> None:
        while self._pieces and session.alive and self.delivery.spare() > 0:  # else the next PUBACK rings
            topic, piece = self._pieces.popleft()
            self._publish(session, _Flight(topic, piece=piece), piece)

    async def _send_blocks(self, session: Session) -> None:
        now_ms = self._now_ms()
        room = self._blocks.room(self.delivery.spare(), now_ms) if self.delivery.drained else 0
        utc_ms = self._clock.state().utc_ms(self._clock.now_ms())
        if room <= 0 or utc_ms is None or now_ms < self._look_ms or not self._store_speaks():
            return
        rows = await self._of_store(self._store.unsent_intervals(ROWS_AT_ONCE + self._blocks.out))
        if rows is None or not session.alive:
            return
        ready = self._blocks.ready(rows, utc_ms, room)
        for block in ready:
            body = demand_message(block.start_ms, block.end_ms, [row.body for row in block.rows])
            self._publish(session, _Flight(self._topics.demand, block=block), body)
            self._blocks.sent(block)
        if not ready:
            self._look_ms = now_ms + LOOK_MS

    # --- what comes back

    def _on_message(self, topic: str, payload: bytes) -> None:
        if topic in self._packages:
            self._packages[topic](payload)
            return
        if topic != self._topics.ack:
            self.report.dropped += 1
            return
        heard = acks.read(payload, self._now_ms())
        if heard is None:
            self._ack_problem("malformed")
            return
        self._heard.append(heard)
        self._bell.set()

    def _on_published(self, mid: int, reason: int) -> None:
        flight = self._flights.pop(mid, None)
        if flight is None:
            return
        now_ms, good = self._now_ms(), accepted(reason)
        if good:
            self.report.confirmed += 1
        elif flight.seq or flight.block or reason >= 0x80:  # nobody need listen to a state
            self._refusal(flight.topic, reason)
        if flight.seq:
            self.delivery.puback(flight.seq, reason, now_ms)
        else:
            self.delivery.other_done(now_ms)
        if flight.block is not None:
            if good:
                self._blocks.done()
                self._spawn(self._note_sent(flight.block))
            else:
                self._blocks.refused(flight.block, now_ms)
        self._bell.set()

    def _refusal(self, topic: str, reason: int) -> None:
        seen = self.report.refused.get(reason, 0)
        self.report.refused[reason] = seen + 1
        if not seen:
            fault = MqttFault("publish_refused", topic=topic, reason=f"0x{reason:02X}")
            log.warning("broker refuses a message", code=fault.code, says=str(fault))

    async def _note_sent(self, block: Block) -> None:
        await self._of_store(self._store.mark_sent(block.rows))
        self._blocks.noted(block.rows)
        self._bell.set()

    def _take_acks(self) -> None:
        if self._settling or not self._store_speaks():
            return
        if self._by_broker:
            if (settled := self.delivery.settled()) is not None:
                self._settling = True
                self._spawn(self._settle_by_broker(settled.upto, settled.head_hex))
        elif self._heard:
            heard = list(self._heard)
            self._heard.clear()
            self._settling = True
            self._spawn(self._settle(heard))

    async def _settle_by_broker(self, upto: int, head_hex: str) -> None:
        try:
            outcome = await self._of_store(self._store.kept(self._store.epoch, upto, head_hex))
            if outcome is not None and str(outcome) in {"accepted", "repeated"}:
                self.delivery.acked(upto, self._now_ms())
        finally:
            self._settling = False
            self._bell.set()

    async def _settle(self, heard: list[Heard]) -> None:
        """Let the store compare epoch and head; only what it accepts counts for anything."""
        try:
            ours = [h for h in heard if h.ack.epoch == self._store.epoch]
            if len(ours) < len(heard):
                self._ack_problem("epoch")
            if not ours:
                return
            most = acks.best(ours)
            outcome = await self._of_store(self._store.kept(most.ack.epoch, most.ack.upto, most.ack.head))
            match None if outcome is None else str(outcome):
                case "accepted" | "repeated" | "nothing" as word:
                    self.report.acks.over()
                    await self._counted(ours, most, moved=word == "accepted")
                case "wrong_epoch" | "wrong_head" | "ahead" as word:
                    self._ack_problem(word.removeprefix("wrong_"))
        finally:
            self._settling = False
            self._bell.set()

    async def _counted(self, ours: list[Heard], most: Heard, *, moved: bool) -> None:
        dead = self.delivery.nacked(acks.refused_numbers(ours))
        if dead:
            log.warning("centre refuses records", first=dead[0], count=len(dead))
            await self._of_store(self._store.dead(dead))
        if moved:
            round_trip_ms = self.delivery.acked(most.ack.upto, most.at_ms)
            if round_trip_ms is not None and round_trip_ms < TIME_SOURCE_MS and most.utc_ms is not None:
                bt_ms = self._clock.now_ms() - (self._now_ms() - most.at_ms)
                self._on_time(TimeFromCentre(most.utc_ms, round_trip_ms, bt_ms))
        if (wanted := acks.wanted_range(ours)) is not None:
            self.delivery.need(*wanted, self._now_ms())

    def _ack_problem(self, kind: str) -> None:
        if self.report.acks.happened(kind):
            fault = MqttFault(f"ack_{kind}")
            log.warning("acknowledgement does not count", code=fault.code, says=str(fault))

    # --- the store, the clock, the bell

    async def _of_store(self, future: Future[Any]) -> Any:
        """The answer, or None where the store could not: asked again a little later, the agent says what is wrong."""
        try:
            return await asyncio.wrap_future(future)
        except Exception as error:
            if self._store_speaks():
                log.warning("store does not answer", error=str(error))
            self._store_silent_until_ms = self._now_ms() + STORE_AGAIN_MS
            return None

    def _store_speaks(self) -> bool:
        return self._now_ms() >= self._store_silent_until_ms

    def _backlog_age_ms(self) -> Ms:
        oldest_ms, utc_ms = self._store.stats().oldest_unsent_ms, self._clock.state().utc_ms(self._clock.now_ms())
        return 0 if oldest_ms is None or utc_ms is None else max(0, utc_ms - oldest_ms)

    def _rest_s(self) -> float:
        """Until time alone changes anything: a rate, a resend, a heartbeat, the watchdog."""
        now_ms = self._now_ms()
        times = [self._beat_ms, now_ms + min(5_000, 250 * self._mqtt.keepalive_s)]
        if (wake_ms := self.delivery.wake_ms(now_ms)) is not None:
            times.append(wake_ms)
        if not self._store_speaks():
            times = [self._store_silent_until_ms]
        return max(0.01, (min(times) - now_ms) / 1000)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("uplink broke", host=self._mqtt.host, error=repr(error))

    def _trouble(self, fault: MqttFault) -> None:
        """Said when it changes, not at every attempt."""
        known = self.report.fault
        self.report.fault = fault
        if known is None or (known.code, known.fields) != (fault.code, fault.fields):
            log.warning("no broker", code=fault.code, says=str(fault))

    def _offline(self, why: str) -> bytes:
        return msgspec.json.encode(msgspec.convert({"state": "offline", "boot_id": self._boot_id, "why": why}, Offline))


async def _rings(bell: asyncio.Event, within_s: float) -> bool:
    """Wait for the bell, at most `within_s`; whether it rang."""
    try:
        async with asyncio.timeout(within_s):
            return await bell.wait()
    except TimeoutError:
        return False
