"""A serial link on something that carries bytes: a simulated line instead of a port.

A carrier is not imported but recognised by what it does:

    start(on_bytes: Callable[[bytes], None], on_lost: Callable[[str], None])    open, or open again; OSError: cannot
    write(data: bytes)                                                         returns at once; OSError: cannot
    close()

Both callbacks come on the event loop's thread. `on_bytes` gets bytes no earlier than they would have arrived on the
wire; `on_lost` says why nothing can come any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from drivers.link.base import Link
from drivers.link.framing import framing_of
from edge_agent.model import LinkSpec, Ms
from edge_agent.ports import LinkDown


class Carrier(Protocol):
    """What carries the bytes."""

    def start(self, on_bytes: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None: ...

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class CarrierLink(Link):
    """A serial line in memory, paced by whoever carries it."""

    def __init__(self, carrier: Carrier, spec: LinkSpec, *, now_ms: Callable[[], Ms]) -> None:
        framing = framing_of(spec)
        if framing is None:
            raise ValueError(f"link {spec.id}: a carrier carries a serial line, not {spec.kind}")
        super().__init__(spec.id, spec.kind, framing, now_ms=now_ms, echo=spec.echo)
        self._carrier = carrier
        self._open = False

    @property
    def is_open(self) -> bool:
        return self._open

    async def open(self) -> None:
        await self.close()
        try:
            self._carrier.start(self._came, self._broke)
        except OSError as error:
            raise LinkDown(f"{self.name} {error.strerror or error}") from error
        self._open = True
        self._busy_until_s = asyncio.get_running_loop().time()

    async def close(self) -> None:
        if self._open:
            self._open = False
            self._carrier.close()
        self._forget()

    def _send(self, data: bytes) -> None:
        if not self._open:
            raise LinkDown(f"{self.name} is closed")
        try:
            self._carrier.write(data)
        except OSError as error:
            raise LinkDown(f"{self.name} {error.strerror or error}") from error

    def _broke(self, why: str) -> None:
        self._open = False
        self._ended(why)
