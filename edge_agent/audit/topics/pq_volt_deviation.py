"""电压偏差: is the voltage, as its mean over a demand period, outside what the supply owes?

Judged is how far it is off, as a share of the limit on that side, in whichever phase that is most (GB/T 12325). Half an
hour on the wrong side is told, once a billing month.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.audit.phases import LINE, VOLTAGE
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.views import Block, LoadView, Role
from edge_agent.model import Quantity, Ratings


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for block in view.blocks:
        if block.role is Role.METER and (verdict := _judge(block, site, release)) is not None:
            yield verdict


def _judge(block: Block, site: Site, release: Release) -> Verdict | None:
    ratings, params = site.ratings(block.point, block.end_ms), release.params
    shown = _voltages(block, ratings)
    if not shown:
        return None
    coverage = min(block.means[q].coverage for q in shown)
    if coverage < params["coverage"]:
        return Verdict(block.point, Answer.UNKNOWN, block.start_ms, block.end_ms, reason="coverage")
    over, under = (params["high_1p"], params["low_1p"]) if ratings.wiring == "1p2w" else (params["high"], params["low"])
    off = params["voltage_class"]
    shares = {q: block.means[q].value / rated for q, rated in shown.items()}
    most, least = max(shares.values()), min(shares.values())
    low = max((most * (1 - off) - 1) / (over - 1), (1 - least * (1 + off)) / (1 - under))
    high = max((most * (1 + off) - 1) / (over - 1), (1 - least * (1 - off)) / (1 - under))
    share = most if (most - 1) / (over - 1) > (1 - least) / (1 - under) else least
    worst = next(q for q, v in shares.items() if v == share)
    breach = low > release.levels[0].above
    return Verdict(
        block.point,
        Answer.BREACH if breach else Answer.CLEAR if high < release.clear.below else Answer.BETWEEN,
        block.start_ms, block.end_ms, low, high, decided_ms=block.end_ms, confirmed=True,
        measured={
            "phase": worst.value.removeprefix("voltage_").upper(), "voltage_share": round(share, 4),
            "direction": "high" if share > 1 else "low", "coverage": round(coverage, 4),
            **{f"{q.value}_v": round(block.means[q].value, 2) for q in shown},
        } if breach else {},
        facts=tuple(f for f in ratings.facts if f.name == "vt"),
    )  # fmt: skip


def _voltages(block: Block, ratings: Ratings) -> dict[Quantity, float]:
    """Those that a limit can be held against, with what they are rated for, V; all of them or none."""
    if ratings.wiring == "3p3w":
        wanted = dict.fromkeys(LINE, ratings.u_line_v)
    else:
        wanted = {VOLTAGE[p - 1]: ratings.u_phase_v for p in ratings.phases}
    return {q: rated for q, rated in wanted.items() if q in block.means}


TOPIC = AuditTopic(
    "pq-volt-deviation", examine, needs=("voltage",),
    blinded_by=("dat-implausible", "met-volt-loss", "met-phase-break", "pq-outage"),
)  # fmt: skip
