"""A serial line in memory and in virtual time, with hand-written Modbus RTU units: for the tests of links and of RTU.

It shares nothing with the driver: frames are put together from the standard, a checksum bit by bit. Time is the event
loop's and jumps from timer to timer, so that a day of polling takes as long as its arithmetic.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar

from drivers.link import CarrierLink
from drivers.modbus import ModbusDriver, open_driver
from edge_agent.model import (
    ClockQuality,
    ClockState,
    DeviceSpec,
    LinkSpec,
    Ms,
    Outcome,
    Profile,
    Quantity,
    Register,
    Request,
)
from edge_agent.ports import DriverError

T = TypeVar("T")


class JumpingLoop(asyncio.SelectorEventLoop):
    """When nothing is ready it is at once the moment of the next timer."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        return self.now_s


class _Jump(selectors.SelectSelector):
    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "virtual time stands still: nobody is ready and no timer is set"
        if timeout > 0:
            timers: list[asyncio.TimerHandle] = self._loop._scheduled  # type: ignore[attr-defined]
            self._loop.now_s = max(self._loop.now_s, timers[0].when())
        return super().select(0)


def virtually(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(work)


class LoopClock:
    """Boot time on the event loop's clock."""

    def now_ms(self) -> Ms:
        return round(asyncio.get_running_loop().time() * 1000)

    def state(self) -> ClockState:
        return ClockState(ClockQuality.SYNCED, 0, 0)

    async def sleep_until(self, bt_ms: Ms) -> None:
        await asyncio.sleep(max(0.0, bt_ms / 1000 - asyncio.get_running_loop().time()))


def crc(data: bytes) -> int:
    """MODBUS over Serial Line V1.02, 6.2.2."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return value


def rtu(unit: int, pdu: bytes) -> bytes:
    body = bytes((unit,)) + pdu
    return body + crc(body).to_bytes(2, "little")


class Question(NamedTuple):
    """A read as a unit hears it, and the number of questions that came before it on the line."""

    unit: int
    function: int
    address: int
    count: int  # type: ignore[assignment]
    number: int

    def reply(self, words: Sequence[int]) -> bytes:
        data = b"".join(word.to_bytes(2, "big") for word in words)
        return rtu(self.unit, bytes((self.function, len(data))) + data)

    def numbered(self) -> bytes:
        """Every register holds the question's number: a value tells which question it answers."""
        return self.reply([self.number & 0xFFFF] * self.count)

    def refusal(self, code: int) -> bytes:
        return rtu(self.unit, bytes((self.function | 0x80, code)))


Said = list[tuple[bytes, float]]
"""What a unit says, and how many seconds after the end of the question it begins."""


class RtuLine:
    """A carrier for a link. `answer` gives what is said to each question; what overlaps on the wire is spoilt."""

    def __init__(self, answer: Callable[[Question], Said], *, char_s: float = 10 / 9600) -> None:
        self.asked: list[tuple[float, Question]] = []
        self.spoilt = 0
        self.piece = 0
        """Bytes that arrive together; 0: a whole frame at its end."""
        self._answer = answer
        self._char_s = char_s
        self._take: Callable[[bytes], None] | None = None
        self._lost: Callable[[str], None] | None = None
        self._talk: list[list[Any]] = []  # start, end, spoilt

    def start(self, on_bytes: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None:
        self._take, self._lost = on_bytes, on_lost

    def write(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + len(data) * self._char_s
        talk = self._occupy(loop.time(), ends_s)
        assert len(data) == 8, "only reads are asked here"
        assert crc(data[:-2]) == int.from_bytes(data[-2:], "little")
        address, count = int.from_bytes(data[2:4], "big"), int.from_bytes(data[4:6], "big")
        question = Question(data[0], data[1], address, count, len(self.asked))
        self.asked.append((loop.time(), question))
        loop.call_at(ends_s, lambda: None if talk[2] else self.say_all(self._answer(question)))

    def say_all(self, said: Said) -> None:
        for data, after_s in said:
            asyncio.get_running_loop().call_later(after_s, self.say, data)

    def say(self, data: bytes) -> None:
        """Somebody speaks now."""
        loop = asyncio.get_running_loop()
        talk = self._occupy(loop.time(), loop.time() + len(data) * self._char_s)
        for at in range(0, len(data), self.piece or len(data)):
            part = data[at : at + (self.piece or len(data))]
            loop.call_at(talk[0] + (at + len(part)) * self._char_s, self._arrive, part, talk)

    def cut(self, why: str = "unplugged") -> None:
        lost, self._take, self._lost = self._lost, None, None
        assert lost is not None
        lost(why)

    def close(self) -> None:
        self._take = self._lost = None

    def _occupy(self, start_s: float, end_s: float) -> list[Any]:
        self._talk = [t for t in self._talk if t[1] > start_s]
        met = [t for t in self._talk if t[0] < end_s]
        for other in met:
            other[2] = True
        talk = [start_s, end_s, bool(met)]
        self._talk.append(talk)
        return talk

    def _arrive(self, data: bytes, talk: list[Any]) -> None:
        if talk[2]:
            self.spoilt += 1
            data = bytes(byte ^ 0x55 for byte in data)
        if self._take is not None:
            self._take(data)


def bus(**more: Any) -> LinkSpec:
    return LinkSpec("bus", "serial", path="/dev/ttyUSB0", **more)


def unit(number: int, *registers: Register, every_s: float | None = None, most: int = 125) -> DeviceSpec:
    profile = Profile("test", "modbus", "test", "test", "secondary", most, registers)
    return DeviceSpec(f"m{number}", "bus", number, profile, every_s)


E32 = Register(Quantity.ACTIVE_ENERGY_IMPORT, "input:0", "u32", "Wh", every_s=60)
P32 = Register(Quantity.ACTIVE_POWER, "input:2", "i32", "W", every_s=15)
U16 = Register(Quantity.VOLTAGE_L1, "input:4", "u16", "V", 0.1, every_s=15)
F16 = Register(Quantity.CURRENT_N, "input:40", "u16", "A", 0.01, every_s=60)
R32 = Register(Quantity.REACTIVE_POWER, "holding:0", "i32", "var", every_s=15)


class Bus:
    """A driver on a line, and what its reads brought."""

    def __init__(self, answer: Callable[[Question], Said], *, timeout_s: float = 0.5) -> None:
        self.line = RtuLine(answer)
        spec = bus(timeout_s=timeout_s)
        self.link = CarrierLink(self.line, spec, now_ms=LoopClock().now_ms)
        self.driver: ModbusDriver = open_driver(self.link, spec, LoopClock().now_ms)

    async def read(self, request: Request) -> list[Outcome] | DriverError:
        try:
            return await self.driver.read(request)
        except DriverError as error:
            return error
