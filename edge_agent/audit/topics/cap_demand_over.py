"""超合同最大需量: is the measured demand above the contracted maximum demand (China: above 105 % of it)?

For points whose contract names a demand in kW. What it costs is a matter of billing, hence the route.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.audit.load_rate import judge_interval
from edge_agent.audit.topic import AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for interval in view.closed:
        yield judge_interval(interval, site, release, unit="W")


TOPIC = AuditTopic(
    "cap-demand-over", examine, needs=("active_demand",), blinded_by=("dat-implausible", "met-fly"),
    biased_by=("met-curr-loss", "met-phase-break", "met-volt-loss"),
)  # fmt: skip
