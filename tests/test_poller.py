"""Polling real sockets: a hand-written meter that misbehaves in every way a field device does."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat

import pytest
import structlog

from drivers.link import open_link
from drivers.modbus import ModbusDriver, open_driver, requests
from edge_agent.model import (
    ClockQuality,
    ClockState,
    DeviceSpec,
    Gap,
    GapCause,
    LinkSpec,
    Ms,
    Outcome,
    Quantity,
    Reading,
    Register,
    Request,
)
from edge_agent.poller import LinkState, Poller
from edge_agent.ports import BadReply, NoReply
from tests.meters import Asked, FakeMeter, Fault, lan, mbap, meter

P = Register(Quantity.ACTIVE_POWER, "input:0", "f32", "W", every_s=0.02)
E = Register(Quantity.ACTIVE_ENERGY_IMPORT, "input:2", "f32", "kWh", every_s=0.02)
U = Register(Quantity.VOLTAGE_L1, "input:4", "u16", "V", 0.1, every_s=0.02)


def words(power_w: float = 1000.0, energy_kwh: float = 1024.5, voltage_dv: int = 2305) -> dict[int, int]:
    raw = struct.pack(">ffH", power_w, energy_kwh, voltage_dv)
    return {i: raw[2 * i] << 8 | raw[2 * i + 1] for i in range(5)}


RIGHT = [("active_power", 1000.0), ("active_energy_import", 1024500.0), ("voltage_l1", 230.5)]


class QuickClock:
    """Boot time on the event loop's clock, `rate` times as fast."""

    def __init__(self, rate: int = 1) -> None:
        self.rate = rate

    def now_ms(self) -> Ms:
        return int(asyncio.get_running_loop().time() * 1000 * self.rate)

    def state(self) -> ClockState:
        return ClockState(ClockQuality.SYNCED, 0, 0)

    async def sleep_until(self, bt_ms: Ms) -> None:
        await asyncio.sleep(max(0, bt_ms - self.now_ms()) / 1000 / self.rate)


def modbus_on(spec: LinkSpec, now_ms: Callable[[], Ms]) -> ModbusDriver:
    return open_driver(open_link(spec, now_ms=now_ms), spec, now_ms)


