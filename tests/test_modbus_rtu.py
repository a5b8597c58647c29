"""Modbus RTU: a value is always the answer to its own question; the line's noise and its late answers are gaps."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from drivers.gate import GateRefused, modbus_rtu
from drivers.link.checksums import modbus_crc
from drivers.link.latency import LatencyFilter
from drivers.modbus import raw_of, requests
from drivers.modbus.exchange import DeviceBusy, NoSuchRegister
from drivers.modbus.owed import LATEST_S, NARROW_S, Owed, Shape
from drivers.modbus.planning import plan_of
from drivers.modbus.rtu import RtuExchange, RtuSession
from drivers.modbus.ways import probes, ways
from edge_agent.model import Gap, GapCause, Outcome, Reading
from edge_agent.ports import BadReply, DriverError, LinkDown, NoReply, Refused
from tests.rtu_line import E32, F16, P32, U16, Bus, Question, Said, crc, rtu, unit, virtually

REPLY = bytes.fromhex("44801000 FFFFFFFF 447A0000 00E6")
WHOLE = rtu(1, bytes((4, 14)) + REPLY)


def exchange_of(session: RtuSession | None = None, *, unit: int = 1, count: int = 7, now_s: float = 0.0) -> RtuExchange:
    return (session or RtuSession()).ask(unit, 4, 0x48, count, now_s)


# --- one question and its answer


def test_the_question_is_the_standards_frame():
    """Two input registers at 0x0048 of unit 1."""
    assert exchange_of(count=2).request == bytes.fromhex("0104004800 02F1DD".replace(" ", ""))


@given(st.binary(max_size=300))
def test_the_checksum_is_the_standards(data):
    assert modbus_crc(data) == crc(data)


def test_an_answer_fed_whole_and_byte_by_byte_is_the_same():
    assert exchange_of().feed(WHOLE) == REPLY
    exchange = exchange_of()
    assert [exchange.feed(WHOLE[i : i + 1]) for i in range(len(WHOLE))] == [None] * (len(WHOLE) - 1) + [REPLY]
    assert exchange.received == WHOLE


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_an_answer_cut_at_any_length_is_no_answer(length):
    exchange = exchange_of()
    assert exchange.feed(WHOLE[:length]) is None
    failure = exchange.expired()
    assert isinstance(failure, NoReply if length == 0 else BadReply)
    assert exchange.received == WHOLE[:length]


def outcome_of(exchange: RtuExchange, data: bytes) -> bytes | DriverError | None:
    try:
        return exchange.feed(data)
    except DriverError as error:
        return error


def test_no_flipped_bit_yields_a_value():
    """Unlike over TCP also in the words: the frame has a checksum of its own."""
    seen = Counter[str]()
    for bit in range(8 * len(WHOLE)):
        flipped = bytearray(WHOLE)
        flipped[bit // 8] ^= 0x80 >> bit % 8
        exchange = exchange_of()
        got = outcome_of(exchange, bytes(flipped))
        assert not isinstance(got, bytes)
        seen[type(got or exchange.expired()).__name__] += 1
    assert seen == {"BadReply": 8 * len(WHOLE)}


def test_no_two_flipped_bits_yield_a_value():
    chance = Random(1)
    for _ in range(5_000):
        flipped = bytearray(WHOLE)
        for bit in chance.sample(range(8 * len(WHOLE)), 2):
            flipped[bit // 8] ^= 0x80 >> bit % 8
        assert not isinstance(outcome_of(exchange_of(), bytes(flipped)), bytes)


WRONG = {
    "another unit": (rtu(2, WHOLE[1:-2]), "asked unit 1, 2 answered"),
    "another function": (rtu(1, b"\x03\x0e" + REPLY), "asked function 4, got 3"),
    "too few words": (rtu(1, b"\x04\x0c" + REPLY[:12]), "asked 14 bytes, got 12"),
    "too many words": (rtu(1, b"\x04\x10" + REPLY + b"\0\1"), "asked 14 bytes, got 16"),
    "a refusal of another function": (rtu(1, b"\x83\x02"), "asked function 4, got 131"),
    "two answers": (WHOLE + WHOLE, "19 bytes behind a whole answer"),
    "the question": (bytes.fromhex("0104004800 07".replace(" ", "")) + b"\x31\xde", "the adapter echoes"),
    "another master's question and its answer": (rtu(1, b"\x04\0\0\0\x07") + WHOLE, "others spoke"),
    "text": (b"HTTP/1.1 400 Bad Request\r\n\r\n" * 3, "asked unit 1, got 48 54"),
}


@pytest.mark.parametrize(("sent", "says"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("piece", [1, 4, 1000])
def test_bytes_that_do_not_answer_the_question_are_kept_and_named(sent, says, piece):
    if says == "19 bytes behind a whole answer" and piece != 1000:
        return  # the first is taken before the second is there, and the link sets that aside
    exchange = exchange_of()
    got = None
    for at in range(0, len(sent), piece):
        if (got := outcome_of(exchange, sent[at : at + piece])) is not None:
            break
    got = got or exchange.expired()
    assert isinstance(got, BadReply)
    assert says in str(got)
    assert sent.startswith(exchange.received)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        *((code, Refused) for code in (1, 3, 7, 8, 9)),
        *((code, NoReply) for code in (4, 10, 11)),
        *((code, DeviceBusy) for code in (5, 6)),
        (2, NoSuchRegister),
    ],
)
def test_each_exception_is_named_after_what_happens_next(code, error):
    assert type(outcome_of(exchange_of(), rtu(1, bytes((0x84, code))))) is error


@given(st.binary(min_size=1, max_size=20), st.integers(1, 30))
def test_noise_in_front_of_an_answer_is_forgiven_while_nobody_owes_one(noise, piece):
    exchange = exchange_of()
    data = noise + WHOLE
    got: list[bytes | DriverError] = []
    for at in range(0, len(data), piece):
        answer = outcome_of(exchange, data[at : at + piece])
        if answer is not None:
            got.append(answer)
            break
    event("taken" if got and isinstance(got[0], bytes) else "refused")
    assert got == [REPLY] or noise[:1] == b"\x01" or isinstance((got or [exchange.expired()])[0], BadReply)
    if not any(byte in {1, *range(1, 248)} for byte in noise):
        assert got == [REPLY]


def test_noise_may_be_the_rest_of_a_late_answer_while_the_unit_owes_one():
    session = RtuSession()
    exchange_of(session, count=9)
    assert isinstance(outcome_of(exchange_of(session, now_s=1.0), b"\x7f\x13" + WHOLE), BadReply)
    # Another unit's debt leaves the two characters of a line that turns round, and no more.
    assert outcome_of(exchange_of(session, unit=2, count=1, now_s=2.0), b"\0\0" + rtu(2, b"\x04\x02\0\1")) == b"\0\1"
    assert isinstance(
        outcome_of(exchange_of(session, unit=2, count=1, now_s=3.0), b"\0\0\0" + rtu(2, b"\x04\x02\0\1")), BadReply
    )


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
def test_garbage_never_becomes_registers(pieces):
    exchange = exchange_of()
    got = [g for piece in pieces if isinstance(g := outcome_of(exchange, piece), bytes)]
    event("something" if pieces else "silence")
    assert got == []


# --- what is owed


def test_a_late_answer_is_thrown_away_and_the_right_one_taken():
    session = RtuSession()
    exchange_of(session, count=9, now_s=0.0)
    exchange_of(session, unit=2, count=7, now_s=1.0)
    late = rtu(1, bytes((4, 18)) + bytes(18))
    another = rtu(2, bytes((4, 14)) + bytes(14))
    exchange = exchange_of(session, now_s=5.0)
    assert exchange.feed(late + another[:3]) is None
    assert exchange.feed(another[3:] + WHOLE) == REPLY
    assert session.came_late == [(1, 0.0), (2, 1.0)]
    assert exchange.received == WHOLE
    assert not session.owed.owes(5.0)


def test_a_refusal_that_may_be_an_older_questions_is_not_believed():
    session = RtuSession()
    exchange_of(session, count=9, now_s=0.0)
    exchange = exchange_of(session, now_s=5.0)
    assert exchange.feed(rtu(1, b"\x84\x02")) is None
    assert session.came_late == [(1, 0.0)]
    assert exchange.feed(WHOLE) == REPLY
    # Of another function it can only be this one's.
    session.ask(1, 3, 0, 1, 6.0)
    assert isinstance(outcome_of(exchange_of(session, now_s=7.0), rtu(1, b"\x84\x02")), NoSuchRegister)


def test_what_comes_between_questions_settles_what_is_owed():
    session = RtuSession()
    exchange_of(session, now_s=0.0)
    assert session.settle(b"\0\0" + WHOLE[:9], 0.5)
    assert session.owed.owes(0.5)  # begun is not come
    assert session.settle(b"\xff" + WHOLE + b"\0", 1.0)
    assert not session.owed.owes(1.0)


def test_a_debt_ends_after_a_minute():
    owed, shape = Owed(), Shape(1, 3, 4)
    owed.ask(shape, 0.0)
    assert not owed.is_free(shape, LATEST_S - 0.1)
    assert owed.is_free(Shape(1, 3, 6), 0.0)
    assert owed.is_free(Shape(1, 4, 4), 0.0)
    assert owed.is_free(Shape(2, 3, 4), 0.0)
    assert owed.narrow_wait_s(shape, 0.0, 1.0) == NARROW_S - 1.0
    assert owed.narrow_wait_s(shape, 20.0, 1.0) == 39.0
    assert owed.is_free(shape, LATEST_S)
    assert not owed.owes(LATEST_S)


def test_other_ways_stay_within_the_devices_map():
    planned = requests(unit(1, E32, P32, U16, F16))
    by_count = {plan_of(r).blocks[0].count: plan_of(r) for r in planned}
    power = by_count[3]
    shapes = [[(b.start, b.count) for b in way] for way in ways(power, power.blocks[0])]
    assert shapes == [[(2, 3)], [(0, 5)], [(2, 2), (4, 1)]]
    energy = next(plan_of(r) for r in planned if plan_of(r).blocks[0].start == 0)
    assert [(0, 4)] in [[(b.start, b.count) for b in way] for way in ways(energy, energy.blocks[0])]
    single = by_count[1]
    assert [[(b.start, b.count) for b in way] for way in ways(single, single.blocks[0])] == [[(40, 1)]]
    assert list(probes(single, single.blocks[0])) == [(4, 2, 2)]


# --- the driver on a line


def test_a_unit_on_the_line_is_read_and_its_bytes_are_found_again():
    async def story() -> None:
        there = Bus(lambda q: [(q.numbered(), 0.03)])
        (request,) = requests(unit(7, U16))
        (outcome,) = await there.driver.read(request)
        assert isinstance(outcome, Reading)
        assert outcome.value == 0.0
        assert outcome.frame is not None
        assert raw_of(U16, outcome.frame) == b"\0\0"
        assert outcome.frame.request == rtu(7, bytes.fromhex("04 0004 0001"))

    virtually(story())


def test_between_two_frames_the_line_is_silent_for_three_and_a_half_characters():
    async def story() -> list[float]:
        there = Bus(lambda q: [(q.numbered(), 0.002)])
        (request,) = requests(unit(1, U16))
        for _ in range(50):
            await there.driver.read(request)
        return [at_s for at_s, _ in there.line.asked]

    asked_s = virtually(story())
    char_s = 10 / 9600
    apart = [b - a for a, b in pairwise(asked_s)]
    busy_s = (8 + 7) * char_s + 0.002
    assert min(apart) >= busy_s + 3.5 * char_s - 1e-6
    assert max(apart) < busy_s + 3.5 * char_s + 1e-3


@pytest.mark.parametrize("piece", [1, 3, 16])
def test_an_answer_may_come_in_pieces(piece):
    async def story() -> None:
        there = Bus(lambda q: [(q.numbered(), 0.03)])
        there.line.piece = piece
        (request, *_) = requests(unit(1, E32, P32, U16))
        for _ in range(20):
            assert all(isinstance(o, Reading) for o in await there.driver.read(request))

    virtually(story())


def test_an_answer_that_stops_is_not_waited_for_to_the_end():
    async def story() -> float:
        there = Bus(lambda q: [(q.numbered()[:-1], 0.03)], timeout_s=5.0)
        (request,) = requests(unit(1, U16))
        before_s = asyncio.get_running_loop().time()
        assert isinstance(await there.read(request), BadReply)
        return asyncio.get_running_loop().time() - before_s

    assert virtually(story()) < 0.5


def test_a_late_answer_teaches_how_long_the_device_takes():
    async def story() -> None:
        delays = iter([0.03] * 10 + [0.4] + [0.03] * 20)
        there = Bus(lambda q: [(q.numbered(), next(delays))], timeout_s=1.0)
        (request,) = requests(unit(1, U16))
        for _ in range(10):
            await there.driver.read(request)
        seen = there.driver.latency("m1")
        assert seen is not None
        assert (seen.answers, round(seen.longest_s, 3)) == (10, 0.037)  # the answer's own seven characters too
        assert isinstance(await there.read(request), NoReply)
        await asyncio.sleep(15)
        assert isinstance(await there.read(request), list)
        seen = there.driver.latency("m1")
        assert seen is not None
        assert 0.3 < seen.late_s < 0.5
        assert there.driver.latency("m9") is None

    virtually(story())


def test_the_time_out_goes_by_what_was_seen_and_keeps_to_its_bounds():
    seen = LatencyFilter()
    assert seen.timeout_s(0.01, 2.0) == 2.0
    for _ in range(8):
        seen.answered(0.05)
    assert seen.timeout_s(0.01, 2.0) == pytest.approx(0.1 + 0.01 + 0.25)
    assert seen.timeout_s(0.01, 0.3) == 0.3
    assert seen.timeout_s(0.0, 2.0) == 2.0  # over TCP nobody waits for it
    assert seen.timeout_s(3.0, 2.0) == pytest.approx(3.25)  # a long answer at 300 baud takes its time
    seen.missed()
    assert seen.timeout_s(0.01, 2.0) == 2.0  # silent: it may have become slow
    seen.late(1.5)
    seen.answered(0.05)
    assert seen.timeout_s(0.01, 2.0) == 2.0
    assert seen.report()[2:5] == (1.5, 1.5, 0)
    for _ in range(5_000):
        seen.answered(0.05)  # it was late once, long ago
    assert seen.report()[2:5] == (0.05, 0.0, 0)


def test_a_single_value_without_a_neighbour_waits_until_nothing_can_come():
    async def story() -> None:
        silent = True
        there = Bus(lambda q: [] if silent else [(q.numbered(), 0.03)])
        (request,) = requests(unit(1, F16))
        assert isinstance(await there.read(request), NoReply)
        asked = len(there.line.asked)
        refused = await there.read(request)
        assert isinstance(refused, NoReply)
        assert "may still come" in str(refused)
        assert len(there.line.asked) == asked  # not asked
        silent = False
        await asyncio.sleep(NARROW_S)
        assert isinstance(await there.read(request), list)

    virtually(story())


def test_a_device_that_owes_is_first_asked_something_it_cannot_confuse():
    async def story() -> None:
        silent = True
        there = Bus(lambda q: [] if silent else [(q.numbered(), 0.03)])
        single = next(r for r in requests(unit(1, E32, F16)) if r.registers == (F16,))
        assert isinstance(await there.read(single), NoReply)
        silent = False
        await asyncio.sleep(15)
        (outcome,) = await there.driver.read(single)
        assert isinstance(outcome, Reading)
        assert [(q.address, q.count) for _, q in there.line.asked] == [(40, 1), (0, 2), (40, 1)]
        assert outcome.value == pytest.approx(0.02)

    virtually(story())


def test_a_neighbour_that_the_device_refuses_is_not_asked_along_again():
    async def story() -> None:
        silent = True

        def answer(q: Question) -> Said:
            if silent:
                return []
            return [(q.refusal(2) if q.address == 0 and q.count == 4 else q.numbered(), 0.03)]

        there = Bus(answer)
        energy = next(r for r in requests(unit(1, E32, P32)) if r.registers == (E32,))
        assert isinstance(await there.read(energy), NoReply)
        silent = False
        got = [type(await there.read(energy)) for _ in range(3)]
        await asyncio.sleep(15)
        assert isinstance(await there.read(energy), list)
        assert got[0] in {NoReply, BadReply}

    virtually(story())


def test_a_link_that_ends_in_mid_question_is_not_asked_again_at_once():
    """Behind a converter the question may have reached the meter."""

    async def story() -> None:
        there = Bus(lambda q: [])
        (request,) = requests(unit(1, E32))
        asyncio.get_running_loop().call_later(0.2, there.line.cut)
        assert isinstance(await there.read(request), LinkDown)
        assert len(there.line.asked) == 1
        assert there.driver._session.owed.owes(asyncio.get_running_loop().time(), 1)  # type: ignore[union-attr]

    virtually(story())


# --- the gate


@pytest.mark.parametrize("pdu", ["01 0013 0013", "02 00C4 0016", "03 006B 0003", "04 0008 0001", "2B 0E 01 00"])
def test_the_reads_of_the_standard_pass(pdu):
    modbus_rtu(rtu(17, bytes.fromhex(pdu)))


@pytest.mark.parametrize(
    "frame",
    [
        *(rtu(17, bytes.fromhex(pdu)) for pdu in ("05 00AC FF00", "06 0001 0003", "0F 0013 000A 02 CD01")),
        *(rtu(17, bytes.fromhex(pdu)) for pdu in ("10 0001 0002 04 000A0102", "16 0004 00F2 0025", "08 0000 A537")),
        rtu(0, bytes.fromhex("03 006B 0003")),  # to everybody
        rtu(248, bytes.fromhex("03 006B 0003")),
        rtu(17, bytes.fromhex("03 006B 0003"))[:-1] + b"\0",
        rtu(17, bytes.fromhex("03 006B 0003")) * 2,
        rtu(17, bytes.fromhex("03 006B 0000")),
        rtu(17, b"\x03"),
        b"",
    ],
)
def test_what_is_not_one_read_to_one_unit_is_refused(frame):
    with pytest.raises(GateRefused):
        modbus_rtu(frame)


@given(st.one_of(st.binary(max_size=20), st.builds(rtu, st.integers(0, 255), st.binary(min_size=1, max_size=7))))
def test_any_bytes_pass_only_when_they_are_on_the_list(data):
    try:
        modbus_rtu(data)
    except GateRefused:
        event("refused")
    else:
        event("passed")
        assert 1 <= data[0] <= 247
        assert data[-2:] == crc(data[:-2]).to_bytes(2, "little")
        assert data[1] in {1, 2, 3, 4, 0x2B}


def gaps(outcomes: list[Outcome]) -> Iterator[GapCause]:
    return (o.cause for o in outcomes if isinstance(o, Gap))


def test_a_register_that_is_not_there_is_a_gap_of_its_own():
    async def story() -> None:
        there = Bus(lambda q: [(q.refusal(2) if q.address + q.count > 4 else q.numbered(), 0.03)])
        (request,) = requests(unit(1, P32, U16))
        outcomes = await there.driver.read(request)
        assert [type(o).__name__ for o in outcomes] == ["Reading", "Gap"]
        assert list(gaps(outcomes)) == [GapCause.REFUSED]
        with contextlib.suppress(DriverError):
            await there.driver.close()

    virtually(story())
