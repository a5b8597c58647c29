"""The read-only gates of DLMS: nothing but reads leaves, in the clear or ciphered, whole or in pieces."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from drivers.dlms.acse import Mechanism
from drivers.dlms.cosem_time import CosemTime
from drivers.dlms.hdlc import Hdlc, Parameters, Say
from drivers.dlms.hdlc_frame import ServerAddress
from drivers.dlms.objects import CLOCK, Class, attribute
from drivers.dlms.protection import Level, Wrap
from drivers.dlms.selection import by_entry, by_time
from drivers.dlms.xdlms import Attribute, get_next, get_normal, get_with_list, reply_to_hls
from drivers.gate import GateRefused, gate_of
from drivers.gate_dlms import HdlcGate, WrapperGate
from drivers.link import MemoryLink
from tests.dlms_client import ENERGIES, TIME, client
from tests.dlms_meter import Meter, frame

GATE = Path(__file__).parent.parent / "drivers/gate_dlms.py"
PROFILE = Attribute(7, bytes((1, 0, 99, 1, 0, 255)), 2)
NOW = CosemTime(2026, 11, 24, 2, 15, 30, 0, 0, -480, 0)
GET = get_normal(0xC1, TIME)
LLC = b"\xe6\xe6\x00"

READS = {
    "GET": GET,
    "GET by range": get_normal(1, PROFILE._replace(selection=by_time(NOW, NOW))),
    "GET by entry": get_normal(1, PROFILE._replace(selection=by_entry(1, 96))),
    "GET next": get_next(1, 7),
    "GET with list": get_with_list(1, [*ENERGIES, PROFILE._replace(selection=by_entry(1, 2)), TIME]),
    "the proof": reply_to_hls(1, bytes(17)),
    "RLRQ": bytes.fromhex("6203800100"),
    "RLRQ with an InitiateRequest": bytes.fromhex("6215800100BE10040E01000000065F1F0400007E1F04B0"),
    "RLRQ without a reason": bytes.fromhex("6200"),
    "AARQ": bytes.fromhex("601DA109060760857405080101BE10040E01000000065F1F0400007E1F04B0"),
}

NO_READS = {
    "SET": "C1 01 C1 0008 0000010000FF 02 00 090C07EA0B18020F1E00FFFE2000",
    "SET with list": "C1 04 C1 01 0008 0000010000FF 02 00 01 1105",
    "SET first block": "C1 02 C1 0008 0000010000FF 02 00 01 00000001 02 1105",
    "the clock's action": "C3 01 C1 0008 0000010000FF 01 00",
    "disconnect the supply": "C3 01 C1 0046 0000600300AFF 01 01 0F00".replace("00AFF", "0AFF"),
    "another method of the association": "C3 01 C1 000F 0000280000FF 02 01 0904 31323334",
    "the association's proof, no octets": "C3 01 C1 000F 0000280000FF 01 01 0F00",
    "the proof without one": "C3 01 C1 000F 0000280000FF 01 00",
    "the proof with a tail": "C3 01 C1 000F 0000280000FF 01 01 0901 00 00",
    "an action of class 12, the same name": "C3 01 C1 000C 0000280000FF 01 01 0901 00",
    "an action in a list": "C3 03 C1 01 000F 0000280000FF 01 01 01 0901 00",
    "ACCESS": "D9 00000001 00 00 01 02 0008 0000010000FF 02 01 1105",
    "an event": "C2 00 0008 0000010000FF 02 1105",
    "data-notification": "0F 00000001 00 1105",
    "short names: read": "05 01 02 0001",
    "short names: write": "06 01 02 0001 01 1105",
    "short names: unconfirmed write": "16 01 02 0001 01 1105",
    "nothing": "",
    "general blocks": "E0 80 0001 0000 05 C001C10008",
    "general ciphering": "DD 00 00 00 00 00 05 3000000001",
    "a ciphered GET that nobody saw": "C8 1E 30 01234567 411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B",
    "a ciphered SET": "C9 1E 30 01234567 411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B",
    "a ciphered action that nobody saw": "CB 06 30 01234567 41",
    "GET with a tail": GET.hex() + "00",
    "GET cut": GET.hex()[:-2],
    "GET of no kind": "C0 04 C1 00000001",
    "GET next cut": "C0 02 C1 000001",
    "GET with list, one too few": "C0 03 C1 02 0008 0000010000FF 02 00",
    "GET with list, one too many": "C0 03 C1 01 0008 0000010000FF 02 00 0008 0000010000FF 02 00",
    "GET by a selector of no standard": "C0 01 C1 0007 0100630100FF 02 01 09 1105",
    "GET whose selection goes on": "C0 01 C1 0007 0100630100FF 02 01 02 0204 1105",
    "GET with a selection nested without end": "C0 01 C1 0007 0100630100FF 02 01 02" + "0201" * 9 + "1105",
    "AARQ by short names": "601DA109060760857405080102BE10040E01000000065F1F0400007E1F04B0",
    "AARQ ciphered by short names": "601DA109060760857405080104BE10040E01000000065F1F0400007E1F04B0",
    "AARQ without an InitiateRequest": "600BA109060760857405080101",
    "AARQ with a GET inside": "601CA109060760857405080101BE0F040DC001C100080000010000FF0200",
    "AARQ with a SET inside": "6010A109060760857405080101BE030401C1",
    "AARQ with a ciphered part that nobody saw": "6019A109060760857405080101BE0C040A21083000000001414141",
    "AARQ with something else": "6021A109060760857405080101BE10040E01000000065F1F0400007E1F04B0BD020500",
    "AARQ with a tail": "601DA109060760857405080101BE10040E01000000065F1F0400007E1F04B000",
    "AARE": "6129A109060760857405080101A203020100A305A103020100BE10040E0800065F1F040000501F01F40007",
    "RLRQ with something else": "6205800100BD00",
    "an answer": "C4 01 C1 00 1105",
}


def wrapped(apdu: bytes) -> bytes:
    return b"\0\1\0\x10\0\1" + len(apdu).to_bytes(2, "big") + apdu


def said(control: int, info: bytes = b"", **more) -> bytes:
    return frame(control, info, to=b"\x03", of=b"\x21", **more)


def opened() -> HdlcGate:
    gate = HdlcGate()
    gate(said(0x93))
    return gate


def never(plain: bytes) -> bytes:
    raise AssertionError(f"{plain.hex()} was to be enciphered")


@pytest.mark.parametrize("apdu", READS.values(), ids=READS)
def test_what_reads_passes(apdu):
    WrapperGate()(wrapped(apdu))
    opened()(said(0x10, LLC + apdu))


@pytest.mark.parametrize("apdu", NO_READS.values(), ids=NO_READS)
def test_what_does_not_read_is_refused_in_the_clear_and_never_enciphered(apdu):
    octets = bytes.fromhex(apdu)
    with pytest.raises(GateRefused):
        WrapperGate()(wrapped(octets))
    with pytest.raises(GateRefused):
        opened()(said(0x10, LLC + octets))
    with pytest.raises(GateRefused):
        WrapperGate().seal(octets, never)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "0001001000010000",
        "0002001000010005 6203800100",
        "0001001000010006 6203800100",
        "0001001000010004 6203800100",
        "0001000000010005 6203800100",
        "0001001000010005 6203800100 0001001000010005 6203800100",
    ],
)
def test_exactly_one_wrapped_request_passes(data):
    with pytest.raises(GateRefused):
        WrapperGate()(bytes.fromhex(data))


@pytest.mark.parametrize("to", ["03", "0223", "00022C29", "00020023"])
def test_the_links_own_frames_pass(to):
    gate = HdlcGate()
    address = bytes.fromhex(to)
    for control, info in (
        (0x93, b""),
        (0x93, Parameters(512, 512, 1, 1).to_octets()),
        (0x11, b""),
        (0xF1, b""),
        (0x53, b""),
    ):
        gate(frame(control, info, to=address, of=b"\x21"))


FRAMES = {
    "nothing": b"",
    "no frame": bytes(20),
    "two frames": said(0x93) + said(0x53),
    "a flag too many": b"\x7e" + said(0x93),
    "a tail": said(0x93) + b"\0",
    "UI": said(0x13, LLC + GET),
    "RNR": said(0x15),
    "REJ": said(0x19),
    "UA": said(0x73),
    "DM": said(0x1F),
    "FRMR": said(0x97),
    "SNRM without its poll bit": said(0x83),
    "SNRM with a password": said(0x93, b"12345678"),
    "SNRM with parameters that are none": said(0x93, bytes.fromhex("8180030501")),
    "SNRM with other parameters": said(0x93, bytes.fromhex("818003090180")),
    "RR with information": said(0x11, b"x"),
    "DISC with information": said(0x53, b"x"),
    "SNRM in segments": said(0x93, more=True),
    "RR in segments": said(0x11, more=True),
    "I without its poll bit": said(0x00, LLC + GET),
    "I without information": said(0x10),
    "I without LLC": said(0x10, GET),
    "I with the answer's LLC": said(0x10, b"\xe6\xe7\x00" + GET),
    "to everybody": frame(0x93, to=b"\xff", of=b"\x21"),
    "to everybody at one meter": frame(0x93, to=b"\xfe\x23", of=b"\x21"),
    "to every meter": frame(0x93, to=b"\x02\xff", of=b"\x21"),
    "to every meter, four octets": frame(0x93, to=b"\x00\x02\xfe\xff", of=b"\x21"),
    "an address of three octets": frame(0x93, to=b"\x02\x02\x23", of=b"\x21"),
    "a client of two octets": frame(0x93, to=b"\x03", of=b"\x02\x21"),
    "from no client": frame(0x93, to=b"\x03", of=b"\x01"),
}


@pytest.mark.parametrize("data", FRAMES.values(), ids=FRAMES)
def test_frames_that_a_reader_never_says_are_refused(data):
    with pytest.raises(GateRefused):
        opened()(data)


def test_no_flipped_bit_passes():
    for data in (said(0x93), said(0x10, LLC + GET), said(0x53)):
        for bit in range(len(data) * 8):
            flipped = bytearray(data)
            flipped[bit >> 3] ^= 1 << (bit & 7)
            with pytest.raises(GateRefused):
                opened()(bytes(flipped))


def test_a_request_on_a_link_that_was_not_opened_or_is_closed():
    with pytest.raises(GateRefused, match="not opened"):
        HdlcGate()(said(0x10, LLC + GET))
    gate = opened()
    gate(said(0x53))
    with pytest.raises(GateRefused, match="not opened"):
        gate(said(0x10, LLC + GET))
    with pytest.raises(GateRefused, match="not opened"):
        opened()(frame(0x10, LLC + GET, to=b"\x05", of=b"\x21"))


SET = bytes.fromhex("C101C100080000010000FF0200") + bytes.fromhex("090C07EA0B18020F1E00FFFE2000")


def passed(gate: HdlcGate, frames: Sequence[bytes]) -> int:
    """How many frames went through before one was refused."""
    for n, said_next in enumerate(frames):
        try:
            gate(said_next)
        except GateRefused:
            return n
    return len(frames)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 10, 20])
def test_a_write_in_pieces_never_becomes_whole(size):
    gate, octets = opened(), LLC + SET
    pieces = [octets[n : n + size] for n in range(0, len(octets), size)]
    frames = [said(0x10 | n % 8 << 1, piece, more=n < len(pieces) - 1) for n, piece in enumerate(pieces)]
    assert passed(gate, frames) < len(frames)


def test_a_read_in_pieces_passes_and_a_piece_said_again_is_the_same():
    gate = opened()
    link = Hdlc(16, ServerAddress(1), parameters=Parameters(info_transmit=40))
    gate(link.connect())
    link.feed(frame(0x73))
    sent = [link.ask(READS["GET with list"])]
    n = 0
    gate(sent[0])
    while True:
        gate(link.again())  # the answer to it was lost
        n += 1
        event_ = link.feed(frame(n << 5 | 0x11))
        assert isinstance(event_, Say)
        gate(event_.frame)
        if event_.pause:
            break
        sent.append(event_.frame)
    assert len(sent) == 5
    changed = said(0x10 | (n - 1) << 1, b"another end")
    with pytest.raises(GateRefused):
        gate(changed)


def test_frames_out_of_order_are_refused():
    gate = opened()
    gate(said(0x10, LLC + GET))
    for control in (0x14, 0x10):
        with pytest.raises(GateRefused):
            gate(said(control, LLC + READS["RLRQ"]))
    gate(said(0x32, LLC + READS["RLRQ"]))


def test_pieces_without_end_are_refused():
    gate = opened()
    gate(said(0x10, LLC + bytes(2000), more=True))
    frames = [said(0x10 | n % 8 << 1, bytes(2000), more=True) for n in range(1, 40)]
    n = passed(gate, frames)
    with pytest.raises(GateRefused, match="no end"):
        gate(frames[n])


# -- ciphered ---------------------------------------------------------------------------------------------------------


def test_a_ciphered_request_leaves_once():
    talk = client(Meter(), level=Level.BOTH).open()
    request = talk.association.ask(GET)
    talk.gate(wrapped(request))
    with pytest.raises(GateRefused, match="sent before"):
        talk.gate(wrapped(request))


def test_a_ciphered_frame_said_again_over_hdlc_is_the_same_frame_and_nothing_else():
    talk = client(Meter(), level=Level.BOTH).open()
    gate = opened()
    sealed = gate.seal(GET, lambda plain: b"\xc8" + bytes((len(plain) + 5,)) + bytes(5) + plain)
    gate(said(0x10, LLC + sealed))
    gate(said(0x10, LLC + sealed))
    with pytest.raises(GateRefused, match="sent before"):
        gate(said(0x12, LLC + sealed))
    assert talk.association.agreed is not None


@pytest.mark.parametrize(
    "made",
    [
        b"",
        b"\xc8\x05short",
        b"\xc9" + bytes(30),
        b"\xcb" + bytes(30),
        b"\xc1" + bytes(30),
        b"\xdb" + bytes(5),
        GET + bytes(30),
    ],
)
def test_what_comes_out_must_look_like_what_went_in(made):
    gate = WrapperGate()
    with pytest.raises(GateRefused, match="not the ciphered form"):
        gate.seal(GET, lambda _: made)


def test_an_initiate_request_leaves_inside_an_association_only():
    initiate = bytes.fromhex("01000000065F1F0400007E1F04B0")
    gate = WrapperGate()
    sealed = gate.seal(initiate, lambda plain: b"\x21" + bytes((len(plain) + 5,)) + bytes(5) + plain)
    for apdu in (initiate, sealed):
        with pytest.raises(GateRefused):
            gate(wrapped(apdu))
    ciphered_get = gate.seal(GET, lambda plain: b"\xdb\x00" + bytes((len(plain) + 5,)) + bytes(5) + plain)
    information = b"\xbe" + bytes((len(ciphered_get) + 2, 4, len(ciphered_get))) + ciphered_get
    body = bytes.fromhex("A109060760857405080103") + information
    with pytest.raises(GateRefused):
        gate(wrapped(b"\x60" + bytes((len(body),)) + body))
    gate(wrapped(ciphered_get))


def test_one_octet_of_a_ciphered_request_may_not_change_after_it_was_seen():
    gate = WrapperGate()
    sealed = gate.seal(GET, lambda plain: b"\xc8" + bytes((len(plain) + 5,)) + bytes(5) + plain)
    for n in range(len(sealed)):
        with pytest.raises(GateRefused):
            gate(wrapped(sealed[:n] + bytes((sealed[n] ^ 1,)) + sealed[n + 1 :]))
    gate(wrapped(sealed))


def test_what_is_remembered_is_bounded():
    gate = opened()
    for n in range(1000):
        gate.seal(GET, lambda plain, n=n: b"\xc8\x20" + n.to_bytes(5, "big") + plain)  # type: ignore[misc]
        gate(frame(0x93, to=bytes((n % 60 << 1, (n % 100) << 1 | 1)), of=b"\x21"))
    assert len(gate._sealed) == 16
    assert len(gate._stations) <= 64


@pytest.mark.parametrize("wrap", Wrap)
def test_each_way_of_ciphering_passes_its_gate(wrap):
    talk = client(Meter(), Mechanism.HLS_GMAC, level=Level.BOTH, wrap=wrap).open()
    assert talk.read(TIME)


# -- any octets -------------------------------------------------------------------------------------------------------


def reads(apdu: bytes) -> bool:
    """The list for GET and ACTION, said a second time and differently: by making the request again from its parts."""
    if apdu[:2] == b"\xc0\x01" and len(apdu) == 13 and apdu[12] == 0:
        return True
    if apdu[:2] == b"\xc0\x02" and len(apdu) == 7:
        return True
    if apdu[:2] == b"\xc0\x03":
        return len(apdu) == 4 + 10 * apdu[3] and not any(apdu[13::10])
    prefix = bytes.fromhex("000F00002800")
    return (
        apdu[:2] == b"\xc3\x01"
        and apdu[3:9] == prefix
        and apdu[10:14] == b"\xff\x01\x01\x09"
        and len(apdu) == 15 + apdu[14]
    )


REQUESTS = [GET, get_next(1, 7), get_with_list(1, ENERGIES), reply_to_hls(1, bytes(17)), SET]


@given(
    st.sampled_from(REQUESTS),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 255)), max_size=2),
    st.binary(max_size=2),
)
def test_any_change_of_a_request_passes_only_when_it_reads(request_, changes, tail):
    apdu = bytearray(request_ + tail)
    for at, octet in changes:
        apdu[at % len(apdu)] = octet
    try:
        WrapperGate()(wrapped(bytes(apdu)))
    except GateRefused:
        event("refused")
        assert not reads(bytes(apdu))
    else:
        selects = apdu[0] == 0xC0 and 1 in apdu[12:]
        event("passed")
        assert reads(bytes(apdu)) or selects or apdu[0] in {0x60, 0x62}


@given(st.binary(max_size=40))
def test_any_octets_pass_or_are_refused(data):
    for gate in (WrapperGate(), opened()):
        try:
            gate(data)
        except GateRefused:
            event("refused")


def test_the_gate_shares_nothing_with_the_encoders():
    imported = {
        name
        for node in ast.walk(ast.parse(GATE.read_text("utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    }
    assert imported == {"__future__", "collections.abc", "hashlib", "drivers.gate"}


def test_each_voice_has_a_gate_of_its_own():
    for protocol, kind in (("dlms-hdlc", HdlcGate), ("dlms-wrapper", WrapperGate)):
        link = MemoryLink(lambda raw: None)
        gates = [link.gate(protocol).gate, link.gate(protocol).gate]
        assert all(isinstance(gate, kind) for gate in gates)
        assert gates[0] is not gates[1]
    for unknown in ("dlms-", "dlms-usb"):
        with pytest.raises(KeyError):
            gate_of(unknown)


def test_reading_the_clock_needs_no_more_than_the_gate_allows():
    assert get_normal(0xC1, attribute(Class.CLOCK, CLOCK, "time")) == GET
