"""One point in a hundred at fault among clean ones: are the first N that are ranked the N that are at fault?

Cases per point come from the agent's own thematic analysis where this version has one; until then points are ranked by
the gravest finding, then by how many there are. Faulty points are drawn at random, many times, for the clean ones at
hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_agent.model import Severity
from tests.truth.cases import BY_NAME, Result

DRAWS = 200
SHARE = 0.01
BY = "gravest finding, then how many"


def ranking(plain: Sequence[Result]) -> dict[str, Any]:
    """Mean share of the first N that are at fault, over random draws; N is at least 1."""
    clean = [r for r in plain if not r.kind]
    faulty = [r for r in plain if r.kind and r.enough]
    if not clean or not faulty:
        return {}
    n = max(1, round(len(clean) * SHARE / (1 - SHARE)))
    rng = np.random.default_rng(9)
    true_share: list[float] = []
    routed, told = 0, 0
    for _ in range(DRAWS):
        drawn = [faulty[int(i)] for i in rng.choice(len(faulty), size=min(n, len(faulty)), replace=False)]
        order = rng.permutation(len(clean) + len(drawn))
        points = [*clean, *drawn]
        first = sorted((points[int(i)] for i in order), key=_rank, reverse=True)[: len(drawn)]
        true_share.append(sum(bool(r.kind) and bool(r.findings) for r in first) / len(drawn))
        for r in first:
            if r.kind and r.findings:
                told += 1
                routed += _foremost(r)["route"] in BY_NAME[r.kind].routes
    return {
        "by": BY,
        "points": len(clean) + n,
        "at_fault": n,
        "draws": DRAWS,
        "true_of_first": round(float(np.mean(true_share)), 4),
        "routed_right": round(routed / told, 4) if told else None,
    }


def _rank(result: Result) -> tuple[int, int]:
    ranks = [Severity(f["severity"]).rank for f in result.findings]
    return max(ranks, default=0), len(ranks)


def _foremost(result: Result) -> dict[str, Any]:
    return max(result.findings, key=lambda f: (Severity(f["severity"]).rank, -f["opened_day"]))
