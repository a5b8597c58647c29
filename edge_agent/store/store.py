"""What the agent sees of its store. Every method may be called from any thread and returns at once.

A future is answered after the commit that holds its write. One that fails means that nothing of that call was stored:
make the call again, letters are stored once by their id. Answers come on the store's own thread, so a callback on a
future only hands over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from edge_agent.evidence.frozen import Frozen
from edge_agent.model import Letter, Ms, Sealed
from edge_agent.store.databases import Databases
from edge_agent.store.errors import StoreBusy, StoreClosed
from edge_agent.store.evidence_rows import evidence_of
from edge_agent.store.findings_db import Seal
from edge_agent.store.jobs import Question, TelemetryWrite, Tend, Write
from edge_agent.store.listing import bodies, bodies_of, finding_bodies, latest_steps
from edge_agent.store.read_only import StoreReader
from edge_agent.store.salvage import SALVAGE_NOTE, read_note
from edge_agent.store.shapes import (
    AckOutcome,
    BoundaryRow,
    FindingRow,
    IntervalRow,
    Limits,
    Salvaged,
    Stats,
    StoreEvent,
)
from edge_agent.store.telemetry_db import TelemetryDb
from edge_agent.store.writer import Writer


class Store:
    """findings.db and telemetry.db behind their one writer thread."""

    def __init__(self, writer: Writer, limits: Limits, salvaged: Salvaged | None) -> None:
        self._writer = writer
        self._limits = limits
        self.salvaged = salvaged
        """What a damaged store was rescued to, until `salvaged_told`: the material of a chain record."""

    @classmethod
    def open(
        cls,
        findings_path: Path,
        telemetry_path: Path,
        *,
        seal: Seal,
        now_ms: Callable[[], Ms],
        limits: Limits | None = None,
        boot: str = "unknown",
        report: Callable[[StoreEvent], None] = lambda event: None,
    ) -> Store:
        """Open, check, and rescue or make what is damaged or missing; blocks until done.

        `now_ms` is UTC, 0 while unknown: it stamps and ages rows, nothing else. `boot` names a damaged file that is put
        aside. `report` is called on the store's thread and only hands over. Raises StoreError.
        """
        limits = limits or Limits()
        opening = partial(
            Databases,
            findings_path,
            telemetry_path,
            seal=seal,
            now_ms=now_ms,
            limits=limits,
            boot=boot,
            report=report,
        )
        writer = Writer(opening, limits)
        writer.start()
        writer.opened.result()
        note = writer.put(Question(lambda findings, _: findings.note(SALVAGE_NOTE))).result()
        return cls(writer, limits, read_note(note))

    @staticmethod
    def read_only(path: Path) -> StoreReader:
        """findings.db for a verb without an agent. Raises StoreError."""
        return StoreReader(path)

    @property
    def epoch(self) -> str:
        return self._writer.epoch

    def head(self) -> tuple[int, str]:
        """The last number committed and the chain's head after it, in hex."""
        return self._writer.head

    # The chain

    def record(
        self,
        letters: Sequence[Letter],
        tracks: Mapping[str, bytes | None] | None = None,
        ledger: Sequence[tuple[str, bytes]] = (),
        *,
        urgent: bool = False,
        evidence: Sequence[Frozen] = (),
    ) -> Future[list[Sealed]]:
        """Store letters, tracks (None deletes), ledger entries and frozen evidence in one transaction.

        Answers one Sealed per letter; a letter whose id is stored already answers as it was stored then. Without a
        letter the state may wait for the next commit, or `state_s`.
        """
        letters, tracks, ledger = tuple(letters), dict(tracks or {}), tuple(ledger)
        evidence = tuple(evidence)
        if letters and self._writer.waiting + len(letters) > self._limits.pending_letters:
            return _failed(StoreBusy(waiting=self._writer.waiting))
        wait_s = 0.0 if urgent else self._limits.group_s if letters else self._limits.state_s
        size = sum(len(blob or b"") for blob in tracks.values()) + sum(len(blob) for _, blob in ledger)
        size += sum(len(frozen.packed) for frozen in evidence)
        write = Write(lambda db: db.record(letters, tracks, ledger, evidence), wait_s, len(letters), size)
        return self._writer.put(write)

    def unsent(self, after_seq: int = 0, limit: int = 200) -> Future[list[Sealed]]:
        """The oldest committed records past `after_seq` that the centre has not acknowledged; no dead letters."""
        return self._writer.put(Question(lambda findings, _: findings.unsent(after_seq, limit)))

    def sealed(self, first: int, last: int) -> Future[list[Sealed]]:
        """Records by number, both ends included, acknowledged or not; trimmed ones are left out."""
        return self._writer.put(Question(lambda findings, _: findings.sealed(first, last)))

    def kept(self, epoch: str, upto: int, head_hex: str) -> Future[AckOutcome]:
        """The centre has everything up to `upto`; counts only if it is our epoch and our head."""
        return self._writer.put(Write(lambda db: db.kept(epoch, upto, head_hex), self._limits.group_s))

    def dead(self, seqs: Sequence[int], reason: str = "nacked") -> Future[None]:
        """The centre refused these: keep them as dead letters with the reason, send them no more."""
        seqs = tuple(seqs)
        return self._writer.put(Write(lambda db: db.dead(seqs, reason), self._limits.group_s))

    def findings(self, limit: int = 200) -> Future[list[FindingRow]]:
        """The latest step of each of the newest findings, newest first."""
        return self._writer.put(Question(lambda findings, _: latest_steps(finding_bodies(findings.connection), limit)))

    def steps(self, finding: str) -> Future[list[bytes]]:
        """The messages of one finding as they were sent, oldest first; none for an id that is not known."""
        return self._writer.put(Question(lambda findings, _: bodies_of(findings.connection, finding)))

    def bodies(self, kind: str, part: str = "") -> Future[list[bytes]]:
        """Every message of a kind whose id has `part` in it, as it was sent, oldest first."""
        return self._writer.put(Question(lambda findings, _: bodies(findings.connection, kind, part)))

    def evidence(self, finding: str) -> Future[list[Frozen]]:
        """The frozen facts of each step of a finding, by step; none for an id that is not known."""
        return self._writer.put(Question(lambda findings, _: evidence_of(findings.connection, finding)))

    def salvaged_told(self) -> Future[None]:
        """The rescue is in the chain now: `salvaged` is None from the next start on."""
        return self._writer.put(Write(lambda db: db.forget_note(SALVAGE_NOTE), self._limits.group_s))

    # The evaluator's state; both read what is committed, and block

    def load_tracks(self) -> dict[str, bytes]:
        return dict(self._writer.put(Question(lambda findings, _: findings.tracks())).result())

    def load_ledger(self) -> list[bytes]:
        return list(self._writer.put(Question(lambda findings, _: findings.ledger())).result())

    def trim_ledger(self, before_key: str) -> Future[int]:
        """Drop entries whose key sorts before this one; how many."""
        return self._writer.put(Write(lambda db: db.trim_ledger(before_key), self._limits.state_s))

    # Telemetry

    def add_intervals(self, rows: Iterable[IntervalRow], boundaries: Iterable[BoundaryRow] = ()) -> Future[int]:
        """Store closed intervals, and the registers at their boundaries; how many intervals are new or changed."""
        rows, boundaries = tuple(rows), tuple(boundaries)
        return self._writer.put(TelemetryWrite(lambda db: db.add(rows, boundaries), len(rows) + len(boundaries)))

    def unsent_intervals(self, limit: int) -> Future[list[IntervalRow]]:
        """Committed intervals that are not marked as sent, newest first."""
        return self._ask_telemetry(lambda db: db.unsent(limit))

    def mark_sent(self, rows: Iterable[IntervalRow]) -> Future[None]:
        """These bytes were sent; a row that was replaced meanwhile stays unsent."""
        rows = tuple(rows)
        return self._writer.put(TelemetryWrite(lambda db: db.mark_sent(rows), len(rows)))

    def intervals(self, start_ms: Ms, end_ms: Ms, limit: int) -> Future[list[IntervalRow]]:
        """Intervals that end in (start, end], sent or not, oldest first."""
        return self._ask_telemetry(lambda db: db.intervals(start_ms, end_ms, limit))

    def boundaries(self, device: str, start_ms: Ms, end_ms: Ms) -> Future[list[BoundaryRow]]:
        """The registers of a device at boundaries in [start, end], oldest first."""
        return self._ask_telemetry(lambda db: db.boundaries(device, start_ms, end_ms))

    # The store itself

    def stats(self) -> Stats:
        """The figures as of the last commit; `beat_s` tells that the writer lives."""
        stats = self._writer.stats
        if stats is None:
            raise StoreClosed()
        return stats

    def tend(self) -> Future[None]:
        """Trim, expire and shed now instead of within the hour."""
        return self._writer.put(Tend())

    def close(self) -> None:
        """Commit what waits and let go of the files; blocks. Closing twice is no error."""
        self._writer.stop()

    def _ask_telemetry(self, ask: Callable[[TelemetryDb], object]) -> Future[list]:  # type: ignore[type-arg]
        return self._writer.put(Question(lambda _, telemetry: ask(telemetry), telemetry=True))


def _failed(error: StoreBusy) -> Future[list[Sealed]]:
    future: Future[list[Sealed]] = Future()
    future.set_exception(error)
    return future
