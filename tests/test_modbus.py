"""The Modbus driver: bytes in, readings or a named gap out; never a value that was not asked for."""

from __future__ import annotations

import asyncio
import contextlib
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from drivers.link import KEPT_FRAMES, MemoryLink
from drivers.modbus import ModbusDriver, requests
from drivers.modbus.exchange import DeviceBusy, NoSuchRegister, Session, TcpExchange
from drivers.modbus.planning import QUESTION_COST
from edge_agent.model import UNIT, Gap, GapCause, Identity, Outcome, Quantity, Reading, Register, Request
from edge_agent.ports import BadReply, DriverError, NoReply, Refused
from tests.meters import Asked, mbap, meter

VECTORS = Path(__file__).parent / "vectors" / "modbus"
CASES = [c for path in sorted(VECTORS.glob("*.toml")) for c in tomllib.loads(path.read_text("utf-8"))["case"]]


def register(**written: object) -> Register:
    quantity = Quantity(str(written.pop("quantity")))
    rest: dict[str, Any] = {"address": "holding:0x0100", **written}
    rest["not_available"] = tuple(rest.get("not_available", ()))
    return Register(quantity, **rest)


def read(request: Request, data: bytes) -> list[Outcome]:
    """One poll of a device that answers `data`."""

    async def poll() -> list[Outcome]:
        link = MemoryLink(lambda raw: mbap(raw[0] << 8 | raw[1], raw[6], raw[7:8] + bytes((len(data),)) + data))
        return await ModbusDriver(link, 1.0).read(request)

    return asyncio.run(poll())


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
def test_vectors(case):
    (request,) = requests(meter(register(**case["register"])))
    (outcome,) = read(request, bytes.fromhex(case["hex"]))
    match outcome:
        case Reading():
            assert outcome.value == pytest.approx(case["value"], rel=1e-9, abs=0)
            assert outcome.step == pytest.approx(case["step"], rel=1e-9) or outcome.step < case["step"] == 1e-30
            assert outcome.frame is not None
            assert outcome.frame.reply.endswith(bytes.fromhex(case["hex"]))
        case Identity():
            assert outcome.text == case["text"]
        case Gap():
            assert outcome.cause == case["gap"]
            assert "holding:0x0100" in outcome.detail


def test_vectors_cover_every_type_order_and_cause():
    said = [c["register"] for c in CASES]
    assert {r["type"].split(":")[0] for r in said} == {
        "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "bcd32", "ascii"
    }  # fmt: skip
    for wide in ("f32", "u64"):
        assert {r.get("order", "ABCD") for r in said if r["type"] == wide} == {"ABCD", "CDAB", "BADC", "DCBA"}
    assert {c["gap"] for c in CASES if "gap" in c} == {"not_available", "implausible"}


def test_tenths_come_out_as_the_decimal_that_the_display_shows():
    (request,) = requests(meter(register(quantity="voltage_l1", type="u16", unit="V", scale=0.1)))
    wrong = [raw for raw in range(0, 65536, 7) if read_one(request, raw) != float(f"{raw // 10}.{raw % 10}")]
    assert wrong == []


def read_one(request: Request, raw: int):
    (outcome,) = request.plan.blocks[0].outcomes(raw.to_bytes(2, "big"), 0, None)
    return outcome.value


THREE = (
    register(quantity="active_energy_import", address="input:0x0048", type="f32", unit="kWh"),
    register(quantity="active_power", address="input:0x004C", type="f32", unit="W"),
    register(quantity="voltage_l1", address="input:0x004E", type="u16", unit="V"),
)
REPLY = bytes.fromhex("44801000 FFFFFFFF 447A0000 00E6")
"""1024.5 kWh, a hole, 1000 W, 230 V"""


def exchange_of(session: Session) -> TcpExchange:
    return session.ask(1, 4, 0x48, 7)


WHOLE = mbap(1, 1, bytes((4, 14)) + REPLY)


def test_the_question_is_the_standards_frame():
    assert exchange_of(Session()).request == bytes.fromhex("0001 0000 0006 01 04 0048 0007")


