"""How APDUs reach a meter: over HDLC on a line that others share, or in the wrapper on a TCP connection.

A channel belongs to one client and one meter: `connect`, `ask` (an APDU out, an APDU back), `disconnect`. What is said
again after silence is the same HDLC frame with the same number, so that a meter which had it answers the same question;
over TCP nothing is said again: an answer that is late goes with its connection.

Before an HDLC link is made, an older one that the meter may still know of is ended (DISC). A meter that keeps silent at
that is not asked twice in a row, since others wait for the line: the next time the link is made without.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Protocol

from drivers.dlms import wrapper
from drivers.dlms.hdlc import Event, Hdlc, Parameters, Say, Whole
from drivers.dlms.hdlc_frame import ServerAddress
from drivers.dlms.refused import Desync, Said
from drivers.dlms.wrapper import Wrapper
from drivers.link import Answer, Exchange, Link, Voice, converse
from drivers.link.latency import LatencyFilter
from edge_agent.model import DlmsSpec, Frame
from edge_agent.ports import BadReply, DriverError, LinkDown, NoReply

TRIES = 2
"""So often a frame of a link that is up is said."""

PAUSE_S = 0.3
"""For a meter that has the question and no answer yet (RR, RNR)."""

HIDDEN = b"\x60"
"""What is kept of a question that holds a password: its tag."""


class Asked(NamedTuple):
    """An answer, and all that went over the wire for it."""

    apdu: bytes
    frame: Frame


class Channel(Protocol):
    """One client's way to one meter."""

    @property
    def is_up(self) -> bool: ...

    async def connect(self) -> None:
        """Raises a `DriverError` where there is no way to the meter."""

    async def ask(self, apdu: bytes, *, patience_s: float = 0.0, secret: bool = False) -> Asked:
        """Raises a `DriverError`. `patience_s`: wait at least so long; `secret`: no trace of the question is kept."""

    async def disconnect(self) -> None:
        """The end in good order. Raises a `DriverError` where the meter does not confirm it."""

    async def drop(self) -> None:
        """The end in disorder: what may still come must not be taken for an answer."""


class Wire:
    """A link as this driver has it; `made` counts how often it was opened."""

    def __init__(self, link: Link, timeout_s: float) -> None:
        self.link = link
        self.timeout_s = timeout_s
        self.voice: Voice = link.gate("dlms-wrapper" if link.framing is None else "dlms-hdlc")
        self.made = 0

    async def open(self) -> None:
        if not self.link.is_open:
            await self.link.open()
            self.made += 1

    async def converse(self, exchange: Exchange, timeout_s: float, *, secret: bool) -> Answer:
        try:
            return await converse(self.voice, exchange, timeout_s)
        except DriverError as error:
            if secret:
                error.sent = HIDDEN
            raise
        finally:
            if secret and self.link.frames and self.link.frames[-1].request == exchange.request:
                kept = self.link.frames[-1]
                self.link.frames[-1] = Frame(HIDDEN, kept.reply, kept.bt_ms)


def channel_of(wire: Wire, spec: DlmsSpec, seen: LatencyFilter, *, client: int | None = None) -> Channel:
    """The way of the spec's client, or of another one. Raises ValueError for addresses that are none."""
    client = spec.client if client is None else client
    if wire.link.framing is None:
        return WrapperChannel(wire, client, spec.server, seen)
    return HdlcChannel(wire, client, spec, seen)


