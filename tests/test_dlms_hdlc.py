"""The HDLC data link and the TCP wrapper: frames in, answers out; nothing from a frame with a flaw or for another."""

from __future__ import annotations

import pytest

from drivers.dlms.hdlc import MOST_ROUNDS, Down, Hdlc, Parameters, Phase, Say, Up, Whole, parameters_of
from drivers.dlms.hdlc_frame import FrameReader, ServerAddress, client_octet, encode
from drivers.dlms.refused import Desync, LinkRefused, MeterHungUp, NotSupported, Unsupported
from drivers.dlms.wrapper import Wrapper
from drivers.dlms.wrapper import encode as wrapped
from drivers.gate_dlms import HdlcGate
from edge_agent.ports import BadReply, DriverError, NoReply
from tests.dlms_meter import frame

ASK = bytes.fromhex("C001C100080000010000FF0200")
ANSWER = bytes.fromhex("C401C10009047E7E7E7E")  # flags inside the data are data
LLC = b"\xe6\xe7\x00"


def up(**settings) -> Hdlc:
    """A link that is up, by default 128 octets and one frame each way."""
    link = Hdlc(16, ServerAddress(1), **settings)
    link.connect()
    assert isinstance(link.feed(frame(0x73)), Up)
    return link


def asked(**settings) -> Hdlc:
    link = up(**settings)
    link.ask(ASK)
    return link


# -- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "octets"),
    [
        (ServerAddress(1), "03"),
        (ServerAddress(0x7F), "FF"),
        (ServerAddress(1, 17), "0223"),
        (ServerAddress(1, 2836), "00022C29"),
        (ServerAddress(1, 17, 4), "00020023"),
        (ServerAddress(0x3FFF, 0x3FFF), "FEFEFEFF"),
        (ServerAddress(200), "02900001"),
    ],
)
def test_server_addresses_of_one_two_and_four_octets(address, octets):
    assert address.to_octets() == bytes.fromhex(octets)
    reader = FrameReader()
    reader.feed(frame(0x73, of=bytes.fromhex(octets)))
    read = reader.take()
    assert read is not None
    assert (read.destination, read.source) == (b"\x21", bytes.fromhex(octets))


@pytest.mark.parametrize("wrong", [(128, 1, 2), (1, None, 3), (1, 5, 1), (0x4000, 0, 4), (-1, None, 1)])
def test_addresses_that_are_none(wrong):
    with pytest.raises(ValueError):
        ServerAddress(*wrong)
    for client in (0, 128):
        with pytest.raises(ValueError):
            client_octet(client)


def test_a_frame_as_the_meter_of_the_tests_makes_it():
    for info in (b"", b"\x7e", bytes(300)):
        assert encode(b"\x21", b"\x03", 0x30, info) == frame(0x30, info)
    assert encode(b"\x21", b"\x03", 0x30, b"abc", segmented=True) == frame(0x30, b"abc", more=True)
    with pytest.raises(ValueError):
        encode(b"\x21", b"\x03", 0x30, bytes(2040))


WHOLE = frame(0x30, LLC + ANSWER)


def test_an_answer_whole_byte_by_byte_and_behind_noise():
    assert asked().feed(WHOLE) == Whole(ANSWER)
    link = asked()
    assert [link.feed(WHOLE[n : n + 1]) for n in range(len(WHOLE))] == [None] * (len(WHOLE) - 1) + [Whole(ANSWER)]
    noises = ["00FF", "7E", "7E7E7E", "7EA0", "7EA00A21", "7EA7FF2103", "A0A0A0", "7E7EA0077E", "7EA02B032110FBAE"]
    for noise in noises:
        assert asked().feed(bytes.fromhex(noise) + WHOLE) == Whole(ANSWER), noise


def test_an_answer_that_broke_off_is_passed_over_once_its_length_is_there():
    link = asked()
    assert link.feed(WHOLE[:12]) is None
    assert isinstance(link.expired(), BadReply)
    link.again()
    assert link.feed(WHOLE) == Whole(ANSWER)


def test_no_single_bit_may_change():
    for bit in range(len(WHOLE) * 8):
        flipped = bytearray(WHOLE)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        link = asked()
        assert link.feed(bytes(flipped)) is None
        assert isinstance(link.expired(), DriverError)
        if bit >= 24:  # a length that is too long waits for the rest of it
            link.again()
            assert link.feed(WHOLE) == Whole(ANSWER), bit


def test_an_answer_cut_at_any_length_is_none():
    for length in range(len(WHOLE)):
        link = asked()
        assert link.feed(WHOLE[:length]) is None
        assert isinstance(link.expired(), NoReply if length < 2 else BadReply)


