"""The one thread that owns both databases.

Jobs come through one queue and are taken in order. Writes to findings.db are collected and committed together: when 64
letters wait, a second after the first, or at once for an urgent one; state without a letter may wait longer, telemetry
has its own, slower group. A future is answered after the commit that holds its write, never before. Questions are
answered from what is committed. What to do when the disk fails is here, and nowhere else.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from edge_agent.model import Ms
from edge_agent.store.errors import (
    StoreClosed,
    StoreDamaged,
    StoreError,
    StoreFailing,
    StoreFull,
    StoreLocked,
    StoreUnwritable,
    primary_code,
)
from edge_agent.store.files import (
    Reserve,
    StateLock,
    check_directory,
    free_bytes,
    is_read_only,
    put_aside,
    remove_database,
    size_with_log,
)
from edge_agent.store.findings_db import FindingsDb, Seal
from edge_agent.store.opening import open_findings, open_telemetry
from edge_agent.store.shapes import DAY_MS, Limits, Renewed, Reopened, ReserveSpent, Stats, StoreEvent
from edge_agent.store.statistics import stats_of
from edge_agent.store.telemetry_db import TelemetryDb

IDLE_S = 5.0
LITTLE_BYTES = 64 * 1024
"""With less than this free, an I/O error is a full disk: the log's index file cannot grow."""

SHARED_MEMORY_BYTES = 32 * 1024
"""The least that a log's index takes."""


@dataclass(slots=True)
class Write:
    """A change of findings.db."""

    apply: Callable[[FindingsDb], Any]
    wait_s: float
    letters: int = 0
    size: int = 0
    future: Future[Any] = field(default_factory=Future)


@dataclass(slots=True)
class TelemetryWrite:
    """A change of telemetry.db."""

    apply: Callable[[TelemetryDb], Any]
    rows: int
    future: Future[Any] = field(default_factory=Future)


@dataclass(slots=True)
class Question:
    """Something to be read from what is committed."""

    ask: Callable[[FindingsDb, TelemetryDb], Any]
    telemetry: bool = False
    future: Future[Any] = field(default_factory=Future)


@dataclass(slots=True)
class Tend:
    """Trim, expire, shed and set the reserve aside now."""

    future: Future[Any] = field(default_factory=Future)


@dataclass(slots=True)
class Stop:
    """Commit what waits, then end."""

    future: Future[Any] = field(default_factory=Future)


Job = Write | TelemetryWrite | Question | Tend | Stop


