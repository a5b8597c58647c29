"""Ciphering of suite 0: AES-GCM with 128-bit keys and tags of 12 octets, and the proofs of HLS-5 GMAC.

    security control   SC   0x10 authenticated, 0x20 encrypted, 0x30 both; the low four bits name the suite
    nonce                   system title of the sender (8 octets), invocation counter (4)
    additional data         0x10: SC, authentication key, the octets themselves;  0x20: none;  0x30: SC, that key

Every use of a key takes its number from one function, the proofs too. Nothing is enciphered that the read-only gate has
not seen in the clear. Of what comes back, nothing is used before its control octet is at least what was agreed, its
sender the meter that was asked, its counter new, and its tag right.

`cryptography` is loaded where a key is first used, and nowhere else.

Source: IEC 62056-5-3 (DLMS UA 1000-2), 9.2.3.3 (security suite 0, GCM) and 9.2.7.4 (HLS, mechanism 5).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, IntFlag
from typing import TYPE_CHECKING, NamedTuple, Protocol

from drivers.dlms.counters import HeardCounter, InvocationCounter, MemoryStore
from drivers.dlms.octets import Octets, string_octets
from drivers.dlms.refused import Flaw, Malformed, MeterUnproven, NotSupported, ProtectionRefused, Unsupported

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TAG_OCTETS = 12
TITLE_OCTETS = 8


class Level(IntFlag):
    """What an APDU is protected by: bits of its security control."""

    NONE = 0
    AUTHENTICATED = 0x10
    ENCRYPTED = 0x20
    BOTH = 0x30


class Wrap(Enum):
    """How a ciphered APDU is dressed, and with which key."""

    GLO = "glo"
    DED = "ded"
    GENERAL_GLO = "general-glo"
    GENERAL_DED = "general-ded"

    @property
    def is_dedicated(self) -> bool:
        return self in {Wrap.DED, Wrap.GENERAL_DED}


@dataclass(frozen=True, slots=True)
class Keys:
    """The global unicast key and the authentication key of one meter; never shown."""

    encryption: bytes = field(repr=False)
    authentication: bytes = field(repr=False)
    _made: list[AESGCM] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.encryption) != 16 or len(self.authentication) != 16:
            raise ValueError("a key of suite 0 has 16 octets")

    @property
    def cipher(self) -> AESGCM:
        """Made at its first use. Raises NotSupported where `cryptography` is not installed."""
        if not self._made:
            try:
                from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            except ImportError as error:
                raise NotSupported(Unsupported.CIPHERING, "the package cryptography is not installed") from error
            self._made.append(AESGCM(self.encryption))
        return self._made[0]


class Witness(Protocol):
    """Who sees in the clear what is to be enciphered: the read-only gate of the link."""

    def seal(self, plain: bytes, encipher: Callable[[bytes], bytes]) -> bytes:
        """The ciphered APDU, if the plain one reads; it is then let through once. Else nothing is enciphered."""


_ASKED = {Wrap.GLO: {0x01: 0x21, 0xC0: 0xC8, 0xC3: 0xCB}, Wrap.DED: {0xC0: 0xD0, 0xC3: 0xD3}}
"""By the tag in the clear: the tag of the ciphered request."""

_GENERAL_GLO, _GENERAL_DED = 0xDB, 0xDC
_ANSWERED = {
    0x28: (False, 0x08), 0x2E: (False, 0x0E), 0xCC: (False, 0xC4), 0xCF: (False, 0xC7),
    0x48: (True, 0x08), 0x4E: (True, 0x0E), 0xD4: (True, 0xC4), 0xD7: (True, 0xC7),
    _GENERAL_GLO: (False, 0), _GENERAL_DED: (True, 0),
}  # fmt: skip
"""By the tag of a ciphered answer: whether it is under the dedicated key, and the tag inside (0: any)."""

_ELSEWHERE = {
    0xDD: (Unsupported.GENERAL_CIPHERING, "the meter answers with general-ciphering"),
    0xDF: (Unsupported.GENERAL_CIPHERING, "the meter answers with general-signing"),
    0xE0: (Unsupported.GENERAL_BLOCK_TRANSFER, "the meter answers in general blocks"),
}
_SUITE, _BROADCAST, _COMPRESSED = 0x0F, 0x40, 0x80


class _Under(NamedTuple):
    """One key with both counters under it."""

    keys: Keys
    ours: InvocationCounter
    heard: HeardCounter


class Protection:
    """What one client and one meter protect their APDUs with, for one association.

    `counter` and `heard` belong to the global key and outlive the association. `meter_title` is what the meter must
    call itself; empty: whatever its AARE says. A dedicated key is made anew for every association: its counter starts
    at 0.
    """

    def __init__(
        self,
        keys: Keys,
        title: bytes,
        counter: InvocationCounter,
        *,
        witness: Witness,
        heard: HeardCounter | None = None,
        level: Level = Level.BOTH,
        wrap: Wrap = Wrap.GLO,
        meter_title: bytes = b"",
        dedicated_key: bytes = b"",
        own_title_sent: bool = True,
    ) -> None:
        if len(title) != TITLE_OCTETS or len(meter_title) not in {0, TITLE_OCTETS}:
            raise ValueError("a system title has 8 octets")
        if wrap.is_dedicated and not level & Level.ENCRYPTED:
            raise ValueError("a dedicated key can only be handed over encrypted")
        self.title, self.meter_title = title, meter_title
        self.level, self.wrap = level, wrap
        self.dedicated_key = (dedicated_key or secrets.token_bytes(16)) if wrap.is_dedicated else b""
        self._witness = witness
        self._sent_title = title if own_title_sent else b""
        self._global = _Under(keys, counter, heard or HeardCounter())
        self._dedicated: _Under | None = None
        if wrap.is_dedicated:
            dedicated = Keys(self.dedicated_key, keys.authentication)
            self._dedicated = _Under(dedicated, InvocationCounter(MemoryStore()), HeardCounter())
        self._heard_before_proof = -1

    def meet(self, title: bytes) -> None:
        """The meter's title as its AARE gives it. Raises ProtectionRefused for another meter's, or for none at all."""
        if title and self.meter_title and title != self.meter_title:
            raise ProtectionRefused(
                Flaw.OTHER_TITLE, f"asked the meter {self.meter_title.hex()}, {title.hex()} answered"
            )
        if title and len(title) != TITLE_OCTETS:
            raise Malformed(f"a system title of {len(title)} octets")
        self.meter_title = title or self.meter_title
        if not self.meter_title:
            raise ProtectionRefused(Flaw.NO_TITLE, "the meter has not said its system title, and none was given")

    def protect(self, plain: bytes) -> bytes:
        """The ciphered form of a request. What does not read is refused by the witness before a counter is used."""
        return self._witness.seal(plain, self._encipher)

    def unprotect(self, apdu: bytes, *, initiate: bool = False) -> bytes:
        """The plain form of an answer. Raises ProtectionRefused, NotSupported or Malformed, and then nothing was used.

        `initiate`: it is inside an AARE, where a dedicated key does not count yet.
        """
        source = Octets(apdu)
        tag = source.u8()
        if tag in _ELSEWHERE:
            raise NotSupported(*_ELSEWHERE[tag])
        if tag not in _ANSWERED:
            raise ProtectionRefused(Flaw.WEAKER, f"an answer in the clear ({tag:02X}), {self.level.name} was agreed")
        dedicated, inside = _ANSWERED[tag]
        sender = source.string() if tag in {_GENERAL_GLO, _GENERAL_DED} else b""
        body = source.string()
        source.end("the ciphered APDU")
        under = self._dedicated if self.wrap.is_dedicated and not initiate else self._global
        if under is None or dedicated != (under is self._dedicated):
            raise ProtectionRefused(Flaw.OTHER_KEY, f"{tag:02X} is under another key than was agreed")
        if sender and sender != self.meter_title:
            raise ProtectionRefused(Flaw.OTHER_TITLE, f"{sender.hex()} answered for {self.meter_title.hex()}")
        plain = self._open(body, under)
        if inside and plain[:1] != bytes((inside,)):
            raise Malformed(f"{tag:02X} with {plain[:1].hex() or 'nothing'} inside")
        return plain

    def prove(self, challenge: bytes) -> bytes:
        """f(StoC): shows the meter that we know the key."""
        self._heard_before_proof = self._global.heard.last
        return seal(self._global.keys, self.title, Level.AUTHENTICATED, self._global.ours.take(), challenge, bare=True)

    def check_proof(self, challenge: bytes, proof: bytes) -> None:
        """f(CtoS): whether the meter knows the key. Raises MeterUnproven.

        Its counter is from before that of the APDU which brings it: it must be new to what was heard before we asked.
        """
        if len(proof) != 5 + TAG_OCTETS or proof[0] != Level.AUTHENTICATED:
            raise MeterUnproven("the meter's proof is not one of HLS-5 GMAC")
        number = int.from_bytes(proof[1:5], "big")
        if number <= self._heard_before_proof:
            raise MeterUnproven("the meter's proof is an old one")
        expected = seal(self._global.keys, self.meter_title, Level.AUTHENTICATED, number, challenge, bare=True)
        if not hmac.compare_digest(expected, proof):
            raise MeterUnproven("the meter's proof is wrong: it does not know the key, or another meter answered")
        self._global.heard.heard(number)

    def _encipher(self, plain: bytes) -> bytes:
        initiate = plain[:1] == b"\x01"
        under = self._global if initiate or self._dedicated is None else self._dedicated
        body = string_octets(seal(under.keys, self.title, self.level, under.ours.take(), plain))
        if self.wrap in {Wrap.GLO, Wrap.DED} or initiate:
            tags = _ASKED[Wrap.GLO if initiate else self.wrap]
            return bytes((tags[plain[0]],)) + body
        tag = _GENERAL_DED if self.wrap is Wrap.GENERAL_DED else _GENERAL_GLO
        return bytes((tag,)) + string_octets(self._sent_title) + body

    def _open(self, body: bytes, under: _Under) -> bytes:
        source = Octets(body)
        control, number = source.u8(), source.u32()
        if control & _SUITE:
            raise NotSupported(Unsupported.SUITE, f"security suite {control & _SUITE}; this driver knows suite 0")
        if control & _COMPRESSED:
            raise NotSupported(Unsupported.COMPRESSION, "compressed APDUs")
        if control & _BROADCAST:
            raise ProtectionRefused(Flaw.OTHER_KEY, "an answer under the broadcast key")
        if self.level & ~control or not control & Level.BOTH:
            raise ProtectionRefused(Flaw.WEAKER, f"protection {control:02X}, {self.level:02X} was agreed")
        under.heard.check(number)
        plain = unseal(under.keys, self.meter_title, body)
        under.heard.heard(number)
        return plain


def seal(keys: Keys, title: bytes, level: Level, number: int, plain: bytes, *, bare: bool = False) -> bytes:
    """Security control, counter, content and tag. `bare`: without the content, as in a proof."""
    counter = number.to_bytes(4, "big")
    control = bytes((level,))
    content, tag = _gcm(keys, title + counter, level, plain)
    return control + counter + (b"" if bare else content) + tag


def unseal(keys: Keys, title: bytes, body: bytes) -> bytes:
    """The content in the clear, once its tag is right. Raises ProtectionRefused for a tag that is wrong."""
    level, nonce = Level(body[0] & Level.BOTH), title + body[1:5]
    split = len(body) - (TAG_OCTETS if level & Level.AUTHENTICATED else 0)
    if split < 5:
        raise Malformed("a ciphered APDU without room for its tag")
    content, tag = body[5:split], body[split:]
    plain = _keystreamed(keys, nonce, content) if level & Level.ENCRYPTED else content
    if level & Level.AUTHENTICATED and not hmac.compare_digest(_gcm(keys, nonce, level, plain)[1], tag):
        raise ProtectionRefused(Flaw.TAG, "the authentication tag is wrong")
    return plain


def _gcm(keys: Keys, nonce: bytes, level: Level, plain: bytes) -> tuple[bytes, bytes]:
    """Content and tag; the tag is empty where nothing is authenticated."""
    cipher, head = keys.cipher, bytes((level,)) + keys.authentication
    match level:
        case Level.BOTH:
            sealed = cipher.encrypt(nonce, plain, head)
            return sealed[: len(plain)], sealed[len(plain) :][:TAG_OCTETS]
        case Level.AUTHENTICATED:
            return plain, cipher.encrypt(nonce, b"", head + plain)[:TAG_OCTETS]
        case Level.ENCRYPTED:
            return cipher.encrypt(nonce, plain, None)[: len(plain)], b""
    return plain, b""


def _keystreamed(keys: Keys, nonce: bytes, content: bytes) -> bytes:
    """What the content is in the clear, if it is genuine: for whoever looks at the tag next.

    `cryptography` opens nothing whose tag has 12 octets; but what zeros become, content becomes the plain one under.
    """
    size = len(content)
    stream = keys.cipher.encrypt(nonce, bytes(size), None)[:size]
    return (int.from_bytes(stream, "big") ^ int.from_bytes(content, "big")).to_bytes(size, "big")
