"""Asks a link's devices, one question at a time, and names what went wrong.

A question that a device refuses for an address in it is asked again in parts. A connection on which several questions
in a row met silence is made anew: it may be dead at the other end without anyone having said so. On a serial line a
device that owes an answer is asked for its registers in another shape, so that a late answer cannot pass for a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from drivers.link import Answer, Link, converse
from drivers.link.latency import Latency, LatencyFilter
from drivers.modbus.decoding import Block
from drivers.modbus.exchange import DeviceBusy, NoSuchRegister, Session, TcpExchange
from drivers.modbus.owed import Shape
from drivers.modbus.planning import Plan, plan_of
from drivers.modbus.rtu import RtuExchange, RtuSession
from drivers.modbus.ways import probes, ways
from edge_agent.model import DeviceId, GapCause, LinkSpec, Ms, Outcome, Request
from edge_agent.ports import BadReply, DriverError, LinkDown, NoReply

REFUSED_FOR_MS = 3_600_000
"""A register that a device does not have is asked for again after an hour: a firmware may have changed."""

SILENT_QUESTIONS = 3
"""After so many in a row without one byte, the connection itself is in doubt."""


class ModbusDriver:
    """Modbus on one link: over TCP, or as RTU where the link is a serial line. One read at a time: the poller
    serialises."""

    def __init__(self, link: Link, timeout_s: float) -> None:
        self.link = link
        self._timeout_s = timeout_s
        self._session: Session | RtuSession = Session() if link.framing is None else RtuSession()
        self._voice = link.gate(self._session.gate)
        self._latencies: dict[int, LatencyFilter] = {}
        self._units: dict[DeviceId, int] = {}
        self._silent = 0

    async def read(self, request: Request) -> list[Outcome]:
        """One outcome per register of the request, in its order.

        Raises LinkDown, NoReply, BadReply or Refused when not one register was answered for; each keeps the bytes.
        """
        plan = plan_of(request)
        plan.renew(self.link.now_ms())
        self._units[request.device] = request.unit
        found: list[Outcome] = []
        n = 0
        while n < len(plan.blocks):
            block = plan.blocks[n]
            now_ms = self.link.now_ms()
            if now_ms < block.refused_until_ms:
                found += block.gaps(GapCause.REFUSED, now_ms, block.refused)
                n += 1
                continue
            try:
                found += await self._block(request.unit, plan, block)
            except NoSuchRegister as error:
                if plan.refused(n, self.link.now_ms()):
                    continue
                block.refused = f"{block.registers[0].address}: {error}"
                block.refused_until_ms = self.link.now_ms() + REFUSED_FOR_MS
                found += block.gaps(GapCause.REFUSED, self.link.now_ms(), block.refused)
            except DeviceBusy as busy:
                found += block.gaps(GapCause.BUSY, self.link.now_ms(), str(busy))
            except DriverError as error:
                if not found:
                    raise
                # What was answered stands; the rest is not asked of a device that has stopped answering.
                for rest in plan.blocks[n:]:
                    found += rest.gaps(error.cause, self.link.now_ms(), str(error))
                return found
            n += 1
        return found

    async def close(self) -> None:
        await self.link.close()
        self._session.clear()

    def latency(self, device: DeviceId) -> Latency | None:
        """How long the device takes to answer; None before it was asked for the first time."""
        seen = self._latencies.get(self._units.get(device, -1))
        return seen.report() if seen else None

    async def _block(self, unit: int, plan: Plan, block: Block) -> list[Outcome]:
        """The block's registers, in as many questions as it takes."""
        session = self._session
        if isinstance(session, Session) or not session.owed.owes(_now_s(), unit):
            answer = await self._ask(unit, plan.function, block.start, block.count)
            return block.outcomes(answer.payload, answer.frame.bt_ms, answer.frame)
        found: list[Outcome] = []
        for part in await self._other_way(session, unit, plan, block):
            try:
                answer = await self._ask(unit, plan.function, part.start, part.count)
            except NoSuchRegister:
                if part.count <= block.count:
                    raise
                plan.refused_wider |= {(part.start, part.count)}  # what is at fault is the neighbour
                raise BadReply(f"unit {unit} refuses {part.count} registers from {part.start}") from None
            found += part.outcomes(answer.payload, answer.frame.bt_ms, answer.frame)
        return found

    async def _other_way(self, session: RtuSession, unit: int, plan: Plan, block: Block) -> list[Block]:
        """Questions whose answers cannot be late ones. Raises `NoReply` where there are none yet."""
        owed = session.owed
        for parts in ways(plan, block):
            if owed.are_free((Shape(unit, plan.function, 2 * p.count) for p in parts), _now_s()):
                return parts
        shape = Shape(unit, plan.function, 2 * block.count)
        wait_s = owed.narrow_wait_s(shape, self._seen(unit).longest_s, _now_s())
        if wait_s > 0:
            raise NoReply(f"unit {unit} is not asked: an earlier answer may still come for {wait_s:.0f} s")
        if not owed.is_proved(shape):
            for function, start, count in probes(plan, block):
                if owed.is_free(Shape(unit, function, 2 * count), _now_s()):
                    await self._ask(unit, function, start, count)  # that it answers is the proof; what, is not used
                    break
        return [block]

    async def _ask(self, unit: int, function: int, start: int, count: int) -> Answer:
        link, session, seen = self.link, self._session, self._seen(unit)
        if link.is_open:
            if link.framing is not None:
                await link.turn()
            if not session.settle(link.set_aside(), _now_s()):
                await link.drain()
            if session.came_late:
                self._learn_late()
        fresh = not link.is_open
        if fresh:
            session.clear()
            await link.open()
            await link.turn()  # an answer is owed from when its question leaves, not while it waits
        timeout_s = seen.timeout_s((5 + 2 * count) * link.char_s, self._timeout_s)
        try:
            answer = await converse(self._voice, self._question(unit, function, start, count), timeout_s)
        except LinkDown as error:
            # On a line the question may have gone out, and its answer may come: it is not asked twice.
            if fresh or error.received or link.framing is not None:
                raise
            # It had been closed at the other end while we were not looking: says nothing about the far end now.
            session.clear()
            await link.open()
            answer = await converse(self._voice, self._question(unit, function, start, count), timeout_s)
        except NoReply as error:
            self._silent = 0 if error.received else self._silent + 1
            if not error.received:
                seen.missed()
            if self._silent >= SILENT_QUESTIONS and link.may_go_deaf:
                self._silent = 0
                await link.close()
            else:
                await link.quiet()
            raise
        except DriverError:
            self._silent = 0
            raise
        finally:
            if session.came_late:
                self._learn_late()
        self._silent = 0
        seen.answered(answer.waited_s)
        return answer

    def _question(self, unit: int, function: int, start: int, count: int) -> TcpExchange | RtuExchange:
        return self._session.ask(unit, function, start, count, _now_s())

    def _seen(self, unit: int) -> LatencyFilter:
        seen = self._latencies.get(unit)
        if seen is None:
            seen = self._latencies[unit] = LatencyFilter()
        return seen

    def _learn_late(self) -> None:
        came_late = self._session.came_late
        while came_late:
            unit, asked_s = came_late.pop()
            self._seen(unit).late(self.link.heard_s - asked_s)


def open_driver(link: Link, spec: LinkSpec, now_ms: Callable[[], Ms]) -> ModbusDriver:
    """A driver on a link that several may share; the link is opened at the first question. `now_ms` is the boot clock,
    which the link has already."""
    return ModbusDriver(link, spec.timeout_s)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
