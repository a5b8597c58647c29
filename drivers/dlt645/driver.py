"""Asks a line's meters, one question at a time, joins what comes in several frames, and names what went wrong.

A block that a meter refuses, or at which it keeps silent while it answers other questions, is asked for item by item
from then on.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from zoneinfo import ZoneInfo

from drivers.dlt645 import load_records
from drivers.dlt645.events import RECORDS, event_of, record_of
from drivers.dlt645.exchange import Asked, Exchange, OldEdition, Session
from drivers.dlt645.frame import READ
from drivers.dlt645.planning import Plan, Question, plan_of, split
from drivers.link import Answer, Link, converse
from drivers.link.latency import Latency, LatencyFilter
from edge_agent.model import DeviceId, Frame, GapCause, LinkSpec, MeterEvent, Ms, Outcome, Recorded, Request
from edge_agent.ports import BadReply, DriverError, LinkDown, NoReply, Refused

REFUSED_FOR_MS = 3_600_000
"""An item that a meter does not have is asked for again after an hour: a setting may have changed."""

SILENT_QUESTIONS = 3
"""After so many in a row without one byte, the channel itself is in doubt."""

SILENT_BLOCKS = 2
"""So often may a living meter keep silent at a block before its items are asked for."""

TURNING = 2
"""Octets behind an answer that a transmitter makes when it lets go of the line; more is somebody speaking."""

MOST_FRAMES = 32
"""More frames than any item has: a meter that goes on is not understood."""


class Dlt645Driver:
    """DL/T 645-2007 on one link. One read at a time: the poller serialises."""

    def __init__(self, link: Link, timeout_s: float, now_ms: Callable[[], Ms]) -> None:
        self.link = link.gate("dlt645")
        self._timeout_s = timeout_s
        self._now_ms = now_ms
        self._session = Session(now_ms, timeout_s)
        self._latencies: defaultdict[str, LatencyFilter] = defaultdict(LatencyFilter)  # by address
        self._plans: dict[DeviceId, Plan] = {}  # the last one that was read: the meter is the same in all of them
        self._silent = 0

    async def read(self, request: Request) -> list[Outcome]:
        """One outcome per register of the request, in its order.

        Raises LinkDown, NoReply, BadReply or Refused when not one register was answered for; each keeps the bytes.
        """
        plan = plan_of(request)
        self._plans[request.device] = plan
        found: list[Outcome] = []
        n = 0
        while n < len(plan.questions):
            question = plan.questions[n]
            now_ms = self._now_ms()
            if now_ms < question.refused_until_ms:
                found += question.gaps(GapCause.REFUSED, now_ms, question.refused)
                n += 1
                continue
            try:
                answer = await self._item(plan.address, question.di)
            except Refused as error:
                if not isinstance(error, OldEdition):
                    if parts := split(question):
                        plan.questions[n : n + 1] = parts
                        continue
                    question.refused = f"{question.di:08X}: {error}"
                    question.refused_until_ms = self._now_ms() + REFUSED_FOR_MS
                    found += question.gaps(GapCause.REFUSED, self._now_ms(), question.refused)
                    n += 1
                    continue
                failed: DriverError = error
            except DriverError as error:
                if isinstance(error, NoReply) and error.sent and self._is_silent_alone(plan.address, question):
                    plan.questions[n : n + 1] = split(question) or [question]
                failed = error
            else:
                question.silent_ms, question.silent_alone = None, 0
                found += question.outcomes(answer.payload, answer.frame.bt_ms, answer.frame)
                n += 1
                continue
            if not found:
                raise failed
            # What was answered stands; the rest is not asked of a meter that has stopped answering.
            for rest in plan.questions[n:]:
                found += rest.gaps(failed.cause, self._now_ms(), str(failed))
            return found
        return found

    async def read_address(self) -> str:
        """The address of the one meter on the line, 12 digits. With several on it their answers collide: BadReply."""
        exchange, _ = await self._converse(self._session.ask_address)
        return exchange.address

    async def close(self) -> None:
        await self.link.close()
        self._session.clear()

    def latency(self, device: DeviceId) -> Latency | None:
        """How long the device takes to answer; None before it was asked for the first time."""
        plan = self._plans.get(device)
        seen = self._latencies.get(plan.address) if plan is not None else None
        return seen.report() if seen else None

    async def logged(self, device: DeviceId, since_ms: Ms, rose: Mapping[str, int]) -> list[MeterEvent]:
        """The newest records of the kinds whose counters rose, as many as they rose by; a meter may keep fewer.

        Raises LinkDown, NoReply or BadReply when the meter does not answer, Refused when it refuses every record.
        """
        plan, refused = self._plan(device), 0
        found: list[MeterEvent] = []
        wanted = [(code, n) for code, count in rose.items() for n in range(1, min(count, RECORDS) + 1)]
        dis = [(code, di) for code, n in wanted if (di := record_of(code, n)) is not None]
        for code, di in dis:
            try:
                answer = await self._item(plan.address, di)
            except OldEdition:
                raise
            except Refused as error:
                refused += 1
                if refused == len(dis):
                    raise Refused(f"{device} gives no event records: {error}", received=error.received) from error
                continue
            if (event := event_of(device, code, answer.payload, ZoneInfo(plan.zone), answer.frame)) is not None:
                found.append(event)
        return found

    async def recorded(self, device: DeviceId, since_ms: Ms, until_ms: Ms) -> list[Recorded]:
        """The registers in the meter's load records at (since, until], in order.

        Raises LinkDown, NoReply or BadReply when the meter does not answer, Refused where the profile names no records.
        """
        plan = self._plan(device)
        if plan.records is None:
            raise Refused(f"{device}: its profile names no load records")
        zone, records = ZoneInfo(plan.zone), plan.records
        found: list[Recorded] = []
        at_ms = (since_ms // records.period_ms + 1) * records.period_ms
        while at_ms <= until_ms:
            count = min(load_records.AT_ONCE, (until_ms - at_ms) // records.period_ms + 1)
            try:
                answer = await self._item(plan.address, records.di, load_records.asked(at_ms, count, zone))
            except OldEdition:
                raise
            except Refused:
                at_ms += count * records.period_ms  # it has none from then on, or none at that very time
                continue
            came = [b for b in load_records.blocks(answer.payload, zone) if b.end_ms >= at_ms]
            for block in came:
                if block.end_ms <= until_ms:
                    found += load_records.recorded(device, block, records.period_ms, answer.frame)
            # What it did not write is passed over; it goes on where its last record ends.
            last_ms = max((b.end_ms for b in came), default=at_ms + (count - 1) * records.period_ms)
            at_ms = last_ms + records.period_ms
        return sorted(found, key=lambda r: (r.end_ms, r.quantity))

    def _plan(self, device: DeviceId) -> Plan:
        plan = self._plans.get(device)
        if plan is None:
            raise NoReply(f"{device}: not read yet")
        return plan

    async def _item(self, address: str, di: int, which: bytes = b"") -> Answer:
        """All of an item, from as many frames as it takes; the round trip holds them one after another."""
        session = self._session
        first = Asked(address, READ, di)
        await self._wait_out(first)
        await self._settle()
        doubts = session.doubts(first)
        for _ in range(doubts + 1):
            exchange, answer = await self._converse(lambda: session.ask(address, di, which=which))
        session.answered(first, doubts=doubts)
        data, sent, came, seq = answer.payload, answer.frame.request, answer.frame.reply, 0
        while exchange.more:
            seq += 1
            if seq >= MOST_FRAMES:
                raise BadReply(f"meter {address}: {di:08X} does not end after {seq} frames", sent=sent, received=came)
            exchange, more = await self._converse(lambda: session.ask(address, di, seq))  # noqa: B023 (awaited here)
            data, sent, came = data + more.payload, sent + more.frame.request, came + more.frame.reply
        return Answer(data, Frame(sent, came, answer.frame.bt_ms))

    async def _wait_out(self, asked: Asked) -> None:
        """Give a late answer its time; but nobody else on the line waits longer for that than one time-out."""
        wait_s = self._session.wait_ms(asked) / 1000
        if wait_s > self._timeout_s:
            raise NoReply(
                f"meter {asked.address}: not asked again yet, an answer may come late for another {wait_s:.0f} s"
            )
        if wait_s:
            await asyncio.sleep(wait_s)

    async def _settle(self) -> None:
        """Look at what came while nobody asked; what cannot be accounted for drains the link."""
        if self.link.is_open and not self._session.settle(self.link.set_aside()):
            await self.link.drain()
            self._session.clear()

    async def _converse(self, ask: Callable[[], Exchange]) -> tuple[Exchange, Answer]:
        """One round trip. What brings no good answer is given up, and may still come late."""
        link, session = self.link, self._session
        await self._settle()
        fresh = not link.is_open
        if fresh:
            session.clear()
            await link.open()
        exchange = ask()
        try:
            try:
                answer = await converse(link, exchange, self._timeout_s)
                await self._fall_silent(exchange)
            except LinkDown as error:
                if fresh or error.received:
                    raise
                # It had been closed at the other end while we were not looking: says nothing about the far end now.
                session.clear()
                await link.open()
                exchange = ask()
                answer = await converse(link, exchange, self._timeout_s)
                await self._fall_silent(exchange)
        except Refused:
            self._silent = 0
            session.answered(exchange.asked)
            raise
        except DriverError as error:
            session.give_up(exchange.asked, exchange.asked_ms)
            if isinstance(error, NoReply) and not error.received:
                self._latencies[exchange.asked.address].missed()
            if isinstance(error, BadReply):
                session.clear()  # the link was drained: what is begun in the buffer has no end any more
            self._silent = self._silent + 1 if isinstance(error, NoReply) and not error.received else 0
            if self._silent >= SILENT_QUESTIONS:
                self._silent = 0
                await link.close()
            raise
        self._silent = 0
        self._latencies[exchange.asked.address].answered(answer.waited_s)
        return exchange, answer

    async def _fall_silent(self, exchange: Exchange) -> None:
        """See that nobody speaks on behind the answer: the silence that the next question has to wait for anyway.

        Raises BadReply where somebody does; if what he says is a late answer, it is known for one.
        """
        await self.link.turn()
        behind = self.link.set_aside()
        self._session.settle(behind)
        if exchange.surplus + len(behind) > TURNING:
            await self.link.drain()
            said = f"meter {exchange.asked.address}: others spoke while it answered"
            raise BadReply(said, sent=exchange.request, received=exchange.received + behind)

    def _is_silent_alone(self, address: str, question: Question) -> bool:
        """Whether a meter that lives has now kept silent at this question often enough."""
        before, question.silent_ms = question.silent_ms, self._now_ms()
        if before is None or self._session.heard_ms.get(address, -1) <= before:
            return False
        question.silent_alone += 1
        return question.silent_alone >= SILENT_BLOCKS


def open_driver(link: Link, spec: LinkSpec, now_ms: Callable[[], Ms]) -> Dlt645Driver:
    """A driver on a link that several may share; it opens it at the first question. `now_ms` is the boot clock."""
    return Dlt645Driver(link, spec.timeout_s, now_ms)