def test_an_answer_fed_whole_and_byte_by_byte_is_the_same():
    assert exchange_of(Session()).feed(WHOLE) == REPLY
    exchange = exchange_of(Session())
    answers = [exchange.feed(WHOLE[i : i + 1]) for i in range(len(WHOLE))]
    assert answers == [None] * (len(WHOLE) - 1) + [REPLY]
    assert exchange.received == WHOLE


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_an_answer_cut_at_any_length_is_no_answer(length):
    exchange = exchange_of(Session())
    assert exchange.feed(WHOLE[:length]) is None
    failure = exchange.expired()
    assert isinstance(failure, NoReply if length == 0 else BadReply)
    assert exchange.received == WHOLE[:length]


def outcome_of(frame: bytes, session: Session | None = None) -> bytes | DriverError | None:
    exchange = exchange_of(session or Session())
    try:
        return exchange.feed(frame)
    except DriverError as error:
        return error


@pytest.mark.parametrize("bit", range(8 * 9))
def test_no_flipped_bit_in_front_of_the_words_yields_a_value(bit):
    """Header, unit, function and byte count: every single-bit error there is seen, or leaves the answer unfinished.

    Modbus TCP has no checksum of its own: a bit flipped inside a register's words is TCP's to find, and cannot be seen
    here. What is proved is that no flip makes an answer pass for another question, unit, function or count.
    """
    flipped = bytearray(WHOLE)
    flipped[bit // 8] ^= 0x80 >> bit % 8
    assert not isinstance(outcome_of(bytes(flipped)), bytes)


def test_a_flipped_bit_in_the_words_changes_that_registers_value_alone():
    (request,) = requests(meter(*THREE))
    right = request.plan.blocks[0].outcomes(REPLY, 0, None)
    touched = set()
    for bit in range(8 * len(REPLY)):
        flipped = bytearray(REPLY)
        flipped[bit // 8] ^= 0x80 >> bit % 8
        got = request.plan.blocks[0].outcomes(bytes(flipped), 0, None)
        changed = [i for i in range(3) if got[i] != right[i]]
        assert [o.quantity for o in got] == [r.quantity for r in THREE]
        assert changed in ([], [0], [1], [2])
        assert (changed == []) == (4 <= bit // 8 < 8)  # the hole means nothing
        touched |= set(changed)
    assert touched == {0, 1, 2}


@pytest.mark.parametrize("bit", range(16))
def test_an_answer_whose_id_was_flipped_into_one_that_was_given_up_is_thrown_away(bit):
    """The one flip that looks legitimate: it costs the answer, and yields none."""
    session = Session()
    for _ in range(1023):
        session.ask(1, 4, 0, 1)
    exchange = exchange_of(session)
    whole = bytearray(exchange.request[:2] + WHOLE[2:])
    whole[bit // 8] ^= 0x80 >> bit % 8
    with contextlib.suppress(BadReply):
        assert exchange.feed(bytes(whole)) is None


WRONG = {
    "another unit": (lambda a: a.reply(unit=2), BadReply, "asked unit 1, 2 answered"),
    "another function": (lambda a: a.reply(function=3), BadReply, "asked function 4, got 3"),
    "a write function": (lambda a: a.reply(function=6), BadReply, "asked function 4"),
    "too few words": (lambda a: a.reply(words=[1] * 6), BadReply, "asked 14 bytes, got 12"),
    "too many words": (lambda a: a.reply(words=[1] * 8), BadReply, "asked 14 bytes, got 16"),
    "a byte count that is not true": (lambda a: a.reply(byte_count=12), BadReply, "asked 14 bytes, got 12"),
    "an id that nobody asked": (lambda a: a.reply(tid=77), BadReply, "transaction 77 was not asked"),
    "another protocol": (lambda a: a.reply()[:2] + b"\0\x01" + a.reply()[4:], BadReply, "not a Modbus TCP header"),
    "a length of nothing": (lambda a: a.reply()[:4] + b"\0\x01\x01", BadReply, "not a Modbus TCP header"),
    "text": (lambda a: b"HTTP/1.1 400 Bad Request\r\n\r\n", BadReply, "was not asked"),
    "a question": (lambda a: a.raw, BadReply, "asked 14 bytes"),
}


@pytest.mark.parametrize(("make", "error", "says"), WRONG.values(), ids=WRONG)
def test_bytes_that_do_not_answer_the_question_are_kept_and_named(make, error, says):
    exchange = exchange_of(Session())
    sent = make(Asked(exchange.request, {}, None))  # type: ignore[arg-type]
    with pytest.raises(error, match=says):
        exchange.feed(sent)
    assert exchange.received == sent


@pytest.mark.parametrize(
    ("code", "error"),
    [
        *((code, Refused) for code in (1, 3, 7, 8, 9, 255)),
        *((code, NoReply) for code in (4, 10, 11)),
        *((code, DeviceBusy) for code in (5, 6)),
        (2, NoSuchRegister),
    ],
)
def test_each_exception_is_named_after_what_happens_next(code, error):
    got = outcome_of(mbap(1, 1, bytes((0x84, code))))
    assert type(got) is error
    assert f"{code}" in str(got)


def test_an_exception_of_another_function_is_no_answer():
    assert isinstance(outcome_of(mbap(1, 1, b"\x83\x02")), BadReply)
    assert isinstance(outcome_of(mbap(1, 1, b"\x84\x02\x00")), BadReply)


def test_a_late_answer_before_the_right_one_is_thrown_away():
    session = Session()
    given_up = exchange_of(session)
    late = given_up.request[:2] + WHOLE[2:-2] + b"\0\0"
    exchange = exchange_of(session)
    right = exchange.request[:2] + WHOLE[2:]
    assert exchange.feed(late + right) == REPLY
    assert exchange.received == right  # evidence shows the answer alone


def test_an_answer_that_came_before_its_question_is_not_believed():
    session = Session()
    session.buffer += b"\0\x01" + WHOLE[2:]
    with pytest.raises(BadReply, match="before it was asked"):
        exchange_of(session).feed(b"\0")


def test_what_comes_between_questions_is_accounted_for_or_not():
    session = Session()
    given_up = exchange_of(session)
    late = given_up.request[:2] + WHOLE[2:]
    assert session.settle(late[:5])  # begun
    assert session.settle(late[5:])  # whole
    assert session.buffer == b""
    assert not session.settle(late)  # twice is once too often
    assert not Session().settle(b"\0\x01\0\0")


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
def test_garbage_never_becomes_registers(pieces):
    exchange = exchange_of(Session())
    whole = b"".join(pieces)
    try:
        got = [exchange.feed(piece) for piece in pieces]
    except DriverError:
        event("seen")
    else:
        event("waiting" if whole else "silence")
        assert [g for g in got if g is not None] == [] or whole.startswith(WHOLE[:9])


# Requests


def test_neighbours_share_a_question_and_far_ones_do_not():
    near = register(quantity="voltage_l1", address="input:0", type="f32", unit="V")
    small = register(quantity="voltage_l2", address=f"input:{2 + QUESTION_COST - 1}", type="f32", unit="V")
    far = register(quantity="voltage_l3", address=f"input:{2 * QUESTION_COST + 6}", type="f32", unit="V")
    planned = requests(meter(far, small, near))
    assert [r.quantities for r in planned] == [("voltage_l1", "voltage_l2"), ("voltage_l3",)]


def test_functions_and_cadences_do_not_mix_and_a_device_may_override_the_cadence():
    registers = (
        register(quantity="voltage_l1", address="input:0", type="u16", unit="V", every_s=15),
        register(quantity="voltage_l2", address="input:1", type="u16", unit="V", every_s=60),
        register(quantity="voltage_l3", address="holding:2", type="u16", unit="V", every_s=60),
    )
    spec = meter(*registers)
    assert [(r.every_s, r.plan.function, r.quantities) for r in requests(spec)] == [
        (15, 4, ("voltage_l1",)),
        (60, 3, ("voltage_l3",)),
        (60, 4, ("voltage_l2",)),
    ]
    spec = type(spec)(spec.id, spec.link, spec.unit, spec.profile, every_s=30)
    assert [(r.every_s, r.quantities) for r in requests(spec)] == [
        (30, ("voltage_l3",)),
        (30, ("voltage_l1", "voltage_l2")),
    ]


@pytest.mark.parametrize(
    ("most", "questions"), [(125, 1), (32, 1), (31, 2), (17, 2), (16, 2), (15, 3), (2, 16), (1, 0)]
)
def test_a_question_keeps_to_the_devices_largest_read(most, questions):
    """The border is the device's: 16 or 17 registers are one and two, and no value is cut in half."""
    quantities = [q for q in Quantity if q.startswith(("active_", "reactive_", "voltage"))][:16]
    registers = [
        register(quantity=q, address=f"input:{2 * i}", type="f32", unit=UNIT[q]) for i, q in enumerate(quantities)
    ]
    if not questions:
        with pytest.raises(ValueError, match="longer than the device's 1 registers"):
            requests(meter(*registers, most=most))
        return
    planned = requests(meter(*registers, most=most))
    assert len(planned) == questions
    assert max(r.plan.blocks[0].count for r in planned) <= most
    assert sorted(q for r in planned for q in r.quantities) == sorted(quantities)


@given(st.sets(st.integers(0, 120), min_size=1, max_size=14), st.integers(2, 60))
def test_the_partition_is_the_cheapest_there_is(starts, most):
    quantities = list(Quantity)[14:]
    registers = [
        Register(q, f"input:{2 * s}", "u16", UNIT[q]) for q, s in zip(quantities, sorted(starts), strict=False)
    ]
    planned = requests(meter(*registers, most=most))
    cost = sum(QUESTION_COST + r.plan.blocks[0].count for r in planned)
    event(f"{len(planned)} questions")
    assert cost == _cheapest(sorted(int(r.address[6:]) for r in registers), most)


def _cheapest(starts: list[int], most: int) -> int:
    """The least that a partition of single registers can cost, counted from the far end."""
    best: dict[int, int] = {len(starts): 0}
    for i in range(len(starts) - 1, -1, -1):
        best[i] = min(
            QUESTION_COST + starts[j] + 1 - starts[i] + best[j + 1]
            for j in range(i, len(starts))
            if starts[j] + 1 - starts[i] <= most
        )
    return best[0]


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"address": "0x48"}, "input:0x0048"),
        ({"address": "coil:1"}, "no input or holding"),
        ({"address": "input:65535", "type": "f32"}, "no input or holding"),
        ({"type": "float"}, "type 'float' is not known"),
        ({"order": "ACBD"}, "order 'ACBD' is not known"),
        ({"unit": "kWh"}, "'kWh' cannot become 'V'"),
        ({"type": "ascii:2"}, "a text is not a number"),
    ],
)
def test_a_profile_that_cannot_be_read_names_its_register(written, says):
    with pytest.raises(ValueError, match=says) as error:
        requests(meter(register(**{"quantity": "voltage_l1", "type": "u16", "unit": "V"} | written)))
    assert "voltage_l1" in str(error.value)


