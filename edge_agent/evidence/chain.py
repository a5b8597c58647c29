"""The hash chain that makes an edited, reordered or missing record visible.

    h[0] = 0^32
    h[n] = SHA-256(0x00 || h[n-1] || u64be(n) || u32be(len(body)) || body)

`body` is the exact bytes sent to the centre, so whoever receives the records in order computes the same heads. A chain
alone does not stop someone who rewrites the whole tail: the centre's receipts, which repeat the head, do.
Pure functions: records in, report out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

ALGORITHM = "sha-256"

GENESIS = bytes(32)
"""h[0]: the head of a chain without records."""

HASH_BYTES = 32


class ChainRecord(NamedTuple):
    """A record as it is stored: its number, its exact bytes, and the head of the chain after it."""

    seq: int
    body: bytes
    hash: bytes


class Gap(NamedTuple):
    """Numbers that should be there and are not, both ends included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What a walk along the chain found."""

    records: int
    head_seq: int
    head: bytes
    first_bad: int | None
    """The first number whose bytes, hash or place is not what the chain says."""
    bad: int
    gaps: tuple[Gap, ...]

    @property
    def intact(self) -> bool:
        return self.first_bad is None and not self.gaps


def next_hash(prev: bytes, n: int, body: bytes) -> bytes:
    """The head after record `n` with these bytes, `prev` being the head before it (32 bytes)."""
    if len(prev) != HASH_BYTES:
        raise ValueError(f"a head has {HASH_BYTES} bytes, got {len(prev)}")
    return hashlib.sha256(b"\x00" + prev + n.to_bytes(8, "big") + len(body).to_bytes(4, "big") + body).digest()


def verify(
    records: Iterable[tuple[int, bytes, bytes]],
    *,
    after: tuple[int, bytes] = (0, GENESIS),
    head: tuple[int, bytes] | None = None,
) -> ChainReport:
    """Walk (seq, body, hash) in the order given and say where the chain breaks.

    `after` is the number and head that the first record follows: (0, GENESIS), or where the chain was trimmed.
    `head` is the number and head where it must end; without it a cut tail cannot be seen. After a break the walk goes
    on from the stored hash, so one damaged record is one break. A record right after a gap can only be trusted as far
    as those that follow it: the hash before it is lost.
    """
    seq, prev = after
    count = bad = 0
    first_bad: int | None = None
    gaps: list[Gap] = []
    for n, body, stored in records:
        count += 1
        in_order = n > seq
        if n > seq + 1:
            gaps.append(Gap(seq + 1, n - 1))
        elif not in_order or not _follows(prev, n, body, stored):
            bad += 1
            first_bad = n if first_bad is None else first_bad
        if in_order:
            seq, prev = n, stored
    if head is not None:
        if head[0] > seq:
            gaps.append(Gap(seq + 1, head[0]))
        elif (seq, prev) != head:
            bad += 1
            first_bad = seq if first_bad is None else first_bad
    return ChainReport(count, seq, prev, first_bad, bad, tuple(gaps))


def _follows(prev: object, n: int, body: object, stored: object) -> bool:
    """Whether the record follows from the head before it; an edited file can hold anything in place of bytes."""
    if not (isinstance(prev, bytes) and isinstance(body, bytes) and len(prev) == HASH_BYTES):
        return False
    return next_hash(prev, n, body) == stored
