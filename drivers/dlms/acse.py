"""The APDUs that open and end an association: AARQ and AARE, RLRQ and RLRE.

Source: IEC 62056-5-3 (DLMS UA 1000-2), abstract syntax of the ACSE APDUs; names of contexts and mechanisms.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from drivers.dlms import ber
from drivers.dlms.refused import Diagnostic, Malformed

AARQ, AARE, RLRQ, RLRE = 0x60, 0x61, 0x62, 0x63

_CONTEXT_ID = bytes.fromhex("608574050801")  # 2.16.756.5.8.1
_MECHANISM_ID = bytes.fromhex("608574050802")  # 2.16.756.5.8.2
_AUTHENTICATES = bytes.fromhex("0780")  # a bit string of one bit, set


class Context(IntEnum):
    """Application context: how objects are named, and whether APDUs are ciphered."""

    LONG_NAMES = 1
    SHORT_NAMES = 2
    LONG_NAMES_CIPHERED = 3
    SHORT_NAMES_CIPHERED = 4


class Mechanism(IntEnum):
    """How client and meter show who they are."""

    NONE = 0
    LLS = 1
    HLS = 2
    HLS_MD5 = 3
    HLS_SHA1 = 4
    HLS_GMAC = 5
    HLS_SHA256 = 6
    HLS_ECDSA = 7


def aarq(
    context: Context,
    information: bytes,
    *,
    mechanism: Mechanism = Mechanism.NONE,
    secret: bytes = b"",
    title: bytes = b"",
) -> bytes:
    """A request to associate. `secret`: the password, or the challenge; `title`: the client's own."""
    parts = [ber.wrap(0xA1, ber.wrap(0x06, _CONTEXT_ID + bytes((context,))))]
    if title:
        parts.append(ber.wrap(0xA6, ber.wrap(0x04, title)))
    if mechanism:
        parts.append(ber.wrap(0x8A, _AUTHENTICATES))
        parts.append(ber.wrap(0x8B, _MECHANISM_ID + bytes((mechanism,))))
        parts.append(ber.wrap(0xAC, ber.wrap(0x80, secret)))
    parts.append(ber.wrap(0xBE, ber.wrap(0x04, information)))
    return ber.wrap(AARQ, b"".join(parts))


class Aare(NamedTuple):
    """A meter's answer to an AARQ."""

    context: int
    """0: none of the names in the standard."""
    result: int
    diagnostic: Diagnostic
    title: bytes
    mechanism: int
    challenge: bytes
    information: bytes
    """The user-information; a meter that refuses may leave it out."""


def aare_of(octets: bytes) -> Aare:
    """From the octets of an AARE. Raises Malformed."""
    found = ber.elements(ber.unwrap(octets, AARE, "AARE"), "AARE")
    for tag, name in ((0xA1, "application context"), (0xA2, "result"), (0xA3, "diagnostic")):
        if tag not in found:
            raise Malformed(f"an AARE without its {name}")
    return Aare(
        context=_last(ber.unwrap(found[0xA1], 0x06, "application context"), _CONTEXT_ID),
        result=_number(found[0xA2], "result"),
        diagnostic=_diagnostic(found[0xA3]),
        title=ber.unwrap(found[0xA4], 0x04, "responding title") if 0xA4 in found else b"",
        mechanism=_last(found.get(0x89, b""), _MECHANISM_ID),
        challenge=ber.unwrap(found[0xAA], 0x80, "authentication value") if 0xAA in found else b"",
        information=ber.unwrap(found[0xBE], 0x04, "user-information") if 0xBE in found else b"",
    )


def rlrq(information: bytes = b"") -> bytes:
    """A request to release, reason normal. `information`: an InitiateRequest, where the meter wants to see one."""
    inside = ber.wrap(0xBE, ber.wrap(0x04, information)) if information else b""
    return ber.wrap(RLRQ, ber.wrap(0x80, b"\x00") + inside)


def is_rlre(octets: bytes) -> bool:
    """Whether this is the answer to an RLRQ; its reason changes nothing. Raises Malformed for one that is torn."""
    if octets[:1] != bytes((RLRE,)):
        return False
    ber.elements(ber.unwrap(octets, RLRE, "RLRE"), "RLRE")
    return True


def _last(name: bytes, prefix: bytes) -> int:
    """The number at the end of an object identifier of DLMS; 0 for another one."""
    return name[-1] if len(name) == len(prefix) + 1 and name.startswith(prefix) else 0


def _number(octets: bytes, what: str) -> int:
    content = ber.unwrap(octets, 0x02, what)
    if len(content) != 1:
        raise Malformed(f"{what} in {len(content)} octets")
    return content[0]


def _diagnostic(octets: bytes) -> Diagnostic:
    by_provider = octets[:1] == b"\xa2"
    number = _number(ber.unwrap(octets, 0xA2 if by_provider else 0xA1, "diagnostic"), "diagnostic")
    try:
        return Diagnostic(number + 256 * by_provider)
    except ValueError:
        return Diagnostic.PROVIDER_NO_REASON_GIVEN if by_provider else Diagnostic.NO_REASON_GIVEN
