"""Opening and ending, the meter's side: AARQ read, AARE written, RLRQ read, RLRE written.

Source: IEC 62056-5-3 (DLMS UA 1000-2), abstract syntax of the ACSE APDUs; InitiateRequest and InitiateResponse.
"""

from __future__ import annotations

from typing import NamedTuple

from simulator.dlms.codec import Malformed, Octets, elements, unwrap, wrap
from simulator.dlms.codes import Diagnosis, Result

AARQ, AARE, RLRQ, RLRE = 0x60, 0x61, 0x62, 0x63
LONG_NAMES, CIPHERED = 1, 3
"""Application contexts; 2 and 4 are those of short names."""
NONE, LLS, GMAC = 0, 1, 5
"""Mechanisms of authentication."""

CONTEXT_NAME = bytes.fromhex("608574050801")
MECHANISM_NAME = bytes.fromhex("608574050802")
VERSION = 6
VAA_NAME = 7


class Opening(NamedTuple):
    """What an AARQ asks for."""

    context: int
    mechanism: int
    secret: bytes  # password or challenge
    title: bytes  # the client's; empty: it says none
    information: bytes


class Wish(NamedTuple):
    """An InitiateRequest."""

    dedicated_key: bytes
    version: int
    services: int
    most_pdu: int


def aarq(octets: bytes) -> Opening:
    """Raises Malformed."""
    found = elements(unwrap(octets, AARQ, "AARQ"), "AARQ")
    if 0xA1 not in found:
        raise Malformed("an AARQ without an application context")
    context = unwrap(found[0xA1], 0x06, "application context")
    mechanism = found.get(0x8B, b"")
    if mechanism and not mechanism.startswith(MECHANISM_NAME):
        raise Malformed("a mechanism that is not of DLMS")
    return Opening(
        context=context[-1] if context[:-1] == CONTEXT_NAME else 0,
        mechanism=mechanism[-1] if mechanism else NONE,
        secret=unwrap(found[0xAC], 0x80, "authentication value") if 0xAC in found else b"",
        title=unwrap(found[0xA6], 0x04, "calling title") if 0xA6 in found else b"",
        information=unwrap(found[0xBE], 0x04, "user-information") if 0xBE in found else b"",
    )


def aare(
    result: Result,
    diagnosis: Diagnosis,
    information: bytes,
    *,
    context: int,
    title: bytes = b"",
    challenge: bytes = b"",
) -> bytes:
    """An AARE; `challenge`: the client is to prove itself by HLS-5."""
    parts = [
        wrap(0xA1, wrap(0x06, CONTEXT_NAME + bytes((context,)))),
        wrap(0xA2, wrap(0x02, bytes((result,)))),
        wrap(0xA3, wrap(0xA1, wrap(0x02, bytes((diagnosis,))))),
    ]
    if title:
        parts.append(wrap(0xA4, wrap(0x04, title)))
    if challenge:
        parts.append(wrap(0x88, b"\x07\x80"))
        parts.append(wrap(0x89, MECHANISM_NAME + bytes((GMAC,))))
        parts.append(wrap(0xAA, wrap(0x80, challenge)))
    if information:
        parts.append(wrap(0xBE, wrap(0x04, information)))
    return wrap(AARE, b"".join(parts))


def wish(octets: bytes) -> Wish:
    """An InitiateRequest. Raises Malformed."""
    source = Octets(octets)
    source.expect(0x01, "InitiateRequest")
    key = source.string() if source.flag() else b""
    if source.flag():
        source.u8()  # response-allowed, false: nobody asks that
    if source.flag():
        source.u8()  # quality of service
    version = source.u8()
    head = source.take(2)
    if head == b"\x5f\x1f":
        head = b"\x5f" + source.take(1)
    if head != b"\x5f\x04" or source.u8() != 0:
        raise Malformed("no conformance block")
    found = Wish(key, version, int.from_bytes(source.take(3), "big"), source.u16())
    source.end("InitiateRequest")
    return found


def agreement(services: int, most_pdu: int) -> bytes:
    """An InitiateResponse."""
    return (
        b"\x08\x00"
        + bytes((VERSION,))
        + b"\x5f\x1f\x04\x00"
        + services.to_bytes(3, "big")
        + most_pdu.to_bytes(2, "big")
        + VAA_NAME.to_bytes(2, "big")
    )


VERSION_TOO_LOW = bytes.fromhex("0E010601")
"""confirmed-service-error of an InitiateRequest: initiate, dlms-version-too-low."""


def rlrq(octets: bytes) -> bytes:
    """The user-information of an RLRQ. Raises Malformed."""
    found = elements(unwrap(octets, RLRQ, "RLRQ"), "RLRQ")
    return unwrap(found[0xBE], 0x04, "user-information") if 0xBE in found else b""


def rlre(information: bytes = b"") -> bytes:
    inside = wrap(0xBE, wrap(0x04, information)) if information else b""
    return wrap(RLRE, wrap(0x80, b"\x00") + inside)
