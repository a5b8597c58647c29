"""What every link has, and the one way to converse on it.

A protocol is an `Exchange`: one question and its answer, without a wire. `converse` puts it on a link through the voice
of its protocol: whatever a voice says passes the gate of that protocol, and there is no other way to write. What comes
while nobody asks is set aside, and the protocol decides what it was before the next question.

A serial line is a thing of silences: a question waits for its turn, which is when the line has been silent for t3.5 and
nobody else's answer is under way, and an answer that stops between two characters need not be waited for to the end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from drivers.gate import Gate, gate_of
from drivers.link.framing import Framing
from edge_agent.model import Frame, Ms
from edge_agent.ports import BadReply, DriverError, LinkDown

KEPT_FRAMES = 64
"""Raw round trips that a link remembers, answered or not: all that one question may become whose registers are refused
one after the other, for which a survey looks at them. Kept for each of 64 links, they take 1 MiB.
"""

SET_ASIDE = 4096
"""Bytes kept while nobody asks; of more than that, the newest."""

LONGEST_TURN_S = 10.0
"""A line that has not been silent once in this time is not one on which anybody can be asked."""

_CHARACTERS_APART = 20
_SHORTEST_GAP_S = 0.1
"""USB adapters and converters hand bytes over in pieces, up to some 20 ms apart: only a longer pause ends a frame."""

_LONGEST_DRAIN_S = 2.0
_LOOK_AGAIN_S = 0.02

_GRAIN_S = 1e-6
"""Shorter waits than the event loop can tell from none."""


class Exchange(Protocol):
    """One question and its answer: bytes in, bytes out; no socket, no await, no retry."""

    @property
    def request(self) -> bytes:
        """The question as it goes on the wire."""

    @property
    def received(self) -> bytes:
        """Every byte that came since the question was asked."""

    def feed(self, received: bytes) -> bytes | None:
        """The answer's payload, or None while more bytes are needed; a `DriverError` when the bytes do not answer."""

    def expired(self) -> DriverError:
        """What it means that the time is up."""


class Answer(NamedTuple):
    """What an exchange asked for, and the raw round trip."""

    payload: bytes
    frame: Frame
    waited_s: float = 0.0
    """From the end of the question on the wire to the first byte of what came: the device's turnaround."""


class Ear(Protocol):
    """Who follows what others say on the line. Times are the event loop's."""

    def hear(self, data: bytes, now_s: float) -> None:
        """Bytes that answer no question of ours."""

    def said(self, data: bytes, now_s: float) -> None:
        """What we say ourselves, so that its echo is not taken for another master."""

    def wait_s(self, now_s: float) -> float:
        """For how long others need the line yet; 0.0 when it is free."""


