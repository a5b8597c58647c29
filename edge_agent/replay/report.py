"""What recorded data say about one point, in figures, on blocks of the data's own step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan
from typing import Any

from edge_agent.audit.topic import Answer, Step, StepKind, Verdict
from edge_agent.load.views import Interval
from edge_agent.model import Ms, PointId


@dataclass(slots=True)
class PointReport:
    """`intervals`: every block between the first row and the last, those that nobody vouches for too."""

    point: PointId
    step_ms: Ms  # of the figures
    period_ms: Ms  # on which the topics judge
    intervals: int
    over_contract: int = 0
    days: set[str] = field(default_factory=set)
    longest_run: int = 0
    max_va: float | None = None
    max_w: float | None = None
    unknown: Counter[str] = field(default_factory=Counter)
    """Blocks that cannot be judged, by the reason."""
    findings: dict[str, list[Step]] = field(default_factory=dict)
    day_peaks: dict[str, float] = field(default_factory=dict)
    """The highest apparent demand of each day, VA."""
    day_limits: dict[str, float] = field(default_factory=dict)
    """The running capacity that each day was judged against, VA."""
    open_counts: dict[str, dict[str, int | float]] = field(default_factory=dict)
    """Of the findings that are still open where the data end: what was counted since their last step."""
    _seen: int = 0
    _covered: float = 0.0
    _run: int = 0
    _last_over_end: Ms = 0

    def add(self, interval: Interval, day: str) -> None:
        """A closed block: its figures, where readings vouch for it."""
        self._seen += 1
        self._covered += interval.coverage
        for demand in interval.demands[:1]:
            if demand.active is not None and not isnan(demand.active.value):
                self.max_w = _most(self.max_w, demand.active.value)
            if demand.apparent is not None and not isnan(demand.apparent.value):
                self.max_va = _most(self.max_va, demand.apparent.value)
                self.day_peaks[day] = max(self.day_peaks.get(day, 0.0), demand.apparent.value)

    def judge(self, verdict: Verdict, day: str) -> None:
        """The capacity topic's answer about a block that was added."""
        if "limit_va" in verdict.measured:
            self.day_limits[day] = verdict.measured["limit_va"]
        if verdict.answer is Answer.UNKNOWN:
            self.unknown[verdict.reason] += 1
        if verdict.low <= 1.0:
            return
        self.over_contract += 1
        self.days.add(day)
        self._run = self._run + 1 if verdict.start_ms == self._last_over_end else 1
        self.longest_run, self._last_over_end = max(self.longest_run, self._run), verdict.end_ms

    def end(self, *, ratio_unknown: int) -> None:
        """The data are over. Blocks that never closed had no readings, or readings that nobody could multiply."""
        unseen = self.intervals - self._seen
        for reason, count in (("ratio_unknown", min(unseen, ratio_unknown)), ("gap", unseen - ratio_unknown)):
            if count > 0:
                self.unknown[reason] += count

    def plain(self) -> dict[str, Any]:
        """For `--json`: kW and kVA to the hundredth, None where none was measured, times as UTC ms."""
        return {
            "intervals": self.intervals,
            "step_min": self.step_ms / 60_000,
            "period_min": self.period_ms / 60_000,
            "over_contract": self.over_contract,
            "days_over": len(self.days),
            "longest_run": self.longest_run,
            "max_kva": None if self.max_va is None else round(self.max_va / 1000, 2),
            "max_kw": None if self.max_w is None else round(self.max_w / 1000, 2),
            "coverage": round(self._covered / self.intervals, 4) if self.intervals else 0.0,
            "unknown": dict(sorted(self.unknown.items())),
            "findings": [_finding(steps, self.open_counts) for steps in self.findings.values()],
        }


def _most(known: float | None, value: float) -> float:
    return value if known is None else max(known, value)


def _finding(steps: list[Step], open_counts: Mapping[str, Mapping[str, int | float]]) -> dict[str, Any]:
    first, last = steps[0], steps[-1]
    cleared = [s for s in steps if s.kind is StepKind.CLEARED]
    return {
        "finding": first.finding,
        "topic": first.topic,
        "release": first.release,
        "episode": first.episode,
        "severity": last.severity.value,
        "route": last.route.value,
        "trial": last.trial,
        "check_archive": last.check_archive,
        "opened_ms": first.opened_ms,
        "cleared_ms": cleared[-1].time_ms if cleared and not last.active else None,
        "active": last.active,
        **open_counts.get(first.finding, last.counts),
        "steps": [
            {"kind": s.kind.value, "at_ms": s.time_ms, "severity": s.severity.value, "reason": s.reason} for s in steps
        ],
    }
