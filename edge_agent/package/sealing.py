"""The form of a package, and how one is made.

    package   = base64(signature) "\\n" header "\\n" payload
    header    = one line of JSON, signed as it stands: what it is, which version, for whom, whose key, what it holds
    signature = Ed25519( "edge-agent-package/1\\n" || SHA-256(header) || SHA-256(payload) )

There is no canonical JSON: the bytes that were signed are the bytes that are checked, before anything parses them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from edge_agent.package.ed25519 import SIGNATURE_OCTETS
from edge_agent.package.keyset import PrivateKey
from edge_agent.package.refusal import PackageRefused

SIZE_MAX = 65_536
"""A package's bytes at most; what is longer is not looked at."""

HEADER_MAX = 2_048
ALGORITHM = "ed25519"
CONTEXT = b"edge-agent-package/1\n"
VERSION_MAX = 2**53 - 1

Word = Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9-]{0,31}\Z")]
KeyId = Annotated[str, Meta(pattern=r"\A[a-z0-9-]{1,32}\Z")]
Scope = Annotated[str, Meta(pattern=r"\A(fleet|(group:)?[a-z0-9-]{1,32})\Z")]
Hex = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Seconds = Annotated[int, Meta(ge=0, le=VERSION_MAX)]


class Header(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed about a payload. `nbf`, `exp`: UTC, s since 1970: not before, and not after."""

    t: Word  # releases, feedback ...
    v: Annotated[int, Meta(ge=1, le=VERSION_MAX)]
    scope: Scope  # a gateway, a group of them, or the fleet
    key: KeyId
    alg: str
    sha256: Hex  # of the payload
    size: Annotated[int, Meta(ge=0, le=SIZE_MAX)]
    nbf: Seconds | UnsetType = UNSET
    exp: Seconds | UnsetType = UNSET


class Parts(NamedTuple):
    """A package as bytes, taken apart and not yet believed."""

    signature: bytes
    header: bytes
    payload: bytes


def seal_package(
    payload: bytes,
    *,
    kind: str,
    version: int,
    scope: str,
    key: PrivateKey,
    nbf_s: int | None = None,
    exp_s: int | None = None,
) -> bytes:
    """The package of a payload, signed. ValueError: it is too long, or a word in its header is none."""
    made = Header(
        t=kind, v=version, scope=scope, key=key.id, alg=ALGORITHM, sha256=hashlib.sha256(payload).hexdigest(),
        size=len(payload), nbf=UNSET if nbf_s is None else nbf_s, exp=UNSET if exp_s is None else exp_s,
    )  # fmt: skip
    header = msgspec.json.encode(made)
    msgspec.json.decode(header, type=Header)  # the same rules for who writes as for who reads
    package = base64.b64encode(key.sign(signed_bytes(header, payload))) + b"\n" + header + b"\n" + payload
    if len(package) > SIZE_MAX:
        raise ValueError(f"a package has at most {SIZE_MAX} bytes, this one {len(package)}")
    return package


def signed_bytes(header: bytes, payload: bytes) -> bytes:
    return CONTEXT + hashlib.sha256(header).digest() + hashlib.sha256(payload).digest()


def split(package: bytes) -> Parts:
    """Raises `PackageRefused` where it has not the form: too long, cut off, no signature, no header."""
    if len(package) > SIZE_MAX:
        raise PackageRefused("too_long", size=len(package), most=SIZE_MAX)
    lines = package.split(b"\n", 2)
    if len(lines) != 3 or len(lines[1]) > HEADER_MAX:
        raise PackageRefused("form")
    try:
        signature = base64.b64decode(lines[0], validate=True)
    except (binascii.Error, ValueError):
        raise PackageRefused("form") from None
    # base64 leaves bits over that mean nothing: two texts of one signature would be two packages
    if len(signature) != SIGNATURE_OCTETS or base64.b64encode(signature) != lines[0]:
        raise PackageRefused("form")
    return Parts(signature, lines[1], lines[2])


def header_of(raw: bytes) -> Header:
    """Raises `PackageRefused` for what is no header of this form."""
    try:
        return msgspec.json.decode(raw, type=Header)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise PackageRefused("header") from None
