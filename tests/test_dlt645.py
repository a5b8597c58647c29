"""DL/T 645 frames and exchanges: bytes in, an item's octets or a named failure out; never from a frame with a flaw."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

from drivers.dlt645.exchange import Exchange, OldEdition, Session, error_words
from drivers.dlt645.frame import Reader, address_of, encode, is_address
from drivers.gate import dlt645
from edge_agent.ports import BadReply, DriverError, NoReply, Refused

VECTORS = tomllib.loads((Path(__file__).parent / "vectors/dlt645/frames.toml").read_text("utf-8"))
METER = "123456789012"
OTHER = "558890213594"
ENERGY, VOLTAGE = 0x00010000, 0x02010100


def framed(address: str, control: int, data: bytes = b"") -> bytes:
    """A frame put together octet by octet from the standard, apart from the driver."""
    octets = [0x68, *reversed([int(address[i : i + 2], 16) for i in range(0, 12, 2)]), 0x68, control, len(data)]
    octets += [(octet + 0x33) & 0xFF for octet in data]
    return bytes([*octets, sum(octets) & 0xFF, 0x16])


def di(number: int) -> bytes:
    return bytes((number & 0xFF, number >> 8 & 0xFF, number >> 16 & 0xFF, number >> 24))


REPLY = framed(METER, 0x91, di(ENERGY) + bytes.fromhex("78563412"))
PAYLOAD = bytes.fromhex("78563412")


class Clock:
    """The boot clock of a test: it stands until it is moved."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


def session(clock: Clock | None = None) -> Session:
    return Session(clock or Clock(), 2.0)


def energy(of: Session | None = None) -> Exchange:
    return (of or session()).ask(METER, ENERGY)


def outcome(exchange: Exchange, pieces: Iterable[bytes]) -> bytes | DriverError:
    """What the bytes come to, and after them silence."""
    try:
        for piece in pieces:
            payload = exchange.feed(piece)
            if payload is not None:
                return payload
    except DriverError as error:
        return error
    return exchange.expired()


@pytest.mark.parametrize("case", VECTORS["frame"], ids=lambda c: c["name"])
def test_frames_checked_by_hand_both_ways(case):
    asked, answered = bytes.fromhex(case["asked"]), bytes.fromhex(case["answered"])
    number = int(case["register"]["address"][3:], 16)
    exchange = session().ask(case["address"], number)
    assert exchange.request == b"\xfe\xfe\xfe\xfe" + asked
    dlt645(exchange.request)
    came = outcome(exchange, [b"\xfe\xfe\xfe\xfe" + answered])
    if "gap" in case:
        assert isinstance(came, Refused)
        assert case["says"] in str(came)
    else:
        assert came == bytes((o - 0x33) & 0xFF for o in answered[14:-2])
    assert exchange.received == answered


@pytest.mark.parametrize("case", VECTORS["address"], ids=lambda c: c["name"])
def test_reading_the_address_of_the_one_meter_on_a_line(case):
    exchange = session().ask_address()
    assert exchange.request == bytes.fromhex("FEFEFEFE 68 AAAAAAAAAAAA 68 13 00 DF 16")
    dlt645(exchange.request)
    assert outcome(exchange, [bytes.fromhex(case["answered"])]) == bytes.fromhex(case["is"])[::-1]
    assert exchange.address == case["is"]


def test_a_meter_that_calls_itself_otherwise_than_its_frame_is_not_believed():
    failure = outcome(session().ask_address(), [framed(METER, 0x93, bytes.fromhex(OTHER)[::-1])])
    assert isinstance(failure, BadReply)
    assert OTHER in str(failure)


def test_the_frame_that_follows_is_asked_for_by_its_number():
    exchange = session().ask(METER, ENERGY, 2)
    assert exchange.request[4:] == framed(METER, 0x12, di(ENERGY) + b"\x02")
    dlt645(exchange.request)
    assert outcome(exchange, [framed(METER, 0x92, di(ENERGY) + b"\x11\x22\x02")]) == b"\x11\x22"
    assert not exchange.more