# The driver on a link in memory


class Device:
    """Holds registers at addresses; a question that touches another address is refused with 2."""

    def __init__(self, words: dict[int, int]) -> None:
        self.words = words
        self.asked: list[tuple[int, int]] = []

    def __call__(self, raw: bytes) -> bytes:
        asked = Asked(raw, self.words, None)  # type: ignore[arg-type]
        self.asked.append((asked.address, asked.count))
        if all(asked.address + i in self.words for i in range(asked.count)):
            return asked.reply()
        return asked.exception(2)


FOUR = tuple(
    register(quantity=f"active_power{phase}", address=f"holding:{at}", type="u16", unit="W")
    for phase, at in (("", 0), ("_l1", 1), ("_l2", 6), ("_l3", 7))
)


def test_a_hole_that_cannot_be_read_un_merges_the_question_for_good():
    device = Device({0: 10, 1: 11, 6: 16, 7: 17})
    (request,) = requests(meter(*FOUR))

    async def poll() -> list[list[Outcome]]:
        driver = ModbusDriver(MemoryLink(device), 1.0)
        return [await driver.read(request) for _ in range(2)]

    first, second = asyncio.run(poll())
    assert [(o.quantity, o.value) for o in first if isinstance(o, Reading)] == [
        ("active_power", 10),
        ("active_power_l1", 11),
        ("active_power_l2", 16),
        ("active_power_l3", 17),
    ]
    assert [o[:3] for o in second] == [o[:3] for o in first]
    assert device.asked == [(0, 8), (0, 2), (6, 2), (0, 2), (6, 2)]  # learnt once


