"""三相电压不平衡: do the three voltages differ by more than a supply may?

From line voltages the negative sequence (GB/T 15543, IEC 61000-4-30); where a meter shows phase voltages only, whose
angles nobody knows, the cruder measure of meters, (max - min) / max. Judged is the share of the limit of that measure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edge_agent.audit.phases import LINE, VOLTAGE
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.answers import CannotSay
from edge_agent.load.methods.phases import negative_sequence, spread_unbalance
from edge_agent.load.views import Block, LoadView, Role


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for block in view.blocks:
        if block.role is Role.METER and (verdict := _judge(block, site, release)) is not None:
            yield verdict


def _judge(block: Block, site: Site, release: Release) -> Verdict | None:
    ratings, params, means = site.ratings(block.point, block.end_ms), release.params, block.means
    lines = all(q in means for q in LINE)
    shown = LINE if lines else VOLTAGE
    if ratings.wiring == "1p2w" or (ratings.wiring == "3p3w" and not lines) or any(q not in means for q in shown):
        return None
    coverage = min(means[q].coverage for q in shown)
    values = [means[q].value for q in shown]
    found = negative_sequence(values) if lines else spread_unbalance(values)
    if coverage < params["coverage"] or isinstance(found, CannotSay):
        reason = "coverage" if coverage < params["coverage"] else "not_possible"
        return Verdict(block.point, Answer.UNKNOWN, block.start_ms, block.end_ms, reason=reason)
    limit, off = (params["sequence"], params["sequence_class"]) if lines else (params["spread"], params["spread_class"])
    low, high = max(0.0, found.value - off) / limit, (found.value + off) / limit
    answer = Answer.BREACH if low > release.levels[0].above else Answer.CLEAR
    measured: dict[str, Any] = {"unbalance_percent": round(100 * found.value, 3), "limit_percent": 100 * limit}
    measured |= {"measure": "negative_sequence" if lines else "spread", "coverage": round(coverage, 4)}
    measured |= {f"{q.value}_v": round(v, 2) for q, v in zip(shown, values, strict=True)}
    return Verdict(
        block.point, answer if answer is Answer.BREACH or high < release.clear.below else Answer.BETWEEN,
        block.start_ms, block.end_ms, low, high, decided_ms=block.end_ms, confirmed=True, measured=measured,
    )  # fmt: skip


TOPIC = AuditTopic(
    "pq-unbalance-u", examine, needs=("voltage",),
    blinded_by=("dat-implausible", "met-volt-loss", "met-phase-break", "pq-outage"),
)  # fmt: skip
