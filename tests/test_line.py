"""The simulated RS-485 pair: virtual time, characters that take their time, silences, collisions, and the pty."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from random import Random

import pytest

from simulator.clock import DAY_MS
from simulator.faults import Fault, FaultKind
from simulator.line.carrier import Carrier, at_random, by_characters
from simulator.line.disturbance import LineFault, LineFaultKind, disturb
from simulator.line.modbus_rtu import answers
from simulator.line.second_master import Question, SecondMaster
from simulator.line.station import Turnaround, seat
from simulator.line.uart import Format
from simulator.line.virtual import LoopClock, TimeStandsStill, VirtualTimeLoop, run_virtual
from simulator.line.wire import PacedLine, Trip, bound
from tests.lines import (
    READ_SMALL,
    T0,
    Ear,
    ask_rtu,
    crc16,
    overlapping,
    pdu_of,
    rtu_station,
    virtually,
)

CHAR_S = 10 / 9600
SILENCE_S = 35 / 9600
REPLY_LENGTH = 25
"""Octets of the reply to READ_SMALL."""


# --- virtual time --------------------------------------------------------------------------------------------------


def test_sleepers_wake_in_order_at_their_exact_instants():
    woken: list[tuple[str, float]] = []

    async def sleep(name: str, for_s: float) -> None:
        await asyncio.sleep(for_s)
        woken.append((name, asyncio.get_running_loop().time()))

    async def story() -> None:
        await asyncio.gather(sleep("c", 0.3), sleep("a", 0.1), sleep("b", 0.2), sleep("day", 86_400.1), sleep("now", 0))

    began = time.perf_counter()
    run_virtual(story())
    assert woken == [("now", 0.0), ("a", 0.1), ("b", 0.2), ("c", 0.3), ("day", 86_400.1)]
    assert time.perf_counter() - began < 5


@virtually
async def test_a_deadline_passes_only_when_nothing_came_before_it():
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2.5):
            await loop.create_future()
    assert loop.time() == 2.5
    answer: asyncio.Future[str] = loop.create_future()
    loop.call_later(0.999, answer.set_result, "came")
    async with asyncio.timeout(1.0):
        assert await answer == "came"
    assert loop.time() == pytest.approx(3.499, abs=1e-12)


@virtually
async def test_time_stands_still_while_something_is_ready():
    loop = asyncio.get_running_loop()
    for _ in range(1000):
        await asyncio.sleep(0)
    assert loop.time() == 0.0


def test_waiting_for_nobody_is_an_error_and_not_a_hang():
    loop = VirtualTimeLoop()
    with pytest.raises(TimeStandsStill):
        loop.run_until_complete(loop.create_future())
    loop.close()


@virtually
async def test_what_takes_real_time_is_refused():
    loop = asyncio.get_running_loop()
    with pytest.raises(RuntimeError, match="no executor under virtual time"):
        await asyncio.to_thread(time.sleep, 0)
    with pytest.raises(RuntimeError, match="no file descriptors"):
        loop.add_reader(0, print)


@virtually
async def test_the_scenarios_clock_follows_the_loops():
    clock = LoopClock(asyncio.get_running_loop(), T0, rate=60.0)
    await asyncio.sleep(1440)
    assert clock.utc_ms() == T0 + DAY_MS
    assert clock.real_s_until(T0 + 2 * DAY_MS) == pytest.approx(1440)


# --- characters and silence ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "char_ms", "silence_ms"),
    [
        (Format(9600), 1.0417, 3.6458),
        (Format(9600, "E"), 1.1458, 4.0104),
        (Format(2400, "E"), 4.5833, 16.0417),
        (Format(19200, "N", 8, 2), 0.5729, 2.0052),
        (Format(38400), 0.2604, 1.75),
        (Format(115200), 0.0868, 1.75),
        (Format(300, "E", 7), 33.3333, 116.6667),
    ],
    ids=str,
)
def test_a_character_and_its_silence_take_their_time(form: Format, char_ms: float, silence_ms: float):
    assert (form.char_s * 1000, form.silence_s * 1000) == pytest.approx((char_ms, silence_ms), abs=1e-4)


@pytest.mark.parametrize("form", [(0,), (9600, "M"), (9600, "N", 5), (9600, "N", 8, 3)])
def test_a_format_that_there_is_not_is_refused(form: tuple[int]):
    with pytest.raises(ValueError, match="no such format"):
        Format(*form)


@virtually
async def test_a_round_trip_takes_its_characters_and_the_turnaround():
    line = PacedLine()
    seat(rtu_station(line), line, LoopClock(line.loop, T0))
    ear, tap = Ear(Carrier(line)), line.tap()
    await asyncio.sleep(10)
    await ear.ask(ask_rtu(1, READ_SMALL))
    assert [at_s for at_s, _ in ear.heard] == [pytest.approx(10 + (8 + REPLY_LENGTH) * CHAR_S + 0.02, abs=1e-9)]
    assert [(s.who, round(s.start_s - 10, 9), len(s.data)) for s in tap.spoken] == [
        ("master", 0.0, 8),
        ("unit 1", round(8 * CHAR_S + 0.02, 9), REPLY_LENGTH),
    ]
    assert tap.by("unit 1")[0].data == ear.came
    assert not any(s.collided for s in tap.spoken)


@virtually
async def test_a_hasty_station_still_waits_for_the_silence():
    line = PacedLine()
    seat(rtu_station(line, turnaround=Turnaround(0.0)), line, LoopClock(line.loop, T0))
    ear = Ear(Carrier(line))
    await ear.ask(ask_rtu(1, READ_SMALL))
    assert ear.heard[0][0] == pytest.approx((8 + REPLY_LENGTH) * CHAR_S + SILENCE_S, abs=1e-9)


@virtually
async def test_a_cycle_takes_exactly_the_wires_bound():
    line = PacedLine(Format(19200, "E"))
    for unit in (1, 2, 3):
        seat(rtu_station(line, unit, turnaround=Turnaround(0.004 * unit)), line, LoopClock(line.loop, T0))
    carrier = Carrier(line)
    came = asyncio.Event()
    carrier.start(lambda data: came.set(), print)
    for unit in (1, 2, 3) * 10:
        came.clear()
        carrier.write(ask_rtu(unit, READ_SMALL))
        await came.wait()
        await asyncio.sleep(line.format.silence_s)
    trips = [Trip(8, REPLY_LENGTH, 0.004 * unit) for unit in (1, 2, 3)]
    assert bound(trips, line.format) == pytest.approx(3 * (33 * 11 / 19200 + 38.5 / 19200) + 0.024)
    assert line.loop.time() == pytest.approx(10 * bound(trips, line.format), abs=1e-6)


@pytest.mark.parametrize(("pause_characters", "answers_come"), [(0.0, True), (2.0, True), (3.4, True), (3.6, False)])
def test_a_frame_ends_where_the_silence_begins(pause_characters: float, answers_come: bool):
    async def story() -> None:
        line = PacedLine()
        station = rtu_station(line)
        seat(station, line, LoopClock(line.loop, T0))
        ear = Ear(Carrier(line))
        question = ask_rtu(1, READ_SMALL)
        ear.carrier.write(question[:5])
        await asyncio.sleep((5 + pause_characters) * CHAR_S)
        ear.carrier.write(question[5:])
        await asyncio.sleep(1)
        assert bool(ear.came) == answers_come
        assert station.unit.counts.requests == answers_come

    run_virtual(story())


@pytest.mark.parametrize(("pause_s", "answered"), [(0.0, 1), (SILENCE_S * 0.9, 1), (SILENCE_S, 2)])
def test_a_question_on_the_heels_of_a_reply_is_no_question(pause_s: float, answered: int):
    async def story() -> None:
        line = PacedLine()
        stations = [rtu_station(line, unit) for unit in (1, 2)]
        for station in stations:
            seat(station, line, LoopClock(line.loop, T0))
        ear = Ear(Carrier(line))
        ear.carrier.write(ask_rtu(1, READ_SMALL))
        await ear.hears.wait()
        line.loop.call_at(line.loop.time() + pause_s, ear.carrier.write, ask_rtu(2, READ_SMALL))
        await asyncio.sleep(1)
        assert sum(station.unit.counts.requests for station in stations) == answered

    run_virtual(story())


@virtually
async def test_a_question_at_the_very_end_of_the_silence_is_one():
    line = PacedLine()
    stations = [rtu_station(line, unit) for unit in (1, 2)]
    for station in stations:
        seat(station, line, LoopClock(line.loop, T0))
    ear = Ear(Carrier(line))
    quiet_s = (8 + REPLY_LENGTH) * CHAR_S + 0.02 + SILENCE_S
    line.loop.call_at(quiet_s - 2e-9, ear.carrier.write, ask_rtu(2, READ_SMALL))
    await ear.ask(ask_rtu(1, READ_SMALL))
    assert [station.unit.counts.requests for station in stations] == [1, 1]


@virtually
async def test_what_one_talker_says_at_once_goes_out_one_after_the_other():
    line = PacedLine()
    ear = Ear(Carrier(line))
    meter = line.join("meter", lambda data, at_s: None)
    meter.say(b"abc")
    meter.say(b"de")
    await asyncio.sleep(1)
    assert [data for _, data in ear.heard] == [b"abc", b"de"]
    assert [at_s for at_s, _ in ear.heard] == [pytest.approx(3 * CHAR_S), pytest.approx(5 * CHAR_S)]
    assert line.counts.collisions == 0


@virtually
async def test_what_comes_in_pieces_comes_when_its_last_character_has_ended():
    line = PacedLine()
    seat(rtu_station(line), line, LoopClock(line.loop, T0))
    ear = Ear(Carrier(line, split=by_characters()))
    await ear.ask(ask_rtu(1, READ_SMALL))
    began_s = 8 * CHAR_S + 0.02
    assert [len(data) for _, data in ear.heard] == [1] * REPLY_LENGTH
    assert [at_s for at_s, _ in ear.heard] == [pytest.approx(began_s + (n + 1) * CHAR_S) for n in range(REPLY_LENGTH)]
    pdu_of(ear.came, 1)
    ear.carrier.end.split = at_random(Random(3))
    shapes = set()
    for _ in range(20):
        pdu_of(await ear.ask(ask_rtu(1, READ_SMALL)), 1)
        shapes.add(tuple(len(data) for _, data in ear.heard))
    assert len(shapes) > 10


# --- collisions and formats ----------------------------------------------------------------------------------------


@virtually
async def test_where_two_talk_zero_wins_and_both_are_counted():
    line = PacedLine()
    heard: list[bytes] = []
    line.join("listener", lambda data, at_s: heard.append(data))
    one, other = (line.join(name, lambda data, at_s: None) for name in ("one", "other"))
    tap = line.tap()
    one.say(bytes.fromhex("55 0F AA"))
    other.say(bytes.fromhex("33 3C FF"))
    await asyncio.sleep(1)
    assert heard == [bytes.fromhex("11 0C AA")]
    assert (line.counts.transmissions, line.counts.collisions) == (2, 1)
    assert [s.collided for s in tap.spoken] == [True, True]
    one.say(b"\x55")
    await asyncio.sleep(1)
    assert heard[1:] == [b"\x55"]
    assert line.counts.collisions == 1


@virtually
async def test_talking_into_a_frame_spoils_it_from_there_on():
    line = PacedLine()
    heard: list[bytes] = []
    line.join("listener", lambda data, at_s: heard.append(data)).strict = False
    one, other = (line.join(name, lambda data, at_s: None) for name in ("one", "other"))
    said = bytes(range(0x40, 0x60))
    one.say(said)
    await asyncio.sleep(10.3 * CHAR_S)
    other.say(bytes.fromhex("A5 5A A5 5A"))
    await asyncio.sleep(1)
    assert heard[0][:10] == said[:10]
    assert heard[0][10:14] != said[10:14]
    assert line.counts.collisions == 1


@virtually
async def test_half_a_frame_heard_before_the_collision_stays_as_it_was():
    line = PacedLine()
    ear = Ear(Carrier(line, split=by_characters()))
    one, other = (line.join(name, lambda data, at_s: None) for name in ("one", "other"))
    one.say(bytes(range(0x40, 0x60)))
    await asyncio.sleep(10.3 * CHAR_S)
    other.say(b"\x00\x00")
    await asyncio.sleep(1)
    assert ear.came[:10] == bytes(range(0x40, 0x4A))
    assert ear.came != bytes(range(0x40, 0x60))
    assert [at_s for at_s, _ in ear.heard] == sorted(at_s for at_s, _ in ear.heard)


@virtually
async def test_who_talks_hears_nothing_unless_the_adapter_echoes():
    line = PacedLine()
    seat(rtu_station(line), line, LoopClock(line.loop, T0))
    question = ask_rtu(1, READ_SMALL)
    ear = Ear(Carrier(line))
    plain = await ear.ask(question)
    ear.carrier.end.echo = True
    assert await ear.ask(question) == question + plain
    assert ear.heard[0][0] - 8 * CHAR_S == pytest.approx(ear.heard[1][0] - (8 + REPLY_LENGTH) * CHAR_S - 0.02)


@pytest.mark.parametrize(
    ("station", "master"),
    [
        (Format(9600, "E"), Format(9600)),
        (Format(9600), Format(9600, "E")),
        (Format(9600), Format(4800)),
        (Format(9600), Format(19200)),
        (Format(9600, "E", 7), Format(9600)),
    ],
    ids=str,
)
def test_a_wrong_format_brings_no_reply_and_garbles_what_is_overheard(station: Format, master: Format):
    async def story() -> None:
        line = PacedLine(station)
        device = rtu_station(line)
        seat(device, line, LoopClock(line.loop, T0))
        ear = Ear(Carrier(line, form=master))
        assert await ear.ask(ask_rtu(1, READ_SMALL)) == b""
        assert device.unit.counts.requests == 0
        other = line.join("other", lambda data, at_s: None)
        said = bytes(range(0x41, 0x61))
        other.say(said)
        await asyncio.sleep(1)
        assert ear.came
        assert ear.came != said

    run_virtual(story())


@virtually
async def test_seven_bits_with_parity_are_eight_bits_with_a_strange_top():
    line = PacedLine(Format(9600, "E", 7))
    ear = Ear(Carrier(line, form=Format(9600)))
    line.join("meter", lambda data, at_s: None).say(b"/KAM5")
    await asyncio.sleep(1)
    assert ear.came == bytes(c | (bin(c).count("1") & 1) << 7 for c in b"/KAM5")


@virtually
async def test_the_opposite_parity_is_refused_by_a_meter_and_not_noticed_by_a_port():
    line = PacedLine(Format(9600, "E"))
    device = rtu_station(line)
    seat(device, line, LoopClock(line.loop, T0))
    ear = Ear(Carrier(line, form=Format(9600, "O")))
    assert await ear.ask(ask_rtu(1, READ_SMALL)) == b""
    assert device.unit.counts.requests == 0
    line.join("other", lambda data, at_s: None).say(bytes(range(256)))
    await asyncio.sleep(1)
    assert ear.came == bytes(range(256))


@virtually
async def test_a_second_stop_bit_is_only_time():
    line = PacedLine(Format(9600, "N", 8, 2))
    ear = Ear(Carrier(line, form=Format(9600)))
    line.join("meter", lambda data, at_s: None).say(bytes(range(256)))
    await asyncio.sleep(1)
    assert ear.came == bytes(range(256))
    assert ear.heard[0][0] == pytest.approx(256 * 11 / 9600)


# --- the wire's own faults -----------------------------------------------------------------------------------------


@virtually
async def test_a_cut_is_felt_in_mid_frame_and_ends_when_it_is_mended():
    line = PacedLine()
    station = rtu_station(line)
    place = seat(station, line, LoopClock(line.loop, T0))
    ear = Ear(Carrier(line))
    whole = await ear.ask(ask_rtu(1, READ_SMALL))
    line.loop.call_later(8 * CHAR_S + 0.02 + 10.5 * CHAR_S, line.cut, [place])
    cut = await ear.ask(ask_rtu(1, READ_SMALL))
    assert cut[:10] == whole[:10]
    assert len(cut) < 13  # the character in which it broke reads as something, the rest is idle
    assert await ear.ask(ask_rtu(1, READ_SMALL)) == b""
    assert station.unit.counts.requests == 2
    line.restore()
    assert await ear.ask(ask_rtu(1, READ_SMALL)) == whole


@virtually
async def test_faults_of_a_line_come_and_go_at_their_times():
    line = PacedLine()
    clock = LoopClock(line.loop, T0)
    place = seat(rtu_station(line), line, clock)
    ear = Ear(Carrier(line))
    faults = [
        LineFault(LineFaultKind.CUT, T0 + 10_000, T0 + 20_000),
        LineFault(LineFaultKind.ECHO, T0 + 30_000, T0 + 40_000),
        LineFault(LineFaultKind.CUT, T0 - 20_000, T0 - 10_000),
    ]
    disturb(line, clock, faults, master=ear.carrier.end, stations=[place], seed=1)
    question, seen = ask_rtu(1, READ_SMALL), []
    for _ in range(5):
        await asyncio.sleep(5)
        seen.append(len(await ear.ask(question, wait_s=4)))
        await asyncio.sleep(1)
    assert seen == [REPLY_LENGTH, 0, REPLY_LENGTH, 8 + REPLY_LENGTH, REPLY_LENGTH]
    assert [fault.struck for fault in faults] == [1, 1, 0]
    assert all(fault.truth for fault in faults)


def noisy(seed: int) -> tuple[bytes, int, int]:
    """What a master heard in ten minutes of noise, how often it struck, how many replies were spoilt."""
    took: list[tuple[bytes, int, int]] = []

    async def story() -> None:
        line = PacedLine()
        clock = LoopClock(line.loop, T0)
        seat(rtu_station(line), line, clock)
        ear = Ear(Carrier(line))
        fault = LineFault(LineFaultKind.NOISE, T0, T0 + 600_000, every_s=0.5)
        disturb(line, clock, [fault], master=ear.carrier.end, stations=[], seed=seed)
        heard, spoilt = b"", 0
        for _ in range(600):
            reply = await ear.ask(ask_rtu(1, READ_SMALL))
            spoilt += len(reply) != REPLY_LENGTH or crc16(reply[:-2]) != int.from_bytes(reply[-2:], "little")
            heard += reply
        took.append((heard, fault.struck, spoilt))

    run_virtual(story())
    return took[0]


def test_noise_is_chance_that_repeats_with_its_seed():
    heard, struck, spoilt = noisy(1)
    assert 1000 < struck < 1400
    assert 60 < spoilt < 600
    assert noisy(1) == (heard, struck, spoilt)
    assert noisy(2)[0] != heard


@virtually
async def test_an_adapter_that_is_unplugged_says_so_once():
    line = PacedLine()
    seat(rtu_station(line), line, LoopClock(line.loop, T0))
    ear = Ear(Carrier(line))
    ear.carrier.write(ask_rtu(1, READ_SMALL))
    ear.carrier.unplug()
    ear.carrier.unplug()
    await asyncio.sleep(1)
    assert (ear.lost, ear.came) == (["the adapter was unplugged"], b"")
    with pytest.raises(OSError, match="unplugged"):
        ear.carrier.write(b"\x00")
    with pytest.raises(OSError, match="unplugged"):
        ear.open()
    ear.carrier.plug()
    with pytest.raises(OSError, match="not open"):
        ear.carrier.write(b"\x00")
    ear.open()
    assert len(await ear.ask(ask_rtu(1, READ_SMALL))) == REPLY_LENGTH


# --- a second master -----------------------------------------------------------------------------------------------


@dataclass
class Port:
    """A settlement meter's port with its terminal on it, and our own end."""

    line: PacedLine
    ear: Ear
    terminal: SecondMaster


