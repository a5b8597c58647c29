"""The hash chain over what a gateway sent, recomputed from the bytes that arrived.

`h[0] = 0^32; h[n] = SHA-256(0x00 || h[n-1] || u64be(n) || u32be(len) || body)`, hashes in lower-case hex. Written here
anew, not taken from the agent: the two must agree on the bytes, not on a function.
"""

from __future__ import annotations

import hashlib
import struct

START = "00" * 32


def next_head(head: str, seq: int, body: bytes) -> str:
    """The chain's head after record `seq` with these exact bytes."""
    return hashlib.sha256(b"\x00" + bytes.fromhex(head) + struct.pack(">QI", seq, len(body)) + body).hexdigest()


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
