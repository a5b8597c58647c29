"""One version of one topic as a listing shows it, and what its text says."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import tomli

from edge_agent.audit.release import ReleaseError, release_from
from edge_agent.audit.topic import Release
from edge_agent.package import PackageRefused
from edge_agent.releases.dossier import State, digest_of

FILE_MAX = 32_768
"""Bytes of a release file; a published one has some hundred."""

TOPICS = "edge_agent.audit.topics"
_NAME = re.compile(r"([a-z0-9-]{1,32})@([1-9][0-9]{0,8})\Z")


@dataclass(frozen=True, slots=True)
class Entry:
    """`wrong` says why it cannot be used. `signed`: there is a dossier; `scopes`: whom its decisions are meant for."""

    topic: str
    version: int
    state: State
    origin: str  # "shipped", "managed"
    text: str = ""
    digest: str = ""
    sets: tuple[str, ...] = ()
    author: str = ""
    approver: str = ""
    signed: bool = False
    scopes: frozenset[str] = frozenset()
    release: Release | None = None
    plain: Mapping[str, Any] | None = None
    wrong: PackageRefused | ReleaseError | None = None

    @property
    def name(self) -> str:
        return f"{self.topic}@{self.version}"


def parts_of(name: str) -> tuple[str, int]:
    """Topic and version of `topic@version`; ("", 0) for what is no such name."""
    match = _NAME.match(name)
    return (match[1], int(match[2])) if match else ("", 0)


def told(entry: Entry, text: str) -> Entry:
    """With what its text says; an entry without a name takes the one in the text."""
    entry = replace(entry, text=text, digest=digest_of(text))
    if len(text.encode()) > FILE_MAX:
        return replace(entry, wrong=ReleaseError(f"{entry.name}: has more than {FILE_MAX} bytes"))
    try:
        plain = tomli.loads(text)
    except tomli.TOMLDecodeError as wrong:
        return replace(entry, wrong=ReleaseError(f"{entry.name}: {wrong}"))
    said = f"{plain.get('topic')}@{plain.get('version')}"
    mistakes: tuple[str, ...] = ()
    release: Release | None = None
    try:
        release = release_from(plain, entry.digest)
    except ReleaseError as wrong:
        mistakes = wrong.mistakes
    if entry.topic and said != entry.name:
        mistakes = (*mistakes, f"{entry.name}: the text is that of {said}; the file is named topic@version.toml")
    topic = str(plain.get("topic"))
    if release is not None and not _has_code(topic):
        mistakes = (*mistakes, f"{topic}: there is no audit topic of that name in this version")
    if release is not None and not plain.get("sets"):
        mistakes = (*mistakes, f"{topic}: sets is missing: the release sets in which it runs")
    if release is not None and not entry.topic:
        entry = replace(entry, topic=release.topic, version=release.version)
    sets = plain.get("sets", ())
    return replace(
        entry,
        plain=plain,
        sets=tuple(sets) if isinstance(sets, list) else (),
        release=None if mistakes else release,
        wrong=ReleaseError(*mistakes) if mistakes else None,
    )


def _has_code(topic: str) -> bool:
    return (
        parts_of(f"{topic}@1")[0] != "" and importlib.util.find_spec(f"{TOPICS}.{topic.replace('-', '_')}") is not None
    )