def test_one_flag_may_end_a_frame_and_begin_the_next():
    reader = FrameReader()
    reader.feed(frame(0x73)[:-1] + WHOLE + b"\x7e\x7e" + WHOLE[1:])
    found = [reader.take() for _ in range(4)]
    assert [f and f.control for f in found] == [0x73, 0x30, 0x30, None]


def test_a_flood_of_noise_takes_no_memory():
    link = asked()
    for _ in range(40):
        link.feed(b"\x7e\xa7\xff\x21" * 4096)
    assert link._reader.pending <= 64_000
    assert len(link._reader.noise) <= 64
    link.feed(bytes(3000))
    assert link.feed(WHOLE) == Whole(ANSWER)


# -- the link ---------------------------------------------------------------------------------------------------------


def test_parameters_of_a_ua():
    full = bytes.fromhex("818014 05020400 06020200 0704 00000007 0804 00000001".replace(" ", ""))
    assert parameters_of(full) == Parameters(1024, 512, 7, 1)
    short = bytes.fromhex("818012 050180 060180 070400000001 080400000001".replace(" ", ""))
    assert parameters_of(short) == Parameters()
    assert parameters_of(b"") == Parameters(128, 128, 1, 1)
    assert parameters_of(bytes.fromhex("818003060140")) == Parameters(128, 64, 1, 1)
    for torn in ("8180", "818014", "81800306", "818004060240", "8180060600060000FF", "FFFF"):
        assert parameters_of(bytes.fromhex(torn)) == Parameters(), torn


def test_an_snrm_with_parameters():
    proposed = Parameters(512, 1024, 1, 3)
    snrm = Hdlc(16, ServerAddress(1), parameters=proposed).connect()
    HdlcGate()(snrm)
    reader = FrameReader()
    reader.feed(snrm)
    read = reader.take()
    assert read is not None
    assert read.info == bytes.fromhex("818014050202000602040007040000000108040000 0003".replace(" ", ""))
    assert parameters_of(read.info) == proposed


def test_up_and_down():
    link = up()
    assert link.phase is Phase.UP
    assert link.disconnect() == frame(0x53, to=b"\x03", of=b"\x21")
    assert isinstance(link.feed(frame(0x73)), Down)
    link.disconnect()
    assert isinstance(link.feed(frame(0x1F)), Down)  # it knew of no link: all the same
    assert link.phase.name == "DOWN"


def test_a_meter_that_will_not_connect():
    link = Hdlc(16, ServerAddress(1))
    link.connect()
    with pytest.raises(LinkRefused):
        link.feed(frame(0x1F))
    assert link.phase is Phase.DOWN


@pytest.mark.parametrize(("control", "error"), [(0x1F, MeterHungUp), (0x0F, MeterHungUp), (0x97, Desync)])
def test_a_meter_that_ends_the_link_amid_a_question(control, error):
    link = asked()
    with pytest.raises(error):
        link.feed(frame(control))
    assert link.phase is Phase.DOWN
    with pytest.raises(ValueError):
        link.ask(ASK)


def test_numbers_go_round():
    link = up()
    for n in range(20):
        sent = link.ask(ASK)
        assert sent[5] == (n % 8) << 5 | 0x10 | (n % 8) << 1
        answer = frame(((n + 1) % 8) << 5 | 0x10 | (n % 8) << 1, LLC + bytes((n,)))
        assert link.feed(answer) == Whole(bytes((n,)))


def test_a_question_in_segments_goes_on_at_each_rr():
    link = up(parameters=Parameters(info_transmit=50))
    long = bytes(range(120))
    frames = [link.ask(long)]
    for n in (1, 2):
        event = link.feed(frame(n << 5 | 0x11))
        assert isinstance(event, Say)
        frames.append(event.frame)
    assert [(f[1] & 8, f[5]) for f in frames] == [(8, 0x10), (8, 0x12), (0, 0x14)]
    reader = FrameReader()
    reader.feed(b"".join(frames))
    assert b"".join(f.info for f in iter(reader.take, None)) == b"\xe6\xe6\x00" + long
    assert link.feed(frame(3 << 5 | 0x10, LLC + ANSWER)) == Whole(ANSWER)


def test_a_meter_that_takes_less_is_sent_less():
    link = Hdlc(16, ServerAddress(1), parameters=Parameters(512, 512, 1, 1))
    link.connect()
    link.feed(frame(0x73, bytes.fromhex("818003060120")))
    assert len(link.ask(bytes(100))) == 32 + 11


