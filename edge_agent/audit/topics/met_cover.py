"""开表盖/开端钮盒: does the meter say that its cover, or that of its terminals, was opened?

The meter's counter or log says so; whoever was there by order is in the work orders. What it means, an inspector says.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.audit.meter_says import judge_event
from edge_agent.audit.topic import AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView

CODES = frozenset({"cover_open", "terminal_cover_open"})


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for event in view.meter_events:
        if event.code in CODES:
            yield judge_event(event, site)


TOPIC = AuditTopic("met-cover", examine, needs=("meter_events",))
