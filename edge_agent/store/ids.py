"""Which letters are stored, by id: 12 bytes each in memory.

An index on disk would cost one more page per commit for every id in it, because ids do not come in order. The whole
chain is walked at the opening anyway, and fills this on the way.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable


class Ids:
    """From an id to the numbers that may have it: equal 64-bit digests are rare, and the caller compares the ids."""

    def __init__(self, pairs: Iterable[tuple[str, int]] = ()) -> None:
        digests, seqs = array("Q"), array("I")
        for id, seq in pairs:
            digests.append(digest(id))
            seqs.append(seq)
        order = sorted(range(len(digests)), key=digests.__getitem__)
        self._digests = array("Q", (digests[k] for k in order))
        self._seqs = array("I", (seqs[k] for k in order))

    def __len__(self) -> int:
        return len(self._digests)

    def find(self, id: str) -> list[int]:
        wanted, found = digest(id), list[int]()
        at = bisect_left(self._digests, wanted)
        while at < len(self._digests) and self._digests[at] == wanted:
            found.append(self._seqs[at])
            at += 1
        return found

    def add(self, id: str, seq: int) -> None:
        value = digest(id)
        at = bisect_left(self._digests, value)
        self._digests.insert(at, value)
        self._seqs.insert(at, seq)

    def forget(self, upto: int) -> None:
        """Drop the numbers up to this one."""
        left = [k for k, seq in enumerate(self._seqs) if seq > upto]
        self._digests = array("Q", (self._digests[k] for k in left))
        self._seqs = array("I", (self._seqs[k] for k in left))


def digest(id: str) -> int:
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest(), "big")
