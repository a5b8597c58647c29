"""Asks meters for what they recorded while nobody read them, and hands it to the core.

One gap at a time per point, a day at a time, between the polls of its link. A meter that has not written its newest
period yet is asked again; one that keeps no profile, or refuses it, is given up at once and the gap stays unknown. What
could not be had while the core waited for it is asked for on and on, once an hour, for as long as it is still news.
Nothing is taken that a clock has stamped which is known to be off.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import structlog

from edge_agent.backfill import Missing
from edge_agent.core import Core
from edge_agent.load.points import LoadPoint
from edge_agent.load.recorded import recorded_periods, why_unknown
from edge_agent.model import DeviceId, GapCause, Ms, PointId, Recorded
from edge_agent.poller import Poller
from edge_agent.ports import DriverError

log = structlog.get_logger()

SETTLED_MS = 30_000
"""After the end of the gap's last period: a meter writes a period down when it has ended."""

AGAIN_MS = 60_000
LATE_AGAIN_MS = 3_600_000
CHUNK_MS = 86_400_000
ATTEMPTS = 4
"""So often a profile may lack periods before the rest is taken for lost."""

REFUSED, CLOCK_OFF, SILENT = "gap_refused", "gap_clock_off", "gap_not_had"
"""Why a gap stays unknown, as codes of `words`."""


class BackFilling:
    """Follows the gaps that the core names. `poller_of`: who speaks with a device."""

    def __init__(self, core: Core, poller_of: Callable[[DeviceId], Poller | None]) -> None:
        self._core = core
        self._poller_of = poller_of
        self._points: Mapping[PointId, LoadPoint] = {p.id: p for p in core.ledger.points}
        self._asking: dict[PointId, asyncio.Task[None]] = {}
        self._next_ms: dict[PointId, Ms] = {}
        self._attempts: dict[PointId, int] = {}
        self._gaps: dict[PointId, Missing] = {}

    def follow(self, missing: Iterable[Missing], now_ms: Ms) -> None:
        """Each tick: ask for what is due. UTC ms."""
        gaps = {m.point: m for m in missing}
        for point in [p for p in self._gaps if p not in gaps or gaps[p].late != self._gaps[p].late]:
            self._attempts.pop(point, None)  # judged by now, one way or another
            self._next_ms.pop(point, None)
        self._gaps = gaps
        for gap in gaps.values():
            due_ms = max(gap.end_ms + SETTLED_MS, self._next_ms.get(gap.point, 0))
            if gap.point not in self._asking and now_ms >= due_ms:
                self._attempts.setdefault(gap.point, 0)
                self._next_ms[gap.point] = now_ms + (LATE_AGAIN_MS if gap.late else AGAIN_MS)
                task = asyncio.get_running_loop().create_task(self._ask(gap), name=f"profile {gap.point}")
                self._asking[gap.point] = task
                task.add_done_callback(partial(self._asked, gap.point))

    def stop(self) -> None:
        for task in self._asking.values():
            task.cancel()

    def _asked(self, point: PointId, task: asyncio.Task[None]) -> None:
        del self._asking[point]
        if not task.cancelled() and (bug := task.exception()) is not None:
            log.error("back-fill failed", point=point, cause=repr(bug))

    async def _ask(self, gap: Missing) -> None:
        point = self._points[gap.point]
        poller = self._poller_of(point.device)
        if poller is None:
            self._core.give_up(gap.point, REFUSED, gap)
            return
        if self._core.witness.is_clock_off(point.device):
            self._core.gaps.note(gap.point, CLOCK_OFF)
            log.warning("load profile not asked for: the meter's clock is off", point=gap.point, device=point.device)
            return
        entries: list[Recorded] = []
        try:
            at = gap.start_ms - point.period_ms  # a register profile needs the entry before the first period
            while at < gap.end_ms:
                until = min(at + CHUNK_MS, gap.end_ms)
                entries += await poller.recorded(point.device, at, until)
                at = until
        except DriverError as error:
            self._failed(gap, point.device, error)
            return
        self._take(gap, point, entries)

    def _take(self, gap: Missing, point: LoadPoint, entries: list[Recorded]) -> None:
        wanted = (gap.end_ms - gap.start_ms) // point.period_ms
        periods = [i for i in recorded_periods(point, entries) if gap.start_ms < i.end_ms <= gap.end_ms]
        self._attempts[gap.point] = self._attempts.get(gap.point, 0) + 1
        known = sum(i.count for i in periods)
        if known < wanted and self._attempts[gap.point] < ATTEMPTS and not gap.late:
            return  # the newest may not be written yet
        why = why_unknown(point, entries, gap.start_ms, gap.end_ms)
        filled = self._core.fill(gap.point, periods, why, gap)
        log.info(
            "gap filled from the meter's load profile" if filled.periods else "load profile says nothing of the gap",
            point=gap.point, device=point.device, periods=filled.periods, of=wanted, contradicted=filled.contradicted,
            **Counter(why.values()),
        )  # fmt: skip
        if not filled.periods:
            reasons = Counter(why.values())
            code = reasons.most_common(1)[0][0] if reasons and not filled.contradicted else ""
            self._core.give_up(gap.point, code, gap)

    def _failed(self, gap: Missing, device: DeviceId, error: DriverError) -> None:
        log.warning("load profile not read", point=gap.point, device=device, cause=error.cause.value, detail=str(error))
        if error.cause is GapCause.REFUSED:
            self._core.give_up(gap.point, REFUSED, gap)
        else:
            self._core.gaps.note(gap.point, CLOCK_OFF if error.code.endswith("clock_off") else SILENT)
