"""反向重过载: does what a point gives out load its transformer heavily, or overload it?

Judged against the transformer's nameplate, or the contract where that is not known; what is drawn is another question.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.audit.load_rate import against, cannot_say, given_out
from edge_agent.audit.topic import AuditTopic, Release, Site, Verdict
from edge_agent.load.views import Interval, LoadView


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for interval in view.closed:
        yield _judge(interval, site, release)


def _judge(interval: Interval, site: Site, release: Release) -> Verdict:
    if interval.spans:
        return cannot_say(interval, interval.spans)
    ratings = site.ratings(interval.point, interval.end_ms)
    capacity = site.capacity(interval.point, interval.start_ms, interval.end_ms)
    contract_va = capacity.contracted if capacity is not None and capacity.unit == "VA" else None
    rated_va = ratings.transformer_va or contract_va
    if rated_va is None:
        return cannot_say(interval, "nameplate_unknown")
    other_side = given_out(interval)
    if not other_side.demands:
        return cannot_say(interval, "export_not_measured")
    rated = ratings.plate or (capacity.fact if capacity is not None else None)
    facts = (*((rated,) if rated is not None else ()), *ratings.facts)
    return against(other_side, release, rated_va, facts, unit="VA")


TOPIC = AuditTopic(
    "cap-reverse-overload", examine, needs=("active_energy_export",), blinded_by=("dat-implausible", "met-fly"),
    biased_by=("met-curr-loss", "met-phase-break", "met-volt-loss"),
)  # fmt: skip
