"""CT/电能表超量程: is a current above what its transformer, or the meter, measures with its class?

Of a meter behind transformers I/In, of a direct meter I/Imax. That is a question of what is installed: what the
contract allows is `cap-over-contract`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_agent.audit.phases import End, Seen
from edge_agent.audit.sampled import BETWEEN, BREACH, CLEAR, Ask, Said, judge_rounds
from edge_agent.audit.topic import AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from judge_rounds(view, site, _ask(release))


def _ask(release: Release) -> Callable[[Seen], Ask]:
    params, above, below = release.params, release.levels[0].above, release.clear.below
    off = params["current_class"]

    def ask(seen: Seen) -> Ask:
        if not seen.has_i:
            return None
        rated = seen.ratings.i_rated_a or seen.ratings.i_max_a
        if rated is None:
            return "rating_unknown"
        if seen.most_i is not None and seen.most_i / rated * (1 + off) < below:
            return CLEAR

        def look(end: End) -> list[Said]:
            said: list[Said] = []
            for i in end.i:
                if i is None:
                    said.append("no_current")
                    continue
                share = i / rated
                low, high = share * (1 - off), share * (1 + off)
                said.append((BREACH if low > above else CLEAR if high < below else BETWEEN, low, high))
            return said

        return look

    return ask


TOPIC = AuditTopic("met-ct-overrange", examine, needs=("current",), blinded_by=("dat-implausible",))
