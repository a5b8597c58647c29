"""systemd's watchdog: fed only while polling, the store's writer and the tick all make progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import structlog
from systemd_watchdog.systemd_watchdog import WatchDog

from edge_agent.poller import Poller
from edge_agent.store import Store

log = structlog.get_logger()
STUCK_S = 60.0
FEED_S = 10.0


class Watchdog:
    """Tells systemd READY and WATCHDOG where it started us; silent otherwise."""

    def __init__(self, store: Store, pollers: Sequence[Poller]) -> None:
        self._store = store
        self._pollers = pollers
        self._systemd = WatchDog()
        self._passes: dict[str, tuple[int, float]] = {}
        self._fed_s = 0.0

    def ready(self) -> None:
        self._tell(self._systemd.ready)

    def stopping(self) -> None:
        self._tell(lambda: self._systemd.status("stopping"))

    def feed(self) -> None:
        now_s = time.monotonic()
        if self._systemd.is_enabled and now_s - self._fed_s >= FEED_S and self.alive(now_s):
            self._fed_s = now_s
            self._tell(self._systemd.notify)  # not `ping`: that one goes by the wall clock

    def alive(self, now_s: float) -> bool:
        """Every link task has gone round and the writer has beaten within the last minute of real time."""
        for poller in self._pollers:
            seen = self._passes.get(poller.link)
            if seen is None or seen[0] != poller.last_pass_ms:
                self._passes[poller.link] = (poller.last_pass_ms, now_s)
            elif now_s - seen[1] > STUCK_S:
                return False
        return now_s - self._store.stats().beat_s < STUCK_S

    def _tell(self, word: Callable[[], None]) -> None:
        try:
            word()
        except OSError as error:
            log.warning("systemd cannot be told", cause=str(error))
