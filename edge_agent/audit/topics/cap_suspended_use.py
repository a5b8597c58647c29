"""暂停、减容期间用电: is a capacity used that is suspended, or more than is left after a reduction?

All of it suspended: any power above a small share of the nameplate counts. Part of it: the load against what may run.
What has been used since the entry of the timeline began, and on how many days, is kept and told with the finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor
from typing import Any

from msgspec.structs import replace

from edge_agent.audit.load_rate import against, cannot_say
from edge_agent.audit.studies.flow import Flow
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.views import Interval, LoadView
from edge_agent.model import Capacity, Ms, PointId, PointStatus


@dataclass(slots=True)
class _Used:
    """Since the entry of the timeline began."""

    from_ms: Ms
    flow: Flow = field(default_factory=Flow)
    days: int = 0  # with at least one interval over
    last_day: int = 0
    end_ms: Ms = 0


class UsedSince:
    """Energy and days of every point whose capacity is suspended or reduced."""

    def __init__(self, release: Release) -> None:
        self.changed = False
        self._release = release
        self._used: dict[PointId, _Used] = {}

    def feed(self, view: LoadView, site: Site) -> Sequence[Verdict]:
        return [self._judged(interval, site) for interval in view.closed]

    def dump(self) -> Mapping[str, Any]:
        return {p: [u.from_ms, u.flow.plain(), u.days, u.last_day, u.end_ms] for p, u in self._used.items()}

    def restore(self, plain: Mapping[str, Any]) -> None:
        self._used = {
            point: _Used(int(from_ms), Flow.of(flow), int(days), int(last), int(end))
            for point, (from_ms, flow, days, last, end) in plain.items()
        }

    def _judged(self, interval: Interval, site: Site) -> Verdict:
        capacity = site.capacity(interval.point, interval.start_ms, interval.end_ms)
        verdict = judge(interval, capacity, site, self._release)
        if capacity is None or capacity.status is PointStatus.NORMAL:
            if capacity is not None and self._used.pop(interval.point, None) is not None:
                self.changed = True
            return verdict
        used = self._taken(interval, capacity, verdict, site)
        return replace(verdict, running=_running(used, capacity, site.terms(interval.point, interval.end_ms)))

    def _taken(self, interval: Interval, capacity: Capacity, verdict: Verdict, site: Site) -> _Used:
        used = self._used.get(interval.point)
        if used is None or used.from_ms != capacity.fact.from_ms:
            used = self._used[interval.point] = _Used(capacity.fact.from_ms)
        day = site.local_day(interval.point, interval.end_ms).toordinal()
        if verdict.answer is Answer.BREACH and day > used.last_day:
            used.days, used.last_day, self.changed = used.days + 1, day, True
        if interval.block and interval.count == 1 and interval.end_ms > used.end_ms:
            used.end_ms = interval.end_ms
            demand = next(iter(interval.demands), None)
            if demand is not None and not interval.spans:
                used.flow.add(demand.active, demand.source, interval.start_ms, interval.end_ms)
        return used


def judge(interval: Interval, capacity: Capacity | None, site: Site, release: Release) -> Verdict:
    """The interval against what may run; while nothing is suspended there is nothing to find."""
    if interval.spans:
        return cannot_say(interval, interval.spans)
    if capacity is None:
        return cannot_say(interval, "capacity_unknown")
    facts = (capacity.fact, *site.k_facts(interval.point, interval.end_ms))
    if capacity.status is PointStatus.NORMAL:
        return Verdict(
            interval.point, Answer.CLEAR, interval.start_ms, interval.end_ms, block=interval.block,
            reason="nothing_suspended", facts=facts,
        )  # fmt: skip
    if capacity.running > 0:
        return against(interval, release, capacity.running, facts, unit=capacity.unit)
    ratings = site.ratings(interval.point, interval.end_ms)
    plate_va = ratings.transformer_va or capacity.contracted
    if ratings.plate is not None:
        facts = (ratings.plate, *facts)
    least_w = max(release.params["least_share"] * plate_va, release.params["least_w"])
    return against(interval, release, least_w, facts, unit="W")


def _running(used: _Used, capacity: Capacity, terms: Any) -> dict[str, Any]:
    out: dict[str, Any] = {
        "suspended_since_ms": used.from_ms,
        "used_kwh": floor(used.flow.band.low / 100) / 10,
        "used_days": used.days,
    }
    if terms is None:
        return out
    from edge_agent.audit import estimates

    idle = capacity.contracted - capacity.running
    estimate = estimates.outside(terms, capacity, "suspended", idle, used.days)
    return out if estimate is None else {**out, "estimate": estimate}


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from view.studied


TOPIC = AuditTopic(
    "cap-suspended-use", examine, needs=("active_demand",), blinded_by=("dat-implausible", "met-fly"),
    biased_by=("met-curr-loss", "met-phase-break", "met-volt-loss"), study=UsedSince,
)  # fmt: skip
