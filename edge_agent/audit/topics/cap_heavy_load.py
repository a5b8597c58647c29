"""重载: is the load close to the running capacity for hours? The answer is advice: apply for 增容, correct the pf.

Not a breach of contract; superseded while `cap-over-contract` is open on the point.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.audit.load_rate import judge_running
from edge_agent.audit.topic import AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from judge_running(view, site, release)


TOPIC = AuditTopic(
    "cap-heavy-load", examine, needs=("apparent_demand",), blinded_by=("dat-implausible", "met-fly"),
    biased_by=("met-curr-loss", "met-phase-break", "met-volt-loss"),
)  # fmt: skip
