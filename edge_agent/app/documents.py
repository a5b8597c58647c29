"""What the agent says about itself: status, heartbeat and points to the centre, and the fuller `status` to a person."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec import UNSET, UnsetType

from edge_agent.app.fieldstate import FieldState
from edge_agent.app.identity import Identity
from edge_agent.archive import Archive
from edge_agent.audit.topic import Verdict
from edge_agent.contract.messages import (
    AckProblem,
    Backlog,
    ChainNow,
    ClockNow,
    DiskNow,
    Heartbeat,
    LinkNow,
    Online,
    OpenFinding,
    PointState,
)
from edge_agent.contract.shapes import rfc3339
from edge_agent.core import Core
from edge_agent.fieldbus import FieldLine
from edge_agent.image import ProcessImage
from edge_agent.model import ClockState, LinkId, Ms, PointId
from edge_agent.poller import Poller
from edge_agent.ports import Clock
from edge_agent.store import Store
from edge_agent.uplink import Uplink
from edge_agent.words import say

MIB = 1024 * 1024
PAGE = os.sysconf("SC_PAGE_SIZE")
LOAD_STEP = 0.1


@dataclass(slots=True)
class Documents:
    """Made when asked, from the rooms as they are."""

    identity: Identity
    archive: Archive
    core: Core
    image: ProcessImage
    store: Store
    clock: Clock
    pollers: Sequence[Poller]
    lines: Mapping[LinkId, FieldLine]
    ack: str
    started_bt_ms: Ms
    uplink: Callable[[], Uplink]

    # -- to the centre ------------------------------------------------------------------------------------------

    def status(self) -> bytes:
        stats, (last, head) = self.store.stats(), self.store.head()
        return msgspec.json.encode(
            Online(
                boot_id=self.identity.boot_id,
                at=self._at(),
                agent=self.identity.agent,
                contract="v1",
                clock=self._clock(),
                epoch=self.store.epoch,
                first=min(1, last),
                last=last,
                upto=stats.kept_upto,
                head=head,
                config_digest=f"sha-256:{self.identity.config_digest}",
                archive=self.archive.version,
                release_set=self.identity.site.release_set,
                releases=sorted(r.name for r in self.core.releases.values()),
                ack=cast(Any, self.ack),
            )
        )

    def heartbeat(self) -> bytes:
        stats = self.store.stats()
        report = self.uplink().report
        now_ms = self._now_ms()
        oldest: int | UnsetType = UNSET
        if stats.oldest_unsent_ms is not None and now_ms is not None:
            oldest = max(0, (now_ms - stats.oldest_unsent_ms) // 1000)
        problem = report.acks.kind
        return msgspec.json.encode(
            Heartbeat(
                at=self._at(),
                up_s=max(0, (self.clock.now_ms() - self.started_bt_ms) // 1000),
                clock=self._clock(),
                chain=ChainNow(last=stats.head_seq, upto=stats.kept_upto),
                backlog=Backlog(depth=stats.depth, oldest_s=oldest, dead=stats.dead or UNSET),
                disk=DiskNow(
                    free_mib=stats.disk_free_bytes // MIB,
                    used_mib=(stats.findings_file_bytes + stats.telemetry_file_bytes) // MIB,
                ),
                memory_mib=resident_bytes() // MIB,
                links=[LinkNow(id=p.link, up=p.state.up) for p in self.pollers],
                ack_problem=AckProblem(kind=cast(Any, problem), count=report.acks.count) if problem else UNSET,
                dropped=report.dropped or UNSET,
                archive=self.archive.version,
            )
        )

    def points(self) -> Mapping[str, bytes]:
        return {p: msgspec.json.encode(self._point(p)) for p in self.archive.points}

    def _point(self, point: PointId) -> PointState:
        """Says nothing that changes by itself: it is sent when it differs from what was sent."""
        now_ms = self._now_ms()
        rate = self.load_rate(point)
        return PointState(
            state="accepted" if now_ms is not None and self.archive.accepted(point, now_ms) else "trial",
            load=UNSET if rate is None else round(int(rate / LOAD_STEP) * LOAD_STEP, 1),
            findings=[
                OpenFinding(
                    finding=f.id, topic=f.id.split(".")[2], severity=cast(Any, f.severity), since=rfc3339(f.opened_ms)
                )
                for f in self.core.lifecycle.open_findings(point)
            ],
        )

    def load_rate(self, point: PointId) -> float | None:
        """Demand over running capacity of the last closed interval; None where it cannot be said."""
        interval = self.core.interval.get(point)
        if interval is None:
            return None
        capacity = self.archive.capacity(point, interval.start_ms, interval.end_ms)
        if capacity is None or capacity.running <= 0:
            return None
        bands = (d.apparent if capacity.unit == "VA" else d.active for d in interval.demands)
        value = next((b.value for b in bands if b is not None and not isnan(b.value)), None)
        return None if value is None else max(0.0, value) / capacity.running

    # -- to a person --------------------------------------------------------------------------------------------

    def full(self) -> dict[str, Any]:
        """Everything that `edge-agent status` shows, as plain data."""
        stats, report = self.store.stats(), self.uplink().report
        state = self.clock.state()
        field = FieldState(self.pollers, self.lines, self.image.latest, self.clock.now_ms(), state)
        return {
            "gateway": self.identity.site.gateway,
            "agent": self.identity.agent,
            "boot_id": self.identity.boot_id,
            "clock": {"quality": state.quality.value, "utc": self._at() or None, "error_ms": state.error_ms},
            "links": field.links(),
            "devices": field.devices(self.image.health()),
            "points": [self._point_for_person(p) for p in self.archive.points],
            "store": {
                "epoch": stats.epoch,
                "last": stats.head_seq,
                "upto": stats.kept_upto,
                "depth": stats.depth,
                "dead": stats.dead,
                "disk_free_mib": stats.disk_free_bytes // MIB,
                "findings_share": round(stats.findings_share, 4),
                "failing": stats.failing,
            },
            "uplink": {
                "state": "connected" if report.connected else str(report.fault or "not connected yet"),
                "connects": report.connects,
                "ack_problem": report.acks.kind,
            },
            "memory_mib": round(resident_bytes() / MIB, 1),
        }

    def _point_for_person(self, point: PointId) -> dict[str, Any]:
        now_ms = self._now_ms()
        return {
            "id": point,
            "trial": now_ms is None or not self.archive.accepted(point, now_ms),
            "load_rate": self.load_rate(point),
            "topics": [
                {"topic": topic, "answer": v.answer.value, "reason": v.reason, "said": self._said(point, v)}
                for (topic, p), v in sorted(self.core.last.items())
                if p == point
            ],
            "unknown": [
                {"from": rfc3339(u.start_ms), "to": rfc3339(u.end_ms), "reason": u.why, "said": say(f"verdict.{u.why}")}
                for u in self.core.unknown.get(point, ())
            ],
            "open": [{"finding": f.id, "severity": f.severity} for f in self.core.lifecycle.open_findings(point)],
        }

    def _said(self, point: PointId, verdict: Verdict) -> str:
        if not verdict.reason:
            return say(f"verdict.{verdict.answer.value}")
        if verdict.reason != "register_too_coarse":
            return f"{verdict.answer.value}: {say(f'verdict.{verdict.reason}')}"
        step_w = self.core.ledger.resolution_w(point)
        least = 1 + (verdict.high - verdict.low) / 2  # the middle that a lower bound above the capacity needs
        return say("verdict.register_too_coarse", step_kw=f"{step_w / 1000:.1f}", least=f"{100 * least:.0f} %")

    def _now_ms(self) -> Ms | None:
        return self.clock.state().utc_ms(self.clock.now_ms())

    def _at(self) -> Any:
        now_ms = self._now_ms()
        return UNSET if now_ms is None else rfc3339(now_ms)

    def _clock(self) -> ClockNow:
        state: ClockState = self.clock.state()
        return ClockNow(
            quality=cast(Any, state.quality.value), error_ms=UNSET if state.error_ms is None else state.error_ms
        )


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


__all__ = ["Documents", "resident_bytes"]
