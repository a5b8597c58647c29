"""Asks meters what they wrote down about events: where a counter rose, and every hour those that keep a log.

One question at a time per device, between the polls of its link. A meter that keeps no log, or does not answer, is no
hindrance: the counter's word is then told by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import structlog

from edge_agent.core import Core
from edge_agent.model import DeviceId, GapCause, Ms
from edge_agent.poller import Poller
from edge_agent.ports import DriverError

log = structlog.get_logger()

EVERY_MS = 3_600_000
AGAIN_MS = 60_000
"""Between two questions about one device's log, whatever its counters do; doubled while it does not answer."""

REFUSED_MS = 86_400_000
"""A device that refuses is asked again after a day: settings change."""

OVERLAP_MS = 3_600_000
"""A log is asked for from so long before it was read last: the meter's clock is not the gateway's."""


class Witnessing:
    """Follows the counters that the core names. `logs`: devices whose logs are read without that, too."""

    def __init__(
        self, core: Core, poller_of: Callable[[DeviceId], Poller | None], logs: Iterable[DeviceId] = ()
    ) -> None:
        self._core = core
        self._poller_of = poller_of
        self._logs = frozenset(logs)
        self._asking: dict[DeviceId, asyncio.Task[None]] = {}
        self._next_ms: dict[DeviceId, Ms] = {}
        self._failures: dict[DeviceId, int] = {}
        self._said: dict[DeviceId, str] = {}

    def follow(self, rose: Mapping[DeviceId, Mapping[str, int]], now_ms: Ms) -> None:
        """Each tick: ask for what is due. UTC ms."""
        for device in {*rose, *self._logs}:
            if device in self._asking or now_ms < self._next_ms.get(device, 0):
                continue
            read_ms = self._core.witness.log_ms(device)
            if device not in rose and read_ms is not None and now_ms - read_ms < EVERY_MS:
                continue
            self._next_ms[device] = now_ms + AGAIN_MS
            self._core.witness.asking(device, now_ms)
            since_ms = (now_ms if read_ms is None else read_ms) - OVERLAP_MS
            asked = self._ask(device, since_ms, dict(rose.get(device, {})), now_ms)
            task = asyncio.get_running_loop().create_task(asked, name=f"event log {device}")
            self._asking[device] = task
            task.add_done_callback(partial(self._asked, device))

    def stop(self) -> None:
        for task in self._asking.values():
            task.cancel()

    def _asked(self, device: DeviceId, task: asyncio.Task[None]) -> None:
        del self._asking[device]
        if not task.cancelled() and (bug := task.exception()) is not None:
            self._core.logged(device, None, self._next_ms[device])
            log.error("event log not read", device=device, cause=repr(bug))

    async def _ask(self, device: DeviceId, since_ms: Ms, rose: dict[str, int], now_ms: Ms) -> None:
        poller = self._poller_of(device)
        if poller is None:
            self._core.logged(device, None, now_ms)
            return
        try:
            events = await poller.logged(device, since_ms, rose)
        except DriverError as error:
            if self._said.get(device) != str(error):
                log.warning("event log not read", device=device, cause=error.cause.value, detail=str(error))
            self._said[device] = str(error)
            self._failures[device] = failures = self._failures.get(device, 0) + 1
            silent_ms = min(AGAIN_MS << min(failures - 1, 10), EVERY_MS)
            self._next_ms[device] = now_ms + (REFUSED_MS if error.cause is GapCause.REFUSED else silent_ms)
            self._core.logged(device, None, now_ms)
            return
        self._said.pop(device, None)
        self._failures.pop(device, None)
        if events:
            log.info("event log read", device=device, entries=len(events))
        self._core.logged(device, events, now_ms)
