"""Which version of a topic speaks: what came with the agent, and what two people have decided since.

The highest version that is not retired and was ever published speaks for its topic. If it is suspended, the topic is
silent: nobody wants an older version to take over what was stopped. If it is retired, the one below speaks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from edge_agent.audit.topic import Release
from edge_agent.releases.dossier import State


class Ruling(NamedTuple):
    """What was decided about one version. `release` is None where the agent came with it: only the state counts."""

    topic: str
    version: int
    state: State
    sets: frozenset[str] = frozenset()
    release: Release | None = None


def in_force(shipped: Mapping[str, Release], rulings: Iterable[Ruling], release_set: str) -> dict[str, Release]:
    """Topic -> the release that runs. `shipped`: the published ones of the set that came with the agent."""
    versions: dict[str, dict[int, tuple[State, Release]]] = {
        topic: {release.version: (State.PUBLISHED, release)} for topic, release in shipped.items()
    }
    for ruling in rulings:
        known = versions.setdefault(ruling.topic, {})
        release = ruling.release or known.get(ruling.version, (None, None))[1]
        if release is not None and (ruling.release is None or release_set in ruling.sets):
            known[ruling.version] = ruling.state, release
    found: dict[str, Release] = {}
    for topic in sorted(versions):
        alive = {v: x for v, x in versions[topic].items() if x[0] in {State.PUBLISHED, State.SUSPENDED}}
        if alive and alive[max(alive)][0] is State.PUBLISHED:
            found[topic] = replace(alive[max(alive)][1], status=State.PUBLISHED.value)
    return found
