"""The task that asks meters what they recorded: when, in which pieces, how often, and what becomes of a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from itertools import pairwise
from typing import Any

from edge_agent.app.backfilling import AGAIN_MS, ATTEMPTS, CHUNK_MS, SETTLED_MS, BackFilling
from edge_agent.core import Core
from edge_agent.load.ledger import LoadLedger
from edge_agent.load.views import Interval, Source
from edge_agent.model import DeviceId, Ms, Outcome, Recorded, Request
from edge_agent.poller import Poller
from edge_agent.ports import DriverError, LinkDown, NoReply, Refused
from tests.ledger_bench import EP, TEN, point
from tests.on_paper import DAY_MS, MINUTE_MS, archive_of
from tests.rtu_line import LoopClock, virtually

QUARTER_MS = 15 * MINUTE_MS
Answer = Callable[[Ms, Ms], Sequence[Recorded]]


def entries(since_ms: Ms, until_ms: Ms) -> list[Recorded]:
    """What a meter with 500 Wh in each quarter hour has written down at (since, until]."""
    first = since_ms // QUARTER_MS + 1
    return [
        Recorded("m1", EP, "register", 500.0 * n, 10.0, n * QUARTER_MS, QUARTER_MS, (), None)
        for n in range(first, until_ms // QUARTER_MS + 1)
    ]


class Meter:
    """A driver whose device keeps a load profile; nothing of it is polled."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[tuple[Ms, Ms]] = []
        self._answer = answer

    async def read(self, request: Request) -> Sequence[Outcome]:
        raise AssertionError("nothing is planned here")

    async def recorded(self, device: DeviceId, since_ms: Ms, until_ms: Ms) -> Sequence[Recorded]:
        assert device == "m1"
        self.asked.append((since_ms, until_ms))
        await asyncio.sleep(0.1)
        return self._answer(since_ms, until_ms)

    async def close(self) -> None: ...


class WithoutProfile:
    """A driver that reads no load profile."""

    async def read(self, request: Request) -> Sequence[Outcome]:
        raise AssertionError("nothing is planned here")

    async def close(self) -> None: ...


class Site:
    """One point whose readings have a gap, the poller of its link, and the task."""

    def __init__(self, driver: Any, periods: int = 4) -> None:
        self.end_ms = TEN + periods * QUARTER_MS
        self.core = Core(LoadLedger([point(has_profile=True)]), [], {}, archive_of({}), gateway="gw-1")
        gap = Interval("p", TEN, self.end_ms, False, None, None, self.end_ms, periods, "gap")
        assert self.core.gaps.pass_on([gap], self.end_ms) == []
        self.poller = Poller("bus", driver, (), clock=LoopClock(), take=lambda found: None, chance=lambda: 0.5)
        self.task = BackFilling(self.core, lambda device: self.poller if device == "m1" else None)

    async def follow(self, now_ms: Ms, for_s: float = 5.0) -> list[Interval]:
        """One tick, and what could be judged some time later."""
        self.task.follow(self.core.gaps.missing(), now_ms)
        await asyncio.sleep(for_s)
        return self.core.gaps.pass_on([], now_ms)


def at_a_site(driver: Any, story: Callable[[Site], Coroutine[Any, Any, None]], periods: int = 4) -> None:
    async def run() -> None:
        site = Site(driver, periods)
        polling = asyncio.create_task(site.poller.run())
        try:
            await story(site)
        finally:
            site.task.stop()
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)

    virtually(run())


def known(intervals: Sequence[Interval]) -> list[Ms]:
    return [i.end_ms for i in intervals if i.register is not None and i.register.source is Source.PROFILE]


def test_a_gap_is_asked_for_once_its_last_period_can_be_written_and_is_filled():
    meter = Meter(entries)

    async def story(site: Site) -> None:
        assert await site.follow(site.end_ms + SETTLED_MS - 1) == []
        assert meter.asked == []
        found = await site.follow(site.end_ms + SETTLED_MS)
        assert meter.asked == [(TEN - QUARTER_MS, site.end_ms)], "with the register before the first period"
        assert known(found) == [TEN + n * QUARTER_MS for n in (1, 2, 3, 4)]
        assert site.core.gaps.missing() == []

    at_a_site(meter, story)


def test_days_are_asked_for_one_by_one():
    meter = Meter(entries)

    async def story(site: Site) -> None:
        found = await site.follow(site.end_ms + SETTLED_MS)
        assert len(known(found)) == 250
        edges = [TEN - QUARTER_MS + n * CHUNK_MS for n in range(3)] + [site.end_ms]
        assert meter.asked == list(pairwise(edges))

    assert CHUNK_MS == DAY_MS
    at_a_site(meter, story, periods=250)


def test_what_is_not_written_yet_is_asked_for_again_and_after_that_the_rest_is_lost():
    """The meter never writes the last period: the others are taken at the last attempt."""
    meter = Meter(lambda since_ms, until_ms: entries(since_ms, until_ms)[:-1])

    async def story(site: Site) -> None:
        now_ms = site.end_ms + SETTLED_MS
        for _ in range(ATTEMPTS - 1):
            assert await site.follow(now_ms) == []
            assert await site.follow(now_ms + AGAIN_MS - 1) == [], "not before a minute has passed"
            now_ms += AGAIN_MS
        found = await site.follow(now_ms)
        assert len(meter.asked) == ATTEMPTS
        assert known(found) == [TEN + n * QUARTER_MS for n in (1, 2, 3)]
        assert [(i.start_ms, i.end_ms) for i in found if i.spans == "gap_not_recorded"] == [
            (site.end_ms - QUARTER_MS, site.end_ms)
        ]

    at_a_site(meter, story)


def refusing(error: DriverError) -> Meter:
    def answer(since_ms: Ms, until_ms: Ms) -> Sequence[Recorded]:
        raise error

    return Meter(answer)


def test_a_meter_that_refuses_is_given_up_at_once_and_so_is_a_driver_without_profiles():
    async def story(site: Site) -> None:
        found = await site.follow(site.end_ms + SETTLED_MS)
        assert [i.spans for i in found] == ["gap_refused"]

    at_a_site(refusing(Refused("no such object")), story)
    at_a_site(WithoutProfile(), story)


def test_silence_and_a_link_that_is_down_are_tried_again():
    for error in (NoReply("silent"), LinkDown("unplugged")):
        meter = refusing(error)

        async def story(site: Site, meter: Meter = meter) -> None:
            assert await site.follow(site.end_ms + SETTLED_MS) == []
            assert await site.follow(site.end_ms + SETTLED_MS + AGAIN_MS, for_s=70.0) == []
            assert len(meter.asked) == 2
            assert site.core.gaps.missing()

        at_a_site(meter, story)


def test_a_mistake_in_a_driver_ends_neither_the_poller_nor_the_task():
    meter = Meter(lambda since_ms, until_ms: entries(since_ms, until_ms + 1 // (len(meter.asked) - 1)))

    async def story(site: Site) -> None:
        assert await site.follow(site.end_ms + SETTLED_MS) == [], "divided by zero"
        assert len(known(await site.follow(site.end_ms + SETTLED_MS + AGAIN_MS))) == 4

    at_a_site(meter, story)
