"""容量与电价制/力调标准不符: does the way of charging fit the size of the supply?

By the archive alone, once a day: nothing is measured. It speaks only of customers who joined after the rule began in
their province, and of a power factor standard where the rules of the class have none although the size asks for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.views import Day, LoadView
from edge_agent.model import Capacity, Fact

if TYPE_CHECKING:
    from edge_agent.tariff import Terms

TWO_PART = {"two": "two-part", "single": "single-part", "either": "either"}


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for day in view.days:
        yield from _judge(day, site, release)


def _judge(day: Day, site: Site, release: Release) -> Iterator[Verdict]:
    capacity = site.capacity(day.point, day.start_ms, day.end_ms)
    terms, fact = site.terms(day.point, day.end_ms), site.tariff_class(day.point, day.end_ms)
    if capacity is None or terms is None or fact is None:
        yield _unknown(day, "capacity_unknown" if capacity is None else "no_capacity_rule")
        return
    ratings = site.ratings(day.point, day.end_ms)
    size_va = capacity.contracted if capacity.unit == "VA" else ratings.transformer_va
    if size_va is None:
        yield _unknown(day, "nameplate_unknown")
        return
    facts: tuple[Fact, ...] = (capacity.fact, fact)
    if capacity.unit != "VA" and ratings.plate is not None:
        facts = (*facts, ratings.plate)
    yield _parts(day, terms, capacity, size_va, site, facts)
    if terms.two_part or terms.parts is not None:  # commerce and industry: a household has no standard
        asked = size_va >= release.params["standard_from_kva"] * 1000
        has = terms.power_factor is not None
        yield _said(
            day, "standard", asked and not has, size_va, facts, has="no power factor standard",
            should="one", rule=release.name,
        )  # fmt: skip


def _parts(day: Day, terms: Terms, capacity: Capacity, size_va: float, site: Site, facts: tuple[Fact, ...]) -> Verdict:
    rule, joined = terms.parts, site.joined(day.point)
    if rule is None:
        return _unknown(day, "no_capacity_rule", "parts")
    if joined is None or terms.new_customers_from is None:
        return _unknown(day, "joined_unknown", "parts")
    if joined < terms.new_customers_from:
        return _unknown(day, "joined_before", "parts")
    from edge_agent.tariff import kilo

    asks = rule.allowed(kilo(size_va))
    has = "two" if terms.demand(capacity.basis) is not None else "single"
    name = f"{rule.edition.tariff}/{rule.id}@{rule.edition.version}"
    return _said(
        day, "parts", asks not in {"either", has}, size_va, facts, has=TWO_PART[has], should=TWO_PART[asks], rule=name
    )


def _said(
    day: Day, key: str, wrong: bool, size_va: float, facts: tuple[Fact, ...], *, has: str, should: str, rule: str
) -> Verdict:
    level = 1.0 if wrong else 0.0
    return Verdict(
        day.point, Answer.BREACH if wrong else Answer.CLEAR, day.start_ms, day.end_ms, low=level, high=level,
        decided_ms=day.end_ms, confirmed=True, block=False, key=key, facts=facts,
        measured={"size_kva": size_va / 1000, "has": has, "should": should, "rule": rule},
    )  # fmt: skip


def _unknown(day: Day, reason: str, key: str = "parts") -> Verdict:
    return Verdict(day.point, Answer.UNKNOWN, day.start_ms, day.end_ms, block=False, key=key, reason=reason)


TOPIC = AuditTopic("tar-capacity-rule", examine)
