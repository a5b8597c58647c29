"""电能表示值不平: is the total register the sum of its rate registers, read together?

Each register drops what lies under its last digit, which the limit allows for. Where fewer rates than four are read,
the meter may have one that is not, and nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.answers import CannotSay, Why
from edge_agent.load.methods.sum_of_rates import RatesRule, total_against_rates
from edge_agent.load.views import LoadView, Standing
from edge_agent.model import Quantity

RATES = (
    Quantity.ACTIVE_ENERGY_IMPORT_T1, Quantity.ACTIVE_ENERGY_IMPORT_T2, Quantity.ACTIVE_ENERGY_IMPORT_T3,
    Quantity.ACTIVE_ENERGY_IMPORT_T4,
)  # fmt: skip
TOTAL = Quantity.ACTIVE_ENERGY_IMPORT


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    rule = RatesRule(float(release.params["least_kwh"]) * 1000, float(release.params["apart_s"]))
    for standing in view.standings:
        yield _verdict(standing, rule)


def _verdict(standing: Standing, rule: RatesRule) -> Verdict:
    at_ms = standing.at_ms
    plain = Verdict(standing.point, Answer.UNKNOWN, at_ms, at_ms, decided_ms=at_ms, confirmed=True, block=False)
    rates = [standing.values[q] for q in RATES if q in standing.values]
    if len(rates) < len(RATES):
        return replace(plain, reason="rates_not_all_read")
    said = total_against_rates(
        standing.values[TOTAL], rates, step=standing.step, spread_s=standing.spread_ms / 1000, rule=rule
    )
    if isinstance(said, CannotSay):
        apart = said.because is Why.OUT_OF_ORDER
        return replace(plain, reason="read_apart" if apart else said.because.value)
    off = round(abs(said.difference.value) / 1000, 6)
    kwh = [round(standing.values[q] / 1000, 4) for q in (TOTAL, *RATES)]
    return replace(
        plain, answer=Answer.CLEAR if said.fits else Answer.BREACH, low=off, high=off,
        measured={
            "device": standing.device,
            "total": f"{kwh[0]:.10g}",
            "rates": " + ".join(f"{v:.10g}" for v in kwh[1:]),
            "off_kwh": off,
            "allowed_kwh": round(said.limit / 1000, 6),
            "spread_ms": standing.spread_ms,
        },
    )  # fmt: skip


TOPIC = AuditTopic("met-sum-rates", examine, needs=("rate_registers",))
