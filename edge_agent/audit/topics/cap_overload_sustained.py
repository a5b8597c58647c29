"""持续过载: is the load above the running capacity for hours?

Heavy load (`cap-heavy-load`) is below it, a single window above it is `cap-over-contract`; here it lasts, and warms the
transformer.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.audit.load_rate import judge_running
from edge_agent.audit.topic import AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from judge_running(view, site, release)


TOPIC = AuditTopic(
    "cap-overload-sustained", examine, needs=("apparent_demand",), blinded_by=("dat-implausible", "met-fly"),
    biased_by=("met-curr-loss", "met-phase-break", "met-volt-loss"),
)  # fmt: skip
