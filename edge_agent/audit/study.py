"""What a topic has to remember between ticks: baselines, running sums, the last few days; plain values, kept.

A topic itself has no memory. Where its question needs one (is this level new for this customer?) it names a study,
which is made with the topic's release, fed with every view before the topic sees it, and puts what it has found into
`LoadView.studied`. A study of another release, or one that was written by another version, starts anew. A day may be
shown twice around a restart: a study passes over days that it has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from edge_agent.audit.topic import AuditTopic, Release, Site
from edge_agent.load.views import LoadView
from edge_agent.model import PointId


class Study(Protocol):
    """`feed` may remember; what it returns is the topic's `view.studied`. It raises on nothing that a site can cause.

    `changed`: there is news worth a write of its own, such as a day that was learnt; running sums are written now and
    then anyway. `restore` raises KeyError, TypeError or ValueError on what this version did not write.
    """

    changed: bool

    def feed(self, view: LoadView, site: Site) -> Sequence[Any]: ...
    def dump(self) -> Mapping[str, Any]: ...
    def restore(self, plain: Mapping[str, Any]) -> None: ...


class Studies:
    """The studies of the topics that have one."""

    def __init__(self, topics: Sequence[AuditTopic], releases: Mapping[str, Release]) -> None:
        self._digest = {t.id: releases[t.id].digest for t in topics if t.study is not None}
        self._topics = {t.id: t for t in topics if t.study is not None}
        self._releases = releases
        self._studies = {t.id: self._new(t.id) for t in topics if t.study is not None}

    def shown(self, topic: str, view: LoadView, site: Site) -> LoadView:
        """The view as the topic sees it: with what its own study has found."""
        study = self._studies.get(topic)
        return view if study is None else view.beside(study.feed(view, site))

    def answered(self, topic: str, point: PointId, *, agreed: bool) -> None:
        """A person has said what a finding was: a baseline that waits for that learns again."""
        settle = getattr(self._studies.get(topic), "answered", None)
        if settle is not None:
            settle(point, agreed=agreed)

    @property
    def changed(self) -> bool:
        return any(s.changed for s in self._studies.values())

    def dump(self, taken: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict) -> dict[str, Any]:
        """Everything, with the release that it was studied for; nothing counts as changed after that. `taken`: how what
        a study keeps is taken; as it comes, some of it is made when it is looked at."""
        out: dict[str, Any] = {}
        for topic, study in self._studies.items():
            out[topic] = {"release": self._digest[topic], "kept": taken(study.dump())}
            study.changed = False
        return out

    def restore(self, plain: Mapping[str, Any]) -> list[str]:
        """Take up what was kept; the topics whose studies start anew, because they were written otherwise."""
        dropped: list[str] = []
        for topic, kept in plain.items():
            if topic not in self._studies:
                continue
            try:
                if kept["release"] != self._digest[topic]:
                    raise ValueError("another release")
                self._studies[topic].restore(kept["kept"])
            except (KeyError, TypeError, ValueError, AttributeError, IndexError):
                self._studies[topic] = self._new(topic)
                dropped.append(topic)
        return dropped

    def clear(self) -> None:
        self._studies = {topic: self._new(topic) for topic in self._studies}

    def _new(self, topic: str) -> Study:
        make = self._topics[topic].study
        assert make is not None
        return make(self._releases[topic])