def test_a_register_that_the_device_has_not_is_refused_alone_and_left_alone_for_an_hour():
    device = Device({0: 10, 6: 16, 7: 17})
    (request,) = requests(meter(*FOUR))
    now = [0]

    async def poll() -> list[list[Outcome]]:
        driver = ModbusDriver(MemoryLink(device, now_ms=lambda: now[0]), 1.0)
        found = [await driver.read(request), await driver.read(request)]
        now[0] = 3_600_000
        device.words[1] = 11
        return [*found, await driver.read(request)]

    first, second, hour_later = asyncio.run(poll())
    for outcomes in (first, second):
        assert [type(o) for o in outcomes] == [Reading, Gap, Reading, Reading]
        assert outcomes[1][:3] == ("m1", "active_power_l1", GapCause.REFUSED)
    assert "holding:1" in first[1].detail  # type: ignore[union-attr]
    assert device.asked.count((1, 1)) == 1
    assert device.asked[-2:] == [(0, 2), (6, 2)], "merged again as far as it can be"
    assert [type(o) for o in hour_later] == [Reading] * 4


def test_a_busy_device_makes_gaps_and_no_error():
    (request,) = requests(meter(*THREE))

    async def poll() -> list[Outcome]:
        answer = MemoryLink(lambda raw: Asked(raw, {}, None).exception(6))  # type: ignore[arg-type]
        return await ModbusDriver(answer, 1.0).read(request)

    assert [(type(o), o[1], o[2]) for o in asyncio.run(poll())] == [(Gap, r.quantity, "busy") for r in THREE]


