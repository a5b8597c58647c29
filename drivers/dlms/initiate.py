"""What client and meter agree on inside an association: services (conformance), the largest APDU, a dedicated key.

Source: IEC 62056-5-3 (DLMS UA 1000-2), abstract syntax (InitiateRequest, InitiateResponse) and conformance block.
"""

from __future__ import annotations

from enum import IntFlag
from typing import NamedTuple

from drivers.dlms.octets import Octets, string_octets
from drivers.dlms.refused import Malformed

DLMS_VERSION = 6
SHORT_NAMES = 0xFA00
"""The vaa-name of a meter that is addressed by short names."""

REQUEST, RESPONSE = 0x01, 0x08


class Conformance(IntFlag):
    """Services, the first bit of the bit-string the highest."""

    GENERAL_PROTECTION = 1 << 22
    GENERAL_BLOCK_TRANSFER = 1 << 21
    READ = 1 << 20
    WRITE = 1 << 19
    UNCONFIRMED_WRITE = 1 << 18
    DELTA_VALUE_ENCODING = 1 << 17
    ATTRIBUTE0_WITH_SET = 1 << 15
    PRIORITY = 1 << 14
    ATTRIBUTE0_WITH_GET = 1 << 13
    BLOCK_TRANSFER_WITH_GET = 1 << 12
    BLOCK_TRANSFER_WITH_SET = 1 << 11
    BLOCK_TRANSFER_WITH_ACTION = 1 << 10
    MULTIPLE_REFERENCES = 1 << 9
    INFORMATION_REPORT = 1 << 8
    DATA_NOTIFICATION = 1 << 7
    ACCESS = 1 << 6
    PARAMETERIZED_ACCESS = 1 << 5
    GET = 1 << 4
    SET = 1 << 3
    SELECTIVE_ACCESS = 1 << 2
    EVENT_NOTIFICATION = 1 << 1
    ACTION = 1 << 0


READING = (
    Conformance.BLOCK_TRANSFER_WITH_GET
    | Conformance.MULTIPLE_REFERENCES
    | Conformance.GET
    | Conformance.SELECTIVE_ACCESS
    | Conformance.ACTION  # an HLS association is proven by an action
)
"""What this driver proposes: nothing that writes."""

_HEADS = (b"\x5f\x1f\x04\x00", b"\x5f\x04\x00")
"""[APPLICATION 31] in two octets, or in one as older meters have it; four octets, no unused bits."""


class Agreed(NamedTuple):
    """An InitiateResponse. `max_pdu` 0 sets no limit."""

    conformance: Conformance
    max_pdu: int
    vaa_name: int
    version: int = DLMS_VERSION


def initiate_request(conformance: Conformance, max_pdu: int, dedicated_key: bytes = b"") -> bytes:
    """An InitiateRequest: response allowed, no quality of service."""
    key = b"\x01" + string_octets(dedicated_key) if dedicated_key else b"\x00"
    return (
        bytes((REQUEST,))
        + key
        + b"\x00\x00"
        + bytes((DLMS_VERSION,))
        + _HEADS[0]
        + conformance.to_bytes(3, "big")
        + max_pdu.to_bytes(2, "big")
    )


def initiate_response(octets: bytes) -> Agreed:
    """From the octets of an InitiateResponse. Raises Malformed."""
    source = Octets(octets)
    source.expect(RESPONSE, "InitiateResponse")
    if source.flag():
        source.u8()  # quality of service
    version = source.u8()
    head = source.take(2)
    if head == _HEADS[0][:2]:
        head += source.take(2)
    elif head == _HEADS[1][:2]:
        head += source.take(1)
    if head not in _HEADS:
        raise Malformed(f"{head.hex()} does not begin a conformance block")
    conformance = Conformance(int.from_bytes(source.take(3), "big"))
    agreed = Agreed(conformance, source.u16(), source.u16(), version)
    source.end("InitiateResponse")
    return agreed
