"""未报备发电上网: does energy flow out at a point for which the archive declares no generation?

Most often a record that nobody has entered, hence the archive's answer first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import floor
from typing import Any

from edge_agent.audit.studies.day_by_day import DayByDay
from edge_agent.audit.studies.flow import HOUR_MS, Flow, counted
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict, grade
from edge_agent.load.views import Interval, LoadView
from edge_agent.model import DaySpan, PointId


@dataclass(slots=True)
class Given:
    """What has flowed out today, and in which hours, Wh."""

    flow: Flow = field(default_factory=Flow)
    hours: list[float] = field(default_factory=lambda: [0.0] * 24)

    @classmethod
    def of(cls, plain: Sequence[Any] | None) -> Given:
        return cls() if plain is None else cls(Flow.of(plain[0]), [float(h) for h in plain[1]])

    def plain(self) -> list[Any]:
        return [self.flow.plain(), self.hours]

    def take(self, interval: Interval, span: DaySpan, site: Site) -> None:
        demand = counted(interval)
        if demand is None or demand.export is None:
            return
        self.flow.add(demand.export, demand.source, interval.start_ms, interval.end_ms)
        hour = min(23, floor((interval.end_ms - 1 - span.start_ms) / HOUR_MS))
        self.hours[hour] += demand.export.value * (interval.end_ms - interval.start_ms) / HOUR_MS

    def over(self, point: PointId, span: DaySpan, site: Site, release: Release) -> Iterator[Verdict]:
        flow, hours = self.flow, self.hours
        self.flow, self.hours = Flow(), [0.0] * 24
        facts = site.k_facts(point, span.end_ms)
        if site.ratings(point, span.end_ms).generation:
            yield Verdict(
                point, Answer.CLEAR, span.start_ms, span.end_ms, confirmed=True, reason="generation_declared",
                facts=facts,
            )  # fmt: skip
            return
        if flow.seen_ms == 0:
            yield Verdict(point, Answer.UNKNOWN, span.start_ms, span.end_ms, reason="export_not_measured")
            return
        band = flow.band
        low, high = band.low / 1000, band.high / 1000
        answer, reason = grade(release, low, high), ""
        coverage = flow.seen_ms / (span.end_ms - span.start_ms)
        if answer is Answer.CLEAR and coverage < release.params["least_coverage"]:
            answer, reason = Answer.UNKNOWN, "too_little_of_the_day"
        yield Verdict(
            point, answer, span.start_ms, span.end_ms, low=low, high=high, decided_ms=span.end_ms, confirmed=True,
            reason=reason, facts=facts,
            measured={
                "export_kwh": {"low": round(low, 2), "value": round(band.value / 1000, 2), "high": round(high, 2)},
                "export_by_hour": " ".join(f"{h / 1000:.1f}" for h in hours),
                "day": span.day.isoformat(),
                "coverage": round(coverage, 4),
            },
        )  # fmt: skip


def study(release: Release) -> DayByDay:
    return DayByDay(release, Given.of)


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from view.studied


TOPIC = AuditTopic(
    "tar-export-undeclared", examine, needs=("active_energy_export",), blinded_by=("dat-implausible", "met-fly"),
    study=study,
)  # fmt: skip