class Writer(threading.Thread):
    """Owns the databases from `opened` to the end; only `put`, `stats`, `head` and `waiting` are for other threads."""

    def __init__(
        self,
        findings_path: Path,
        telemetry_path: Path,
        *,
        seal: Seal,
        now_ms: Callable[[], Ms],
        limits: Limits,
        boot: str,
        report: Callable[[StoreEvent], None],
    ) -> None:
        super().__init__(name="store", daemon=True)
        self.opened: Future[None] = Future()
        self.stats: Stats | None = None
        self.epoch = ""
        self.head: tuple[int, str] = (0, "")
        self.waiting = 0
        self._findings_path, self._telemetry_path = findings_path, telemetry_path
        self._seal, self._now_ms, self._boot = seal, now_ms, boot
        self._limits, self._report = limits, report
        self._reserve = Reserve(findings_path.with_name("findings.reserve"), limits.reserve_bytes)
        self._lock: StateLock | None = None
        self._findings: FindingsDb  # both from `_open` on
        self._telemetry: TelemetryDb
        self._queue: SimpleQueue[Job] = SimpleQueue()
        self._gate = threading.Lock()
        self._ended: StoreError | None = None
        self._batch: list[Write] = []
        self._batch_due_s = float("inf")
        self._notes: list[TelemetryWrite] = []
        self._notes_due_s = float("inf")
        self._tend_due_s = 0.0
        self._stopping: Stop | None = None
        self._failures: deque[float] = deque()
        self._stale = False
        self._commits = 0
        self._changed = True

    def put(self, job: Job) -> Future[Any]:
        """Hand a job over. Once the writer has ended, the future holds the reason."""
        job.future.set_running_or_notify_cancel()  # from here on it cannot be cancelled: it may be on the disk already
        letters = job.letters if isinstance(job, Write) else 0
        with self._gate:
            if self._ended is None:
                self.waiting += letters
                self._queue.put(job)
                return job.future
        job.future.set_exception(self._ended)
        return job.future

    def stop(self) -> None:
        """End, and let the next agent in: a store that failed keeps the directory until its owner closes it."""
        self.put(Stop())
        self.join()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def run(self) -> None:
        try:
            self._open()
        except BaseException as error:
            self._ended = error if isinstance(error, StoreError) else StoreError(reason=repr(error))
            self.opened.set_exception(error)
            return
        self.opened.set_result(None)
        try:
            while self._stopping is None:
                self._turn()
            self._commit()
            self._commit_notes()
            reason: StoreError = StoreClosed()
        except StoreError as error:
            reason = error
        except BaseException as error:  # a bug here must not leave callers waiting for ever
            reason = StoreError(reason=repr(error))
        self._end(reason)

    # One turn: take what is there, commit what is due

    def _turn(self) -> None:
        now_s = time.monotonic()
        due_s = min(self._batch_due_s, self._notes_due_s, self._tend_due_s, now_s + IDLE_S)
        job = self._next(due_s - now_s)
        while job is not None:
            self._take(job)
            full = sum(w.letters for w in self._batch) >= self._limits.group_rows
            job = None if full or self._stopping else self._next(0)
        now_s = time.monotonic()
        if self._batch and (
            self._batch_due_s <= now_s
            or sum(w.letters for w in self._batch) >= self._limits.group_rows
            or sum(w.size for w in self._batch) >= self._limits.state_bytes
        ):
            self._commit()
        if self._notes and (
            self._notes_due_s <= now_s or sum(n.rows for n in self._notes) >= self._limits.pending_intervals
        ):
            self._commit_notes()
        if self._tend_due_s <= now_s:
            self._tend()
        self._publish()

    def _next(self, wait_s: float) -> Job | None:
        try:
            return self._queue.get(timeout=wait_s) if wait_s > 0 else self._queue.get_nowait()
        except Empty:
            return None

    def _take(self, job: Job) -> None:
        match job:
            case Write():
                self._batch.append(job)
                self._batch_due_s = min(self._batch_due_s, time.monotonic() + job.wait_s)
            case TelemetryWrite():
                self._notes.append(job)
                self._notes_due_s = min(self._notes_due_s, time.monotonic() + self._limits.telemetry_s)
            case Question():
                self._answer(job)
            case Tend():
                self._tend()
                job.future.set_result(None)
            case Stop():
                self._stopping = job

    def _answer(self, question: Question) -> None:
        try:
            question.future.set_result(question.ask(self._findings, self._telemetry))
        except StoreDamaged as error:
            question.future.set_exception(error)
            raise
        except sqlite3.Error as error:
            failure = self._classify(error, self._telemetry_path if question.telemetry else self._findings_path)
            question.future.set_exception(failure)
            if isinstance(failure, StoreDamaged):
                if not question.telemetry:
                    raise failure from error
                self._renew_telemetry(str(error))
        except Exception as error:
            question.future.set_exception(error)

    # findings.db

    def _commit(self) -> None:
        batch, self._batch, self._batch_due_s = self._batch, [], float("inf")
        if not batch:
            return
        try:
            results = self._store([write.apply for write in batch])
        except StoreError as error:
            self._settle(batch, [error] * len(batch))
            if isinstance(error, StoreDamaged | StoreFailing):
                raise
            return
        self._commits += 1
        self._changed = True
        self._publish()  # the head that a caller sees is never behind the answer that it got
        self._settle(batch, results)
        damage = next((r for r in results if isinstance(r, StoreDamaged)), None)
        if damage is not None:
            raise damage

    def _settle(self, batch: Sequence[Write | TelemetryWrite], results: Sequence[Any]) -> None:
        with self._gate:
            self.waiting -= sum(job.letters for job in batch if isinstance(job, Write))
        for job, result in zip(batch, results, strict=True):
            if isinstance(result, BaseException):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)

    def _store(self, writes: Sequence[Callable[[FindingsDb], Any]]) -> list[Any]:
        """One transaction, with what the disk may do to it: raises a StoreError, and then nothing is stored."""
        reserve_spent = False
        while True:
            try:
                if self._stale:
                    self._reopen()
                results = self._findings.transact(writes)
            except sqlite3.Error as error:
                failure = self._classify(error, self._findings_path)
                # Never again on a handle whose sync failed: its pages may count as clean and not be stored.
                self._stale = primary_code(error) not in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}
                if isinstance(failure, StoreFull) and self._reserve.spend():
                    reserve_spent = True
                    self._report(ReserveSpent(free_bytes(self._findings_path.parent)))
                elif isinstance(failure, StoreFull) and self._make_space():
                    pass
                elif isinstance(failure, StoreFailing):
                    self._count_failure(error)
                else:
                    raise failure from error
            else:
                if reserve_spent:  # only now: giving pages back needs space itself
                    self._make_space()
                    self._tend_due_s = min(self._tend_due_s, time.monotonic() + 60)
                return results

    def _classify(self, error: sqlite3.Error, file: Path) -> StoreError:
        path, reason, directory = str(file), str(error), file.parent
        match primary_code(error):
            case sqlite3.SQLITE_FULL:
                return StoreFull(path=path)
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return StoreLocked(path=path)
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_FORMAT:
                return StoreDamaged(path=path, reason=reason)
            case sqlite3.SQLITE_READONLY:
                return StoreUnwritable(path=path, reason=reason)
            case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PROTOCOL:
                if is_read_only(directory):
                    return StoreUnwritable(path=path, reason=reason)
                if free_bytes(directory) < LITTLE_BYTES:
                    return StoreFull(path=path)
                return StoreFailing(path=path, reason=reason)
            case _:
                return StoreError(path=path, reason=reason)

    def _count_failure(self, error: sqlite3.Error) -> None:
        now_s = time.monotonic()
        self._failures.append(now_s)
        while self._failures[0] < now_s - 3600:
            self._failures.popleft()
        if len(self._failures) >= self._limits.failures_per_hour:
            raise StoreFailing(path=str(self._findings_path), times=len(self._failures), reason=str(error)) from error
        self._report(Reopened(str(error), len(self._failures)))

    def _reopen(self) -> None:
        with suppress(sqlite3.Error):
            self._findings.close()
        self._findings = FindingsDb.open(
            self._findings_path, seal=self._seal, now_ms=self._now_ms, busy_s=self._limits.busy_s
        )
        self._stale = False

    def _make_space(self) -> bool:
        """Turn telemetry into space: day by day, and if that frees nothing all of it; False when there is none left."""
        directory = self._findings_path.parent
        before_bytes = free_bytes(directory)
        while self._shed("disk_full"):
            self._telemetry.give_back()
            if free_bytes(directory) > before_bytes + LITTLE_BYTES:
                return True
        if size_with_log(self._telemetry_path) < 2 * LITTLE_BYTES + SHARED_MEMORY_BYTES:
            return False
        # What is shed still lies in a log that the disk has no room to fold in.
        with suppress(sqlite3.Error):
            shed = self._telemetry.summary("disk_full")
            if shed.intervals:
                self._report(shed)
        with suppress(sqlite3.Error):
            self._telemetry.close()
        remove_database(self._telemetry_path)
        self._telemetry = self._opened_telemetry()
        return True

    # telemetry.db

    def _commit_notes(self) -> None:
        notes, self._notes, self._notes_due_s = self._notes, [], float("inf")
        if not notes:
            return
        for last_try in (False, True):
            try:
                results = self._note([note.apply for note in notes])
            except (sqlite3.Error, StoreDamaged) as error:
                failure = error if isinstance(error, StoreError) else self._classify(error, self._telemetry_path)
                if last_try or isinstance(failure, StoreLocked | StoreUnwritable):
                    results = [failure] * len(notes)
                    break
                if isinstance(failure, StoreFull):
                    self._shed("disk_full")
                elif isinstance(failure, StoreDamaged):
                    self._renew_telemetry(str(failure))
                elif isinstance(failure, StoreFailing):
                    with suppress(sqlite3.Error):
                        self._telemetry.close()
                    self._telemetry = self._opened_telemetry()
            else:
                break
        self._changed = True
        self._publish()
        self._settle(notes, results)

    def _note(self, changes: Sequence[Callable[[TelemetryDb], Any]]) -> list[Any]:
        results: list[Any] = []
        try:
            self._telemetry.begin()
            for change in changes:
                try:
                    results.append(change(self._telemetry))
                except StoreError as error:  # of one row; a table made for it stays
                    results.append(error)
            self._telemetry.commit()
        except BaseException:
            self._telemetry.roll_back()
            raise
        return results

    def _shed(self, reason: str) -> bool:
        """Give up the oldest day of telemetry; False when there is none to give or the disk does not let us."""
        try:
            self._telemetry.begin()
            shed = self._telemetry.shed_oldest(reason)
            self._telemetry.commit()
        except sqlite3.Error:
            self._telemetry.roll_back()
            return False
        if shed is not None:
            self._report(shed)
        return shed is not None

    def _renew_telemetry(self, why: str) -> None:
        with suppress(sqlite3.Error):
            self._telemetry.close()
        self._report(Renewed(put_aside(self._telemetry_path, self._boot), why))
        self._telemetry = self._opened_telemetry()

    # Housekeeping

    def _tend(self) -> None:
        self._tend_due_s = time.monotonic() + self._limits.tend_s
        now_ms, limits = self._now_ms(), self._limits
        with suppress(StoreFull, StoreLocked, StoreUnwritable):  # it can wait, and the next finding will say it
            self._store([lambda db: db.trim(now_ms - limits.kept_days * DAY_MS, limits.trim_rows)])
            while self._findings.used_bytes() >= limits.near_share * limits.findings_quota_bytes:
                if not self._store([lambda db: db.trim(None, limits.trim_rows)])[0]:
                    break
        try:
            self._telemetry.begin()
            self._telemetry.expire(now_ms - limits.telemetry_days * DAY_MS, now_ms - limits.registers_days * DAY_MS)
            self._telemetry.commit()
            while self._telemetry.used_bytes() > limits.telemetry_quota_bytes and self._shed("quota"):
                pass
        except sqlite3.Error:
            self._telemetry.roll_back()
        self._reserve.take()
        self._changed = True
        self._publish()

    def _publish(self) -> None:
        meta = self._findings.meta
        self.epoch, self.head = meta.epoch, (meta.head_seq, meta.head.hex())
        if self.stats is not None and not self._changed:
            self.stats = self.stats.beating(time.monotonic(), self.waiting)
            return
        self._changed = False
        with suppress(sqlite3.Error):
            self.stats = stats_of(
                self._findings,
                self._telemetry,
                self._limits,
                pending=self.waiting,
                reserve_held=self._reserve.held,
                commits=self._commits,
                beat_s=time.monotonic(),
            )
        if self.stats is not None and self.stats.findings_near_quota and meta.kept_upto > meta.base_seq:
            self._tend_due_s = min(self._tend_due_s, time.monotonic() + 60)

    # Beginning and end

    def _open(self) -> None:
        for directory in {self._findings_path.parent, self._telemetry_path.parent}:
            check_directory(directory)
        lock = StateLock(self._findings_path.with_name("agent.lock"))
        try:
            self._telemetry = self._opened_telemetry()
        except BaseException:
            lock.release()
            raise
        try:
            self._findings = open_findings(
                self._findings_path,
                seal=self._seal,
                now_ms=self._now_ms,
                limits=self._limits,
                boot=self._boot,
                classify=self._classify,
                make_space=self._make_space,
            )
        except BaseException:
            self._telemetry.close()
            lock.release()
            raise
        self._lock = lock
        self._reserve.take()
        self._tend_due_s = time.monotonic() + min(60.0, self._limits.tend_s)
        self._publish()

    def _opened_telemetry(self) -> TelemetryDb:
        return open_telemetry(
            self._telemetry_path,
            limits=self._limits,
            boot=self._boot,
            classify=self._classify,
            spend_reserve=self._reserve.spend,
            report=self._report,
        )

    def _end(self, reason: StoreError) -> None:
        """Answer everything that still waits, and let go of the files."""
        with self._gate:
            self._ended = reason
        left: list[Job] = [*self._batch, *self._notes]
        while (job := self._next(0)) is not None:
            left.append(job)
        if self.stats is not None:
            self.stats = self.stats.ended("" if isinstance(reason, StoreClosed) else reason.code)
        for database in (self._findings, self._telemetry):
            with suppress(sqlite3.Error):
                database.close()
        for job in left:
            if isinstance(job, Stop):
                job.future.set_result(None)
            else:
                job.future.set_exception(reason)
        if self._stopping is not None:
            self._stopping.future.set_result(None)
