"""A broker that does as it is told: it refuses, keeps silent, answers late or with garbage.

Just enough MQTT to be spoken to; it shares no code with any library. A test sets `connack`, `puback` and the rest
before or while the client is there, and looks at `published`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 1, 2, 3, 4, 8, 9, 12, 13, 14


class Published(NamedTuple):
    topic: str
    payload: bytes
    qos: int
    retain: bool
    mid: bytes


class Connect(NamedTuple):
    version: int
    client_id: str
    clean: bool
    keepalive_s: int
    properties: bytes


class FakeBroker:
    """One listening port; every knob may be turned at any time."""

    def __init__(self) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.connack: list[int] = []  # codes to answer with, one per connect; 0 when they are used up
        self.connack_properties = b""
        self.puback: Callable[[int, Published], int | None] = lambda _n, _p: 0  # None: no answer
        self.puback_after_s = 0.0
        self.suback = 0x01
        self.silent = False  # takes everything and answers nothing, like a connection that is half open
        self.greeting: bytes | None = None  # sent to whoever connects, in place of MQTT
        self.connects: list[Connect] = []
        self.published: list[Published] = []
        self.subscribed: list[str] = []
        self.disconnects: list[bytes] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, self.host, self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Every connection ends now."""
        for writer in list(self._writers):
            writer.transport.abort()

    def say(self, packet: bytes) -> None:
        """Send these bytes to every client that is there."""
        for writer in self._writers:
            writer.write(packet)

    def publish(self, topic: str, payload: bytes, *, version: int = 5) -> None:
        body = _text(topic) + (b"\x00" if version == 5 else b"") + payload
        self.say(packet(PUBLISH << 4, body))

    @property
    def chain(self) -> list[Published]:
        return [p for p in self.published if p.topic.endswith(("/up/record", "/up/finding"))]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            if self.greeting is not None:
                writer.write(self.greeting)
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._talk(reader, writer)
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version = 5
        while True:
            kind, flags, body = await _read(reader)
            if self.greeting is not None:
                continue
            if kind == CONNECT:
                connect = _connect(body)
                version = connect.version
                self.connects.append(connect)
                code = self.connack.pop(0) if self.connack else 0
                if self.silent:
                    continue
                properties = _length(len(self.connack_properties)) + self.connack_properties if version == 5 else b""
                writer.write(packet(CONNACK << 4, bytes((0, code)) + properties))
                if code:
                    return
            elif kind == PUBLISH:
                await self._take(writer, flags, body, version)
            elif self.silent:
                continue
            elif kind == SUBSCRIBE:
                at = 3 if version == 5 else 2
                size = int.from_bytes(body[at : at + 2], "big")
                self.subscribed.append(body[at + 2 : at + 2 + size].decode())
                tail = b"\x00" if version == 5 else b""
                writer.write(packet(SUBACK << 4, body[:2] + tail + bytes((self.suback,))))
            elif kind == PINGREQ:
                writer.write(packet(PINGRESP << 4, b""))
            elif kind == DISCONNECT:
                self.disconnects.append(body)
                return

    async def _take(self, writer: asyncio.StreamWriter, flags: int, body: bytes, version: int) -> None:
        qos, retain = flags >> 1 & 3, bool(flags & 1)
        size = int.from_bytes(body[:2], "big")
        topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
        mid, rest = (rest[:2], rest[2:]) if qos else (b"", rest)
        payload = rest[1:] if version == 5 else rest  # no properties are sent
        message = Published(topic, payload, qos, retain, mid)
        self.published.append(message)
        if qos == 0 or self.silent:
            return
        reason = self.puback(len(self.published), message)
        if reason is None:
            return
        if self.puback_after_s:
            await asyncio.sleep(self.puback_after_s)
        writer.write(packet(PUBACK << 4, mid + (bytes((reason,)) + b"\x00" if version == 5 else b"")))


@asynccontextmanager
async def fake() -> AsyncIterator[FakeBroker]:
    broker = FakeBroker()
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


def packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + _length(len(body)) + body


def _length(size: int) -> bytes:
    out = bytearray()
    while True:
        size, low = divmod(size, 128)
        out.append(low | (0x80 if size else 0))
        if not size:
            return bytes(out)


def _text(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw


async def _read(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    first = (await reader.readexactly(1))[0]
    size = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        size |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    return first >> 4, first & 0x0F, await reader.readexactly(size)


def _connect(body: bytes) -> Connect:
    version, flags, keepalive_s = body[6], body[7], int.from_bytes(body[8:10], "big")
    at = 10
    properties = b""
    if version == 5:
        properties = body[11 : 11 + body[10]]
        at = 11 + body[10]
    size = int.from_bytes(body[at : at + 2], "big")
    return Connect(version, body[at + 2 : at + 2 + size].decode(), bool(flags & 2), keepalive_s, properties)
