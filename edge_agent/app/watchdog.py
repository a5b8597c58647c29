"""systemd's watchdog: fed only while polling, the store's writer and the tick all make progress."""

from __future__ import annotations

import socket
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
    """Tells systemd READY and WATCHDOG where it started us; silent otherwise. `now_s` is steady, real time."""

    def __init__(self, store: Store, pollers: Sequence[Poller], *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._pollers = pollers
        self._now_s = now_s
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._systemd = WatchDog(sock=self._socket)
        self._passes: dict[str, tuple[int, float]] = {}
        self._fed_s = -FEED_S
        self._alive = True

    def ready(self) -> None:
        self._tell(self._systemd.ready)

    def stopping(self) -> None:
        """The last word: nothing is told after it."""
        self._tell(lambda: self._systemd.status("stopping"))
        self._socket.close()

    def feed(self) -> None:
        """Called by the tick, which is the third that must make progress."""
        now_s = self._now_s()
        if not self._systemd.is_enabled or now_s - self._fed_s < FEED_S:
            return
        stuck = self.stuck(now_s)
        if stuck and self._alive:
            log.error("no progress: the watchdog is not fed", stuck=stuck, for_s=STUCK_S)
        self._alive = not stuck
        if self._alive:
            self._fed_s = now_s
            self._tell(self._systemd.notify)  # not `ping`: that one goes by the wall clock

    def stuck(self, now_s: float) -> str:
        """Who has not gone round within the last minute of real time; empty while all have."""
        late: list[str] = []
        for poller in self._pollers:
            seen = self._passes.get(poller.link)
            if seen is None or seen[0] != poller.last_pass_ms:
                self._passes[poller.link] = (poller.last_pass_ms, now_s)
            elif now_s - seen[1] > STUCK_S:
                late.append(f"link {poller.link}")
        if now_s - self._store.stats().beat_s > STUCK_S:
            late.append("store")
        return ", ".join(late)

    def _tell(self, word: Callable[[], None]) -> None:
        try:
            word()
        except OSError as error:
            log.warning("systemd cannot be told", cause=str(error))
