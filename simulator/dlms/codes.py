"""Numbers of the standard, as a meter needs them.

Source: IEC 62056-5-3 (DLMS UA 1000-2), abstract syntax of the ACSE and COSEM APDUs, and conformance block.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag


class Access(IntEnum):
    """Data-Access-Result."""

    GIVEN = 0
    TEMPORARY_FAILURE = 2
    DENIED = 3
    UNDEFINED = 4
    OTHER_CLASS = 9
    TYPE_UNMATCHED = 12
    LONG_GET_ABORTED = 15
    NO_LONG_GET = 16
    BLOCK_NUMBER = 19
    OTHER = 250


class Reject(IntEnum):
    """Service-error of an exception-response."""

    NOT_POSSIBLE = 1
    NOT_SUPPORTED = 2
    OTHER = 3
    TOO_LONG = 4
    DECIPHERING = 5
    COUNTER = 6


class Result(IntEnum):
    """Association-result."""

    ACCEPTED = 0
    PERMANENT = 1
    TRANSIENT = 2


class Diagnosis(IntEnum):
    """Result-source-diagnostic of the service user."""

    NONE = 0
    NO_REASON = 1
    CONTEXT = 2
    CALLING_TITLE = 3
    MECHANISM = 11
    MECHANISM_REQUIRED = 12
    FAILED = 13
    PROVE = 14


class Service(IntFlag):
    """Conformance: the services of an association."""

    GENERAL_PROTECTION = 1 << 22
    PRIORITY = 1 << 14
    BLOCKS = 1 << 12
    LIST = 1 << 9
    GET = 1 << 4
    SET = 1 << 3
    SELECTIVE = 1 << 2
    EVENTS = 1 << 1
    ACTION = 1 << 0


OFFERED = (
    Service.GENERAL_PROTECTION
    | Service.PRIORITY
    | Service.BLOCKS
    | Service.LIST
    | Service.GET
    | Service.SELECTIVE
    | Service.ACTION
)
"""What a meter here can do, unless it is told otherwise."""


def rejected(error: Reject, counter: int | None = None) -> bytes:
    """An exception-response: service-unknown where the service is not there, else service-not-allowed.

    `counter`: the next one that the meter would take.
    """
    state = 2 if error is Reject.NOT_SUPPORTED else 1
    return bytes((0xD8, state, error)) + (b"" if counter is None else counter.to_bytes(4, "big"))
