"""The facts behind one step of a finding, in bytes that never change again, and the digest that its message carries."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

MOST_BYTES = 256 * 1024
"""No bundle is larger before it is packed: what is gathered is bounded piece by piece, and this holds the sum."""

_encoder = msgspec.json.Encoder(order="deterministic")


class Frozen(NamedTuple):
    """One step's bundle as it is stored. `packed` is empty once it was given up for room: its digest stays."""

    finding: str
    n: int
    digest: str  # "sha-256:...", of the bytes that `thaw` gives
    packed: bytes


def freeze(finding: str, n: int, document: Mapping[str, Any]) -> Frozen:
    """The same document gives the same bytes. ValueError: it is larger than a bundle may be."""
    body = _encoder.encode(document)
    if len(body) > MOST_BYTES:
        raise ValueError(f"a bundle of {len(body)} bytes")
    return Frozen(finding, n, digest_of(body), zlib.compress(body, 6))


def thaw(frozen: Frozen) -> bytes | None:
    """The exact bytes; None where they were given up for room. ValueError: they are not what the digest says."""
    if not frozen.packed:
        return None
    try:
        unpacking = zlib.decompressobj()
        body = unpacking.decompress(frozen.packed, MOST_BYTES)
    except zlib.error as error:
        raise ValueError(f"evidence of {frozen.finding}, step {frozen.n}: {error}") from None
    if digest_of(body) != frozen.digest:
        raise ValueError(f"evidence of {frozen.finding}, step {frozen.n}: its digest is another")
    return body


def digest_of(body: bytes) -> str:
    return f"sha-256:{hashlib.sha256(body).hexdigest()}"
