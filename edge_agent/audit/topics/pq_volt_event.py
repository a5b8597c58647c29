"""过压/欠压事件: has the supply's voltage been far too high or too low for a minute?

Judged is how far it is off, as a share of the limit on that side, in whichever phase that is most. Where only the meter
lost its voltage, or a phase or all of the supply is gone, other topics say so and this one cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from edge_agent.audit.phases import End, Seen
from edge_agent.audit.sampled import BETWEEN, BREACH, CLEAR, Ask, Said, judge_rounds
from edge_agent.audit.topic import AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from judge_rounds(view, site, _ask(release), facts=Seen.voltage_facts, measure=_measure, whole=True)


def _ask(release: Release) -> Callable[[Seen], Ask]:
    params, above, below = release.params, release.levels[0].above, release.clear.below
    off, over, under = params["voltage_class"], params["high"] - 1, 1 - params["low"]

    def look(end: End) -> list[Said]:
        if None in end.u:
            return ["no_voltage"]
        most, least = max(u for u in end.u if u is not None), min(u for u in end.u if u is not None)
        low = max((most * (1 - off) - 1) / over, (1 - least * (1 + off)) / under)
        high = max((most * (1 + off) - 1) / over, (1 - least * (1 - off)) / under)
        return [(BREACH if low > above else CLEAR if high < below else BETWEEN, low, high)]

    def ask(seen: Seen) -> Ask:
        if not seen.has_u:
            return None
        least, most = seen.least_u, seen.most_u
        if least is None or most is None:
            return look
        near = (most * (1 + off) - 1) / over < below and (1 - least * (1 - off)) / under < below
        return CLEAR if near else look

    return ask


def _measure(seen: Seen, place: int | None) -> dict[str, Any]:
    shares = [u for u in seen.now.u if u is not None]
    worst = max(shares, key=lambda u: abs(u - 1))
    return {
        **seen.measured(),
        "phase": f"L{seen.phases[seen.now.u.index(worst)]}",
        "direction": "high" if worst > 1 else "low",
        "voltage_share": round(worst, 4),
    }


TOPIC = AuditTopic(
    "pq-volt-event", examine, needs=("voltage",),
    blinded_by=("dat-implausible", "met-volt-loss", "met-phase-break", "pq-outage"),
)  # fmt: skip