@pytest.mark.parametrize(
    ("control", "tail", "seq", "more"), [(0x91, b"", 0, False), (0xB1, b"", 0, True), (0xB2, b"\x07", 7, True)]
)
def test_the_more_bit_says_that_another_frame_follows(control, tail, seq, more):
    exchange = session().ask(METER, ENERGY, seq)
    assert outcome(exchange, [framed(METER, control, di(ENERGY) + b"\x12" + tail)]) == b"\x12"
    assert exchange.more is more


@pytest.mark.parametrize("preambles", range(9))
def test_any_number_of_preambles_is_skipped(preambles):
    assert outcome(energy(), [b"\xfe" * preambles + REPLY]) == PAYLOAD


@pytest.mark.parametrize("address", [METER, "686868686868", "680000000000", "000000000068", "689012345668"])
@pytest.mark.parametrize("doubled", [1, 2, 3, 7])
def test_a_doubled_68_in_front_is_skipped_even_where_the_address_is_made_of_it(address, doubled):
    reply = framed(address, 0x91, di(ENERGY) + PAYLOAD)
    assert outcome(session().ask(address, ENERGY), [b"\xfe" * 4 + b"\x68" * doubled + reply]) == PAYLOAD


@pytest.mark.parametrize(
    "noise",
    [
        "00 FF 55 AA",
        "68",
        "68 12 90 78 56 34 12",
        "16 16 16",
        "68 12 90 78 56 34 12 68 14 04 33",
        "68 12 90 78 56 34 12 68 91 01",
        "68 12 90 78 56 34 12 68 91 C9",
        "FE 68 FE 68 FE 68",
    ],
)
def test_noise_in_front_costs_nothing(noise):
    assert outcome(energy(), [bytes.fromhex(noise) + REPLY]) == PAYLOAD


def test_an_answer_cut_in_front_of_a_whole_one_is_passed_over_once_its_length_is_there():
    cut = framed(METER, 0x91, di(ENERGY) + b"\x99" * 6)[:14]
    assert outcome(energy(), [cut, REPLY]) == PAYLOAD


def test_a_beginning_that_promises_more_than_comes_costs_the_answer_and_yields_no_value():
    cut = framed(METER, 0x91, di(ENERGY) + bytes(190))[:20]
    failure = outcome(energy(), [cut, REPLY])
    assert isinstance(failure, BadReply)
    assert "a frame stopped after" in str(failure)


def test_an_answer_byte_by_byte_is_the_same():
    exchange = energy()
    answers = [exchange.feed(REPLY[i : i + 1]) for i in range(len(REPLY))]
    assert answers == [None] * (len(REPLY) - 1) + [PAYLOAD]
    assert exchange.received == REPLY


@pytest.mark.parametrize("length", range(len(REPLY)))
def test_an_answer_cut_at_any_length_is_no_answer(length):
    exchange = energy()
    failure = outcome(exchange, [b"\xfe\xfe" + REPLY[:length]])
    assert isinstance(failure, NoReply if length == 0 else BadReply)
    assert exchange.received == b"\xfe\xfe" + REPLY[:length]


FRAMES = {
    **{
        c["name"]: (c["address"], bytes.fromhex(c["asked"])[10:14], bytes.fromhex(c["answered"]))
        for c in VECTORS["frame"]
    }
}


