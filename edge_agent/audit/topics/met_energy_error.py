"""电能量超差: over a whole day, is the energy that the register counted that of the powers sampled beside it?

Both carry bounds. A register whose steps are worth more than the release allows, a load that is too small and a day of
which too much is missing are no ground to say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from msgspec.structs import replace

from edge_agent.audit.pace import Paced, Paces, reason_of
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.answers import CannotSay
from edge_agent.load.methods.power_integral import Pace
from edge_agent.load.views import LoadView

ANSWERS = {Pace.OFF: Answer.BREACH, Pace.KEEPS: Answer.CLEAR}


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for paced in view.studied:
        if paced.kind == "day":
            yield _verdict(paced)


def _verdict(paced: Paced) -> Verdict:
    said = paced.said
    plain = Verdict(paced.point, Answer.UNKNOWN, paced.start_ms, paced.end_ms, decided_ms=paced.decided_ms,
                    confirmed=True, block=False)  # fmt: skip
    if isinstance(said, CannotSay):
        return replace(plain, reason=reason_of(said))
    rho = said.rho
    low, high = max(0.0, rho.low - 1, 1 - rho.high), max(rho.high - 1, 1 - rho.low)
    if not isfinite(high):
        return replace(plain, reason="too_little_expected")
    return replace(
        plain, answer=ANSWERS.get(said.pace, Answer.BETWEEN), low=round(low, 5), high=round(high, 5),
        measured={
            "quantity": "active_energy_import",
            "rho": {"low": round(rho.low, 4), "value": round(rho.value, 4), "high": round(rho.high, 4)},
            "expected_kwh": {
                name: round(getattr(said.expected_wh, name) / 1000, 3) for name in ("low", "value", "high")
            },
            "coverage": round(rho.coverage, 4),
        },
    )  # fmt: skip


TOPIC = AuditTopic(
    "met-energy-error", examine, needs=("energy_register", "active_power"), study=Paces,
    blinded_by=("met-fly", "met-stop"),
)  # fmt: skip
