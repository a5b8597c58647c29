"""Frozen evidence in findings.db: written with the finding's own commit, bounded per finding and as a whole.

A bundle is one to two pages, and a finding's steps are at most a few a day, so it goes where the finding goes: what is
told and what it rests on are on the disk together, or neither is. Of one finding the first bundle and the latest are
kept; over the quota those in between go first, then the oldest. A bundle that went leaves its digest.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import suppress

from edge_agent.evidence.frozen import Frozen
from edge_agent.model import Ms
from edge_agent.store.rows import row_check

TABLE = (
    "CREATE TABLE IF NOT EXISTS evidence (n INTEGER PRIMARY KEY, finding TEXT NOT NULL, step INTEGER NOT NULL,"
    " at_ms INTEGER NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, blob BLOB NOT NULL, chk INTEGER NOT NULL,"
    " UNIQUE (finding, step))"
)
COLUMNS = "finding, step, at_ms, digest, size, blob"

STEPS_KEPT = 8
"""Bundles of one finding: the first, and the latest of the others."""


def store_evidence(connection: sqlite3.Connection, bundles: Iterable[Frozen], at_ms: Ms) -> None:
    """Inside the transaction that stores the steps. A step that is known keeps the bundle that its message names."""
    for frozen in bundles:
        columns = (frozen.finding, frozen.n, at_ms, frozen.digest, len(frozen.packed), frozen.packed)
        connection.execute(
            "INSERT OR IGNORE INTO evidence (finding, step, at_ms, digest, size, blob, chk)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*columns, row_check("evidence", *columns)),
        )
        held = connection.execute(
            "SELECT n FROM evidence WHERE finding = ? AND size > 0 ORDER BY step", (frozen.finding,)
        ).fetchall()
        for (n,) in held[1 : max(1, len(held) - STEPS_KEPT + 1)]:
            _give_up(connection, n)


def evidence_of(connection: sqlite3.Connection, finding: str) -> list[Frozen]:
    """A finding's bundles by step; a row that does not pass its check is left out."""
    found: list[Frozen] = []
    with suppress(sqlite3.OperationalError):  # a store that an older version made
        query = f"SELECT {COLUMNS}, chk FROM evidence WHERE finding = ? ORDER BY step"
        for *columns, chk in connection.execute(query, (finding,)):
            if row_check("evidence", *columns) == chk:
                found.append(Frozen(columns[0], columns[1], columns[3], columns[5]))
    return found


def shed_evidence(connection: sqlite3.Connection, older_than_ms: Ms, quota_bytes: int) -> int:
    """Drop what is past its time, and give up bundles until they fit their quota; how many went."""
    gone = connection.execute("DELETE FROM evidence WHERE at_ms > 0 AND at_ms < ?", (older_than_ms,)).rowcount
    total = connection.execute("SELECT total(size) FROM evidence").fetchone()[0]
    if total <= quota_bytes:
        return gone
    middle = (
        "size > 0 AND step > (SELECT min(step) FROM evidence AS f WHERE f.finding = evidence.finding)"
        " AND step < (SELECT max(step) FROM evidence AS f WHERE f.finding = evidence.finding)"
    )
    for which in (middle, "size > 0"):
        for n, size in connection.execute(f"SELECT n, size FROM evidence WHERE {which} ORDER BY at_ms, n").fetchall():
            if total <= quota_bytes:
                return gone
            _give_up(connection, n)
            total, gone = total - size, gone + 1
    return gone


def _give_up(connection: sqlite3.Connection, n: int) -> None:
    finding, step, at_ms, digest = connection.execute(
        "SELECT finding, step, at_ms, digest FROM evidence WHERE n = ?", (n,)
    ).fetchone()
    chk = row_check("evidence", finding, step, at_ms, digest, 0, b"")
    connection.execute("UPDATE evidence SET size = 0, blob = x'', chk = ? WHERE n = ?", (chk, n))
