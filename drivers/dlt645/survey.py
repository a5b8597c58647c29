"""Who is on a line, in DL/T 645-2007: "whoever is there, say your address", and what to do when several do.

A meter alone on the line answers the wildcard. Several answer at once and spoil each other; then the addresses are
walked: an item is read from every meter whose lowest octet is 00, 01 ... 99, with the wildcard AA in the higher ones,
and where several answer to one octet still, the next octet is walked as well. Whoever answers says its whole address in
the frame, so an answer that comes late is credited to who gave it, and a refusal shows a meter as well as a value does.

Meters of 1997 know neither question: one that answers in that edition's way is named; that it is silent proves nothing.

Source: DL/T 645-2007, 5.2.1 (wildcards in the higher octets), 7.1 and 7.3.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import NamedTuple

from drivers.dlt645.frame import (
    ADDRESS,
    ANSWER,
    FUNCTION,
    PREAMBLE,
    READ,
    WILDCARD,
    Reader,
    Telegram,
    address_of,
    encode,
)
from drivers.link import Link, converse
from edge_agent.model import Frame
from edge_agent.ports import DriverError, Leave, LinkDown, NoReply, Seen, Sighting

FRAMINGS = ((2400, "E"), (9600, "E"), (4800, "E"), (9600, "N"), (1200, "E"), (19200, "E"), (2400, "N"))
"""What meters come with: 2400 8E1 by the standard (5.1.3)."""

LINKS = frozenset({"serial", "tcp-serial"})

WAIT_S = 0.7
"""For the first octet of an answer: the standard gives a meter 500 ms (5.3.3), and some send FE before."""

TOTAL = bytes.fromhex("00000100")
"""00010000, import active energy: the item that a meter has if it has any. Lowest octet first."""

_TRIES = 2
WALKS = 8
"""So many walks at most: two meters whose addresses differ in nothing but the highest octet take six."""

_OCTETS = tuple(f"{octet:02d}" for octet in range(100))
_QUESTION = 20
"""Octets of a question that reads an item, with its preamble."""


_OLD = {0x01, 0x02, 0x03}
"""Functions of the edition of 1997 that read."""


class _Came(NamedTuple):
    """What came of one question: whole telegrams of meters, and whether other octets did."""

    telegrams: tuple[Telegram, ...]
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


class Seeker:
    """Asks the meters of one line. Units are the other protocol's."""

    def __init__(self, link: Link, wait_s: float | None = None) -> None:
        self.link = link
        self._wait_s = wait_s or WAIT_S
        self._voice = link.gate("dlt645")
        self._seen: dict[str, Sighting] = {}
        self._collided = False

    async def glance(self, units: Sequence[int], leave: Leave) -> AsyncIterator[Sighting]:
        """The wildcard; several meters are seen as such, and not told apart yet."""
        came = await self._insist(WILDCARD, ADDRESS, b"", leave)
        for sighting in self._new(came):
            yield sighting
        if came.garbled and not came.telegrams:
            self._collided = True
            yield Sighting("dlt645", "", Seen.GARBLED, "octets came each time, and no frame among them")
        elif came.garbled or len(came.telegrams) > 1:
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
                    yield Sighting("dlt645", left, Seen.SEVERAL, "not told apart: too many answer at once, or noise")
                return
            async for sighting in self._walk(ending, endings, leave):
                yield sighting

    async def describe(self, address: str, leave: Leave) -> Sighting | None:
        """The meter of that address."""
        came = await self._insist(address_of(address), READ, TOTAL, leave)
        return next(self._new(came), None)

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
            came = await self._insist(ending.rjust(12, "A"), READ, TOTAL, leave)
            for sighting in self._new(came):
                yield sighting
            if not came.garbled and len(came.telegrams) < 2:
                continue
            if len(ending) < 12:
                endings.append(ending)
            else:
                yield Sighting("dlt645", ending, Seen.SEVERAL, "several meters answer to the whole address")

    def _new(self, came: _Came) -> Iterator[Sighting]:
        for telegram in came.telegrams:
            if telegram.address in self._seen:
                continue
            old = telegram.control & FUNCTION in _OLD
            sighting = Sighting(
                "dlt645",
                telegram.address,
                Seen.UNSUPPORTED if old else Seen.DEVICE,
                "a DL/T 645-1997 meter, which no driver reads" if old else "",
                (),
                came.waited_s,
                Frame(came.sent, telegram.raw, self.link.now_ms()),
            )
            self._seen[telegram.address] = sighting
            yield sighting

    async def _insist(self, address: str, control: int, data: bytes, leave: Leave) -> _Came:
        """Ask; and once more where octets came that were no frame: a foreign voice is not there twice."""
        request = PREAMBLE + encode(address, control, data)
        await leave(False)
        came = await self._ask(request)
        for _ in range(_TRIES - 1):
            if not came.garbled:
                return came
            await leave(True)
            again = await self._ask(request)
            known = {t.address for t in came.telegrams}
            both = came.telegrams + tuple(t for t in again.telegrams if t.address not in known)
            came = again._replace(telegrams=both)
        if came.garbled:
            await leave(True)
        return came

    async def _ask(self, request: bytes) -> _Came:
        """One round trip, and whatever else comes in the time that an answer may take."""
        link = self.link
        if not link.is_open:
            await link.open()
        await link.turn()
        link.set_aside()
        loop = asyncio.get_running_loop()
        asked_s = loop.time() + len(request) * link.char_s
        roll = Roll(request)
        try:
            await converse(self._voice, roll, self._wait_s)
        except LinkDown:
            raise
        except DriverError:
            pass  # the time is up: what came is in the roll
        received = roll.received
        if received:
            await asyncio.sleep(max(0.0, asked_s + self._wait_s - loop.time()))
            await link.quiet()
            received += link.set_aside()
        telegrams, stray = _telegrams(received, request[len(PREAMBLE) :])
        waited_s = 0.0 if roll.first_s is None else roll.first_s - asked_s
        return _Came(tuple(telegrams), stray > 0, request, waited_s)


def _telegrams(received: bytes, request: bytes) -> tuple[list[Telegram], int]:
    """The meters' telegrams in what came, and how many other octets there were; preambles and our echo are none."""
    reader = Reader()
    reader.feed(received.replace(request, b""))
    found: dict[str, Telegram] = {}
    octets = len(received.replace(request, b"").replace(b"\xfe", b""))
    while (telegram := reader.take()) is not None:
        if telegram.control & ANSWER:
            found.setdefault(telegram.address, telegram)
            octets -= len(telegram.raw.replace(b"\xfe", b""))
    return list(found.values()), octets
