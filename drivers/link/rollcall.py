"""Who is on a line whose meters have twelve digits: "whoever is there, say your address", and what if several do.

A meter alone on the line answers the wildcard. Several answer at once and spoil each other; then the addresses are
walked: every meter whose lowest octet is 00, 01 ... 99 is asked, with the wildcard AA in the higher ones, and where
several answer to one octet still, the next octet is walked as well. Whoever answers says its whole address in the
frame, so an answer that comes late is credited to who gave it, and a refusal shows a meter as well as a value does.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import ClassVar, NamedTuple

from drivers.link.base import Link, Voice, converse
from edge_agent.model import Frame
from edge_agent.ports import DriverError, LinkDown, NoReply
from edge_agent.sighting import Leave, Seen, Sighting

WAIT_S = 0.7
"""For the first octet of an answer: the standards give a meter 500 ms, and some send FE before."""

EVERYBODY = "A" * 12
WALKS = 8
"""So many walks at most: two meters whose addresses differ in nothing but the highest octet take six."""

_TRIES = 2
_OCTETS = tuple(f"{octet:02d}" for octet in range(100))
_QUESTION = 30
"""Octets of a question, with its preamble."""


class Present(NamedTuple):
    """A meter's answer."""

    address: str
    raw: bytes
    unsupported: str = ""
    """Why no driver reads it, where none does."""


class _Came(NamedTuple):
    """What came of one question: whole answers of meters, and whether other octets did."""

    present: tuple[Present, ...]
    garbled: bool
    sent: bytes
    waited_s: float


class Roll:
    """One question, and everything that comes until its time is up: there may be several who answer."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.received = b""
        self.first_s: float | None = None

    def feed(self, received: bytes) -> bytes | None:
        if self.first_s is None:
            self.first_s = asyncio.get_running_loop().time()
        self.received += received
        return None

    def expired(self) -> DriverError:
        return NoReply("the time is up")


async def called(voice: Voice, request: bytes, wait_s: float) -> tuple[bytes, float]:
    """Everything that comes in the time that an answer may take, and after how long it began. Raises `LinkDown`."""
    link = voice.link
    if not link.is_open:
        await link.open()
    await link.turn()
    link.set_aside()
    loop = asyncio.get_running_loop()
    asked_s = loop.time() + len(request) * link.char_s
    roll = Roll(request)
    try:
        await converse(voice, roll, wait_s)
    except LinkDown:
        raise
    except DriverError:
        pass  # the time is up: what came is in the roll
    received = roll.received
    if received:
        await asyncio.sleep(max(0.0, asked_s + wait_s - loop.time()))
        await link.quiet()
        received += link.set_aside()
    return received, 0.0 if roll.first_s is None else roll.first_s - asked_s


class RollCall(ABC):
    """A `Seeker` of the meters of one line; a protocol brings its question and reads what comes. Units are the other
    protocol's."""

    driver: ClassVar[str]

    def __init__(self, link: Link, wait_s: float | None = None) -> None:
        self.link = link
        self._wait_s = wait_s or WAIT_S
        self._voice = link.gate(self.driver)
        self._seen: dict[str, Sighting] = {}
        self._collided = False

    # -- a protocol ----------------------------------------------------------------------------------------------

    @abstractmethod
    def question(self, address: str) -> bytes:
        """To everybody, to those whose address ends so (A in front), or to one meter; with its preamble."""

    @abstractmethod
    def answers(self, received: bytes, request: bytes) -> tuple[list[Present], int]:
        """The meters' answers in what came, and how many other octets there were; preambles and our echo are none."""

    def detail(self, present: Present) -> str:
        """What is to be said of a meter that was found."""
        return present.unsupported

    # -- a seeker ------------------------------------------------------------------------------------------------

    async def glance(self, units: Sequence[int], leave: Leave) -> AsyncIterator[Sighting]:
        """The wildcard; several meters are seen as such, and not told apart yet."""
        came = await self._insist(EVERYBODY, leave)
        for sighting in self._new(came):
            yield sighting
        if came.garbled and not came.present:
            self._collided = True
            yield Sighting(self.driver, "", Seen.GARBLED, "octets came each time, and no frame among them")
        elif came.garbled or len(came.present) > 1:
            self._collided = True

    async def look(self, units: Sequence[int], leave: Leave, *, thorough: bool = False) -> AsyncIterator[Sighting]:
        """Every meter. Without a sign of several the walk is left out, unless it is asked for."""
        if not self._seen and not self._collided:
            async for sighting in self.glance(units, leave):
                yield sighting
        endings = [""] if self._collided or thorough else []
        for walked, ending in enumerate(endings):  # those where several answer are put behind: first the quick ones
            if walked == WALKS:
                for left in endings[walked:]:
                    why = "not told apart: too many answer at once, or noise"
                    yield Sighting(self.driver, left, Seen.SEVERAL, why)
                return
            async for sighting in self._walk(ending, endings, leave):
                yield sighting

    async def describe(self, address: str, leave: Leave) -> Sighting | None:
        """The meter of that address."""
        return next(self._new(await self._insist(address, leave)), None)

    def glance_s(self, units: Sequence[int]) -> float:
        return self._question_s

    def look_s(self, units: Sequence[int], *, thorough: bool = False) -> float:
        return (2 + WALKS * len(_OCTETS)) * self._question_s

    def usual_s(self, units: Sequence[int]) -> float:
        return self._question_s

    @property
    def _question_s(self) -> float:
        framing = self.link.framing
        assert framing is not None
        return self._wait_s + _QUESTION * framing.char_s + framing.silence_s

    async def _walk(self, tail: str, endings: list[str], leave: Leave) -> AsyncIterator[Sighting]:
        """All meters whose address ends in `tail`, by the octet in front of it; more `endings` where several answer."""
        for octet in _OCTETS:
            ending = octet + tail
            if len(ending) == 12 and set(ending) == {"9"}:
                continue  # everybody's, and nobody answers it
            came = await self._insist(ending.rjust(12, "A"), leave)
            for sighting in self._new(came):
                yield sighting
            if not came.garbled and len(came.present) < 2:
                continue
            if len(ending) < 12:
                endings.append(ending)
            else:
                yield Sighting(self.driver, ending, Seen.SEVERAL, "several meters answer to the whole address")

    def _new(self, came: _Came) -> Iterator[Sighting]:
        for present in came.present:
            if present.address in self._seen:
                continue
            seen = Seen.UNSUPPORTED if present.unsupported else Seen.DEVICE
            frame = Frame(came.sent, present.raw, self.link.now_ms())
            sighting = Sighting(self.driver, present.address, seen, self.detail(present), (), came.waited_s, frame)
            self._seen[present.address] = sighting
            yield sighting

    async def _insist(self, address: str, leave: Leave) -> _Came:
        """Ask; and once more where octets came that were no frame: a foreign voice is not there twice."""
        request = self.question(address)
        await leave(False)
        came = await self._ask(request)
        for _ in range(_TRIES - 1):
            if not came.garbled:
                return came
            await leave(True)
            again = await self._ask(request)
            known = {p.address for p in came.present}
            both = came.present + tuple(p for p in again.present if p.address not in known)
            came = again._replace(present=both)
        if came.garbled:
            await leave(True)
        return came

    async def _ask(self, request: bytes) -> _Came:
        """One round trip, and whatever else comes in the time that an answer may take."""
        received, waited_s = await called(self._voice, request, self._wait_s)
        present, stray = self.answers(received, request)
        return _Came(tuple(present), stray > 0, request, waited_s)
