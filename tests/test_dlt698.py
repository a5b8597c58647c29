"""DL/T 698.45 frames and exchanges: bytes in, an APDU or a named failure out; never from a frame with a flaw."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from dlt698.codec import encode_frame
from dlt698.protocol.link import AddressType, Frame, ServerAddress

from drivers.dlt698 import codec
from drivers.dlt698.exchange import LATEST_MS, Illegible, Session
from drivers.dlt698.frame import Reader, address_of, encode
from drivers.gate import dlt698
from edge_agent.ports import BadReply, NoReply, Refused
from tests.on_698 import (
    ENERGY,
    METER,
    NOBODY_KNOWS,
    OTHER,
    VOLTAGES,
    Clock,
    block,
    energies,
    energy,
    framed,
    got,
    outcome,
    put_right,
    result,
    volts,
)

WORKED = tomllib.loads((Path(__file__).parent / "vectors/dlt698/frames.toml").read_text("utf-8"))["get"]


PIID = energy().asked.piid
"""The number of a first question."""


def reply(exchange, first: int = 12_345_678, address: str = METER, **more: int) -> bytes:
    return framed(address, got(exchange.asked.piid, result(ENERGY, energies(first))), **more)


# --- frames


@pytest.mark.parametrize("case", WORKED, ids=lambda c: c["name"])
def test_the_standards_worked_questions_are_asked_octet_by_octet(case):
    oads = tuple(int(oad, 16) for oad in case["oads"])
    assert codec.asking(case["piid"], oads) == bytes.fromhex(case["question"])
    if "frame" in case:
        frame = encode(case["address"], bytes.fromhex(case["question"]))
        assert frame == bytes.fromhex(case["frame"])
        dlt698(frame)
        reader = Reader()
        reader.feed(frame)
        telegram = reader.take()
        assert telegram is not None
        assert (telegram.address, telegram.apdu, telegram.control) == (
            case["address"],
            bytes.fromhex(case["question"]),
            0x43,
        )


@pytest.mark.parametrize("octets", [0, 1, 7, 200, 900])
def test_our_frames_are_those_of_another_maker(octets):
    apdu = bytes(range(256)) * 4
    server = ServerAddress(type=AddressType.single, logical=0, bytes=bytes.fromhex(METER)[::-1])
    theirs = encode_frame(Frame(control=0x43, server=server, client=0, payload=apdu[:octets]))
    assert encode(METER, apdu[:octets]) == theirs
    assert encode(METER, apdu[:octets]) == framed(METER, apdu[:octets], control=0x43)


@pytest.mark.parametrize(
    "front", [b"", b"\xfe", b"\xfe" * 4, b"\xfe" * 9, b"\x68", b"\x68\x17", b"\x68" * 7, b"\x16\x00"]
)
def test_what_lies_in_front_of_an_answer_costs_nothing(front):
    exchange = energy()
    assert outcome(exchange, front + reply(exchange)) == got(exchange.asked.piid, result(ENERGY, energies(12_345_678)))
    assert exchange.results[0].oad == ENERGY


def test_an_answer_byte_by_byte_is_the_same():
    exchange = energy()
    whole = reply(exchange)
    assert outcome(exchange, *(whole[i : i + 1] for i in range(len(whole)))) == whole[14:-3]


@pytest.mark.parametrize("control", [0xC3, 0xCB], ids=["plain", "scrambled"])
def test_a_scrambled_answer_reads_as_a_plain_one(control):
    exchange = energy()
    outcome(exchange, reply(exchange, control=control))
    (found,) = exchange.results
    energy_of_all = codec.Value("u32", 12_345_678)
    assert found.found == codec.Value("array", (energy_of_all, codec.Value("u32", 0)))


@pytest.mark.parametrize("length", range(45))
def test_an_answer_cut_at_any_length_is_no_answer(length):
    exchange = energy()
    whole = reply(exchange)
    assert len(whole) == 39
    failure = outcome(exchange, whole[: min(length, len(whole) - 1)])
    assert isinstance(failure, NoReply if length == 0 else BadReply)


@pytest.mark.parametrize("listed", [False, True], ids=["normal", "list"])
def test_no_flipped_bit_yields_a_value_or_a_refusal(listed):
    """Every bit of the frame, whole and byte by byte: the checks see each of them."""
    oads = (ENERGY, VOLTAGES) if listed else (ENERGY,)
    results = [result(ENERGY, energies(7)), result(VOLTAGES, volts(2205, 2206, 2207))][: len(oads)]
    tried, bits = 0, 8 * len(framed(METER, got(PIID, *results)))
    for bit in range(bits):
        exchange = Session(Clock()).ask(METER, oads)
        frame = bytearray(framed(METER, got(exchange.asked.piid, *results)))
        frame[bit // 8] ^= 0x80 >> bit % 8
        pieces = [bytes(frame)] if bit % 2 else [bytes((octet,)) for octet in frame]
        assert isinstance(outcome(exchange, *pieces), BadReply), bit
        assert exchange.results == ()
        tried += 1
    assert tried == (8 * 56 if listed else 8 * 39)


def test_no_flipped_bit_that_is_checked_anew_is_another_registers_value():
    """As if the meter had gone wrong: with both checks right again, it is no value, or the same object's."""
    values = failures = 0
    for bit in range(8 * 39):
        exchange = energy()
        frame = bytearray(reply(exchange))
        frame[bit // 8] ^= 0x80 >> bit % 8
        put_right(frame)
        if isinstance(outcome(exchange, bytes(frame)), bytes):
            assert [r.oad for r in exchange.results] == [ENERGY]
            values += 1
        else:
            failures += 1
    assert values > 60  # the value's own bits
    assert failures > 120


def test_a_length_that_the_header_check_vouches_for_is_waited_for_and_no_other():
    reader = Reader()
    frame = framed(METER, bytes(300))
    reader.feed(frame[:14])
    assert reader.take() is None
    assert reader.pending == 14
    reader.clear()
    reader.feed(frame[:13] + b"\x00" + frame[14:60])
    assert reader.take() is None
    assert reader.pending == 0


def test_a_header_that_promises_more_than_any_answer_has_is_none():
    reader = Reader()
    reader.feed(framed(METER, bytes(3000)) + framed(OTHER, b"\x85"))
    telegram = reader.take()
    assert telegram is not None
    assert telegram.address == OTHER


def test_the_reader_says_where_a_frame_began():
    reader = Reader()
    reader.feed(b"\xfe" * 4 + framed(METER, b"\x85") + b"\xfe" + framed(OTHER, b"\x85"))
    first, second = reader.take(), reader.take()
    assert first is not None
    assert second is not None
    assert (first.began, second.began) == (4, 4 + 18 + 1)


@pytest.mark.parametrize(("written", "address"), [("000012345678", "000012345678"), (7, "000000000007")])
def test_addresses_as_they_are_written(written, address):
    assert address_of(written) == address


@pytest.mark.parametrize(
    "written", ["", "12345678901", "1234567890123", "12345678901A", "AAAAAAAAAAAA", "12345678901２", 10**12]
)
def test_what_is_no_address_of_a_meter(written):
    with pytest.raises(ValueError, match=r"no DL/T 698\.45 address"):
        address_of(written)


# --- what does not answer


RIGHT = got(PIID, result(ENERGY, energies(5)))


@pytest.mark.parametrize(
    ("came", "error", "says"),
    [
        (framed(OTHER, RIGHT), BadReply, f"asked {METER}, {OTHER} answered"),
        (framed(METER, RIGHT, kind=0x45), BadReply, f"asked {METER}, 45:{METER} answered"),
        (framed(METER, RIGHT, client=0x10), BadReply, "answers another master, 10"),
        (framed(METER, codec.asking(PIID, (ENERGY,)), control=0x43, client=1), BadReply, "another master asks"),
        (framed(METER, RIGHT, control=0xE3), Refused, "cuts its answer on the link layer"),
        (framed(METER, RIGHT, control=0xC1), BadReply, "answers with control C1"),
        (framed(METER, got(PIID ^ 1, result(ENERGY, energies(5)))), BadReply, "asked number"),
        (framed(METER, got(PIID, result(VOLTAGES, volts(1)))), BadReply, "asked 00100200, 20000200 came"),
        (framed(METER, got(PIID, result(ENERGY, energies(5)), listed=True)), BadReply, "asked 00100200, 00100200 came"),
        (framed(METER, got(PIID, *[result(ENERGY, energies(5))] * 2)), BadReply, "asked 00100200, 00100200, 0010"),
        (framed(METER, RIGHT[:-1]), Illegible, "cannot be read"),
        (framed(METER, RIGHT + b"\0"), Illegible, "cannot be read"),
        (framed(METER, b"\x85"), Illegible, "cannot be read"),
        (framed(METER, bytes((0xEE, PIID, 1, 0, 0))), Refused, "the question cannot be parsed (error 1)"),
        (
            framed(METER, bytes((0xEE, PIID, 2, 0, 0))),
            Refused,
            "or it wants CONNECT first, which this agent does not send (error 2)",
        ),
        (framed(METER, bytes((0x87, 1, PIID)) + bytes.fromhex("00100100 00 00 00 00")), BadReply, "no answer to GET"),
        (framed(METER, bytes.fromhex("90 00 04 01020304 00")), Refused, "only under its security module"),
        (framed(METER, block(PIID, 1, True, result(ENERGY, energies(5)))), BadReply, "asked for block 0, block 1 came"),
        (b"\x55" * 20, BadReply, "no frame among them: compare speed and parity"),
        (framed(METER, RIGHT)[:-9], BadReply, "a frame stopped after"),
        (b"\xfe\xfe", NoReply, "kept silent"),
    ],
)
def test_what_does_not_answer_the_question_is_named_and_kept(came, error, says):
    exchange = energy()
    assert exchange.asked.piid == PIID
    failure = outcome(exchange, came)
    assert type(failure) is error, failure
    assert says in str(failure)
    assert exchange.results == ()
    assert exchange.received in came


def test_the_adapters_echo_and_a_report_are_no_answers_and_do_not_hide_one():
    exchange = energy()
    report = framed(METER, bytes.fromhex("88 01 05 01 40 00 02 00 00 00 00"), control=0x83)
    assert outcome(exchange, exchange.request + report + reply(exchange)) == RIGHT.replace(
        energies(5), energies(12_345_678)
    )


def test_a_refused_attribute_is_an_answer():
    exchange = energy()
    outcome(exchange, framed(METER, got(PIID, result(ENERGY, NOBODY_KNOWS))))
    assert exchange.results[0].found == codec.Dar(6)


# --- late answers


def test_each_question_has_another_number_and_all_have_their_turn():
    session = Session(Clock())
    numbers = [energy(session).asked.piid for _ in range(128)]
    assert sorted(numbers[:64]) == list(range(64))
    assert numbers[64:] == numbers[:64]


def test_meters_have_numbers_of_their_own():
    session = Session(Clock())
    assert energy(session).asked.piid == energy(session, OTHER).asked.piid


def test_after_a_start_the_numbers_begin_elsewhere():
    assert len({energy(Session(Clock(ms))).asked.piid for ms in range(0, 64_000, 1000)}) == 64


def test_a_late_answer_to_the_same_attribute_is_not_taken_and_the_new_one_is():
    """The hardest of them: the same register of the same meter, an older value."""
    clock = Clock()
    session = Session(clock)
    first = energy(session)
    session.give_up(first.asked)
    clock.ms += 2_500
    second = energy(session)
    assert outcome(second, reply(first, 1), reply(second, 2)) == got(second.asked.piid, result(ENERGY, energies(2)))
    assert session.late() == [(METER, 2_500)]
    assert session.late() == []


def test_a_late_answer_alone_is_no_answer():
    session = Session(Clock())
    first = energy(session)
    session.give_up(first.asked)
    failure = outcome(energy(session), reply(first))
    assert isinstance(failure, BadReply)
    assert "answered what was asked before, and not this" in str(failure)


def test_a_late_answer_of_another_meter_and_a_late_refusal_are_thrown_away():
    session = Session(Clock())
    other, refused = energy(session, OTHER), energy(session)
    second = energy(session)
    error = framed(METER, bytes((0xEE, refused.asked.piid, 1, 0, 0)))
    illegible = framed(METER, got(refused.asked.piid, result(ENERGY, energies(1)))[:-1])
    came = reply(other, address=OTHER) + error + illegible + reply(second, 9)
    assert outcome(second, came) == got(second.asked.piid, result(ENERGY, energies(9)))


def test_a_number_that_was_given_up_is_not_used_for_a_minute():
    clock = Clock()
    session = Session(clock)
    given_up = energy(session).asked
    session.give_up(given_up)
    used = [energy(session).asked.piid for _ in range(200)]
    assert given_up.piid not in used
    assert len(set(used)) == 63
    clock.ms += LATEST_MS
    assert given_up.piid in [energy(session).asked.piid for _ in range(64)]


def test_when_every_number_may_be_answered_late_nothing_is_asked():
    clock = Clock()
    session = Session(clock)
    for _ in range(64):
        session.give_up(energy(session).asked)
    with pytest.raises(NoReply, match="not asked again yet"):
        energy(session)
    assert energy(session, OTHER).asked.address == OTHER
    clock.ms += LATEST_MS
    assert energy(session).asked.address == METER


def test_a_frame_that_had_begun_before_the_question_is_not_its_answer():
    session = Session(Clock())
    number = energy(session).asked.piid + 1
    early = framed(METER, got(number, result(ENERGY, energies(1))))
    session.settle(early[:20])
    second = energy(session)
    assert second.asked.piid == number
    failure = outcome(second, early[20:])
    assert isinstance(failure, BadReply)
    assert "had begun before the question was asked" in str(failure)


def test_what_came_between_questions_is_accounted_for_or_not():
    session = Session(Clock())
    first = energy(session)
    session.give_up(first.asked)
    assert session.settle(b"\xfe" * 4 + reply(first))
    assert session.settle(framed(METER, b"\x88\x01", control=0x83))
    assert session.settle(b"noise" + reply(first)[:11])
    session.clear()
    assert not session.settle(framed(OTHER, RIGHT))


def test_a_block_is_taken_only_in_its_turn():
    session = Session(Clock())
    first = session.ask(METER, (ENERGY, VOLTAGES))
    piid = first.asked.piid
    outcome(first, framed(METER, block(piid, 0, False, result(ENERGY, energies(5)))))
    assert not first.last
    again = outcome(session.ask_next(first.asked), framed(METER, block(piid, 0, False, result(ENERGY, energies(5)))))
    assert isinstance(again, BadReply)
    second = session.ask_next(first.asked)
    assert second.request.endswith(framed(METER, bytes((5, 5, piid, 0, 0, 0)), control=0x43))
    outcome(second, framed(METER, block(piid, 1, True, result(VOLTAGES, volts(2205)))))
    assert second.last
    assert [r.oad for r in second.results] == [VOLTAGES]
