"""A link whose far end is a function: for tests, and for trying a driver without a device."""

from __future__ import annotations

from collections.abc import Callable

from drivers.link.base import Link
from drivers.link.framing import Framing
from edge_agent.model import Ms
from edge_agent.ports import LinkDown


class MemoryLink(Link):
    """`reply` gives what the far end says to each question, at once; with a `framing` it is a serial line."""

    def __init__(
        self,
        reply: Callable[[bytes], bytes | None],
        *,
        framing: Framing | None = None,
        now_ms: Callable[[], Ms] = lambda: 0,
        echo: bool = False,
    ) -> None:
        super().__init__("memory", "serial" if framing else "modbus-tcp", framing, now_ms=now_ms, echo=echo)
        self.sent: list[bytes] = []
        self.opened = 0
        self._reply = reply
        self._open = False

    @property
    def is_open(self) -> bool:
        return self._open

    async def open(self) -> None:
        self._open = True
        self.opened += 1
        self._forget()

    async def close(self) -> None:
        self._open = False
        self._forget()

    async def drain(self) -> None:
        await self.quiet()
        if self.framing is None:
            await self.close()

    def come(self, data: bytes) -> None:
        """Bytes arrive."""
        self._came(data)

    def _send(self, data: bytes) -> None:
        if not self._open:
            raise LinkDown("memory is closed")
        self.sent.append(data)
        if came := self._reply(data):
            self._came(came)