def test_a_device_that_falls_silent_halfway_keeps_what_it_said():
    (request,) = requests(meter(*FOUR))
    device = Device({0: 10, 1: 11, 6: 16, 7: 17})

    async def poll() -> list[Outcome]:
        link = MemoryLink(lambda raw: device(raw) if raw[9] != 6 else None)
        return await ModbusDriver(link, 0.01).read(request)

    outcomes = asyncio.run(poll())
    assert [o[2] for o in outcomes] == [10, 11, "no_reply", "no_reply"]


def test_every_register_has_one_outcome_in_the_order_asked():
    for request in requests(meter(*FOUR, *THREE[:1])):
        size = 2 * request.plan.blocks[0].count
        assert [o.quantity for o in read(request, bytes(size))] == list(request.quantities)


def test_the_link_remembers_the_last_round_trips_good_and_bad():
    (request,) = requests(meter(*THREE))
    replies = iter([b"\xff" * 20, None, *[WHOLE] * 300])

    def answer(raw: bytes) -> bytes | None:
        reply = next(replies)
        return raw[:2] + reply[2:] if reply is WHOLE else reply

    async def poll() -> MemoryLink:
        link = MemoryLink(answer, now_ms=lambda: 5)
        driver = ModbusDriver(link, 0.0)
        for error in (BadReply, NoReply):
            with pytest.raises(error) as raised:
                await driver.read(request)
            assert raised.value.sent == link.frames[-1].request
            assert raised.value.received == link.frames[-1].reply
        assert [f.reply for f in link.frames] == [b"\xff" * 20, b""]
        driver = ModbusDriver(link, 1.0)
        for _ in range(250):
            reading = (await driver.read(request))[0]
            assert reading.frame is link.frames[-1]
        return link

    link = asyncio.run(poll())
    assert len(link.frames) == KEPT_FRAMES
    assert link.frames[-1].bt_ms == 5
