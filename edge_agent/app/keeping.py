"""From an outcome of the core to one transaction of the store: findings, their tracks, the open intervals, together.

What only has to survive a crash (tracks, boundaries) is kept once a minute; what must reach the centre, at once. What
the store could not take is held here and handed over again: a finding is not lost because a disk was full for a while.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from edge_agent.app.boundaries import Latest, boundary_rows
from edge_agent.app.casing import Casing
from edge_agent.app.gathering import Gathering
from edge_agent.app.identity import Identity
from edge_agent.archive import Archive
from edge_agent.audit.lifecycle import Note
from edge_agent.audit.topic import Step
from edge_agent.audit.track import Phase, Track
from edge_agent.contract.demand import demand_row
from edge_agent.contract.finding import finding_letter
from edge_agent.contract.records import RegisterSaid, Suppressed, record_letter
from edge_agent.core import Core, CoreOutcome
from edge_agent.evidence.frozen import Frozen
from edge_agent.explain import action_of, reckoned
from edge_agent.image import Snapshot
from edge_agent.listing import sentence
from edge_agent.load.ledger import LoadLedger
from edge_agent.load.points import in_force
from edge_agent.load.views import Interval, RegisterEvent
from edge_agent.model import ClockState, DeviceSpec, Letter, Ms, PointId, Sealed, Severity
from edge_agent.store import IntervalRow, Store

log = structlog.get_logger()
Written = TypeVar("Written")
STATE_EVERY_MS = 60_000
"""A crash costs at most this much of sampled power; registers lose nothing."""

AGAIN_MS = 5_000
HELD_MAX = 2_000
"""Letters that wait in memory for a store that does not take them; more are counted and given up."""

EVIDENCE_HELD_MAX = 200
"""Frozen bundles that wait with them, some kilobytes each; a finding whose bundle was given up names its digest."""

KEEP_PERIODS = 3
WHOLE: tuple[str, ...] = ("gaps", "witness", "studies")
"""Of an entry of open intervals: what does not add to the entries before."""

ROWS = frozenset({"energy", "power"})
"""Of the ledger's share: what is taken up row by row."""

DEPTH = 3
"""The studies, one of them and what that keeps: so deep what is stored is written piece by piece."""


WITNESS_EVERY_MS = 600_000
"""What meters say happened, and what topics have learnt, is written when it changes, and so often anyway: before its
last entry is trimmed. A crash costs at most this much of a running sum; a day that was learnt is never lost."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one call handed to the store."""

    letters: tuple[Letter, ...]
    tracks: tuple[str, ...]
    ledger: tuple[tuple[str, bytes], ...]
    points: frozenset[PointId]
    urgent: bool
    beside: tuple[str, ...] = ()
    evidence: tuple[Frozen, ...] = ()


class Beside(Protocol):
    """State of others that is stored with the tracks, under `MARK` and one of its `names`."""

    @property
    def names(self) -> frozenset[str]: ...
    def take(self) -> Mapping[str, bytes]: ...
    def failed(self, keys: Sequence[str]) -> None: ...
    def restore(self, key: str, blob: bytes) -> None: ...


MARK = "~"


