"""Rules between the keys of a tariff file, and between a site file and the rules that it names."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from edge_agent.settings.mistake import Report
from edge_agent.settings.rules import choose
from edge_agent.settings.shape import Given
from edge_agent.tariff import DemandRule, Rule, number

LISTS = ("demand", "power_factor", "step", "surcharge", "flat", "unmetered", "parts")
SAMPLED = {"sum_sq_sqrt", "hours_over"}
STEP = Decimal("0.01")
"""A power factor has two decimals: the stretches of a table meet where they are one hundredth apart."""


def check_tariff(given: Given, path: Path, report: Report) -> None:
    name = given.get("tariff")
    if name and name != path.stem.replace("_", "-"):
        report.add("tariff_name", given.at("tariff"), name=name, file=path.name)
    if not any(given.get(key) for key in LISTS):
        report.add("tariff_empty", given.at("tariff"), lists=", ".join(f"[[{key}]]" for key in LISTS))
    _once(given, report)
    for demand in given.tables("demand"):
        _check_demand(demand, report)
    for table in given.tables("power_factor"):
        _check_power_factor(table, report)
    for step in given.tables("step"):
        _check_step(step, report)
    for parts in given.tables("parts"):
        low, high = parts.get("may_above_kva"), parts.get("must_from_kva")
        if low is not None and high is not None and low > high:
            report.add(
                "above", parts.at("may_above_kva"), low="may_above_kva", high="must_from_kva",
                got=f"{low:g}", limit=f"{high:g}",
            )  # fmt: skip


def check_terms(site: Given, rules: Mapping[str, Rule], report: Report) -> None:
    """The [[tariff]] tables of a site file: known rules, none of them twice, one table for each class of use."""
    seen: dict[str, int] = {}
    for table in site.tables("tariff"):
        code = table.get("class")
        if code in seen:
            report.add("tariff_class_twice", table.at("class"), code=code, line=seen[code])
        if code is not None:
            seen.setdefault(code, report.line(table.at("class")))
        _check_named(table, rules, report)
        prices: set[tuple[str, str]] = set()
        for price in table.tables("price"):
            what = (price.get("of") or "", price.get("time_class") or "")
            if what in prices:
                report.add("tariff_price_twice", price.at("of"), of=" ".join(what).strip())
            prices.add(what)


def _check_named(table: Given, rules: Mapping[str, Rule], report: Report) -> None:
    """A rule that exists, and at most one that answers a question."""
    answers: dict[object, str] = {}
    for name in table.get("rules") or ():
        rule = rules.get(name)
        if rule is None:
            report.add("unknown_rule", table.at("rules"), written=name, right=choose(name, rules))
            continue
        question = (type(rule), rule.basis if isinstance(rule, DemandRule) else getattr(rule, "kind", ""))
        if question in answers:
            report.add("tariff_two_answers", table.at("rules"), one=answers[question], other=name)
        answers.setdefault(question, name)


def _once(given: Given, report: Report) -> None:
    """No two rules of a file have one id, whatever their kinds: a finding names the id."""
    seen: dict[str, int] = {}
    for key in LISTS:
        for table in given.tables(key):
            name = table.get("id")
            if name in seen:
                report.add("id_twice", table.at("id"), kind=key, id=name, line=seen[name])
            elif name is not None:
                seen[name] = report.line(table.at("id"))


def _check_demand(demand: Given, report: Report) -> None:
    period, slide, aggregate = demand.get("interval_min"), demand.get("slide_min"), demand.get("aggregate")
    if period and 60 % period:
        report.add("period_divides", demand.at("interval_min"), period=period)
    elif period and slide and period % slide:
        report.add("slide_divides", demand.at("slide_min"), period=period, slide=slide)
    bands, base = demand.tables("bands"), demand.table("base")
    _check_bands(demand, bands, report)
    if aggregate is None:
        return
    if aggregate == "limiter":
        for key in ("base", "bands", "gate", "power_factor_zero", "discount"):
            if key in demand.written:
                report.add("tariff_key", demand.at(key), aggregate=aggregate)
        if "limit_ratio" not in demand.written:
            report.add("tariff_needs", demand.at("limit_ratio"), aggregate=aggregate)
        return
    if "limit_ratio" in demand.written:
        report.add("tariff_key", demand.at("limit_ratio"), aggregate=aggregate)
    if aggregate in SAMPLED:
        if "gate" in demand.written:
            report.add("tariff_key", demand.at("gate"), aggregate=aggregate)
        if "bands" not in demand.written:
            report.add("tariff_needs", demand.at("bands"), aggregate=aggregate)
        elif any(band.get("to") is not None for band in bands):
            report.add("tariff_one_band", demand.at("bands"), aggregate=aggregate)
    elif base is None and "base" not in demand.written and not bands:
        report.add("tariff_pays_nothing", demand.at("base"))


def _check_bands(demand: Given, bands: list[Given], report: Report) -> None:
    """From low to high, none over the other, and only the last without an end."""
    end: float | None = 0.0
    for band in bands:
        start, to = band.get("from"), band.get("to")
        if start is None:
            return
        if end is None:
            report.add("tariff_band_beyond", band.at("from"), start=f"{start:g}")
        elif start < end:
            report.add("tariff_band_order", band.at("from"), start=f"{start:g}", end=f"{end:g}")
        if to is not None and to <= start:
            report.add("tariff_band_empty", band.at("to"), start=f"{start:g}", end=f"{to:g}")
        end = to if "to" in band.written else None


def _check_power_factor(table: Given, report: Report) -> None:
    """From 0 to 1 without a hole, never dearer for a better power factor, and nothing at the standard."""
    segments, standard = table.tables("segments"), table.get("standard")
    if isinstance(table.get("segments"), list) and len(segments) != len(table.get("segments")):
        return
    expected = Decimal(0)
    before: Decimal | None = None
    for segment in segments:
        values = [segment.get(key) for key in ("from", "to", "percent", "per_hundredth")]
        if any(value is None for value in values):
            return
        start, end, percent, slope = (number(value) for value in values)
        if start != expected or end < start:
            report.add("tariff_segment", segment.at("from"), start=f"{start}", end=f"{end}", expected=f"{expected}")
            return
        last = percent + slope * (end - start) / STEP
        if slope > 0 or (before is not None and percent > before):
            report.add("tariff_segment_rises", segment.at("percent"), start=f"{start}", end=f"{end}")
        if standard is not None and start <= number(standard) <= end:
            at_standard = percent + slope * (number(standard) - start) / STEP
            if at_standard != 0:
                report.add(
                    "tariff_standard", segment.at("percent"), standard=f"{standard:g}", percent=f"{at_standard:f}"
                )
        before, expected = last, end + STEP
    if isinstance(table.get("segments"), list) and expected != 1 + STEP:
        report.add("tariff_segments_end", table.at("segments"), end=f"{expected - STEP}")


def _check_step(step: Given, report: Report) -> None:
    tiers = step.tables("tiers")
    before = 0.0
    for index, tier in enumerate(tiers):
        up_to = tier.get("up_to_kwh")
        last = index == len(tiers) - 1
        if last != ("up_to_kwh" not in tier.written):
            report.add("tariff_tier_end", tier.at("up_to_kwh"), number=index + 1)
        elif up_to is not None:
            if up_to <= before:
                report.add("tariff_tier_order", tier.at("up_to_kwh"), got=f"{up_to:g}", before=f"{before:g}")
            before = up_to
    if isinstance(step.get("tiers"), list) and len(tiers) < 2:
        report.add("tariff_tiers", step.at("tiers"))
    with_price = ["price" in tier.written for tier in tiers]
    if any(with_price) and not all(with_price):
        report.add("tariff_tier_price", tiers[with_price.index(False)].at("price"))
