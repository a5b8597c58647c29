"""超合同容量用电: does a point draw more apparent power than its running capacity?

kVA is measured, never inferred from kW; without reactive power a breach needs P alone above the capacity, and CLEAR is
not said at all. Whether the capacity was enlarged without consent is another question (`cap-expansion-suspect`).
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.audit.load_rate import judge_running
from edge_agent.audit.topic import AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from judge_running(view, site, release)


TOPIC = AuditTopic(
    "cap-over-contract", examine, needs=("apparent_demand",), blinded_by=("dat-implausible", "met-fly"),
    biased_by=("met-curr-loss", "met-phase-break", "met-volt-loss"),
)  # fmt: skip
