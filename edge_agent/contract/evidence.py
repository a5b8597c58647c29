"""The evidence of a finding in pieces, on `up/evidence/<finding>`: what a step rested on, as it was frozen.

A piece names the bundle that it belongs to and its place in it, so that pieces may come twice, late and in any order:
the receiver has a bundle when it has `of` pieces of one digest and the digest of their bytes, unpacked, is that.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge_agent.contract.shapes import Closed, Digest, FindingId, Tally, described

PIECE_BYTES = 24 * 1024
"""Packed bytes in a piece: 32 KiB of text, under what any broker takes."""

Place = Annotated[int, Meta(ge=1)]


class EvidencePiece(Closed, frozen=True, kw_only=True):
    """One piece of one step's frozen bundle. `of` 0: that bundle was given up for room, its digest is what is left."""

    finding: FindingId
    n: Annotated[Place, described("the step of the finding")]
    digest: Annotated[Digest, described("of the unpacked bundle: what the step's message carries as `evidence`")]
    piece: Annotated[Tally, described("1, 2, 3 ... ; 0 where there is none")]
    of: Annotated[Tally, described("how many there are")]
    packing: Annotated[Literal["zlib"], described("of the bytes that the pieces make together")]
    data: Annotated[str, described("base64")]


def pieces(finding: str, n: int, digest: str, packed: bytes) -> Iterator[bytes]:
    """The messages of one bundle, in order."""
    parts = [packed[at : at + PIECE_BYTES] for at in range(0, len(packed), PIECE_BYTES)]
    for place, part in enumerate(parts or [b""], start=1 if parts else 0):
        yield msgspec.json.encode(
            EvidencePiece(
                finding=finding, n=n, digest=digest, piece=place, of=len(parts), packing="zlib",
                data=base64.b64encode(part).decode(),
            )
        )  # fmt: skip
