"""telemetry.db for a verb: the intervals that were stored, while an agent may go on writing."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from edge_agent.store.errors import StoreMissing, StoreUnreadable
from edge_agent.store.schema import check_schema
from edge_agent.store.shapes import IntervalRow
from edge_agent.store.telemetry_db import LAST_MS, SCHEMA, TelemetryDb


class TelemetryReader:
    """Looks and changes nothing. Raises StoreError where the file does not let it."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise StoreMissing(path=str(path))
        self._path = path
        try:
            connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
            check_schema(connection, path, SCHEMA)
            self._db = TelemetryDb(path, connection)
        except sqlite3.Error as error:
            raise StoreUnreadable(path=str(path), reason=str(error)) from error

    def __enter__(self) -> TelemetryReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._db.close()

    def last(self, days: int, limit: int) -> list[IntervalRow]:
        """The intervals of the last so many days before the newest one, oldest first; by the store, not by a clock."""
        try:
            newest_ms = self._db.summary("").last_ms
            return self._db.intervals(max(0, newest_ms - days * 86_400_000), min(newest_ms, LAST_MS), limit)
        except sqlite3.Error as error:
            raise StoreUnreadable(path=str(self._path), reason=str(error)) from error
