"""One association as the meter has it: with whom, what was agreed, and how its APDUs are protected.

    AARQ --> open                    (no authentication, LLS)
    AARQ --> proving --ACTION--> open    (HLS-5 GMAC)

Source: IEC 62056-5-3 (DLMS UA 1000-2), 9.2.3.3 (protection) and 9.2.7.4 (HLS).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from simulator.dlms.client import Client
from simulator.dlms.codec import Malformed, Octets, string_octets
from simulator.dlms.codes import Reject
from simulator.dlms.guard import AUTHENTICATED, BOTH, ENCRYPTED, Keys, NotGenuine, seal, unseal
from simulator.dlms.ledger import CounterLedger
from simulator.faults import Fault, FaultKind

GENERAL_GLO, GENERAL_DED = 0xDB, 0xDC
CIPHERED = frozenset({0x21, 0xC8, 0xC9, 0xCB, 0xD0, 0xD1, 0xD3, GENERAL_GLO, GENERAL_DED})
"""Tags of what a client may send ciphered."""

_INSIDE = {0x21: 0x01, 0xC8: 0xC0, 0xC9: 0xC1, 0xCB: 0xC3, 0xD0: 0xC0, 0xD1: 0xC1, 0xD3: 0xC3}
_GLO = {0x08: 0x28, 0xC4: 0xCC, 0xC7: 0xCF}
_DED = {0xC4: 0xD4, 0xC7: 0xD7}


class Rejected(Exception):
    """An APDU that the meter answers with an exception-response."""

    def __init__(self, error: Reject, counter: int | None = None) -> None:
        super().__init__(error)
        self.error, self.counter = error, counter


class Dress(Enum):
    """How an APDU was ciphered: the answer goes the same way."""

    PLAIN = "plain"
    GLO = "glo"
    DED = "ded"
    GENERAL_GLO = "general-glo"
    GENERAL_DED = "general-ded"


class Opened(NamedTuple):
    """An APDU in the clear; `before`: the counter that was the last before it came."""

    plain: bytes
    dress: Dress = Dress.PLAIN
    control: int = 0
    before: int = -1


@dataclass(slots=True)
class Long:
    """An answer in blocks: what is left of it."""

    invoke: int
    content: bytes
    number: int = 0


@dataclass
class Association:
    """`channel`: the connection or data link it lives on. `title` is the client's."""

    client: Client
    channel: object
    title: bytes
    heard_s: float
    services: int = 0
    most_pdu: int = 0
    ciphers: bool = False
    proven: bool = True
    stoc: bytes = b""
    ctos: bytes = b""
    dedicated: Keys | None = None
    dedicated_heard: int = -1
    long: Long | None = None
    said: dict[str, int] = field(default_factory=dict)
    """The meter's own last counter by key."""

    def keys(self, dress: Dress) -> Keys | None:
        return self.dedicated if dress in {Dress.DED, Dress.GENERAL_DED} else self.client.keys

    def open(self, apdu: bytes, ledger: CounterLedger) -> Opened:
        """Take the protection off. Raises Rejected for what is not from this client, or came before."""
        source = Octets(apdu)
        try:
            tag = source.u8()
            if tag not in CIPHERED:
                return Opened(apdu)
            dress = _dress(tag)
            sender = source.string() if tag in {GENERAL_GLO, GENERAL_DED} else b""
            body = source.string()
            source.end("the ciphered APDU")
        except Malformed:
            raise Rejected(Reject.DECIPHERING) from None
        keys = self.keys(dress)
        if keys is None or not self.title or sender not in {b"", self.title} or len(body) < 5:
            raise Rejected(Reject.DECIPHERING)
        return self._checked(tag, dress, keys, body, ledger)

    def _checked(self, tag: int, dress: Dress, keys: Keys, body: bytes, ledger: CounterLedger) -> Opened:
        control, counter = body[0], int.from_bytes(body[1:5], "big")
        key = keys.fingerprint
        try:
            plain = unseal(keys, self.title, body)
        except NotGenuine:
            ledger.note(key, self.title, counter, genuine=False)
            raise Rejected(Reject.DECIPHERING) from None
        ledger.note(key, self.title, counter, genuine=True)
        if control & ~BOTH or self.client.control & ~control or not control & BOTH:
            raise Rejected(Reject.DECIPHERING)  # another suite, or weaker than this client must
        own = keys is self.dedicated
        last = self.dedicated_heard if own else ledger.last(key, self.title)
        if counter <= last:
            raise Rejected(Reject.COUNTER, last + 1)
        if tag in _INSIDE and plain[:1] != bytes((_INSIDE[tag],)):
            raise Rejected(Reject.DECIPHERING)
        if own:
            self.dedicated_heard = counter
        else:
            ledger.accept(key, self.title, counter)
        return Opened(plain, dress, control, last)

    def close(self, plain: bytes, opened: Opened, title: bytes, ledger: CounterLedger, fault: Fault | None = None,
              *, says_title: bool = True) -> bytes:  # fmt: skip
        """Put the protection on, as the request had it; a fault spoils it."""
        if opened.dress is Dress.PLAIN:
            return plain
        keys = self.keys(opened.dress)
        assert keys is not None
        key, control = keys.fingerprint, opened.control
        kind = None if fault is None else fault.kind
        if fault is not None and kind is FaultKind.WEAKER:
            if fault.code not in {AUTHENTICATED, ENCRYPTED}:
                return plain
            control = fault.code
        if kind is FaultKind.OLD_COUNTER and key in self.said:
            counter = self.said[key]
        else:
            counter = self.said[key] = ledger.own(key)
        if kind is FaultKind.OTHER_TITLE:
            title = other_title(title)
        body = bytearray(seal(keys, title, control, counter, plain))
        if kind is FaultKind.WRONG_TAG:
            body[-1] ^= 0x01
        elif kind is FaultKind.FLIPPED_BIT:
            body[5] ^= 0x04
        match opened.dress:
            case Dress.GENERAL_GLO | Dress.GENERAL_DED:
                tag = GENERAL_GLO if opened.dress is Dress.GENERAL_GLO else GENERAL_DED
                return bytes((tag,)) + string_octets(title if says_title else b"") + string_octets(bytes(body))
            case Dress.DED:
                return bytes((_DED.get(plain[0], 0xD4),)) + string_octets(bytes(body))
        return bytes((_GLO.get(plain[0], 0xCC),)) + string_octets(bytes(body))

    def room(self, opened: Opened, most: int) -> int:
        """Octets that an answer in the clear may have, so that it fits what both sides take."""
        limit = min(most, self.most_pdu or most)
        match opened.dress:
            case Dress.PLAIN:
                return limit
            case Dress.GENERAL_GLO | Dress.GENERAL_DED:
                return limit - 30
        return limit - 21


def other_title(title: bytes) -> bytes:
    """A meter's of the same maker."""
    return title[:-1] + bytes((title[-1] ^ 0x01,))


def _dress(tag: int) -> Dress:
    if tag in {GENERAL_GLO, GENERAL_DED}:
        return Dress.GENERAL_GLO if tag == GENERAL_GLO else Dress.GENERAL_DED
    return Dress.DED if tag in {0xD0, 0xD1, 0xD3} else Dress.GLO
