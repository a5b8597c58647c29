"""Asks a link's devices, one question at a time, and names what went wrong.

A question that a device refuses for an address in it is asked again in parts. A connection on which several questions
in a row met silence is made anew: it may be dead at the other end without anyone having said so.
"""

from __future__ import annotations

from collections.abc import Callable

from drivers.gate import GATES
from drivers.link import Answer, Link, TcpLink, converse
from drivers.modbus.decoding import Block
from drivers.modbus.exchange import DeviceBusy, NoSuchRegister, Session
from drivers.modbus.planning import plan_of, split
from edge_agent.model import GapCause, LinkSpec, Ms, Outcome, Request
from edge_agent.ports import DriverError, LinkDown, NoReply

REFUSED_FOR_MS = 3_600_000
"""A register that a device does not have is asked for again after an hour: a firmware may have changed."""

SILENT_QUESTIONS = 3
"""After so many in a row without one byte, the connection itself is in doubt."""


class ModbusDriver:
    """Modbus on one link. One read at a time: the poller serialises."""

    def __init__(self, link: Link, timeout_s: float) -> None:
        self.link = link
        self._timeout_s = timeout_s
        self._session = Session()
        self._silent = 0

    async def read(self, request: Request) -> list[Outcome]:
        """One outcome per register of the request, in its order.

        Raises LinkDown, NoReply, BadReply or Refused when not one register was answered for; each keeps the bytes.
        """
        plan = plan_of(request)
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
                answer = await self._ask(request.unit, plan.function, block)
            except NoSuchRegister as error:
                if len(block.registers) > 1:
                    plan.blocks[n : n + 1] = split(block)
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
            else:
                found += block.outcomes(answer.payload, answer.frame.bt_ms, answer.frame)
            n += 1
        return found

    async def close(self) -> None:
        await self.link.close()
        self._session.clear()

    async def _ask(self, unit: int, function: int, block: Block) -> Answer:
        link, session = self.link, self._session
        if link.is_open and not session.settle(link.set_aside()):
            await link.close()
        fresh = not link.is_open
        if fresh:
            session.clear()
            await link.open()
        try:
            answer = await converse(link, session.ask(unit, function, block.start, block.count), self._timeout_s)
        except LinkDown as error:
            if fresh or error.received:
                raise
            # It had been closed at the other end while we were not looking: says nothing about the far end now.
            session.clear()
            await link.open()
            answer = await converse(link, session.ask(unit, function, block.start, block.count), self._timeout_s)
        except NoReply as error:
            self._silent = 0 if error.received else self._silent + 1
            if self._silent >= SILENT_QUESTIONS:
                self._silent = 0
                await link.close()
            raise
        except DriverError:
            self._silent = 0
            raise
        self._silent = 0
        return answer


def open_driver(link: LinkSpec, now_ms: Callable[[], Ms]) -> ModbusDriver:
    """A driver for one link; it connects at the first question. `now_ms` is the boot clock."""
    wire = TcpLink(link.host, link.port, gate=GATES[link.kind], now_ms=now_ms, connect_timeout_s=link.connect_timeout_s)
    return ModbusDriver(wire, link.timeout_s)
