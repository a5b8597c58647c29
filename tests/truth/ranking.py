"""One point in a hundred at fault among clean ones: are the first N that are ranked the N that are at fault?

A point's case is the agent's own (`edge_agent.audit.case`), of all that was found there: what follows from a cause does
not count by itself, and the case asks whom its first cause asks. Points are ranked by the case's severity, then by the
score of its first cause, then by how many findings speak. Faulty points are drawn at random, many times, for the clean
ones at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_agent.assembly import case_rules_of
from edge_agent.audit.case import Case, OpenFinding, case_of
from edge_agent.audit.topic import Route
from edge_agent.model import Severity
from edge_agent.settings import config_files
from tests.truth.cases import BY_NAME
from tests.truth.results import Result

_RULES = case_rules_of(config_files())
DRAWS = 200
SHARE = 0.01
BY = "severity of the case, then its first cause"


def ranking(plain: Sequence[Result]) -> dict[str, Any]:
    """Mean share of the first N that are at fault, over random draws; N is at least 1."""
    clean = [r for r in plain if not r.kind]
    faulty = [r for r in plain if r.kind and r.enough]
    if not clean or not faulty:
        return {}
    n = max(1, round(len(clean) * SHARE / (1 - SHARE)))
    rng = np.random.default_rng(9)
    cases = {id(r): _case(r) for r in (*clean, *faulty)}
    true_share: list[float] = []
    routed, told = 0, 0
    for _ in range(DRAWS):
        drawn = [faulty[int(i)] for i in rng.choice(len(faulty), size=min(n, len(faulty)), replace=False)]
        order = rng.permutation(len(clean) + len(drawn))
        points = [*clean, *drawn]
        first = sorted((points[int(i)] for i in order), key=lambda r: _rank(cases[id(r)]), reverse=True)[: len(drawn)]
        true_share.append(sum(bool(r.kind) and bool(r.findings) for r in first) / len(drawn))
        for r in first:
            if r.kind and r.findings:
                told += 1
                routed += cases[id(r)].causes[0].route in BY_NAME[r.kind].routes
    return {
        "by": BY,
        "points": len(clean) + n,
        "at_fault": n,
        "draws": DRAWS,
        "true_of_first": round(float(np.mean(true_share)), 4),
        "routed_right": round(routed / told, 4) if told else None,
    }


def _rank(case: Case) -> tuple[int, float, int]:
    return case.severity.rank if case.causes else -1, case.causes[0].score if case.causes else 0.0, len(case.findings)


def _case(result: Result) -> Case:
    found = [
        OpenFinding(
            id=f"{f['topic']}.{f['key']}.{n}", topic=f["topic"], severity=Severity(f["severity"]),
            opened_ms=round(f["opened_day"] * 86_400_000), due_ms=0, route=Route(f["route"]), measured=_numbers(f),
            unit="",
        )
        for n, f in enumerate(result.findings)
    ]  # fmt: skip
    return case_of("p", found, _RULES, 3**0.5 * 400.0 * result.customer["ct_a"])


def _numbers(finding: dict[str, Any]) -> dict[str, float]:
    out: dict[str, float] = {}
    for name, value in finding["measured"].items():
        number = value.get("low", value.get("value")) if isinstance(value, dict) else value
        if isinstance(number, int | float) and not isinstance(number, bool):
            out[name] = float(number)
    return out
