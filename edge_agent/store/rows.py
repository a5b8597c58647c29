"""Checks on single rows: a page of a damaged file can be well formed and still hold the wrong bytes.

Every row carries a CRC-32 over its table's name and its columns; a record's body is covered by the chain's hash, which
the CRC covers in turn. Tables whose rows change also have their count and the sum of their checks in `meta`, so a row
that vanished is seen as well.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from edge_agent.evidence import GENESIS

SUM_LIMIT = 2**53


def row_check(table: str, *columns: str | int | bytes) -> int:
    """CRC-32 over the columns, each with its type and its length before it."""
    crc = zlib.crc32(table.encode())
    for column in columns:
        raw = column if isinstance(column, bytes) else str(column).encode()
        crc = zlib.crc32(b"%s%d:" % (type(column).__name__.encode(), len(raw)), crc)
        crc = zlib.crc32(raw, crc)
    return crc


@dataclass(frozen=True, slots=True)
class Meta:
    """The one row that every commit moves: where the chain stands and what the other tables must add up to."""

    epoch: str
    head_seq: int = 0
    head: bytes = GENESIS
    kept_upto: int = 0
    base_seq: int = 0  # the chain is trimmed up to here
    base: bytes = GENESIS  # and this is its head there
    tracks: int = 0
    tracks_sum: int = 0
    ledger: int = 0
    ledger_sum: int = 0

    def columns(self) -> tuple[str | int | bytes, ...]:
        return (
            self.epoch, self.head_seq, self.head, self.kept_upto, self.base_seq, self.base,
            self.tracks, self.tracks_sum, self.ledger, self.ledger_sum,
        )  # fmt: skip

    def check(self) -> int:
        return row_check("meta", *self.columns())


def meta_of(columns: tuple[object, ...]) -> Meta | None:
    """The meta row of these columns with their check last, or None where the check fails."""
    *values, check = columns
    try:
        meta = Meta(*values)  # type: ignore[arg-type]  # a damaged row can hold anything: the check decides
        proved = meta.check() == check
    except (TypeError, UnicodeError):
        return None
    return meta if proved else None


def record_check(seq: int, id: str, kind: str, at_ms: int, hash: bytes) -> int:
    return row_check("chain", seq, id, kind, at_ms, hash)
