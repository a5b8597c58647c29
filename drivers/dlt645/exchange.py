"""One question and its answer over DL/T 645-2007, without a wire, and what is known of answers that did not come.

An answer carries the meter's address and the item's identifier, and is taken only if both are those that were asked.
So a late answer is known for what it is as long as another question is being asked: it is thrown away. What remains is
a late answer to the *same* item of the same meter. It is the value of the right register, and it is old. Three things
keep it from being taken for a new one:

- The same item is not asked again for ten seconds, or half as long again as this meter's latest answer took; what came
  until then is thrown away. That holds even where the meter has answered another question meanwhile: what stands
  between it and the line may hold one answer back and let the next one through.
- After that time things are believed to come in turn: once a meter has answered a later question, what was asked before
  can no longer come.
- Without such an answer the item is asked once more than it was given up, and the last answer counts. If answers to the
  questions of before come in front after all, the last one still answers a question of now: the meter took it after it
  had been asked anew.

The sum of a frame is a weak one: a late answer that another meter speaks into this one's may change octets and sum
alike. So an answer counts only if the line falls silent behind it.

No line and no converter is taken to hold an answer back for more than a minute. A refusal carries no identifier: as
long as a question to that meter may still be answered late, it is taken for the older one's.

Source: DL/T 645-2007, 5.2.3 and 7.1-7.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from drivers.dlt645.frame import (
    ADDRESS,
    ANSWER,
    ERROR,
    FOLLOW,
    FUNCTION,
    MORE,
    PREAMBLE,
    READ,
    WILDCARD,
    Reader,
    Telegram,
    encode,
    is_address,
)
from edge_agent.model import Ms
from edge_agent.ports import BadReply, DriverError, NoReply, Refused

LATEST_MS = 60_000
"""No answer comes later than this."""

OVERTAKEN_MS = 10_000
"""For so long at least a later answer may overtake an earlier one: the same item is not asked again before."""

LONGEST_MS = 10_000
"""However late a meter was once: more than this does not count, so that its items are not lost for long."""

_ERRORS = (
    "other error",
    "no such data",
    "wrong password or not authorised",
    "speed cannot be changed",
    "too many seasons",
    "too many daily periods",
    "too many rates",
    "reserved error bit",
)
"""What the bits of the error octet mean, the lowest first."""


class OldEdition(Refused):
    """The meter speaks the edition of 1997: two-octet identifiers, other control codes."""


class Asked(NamedTuple):
    """What a question was about: what its answer has to match."""

    address: str
    function: int
    di: int = 0
    seq: int = 0

    def is_answered_by(self, telegram: Telegram) -> bool:
        """Whether the telegram is an answer to this very question; an error names no item and is not asked here."""
        if telegram.control & FUNCTION != self.function or telegram.control & ERROR:
            return False
        if not is_address(self.address, telegram.address):
            return False
        if self.function == ADDRESS:
            return True
        if int.from_bytes(telegram.data[:4], "little") != self.di:
            return False
        return self.function == READ or telegram.data[-1] == self.seq


class _GivenUp:
    """When one question was asked and no good answer came; each of them may still be answered."""

    def __init__(self) -> None:
        self.asked_ms: list[Ms] = []
        self.waits = True  # an answer may come out of turn
        self.passed = False  # the meter has answered something that it was asked later


class Session:
    """What outlives a question on a link: bytes that are not understood yet, and the questions that were given up."""

    def __init__(self, now_ms: Callable[[], Ms], timeout_s: float) -> None:
        self.reader = Reader()
        self.now_ms = now_ms
        self.heard_ms: dict[str, Ms] = {}
        self._given_up: dict[Asked, _GivenUp] = {}
        self._least_ms = max(OVERTAKEN_MS, round(2000 * timeout_s))
        self._longest_ms: dict[str, Ms] = {}

    def ask(self, address: str, di: int, seq: int = 0, *, which: bytes = b"") -> Exchange:
        """Read an item, or with a sequence number the frame of it that follows; `which` of its records, if it has any.

        A late answer about other records passes for one about these; each says its own time.
        """
        data = di.to_bytes(4, "little") + (bytes((seq,)) if seq else which)
        return Exchange(self, Asked(address, FOLLOW if seq else READ, di, seq), data)

    def ask_address(self) -> Exchange:
        """Whoever is alone on the line says its address."""
        return Exchange(self, Asked(WILDCARD, ADDRESS), b"")

    def settle(self, came: bytes) -> bool:
        """Whether everything that came between questions is accounted for: late answers, noise, or a frame begun."""
        self.reader.feed(came)
        while (telegram := self.reader.take()) is not None:
            if not self.is_late(telegram):
                return False
        return True

    def clear(self) -> None:
        """A new channel. Questions that were given up stay known: a converter may still have their answers."""
        self.reader.clear()

    def give_up(self, asked: Asked, asked_ms: Ms) -> None:
        """No good answer came in time; one may still."""
        self._prune()
        given_up = self._given_up.setdefault(asked, _GivenUp())
        given_up.asked_ms.append(asked_ms)
        given_up.waits, given_up.passed = True, False

    def answered(self, asked: Asked, *, doubts: int = 0) -> None:
        """An answer that can be no late one: what this meter was asked before can no longer come in turn.

        With doubts, as many answers to this very question may be under way: it was asked so many times more.
        """
        now_ms = self.heard_ms[asked.address] = self.now_ms()
        for old, given_up in self._given_up.items():
            if old.address == asked.address:
                given_up.passed = True
        if doubts:
            again = self._given_up[asked] = _GivenUp()
            again.asked_ms, again.waits = [now_ms] * doubts, False

    def wait_ms(self, asked: Asked) -> Ms:
        """How long the same item has to wait yet, the frames that follow its first counted."""
        self._prune()
        over_ms = (
            self._over_ms(old, given_up)
            for old, given_up in self._given_up.items()
            if given_up.waits and (old.address, old.di) == (asked.address, asked.di)
        )
        return max(0, max(over_ms, default=0) - self.now_ms())

    def doubts(self, asked: Asked) -> int:
        """How many answers to the same question, asked before, may still come in front of the answer to it now."""
        self._prune()
        given_up = self._given_up.get(asked)
        return 0 if given_up is None or given_up.passed else len(given_up.asked_ms)

    def is_late(self, telegram: Telegram, *, just_came: bool = False) -> bool:
        """Whether this answers a question that was given up; it is thrown away.

        How late it was is remembered, if it came just now: of what lay there unread, nobody knows since when.
        """
        for asked, given_up in self._given_up.items():
            if asked.is_answered_by(telegram) or (
                telegram.control & ERROR
                and telegram.control & FUNCTION == asked.function
                and is_address(asked.address, telegram.address)
                and self.now_ms() < self._over_ms(asked, given_up)
            ):
                late_ms = min(LONGEST_MS, self.now_ms() - given_up.asked_ms.pop(0))
                if just_came:
                    self._longest_ms[asked.address] = max(self._longest_ms.get(asked.address, 0), late_ms)
                if not given_up.asked_ms:
                    del self._given_up[asked]
                return True
        return False

    def _over_ms(self, asked: Asked, given_up: _GivenUp) -> Ms:
        """When no answer has to be reckoned with out of turn any more."""
        return given_up.asked_ms[-1] + max(self._least_ms, self._longest_ms.get(asked.address, 0) * 3 // 2)

    def _prune(self) -> None:
        """Forget what can no longer be answered at all."""
        oldest_ms = self.now_ms() - LATEST_MS
        for asked, given_up in list(self._given_up.items()):
            given_up.asked_ms = [ms for ms in given_up.asked_ms if ms >= oldest_ms]
            if not given_up.asked_ms:
                del self._given_up[asked]


class Exchange:
    """One question and its reply: feed it bytes, it answers with the item's octets once the reply is whole."""

    def __init__(self, session: Session, asked: Asked, data: bytes) -> None:
        self.asked = asked
        self.request = PREAMBLE + encode(asked.address, asked.function, data)
        self.asked_ms = session.now_ms()
        self.address = ""
        """Who answered."""
        self.more = False
        """Whether the meter has another frame of the same item."""
        self.surplus = 0
        """Octets that had come behind the reply when it was whole."""
        self._session = session
        self._before = session.reader.seen  # a frame that began earlier cannot be the answer
        self._received = bytearray()
        self._reply = b""
        self._late = False

    @property
    def received(self) -> bytes:
        """The reply, from its first 68; as long as there is none, everything that came."""
        return self._reply or bytes(self._received)

    def feed(self, received: bytes) -> bytes | None:
        """The item's octets, lowest first, or None while more are needed; for an address its six octets.

        Raises BadReply and Refused as the reply says; `received` holds the bytes.
        """
        self._received += received
        self._session.reader.feed(received)
        while (telegram := self._session.reader.take()) is not None:
            if telegram.raw == self.request[len(PREAMBLE) :]:
                continue  # the adapter's echo of our own question
            if telegram.began < self._before:
                if self._is_late(telegram):
                    continue
                raise BadReply(f"a frame of {telegram.address} had begun before the question was asked")
            if (payload := self._payload(telegram)) is not None:
                self.surplus = self._session.reader.pending
                return payload
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
        return BadReply(f"{len(heard)} octets and no frame among them: compare speed and parity (2400 8E1 is usual)")

    def _is_late(self, telegram: Telegram) -> bool:
        late = self._session.is_late(telegram, just_came=True)
        self._late = self._late or late
        return late

    def _payload(self, telegram: Telegram) -> bytes | None:
        """What the reply brings; None: it was a late one."""
        asked = self.asked
        if not telegram.control & ANSWER:
            raise BadReply(f"another master asks {telegram.address} on this line (control {telegram.control:02X})")
        if not is_address(asked.address, telegram.address):
            if self._is_late(telegram):
                return None
            raise BadReply(f"asked {asked.address}, {telegram.address} answered")
        if telegram.control & FUNCTION in {0x01, 0x02, 0x03}:
            self._reply = telegram.raw
            raise OldEdition(
                f"{telegram.address} is a DL/T 645-1997 meter, not supported by this driver "
                f"(control {telegram.control:02X})"
            )
        if telegram.control & ERROR and telegram.control & FUNCTION == asked.function:
            if self._is_late(telegram):
                return None
            self._reply = telegram.raw
            raise Refused(f"meter {telegram.address}: {error_words(telegram.data[0])}")
        if not asked.is_answered_by(telegram):
            if self._is_late(telegram):
                return None
            raise BadReply(f"asked {_named(asked)}, {_item(telegram)} came")
        self._reply = telegram.raw
        self.address = telegram.address
        self.more = bool(telegram.control & MORE)
        if asked.function == ADDRESS:
            if telegram.data[::-1].hex().upper() != telegram.address:
                raise BadReply(f"{telegram.address} calls itself {telegram.data[::-1].hex()}")
            return telegram.data
        return telegram.data[4:] if asked.function == READ else telegram.data[4:-1]


def error_words(octet: int) -> str:
    """The error octet in words: "no such data (error 02)"."""
    words = [word for bit, word in enumerate(_ERRORS) if octet >> bit & 1]
    return f"{', '.join(words) or 'refused without a reason'} (error {octet:02X})"


def _named(asked: Asked) -> str:
    return f"{asked.di:08X}" + (f" frame {asked.seq}" if asked.seq else "") if asked.di else "the address"


def _item(telegram: Telegram) -> str:
    """What a telegram is about, for a person."""
    function = telegram.control & FUNCTION
    if function not in {READ, FOLLOW} or telegram.control & ERROR:
        return f"control {telegram.control:02X}"
    di = f"{int.from_bytes(telegram.data[:4], 'little'):08X}"
    return f"{di} frame {telegram.data[-1]}" if function == FOLLOW else di
