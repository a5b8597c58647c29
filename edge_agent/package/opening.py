"""From bytes that anybody may have sent to a payload that may be acted on, or the reason why not.

The order is fixed, cheapest and least trusting first: size, key, signature over the bytes as they are, and only then
header, kind, scope, version, times, digest. What the payload says is judged by whoever asked for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET

from edge_agent.model import Ms
from edge_agent.package.ed25519 import NoCryptography, verifies
from edge_agent.package.keyset import Keyset, Signer
from edge_agent.package.refusal import PackageRefused
from edge_agent.package.sealing import ALGORITHM, Header, header_of, signed_bytes, split


@dataclass(frozen=True, slots=True)
class Opened:
    """A package that is what it says: who signed it, what its header says, and its payload."""

    signer: Signer
    header: Header
    payload: bytes
    digest: str  # sha-256 of the whole package: its identity


class Ratchet:
    """The highest version taken so far, by kind and key: versions never go back.

    By key, so that one stolen key that jumps to the highest version there is locks nobody but itself out.
    """

    def __init__(self, highest: Mapping[str, int] | None = None) -> None:
        self._highest = dict(highest or {})

    def last(self, kind: str, key: str) -> int:
        return self._highest.get(f"{kind}/{key}", 0)

    def passes(self, header: Header) -> bool:
        return header.v > self.last(header.t, header.key)

    def take(self, header: Header) -> None:
        name = f"{header.t}/{header.key}"
        self._highest[name] = max(self._highest.get(name, 0), header.v)

    def to_plain(self) -> dict[str, int]:
        return dict(self._highest)


def open_package(
    package: bytes,
    keyset: Keyset,
    *,
    kind: str,
    scopes: Set[str] | None,
    ratchet: Ratchet | None = None,
    now_ms: Ms | None = None,
) -> Opened:
    """Raises `PackageRefused`, also where signatures cannot be checked at all.

    `scopes`: the gateway itself, `fleet`, and the groups it belongs to; None: whoever it is meant for. `ratchet` is
    asked, not moved. `now_ms`: UTC by a clock that is synced, else None: then only the ratchet protects, a wrong clock
    must neither take an old order nor refuse a new one.
    """
    signature, raw, payload = split(package)
    signer = keyset.signers.get(_key_named(raw))
    if signer is None:
        raise PackageRefused("unknown_key", key=_key_named(raw) or "-")
    try:
        genuine = verifies(signer.public, signature, signed_bytes(raw, payload))
    except NoCryptography:
        raise PackageRefused("no_cryptography") from None
    if not genuine:
        raise PackageRefused("signature", key=signer.id)
    header = header_of(raw)
    if header.alg != ALGORITHM:
        raise PackageRefused("algorithm", alg=header.alg)
    if header.t != kind:
        raise PackageRefused("kind", t=header.t, kind=kind)
    if scopes is not None and header.scope not in scopes:
        raise PackageRefused("scope", scope=header.scope)
    if ratchet is not None and not ratchet.passes(header):
        raise PackageRefused("old_version", v=header.v, last=ratchet.last(header.t, header.key), key=header.key)
    if now_ms is not None:
        if header.nbf is not UNSET and now_ms < header.nbf * 1000:
            raise PackageRefused("not_yet")
        if header.exp is not UNSET and now_ms >= header.exp * 1000:
            raise PackageRefused("expired")
    if header.size != len(payload) or header.sha256 != hashlib.sha256(payload).hexdigest():
        raise PackageRefused("digest")
    return Opened(signer, header, payload, hashlib.sha256(package).hexdigest())


class _Named(msgspec.Struct):
    key: str = ""


def _key_named(raw: bytes) -> str:
    """Which key the header says: the only thing that is read of it before the signature."""
    try:
        return msgspec.json.decode(raw, type=_Named).key
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def plain_payload(opened: Opened, kind: type[Any]) -> Any:
    """The payload as a closed type. Raises `PackageRefused` where it does not fit, with the place and the reason."""
    try:
        return msgspec.json.decode(opened.payload, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as wrong:
        raise PackageRefused("payload", cause=str(wrong)[:200]) from None
