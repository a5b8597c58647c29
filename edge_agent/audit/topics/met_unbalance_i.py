"""电流(严重)不平衡: do the currents of the three phases differ by much of the largest, where that is a load at all?

(max - min) / max, as meters and terminals have it. Where a phase has lost its current or its voltage, that is the
finding, and this follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_agent.audit.phases import End, Seen
from edge_agent.audit.sampled import BETWEEN, BREACH, CLEAR, Ask, Said, judge_rounds
from edge_agent.audit.topic import AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from judge_rounds(view, site, _ask(release), whole=True)


def _ask(release: Release) -> Callable[[Seen], Ask]:
    params, above, below = release.params, release.levels[0].above, release.clear.below
    off, floor, loaded = params["current_class"], params["current_floor"], params["loaded"]

    def ask(seen: Seen) -> Ask:
        if not seen.has_i or len(seen.places) < 3:
            return None
        amps = seen.amps(params)
        if amps is None:
            return "rating_unknown"
        floor_a, load_a = floor * amps[0], loaded * amps[0]
        if seen.least_i is not None and seen.most_i is not None:
            least_a = seen.least_i * (1 - off) - floor_a
            if least_a > load_a and 1 - least_a / (seen.most_i * (1 + off) + floor_a) < below:
                return CLEAR

        def look(end: End) -> list[Said]:
            if None in end.i:
                return ["no_current"]
            row = [i for i in end.i if i is not None]
            most, least = max(row), min(row)
            most_low, most_high = most * (1 - off) - floor_a, most * (1 + off) + floor_a
            if most_low <= load_a:
                return [(BETWEEN, 0.0, 1.0)]
            low = max(0.0, 1 - (least * (1 + off) + floor_a) / most_low)
            high = 1 - max(0.0, least * (1 - off) - floor_a) / most_high
            return [(BREACH if low > above else CLEAR if high < below else BETWEEN, low, high)]

        return look

    return ask


TOPIC = AuditTopic(
    "met-unbalance-i", examine, needs=("current",),
    blinded_by=("dat-implausible", "met-curr-loss", "met-phase-break", "pq-outage"),
)  # fmt: skip
