"""How much of the time a topic could not say: by topic and local month, over the accepted points.

Time is that of the windows which count: blocks that do not overlap. A topic that judges no stretch of time, such as one
about events, has no share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from edge_agent.model import Ms, PointId

MONTHS_KEPT = 4


class Judged(Protocol):
    """`audit.topic.Verdict`, as far as it matters here."""

    @property
    def point(self) -> PointId: ...
    @property
    def start_ms(self) -> Ms: ...
    @property
    def end_ms(self) -> Ms: ...
    @property
    def block(self) -> bool: ...
    @property
    def answer(self) -> str: ...


class Blindness:
    """Fed with verdicts; `changed` since the last `dump`."""

    def __init__(self) -> None:
        self._ms: dict[str, dict[str, list[Ms]]] = {}  # topic -> month -> judged, unknown
        self.changed = False

    def feed(self, topic: str, verdicts: Iterable[Judged], month_of: Callable[[PointId, Ms], str | None]) -> None:
        """`month_of`: the local month of a point at an instant; None for a point that is outside evaluation."""
        for verdict in verdicts:
            if not verdict.block or not verdict.point or verdict.end_ms <= verdict.start_ms:
                continue
            month = month_of(verdict.point, verdict.end_ms)
            if month is None:
                continue
            counted = self._ms.setdefault(topic, {}).setdefault(month, [0, 0])
            counted[0] += verdict.end_ms - verdict.start_ms
            if verdict.answer == "unknown":
                counted[1] += verdict.end_ms - verdict.start_ms
            self.changed = True

    def share(self, topic: str, month: str) -> float | None:
        """None where nothing was judged."""
        judged, unknown = self._ms.get(topic, {}).get(month, (0, 0))
        return unknown / judged if judged else None

    def topics(self, month: str) -> set[str]:
        return {topic for topic, months in self._ms.items() if month in months}

    def months(self) -> set[str]:
        return {month for months in self._ms.values() for month in months}

    def dump(self) -> dict[str, Any]:
        self.changed = False
        return {t: dict(sorted(months.items())[-MONTHS_KEPT:]) for t, months in self._ms.items()}

    def restore(self, plain: Mapping[str, Any]) -> None:
        """Raises TypeError, ValueError or AttributeError for what this version did not write."""
        self._ms = {
            str(t): {str(m): [int(judged), int(unknown)] for m, (judged, unknown) in months.items()}
            for t, months in plain.items()
        }
