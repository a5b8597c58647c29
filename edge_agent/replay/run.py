"""Rows through the core: the same ledger, topics and life of findings as live, with time from the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import isnan
from typing import Any

from edge_agent.archive import Archive
from edge_agent.assembly import core_with, grid_offset_ms, load_point
from edge_agent.audit.topic import Answer, Release, Step, StepKind, Verdict
from edge_agent.core import Core
from edge_agent.load.points import LoadPoint
from edge_agent.load.views import Interval
from edge_agent.model import CUMULATIVE, DeviceSpec, Ms, PointId, Quantity, Reading
from edge_agent.replay.rows import ReplayError, Rows

CAPACITY_TOPICS = ("cap-over-contract", "cap-demand-over")
STRETCH = 1000
"""Rows between two signs of progress."""


@dataclass(slots=True)
class PointReport:
    """What the data say about one point, on blocks of the data's own step."""

    point: PointId
    intervals: int = 0
    over_contract: int = 0
    days: set[str] = field(default_factory=set)
    longest_run: int = 0
    max_va: float = 0.0
    max_w: float = 0.0
    covered: float = 0.0
    unknown: Counter[str] = field(default_factory=Counter)
    findings: dict[str, list[Step]] = field(default_factory=dict)
    day_peaks: dict[str, float] = field(default_factory=dict)
    limit_va: float | None = None
    counts: dict[str, dict[str, int | float]] = field(default_factory=dict)
    """Of the findings that are still open where the data end: what was counted since their last step."""
    _run: int = 0
    _last_over_end: Ms = 0

    def add(self, interval: Interval, day: str) -> None:
        """A closed block: its figures, where the readings vouch for it."""
        demand = interval.register or interval.sampled
        self.intervals += 1
        self.covered += interval.coverage
        if demand is None:
            return
        if demand.active is not None and not isnan(demand.active.value):
            self.max_w = max(self.max_w, demand.active.value)
        if demand.apparent is not None and not isnan(demand.apparent.value):
            self.max_va = max(self.max_va, demand.apparent.value)
            self.day_peaks[day] = max(self.day_peaks.get(day, 0.0), demand.apparent.value)

    def judge(self, verdict: Verdict, day: str) -> None:
        self.limit_va = verdict.measured.get("limit_va", self.limit_va)
        if verdict.answer is Answer.UNKNOWN:
            self.unknown[verdict.reason] += 1
        if verdict.low <= 1.0:
            return
        self.over_contract += 1
        self.days.add(day)
        self._run = self._run + 1 if verdict.start_ms == self._last_over_end else 1
        self.longest_run, self._last_over_end = max(self.longest_run, self._run), verdict.end_ms

    def plain(self) -> dict[str, Any]:
        """For `--json`: kW and kVA to the hundredth, times as UTC ms."""
        return {
            "intervals": self.intervals,
            "over_contract": self.over_contract,
            "days_over": len(self.days),
            "longest_run": self.longest_run,
            "max_kva": round(self.max_va / 1000, 2),
            "max_kw": round(self.max_w / 1000, 2),
            "coverage": round(self.covered / self.intervals, 4) if self.intervals else 0.0,
            "unknown": dict(sorted(self.unknown.items())),
            "findings": [_finding(steps, self.counts) for steps in self.findings.values()],
        }


def replay(
    rows: Rows,
    archive: Archive,
    point: PointId,
    device: DeviceSpec,
    releases: Mapping[str, Release],
    *,
    gateway: str,
    progress: Callable[[int], None] = lambda done: None,
) -> PointReport:
    """One point's rows, judged. Raises `ReplayError` when the point cannot take them."""
    if point not in archive.points:
        raise ReplayError(f"point {point!r} is not in the site file; it has {', '.join(archive.points) or 'none'}")
    load = _point(rows, archive, point, device)
    core = core_with(archive, [load], releases, gateway=gateway)
    since_ms = rows.times_ms[0] - rows.step_ms  # nothing is known of what was before
    report = PointReport(point)
    own_blocks = load.period_ms == rows.step_ms
    figures = core if own_blocks else core_with(archive, [_blocks(load, rows)], releases, gateway=gateway)
    for index, (at_ms, values) in enumerate(zip(rows.times_ms, rows.values, strict=True), start=1):
        _feed(core, load, at_ms, rows.step_ms, values)
        outcome = core.settle(at_ms)
        for step in outcome.steps:
            report.findings.setdefault(step.finding, []).append(step)
        if figures is core:
            _count(report, archive, since_ms, outcome.closed, outcome.verdicts)
        else:
            _feed(figures, load, at_ms, rows.step_ms, values)
            block = figures.settle(at_ms)
            _count(report, archive, since_ms, block.closed, block.verdicts)
        if index % STRETCH == 0:
            progress(index)
    progress(len(rows))
    report.counts = {f.id: f.counts.told() for f in core.lifecycle.open_findings(point)}
    return report


def _point(rows: Rows, archive: Archive, point: PointId, device: DeviceSpec) -> LoadPoint:
    """The point as its data allow: windows end only where rows end."""
    known = archive.points[point]
    load = load_point(archive, known, device)
    if rows.quantities & CUMULATIVE:
        return replace(load, poll_ms=rows.step_ms, quantities=rows.quantities, has_serial=False)
    step_ms = rows.step_ms
    fits = step_ms <= load.period_ms and load.period_ms % step_ms == 0
    offset = rows.times_ms[0] % step_ms if rows.times_ms[0] % step_ms else grid_offset_ms(known, load.period_ms)
    return replace(
        load,
        period_ms=load.period_ms if fits else step_ms,
        slide_ms=step_ms,
        poll_ms=step_ms,
        quantities=rows.quantities,
        has_serial=False,
        grid_offset_ms=offset,
    )


def _blocks(load: LoadPoint, rows: Rows) -> LoadPoint:
    return replace(load, period_ms=rows.step_ms, slide_ms=rows.step_ms)


def _feed(core: Core, load: LoadPoint, at_ms: Ms, step_ms: Ms, values: Mapping[Quantity, float]) -> None:
    powers = {q: v for q, v in values.items() if q not in CUMULATIVE}
    if powers:
        core.ledger.feed_mean(load.id, at_ms, step_ms, powers)
    registers = [
        (Reading(load.device, q, v, load.steps.get(q, 0.0), at_ms, None), at_ms)
        for q, v in values.items()
        if q in CUMULATIVE
    ]
    if registers:
        core.ledger.feed(registers)


def _count(
    report: PointReport,
    archive: Archive,
    since_ms: Ms,
    closed: Iterable[Interval],
    verdicts: Mapping[str, Iterable[Verdict]],
) -> None:
    own = [i for i in closed if i.block and i.count == 1 and i.start_ms >= since_ms]
    blocks = {i.end_ms for i in own}
    for interval in own:
        report.add(interval, str(archive.local_day(report.point, interval.end_ms)))
    for topic in CAPACITY_TOPICS:
        judged = [v for v in verdicts.get(topic, ()) if v.block and v.end_ms in blocks]
        if any(v.reason != "contract_in_other_unit" for v in judged):
            for verdict in judged:
                report.judge(verdict, str(archive.local_day(report.point, verdict.end_ms)))
            return


def _finding(steps: list[Step], counts: Mapping[str, Mapping[str, int | float]]) -> dict[str, Any]:
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
        **counts.get(first.finding, last.counts),
        "steps": [{"kind": s.kind.value, "at_ms": s.time_ms, "severity": s.severity.value, "reason": s.reason}
                  for s in steps],
    }  # fmt: skip
