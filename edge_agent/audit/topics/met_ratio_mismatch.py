"""实测变比与档案倍率不符: do the current transformers have the ratio that the archive says?

Two witnesses: an independent current transformer on the same phase, by days of pairs; and the ratio that the meter
itself is set to. A meter that is set to 1 shows its own side and says nothing about the transformers.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from edge_agent.audit.beside import Compared, SideBySide, ratio_of
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.answers import CannotSay
from edge_agent.load.methods.side_by_side import Agreement
from edge_agent.load.views import Claim, LoadView, Role
from edge_agent.model import Quantity

CLEAR = {Agreement.GOOD, Agreement.CONSTANT}
SETTINGS = {Quantity.CT_RATIO: "ct", Quantity.VT_RATIO: "vt"}


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for compared in view.studied:
        yield _measured(compared, site)
    for claim in view.claims:
        if claim.role is Role.METER and claim.quantity in SETTINGS:
            yield _set(claim, SETTINGS[claim.quantity], site, release)


def _measured(day: Compared, site: Site) -> Verdict:
    said = day.said
    plain = Verdict(day.point, Answer.UNKNOWN, day.start_ms, day.end_ms, decided_ms=day.end_ms, confirmed=True,
                    block=False, key=f"l{day.phase}")  # fmt: skip
    if isinstance(said, CannotSay):
        return replace(plain, reason=said.because.value)
    if said.kind in CLEAR:
        return replace(plain, answer=Answer.CLEAR)
    if said.kind is not Agreement.RATIO or said.standard is None or said.ratio is None:
        return replace(plain, answer=Answer.BETWEEN, reason=f"looks_{said.kind.value}")
    low = max(0.0, said.slope.low - 1, 1 - said.slope.high)
    high = max(said.slope.high - 1, 1 - said.slope.low)
    primary, secondary = said.standard
    return replace(
        plain, answer=Answer.BREACH, low=round(low, 5), high=round(high, 5), facts=site.k_facts(day.point, day.end_ms),
        measured={
            "phase": f"L{day.phase}",
            "said_by": "an independent current transformer",
            "archive": "?" if day.ct is None else str(day.ct.value),
            "fits": f"{primary:g}/{secondary:g}",
            "ratio": round(said.ratio, 3),
            "slope": {name: round(getattr(said.slope, name), 5) for name in ("low", "value", "high")},
            "r2": round(said.r2, 5),
            "pairs": said.pairs,
            "disputed": "ct",
        },
    )  # fmt: skip


def _set(claim: Claim, name: str, site: Site, release: Release) -> Verdict:
    plain = Verdict(claim.point, Answer.UNKNOWN, claim.at_ms, claim.at_ms, decided_ms=claim.at_ms, confirmed=True,
                    block=False, key=f"set-{name}")  # fmt: skip
    fact = next((f for f in site.k_facts(claim.point, claim.at_ms) if f.name == name), None)
    known = None if fact is None else ratio_of(fact)
    if fact is None or known is None or isinstance(claim.value, str):
        return replace(plain, reason="not_in_archive")
    if claim.value <= 1:
        return replace(plain, reason="ratio_not_set")
    off = abs(claim.value / known - 1)
    if off <= float(release.params["set_within"]):
        return replace(plain, answer=Answer.CLEAR)
    if not claim.again:
        return replace(plain, answer=Answer.BETWEEN, reason="read_once")
    return replace(
        plain, answer=Answer.BREACH, low=round(off, 5), high=round(off, 5), facts=(fact,),
        measured={"said_by": "the meter's own setting", "archive": str(fact.value), "fits": f"{claim.value:g}",
                  "ratio": claim.value, "disputed": name},
    )  # fmt: skip


TOPIC = AuditTopic(
    "met-ratio-mismatch", examine, needs=("current", "independent_current"), study=SideBySide, disputes=True
)