def test_an_answer_in_segments_is_asked_for_piece_by_piece():
    link, whole = asked(), LLC + ANSWER * 30
    pieces = [whole[n : n + 100] for n in range(0, len(whole), 100)]
    for n, piece in enumerate(pieces):
        last = n == len(pieces) - 1
        event = link.feed(frame(0x30 | n << 1, piece, more=not last))
        if last:
            assert event == Whole(ANSWER * 30)
        else:
            assert event == Say(frame((n + 1) << 5 | 0x11, to=b"\x03", of=b"\x21"))


def test_a_window_of_three_is_acknowledged_at_its_last_frame():
    link = asked()
    assert link.feed(frame(0x20, LLC + b"abc", more=True)) is None
    assert link.feed(frame(0x22, b"def", more=True)) is None
    assert link.feed(frame(0x34, b"ghi", more=True)) == Say(frame(3 << 5 | 0x11, to=b"\x03", of=b"\x21"))
    assert link.feed(frame(0x36, b"jkl")) == Whole(b"abcdefghijkl")


def test_a_frame_lost_out_of_a_window_is_asked_for_again():
    link = asked()
    assert link.feed(frame(0x20, LLC + b"abc", more=True)) is None
    again = link.feed(frame(0x34, b"ghi", more=True))
    assert again == Say(frame(1 << 5 | 0x11, to=b"\x03", of=b"\x21"))  # the second is still wanted
    assert link.feed(frame(0x22, b"def", more=True)) is None
    assert link.feed(frame(0x34, b"ghi")) == Whole(b"abcdefghi")


def test_a_frame_that_comes_twice_counts_once():
    link = asked()
    first = frame(0x30, LLC + b"abc", more=True)
    assert isinstance(link.feed(first), Say)
    assert isinstance(link.feed(first), Say)
    assert link.feed(frame(0x32, b"def")) == Whole(b"abcdef")


def test_a_late_answer_to_an_older_question_is_passed_over():
    link = asked()
    assert link.feed(WHOLE) == Whole(ANSWER)
    link.ask(ASK)
    assert link.feed(WHOLE) is None
    assert link.skipped == 1
    assert link.feed(frame(0x52, LLC + b"new")) == Whole(b"new")


def test_after_silence_the_same_frame_is_sent():
    link = up()
    sent = link.ask(ASK)
    assert isinstance(link.expired(), NoReply)
    assert link.again() == sent
    assert link.feed(WHOLE) == Whole(ANSWER)


def test_a_meter_that_has_the_question_and_needs_time_is_polled():
    for busy in (0x31, 0x35):
        link = asked()
        assert link.feed(frame(busy)) == Say(frame(0x11, to=b"\x03", of=b"\x21"), pause=True)
        assert link.feed(WHOLE) == Whole(ANSWER)


def test_a_rejected_frame_is_sent_again():
    link = up()
    sent = link.ask(ASK)
    assert link.feed(frame(0x19)) == Say(sent)
    assert link.feed(WHOLE) == Whole(ANSWER)


@pytest.mark.parametrize("empty", [frame(0x31), frame(0x19), frame(0x30 | 2 << 1, b"x", more=True)])
def test_a_meter_that_never_gives_anything_is_given_up(empty):
    link = asked()
    for _ in range(MOST_ROUNDS):
        assert isinstance(link.feed(empty), Say)
    with pytest.raises(Desync):
        link.feed(empty)


def test_an_answer_without_end_is_given_up():
    link = asked(most_apdu=1000)
    for n in range(10):
        assert isinstance(link.feed(frame(0x30 | n % 8 << 1, bytes(100), more=True)), Say)
    with pytest.raises(Desync, match="more than 1000"):
        link.feed(frame(0x30 | 2 << 1, b"x", more=True))


def test_an_answer_without_its_llc_header():
    with pytest.raises(Desync, match="LLC"):
        asked().feed(frame(0x30, b"\xe6\xe6\x00" + ANSWER))


def test_frames_of_others_are_passed_over():
    link = asked()
    others = frame(0x30, LLC + b"wrong", to=b"\x23") + frame(0x30, LLC + b"wrong", of=b"\x05")
    assert link.feed(others + frame(0x30, LLC + b"wrong", of=b"\x02\x03") + WHOLE) == Whole(ANSWER)
    assert link.skipped == 3


def test_pushes_are_kept_aside_and_not_without_end():
    link = asked()
    for n in range(40):
        assert link.feed(frame(0x13 if n % 2 else 0x03, LLC + bytes((0x0F, n)))) is None
    assert link.feed(WHOLE) == Whole(ANSWER)
    assert [push[-1] for push in link.aside] == list(range(24, 40))


