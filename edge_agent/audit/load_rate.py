"""Demand against what a contract allows, with bounds: the question that several capacity topics ask alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, isnan
from typing import Any, NamedTuple

from edge_agent.audit.topic import Answer, Release, Site, Verdict, grade
from edge_agent.load.views import Band, Demand, Interval, LoadView, Source
from edge_agent.model import Fact

WHOLE = 0.999
"""From this coverage on samples vouch for an interval as a whole."""

WRITTEN_DOWN = frozenset({Source.RECORDED, Source.PROFILE})
"""No next reading can confirm these: a file has none, and a meter's record was held against what its register moved."""

TOO_COARSE = 0.02
"""A register step worth more than this share of the capacity is too coarse to tell a slight overload. [C]"""


class Share(NamedTuple):
    """An interval's demand as a share of a limit, whatever a release's levels. `bounds`: of each source, VA or W."""

    limit: float
    bounds: Sequence[tuple[float, float]]
    low: float
    high: float
    unit: str
    facts: tuple[Fact, ...]


def judge_running(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    """Every interval against what may run: worked out once for all topics that look at the same archive."""
    place = f"running/{id(site)}"
    found: Sequence[Share | Verdict] | None = view.worked.get(place)
    if found is None:
        found = view.worked[place] = [_running(interval, site) for interval in view.closed]
    for interval, share in zip(view.closed, found, strict=True):
        yield _graded(interval, release, share) if isinstance(share, Share) else share


def _running(interval: Interval, site: Site) -> Share | Verdict:
    if interval.spans:
        return cannot_say(interval, interval.spans)
    capacity = site.capacity(interval.point, interval.start_ms, interval.end_ms)
    if capacity is None:
        return cannot_say(interval, "capacity_unknown")
    if capacity.unit != "VA":
        return cannot_say(interval, "contract_in_other_unit")
    if capacity.running <= 0:
        return cannot_say(interval, "capacity_suspended")
    facts = (capacity.fact, *site.k_facts(interval.point, interval.end_ms))
    return _share(interval, capacity.running, facts, unit="VA") or cannot_say(interval, "no_reading")


def against(interval: Interval, release: Release, limit: float, facts: tuple[Fact, ...], *, unit: str) -> Verdict:
    """One interval's demand as a share of `limit`, VA or W.

    BREACH needs every source that exists, and so does CLEAR (domain rule 2.3); a mean over several intervals can only
    show that one of them was over. Powers are compared in whole VA or W.
    """
    share = _share(interval, limit, facts, unit=unit)
    return cannot_say(interval, "no_reading") if share is None else _graded(interval, release, share)


def _share(interval: Interval, limit: float, facts: tuple[Fact, ...], *, unit: str) -> Share | None:
    """None where no source gives the quantity."""
    bounds = _all_bounds(interval, unit)
    if not bounds:
        return None
    low, high = min(b[0] for b in bounds) / limit, max(b[1] for b in bounds) / limit
    return Share(limit, bounds, low, high, unit, facts)


def _graded(interval: Interval, release: Release, share: Share) -> Verdict:
    limit, bounds, low, high, unit, facts = share
    answer = grade(release, low, high)
    reason = ""
    if interval.count > 1 and answer is not Answer.BREACH:
        answer, reason = Answer.UNKNOWN, "mean_of_several"
    elif answer is not Answer.BREACH and high == inf:
        answer, reason = Answer.UNKNOWN, "active_power_only"
    elif answer is Answer.BETWEEN:
        too_coarse = any(d.resolution > TOO_COARSE * limit for d in interval.demands)
        apart = max(low for low, _ in bounds) > min(high for _, high in bounds)
        if too_coarse and not apart:
            reason = "register_too_coarse"
        elif Answer.BREACH in [grade(release, low / limit, high / limit) for low, high in bounds]:
            reason = "sources_disagree"
    # Nobody asks what was measured but for a breach.
    measured = _measured(interval, limit, unit) if answer is Answer.BREACH else {f"limit_{unit.lower()}": limit}
    return Verdict(
        point=interval.point,
        answer=answer,
        start_ms=interval.start_ms,
        end_ms=interval.end_ms,
        low=low,
        high=high,
        decided_ms=interval.decided_ms,
        confirmed=written_down(interval),
        block=interval.block,
        periods=interval.count,
        reason=reason,
        measured=measured,
        facts=facts,
    )


def written_down(interval: Interval) -> bool:
    """Nothing that comes later can confirm it."""
    return all(d.source in WRITTEN_DOWN for d in interval.demands)


def given_out(interval: Interval) -> Interval:
    """The same interval seen from the other side: what flowed out, as if it had flowed in."""
    return Interval(
        interval.point, interval.start_ms, interval.end_ms, interval.block, _turned(interval.register),
        _turned(interval.sampled), interval.decided_ms, interval.count, interval.spans,
    )  # fmt: skip


def _turned(demand: Demand | None) -> Demand | None:
    if demand is None or demand.export is None:
        return None
    return Demand(
        demand.source, demand.export, None, demand.export_apparent, demand.coverage, demand.resolution, None,
        demand.export_apparent,
    )  # fmt: skip


def cannot_say(interval: Interval, reason: str) -> Verdict:
    return Verdict(
        interval.point, Answer.UNKNOWN, interval.start_ms, interval.end_ms, block=interval.block, reason=reason
    )


def _all_bounds(interval: Interval, unit: str) -> list[tuple[float, float]]:
    """One pair for every source that gives the quantity; with P alone S is at least P, and nothing above is known.

    Samples that miss part of the interval exist for the rest alone: beside registers they may contradict a breach by
    what they allow at most, and are not held against it for what they missed.
    """
    demands = interval.demands
    bands = [(d, b) for d in demands if (b := d.active if unit == "W" else d.apparent) is not None]
    if not bands:
        return [_whole(d.active.low, inf) for d in demands if unit == "VA" and d.active is not None]
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
