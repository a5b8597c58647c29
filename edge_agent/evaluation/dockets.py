"""A finding with all that people said of it, read from the chain: nothing is evaluated that is not evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from typing import Any

import msgspec

from edge_agent.contract.records import Feedback

ANSWERS = ("confirmed", "not_confirmed", "cannot_tell")
"""属实 不属实 无法核实: the last of them is the answer."""


@dataclass(slots=True)
class Docket:
    """`said`: the last word on each step. `month`, `due` and `days` are local to the point."""

    finding: str
    topic: str
    point: str
    key: str
    release: str
    opened: str  # UTC
    month: str
    due: date | None
    trial: bool
    exempt: bool
    test: bool
    said: dict[str, Feedback] = field(default_factory=dict)
    days: dict[str, date] = field(default_factory=dict)
    _answer: str = ""

    @property
    def counts(self) -> bool:
        """Whether it is inside evaluation: of an accepted point, and no test of the way to the centre."""
        return not self.trial and not self.test

    @property
    def answer(self) -> str:
        """ "confirmed", "not_confirmed", "cannot_tell", or "" while nobody has answered."""
        return self._answer

    @property
    def kind(self) -> tuple[str, str, str]:
        return self.point, self.topic, self.key

    def take(self, feedback: Feedback, zone: tzinfo) -> None:
        self.said[feedback.step] = feedback
        self.days[feedback.step] = local_day(feedback.at, zone)
        if feedback.step in ANSWERS:
            self._answer = feedback.step


def dockets_of(
    findings: Iterable[bytes], records: Iterable[bytes], zone_of: Callable[[str], tzinfo]
) -> dict[str, Docket]:
    """By finding, in the order in which they opened. Messages as they were sent, oldest first; others are passed over.

    What a finding's first step says of it stands: whether it was on trial or exempt when it opened.
    """
    found: dict[str, Docket] = {}
    for body in findings:
        data = _data(body)
        name = str(data.get("finding", ""))
        if not name or name in found or "opened" not in data:
            continue
        point = str(data.get("point", ""))
        zone = zone_of(point) if point else UTC
        found[name] = Docket(
            finding=name,
            topic=str(data.get("topic", "")),
            point=point,
            key=str(data.get("key", "")),
            release=str(data.get("release", "")),
            opened=str(data["opened"]),
            month=f"{local_day(str(data['opened']), zone):%Y-%m}",
            due=_day(data.get("due")),
            trial=bool(data.get("trial")),
            exempt=bool(data.get("exempt")),
            test=bool(data.get("test")),
        )
    for body in records:
        try:
            feedback = msgspec.convert(_data(body), Feedback)
        except msgspec.ValidationError:
            continue
        docket = found.get(feedback.finding)
        if docket is not None:
            docket.take(feedback, zone_of(docket.point) if docket.point else UTC)
    return dict(sorted(found.items(), key=lambda item: item[1].opened))


def local_day(utc: str, zone: tzinfo) -> date:
    """The day of an instant as messages write it."""
    return datetime.fromisoformat(utc).astimezone(zone).date()


def _data(body: bytes) -> dict[str, Any]:
    try:
        data = msgspec.json.decode(body, type=dict[str, Any]).get("data")
    except msgspec.DecodeError:
        return {}
    return data if isinstance(data, dict) else {}


def _day(text: object) -> date | None:
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        return None
