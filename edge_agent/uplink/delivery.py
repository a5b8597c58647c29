"""What of the chain may be sent now, and what is done: a state machine without a broker, a store or a clock.

    acknowledged            sent, not acknowledged            to be sent
    ... upto | upto+1 ... (some of them in flight) ... next-1 | next ... last

Invariants: numbers leave strictly in order; at most `unacked` of them are past `upto`; at most `window` publishes await
their PUBACK; `upto` never goes back. Going back happens to `next` alone: to `upto + 1` after a reconnect and when
`upto` has stood still for too long, to a refused number after a pause. What the centre asks for by number (`need`) is
sent again beside that, first. A number that the centre refuses for good (`nack`) is passed over and counts as done.
Times are ms on one steady clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from edge_agent.uplink.backoff import Bucket

Ms = int

OLD_BACKLOG_MS = 3_600_000
NO_SUBSCRIBER = 0x10
NEED_AT_MOST = 1_000
NEED_AGAIN_MS = 10_000
PAUSE_FIRST_MS = 5_000
PAUSE_CAP_MS = 300_000
QUIET_CAP_MS = 900_000


def accepted(reason: int) -> bool:
    """Whether a PUBACK says that somebody will get the message. 0x10: nobody has subscribed to it."""
    return reason < 0x80 and reason != NO_SUBSCRIBER


@dataclass(frozen=True, slots=True)
class Pace:
    """How much, how fast, how often again."""

    window: int = 100
    unacked: int = 200
    resend_after_ms: Ms = 120_000
    live_per_s: float = 10.0
    live_burst: int = 200
    drain_per_s: float = 50.0  # of a backlog older than an hour; 0: no limit
    drain_start_ms: Ms = 0  # this gateway's share of the 0 to 300 s over which a fleet begins to drain


class Ask(NamedTuple):
    """Numbers to be read from the store and sent, both ends included. `again`: the centre asked for them."""

    first: int
    last: int
    again: bool
    turn: int


class Settled(NamedTuple):
    """Up to here every number has its PUBACK; the head of the chain after it."""

    upto: int
    head_hex: str


class Delivery:
    """The chain's way out. `by_broker`: a number is done at its PUBACK, there is no centre that acknowledges."""

    def __init__(self, pace: Pace, *, upto: int, last: int, by_broker: bool = False) -> None:
        self._pace = pace
        self._by_broker = by_broker
        self.upto = upto
        self.last = last
        self._next = upto + 1
        self._turn = 0
        self._owed = 0  # the last number when the connection came
        self._connected = False
        self._window = pace.window
        self._flying: dict[int, str] = {}  # number -> head after it
        self._others = 0
        self._settled: dict[int, str] = {}
        self._dead: set[int] = set()
        self._need: tuple[int, int] | None = None
        self._needed_ms: dict[int, Ms] = {}
        self._sent_ms: dict[int, Ms | None] = {}  # None: sent more than once, its round trip says nothing
        self._progress_ms: Ms | None = None
        self._quiet_ms = pace.resend_after_ms
        self._paused_until_ms: Ms | None = None
        self._pauses = 0
        self._probing = False
        self._heard_ms: Ms = 0
        self._bucket = Bucket(pace.live_per_s, pace.live_burst, 0)
        self._draining = False
        self._drain_from_ms: Ms = 0

    # --- the connection

    def connected(self, now_ms: Ms, *, receive_maximum: int | None = None, backlog_age_ms: Ms = 0) -> None:
        """A new connection: everything not acknowledged goes again, at the broker's pace or ours."""
        self._connected = True
        self._owed = 0 if self._by_broker else self.last
        self._turn += 1
        self._window = min(self._pace.window, receive_maximum or self._pace.window)
        self._next = self.upto + 1
        self._sent_ms = dict.fromkeys(self._sent_ms)
        self._needed_ms.clear()
        if self._need is not None:
            first, last = self._need[0], min(self._need[1], self.upto)
            self._need = (first, last) if first <= last else None
        self._progress_ms = None
        self._paused_until_ms, self._pauses, self._probing = None, 0, False
        self._heard_ms = now_ms
        self._draining = backlog_age_ms > OLD_BACKLOG_MS
        if self._draining:
            self._drain_from_ms = now_ms + self._pace.drain_start_ms
            self._bucket = Bucket(self._pace.drain_per_s, max(1.0, self._pace.drain_per_s), now_ms)
        else:
            self._live(now_ms)

    def lost(self) -> None:
        """What was in flight may have arrived or not."""
        self._connected = False
        self._turn += 1
        self._flying.clear()
        self._others = 0

    def stalled(self, now_ms: Ms, limit_ms: Ms) -> bool:
        """Something is in flight and no PUBACK has come for `limit_ms`: the connection only looks alive."""
        return self._connected and self.flying > 0 and now_ms - self._heard_ms >= limit_ms

    @property
    def flying(self) -> int:
        """Publishes that await their PUBACK, of the chain and others."""
        return len(self._flying) + self._others

    @property
    def unacked(self) -> int:
        """Numbers sent and not acknowledged."""
        return self._next - 1 - self.upto

    # --- what may go

    def news(self, last: int) -> None:
        """The chain has grown up to `last`."""
        self.last = max(self.last, last)

    def ask(self, now_ms: Ms) -> Ask | None:
        """The numbers that may be sent now, or None: nothing to send, or not now."""
        self._tend(now_ms)
        room = self.room(now_ms)
        if room <= 0:
            return None
        if self._need is not None:
            first, last = self._need
            return Ask(first, min(last, first + room - 1), again=True, turn=self._turn)
        room = min(room, self._pace.unacked - self.unacked)
        if room <= 0 or self._next > self.last:
            return None
        return Ask(self._next, min(self.last, self._next + room - 1), again=False, turn=self._turn)

    def current(self, ask: Ask) -> bool:
        """Whether nothing has gone back or broken since `ask`: reading the store takes a while."""
        return ask.turn == self._turn

    def wanted(self, ask: Ask, seq: int) -> bool:
        """Whether this number, read for `ask`, is still one to send; else it is done or on its way."""
        if seq in self._flying or seq in self._dead or seq in self._settled:
            return False
        return ask.again or seq > self.upto

    def sent(self, ask: Ask, seq: int, head_hex: str, now_ms: Ms) -> None:
        """`seq` was handed to the connection; `head_hex` is the head of the chain after it."""
        if ask.again:
            self._needed_ms[seq] = now_ms
        else:
            self._next = max(self._next, seq + 1)
            if self._progress_ms is None:
                self._progress_ms = now_ms
        if seq > self.upto:
            self._sent_ms[seq] = None if seq in self._sent_ms else now_ms
        if not self.flying:
            self._heard_ms = now_ms
        self._flying[seq] = head_hex
        self._bucket.take()

    def passed(self, ask: Ask, last: int) -> None:
        """All that the store has of `ask` up to `last` is sent or need not be; what it has no longer is passed over."""
        if not ask.again:
            self._next = max(self._next, last + 1)
        elif self._need is not None:
            self._need = (last + 1, self._need[1]) if last < self._need[1] else None

    def spare(self) -> int:
        """How many publishes that are not of the chain may go now."""
        if not self._connected or (self._probing and self._next <= self.last):
            return 0
        return max(0, self._window - self.flying)

    def other_sent(self, now_ms: Ms) -> None:
        """A publish that is not of the chain went out and awaits its PUBACK."""
        if not self.flying:
            self._heard_ms = now_ms
        self._others += 1

    def other_done(self, now_ms: Ms) -> None:
        self._others = max(0, self._others - 1)
        self._heard_ms = now_ms

    @property
    def drained(self) -> bool:
        """The chain is out as far as it goes: telemetry may follow.

        What was owed when the connection came must also be acknowledged: telemetry is done at its PUBACK, and a broker
        that is back before its centre would take it for nobody.
        """
        out = self._next > self.last and self._need is None and not self._flying
        return self._connected and out and self.upto >= self._owed

    # --- what came back

    def puback(self, seq: int, reason: int, now_ms: Ms) -> None:
        """The broker has `seq`, or says why not."""
        head_hex = self._flying.pop(seq, None)
        self._heard_ms = now_ms
        if head_hex is None:
            return
        if accepted(reason):
            self._pauses, self._probing = 0, False
            if self._by_broker and seq > self.upto:
                self._settled[seq] = head_hex
            return
        if self.upto < seq < self._next:
            self._next = seq
            self._turn += 1
        if self._paused_until_ms is None:
            self._pauses += 1
            self._paused_until_ms = now_ms + min(PAUSE_CAP_MS, PAUSE_FIRST_MS * 2 ** min(self._pauses - 1, 16))

    def settled(self) -> Settled | None:
        """By broker only: the highest number up to which every PUBACK is in, with what the store wants to know."""
        seq = self.upto
        while seq + 1 in self._settled or seq + 1 in self._dead:
            seq += 1
        while seq > self.upto and seq not in self._settled:
            seq -= 1
        return Settled(seq, self._settled[seq]) if seq > self.upto else None

    def acked(self, upto: int, now_ms: Ms) -> Ms | None:
        """The store has moved its cursor to `upto`. The round trip, ms, where this is the answer to one sending."""
        if upto <= self.upto:
            return None
        sent_ms = self._sent_ms.get(upto)
        self._forget(upto)
        self._progress_ms = now_ms if self.unacked else None
        self._quiet_ms = self._pace.resend_after_ms
        return None if sent_ms is None else now_ms - sent_ms

    def nacked(self, seqs: Iterable[int]) -> list[int]:
        """Numbers that the centre refuses for good: those of them that are to become dead letters."""
        dead = [seq for seq in dict.fromkeys(seqs) if self.upto < seq <= self.last and seq not in self._dead]
        self._dead.update(dead)
        upto = self.upto
        while upto + 1 in self._dead:
            upto += 1
        self._forget(upto)
        return dead

    def need(self, first: int, last: int, now_ms: Ms) -> None:
        """The centre misses these. What has just been sent again for it, or is yet to be sent, is not sent twice."""
        last = min(last, first + NEED_AT_MOST - 1, self._next - 1)
        self._needed_ms = {seq: at for seq, at in self._needed_ms.items() if now_ms - at < NEED_AGAIN_MS}
        while first <= last and (first in self._needed_ms or first in self._flying or first in self._dead):
            first += 1
        if first <= last:
            self._need = (first, last)
            self._turn += 1

    # --- time

    def wake_ms(self, now_ms: Ms) -> Ms | None:
        """When time alone changes what may be sent; None: only an event does."""
        if not self._connected:
            return None
        times = []
        if self._paused_until_ms is not None:
            times.append(self._paused_until_ms)
        elif self._next <= self.last or self._need is not None:
            if self._draining and now_ms < self._drain_from_ms:
                times.append(self._drain_from_ms)
            elif (at_ms := self._bucket.next_ms(now_ms)) > now_ms:
                times.append(at_ms)
        if self._progress_ms is not None and self.unacked:
            times.append(self._progress_ms + self._quiet_ms)
        return min(times, default=None)

    def _tend(self, now_ms: Ms) -> None:
        if self._paused_until_ms is not None and now_ms >= self._paused_until_ms:
            self._paused_until_ms, self._probing = None, True  # one message shows whether the trouble is over
        if self._progress_ms is not None and self.unacked and now_ms - self._progress_ms >= self._quiet_ms:
            self._next = self.upto + 1
            self._turn += 1
            self._progress_ms = now_ms
            # A centre that is away for a day is not worth two hundred messages every two minutes.
            self._quiet_ms = min(2 * self._quiet_ms, max(QUIET_CAP_MS, self._pace.resend_after_ms))
        if self._draining and self._next > self.last:
            self._draining = False
            self._live(now_ms)

    def room(self, now_ms: Ms) -> int:
        """How many of the chain may go now, by window, rate and pause."""
        if not self._connected or self._paused_until_ms is not None:
            return 0
        if self._draining and now_ms < self._drain_from_ms:
            return 0
        room = (1 if self._probing else self._window) - self.flying
        tokens = self._bucket.available(now_ms)
        return room if tokens is None else min(room, tokens)

    def _live(self, now_ms: Ms) -> None:
        self._bucket = Bucket(self._pace.live_per_s, self._pace.live_burst, now_ms)

    def _forget(self, upto: int) -> None:
        self.upto = max(self.upto, upto)
        self.last = max(self.last, self.upto)
        self._next = max(self._next, self.upto + 1)
        self._dead = {seq for seq in self._dead if seq > self.upto}
        self._settled = {seq: head for seq, head in self._settled.items() if seq > self.upto}
        self._sent_ms = {seq: at for seq, at in self._sent_ms.items() if seq > self.upto}
