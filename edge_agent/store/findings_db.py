"""findings.db: the outbox with its chain, the evaluator's tracks and ledger, dead letters.

Invariants, held by every transaction and checked at every opening:
- `chain` holds exactly the numbers base_seq + 1 to head_seq, no hole, no id twice; its hashes link base to head.
- A number and a hash are given inside the transaction that stores the record; rolled back, they were never given.
- `kept_upto` never goes back and never passes head_seq. Only records at or below it are ever trimmed.
- A record's bytes never change.
This class belongs to one thread and never waits for anything but the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_agent.evidence import next_hash
from edge_agent.evidence.frozen import Frozen
from edge_agent.model import Letter, Ms, Sealed
from edge_agent.store.errors import StoreDamaged, means_damage, primary_code
from edge_agent.store.evidence_rows import store_evidence
from edge_agent.store.files import connect
from edge_agent.store.ids import Ids
from edge_agent.store.pages import log_breaks_off
from edge_agent.store.rows import SUM_LIMIT, Meta, meta_of, record_check, row_check
from edge_agent.store.schema import PRAGMAS, append, check_pages, migrate, write_meta
from edge_agent.store.shapes import AckOutcome

Seal = Callable[[Letter, int, str, str], bytes]
"""letter, seq, epoch, prevhash in hex -> the exact bytes of the message."""

Write = Callable[["FindingsDb"], Any]


class FindingsDb:
    """The open database. Writes are only made inside `transact`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, seal: Seal, now_ms: Callable[[], Ms]) -> None:
        self.path = path
        self.connection = connection
        self._seal = seal
        self._now_ms = now_ms
        self.meta = self._draft = self._read_meta()
        self.dead_seqs = self._read_dead()
        self._ids = Ids()
        self._new_ids: dict[str, int] = {}  # of the open transaction

    @classmethod
    def open(cls, path: Path, *, seal: Seal, now_ms: Callable[[], Ms], busy_s: float) -> FindingsDb:
        """Open and check a store that exists.

        Raises StoreDamaged, StoreNewer, StoreUnwritable, or sqlite3.Error for whatever is no damage (locked, full).
        """
        if path.stat().st_size == 0:
            raise StoreDamaged(
                path=str(path), reason="the file is empty"
            )  # a new one is in place only once it is whole
        if log_breaks_off(path):
            raise StoreDamaged(path=str(path), reason="the log breaks off before commits that were made")
        connection: sqlite3.Connection | None = None
        try:
            connection = connect(path, busy_s=busy_s, pragmas=PRAGMAS)
            check_pages(connection, path)
            migrate(connection, path)
            db = cls(path, connection, seal, now_ms)
            db.check()
            # A fresh log: what a crash left at the end of the old one can never be taken for commits of this run.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.Error) and (means_damage(error) or primary_code(error) in {0, 1}):
                # SQLITE_ERROR: a table that is not there; 0: a text that is not UTF-8
                raise StoreDamaged(path=str(path), reason=str(error)) from error
            raise
        return db

    # Writing

    def transact(self, writes: Sequence[Write]) -> list[Any]:
        """One transaction for all: each write's result, or the exception that only concerns that write.

        Raises sqlite3.Error when the database itself failed: then nothing was stored and no number was given.
        """
        results: list[Any] = []
        execute = self.connection.execute
        dead_before = set(self.dead_seqs)
        try:
            execute("BEGIN IMMEDIATE")
            self._draft = self.meta
            for write in writes:
                before, ids_before = self._draft, len(self._new_ids)
                execute("SAVEPOINT write")
                try:
                    results.append(write(self))
                except Exception as error:
                    if isinstance(error, sqlite3.Error) and primary_code(error) not in HARMLESS:
                        raise
                    execute("ROLLBACK TO write")
                    self._draft = before
                    while len(self._new_ids) > ids_before:
                        self._new_ids.popitem()
                    results.append(error)
                execute("RELEASE write")
            if self._draft != self.meta:
                write_meta(self.connection, self._draft)
            execute("COMMIT")
        except BaseException:
            self.dead_seqs = dead_before
            self._draft = self.meta
            self._new_ids.clear()
            if self.connection.in_transaction:
                execute("ROLLBACK")
            raise
        for id, seq in self._new_ids.items():
            self._ids.add(id, seq)
        self._new_ids.clear()
        if self._draft.base_seq > self.meta.base_seq:
            self._ids.forget(self._draft.base_seq)
        self.meta = self._draft
        return results

    def record(
        self,
        letters: Sequence[Letter],
        tracks: Mapping[str, bytes | None],
        ledger: Sequence[tuple[str, bytes]],
        evidence: Sequence[Frozen] = (),
    ) -> list[Sealed]:
        """Number, seal and store; one Sealed per letter, the stored one where its id was known.

        A letter whose id is known from before the store was rescued has no number here and is left out.
        """
        sealed = [s for s in map(self._store_letter, letters) if s is not None]
        for key, blob in tracks.items():
            self._store_track(key, blob)
        for key, blob in ledger:
            self._store_ledger(key, blob)
        if evidence:
            store_evidence(self.connection, evidence, self._now_ms())
        return sealed

    def kept(self, epoch: str, upto: int, head_hex: str) -> AckOutcome:
        """Move the cursor if, and only if, the centre's chain is ours up to there."""
        meta = self._draft
        if epoch != meta.epoch:
            return AckOutcome.WRONG_EPOCH
        if upto <= 0:
            return AckOutcome.NOTHING
        if upto > meta.head_seq:
            return AckOutcome.AHEAD
        if upto < meta.base_seq:
            return AckOutcome.REPEATED  # trimmed: below the cursor, and nothing is left to compare
        if self._hash_at(upto).hex() != head_hex:
            return AckOutcome.WRONG_HEAD
        if upto <= meta.kept_upto:
            return AckOutcome.REPEATED
        self._draft = replace(meta, kept_upto=upto)
        self.dead_seqs = {seq for seq in self.dead_seqs if seq > upto}
        return AckOutcome.ACCEPTED

    def dead(self, seqs: Sequence[int], reason: str) -> None:
        """Copy refused records to the dead letters; they are not sent again. Unknown numbers are ignored."""
        epoch, at_ms = self._draft.epoch, self._now_ms()
        for seq in seqs:
            for id, kind, body in self.connection.execute("SELECT id, kind, body FROM chain WHERE seq = ?", (seq,)):
                columns = (epoch, seq, id, kind, reason, at_ms, body)
                self.connection.execute(
                    "INSERT OR IGNORE INTO dead (epoch, seq, id, kind, reason, at_ms, body, chk)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (*columns, row_check("dead", *columns)),
                )
                if seq > self._draft.kept_upto:
                    self.dead_seqs.add(seq)

    def trim_ledger(self, before_key: str) -> int:
        """Drop what was appended under keys that sort before this one; how many."""
        checks = [c for (c,) in self.connection.execute("SELECT chk FROM ledger WHERE key < ?", (before_key,))]
        if checks:
            self.connection.execute("DELETE FROM ledger WHERE key < ?", (before_key,))
            total = (self._draft.ledger_sum - sum(checks)) % SUM_LIMIT
            self._draft = replace(self._draft, ledger=self._draft.ledger - len(checks), ledger_sum=total)
        return len(checks)

    def trim(self, older_than_ms: Ms | None, limit: int) -> int:
        """Drop acknowledged records from the old end, `limit` at most: those older, or any with None; how many.

        A record without a time (0) is as old as its neighbours: only one with a known time, or one before it, goes.
        """
        meta = self._draft
        last = min(meta.kept_upto, meta.base_seq + limit)
        if older_than_ms is not None:
            query = self.connection.execute
            fresh = query("SELECT min(seq) FROM chain WHERE at_ms >= ?", (older_than_ms,)).fetchone()[0]
            last = min(last, meta.head_seq if fresh is None else fresh - 1)
            last = query("SELECT max(seq) FROM chain WHERE seq <= ? AND at_ms > 0", (last,)).fetchone()[0] or 0
            query(  # a dead letter that no receipt covers yet must stay known, or it would be sent again
                "DELETE FROM dead WHERE at_ms > 0 AND at_ms < ? AND (epoch <> ? OR seq <= ?)",
                (older_than_ms, meta.epoch, meta.kept_upto),
            )
            query("DELETE FROM earlier WHERE at_ms > 0 AND at_ms < ?", (older_than_ms,))
        if last <= meta.base_seq:
            return 0
        base = self._hash_at(last)
        self.connection.execute("DELETE FROM chain WHERE seq <= ?", (last,))
        self._draft = replace(meta, base_seq=last, base=base)
        return last - meta.base_seq

    def forget_note(self, key: str) -> None:
        self.connection.execute("DELETE FROM note WHERE key = ?", (key,))

    # Reading

    def walk(self, after_seq: int, upto: int | None = None) -> Iterator[tuple[int, str, str, int, bytes, bytes]]:
        """(seq, id, kind, at_ms, body, hash) in order, each proved by the chain and its check.

        Raises StoreDamaged at the first that is not.
        """
        after_seq = max(after_seq, self.meta.base_seq)
        if after_seq >= self.meta.head_seq:
            return
        expected, prev = after_seq, self._hash_at(after_seq)
        last = self.meta.head_seq if upto is None else upto
        for row in self.connection.execute(
            "SELECT seq, id, kind, at_ms, body, hash, chk FROM chain WHERE seq > ? AND seq <= ? ORDER BY seq",
            (after_seq, last),
        ):
            seq, id, kind, at_ms, body, hash, chk = row
            expected += 1
            try:
                proved = next_hash(prev, expected, body) == hash and record_check(seq, id, kind, at_ms, hash) == chk
            except (TypeError, ValueError, UnicodeError):
                proved = False
            if seq != expected or not proved:
                raise StoreDamaged(path=str(self.path), reason=f"record {expected} is not what the chain says")
            prev = hash
            yield row[:6]
        if expected != min(last, self.meta.head_seq):
            raise StoreDamaged(path=str(self.path), reason=f"record {expected + 1} is missing")

    def unsent(self, after_seq: int, limit: int) -> list[Sealed]:
        """The oldest records past the cursor and past `after_seq` that are no dead letters."""
        found: list[Sealed] = []
        if limit <= 0:
            return found
        for seq, _, kind, _, body, hash in self.walk(max(after_seq, self.meta.kept_upto)):
            if seq not in self.dead_seqs:
                found.append(Sealed(seq, kind, body, hash.hex()))
                if len(found) >= limit:
                    break
        return found

    def sealed(self, first: int, last: int) -> list[Sealed]:
        """Records by number, both ends included; what is trimmed or not yet given is left out."""
        first, last = max(first, self.meta.base_seq + 1), min(last, self.meta.head_seq)
        if first > last:
            return []
        return [Sealed(seq, kind, body, hash.hex()) for seq, _, kind, _, body, hash in self.walk(first - 1, last)]

    def tracks(self) -> dict[str, bytes]:
        return dict(self.connection.execute("SELECT key, blob FROM tracks ORDER BY key"))

    def ledger(self) -> list[bytes]:
        found = [blob for (blob,) in self.connection.execute("SELECT blob FROM ledger ORDER BY n")]
        self.connection.execute("PRAGMA shrink_memory")  # what a start reads, it reads once
        return found

    def note(self, key: str) -> bytes | None:
        row = self.connection.execute("SELECT blob FROM note WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def oldest_unsent_ms(self) -> Ms | None:
        for seq, at_ms in self.connection.execute(
            "SELECT seq, at_ms FROM chain WHERE seq > ? ORDER BY seq", (self.meta.kept_upto,)
        ):
            if seq not in self.dead_seqs:
                return int(at_ms)
        return None

    def used_bytes(self) -> int:
        pages = self.connection.execute("PRAGMA page_count").fetchone()[0]
        free = self.connection.execute("PRAGMA freelist_count").fetchone()[0]
        return int(pages - free) * 4096

    def check(self) -> None:
        """Prove every row by the chain, the checks and the sums, and learn the ids; raise StoreDamaged otherwise."""
        meta = self.meta
        self._ids = Ids((id, seq) for seq, id, *_ in self.walk(meta.base_seq))
        for table, count, total, columns in (
            ("tracks", meta.tracks, meta.tracks_sum, "key, blob"),
            ("ledger", meta.ledger, meta.ledger_sum, "key, blob"),
        ):
            rows = seen = 0
            for *values, chk in self.connection.execute(f"SELECT {columns}, chk FROM {table}"):
                rows, seen = rows + 1, (seen + chk) % SUM_LIMIT
                if row_check(table, *values) != chk:
                    raise StoreDamaged(path=str(self.path), reason=f"a row of {table} does not pass its check")
            if (rows, seen) != (count, total):
                raise StoreDamaged(path=str(self.path), reason=f"rows of {table} are missing")

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self.connection.close()

    # One row at a time

    def _store_letter(self, letter: Letter) -> Sealed | None:
        query = self.connection.execute
        for seq in (*self._ids.find(letter.id), self._new_ids.get(letter.id, 0)):
            for id, kind, body, hash in query("SELECT id, kind, body, hash FROM chain WHERE seq = ?", (seq,)):
                if id == letter.id:
                    return Sealed(seq, kind, body, hash.hex())
        if query("SELECT 1 FROM earlier WHERE id = ?", (letter.id,)).fetchone() is not None:
            return None
        meta = self._draft
        seq = meta.head_seq + 1
        body = self._seal(letter, seq, meta.epoch, meta.head.hex())
        at_ms = self._now_ms()
        head = append(self.connection, meta.head, seq, letter.id, letter.kind, at_ms, body)
        self._draft = replace(meta, head_seq=seq, head=head)
        self._new_ids[letter.id] = seq
        return Sealed(seq, letter.kind, body, head.hex())

    def _store_track(self, key: str, blob: bytes | None) -> None:
        query, meta = self.connection.execute, self._draft
        count, total = meta.tracks, meta.tracks_sum
        for (chk,) in query("SELECT chk FROM tracks WHERE key = ?", (key,)).fetchall():
            count, total = count - 1, total - chk
        if blob is None:
            query("DELETE FROM tracks WHERE key = ?", (key,))
        else:
            chk = row_check("tracks", key, blob)
            query(
                "INSERT INTO tracks VALUES (?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET blob = excluded.blob, chk = excluded.chk",  # the index stays as it is
                (key, blob, chk),
            )
            count, total = count + 1, total + chk
        self._draft = replace(meta, tracks=count, tracks_sum=total % SUM_LIMIT)

    def _store_ledger(self, key: str, blob: bytes) -> None:
        meta, chk = self._draft, row_check("ledger", key, blob)
        self.connection.execute("INSERT INTO ledger (key, blob, chk) VALUES (?, ?, ?)", (key, blob, chk))
        self._draft = replace(meta, ledger=meta.ledger + 1, ledger_sum=(meta.ledger_sum + chk) % SUM_LIMIT)

    def _hash_at(self, seq: int) -> bytes:
        meta = self._draft
        if seq == meta.base_seq:
            return meta.base
        row = self.connection.execute("SELECT hash FROM chain WHERE seq = ?", (seq,)).fetchone()
        if row is None or not isinstance(row[0], bytes) or len(row[0]) != 32:
            raise StoreDamaged(path=str(self.path), reason=f"record {seq} is missing")
        return row[0]

    def _read_meta(self) -> Meta:
        rows = self.connection.execute("SELECT * FROM meta").fetchall()
        meta = meta_of(rows[0][1:]) if len(rows) == 1 else None
        if meta is None:
            raise StoreDamaged(path=str(self.path), reason="the meta row does not pass its check")
        return meta

    def _read_dead(self) -> set[int]:
        past = (self.meta.epoch, self.meta.kept_upto)
        return {seq for (seq,) in self.connection.execute("SELECT seq FROM dead WHERE epoch = ? AND seq > ?", past)}


HARMLESS = frozenset({0, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG})
"""Errors of one write that say nothing about the file; 0: the Python module refused a value."""
