"""电量差动异常: is what a main meter counts still what the meters behind it count, and the loss between them?

The loss is learnt from the points' own days. More of it than ever says that something counts too little behind the
main meter, or is not counted; less than none that a ratio or a direction is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from edge_agent.audit.balance import Balanced, Balances
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.answers import CannotSay
from edge_agent.load.methods.sum_check import Balance
from edge_agent.load.views import LoadView

WORDS = {Balance.OVER: "more is missing than was learnt", Balance.NEGATIVE: "those behind it count more"}


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for day in view.studied:
        yield _verdict(day, site)


def _verdict(day: Balanced, site: Site) -> Verdict:
    said = day.said
    plain = Verdict(day.point, Answer.UNKNOWN, day.start_ms, day.end_ms, decided_ms=day.end_ms, confirmed=True,
                    block=False)  # fmt: skip
    if isinstance(said, CannotSay):
        return replace(plain, reason=said.because.value)
    if said.balance not in WORDS:
        return replace(plain, answer=Answer.CLEAR if said.balance is Balance.KEEPS else Answer.BETWEEN)
    main, loss = day.main.moved_wh, said.loss
    beyond = loss.low - said.expected if said.balance is Balance.OVER else -loss.high
    far = loss.high - said.expected if said.balance is Balance.OVER else -loss.low
    facts = tuple(f for p in (day.point, *day.subs) for f in site.k_facts(p, day.end_ms))
    return replace(
        plain, answer=Answer.BREACH, low=round(beyond / main, 5), high=round(far / main, 5), facts=facts,
        measured={
            "balance": WORDS[said.balance],
            "subs": ", ".join(day.subs),
            "main_kwh": round(main / 1000, 3),
            "subs_kwh": round(sum(d.moved_wh for d in day.behind) / 1000, 3),
            "loss_kwh": {"low": round(loss.low / 1000, 3), "value": round(loss.value / 1000, 3),
                         "high": round(loss.high / 1000, 3)},
            "expected_kwh": round(said.expected / 1000, 3),
            "sigma_kwh": round(said.sigma / 1000, 3),
            "coverage": round(loss.coverage, 4),
        },
    )  # fmt: skip


TOPIC = AuditTopic("met-main-sub", examine, needs=("energy_register", "subs"), study=Balances)
