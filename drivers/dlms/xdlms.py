"""The services that read: GET and what answers it, and the one action that proves an association.

Requests are made of an invoke-id, which the meter repeats, and of attributes; answers come whole, as a list, or in
blocks. An answer that is an error is raised as what it is.

Source: IEC 62056-5-3 (DLMS UA 1000-2), GET and ACTION services; abstract syntax of COSEM APDUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from drivers.dlms import axdr
from drivers.dlms.axdr import Data, Decoder, Limits
from drivers.dlms.octets import Octets, length_octets
from drivers.dlms.refused import (
    DataAccess,
    ExceptionResponse,
    Malformed,
    NotSupported,
    ServiceError,
    Unsupported,
    data_access,
)

GET_REQUEST, GET_RESPONSE, ACTION_REQUEST, ACTION_RESPONSE = 0xC0, 0xC4, 0xC3, 0xC7
SERVICE_ERROR, EXCEPTION = 0x0E, 0xD8

CONFIRMED, HIGH_PRIORITY, INVOKE_ID = 0x40, 0x80, 0x0F
"""Bits of the octet that holds the invoke-id."""

MOST_LIST = 255

ASSOCIATION = bytes((0, 0, 40, 0, 0, 255))
"""The association object as the client itself sees it (class 15)."""

_NOT_READ = {
    0x0C: (Unsupported.SHORT_NAMES, "the meter answers by short names"),
    0x0D: (Unsupported.SHORT_NAMES, "the meter answers by short names"),
    0xDD: (Unsupported.GENERAL_CIPHERING, "the meter answers with general-ciphering"),
    0xDF: (Unsupported.GENERAL_CIPHERING, "the meter answers with general-signing"),
    0xE0: (Unsupported.GENERAL_BLOCK_TRANSFER, "the meter answers in general blocks"),
}


class Attribute(NamedTuple):
    """One attribute of one object, or with `selection` a part of it."""

    class_id: int
    instance: bytes
    """The six octets of its OBIS code."""
    attribute: int
    selection: bytes = b""
    """Selector and parameter, as `drivers.dlms.selection` makes them; empty: the whole."""

    def to_octets(self) -> bytes:
        if len(self.instance) != 6:
            raise ValueError(f"{self.instance.hex()} is no logical name")
        access = b"\x01" + self.selection if self.selection else b"\x00"
        number = self.attribute.to_bytes(1, "big", signed=True)
        return self.class_id.to_bytes(2, "big") + self.instance + number + access

    def __str__(self) -> str:
        a, b, c, d, e, f = self.instance
        return f"class {self.class_id} {a}-{b}:{c}.{d}.{e}.{f} attribute {self.attribute}"


Result = Data | DataAccess
"""A value, or why it was not given."""


class One(NamedTuple):
    """GET-Response-Normal."""

    invoke_id: int
    result: Result


class Block(NamedTuple):
    """GET-Response-With-Datablock."""

    invoke_id: int
    is_last: bool
    number: int
    content: bytes | DataAccess


class Several(NamedTuple):
    """GET-Response-With-List."""

    invoke_id: int
    results: tuple[Result, ...]


class Acted(NamedTuple):
    """ACTION-Response-Normal; `result` is the Action-Result, of which 0 is success."""

    invoke_id: int
    result: int
    data: Result | None


def get_normal(invoke: int, attribute: Attribute) -> bytes:
    return bytes((GET_REQUEST, 1, invoke)) + attribute.to_octets()


def get_next(invoke: int, block: int) -> bytes:
    """The block after the one with that number."""
    return bytes((GET_REQUEST, 2, invoke)) + block.to_bytes(4, "big")


def get_with_list(invoke: int, attributes: Sequence[Attribute]) -> bytes:
    if not 0 < len(attributes) <= MOST_LIST:
        raise ValueError(f"a list of {len(attributes)} attributes")
    return (
        bytes((GET_REQUEST, 3, invoke))
        + length_octets(len(attributes))
        + b"".join([attribute.to_octets() for attribute in attributes])
    )


def reply_to_hls(invoke: int, proof: bytes) -> bytes:
    """ACTION of the association object's method 1, reply_to_HLS_authentication: the only action there is here."""
    target = (15).to_bytes(2, "big") + ASSOCIATION + b"\x01"
    return bytes((ACTION_REQUEST, 1, invoke)) + target + b"\x01" + axdr.encode(axdr.octet_string(proof))


