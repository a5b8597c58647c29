"""阶梯档位预警: has a household's energy of the calendar year come near a step of its tariff, or passed it?

Advice in time, told once for each step. What was used before the agent began to read is not known: what is said to be
passed is passed, and "not yet" is said only of a year that was seen whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from edge_agent.audit.studies.day_by_day import DayByDay
from edge_agent.audit.studies.flow import Flow, counted
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict, grade
from edge_agent.load.views import Interval, LoadView
from edge_agent.model import DaySpan, PointId

DAY_MS = 86_400_000
WHOLE = 0.9999
"""Of the year so far: then nothing of it is missing but the seconds of a restart."""


@dataclass(slots=True)
class Year:
    """Energy drawn since the calendar year began."""

    year: int = 0
    past: int = 0  # the year before, whose steps are over
    flow: Flow = field(default_factory=Flow)

    @classmethod
    def of(cls, plain: Sequence[Any] | None) -> Year:
        return cls() if plain is None else cls(int(plain[0]), int(plain[1]), Flow.of(plain[2]))

    def plain(self) -> list[Any]:
        return [self.year, self.past, self.flow.plain()]

    def take(self, interval: Interval, span: DaySpan, site: Site) -> None:
        if span.day.year != self.year:
            self.past, self.year, self.flow = self.year, span.day.year, Flow()
        demand = counted(interval)
        if demand is not None:
            self.flow.add(demand.active, demand.source, interval.start_ms, interval.end_ms)

    def over(self, point: PointId, span: DaySpan, site: Site, release: Release) -> Iterator[Verdict]:
        if self.past:
            yield Verdict(
                point,
                Answer.CLEAR,
                span.start_ms,
                span.end_ms,
                confirmed=True,
                key=f"{self.past}-*",
                reason="year_over",
            )
            self.past = 0
        terms = site.terms(point, span.end_ms)
        step = None if terms is None else terms.step
        if step is None:
            yield Verdict(point, Answer.UNKNOWN, span.start_ms, span.end_ms, reason="no_step_tariff")
            return
        from edge_agent.tariff import limits_kwh

        band = self.flow.band
        passed = span.day.timetuple().tm_yday
        whole = self.flow.seen_ms >= WHOLE * passed * DAY_MS
        low_kwh, high_kwh = band.low / 1000, band.high / 1000 if whole else inf
        fact = site.tariff_class(point, span.end_ms)
        facts = (*((fact,) if fact is not None else ()), *site.k_facts(point, span.end_ms))
        rule = f"{step.edition.tariff}/{step.id}@{step.edition.version}"
        for number, limit in enumerate(limits_kwh(step), 1):
            for what, share in (("near", float(release.params["near"])), ("passed", 1.0)):
                low, high = low_kwh / (float(limit) * share), high_kwh / (float(limit) * share)
                answer = grade(release, low, high)
                measured: dict[str, Any] = {
                    "year": str(self.year), "step": number, "what": what, "step_kwh": float(limit),
                    "year_kwh": {"low": round(low_kwh, 2)}, "rule": rule,
                    "whole_year": whole,
                }  # fmt: skip
                if whole:
                    measured["projected_kwh"] = round(low_kwh / passed * 365)
                yield Verdict(
                    point, answer, span.start_ms, span.end_ms, low=low, high=high, decided_ms=span.end_ms,
                    confirmed=True, key=f"{self.year}-step-{number}-{what}", measured=measured, facts=facts,
                    reason="" if answer is not Answer.BETWEEN or whole else "year_not_whole",
                )  # fmt: skip


def study(release: Release) -> DayByDay:
    return DayByDay(release, Year.of)


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from view.studied


TOPIC = AuditTopic(
    "tar-step-tier", examine, needs=("active_energy_import",), blinded_by=("dat-implausible", "met-fly"), study=study
)
