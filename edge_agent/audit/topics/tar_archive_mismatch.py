"""档案不一致: does what the meter says about itself agree with the archive, field by field?

A finding for each field. The number of the meter has its own topic: while another meter answers than the archive has,
its settings say nothing about the archived one. A field that the archive or the meter does not know is unknown, and
agrees with nothing. While a field is in conflict, it is so for every other topic that rests on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from edge_agent.audit.beside import ratio_of
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.audit.topics.dat_unknown_meter import plain_number
from edge_agent.load.views import Claim, LoadView, Role
from edge_agent.model import Fact, Quantity

FIELDS = {
    Quantity.CT_RATIO: "ct",
    Quantity.VT_RATIO: "vt",
    Quantity.DEMAND_PERIOD: "demand_period",
    Quantity.DEMAND_SLIDE: "demand_slide",
    Quantity.RATED_VOLTAGE: "rated_voltage",
    Quantity.MAXIMUM_CURRENT: "maximum_current",
    Quantity.ASSET_NUMBER: "asset_no",
}
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for claim in view.claims:
        name = FIELDS.get(claim.quantity)
        if name is not None and claim.role is Role.METER:
            yield _verdict(claim, name, site, release)


def _verdict(claim: Claim, name: str, site: Site, release: Release) -> Verdict:
    plain = Verdict(claim.point, Answer.UNKNOWN, claim.at_ms, claim.at_ms, decided_ms=claim.at_ms, confirmed=True,
                    block=False, key=name.replace("_", "-"))  # fmt: skip
    facts = {f.name: f for f in site.meter_facts(claim.point, claim.at_ms)}
    if name not in facts:
        return replace(plain, reason="not_in_archive")
    agrees = _agrees(claim, facts[name], facts, site, release)
    if isinstance(agrees, str):
        return replace(plain, reason=agrees)
    if not claim.again:
        return replace(plain, answer=Answer.BETWEEN, reason="read_once")
    if agrees:
        return replace(plain, answer=Answer.CLEAR)
    return replace(
        plain, answer=Answer.BREACH, low=1.0, high=1.0, facts=(facts[name],),
        measured={
            "device": claim.device,
            "field": name.replace("_", " "),
            "archive": _said(facts[name].value),
            "shown": _said(claim.value),
            "disputed": name,
        },
    )  # fmt: skip


def _agrees(claim: Claim, fact: Fact, facts: dict[str, Fact], site: Site, release: Release) -> bool | str:
    """Or the code of why that cannot be said."""
    value, known = claim.value, fact.value
    match claim.quantity:
        case Quantity.CT_RATIO | Quantity.VT_RATIO:
            ratio = ratio_of(fact)
            if isinstance(value, str) or ratio is None:
                return "says_nothing"
            if value <= 1:
                return "ratio_not_set"
            return abs(value / ratio - 1) <= float(release.params["set_within"])
        case Quantity.DEMAND_PERIOD | Quantity.DEMAND_SLIDE:
            if isinstance(value, str) or value <= 0:
                return "says_nothing"
            return value == known
        case Quantity.RATED_VOLTAGE:
            return _voltage(str(value), claim, facts, site, release)
        case Quantity.MAXIMUM_CURRENT:
            numbers = _numbers(str(value))
            return numbers[-1] == known if numbers else "says_nothing"
    return plain_number(str(value)) == plain_number(str(known)) if plain_number(str(value)) else "says_nothing"


def _voltage(text: str, claim: Claim, facts: dict[str, Fact], site: Site, release: Release) -> bool | str:
    """A plate has the voltage between lines, that to neutral or both, on the meter's own side."""
    numbers = [n for n in _numbers(text) if n >= float(release.params["least_volts"])]
    if not numbers:
        return "says_nothing"
    vt = 1.0
    if "vt" in facts:
        ratio = ratio_of(facts["vt"])
        if ratio is None:
            return "not_in_archive"
        vt = ratio
    ratings = site.ratings(claim.point, claim.at_ms)
    within = float(release.params["volts_within"])
    return any(abs(n * vt / u - 1) <= within for n in numbers for u in (ratings.u_line_v, ratings.u_phase_v))


def _numbers(text: str) -> list[float]:
    return [float(n) for n in _NUMBER.findall(text)]


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


TOPIC = AuditTopic(
    "tar-archive-mismatch", examine, needs=("settings",), blinded_by=("dat-unknown-meter",), disputes=True
)