def test_the_echo_of_our_own_frame_is_passed_over_even_between_like_addresses():
    """Client 1 and logical device 1 have the same octet: only what was said tells an echo from an answer."""
    link = Hdlc(1, ServerAddress(1), echo=True)
    assert link.feed(link.connect()) is None
    assert isinstance(link.feed(frame(0x73, to=b"\x03")), Up)
    assert link.feed(link.ask(ASK)) is None
    busy = link.feed(frame(0x31, to=b"\x03"))
    assert isinstance(busy, Say)
    assert link.feed(busy.frame) is None
    assert link.feed(frame(0x30, LLC + ANSWER, to=b"\x03")) == Whole(ANSWER)


def test_an_optical_head_that_echoes_is_no_answer():
    link = Hdlc(16, ServerAddress(1))
    assert link.feed(link.connect()) is None
    assert link.phase is Phase.CONNECTING
    assert isinstance(link.expired(), NoReply)


@pytest.mark.parametrize("said", [b"/LGZ4ZMD3104407.B40\r\n", bytes(o | 0x80 for o in b"/ISK5MT174-0001\r\n")])
def test_a_meter_in_mode_e_is_recognised(said):
    link = Hdlc(16, ServerAddress(1))
    link.connect()
    assert link.feed(said) is None
    error = link.expired()
    assert isinstance(error, NotSupported)
    assert error.what is Unsupported.MODE_E


def test_a_channel_that_is_lost_takes_the_link_with_it():
    link = asked()
    link.feed(WHOLE[:8])
    link.lost()
    assert link.phase is Phase.DOWN
    link.connect()
    assert isinstance(link.feed(frame(0x73)), Up)


# -- the TCP wrapper --------------------------------------------------------------------------------------------------

REPLY = bytes.fromhex("0001 0001 0010 000A") + ANSWER


def connected() -> Wrapper:
    wrapper = Wrapper(16, 1)
    assert wrapper.ask(ASK) == bytes.fromhex("0001 0010 0001 000D") + ASK
    return wrapper


def test_a_wrapped_answer_whole_and_byte_by_byte():
    assert connected().feed(REPLY) == ANSWER
    wrapper = connected()
    assert [wrapper.feed(REPLY[n : n + 1]) for n in range(len(REPLY))] == [None] * (len(REPLY) - 1) + [ANSWER]
    assert wrapped(1, 16, ANSWER) == REPLY


def test_no_bit_of_the_header_may_change():
    for bit in range(64):
        flipped = bytearray(REPLY)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        wrapper = connected()
        try:
            answer = wrapper.feed(bytes(flipped))
        except Desync:
            assert bit < 16 or bit >= 48
            continue
        assert answer is None or (answer == ANSWER[: len(answer)] and bit >= 48)  # a shorter one, cut by its length


def test_answers_for_others_and_pushes_are_passed_over():
    wrapper = connected()
    push = wrapped(1, 16, b"\x0f\x00")
    assert wrapper.feed(wrapped(2, 16, b"\xc4") + wrapped(1, 17, b"\xc4") + push + REPLY) == ANSWER
    assert (wrapper.skipped, list(wrapper.aside)) == (2, [b"\x0f\x00"])
    assert wrapper.feed(REPLY) is None  # nobody asked
    assert wrapper.skipped == 3


@pytest.mark.parametrize("noise", ["7EA0", "0002000100100001C4", "0001000100100000", "FF"])
def test_a_header_that_is_none_needs_a_new_connection(noise):
    wrapper = connected()
    with pytest.raises(Desync):
        wrapper.feed(bytes.fromhex(noise))
    with pytest.raises(Desync):
        wrapper.feed(REPLY)
    wrapper.lost()
    wrapper.ask(ASK)
    assert wrapper.feed(REPLY) == ANSWER


def test_what_silence_means():
    wrapper = connected()
    assert isinstance(wrapper.expired(), NoReply)
    wrapper.feed(REPLY[:9])
    assert isinstance(wrapper.expired(), BadReply)
    wrapper = connected()
    wrapper.feed(wrapped(2, 16, b"\xc4"))
    assert isinstance(wrapper.expired(), BadReply)


def test_an_apdu_longer_than_agreed_is_refused_at_its_header():
    wrapper = Wrapper(16, 1, most_apdu=1000)
    wrapper.ask(ASK)
    with pytest.raises(Desync):
        wrapper.feed(bytes.fromhex("0001 0001 0010 03E9"))


def test_what_does_not_fit_is_not_sent():
    for octets in (b"", bytes(65_536)):
        with pytest.raises(ValueError):
            wrapped(16, 1, octets)
    for ports in ((0, 1), (16, 65_536)):
        with pytest.raises(ValueError):
            Wrapper(*ports)
