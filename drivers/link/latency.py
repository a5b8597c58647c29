"""How long a device takes to answer, as it has been seen, and how long to wait for it.

A device on a serial line that answers in 40 ms need not be given two seconds to be found silent, while the others wait;
one that was late is given the time it took. The longest of the last answers counts: a mean would call the slow ones
late. Over TCP nobody else waits, and what lies behind a gateway is not known: there the whole time-out holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

_REMEMBERED = 64
_LEARNT = 8
"""Answers after which the time-out goes by what was seen."""

_LATE_REMEMBERED = 4096
"""Answers over which the latest of those that came too late counts."""

_MARGIN_S = 0.25
"""What an adapter, a converter and this process may add without anything being wrong."""


class Latency(NamedTuple):
    """The turnaround of one device: from the end of the question on the wire to the first byte that came."""

    answers: int
    last_s: float
    longest_s: float
    late_s: float
    """The latest answer that came after it had been given up; 0.0: none did."""
    silent: int
    """Questions in a row that brought nothing."""
    typical_s: float | None
    """The median of the last answers, which one that was held up does not move; None before the first few."""


class LatencyFilter:
    """The answers of one device."""

    def __init__(self) -> None:
        self._seen: deque[float] = deque(maxlen=_REMEMBERED)
        self._answers = 0
        self._late_s = 0.0
        self._late_until = 0
        self._silent = 0

    def answered(self, waited_s: float) -> None:
        self._seen.append(waited_s)
        self._answers += 1
        self._silent = 0
        if self._answers > self._late_until:
            self._late_s = 0.0

    def late(self, waited_s: float) -> None:
        """An answer that had been given up came after all."""
        self._late_s = max(self._late_s, waited_s)
        self._late_until = self._answers + _LATE_REMEMBERED

    def missed(self) -> None:
        self._silent += 1

    @property
    def longest_s(self) -> float:
        return max(self._late_s, max(self._seen, default=0.0))

    def timeout_s(self, reply_s: float, most_s: float) -> float:
        """How long to wait for a whole reply that takes `reply_s` on the wire, from the end of the question.

        Between what the wire takes and `most_s`. A device that was silent gets all of it: it may have become slow.
        0.0 for `reply_s`: there is no wire.
        """
        if not reply_s:
            return most_s
        least_s = reply_s + _MARGIN_S
        if self._silent or self._answers < _LEARNT:
            return max(least_s, most_s)
        return max(least_s, min(most_s, 2 * self.longest_s + reply_s + _MARGIN_S))

    def report(self) -> Latency:
        last_s = self._seen[-1] if self._seen else 0.0
        typical_s = _median(self._seen) if self._answers >= _LEARNT else None
        return Latency(self._answers, last_s, self.longest_s, self._late_s, self._silent, typical_s)


def _median(values: Iterable[float]) -> float:
    """Of one value or more; `statistics` would bring decimal arithmetic along."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
