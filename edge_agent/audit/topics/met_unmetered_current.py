"""独立测流与计量电流偏差: does an independent current transformer see current that the meter does not?

A constant part, a share of it, or either at times. What it is, nobody can say from here: another circuit between the
two places, a lost turn of the transformer or a wire, so the answer is asked of those who can look.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from edge_agent.audit.beside import Compared, SideBySide
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.answers import CannotSay, Figure
from edge_agent.load.methods.side_by_side import Agreement, PairAnswer
from edge_agent.load.views import LoadView

UNSEEN = {Agreement.CONSTANT: "constant", Agreement.INTERMITTENT: "at times", Agreement.SHUNT: "a share of the load"}


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for compared in view.studied:
        yield _verdict(compared, site)


def _verdict(day: Compared, site: Site) -> Verdict:
    said = day.said
    plain = Verdict(day.point, Answer.UNKNOWN, day.start_ms, day.end_ms, decided_ms=day.end_ms, confirmed=True,
                    block=False, key=f"l{day.phase}")  # fmt: skip
    if isinstance(said, CannotSay):
        return replace(plain, reason=said.because.value)
    if said.kind is Agreement.GOOD:
        return replace(plain, answer=Answer.CLEAR)
    unseen = _unseen(said, day.mean_a)
    if said.kind not in UNSEEN or unseen is None or not day.rated_a:
        return replace(plain, answer=Answer.BETWEEN, reason=f"looks_{said.kind.value}")
    return replace(
        plain, answer=Answer.BREACH if unseen.low > 0 else Answer.BETWEEN,
        low=round(unseen.low / day.rated_a, 5), high=round(unseen.high / day.rated_a, 5),
        facts=site.k_facts(day.point, day.end_ms),
        measured={
            "phase": f"L{day.phase}",
            "kind": UNSEEN[said.kind],
            "unseen_a": {name: round(getattr(unseen, name), 2) for name in ("low", "value", "high")},
            "slope": {name: round(getattr(said.slope, name), 5) for name in ("low", "value", "high")},
            "intercept_a": {name: round(getattr(said.intercept_a, name), 3) for name in ("low", "value", "high")},
            "r2": round(said.r2, 5),
            "pairs": said.pairs,
        },
    )  # fmt: skip


def _unseen(said: PairAnswer, mean_a: float) -> Figure | None:
    """What the meter does not see, A: as found; of a share, that of the mean current."""
    if said.kind is not Agreement.SHUNT:
        return said.unseen_a
    return Figure(
        max(0.0, (said.slope.low - 1) * mean_a), (said.slope.value - 1) * mean_a, (said.slope.high - 1) * mean_a
    )


TOPIC = AuditTopic("met-unmetered-current", examine, needs=("current", "independent_current"), study=SideBySide)
