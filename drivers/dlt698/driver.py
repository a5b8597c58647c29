"""Asks a line's meters, one question at a time, joins what comes in several blocks, and names what went wrong.

A list that a meter refuses, at which it keeps silent while it answers other questions, or whose answer cannot be read
(one text that is padded with zeros makes a whole list illegible), is asked for attribute by attribute from then on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from drivers.dlt698.codec import Dar, Value
from drivers.dlt698.exchange import Exchange, Illegible, Session
from drivers.dlt698.planning import Question, plan_of, split
from drivers.link import Answer, Link, converse
from drivers.link.latency import Latency, LatencyFilter
from edge_agent.model import DeviceId, Frame, LinkSpec, Ms, Outcome, Request
from edge_agent.ports import BadReply, DriverError, LinkDown, NoReply, Refused

SILENT_QUESTIONS = 3
"""After so many in a row without one byte, the channel itself is in doubt."""

SILENT_LISTS = 2
"""So often may a living meter keep silent at a list before its attributes are asked for one by one."""

ILLEGIBLE_LISTS = 2
"""So often in a row may an answer to a list be illegible before its attributes are asked for one by one."""

MOST_BLOCKS = 32
"""More blocks than any answer of ours has: a meter that goes on is not understood."""


class _Found(NamedTuple):
    results: dict[int, Value | Dar]
    frame: Frame


class Dlt698Driver:
    """DL/T 698.45 on one link. One read at a time: the poller serialises."""

    def __init__(self, link: Link, timeout_s: float, now_ms: Callable[[], Ms]) -> None:
        self.link = link.gate("dlt698")
        self._timeout_s = timeout_s
        self._now_ms = now_ms
        self._session = Session(now_ms)
        self._latencies: defaultdict[str, LatencyFilter] = defaultdict(LatencyFilter)  # by address
        self._addresses: dict[DeviceId, str] = {}
        self._silent = 0

    async def read(self, request: Request) -> list[Outcome]:
        """One outcome per register of the request, in its order.

        Raises LinkDown, NoReply, BadReply or Refused when not one register was answered for; each keeps the bytes.
        """
        plan = plan_of(request)
        self._addresses[request.device] = plan.address
        found: list[Outcome] = []
        n = 0
        while n < len(plan.questions):
            question = plan.questions[n]
            oads = question.asked(self._now_ms())
            if not oads:
                found += question.outcomes({}, self._now_ms(), None)
                n += 1
                continue
            try:
                answer = await self._attributes(plan.address, oads)
            except Illegible as error:
                question.illegible += 1
                parts = split(question) if question.illegible >= ILLEGIBLE_LISTS else []
                if parts:
                    plan.questions[n : n + 1] = parts
                    continue
                found += question.gaps(error.cause, self._now_ms(), str(error))
                n += 1
                continue
            except Refused as error:
                if parts := split(question):
                    plan.questions[n : n + 1] = parts
                    continue
                question.refuse(oads, str(error), self._now_ms())
                found += question.outcomes({}, self._now_ms(), None)
                n += 1
                continue
            except DriverError as error:
                if isinstance(error, NoReply) and error.sent and self._is_silent_alone(plan.address, question):
                    plan.questions[n : n + 1] = split(question) or [question]
                if not found:
                    raise
                # What was answered stands; the rest is not asked of a meter that has stopped answering.
                for rest in plan.questions[n:]:
                    found += rest.gaps(error.cause, self._now_ms(), str(error))
                return found
            question.silent_ms, question.silent_alone, question.illegible = None, 0, 0
            found += question.outcomes(answer.results, answer.frame.bt_ms, answer.frame)
            n += 1
        return found

    async def close(self) -> None:
        await self.link.close()
        self._session.clear()

    def latency(self, device: DeviceId) -> Latency | None:
        """How long the device takes to answer; None before it was asked for the first time."""
        seen = self._latencies.get(self._addresses.get(device, ""))
        return seen.report() if seen else None

    async def _attributes(self, address: str, oads: tuple[int, ...]) -> _Found:
        """All that was asked, from as many blocks as it takes; the round trip holds them one after another."""
        session = self._session
        exchange, answer = await self._converse(lambda: session.ask(address, oads))
        results = list(exchange.results)
        sent, came = answer.frame.request, answer.frame.reply
        while not exchange.last:
            asked = exchange.asked
            if asked.block + 1 >= MOST_BLOCKS:
                raise BadReply(f"meter {address}: no end after {asked.block + 1} blocks", sent=sent, received=came)
            exchange, more = await self._converse(lambda: session.ask_next(asked))  # noqa: B023 (awaited here)
            results += exchange.results
            sent, came = sent + more.frame.request, came + more.frame.reply
        if tuple(result.oad for result in results) != oads:
            raise BadReply(f"meter {address}: blocks of other objects than asked", sent=sent, received=came)
        return _Found({r.oad: r.found for r in results}, Frame(sent, came, answer.frame.bt_ms))

    async def _settle(self) -> None:
        """Look at what came while nobody asked; what cannot be accounted for drains the link."""
        if self.link.is_open and not self._session.settle(self.link.set_aside()):
            await self.link.drain()
            self._session.clear()
        for address, late_ms in self._session.late():
            self._latencies[address].late(late_ms / 1000)

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
            except LinkDown as error:
                if fresh or error.received:
                    raise
                # It had been closed at the other end while we were not looking: says nothing about the far end now.
                session.give_up(exchange.asked)
                session.clear()
                await link.open()
                exchange = ask()
                answer = await converse(link, exchange, self._timeout_s)
        except Refused:
            self._silent = 0
            session.answered(exchange.asked)
            raise
        except DriverError as error:
            if not isinstance(error, Illegible):
                session.give_up(exchange.asked)
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
        session.answered(exchange.asked)
        self._latencies[exchange.asked.address].answered(answer.waited_s)
        return exchange, answer

    def _is_silent_alone(self, address: str, question: Question) -> bool:
        """Whether a meter that lives has now kept silent at this question often enough."""
        before, question.silent_ms = question.silent_ms, self._now_ms()
        if before is None or self._session.heard_ms.get(address, -1) <= before:
            return False
        question.silent_alone += 1
        return question.silent_alone >= SILENT_LISTS


def open_driver(link: Link, spec: LinkSpec, now_ms: Callable[[], Ms]) -> Dlt698Driver:
    """A driver on a link that several may share; it opens it at the first question. `now_ms` is the boot clock."""
    return Dlt698Driver(link, spec.timeout_s, now_ms)
