"""The Green Book's worked example, octet for octet and in both directions: what the client sends and what it is sent.

The other direction of each is the meter of these tests (`tests/dlms_meter.py`), which is written apart from the driver.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from drivers.dlms import acse, xdlms
from drivers.dlms.acse import Context, Mechanism
from drivers.dlms.association import Association, Terms
from drivers.dlms.axdr import decode
from drivers.dlms.counters import InvocationCounter, MemoryStore
from drivers.dlms.hdlc import Hdlc, Whole
from drivers.dlms.hdlc_frame import FrameReader, ServerAddress
from drivers.dlms.initiate import Conformance, initiate_request, initiate_response
from drivers.dlms.objects import CLOCK, Class, attribute
from drivers.dlms.protection import Keys, Level, Protection, Wrap, seal, unseal
from drivers.dlms.refused import AssociationRefused, Diagnostic, Flaw, Result
from drivers.gate import gate_of
from drivers.gate_dlms import HdlcGate, WrapperGate
from edge_agent.ports import DriverError
from tests import dlms_meter as meter

BOOK = tomllib.loads((Path(__file__).parent / "vectors/dlms/green_book.toml").read_text("utf-8"))


def octets(*path: str) -> bytes:
    found = BOOK
    for part in path:
        found = found[part]
    return bytes.fromhex(str(found))


KEYS = Keys(octets("keys", "encryption"), octets("keys", "authentication"))
SENDER = octets("keys", "sender")
COUNTER = BOOK["keys"]["counter"]
LEVELS = {"both": Level.BOTH, "authenticated": Level.AUTHENTICATED, "encrypted": Level.ENCRYPTED}
FULL = Conformance(BOOK["initiate"]["conformance"])


def protection(level: Level = Level.BOTH, counter: int = COUNTER, title: bytes = SENDER, **more: object) -> Protection:
    """Of a client with that title, whose next counter is the one given."""
    return Protection(
        KEYS, title, InvocationCounter(MemoryStore(counter)), witness=WrapperGate(), level=level, **more  # type: ignore[arg-type]
    )  # fmt: skip


def test_get_of_the_clock():
    plain = octets("get", "plain")
    assert xdlms.get_normal(0, attribute(Class.CLOCK, CLOCK, "time")) == plain
    assert meter.Meter().answer(plain) == bytes.fromhex("C4010000") + meter.CLOCK_VALUE
    assert xdlms.response_of(meter.Meter().answer(plain)) == xdlms.One(0, decode(meter.CLOCK_VALUE))


@pytest.mark.parametrize("name", LEVELS)
def test_glo_get_request(name: str):
    plain, ciphered = octets("get", "plain"), octets("get", name)
    assert protection(LEVELS[name]).protect(plain) == ciphered
    assert meter.opened(SENDER, ciphered[2:]) == plain
    assert b"\xc8" + bytes((len(ciphered) - 2,)) + meter.guarded(LEVELS[name], SENDER, COUNTER, plain) == ciphered
    assert unseal(KEYS, SENDER, ciphered[2:]) == plain


def test_initiate_request_with_a_dedicated_key():
    key, whole = octets("initiate", "dedicated_key"), octets("initiate", "request")
    assert initiate_request(FULL, BOOK["initiate"]["max_pdu"], key) == whole
    assert initiate_request(FULL, 1200) == octets("initiate", "request_plain")


def test_glo_initiate_request():
    plain, ciphered = octets("initiate", "request"), octets("initiate", "glo_request")
    assert protection().protect(plain) == ciphered
    assert meter.opened(SENDER, ciphered[2:]) == plain == unseal(KEYS, SENDER, ciphered[2:])


def test_glo_initiate_response():
    plain, ciphered = octets("initiate", "response"), octets("initiate", "glo_response")
    agreed = initiate_response(plain)
    assert agreed == (Conformance(0x007C1F), 1024, 7, 6)
    assert Conformance.GET in agreed.conformance
    assert protection(meter_title=SENDER).unprotect(ciphered, initiate=True) == plain
    assert bytes((0x28, len(ciphered) - 2)) + meter.guarded(0x30, SENDER, COUNTER, plain) == ciphered
    assert seal(KEYS, SENDER, Level.BOTH, COUNTER, plain) == ciphered[2:]


def test_hls_proof_of_the_client():
    challenge, token = BOOK["hls"]["stoc"].encode(), octets("hls", "f_stoc")
    ours = protection(counter=BOOK["hls"]["f_stoc_counter"], title=octets("keys", "client"))
    assert ours.prove(challenge) == token
    assert meter.proof(octets("keys", "client"), 1, challenge) == token


def test_hls_proof_of_the_meter():
    challenge, token = BOOK["hls"]["ctos"].encode(), octets("hls", "f_ctos")
    assert meter.proof(octets("keys", "meter"), COUNTER, challenge) == token
    ours = protection(meter_title=octets("keys", "meter"))
    ours.prove(b"anything")
    ours.check_proof(challenge, token)


def test_every_aarq():
    plain = octets("initiate", "request_plain")
    password, challenge = BOOK["aarq"]["password"].encode(), BOOK["hls"]["ctos"].encode()
    made = {
        "none": acse.aarq(Context.LONG_NAMES, plain),
        "lls": acse.aarq(Context.LONG_NAMES, plain, mechanism=Mechanism.LLS, secret=password),
        "hls5": acse.aarq(Context.LONG_NAMES, plain, mechanism=Mechanism.HLS_GMAC, secret=challenge),
        "glo": acse.aarq(
            Context.LONG_NAMES_CIPHERED, octets("initiate", "glo_request"),
            mechanism=Mechanism.LLS, secret=password, title=SENDER,
        ),
    }  # fmt: skip
    assert made == {name: octets("aarq", name) for name in BOOK["aarq"] if name != "password"}


@pytest.mark.parametrize("name", ["none", "lls", "glo"])
def test_an_association_sends_the_aarq_of_the_book(name: str):
    password = b"" if name == "none" else b"12345678"
    terms = Terms(mechanism=Mechanism.LLS if password else Mechanism.NONE, password=password, conformance=FULL)
    key = octets("initiate", "dedicated_key")
    guard = protection(wrap=Wrap.DED, dedicated_key=key) if name == "glo" else None
    assert Association(terms, guard).request == octets("aarq", name)


@pytest.mark.parametrize("name", ["none", "lls", "hls5"])
def test_the_gate_reads_every_aarq_of_the_book(name: str):
    gate = WrapperGate()
    apdu = octets("aarq", name)
    gate(b"\0\1\0\x10\0\1" + len(apdu).to_bytes(2, "big") + apdu)


def test_the_ciphered_aarq_passes_the_gate_that_saw_its_inside_and_no_other():
    guard = protection()
    inside = guard.protect(octets("initiate", "request"))
    aarq = octets("aarq", "glo")
    assert inside in aarq
    gate = guard._witness
    assert isinstance(gate, WrapperGate)
    gate(b"\0\1\0\x10\0\1" + len(aarq).to_bytes(2, "big") + aarq)


def test_aare_that_accepts():
    aare = acse.aare_of(octets("aare", "ok"))
    assert (aare.context, aare.result, aare.diagnostic) == (1, Result.ACCEPTED, Diagnostic.NULL)
    agreed = initiate_response(aare.information)
    assert (agreed.max_pdu, int(agreed.conformance), agreed.vaa_name) == (500, 0x00501F, 7)
    assert meter.aare() == octets("aare", "ok")


def test_aare_that_refuses_the_application_context():
    association = Association(Terms())
    assert association.request
    with pytest.raises(AssociationRefused) as refused:
        association.feed(octets("aare", "context"))
    assert refused.value.diagnostic is Diagnostic.APPLICATION_CONTEXT_NAME_NOT_SUPPORTED
    assert refused.value.code == "dlms.association.application_context_name_not_supported"
    assert meter.aare(1, 2) == octets("aare", "context")


def test_aare_with_an_initiate_error():
    association = Association(Terms())
    assert association.request
    with pytest.raises(AssociationRefused, match="dlms-version-too-low") as refused:
        association.feed(octets("aare", "error"))
    assert refused.value.code == "dlms.association.initiate"
    assert meter.aare(1, 1, bytes.fromhex("0E010601")) == octets("aare", "error")


def test_aare_that_asks_for_a_proof():
    aare = acse.aare_of(octets("aare", "hls5"))
    assert (aare.diagnostic, aare.mechanism) == (Diagnostic.AUTHENTICATION_REQUIRED, Mechanism.HLS_GMAC)
    assert aare.challenge == b"P6wRJ21F"
    assert meter.aare(0, 14, challenge=b"P6wRJ21F") == octets("aare", "hls5")


def test_the_whole_hls_exchange_in_the_clear():
    """As in the book: client 4D4D4D0000000001 with counter 1, the meter's proof with 01234567."""
    guard = protection(
        Level.NONE, BOOK["hls"]["f_stoc_counter"], octets("keys", "client"), meter_title=octets("keys", "meter")
    )
    association = Association(Terms(mechanism=Mechanism.HLS_GMAC, conformance=FULL), guard, challenge=b"K56iVagY")
    assert association.request[-18:] == octets("aarq", "hls5")[-18:]
    assert association.feed(octets("aare", "hls5")).name == "PROVING"
    assert association.request == bytes.fromhex("C30141000F0000280000FF01010911") + octets("hls", "f_stoc")
    assert association.feed(bytes.fromhex("C701410001000911") + octets("hls", "f_ctos")).name == "OPEN"


