"""失流: does a phase that has its voltage carry no current while another one is loaded?

A single-phase load does that too, where only one phase is used: the hold of the report is for those that come and go.
A point with one current has no other phase to compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_agent.audit.phases import End, Seen
from edge_agent.audit.sampled import BETWEEN, BREACH, CLEAR, Ask, Said, judge_rounds, words_of
from edge_agent.audit.topic import AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from judge_rounds(view, site, _ask(release))
    yield from words_of(view, site, release, "current_loss")


def _ask(release: Release) -> Callable[[Seen], Ask]:
    params, above, below = release.params, release.levels[0].above, release.clear.below
    off_u, off_i, floor = params["voltage_class"], params["current_class"], params["current_floor"]
    loaded, live = (params["loaded"] + floor) / (1 - off_i), params["live"] / (1 - off_u)

    def ask(seen: Seen) -> Ask:
        if not (seen.has_u and seen.has_i) or len(seen.places) < 2:
            return None
        amps = seen.amps(params)
        if amps is None:
            return "rating_unknown"
        load_a, none_a = loaded * amps[0], amps[1]
        if seen.least_i is not None and 1 - seen.least_i / none_a * (1 - off_i) + floor < below:
            return CLEAR

        def look(end: End) -> list[Said]:
            said: list[Said] = []
            most = max((i for i in end.i if i is not None), default=0.0)
            for u, i in zip(end.u, end.i, strict=True):
                if i is None:
                    said.append("no_current")
                    continue
                share = i / none_a
                low, high = 1 - share * (1 + off_i) - floor, 1 - share * (1 - off_i) + floor
                if high < below:
                    said.append((CLEAR, low, high))
                elif low <= above:
                    said.append((BETWEEN, low, high))
                elif u is None:
                    said.append("no_voltage")
                else:
                    said.append((BREACH if u > live and most > load_a else BETWEEN, low, high))
            return said

        return look

    return ask


TOPIC = AuditTopic("met-curr-loss", examine, needs=("voltage", "current"), blinded_by=("dat-implausible", "pq-outage"))
