"""Which meters are asked for their logs, when, and what becomes of an answer, a refusal, a silence, and a bug."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import pytest

from edge_agent.app.witnessing import AGAIN_MS, EVERY_MS, OVERLAP_MS, REFUSED_MS, Witnessing
from edge_agent.core import Core
from edge_agent.load.ledger import LoadLedger
from edge_agent.model import ClockQuality, ClockState, Identity, MeterEvent, Ms, Outcome, Quantity, Reading
from edge_agent.poller import Poller
from edge_agent.ports import DriverError, LinkDown, NoReply, Refused
from simulator.line.virtual import run_virtual
from tests.ledger_bench import TEN, point
from tests.on_paper import MINUTE_MS, archive_of, published

ROSE = {"m1": {"cover_open": 1}}


class Desk:
    """A core with one meter, somebody who asks, and a driver that does as told."""

    def __init__(self, answer: Callable[[], Sequence[MeterEvent]], *, logs: bool = False) -> None:
        releases, topics = published()
        ledger = LoadLedger([point(has_serial=True)])
        self.core = Core(ledger, list(topics.values()), releases, archive_of({}), gateway="gw-1")
        self.answer = answer
        self.asked: list[tuple[Ms, Mapping[str, int]]] = []
        self.witnessing = Witnessing(self.core, lambda _: cast(Poller, self), ["m1"] if logs else [])

    async def logged(self, device: str, since_ms: Ms, rose: Mapping[str, int]) -> Sequence[MeterEvent]:
        assert device == "m1"
        self.asked.append((since_ms, dict(rose)))
        await asyncio.sleep(0)
        return self.answer()

    async def follow(self, now_ms: Ms, rose: Mapping[str, Mapping[str, int]] = ROSE) -> None:
        self.witnessing.follow(rose, now_ms)
        for _ in range(5):
            await asyncio.sleep(0)

    def read(self, at_ms: Ms, value: int) -> list[str]:
        core = self.core
        core.witness.identify(Identity("m1", Quantity.METER_SERIAL, "123", at_ms, None), at_ms)
        core.witness.feed([(Reading("m1", Quantity.EVENTS_COVER, float(value), 1.0, at_ms, None), at_ms)])
        return [s.measured["said_by"] for s in core.settle(at_ms).steps if s.topic == "met-cover"]


def refuses(error: DriverError) -> Callable[[], Sequence[MeterEvent]]:
    def answer() -> Sequence[MeterEvent]:
        raise error

    return answer


def test_a_log_is_asked_for_where_a_counter_rose_and_its_entry_is_told_with_it():
    async def story() -> None:
        desk = Desk(lambda: [MeterEvent("m1", "cover_open", TEN + 7 * MINUTE_MS)])
        assert desk.read(TEN, 3) == []
        await desk.follow(TEN, {})
        assert desk.asked == []
        assert desk.read(TEN + 15 * MINUTE_MS, 4) == []
        assert desk.core.witness.rose() == ROSE
        await desk.follow(TEN + 15 * MINUTE_MS)
        assert desk.asked == [(TEN + 15 * MINUTE_MS - OVERLAP_MS, {"cover_open": 1})]
        assert desk.read(TEN + 15 * MINUTE_MS + 10_000, 4) == ["counter, log"]

    run_virtual(story())


@pytest.mark.parametrize(
    ("error", "again_ms"),
    [
        (Refused("no log"), REFUSED_MS),
        (NoReply("silent"), AGAIN_MS),
        (LinkDown("gone"), AGAIN_MS),
    ],
)
def test_a_log_that_cannot_be_read_holds_nothing_up_and_is_asked_for_again(error: DriverError, again_ms: Ms):
    async def story() -> None:
        desk = Desk(refuses(error))
        desk.read(TEN, 3)
        desk.read(TEN + 15 * MINUTE_MS, 4)
        await desk.follow(TEN + 15 * MINUTE_MS)
        assert desk.read(TEN + 15 * MINUTE_MS + 10_000, 4) == ["counter"]
        await desk.follow(TEN + 15 * MINUTE_MS + again_ms - 1)
        assert len(desk.asked) == 1
        await desk.follow(TEN + 15 * MINUTE_MS + again_ms)
        assert len(desk.asked) == 2

    run_virtual(story())


def test_a_meter_that_keeps_silent_is_asked_ever_less():
    async def story() -> None:
        desk = Desk(refuses(NoReply("silent")), logs=True)
        for minute in range(24 * 60):
            await desk.follow(TEN + minute * MINUTE_MS, {})
        assert 24 < len(desk.asked) < 36, "after 1, 2, 4 ... 32 minutes, then every hour"

    run_virtual(story())


def test_a_mistake_in_a_driver_is_no_end_of_the_asking():
    async def story() -> None:
        def broken() -> Sequence[MeterEvent]:
            raise KeyError("bug")

        desk = Desk(broken)
        desk.read(TEN, 3)
        desk.read(TEN + 15 * MINUTE_MS, 4)
        await desk.follow(TEN + 15 * MINUTE_MS)
        assert desk.read(TEN + 15 * MINUTE_MS + 10_000, 4) == ["counter"]
        desk.answer = list
        await desk.follow(TEN + 15 * MINUTE_MS + AGAIN_MS)
        assert len(desk.asked) == 2

    run_virtual(story())


def test_a_meter_that_keeps_a_log_of_everything_is_asked_every_hour():
    async def story() -> None:
        entries: list[MeterEvent] = []
        desk = Desk(lambda: entries, logs=True)
        for minute in range(3 * 60):
            await desk.follow(TEN + minute * MINUTE_MS, {})
        assert [at_ms for at_ms, _ in desk.asked] == [TEN - OVERLAP_MS, TEN - OVERLAP_MS, TEN]
        entries.append(MeterEvent("m1", "cover_open", TEN + 170 * MINUTE_MS))
        desk.core.witness.identify(Identity("m1", Quantity.METER_SERIAL, "123", 0, None), TEN + 3 * EVERY_MS)
        await desk.follow(TEN + 3 * EVERY_MS, {})
        steps = desk.core.settle(TEN + 3 * EVERY_MS).steps
        assert [(s.topic, s.origin, s.measured["said_by"]) for s in steps] == [("met-cover", "meter", "log")]

    run_virtual(story())


def test_nobody_to_ask_is_no_hindrance():
    async def story() -> None:
        desk = Desk(list)
        desk.witnessing = Witnessing(desk.core, lambda _: None)
        desk.read(TEN, 3)
        desk.read(TEN + 15 * MINUTE_MS, 4)
        await desk.follow(TEN + 15 * MINUTE_MS)
        assert desk.read(TEN + 15 * MINUTE_MS + 10_000, 4) == ["counter"]

    run_virtual(story())


# -- through the one who speaks on the link


class Clock:
    def now_ms(self) -> Ms:
        return round(asyncio.get_running_loop().time() * 1000)

    def state(self) -> ClockState:
        return ClockState(ClockQuality.SYNCED, 0, 0)

    async def sleep_until(self, bt_ms: Ms) -> None:
        await asyncio.sleep(max(0.0, bt_ms / 1000 - asyncio.get_running_loop().time()))


class Silent:
    """A driver that reads nothing, and has a log."""

    async def read(self, request: Any) -> Sequence[Outcome]:
        return []

    async def close(self) -> None: ...


class Keeps(Silent):
    async def logged(self, device: str, since_ms: Ms, rose: Mapping[str, int]) -> Sequence[MeterEvent]:
        if device == "broken":
            raise KeyError(device)
        return [MeterEvent(device, code, since_ms + n) for code, n in rose.items()]


def test_the_poller_asks_for_a_log_when_nothing_else_is_due():
    async def story() -> None:
        for driver in (Keeps(), Silent()):
            poller = Poller("bus", driver, (), clock=Clock(), take=lambda _: None, chance=lambda: 0.5)
            task = asyncio.create_task(poller.run())
            if isinstance(driver, Keeps):
                assert await poller.logged("m1", 100, {"magnetic": 2}) == [MeterEvent("m1", "magnetic", 102)]
                with pytest.raises(DriverError):
                    await poller.logged("broken", 100, {})
            else:
                with pytest.raises(Refused, match="reads no event log"):
                    await poller.logged("m1", 100, {})
                with pytest.raises(Refused, match="reads no load profile"):
                    await poller.recorded("m1", 0, 100)
            assert not task.done()
            task.cancel()
            await asyncio.wait((task,))

    run_virtual(story())