class Keeping:
    """Turns outcomes into letters and hands them over with the state they rest on.

    `committed` is called on the store's thread with the points whose findings are on the disk now: hand over only.
    """

    def __init__(
        self,
        core: Core,
        store: Store,
        archive: Archive,
        identity: Identity,
        *,
        latest: Latest | None = None,
        casing: Casing | None = None,
        devices: Iterable[DeviceSpec] = (),
        committed: Callable[[frozenset[PointId]], None] = lambda points: None,
    ) -> None:
        self._core = core
        self._store = store
        self._archive = archive
        self._identity = identity
        self._committed = committed
        self._latest: Latest = {} if latest is None else latest
        self._meters = {p.id: p.device for p in core.ledger.points}
        self._k = {p.id: p.k for p in core.ledger.points}
        longest_ms = max((p.period_ms for p in core.ledger.points), default=900_000)
        self._keep_ms = max(KEEP_PERIODS * longest_ms, 2 * WITNESS_EVERY_MS)
        self.gathering = Gathering(core, archive, self._latest, {d.id: d for d in devices})
        self._casing = casing
        self._evidence: list[Frozen] = []
        self._letters: list[Letter] = []
        self._points: frozenset[PointId] = frozenset()
        self._urgent = False
        self._dirty: dict[str, Track] = {}
        self._ledger: list[tuple[str, bytes]] = []  # state that failed to be stored, oldest first
        self._ledger_in_flight = False  # a second one could overtake the first
        self._entry = 0
        self._entries: deque[tuple[str, Ms]] = deque()
        self._state_bt: Ms | None = None
        self._witness_bt: Ms | None = None
        self._again_bt: Ms | None = None
        self._answers: deque[tuple[_Batch, BaseException | None]] = deque()  # filled on the store's thread
        self._lost = 0
        self.besides: list[Beside] = []
        self.trouble = ""
        """Why the store does not take findings, in words; empty while it does."""

    def take_lost(self) -> int:
        """Letters given up while the store failed, once it works again: told once."""
        lost, self._lost = (0, self._lost) if self.trouble else (self._lost, 0)
        return lost

    def restore(self) -> int:
        """Take up tracks and open intervals where the last commit left off; how many findings are open.

        What this version cannot read is dropped, with a word: the agent starts without it.
        """
        tracks: list[Track] = []
        for key, blob in self._store.load_tracks().items():
            try:
                if key.startswith(MARK):
                    for beside in self._beside(key):
                        beside.restore(key, blob)
                    continue
                plain = msgspec.msgpack.decode(blob)
                msgspec.convert(plain, Track)  # the types of its fields, which `from_plain` takes as they come
                tracks.append(Track.from_plain(plain))
            except (AttributeError, KeyError, TypeError, ValueError, msgspec.DecodeError) as wrong:
                log.warning("track dropped: not written by this version", track=key, cause=str(wrong))
        self._core.lifecycle.restore(tracks)
        self._restore_ledger(self._store.load_ledger())
        return sum(t.finding is not None and t.finding.active for t in tracks)

    def _restore_ledger(self, blobs: Sequence[bytes]) -> None:
        """Entry by entry: together they would be memory that the agent never gives back."""
        latest: dict[str, bytes] = {}
        deltas = self._deltas(blobs, latest)
        try:
            self._core.ledger.restore(deltas)
            self._core.gaps.restore(_written("gaps", latest, dict[str, Any]))
            self._core.witness.restore(_written("witness", latest, dict[str, Any]))
            for topic, raw in _written("studies", latest, dict[str, msgspec.Raw]).items():
                if self._core.studies.restore({topic: _unpacked(raw)}):
                    log.warning("study starts anew: its release or this version is another", topic=topic)
        except Exception as wrong:  # whatever a blob of another version leads to
            log.warning("open intervals dropped: not written by this version", cause=repr(wrong))
            self._core.ledger = LoadLedger(self._core.ledger.points)
            self._core.gaps.clear()
            self._core.witness.clear()
            self._core.studies.clear()
            deque(deltas, maxlen=0)  # those that are left have their numbers too

    def _deltas(self, blobs: Sequence[bytes], latest: dict[str, bytes]) -> Iterator[dict[str, Any]]:
        """What the ledger takes up, in order; for `latest`, the last blob with each of what is written whole."""
        for blob in blobs:
            try:
                delta = msgspec.msgpack.decode(zlib.decompress(blob), type=dict[str, msgspec.Raw])
                entry = msgspec.msgpack.decode(delta.pop("entry"), type=int) if "entry" in delta else 0
                rest = dict.fromkeys((name for name in WHOLE if delta.pop(name, None) is not None), blob)
                ledger = {n: _rows(raw) if n in ROWS else msgspec.msgpack.decode(raw) for n, raw in delta.items()}
                del delta
            except (zlib.error, msgspec.DecodeError) as wrong:
                log.warning("open intervals dropped", cause=str(wrong))
                continue
            self._entry = max(self._entry, entry)
            latest |= rest
            yield ledger

    def keep(self, outcome: CoreOutcome, snapshot: Snapshot, *, every_ms: Ms = STATE_EVERY_MS) -> None:
        """One tick's outcome; letters and state go into one transaction."""
        self._dirty |= outcome.changed
        rows = [row for i in outcome.closed if (row := self._row(i, snapshot.clock)) is not None]
        boundaries = boundary_rows(outcome.closed, self._meters, self._latest, snapshot.clock) if rows else []
        self.gathering.feed(outcome.closed, boundaries, snapshot.clock.quality)
        letters = [self._finding(s, snapshot) for s in outcome.steps]
        if self._casing is not None:
            letters += self._casing.letters(outcome.steps, snapshot)
        letters += [self._suppressed(n, snapshot) for n in outcome.notes]
        letters += [self._register(e, snapshot) for e in outcome.events]
        points = frozenset(s.point for s in outcome.steps if s.point)
        now_bt = snapshot.bt_ms
        self._take_answers(now_bt)  # alone they are no reason to write: each write is answered, and that once more
        if letters or self._due(now_bt, every_ms):
            self.write(letters, now_bt, points=points)
        if rows:
            self._store.add_intervals(rows, boundaries)  # telemetry: what is lost here, the store counts

    def write(self, letters: Sequence[Letter], now_bt: Ms, *, points: frozenset[PointId] = frozenset()) -> None:
        """Letters with all state that has changed: one transaction. While the store fails, they are held."""
        self._letters += letters
        self._points |= points
        self._urgent |= any(x.severity is Severity.CRITICAL for x in letters)
        self._take_answers(now_bt)
        if self._again_bt is None or now_bt >= self._again_bt:
            self._hand_over(now_bt, urgent=self._urgent)

    def finish(self, now_bt: Ms) -> None:
        """Everything once more, at once: the store is about to be closed."""
        self._take_answers(now_bt)
        self._ledger_in_flight = False  # what is on its way is written first, and this after it
        self._hand_over(now_bt, urgent=True)

    # -- inside -------------------------------------------------------------------------------------------------

    def _beside(self, key: str) -> list[Beside]:
        return [each for each in self.besides if key.removeprefix(MARK) in each.names]

    def _due(self, now_bt: Ms, every_ms: Ms) -> bool:
        if self._again_bt is not None:
            return now_bt >= self._again_bt
        return self._state_bt is None or now_bt - self._state_bt >= every_ms

    def _hand_over(self, now_bt: Ms, *, urgent: bool) -> None:
        ledger: list[tuple[str, bytes]] = []
        if not self._ledger_in_flight:
            ledger = [*self._ledger, self._delta(now_bt)]
            self._ledger, self._ledger_in_flight = [], True
        beside = {key: blob for each in self.besides for key, blob in each.take().items()}
        batch = _Batch(
            tuple(self._letters), tuple(self._dirty), tuple(ledger), self._points, urgent, tuple(beside),
            tuple(self._evidence),
        )  # fmt: skip
        tracks = {**{key: _track_blob(track) for key, track in self._dirty.items()}, **beside}
        self._letters, self._points, self._urgent, self._dirty, self._evidence = [], frozenset(), False, {}, []
        self._state_bt, self._again_bt = now_bt, None
        written = self._store.record(batch.letters, tracks, batch.ledger, urgent=urgent, evidence=batch.evidence)
        written.add_done_callback(partial(self._answered, batch))

    def _delta(self, now_bt: Ms) -> tuple[str, bytes]:
        """A numbered entry: not the clock, which may be set, says which are older."""
        self._entry += 1
        key = f"{self._entry:016d}"
        self._entries.append((key, now_bt))
        if self._entries[0][1] < now_bt - self._keep_ms:
            while self._entries[0][1] < now_bt - self._keep_ms:
                self._entries.popleft()
            self._store.trim_ledger(self._entries[0][0])  # the first time this drops those of the run before, too
        state: dict[str, Any] = {}
        witness, studies = self._core.witness, self._core.studies
        due = self._witness_bt is None or now_bt - self._witness_bt >= WITNESS_EVERY_MS
        if studies.changed or due:
            state["studies"] = lambda: studies.dump(lambda kept: kept)  # first in is last out, and made only then
        if witness.changed or due:
            state["witness"] = witness.dump()
            witness.changed = False
        state |= {"entry": self._entry, "gaps": self._core.gaps.dump(), **self._core.ledger.delta()}
        if due:
            self._witness_bt = now_bt
        squeeze = zlib.compressobj(1)  # a page of the database instead of three, once a minute
        pieces = [squeeze.compress(_head(len(state)))]
        while state:  # each share is let go of before the next
            name, value = state.popitem()
            pieces.append(squeeze.compress(msgspec.msgpack.encode(name)))
            pieces += map(squeeze.compress, _packed(value() if callable(value) else value, DEPTH))
        return key, b"".join((*pieces, squeeze.flush()))

    def _answered(self, batch: _Batch, done: Future[list[Sealed]]) -> None:
        """On the store's thread, or at once where it has ended: only hand over."""
        error = done.exception()
        self._answers.append((batch, error))
        if error is None and batch.letters:
            self._committed(batch.points)

    def _take_answers(self, now_bt: Ms) -> None:
        """What was stored is done with; what was not goes before what has come since."""
        failed: list[_Batch] = []
        cause: BaseException | None = None
        while self._answers:
            batch, error = self._answers.popleft()
            self._ledger_in_flight = self._ledger_in_flight and not batch.ledger
            if error is not None:
                failed.append(batch)
                cause = error
            elif self.trouble:
                log.info("store takes findings again", lost=self._lost)
                self.trouble = ""
        if cause is None:
            return
        self._letters = [x for batch in failed for x in batch.letters] + self._letters
        self._ledger = [x for batch in failed for x in batch.ledger] + self._ledger
        self._evidence = ([x for batch in failed for x in batch.evidence] + self._evidence)[:EVIDENCE_HELD_MAX]
        self._points = self._points.union(*(b.points for b in failed))
        self._urgent |= any(b.urgent for b in failed)
        tracks = self._core.lifecycle.tracks
        self._dirty |= {key: tracks[key] for b in failed for key in b.tracks if key in tracks}
        for key in {key for b in failed for key in b.beside}:
            for beside in self._beside(key):
                beside.failed([key])
        self._again_bt = now_bt + AGAIN_MS
        self._ledger = self._ledger[-KEEP_PERIODS * 60 :]
        if len(self._letters) > HELD_MAX:
            self._lost += len(self._letters) - HELD_MAX
            del self._letters[HELD_MAX:]
        says = sentence(cause)
        if says != self.trouble:
            log.error("store does not take findings; they are held", says=says, held=len(self._letters))
            self.trouble = says

    # -- letters ------------------------------------------------------------------------------------------------

    def _finding(self, step: Step, snapshot: Snapshot) -> Letter:
        point = self._archive.points.get(step.point)
        start_ms, end_ms = int(step.measured.get("start_ms", step.time_ms)), step.time_ms
        capacity = self._archive.capacity(step.point, start_ms, end_ms) if point is not None else None
        letter = finding_letter(
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
            reckoned=reckoned(step.measured.get("estimate")),
        )
        frozen = self.gathering.freeze(step, letter.data, snapshot.clock)
        if frozen is not None:
            self._evidence.append(frozen)
            letter.data["evidence"] = frozen.digest
        return letter

    def _suppressed(self, note: Note, snapshot: Snapshot) -> Letter:
        data = Suppressed(topic=note.topic, work_order=note.work_order, key=note.key or msgspec.UNSET)
        return self._record(data, f"{note.topic}/{note.key}/{note.work_order}", snapshot, note.point)

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
            coverage=demand.coverage if demand is not None else 0.0,
            active_w=demand.active if demand is not None else None,
            apparent_va=demand.apparent if demand is not None else None,
            quality=clock.quality,
        )
        return IntervalRow(interval.point, interval.start_ms, interval.end_ms, body)


