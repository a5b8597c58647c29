"""Never a wrong value: a mixed line on which answers come late, corrupted or not at all, and what is accepted of them.

The agent's own poller and drivers, and after them a client as most are: it sends, waits, tries again, and takes the
first answer whose sender, function, length and checksum are right. EDGE_PROVE_POLLS and EDGE_PROVE_PTY_POLLS say how
many polls: questions that reached a device and were answered there, well or not.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from drivers.link import CarrierLink
from edge_agent.fieldbus import FieldLine, open_line
from edge_agent.model import LinkSpec, Outcome, Request
from edge_agent.poller import Poller
from edge_agent.ports import DriverError
from simulator.clock import ScaledClock, boot_ms
from simulator.line.carrier import Carrier
from simulator.line.plan import LinePlan, StationPlan
from simulator.line.pty import PtyLine
from simulator.line.station import LineClock, seat
from simulator.line.uart import Format
from simulator.line.virtual import LoopClock, run_virtual
from simulator.line.wire import PacedLine
from tests import figures
from tests.lines import T0
from tests.rtu_line import LoopClock as BootClock
from tests.telltale import DEVICES, Book, Poll, Trouble, Troubled, polls

POLLS = int(os.environ.get("EDGE_PROVE_POLLS", "2000"))
PTY_POLLS = int(os.environ.get("EDGE_PROVE_PTY_POLLS", "150"))

FORM = Format(9600, "E")
TIMEOUT_S = 0.5
RETRIES = 3
"""What the client that trusts checksums does after a time-out, as the common library does by default."""


class Witness:
    """A driver whose values are judged by the book before anybody else sees them."""

    def __init__(self, field: FieldLine, book: Book) -> None:
        self._field = field
        self._book = book

    async def read(self, request: Request) -> Sequence[Outcome]:
        page = self._book.page
        try:
            found = await self._field.read(request)
        except DriverError as error:
            self._book.seen[type(error).__name__] += 1
            self._book.seen["gap"] += len(request.registers)
            raise
        self._book.judge_all(found, page)
        return found

    async def close(self) -> None:
        await self._field.close()


class Desk:
    """A poller on a line, and somebody who asks for live readings one after another, of paused devices as well."""

    def __init__(self, field: FieldLine, book: Book, chance: Random, *, listens: bool) -> None:
        self.witness = Witness(field, book)
        self.book = book
        self.field = field
        self.poller = Poller(
            "bus", self.witness, field.requests, clock=BootClock(), take=lambda found: None, chance=chance.random,
            line=field if listens else None,
        )  # fmt: skip
        self._chance = chance

    async def by_plan(self, polls: int) -> float:
        """Poll as the plan says; the share of the readings that fell due and did not come."""
        began_s = asyncio.get_running_loop().time() + self.field.listens_s
        task = asyncio.create_task(self.poller.run())
        while self.book.page < polls:
            await asyncio.sleep(5.0)
            assert not task.done()
        lasted_s = asyncio.get_running_loop().time() - began_s
        due = sum(lasted_s / r.every_s * len(r.registers) for r in self.field.requests)
        came = self.book.seen["right"] + self.book.seen["WRONG"]
        await self._end(task)
        return 1 - came / due

    async def by_hand(self, polls: int, pause_s: float) -> float:
        """One live reading after another; the share of the readings asked for that did not come."""
        before = self.book.seen.copy()
        task = asyncio.create_task(self.poller.run())
        goal = self.book.page + polls
        while self.book.page < goal:
            await self.poller.read_now(self._chance.choice(DEVICES).id)
            await asyncio.sleep(pause_s)
        await self._end(task)
        seen = self.book.seen - before
        return seen["gap"] / (seen["gap"] + seen["right"] + seen["WRONG"])

    async def _end(self, task: asyncio.Task[None]) -> None:
        assert self.poller.state.up, self.poller.state.detail
        task.cancel()
        await asyncio.wait((task,))


async def agent_in_memory(trouble: Trouble, polls: int) -> tuple[Book, float, float]:
    loop = asyncio.get_running_loop()
    book, line = Book(), PacedLine(FORM)
    for number, device in enumerate(DEVICES):
        seat(Troubled(device.id, trouble, book, LoopClock(loop, T0), number), line, LoopClock(loop, T0))
    spec = LinkSpec("bus", "serial", path="-", baud=FORM.baud, parity=FORM.parity, timeout_s=TIMEOUT_S)
    clock = BootClock()
    link = CarrierLink(Carrier(line), spec, now_ms=clock.now_ms)
    desk = Desk(FieldLine(spec, link, DEVICES, clock.now_ms), book, trouble.chance, listens=True)
    lost_of_due = await desk.by_plan(polls // 2)
    desk.poller._line = None  # it has been listened to
    lost_by_hand = await desk.by_hand(polls - polls // 2, 0.5)
    book.seen["polls"] = book.page
    book.seen["collisions"] = line.counts.collisions
    return book, lost_of_due, lost_by_hand


async def trusting_in_memory(trouble: Trouble, count: int) -> Book:
    """The same line and registers; whatever answer comes first and is whole is taken."""
    loop = asyncio.get_running_loop()
    book, line = Book(), PacedLine(FORM)
    for number, device in enumerate(DEVICES):
        seat(Troubled(device.id, trouble, book, LoopClock(loop, T0), number), line, LoopClock(loop, T0))
    carrier, came, comes = Carrier(line), bytearray(), asyncio.Event()

    def take(data: bytes) -> None:
        came.extend(data)
        comes.set()

    carrier.start(take, lambda why: None)

    async def answered(poll: Poll) -> bytes | None:
        while not line.is_silent:  # noqa: ASYNC110 (virtual time)
            await asyncio.sleep(0.001)
        came.clear()
        carrier.write(poll.question)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while (frame := poll.accepts(bytes(came))) is None:
                    comes.clear()
                    await comes.wait()
        except TimeoutError:
            return None
        return frame

    asked = polls()
    while book.seen["polls"] < count:
        for poll in asked:
            book.seen["polls"] += 1
            page = book.page
            for _ in range(1 + RETRIES):
                if (frame := await answered(poll)) is not None:
                    for quantity, value in poll.read(frame):
                        book.judge(poll.device, quantity, value, page)
                    break
            else:
                book.seen["gap"] += len(poll.values)
    return book


def trouble_came(struck: Counter[str]) -> None:
    """That what had to be survived did happen, in the shares that were meant."""
    for what, of_a_hundred in (("late", 5), ("corrupted", 2), ("lost", 2)):
        assert struck[what] >= of_a_hundred * (struck["answers"] // 100) > 0, struck


@pytest.mark.timeout(7200)
def test_in_memory_nothing_wrong_is_accepted_and_a_client_that_trusts_checksums_accepts_some():
    trouble = Trouble(Random(645))
    book, lost_of_due, lost_by_hand = run_virtual(agent_in_memory(trouble, POLLS))
    seen = book.seen
    trouble_came(trouble.struck)
    trusted = Trouble(Random(645))
    trusting = run_virtual(trusting_in_memory(trusted, POLLS)).seen
    trouble_came(trusted.struck)
    figures.report(
        "in memory, 9600 8E1, 5 Modbus RTU and 3 DL/T 645 devices",
        polls=seen["polls"], late=trouble.struck["late"],
        corrupted=trouble.struck["corrupted"], lost=trouble.struck["lost"], collisions=seen["collisions"],
        values_right=seen["right"], values_WRONG=seen["WRONG"],
        readings_lost_by_plan=f"{lost_of_due:.1%}", readings_lost_of_those_asked_for_live=f"{lost_by_hand:.1%}",
    )  # fmt: skip
    figures.report(
        "the same line, a client that only checks sums",
        polls=trusting["polls"], values_right=trusting["right"], values_WRONG=trusting["WRONG"],
        readings_lost=f"{trusting['gap'] / (trusting['gap'] + trusting['right'] + trusting['WRONG']):.1%}",
    )  # fmt: skip
    assert seen["WRONG"] == 0
    assert seen["polls"] >= POLLS
    assert seen["right"] > 1.5 * seen["polls"]
    assert seen["NoReply"] > 0.05 * POLLS
    assert seen["BadReply"] > 0
    assert trusting["WRONG"] > trusting["polls"] / 200


@pytest.mark.timeout(7200)
def test_behind_a_pty_nothing_wrong_is_accepted():
    """In real time, through termios; the answers that are late come a quarter of a second to two seconds late."""
    form = Format(115200, "N")
    trouble, book = Trouble(Random(9), late_from_s=0.35, late_to_s=2.0), Book()

    def hang(device: str) -> Callable[[LineClock, int], Any]:
        return lambda clock, seed: Troubled(device, trouble, book, clock, seed)

    stations = tuple(StationPlan(device.id, device.id, hang(device.id)) for device in DEVICES)
    plan = LinePlan("bus", form, 1, stations, (), tuple)

    async def poll(path: str) -> float:
        spec = LinkSpec("bus", "serial", path=path, baud=form.baud, parity=form.parity, timeout_s=0.25)
        desk = Desk(open_line(spec, DEVICES, BootClock()), book, trouble.chance, listens=False)
        return await desk.by_hand(PTY_POLLS, 0.1)

    with PtyLine(plan, ScaledClock(T0, 1.0, boot_ms())) as line:
        lost = asyncio.run(poll(line.path))
    seen = book.seen
    figures.report(
        "behind a pty, 115200 8N1, the same devices",
        polls=book.page, late=trouble.struck["late"],
        corrupted=trouble.struck["corrupted"], lost=trouble.struck["lost"], values_right=seen["right"],
        values_WRONG=seen["WRONG"], readings_lost_of_those_asked_for_live=f"{lost:.1%}",
    )  # fmt: skip
    trouble_came(trouble.struck)
    assert seen["WRONG"] == 0
    assert book.page >= PTY_POLLS
    assert seen["right"] > book.page