class _Kept:
    """One thing said, and all that came after it."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self._received = bytearray()

    @property
    def received(self) -> bytes:
        return bytes(self._received)


class _Wrapped(_Kept):
    """An APDU in the wrapper, and its answer."""

    def __init__(self, codec: Wrapper, apdu: bytes) -> None:
        super().__init__(codec.ask(apdu))
        self._codec = codec

    def feed(self, received: bytes) -> bytes | None:
        self._received += received
        return self._codec.feed(received)

    def expired(self) -> DriverError:
        return self._codec.expired()


class _Framed(_Kept):
    """A frame, and what the data link makes of what comes."""

    def __init__(self, hdlc: Hdlc, frame: bytes) -> None:
        super().__init__(frame)
        self._hdlc = hdlc
        self.event: Event | None = None

    def feed(self, received: bytes) -> bytes | None:
        self._received += received
        self.event = self._hdlc.feed(received)
        return None if self.event is None else b""

    def expired(self) -> DriverError:
        return self._hdlc.expired()


class WrapperChannel:
    """The TCP wrapper. A connection carries the channels of all meters behind it, and ends for all of them."""

    def __init__(self, wire: Wire, client: int, server: int, seen: LatencyFilter) -> None:
        self._wire = wire
        self._codec = Wrapper(client, server)
        self._seen = seen
        self._made = -1

    @property
    def is_up(self) -> bool:
        return self._wire.link.is_open and self._made == self._wire.made

    async def connect(self) -> None:
        link = self._wire.link
        if link.is_open and not self._is_clean(link.set_aside()):
            await link.close()
        await self._wire.open()
        if self._made != self._wire.made:
            self._codec.lost()
        self._made = self._wire.made

    async def ask(self, apdu: bytes, *, patience_s: float = 0.0, secret: bool = False) -> Asked:
        if not self.is_up:
            raise LinkDown(f"{self._wire.link.name} ended the connection")
        if not self._is_clean(self._wire.link.set_aside()):
            await self.drop()
            raise Desync("what came between two questions was no wrapper")
        exchange = _Wrapped(self._codec, apdu)
        try:
            answer = await self._wire.converse(exchange, max(self._wire.timeout_s, patience_s), secret=secret)
        except DriverError as error:
            if isinstance(error, NoReply) and not error.received:
                self._seen.missed()
            await self.drop()  # only a new stream is known to hold no late answer
            raise
        self._seen.answered(answer.waited_s)
        return Asked(answer.payload, answer.frame)

    async def disconnect(self) -> None:
        """Nothing is said: the connection stays for the others, and the driver closes it after the last."""
        self._made = -1

    async def drop(self) -> None:
        was_up, self._made = self.is_up, -1
        self._codec.lost()
        if was_up:  # else that connection is gone, and this is another, with others' associations on it
            await self._wire.link.close()

    def _is_clean(self, aside: bytes) -> bool:
        """Whether the stream stands between two APDUs."""
        at = 0
        while at + wrapper.HEADER <= len(aside) and aside[at : at + 2] == b"\0\1":
            at += wrapper.HEADER + int.from_bytes(aside[at + 6 : at + 8], "big")
        return at == len(aside) and not self._codec.pending


class HdlcChannel:
    """HDLC on a line: others' frames are passed over, and late ones are known by their numbers."""

    def __init__(self, wire: Wire, client: int, spec: DlmsSpec, seen: LatencyFilter) -> None:
        size, window = spec.hdlc_max_info, spec.hdlc_window
        proposed = None if (size, window) == (128, 1) else Parameters(size, size, 1, window)
        address = ServerAddress(spec.server, spec.physical, spec.address_size)
        self._hdlc = Hdlc(client, address, parameters=proposed)
        self._wire = wire
        self._seen = seen
        self._unsure = True  # the meter may know of a link of ours
        self._silent_at_disc = False
        self._ignores_disc = False
        self._up = False

    @property
    def is_up(self) -> bool:
        return self._up

    async def connect(self) -> None:
        await self._wire.open()
        self._wire.link.set_aside()
        if self._unsure and not (self._silent_at_disc or self._ignores_disc):
            try:
                await self._turn(self._hdlc.disconnect(), tries=1)
            except NoReply as error:
                self._silent_at_disc = not isinstance(error, Said)
                raise
            self._unsure = False
        skipped, self._silent_at_disc = self._silent_at_disc, False
        await self._turn(self._hdlc.connect(), tries=1)
        self._ignores_disc = self._ignores_disc or skipped
        self._unsure = self._up = True

    async def ask(self, apdu: bytes, *, patience_s: float = 0.0, secret: bool = False) -> Asked:
        if not self._up:
            raise Desync("the data link is down")
        await self._wire.open()
        self._wire.link.set_aside()
        try:
            event, frame = await self._turn(self._hdlc.ask(apdu), tries=TRIES, patience_s=patience_s, secret=secret)
        except DriverError:
            self._end()
            raise
        if not isinstance(event, Whole):
            self._end()
            raise Desync("the data link was made or ended in the middle of a question")
        return Asked(event.apdu, frame)

    async def disconnect(self) -> None:
        if self._up:
            self._end()
            await self._wire.open()
            await self._turn(self._hdlc.disconnect(), tries=1)
            self._unsure = False

    async def drop(self) -> None:
        if self._up:
            self._end()
            await self._wire.link.drain()

    def _end(self) -> None:
        self._up = False
        self._hdlc.lost()

    async def _turn(
        self, frame: bytes, *, tries: int, patience_s: float = 0.0, secret: bool = False
    ) -> tuple[Event, Frame]:
        """Everything that is said until something has happened."""
        link, left, sent, came = self._wire.link, tries, b"", b""
        while True:
            exchange = _Framed(self._hdlc, frame)
            try:
                answer = await self._wire.converse(exchange, self._timeout_s(patience_s), secret=secret)
            except (NoReply, BadReply) as error:
                if isinstance(error, NoReply) and not error.received:
                    self._seen.missed()
                sent, came = sent + error.sent, came + error.received
                left -= 1
                if left < 1 or isinstance(error, Said):
                    raise
                await self._wire.open()
                await link.quiet()
                frame = self._hdlc.again()
                continue
            self._seen.answered(answer.waited_s)
            sent, came = sent + (HIDDEN if secret else answer.frame.request), came + answer.frame.reply
            event = exchange.event
            assert event is not None
            if not isinstance(event, Say):
                return event, Frame(sent, came, answer.frame.bt_ms)
            left = tries
            if event.pause:
                await asyncio.sleep(PAUSE_S)
            frame = event.frame

    def _timeout_s(self, patience_s: float) -> float:
        most_s = max(self._wire.timeout_s, patience_s)
        reply_s = self._hdlc.most_answer * self._wire.link.char_s
        return most_s + reply_s if patience_s else self._seen.timeout_s(reply_s, most_s + reply_s)
