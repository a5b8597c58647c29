"""Meters that cost as little as meters can: every question is answered with the same registers at once.

    python -m tests.bench.answers CONNECTIONS

They listen on one port for so many connections, and say it on a line of their own. Any unit answers.
"""

from __future__ import annotations

import asyncio
import sys

from tests.bench import REGISTERS
from tests.bench.answered import QUESTION, WORDS
from tests.bench.processes import room_for_files

_LENGTH = (3 + 2 * REGISTERS).to_bytes(2, "big")
_COUNT = bytes((2 * REGISTERS,))


class Meter(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._came = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        came = self._came + data
        while len(came) >= QUESTION:
            self._transport.write(came[:4] + _LENGTH + came[6:8] + _COUNT + WORDS)
            came = came[QUESTION:]
        self._came = came


async def main() -> None:
    room_for_files(int(sys.argv[1]))
    server = await asyncio.get_running_loop().create_server(Meter, "127.0.0.1", 0, backlog=int(sys.argv[1]))
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