@pytest.mark.parametrize(("address", "item", "reply"), FRAMES.values(), ids=FRAMES)
def test_no_flipped_bit_yields_a_value_or_a_refusal(address, item, reply):
    number = int.from_bytes(bytes((o - 0x33) & 0xFF for o in item), "little")
    flips = 0
    for bit in range(8 * len(reply)):
        flipped = bytearray(reply)
        flipped[bit // 8] ^= 0x80 >> bit % 8
        failure = outcome(session().ask(address, number), [b"\xfe" * 4 + flipped])
        assert isinstance(failure, NoReply | BadReply), f"bit {bit}"
        flips += 1
    assert flips == 8 * len(reply) >= 104


def test_wrong_parity_is_garbage_and_is_named_as_what_it_may_be():
    """An 8E1 meter read as 8N1 with 7 bits of data: the top bit is the parity of what was sent."""
    garbled = bytes(o & 0x7F | (0x80 if o.bit_count() % 2 else 0) for o in b"\xfe" * 4 + REPLY)
    failure = outcome(energy(), [garbled])
    assert isinstance(failure, BadReply)
    assert "2400 8E1" in str(failure)


WRONG = {
    "another meter": (framed(OTHER, 0x91, di(ENERGY) + PAYLOAD), BadReply, f"asked {METER}, {OTHER} answered"),
    "another item": (framed(METER, 0x91, di(VOLTAGE) + PAYLOAD), BadReply, "asked 00010000, 02010100 came"),
    "an address": (framed(METER, 0x93, bytes.fromhex(METER)[::-1]), BadReply, "asked 00010000, control 93 came"),
    "a frame that follows nothing": (framed(METER, 0x92, di(ENERGY) + b"\0\1"), BadReply, "00010000 frame 1 came"),
    "what answers a write": (framed(METER, 0x94), BadReply, "control 94 came"),
    "a refusal of a write": (framed(METER, 0xD4, b"\x04"), BadReply, "control D4 came"),
    "a refusal with more to follow": (framed(METER, 0xF1, b"\x02"), BadReply, "no frame among them"),
    "another master's question": (framed(METER, 0x11, di(VOLTAGE)), BadReply, f"another master asks {METER}"),
    "another master's write": (framed(OTHER, 0x14, bytes(12)), BadReply, f"another master asks {OTHER}"),
    "the edition of 1997": (
        framed(METER, 0x81, b"\x10\x90" + PAYLOAD),
        OldEdition,
        "is a DL/T 645-1997 meter, not sup",
    ),
    "a refusal by the edition of 1997": (
        framed(METER, 0xC1, b"\x02"),
        OldEdition,
        "DL/T 645-1997 meter, not supported",
    ),
}


@pytest.mark.parametrize(("came", "error", "says"), WRONG.values(), ids=WRONG)
def test_frames_that_do_not_answer_the_question_are_kept_and_named(came, error, says):
    exchange = energy()
    failure = outcome(exchange, [came])
    assert type(failure) is error
    assert says in str(failure)
    assert exchange.received == came


def test_an_old_meter_is_refused_and_not_asked_on():
    assert issubclass(OldEdition, Refused)


@pytest.mark.parametrize("seq", [0, 1, 3, 4, 255])
def test_a_following_frame_out_of_order_is_no_answer(seq):
    failure = outcome(session().ask(METER, ENERGY, 2), [framed(METER, 0x92, di(ENERGY) + b"\x11" + bytes((seq,)))])
    assert isinstance(failure, BadReply)
    assert f"asked 00010000 frame 2, 00010000 frame {seq} came" in str(failure)


@pytest.mark.parametrize(
    ("octet", "words"),
    [
        (0x01, "other error (error 01)"),
        (0x02, "no such data (error 02)"),
        (0x04, "wrong password or not authorised (error 04)"),
        (0x08, "speed cannot be changed (error 08)"),
        (0x10, "too many seasons (error 10)"),
        (0x20, "too many daily periods (error 20)"),
        (0x40, "too many rates (error 40)"),
        (0x06, "no such data, wrong password or not authorised (error 06)"),
        (0x80, "reserved error bit (error 80)"),
        (0x00, "refused without a reason (error 00)"),
    ],
)
@pytest.mark.parametrize("seq", [0, 1])
def test_the_error_octet_in_words(octet, words, seq):
    failure = outcome(session().ask(METER, ENERGY, seq), [framed(METER, 0xD2 if seq else 0xD1, bytes((octet,)))])
    assert type(failure) is Refused
    assert str(failure) == f"meter {METER}: {words}" == f"meter {METER}: {error_words(octet)}"


def test_the_adapters_echo_is_no_answer_and_does_not_hide_one():
    exchange = energy()
    assert outcome(exchange, [exchange.request + b"\xfe" * 4 + REPLY]) == PAYLOAD
    silent = energy()
    assert isinstance(outcome(silent, [silent.request]), NoReply)


def test_lengths_that_no_answer_has_are_no_frame():
    assert outcome(energy(), [framed(METER, 0x91, di(ENERGY) + b"\x11" * 196)]) == b"\x11" * 196
    assert isinstance(outcome(energy(), [framed(METER, 0x91, di(ENERGY) + b"\x11" * 197)]), BadReply)
    assert isinstance(outcome(energy(), [framed(METER, 0x91, b"\0\0\1")]), BadReply)
    assert isinstance(outcome(energy(), [framed(METER, 0xD1, b"\2\2")]), BadReply)


# --- addresses


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        (123456789012, "123456789012"),
        (1, "000000000001"),
        ("000000000001", "000000000001"),
        ("9012", "AAAAAAAA9012"),
        ("AAAA56789012", "AAAA56789012"),
        ("aa9012", "AAAAAAAA9012"),
        (999999999998, "999999999998"),
    ],
)
def test_addresses_as_they_are_written(written, sent):
    assert address_of(written) == sent
    dlt645(encode(sent, 0x11, di(ENERGY)))


