"""From an outcome of the core to one transaction of the store: findings, their tracks, the open intervals, together.

What only has to survive a crash (tracks, boundaries) is kept once a minute; what must reach the centre, at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import msgspec
import structlog

from edge_agent.app.identity import Identity
from edge_agent.archive import Archive
from edge_agent.audit.lifecycle import Note
from edge_agent.audit.topic import Step
from edge_agent.audit.track import Phase, Track
from edge_agent.contract.demand import demand_row
from edge_agent.contract.finding import finding_letter
from edge_agent.contract.records import RegisterSaid, Suppressed, record_letter
from edge_agent.core import Core, CoreOutcome
from edge_agent.explain import action_of
from edge_agent.image import Snapshot
from edge_agent.load.points import in_force
from edge_agent.load.views import Demand, Interval, RegisterEvent
from edge_agent.model import ClockState, Letter, Ms, Sealed, Severity
from edge_agent.store import IntervalRow, Store

log = structlog.get_logger()
STATE_EVERY_MS = 60_000
"""A crash costs at most this much of sampled power; registers lose nothing."""

KEEP_PERIODS = 3


@dataclass(slots=True)
class Kept:
    """What one call handed to the store: wait for `sealed` before anyone is told."""

    sealed: Future[list[Sealed]] | None
    points: frozenset[str]


class Keeping:
    """Turns outcomes into letters and hands them over with the state they rest on."""

    def __init__(self, core: Core, store: Store, archive: Archive, identity: Identity) -> None:
        self._core = core
        self._store = store
        self._archive = archive
        self._identity = identity
        self._dirty: dict[str, Track] = {}
        self._state_ms: Ms = 0
        self._k = {p.id: p.k for p in core.ledger.points}
        self._keep_ms = KEEP_PERIODS * max((p.period_ms for p in core.ledger.points), default=900_000)

    def restore(self) -> int:
        """Take up tracks and open intervals where the last commit left off; how many findings are open."""
        tracks: list[Track] = []
        for key, blob in self._store.load_tracks().items():
            try:
                tracks.append(Track.from_plain(msgspec.msgpack.decode(blob)))
            except (KeyError, TypeError, ValueError, msgspec.DecodeError) as wrong:
                log.warning("track dropped: not written by this version", track=key, cause=str(wrong))
        self._core.lifecycle.restore(tracks)
        deltas = []
        for blob in self._store.load_ledger():
            try:
                deltas.append(msgspec.msgpack.decode(blob))
            except msgspec.DecodeError as wrong:
                log.warning("open intervals dropped", cause=str(wrong))
        self._core.ledger.restore(deltas)
        return sum(t.finding is not None and t.finding.active for t in tracks)

    def keep(self, outcome: CoreOutcome, snapshot: Snapshot, *, every_ms: Ms = STATE_EVERY_MS) -> Kept:
        """One tick's outcome; letters and state go into one transaction."""
        self._dirty |= outcome.changed
        if outcome.closed:
            self._store.add_intervals([row for i in outcome.closed if (row := self._row(i, snapshot.clock))])
        letters = [self._finding(s, snapshot) for s in outcome.steps]
        letters += [self._suppressed(n, snapshot) for n in outcome.notes]
        letters += [self._register(e, snapshot) for e in outcome.events]
        now_ms = snapshot.now_ms or 0
        if not letters and now_ms - self._state_ms < every_ms:
            return Kept(None, frozenset())
        sealed = self.write(letters, now_ms, urgent=any(x.severity is Severity.CRITICAL for x in letters))
        return Kept(sealed if letters else None, frozenset(s.point for s in outcome.steps if s.point))

    def write(self, letters: Sequence[Letter], now_ms: Ms, *, urgent: bool = False) -> Future[list[Sealed]]:
        """Letters with all state that has changed: one transaction."""
        tracks = {key: _track_blob(track) for key, track in self._dirty.items()}
        self._dirty = {}
        self._state_ms = now_ms
        key = f"{now_ms:016d}"
        delta = msgspec.msgpack.encode(self._core.ledger.delta())
        written = self._store.record(letters, tracks, [(key, delta)], urgent=urgent)
        self._store.trim_ledger(f"{max(0, now_ms - self._keep_ms):016d}")
        return written

    # -- letters ------------------------------------------------------------------------------------------------

    def _finding(self, step: Step, snapshot: Snapshot) -> Letter:
        point = self._archive.points.get(step.point)
        start_ms, end_ms = int(step.measured.get("start_ms", step.time_ms)), step.time_ms
        capacity = self._archive.capacity(step.point, start_ms, end_ms) if point is not None else None
        return finding_letter(
            step,
            site=self._identity.site,
            point=point,
            archive_version=self._archive.version,
            clock=snapshot.clock,
            boot_id=self._identity.boot_id,
            bt_ms=snapshot.bt_ms,
            capacity=capacity,
            k=in_force(self._k.get(step.point, ()), end_ms),
            action=action_of(step.topic),
        )

    def _suppressed(self, note: Note, snapshot: Snapshot) -> Letter:
        data = Suppressed(topic=note.topic, work_order=note.work_order, key=note.key or msgspec.UNSET)
        return self._record(data, f"{note.topic}/{note.key}/{note.work_order}/{note.time_ms}", snapshot, note.point)

    def _register(self, event: RegisterEvent, snapshot: Snapshot) -> Letter:
        data = RegisterSaid(
            device=event.device,
            quantity=event.quantity.value,
            what=event.kind,  # type: ignore[arg-type]
            before=event.before,
            after=event.after,
            confirmed=event.confirmed,
            serial_known=event.serial_known,
        )
        return self._record(data, f"{event.device}/{event.quantity}/{event.after_ms}", snapshot, event.point)

    def _record(self, data: Suppressed | RegisterSaid, id_: str, snapshot: Snapshot, point: str) -> Letter:
        return record_letter(
            data,
            id=id_,
            site=self._identity.site,
            clock=snapshot.clock,
            boot_id=self._identity.boot_id,
            bt_ms=snapshot.bt_ms,
            point=point,
        )

    def _row(self, interval: Interval, clock: ClockState) -> IntervalRow | None:
        """A closed block as it is sent; sliding windows and means over several are not telemetry."""
        if not interval.block or interval.count > 1:
            return None
        demand = interval.register or interval.sampled
        body = demand_row(
            interval.point,
            source=demand.source.value if demand is not None else "",
            coverage=interval.coverage,
            active_w=demand.active if demand is not None else None,
            apparent_va=_apparent(demand),
            quality=clock.quality,
        )
        return IntervalRow(interval.point, interval.start_ms, interval.end_ms, body)


async def committed(sealed: Future[list[Sealed]]) -> list[Sealed]:
    """Wait, without blocking the loop, until letters are on disk."""
    return await asyncio.wrap_future(sealed)


def _apparent(demand: Demand | None) -> tuple[float, float, float] | None:
    return None if demand is None else demand.apparent


def _track_blob(track: Track) -> bytes | None:
    """None where nothing is left to remember."""
    idle = track.phase is Phase.QUIET and track.finding is None
    if idle and not any(c.windows or c.days or c.hold_from for c in track.levels):
        return None
    return msgspec.msgpack.encode(track.to_plain())


__all__ = ["Keeping", "Kept", "Mapping", "committed"]
