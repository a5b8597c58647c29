"""Every fault of a simulated DLMS meter, shown: what the driver's sans-io client makes of it, and when it is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from drivers.dlms.association import Phase
from drivers.dlms.axdr import Tag
from drivers.dlms.counters import HeardCounter, InvocationCounter, MemoryStore
from drivers.dlms.objects import Class, attribute, obis
from drivers.dlms.protection import Wrap
from drivers.dlms.refused import (
    AssociationBusy,
    DataAccess,
    ExceptionResponse,
    Flaw,
    Malformed,
    NotSupported,
    ProtectionRefused,
)
from edge_agent.ports import DriverError
from simulator.clock import HandClock
from simulator.dlms.meter import DlmsMeter
from simulator.faults import NOT_ON_DLMS, ON_DLMS, ON_LINE, ON_TCP, TRUTH, Fault, FaultKind
from tests import dlms_meter as hand
from tests.sim_dlms import BUFFER, ENERGY, METER_TITLE, T0, TIME, TWELVE, Channel, Client, connect, sim_meter

FROM, TO = T0 + 60_000, T0 + 120_000

ELSEWHERE = {
    # tests/test_sim_dlms_profile.py: what changes the meter itself
    FaultKind.RESCALED, FaultKind.CLOCK_JUMP, FaultKind.NULL_CELLS, FaultKind.PROFILE_HOLE,
    # tests/test_sim_dlms_carriers.py: what happens to bytes on their way
    FaultKind.SILENCE, FaultKind.LATE, FaultKind.SPLIT, FaultKind.WRONG_UNIT, *ON_TCP, *ON_LINE,
}  # fmt: skip


def struck(kind: FaultKind, way: str, wrap: Wrap = Wrap.GLO, **more: Any) -> tuple[Client, DlmsMeter, Fault]:
    """A client that has associated before the fault begins; the clock stands in the middle of it."""
    fault = Fault(kind, FROM, TO, **more)
    meter = sim_meter(fault, clock=HandClock(T0), most_pdu=500)
    client = connect(meter, way, wrap=wrap).open()
    assert client.value(TIME)
    move(meter, FROM)
    return client, meter, fault


def move(meter: DlmsMeter, to_ms: int) -> None:
    assert isinstance(meter.clock, HandClock)
    meter.clock.now_ms = to_ms


def refused(work: Callable[[], object]) -> DriverError:
    with pytest.raises(DriverError) as caught:
        work()
    return caught.value


CIPHERED = [("gmac", wrap) for wrap in Wrap]
EVERY = [("none", Wrap.GLO), ("lls", Wrap.GLO), *CIPHERED]


def named(part: object) -> str:
    return str(getattr(part, "value", part))


@pytest.mark.parametrize(("way", "wrap"), EVERY, ids=named)
@pytest.mark.parametrize(
    "kind", [FaultKind.WRONG_INVOKE, FaultKind.WRONG_FUNCTION, FaultKind.SHORT], ids=str
)  # fmt: skip
def test_an_answer_to_another_question_gives_no_value(kind: FaultKind, way: str, wrap: Wrap):
    client, meter, fault = struck(kind, way, wrap)
    assert isinstance(refused(lambda: client.value(ENERGY)), Malformed | ProtectionRefused)
    assert fault.struck == 1
    move(meter, TO)
    assert client.value(ENERGY)


@pytest.mark.parametrize(("way", "wrap"), EVERY, ids=named)
def test_blocks_that_are_aborted_give_nothing_of_what_came(way: str, wrap: Wrap):
    client, meter, fault = struck(FaultKind.BLOCK_ABORT, way, wrap)
    error = refused(lambda: client.value(BUFFER))
    assert "long_get_aborted" in str(error)
    assert fault.struck == 1
    assert client.value(ENERGY)  # no blocks, no abort
    move(meter, TO)
    assert client.value(BUFFER)


def test_a_value_that_is_refused_or_not_there_now():
    client, meter, fault = struck(FaultKind.EXCEPTION, "none", code=3, quantity="active_energy_import")
    assert client.read(ENERGY) == (DataAccess.READ_WRITE_DENIED,)
    assert client.value(TIME)
    assert fault.struck == 1
    move(meter, TO)
    assert client.value(ENERGY)
    client, _, _ = struck(FaultKind.BUSY, "none")
    assert set(client.read(*TWELVE)) == {DataAccess.TEMPORARY_FAILURE}


def test_a_register_that_shows_nothing_stands_still_or_lies():
    energy = "active_energy_import"
    client, meter, _ = struck(FaultKind.NOT_AVAILABLE, "none", quantity=energy)
    assert client.value(ENERGY).tag is Tag.NULL
    client, meter, _ = struck(FaultKind.STUCK, "none", quantity=energy)
    stood = client.value(ENERGY)
    move(meter, TO - 1)
    assert client.value(ENERGY) == stood
    move(meter, TO + 60_000)
    assert client.value(ENERGY) != stood
    client, _, _ = struck(FaultKind.HELD, "none", quantity=energy, value=12_340.0)
    assert client.value(ENERGY).integer("") == 1234


@pytest.mark.parametrize(("way", "wrap"), CIPHERED, ids=named)
@pytest.mark.parametrize(
    ("kind", "flaw", "code"),
    [
        (FaultKind.WRONG_TAG, Flaw.TAG, 4),
        (FaultKind.FLIPPED_BIT, Flaw.TAG, 4),
        (FaultKind.WEAKER, Flaw.WEAKER, 0x10),
        (FaultKind.WEAKER, Flaw.WEAKER, 0x20),
        (FaultKind.WEAKER, Flaw.WEAKER, 4),
        (FaultKind.OLD_COUNTER, Flaw.OLD_COUNTER, 4),
        (FaultKind.OTHER_TITLE, None, 4),
    ],
)
def test_protection_that_is_not_right_gives_no_value(
    kind: FaultKind, flaw: Flaw | None, code: int, way: str, wrap: Wrap
):
    client, meter, fault = struck(kind, way, wrap, code=code)
    error = refused(lambda: client.value(ENERGY))
    assert isinstance(error, ProtectionRefused)
    # Another meter says its name in general-glo and -ded alone; where it does not, its tag is wrong.
    general = wrap in {Wrap.GENERAL_GLO, Wrap.GENERAL_DED}
    assert error.flaw is (flaw or (Flaw.OTHER_TITLE if general else Flaw.TAG))
    assert fault.struck == 1
    move(meter, TO)
    assert client.value(ENERGY)


@pytest.mark.parametrize(
    ("kind", "flaws"),
    [
        (FaultKind.WRONG_TAG, {Flaw.TAG}),
        (FaultKind.FLIPPED_BIT, {Flaw.TAG}),
        (FaultKind.WEAKER, {Flaw.WEAKER}),
        (FaultKind.OTHER_TITLE, {Flaw.OTHER_TITLE}),
    ],
)
def test_protection_that_is_not_right_gives_no_association(kind: FaultKind, flaws: set[Flaw]):
    meter = sim_meter(Fault(kind, FROM, TO, code=0x20), clock=HandClock(FROM))
    error = refused(lambda: connect(meter, "gmac", meter_title=METER_TITLE).open())
    assert isinstance(error, ProtectionRefused)
    assert error.flaw in flaws


def test_an_old_counter_of_the_meter_is_refused_across_associations():
    heard = HeardCounter()
    meter = sim_meter()
    client = connect(meter, "gmac", heard=heard).open()
    client.release()
    forgetful = sim_meter(counter=1)  # the same key, and its own counter from the beginning
    error = refused(lambda: connect(forgetful, "gmac", heard=heard, counter=client.counter).open())
    assert isinstance(error, ProtectionRefused)
    assert error.flaw is Flaw.OLD_COUNTER


def test_an_association_held_by_somebody_else():
    for quirks in ([], ["says_exception"], ["bare_refusal"]):
        meter = sim_meter(Fault(FaultKind.ASSOCIATION_HELD, FROM, TO), clock=HandClock(FROM), quirks=quirks)
        assert isinstance(refused(lambda m=meter: connect(m, "lls").open()), AssociationBusy)  # type: ignore[misc]
        assert isinstance(refused(lambda m=meter: connect(m, "gmac").open()), AssociationBusy)  # type: ignore[misc]
        move(meter, TO)
        assert connect(meter, "lls").open().value(TIME)


def test_a_meter_that_hangs_up_has_forgotten_the_association():
    client, meter, fault = struck(FaultKind.HUNG_UP, "lls")
    channel = client._say
    assert isinstance(channel, Channel)
    assert meter.answer(2, bytes.fromhex("C00141 0008 0000010000FF 02 00"), channel, 1.0).hangs_up
    assert not meter.open
    assert fault.struck == 1
    move(meter, TO)
    assert "operation-not-possible" in str(refused(lambda: client.value(TIME)))
    assert client.association.phase is Phase.CLOSED
    assert connect(meter, "lls").open().value(TIME)


@pytest.mark.parametrize("wrap", Wrap, ids=named)
def test_a_counter_that_is_rejected_is_followed_upwards(wrap: Wrap):
    client, meter, fault = struck(FaultKind.COUNTER_REJECTED, "gmac", wrap, count=5000, one_in=2)
    assert client.value(ENERGY)
    error = refused(lambda: client.value(ENERGY))
    assert isinstance(error, ExceptionResponse)
    assert error.counter is not None
    assert error.counter > 5000
    assert fault.struck == 1
    move(meter, TO)
    channel = client._say
    assert isinstance(channel, Channel)
    channel.close()
    behind = connect(meter, "gmac", wrap=wrap, counter=client.counter)
    again = refused(behind.open)
    assert isinstance(again, ExceptionResponse)
    assert again.counter == error.counter
    client.counter.raise_to(error.counter)
    assert connect(meter, "gmac", wrap=wrap, counter=client.counter).open().value(ENERGY)
    assert not meter.ledger.twice


def test_a_meter_that_leaves_its_title_out_of_general_glo_is_understood():
    for wrap in (Wrap.GENERAL_GLO, Wrap.GENERAL_DED):
        meter = sim_meter(quirks=["no_title"])
        client = connect(meter, "gmac", wrap=wrap).open()
        assert client.value(ENERGY)
        channel = client._say
        assert isinstance(channel, Channel)
        assert channel.answers[-1].apdu[1] == 0
        body = channel.answers[-1].apdu[3:]
        if wrap is Wrap.GENERAL_GLO:
            assert hand.opened(METER_TITLE, body)[:2] == bytes.fromhex("C401")


def test_a_meter_that_knows_no_release():
    client = connect(sim_meter(quirks=["no_release"])).open()
    assert isinstance(refused(client.release), ExceptionResponse)


def test_flags_inside_an_answer_are_octets_like_any_other():
    item = "0-0:96.1.1.255"
    client = connect(sim_meter(items={item: "09087E7E7EA0077E7E7E"})).open()
    value = client.value(attribute(Class.DATA, obis(item), "value"))
    assert value.octets("") == bytes.fromhex("7E7E7EA0077E7E7E")


def test_every_fault_says_what_an_honest_reader_makes_of_it_and_is_shown_somewhere():
    here = {
        FaultKind.WRONG_INVOKE, FaultKind.WRONG_FUNCTION, FaultKind.SHORT, FaultKind.BLOCK_ABORT, FaultKind.EXCEPTION,
        FaultKind.BUSY, FaultKind.NOT_AVAILABLE, FaultKind.STUCK, FaultKind.HELD, FaultKind.WRONG_TAG,
        FaultKind.FLIPPED_BIT, FaultKind.WEAKER, FaultKind.OTHER_TITLE, FaultKind.OLD_COUNTER,
        FaultKind.ASSOCIATION_HELD, FaultKind.HUNG_UP, FaultKind.COUNTER_REJECTED,
    }  # fmt: skip
    assert here | ELSEWHERE | NOT_ON_DLMS == set(FaultKind)
    assert here | ELSEWHERE >= ON_DLMS
    assert set(TRUTH) == set(FaultKind)


def test_a_counter_that_is_spent_is_not_started_again():
    meter = sim_meter()
    client = connect(meter, "gmac", counter=InvocationCounter(MemoryStore(0xFFFF_FFFD))).open()
    with pytest.raises((DriverError, NotSupported)):
        client.value(TIME)
    assert not meter.ledger.twice
