"""失压: has a phase lost its voltage at the meter while its current flows? What it takes is then not counted in full.

All phases low alike, and still alive, are the supply's (`pq-volt-event`). What the meter itself counts or logs is a
finding of its own word where the samples show none, and a witness where they do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_agent.audit.phases import End, Seen
from edge_agent.audit.sampled import BETWEEN, BREACH, CLEAR, Look, Said, judge_rounds, words_of
from edge_agent.audit.topic import AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from judge_rounds(view, site, _ask(release))
    yield from words_of(view, site, release, "voltage_loss")


def _ask(release: Release) -> Callable[[Seen], Look | str | None]:
    params, above, below = release.params, release.levels[0].above, release.clear.below
    off_u, off_i, floor = params["voltage_class"], params["current_class"], params["current_floor"]
    loaded, alive = (params["loaded"] + floor) / (1 - off_i), params["alive"]

    def ask(seen: Seen) -> Look | str | None:
        if not (seen.has_u and seen.has_i):
            return None
        amps = seen.amps(params)

        def look(end: End) -> list[Said]:
            said: list[Said] = []
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
                    said.append((BREACH if i > loaded * amps[0] else BETWEEN, low, high))
            if all(u is not None and alive <= u < 1 - above for u in end.u):
                return [(BETWEEN, s[1], s[2]) if not isinstance(s, str) else s for s in said]
            return said

        return look

    return ask


TOPIC = AuditTopic("met-volt-loss", examine, needs=("voltage", "current"), blinded_by=("dat-implausible",))
