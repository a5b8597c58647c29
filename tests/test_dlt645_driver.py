"""The DL/T 645 driver on a link: blocks, following frames, refusals, silence, and answers that come late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from drivers.dlt645 import Dlt645Driver, open_driver, requests
from drivers.dlt645.driver import MOST_FRAMES, REFUSED_FOR_MS
from drivers.dlt645.exchange import OldEdition
from drivers.link import Framing, MemoryLink
from edge_agent.model import Gap, Identity, LinkSpec, Outcome, Quantity, Reading, Register, Request
from edge_agent.ports import BadReply, DriverError, NoReply
from simulator.line.virtual import run_virtual
from tests.test_dlt645 import ENERGY, METER, OTHER, VOLTAGE, Clock, di, framed
from tests.test_dlt645_items import meter

E = Register(Quantity.ACTIVE_ENERGY_IMPORT, "di:00010000", "bcd6.2", "kWh", digits="6.2")
U = tuple(Register(Quantity(f"voltage_l{n}"), f"di:0201FF00/{n}", "bcd3.1", "V") for n in (1, 2, 3))
P = Register(Quantity.ACTIVE_POWER, "di:02030000", "sbcd2.4", "kW")
BLOCK = 0x0201FF00
NO_DATA = framed(METER, 0xD1, b"\x02")

Far = Callable[[int, int, int], bytes | None]
"""Control, identifier and frame number to what the meter sends."""


class Line:
    """A meter on a memory link, and what it was asked."""

    def __init__(self, answer: Far, *, timeout_s: float = 0.01, clock: Callable[[], int] | None = None) -> None:
        self.answer = answer
        self.asked: list[int] = []
        self.clock = clock or Clock()
        self.link = MemoryLink(self._reply, now_ms=self.clock)
        self.driver = Dlt645Driver(self.link, timeout_s, self.clock)

    def _reply(self, raw: bytes) -> bytes | None:
        frame = raw.lstrip(b"\xfe")
        data = bytes((o - 0x33) & 0xFF for o in frame[10:-2])
        self.asked.append(int.from_bytes(data[:4], "little"))
        return self.answer(frame[8], self.asked[-1], data[4] if len(data) > 4 else 0)


def said(found: Sequence[Outcome]) -> dict[str, Any]:
    kinds = {Reading: "value", Identity: "text", Gap: "cause"}
    return {o.quantity.value: getattr(o, kinds[type(o)]) for o in found}


def request_of(*registers: Register, unit: int = int(METER)) -> Request:
    (request,) = requests(meter(*registers, unit=unit))
    return request


def read(line: Line, request: Request) -> dict[str, Any]:
    return said(asyncio.run(line.driver.read(request)))


def energy(kwh: int) -> bytes:
    return framed(METER, 0x91, di(ENERGY) + bytes.fromhex(f"{kwh:06d}00")[::-1])


VOLTAGES = bytes.fromhex("052214229921")
THREE = {"voltage_l1": 220.5, "voltage_l2": 221.4, "voltage_l3": 219.9}


def test_a_block_is_one_question_for_all_its_items():
    line = Line(lambda _c, n, _s: framed(METER, 0x91, di(n) + VOLTAGES))
    assert read(line, request_of(*U)) == THREE
    assert line.asked == [BLOCK]


def test_a_block_that_is_refused_is_asked_item_by_item_from_then_on():
    def answer(_c: int, n: int, _s: int) -> bytes:
        return NO_DATA if n == BLOCK else framed(METER, 0x91, di(n) + VOLTAGES[2 * (n >> 8 & 0xFF) - 2 :][:2])

    line, request = Line(answer), request_of(*U)
    assert read(line, request) == THREE
    assert read(line, request) == THREE
    singles = [0x02010100, 0x02010200, 0x02010300]
    assert line.asked == [BLOCK, *singles, *singles]


def test_an_item_that_is_refused_is_a_gap_with_its_words_and_asked_again_after_an_hour():
    clock = Clock()
    line, request = Line(lambda *_: NO_DATA, clock=clock), request_of(E)
    for _ in range(3):
        (gap,) = asyncio.run(line.driver.read(request))
        assert isinstance(gap, Gap)
        assert (gap.cause, gap.detail) == ("refused", f"00010000: meter {METER}: no such data (error 02)")
    assert line.asked == [ENERGY]
    clock.ms += REFUSED_FOR_MS
    line.answer = lambda *_: energy(5)
    assert read(line, request) == {"active_energy_import": 5000.0}


def test_one_refused_item_does_not_cost_the_others():
    def answer(_c: int, n: int, _s: int) -> bytes:
        return NO_DATA if n in {BLOCK, 0x02010200} else framed(METER, 0x91, di(n) + b"\x05\x22")

    assert read(Line(answer), request_of(*U)) == {"voltage_l1": 220.5, "voltage_l2": "refused", "voltage_l3": 220.5}


def test_a_living_meter_that_keeps_silent_at_a_block_is_asked_item_by_item():
    def answer(_c: int, n: int, _s: int) -> bytes | None:
        return None if n == BLOCK else energy(5) if n == ENERGY else framed(METER, 0x91, di(n) + b"\x05\x22")

    async def polls() -> list[str]:
        clock = Clock()
        line = Line(answer, clock=clock)
        volts, power = request_of(*U), request_of(E)
        came = []
        for _ in range(4):
            try:
                came.append(str(said(await line.driver.read(volts))["voltage_l3"]))
            except NoReply:
                came.append("silent")
            clock.ms += 30_000
            await line.driver.read(power)
            clock.ms += 30_000
        return came

    assert asyncio.run(polls()) == ["silent", "silent", "silent", "220.5"]


def test_a_dead_meters_blocks_stay_blocks():
    async def polls() -> list[int]:
        clock = Clock()
        line = Line(lambda *_: None, clock=clock)
        request = request_of(*U)
        for _ in range(6):
            with pytest.raises(NoReply):
                await line.driver.read(request)
            clock.ms += 60_000
        return line.asked

    assert asyncio.run(polls()) == [BLOCK] * 6


# --- following frames


def follow(parts: Sequence[bytes], *, seq: Callable[[int], int] = lambda n: n) -> Far:
    """A meter that gives an item in as many frames."""

    def answer(control: int, number: int, asked: int) -> bytes:
        more = 0x20 if asked < len(parts) - 1 else 0
        tail = bytes((seq(asked),)) if control == 0x12 else b""
        return framed(METER, control | 0x80 | more, di(number) + parts[asked] + tail)

    return answer


@pytest.mark.parametrize("cuts", [(2,), (3,), (1, 2, 5), (0, 6), (1, 2, 3, 4, 5)])
def test_following_frames_are_joined_in_order(cuts):
    edges = (0, *cuts, len(VOLTAGES))
    parts = [VOLTAGES[a:b] for a, b in pairwise(edges)]
    line = Line(follow(parts))
    found = asyncio.run(line.driver.read(request_of(*U)))
    assert said(found) == THREE
    frame = found[0].frame
    assert frame is not None
    assert frame.request == b"".join(line.link.sent)
    assert frame.reply.count(b"\x16") >= len(parts)
    assert line.asked == [BLOCK] * len(parts)


@pytest.mark.parametrize("wrong", [lambda n: n + 1, lambda n: n - 1, lambda _: 0, lambda _: 9])
def test_following_frames_out_of_order_bring_no_value(wrong):
    line = Line(follow([VOLTAGES[:2], VOLTAGES[2:4], VOLTAGES[4:]], seq=wrong))
    with pytest.raises(BadReply, match="asked 0201FF00 frame 1"):
        asyncio.run(line.driver.read(request_of(*U)))


def test_a_following_frame_that_is_missing_costs_the_item_and_not_the_link():
    def answer(control: int, number: int, seq: int) -> bytes | None:
        return None if control == 0x12 else framed(METER, 0xB1, di(number) + VOLTAGES[:4])

    line = Line(answer)
    with pytest.raises(NoReply):
        asyncio.run(line.driver.read(request_of(*U)))
    assert line.link.opened == 1


def test_a_following_frame_that_is_refused_refuses_the_item():
    def answer(control: int, number: int, seq: int) -> bytes:
        if number == BLOCK:
            return framed(METER, 0xD2, b"\x02") if control == 0x12 else framed(METER, 0xB1, di(number) + VOLTAGES[:4])
        return framed(METER, 0x91, di(number) + b"\x05\x22")

    assert read(Line(answer), request_of(*U)) == {"voltage_l1": 220.5, "voltage_l2": 220.5, "voltage_l3": 220.5}


def test_a_meter_that_never_ends_is_not_followed_for_ever():
    line = Line(lambda c, n, s: framed(METER, c | 0xA0, di(n) + b"\x11" + (bytes((s,)) if s else b"")))
    with pytest.raises(BadReply, match="does not end"):
        asyncio.run(line.driver.read(request_of(E)))
    assert len(line.asked) == MOST_FRAMES


# --- failures


@pytest.mark.parametrize(
    ("came", "error", "says"),
    [
        (None, NoReply, "kept silent"),
        (framed(OTHER, 0x91, di(ENERGY) + bytes(4)), BadReply, f"{OTHER} answered"),
        (framed(METER, 0x91, di(VOLTAGE) + bytes(4)), BadReply, "02010100 came"),
        (b"\xf3\x99\x00\x71" * 8, BadReply, "2400 8E1"),
        (energy(5)[:-1], BadReply, "stopped"),
        (framed(METER, 0x81, b"\x10\x90" + bytes(4)), OldEdition, "DL/T 645-1997 meter, not supported by this driver"),
    ],
)
def test_a_failure_keeps_the_bytes_and_stays_in_the_ring(came, error, says):
    line = Line(lambda *_: came)
    with pytest.raises(error, match=says) as caught:
        asyncio.run(line.driver.read(request_of(E)))
    assert caught.value.sent == line.link.sent[0]
    assert caught.value.received == (came or b"")
    assert line.link.frames[-1].reply == (came or b"")


def test_an_old_meter_is_not_asked_item_by_item():
    line = Line(lambda *_: framed(METER, 0xC1, b"\x02"))
    with pytest.raises(OldEdition):
        asyncio.run(line.driver.read(request_of(*U)))
    assert line.asked == [BLOCK]


def test_what_was_answered_stands_when_the_meter_falls_silent():
    def answer(_c: int, n: int, _s: int) -> bytes | None:
        if n == BLOCK:
            return NO_DATA
        return framed(METER, 0x91, di(n) + b"\x05\x22") if n == 0x02010100 else None

    line = Line(answer)
    assert read(line, request_of(*U)) == {"voltage_l1": 220.5, "voltage_l2": "no_reply", "voltage_l3": "no_reply"}
    assert line.asked == [BLOCK, 0x02010100, 0x02010200]


def test_the_address_of_the_one_meter_on_the_line():
    line = Line(lambda *_: framed(METER, 0x93, bytes.fromhex(METER)[::-1]))
    assert asyncio.run(line.driver.read_address()) == METER
    assert line.link.sent == [b"\xfe" * 4 + framed("A" * 12, 0x13)]


def test_two_meters_that_answer_at_once_are_no_address():
    both = bytes(a & b for a, b in zip(framed(METER, 0x93, bytes(6)), framed(OTHER, 0x93, bytes(6)), strict=True))
    with pytest.raises(BadReply):
        asyncio.run(Line(lambda *_: both).driver.read_address())


def test_a_driver_is_opened_on_a_link_that_others_may_share():
    link = MemoryLink(lambda _: energy(7))
    driver = open_driver(link, LinkSpec("line", "serial", timeout_s=0.5), lambda: 3)
    assert said(asyncio.run(driver.read(request_of(E)))) == {"active_energy_import": 7000.0}
    asyncio.run(driver.close())
    assert not link.is_open


def test_after_three_silences_without_a_byte_the_channel_is_made_anew():
    async def polls() -> int:
        clock = Clock()
        line = Line(lambda *_: None, clock=clock)
        for _ in range(4):
            with pytest.raises(NoReply):
                await line.driver.read(request_of(E))
            clock.ms += 60_001
        return line.link.opened

    assert asyncio.run(polls()) == 2


# --- late answers


class LateMeter:
    """Answers in order, and as late as it likes: `answers[n]` is how many questions later the nth answer comes.

    The energy it gives is the number of the question, so that a value tells which question it answers.
    """

    def __init__(self, lateness: Sequence[int], timeout_s: float = 0.005) -> None:
        self.lateness = lateness
        self.questions = 0
        self.waiting: list[tuple[int, bytes]] = []
        self.line = Line(self._answer, timeout_s=timeout_s, clock=lambda: int(asyncio.get_running_loop().time() * 1000))

    def _answer(self, _c: int, number: int, _s: int) -> bytes | None:
        n = self.questions
        self.questions += 1
        due = n + (self.lateness[n] if n < len(self.lateness) else 0)
        if self.waiting:
            due = max(due, self.waiting[-1][0])  # a line hands on in order
        value = bytes.fromhex(f"{n:06d}00")[::-1] if number == ENERGY else bytes.fromhex(f"{n:06d}")[::-1]
        self.waiting.append((due, framed(METER, 0x91, di(number) + value)))
        come = b"".join(reply for at, reply in self.waiting if at <= n)
        self.waiting = [w for w in self.waiting if w[0] > n]
        return come or None


@pytest.mark.parametrize("lateness", [[1], [0, 1], [0, 0, 2], [1, 1, 1], [2, 0, 1, 0, 2], [1, 0, 0, 1, 1]])
@pytest.mark.parametrize("registers", [(E,), (E, P)], ids=["one item", "two items"])
def test_no_value_is_older_than_the_question_that_was_asked_for_it(lateness, registers):
    """Also when the answer to one question comes in front of the answer to the next, of the same item."""

    async def polls() -> list[tuple[int, float]]:
        late = LateMeter(lateness)
        plan = [request_of(r) for r in registers]
        taken = []
        for _ in range(16):
            for request in plan:
                first = late.questions
                try:
                    (outcome,) = await late.line.driver.read(request)
                except DriverError:
                    await asyncio.sleep(15)
                    continue
                assert isinstance(outcome, Reading)
                if outcome.quantity is Quantity.ACTIVE_ENERGY_IMPORT:
                    taken.append((first, outcome.value / 1000))
        return taken

    taken = run_virtual(polls())
    assert len(taken) >= 4
    assert [t for t in taken if t[1] < t[0]] == []


def test_a_late_answer_that_comes_while_nobody_asks_is_thrown_away():
    async def story() -> dict[str, Any]:
        clock = Clock()
        replies: list[bytes | None] = [None, energy(2)]
        line = Line(lambda *_: replies.pop(0), clock=clock)
        with pytest.raises(NoReply):
            await line.driver.read(request_of(E))
        clock.ms += 15_000
        line.link.come(energy(1))
        found = said(await line.driver.read(request_of(E)))
        assert line.asked == [ENERGY, ENERGY]  # it came: no second look is needed
        return found

    assert asyncio.run(story()) == {"active_energy_import": 2000.0}


def test_after_silence_the_same_item_is_asked_twice_and_the_second_answer_counts():
    async def story() -> tuple[dict[str, Any], list[int]]:
        clock = Clock()
        replies: list[bytes | None] = [None, energy(1), energy(2), energy(2), energy(3)]
        line = Line(lambda *_: replies.pop(0), clock=clock)
        with pytest.raises(NoReply):
            await line.driver.read(request_of(E))
        clock.ms += 15_000
        found = said(await line.driver.read(request_of(E)))
        clock.ms += 15_000
        assert said(await line.driver.read(request_of(E))) == {"active_energy_import": 3000.0}
        return found, line.asked

    found, asked = asyncio.run(story())
    assert found == {"active_energy_import": 2000.0}
    assert asked == [ENERGY] * 5


def test_another_answer_of_the_meter_in_between_makes_the_second_question_needless():
    async def story() -> list[int]:
        clock = Clock()
        replies: list[bytes | None] = [None, framed(METER, 0x91, di(0x02030000) + bytes(3)), energy(2)]
        line = Line(lambda *_: replies.pop(0), clock=clock)
        with pytest.raises(NoReply):
            await line.driver.read(request_of(E))
        await line.driver.read(request_of(P))
        with pytest.raises(NoReply, match="not asked again yet, an answer may come late for another 10 s"):
            await line.driver.read(request_of(E))
        clock.ms += 10_000
        assert said(await line.driver.read(request_of(E))) == {"active_energy_import": 2000.0}
        return line.asked

    assert asyncio.run(story()) == [ENERGY, 0x02030000, ENERGY]


def test_nobody_else_waits_longer_than_one_time_out_for_a_late_meter():
    async def story() -> None:
        clock = Clock()
        replies: list[bytes | None] = [None, energy(1), None]
        line = Line(lambda *_: replies.pop(0), clock=clock)
        with pytest.raises(NoReply):
            await line.driver.read(request_of(E))
        clock.ms += 9000
        with pytest.raises(BadReply, match="answered what was asked before, and not this"):
            await line.driver.read(request_of(P))  # nine seconds late: as late as this meter's answers may be
        with pytest.raises(NoReply):
            await line.driver.read(request_of(E))
        with pytest.raises(NoReply, match="not asked again yet"):
            await line.driver.read(request_of(E))
        assert line.asked == [ENERGY, 0x02030000, ENERGY]

    asyncio.run(story())


def test_bytes_that_nobody_accounts_for_drain_the_link_before_the_next_question():
    async def story() -> int:
        line = Line(lambda *_: energy(4))
        await line.driver.read(request_of(E))
        line.link.come(energy(3))
        assert said(await line.driver.read(request_of(E))) == {"active_energy_import": 4000.0}
        return line.link.opened

    assert asyncio.run(story()) == 2


@pytest.mark.parametrize("behind", [b"", b"\x00", b"\xff\x00"], ids=["silence", "one octet", "two octets"])
def test_what_a_transmitter_makes_when_it_lets_go_of_the_line_is_no_speech(behind):
    assert read(Line(lambda *_: energy(5) + behind), request_of(E)) == {"active_energy_import": 5000.0}


def test_an_answer_into_which_another_meter_spoke_is_not_taken():
    """A late FE of another falls on the last digit and on the sum: the frame is right, and its value is not."""
    right = framed(METER, 0x91, di(ENERGY) + bytes.fromhex("00012002"))
    spoken = bytearray(right)
    spoken[-3] &= 0xFE
    spoken[-2] &= 0xFE
    assert bytes(spoken) == framed(METER, 0x91, di(ENERGY) + bytes.fromhex("00012001"))
    line = Line(lambda *_: bytes(spoken) + b"\xfe\xfe" + framed(OTHER, 0x91, di(ENERGY) + bytes(4)))
    with pytest.raises(BadReply, match="others spoke while it answered"):
        asyncio.run(line.driver.read(request_of(E)))
    assert line.link.opened == 1
    assert not line.link.is_open  # drained


def test_who_speaks_on_behind_an_answer_is_heard_before_it_is_taken():
    async def story() -> None:
        loop, speaks = asyncio.get_running_loop(), [False, True]

        def answer(_: bytes) -> bytes:
            if speaks.pop(0):
                for n in range(1, 6):
                    loop.call_later(n * link.char_s, link.come, b"\xfe")
            return energy(5)

        framing = Framing(2400, "E")
        link = MemoryLink(answer, framing=framing, now_ms=lambda: round(loop.time() * 1000))
        driver = Dlt645Driver(link, 1.0, link.now_ms)
        asked_s = loop.time()
        assert said(await driver.read(request_of(E))) == {"active_energy_import": 5000.0}
        assert loop.time() - asked_s >= framing.silence_s
        with pytest.raises(BadReply, match="others spoke while it answered"):
            await driver.read(request_of(E))

    run_virtual(story())
