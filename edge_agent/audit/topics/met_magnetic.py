"""恒定磁场干扰: does the meter say that it was in a strong constant magnetic field?

The meter's own sensor says so, by its counter or its log; the agent measures no field.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.audit.meter_says import judge_event
from edge_agent.audit.topic import AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for event in view.meter_events:
        if event.code == "magnetic":
            yield judge_event(event, site)


TOPIC = AuditTopic("met-magnetic", examine, needs=("meter_events",))
