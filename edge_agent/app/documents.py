"""What the agent says about itself: status, heartbeat and points to the centre, and the fuller `status` to a person."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, isfinite
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec import UNSET, UnsetType

from edge_agent.app.fieldstate import FieldState
from edge_agent.app.identity import Identity
from edge_agent.app.operations import PointPicture, picture_of
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
from edge_agent.load.views import Band
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
    _told: dict[PointId, tuple[PointState, bytes]] = field(default_factory=dict)

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
        return {p: self._point(p) for p in self.archive.points}

    def picture(self, point: PointId) -> PointPicture:
        """运营动态 of one point."""
        return picture_of(point, self.core, self.archive, self._now_ms())

    def _point(self, point: PointId) -> bytes:
        """What stood when something of it last changed: findings, acceptance, or a step of its load.

        The figures beside these change with every block, and are no reason to send it again.
        """
        picture = self.picture(point)
        rate, pf, whole = picture.load_rate, picture.power_factor, picture.completeness
        state = PointState(
            state="trial" if picture.trial else "accepted",
            load=UNSET if rate is None else round(int(rate / LOAD_STEP) * LOAD_STEP, 1),
            findings=[
                OpenFinding(
                    finding=f.id, topic=f.id.split(".")[2], severity=cast(Any, f.severity), since=rfc3339(f.opened_ms)
                )
                for f in picture.open
            ],
        )
        told = self._told.get(point)
        if told is None or told[0] != state:
            figures = msgspec.structs.replace(
                state,
                at=self._at(),
                end=UNSET if picture.end_ms is None else rfc3339(picture.end_ms),
                p=_bounds(picture.active_w),
                s=_bounds(picture.apparent_va),
                pf=UNSET if pf is None else round(pf, 2),
                completeness=UNSET if whole is None else floor(whole * 1000) / 1000,
            )
            told = self._told[point] = (state, msgspec.json.encode(figures))
        return told[1]

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
        picture = self.picture(point)
        return {
            "id": point,
            "trial": picture.trial,
            "load_rate": picture.load_rate,
            "demand_end": None if picture.end_ms is None else rfc3339(picture.end_ms),
            "demand_w": _plain(picture.active_w),
            "demand_va": _plain(picture.apparent_va),
            "power_factor": picture.power_factor,
            "completeness": picture.completeness,
            "topics": [
                {"topic": topic, "answer": v.answer.value, "reason": v.reason, "said": self._said(point, v)}
                for (topic, p), v in sorted(self.core.last.items())
                if p == point
            ],
            "unknown": [
                {"from": rfc3339(u.start_ms), "to": rfc3339(u.end_ms), "reason": u.why, "said": say(f"verdict.{u.why}")}
                for u in self.core.unknown.get(point, ())
            ],
            "open": [{"finding": f.id, "severity": f.severity} for f in picture.open],
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


def _plain(band: Band | None) -> list[float | None] | None:
    """low, value, high; a bound that is not known is None."""
    return None if band is None else [round(b, 1) if isfinite(b) else None for b in band]


def _bounds(band: Band | None) -> Any:
    """low, value, high to whole W or VA; absent where one is not known."""
    if band is None or not all(map(isfinite, band)):
        return UNSET
    return floor(band.low), round(band.value), ceil(band.high)


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


__all__ = ["Documents", "resident_bytes"]
