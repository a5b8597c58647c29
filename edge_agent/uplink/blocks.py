"""Which demand blocks may go: newest first, a gateway-specific while after their end, none twice at a time.

A row is on its way from its publish until the store has noted it as sent; until then the store still offers it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from edge_agent.uplink.backoff import Bucket

Ms = int

IN_FLIGHT = 10
PER_S = 10.0
BURST = 20.0
PAUSE_MS = 60_000


class Row(Protocol):
    """One point's closed interval, as the store keeps it."""

    @property
    def point(self) -> str: ...
    @property
    def start_ms(self) -> Ms: ...
    @property
    def end_ms(self) -> Ms: ...
    @property
    def body(self) -> bytes: ...


class Block(NamedTuple):
    """Rows of the same interval: one message."""

    start_ms: Ms
    end_ms: Ms
    rows: tuple[Any, ...]


class Blocks:
    """What of the telemetry is on its way, and what may follow."""

    def __init__(self, spread_ms: Ms, now_ms: Ms) -> None:
        self._spread_ms = spread_ms
        self._bucket = Bucket(PER_S, BURST, now_ms)
        self._out: set[tuple[str, Ms, bytes]] = set()
        self._flying = 0
        self._paused_until_ms: Ms = 0

    @property
    def out(self) -> int:
        """Rows on their way: the store offers them still."""
        return len(self._out)

    def room(self, spare: int, now_ms: Ms) -> int:
        """How many blocks may go now, of `spare` free places in the window."""
        if now_ms < self._paused_until_ms:
            return 0
        return max(0, min(spare, IN_FLIGHT - self._flying, self._bucket.available(now_ms) or 0))

    def ready(self, rows: Iterable[Row], utc_ms: Ms, room: int) -> list[Block]:
        """At most `room` blocks of these rows, newest first."""
        found: dict[tuple[Ms, Ms], list[Row]] = {}
        for row in rows:
            if row.end_ms + self._spread_ms <= utc_ms and _key(row) not in self._out:
                found.setdefault((row.end_ms, row.start_ms), []).append(row)
        newest = sorted(found, reverse=True)[:room]
        return [Block(start_ms, end_ms, tuple(found[end_ms, start_ms])) for end_ms, start_ms in newest]

    def sent(self, block: Block) -> None:
        self._flying += 1
        self._bucket.take()
        self._out.update(map(_key, block.rows))

    def refused(self, block: Block, now_ms: Ms) -> None:
        """The broker does not want it: it goes again after a pause."""
        self._landed()
        self._paused_until_ms = now_ms + PAUSE_MS
        self._out.difference_update(map(_key, block.rows))

    def done(self) -> None:
        """The broker has it; the store has yet to note it."""
        self._landed()

    def noted(self, rows: Sequence[Row]) -> None:
        self._out.difference_update(map(_key, rows))

    def lost(self, blocks: Iterable[Block]) -> None:
        """The connection ended with these in flight."""
        self._flying = 0
        for block in blocks:
            self._out.difference_update(map(_key, block.rows))

    def _landed(self) -> None:
        self._flying = max(0, self._flying - 1)


def _key(row: Row) -> tuple[str, Ms, bytes]:
    return row.point, row.end_ms, row.body
