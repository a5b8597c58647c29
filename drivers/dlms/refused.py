"""Every way in which a DLMS meter, or what came from it, says no: typed, named after the standard, with a code.

Each is one of the four errors that a driver may raise, so that whoever polls knows what to do next. `code` names the
sentence with the cure (`edge_agent/words`, room `dlms`), `fields` fill it in; the message is for the log.

Source: IEC 62056-5-3 (DLMS UA 1000-2), abstract syntax of ACSE and COSEM APDUs.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from edge_agent.model import GapCause
from edge_agent.ports import BadReply, DriverError, NoReply, Refused


class DataAccess(IntEnum):
    """Data-Access-Result: why an attribute was not given."""

    SUCCESS = 0
    HARDWARE_FAULT = 1
    TEMPORARY_FAILURE = 2
    READ_WRITE_DENIED = 3
    OBJECT_UNDEFINED = 4
    OBJECT_CLASS_INCONSISTENT = 9
    OBJECT_UNAVAILABLE = 11
    TYPE_UNMATCHED = 12
    SCOPE_OF_ACCESS_VIOLATED = 13
    DATA_BLOCK_UNAVAILABLE = 14
    LONG_GET_ABORTED = 15
    NO_LONG_GET_IN_PROGRESS = 16
    LONG_SET_ABORTED = 17
    NO_LONG_SET_IN_PROGRESS = 18
    DATA_BLOCK_NUMBER_INVALID = 19
    OTHER_REASON = 250


class Result(IntEnum):
    """Association-result of an AARE."""

    ACCEPTED = 0
    REJECTED_PERMANENT = 1
    REJECTED_TRANSIENT = 2


class Diagnostic(IntEnum):
    """Result-source-diagnostic of an AARE, by the service user; the provider's are 256 higher."""

    NULL = 0
    NO_REASON_GIVEN = 1
    APPLICATION_CONTEXT_NAME_NOT_SUPPORTED = 2
    CALLING_AP_TITLE_NOT_RECOGNIZED = 3
    CALLING_AP_INVOCATION_IDENTIFIER_NOT_RECOGNIZED = 4
    CALLING_AE_QUALIFIER_NOT_RECOGNIZED = 5
    CALLING_AE_INVOCATION_IDENTIFIER_NOT_RECOGNIZED = 6
    CALLED_AP_TITLE_NOT_RECOGNIZED = 7
    CALLED_AP_INVOCATION_IDENTIFIER_NOT_RECOGNIZED = 8
    CALLED_AE_QUALIFIER_NOT_RECOGNIZED = 9
    CALLED_AE_INVOCATION_IDENTIFIER_NOT_RECOGNIZED = 10
    AUTHENTICATION_MECHANISM_NAME_NOT_RECOGNISED = 11
    AUTHENTICATION_MECHANISM_NAME_REQUIRED = 12
    AUTHENTICATION_FAILURE = 13
    AUTHENTICATION_REQUIRED = 14
    PROVIDER_NULL = 256
    PROVIDER_NO_REASON_GIVEN = 257
    NO_COMMON_ACSE_VERSION = 258


SERVICE_ERRORS: dict[int, tuple[str, tuple[str, ...]]] = {
    0: (
        "application-reference",
        (
            "other", "time-elapsed", "application-unreachable", "application-reference-invalid",
            "application-context-unsupported", "provider-communication-error", "deciphering-error",
        ),
    ),
    1: (
        "hardware-resource",
        (
            "other", "memory-unavailable", "processor-resource-unavailable", "mass-storage-unavailable",
            "other-resource-unavailable",
        ),
    ),
    2: (
        "vde-state-error",
        ("other", "no-dlms-context", "loading-data-set", "status-nochange", "status-inoperable"),
    ),
    3: ("service", ("other", "pdu-size", "service-unsupported")),
    4: (
        "definition",
        ("other", "object-undefined", "object-class-inconsistent", "object-attribute-inconsistent"),
    ),
    5: (
        "access",
        (
            "other", "scope-of-access-violated", "object-access-violated", "hardware-fault", "object-unavailable",
        ),
    ),
    6: (
        "initiate",
        (
            "other", "dlms-version-too-low", "incompatible-conformance", "pdu-size-too-short",
            "refused-by-the-VDE-handler",
        ),
    ),
    7: (
        "load-data-set",
        (
            "other", "primitive-out-of-sequence", "not-loadable", "evaluated-data-set-size-too-large",
            "proposed-data-set-size-too-large", "data-set-not-ready", "interpretation-failure",
        ),
    ),
    9: ("task", ("other", "no-remote-control", "ti-stopped", "ti-running", "ti-unusable")),
}  # fmt: skip
"""ServiceError of a confirmed-service-error: its kind, and what its numbers mean."""

