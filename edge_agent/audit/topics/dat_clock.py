"""时钟超差: is the meter's clock right, by the gateway's?

The meter was asked and answered within the release's latency, and shows whole seconds: both are taken off. While the
gateway's own clock has no source that vouches for it, there is nothing to hold the meter's against.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.views import Claim, LoadView, Role
from edge_agent.model import ClockQuality, ClockState

VOUCHED = frozenset({ClockQuality.SYNCED, ClockQuality.CENTRAL, ClockQuality.HOLDOVER})


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for claim in view.claims:
        if claim.role is Role.METER and claim.ahead_ms is not None:
            yield _verdict(claim, claim.ahead_ms, view.clock, release)


def _verdict(claim: Claim, ahead_ms: int, clock: ClockState | None, release: Release) -> Verdict:
    plain = Verdict(claim.point, Answer.UNKNOWN, claim.at_ms, claim.at_ms, decided_ms=claim.at_ms, confirmed=True,
                    block=False)  # fmt: skip
    if clock is None or clock.quality not in VOUCHED or clock.error_ms is None:
        return replace(plain, reason="gateway_clock")
    bound_s = float(release.params["latency_s"]) + float(release.params["step_s"]) + clock.error_ms / 1000
    ahead_s = ahead_ms / 1000
    low, high = max(0.0, abs(ahead_s) - bound_s), abs(ahead_s) + bound_s
    first = release.levels[0].above
    answer = Answer.BREACH if low > first else Answer.CLEAR if high < release.clear.below else Answer.BETWEEN
    return replace(
        plain, answer=answer, low=round(low, 1), high=round(high, 1),
        measured={
            "device": claim.device,
            "shown": str(claim.value),
            "ahead_s": {"low": round(ahead_s - bound_s, 1), "value": round(ahead_s, 1),
                        "high": round(ahead_s + bound_s, 1)},
            "off_s": round(low, 1),
            "way": "ahead" if ahead_s > 0 else "behind",
            "gateway_clock": clock.quality.value,
            "gateway_error_ms": clock.error_ms,
        },
    )  # fmt: skip


TOPIC = AuditTopic("dat-clock", examine, needs=("meter_clock",))