def port_with_terminal(*, period_s: float, units: tuple[int, ...] = (11, 12), late_ms: int = 0) -> Port:
    """`late_ms`: how much later the terminal's meters answer what they are asked in the first second."""
    line = PacedLine()
    clock = LoopClock(line.loop, T0)
    seat(rtu_station(line), line, clock)
    late = [Fault(FaultKind.LATE, T0, T0 + 1000, delay_ms=late_ms)] if late_ms else []
    own = [seat(rtu_station(line, unit, *late), line, clock) for unit in units]
    ear = Ear(Carrier(line))
    questions = []
    for unit in units:
        request = ask_rtu(unit, READ_SMALL)
        questions.append(Question(request, lambda came, request=request: answers(request, came)))  # type: ignore[misc]
    return Port(line, ear, SecondMaster(line, questions, own=own, period_s=period_s, first_s=1.0))


@virtually
async def test_a_terminal_that_nobody_disturbs_loses_nothing():
    port = port_with_terminal(period_s=5.0)
    await asyncio.sleep(5.0 * 5000 + 0.5)
    counts = port.terminal.counts
    assert (counts.asked, counts.answered, counts.lost, counts.disturbed) == (10_000, 10_000, 0, 0)
    assert port.line.counts.collisions == 0


@virtually
async def test_a_terminal_counts_what_it_loses_to_us_and_only_that():
    """The tap is the judge; the terminal's meters are healthy, so that whatever it loses it loses to us."""
    port = port_with_terminal(period_s=2.0)
    tap = port.line.tap()
    chance = Random(7)
    for _ in range(400):
        await asyncio.sleep(chance.uniform(0.1, 3.0))
        port.ear.carrier.write(ask_rtu(1, READ_SMALL))
    await asyncio.sleep(1.0)
    port.terminal.stop()
    counts = port.terminal.counts
    ours = [(s.start_s, s.end_s) for s in tap.by("master")]
    replies = [s for unit in (11, 12) for s in tap.by(f"unit {unit}") if not s.collided]
    lost = 0
    for asked in tap.by("terminal"):
        in_time = [s for s in replies if asked.end_s < s.start_s < asked.end_s + 0.5]
        heard = [s for s in in_time if not overlapping(ours, (s.start_s - SILENCE_S, s.end_s + SILENCE_S))]
        lost += not heard
    assert counts.asked == len(tap.by("terminal")) > 500
    assert counts.lost == lost > 10
    assert counts.lost_to_strangers == lost
    assert 200 > counts.disturbed >= counts.lost_to_strangers
    assert counts.answered == counts.asked - counts.lost


