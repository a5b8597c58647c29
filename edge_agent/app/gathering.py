"""What is frozen with each step of a finding, gathered from the rooms as they are at that tick."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import Any

import structlog

from edge_agent.app.boundaries import Latest
from edge_agent.archive import Archive
from edge_agent.audit.topic import Step
from edge_agent.core import Core
from edge_agent.evidence.document import document
from edge_agent.evidence.frozen import Frozen, freeze
from edge_agent.evidence.recent import Boundary, Recent
from edge_agent.load.views import Interval
from edge_agent.model import ClockQuality, ClockState, DeviceId, DeviceSpec, Gap, Ms, Outcome, PointId
from edge_agent.store import BoundaryRow

log = structlog.get_logger()
EARLIEST_MS, LATEST_MS = 0, 253_402_300_799_999


class Gathering:
    """Fed with what closes; `freeze` before the step's message is written."""

    def __init__(
        self, core: Core, archive: Archive, latest: Latest, specs: Mapping[DeviceId, DeviceSpec] | None = None
    ) -> None:
        self._core = core
        self._specs = specs or {}
        self._archive = archive
        self._latest = latest
        self._recent = Recent()
        self._periods = {p.id: p.period_ms for p in core.ledger.points}

    def feed(self, closed: Iterable[Interval], boundaries: Iterable[BoundaryRow], quality: ClockQuality) -> None:
        self._recent.feed(closed, quality)
        for row in boundaries:
            self._recent.at_boundary(row.device, row.at_ms, row.body)

    def restore(self, intervals: Iterable[Interval], boundaries: Iterable[BoundaryRow]) -> None:
        """The blocks of yesterday and today, and the latest registers, as they were stored."""
        self.feed(intervals, boundaries, ClockQuality.SYNCED)

    def freeze(self, step: Step, said: Mapping[str, Any], clock: ClockState) -> Frozen | None:
        """None where it cannot be frozen, which is said in the log: the finding goes without."""
        start_ms = _instant(step.measured.get("start_ms"), step.time_ms)
        end_ms = max(_instant(step.measured.get("end_ms"), step.time_ms), start_ms)
        point = self._archive.points.get(step.point)
        serial = self._archive.serial(step.point, end_ms) if point is not None else None
        devices = self._devices(step)
        meter = point.meter if point is not None else None
        try:
            plain = document(
                said,
                severity=step.severity.value,
                start_ms=start_ms,
                end_ms=end_ms,
                zone=point.tz if point is not None else UTC,
                release=self._core.releases.get(step.topic),
                serial=str(serial.value) if serial is not None else None,
                clock=clock,
                blocks=self._recent.around(step.point, start_ms, end_ms),
                ends={
                    "start": self._boundary(step.point, meter, start_ms),
                    "end": self._boundary(step.point, meter, end_ms),
                },
                shown=self._shown(devices),
                meter=meter,
                devices=self._specs,
            )
            return freeze(step.finding, step.n, plain)
        except Exception as wrong:  # whatever a topic measured: no bundle keeps its finding from the centre
            log.error("evidence not frozen", finding=step.finding, step=step.n, cause=repr(wrong))
            return None

    def _devices(self, step: Step) -> list[DeviceId]:
        point = self._archive.points.get(step.point)
        named = [point.meter, point.ct] if point is not None else []
        for name in ("device", "devices"):
            value = step.measured.get(name, ())
            named += [value] if isinstance(value, str) else list(value)
        return list(dict.fromkeys(d for d in named if isinstance(d, str) and d in self._latest))

    def _shown(self, devices: Iterable[DeviceId]) -> list[Outcome]:
        """Values first: a gap says less."""
        found = [o for d in devices for _, o in sorted(self._latest[d].items())]
        return sorted(found, key=lambda o: isinstance(o, Gap))

    def _boundary(self, point: PointId, meter: DeviceId | None, at_ms: Ms) -> Boundary | None:
        """The boundary at an instant; of a window that slides, the block's that it lies in ends at or after it."""
        if meter is None:
            return None
        exact = self._recent.boundary(meter, at_ms)
        period_ms = self._periods.get(point, 0)
        if exact is not None or not period_ms:
            return exact
        return self._recent.boundary(meter, at_ms + -at_ms % period_ms)


def _instant(value: Any, otherwise: Ms) -> Ms:
    known = isinstance(value, int | float) and not isinstance(value, bool) and EARLIEST_MS <= value <= LATEST_MS
    return int(value) if known else otherwise
