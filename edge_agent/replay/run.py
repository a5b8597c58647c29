"""Rows through the core: the same ledger, topics and life of findings as live, with time from the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from edge_agent.archive import Archive
from edge_agent.assembly import core_with, grid_offset_ms, load_point, resolution
from edge_agent.audit.topic import Release, Verdict
from edge_agent.core import Core
from edge_agent.load.points import LoadPoint
from edge_agent.load.views import Interval
from edge_agent.model import CUMULATIVE, DeviceSpec, Ms, PointId, Quantity, Reading, Register
from edge_agent.replay.report import PointReport
from edge_agent.replay.rows import ReplayError, Rows

CAPACITY_TOPICS = ("cap-over-contract", "cap-demand-over")
STRETCH = 1000
"""Rows between two signs of progress."""


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
    registers = {r.quantity: r for r in device.profile.registers}
    absent = [q.value for q in sorted(rows.quantities & CUMULATIVE) if q not in registers]
    if absent:
        raise ReplayError(f"profile {device.profile.name} of the point's meter has no register {', '.join(absent)}")
    load = _point(rows, archive, point, device)
    core = core_with(archive, [load], releases, gateway=gateway)
    blocks = replace(load, period_ms=rows.step_ms, slide_ms=rows.step_ms)
    figures = core if load.period_ms == rows.step_ms else core_with(archive, [blocks], releases, gateway=gateway)
    begin_ms, end_ms = _span(rows)
    report = PointReport(point, rows.step_ms, load.period_ms, _blocks_in(blocks, begin_ms, end_ms))
    heard: dict[str, list[Verdict]] = {topic: [] for topic in CAPACITY_TOPICS}

    def hear(said: Mapping[str, Sequence[Verdict]]) -> None:
        for topic, verdicts in heard.items():
            verdicts += said.get(topic, ())

    figures.hearers.append(hear)

    def settle(at_ms: Ms) -> None:
        for verdicts in heard.values():
            verdicts.clear()
        outcome = core.settle(at_ms)
        for step in outcome.steps:
            report.findings.setdefault(step.finding, []).append(step)
        closed = (outcome if figures is core else figures.settle(at_ms)).closed
        _count(report, archive, (begin_ms, end_ms), closed, heard)

    for index, (at_ms, values) in enumerate(zip(rows.times_ms, rows.values, strict=True), start=1):
        for each in {core, figures}:
            _feed(each, load, registers, at_ms, rows.step_ms, values)
        settle(at_ms)
        if index % STRETCH == 0:
            progress(index)
    if rows.powers and rows.values[-1].keys() != rows.quantities:
        # Windows wait for a quantity that has only just stopped; it will not come any more.
        for each in {core, figures}:
            each.ledger.feed_mean(point, end_ms + 4 * rows.step_ms, 1, dict.fromkeys(rows.powers, 0.0))
        settle(end_ms + 4 * rows.step_ms)
    progress(len(rows))
    known_ms = load.k[0][0] if load.k else end_ms
    without_k = 0 if rows.powers else _blocks_in(blocks, begin_ms, min(max(begin_ms, known_ms), end_ms))
    report.end(ratio_unknown=without_k)
    report.open_counts = {f.id: f.counts.told() for f in core.lifecycle.open_findings(point)}
    return report


def _point(rows: Rows, archive: Archive, point: PointId, device: DeviceSpec) -> LoadPoint:
    """The point as its data allow. Means cannot be cut: where there are any, windows end only where rows end."""
    known = archive.points[point]
    load = replace(
        load_point(archive, known, device), poll_ms=rows.step_ms, quantities=rows.quantities, has_serial=False
    )
    if not rows.powers:
        return load
    step_ms = rows.step_ms
    fits = step_ms <= load.period_ms and load.period_ms % step_ms == 0
    period_ms = load.period_ms if fits else step_ms
    offset = rows.times_ms[0] % step_ms if rows.times_ms[0] % step_ms else grid_offset_ms(known, period_ms)
    return replace(load, period_ms=period_ms, slide_ms=step_ms, grid_offset_ms=offset)


def _span(rows: Rows) -> tuple[Ms, Ms]:
    """What the data speak of: a mean vouches for its whole row, a register reading for its instant."""
    return rows.times_ms[0] - (rows.step_ms if rows.powers else 0), rows.times_ms[-1]


def _blocks_in(load: LoadPoint, begin_ms: Ms, end_ms: Ms) -> int:
    """Blocks of the point's grid that lie wholly inside."""
    first = -((load.grid_offset_ms - begin_ms) // load.period_ms)
    last = (end_ms - load.grid_offset_ms) // load.period_ms
    return max(0, last - first)


def _feed(
    core: Core,
    load: LoadPoint,
    registers: Mapping[Quantity, Register],
    at_ms: Ms,
    step_ms: Ms,
    values: Mapping[Quantity, float],
) -> None:
    powers = {q: v for q, v in values.items() if q not in CUMULATIVE}
    if powers:
        core.ledger.feed_mean(load.id, at_ms, step_ms, powers)
    readings = [
        (Reading(load.device, q, v, resolution(registers[q], v), at_ms, None), at_ms)
        for q, v in values.items()
        if q in CUMULATIVE
    ]
    if readings:
        core.ledger.feed(readings)


def _count(
    report: PointReport,
    archive: Archive,
    span: tuple[Ms, Ms],
    closed: Sequence[Interval],
    heard: Mapping[str, Sequence[Verdict]],
) -> None:
    begin_ms, end_ms = span
    own = {i.end_ms: i for i in closed if i.block and i.count == 1 and begin_ms <= i.start_ms and i.end_ms <= end_ms}
    days = {ms: str(archive.local_day(report.point, ms)) for ms in own}
    for ms, interval in own.items():
        report.add(interval, days[ms])
    for topic in CAPACITY_TOPICS:
        # A mean over several intervals ends where the last of them does, and is none of them.
        judged = [v for v in heard[topic] if v.block and v.periods == 1 and v.end_ms in own]
        if any(v.reason != "contract_in_other_unit" for v in judged):
            for verdict in judged:
                report.judge(verdict, days[verdict.end_ms])
            return