class Link:
    """One serialised channel, shared by the drivers of the protocols spoken on it: one question at a time.

    A kind of link brings `open`, `close` and `_send`, and calls `_came` and `_ended`.
    """

    may_go_deaf = False
    """Whether it can be dead at the other end without anyone having said so: after much silence it is made anew."""

    def __init__(
        self, name: str, kind: str, framing: Framing | None, *, now_ms: Callable[[], Ms], echo: bool = False
    ) -> None:
        self.name = name
        self.kind = kind
        self.framing = framing
        self.frames: deque[Frame] = deque(maxlen=KEPT_FRAMES)
        self.now_ms = now_ms
        self.ear: Ear | None = None
        self._echoes = echo
        self._echo = bytearray()  # of what was said, still to come
        self._echoed = bytearray()  # the part of it that has come
        self._take: Callable[[bytes], None] | None = None
        self._lost: Callable[[str], None] | None = None
        self._aside = bytearray()
        self.heard_s = 0.0  # loop time: the last byte came; on a line alone
        self._busy_until_s = 0.0  # loop time: the last character, ours or another's, has ended

    # -- a kind of link ------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        raise NotImplementedError

    async def open(self) -> None:
        """Raises `LinkDown` when there is no channel to be had."""
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    def _send(self, data: bytes) -> None:
        """Raises `LinkDown`. Called by a `Voice` alone, behind its gate."""
        raise NotImplementedError

    # -- what drivers use ----------------------------------------------------------------------------------------

    def gate(self, protocol: str) -> Voice:
        """This link for one protocol."""
        return Voice(self, gate_of(protocol))

    @property
    def bits_per_s(self) -> int:
        """0 where there is no line."""
        return self.framing.baud if self.framing else 0

    @property
    def char_s(self) -> float:
        """What a character takes on the wire; 0.0 where there is no line."""
        return self.framing.char_s if self.framing else 0.0

    @property
    def gap_s(self) -> float | None:
        """An answer that has begun and pauses for longer than this has stopped; None: only the time-out says so."""
        return max(_SHORTEST_GAP_S, _CHARACTERS_APART * self.framing.char_s) if self.framing else None

    def listen(self, take: Callable[[bytes], None] | None, lost: Callable[[str], None] | None) -> None:
        """Who gets the bytes, and who hears of the end; None: bytes are set aside."""
        self._take, self._lost = take, lost

    def set_aside(self) -> bytes:
        """The bytes that came while nobody listened, once."""
        if not self._aside:
            return b""
        aside = bytes(self._aside)
        self._aside.clear()
        return aside

    async def turn(self) -> None:
        """Wait until we may speak. Raises `LinkDown` for a line that is never silent."""
        if self.framing is None:
            return
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + LONGEST_TURN_S
        while (wait_s := self._taken_for_s(self.framing.silence_s, loop.time())) > 0:
            if loop.time() >= give_up_s:
                raise LinkDown(f"{self.name} is never silent: somebody speaks on it all the time")
            await asyncio.sleep(min(wait_s, _LOOK_AGAIN_S))  # the answer that another master waits for may come

    async def quiet(self, quiet_s: float = 0.0) -> None:
        """Wait until the line has been silent for so long, but not for ever; what comes until then is set aside."""
        if self.framing is None:
            return
        loop = asyncio.get_running_loop()
        quiet_s = max(quiet_s, self.framing.silence_s, _SHORTEST_GAP_S / 2)
        give_up_s = loop.time() + max(_LONGEST_DRAIN_S, 2 * quiet_s)
        while loop.time() < give_up_s:
            wait_s = self._busy_until_s + quiet_s - loop.time()
            if wait_s <= _GRAIN_S:
                return
            await asyncio.sleep(wait_s)

    async def drain(self) -> None:
        """Make sure that nothing of what was said so far can be heard by the next question."""
        await self.quiet()

    # -- bytes ---------------------------------------------------------------------------------------------------

    def _say(self, data: bytes) -> None:
        now_s = asyncio.get_running_loop().time() if self.framing else 0.0
        if self._echoes:
            self._echo[:] = data
            self._echoed.clear()
        if self.ear is not None:
            self.ear.said(data, now_s)
        self._busy_until_s = now_s + len(data) * self.char_s
        self._send(data)

    def _came(self, data: bytes) -> None:
        now_s = asyncio.get_running_loop().time() if self.framing else 0.0
        self.heard_s = now_s
        self._busy_until_s = max(self._busy_until_s, now_s)
        if self._echo:
            data = self._without_echo(data)
            if not data:
                return
        if self._take is not None:
            self._take(data)
            return
        self._overheard(data, now_s)
        self._aside += data
        del self._aside[:-SET_ASIDE]

    def _without_echo(self, data: bytes) -> bytes:
        """What is left of the bytes without the echo of our own question; all of them where it is not ours."""
        n = min(len(data), len(self._echo))
        if data[:n] == self._echo[:n]:
            del self._echo[:n]
            self._echoed += data[:n]
            return data[n:]
        # Somebody spoke into it, or the adapter does not echo after all: the protocol shall see what really came.
        data = bytes(self._echoed) + data
        self._echo.clear()
        return data

    def _overheard(self, data: bytes, now_s: float) -> None:
        if self.ear is not None:
            self.ear.hear(data, now_s)

    def _ended(self, why: str) -> None:
        self._forget()
        if self._lost is not None:
            self._lost(f"{self.name} {why}")

    def _forget(self) -> None:
        """A new channel: what was not understood yet belongs to the old one."""
        self._aside.clear()
        self._echo.clear()

    def _taken_for_s(self, silence_s: float, now_s: float) -> float:
        wait_s = self._busy_until_s + silence_s - now_s
        if self.ear is not None:
            wait_s = max(wait_s, self.ear.wait_s(now_s))
        return wait_s if wait_s > _GRAIN_S else 0.0


