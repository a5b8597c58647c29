"""AES-GCM of security suite 0, the meter's own: seal, open, and the proofs of HLS-5.

    SC  0x10 authenticated, 0x20 encrypted, 0x30 both
    nonce: title of the sender, counter;  tag: the first 12 octets
    additional data: SC and authentication key, and where nothing is encrypted the octets themselves

`cryptography` is loaded when a key is first used. Source: IEC 62056-5-3 (DLMS UA 1000-2), 9.2.3.3 and 9.2.7.4.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

AUTHENTICATED, ENCRYPTED = 0x10, 0x20
BOTH = AUTHENTICATED | ENCRYPTED
_TAG = 12


class NotGenuine(ValueError):
    """A ciphered APDU that does not come from who it says, or was changed on the way."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Encryption key (EK) and authentication key (AK), 16 octets each."""

    encryption: bytes
    authentication: bytes

    def __post_init__(self) -> None:
        if len(self.encryption) != 16 or len(self.authentication) != 16:
            raise ValueError("a key of suite 0 has 16 octets")

    @property
    def fingerprint(self) -> str:
        """Names the encryption key without showing it."""
        return hashlib.sha256(b"fingerprint" + self.encryption).hexdigest()[:16]


def seal(keys: Keys, title: bytes, control: int, counter: int, plain: bytes) -> bytes:
    """Security control, counter, content and tag."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    head = bytes((control,)) + counter.to_bytes(4, "big")
    nonce = title + head[1:]
    known = bytes((control,)) + keys.authentication
    gcm = AESGCM(keys.encryption)
    match control & BOTH:
        case 0x30:
            return head + gcm.encrypt(nonce, plain, known)[: len(plain) + _TAG]
        case 0x20:
            return head + gcm.encrypt(nonce, plain, None)[: len(plain)]
        case 0x10:
            return head + plain + gcm.encrypt(nonce, b"", known + plain)[:_TAG]
    return head + plain


def unseal(keys: Keys, title: bytes, body: bytes) -> bytes:
    """The content in the clear. Raises NotGenuine."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    if len(body) < 5:
        raise NotGenuine("no room for a security header")
    control, nonce, content = body[0], title + body[1:5], body[5:]
    tag: bytes | None = None
    if control & AUTHENTICATED:
        if len(content) < _TAG:
            raise NotGenuine("no room for a tag")
        content, tag = content[:-_TAG], content[-_TAG:]
    decryptor = Cipher(algorithms.AES(keys.encryption), modes.GCM(nonce, tag, _TAG)).decryptor()
    if not control & ENCRYPTED:
        if tag is None:
            return content
        decryptor.authenticate_additional_data(bytes((control,)) + keys.authentication + content)
        plain = content
    else:
        if tag is not None:
            decryptor.authenticate_additional_data(bytes((control,)) + keys.authentication)
        plain = decryptor.update(content)
    if tag is not None:
        try:
            decryptor.finalize()
        except InvalidTag:
            raise NotGenuine("the tag is wrong") from None
    return plain


def proof(keys: Keys, title: bytes, counter: int, challenge: bytes) -> bytes:
    """f(challenge): security control, counter, tag."""
    sealed = seal(keys, title, AUTHENTICATED, counter, challenge)
    return sealed[:5] + sealed[-_TAG:]
