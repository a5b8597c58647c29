"""A damaged findings.db becomes a sound one: every record that can be proved is carried over, the rest is counted.

A record is proved when its row passes its check and its hash follows from the record before it, or from the `prevhash`
that its own body carries where the record before is lost. Acknowledged records go to `earlier`. The others are numbered
anew and sealed for the new epoch: same event id, so a centre that has one already keeps one.

The new file is built beside the old one and swapped in by renames; a start that finds the swap half done finishes it.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from edge_agent.evidence import next_hash
from edge_agent.store.evidence_rows import COLUMNS as EVIDENCE_COLUMNS
from edge_agent.store.files import aside_path, put_aside, remove_database, sync_directory
from edge_agent.store.ids import digest
from edge_agent.store.pages import Column, Image, Pages
from edge_agent.store.rows import SUM_LIMIT, Meta, meta_of, record_check, row_check
from edge_agent.store.schema import append, create, write_meta
from edge_agent.store.shapes import Salvaged

Reseal = Callable[[bytes, int, str, str], bytes]
"""old body, seq, epoch, prevhash in hex -> the bytes of the same event under its new number."""

SALVAGE_NOTE = "salvaged"
ROWS_PER_COMMIT = 500
ROWS_AT_MOST = 1_000_000
DEAD_COLUMNS = "epoch, seq, id, kind, reason, at_ms, body"


class Record(NamedTuple):
    seq: int
    id: str
    kind: str
    at_ms: int
    body: bytes
    hash: bytes


class Survivors(NamedTuple):
    """Where in the damaged file the candidates lie, and what its own meta row says."""

    meta: Meta | None
    chain: dict[int, list[Image]]
    earlier: list[Image]


def reseal_json(body: bytes, seq: int, epoch: str, prevhash: str) -> bytes:
    """Give a CloudEvents message in JSON its new place in the chain; raises ValueError where it is none."""
    message = json.loads(body)
    if not isinstance(message, dict):
        raise ValueError("no JSON object")
    message.update(seq=seq, epoch=epoch, prevhash=prevhash)
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def finish_swap(path: Path, boot: str) -> None:
    """Remove a half-built store; put a finished one in its place."""
    remove_database(_with(path, ".new"))
    ready = _with(path, ".ready")
    if ready.exists():
        if path.exists():
            put_aside(path, boot)
        remove_database(path)
        ready.rename(path)
        sync_directory(path.parent)


def make_new(path: Path, *, busy_s: float) -> None:
    """A new, empty store, in place only once it is whole: an empty file is always a damaged one."""
    create(_with(path, ".new"), busy_s=busy_s)
    _with(path, ".new").rename(path)
    sync_directory(path.parent)


def salvage(path: Path, *, boot: str, why: str, reseal: Reseal, busy_s: float, empty: bool = False) -> None:
    """Carry what can be proved (nothing if `empty`) into a new store, and put the damaged one aside.

    Raises sqlite3.Error or OSError where the disk does not let us; then the damaged file is untouched.
    """
    new, ready = _with(path, ".new"), _with(path, ".ready")
    remove_database(new)
    create(new, busy_s=busy_s)
    with closing(Pages(path)) as pages, closing(sqlite3.connect(new, isolation_level=None)) as connection:
        # Nothing is promised before the swap: one sync at the end instead of one per commit.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = WAL")
        report = Salvaged("", "", "", 0, 0, 0, (), 0, 0, 0, 0) if empty else _carry(path, pages, connection, reseal)
        report = report._replace(why=why, moved_to=aside_path(path, boot).name)
        connection.execute(
            "INSERT OR REPLACE INTO note VALUES (?, ?)", (SALVAGE_NOTE, json.dumps(report._asdict()).encode())
        )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    descriptor = os.open(new, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.rename(ready)
    sync_directory(path.parent)
    finish_swap(path, boot)


def read_note(note: bytes | None) -> Salvaged | None:
    if note is None:
        return None
    fields = json.loads(note)
    fields["lost"] = tuple((first, last) for first, last in fields["lost"])
    return Salvaged(**fields)


def _with(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _carry(path: Path, pages: Pages, connection: sqlite3.Connection, reseal: Reseal) -> Salvaged:
    found = _survey(pages)
    old = found.meta or Meta(epoch="")
    new_epoch = connection.execute("SELECT epoch FROM meta").fetchone()[0]
    meta = Meta(epoch=new_epoch)
    refused = {columns[1] for columns in _reachable(path, "dead", DEAD_COLUMNS) if columns[0] == old.epoch}
    rescued, missing, expected = 0, list[tuple[int, int]](), old.base_seq + 1
    connection.execute("BEGIN IMMEDIATE")
    for epoch, record in _earlier(pages, found.earlier):
        _keep_earlier(connection, epoch, record)
    ids: set[int] = set()
    for record in _proved(pages, found, old):
        if (mark := digest(record.id)) in ids:
            continue  # a page of a commit that never came to be: its number was given again
        ids.add(mark)
        if record.seq > expected:
            missing.append((expected, record.seq - 1))
        expected = record.seq + 1
        rescued += 1
        if record.seq <= old.kept_upto or record.seq in refused:
            _keep_earlier(connection, old.epoch, record)
        else:
            meta = _resend(connection, meta, old.epoch, record, reseal)
        if rescued % ROWS_PER_COMMIT == 0:
            connection.execute("COMMIT")
            connection.execute("BEGIN IMMEDIATE")
    if expected <= old.head_seq:
        missing.append((expected, old.head_seq))
    unsent = meta.head_seq
    meta = _carry_state(path, connection, meta)
    write_meta(connection, meta)
    connection.execute("COMMIT")
    return Salvaged(
        moved_to="", why="", epoch=old.epoch, head_seq=max(old.head_seq, expected - 1),
        rescued=rescued, unsent=unsent, lost=tuple(missing),
        tracks=meta.tracks, tracks_lost=max(0, old.tracks - meta.tracks),
        ledger=meta.ledger, ledger_lost=max(0, old.ledger - meta.ledger),
    )  # fmt: skip


def _survey(pages: Pages) -> Survivors:
    best: Meta | None = None
    chain: dict[int, list[Image]] = {}
    earlier: list[Image] = []
    for image in pages.images:
        for rowid, columns in pages.rows(image, 7, 12):
            if len(columns) == 7:
                chain.setdefault(rowid, []).append(image)
            elif len(columns) == 9 and (not earlier or earlier[-1] != image):
                earlier.append(image)
            elif len(columns) == 12:
                meta = meta_of(tuple(columns[1:]))
                # Both only ever grow, so the furthest is the newest that can be read.
                if meta and (best is None or (meta.head_seq, meta.kept_upto) > (best.head_seq, best.kept_upto)):
                    best = meta
    return Survivors(best, chain, earlier)


def _proved(pages: Pages, found: Survivors, old: Meta) -> Iterator[Record]:
    before: tuple[int, Column] = (old.base_seq, old.base)
    for seq in sorted(found.chain):
        if seq <= old.base_seq:
            continue  # trimmed, and still lying on a free page
        for image in found.chain[seq]:
            record = _record(pages, image, seq)
            if record is not None and _follows(record, before):
                before = (seq, record.hash)
                yield record
                break


def _record(pages: Pages, image: Image, seq: int) -> Record | None:
    for rowid, columns in pages.rows(image, 7, 7):
        if rowid == seq:
            _, id, kind, at_ms, body, hash, chk = columns
            if (
                isinstance(id, str) and isinstance(kind, str) and isinstance(at_ms, int)
                and isinstance(body, bytes) and isinstance(hash, bytes)
                and record_check(seq, id, kind, at_ms, hash) == chk
            ):  # fmt: skip
                return Record(seq, id, kind, at_ms, body, hash)
    return None


def _follows(record: Record, before: tuple[int, Column]) -> bool:
    prevs = [before[1]] if before[0] == record.seq - 1 else []
    with suppress(ValueError, KeyError, TypeError, msgspec.DecodeError):  # then only the record before can prove it
        prevs.append(bytes.fromhex(msgspec.json.decode(record.body)["prevhash"]))
    return any(
        isinstance(prev, bytes) and len(prev) == 32 and next_hash(prev, record.seq, record.body) == record.hash
        for prev in prevs
    )


def _resend(connection: sqlite3.Connection, meta: Meta, epoch: str, record: Record, reseal: Reseal) -> Meta:
    seq = meta.head_seq + 1
    try:
        body = reseal(record.body, seq, meta.epoch, meta.head.hex())
    except (ValueError, KeyError, TypeError):
        columns = (epoch, record.seq, record.id, record.kind, "not_resealed", record.at_ms, record.body)
        connection.execute(
            "INSERT OR IGNORE INTO dead (epoch, seq, id, kind, reason, at_ms, body, chk)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*columns, row_check("dead", *columns)),
        )
        return meta
    head = append(connection, meta.head, seq, record.id, record.kind, record.at_ms, body)
    return replace(meta, head_seq=seq, head=head)


def _keep_earlier(connection: sqlite3.Connection, epoch: str, record: Record) -> None:
    columns = (epoch, record.seq, record.id, record.kind, record.at_ms, record.body, record.hash)
    connection.execute(
        "INSERT OR IGNORE INTO earlier (epoch, seq, id, kind, at_ms, body, hash, chk) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*columns, row_check("earlier", *columns)),
    )


def _earlier(pages: Pages, images: list[Image]) -> Iterator[tuple[str, Record]]:
    for image in images:
        for _, columns in pages.rows(image, 9, 9):
            _, epoch, seq, id, kind, at_ms, body, hash, chk = columns
            values: tuple[Any, ...] = (epoch, seq, id, kind, at_ms, body, hash)
            try:
                if row_check("earlier", *values) == chk:
                    yield str(epoch), Record(*values[1:])
            except (TypeError, UnicodeError):
                continue


def _carry_state(path: Path, connection: sqlite3.Connection, meta: Meta) -> Meta:
    """Tracks, ledger and dead letters change or are trimmed, so only what SQLite itself can reach is current."""
    tracks = ledger = tracks_sum = ledger_sum = 0
    for key, blob in _reachable(path, "tracks", "key, blob"):
        chk = row_check("tracks", key, blob)
        connection.execute("INSERT OR REPLACE INTO tracks VALUES (?, ?, ?)", (key, blob, chk))
        tracks, tracks_sum = tracks + 1, tracks_sum + chk
    for key, blob in _reachable(path, "ledger", "key, blob"):
        chk = row_check("ledger", key, blob)
        connection.execute("INSERT INTO ledger (key, blob, chk) VALUES (?, ?, ?)", (key, blob, chk))
        ledger, ledger_sum = ledger + 1, ledger_sum + chk
    for columns in _reachable(path, "dead", DEAD_COLUMNS):
        connection.execute(
            "INSERT OR IGNORE INTO dead (epoch, seq, id, kind, reason, at_ms, body, chk)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*columns, row_check("dead", *columns)),
        )
    for columns in _reachable(path, "evidence", EVIDENCE_COLUMNS):
        connection.execute(
            f"INSERT OR IGNORE INTO evidence ({EVIDENCE_COLUMNS}, chk) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*columns, row_check("evidence", *columns)),
        )
    return replace(
        meta, tracks=tracks, tracks_sum=tracks_sum % SUM_LIMIT, ledger=ledger, ledger_sum=ledger_sum % SUM_LIMIT
    )


def _reachable(path: Path, table: str, columns: str) -> list[tuple[Any, ...]]:
    """The table's rows that pass their check, up to the first page that cannot be read; each key once."""
    rows: dict[Any, tuple[Any, ...]] = {}
    order = {"tracks": "key", "ledger": "n", "dead": "n", "evidence": "n"}[table]
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as damaged:
            query = damaged.execute(f"SELECT {columns}, chk FROM {table} ORDER BY {order}")
            for n, (*values, chk) in enumerate(islice(query, ROWS_AT_MOST)):  # damaged pages can point in circles
                try:
                    proved = row_check(table, *values) == chk
                except (TypeError, UnicodeError):
                    proved = False
                if proved:
                    rows[values[0] if table == "tracks" else n] = tuple(values)
    except sqlite3.Error:
        pass  # counted by the difference to what the meta row says
    return list(rows.values())
