"""失压: has a phase lost its voltage at the meter while its current flows? What it takes is then not counted in full.

All phases low alike, and still alive, are the supply's (`pq-volt-event`). What the meter itself counts or logs is a
finding of its own word where the samples show none, and a witness where they do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from edge_agent.audit.phases import End, Seen
from edge_agent.audit.sampled import BETWEEN, BREACH, CLEAR, Ask, Said, judge_rounds, words_of
from edge_agent.audit.topic import AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from judge_rounds(view, site, _ask(release), measure=_measure)
    yield from words_of(view, site, release, "voltage_loss")


def _ask(release: Release) -> Callable[[Seen], Ask]:
    params, above, below = release.params, release.levels[0].above, release.clear.below
    off_u, off_i, floor = params["voltage_class"], params["current_class"], params["current_floor"]
    loaded, alive = (params["loaded"] + floor) / (1 - off_i), params["alive"]

    def ask(seen: Seen) -> Ask:
        if not (seen.has_u and seen.has_i):
            return None
        if seen.least_u is not None and 1 - seen.least_u * (1 - off_u) < below:
            return CLEAR
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


def _measure(seen: Seen, place: int | None) -> dict[str, Any]:
    """With an estimate of the apparent power that is not counted: the missing voltage, held against live phases."""
    out = seen.measured(place)
    u, i = (seen.now.u[place], seen.now.i[place]) if place is not None else (None, None)
    if u is None or i is None:
        return out
    alive = [other for other in seen.now.u if other is not None and other > u]
    rated_v = seen.ratings.u_line_v if seen.ratings.wiring == "3p3w" else seen.ratings.u_phase_v
    reference = sum(alive) / len(alive) if alive else 1.0
    return {**out, "not_counted_estimate_va": round(max(0.0, reference - u) * rated_v * i)}


TOPIC = AuditTopic("met-volt-loss", examine, needs=("voltage", "current"), blinded_by=("dat-implausible",))
