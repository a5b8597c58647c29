"""潮流/功率反向: does a phase, or the point as a whole, count energy backwards where no generation is declared?

A current transformer the wrong way round does that, and so does generation that nobody has declared; which of them it
is, is seen on site. In 3p3w an element may count backwards at a low power factor, so only the total is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_agent.audit.phases import POWER, Seen
from edge_agent.audit.sampled import BETWEEN, BREACH, CLEAR, Ask, Said, judge_rounds
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView
from edge_agent.model import Quantity


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from judge_rounds(view, site, _ask(release, phases=True))
    yield from judge_rounds(view, site, _ask(release, phases=False), whole=True)


def _ask(release: Release, *, phases: bool) -> Callable[[Seen], Ask]:
    params, above, below = release.params, release.levels[0].above, release.clear.below
    off, floor = params["power_class"], params["power_floor"]

    def said(power: float | None, base_w: float) -> Said:
        if power is None:
            return "no_power"
        share = -power / base_w
        low, high = share - abs(share) * off - floor, share + abs(share) * off + floor
        return _graded(low, high, above, below)

    def ask(seen: Seen) -> Ask:
        asked, ratings = seen.asked, seen.ratings
        by_phase = ratings.wiring == "3p4w" and all(POWER[p] in asked for p in seen.places)
        if by_phase is not phases or not (by_phase or Quantity.ACTIVE_POWER in asked):
            return None
        if ratings.generation:
            return lambda end: [(CLEAR, 0.0, 0.0)]  # where generation is declared, nothing is odd about it
        amps = seen.amps(params)
        if amps is None:
            return "rating_unknown"
        if by_phase:
            base_w = ratings.u_phase_v * amps[0]
            quantities = [POWER[p] for p in seen.places]
            forward, now, before = -below * base_w, seen.now.values, seen.before.values
            if all(now.get(q, 0.0) * (1 - off) - floor * base_w > forward for q in quantities) and (
                before is now or all(before.get(q, 0.0) * (1 - off) - floor * base_w > forward for q in quantities)
            ):
                return CLEAR
        else:
            base_w = ratings.u_line_v * amps[0] * (1.0 if ratings.wiring == "1p2w" else 3**0.5)
            quantities = [Quantity.ACTIVE_POWER]
        return lambda end: [said(end.values.get(q), base_w) for q in quantities]

    return ask


def _graded(low: float, high: float, above: float, below: float) -> tuple[Answer, float, float]:
    return (BREACH if low > above else CLEAR if high < below else BETWEEN), low, high


TOPIC = AuditTopic("met-reverse", examine, needs=("active_power",), blinded_by=("dat-implausible",))