def _head(items: int) -> bytes:
    """Of a mapping, as msgpack."""
    return b"\xdf" + items.to_bytes(4, "big")


def _packed(plain: Any, depth: int) -> Iterator[bytes]:
    """As msgpack, mappings of mappings piece by piece: all that is kept as plain values at once, and as bytes beside
    them, would be memory that the agent never gives back."""
    if depth == 0 or not isinstance(plain, Mapping):
        yield msgspec.msgpack.encode(plain)
        return
    yield _head(len(plain))
    for key, value in plain.items():
        yield msgspec.msgpack.encode(key)
        yield from _packed(value, depth - 1)


def _written(name: str, latest: Mapping[str, bytes], kind: type[Written]) -> Written:
    """From the last blob that has it, unpacked once more: until then the blobs are all that is in memory."""
    if name not in latest:
        return kind()
    plain = msgspec.msgpack.decode(zlib.decompress(latest[name]), type=dict[str, msgspec.Raw])
    return msgspec.msgpack.decode(plain[name], type=kind)


def _rows(raw: msgspec.Raw) -> Iterator[Any]:
    return map(msgspec.msgpack.decode, msgspec.msgpack.decode(raw, type=list[msgspec.Raw]))


def _unpacked(raw: msgspec.Raw) -> Any:
    """A study as it was stored, with what it keeps read piece by piece, for the same reason."""
    try:
        plain = msgspec.msgpack.decode(raw, type=dict[str, msgspec.Raw])
        return {n: _Pieces(r) if n == "kept" else msgspec.msgpack.decode(r) for n, r in plain.items()}
    except msgspec.ValidationError:  # whoever takes it up says that it is not written by this version
        return msgspec.msgpack.decode(raw)


class _Pieces(Mapping[str, Any]):
    """A stored mapping, each value read when it is looked at."""

    def __init__(self, raw: msgspec.Raw) -> None:
        self._raws = msgspec.msgpack.decode(raw, type=dict[str, msgspec.Raw])

    def __getitem__(self, key: str) -> Any:
        return msgspec.msgpack.decode(self._raws[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._raws)

    def __len__(self) -> int:
        return len(self._raws)


def _track_blob(track: Track) -> bytes | None:
    """None where nothing is left to remember."""
    idle = track.phase is Phase.QUIET and track.finding is None
    if idle and not any(c.windows or c.days or c.hold_from for c in track.levels):
        return None
    return msgspec.msgpack.encode(track.to_plain())
