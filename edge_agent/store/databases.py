"""Both databases, and what the disk may do to them: full, read-only, failing, damaged. The one place that decides it.

No thread and no future here: the writer calls, and gets results or a StoreError, and then nothing was stored.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_agent.model import Ms
from edge_agent.store.errors import (
    StoreDamaged,
    StoreError,
    StoreFailing,
    StoreFull,
    StoreLocked,
    StoreUnwritable,
    primary_code,
)
from edge_agent.store.evidence_rows import shed_evidence
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
from edge_agent.store.shapes import DAY_MS, Limits, Renewed, Reopened, ReserveSpent, StoreEvent
from edge_agent.store.telemetry_db import TelemetryDb

LITTLE_BYTES = 64 * 1024
"""With less than this free, an I/O error is a full disk: the log's index file cannot grow."""

SHARED_MEMORY_BYTES = 32 * 1024
"""The least that a log's index takes."""


class Databases:
    """findings.db and telemetry.db, open and locked; belongs to one thread."""

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
        """Open both, made anew or rescued where that is needed. Raises StoreError; then nothing is held."""
        self._findings_path, self._telemetry_path = findings_path, telemetry_path
        self._seal, self._now_ms, self._boot = seal, now_ms, boot
        self._limits, self._report = limits, report
        self._failures: deque[float] = deque()
        self._stale = False
        self.reserve = Reserve(findings_path.with_name("findings.reserve"), limits.reserve_bytes)
        self.tend_soon = False
        """The reserve was spent or telemetry given up: look soon whether there is room again."""
        for directory in {self._findings_path.parent, self._telemetry_path.parent}:
            check_directory(directory)
        lock = StateLock(self._findings_path.with_name("agent.lock"))
        try:
            self.telemetry = self._opened_telemetry()
        except BaseException:
            lock.release()
            raise
        try:
            self.findings = open_findings(
                self._findings_path,
                seal=self._seal,
                now_ms=self._now_ms,
                limits=self._limits,
                boot=self._boot,
                classify=self.classify,
                make_space=self._make_space,
            )
        except BaseException:
            self.telemetry.close()
            lock.release()
            raise
        self._lock = lock
        self.reserve.take()

    def _opened_telemetry(self) -> TelemetryDb:
        return open_telemetry(
            self._telemetry_path,
            limits=self._limits,
            boot=self._boot,
            classify=self.classify,
            spend_reserve=self.reserve.spend,
            report=self._report,
        )

    def store(self, writes: Sequence[Callable[[FindingsDb], Any]]) -> list[Any]:
        """One transaction, with what the disk may do to it: raises a StoreError, and then nothing is stored."""
        reserve_spent = False
        while True:
            try:
                if self._stale:
                    self._reopen()
                results = self.findings.transact(writes)
            except sqlite3.Error as error:
                failure = self.classify(error, self._findings_path)
                # Never again on a handle whose sync failed: its pages may count as clean and not be stored.
                self._stale = primary_code(error) not in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}
                if isinstance(failure, StoreFull) and self.reserve.spend():
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
                    self.tend_soon = True
                return results

    def classify(self, error: sqlite3.Error, file: Path) -> StoreError:
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
            self.findings.close()
        self.findings = FindingsDb.open(
            self._findings_path, seal=self._seal, now_ms=self._now_ms, busy_s=self._limits.busy_s
        )
        self._stale = False

    def _make_space(self) -> bool:
        """Turn telemetry into space: day by day, and if that frees nothing all of it; False when there is none left."""
        directory = self._findings_path.parent
        before_bytes = free_bytes(directory)
        while self._shed("disk_full"):
            self.telemetry.give_back()
            if free_bytes(directory) > before_bytes + LITTLE_BYTES:
                return True
        if size_with_log(self._telemetry_path) < 2 * LITTLE_BYTES + SHARED_MEMORY_BYTES:
            return False
        # What is shed still lies in a log that the disk has no room to fold in.
        with suppress(sqlite3.Error):
            shed = self.telemetry.summary("disk_full")
            if shed.intervals:
                self._report(shed)
        self.telemetry.close()
        remove_database(self._telemetry_path)
        self._reopen_telemetry()
        return True

    def note(self, changes: Sequence[Callable[[TelemetryDb], Any]]) -> list[Any]:
        """One transaction of telemetry.db: each change's result, or the error that only concerns that change."""
        for last_try in (False, True):
            try:
                results = self._note(changes)
            except (sqlite3.Error, StoreDamaged) as error:
                failure = error if isinstance(error, StoreError) else self.classify(error, self._telemetry_path)
                if last_try or isinstance(failure, StoreLocked | StoreUnwritable):
                    results = [failure] * len(changes)
                    break
                if isinstance(failure, StoreFull):
                    self._shed("disk_full")
                elif isinstance(failure, StoreDamaged):
                    self.renew_telemetry(str(failure))
                else:
                    self._reopen_telemetry()
            else:
                break
        return results

    def _note(self, changes: Sequence[Callable[[TelemetryDb], Any]]) -> list[Any]:
        results: list[Any] = []
        try:
            self.telemetry.begin()
            for change in changes:
                try:
                    results.append(change(self.telemetry))
                except StoreError as error:  # of one row; a table made for it stays
                    results.append(error)
            self.telemetry.commit()
        except BaseException:
            self.telemetry.roll_back()
            raise
        return results

    def _shed(self, reason: str) -> bool:
        """Give up the oldest day of telemetry; False when there is none to give or the disk does not let us."""
        try:
            self.telemetry.begin()
            shed = self.telemetry.shed_oldest(reason)
            self.telemetry.commit()
        except sqlite3.Error:
            self.telemetry.roll_back()
            return False
        if shed is not None:
            self._report(shed)
        return shed is not None

    def renew_telemetry(self, why: str) -> None:
        self.telemetry.close()
        self._report(Renewed(put_aside(self._telemetry_path, self._boot), why))
        self._reopen_telemetry()

    def _reopen_telemetry(self) -> None:
        self.telemetry.close()
        with suppress(StoreError):  # it stays closed, fails what comes, and the next change tries again
            self.telemetry = self._opened_telemetry()

    def tend(self) -> None:
        """Trim, expire, shed what is over its quota, and set the reserve aside again."""
        self.tend_soon = False
        now_ms, limits = self._now_ms(), self._limits
        with suppress(StoreFull, StoreLocked, StoreUnwritable):  # it can wait, and the next finding will say it
            self._trim(now_ms - limits.kept_days * DAY_MS)
            evidence_bytes = round(limits.evidence_share * limits.findings_quota_bytes)
            self.store(
                [lambda db: shed_evidence(db.connection, now_ms - limits.evidence_days * DAY_MS, evidence_bytes)]
            )
            while self.findings.used_bytes() >= limits.near_share * limits.findings_quota_bytes and self._trim(None):
                pass
        try:
            self.telemetry.begin()
            self.telemetry.expire(now_ms - limits.telemetry_days * DAY_MS, now_ms - limits.registers_days * DAY_MS)
            self.telemetry.commit()
            while self.telemetry.used_bytes() > limits.telemetry_quota_bytes and self._shed("quota"):
                pass
        except sqlite3.Error:
            self.telemetry.roll_back()
        self.reserve.take()

    def _trim(self, older_than_ms: Ms | None) -> int:
        result = self.store([lambda db: db.trim(older_than_ms, self._limits.trim_rows)])[0]
        if isinstance(result, Exception):
            raise result
        return int(result)

    def close(self) -> None:
        self.findings.close()
        self.telemetry.close()

    def release(self) -> None:
        """Let the next agent in."""
        self._lock.release()
