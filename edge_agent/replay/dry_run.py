"""A release that is to take over, tried on the intervals that this gateway has stored.

Only what is stored can be judged again: closed demand intervals, and the days made of them. Topics that live on
register readings, samples, silence or what meters say have nothing to go by here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import cast

from edge_agent.archive import Archive
from edge_agent.assembly import topics_of
from edge_agent.audit.release import ReleaseError
from edge_agent.audit.topic import Release, Step
from edge_agent.core import Core
from edge_agent.load.ledger import LoadLedger
from edge_agent.load.points import LoadPoint
from edge_agent.load.views import Interval, RegisterEvent
from edge_agent.model import DeviceId, Ms, PointId

ALWAYS_MS: Ms = 2**62


class Stored:
    """The face of a ledger, for intervals that were closed before: they are handed over and count as confirmed."""

    def __init__(self, points: Sequence[LoadPoint]) -> None:
        self.points = tuple(replace(p, has_profile=False) for p in points)
        self.next: list[Interval] = []

    def close(self) -> Sequence[Interval]:
        closed, self.next = self.next, []
        return closed

    def events(self, now_ms: Ms) -> Sequence[RegisterEvent]:
        return ()

    def wants(self) -> frozenset[DeviceId]:
        return frozenset()

    def confirmed_ms(self) -> dict[PointId, Ms]:
        return dict.fromkeys((p.id for p in self.points), ALWAYS_MS)

    def contradicted_ms(self) -> dict[PointId, Ms]:
        return {}


def dry_run(
    intervals: Sequence[Interval],
    archive: Archive,
    points: Sequence[LoadPoint],
    releases: Mapping[str, Release],
    *,
    gateway: str,
) -> dict[str, list[Step]]:
    """Steps by finding. `intervals`: oldest first. Raises `ReleaseError` for a release that these data break."""
    stored = Stored(points)
    core = Core(cast(LoadLedger, stored), topics_of(releases), releases, archive, gateway=gateway)
    found: dict[str, list[Step]] = {}
    for end_ms, closed in groupby(intervals, key=lambda i: i.end_ms):
        stored.next = list(closed)
        try:
            outcome = core.settle(end_ms)
        except (ArithmeticError, LookupError, TypeError, ValueError) as broken:
            raise ReleaseError(f"it cannot judge what is stored: {broken!r}") from broken
        for step in outcome.steps:
            found.setdefault(step.finding, []).append(step)
    return found
