"""The tables of findings.db, how they are made, and how an older file becomes a newer one."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from edge_agent.evidence import next_hash
from edge_agent.model import Ms
from edge_agent.store.errors import StoreDamaged, StoreError, StoreNewer
from edge_agent.store.evidence_rows import TABLE as EVIDENCE
from edge_agent.store.files import connect
from edge_agent.store.rows import Meta, record_check, row_check

PRAGMAS = (
    "page_size = 4096; auto_vacuum = NONE; synchronous = FULL; wal_autocheckpoint = 64; cache_size = -1024;"
    "temp_store = MEMORY; mmap_size = 0; cell_size_check = ON; trusted_schema = OFF;"
    "journal_size_limit = 1048576; foreign_keys = ON"
)

SCHEMA = 2
MIGRATIONS: dict[int, Sequence[str]] = {1: (EVIDENCE,)}
"""From a schema version, the statements that make it the next one."""

TABLES = (
    (
        "CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), epoch TEXT NOT NULL, head_seq INTEGER NOT NULL,"
        " head BLOB NOT NULL, kept_upto INTEGER NOT NULL, base_seq INTEGER NOT NULL, base BLOB NOT NULL,"
        " tracks INTEGER NOT NULL, tracks_sum INTEGER NOT NULL, ledger INTEGER NOT NULL, ledger_sum INTEGER NOT NULL,"
        " chk INTEGER NOT NULL)"
    ),
    (
        "CREATE TABLE chain (seq INTEGER PRIMARY KEY, id TEXT NOT NULL, kind TEXT NOT NULL,"
        " at_ms INTEGER NOT NULL, body BLOB NOT NULL, hash BLOB NOT NULL, chk INTEGER NOT NULL)"
    ),
    (
        "CREATE TABLE dead (n INTEGER PRIMARY KEY, epoch TEXT NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL,"
        " kind TEXT NOT NULL, reason TEXT NOT NULL, at_ms INTEGER NOT NULL, body BLOB NOT NULL, chk INTEGER NOT NULL,"
        " UNIQUE (epoch, seq))"
    ),
    "CREATE TABLE tracks (key TEXT NOT NULL UNIQUE, blob BLOB NOT NULL, chk INTEGER NOT NULL)",
    "CREATE TABLE ledger (n INTEGER PRIMARY KEY, key TEXT NOT NULL, blob BLOB NOT NULL, chk INTEGER NOT NULL)",
    (
        "CREATE TABLE earlier (n INTEGER PRIMARY KEY, epoch TEXT NOT NULL, seq INTEGER NOT NULL,"
        " id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, at_ms INTEGER NOT NULL, body BLOB NOT NULL,"
        " hash BLOB NOT NULL, chk INTEGER NOT NULL)"
    ),
    "CREATE TABLE note (key TEXT PRIMARY KEY, blob BLOB NOT NULL) WITHOUT ROWID",
    EVIDENCE,
)
"""`earlier`: acknowledged records of a store that was damaged, for listings and so that no id is recorded twice."""


def create(path: Path, *, busy_s: float) -> None:
    """Make an empty store with a new epoch at `path`, which must not exist."""
    connection = connect(path, busy_s=busy_s, pragmas=PRAGMAS)
    try:
        connection.execute("BEGIN IMMEDIATE")
        for table in TABLES:
            connection.execute(table)
        write_schema(connection, SCHEMA)
        write_meta(connection, Meta(epoch=os.urandom(8).hex()))
        connection.execute("COMMIT")
    finally:
        connection.close()


def append(connection: sqlite3.Connection, prev: bytes, seq: int, id: str, kind: str, at_ms: Ms, body: bytes) -> bytes:
    """Store one record and return the head after it."""
    head = next_hash(prev, seq, body)
    check = record_check(seq, id, kind, at_ms, head)
    connection.execute("INSERT INTO chain VALUES (?, ?, ?, ?, ?, ?, ?)", (seq, id, kind, at_ms, body, head, check))
    return head


def write_meta(connection: sqlite3.Connection, meta: Meta) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO meta VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*meta.columns(), meta.check())
    )


def check_pages(connection: sqlite3.Connection, path: Path) -> None:
    verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if verdict != "ok":
        raise StoreDamaged(path=str(path), reason=str(verdict))


def write_schema(connection: sqlite3.Connection, version: int) -> None:
    connection.execute("CREATE TABLE schema (version INTEGER NOT NULL, chk INTEGER NOT NULL)")
    connection.execute("INSERT INTO schema VALUES (?, ?)", (version, row_check("schema", version)))


def check_schema(connection: sqlite3.Connection, path: Path, known: int) -> int:
    """The schema version of this file; StoreNewer when it is past `known`."""
    rows = connection.execute("SELECT version, chk FROM schema").fetchall()
    if len(rows) != 1 or row_check("schema", rows[0][0]) != rows[0][1]:
        raise StoreDamaged(path=str(path), reason="the schema row does not pass its check")
    version = int(rows[0][0])
    if version > known:
        raise StoreNewer(path=str(path), found=version, known=known)
    return version


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring an older schema up to this one, one transaction per version; refuse a newer one."""
    for version in range(check_schema(connection, path, SCHEMA), SCHEMA):
        if version not in MIGRATIONS:
            raise StoreError(reason=f"{path} has schema {version}, and there is no way from it to {SCHEMA}")
        connection.execute("BEGIN IMMEDIATE")
        for statement in MIGRATIONS[version]:
            connection.execute(statement)
        connection.execute("UPDATE schema SET version = ?, chk = ?", (version + 1, row_check("schema", version + 1)))
        connection.execute("COMMIT")
