"""What a verdict says, as a finding keeps it, and back; and whether the two are about the same time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.audit.topic import Answer, Verdict
from edge_agent.audit.track import FindingState, Track


def meanwhile(finding: FindingState, verdict: Verdict) -> bool:
    """Whether a verdict is about a time which the finding's last episode shares."""
    start_ms = min(int(finding.measured["start_ms"]), finding.from_ms or int(finding.measured["start_ms"]))
    end_ms = max(int(finding.measured["end_ms"]), finding.last_ms)
    return verdict.start_ms <= end_ms and start_ms <= verdict.end_ms


def kept_of(verdict: Verdict) -> dict[str, Any]:
    return {
        **verdict.measured,
        **verdict.running,
        "low": verdict.low,
        "high": verdict.high,
        "start_ms": verdict.start_ms,
        "end_ms": verdict.end_ms,
        "block": verdict.block,
        "facts": list(verdict.facts),
        "origin": verdict.origin,
        **({"held_s": verdict.held_s} if verdict.held_s else {}),
    }


def as_verdict(track: Track, measured: Mapping[str, Any]) -> Verdict:
    return Verdict(
        track.point, Answer.BREACH, measured["start_ms"], measured["end_ms"],
        low=measured["low"], high=measured["high"], block=measured["block"],
    )  # fmt: skip
