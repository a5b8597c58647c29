"""运营动态: how each point stands, worked out in one place for messages, status and pages.

Of the last closed block: demand with its bounds, load rate and power factor. Of the day so far: how much of it readings
vouch for. What cannot be said is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, isnan

from edge_agent.archive import Archive
from edge_agent.audit.track import FindingState
from edge_agent.core import Core
from edge_agent.load.views import Band, Interval
from edge_agent.model import Ms, PointId


@dataclass(frozen=True, slots=True)
class PointPicture:
    """One point as it stands."""

    point: PointId
    trial: bool
    end_ms: Ms | None  # of the block that demand, load rate and power factor are of
    active_w: Band | None
    apparent_va: Band | None
    load_rate: float | None  # demand over running capacity
    power_factor: float | None
    completeness: float | None  # share of the local day so far that readings vouch for
    open: tuple[FindingState, ...]


def picture_of(point: PointId, core: Core, archive: Archive, now_ms: Ms | None) -> PointPicture:
    interval = core.interval.get(point)
    active, apparent = _bands(interval)
    vouched = core.days.vouched(point)
    return PointPicture(
        point=point,
        trial=now_ms is None or not archive.accepted(point, now_ms),
        end_ms=None if interval is None else interval.end_ms,
        active_w=active,
        apparent_va=apparent,
        load_rate=_load_rate(interval, archive, active, apparent),
        power_factor=_power_factor(active, apparent),
        completeness=None if vouched is None or not vouched[1] else min(1.0, vouched[0] / vouched[1]),
        open=tuple(core.lifecycle.open_findings(point)),
    )


def _bands(interval: Interval | None) -> tuple[Band | None, Band | None]:
    """The first of its sources that has each; one whose value is not known is none."""
    if interval is None or interval.spans:
        return None, None
    active = next((d.active for d in interval.demands if d.active is not None and not isnan(d.active.value)), None)
    apparent = (d.apparent for d in interval.demands)
    return active, next((b for b in apparent if b is not None and not isnan(b.value)), None)


def _load_rate(interval: Interval | None, archive: Archive, active: Band | None, apparent: Band | None) -> float | None:
    if interval is None:
        return None
    capacity = archive.capacity(interval.point, interval.start_ms, interval.end_ms)
    if capacity is None or capacity.running <= 0:
        return None
    band = apparent if capacity.unit == "VA" else active
    return None if band is None else max(0.0, band.value) / capacity.running


def _power_factor(active: Band | None, apparent: Band | None) -> float | None:
    """Of the block's means; None at no load, where it says nothing."""
    if active is None or apparent is None or not isfinite(apparent.value) or apparent.value <= 0 or active.value < 0:
        return None
    return min(1.0, active.value / apparent.value)
