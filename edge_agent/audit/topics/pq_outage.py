"""停电/复电: is the point without supply, as its meter shows it, or says afterwards?

A meter that lives from elsewhere shows it at once; any other says it by its counter or log of power failures when it is
back, and that no data came meanwhile is `dat-comm`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_agent.audit.phases import End, Seen
from edge_agent.audit.sampled import BETWEEN, BREACH, CLEAR, Ask, Said, judge_rounds, words_of
from edge_agent.audit.topic import AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from judge_rounds(view, site, _ask(release), whole=True)
    yield from words_of(view, site, release, "power_off", keyed=False)


def _ask(release: Release) -> Callable[[Seen], Ask]:
    params, above, below = release.params, release.levels[0].above, release.clear.below
    off_u, off_i, floor = params["voltage_class"], params["current_class"], params["current_floor"]
    idle = (params["idle"] - floor) / (1 + off_i)

    def ask(seen: Seen) -> Ask:
        if not (seen.has_u and seen.has_i):
            return None
        if seen.least_u is not None and 1 - seen.least_u * (1 - off_u) < below:
            return CLEAR
        amps = seen.amps(params)

        def look(end: End) -> list[Said]:
            if None in end.u:
                return ["no_voltage"]
            most = max(u for u in end.u if u is not None)
            low, high = 1 - most * (1 + off_u), 1 - most * (1 - off_u)
            if high < below:
                return [(CLEAR, low, high)]
            if low <= above:
                return [(BETWEEN, low, high)]
            if None in end.i or amps is None:
                return ["rating_unknown" if amps is None else "no_current"]
            return [(BREACH if all(i is not None and i < idle * amps[0] for i in end.i) else BETWEEN, low, high)]

        return look

    return ask


TOPIC = AuditTopic("pq-outage", examine, needs=("voltage", "current"), blinded_by=("dat-implausible",))