STATE_ERRORS = {1: "service-not-allowed", 2: "service-unknown"}
EXCEPTIONS = {
    1: "operation-not-possible",
    2: "service-not-supported",
    3: "other-reason",
    4: "pdu-too-long",
    5: "deciphering-error",
    6: "invocation-counter-error",
}
"""State-error and service-error of an exception-response."""


class Flaw(StrEnum):
    """What is wrong with the protection of what came."""

    WEAKER = "weaker"  # less than was agreed, or none
    TAG = "tag"
    OLD_COUNTER = "old_counter"
    OTHER_TITLE = "other_title"
    NO_TITLE = "no_title"
    OTHER_KEY = "other_key"


class Unsupported(StrEnum):
    """What this driver recognises and does not do."""

    SHORT_NAMES = "short_names"
    SUITE = "suite"
    MODE_E = "mode_e"
    GENERAL_BLOCK_TRANSFER = "general_block_transfer"
    GENERAL_CIPHERING = "general_ciphering"  # general-ciphering and general-signing
    COMPACT_ARRAY = "compact_array"
    DELTA = "delta"  # delta types of a compressed profile
    COMPRESSION = "compression"
    MECHANISM = "mechanism"
    CIPHERING = "ciphering"  # without the package that ciphers


class Said(DriverError):
    """The code of a sentence for a person, and its fields."""

    code = "dlms.malformed"


class Malformed(Said, BadReply):
    """Bytes that are not what the standard says they are."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.fields = {"what": message}


class Desync(Said, BadReply):
    """The data link has lost its thread: it has to be made anew."""

    code = "dlms.desync"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.fields = {"what": message}


class MeterHungUp(Said, NoReply):
    """The meter says that there is no data link any more (DM): connect anew. The line itself is well."""

    code = "dlms.hung_up"
    cause = GapCause.BUSY

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.fields = {}


class LinkRefused(Said, NoReply):
    """The meter answers the wish to connect with DM: it is there, and another client has it, or the address is off."""

    code = "dlms.link_refused"
    cause = GapCause.BUSY

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.fields = {}


class NotSupported(Said, Refused):
    """Recognised, and not spoken by this driver."""

    def __init__(self, what: Unsupported, detail: str) -> None:
        super().__init__(f"not supported: {detail}")
        self.what = what
        self.code = f"dlms.not_supported.{what}"
        self.fields = {"detail": detail}


class AssociationRefused(Said, Refused):
    """An AARE that says no. `initiate` is the meter's confirmed-service-error, if it gave one."""

    def __init__(self, result: int, diagnostic: Diagnostic, initiate: str = "") -> None:
        self.result, self.diagnostic, self.initiate = result, diagnostic, initiate
        said = diagnostic.name.lower()
        super().__init__(f"association refused ({result}): {said}{': ' + initiate if initiate else ''}")
        self.code = f"dlms.association.{'initiate' if initiate else said}"
        self.fields = {"diagnostic": said.replace("_", " "), "error": initiate}


class AssociationBusy(Said, NoReply):
    """Not now: the meter has another association open, or has not noticed yet that the last one broke off."""

    code = "dlms.association.busy"
    cause = GapCause.BUSY

    def __init__(self, said: str) -> None:
        super().__init__(f"association refused for now: {said}")
        self.fields = {"said": said}


class AssociationLost(Said, NoReply):
    """The meter no longer knows of the association that was open: make a new one."""

    code = "dlms.association.lost"
    cause = GapCause.BUSY

    def __init__(self, said: str) -> None:
        super().__init__(f"the association is gone: {said}")
        self.fields = {"said": said}


class MeterUnproven(Said, Refused):
    """Whoever answered has not shown that it knows the key."""

    code = "dlms.meter_unproven"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.fields = {"what": message}


class ServiceError(Said, Refused):
    """A confirmed-service-error."""

    code = "dlms.service_error"

    def __init__(self, service: int, kind: int, number: int) -> None:
        self.service, self.kind, self.number = service, kind, number
        self.name = service_error(kind, number)
        super().__init__(f"confirmed-service-error: {self.name}")
        self.fields = {"error": self.name}


class ExceptionResponse(Said, Refused):
    """An exception-response. `counter` is the meter's invocation counter, where it gave it."""

    def __init__(self, state: int, service: int, counter: int | None = None) -> None:
        self.state, self.service, self.counter = state, service, counter
        self.name = EXCEPTIONS.get(service, f"service-error-{service}")
        state_name = STATE_ERRORS.get(state, f"state-error-{state}")
        super().__init__(f"exception-response: {state_name}, {self.name}")
        self.code = f"dlms.exception.{self.name.replace('-', '_')}" if service in EXCEPTIONS else "dlms.exception.other"
        self.fields = {"state": state_name, "error": self.name}


