"""DLMS meters behind a TCP port: the wrapper's header says which client asks which of them.

A header that is none ends the connection. So does silence for longer than the inactivity time-out of the meters.
Source: IEC 62056-47 (DLMS UA 1000-2, chapter 7).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping, Sequence

from simulator.clock import Ms
from simulator.dlms.codec import HEADER, VERSION, wrapped
from simulator.dlms.meter import DlmsMeter
from simulator.faults import Fault, FaultKind


class DlmsPort:
    """One TCP port with its meters by SAP. `unknown` counts APDUs to meters that are not there: they meet silence."""

    def __init__(self, meters: Mapping[int, DlmsMeter], *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.meters = dict(meters)
        self.host = host
        self.port = port
        self.unknown = 0
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        for meter in self.meters.values():
            meter.holding.neighbours = self._assigned

    async def start(self) -> None:
        """Listen; `port` 0 becomes the one that the system gave. Raises OSError where the port is taken."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for connection in list(self.connections):
                connection.drop()
            await self._server.wait_closed()
            self._server = None

    @property
    def inactivity_s(self) -> int:
        """The shortest of the meters' time-outs; 0: none of them ever hangs up."""
        limits_s = (meter.holding.plate.inactivity_s for meter in self.meters.values())
        return min((limit_s for limit_s in limits_s if limit_s), default=0)

    def _assigned(self, at_ms: Ms) -> Sequence[tuple[int, bytes]]:
        return [(sap, meter.holding.ldn(at_ms)) for sap, meter in sorted(self.meters.items())]


class _Connection(asyncio.Protocol):
    """APDUs are answered in order of arrival; only a late answer is overtaken."""

    def __init__(self, port: DlmsPort) -> None:
        self._port = port
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._port.connections.add(self)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._idle is not None:
            self._idle.cancel()
        self._port.connections.discard(self)
        for meter in self._port.meters.values():
            meter.closed(self)

    def data_received(self, data: bytes) -> None:
        self._wait()
        received = self._received + data
        while len(received) >= HEADER:
            version, source, destination, length = struct.unpack_from(">HHHH", received)
            if version != VERSION:
                self.hang_up()
                return
            if len(received) < HEADER + length:
                break
            apdu, received = received[HEADER : HEADER + length], received[HEADER + length :]
            self._ask(source, destination, apdu)
            if self._transport is None:
                return
        self._received = received

    def hang_up(self) -> None:
        """Close as one closes: what was said before arrives."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def drop(self) -> None:
        """Close with a reset: what was written and not yet sent is lost."""
        if self._transport is None:
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
        self._transport = None

    def _wait(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if limit_s := self._port.inactivity_s:
            self._idle = self._loop.call_later(limit_s, self.hang_up)

    def _ask(self, client: int, sap: int, apdu: bytes) -> None:
        meter = self._port.meters.get(sap)
        if meter is None:
            self._port.unknown += 1
            return
        answer = meter.answer(client, apdu, self, self._loop.time())
        if answer.hangs_up:
            self.hang_up()
        elif answer.apdu:
            self._say(answer.apdu, answer.fault, sap, client)

    def _say(self, apdu: bytes, fault: Fault | None, sap: int, client: int) -> None:
        frame = wrapped(sap, client, apdu)
        match None if fault is None else fault.kind:
            case FaultKind.SILENCE:
                return
            case FaultKind.LATE:
                assert fault is not None
                self._loop.call_later(fault.delay_ms / 1000, self._send, frame)
            case FaultKind.WRONG_UNIT:
                self._send(wrapped(sap + 1, client, apdu))
            case FaultKind.RESET:
                self.drop()
            case FaultKind.HALF_FRAME:
                self._send(frame[: len(frame) // 2])
                # After the bytes have left: a reset at once would take them back.
                self._loop.call_later(0.02, self.drop)
            case FaultKind.SPLIT:
                for i in range(len(frame)):
                    self._loop.call_later(0.001 * i, self._send, frame[i : i + 1])
            case _:
                self._send(frame)

    def _send(self, frame: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)