def test_hdlc_frames():
    link = Hdlc(16, ServerAddress(1))
    assert link.connect() == octets("hdlc", "snrm")
    link.feed(meter.frame(0x73))
    assert link.ask(octets("aarq", "none")) == octets("hdlc", "aarq_none")
    assert link.disconnect() == octets("hdlc", "disc")
    at_meter = {"to": b"\x03", "of": b"\x21"}
    assert meter.frame(0x93, **at_meter) == octets("hdlc", "snrm")  # type: ignore[arg-type]
    assert meter.frame(0x53, **at_meter) == octets("hdlc", "disc")  # type: ignore[arg-type]
    aarq = b"\xe6\xe6\x00" + octets("aarq", "none")
    assert meter.frame(0x10, aarq, **at_meter) == octets("hdlc", "aarq_none")  # type: ignore[arg-type]


def test_hdlc_frames_read_back_and_passed_by_the_gate():
    gate, reader = gate_of("dlms-hdlc"), FrameReader()
    assert isinstance(gate, HdlcGate)
    for name, control in (("snrm", 0x93), ("aarq_none", 0x10), ("disc", 0x53)):
        gate(octets("hdlc", name))
        reader.feed(octets("hdlc", name))
        frame = reader.take()
        assert frame is not None
        assert (frame.destination, frame.source, frame.control) == (b"\x03", b"\x21", control)
        assert frame.info == (b"\xe6\xe6\x00" + octets("aarq", "none") if name == "aarq_none" else b"")


def test_the_aare_of_the_book_over_hdlc():
    link = Hdlc(16, ServerAddress(1))
    link.connect()
    link.feed(meter.frame(0x73))
    link.ask(octets("aarq", "none"))
    event = link.feed(meter.frame(0x30, b"\xe6\xe7\x00" + octets("aare", "ok")))
    assert event == Whole(octets("aare", "ok"))


@pytest.mark.parametrize("name", ["both", "authenticated"])
def test_no_bit_of_an_authenticated_line_may_change(name: str):
    body = octets("get", name)[2:]
    flaws = []
    for bit in range(len(body) * 8):
        flipped = bytearray(body)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(DriverError) as refused:
            protection(LEVELS[name], meter_title=SENDER).unprotect(b"\xdb\x00" + bytes((len(body),)) + bytes(flipped))
        flaws.append(getattr(refused.value, "flaw", None))
    assert set(flaws[8:]) == {Flaw.TAG}  # the first octet says how it is protected: each bit has its own refusal
    assert len(flaws) == len(body) * 8