class AccessRefused(Said, Refused):
    """An attribute is not given to us."""

    def __init__(self, result: DataAccess, what: str) -> None:
        said = result.name.lower()
        super().__init__(f"{what} refused: {said}")
        self.result = result
        self.code = f"dlms.access.{said}"
        self.fields = {"what": what}


class AccessFailed(Said, NoReply):
    """An attribute was not given this time: ask again."""

    cause = GapCause.BUSY

    def __init__(self, result: DataAccess, what: str) -> None:
        said = result.name.lower()
        super().__init__(f"{what} failed: {said}")
        self.result = result
        self.code = f"dlms.access.{said}"
        self.fields = {"what": what}


class ProtectionRefused(Said, BadReply):
    """What came is not protected as agreed, or not by the meter that was asked. Nothing of it is used."""

    def __init__(self, flaw: Flaw, message: str) -> None:
        super().__init__(message)
        self.flaw = flaw
        self.code = f"dlms.protection.{flaw}"
        self.fields = {}


class CounterSpent(Said, Refused):
    """No invocation counter is left under this key, or the meter claims one that would leave almost none."""

    code = "dlms.counter_spent"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.fields = {}


class CounterUnkept(Said, Refused):
    """The invocation counter cannot be kept on the disk: nothing is enciphered with a number that may come twice."""

    code = "dlms.counter_unkept"

    def __init__(self, message: str) -> None:
        super().__init__(f"the invocation counter cannot be kept: {message}")
        self.fields = {"what": message}


class KeyAbsent(Said, Refused):
    """A secret that the association needs cannot be had. `what` never holds any of it."""

    code = "dlms.key_absent"

    def __init__(self, key: str, what: str) -> None:
        super().__init__(f"no {key}: {what}")
        self.fields = {"key": key, "what": what}


class ClockOff(Said, BadReply):
    """The meter's clock is too far from true time for what it stamped to be used."""

    code = "dlms.clock_off"

    def __init__(self, off_s: float) -> None:
        super().__init__(f"the meter's clock is {off_s:+.0f} s off: what it stamped is not used")
        self.fields = {"off_s": f"{off_s:+.0f}"}


class ClockUnknown(Said, Refused):
    """What the meter's time stamps mean in UTC cannot be told."""

    code = "dlms.clock_unknown"

    def __init__(self, why: str) -> None:
        super().__init__(f"the meter's time stamps cannot be told in UTC: {why}")
        self.fields = {"why": why}


class TimeUnset(Said, NoReply):
    """The gateway has no true time yet, and cannot hold the meter's clock to it."""

    code = "dlms.time_unset"
    cause = GapCause.CLOCK_UNSET

    def __init__(self) -> None:
        super().__init__("the gateway has no true time yet to compare the meter's clock with")
        self.fields = {}


class NoProfile(Said, Refused):
    """The meter keeps no load profile that this device's profile names, or none that can be used."""

    code = "dlms.no_profile"

    def __init__(self, why: str) -> None:
        super().__init__(f"no load profile: {why}")
        self.fields = {"why": why}


class NoLog(Said, Refused):
    """The meter keeps no event log that this device's profile names, or none that can be used."""

    code = "dlms.no_log"

    def __init__(self, why: str) -> None:
        super().__init__(f"no event log: {why}")
        self.fields = {"why": why}


_AGAIN = {
    DataAccess.TEMPORARY_FAILURE,
    DataAccess.DATA_BLOCK_UNAVAILABLE,
    DataAccess.LONG_GET_ABORTED,
    DataAccess.NO_LONG_GET_IN_PROGRESS,
    DataAccess.DATA_BLOCK_NUMBER_INVALID,
}


def access_error(result: DataAccess, what: str) -> AccessRefused | AccessFailed:
    """As an error: to be asked again, or not."""
    return AccessFailed(result, what) if result in _AGAIN else AccessRefused(result, what)


def data_access(number: int) -> DataAccess:
    """By its number; what the standard does not list is OTHER_REASON."""
    try:
        return DataAccess(number)
    except ValueError:
        return DataAccess.OTHER_REASON


def service_error(kind: int, number: int) -> str:
    """For a person: `initiate: dlms-version-too-low`."""
    name, numbers = SERVICE_ERRORS.get(kind, (f"service-error-{kind}", ()))
    return f"{name}: {numbers[number] if number < len(numbers) else number}"
