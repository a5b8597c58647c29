"""Associations and reading inside them, against a meter that is written apart from the driver."""

from __future__ import annotations

import itertools

import pytest

from drivers.dlms import xdlms
from drivers.dlms.acse import Mechanism
from drivers.dlms.association import STEP, Association, Phase, Terms, Turn
from drivers.dlms.axdr import Limits, decode
from drivers.dlms.initiate import Conformance, initiate_response
from drivers.dlms.protection import Level, Wrap
from drivers.dlms.reading import Get
from drivers.dlms.refused import (
    AccessFailed,
    AccessRefused,
    AssociationBusy,
    AssociationLost,
    AssociationRefused,
    DataAccess,
    Diagnostic,
    ExceptionResponse,
    Flaw,
    Malformed,
    MeterUnproven,
    NotSupported,
    ProtectionRefused,
    ServiceError,
    Unsupported,
)
from edge_agent.ports import DriverError
from tests.dlms_client import ENERGIES, TIME, Client, client
from tests.dlms_meter import CLOCK_VALUE, METER_TITLE, Meter, aare, guarded

ENERGY = {bytes((0, 3, 1, 0, 1, 8, n, 255, 2)): b"\x06" + (1000 + n).to_bytes(4, "big") for n in range(12)}
DAY = b"\x01\x60" + b"".join(
    b"\x02\x03\x09\x0c" + bytes.fromhex("07EA0B18") + bytes((2, n // 4, n % 4 * 15, 0, 0xFF, 0xFE, 0x20, 0))
    + b"\x11\x00\x06" + (n * 1000).to_bytes(4, "big")
    for n in range(96)
)  # fmt: skip
PROFILE = xdlms.Attribute(7, bytes((1, 0, 99, 1, 0, 255)), 2)
VALUES = {bytes.fromhex("00080000010000FF02"): CLOCK_VALUE, **ENERGY, b"\0\x07" + PROFILE.instance + b"\x02": DAY}

WAYS = [
    (Mechanism.NONE, None, Wrap.GLO),
    (Mechanism.LLS, None, Wrap.GLO),
    (Mechanism.HLS_GMAC, Level.NONE, Wrap.GLO),
    *(
        (mechanism, level, wrap)
        for mechanism in (Mechanism.NONE, Mechanism.LLS, Mechanism.HLS_GMAC)
        for level in (Level.AUTHENTICATED, Level.ENCRYPTED, Level.BOTH)
        for wrap in Wrap
        if level & Level.ENCRYPTED or not wrap.is_dedicated
    ),
]


@pytest.mark.parametrize(("mechanism", "level", "wrap"), WAYS, ids=lambda x: getattr(x, "name", str(x)))
def test_a_whole_conversation(mechanism, level, wrap):
    """Associate, read one, twelve in a list, a day of load profile in blocks, release: through the gate every time."""
    meter = Meter(dict(VALUES), block=100)
    talk = client(meter, mechanism, level=level, wrap=wrap, high_priority=True).open()
    assert talk.association.agreed is not None
    assert Conformance.GET in talk.association.agreed.conformance
    assert talk.read(TIME) == (decode(CLOCK_VALUE),)
    assert talk.read(*ENERGIES) == tuple(decode(ENERGY[key]) for key in ENERGY)
    assert talk.read(PROFILE) == (decode(DAY),)
    assert talk.read(*ENERGIES, PROFILE)[-1] == decode(DAY)
    talk.release()
    assert talk.association.phase is Phase.CLOSED
    services = {apdu[0] for apdu in meter.asked}
    assert services == {0x60, 0xC0, 0x62} | ({0xC3} if mechanism is Mechanism.HLS_GMAC else set())
    assert len(set(meter.counters)) == len(meter.counters)
    per_key = {key: [n for k, n in meter.counters if k == key] for key, _ in meter.counters}
    for numbers in per_key.values():
        assert sorted(numbers) == list(range(len(numbers)))  # every use of a key took a number, and none was left out
    if wrap.is_dedicated:
        assert len(per_key["ded"]) > 10


def test_an_empty_system_title_in_general_glo_is_the_one_of_the_aare():
    meter = Meter(dict(VALUES), said_title=b"")
    talk = client(meter, level=Level.BOTH, wrap=Wrap.GENERAL_GLO, own_title_sent=False).open()
    assert talk.read(TIME) == (decode(CLOCK_VALUE),)


def test_invoke_ids_are_counted():
    meter = Meter(dict(VALUES))
    talk = client(meter).open()
    for _ in range(17):
        talk.read(TIME)
    assert [apdu[2] for apdu in meter.asked[1:]] == [0x40 | n % 15 + 1 for n in range(17)]


def test_the_table_of_an_association_is_all_there_is():
    for phase, turn in itertools.product(Phase, Turn):
        association = Association(Terms())
        association.phase = phase
        if (phase, turn) in STEP:
            association._move(turn)
            assert association.phase is STEP[phase, turn]
        else:
            with pytest.raises(ValueError):
                association._move(turn)
    assert {p for p, _ in STEP} | {*STEP.values()} == set(Phase)


def test_a_meter_without_rlrq_and_one_that_wants_an_initiate_request_in_it():
    silent = client(Meter(dict(VALUES)), releases=False).open()
    silent.release()
    assert silent.association.phase is Phase.CLOSED
    assert 0x62 not in {apdu[0] for apdu in silent.meter.asked}
    wants = client(Meter(dict(VALUES)), level=Level.BOTH, release_initiates=True).open()
    wants.release()
    rlrq, inside = wants.meter.asked[-2:]
    assert (rlrq[0], rlrq[2:6], rlrq[9], inside[0]) == (0x62, bytes.fromhex("800100BE"), 0x21, 0x01)
    assert wants.meter.counters == [("glo", 0), ("glo", 1)]


def test_terms_that_cannot_be():
    with pytest.raises(NotSupported) as refused:
        Terms(mechanism=Mechanism.HLS_SHA256)
    assert refused.value.what is Unsupported.MECHANISM
    with pytest.raises(ValueError, match="password"):
        Terms(mechanism=Mechanism.LLS)
    with pytest.raises(ValueError, match="password"):
        Terms(password=b"x")
    with pytest.raises(ValueError):
        Association(Terms(mechanism=Mechanism.HLS_GMAC))
    assert b"secret" not in repr(Terms(mechanism=Mechanism.LLS, password=b"secret")).encode()


# -- refusals ---------------------------------------------------------------------------------------------------------


def refused(apdu: bytes, talk: Client | None = None) -> DriverError:
    """What the answer to an AARQ raises; the association is closed then."""
    association = (talk or client(Meter())).association
    assert association.request
    with pytest.raises(DriverError) as error:
        association.feed(apdu)
    assert association.phase is Phase.CLOSED
    return error.value


@pytest.mark.parametrize("number", range(1, 15))
def test_every_diagnostic_of_a_refusal_has_its_name_with_and_without_user_information(number):
    for information in (b"", bytes.fromhex("0800065F1F040000501F01F40007")):
        error = refused(aare(1, number, information))
        assert isinstance(error, AssociationRefused)
        assert (error.result, error.diagnostic) == (1, Diagnostic(number))


def test_refusals_by_the_provider_and_by_numbers_of_no_standard():
    by_provider = refused(aare(1, 2, b"", provider=True))
    assert isinstance(by_provider, AssociationRefused)
    assert by_provider.diagnostic is Diagnostic.NO_COMMON_ACSE_VERSION
    for provider in (True, False):
        unknown = refused(aare(1, 99, b"", provider=provider))
        assert isinstance(unknown, AssociationRefused)
        assert unknown.diagnostic.name.endswith("NO_REASON_GIVEN")


def test_a_transient_refusal_and_an_exception_in_place_of_an_aare_mean_later():
    assert isinstance(refused(aare(2, 1, b"")), AssociationBusy)
    assert isinstance(refused(bytes.fromhex("D80101")), AssociationBusy)
    other = refused(bytes.fromhex("D80202"))
    assert isinstance(other, ExceptionResponse)
    assert other.code == "dlms.exception.service_not_supported"


def test_a_confirmed_service_error_in_place_of_an_aare_or_inside_one_that_accepts():
    error = refused(bytes.fromhex("0E010602"))
    assert isinstance(error, ServiceError)
    assert error.name == "initiate: incompatible-conformance"
    assert isinstance(refused(aare(0, 0, bytes.fromhex("0E010603"))), ServiceError)


@pytest.mark.parametrize(
    "apdu",
    [
        aare(context=2),
        aare(1, 2, b"", context=2),
        aare(information=bytes.fromhex("0800065F1F0400001C0301F4FA00")),
        aare(information=bytes.fromhex("0800065F1F0400100000 01F4 0007".replace(" ", ""))),
    ],
)
def test_short_names_are_recognised(apdu):
    error = refused(apdu)
    assert isinstance(error, NotSupported)
    assert error.what is Unsupported.SHORT_NAMES


@pytest.mark.parametrize(
    ("what", "apdu"),
    [
        ("accepts without saying what", aare(information=b"")),
        ("another application context", aare(context=3)),
        ("another version of DLMS", aare(information=bytes.fromhex("0800055F1F040000501F01F40007"))),
        ("no result", bytes.fromhex("6110A109060760857405080101A305A103020100")[:2] + aare()[2:13]),
        ("an element twice", bytes.fromhex("610AA203020100A203020100")),
        ("a conformance of another length", aare(information=bytes.fromhex("0800065F1F0500501F0001F40007"))),
        ("cut", aare()[:-1]),
        ("with a tail", aare() + b"\0"),
        ("another APDU", bytes.fromhex("6303800100")),
        ("nothing", b""),
    ],
)
def test_an_aare_that_is_none(what, apdu):
    assert isinstance(refused(apdu), Malformed), what


def test_the_conformance_in_one_octet_of_tag_as_older_meters_have_it():
    talk = client(Meter())
    assert talk.association.request
    talk.association.feed(aare(information=bytes.fromhex("0800065F040000501F0400 0007".replace(" ", ""))))
    assert talk.association.agreed is not None
    assert talk.association.agreed.max_pdu == 1024


def test_a_password_where_a_proof_is_wanted():
    error = refused(aare(0, 14, challenge=b"P6wRJ21F"), client(Meter(), Mechanism.LLS))
    assert isinstance(error, AssociationRefused)
    assert error.diagnostic is Diagnostic.AUTHENTICATION_REQUIRED


@pytest.mark.parametrize(
    "answer",
    [
        aare(title=METER_TITLE),  # accepted, and never proves itself
        aare(0, 14, title=METER_TITLE),
        aare(0, 14, title=METER_TITLE, challenge=b"short"),
        aare(0, 14, title=METER_TITLE, challenge=b"P6wRJ21F", mechanism=2),
    ],
)
def test_hls_is_not_talked_down(answer):
    error = refused(answer, client(Meter(), Mechanism.HLS_GMAC, level=Level.NONE))
    assert isinstance(error, MeterUnproven)


def test_our_own_challenge_handed_back_is_no_challenge():
    talk = client(Meter(), Mechanism.HLS_GMAC, level=Level.NONE)
    ours = talk.association._ours
    assert isinstance(refused(aare(0, 14, title=METER_TITLE, challenge=ours), talk), MeterUnproven)


PROOFS = {
    "refused": (b"\xc7\x01%c\x03\x00", AssociationRefused),
    "without a proof": (b"\xc7\x01%c\x00\x00", MeterUnproven),
    "a result instead": (b"\xc7\x01%c\x00\x01\x01\x03", MeterUnproven),
    "zeros": (b"\xc7\x01%c\x00\x01\x00\x09\x11" + bytes(17), MeterUnproven),
    "too short": (b"\xc7\x01%c\x00\x01\x00\x09\x05" + bytes(5), MeterUnproven),
    "a wrong tag": (b"\xc7\x01%c\x00\x01\x00\x09\x11\x10\x00\x00\xff\xff" + bytes(12), MeterUnproven),
    "an answer to a GET": (b"\xc4\x01%c\x00\x11\x05", Malformed),
}


@pytest.mark.parametrize(("answer", "kind"), PROOFS.values(), ids=PROOFS)
def test_a_meter_that_does_not_know_the_key_is_not_read(answer, kind):
    talk = client(Meter(change=lambda plain: answer % plain[2]), Mechanism.HLS_GMAC, level=Level.NONE)
    with pytest.raises(kind):
        talk.open()
    assert talk.association.phase is Phase.CLOSED


def test_no_bit_of_a_proof_may_change():
    for bit in range(17 * 8):

        def flip(plain: bytes, bit: int = bit) -> bytes:
            octets = bytearray(plain)
            octets[-17 + (bit >> 3)] ^= 1 << (bit & 7)
            return bytes(octets)

        talk = client(Meter(change=flip), Mechanism.HLS_GMAC, level=Level.NONE)
        with pytest.raises(MeterUnproven):
            talk.open()


def test_the_proof_of_another_question_is_not_taken():
    talk = client(Meter(change=lambda p: p[:2] + bytes((p[2] ^ 1,)) + p[3:]), Mechanism.HLS_GMAC, level=Level.NONE)
    with pytest.raises(Malformed):
        talk.open()


def test_an_aare_in_the_clear_where_ciphering_was_asked_for():
    talk = client(Meter(), level=Level.BOTH)
    error = refused(aare(context=3, title=METER_TITLE), talk)
    assert isinstance(error, ProtectionRefused)
    assert error.flaw is Flaw.WEAKER


@pytest.mark.parametrize(
    ("said", "known", "flaw"),
    [(b"OTHERMTR", METER_TITLE, Flaw.OTHER_TITLE), (b"", b"", Flaw.NO_TITLE), (b"OTHERMTR", b"", Flaw.TAG)],
)
def test_an_aare_of_another_meter(said, known, flaw):
    talk = client(Meter(), level=Level.BOTH, meter_title=known)
    inside = guarded(0x30, METER_TITLE, 5, bytes.fromhex("0800065F1F040000501F01F40007"))
    error = refused(aare(information=bytes((0x28, len(inside))) + inside, context=3, title=said), talk)
    assert isinstance(error, ProtectionRefused)
    assert error.flaw is flaw


def test_a_title_that_was_given_does_without_the_one_in_the_aare():
    talk = client(Meter(), level=Level.BOTH, meter_title=METER_TITLE)
    inside = guarded(0x30, METER_TITLE, 5, bytes.fromhex("0800065F1F040000501F01F40007"))
    assert talk.association.request
    phase = talk.association.feed(aare(information=bytes((0x28, len(inside))) + inside, context=3))
    assert phase is Phase.OPEN


INSIDE = bytes.fromhex("0800065F1F040000501F01F40007")
GUARDED = guarded(0x30, METER_TITLE, 5, INSIDE)
ANSWERS = {
    "accepts": (aare(), Mechanism.NONE, None),
    "refuses": (aare(1, 13, b""), Mechanism.NONE, None),
    "initiate error": (aare(1, 1, bytes.fromhex("0E010601")), Mechanism.NONE, None),
    "challenges": (aare(0, 14, title=METER_TITLE, challenge=b"P6wRJ21F"), Mechanism.HLS_GMAC, Level.NONE),
    "ciphered": (aare(information=b"\x28\x1f" + GUARDED, context=3, title=METER_TITLE), Mechanism.NONE, Level.BOTH),
}


@pytest.mark.parametrize(("apdu", "mechanism", "level"), ANSWERS.values(), ids=ANSWERS)
def test_an_aare_cut_anywhere_is_none_and_a_flipped_bit_is_no_crash(apdu, mechanism, level):
    def fed(octets: bytes) -> Association | None:
        association = client(Meter(), mechanism, level=level).association
        assert association.request
        try:
            association.feed(octets)
        except DriverError:
            assert association.phase is Phase.CLOSED
            return None
        return association

    for length in range(len(apdu)):
        assert fed(apdu[:length]) is None
    accepted = 0
    for bit in range(len(apdu) * 8):
        flipped = bytearray(apdu)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        if (association := fed(bytes(flipped))) is not None:
            accepted += 1
            if level is Level.BOTH:  # what was agreed is under the tag, whatever happens around it
                assert association.agreed == initiate_response(INSIDE)
    assert accepted < len(apdu) * 8


# -- inside -----------------------------------------------------------------------------------------------------------


def answered(answer: bytes, *attributes: xdlms.Attribute, limits: Limits | None = None):
    """What an answer to a GET of these comes to; the first octet of invoke-id is put right (xx)."""
    talk = client(Meter()).open()
    get = Get(talk.association, attributes or (TIME,), limits=limits or Limits())
    invoke = talk.association._invoke
    return get.feed(answer[:2] + bytes((answer[2] | invoke,)) + answer[3:])


def test_one_value_and_one_refusal():
    assert answered(bytes.fromhex("C4014000 1105")) == (decode(b"\x11\x05"),)
    assert answered(bytes.fromhex("C401400104")) == (DataAccess.OBJECT_UNDEFINED,)
    assert answered(bytes.fromhex("C4014001FA")) == (DataAccess.OTHER_REASON,)
    assert answered(bytes.fromhex("C403400200110501 03"), TIME, TIME) == (
        decode(b"\x11\x05"), DataAccess.READ_WRITE_DENIED,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("what", "answer", "error"),
    [
        ("a success without a value", "C401400100", Malformed),
        ("a tail", "C4014000110500", Malformed),
        ("a list for one", "C40340010011 05", Malformed),
        ("no kind of GET", "C4044000", Malformed),
        ("the proof's answer", "C7014000", Malformed),
        ("neither data nor result", "C4014002", Malformed),
        ("SET's answer", "C5014000", Malformed),
        ("block 2 first", "C402400100000002000111", Malformed),
        ("block 0 first", "C402400100000000000111", Malformed),
        ("an empty block", "C4024000000000010000", Malformed),
        ("a block that refuses", "C40240010000000101 0F", AccessFailed),
        ("a read by short names", "0C0100", NotSupported),
        ("general blocks", "E0800001000001", NotSupported),
        ("general ciphering", "DD0000", NotSupported),
        ("a service error", "0E050501", ServiceError),
        ("an exception", "D80202", ExceptionResponse),
    ],
)
def test_answers_that_bring_no_value(what, answer, error):
    with pytest.raises(error):
        answered(bytes.fromhex(answer))


def test_a_list_that_answers_more_or_less_or_only_once():
    for answer in ("C40340010011 05", "C4034003001105001105001105", "C4014000 1105"):
        with pytest.raises(Malformed):
            answered(bytes.fromhex(answer), TIME, TIME)
    with pytest.raises(AccessRefused):
        answered(bytes.fromhex("C40140010D"), TIME, TIME)


def test_the_answer_to_another_question_is_not_taken():
    talk = client(Meter()).open()
    get = Get(talk.association, [TIME])
    with pytest.raises(Malformed, match="asked as 1, answered as 2"):
        get.feed(bytes.fromhex("C4014200") + CLOCK_VALUE)


@pytest.mark.parametrize("block", [1, 7, 100])
def test_blocks_are_put_together_and_counted(block):
    meter = Meter(dict(VALUES), block=block)
    talk = client(meter).open()
    assert talk.read(PROFILE) == (decode(DAY),)
    asked = [int.from_bytes(apdu[3:7], "big") for apdu in meter.asked if apdu[:2] == b"\xc0\x02"]
    assert asked == list(range(1, -(-len(DAY) // block)))
    assert len({apdu[2] for apdu in meter.asked if apdu[0] == 0xC0}) == 1


@pytest.mark.parametrize(
    ("what", "third"),
    [
        ("the second again", lambda p: p[:7] + b"\x02" + p[8:]),
        ("the fourth", lambda p: p[:7] + b"\x04" + p[8:]),
        ("an abort", lambda p: b"\xc4\x01" + p[2:3] + b"\x01\x0f"),
        ("an abort as a block", lambda p: p[:3] + b"\x01" + p[4:8] + b"\x01\x0f"),
        ("a value out of the blue", lambda p: b"\xc4\x01" + p[2:3] + b"\x00\x11\x05"),
        ("another invoke-id", lambda p: p[:2] + bytes((p[2] ^ 3,)) + p[3:]),
        ("the last too early", lambda p: p[:3] + b"\x01" + p[4:]),
    ],
)
def test_blocks_that_go_wrong_bring_no_value(what, third):
    def change(plain: bytes) -> bytes:
        return third(plain) if plain[:2] == b"\xc4\x02" and plain[7] == 3 else plain

    talk = client(Meter(dict(VALUES), block=50, change=change)).open()
    with pytest.raises(DriverError):
        talk.read(PROFILE)


def test_blocks_without_end_are_given_up():
    talk = client(Meter(dict(VALUES), block=50)).open()
    get = Get(talk.association, [PROFILE], limits=Limits(octets=1000))
    for _ in range(20):
        get.feed(talk.say(get.request))
    with pytest.raises(Malformed, match="more than 1000"):
        get.feed(talk.say(get.request))


def test_a_meter_that_has_forgotten_the_association():
    talk = client(Meter()).open()
    with pytest.raises(AssociationLost):
        talk.association.answer(bytes.fromhex("D80101"))
    assert talk.association.phase is Phase.CLOSED
    with pytest.raises(ValueError, match="CLOSED"):
        talk.read(TIME)


def test_errors_in_the_clear_are_errors_in_a_ciphered_association_too():
    talk = client(Meter(), level=Level.BOTH).open()
    with pytest.raises(ExceptionResponse) as counter:
        talk.association.answer(bytes.fromhex("D8010600001000"))
    assert (counter.value.counter, counter.value.code) == (0x1000, "dlms.exception.invocation_counter_error")
    with pytest.raises(ExceptionResponse) as bare:
        talk.association.answer(bytes.fromhex("D80106"))
    assert bare.value.counter is None
    with pytest.raises(ServiceError):
        talk.association.answer(bytes.fromhex("0E050501"))


def test_no_answer_byte_by_byte_and_no_flipped_bit_is_a_crash():
    """In the clear nothing vouches for an answer but the link's checksum; what is left is that it never crashes."""
    for answer in ("C4014000090C07EA0B18020F1E00FFFE2000", "C40340020011050103", "C4024001000000010003110500"):
        octets = bytes.fromhex(answer)
        attributes = (TIME, TIME) if octets[1] == 3 else (TIME,)
        for length in range(3, len(octets)):
            with pytest.raises(DriverError):
                answered(octets[:length], *attributes)
        values = 0
        for bit in range(len(octets) * 8):
            flipped = bytearray(octets)
            flipped[bit >> 3] ^= 1 << (bit & 7)
            try:
                values += answered(bytes(flipped), *attributes) is not None
            except DriverError:
                continue
        assert values < len(octets) * 8


def test_what_is_not_asked_is_not_answered():
    association = Association(Terms())
    with pytest.raises(Malformed):
        association.feed(aare())
    talk = client(Meter()).open()
    talk.association.lost()
    assert talk.association.phase is Phase.CLOSED
