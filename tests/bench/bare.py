"""The least that can read the same registers at the same rate: asyncio, one frame out, one frame in, nothing decoded.

    python -m tests.bench.bare UNITS PORT [PORT ...]

One port: all units behind it, one after the other. Several: unit 1 of each, side by side.
"""

from __future__ import annotations

import asyncio
import sys
import time

from tests.bench import REGISTERS

ANSWER = 9 + 2 * REGISTERS


class Reader(asyncio.Protocol):
    """One connection, one question at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._came = b""
        self._answered: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._came += data
        if len(self._came) >= ANSWER and self._answered is not None:
            self._answered.set_result(self._came)
            self._came = b""

    async def ask(self, unit: int) -> bytes:
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(b"\0\1\0\0\0\6" + bytes((unit, 3, 0, 0, 0, REGISTERS)))
        return await self._answered


async def read(port: int, units: int) -> None:
    _, reader = await asyncio.get_running_loop().create_connection(Reader, "127.0.0.1", port)
    while True:
        await asyncio.sleep(1 - time.time() % 1)
        for unit in range(1, units + 1):
            await reader.ask(unit)


async def main() -> None:
    units, *ports = map(int, sys.argv[1:])
    await asyncio.gather(*(read(port, units if len(ports) == 1 else 1) for port in ports))


if __name__ == "__main__":
    asyncio.run(main())
