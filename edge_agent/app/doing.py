"""What each command of the centre leads to here. What this version cannot do is refused, never half done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from edge_agent.archive import Archive
from edge_agent.contract.commands import AnnounceWork, Command, ReadNow, Resend, SendEvidence, Span
from edge_agent.contract.demand import demand_message
from edge_agent.contract.evidence import pieces
from edge_agent.contract.records import Record, ServiceWindow
from edge_agent.contract.shapes import rfc3339
from edge_agent.evidence.document import shown_values
from edge_agent.evidence.frozen import Frozen
from edge_agent.model import DeviceId, Ms, Outcome, PointId, Sealed
from edge_agent.package import PackageRefused
from edge_agent.poller import Poller
from edge_agent.ports import Clock
from edge_agent.store import IntervalRow, Store

MESSAGES_MOST = 200
"""Messages that one command may send; the answer says how far they go, and the centre asks on."""

ROWS_MOST = 5_000
READ_WITHIN_S = 60.0


class DoingHere:
    """`send` takes messages with their topics below `up/`; False: too many wait already."""

    def __init__(
        self, store: Store, archive: Archive, clock: Clock, poller_of: Callable[[DeviceId], Poller | None],
        send: Callable[[Iterable[tuple[str, bytes]]], bool],
        announce: Callable[[AnnounceWork], ServiceWindow],
    ) -> None:  # fmt: skip
        self._store, self._archive, self._clock = store, archive, clock
        self._poller_of, self._send, self._announce = poller_of, send, announce

    async def check(self, command: Command) -> None:
        """Raises `PackageRefused` before anything is taken."""
        match command:
            case SendEvidence(finding=finding):
                if not await self._frozen(finding):
                    raise PackageRefused("unknown_finding", finding=finding)
            case ReadNow(point=point):
                if not self._devices(point):
                    raise PackageRefused("unknown_point", point=point)
            case Resend():
                if not await self._resent(command):
                    raise PackageRefused("nothing_there")
            case AnnounceWork():
                for point in command.points:
                    if point not in self._archive.points:
                        raise PackageRefused("unknown_point", point=point)
                try:
                    if _ms(command.from_) >= _ms(command.to):
                        raise PackageRefused("window")
                except ValueError as wrong:
                    raise PackageRefused("payload", cause=str(wrong)) from None
            case _:
                raise PackageRefused("not_here", what=type(command).__struct_config__.tag)

    def accept(self, command: Command) -> Sequence[Record]:
        """What counts from the moment at which it is taken, and what the chain says of it beside that it was."""
        return [self._announce(command)] if isinstance(command, AnnounceWork) else []

    async def do(self, command: Command) -> Mapping[str, Any]:
        """The fields of the answer. Raises `PackageRefused` and TimeoutError."""
        match command:
            case SendEvidence(finding=finding, n=step):
                frozen = [f for f in await self._frozen(finding) if not isinstance(step, int) or f.n == step]
                topic = f"evidence/{finding}"
                return self._out([(topic, m) for f in frozen for m in pieces(f.finding, f.n, f.digest, f.packed)])
            case ReadNow(point=point):
                async with asyncio.timeout(READ_WITHIN_S):
                    return await self._read(point)
            case Resend():
                messages, how_far = await self._resent(command) or ([], {})
                return {**self._out(messages), **how_far}
            case AnnounceWork():
                return {}
        raise PackageRefused("not_here", what=type(command).__struct_config__.tag)

    # -- inside -------------------------------------------------------------------------------------------------

    def _out(self, messages: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
        if not self._send(messages):
            raise PackageRefused("too_much_waits")
        return {"sent": len(messages)}

    async def _frozen(self, finding: str) -> list[Frozen]:
        frozen: list[Frozen] = await asyncio.wrap_future(self._store.evidence(finding))
        return frozen

    def _devices(self, point: PointId) -> list[DeviceId]:
        known = self._archive.points.get(point)
        named = [] if known is None else [known.meter, known.ct]
        return [d for d in named if d is not None and self._poller_of(d) is not None]

    async def _read(self, point: PointId) -> dict[str, Any]:
        shown: list[Outcome] = []
        for device in self._devices(point):
            poller = self._poller_of(device)
            assert poller is not None
            shown += await poller.read_now(device)
        values, frames, _ = shown_values(shown, self._clock.state())
        return {"readings": values, "frames": frames}

    async def _resent(self, command: Resend) -> tuple[list[tuple[str, bytes]], dict[str, Any]] | None:
        """Messages and how far they go; None where there is nothing of what is asked for."""
        messages: list[tuple[str, bytes]] = []
        how_far: dict[str, Any] = {}
        if isinstance(command.records, tuple):
            first, last = command.records
            # what the centre has not acknowledged is under way anyway, in its order
            last = min(last, first + MESSAGES_MOST - 1, self._store.stats().kept_upto)
            rows: list[Sealed] = await asyncio.wrap_future(self._store.sealed(first, last)) if first <= last else []
            messages += [(row.kind, row.body) for row in rows]
            how_far |= {"last": rows[-1].seq} if rows else {}
        if isinstance(command.intervals, Span):
            start_ms, end_ms = _ms(command.intervals.from_), _ms(command.intervals.to)
            blocks = await self._blocks(start_ms, end_ms)
            room = MESSAGES_MOST - len(messages)
            messages += [("demand", demand_message(s, e, [r.body for r in rows])) for s, e, rows in blocks[:room]]
            how_far |= {"until": rfc3339(blocks[:room][-1][1])} if blocks[:room] else {}
        return (messages, how_far) if messages else None

    async def _blocks(self, start_ms: Ms, end_ms: Ms) -> list[tuple[Ms, Ms, list[IntervalRow]]]:
        rows: list[IntervalRow] = await asyncio.wrap_future(self._store.intervals(start_ms, end_ms, ROWS_MOST))
        rows.sort(key=lambda r: (r.end_ms, r.start_ms, r.point))
        return [(s, e, list(g)) for (e, s), g in groupby(rows, key=lambda r: (r.end_ms, r.start_ms))]


def _ms(utc: str) -> Ms:
    return round(datetime.fromisoformat(utc).timestamp() * 1000)