@pytest.mark.parametrize(
    "written", ["", "123", "AAAAAAAAAAAA", "90AA", "12345678901B", "1234567890123", 10**12, -1, 999999999999, "99" * 6]
)
def test_what_is_no_address_of_a_meter(written):
    with pytest.raises(ValueError, match="address"):
        address_of(written)


def test_a_short_address_is_answered_by_the_whole_one():
    asked = address_of("9012")
    exchange = session().ask(asked, ENERGY)
    assert exchange.request[5:11] == bytes.fromhex("1290AAAAAAAA")
    assert outcome(exchange, [REPLY]) == PAYLOAD
    assert exchange.address == METER
    failure = outcome(session().ask(asked, ENERGY), [framed(OTHER, 0x91, di(ENERGY) + PAYLOAD)])
    assert isinstance(failure, BadReply)
    assert is_address(asked, METER)
    assert not is_address(asked, OTHER)


# --- late answers


def test_a_late_answer_to_another_item_is_thrown_away_and_the_answer_taken():
    of = session()
    late = of.ask(METER, VOLTAGE)
    of.give_up(late.asked, late.asked_ms)
    assert outcome(energy(of), [framed(METER, 0x91, di(VOLTAGE) + b"\x05\x22") + REPLY]) == PAYLOAD


def test_a_late_answer_of_another_meter_is_thrown_away():
    of = session()
    late = of.ask(OTHER, ENERGY)
    of.give_up(late.asked, late.asked_ms)
    assert outcome(energy(of), [framed(OTHER, 0x91, di(ENERGY) + b"\0\0\0\0"), REPLY]) == PAYLOAD


def test_another_meters_answer_is_not_taken_for_a_late_one():
    of = session()
    late = of.ask(METER, VOLTAGE)
    of.give_up(late.asked, late.asked_ms)
    failure = outcome(energy(of), [framed(OTHER, 0x91, di(VOLTAGE) + b"\x05\x22")])
    assert isinstance(failure, BadReply)
    assert of.doubts(late.asked) == 1


def test_a_late_answer_is_thrown_away_once():
    of = session()
    late = of.ask(METER, VOLTAGE)
    of.give_up(late.asked, late.asked_ms)
    failure = outcome(energy(of), [framed(METER, 0x91, di(VOLTAGE) + b"\x05\x22") * 2])
    assert isinstance(failure, BadReply)


def test_a_frame_that_had_begun_before_the_question_is_not_its_answer():
    of = session()
    assert of.settle(REPLY[:7])
    assert isinstance(outcome(energy(of), [REPLY[7:]]), BadReply)


