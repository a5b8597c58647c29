"""Many meters on one line: no late answer becomes a value, no dead device takes its neighbours along."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from drivers.link import CarrierLink
from drivers.modbus import requests
from edge_agent.fieldbus import FieldLine
from edge_agent.model import DeviceSpec, Outcome, Reading
from edge_agent.poller import Poller
from edge_agent.ports import DriverError
from tests.rtu_line import E32, F16, P32, R32, U16, Bus, LoopClock, Question, RtuLine, Said, bus, unit, virtually


class Lateness:
    """Units that mostly answer in time. `in_turn`: a late answer holds up those behind it; else they overtake it."""

    def __init__(self, seed: int, share: float, longest_s: float, *, in_turn: bool) -> None:
        self.chance = Random(seed)
        self.share = share
        self.longest_s = longest_s
        self.in_turn = in_turn
        self.late = 0
        self.lost = 0
        self._free_s: dict[int, float] = {}

    def __call__(self, question: Question) -> Said:
        now_s = asyncio.get_running_loop().time()
        after_s = 0.02 + 0.03 * self.chance.random()
        if self.chance.random() < self.share:
            self.late += 1
            after_s = 0.3 + self.longest_s * self.chance.random() ** 2
        elif self.chance.random() < 0.01:
            self.lost += 1
            return []
        if self.in_turn:
            after_s = max(after_s, self._free_s.get(question.unit, 0.0) - now_s + 0.01)
            self._free_s[question.unit] = now_s + after_s
        return [(question.numbered(), after_s)]


FLEET = [unit(n, E32, P32, U16, F16, R32) for n in range(1, 5)] + [unit(5, P32), unit(6, U16), unit(7, E32, P32)]
LONELY = [unit(1, E32, P32, U16, F16)]


def hammer(
    lateness: Lateness, polls: int, *, fleet: list[DeviceSpec] = FLEET, guarded: bool = True, pause_s: float = 0.5
) -> Counter[str]:
    """Ask everything again and again, without the poller's pauses; every register holds its question's number."""

    async def story() -> Counter[str]:
        seen: Counter[str] = Counter()
        there = Bus(lateness, timeout_s=0.3)
        if not guarded:
            owed = there.driver._session.owed  # type: ignore[union-attr]
            owed.owes = owed.owes_refusal = lambda *_: False  # type: ignore[method-assign]
            owed.is_free = lambda *_: True  # type: ignore[method-assign]
            there.driver._session.settle = lambda *_: True  # type: ignore[method-assign]
        planned = [r for d in fleet for r in requests(d)]
        while len(there.line.asked) < polls:
            for request in planned:
                first = len(there.line.asked)
                got = await there.read(request)
                if isinstance(got, DriverError):
                    seen[type(got).__name__] += 1
                    await asyncio.sleep(pause_s)
                    continue
                numbers = {q.number for _, q in there.line.asked[first:] if q.unit == request.unit}
                for outcome in got:
                    if isinstance(outcome, Reading):
                        scale = {"voltage_l1": 0.1, "current_n": 0.01}.get(outcome.quantity, 0)
                        raw = round(outcome.value / scale) if scale else int(outcome.value) & 0xFFFF
                        seen["right" if raw in {n & 0xFFFF for n in numbers} else "WRONG"] += 1
                    else:
                        seen["gap"] += 1
        seen["late"], seen["asked"] = lateness.late, len(there.line.asked)
        return seen

    return virtually(story())


@pytest.mark.parametrize("in_turn", [True, False], ids=["in turn", "overtaken"])
@pytest.mark.parametrize(("share", "longest_s"), [(0.04, 1.0), (0.04, 8.0), (0.3, 3.0)])
def test_no_late_answer_ever_becomes_a_value(in_turn, share, longest_s):
    """10,000 questions each way, asked without a pause: the worst there is, since the poller waits 15 s after one."""
    seen = hammer(Lateness(7, share, longest_s, in_turn=in_turn), 10_000)
    assert seen["WRONG"] == 0
    assert seen["late"] > 300
    assert seen["right"] > 1_000


@pytest.mark.parametrize("in_turn", [True, False], ids=["in turn", "overtaken"])
def test_the_only_meter_of_a_line_is_asked_at_once_again_and_is_right(in_turn):
    seen = hammer(Lateness(3, 0.04, 4.0, in_turn=in_turn), 10_000, fleet=LONELY, pause_s=0.3)
    assert seen["WRONG"] == 0
    assert seen["late"] > 200
    assert seen["right"] > 1_000


@pytest.mark.parametrize("in_turn", [True, False], ids=["in turn", "overtaken"])
def test_without_the_guard_late_answers_do_become_values(in_turn):
    """That the tests above can fail: the same line, and a driver that only drains."""
    seen = hammer(Lateness(3, 0.04, 4.0, in_turn=in_turn), 10_000, fleet=LONELY, pause_s=0.02, guarded=False)
    assert seen["WRONG"] > 50


# --- sixteen on one line


class Sixteen:
    """Sixteen units on a line at 9600 baud, polled by plan; those in `silent` do not answer."""

    def __init__(self, silent: set[int], *, every_s: float = 15.0, timeout_s: float = 1.0) -> None:
        self.silent = silent
        self.line = RtuLine(lambda q: [] if q.unit in self.silent else [(q.numbered(), 0.03)])
        spec = bus(timeout_s=timeout_s)
        clock = LoopClock()
        link = CarrierLink(self.line, spec, now_ms=clock.now_ms)
        devices = [unit(n, E32, P32, U16, every_s=every_s) for n in range(1, 17)]
        self.field = FieldLine(spec, link, devices, clock.now_ms)
        self.outcomes: list[Outcome] = []
        self.poller = Poller(
            "bus", self.field, self.field.requests, clock=clock, take=self.outcomes.extend, chance=lambda: 0.5
        )

    async def run(self, seconds: float) -> None:
        task = asyncio.create_task(self.poller.run())
        await asyncio.sleep(seconds)
        assert not task.done()
        task.cancel()
        await asyncio.wait((task,))

    def readings(self, quantity: str = "active_power") -> Counter[str]:
        return Counter(o.device for o in self.outcomes if isinstance(o, Reading) and o.quantity == quantity)


@pytest.mark.parametrize(
    "silent", [set(), {5}, {3, 9, 16}, set(range(2, 17))], ids=["none", "one", "three", "all but one"]
)
def test_a_dead_device_costs_the_rest_at_most_one_time_out_for_each_pause(silent):
    """One hour of a poll every 15 s: 240 each, whoever is dead; and no device's question is ever late by more than the
    time-outs that fall together."""

    async def story() -> Sixteen:
        there = Sixteen(set(silent))
        await there.run(3600)
        return there

    there = virtually(story())
    tries = Counter(q.unit for _, q in there.line.asked)
    pauses = 1 + 5 + (3600 - 465) // 300  # 0, 15, 45, 105, 225, 465 s, then every five minutes
    assert all(tries[number] <= pauses + 1 for number in silent)
    assert {f"m{n}" for n in silent} == {p.device for p in there.poller.plan.pauses()}
    living = there.readings()
    assert len(living) == 16 - len(silent)
    # While several are found dead at the start, polls fall out; a time-out of one second each.
    assert min(living.values()) >= 240 - (2 if len(silent) > 3 else 1)
    assert max(living.values()) <= 241
    late_s = [o.bt_ms / 1000 % 15 for o in there.outcomes if isinstance(o, Reading) and o.bt_ms > 1_020_000]
    assert max(late_s) < 16 * 0.12 + 1.0 * len(silent) + 0.5


def is_up(there: Sixteen) -> bool:
    return there.poller.state.up


def test_devices_that_come_back_are_read_as_before():
    async def story() -> tuple[Sixteen, Counter[str]]:
        there = Sixteen({4, 8})
        task = asyncio.create_task(there.poller.run())
        await asyncio.sleep(1000)
        there.silent.clear()
        await asyncio.sleep(400)
        there.outcomes.clear()
        await asyncio.sleep(900)
        task.cancel()
        await asyncio.wait((task,))
        return there, there.readings()

    there, readings = virtually(story())
    assert there.poller.plan.pauses() == ()
    assert set(readings.values()) <= {60, 61}
    assert len(readings) == 16


def test_a_line_that_is_cut_is_not_sixteen_dead_devices():
    async def story() -> Sixteen:
        there = Sixteen(set())
        task = asyncio.create_task(there.poller.run())
        await asyncio.sleep(100.005)
        start = there.line.start

        def gone(on_bytes: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None:
            raise OSError(19, "No such device")

        there.line.start = gone  # type: ignore[method-assign]
        there.line.cut()
        await asyncio.sleep(60)
        assert not is_up(there)
        assert there.poller.plan.pauses() == ()
        there.line.start = start  # type: ignore[method-assign]
        await asyncio.sleep(120)
        assert is_up(there)
        there.outcomes.clear()
        await asyncio.sleep(300)
        task.cancel()
        await asyncio.wait((task,))
        return there

    assert set(virtually(story()).readings().values()) <= {20, 21}


def test_a_line_that_cannot_keep_up_skips_and_never_bursts():
    """Sixteen meters a second are more than 9600 baud can carry: each is asked as often as the others, and in no slot
    twice."""

    async def story() -> Sixteen:
        there = Sixteen(set(), every_s=1.0)
        await there.run(600)
        return there

    there = virtually(story())
    readings = there.readings()
    assert len(readings) == 16
    assert max(readings.values()) - min(readings.values()) <= 2
    for number in range(1, 17):
        slots = [int(at_s) for at_s, q in there.line.asked if q.unit == number]
        assert len(slots) == len(set(slots))
