"""Who is on a link, in Modbus: one harmless question to each unit, and what those who answer say about themselves.

The question reads one register, which every device understands: whether it has that register or refuses it, the answer
is well-formed and its first byte is its own unit. So an answer that comes late, while the next unit is being asked, is
credited to who gave it. Only a gateway's "nobody there" (10, 11) is no device.

A unit whose answer is no frame is asked again; bytes each time and never a frame are two devices at one unit, or a
line that is set otherwise. A clean answer is waited behind for a second one, for the same reason.

Source: MODBUS Application Protocol V1.1b3, 6.3, 6.4, 6.21 and 7; MODBUS over Serial Line V1.02, 2.2 and 2.5.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from drivers.link import Answer, Exchange, Link, converse
from drivers.link.checksums import is_modbus_rtu
from drivers.modbus.exchange import DeviceBusy, Session
from drivers.modbus.identification import (
    BASIC,
    REGULAR,
    RtuIdentification,
    TcpIdentification,
    part_of,
)
from drivers.modbus.rtu import RtuSession
from edge_agent.model import LINES, Frame
from edge_agent.ports import BadReply, DriverError, LinkDown, NoReply, Refused
from edge_agent.sighting import Leave, Seen, Sighting

FRAMINGS = (
    (9600, "N"), (9600, "E"), (19200, "E"), (19200, "N"), (4800, "N"), (2400, "N"), (38400, "N"), (115200, "N"),
    (57600, "N"), (38400, "E"), (115200, "E"), (4800, "E"), (9600, "O"), (19200, "O"), (1200, "N"),
)  # fmt: skip
"""What devices come with: 9600 8N1 by habit, 19200 8E1 by the standard (V1.02, 2.5.1)."""

LINKS = LINES | {"modbus-tcp"}

WAIT_S = 0.3
"""For the first byte of an answer on a line: slower devices are found by their late answers, or asked again."""

TCP_WAIT_S = 1.5
"""A gateway gives the line behind it about a second."""

_LONGER = 1.5
"""The second time silent units are given so much more: a device may just have answered into the next question."""

_TRIES = 3
_PARTS = 8
_HOLDING, _INPUT = 3, 4
_NOBODY = {10, 11}
_DOWN_IN_A_ROW = 3
_HARDLY_ANYBODY = (247, 246)


class _Found(NamedTuple):
    answered: bool
    garbled: bool = False
    waited_s: float = 0.0
    frame: Frame | None = None


_NOBODY_THERE = _Found(answered=False)


class Seeker:
    """Asks the units of one link."""

    def __init__(self, link: Link, wait_s: float | None = None) -> None:
        self.link = link
        self._wait_s = wait_s or (TCP_WAIT_S if link.framing is None else WAIT_S)
        self._session: Session | RtuSession = Session() if link.framing is None else RtuSession()
        self._voice = link.gate(self._session.gate)
        self._seen: dict[int, Sighting] = {}
        self._asked: set[int] = set()
        self._down = 0
        self._one_for_all = False

    async def glance(self, units: Sequence[int], leave: Leave) -> AsyncIterator[Sighting]:
        """One question to each of the units."""
        async for sighting in self._each(units, _HOLDING, leave):
            yield sighting

    async def look(self, units: Sequence[int], leave: Leave, *, thorough: bool = False) -> AsyncIterator[Sighting]:
        """The units that no glance has asked yet; then all the silent ones once more, in another way."""
        rest = [unit for unit in units if unit not in self._asked]
        async for sighting in self._each(rest, _HOLDING, leave):
            yield sighting
        if self.link.framing is None and not thorough:
            return  # over TCP nobody is silent for want of a function
        silent = [unit for unit in units if unit not in self._seen]
        self._wait_s *= _LONGER
        async for sighting in self._each(silent, _INPUT, leave):
            yield sighting

    async def describe(self, address: str, leave: Leave) -> Sighting | None:
        """The unit, and what it says about itself; asked in both ways."""
        unit = int(address)
        for function in (_HOLDING, _INPUT):
            await leave(False)
            found = await self._try(unit, function, leave)
            if found.answered or found.garbled:
                return await self._described(unit, found, leave)
        late = [s for s in await self._late(leave) if s.address == address]
        return late[0] if late else None

    def glance_s(self, units: Sequence[int]) -> float:
        return len(units) * self._question_s

    def look_s(self, units: Sequence[int], *, thorough: bool = False) -> float:
        twice = thorough or self.link.framing is not None
        return (1 + _LONGER if twice else 1) * len(units) * self._question_s

    def usual_s(self, units: Sequence[int]) -> float:
        return self.look_s(units)

    @property
    def _question_s(self) -> float:
        framing = self.link.framing
        return self._wait_s + (0.0 if framing is None else 8 * framing.char_s + framing.silence_s)

    async def _each(self, units: Sequence[int], function: int, leave: Leave) -> AsyncIterator[Sighting]:
        for unit in units:
            if self._one_for_all:
                return
            await leave(False)
            self._asked.add(unit)
            found = await self._try(unit, function, leave)
            for sighting in await self._late(leave):
                yield sighting
            if unit in self._seen or not (found.answered or found.garbled):
                continue
            sighting = await self._described(unit, found, leave)
            if self.link.framing is None and not self._seen:
                sighting = await self._alone(sighting, function, leave)
            self._seen[unit] = sighting
            yield sighting

    async def _alone(self, first: Sighting, function: int, leave: Leave) -> Sighting:
        """Over TCP: one that answers at units where hardly anybody is does not look at the unit at all."""
        for unit in _HARDLY_ANYBODY:
            await leave(False)
            if str(unit) == first.address or not (await self._try(unit, function, leave)).answered:
                return first
        self._one_for_all = True
        return first._replace(detail="answers at every unit: one device that does not look at it")

    async def _try(self, unit: int, function: int, leave: Leave) -> _Found:
        """Whether the unit answers; asked again as long as only garbled bytes come."""
        for tries in range(_TRIES):
            if tries:
                await leave(True)
            try:
                answer = await self._ask(self._question(unit, function))
            except (Refused, DeviceBusy) as refusal:
                return _Found(answered=True, frame=Frame(refusal.sent, refusal.received, self.link.now_ms()))
            except NoReply as silence:
                said = silence.received
                is_exception = self._exception_of(unit, said)
                if is_exception is None or is_exception in _NOBODY:
                    return _NOBODY_THERE
                return _Found(answered=True, frame=Frame(silence.sent, said, self.link.now_ms()))
            except BadReply as wrong:
                if self._is_answered_twice(unit, wrong.received):
                    return _Found(answered=True, garbled=True)
            else:
                return _Found(answered=True, waited_s=answer.waited_s, frame=answer.frame)
        await leave(True)
        return _Found(answered=False, garbled=True)

    async def _described(self, unit: int, found: _Found, leave: Leave) -> Sighting:
        """Whether it is alone at its unit, and what it says about itself."""
        if found.garbled:
            seen, detail = (
                (Seen.SEVERAL, "two answers to one question")
                if found.answered
                else (Seen.GARBLED, f"asked {_TRIES} times, bytes came each time and no frame among them")
            )
            return Sighting("modbus", str(unit), seen, detail)
        if self.link.framing is not None:
            await asyncio.sleep(self._wait_s)
            if self._is_answered_twice(unit, self.link.set_aside(), once=True):
                return Sighting("modbus", str(unit), Seen.SEVERAL, "two answers to one question")
        texts = await self._identification(unit, leave)
        return Sighting("modbus", str(unit), Seen.DEVICE, "", texts, found.waited_s, found.frame)

    async def _late(self, leave: Leave) -> list[Sighting]:
        """Those who answered after they had been given up: by the unit in their answer, whoever was asked meanwhile."""
        late, self._session.came_late[:] = list(self._session.came_late), []
        found = []
        for unit, asked_s in late:
            if unit in self._seen:
                continue
            waited_s = self.link.heard_s - asked_s
            texts = await self._identification(unit, leave)
            found.append(
                Sighting("modbus", str(unit), Seen.DEVICE, f"answered late, after {waited_s:.1f} s", texts, waited_s)
            )
            self._seen[unit] = found[-1]
        return found

    async def _identification(self, unit: int, leave: Leave) -> tuple[tuple[str, str], ...]:
        """Function 43/14, as far as the device has it. One that keeps silent at it is given its time."""
        found: dict[str, str] = {}
        category, first = BASIC, 0
        for _ in range(_PARTS):
            await leave(False)
            try:
                part = part_of(unit, (await self._ask(self._identify(unit, category, first))).payload)
            except LinkDown:
                raise
            except (NoReply, BadReply):
                await asyncio.sleep(2 * self._wait_s)
                self.link.set_aside()
                break
            except DriverError:
                break
            found |= dict(part.texts)
            if part.next_object is not None and part.next_object > first:
                first = part.next_object
            elif category == BASIC and part.category >= REGULAR:
                category, first = REGULAR, 3
            else:
                break
        return tuple(found.items())

    async def _ask(self, exchange: Exchange) -> Answer:
        """One round trip on a link that is opened when need be; a far end that hangs up is called again."""
        link, session = self.link, self._session
        if link.is_open and not session.settle(link.set_aside(), _now_s()):
            await link.drain()
        if not link.is_open:
            session.clear()
            await link.open()
        timeout_s = self._wait_s + 260 * link.char_s * isinstance(exchange, RtuIdentification)
        try:
            answer = await converse(self._voice, exchange, timeout_s)
        except LinkDown as down:
            self._down += 1
            if self._down >= _DOWN_IN_A_ROW or link.framing is not None:
                raise
            raise NoReply(str(down)) from down
        except DriverError:
            self._down = 0
            raise
        self._down = 0
        return answer

    def _question(self, unit: int, function: int) -> Exchange:
        return self._session.ask(unit, function, 0, 1, _now_s())

    def _identify(self, unit: int, category: int, first: int) -> Exchange:
        if isinstance(self._session, Session):
            return TcpIdentification(self._session, unit, category, first)
        return RtuIdentification(unit, category, first)

    def _exception_of(self, unit: int, received: bytes) -> int | None:
        """The code of an exception that this very unit answered with; None: it answered nothing of the kind."""
        if self.link.framing is not None:
            frame = received if is_modbus_rtu(received) else b""
            unit_and_pdu = frame[:-2]
        else:
            unit_and_pdu = received[6:]
        is_exception = len(unit_and_pdu) == 3 and unit_and_pdu[0] == unit and unit_and_pdu[1] & 0x80
        return unit_and_pdu[2] if is_exception else None

    def _is_answered_twice(self, unit: int, received: bytes, *, once: bool = False) -> bool:
        """Whether the unit said two whole frames; `once`: one is enough, the other has been taken already."""
        if self.link.framing is None:
            return False
        frames, at = 0, 0
        while at + 5 <= len(received):
            length = 5 if received[at + 1] & 0x80 else 5 + received[at + 2]
            if received[at] == unit and is_modbus_rtu(received[at : at + length]) and at + length <= len(received):
                frames += 1
                at += length
            else:
                at += 1
        return frames >= (1 if once else 2)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
