"""What a meter says happened to it, judged: shared by the topics that take its word.

The agent has measured nothing of its own here, and says so: `origin` is the meter. What the counter of another meter
shows, or what only a clock places that is off, is "cannot say".
"""

from __future__ import annotations

from typing import Any

from edge_agent.audit.topic import Answer, Site, Verdict
from edge_agent.load.views import Witnessed


def judge_event(event: Witnessed, site: Site, *, weight: float | None = None) -> Verdict:
    """One event as a breach, its weight (or how often it happened) against the levels."""
    reason = "" if event.placed and event.serial_known else "serial_unknown" if event.placed else "meter_clock_off"
    low = float(event.count) if weight is None else weight
    serial = site.serial(event.point, event.end_ms)
    return Verdict(
        point=event.point,
        answer=Answer.UNKNOWN if reason else Answer.BREACH,
        start_ms=event.start_ms,
        end_ms=event.end_ms,
        low=low,
        high=low,
        decided_ms=event.told_ms,
        confirmed=True,  # a counter that rose was read twice, and an entry of the log says its own time
        block=False,  # it is no demand interval
        key=f"{event.code.replace('_', '-')}-{event.id}",
        reason=reason,
        measured=measured_of(event),
        facts=(serial,) if serial is not None else (),
        origin="meter",
    )


def measured_of(event: Witnessed) -> dict[str, Any]:
    """The meter's word, as far as it goes."""
    said: dict[str, Any] = {"event": event.code, "events": event.count, "device": event.device}
    said["said_by"] = ", ".join(event.sources)
    if event.before is not None and event.after is not None:
        said |= {"before": event.before, "after": event.after}
        said |= {"before_ms": event.before_ms, "after_ms": event.after_ms}
    if event.logged_ms:
        said |= {"logged_first_ms": event.logged_ms[0], "logged_last_ms": event.logged_ms[-1]}
    if event.operator:
        said["operator"] = event.operator
    return said
