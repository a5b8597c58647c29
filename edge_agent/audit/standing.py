"""What people have said that bears on findings to come: exemptions, and answers that made a topic lose its credit.

A topic that is wrong more often than right does not go on accusing: from `ENOUGH` answers on, with fewer than half of
them "confirmed", its findings stay at notice until a new release of it runs. Answers count for the release that made
the finding, the last one of each finding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edge_agent.model import Ms, PointId

ENOUGH = 20
"""Answers (属实 and 不属实) before a topic can lose its credit."""

LEAST = 0.5
"""Share of confirmed answers (属实率) below which it does."""

KEPT = 500
"""Answers kept of a release; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Exempted:
    """An approved exemption: [from, to) of a point and topic. Findings still open, and say so."""

    point: PointId
    topic: str
    from_ms: Ms
    to_ms: Ms


@dataclass(frozen=True, slots=True)
class Announced:
    """Work that was announced while the agent ran: [from, to) of a point."""

    point: PointId
    work_order: str
    from_ms: Ms
    to_ms: Ms


@dataclass(frozen=True, slots=True)
class Answered:
    """What a person says an open finding was. `agreed`: what it saw is so, and is what later days are judged by."""

    finding: str
    topic: str
    point: PointId
    by: str
    agreed: bool


@dataclass(slots=True)
class Answers:
    """What became of the findings of one release."""

    version: int
    said: dict[str, bool] = field(default_factory=dict)  # finding -> confirmed

    @property
    def confirmed(self) -> int:
        return sum(self.said.values())

    @property
    def poor(self) -> bool:
        return len(self.said) >= ENOUGH and self.confirmed < LEAST * len(self.said)


class Standing:
    """Asked by the life of findings; told by whoever hears people. Plain values in and out, for the store."""

    def __init__(self) -> None:
        self.exemptions: dict[str, Exempted] = {}
        self.answers: dict[str, Answers] = {}
        self.windows: dict[str, Announced] = {}
        self.waiting: list[Answered] = []  # for the next tick
        self.changed = False  # since whoever stores it looked last

    def settle(self, answered: Answered) -> None:
        """To be acted on with the next tick, after a restart too."""
        if answered not in self.waiting:
            self.waiting.append(answered)

    def to_settle(self) -> list[Answered]:
        """What waits; it waits no more."""
        waiting, self.waiting = self.waiting, []
        self.changed = self.changed or bool(waiting)
        return waiting

    def work_order(self, point: PointId, start_ms: Ms, end_ms: Ms) -> str | None:
        """Announced work that overlaps (start, end]."""
        return next(
            (w.work_order for w in self.windows.values()
             if w.point == point and w.from_ms < end_ms and start_ms < w.to_ms), None,
        )  # fmt: skip

    def exempt(self, point: PointId, topic: str, at_ms: Ms) -> bool:
        """Whether an approved exemption covers the topic on the point at that instant."""
        return any(
            e.point == point and e.topic == topic and e.from_ms <= at_ms < e.to_ms for e in self.exemptions.values()
        )

    def capped(self, topic: str, version: int) -> bool:
        """Whether this release of the topic has lost its credit."""
        answers = self.answers.get(topic)
        return answers is not None and answers.version == version and answers.poor

    def poor(self, topic: str) -> bool:
        """Whether the release that answers were last counted for has lost its credit."""
        return topic in self.answers and self.answers[topic].poor

    def answered(self, topic: str, version: int, finding: str, confirmed: bool | None) -> None:
        """An inspector's answer about a finding; None: it cannot be told, and counts neither way.

        What is said of an older release than the one that is counted is history.
        """
        answers = self.answers.get(topic)
        if answers is None or answers.version < version:
            answers = self.answers[topic] = Answers(version)
        if answers.version != version:
            return
        answers.said.pop(finding, None)
        if confirmed is not None:
            answers.said[finding] = confirmed
        while len(answers.said) > KEPT:
            del answers.said[next(iter(answers.said))]

    def dump(self) -> dict[str, Any]:
        return {
            "exemptions": {key: asdict(e) for key, e in self.exemptions.items()},
            "answers": {topic: asdict(a) for topic, a in self.answers.items()},
            "windows": {key: asdict(w) for key, w in self.windows.items()},
            "waiting": [asdict(a) for a in self.waiting],
        }

    def restore(self, plain: Mapping[str, Any]) -> None:
        """Raises KeyError, TypeError or AttributeError for what this version did not write."""
        exemptions = {str(key): Exempted(**e) for key, e in plain["exemptions"].items()}
        answers = {str(topic): Answers(a["version"], dict(a["said"])) for topic, a in plain["answers"].items()}
        windows = {str(key): Announced(**w) for key, w in plain.get("windows", {}).items()}
        waiting = [Answered(**a) for a in plain.get("waiting", ())]
        self.exemptions, self.answers, self.windows, self.waiting = exemptions, answers, windows, waiting
