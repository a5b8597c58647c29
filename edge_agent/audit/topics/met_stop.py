"""停走: does the register stand still while the powers beside it say that energy flows?

A register moves in steps: it has not stopped before more than one step was due, and so much as the release says beyond
it. Time without samples counts for nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from edge_agent.audit.pace import Paced, Paces, reason_of
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.answers import CannotSay
from edge_agent.load.methods.power_integral import Pace
from edge_agent.load.views import LoadView


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for paced in view.studied:
        if paced.kind == "block":
            yield _verdict(paced)


def _verdict(paced: Paced) -> Verdict:
    said, last = paced.said, paced.last
    plain = Verdict(paced.point, Answer.BETWEEN, paced.start_ms, paced.end_ms, decided_ms=paced.decided_ms,
                    confirmed=True)  # fmt: skip
    if last is None:
        reason = reason_of(said) if isinstance(said, CannotSay) else ""
        return replace(plain, answer=Answer.UNKNOWN, reason=reason)
    if last.moved_wh > 0:
        return replace(plain, answer=Answer.CLEAR)
    if isinstance(said, CannotSay) or said.pace is not Pace.STOPS or said.missed_wh is None:
        return replace(plain, reason="stands_so_far")
    missed = {name: round(getattr(said.missed_wh, name) / 1000, 4) for name in ("low", "value", "high")}
    return replace(
        plain, answer=Answer.BREACH, low=missed["low"], high=missed["high"],
        measured={
            "quantity": "active_energy_import",
            "still_min": round(said.still_s / 60),
            "missed_kwh": missed,
            "coverage": round(said.missed_wh.coverage, 4),
        },
    )  # fmt: skip


TOPIC = AuditTopic("met-stop", examine, needs=("energy_register", "active_power"), study=Paces)
