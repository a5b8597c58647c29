"""Demand against what a contract allows, with bounds: the question that several capacity topics ask alike."""

from __future__ import annotations

from math import inf, isnan
from typing import Any

from edge_agent.audit.topic import Answer, Release, Site, Verdict, grade
from edge_agent.load.views import Band, Interval, Source

WHOLE = 0.999
"""From this coverage on samples vouch for an interval as a whole."""

WRITTEN_DOWN = frozenset({Source.RECORDED, Source.PROFILE})
"""No next reading can confirm these: a file has none, and a meter's record was held against what its register moved."""

TOO_COARSE = 0.02
"""A register step worth more than this share of the capacity is too coarse to tell a slight overload. [C]"""


def judge_interval(interval: Interval, site: Site, release: Release, *, unit: str) -> Verdict:
    """One interval against running capacity (`unit` "VA") or contracted demand ("W").

    BREACH needs every source that exists, and so does CLEAR (domain rule 2.3); a mean over several intervals can only
    show that one of them was over. Powers are compared in whole VA or W.
    """
    point, end_ms = interval.point, interval.end_ms
    capacity = site.capacity(point, interval.start_ms, end_ms)
    if interval.spans:
        return _unknown(interval, interval.spans)
    if capacity is None:
        return _unknown(interval, "capacity_unknown")
    if capacity.unit != unit:
        return _unknown(interval, "contract_in_other_unit")
    limit = capacity.running if unit == "VA" else capacity.contracted
    if limit <= 0:
        return _unknown(interval, "capacity_suspended")
    bounds = _all_bounds(interval, unit)
    if not bounds:
        return _unknown(interval, "no_reading")
    low, high = min(b[0] for b in bounds) / limit, max(b[1] for b in bounds) / limit
    answer = grade(release, low, high)
    reason = ""
    if interval.count > 1 and answer is not Answer.BREACH:
        answer, reason = Answer.UNKNOWN, "mean_of_several"
    elif answer is not Answer.BREACH and high == inf:
        answer, reason = Answer.UNKNOWN, "active_power_only"
    elif answer is Answer.BETWEEN and any(d.resolution > TOO_COARSE * limit for d in interval.demands):
        reason = "register_too_coarse"
    return Verdict(
        point=point,
        answer=answer,
        start_ms=interval.start_ms,
        end_ms=end_ms,
        low=low,
        high=high,
        decided_ms=interval.decided_ms,
        confirmed=all(d.source in WRITTEN_DOWN for d in interval.demands),
        block=interval.block,
        periods=interval.count,
        reason=reason,
        measured=_measured(interval, limit, unit),
        facts=(capacity.fact, *site.k_facts(point, end_ms)),
    )


def _unknown(interval: Interval, reason: str) -> Verdict:
    return Verdict(
        interval.point, Answer.UNKNOWN, interval.start_ms, interval.end_ms, block=interval.block, reason=reason
    )


def _all_bounds(interval: Interval, unit: str) -> list[tuple[float, float]]:
    """One pair for every source that gives the quantity; with P alone S is at least P, and nothing above is known.

    Samples that miss part of the interval exist for the rest alone: beside registers they may contradict a breach by
    what they allow at most, and are not held against it for what they missed.
    """
    bands = [(d, b) for d in interval.demands if (b := d.active if unit == "W" else d.apparent) is not None]
    if not bands:
        return [_whole(d.active.low, inf) for d in interval.demands if unit == "VA" and d.active is not None]
    return [
        _whole(b.high if d.source is Source.POWER and d.coverage < WHOLE and len(bands) > 1 else b.low, b.high)
        for d, b in bands
    ]


def _whole(low: float, high: float) -> tuple[float, float]:
    """Whole VA or W."""
    return round(low), (inf if high == inf else round(high))


def _measured(interval: Interval, limit: float, unit: str) -> dict[str, Any]:
    demand = next((d for d in interval.demands if d.apparent is not None), interval.demands[0])
    out: dict[str, Any] = {
        "source": demand.source.value,
        "coverage": round(interval.coverage, 4),
        "sources": len(interval.demands),
        "periods": interval.count,
        f"limit_{unit.lower()}": limit,
    }
    for name, band in (
        ("active_w", demand.active),
        ("reactive_var", demand.reactive),
        ("apparent_va", demand.apparent),
    ):
        if band is not None:
            out[name] = _plain(band)
    if demand.active is not None and demand.apparent is not None and demand.apparent.value > 0:
        out["power_factor"] = round(demand.active.value / demand.apparent.value, 4)
    return out


def _plain(band: Band) -> dict[str, float]:
    return {
        name: round(value, 1)
        for name, value in zip(("low", "value", "high"), band, strict=True)
        if not isnan(value) and value != inf
    }
