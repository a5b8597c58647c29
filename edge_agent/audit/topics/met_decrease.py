"""示度下降/倒走: did a cumulative register show less than it had shown before?

Rollover and an exchanged meter are not decreases. Without the meter's serial nobody can tell the second from the
first, so the answer is then "cannot say"; and a level that was read only once may have been a bad frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView, RegisterEvent


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for event in view.events:
        if event.kind == "replacement":
            yield Verdict(event.point, Answer.CLEAR, event.before_ms, event.after_ms, key="*", reason="meter_exchanged")
        elif event.kind == "decrease":
            yield _decrease(event, site)


def _decrease(event: RegisterEvent, site: Site) -> Verdict:
    serial = site.serial(event.point, event.after_ms)
    reason = "" if event.confirmed and event.serial_known else "read_once" if event.serial_known else "serial_unknown"
    at = datetime.fromtimestamp(event.after_ms / 1000, UTC).strftime("%Y%m%d%H%M%S")
    return Verdict(
        point=event.point,
        answer=Answer.UNKNOWN if reason else Answer.BREACH,
        start_ms=event.before_ms,
        end_ms=event.after_ms,
        low=event.before - event.after,
        high=event.before - event.after,
        decided_ms=event.after_ms,
        confirmed=True,  # both levels were read twice before the event was told
        key=f"{event.quantity.value.replace('_', '-')}-{at}",
        reason=reason,
        measured={
            "quantity": event.quantity.value,
            "before": event.before,
            "after": event.after,
            "before_at_ms": event.before_ms,
            "after_at_ms": event.after_ms,
            "device": event.device,
        },
        facts=(serial,) if serial is not None else (),
    )


TOPIC = AuditTopic("met-decrease", examine, needs=("energy_register",))
