"""The store for verbs that run without an agent: looks, changes nothing, and waits for nobody.

Opened read-only through the log, never as immutable: without its log the file is not what was committed.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from edge_agent.evidence import ChainReport, verify
from edge_agent.evidence.frozen import Frozen
from edge_agent.store.errors import StoreDamaged, StoreLocked, StoreMissing, StoreUnreadable, means_damage, primary_code
from edge_agent.store.evidence_rows import evidence_of
from edge_agent.store.listing import bodies, bodies_of, finding_bodies, latest_cases, latest_steps
from edge_agent.store.rows import Meta, meta_of
from edge_agent.store.schema import SCHEMA, check_schema
from edge_agent.store.shapes import FindingRow


class StoreReader:
    """findings.db as it is committed, for one thread. Every method raises StoreError where the file does not let it."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise StoreMissing(path=str(path))
        self._path = path
        try:
            self._connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
        except sqlite3.Error as error:
            raise _meaning(error, path) from error
        try:
            check_schema(self._connection, path, SCHEMA)
            self.meta = self._read_meta()
        except sqlite3.Error as error:
            self._connection.close()
            raise _meaning(error, path) from error
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> StoreReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def epoch(self) -> str:
        return self.meta.epoch

    def head(self) -> tuple[int, str]:
        return self.meta.head_seq, self.meta.head.hex()

    def findings(self, limit: int = 10_000) -> list[FindingRow]:
        """The latest step of each finding, newest first."""
        try:
            return latest_steps(finding_bodies(self._connection), limit)
        except sqlite3.Error as error:
            raise _meaning(error, self._path) from error

    def steps(self, finding: str) -> list[bytes]:
        """The messages of one finding as they were sent, oldest first; none for an id that is not known."""
        try:
            return bodies_of(self._connection, finding)
        except sqlite3.Error as error:
            raise _meaning(error, self._path) from error

    def bodies(self, kind: str, part: str = "") -> list[bytes]:
        """Every message of a kind whose id has `part` in it, as it was sent, oldest first."""
        try:
            return bodies(self._connection, kind, part)
        except sqlite3.Error as error:
            raise _meaning(error, self._path) from error

    def track(self, key: str) -> bytes | None:
        """What the agent stored under that name; None where it has nothing."""
        try:
            row = self._connection.execute("SELECT blob FROM tracks WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise _meaning(error, self._path) from error
        return None if row is None else bytes(row[0])

    def cases(self) -> list[dict[str, Any]]:
        """The last case told of each point: the `data` of its message."""
        try:
            return latest_cases(self._connection)
        except sqlite3.Error as error:
            raise _meaning(error, self._path) from error

    def evidence(self, finding: str) -> list[Frozen]:
        """The frozen facts of each step of a finding, by step; none for an id that is not known."""
        try:
            return evidence_of(self._connection, finding)
        except sqlite3.Error as error:
            raise _meaning(error, self._path) from error

    def verify(self) -> ChainReport:
        """Walk the whole chain, from where it was trimmed to its head."""
        try:
            self._connection.execute("BEGIN")  # the agent may go on writing: head and records of one instant
            self.meta = self._read_meta()
            rows = self._connection.execute("SELECT seq, body, hash FROM chain ORDER BY seq")
            meta = self.meta
            return verify(rows, after=(meta.base_seq, meta.base), head=(meta.head_seq, meta.head))
        except sqlite3.Error as error:
            raise _meaning(error, self._path) from error
        finally:
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()

    def _read_meta(self) -> Meta:
        rows = self._connection.execute("SELECT * FROM meta").fetchall()
        meta = meta_of(rows[0][1:]) if len(rows) == 1 else None
        if meta is None:
            raise StoreDamaged(path=str(self._path), reason="the meta row does not pass its check")
        return meta


def _meaning(error: sqlite3.Error, path: Path) -> StoreDamaged | StoreLocked | StoreUnreadable:
    if means_damage(error) or primary_code(error) in {0, sqlite3.SQLITE_ERROR}:
        return StoreDamaged(path=str(path), reason=str(error))
    if primary_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreLocked(path=str(path))
    return StoreUnreadable(path=str(path), reason=str(error))