@pytest.mark.parametrize(
    ("unit", "ends_before_s", "late_ms"),
    [(1, 0.001, 0), (1, 0.012, 0), (11, 0.012, 0), (11, 0.5, 498), (1, -0.004, 0), (1, -0.05, 0)],
    ids=["glued", "our reply", "its own meter's reply to us", "a late one", "into its question", "into the reply"],
)
def test_each_way_to_break_an_exchange_counts_against_us(unit: int, ends_before_s: float, late_ms: int):
    async def story() -> None:
        port = port_with_terminal(period_s=100.0, units=(11,), late_ms=late_ms)
        await asyncio.sleep(1.0 - ends_before_s - 8 * CHAR_S)
        port.ear.carrier.write(ask_rtu(unit, READ_SMALL))
        await asyncio.sleep(5)
        assert port.terminal.counts.asked == 1
        assert (port.terminal.counts.lost, port.terminal.counts.lost_to_strangers) == (1, 1)

    run_virtual(story())


@virtually
async def test_what_a_terminal_loses_to_a_dead_meter_is_not_our_doing():
    port = port_with_terminal(period_s=5.0, units=(11, 99))
    port.line.cut([end for end in port.line.ends if end.name == "unit 99"])
    await asyncio.sleep(50)
    counts = port.terminal.counts
    assert (counts.asked, counts.lost, counts.lost_to_strangers) == (20, 10, 0)