class Voice:
    """A link as one protocol has it: the same channel, and whatever is said passes that protocol's gate."""

    def __init__(self, link: Link, gate: Gate) -> None:
        self.link = link
        self._gate = gate
        self.open = link.open
        self.close = link.close
        self.turn = link.turn
        self.drain = link.drain
        self.listen = link.listen
        self.set_aside = link.set_aside
        self.frames = link.frames
        self.now_ms = link.now_ms

    def write(self, data: bytes) -> None:
        """Through the gate, or not at all; `LinkDown` when the channel is closed."""
        self._gate(data)
        self.link._say(data)

    @property
    def gate(self) -> Gate:
        """For a protocol that enciphers: its gate sees in the clear what it will have to let through ciphered."""
        return self._gate

    @property
    def is_open(self) -> bool:
        return self.link.is_open

    @property
    def framing(self) -> Framing | None:
        return self.link.framing


async def converse(voice: Voice, exchange: Exchange, timeout_s: float) -> Answer:
    """Ask when the line is ours, and wait until the answer is whole or the time is up.

    `timeout_s` counts from the end of the question on the wire. Raises the exchange's `DriverError`, `LinkDown` when
    the channel ends, and `GateRefused` before a byte has left. Good or bad, the round trip is in `link.frames`
    afterwards; after a `BadReply` the link has been drained.
    """
    link = voice.link
    if link.framing is not None:
        await link.turn()
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[bytes] = loop.create_future()
    said_s = loop.time() + len(exchange.request) * link.char_s
    first_s: float | None = None

    def expire() -> None:
        if not answered.done():
            answered.set_exception(exchange.expired())

    # A bare timer: asyncio's time-out context costs as much as decoding ten values, and a question has one end anyway.
    timer = loop.call_at(said_s + timeout_s, expire)

    def take(data: bytes) -> None:
        nonlocal first_s, timer
        now_s = loop.time()
        first_s = now_s if first_s is None else first_s
        try:
            payload = exchange.feed(data)
        except Exception as error:  # an answer to the one who asked, not to the event loop
            if not answered.done():
                answered.set_exception(error)
            return
        if payload is not None:
            if not answered.done():
                answered.set_result(payload)
            link.listen(None, None)
        elif (gap_s := link.gap_s) is not None and not answered.done():
            timer.cancel()
            timer = loop.call_at(min(said_s + timeout_s, now_s + gap_s), expire)

    def lost(why: str) -> None:
        if not answered.done():
            answered.set_exception(LinkDown(why, received=exchange.received))

    try:
        link.listen(take, lost)
        voice.write(exchange.request)
        payload = await answered
    except DriverError as error:
        link.listen(None, None)
        error.sent = error.sent or exchange.request
        error.received = error.received or exchange.received
        link.frames.append(Frame(exchange.request, exchange.received, link.now_ms()))
        if exchange.received:
            link._overheard(exchange.received, loop.time())
        if isinstance(error, BadReply):
            await link.drain()
        raise
    finally:
        timer.cancel()
        link.listen(None, None)
        if answered.done() and not answered.cancelled():
            answered.exception()  # looked at: the loop need not complain about it
    frame = Frame(exchange.request, exchange.received, link.now_ms())
    link.frames.append(frame)
    return Answer(payload, frame, max(0.0, (said_s if first_s is None else first_s) - said_s))
