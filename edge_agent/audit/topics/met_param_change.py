"""编程/清零/需量清零/参数变更: does the meter say that its settings were written, or that it was reset?

Which of these weigh more is in the release (`params.resets`). Whether what was written fits the archive is another
question (`tar-archive-mismatch`).
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.audit.meter_says import judge_event
from edge_agent.audit.topic import AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView

CODES = frozenset({"programming", "meter_reset", "demand_reset", "event_reset"})
WRITTEN, RESET = 1.0, 2.0


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    resets = set(release.params["resets"])
    for event in view.meter_events:
        if event.code in CODES:
            yield judge_event(event, site, weight=RESET if event.code in resets else WRITTEN)


TOPIC = AuditTopic("met-param-change", examine, needs=("meter_events",))
