"""Every refusal of the DLMS driver has a sentence with its cure, and every sentence a refusal."""

from __future__ import annotations

import pytest

from drivers.dlms import refused
from drivers.dlms.refused import (
    EXCEPTIONS,
    SERVICE_ERRORS,
    DataAccess,
    Diagnostic,
    Flaw,
    Said,
    Unsupported,
    data_access,
    service_error,
)
from edge_agent.model import GapCause
from edge_agent.ports import BadReply, DriverError, NoReply, Refused
from edge_agent.words import say, sentences

ALL: list[Said] = [
    refused.Malformed("what"),
    refused.Desync("what"),
    refused.MeterHungUp("what"),
    refused.LinkRefused("what"),
    *(refused.NotSupported(what, "detail") for what in Unsupported),
    *(refused.AssociationRefused(1, diagnostic) for diagnostic in Diagnostic),
    refused.AssociationRefused(1, Diagnostic.NO_REASON_GIVEN, "initiate: other"),
    refused.AssociationBusy("said"),
    refused.AssociationLost("said"),
    refused.MeterUnproven("what"),
    refused.ServiceError(5, 5, 1),
    *(refused.ExceptionResponse(1, service, 7) for service in (*EXCEPTIONS, 77)),
    *(refused.access_error(result, "the energy register") for result in DataAccess),
    *(refused.ProtectionRefused(flaw, "what") for flaw in Flaw),
    refused.CounterSpent("what"),
    refused.CounterUnkept("what"),
    refused.KeyAbsent("password", "what"),
    refused.ClockOff(-400.0),
    refused.ClockUnknown("why"),
    refused.TimeUnset(),
    refused.NoProfile("why"),
    refused.NoLog("why"),
]


@pytest.mark.parametrize("error", ALL, ids=lambda e: e.code)
def test_every_refusal_has_its_cure(error):
    assert len(say(error.code, **error.fields)) > 30
    assert isinstance(error, DriverError)


def test_no_sentence_is_left_over():
    assert {code for code in sentences("en") if code.startswith("dlms.")} == {error.code for error in ALL}


def test_each_says_what_the_poller_does_next():
    kinds: dict[type[DriverError], type[DriverError]] = {
        refused.Malformed: BadReply, refused.Desync: BadReply, refused.ProtectionRefused: BadReply,
        refused.MeterHungUp: NoReply, refused.LinkRefused: NoReply, refused.AssociationBusy: NoReply,
        refused.AssociationLost: NoReply, refused.AccessFailed: NoReply,
        refused.NotSupported: Refused, refused.AssociationRefused: Refused,
        refused.MeterUnproven: Refused, refused.ServiceError: Refused, refused.ExceptionResponse: Refused,
        refused.AccessRefused: Refused, refused.CounterSpent: Refused, refused.CounterUnkept: Refused,
        refused.KeyAbsent: Refused, refused.ClockOff: BadReply, refused.ClockUnknown: Refused,
        refused.TimeUnset: NoReply, refused.NoProfile: Refused, refused.NoLog: Refused,
    }  # fmt: skip
    assert {type(error) for error in ALL} == set(kinds)
    for error in ALL:
        kind = kinds[type(error)]
        assert isinstance(error, kind)
        busy = GapCause.CLOCK_UNSET if isinstance(error, refused.TimeUnset) else GapCause.BUSY
        assert error.cause is (busy if kind is NoReply else kind.cause)


def test_numbers_that_the_standard_does_not_list_have_a_name_all_the_same():
    assert data_access(77) is DataAccess.OTHER_REASON
    assert service_error(6, 1) == "initiate: dlms-version-too-low"
    assert service_error(6, 99) == "initiate: 99"
    assert service_error(99, 1) == "service-error-99: 1"
    assert all(numbers[0] == "other" for _, numbers in SERVICE_ERRORS.values())
