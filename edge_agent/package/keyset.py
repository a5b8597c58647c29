"""Whose signature counts: two pinned keys, each with a name; and the private half that a person keeps.

Two, because one decision always takes two people. A third key would let two of three agree behind the back of the one
who answers for it, and the loss of one of two is an occasion to go to the gateway, not to trust the network.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_agent.package import ed25519

KEYS = 2
_ID = re.compile(r"[a-z0-9-]{1,32}\Z")


@dataclass(frozen=True, slots=True)
class Signer:
    """A name and the public key that goes with it."""

    id: str
    public: bytes


@dataclass(frozen=True, slots=True)
class Keyset:
    """The pinned signers, by name. Empty: nothing that is signed is believed."""

    signers: Mapping[str, Signer] = field(default_factory=dict)

    def of(self, public: bytes) -> Signer | None:
        """Who holds this key."""
        return next((s for s in self.signers.values() if s.public == public), None)


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """What a person signs with; its bytes are never shown."""

    id: str
    pem: bytes = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        return ed25519.sign(self.pem, message)


def keyset_from(plain: Mapping[str, Any]) -> Keyset:
    """From `[[key]]` tables with `id` and `public`. ValueError says what is wrong in them."""
    if set(plain) - {"key"} or not isinstance(plain.get("key"), list):
        raise ValueError(f"it holds {KEYS} tables [[key]], each with id and public, and nothing else")
    signers: dict[str, Signer] = {}
    for table in plain["key"]:
        if not isinstance(table, Mapping) or set(table) != {"id", "public"}:
            raise ValueError("a table [[key]] has exactly the keys id and public")
        name = table["id"]
        if not isinstance(name, str) or not _ID.match(name):
            raise ValueError(f"{name!r} is no id: 1 to 32 of a-z, 0-9 and -")
        try:
            public = base64.b64decode(str(table["public"]), validate=True)
        except (binascii.Error, ValueError):
            public = b""
        if len(public) != ed25519.KEY_OCTETS:
            raise ValueError(f"public of key {name} is no base64 of {ed25519.KEY_OCTETS} octets")
        signers[name] = Signer(name, public)
    if len(signers) != KEYS or len({s.public for s in signers.values()}) != KEYS:
        raise ValueError(f"there must be {KEYS} keys with different names and different public halves")
    return Keyset(signers)


def private_key_from(pem: bytes, keyset: Keyset) -> PrivateKey:
    """A person's key, under the name that it is pinned by. ValueError: no such key, or nobody has pinned it."""
    signer = keyset.of(ed25519.public_of(pem))
    if signer is None:
        raise ValueError("its public half is none of the pinned signers")
    return PrivateKey(signer.id, pem)


def new_private_key() -> tuple[bytes, str]:
    """A new key as PEM, and its public half in base64, as it is pinned."""
    pem = ed25519.new_pem()
    return pem, base64.b64encode(ed25519.public_of(pem)).decode()
