"""Byte links: a channel that is opened, asked through the gate and closed, and the one way to converse on it.

A protocol is an `Exchange`: one question and its answer, without a wire. `converse` puts it on a link. What comes
while nobody asks is set aside, and the protocol decides what it was before the next question; what does not answer the
question drains the link. Every byte leaves through the link's gate: there is no other way to write.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol, cast

from drivers.gate import Gate
from edge_agent.model import Frame, Ms
from edge_agent.ports import BadReply, DriverError, LinkDown

KEPT_FRAMES = 200
"""Raw round trips that a link remembers, answered or not."""

_SET_ASIDE = 4096
"""Bytes kept while nobody asks; more than that is noise, and the protocol drops the channel for less."""


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


class Link(Protocol):
    """One serialised channel."""

    frames: deque[Frame]
    now_ms: Callable[[], Ms]

    @property
    def is_open(self) -> bool: ...

    async def open(self) -> None:
        """Raises `LinkDown` when there is no channel to be had."""

    def write(self, data: bytes) -> None:
        """Through the gate, or not at all; `LinkDown` when the channel is closed."""

    def listen(self, take: Callable[[bytes], None] | None, lost: Callable[[str], None] | None) -> None:
        """Who gets the bytes, and who hears of the end; None: bytes are set aside."""

    def set_aside(self) -> bytes:
        """The bytes that came while nobody listened, once."""

    async def drain(self) -> None:
        """Make sure that nothing of what was said so far can be heard by the next question."""

    async def close(self) -> None: ...


async def converse(link: Link, exchange: Exchange, timeout_s: float) -> Answer:
    """Ask, and wait until the answer is whole or the time is up.

    Raises the exchange's `DriverError`, `LinkDown` when the channel ends, and `GateRefused` before a byte has left.
    Good or bad, the round trip is in `link.frames` afterwards; after a `BadReply` the link has been drained.
    """
    answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def take(data: bytes) -> None:
        try:
            payload = exchange.feed(data)
        except Exception as error:  # an answer to the one who asked, not to the event loop
            if not answered.done():
                answered.set_exception(error)
        else:
            if payload is not None and not answered.done():
                answered.set_result(payload)
                link.listen(None, None)

    def lost(why: str) -> None:
        if not answered.done():
            answered.set_exception(LinkDown(why, received=exchange.received))

    link.listen(take, lost)
    try:
        link.write(exchange.request)
        try:
            async with asyncio.timeout(timeout_s):
                payload = await answered
        except TimeoutError:
            raise exchange.expired() from None
    except DriverError as error:
        link.listen(None, None)
        error.sent = error.sent or exchange.request
        error.received = error.received or exchange.received
        link.frames.append(Frame(exchange.request, exchange.received, link.now_ms()))
        if isinstance(error, BadReply):
            await link.drain()
        raise
    finally:
        link.listen(None, None)
        if answered.done() and not answered.cancelled():
            answered.exception()  # looked at: the loop need not complain about it
    frame = Frame(exchange.request, exchange.received, link.now_ms())
    link.frames.append(frame)
    return Answer(payload, frame)


class TcpLink:
    """One TCP endpoint. Draining it means dropping the connection: only a new stream is known to be empty."""

    def __init__(
        self, host: str, port: int, *, gate: Gate, now_ms: Callable[[], Ms], connect_timeout_s: float = 5.0
    ) -> None:
        self.host = host
        self.port = port
        self.frames: deque[Frame] = deque(maxlen=KEPT_FRAMES)
        self.now_ms = now_ms
        self._gate = gate
        self._connect_timeout_s = connect_timeout_s
        self._transport: asyncio.Transport | None = None
        self._take: Callable[[bytes], None] | None = None
        self._lost: Callable[[str], None] | None = None
        self._aside = bytearray()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def open(self) -> None:
        await self.close()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                transport, _ = await loop.create_connection(lambda: _Wire(self), self.host, self.port)
        except TimeoutError:
            await self.close()
            raise LinkDown(f"{self.host}:{self.port} does not answer a connection") from None
        except OSError as error:
            raise LinkDown(f"{self.host}:{self.port} {error.strerror or error}") from error
        wire = transport.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def write(self, data: bytes) -> None:
        self._gate(data)
        transport = self._transport
        if transport is None or transport.is_closing():
            raise LinkDown(f"{self.host}:{self.port} is closed")
        transport.write(data)

    def listen(self, take: Callable[[bytes], None] | None, lost: Callable[[str], None] | None) -> None:
        self._take, self._lost = take, lost

    def set_aside(self) -> bytes:
        if not self._aside:
            return b""
        aside = bytes(self._aside)
        self._aside.clear()
        return aside

    async def drain(self) -> None:
        await self.close()

    async def close(self) -> None:
        transport, self._transport = self._transport, None
        self._aside.clear()
        if transport is not None:
            transport.abort()  # nothing of ours is left to be sent, and a peer that hangs cannot hold us
            await asyncio.sleep(0)  # the loop closes the socket at its next turn

    def _made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def _came(self, data: bytes) -> None:
        if self._take is not None:
            self._take(data)
        elif len(self._aside) < _SET_ASIDE:
            self._aside += data

    def _ended(self, transport: asyncio.Transport, why: str) -> None:
        if transport is not self._transport:
            return  # a connection that was given up has finished closing
        self._transport = None
        if self._lost is not None:
            self._lost(f"{self.host}:{self.port} {why}")


class _Wire(asyncio.Protocol):
    """One connection of a `TcpLink`; it speaks only as long as it is the link's current one."""

    def __init__(self, link: TcpLink) -> None:
        self._link = link
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._link._made(self._transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is self._link._transport:
            self._link._came(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._link._ended(self._transport, "ended the connection" if exc is None else f"broke: {exc}")


class MemoryLink:
    """A link whose far end is a function: for tests, and for trying a driver without a device."""

    def __init__(
        self, reply: Callable[[bytes], bytes | None], *, gate: Gate, now_ms: Callable[[], Ms] = lambda: 0
    ) -> None:
        self.frames: deque[Frame] = deque(maxlen=KEPT_FRAMES)
        self.now_ms = now_ms
        self.sent: list[bytes] = []
        self.opened = 0
        self._reply = reply
        self._gate = gate
        self._open = False
        self._take: Callable[[bytes], None] | None = None
        self._aside = bytearray()

    @property
    def is_open(self) -> bool:
        return self._open

    async def open(self) -> None:
        self._open = True
        self.opened += 1
        self._aside.clear()

    def write(self, data: bytes) -> None:
        self._gate(data)
        if not self._open:
            raise LinkDown("closed")
        self.sent.append(data)
        if came := self._reply(data):
            self.come(came)

    def come(self, data: bytes) -> None:
        """Bytes arrive."""
        if self._take is not None:
            self._take(data)
        else:
            self._aside += data

    def listen(self, take: Callable[[bytes], None] | None, lost: Callable[[str], None] | None) -> None:
        self._take = take

    def set_aside(self) -> bytes:
        aside = bytes(self._aside)
        self._aside.clear()
        return aside

    async def drain(self) -> None:
        await self.close()

    async def close(self) -> None:
        self._open = False
        self._aside.clear()
