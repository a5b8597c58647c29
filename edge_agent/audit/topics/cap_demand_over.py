"""超合同最大需量: is the measured demand above what the contract leaves free (China: 105 % of the contracted maximum)?

Where the site file names a tariff rule for the point's class of use, that rule says from which share on and in which
unit, and what the month would cost by now is told as an estimate; elsewhere the release's own share counts. What it
costs is a matter of billing, hence the route.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from edge_agent.audit.load_rate import against, cannot_say
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.views import Interval, LoadView
from edge_agent.model import Capacity, Ms, PointId

if TYPE_CHECKING:
    from edge_agent.tariff import DemandRule, Measured


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for interval in view.closed:
        yield judge(interval, site, release)


def judge(interval: Interval, site: Site, release: Release) -> Verdict:
    """The interval's demand as a share of what is free; an estimate beside a breach."""
    if interval.spans:
        return cannot_say(interval, interval.spans)
    capacity = site.capacity(interval.point, interval.start_ms, interval.end_ms)
    if capacity is None:
        return cannot_say(interval, "capacity_unknown")
    terms = site.terms(interval.point, interval.end_ms)
    rule = None if terms is None else terms.demand(capacity.basis)
    unit = "VA" if rule is not None and rule.unit == "kVA" and rule.bands else "W"
    if capacity.unit != unit or (rule is not None and not rule.bands):
        return cannot_say(interval, "contract_in_other_unit" if capacity.unit != unit else "nothing_over_to_pay")
    free, part, said = free_demand(interval.point, interval.end_ms, capacity, rule, site, release)
    facts = (capacity.fact, *site.k_facts(interval.point, interval.end_ms))
    verdict = against(interval, release, free, facts, unit=unit)
    if verdict.answer is Answer.UNKNOWN:
        return verdict
    verdict = _saying(verdict, said)
    if verdict.answer is not Answer.BREACH or rule is None or terms is None or part is None:
        return verdict
    from edge_agent.audit import estimates
    from edge_agent.tariff import kilo

    estimate = estimates.demand_over(terms, rule, replace(part, demand=kilo(verdict.low * free)))
    return verdict if estimate is None else _saying(verdict, {"estimate": estimate})


def _saying(verdict: Verdict, more: Mapping[str, Any]) -> Verdict:
    return msgspec.structs.replace(verdict, measured={**verdict.measured, **more})


def free_demand(
    point: PointId, at_ms: Ms, capacity: Capacity, rule: DemandRule | None, site: Site, release: Release
) -> tuple[float, Measured | None, dict[str, Any]]:
    """The demand up to which nothing is paid on top, W or VA; what the rule is asked about; and whose share it is."""
    if rule is None:
        share = float(release.params["share"])
        return share * capacity.contracted, None, {"free_share": share, "rule": release.name}
    from edge_agent.audit.estimates import installed_kva
    from edge_agent.tariff import Measured, contract_counted, number

    installed = installed_kva(site.ratings(point, at_ms).transformer_va)
    part = Measured(contract=number(capacity.contracted) / 1000, installed_kva=installed)
    counted, _ = contract_counted(rule, part)
    exact = max(rule.gate, min(b.start for b in rule.bands))
    contract = part.contract if counted is None else counted
    assert contract is not None
    said = {"free_share": float(exact), "rule": f"{rule.edition.tariff}/{rule.id}@{rule.edition.version}"}
    return float(exact * contract * 1000), part, said


TOPIC = AuditTopic(
    "cap-demand-over", examine, needs=("active_demand",), blinded_by=("dat-implausible", "met-fly"),
    biased_by=("met-curr-loss", "met-phase-break", "met-volt-loss"),
)  # fmt: skip
