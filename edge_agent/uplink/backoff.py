"""How long to wait before the next attempt, so that a fleet does not come back in one second.

Full jitter: a whole fleet that lost its broker together spreads evenly over the cap. The chance is seeded from the
gateway's id and its boot id, because gateways that boot together after a blackout have no other entropy to spare.
"""

from __future__ import annotations

import hashlib
import random

FIRST_S = 2.0
CAP_S = 120.0
LEAST_S = 1.0
STEADY_S = 60.0


def chance(*names: str) -> random.Random:
    """The same names give the same sequence, other names another one."""
    return random.Random(hashlib.sha256("\0".join(names).encode()).digest())


class Backoff:
    """`max(1, uniform(0, min(cap, 2 * 2^n)))` seconds, n the attempts since the last steady connection."""

    def __init__(self, rng: random.Random, *, cap_s: float = CAP_S) -> None:
        self._rng = rng
        self._cap_s = cap_s
        self._attempts = 0

    def next_s(self, *, at_least_s: float = 0.0) -> float:
        """The next wait; `at_least_s` is what the other end asked for (server busy) on top of which chance comes."""
        ceiling_s = min(self._cap_s, FIRST_S * 2.0 ** min(self._attempts, 30))
        self._attempts += 1
        return max(LEAST_S, at_least_s + self._rng.uniform(0.0, ceiling_s))

    def lasted(self, connected_s: float) -> None:
        """A connection has ended; only one that was steady says that the trouble is over."""
        if connected_s >= STEADY_S:
            self._attempts = 0


class Bucket:
    """At most `burst` messages at once and `rate_per_s` on average; rate 0: no limit."""

    def __init__(self, rate_per_s: float, burst: float, now_ms: int) -> None:
        self._rate_per_ms = rate_per_s / 1000.0
        self._burst = burst
        self._tokens = burst
        self._then_ms = now_ms

    def available(self, now_ms: int) -> int | None:
        """How many may go now; None: no limit."""
        if self._rate_per_ms <= 0:
            return None
        self._tokens = min(self._burst, self._tokens + max(0, now_ms - self._then_ms) * self._rate_per_ms)
        self._then_ms = now_ms
        return int(self._tokens + 1e-9)

    def take(self) -> None:
        self._tokens -= 1.0

    def next_ms(self, now_ms: int) -> int:
        """When one more may go."""
        if self.available(now_ms) != 0:
            return now_ms
        return now_ms + max(1, int((1.0 - self._tokens) / self._rate_per_ms) + 1)