def test_a_refusal_that_may_be_an_older_questions_is_not_this_ones():
    clock = Clock()
    of = session(clock)
    late = of.ask(METER, VOLTAGE)
    of.give_up(late.asked, late.asked_ms)
    clock.ms += 2100
    assert outcome(energy(of), [framed(METER, 0xD1, b"\x02"), REPLY]) == PAYLOAD


def test_a_refusal_is_this_questions_once_the_older_one_is_over():
    clock = Clock()
    of = session(clock)
    late = of.ask(METER, VOLTAGE)
    of.give_up(late.asked, late.asked_ms)
    clock.ms += 10_001
    assert isinstance(outcome(energy(of), [framed(METER, 0xD1, b"\x02")]), Refused)


def test_once_a_meter_has_answered_nothing_older_can_come():
    of = session()
    late = of.ask(METER, VOLTAGE)
    of.give_up(late.asked, late.asked_ms)
    asked = energy(of).asked
    assert of.doubts(late.asked) == 1
    of.answered(asked)
    assert of.doubts(late.asked) == 0
    assert isinstance(outcome(energy(of), [framed(METER, 0x91, di(VOLTAGE) + b"\x05\x22")]), BadReply)


def test_an_item_waits_for_its_late_answer_also_when_the_meter_answers_others_meanwhile():
    """An answer that is overtaken by a later one is as old as any other late one."""
    clock = Clock()
    of = session(clock)
    late = energy(of)
    of.give_up(late.asked, late.asked_ms)
    clock.ms += 3000
    of.answered(of.ask(METER, VOLTAGE).asked)
    assert of.doubts(late.asked) == 0
    assert of.wait_ms(late.asked) == 7000
    assert of.wait_ms(of.ask(METER, VOLTAGE).asked) == of.wait_ms(of.ask(OTHER, ENERGY).asked) == 0
    assert outcome(of.ask(METER, VOLTAGE), [REPLY + framed(METER, 0x91, di(VOLTAGE) + b"\x05\x22")]) == b"\x05\x22"
    assert of.wait_ms(late.asked) == 0  # it came and was thrown away


def test_an_item_waits_for_the_late_answers_to_its_following_frames():
    clock = Clock()
    of = session(clock)
    late = of.ask(METER, ENERGY, 1)
    of.give_up(late.asked, late.asked_ms)
    of.answered(of.ask(METER, VOLTAGE).asked)
    assert of.wait_ms(energy(of).asked) == 10_000


def test_half_as_long_again_as_the_longest_delay_seen_is_waited_for():
    clock = Clock()
    of = session(clock)
    first = energy(of)
    of.give_up(first.asked, first.asked_ms)
    assert of.wait_ms(first.asked) == 10_000
    other = of.ask(METER, VOLTAGE)
    clock.ms += 9000
    assert isinstance(outcome(other, [REPLY]), BadReply)
    assert of.doubts(first.asked) == 0
    again = energy(of)
    of.give_up(again.asked, again.asked_ms)
    assert of.wait_ms(again.asked) == 13_500


def test_how_late_an_answer_was_that_lay_unread_is_not_known():
    clock = Clock()
    of = session(clock)
    first = energy(of)
    of.give_up(first.asked, first.asked_ms)
    clock.ms += 30_000
    assert of.settle(REPLY)
    of.give_up(first.asked, clock.ms)
    assert of.wait_ms(first.asked) == 10_000


def test_what_nobody_asked_for_is_not_accounted_for():
    assert not session().settle(REPLY)
    assert session().settle(b"\x00\xfe\x16")


def test_the_reader_says_where_a_frame_began():
    reader = Reader()
    reader.feed(b"\0\0\xfe\xfe" + REPLY)
    reader.feed(b"\xfe" + REPLY)
    began = [t.began for t in iter(reader.take, None)]
    assert began == [4, 4 + len(REPLY) + 1]
    assert reader.pending == 0
