"""示度下降/倒走: did a cumulative register show less than it had shown before?

Rollover and an exchanged meter are not decreases. Without the meter's serial nobody can tell the second from the
first, so the answer is then "cannot say"; and a level that was read only once may have been a bad frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView, RegisterEvent, Witnessed
from edge_agent.model import Ms

WITNESSES = frozenset({"meter_reset", "programming"})
"""What a meter may say happened to it that a register falls by."""

STAMP_MS = 300_000
"""A meter's clock that is off by less is believed, so far."""


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for event in view.events:
        if event.kind == "replacement":
            yield Verdict(event.point, Answer.CLEAR, event.before_ms, event.after_ms, key="*", reason="meter_exchanged")
        elif event.kind == "decrease":
            yield _decrease(event, site, _witness(event, view))
    for said in view.meter_events:
        if said.code in WITNESSES and said.placed:
            start_ms, end_ms = _span(said)
            yield Verdict(
                said.point, Answer.BREACH, start_ms, end_ms, key="*", reason="witness", origin="both",
                measured={"witness": said.code},
            )  # fmt: skip


def _witness(event: RegisterEvent, view: LoadView) -> Witnessed | None:
    """What the meter itself says happened while the register fell."""
    for said in view.witnessed:
        start_ms, end_ms = _span(said)
        meanwhile = start_ms <= event.after_ms and event.before_ms <= end_ms
        if said.device == event.device and said.code in WITNESSES and said.placed and meanwhile:
            return said
    return None


def _span(said: Witnessed) -> tuple[Ms, Ms]:
    """When it happened at the earliest and at the latest."""
    if "counter" in said.sources and said.before_ms is not None and said.after_ms is not None:
        return said.before_ms, said.after_ms
    return said.start_ms - STAMP_MS, said.end_ms + STAMP_MS


def _decrease(event: RegisterEvent, site: Site, witness: Witnessed | None) -> Verdict:
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
            **({"witness": witness.code} if witness is not None else {}),
        },
        origin="agent" if witness is None else "both",
        facts=(serial,) if serial is not None else (),
    )


TOPIC = AuditTopic("met-decrease", examine, needs=("energy_register",))