class Watched:
    """A poller at work, and everything it handed on."""

    def __init__(self, port: int, *devices: DeviceSpec, timeout_s: float = 0.15, rate: int = 1) -> None:
        self.outcomes: list[Outcome] = []
        self.states: list[LinkState] = []
        clock = QuickClock(rate)
        self.driver = modbus_on(lan(port, timeout_s=timeout_s), clock.now_ms)
        self.poller = Poller(
            "lan",
            self.driver,
            [r for d in devices or (meter(P, E, U),) for r in requests(d)],
            clock=clock,
            take=self.outcomes.extend,
            chance=lambda: 0.2,
            changed=self.states.append,
        )

    async def __aenter__(self) -> Watched:
        self.task = asyncio.create_task(self.poller.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert not self.task.done(), "nothing ends the task"
        self.task.cancel()
        await asyncio.wait((self.task,))

    async def until(self, enough: Callable[[], bool], within_s: float = 10.0) -> None:
        async with asyncio.timeout(within_s):
            while not enough():  # noqa: ASYNC110  # what is waited for comes over a socket
                await asyncio.sleep(0.005)

    @property
    def values(self) -> list[tuple[str, float]]:
        return [(o.quantity, o.value) for o in self.outcomes if isinstance(o, Reading)]

    @property
    def causes(self) -> Counter[str]:
        return Counter(o.cause for o in self.outcomes if isinstance(o, Gap))


async def silent(asked: Asked) -> None:
    return None


async def reset_in_mid_frame(asked: Asked) -> None:
    asked.wire.write(asked.reply()[:11])
    await asked.wire.drain()
    await asyncio.sleep(0.01)
    asked.wire.transport.abort()


async def split_per_byte(asked: Asked) -> None:
    for byte in asked.reply():
        asked.wire.write(bytes((byte,)))
        await asked.wire.drain()
        await asyncio.sleep(0.001)


def says(make: Callable[[Asked], bytes]) -> Fault:
    async def fault(asked: Asked) -> bytes:
        return make(asked)

    return fault


NAN = [0x7FC0, 0, 0x7FC0, 0, 0xFFFF]

FAULTS: dict[str, tuple[Fault, GapCause]] = {
    "silence": (silent, GapCause.NO_REPLY),
    **{f"exception {c}": (says(lambda a, c=c: a.exception(c)), GapCause.REFUSED) for c in (1, 3, 7, 8, 9)},  # type: ignore[misc]
    **{f"exception {c}": (says(lambda a, c=c: a.exception(c)), GapCause.NO_REPLY) for c in (4, 10, 11)},  # type: ignore[misc]
    **{f"exception {c}": (says(lambda a, c=c: a.exception(c)), GapCause.BUSY) for c in (5, 6)},  # type: ignore[misc]
    "wrong unit": (says(lambda a: a.reply(unit=9)), GapCause.BAD_REPLY),
    "wrong function": (says(lambda a: a.reply(function=3)), GapCause.BAD_REPLY),
    "a word short": (says(lambda a: a.reply(words=a.words[:-1])), GapCause.BAD_REPLY),
    "a word too many": (says(lambda a: a.reply(words=[*a.words, 0])), GapCause.BAD_REPLY),
    "a byte count that lies": (says(lambda a: a.reply(byte_count=8)), GapCause.BAD_REPLY),
    "cut short": (says(lambda a: a.reply()[:-3]), GapCause.BAD_REPLY),
    "garbage": (says(lambda a: bytes(range(200, 250))), GapCause.BAD_REPLY),
    "zeros": (says(lambda a: bytes(40)), GapCause.BAD_REPLY),
    "an id of the future": (says(lambda a: a.reply(tid=a.tid + 1)), GapCause.BAD_REPLY),
    "reset in mid frame": (reset_in_mid_frame, GapCause.LINK_DOWN),
}


@pytest.mark.parametrize(("fault", "cause"), FAULTS.values(), ids=FAULTS)
def test_each_fault_is_a_named_gap_and_the_next_poll_is_right_again(fault, cause):
    async def story() -> tuple[Watched, FakeMeter]:
        async with FakeMeter(words()) as far_end:
            far_end.faults = iter([None, fault])
            # 10,000 times real time: an hour's pause after a refusal passes in a third of a second.
            async with Watched(far_end.port, rate=10_000) as watched:
                await watched.until(lambda: len(watched.outcomes) >= 3)
                await watched.until(lambda: watched.causes.total() >= 3)
                known = len(watched.values)
                await watched.until(lambda: len(watched.values) >= known + 6)
            return watched, far_end

    watched, far_end = asyncio.run(story())
    assert watched.causes == {cause: 3}
    assert watched.values == RIGHT * (len(watched.values) // 3)
    frames = watched.driver.link.frames
    assert far_end.asked[1].raw in [f.request for f in frames]


def test_a_register_that_is_not_there_is_a_gap_of_its_own():
    async def refuse_voltage(asked: Asked) -> bytes:
        return asked.exception(2) if asked.address + asked.count > 4 else asked.reply()

    async def story() -> Watched:
        async with FakeMeter(words()) as far_end:
            far_end.always = refuse_voltage
            async with Watched(far_end.port) as watched:
                await watched.until(lambda: len(watched.outcomes) >= 9)
            return watched

    watched = asyncio.run(story())
    assert {(o.quantity, o.cause) for o in watched.outcomes if isinstance(o, Gap)} == {("voltage_l1", "refused")}
    assert set(watched.values) == set(RIGHT[:2])


def test_values_that_the_meter_does_not_have_are_gaps():
    sentinel = Register(Quantity.VOLTAGE_L1, "input:4", "u16", "V", 0.1, every_s=0.02, not_available=(0xFFFF,))

    async def story() -> Watched:
        async with FakeMeter() as far_end:
            far_end.always = says(lambda a: a.reply(words=NAN))
            async with Watched(far_end.port, meter(P, E, sentinel)) as watched:
                await watched.until(lambda: len(watched.outcomes) >= 6)
            return watched

    watched = asyncio.run(story())
    assert watched.values == []
    assert set(watched.causes) == {"not_available"}


@pytest.mark.parametrize("fault", [split_per_byte, says(lambda a: a.reply())], ids=["per byte", "whole"])
def test_a_frame_may_come_in_pieces(fault):
    async def story() -> Watched:
        async with FakeMeter(words()) as far_end:
            far_end.always = fault
            async with Watched(far_end.port) as watched:
                await watched.until(lambda: len(watched.outcomes) >= 9)
            return watched

    watched = asyncio.run(story())
    assert watched.causes == {}
    assert watched.values[:9] == RIGHT * 3


def test_two_frames_glued_are_the_answer_and_one_that_nobody_asked_for():
    async def glued(asked: Asked) -> bytes:
        return asked.reply() + asked.reply(words=[0x4600] * asked.count)

    async def story() -> tuple[Watched, int]:
        async with FakeMeter(words()) as far_end:
            far_end.faults = iter(repeat(glued, 3))
            async with Watched(far_end.port) as watched:
                await watched.until(lambda: len(watched.outcomes) >= 15)
            return watched, far_end.connections

    watched, connections = asyncio.run(story())
    assert watched.values[:15] == RIGHT * 5
    assert watched.causes == {}
    assert connections == 4  # each surplus frame makes the stream one that cannot be trusted


def test_a_late_reply_never_becomes_a_value():
    """2,000 polls, one in twenty answered only while the next question waits: with what was true one poll earlier.

    Every poll has a power of its own, so a value that belongs to another poll shows.
    """
    polls, wrong, late, gaps, cut = 2_000, 0, 0, 0, 0

    async def story() -> None:
        nonlocal wrong, late, gaps, cut
        far_end = FakeMeter()
        held: list[bytes] = []
        expected: list[float] = []

        async def sometimes_late(asked: Asked) -> bytes | None:
            nonlocal late
            n = len(expected)
            expected.append(float(n))
            reply = asked.reply(words=list(struct.unpack(">HH", struct.pack(">f", float(n)))))
            if n % 20 == 7:
                held.append(reply)
                return None
            if held:
                late += 1
                # Sometimes alone in front, sometimes glued, sometimes cut through the middle.
                before = held.pop()
                if n % 3 == 0:
                    asked.wire.write(before[:5])
                    await asyncio.sleep(0.001)
                    return before[5:] + reply
                return before + reply
            return reply

        far_end.always = sometimes_late
        async with far_end:
            driver = modbus_on(lan(far_end.port, timeout_s=0.005), lambda: 0)
            (request,) = requests(meter(P))
            while len(expected) < polls:
                try:
                    (outcome,) = await driver.read(request)
                except NoReply:
                    gaps += 1
                except BadReply as error:  # the machine was busy just while a late reply stood cut in two
                    assert "stopped after 5 bytes" in str(error)  # noqa: PT017
                    cut += 1
                else:
                    assert isinstance(outcome, Reading)
                    wrong += outcome.value != expected[-1]
            await driver.close()

    asyncio.run(story())
    assert wrong == 0
    assert late == 100
    assert gaps >= 100  # each late one, and whatever this machine was too slow for
    assert cut <= 20


def test_a_late_reply_to_one_device_is_not_anothers():
    """Behind one gateway: the silent device's answer arrives during its neighbour's question."""
    slow, quick = meter(P, device="slow", unit=1), meter(P, device="quick", unit=2)

    async def story() -> Watched:
        held: list[bytes] = []

        async def tell(asked: Asked) -> bytes | None:
            if asked.unit == 1:
                held.append(asked.reply(words=[0x4640, 0xE400]))
                return None
            late, held[:] = b"".join(held), []
            return late + asked.reply(words=[0x447A, 0])

        async with FakeMeter() as far_end:
            far_end.always = tell
            async with Watched(far_end.port, slow, quick, timeout_s=0.03, rate=100) as watched:
                await watched.until(lambda: watched.causes["no_reply"] >= 4)
            return watched

    watched = asyncio.run(story())
    assert {(o.device, o.value) for o in watched.outcomes if isinstance(o, Reading)} == {("quick", 1000.0)}
    missing = {o.device for o in watched.outcomes if isinstance(o, Gap)}
    assert "slow" in missing  # and "quick" where this machine was too slow for it


def test_a_dead_device_does_not_take_its_neighbours_along():
    dead, live = meter(P, E, U, device="dead", unit=1), meter(P, E, U, device="live", unit=2)

    async def only_two(asked: Asked) -> bytes | None:
        return asked.reply() if asked.unit == 2 else None

    async def story() -> tuple[Watched, FakeMeter]:
        async with FakeMeter(words()) as far_end:
            far_end.always = only_two
            async with Watched(far_end.port, dead, live, timeout_s=0.05) as watched:
                await asyncio.sleep(1.5)
            return watched, far_end

    watched, far_end = asyncio.run(story())
    asked = Counter(a.unit for a in far_end.asked)
    assert asked[1] == 1  # then it is left alone for 15 s
    assert asked[2] > 30
    assert far_end.connections == 1
    assert [p.device for p in watched.poller.plan.pauses()] == ["dead"]


def test_a_link_that_comes_and_goes_is_told_once_each_and_recovers():
    async def story() -> tuple[Watched, list[LinkState]]:
        far_end = FakeMeter(words())
        await far_end.start()
        async with Watched(far_end.port, meter(P, device="a"), meter(E, device="b", unit=2)) as watched:
            await watched.until(lambda: len(watched.values) >= 4)
            await far_end.stop()
            await watched.until(lambda: watched.causes["link_down"] >= 4)
            assert not watched.poller.state.up
            assert watched.poller.state.next_try_ms is not None
            await far_end.start(far_end.port)
            known = len(watched.values)
            await watched.until(lambda: len(watched.values) >= known + 4)
            await far_end.stop()
            return watched, watched.states

    with structlog.testing.capture_logs() as logs:
        watched, states = asyncio.run(story())
    assert [s.up for s in states[:2]] == [False, True]
    assert "127.0.0.1" in states[0].detail
    assert {o.device for o in watched.outcomes if isinstance(o, Gap)} == {"a", "b"}  # nobody on the link can be heard
    said = [entry["event"] for entry in logs]
    assert said[:3].count("link up") == 1
    assert len(said) <= 5


def test_a_connection_refused_at_the_start_is_a_link_that_is_down(free_port):
    async def story() -> Watched:
        async with Watched(free_port) as watched:
            await watched.until(lambda: watched.causes["link_down"] >= 6)
        return watched

    watched = asyncio.run(story())
    assert set(watched.causes) == {"link_down"}
    assert [s.up for s in watched.states] == [False]


def test_a_connection_that_the_far_end_closes_after_each_answer_costs_no_poll():
    async def once(asked: Asked) -> None:
        asked.wire.write(asked.reply())
        await asked.wire.drain()
        asked.wire.close()

    async def story() -> Watched:
        async with FakeMeter(words()) as far_end:
            far_end.always = once
            async with Watched(far_end.port) as watched:
                await watched.until(lambda: len(watched.outcomes) >= 15)
            return watched

    watched = asyncio.run(story())
    assert watched.causes == {}


def test_a_connection_that_has_gone_deaf_is_made_anew():
    """Half open: the far end is gone and nobody said so."""

    async def deaf_on_the_first(asked: Asked) -> bytes | None:
        return None if asked.wire is first[0] else asked.reply()

    first: list[asyncio.StreamWriter] = []

    async def remember(asked: Asked) -> bytes | None:
        first[:] = first or [asked.wire]
        return await deaf_on_the_first(asked)

    async def story() -> tuple[Watched, int]:
        async with FakeMeter(words()) as far_end:
            far_end.always = remember
            async with Watched(far_end.port, timeout_s=0.03, rate=1000) as watched:
                await watched.until(lambda: len(watched.values) >= 3)
            return watched, far_end.connections

    watched, connections = asyncio.run(story())
    assert watched.causes == {"no_reply": 9}
    assert connections == 2


def test_a_live_reading_is_served_between_polls_also_of_a_device_that_is_left_alone():
    other = meter(P, device="m2", unit=2)

    async def story() -> tuple[Sequence[Outcome], Sequence[Outcome], Watched]:
        async with FakeMeter(words()) as far_end:
            far_end.faults = iter([silent])
            slow = DeviceSpec("m1", "lan", 1, meter(P, E, U).profile, every_s=3600)
            async with Watched(far_end.port, slow, other) as watched:
                await watched.until(lambda: watched.causes["no_reply"] >= 3)
                found = await watched.poller.read_now("m1")
                nothing = await watched.poller.read_now("m9")
                return found, nothing, watched

    found, nothing, watched = asyncio.run(story())
    assert [(o.quantity, o.value) for o in found if isinstance(o, Reading)] == RIGHT
    assert nothing == []
    assert watched.poller.plan.pauses() == ()  # it answered
    assert all(o in watched.outcomes for o in found)


def test_a_confirmation_is_squeezed_in():
    slow = DeviceSpec("m1", "lan", 1, meter(P, E, U).profile, every_s=3600)

    async def story() -> Watched:
        async with FakeMeter(words()) as far_end, Watched(far_end.port, slow) as watched:
            await watched.until(lambda: len(watched.values) >= 3)
            watched.poller.confirm(["m1", "m1", "nobody"])
            await watched.until(lambda: len(watched.values) >= 6)
            await asyncio.sleep(0.1)
            return watched

    assert asyncio.run(story()).values == RIGHT * 2


class Moody:
    """A driver that raises what it is given, then answers; it never waits, and cannot be closed."""

    def __init__(self, moods: Iterator[Exception | None]) -> None:
        self.moods = moods
        self.closed = 0

    async def read(self, request: Request) -> Sequence[Outcome]:
        error = next(self.moods)
        if error is not None:
            raise error
        return [Reading(request.device, q, 1.0, 1.0, 0, None) for q in request.quantities]

    async def close(self) -> None:
        self.closed += 1
        raise RuntimeError("and closing fails too")


def test_the_task_survives_whatever_a_driver_raises_and_says_it_once():
    raised = chain([KeyError("a bug")] * 5, [ValueError("another")] * 2, [MemoryError()], repeat(None))

    async def story() -> tuple[list[Outcome], Moody]:
        outcomes: list[Outcome] = []
        driver = Moody(raised)
        poller = Poller(
            "lan", driver, requests(meter(P)), clock=QuickClock(10_000), take=outcomes.extend, chance=lambda: 0.0
        )
        task = asyncio.create_task(poller.run())
        async with asyncio.timeout(10):
            while not any(isinstance(o, Reading) for o in outcomes):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return outcomes, driver

    with structlog.testing.capture_logs() as logs:
        outcomes, driver = asyncio.run(story())
    assert [type(o) for o in outcomes[:8]] == [Gap] * 8
    assert driver.closed >= 8
    bugs = [entry for entry in logs if entry["event"] == "driver bug" and "device" in entry]
    assert len(bugs) == 3  # one each, not one a poll
    assert [entry["event"] for entry in logs][-1] in {"device answers again", "driver bug"}


def test_silence_is_logged_when_it_begins_and_when_it_ends():
    async def story() -> None:
        async with FakeMeter(words()) as far_end:
            far_end.faults = chain([None], repeat(silent, 4))
            async with Watched(far_end.port, timeout_s=0.03, rate=1000) as watched:
                await watched.until(lambda: len(watched.values) >= 6)

    with structlog.testing.capture_logs() as logs:
        asyncio.run(story())
    assert [(e["event"], e["device"]) for e in logs] == [("device fails", "m1"), ("device answers again", "m1")]
    assert logs[0]["cause"] == "no_reply"
    assert "unit 1 kept silent" in logs[0]["detail"]


def test_polls_come_on_the_grid_of_utc():
    """Every outcome of a meter that answers at once lies within a breath of its slot."""

    async def story() -> Watched:
        async with FakeMeter(words()) as far_end, Watched(far_end.port, meter(_every(0.2))) as watched:
            await watched.until(lambda: len(watched.values) >= 6)
            return watched

    late_ms = [o.bt_ms % 200 for o in asyncio.run(story()).outcomes][1:]
    assert len(late_ms) >= 5
    assert sorted(late_ms)[len(late_ms) // 2] < 60


def _every(every_s: float) -> Register:
    return Register(Quantity.ACTIVE_POWER, "input:0", "f32", "W", every_s=every_s)


def test_frames_of_the_hand_written_meter_are_the_standards():
    assert mbap(0x1501, 0xFF, bytes.fromhex("03 0004 0001")) == bytes.fromhex("1501 0000 0006 FF 03 0004 0001")
