"""疑点线索: the open findings of one point read together, and what likely lies behind them, ranked.

A cause is a rule of data (`config/cases.toml`): which findings it needs, which speak for it, which follow from it. What
follows is named and not asked about by itself. Nothing is decided here that a finding does not say: an order in which
to look, with its reasons as codes and numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.audit.topic import Release, Route, weakest
from edge_agent.audit.track import FindingState
from edge_agent.model import FactState, Ms, PointId, Severity

OTHER = "other"
"""The cause of a finding that no rule speaks of: itself."""

CT_LOAD = "ct_load"
"""Largest apparent power, at the least, over what the metering is rated for: the current over its rated one."""


class CaseError(ValueError):
    """The rules cannot be used; says which entry."""


@dataclass(frozen=True, slots=True)
class Clue:
    """A number that speaks for a cause: above `above` it adds `weight`."""

    name: str
    above: float
    weight: float


@dataclass(frozen=True, slots=True)
class CauseRule:
    id: str
    needs: frozenset[str]
    base: float
    clues: Mapping[str, float]
    values: tuple[Clue, ...]
    silences: frozenset[str]
    route: Route | None  # None: that of its gravest finding


@dataclass(frozen=True, slots=True)
class CaseRules:
    """All causes, in the order in which they silence."""

    version: int
    causes: tuple[CauseRule, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class OpenFinding:
    """What is open at a point, as its last step said it."""

    id: str
    topic: str
    severity: Severity
    opened_ms: Ms
    due_ms: Ms
    route: Route
    measured: Mapping[str, float]  # the bound that counts of each number; "judged": what the levels were compared with
    unit: str  # of "judged"
    trial: bool = False
    check_archive: bool = False


@dataclass(frozen=True, slots=True)
class Cause:
    """One likely cause: what speaks for it, what follows from it, whose answer is asked."""

    id: str
    score: float
    findings: tuple[OpenFinding, ...]
    values: Mapping[str, float]
    follow: tuple[OpenFinding, ...]
    route: Route
    due_ms: Ms


@dataclass(frozen=True, slots=True)
class Case:
    """The picture of one point. No cause: nothing is open there any more."""

    point: PointId
    severity: Severity
    causes: tuple[Cause, ...]
    findings: tuple[OpenFinding, ...]

    @property
    def silenced(self) -> frozenset[str]:
        """Ids of findings that follow from a cause."""
        return frozenset(f.id for cause in self.causes for f in cause.follow)

    @property
    def trial(self) -> bool:
        return any(f.trial for f in self.findings)

    @property
    def check_archive(self) -> bool:
        return any(f.check_archive for f in self.findings)


def rules_from(plain: Mapping[str, Any], digest: str) -> CaseRules:
    """The rules of `config/cases.toml`. Raises `CaseError`."""
    causes = []
    for n, entry in enumerate(plain.get("cause", ()), start=1):
        try:
            causes.append(
                CauseRule(
                    id=str(entry["id"]),
                    needs=frozenset(entry["needs"]),
                    base=float(entry["base"]),
                    clues={str(t): float(w) for t, w in entry.get("clues", {}).items()},
                    values=tuple(
                        Clue(v["name"], float(v["above"]), float(v["weight"])) for v in entry.get("values", ())
                    ),
                    silences=frozenset(entry.get("silences", ())) - frozenset(entry["needs"]),
                    route=Route(entry["route"]) if "route" in entry else None,
                )
            )
        except (KeyError, TypeError, ValueError) as wrong:
            raise CaseError(f"cause {n} ({entry.get('id', 'without id')}): {wrong!r}") from None
        if not entry.get("source"):
            raise CaseError(f"cause {n} ({entry['id']}) has no source")
    if not causes:
        raise CaseError("no cause in it")
    return CaseRules(int(plain.get("version", 0)), tuple(causes), digest)


def case_of(point: PointId, found: Iterable[OpenFinding], rules: CaseRules, s_cap_va: float | None) -> Case:
    """The same findings give the same case, in any order. `s_cap_va`: of the metering, at its rated current."""
    findings = tuple(sorted(found, key=lambda f: (-f.severity.rank, f.topic, f.id)))
    numbers = _numbers(findings, s_cap_va)
    open_topics = {f.topic for f in findings}
    silenced: dict[str, str] = {}  # topic -> the cause it follows from
    standing: list[CauseRule] = []
    for rule in rules.causes:
        if not (rule.needs & open_topics) - silenced.keys():
            continue
        standing.append(rule)
        for topic in rule.silences & open_topics:
            silenced.setdefault(topic, rule.id)
    # a cause silences what a later one needs; none of its own may have been silenced since
    standing = [r for r in standing if (r.needs & open_topics) - silenced.keys()]
    ids = {r.id for r in standing}
    heard = [f for f in findings if silenced.get(f.topic) not in ids]
    causes = [_cause(rule, findings, heard, silenced, numbers) for rule in standing]
    told = {f.id for cause in causes for f in (*cause.findings, *cause.follow)}
    causes += [Cause(OTHER, 1.0, (f,), {}, (), f.route, f.due_ms) for f in heard if f.id not in told]
    causes.sort(key=lambda c: (-c.score, -max(f.severity.rank for f in c.findings), c.id))
    severity = max((f.severity for f in heard), key=lambda s: s.rank, default=Severity.INFO)
    return Case(point, severity, tuple(causes), findings)


def of_state(finding: FindingState, topic: str, release: Release, *, trial: bool) -> OpenFinding:
    """A finding as its track holds it."""
    measured = finding.measured
    numbers = {name: n for name, value in measured.items() if (n := _bound(value)) is not None}
    shaky = weakest(tuple(measured.get("facts", ()))) is not FactState.VERIFIED
    severity = Severity(finding.severity)
    return OpenFinding(
        id=finding.id,
        topic=topic,
        severity=severity,
        opened_ms=finding.opened_ms,
        due_ms=finding.opened_ms + release.due_days.get(severity.value, 30) * 86_400_000,
        route=Route.ARCHIVE if shaky else release.route,
        measured={**numbers, "judged": float(measured.get("low", 0.0))},
        unit=release.unit,
        trial=trial,
        check_archive=shaky,
    )


def _cause(
    rule: CauseRule,
    findings: Sequence[OpenFinding],
    heard: Sequence[OpenFinding],
    silenced: Mapping[str, str],
    numbers: Mapping[str, float],
) -> Cause:
    mine = [f for f in heard if f.topic in rule.needs]
    helping = [f for f in heard if f.topic in rule.clues and f not in mine]
    values = {v.name: numbers[v.name] for v in rule.values if numbers.get(v.name, 0.0) > v.above}
    topics = {f.topic for f in findings} & rule.clues.keys()  # what follows speaks for its cause, too
    score = rule.base + sum(rule.clues[t] for t in topics) + sum(v.weight for v in rule.values if v.name in values)
    gravest = mine[0]
    shaky = any(f.check_archive for f in mine)
    return Cause(
        id=rule.id,
        score=score,
        findings=(*mine, *helping),
        values=values,
        follow=tuple(f for f in findings if silenced.get(f.topic) == rule.id),
        route=Route.ARCHIVE if shaky else rule.route or gravest.route,
        due_ms=min(f.due_ms for f in mine),
    )


def _numbers(findings: Sequence[OpenFinding], s_cap_va: float | None) -> dict[str, float]:
    """What rules may look at besides findings."""
    drawn = [f.measured["apparent_va"] for f in findings if "apparent_va" in f.measured]
    return {CT_LOAD: max(drawn) / s_cap_va} if drawn and s_cap_va else {}


def _bound(value: Any) -> float | None:
    """The bound that counts: `low` where there is one."""
    if isinstance(value, Mapping):
        value = value.get("low", value.get("value"))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


__all__ = ["Case", "CaseError", "CaseRules", "Cause", "CauseRule", "OpenFinding", "case_of", "of_state", "rules_from"]
