"""Stories of findings: what was measured, and every step that is told of it; tests/scenarios holds them, by topic.

Each story is played twice, the second time with a restart at every instant: the steps are the same. Who plays what a
topic looks at stands beside the tests of that topic.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import tomli

from edge_agent.archive import Archive
from edge_agent.audit.lifecycle import Lifecycle, Lifetime, lifetime
from edge_agent.audit.study import Studies
from edge_agent.audit.topic import Answer, Step, StepKind
from edge_agent.audit.track import Track
from edge_agent.load.views import LoadView
from edge_agent.model import Ms
from tests.on_paper import archive_of, published

SCENARIOS = Path(__file__).parent / "scenarios"
POLL_MS = 15_000


def cases(players: Iterable[str]) -> list[Any]:
    """The cases of the topics that these players play."""
    out = []
    for path in sorted(SCENARIOS.glob("*.toml")):
        if path.stem.replace("_", "-") not in players:
            continue
        story = tomli.loads(path.read_text())
        for case in story.pop("case"):
            topic = path.stem.replace("_", "-")
            merged = {"topics": [topic], **story, **case, "point": {**story.get("point", {}), **case.get("point", {})}}
            out.append(pytest.param(topic, merged, id=f"{topic}: {case['name']}"))
    return out


class Office:
    """Topics, releases and the life of findings of one or two points; `forgetful` restarts it after every call."""

    def __init__(
        self, topics: Sequence[str], archive: Archive, *, forgetful: bool, release_set: str = "cn-sg-meter"
    ) -> None:
        self.archive = archive
        self.releases, code = published(release_set)
        self.topics = [code[t] for t in topics]
        self.studies = Studies(self.topics, self.releases)
        self.forgetful = forgetful
        self.saved: dict[str, str] = {}
        self.answers: Counter[Answer] = Counter()
        self.reasons: set[str] = set()
        self.steps: list[Step] = []
        self.life = self._new()

    def _new(self) -> Lifecycle:
        return Lifecycle("gw-1", self.topics, self.releases, self.archive, {"p": POLL_MS})

    def move_to(self, archive: Archive) -> None:
        """To another site, before anything has been looked at."""
        self.archive = archive
        self.life = self._new()

    def _done(self, out: Lifetime) -> list[str]:
        self.saved |= {id_: json.dumps(track.to_plain()) for id_, track in out.changed.items()}
        if self.forgetful:
            self.life = self._new()
            self.life.restore(Track.from_plain(json.loads(plain)) for plain in self.saved.values())
            kept, self.studies = json.loads(json.dumps(self.studies.dump())), Studies(self.topics, self.releases)
            assert not self.studies.restore(kept)
        self.steps += out.steps
        several = len(self.topics) > 1
        return [f"{s.topic} {said(s)}" if several else said(s) for s in out.steps] + [
            f"note {n.work_order}" for n in out.notes
        ]

    def look(self, view: LoadView) -> list[str]:
        told: list[str] = []
        for topic in self.topics:
            out = lifetime()
            shown = self.studies.shown(topic.id, view, self.archive)
            verdicts = list(topic.examine(shown, self.archive, self.releases[topic.id]))
            self.answers.update(v.answer for v in verdicts)
            self.reasons |= {v.reason for v in verdicts if v.answer is Answer.UNKNOWN}
            self.life.judge(verdicts, topic.id, out)
            told += self._done(out)
        return told

    def confirm(self, confirmed_ms: Mapping[str, Ms], now_ms: Ms) -> list[str]:
        out = lifetime()
        self.life.confirm(confirmed_ms, now_ms, out)
        return self._done(out)

    def tell_owed(self, now_ms: Ms) -> list[str]:
        out = lifetime()
        self.life.tell_owed(now_ms, out)
        return self._done(out)

    def by_hand(self, now_ms: Ms) -> list[str]:
        out = lifetime()
        self.life.clear_by_hand(self.steps[-1].finding, "t-17", now_ms, out)
        return self._done(out)


def said(step: Step) -> str:
    return f"{step.kind} {step.reason if step.kind is StepKind.CLEARED else step.severity}"


@dataclass
class Played:
    """A story's outcome: what was told at each instant, as written in the scenario."""

    told: list[str]
    expected: list[str]
    office: Office
    judged: Counter[Answer] = field(default_factory=Counter)


Player = Callable[[Mapping[str, Any], Office], Played]


def site_of(case: Mapping[str, Any]) -> Archive:
    changes = {k: None if v == "none" else v for k, v in case["point"].items()}
    return archive_of({**changes, "id": "p"}, {**changes, "id": "p2", "meter": "m2"}, tariff=case.get("tariff", ()))


def office_of(case: Mapping[str, Any], *, forgetful: bool) -> Office:
    release_set = case.get("set", "cn-sg-meter")
    return Office(case["topics"], site_of(case), forgetful=forgetful, release_set=release_set)


def told_as_written(play: Player, topic: str, case: Mapping[str, Any]) -> None:
    """Every step is told when the case says so, and nothing passes by doing nothing."""
    played = play(case, office_of(case, forgetful=False))
    assert played.told == played.expected, played.told
    office = played.office
    if not any(played.expected) and not case.get("reasons") and not case.get("nothing"):
        judged = office.answers.total() - office.answers[Answer.UNKNOWN]
        assert judged or (topic == "met-decrease" and "rollover" in case["name"]), "nothing was judged"
    assert set(case.get("reasons", ())) <= office.reasons
    if "last" in case:
        assert last_of(office.steps, case["last"]) == case["last"]
    for finding in {s.finding for s in office.steps}:
        numbers = [s.n for s in office.steps if s.finding == finding]
        assert numbers == list(range(1, len(numbers) + 1)), finding


def told_alike_after_restarts(play: Player, case: Mapping[str, Any]) -> None:
    """The same steps, word for word, when the office is restarted after every call."""
    steady = play(case, office_of(case, forgetful=False))
    forgetful = play(case, office_of(case, forgetful=True))
    steps = [json.dumps(plain(s), default=str) for s in forgetful.office.steps]
    assert steps == [json.dumps(plain(s), default=str) for s in steady.office.steps]
    notes = [t for t in steady.told if "note" in t]
    assert [t for t in forgetful.told if "note" not in t] == [t for t in steady.told if t not in notes]


def plain(step: Step) -> dict[str, Any]:
    return {name: getattr(step, name) for name in Step.__slots__}


def last_of(steps: Sequence[Step], wanted: Mapping[str, Any]) -> dict[str, Any]:
    last = steps[-1]
    own = {
        "findings": len({s.finding for s in steps}),
        "time": datetime.fromtimestamp((last.time_ms + 8 * 3_600_000) / 1000, UTC).strftime("%Y-%m-%d %H:%M"),
        "counts": dict(last.counts),
        "route": last.route.value,
        "severity": last.severity.value,
    }
    own["measured"] = {name: last.measured.get(name) for name in wanted.get("measured", ())}
    estimate = last.measured.get("estimate")
    own["estimate"] = "none" if estimate is None else {name: estimate[name] for name in wanted.get("estimate", ())}
    return {key: own[key] if key in own else getattr(last, key) for key in wanted}
