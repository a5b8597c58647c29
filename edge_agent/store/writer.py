"""The one thread that owns both databases.

Jobs come through one queue and are taken in order. Writes to findings.db are collected and committed together: when 64
letters wait, a second after the first, or at once for an urgent one; state without a letter may wait longer, telemetry
has its own, slower group. A future is answered after the commit that holds its write, never before. Questions are
answered from what is committed.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from edge_agent.store.databases import Databases
from edge_agent.store.errors import StoreClosed, StoreDamaged, StoreError, StoreFailing
from edge_agent.store.jobs import Job, Question, Stop, TelemetryWrite, Tend, Write
from edge_agent.store.shapes import Limits, Stats
from edge_agent.store.statistics import stats_of

IDLE_S = 5.0
SOON_S = 60.0
NEVER_S = float("inf")


class Writer(threading.Thread):
    """Owns the databases from `opened` to the end; other threads use `put`, `stop` and the public attributes."""

    def __init__(self, open_databases: Callable[[], Databases], limits: Limits) -> None:
        super().__init__(name="store", daemon=True)
        self.opened: Future[None] = Future()
        self.stats: Stats | None = None
        self.epoch = ""
        self.head: tuple[int, str] = (0, "")
        self.waiting = 0
        self._open_databases = open_databases
        self._limits = limits
        self._databases: Databases  # from `opened` on
        self._queue: SimpleQueue[Job] = SimpleQueue()
        self._gate = threading.Lock()
        self._ended: StoreError | None = None
        self._batch: list[Write] = []
        self._batch_due_s = NEVER_S
        self._notes: list[TelemetryWrite] = []
        self._notes_due_s = NEVER_S
        self._tend_due_s = NEVER_S
        self._stopping: Stop | None = None
        self._commits = 0
        self._changed = True

    def put(self, job: Job) -> Future[Any]:
        """Hand a job over. Once the writer has ended, the future holds the reason."""
        job.future.set_running_or_notify_cancel()  # from here on it cannot be cancelled: it may be on the disk already
        with self._gate:
            if self._ended is None:
                self.waiting += job.letters if isinstance(job, Write) else 0
                self._queue.put(job)
                return job.future
        job.future.set_exception(self._ended)
        return job.future

    def stop(self) -> None:
        """End, and let the next agent in: a store that failed keeps the directory until its owner closes it."""
        if self._ended is None:
            self.put(Stop())
        self.join()
        self._databases.release()

    def run(self) -> None:
        try:
            self._databases = self._open_databases()
        except BaseException as error:
            self._ended = error if isinstance(error, StoreError) else StoreError(reason=repr(error))
            self.opened.set_exception(error)
            return
        self._tend_due_s = time.monotonic() + min(SOON_S, self._limits.tend_s)
        self._publish()
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
            job = None if self._letters() >= self._limits.group_rows or self._stopping else self._next(0)
        now_s = time.monotonic()
        if (
            self._batch_due_s <= now_s
            or self._letters() >= self._limits.group_rows
            or sum(write.size for write in self._batch) >= self._limits.state_bytes
        ):
            self._commit()
        if self._notes_due_s <= now_s or sum(note.rows for note in self._notes) >= self._limits.pending_intervals:
            self._commit_notes()
        if self._tend_due_s <= now_s:
            self._tend()
        self._publish()

    def _letters(self) -> int:
        return sum(write.letters for write in self._batch)

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
        databases = self._databases
        try:
            question.future.set_result(question.ask(databases.findings, databases.telemetry))
        except StoreDamaged as error:
            question.future.set_exception(error)
            raise
        except sqlite3.Error as error:
            database = databases.telemetry if question.telemetry else databases.findings
            failure = databases.classify(error, database.path)
            question.future.set_exception(failure)
            if isinstance(failure, StoreDamaged):
                if not question.telemetry:
                    raise failure from error
                databases.renew_telemetry(str(error))
        except Exception as error:
            question.future.set_exception(error)

    def _commit(self) -> None:
        batch, self._batch, self._batch_due_s = self._batch, [], NEVER_S
        if not batch:
            return
        try:
            results = self._databases.store([write.apply for write in batch])
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

    def _commit_notes(self) -> None:
        notes, self._notes, self._notes_due_s = self._notes, [], NEVER_S
        if notes:
            results = self._databases.note([note.apply for note in notes])
            self._changed = True
            self._publish()
            self._settle(notes, results)

    def _tend(self) -> None:
        self._tend_due_s = time.monotonic() + self._limits.tend_s
        self._databases.tend()
        self._changed = True
        self._publish()

    def _settle(self, jobs: Sequence[Write | TelemetryWrite], results: Sequence[Any]) -> None:
        with self._gate:
            self.waiting -= sum(job.letters for job in jobs if isinstance(job, Write))
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, BaseException):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)

    def _publish(self) -> None:
        databases = self._databases
        meta = databases.findings.meta
        self.epoch, self.head = meta.epoch, (meta.head_seq, meta.head.hex())
        if self.stats is not None and not self._changed:
            self.stats = self.stats.beating(time.monotonic(), self.waiting)
            return
        self._changed = False
        with suppress(sqlite3.Error):
            self.stats = stats_of(
                databases.findings,
                databases.telemetry,
                self._limits,
                pending=self.waiting,
                reserve_held=databases.reserve.held,
                commits=self._commits,
                beat_s=time.monotonic(),
            )
        squeeze = self.stats is not None and self.stats.findings_near_quota and meta.kept_upto > meta.base_seq
        if squeeze or databases.tend_soon:
            self._tend_due_s = min(self._tend_due_s, time.monotonic() + SOON_S)

    def _end(self, reason: StoreError) -> None:
        """Answer everything that still waits, and let go of the files."""
        with self._gate:
            self._ended = reason
        left: list[Job] = [*self._batch, *self._notes]
        while (job := self._next(0)) is not None:
            left.append(job)
        if self.stats is not None:
            self.stats = self.stats.ended("" if isinstance(reason, StoreClosed) else reason.code)
        self._databases.close()
        for job in left:
            if isinstance(job, Stop):
                job.future.set_result(None)
            else:
                job.future.set_exception(reason)
        if self._stopping is not None:
            self._stopping.future.set_result(None)
