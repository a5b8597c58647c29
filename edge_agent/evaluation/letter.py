"""The indicators of a topic and month as a message of the chain."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from edge_agent.contract.messages import EvaluationData
from edge_agent.contract.messages import Rate as SentRate
from edge_agent.contract.topics import Ids
from edge_agent.evaluation.indicators import Indicators, Rate
from edge_agent.model import ClockState, Letter, Ms, Severity

KIND = "evaluation"


def plain_indicators(told: Indicators) -> dict[str, Any]:
    """As the message says them: what `--json` shows is what the centre gets."""
    data = EvaluationData(
        topic=told.topic,
        month=told.month,
        opened=told.opened,
        exempted=told.exempted,
        **told.steps,
        completion=_rate(told.completion),
        timeliness=_rate(told.timeliness),
        confirmation=_rate(told.confirmation),
        rectification=_rate(told.rectification),
        recurrence=_rate(told.recurrence),
        recovered_kwh=round(told.recovered_kwh, 3),
        recovered_money=round(told.recovered_money, 2),
        blind=UNSET if told.blind is None else round(told.blind, 4),
        capped=told.capped,
    )
    plain: dict[str, Any] = msgspec.to_builtins(data)
    return plain


def evaluation_letter(
    plain: dict[str, Any], *, id: str, site: Ids, clock: ClockState, boot_id: str, bt_ms: Ms
) -> Letter:
    """`id` tells it from earlier ones of the same topic and month: the digest of what it says."""
    return Letter(
        id=f"{site.gateway}/evaluation/{plain['topic']}/{plain['month']}/{id}",
        kind=KIND,
        type="edge-agent.evaluation.month.v1",
        source=f"/{site.utility}/{site.gateway}",
        subject=plain["topic"],
        time_ms=clock.utc_ms(bt_ms),
        severity=Severity.INFO,
        data=plain,
        clock=clock,
        boot_id=boot_id,
        bt_ms=bt_ms,
    )


def _rate(rate: Rate) -> SentRate:
    share = rate.share
    return SentRate(count=rate.count, of=rate.of, share=UNSET if share is None else round(share, 4))