def response_of(octets: bytes, limits: Limits = axdr.LIMITS) -> One | Block | Several | Acted:
    """What an APDU in the clear answers.

    Raises ServiceError and ExceptionResponse for the meter's own errors, NotSupported for answers of kinds that are
    not asked for here, Malformed for everything else.
    """
    if len(octets) > limits.octets:
        raise Malformed(f"an APDU of {len(octets)} octets, at most {limits.octets} are taken")
    source = Octets(octets)
    tag = source.u8()
    answer: One | Block | Several | Acted
    match tag:
        case 0xC4:
            answer = _get(source, limits)
        case 0xC7:
            answer = _acted(source, limits)
        case 0x0E:
            raise service_error_of(octets)
        case 0xD8:
            raise exception_of(octets)
        case _ if tag in _NOT_READ:
            raise NotSupported(*_NOT_READ[tag])
        case _:
            raise Malformed(f"an APDU that begins with {tag:02X} answers nothing")
    source.end("the answer")
    return answer


def service_error_of(octets: bytes) -> ServiceError:
    """A confirmed-service-error. Raises Malformed."""
    source = Octets(octets)
    source.expect(SERVICE_ERROR, "confirmed-service-error")
    error = ServiceError(source.u8(), source.u8(), source.u8())
    source.end("confirmed-service-error")
    return error


def exception_of(octets: bytes) -> ExceptionResponse:
    """An exception-response. Raises Malformed."""
    source = Octets(octets)
    source.expect(EXCEPTION, "exception-response")
    state, service = source.u8(), source.u8()
    counter = source.u32() if service == 6 and source.left else None
    source.end("exception-response")
    return ExceptionResponse(state, service, counter)


def results_of(octets: bytes, count: int, limits: Limits) -> tuple[Result, ...]:
    """The results of a list that came in blocks. Raises Malformed."""
    source = Octets(octets)
    results = _results(source, limits)
    source.end("the list")
    if len(results) != count:
        raise Malformed(f"{count} attributes asked, {len(results)} answered")
    return results


def _get(source: Octets, limits: Limits) -> One | Block | Several:
    kind, invoke = source.u8(), source.u8() & INVOKE_ID
    match kind:
        case 1:
            return One(invoke, _result(source, Decoder(source, limits)))
        case 2:
            last, number = source.flag(), source.u32()
            content = data_access(source.u8()) if source.flag() else source.string()
            return Block(invoke, last, number, content)
        case 3:
            return Several(invoke, _results(source, limits))
    raise Malformed(f"GET has no response of kind {kind}")


def _acted(source: Octets, limits: Limits) -> Acted:
    source.expect(1, "ACTION response normal")
    invoke, result = source.u8() & INVOKE_ID, source.u8()
    return Acted(invoke, result, _result(source, Decoder(source, limits)) if source.flag() else None)


def _results(source: Octets, limits: Limits) -> tuple[Result, ...]:
    count = source.length()
    if count > min(source.left, MOST_LIST):
        raise Malformed(f"a list of {count} results")
    decoder = Decoder(source, limits)
    return tuple([_result(source, decoder) for _ in range(count)])


def _result(source: Octets, decoder: Decoder) -> Result:
    if not source.flag():
        return decoder.take()
    result = data_access(source.u8())
    if result is DataAccess.SUCCESS:
        raise Malformed("a success without its value")
    return result
