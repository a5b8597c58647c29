"""A TCP endpoint: a device or gateway that speaks Modbus TCP or the TCP wrapper of DLMS, or a converter with a serial
line behind it.

Where there is no line, draining means dropping the connection: only a new stream is known to be empty. Behind a
converter there is a line with its silences; what was in the converter's hands when the line fell silent goes with its
connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from drivers.link.base import Link
from drivers.link.framing import Framing
from edge_agent.model import Ms
from edge_agent.ports import LinkDown


class TcpLink(Link):
    """One TCP endpoint; with a `framing` it is a converter, and the bytes are those of the line behind it."""

    may_go_deaf = True

    def __init__(
        self,
        host: str,
        port: int,
        *,
        now_ms: Callable[[], Ms],
        connect_timeout_s: float = 5.0,
        framing: Framing | None = None,
        echo: bool = False,
        kind: str = "modbus-tcp",
    ) -> None:
        super().__init__(f"{host}:{port}", "tcp-serial" if framing else kind, framing, now_ms=now_ms, echo=echo)
        self.host = host
        self.port = port
        self._connect_timeout_s = connect_timeout_s
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def gap_s(self) -> float | None:
        gap_s = super().gap_s
        return None if gap_s is None else 3 * gap_s  # a packet may be sent a second time on its way

    async def open(self) -> None:
        await self.close()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                transport, _ = await loop.create_connection(lambda: _Wire(self), self.host, self.port)
        except TimeoutError:
            await self.close()
            raise LinkDown(f"{self.name} does not answer a connection") from None
        except OSError as error:
            raise LinkDown(f"{self.name} {error.strerror or error}") from error
        wire = transport.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self.framing is not None:
            self._busy_until_s = loop.time()  # nothing is known of the line yet: it may be in mid-frame

    async def drain(self) -> None:
        await self.quiet()
        await self.close()

    async def close(self) -> None:
        transport, self._transport = self._transport, None
        self._forget()
        if transport is not None:
            transport.abort()  # nothing of ours is left to be sent, and a peer that hangs cannot hold us
            await asyncio.sleep(0)  # the loop closes the socket at its next turn

    def _send(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise LinkDown(f"{self.name} is closed")
        transport.write(data)


class _Wire(asyncio.Protocol):
    """One connection of a `TcpLink`; it speaks only as long as it is the link's current one."""

    def __init__(self, link: TcpLink) -> None:
        self._link = link
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._link._transport = self._transport

    def data_received(self, data: bytes) -> None:
        if self._transport is self._link._transport:
            self._link._came(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None and self._transport is self._link._transport:
            self._link._transport = None
            self._link._ended("ended the connection" if exc is None else f"broke: {exc}")
