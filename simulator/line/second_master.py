"""Another master on the line: a collection terminal that polls its own meters and knows nothing of ours.

It counts what it loses, and how much of that while somebody else talked into its exchange: the truth behind "we broke
none of its readings".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from simulator.line.wire import End, PacedLine


class Question(NamedTuple):
    """What it asks, and how it knows that a reply is one."""

    request: bytes
    answers: Callable[[bytes], bool]


@dataclass(slots=True)
class MasterCounts:
    asked: int = 0
    answered: int = 0
    lost: int = 0
    disturbed: int = 0  # exchanges in which more was said than a question and its reply, answered or not
    lost_to_strangers: int = 0  # of the lost ones


class SecondMaster:
    """Asks its questions one after the other every `period_s`; never listens before it talks.

    `own`: the stations it asks; everybody else on the line is a stranger. An exchange is disturbed when the line was
    not silent before it, when a stranger talked in it, or when one of its own stations said more than a reply: what a
    stranger provokes is the stranger's doing too.
    """

    def __init__(
        self,
        line: PacedLine,
        questions: Sequence[Question],
        *,
        own: Iterable[End],
        name: str = "terminal",
        period_s: float = 900.0,
        first_s: float = 0.0,
        timeout_s: float = 0.5,
        pause_s: float = 0.05,
    ) -> None:
        self.name = name
        self.counts = MasterCounts()
        self._line = line
        self._questions = questions
        self._own = frozenset(own)
        self._period_s = period_s
        self._timeout_s = timeout_s
        self._pause_s = max(pause_s, line.format.silence_s)
        self._end = line.join(name, self._heard, self._quiet)
        self._came = bytearray()
        self._asked: Question | None = None
        self._asked_s = 0.0
        self._was_silent = True
        self._said_before = 0
        self._next = 0
        self._round_s = line.loop.time() + first_s
        self._timer = line.loop.call_at(self._round_s, self._ask)

    def stop(self) -> None:
        self._timer.cancel()
        self._asked = None

    def _ask(self) -> None:
        self._came.clear()
        self._asked = question = self._questions[self._next]
        self._asked_s = self._line.loop.time()
        self._was_silent, self._said_before = self._line.is_silent, self._line.counts.transmissions
        self.counts.asked += 1
        self._end.say(question.request)
        self._timer = self._line.loop.call_at(self._end.talks_to_s + self._timeout_s, self._give_up)

    def _heard(self, data: bytes, at_s: float) -> None:
        if self._asked is not None:
            self._came += data

    def _quiet(self, at_s: float) -> None:
        if self._asked is not None and self._came and self._asked.answers(bytes(self._came)):
            self._timer.cancel()
            self._done(answered=True)

    def _give_up(self) -> None:
        self._done(answered=False)

    def _done(self, *, answered: bool) -> None:
        self._asked = None
        now_s = self._line.loop.time()
        said = self._line.counts.transmissions - self._said_before
        disturbed = not self._was_silent or said > 2 or any(self._strange(end, now_s) for end in self._line.ends)
        counts = self.counts
        counts.answered += answered
        counts.lost += not answered
        counts.disturbed += disturbed
        counts.lost_to_strangers += disturbed and not answered
        self._next = (self._next + 1) % len(self._questions)
        at_s = now_s + self._pause_s
        if self._next == 0:
            self._round_s = max(self._round_s + self._period_s, at_s)
            at_s = self._round_s
        self._timer = self._line.loop.call_at(at_s, self._ask)

    def _strange(self, end: End, now_s: float) -> bool:
        """Whether what this end last said has no place in the exchange."""
        if end is self._end or end.talks_to_s <= self._asked_s or end.talks_from_s >= now_s:
            return False
        return end not in self._own or end.talks_from_s < self._end.talks_to_s
