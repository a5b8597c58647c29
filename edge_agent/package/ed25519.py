"""The one door to `cryptography` for signatures: Ed25519 (RFC 8032), keys as 32 octets or PEM.

Loaded where a key is first used: an agent without pinned signers does without its 7 MiB.
"""

from __future__ import annotations

SIGNATURE_OCTETS = 64
KEY_OCTETS = 32


class NoCryptography(Exception):
    """The package `cryptography` is not installed: nothing can be signed, and no signature believed."""


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the key's holder signed exactly these bytes. ValueError: `public` is no key."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as absent:
        raise NoCryptography from absent
    key = Ed25519PublicKey.from_public_bytes(public)
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def sign(pem: bytes, message: bytes) -> bytes:
    """ValueError: no unencrypted Ed25519 key in PEM."""
    return _private(pem).sign(message)  # type: ignore[attr-defined,no-any-return]


def public_of(pem: bytes) -> bytes:
    """The 32 octets that others pin. ValueError: no unencrypted Ed25519 key in PEM."""
    return _private(pem).public_key().public_bytes_raw()  # type: ignore[attr-defined,no-any-return]


def new_pem() -> bytes:
    """A new private key, PKCS 8, not encrypted."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    except ImportError as absent:
        raise NoCryptography from absent
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _private(pem: bytes) -> object:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as absent:
        raise NoCryptography from absent
    try:
        key = load_pem_private_key(pem, None)
    except (TypeError, UnsupportedAlgorithm) as wrong:
        raise ValueError(str(wrong)) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("not an Ed25519 key")
    return key
