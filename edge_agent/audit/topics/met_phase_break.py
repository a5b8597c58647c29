"""断相: is a phase without voltage and without current, while another one is alive?

Where current flows it is a loss of voltage at the meter alone (`met-volt-loss`); where no phase is alive it is an
outage (`pq-outage`), and a point of one phase knows no other break than that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_agent.audit.phases import End, Seen
from edge_agent.audit.sampled import BETWEEN, BREACH, CLEAR, Ask, Said, judge_rounds, words_of
from edge_agent.audit.topic import AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from judge_rounds(view, site, _ask(release))
    yield from words_of(view, site, release, "phase_break")


def _ask(release: Release) -> Callable[[Seen], Ask]:
    params, above, below = release.params, release.levels[0].above, release.clear.below
    off_u, off_i, floor = params["voltage_class"], params["current_class"], params["current_floor"]
    idle, live = (params["idle"] - floor) / (1 + off_i), params["live"] / (1 - off_u)

    def ask(seen: Seen) -> Ask:
        if not (seen.has_u and seen.has_i) or len(seen.places) < 2:
            return None
        if seen.least_u is not None and 1 - seen.least_u * (1 - off_u) < below:
            return CLEAR
        amps = seen.amps(params)

        def look(end: End) -> list[Said]:
            said: list[Said] = []
            is_alive = any(u is not None and u > live for u in end.u)
            for u, i in zip(end.u, end.i, strict=True):
                if u is None:
                    said.append("no_voltage")
                    continue
                low, high = 1 - u * (1 + off_u), 1 - u * (1 - off_u)
                if high < below:
                    said.append((CLEAR, low, high))
                elif low <= above:
                    said.append((BETWEEN, low, high))
                elif i is None or amps is None:
                    said.append("no_current" if i is None else "rating_unknown")
                else:
                    said.append((BREACH if is_alive and i < idle * amps[1] else BETWEEN, low, high))
            return said

        return look

    return ask


TOPIC = AuditTopic("met-phase-break", examine, needs=("voltage", "current"), blinded_by=("dat-implausible",))
