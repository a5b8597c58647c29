"""The archive as the topics see it while findings say that a fact of it is not so: that fact is in conflict.

What rests on a fact in conflict is capped at notice and asked of the archive department first. The archive itself stays
as it is; the finding that disputes it is what holds the conflict, through restarts too, and its end ends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from edge_agent.audit.topic import Site
from edge_agent.model import Capacity, Fact, FactState, PointId, Ratings


def disputed_site(site: Site, disputed: Mapping[PointId, frozenset[str]]) -> Site:
    """The same site; where nothing is disputed, itself."""
    return cast(Site, _Disputed(site, disputed)) if disputed else site


class _Disputed:
    """Every answer about a point in dispute, with its facts lowered."""

    def __init__(self, site: Site, disputed: Mapping[PointId, frozenset[str]]) -> None:
        self._site = site
        self._of = disputed

    def __getattr__(self, name: str) -> Any:
        answer = getattr(self._site, name)

        def lowered(point: PointId, *given: Any, **named: Any) -> Any:
            said = answer(point, *given, **named)
            names = self._of.get(point)
            return said if names is None else _lowered(said, names)

        return lowered if callable(answer) else answer


def _lowered(said: Any, names: frozenset[str]) -> Any:
    match said:
        case Fact(name=name) if name in names:
            return replace(said, state=FactState.CONFLICT)
        case Capacity(fact=fact):
            return replace(said, fact=_lowered(fact, names))
        case Ratings(facts=facts):
            return replace(said, facts=_lowered(facts, names))
        case tuple() if said and all(isinstance(f, Fact) for f in said):
            return tuple(_lowered(f, names) for f in said)
    return said
