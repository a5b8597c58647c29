"""疑似私自增容: have the daily peaks risen at once, by much, for good, to about the contract or above it?

A high load is no evidence by itself: the approved transformer may give it. Judged against the contracted capacity S_c;
what may run at present is named too. Where power flows out that nobody has declared, what is drawn says nothing of what
is used, and the answer is "cannot say".
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from edge_agent.audit.studies.daily_peaks import DailyPeaks, PeakDay
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.methods.cusum import StepSeen
from edge_agent.load.views import LoadView
from edge_agent.model import Capacity


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for day in view.studied:
        yield _judge(day, site, release)


def _judge(day: PeakDay, site: Site, release: Release) -> Verdict:
    step, capacity = day.step, day.capacity
    if step is None or capacity is None:
        return Verdict(day.point, Answer.UNKNOWN, day.start_ms, day.end_ms, reason=day.reason)
    up = step.side == "up"
    if up and step.confirmed:
        answer, low, high = Answer.BREACH, day.since.low, day.since.high
    elif up or step.up > 0:
        answer, low, high = Answer.BETWEEN, 1.0, max(1.0, day.since.high)
    else:
        answer, low, high = Answer.CLEAR, 1.0, 1.0
    running = _reckoned(day, step, capacity, site) if answer is Answer.BREACH else {}
    return Verdict(
        point=day.point,
        answer=answer,
        start_ms=day.start_ms,
        end_ms=day.end_ms,
        low=low,
        high=high,
        decided_ms=day.end_ms,
        confirmed=True,  # seven days say the same
        reason="rise_not_confirmed" if answer is Answer.BETWEEN else "",
        measured=_measured(day, step, capacity, release) if up else {},
        running=running,
        facts=(capacity.fact, *site.k_facts(day.point, day.end_ms)),
    )


def _measured(day: PeakDay, step: StepSeen, capacity: Capacity, release: Release) -> dict[str, Any]:
    unit = capacity.unit.lower()
    out: dict[str, Any] = {
        "onset": _date(step.onset_day),
        "step_day": _date(step.step_day),
        "step_days": step.days,
        f"level_before_{unit}": round(step.median),
        f"contracted_{unit}": capacity.contracted,
        f"running_{unit}": capacity.running,
        f"p95_{unit}": round(day.p95),
        "profile_before": _profile(day.before),
        "profile_since": _profile(day.after),
        "profile_unit": f"k{capacity.unit}, mean of each hour of the day",
    }
    if step.level is not None:
        out[f"level_since_{unit}"] = {n: round(getattr(step.level, n)) for n in ("low", "value", "high")}
    if day.ct_most is not None:
        out["ct_load"] = round(day.ct_most, 3)
        if day.ct_most > release.params["ct_witness"]:
            out["ct_says_so_too"] = True
    return out


def _reckoned(day: PeakDay, step: StepSeen, capacity: Capacity, site: Site) -> dict[str, Any]:
    """What is drawn above the contract, for the days that belong to the step."""
    terms = site.terms(day.point, day.end_ms)
    if step.level is None or terms is None:
        return {}
    from edge_agent.audit import estimates

    above = step.level.low - capacity.contracted
    estimate = estimates.outside(terms, capacity, "expansion", above, step.days)
    return {} if estimate is None else {"estimate": estimate}


def _date(ordinal: int | None) -> str:
    return "" if ordinal is None or ordinal < 1 else date.fromordinal(ordinal).isoformat()


def _profile(means: tuple[float, ...]) -> str:
    return " ".join(f"{m / 1000:.1f}" for m in means)


TOPIC = AuditTopic(
    "cap-expansion-suspect", examine, needs=("apparent_demand",), blinded_by=("dat-implausible", "met-fly"),
    biased_by=("met-curr-loss", "met-phase-break", "met-volt-loss"), study=DailyPeaks,
)  # fmt: skip
