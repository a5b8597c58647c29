"""telemetry.db: closed intervals and the registers at their boundaries, one table per UTC day.

Everything here can be made again or be done without: commits are not synced, a day is dropped whole, and a damaged file
is put aside and made anew. A row is identified by (point, end of interval); storing it again changes nothing, storing
other bytes for it replaces it and sends it again. Each row carries a check: one that fails it is never served.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.model import Ms
from edge_agent.store.errors import StoreDamaged, StoreError, means_damage, primary_code
from edge_agent.store.files import connect
from edge_agent.store.rows import row_check
from edge_agent.store.schema import check_schema, write_schema
from edge_agent.store.shapes import DAY_MS, BoundaryRow, IntervalRow, Shed

PRAGMAS = (
    "page_size = 4096; synchronous = NORMAL; wal_autocheckpoint = 250; cache_size = -512;"
    "temp_store = MEMORY; mmap_size = 0; cell_size_check = ON; trusted_schema = OFF; secure_delete = OFF;"
    "journal_size_limit = 1048576"
)
"""secure_delete OFF: what is dropped need not be overwritten first."""

NEW = "auto_vacuum = INCREMENTAL;"
"""Set once, when the file is made: a shed day can give its space back to the disk."""

SCHEMA = 1
DAYS_CHECKED = 2
"""At the opening the newest days are checked page by page; older ones when they are read."""

LAST_MS = 253_402_300_799_999
"""The end of the year 9999: the last day that a table can be named after."""

INTERVALS, REGISTERS = "intervals", "registers"


class TelemetryDb:
    """The open database; belongs to one thread."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self.damaged_rows = 0
        self._tables: set[str] = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }

    @classmethod
    def open(cls, path: Path, *, busy_s: float) -> TelemetryDb:
        """Open or make. Raises StoreDamaged, StoreNewer, or sqlite3.Error for whatever is no damage."""
        connection: sqlite3.Connection | None = None
        try:
            made_now = not path.exists() or path.stat().st_size == 0
            connection = connect(path, busy_s=busy_s, pragmas=NEW + PRAGMAS if made_now else PRAGMAS)
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                connection.execute("BEGIN IMMEDIATE")
                write_schema(connection, SCHEMA)
                connection.execute("COMMIT")
            check_schema(connection, path, SCHEMA)
            db = cls(path, connection)
            for day in [*db.days()[-DAYS_CHECKED:], *db.days(REGISTERS)[-DAYS_CHECKED:]]:
                verdict = connection.execute(f"PRAGMA quick_check('{day}')").fetchone()[0]
                if verdict != "ok":
                    raise StoreDamaged(path=str(path), reason=str(verdict))
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.Error) and (means_damage(error) or primary_code(error) in {0, 1}):
                raise StoreDamaged(path=str(path), reason=str(error)) from error
            raise
        return db

    def add(self, intervals: Iterable[IntervalRow], boundaries: Iterable[BoundaryRow]) -> int:
        """Store inside the open transaction; how many intervals are new or changed."""
        changed = 0
        for point, start_ms, end_ms, body in intervals:
            table = self._table(INTERVALS, end_ms)
            changed += self.connection.execute(
                f"INSERT INTO {table} (point, end_ms, start_ms, sent, body, chk) VALUES (?, ?, ?, 0, ?, ?)"
                " ON CONFLICT (point, end_ms) DO UPDATE"
                " SET start_ms = excluded.start_ms, sent = 0, body = excluded.body, chk = excluded.chk"
                " WHERE chk <> excluded.chk OR body <> excluded.body",
                (point, end_ms, start_ms, body, row_check(INTERVALS, point, start_ms, end_ms, body)),
            ).rowcount
        for device, at_ms, body in boundaries:
            table = self._table(REGISTERS, at_ms)
            self.connection.execute(
                f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?)",
                (device, at_ms, body, row_check(REGISTERS, device, at_ms, body)),
            )
        return changed

    def mark_sent(self, rows: Iterable[IntervalRow]) -> None:
        """Mark exactly these bytes as sent: a row that was replaced meanwhile stays unsent."""
        for point, _, end_ms, body in rows:
            table = _day_table(INTERVALS, end_ms)
            if table in self._tables:
                self.connection.execute(
                    f"UPDATE {table} SET sent = 1 WHERE point = ? AND end_ms = ? AND body = ?", (point, end_ms, body)
                )

    def unsent(self, limit: int) -> list[IntervalRow]:
        """Newest first."""
        found: list[IntervalRow] = []
        for day in reversed(self.days()):
            if len(found) >= limit:
                break
            rows = self.connection.execute(
                f"SELECT point, start_ms, end_ms, body, chk FROM {day} WHERE sent = 0 ORDER BY end_ms DESC, point"
                " LIMIT ?",
                (limit - len(found),),
            )
            found.extend(self._proved(rows))
        return found

    def intervals(self, start_ms: Ms, end_ms: Ms, limit: int) -> list[IntervalRow]:
        """Those that end after `start_ms` and no later than `end_ms`, oldest first."""
        found: list[IntervalRow] = []
        first, last = _nearest_day(INTERVALS, start_ms + 1), _nearest_day(INTERVALS, end_ms)
        for day in self.days():
            if first <= day <= last and len(found) < limit:
                rows = self.connection.execute(
                    f"SELECT point, start_ms, end_ms, body, chk FROM {day} WHERE end_ms > ? AND end_ms <= ?"
                    " ORDER BY end_ms, point LIMIT ?",
                    (start_ms, end_ms, limit - len(found)),
                )
                found.extend(self._proved(rows))
        self.connection.execute("PRAGMA shrink_memory")  # pages that nobody reads again
        return found

    def boundaries(self, device: str, start_ms: Ms, end_ms: Ms) -> list[BoundaryRow]:
        """The registers of a device at the boundaries from start to end, both included, oldest first."""
        found: list[BoundaryRow] = []
        first, last = _nearest_day(REGISTERS, start_ms), _nearest_day(REGISTERS, end_ms)
        for day in self.days(REGISTERS):
            if first <= day <= last:
                for at_ms, body, chk in self.connection.execute(
                    f"SELECT at_ms, body, chk FROM {day} WHERE device = ? AND at_ms BETWEEN ? AND ? ORDER BY at_ms",
                    (device, start_ms, end_ms),
                ):
                    if row_check(REGISTERS, device, at_ms, body) == chk:
                        found.append(BoundaryRow(device, at_ms, body))
                    else:
                        self.damaged_rows += 1
        return found

    def expire(self, intervals_before_ms: Ms, registers_before_ms: Ms) -> int:
        """Drop the oldest day of each kind if all of it is past its time; how many days went.

        One at a time: a clock that jumps ahead for an hour costs a day and not a year.
        """
        dropped = 0
        for kind, before_ms in ((INTERVALS, intervals_before_ms), (REGISTERS, registers_before_ms)):
            for day in self.days(kind)[:1]:
                if day < _nearest_day(kind, before_ms):
                    self._drop(day)
                    dropped += 1
        return dropped

    def shed_oldest(self, reason: str) -> Shed | None:
        """Give up the oldest day of intervals; None when only the newest is left."""
        days = self.days()
        if len(days) < 2:
            return None
        shed = self._summary(days[:1], reason)
        self._drop(days[0])
        registers = days[0].replace(INTERVALS, REGISTERS)
        if registers in self._tables:
            self._drop(registers)
        return shed

    def summary(self, reason: str) -> Shed:
        """Everything here, as it would be reported if it were shed."""
        return self._summary(self.days(), reason)

    def give_back(self) -> None:
        """Hand free pages back to the disk, as far as the disk lets us."""
        with suppress(sqlite3.Error):
            self.connection.execute("PRAGMA incremental_vacuum").fetchall()
        with suppress(sqlite3.Error):
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def days(self, kind: str = INTERVALS) -> list[str]:
        """The day tables of a kind, oldest first."""
        return sorted(t for t in self._tables if re.fullmatch(rf"{kind}_\d{{8}}", t))

    def used_bytes(self) -> int:
        pages = self.connection.execute("PRAGMA page_count").fetchone()[0]
        free = self.connection.execute("PRAGMA freelist_count").fetchone()[0]
        return int(pages - free) * 4096

    def begin(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self.connection.execute("COMMIT")

    def roll_back(self) -> None:
        with suppress(sqlite3.Error):
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        with suppress(sqlite3.Error):  # tables made inside the transaction are gone with it
            self._tables = {
                name for (name,) in self.connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self.connection.close()

    def _table(self, kind: str, end_ms: Ms) -> str:
        table = _day_table(kind, end_ms)
        if table not in self._tables:
            if kind == INTERVALS:
                self.connection.execute(
                    f"CREATE TABLE {table} (point TEXT NOT NULL, end_ms INTEGER NOT NULL, start_ms INTEGER NOT NULL,"
                    " sent INTEGER NOT NULL, body BLOB NOT NULL, chk INTEGER NOT NULL, UNIQUE (point, end_ms))"
                )
                self.connection.execute(f"CREATE INDEX {table}_unsent ON {table} (end_ms DESC) WHERE sent = 0")
            else:
                self.connection.execute(
                    f"CREATE TABLE {table} (device TEXT NOT NULL, at_ms INTEGER NOT NULL, body BLOB NOT NULL,"
                    " chk INTEGER NOT NULL, UNIQUE (device, at_ms))"
                )
            self._tables.add(table)
        return table

    def _summary(self, days: list[str], reason: str) -> Shed:
        ends, intervals, unsent = list[Ms](), 0, 0
        for day in days:
            first_ms, last_ms, rows, sent = self.connection.execute(
                f"SELECT min(end_ms), max(end_ms), count(*), total(sent) FROM {day}"
            ).fetchone()
            ends += [first_ms or 0, last_ms or 0]
            intervals, unsent = intervals + rows, unsent + rows - int(sent)
        return Shed(reason, min(ends, default=0), max(ends, default=0), intervals, unsent)

    def _drop(self, table: str) -> None:
        self.connection.execute(f"DROP TABLE {table}")
        self._tables.discard(table)

    def _proved(self, rows: Iterable[Sequence[object]]) -> Iterator[IntervalRow]:
        for *values, chk in rows:
            row = IntervalRow(*values)  # type: ignore[arg-type]  # a damaged row can hold anything: the check decides
            try:
                proved = row_check(INTERVALS, *row) == chk
            except (TypeError, UnicodeError):
                proved = False
            if proved:
                yield row
            else:
                self.damaged_rows += 1


def _day_table(kind: str, end_ms: Ms) -> str:
    """The table of the UTC day whose half-open (00:00, 24:00] holds this end."""
    if not 0 < end_ms <= LAST_MS:
        raise StoreError(reason=f"{end_ms} ms is no end of an interval")
    day = datetime.fromtimestamp((end_ms - 1) // DAY_MS * 86_400, UTC)
    return f"{kind}_{day:%Y%m%d}"


def _nearest_day(kind: str, at_ms: Ms) -> str:
    return _day_table(kind, min(max(at_ms, 1), LAST_MS))
