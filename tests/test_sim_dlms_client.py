"""The simulated DLMS meter against the driver's sans-io client: every way to associate, every way to read."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from drivers.dlms.acse import Mechanism
from drivers.dlms.association import Phase
from drivers.dlms.counters import InvocationCounter, MemoryStore
from drivers.dlms.objects import (
    CLOCK,
    Class,
    attribute,
    capture_objects,
    measured,
    obis,
    object_list,
    scaler_unit,
    time_of,
)
from drivers.dlms.protection import Keys, Level, Wrap
from drivers.dlms.refused import (
    AssociationBusy,
    AssociationRefused,
    DataAccess,
    Diagnostic,
    ExceptionResponse,
)
from drivers.dlms.selection import by_entry
from drivers.dlms.xdlms import Attribute
from edge_agent.ports import DriverError
from simulator.clock import HandClock
from simulator.dlms.registers import REGISTERS
from simulator.dlms.tables import ClientTable
from tests.figures import report
from tests.sim_dlms import (
    AK,
    BUFFER,
    ENERGY,
    GMAC,
    HOUR_MS,
    KEYS,
    METER_TITLE,
    T0,
    TIME,
    TWELVE,
    Channel,
    Client,
    connect,
    sim_meter,
)

APDUS = int(os.environ.get("EDGE_PROVE_SIM_APDUS", "3000"))
WAYS = [
    ("public", Wrap.GLO), ("none", Wrap.GLO), ("lls", Wrap.GLO), ("proof", Wrap.GLO), ("gmac", Wrap.GLO),
    ("gmac", Wrap.DED), ("gmac", Wrap.GENERAL_GLO), ("gmac", Wrap.GENERAL_DED),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "wrap"), WAYS, ids=lambda part: getattr(part, "value", part))
def test_every_association_opens_reads_the_clock_and_ends(kind: str, wrap: Wrap):
    meter = sim_meter(clock=HandClock(T0 + HOUR_MS))
    client = connect(meter, kind, wrap=wrap).open()
    assert time_of(client.value(TIME)).instant().utc_ms == T0 + HOUR_MS
    assert len(meter.open) == 1
    client.release()
    assert not meter.open
    assert not meter.ledger.twice
    assert meter.counts.writes_seen == 0


@pytest.mark.parametrize(("kind", "wrap"), WAYS[1:], ids=lambda part: getattr(part, "value", part))
def test_a_list_of_twelve_gives_what_each_gives_alone(kind: str, wrap: Wrap):
    client = connect(sim_meter(), kind, wrap=wrap).open()
    together = client.read(*TWELVE)
    assert [client.value(one) for one in TWELVE] == list(together)
    assert len(set(together)) >= 8


@pytest.mark.parametrize("most_pdu", [128, 500, 4096])
@pytest.mark.parametrize(("kind", "wrap"), WAYS[1:], ids=lambda part: getattr(part, "value", part))
def test_a_day_of_load_profile_comes_in_blocks_that_fit(kind: str, wrap: Wrap, most_pdu: int):
    meter = sim_meter(most_pdu=most_pdu, clock=HandClock(T0 + 2 * HOUR_MS))
    client = connect(meter, kind, wrap=wrap, max_pdu=1200).open()
    whole = client.value(BUFFER)
    assert len(whole.items("buffer", whole.tag)) == 96 + 9  # a day before the start, both midnights, and two hours
    channel = client._say
    assert isinstance(channel, Channel)
    sizes = [len(answer.apdu) for answer in channel.answers]
    assert max(sizes) <= min(most_pdu, 1200)
    assert len(sizes) > 4000 // min(most_pdu, 1200)
    client.release()


def test_a_client_that_names_no_limit_gets_the_meters():
    client = connect(sim_meter(most_pdu=800), "lls", max_pdu=0).open()
    client.value(BUFFER)
    channel = client._say
    assert isinstance(channel, Channel)
    assert 700 < max(len(answer.apdu) for answer in channel.answers) <= 800


def test_values_are_cut_as_the_meter_cuts_them_and_carry_their_scaler():
    meter = sim_meter(clock=HandClock(T0 + HOUR_MS))
    client = connect(meter).open()
    unit = scaler_unit(client.value(attribute(Class.REGISTER, obis("1-0:1.8.0.255"), "scaler_unit")))
    assert (unit.scaler, unit.symbol) == (1, "Wh")
    assert measured(client.value(ENERGY), unit).value == Decimal(1_234_560 + 1_000)  # 80 kW behind CT 400/5 for an hour
    assert isinstance(meter.clock, HandClock)
    meter.clock.now_ms = T0 + HOUR_MS + 35_000  # 9.7 Wh on: less than the register's step
    assert measured(client.value(ENERGY), unit).value == Decimal(1_235_560)
    meter.clock.now_ms = T0 + HOUR_MS + 37_000
    assert measured(client.value(ENERGY), unit).value == Decimal(1_235_570)


def test_every_register_has_a_value_and_a_unit():
    meter = sim_meter(clock=HandClock(T0 + HOUR_MS))
    client = connect(meter).open()
    for text, shown in REGISTERS.items():
        unit = scaler_unit(client.value(attribute(Class.REGISTER, obis(text), "scaler_unit")))
        read = measured(client.value(attribute(Class.REGISTER, obis(text), "value")), unit).value
        truth = float(meter.holding.meter.value(shown.quantity, T0 + HOUR_MS))
        truth = max(truth * shown.way, 0.0) if shown.way else truth
        assert abs(float(read) - truth) <= 10.0**unit.scaler, text


def test_demand_registers():
    meter = sim_meter(clock=HandClock(T0 + 2 * HOUR_MS + 5 * 60_000))
    client = connect(meter).open()
    maximum, average = obis("1-0:1.6.0.255"), obis("1-0:1.4.0.255")
    assert client.value(attribute(Class.EXTENDED_REGISTER, maximum, "value")).integer("") == 1000
    captured = time_of(client.value(attribute(Class.EXTENDED_REGISTER, maximum, "capture_time")))
    assert captured.instant().utc_ms == T0 + 900_000
    assert client.value(attribute(Class.DEMAND_REGISTER, average, "current_average_value")).integer("") == 333
    assert client.value(attribute(Class.DEMAND_REGISTER, average, "last_average_value")).integer("") == 1000
    assert client.value(attribute(Class.DEMAND_REGISTER, average, "period")).integer("") == 900
    begun = time_of(client.value(attribute(Class.DEMAND_REGISTER, average, "start_time_current")))
    assert begun.instant().utc_ms == T0 + 2 * HOUR_MS


def test_the_public_client_reads_who_the_meter_is_and_no_register():
    client = connect(sim_meter(), "public").open()
    assert client.value(attribute(Class.DATA, obis("0-0:96.1.0.255"), "value")).octets("") == b"0000123456"
    assert client.value(attribute(Class.DATA, obis("0-0:42.0.0.255"), "value")).octets("") == b"SIM0000000123456"
    assert client.value(attribute(Class.DATA, obis("0-0:43.1.0.255"), "value")).integer("") == 0
    assert client.read(ENERGY) == (DataAccess.READ_WRITE_DENIED,)
    listed = object_list(
        client.value(attribute(Class.ASSOCIATION_LN, obis("0-0:40.0.0.255"), "object_list")), version=1
    )
    assert {entry.instance for entry in listed} == {
        obis(text)
        for text in (
            "0-0:1.0.0.255", "0-0:40.0.0.255", "0-0:41.0.0.255", "0-0:42.0.0.255", "0-0:43.1.0.255", "0-0:43.1.1.255",
            "0-0:96.1.0.255", "1-0:0.2.0.255",
        )
    }  # fmt: skip


def test_the_object_list_holds_no_attribute_that_cannot_be_read():
    client = connect(sim_meter(), "gmac").open()
    own = obis("0-0:40.0.0.255")
    listed = object_list(client.value(attribute(Class.ASSOCIATION_LN, own, "object_list")), version=1)
    asked = [Attribute(entry.class_id, entry.instance, n) for entry in listed for n in sorted(entry.readable)]
    assert len(asked) > 100
    assert not [str(one) for one in asked if isinstance(client.read(one)[0], DataAccess)]
    assert client.read(attribute(Class.ASSOCIATION_LN, own, "secret")) == (DataAccess.READ_WRITE_DENIED,)
    assert {entry.class_id for entry in listed} == {1, 3, 4, 5, 7, 8, 15, 17, 23, 41, 64}


def test_what_there_is_not_is_said_for_each_attribute_of_a_list():
    client = connect(sim_meter()).open()
    wanted = [
        ENERGY,
        Attribute(3, obis("1-0:99.99.99.255"), 2),
        Attribute(1, obis("1-0:1.8.0.255"), 2),
        Attribute(3, obis("1-0:1.8.0.255"), 9),
        Attribute(3, obis("1-0:1.8.0.255"), 0),
        Attribute(3, obis("1-0:1.8.0.255"), 2, by_entry(1)),
    ]
    results = client.read(*wanted)
    assert results[1:] == (
        DataAccess.OBJECT_UNDEFINED, DataAccess.OBJECT_CLASS_INCONSISTENT, DataAccess.OBJECT_UNDEFINED,
        DataAccess.READ_WRITE_DENIED, DataAccess.OTHER_REASON,
    )  # fmt: skip


def test_a_list_that_is_too_long_and_a_meter_that_knows_none():
    client = connect(sim_meter(most_list=5)).open()
    assert len(client.read(*TWELVE[:5])) == 5
    with pytest.raises(DriverError, match="other_reason"):
        client.read(*TWELVE[:6])
    client = connect(sim_meter(services=0x00501F)).open()
    with pytest.raises(ExceptionResponse, match="service-not-supported"):
        client.read(*TWELVE[:2])


def test_a_request_that_is_longer_than_the_meter_takes():
    client = connect(sim_meter(most_pdu=64)).open()
    with pytest.raises(ExceptionResponse, match="pdu-too-long"):
        client.read(*TWELVE)


def test_one_association_at_a_time():
    meter = sim_meter()
    first = connect(meter, "lls").open()
    with pytest.raises(AssociationBusy):
        connect(meter, "public").open()
    first.release()
    second = connect(meter, "public").open()
    channel = second._say
    assert isinstance(channel, Channel)
    channel.close()
    connect(meter, "lls").open()
    with pytest.raises(AssociationBusy):
        connect(meter, "gmac").open()
    meter = sim_meter(at_once=2)
    assert [connect(meter, kind).open().association.phase for kind in ("lls", "public")] == [Phase.OPEN] * 2


def test_a_second_association_may_be_refused_by_an_exception():
    meter = sim_meter(quirks=["says_exception"])
    connect(meter, "lls").open()
    with pytest.raises(AssociationBusy, match="operation-not-possible"):
        connect(meter, "public").open()


def test_an_association_that_lingers_holds_others_off_until_its_time_out():
    meter = sim_meter(quirks=["lingers"], inactivity_s=120)
    first = connect(meter, "lls").open()
    channel = first._say
    assert isinstance(channel, Channel)
    channel.close()
    late = Channel(meter, 16)
    late.now_s = 100.0
    with pytest.raises(AssociationBusy):
        Client(late).open()
    late.now_s = 121.0
    assert Client(late).open().value(TIME)


def test_silence_for_longer_than_the_time_out_ends_an_association():
    meter = sim_meter(inactivity_s=60)
    client = connect(meter, "gmac").open()
    channel = client._say
    assert isinstance(channel, Channel)
    for channel.now_s in (59.0, 118.0):
        assert client.value(TIME)
    channel.now_s = 179.0
    with pytest.raises(DriverError, match="operation-not-possible"):
        client.value(TIME)
    assert client.association.phase is Phase.CLOSED


def refusal(client: Client) -> Diagnostic:
    with pytest.raises(AssociationRefused) as refused:
        client.open()
    return refused.value.diagnostic


@pytest.mark.parametrize("quirks", [[], ["bare_refusal"]])
def test_every_refusal_of_an_association_has_its_diagnostic(quirks: list[str]):
    meter = sim_meter(quirks=quirks)
    assert refusal(Client(Channel(meter, 2), Mechanism.LLS, password=b"wrong")) is Diagnostic.AUTHENTICATION_FAILURE
    assert refusal(Client(Channel(meter, 2))) is Diagnostic.AUTHENTICATION_MECHANISM_NAME_REQUIRED
    assert refusal(Client(Channel(meter, 1), Mechanism.LLS)) is Diagnostic.AUTHENTICATION_MECHANISM_NAME_NOT_RECOGNISED
    ciphered = Client(Channel(meter, 1), level=Level.BOTH, meter_title=METER_TITLE)
    assert refusal(ciphered) is Diagnostic.APPLICATION_CONTEXT_NAME_NOT_SUPPORTED
    assert refusal(Client(Channel(meter, 99))) is Diagnostic.NO_REASON_GIVEN
    other = ClientTable(sap=3, auth="gmac", protect="both", title="0102030405060708", **KEYS)
    assert refusal(connect(sim_meter(clients=[other]), "gmac")) is Diagnostic.CALLING_AP_TITLE_NOT_RECOGNIZED


def test_what_is_weaker_than_the_client_must_is_rejected():
    client = Client(Channel(sim_meter(), 3), Mechanism.HLS_GMAC, level=Level.AUTHENTICATED)
    with pytest.raises(ExceptionResponse, match="deciphering-error"):
        client.open()
    meter = sim_meter()
    client = connect(meter, "gmac").open()
    plain = client._say(bytes.fromhex("C00141 0008 0000010000FF 02 00"))
    assert plain == bytes.fromhex("D80103")  # in the clear, inside a ciphered association


def test_ciphered_garbage_gets_an_exception_response_and_a_note():
    meter = sim_meter()
    client = connect(meter, "gmac").open()
    chance = random.Random(5)
    for _ in range(200):
        body = bytes((0x30,)) + chance.randbytes(chance.randint(0, 60))
        reply = client._say(bytes((chance.choice([0xC8, 0xD0]), len(body))) + body)
        assert reply == bytes.fromhex("D80105")
    assert client.value(TIME)
    assert sum(not seen.genuine for seen in meter.ledger.seen) > 50


def test_counters_only_go_up_and_the_meter_says_where_it_stands():
    meter = sim_meter()
    client = connect(meter, "gmac", counter=InvocationCounter(MemoryStore(5_000))).open()
    client.release()
    late = connect(meter, "gmac", counter=InvocationCounter(MemoryStore(4_990)))
    with pytest.raises(ExceptionResponse, match="invocation-counter-error") as rejected:
        late.open()
    assert rejected.value.counter == 5_003  # AARQ, proof, and the APDU that brought it
    public = connect(meter, "public").open()
    assert public.value(attribute(Class.DATA, obis("0-0:43.1.0.255"), "value")).integer("") == 5_002
    public.release()
    late.counter.raise_to(rejected.value.counter)
    assert connect(meter, "gmac", counter=late.counter).open().value(TIME)
    assert not meter.ledger.twice


@pytest.mark.parametrize("kind", ["gmac", "proof"])
def test_a_stranger_cannot_make_the_meter_forget_where_it_stands(kind: str):
    meter = sim_meter(clients=[GMAC, ClientTable(sap=4, auth="gmac", **KEYS)])
    connect(meter, kind, counter=InvocationCounter(MemoryStore(5_000))).open().release()
    told = attribute(Class.DATA, obis(f"0-0:43.1.{['gmac', 'proof'].index(kind)}.255"), "value")

    def stands() -> int:
        public = connect(meter, "public").open()
        number = public.value(told).integer("")
        public.release()
        return number

    stood = stands()
    assert stood >= 5_000
    stranger = connect(meter, kind, keys=Keys(bytes(16), AK))
    assert stranger.protection is not None
    stranger.protection.title = bytes.fromhex("4141410000000001")
    with pytest.raises(DriverError):
        stranger.open()
    channel = stranger._say
    assert isinstance(channel, Channel)
    channel.close()
    assert stands() == stood


def test_the_ledger_knows_a_counter_that_was_sent_twice():
    meter = sim_meter()
    for _ in range(2):  # the second client has forgotten where it was
        client = connect(meter, "gmac", counter=InvocationCounter(MemoryStore(100)))
        channel = client._say
        assert isinstance(channel, Channel)
        try:
            client.open().value(TIME)
        except ExceptionResponse:
            channel.close()
        else:
            client.release()
    assert [seen.counter for seen in meter.ledger.twice] == [100]


def test_a_meter_that_was_switched_off_goes_on_where_it_was(tmp_path: Path):
    counter = InvocationCounter(MemoryStore(100))
    own = []
    for _ in range(3):
        meter = sim_meter(state=tmp_path)
        client = connect(meter, "gmac", counter=counter).open()
        client.value(TIME)
        own.append(meter.ledger.own(meter.clients[-2].keys.fingerprint))  # type: ignore[union-attr]
    assert own == sorted(set(own))
    assert own[1] > 1000  # reserved ahead, and never used again
    meter = sim_meter(state=tmp_path)
    assert len(meter.ledger.seen) == 12
    with pytest.raises(ExceptionResponse, match="invocation-counter-error"):
        connect(meter, "gmac", counter=InvocationCounter(MemoryStore(103))).open()
    assert [seen.counter for seen in meter.ledger.twice] == [103]


def test_whatever_would_write_is_refused_and_counted():
    meter = sim_meter()
    client = connect(meter).open()
    assert client._say(bytes.fromhex("C10141 0008 0000010000FF 02 00 090C07EA03020100000000FE2000")) == bytes.fromhex(
        "D80202"
    )
    assert client._say(bytes.fromhex("C30141 0008 0000010000FF 01 01 0F00")) == bytes.fromhex("C701410300")
    assert meter.counts.writes_seen == 2


def test_no_bytes_make_a_meter_fall_over():
    meter = sim_meter()
    client = connect(meter, "none").open()
    chance = random.Random(7)
    ranged = bytes.fromhex("C00141 0007 0100630100FF 02 01 01 0204 0204 120008 09060000010000FF 0F02 120000")
    ends = bytes.fromhex("090C07EA0302FF000000FF800000 090C07EA0302FF060000FF800000 0100")
    good = [
        bytes.fromhex("C00141 0008 0000010000FF 02 00"),
        ranged + ends,
        *client.said,
        client.association.ask(b"\xc0\x03\x41\x00"),
    ]
    served = 0
    for _ in range(APDUS):
        if not meter.open:  # a spoilt RLRQ or AARQ may have ended it
            client = connect(meter, "none").open()
        spoilt = bytearray(chance.choice(good))
        for _ in range(chance.randint(1, 3)):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        cut = len(spoilt) if chance.random() < 0.7 else chance.randint(1, len(spoilt))
        reply = client._say(bytes(spoilt[:cut]))
        assert reply[0] in {0xC4, 0xC7, 0xD8, 0x61, 0x63}
        served += reply[0] == 0xC4
    assert served > APDUS / 10
    client = connect(sim_meter(), "none").open()
    for tag in (0x13, 0x1C, 0x20, 0x63):  # compact-array, delta types, none at all
        assert client._say(ranged + bytes((tag,))) == bytes.fromhex("D80103")
    report("simulator-dlms-fuzz", apdus=APDUS, served=served)


def test_the_capture_objects_name_what_there_is():
    client = connect(sim_meter()).open()
    columns = capture_objects(client.value(attribute(Class.PROFILE_GENERIC, obis("1-0:99.1.0.255"), "capture_objects")))
    assert columns[0].is_time
    assert columns[0].instance == CLOCK
    for column in columns:
        if column.instance != obis("0-0:96.10.1.255"):
            assert client.value(Attribute(column.class_id, column.instance, column.attribute))


def test_a_meter_that_does_not_cipher_needs_no_package_for_it():
    story = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from tests.sim_dlms import connect, sim_meter, TWELVE\n"
        "client = connect(sim_meter(), 'lls').open()\n"
        "assert len(client.read(*TWELVE)) == 12\n"
        "print('read')\n"
    )
    done = subprocess.run([sys.executable, "-c", story], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "read\n", done.stderr
