"""One question and its answer over DL/T 698.45, without a wire, and what becomes of answers that come late.

An answer carries the meter's address, the number of its question (PIID, 64 of them) and the attributes asked; it is
taken only if all three are those of the question. What keeps a late one from being taken for another question's:

- Each question to a meter has another number than the one before; all 64 have their turn before one comes again.
- The number of a question that was given up is not used again for a minute, whatever comes meanwhile: no line and no
  converter is taken to hold an answer back for longer. If a minute's silence uses up all of them, nothing is asked
  until one is free again.
- A frame that had begun before the question was asked cannot be its answer.
- What a meter begins to send by itself (reports) says so in its control octet, and is no answer.

So a late answer is known by its number alone and thrown away; how late it was is remembered. A long answer comes in
blocks that share one number and are counted: a block is taken only in its turn.

After a start the numbers begin somewhere, by the boot clock: what an agent before this one asked was asked with others.

Source: DL/T 698.45-2017, 6.3.4 and the GET service of 6.3, as the package `dlt698` 1.0.1 encodes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from drivers.dlt698 import codec
from drivers.dlt698.codec import PIIDS, Error, Got, Result
from drivers.dlt698.frame import ANSWER, ANSWERS, CLIENTS, NOBODY, PIECE, PREAMBLE, Reader, Telegram, encode
from edge_agent.model import Ms
from edge_agent.ports import BadReply, DriverError, NoReply, Refused

LATEST_MS = 60_000
"""No answer comes later than this."""

GET_ANSWER = 0x85

_DAR = {
    3: "reading it is not allowed",
    4: "no such object",
    6: "no such object",
    7: "its type does not match",
    8: "it is out of range",
}
"""What data access results mean, as far as public sources say; the others are shown as numbers."""

_ERRORS = {
    1: "the question cannot be parsed",
    2: "the service is not supported; or it wants CONNECT first, which this agent does not send",
}


class Illegible(BadReply):
    """The frame is right and is the answer, and no sense can be made of what it holds."""


class Asked(NamedTuple):
    """What a question was about: what its answer has to match."""

    address: str
    piid: int
    oads: tuple[int, ...]
    block: int = 0  # which block is asked for; 0: the beginning


class Session:
    """What outlives a question on a link: bytes that are not understood yet, and which numbers are taken."""

    def __init__(self, now_ms: Callable[[], Ms]) -> None:
        self.reader = Reader()
        self.now_ms = now_ms
        self.heard_ms: dict[str, Ms] = {}
        self._last: dict[str, int] = {}
        self._asked_ms: dict[tuple[str, int], Ms] = {}
        self._given_up_ms: dict[tuple[str, int], Ms] = {}
        self._late: list[tuple[str, Ms]] = []

    def ask(self, address: str, oads: tuple[int, ...]) -> Exchange:
        """Read attributes. Raises NoReply while every number may still be answered late."""
        piid = self._free(address)
        return Exchange(self, Asked(address, piid, oads), codec.asking(piid, oads))

    def ask_next(self, asked: Asked) -> Exchange:
        """The block that follows the one that answered this question."""
        following = asked._replace(block=asked.block + 1)
        return Exchange(self, following, codec.asking_next(asked.piid, asked.block))

    def settle(self, came: bytes) -> bool:
        """Whether everything that came between questions is accounted for: late answers, noise, or a frame begun."""
        self.reader.feed(came)
        while (telegram := self.reader.take()) is not None:
            if not self.is_late(telegram) and not is_report(telegram):
                return False
        return True

    def clear(self) -> None:
        """A new channel. Which numbers are taken stays known: a converter may still have their answers."""
        self.reader.clear()

    def begun(self, asked: Asked) -> None:
        self._last[asked.address] = asked.piid
        self._asked_ms[asked.address, asked.piid] = self.now_ms()

    def give_up(self, asked: Asked) -> None:
        """No good answer came in time; one may still."""
        self._given_up_ms[asked.address, asked.piid] = self.now_ms()

    def answered(self, asked: Asked) -> None:
        self.heard_ms[asked.address] = self.now_ms()

    def is_late(self, telegram: Telegram, *, but: int = -1) -> bool:
        """Whether this answers something that was asked before, and not the question number `but`."""
        piid = _number_of(telegram)
        asked_ms = None if piid is None or piid == but else self._asked_ms.get((telegram.address, piid))
        if asked_ms is None or self.now_ms() - asked_ms > LATEST_MS:
            return False
        if (telegram.address, piid) in self._given_up_ms:
            self._late.append((telegram.address, self.now_ms() - asked_ms))
        return True

    def late(self) -> list[tuple[str, Ms]]:
        """Who has answered after having been given up, and how long it took; each is said once."""
        late, self._late = self._late, []
        return late

    def _free(self, address: str) -> int:
        now_ms = self.now_ms()
        self._given_up_ms = {key: ms for key, ms in self._given_up_ms.items() if now_ms - ms < LATEST_MS}
        last = self._last.get(address)
        first = now_ms // 1000 % PIIDS if last is None else last + 1
        for n in range(PIIDS):
            piid = (first + n) % PIIDS
            if (address, piid) not in self._given_up_ms:
                return piid
        raise NoReply(f"meter {address}: not asked again yet, answers to all that was asked may still come")


class Exchange:
    """One question and its reply: feed it bytes, it answers with the APDU once the reply is whole."""

    def __init__(self, session: Session, asked: Asked, apdu: bytes) -> None:
        self.asked = asked
        self.request = PREAMBLE + encode(asked.address, apdu)
        self.results: tuple[Result, ...] = ()
        self.last = True
        """Whether the answer ends here; another block follows otherwise."""
        self._session = session
        self._before = session.reader.seen  # a frame that began earlier cannot be the answer
        self._received = bytearray()
        self._reply = b""
        self._late = False
        session.begun(asked)

    @property
    def received(self) -> bytes:
        """The reply, from 68 to 16; as long as there is none, everything that came."""
        return self._reply or bytes(self._received)

    def feed(self, received: bytes) -> bytes | None:
        """The answer's APDU, or None while more is needed. Raises BadReply and Refused as the reply says."""
        self._received += received
        self._session.reader.feed(received)
        while (telegram := self._session.reader.take()) is not None:
            if telegram.raw == self.request[len(PREAMBLE) :] or is_report(telegram):
                continue  # the adapter's echo of our own question; what a meter says by itself
            if self._is_late(telegram):
                continue
            if telegram.began < self._before:
                raise BadReply(f"a frame of {telegram.address} had begun before the question was asked")
            self._take(telegram)
            return telegram.apdu
        return None

    def expired(self) -> DriverError:
        """Silence, an answer that stopped halfway, or bytes that are no frame."""
        heard = bytes(self._received).replace(self.request[len(PREAMBLE) :], b"").strip(b"\xfe")
        if not heard:
            return NoReply(f"meter {self.asked.address} kept silent")
        if self._late:
            return BadReply(f"meter {self.asked.address} answered what was asked before, and not this")
        if self._session.reader.pending:
            return BadReply(f"meter {self.asked.address}: a frame stopped after {self._session.reader.pending} octets")
        return BadReply(f"{len(heard)} octets and no frame among them: compare speed and parity (9600 8E1 is usual)")

    def _is_late(self, telegram: Telegram) -> bool:
        late = self._session.is_late(telegram, but=self.asked.piid if telegram.address == self.asked.address else -1)
        self._late = self._late or late
        return late

    def _take(self, telegram: Telegram) -> None:
        """The results of the reply; Refused and BadReply as it says."""
        asked, control = self.asked, telegram.control
        if not control & ANSWER:
            raise BadReply(f"another master asks {telegram.address} on this line (control {control:02X})")
        if telegram.address != asked.address:
            raise BadReply(f"asked {asked.address}, {telegram.address} answered")
        if telegram.client != NOBODY:
            raise BadReply(f"{telegram.address} answers another master, {telegram.client:02X}")
        if control & PIECE:
            self._reply = telegram.raw
            raise Refused(f"meter {asked.address} cuts its answer on the link layer: ask for fewer objects at once")
        if control != ANSWERS:
            raise BadReply(f"{telegram.address} answers with control {control:02X}")
        try:
            said = codec.understood(telegram.apdu)
        except codec.Unreadable as error:
            self._reply = telegram.raw
            raise Illegible(f"meter {asked.address}: an answer that cannot be read: {error}") from error
        if isinstance(said, codec.Protected):
            self._reply = telegram.raw
            raise Refused(f"meter {asked.address} answers only under its security module, which is not supported")
        if isinstance(said, codec.Other):
            raise BadReply(f"{telegram.address} says {said.name}, which is no answer to GET")
        if said.piid != asked.piid:
            raise BadReply(f"asked number {asked.piid}, {said.piid} came")
        if isinstance(said, Error):
            self._reply = telegram.raw
            raise Refused(f"meter {asked.address}: {_ERRORS.get(said.code, 'refused')} (error {said.code})")
        self._check(said)
        self._reply = telegram.raw
        self.results, self.last = said.results, said.last

    def _check(self, got: Got) -> None:
        """That these are the attributes that were asked, all of them or the next of them, and nothing else."""
        asked = self.asked
        oads = tuple(result.oad for result in got.results)
        if got.block is None:
            if asked.block or oads != asked.oads or got.listed != (len(asked.oads) > 1):
                raise BadReply(f"asked {_named(asked.oads)}, {_named(oads)} came")
            return
        if got.block != asked.block:
            raise BadReply(f"asked for block {asked.block}, block {got.block} came")
        if got.dar:
            raise Refused(f"meter {asked.address}: block {asked.block}: {dar_words(got.dar)}")
        if not oads:
            raise BadReply(f"block {asked.block} is empty")


def is_report(telegram: Telegram) -> bool:
    """Whether the meter began this by itself."""
    return bool(telegram.control & ANSWER and not telegram.control & CLIENTS)


def dar_words(code: int) -> str:
    """The data access result in words: "no such object (DAR 6)"."""
    return f"{_DAR.get(code, 'no value')} (DAR {code})"


def _number_of(telegram: Telegram) -> int | None:
    """The number of the question that a telegram answers, as far as it can be read."""
    if not telegram.control & ANSWER or telegram.control & PIECE:
        return None
    try:
        said = codec.understood(telegram.apdu)
    except codec.Unreadable:
        return telegram.apdu[2] % PIIDS if telegram.apdu[0] == GET_ANSWER and len(telegram.apdu) > 2 else None
    return said.piid if isinstance(said, Got | Error) else None


def _named(oads: tuple[int, ...]) -> str:
    return ", ".join(f"{oad:08X}" for oad in oads[:4]) + (f" and {len(oads) - 4} more" if len(oads) > 4 else "")
