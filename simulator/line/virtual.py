"""An event loop whose time jumps: when nothing is ready it is at once the moment of the next timer.

A month of polling takes as long as its arithmetic. Nothing outside may be waited for: a thread, an executor's job or a
socket takes real time, and the clock would jump over it; so the loop refuses executors and readers, and says so when it
would have to wait for ever.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from simulator.clock import Ms

T = TypeVar("T")


class TimeStandsStill(RuntimeError):
    """No timer is set and nobody is ready: whatever is being waited for cannot happen in this loop."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`time()` starts at 0 s and moves only from timer to timer."""

    def __init__(self) -> None:
        self.now_s = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        return self.now_s

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> NoReturn:  # type: ignore[override]
        raise RuntimeError(f"no executor under virtual time: the clock would jump over {func!r}")

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("no file descriptors under virtual time: the clock would jump over what they bring")

    def add_writer(self, fd: Any, callback: Any, *args: Any) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("no file descriptors under virtual time: the clock would jump over what they take")


class _Jump(selectors.BaseSelector):
    """Stands where the loop waits for file descriptors, and moves its time instead."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop
        self._keys: dict[Any, selectors.SelectorKey] = {}  # the loop's own wake-up pipe

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise TimeStandsStill("virtual time stands still: nobody is ready and no timer is set")
        if timeout > 0:
            # To the timer's own instant rather than by `timeout`: the sum of differences would miss it by a rounding.
            timers: list[asyncio.TimerHandle] = self._loop._scheduled  # type: ignore[attr-defined]
            self._loop.now_s = max(self._loop.now_s, timers[0].when())
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, fileobj if isinstance(fileobj, int) else fileobj.fileno(), events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[fileobj]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


def run_virtual(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` under virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


@dataclass(frozen=True, slots=True)
class LoopClock:
    """Scenario time from a loop's time: UTC was `start_ms` when the loop's clock read `start_s`."""

    loop: asyncio.AbstractEventLoop
    start_ms: Ms
    rate: float = 1.0
    start_s: float = 0.0

    def utc_ms(self) -> Ms:
        return self.start_ms + int((self.loop.time() - self.start_s) * 1000 * self.rate + 1e-6)

    def real_s_until(self, utc_ms: Ms) -> float:
        return (utc_ms - self.start_ms) / 1000 / self.rate + self.start_s - self.loop.time()
