"""The case of a point, told when it changes: from the findings that are open there now."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec
import structlog
from msgspec import UNSET

from edge_agent.app.identity import Identity
from edge_agent.archive import Archive
from edge_agent.audit.case import Case, CaseRules, OpenFinding, case_of, of_state
from edge_agent.audit.topic import Step
from edge_agent.contract.case import CaseCause, CaseData, CaseFinding, CaseValue, case_letter
from edge_agent.contract.messages import Action
from edge_agent.contract.shapes import given, time_or_absent
from edge_agent.core import Core
from edge_agent.explain_case import next_of, reason_of
from edge_agent.image import Snapshot
from edge_agent.model import Letter, Ms, PointId

log = structlog.get_logger()
REASON_MOST = 500


class Casing:
    """Cases of all points, and what of them was told last."""

    def __init__(self, core: Core, archive: Archive, identity: Identity, rules: CaseRules) -> None:
        self._core = core
        self._archive = archive
        self._identity = identity
        self._rules = rules
        self._told: dict[PointId, str] = {}

    def of(self, point: PointId, at_ms: Ms) -> CaseData:
        """The picture of a point as it is now. KeyError: no such point."""
        accepted = self._archive.accepted(point, at_ms)
        found = []
        for finding in self._core.lifecycle.open_findings(point):
            topic = finding.id.split(".")[2]
            release = self._core.releases.get(topic)
            if release is not None:
                found.append(of_state(finding, topic, release, trial=not accepted))
        return self._data(case_of(point, found, self._rules, self._archive.s_cap_va(point, at_ms)))

    def letters(self, steps: Iterable[Step], snapshot: Snapshot) -> list[Letter]:
        """One for each point whose picture these steps have changed."""
        by_point: dict[PointId, list[Step]] = {}
        for step in steps:
            if step.point in self._archive.points:
                by_point.setdefault(step.point, []).append(step)
        letters: list[Letter] = []
        for point, mine in by_point.items():
            try:
                letter = self._letter(point, mine, snapshot)
            except Exception as wrong:  # no picture keeps the findings that it is made of from the centre
                log.error("case not made", point=point, cause=repr(wrong))
                continue
            letters += [] if letter is None else [letter]
        return letters

    def _letter(self, point: PointId, steps: list[Step], snapshot: Snapshot) -> Letter | None:
        last_ms = max(s.time_ms for s in steps)
        data = self.of(point, last_ms)
        picture = _picture(data)
        if self._told.get(point) == picture:
            return None
        self._told[point] = picture
        named = "|".join(sorted(f"{s.finding}/{s.kind}/{s.n}" for s in steps))
        return case_letter(
            data,
            id=f"{data.case}/case/{hashlib.sha256(named.encode()).hexdigest()[:16]}",
            site=self._identity.site,
            severity=max((s.severity for s in steps), key=lambda s: s.rank),
            time_ms=last_ms if snapshot.now_ms is not None else None,
            clock=snapshot.clock,
            boot_id=self._identity.boot_id,
            bt_ms=snapshot.bt_ms,
        )

    def _data(self, case: Case) -> CaseData:
        point = self._archive.points[case.point]
        follows = {f.id: cause.id for cause in case.causes for f in cause.follow}
        findings = [self._finding(f, follows) for f in case.findings]
        by_id = {f.finding: cast(Mapping[str, Any], msgspec.to_builtins(f)) for f in findings}
        causes = []
        for cause in case.causes:
            ids = [f.id for f in cause.findings]
            values = [CaseValue(name=n, value=float(f"{v:.6g}")) for n, v in sorted(cause.values.items())]
            code, text = next_of(cause.id)
            said = {"findings": ids, "values": msgspec.to_builtins(values)}
            causes.append(
                CaseCause(
                    cause=cause.id,
                    score=cause.score,
                    reason=reason_of(said, by_id)[:REASON_MOST],
                    findings=ids,
                    values=values,
                    route=cast(Any, cause.route.value),
                    due=self._archive.local_day(case.point, cause.due_ms).isoformat(),
                    next=Action(code=code, text=text),
                )
            )
        return CaseData(
            case=f"{self._identity.site.gateway}.{case.point}",
            point=case.point,
            state="open" if causes else "over",
            supply_org=given(point.supply_org),
            consumer_no=given(point.consumer_no),
            rules=f"cases@{self._rules.version}",
            archive=given(self._archive.version),
            trial=case.trial,
            check_archive=case.check_archive,
            causes=causes,
            findings=findings,
        )

    def _finding(self, finding: OpenFinding, follows: Mapping[str, str]) -> CaseFinding:
        judged = finding.measured.get("judged")
        return CaseFinding(
            finding=finding.id,
            topic=finding.topic,
            severity=cast(Any, finding.severity.value),
            since=time_or_absent(finding.opened_ms),
            judged=UNSET if judged is None else float(f"{judged:.6g}"),
            unit=finding.unit,
            follows=given(follows.get(finding.id)),
        )


def _picture(data: CaseData) -> str:
    """What makes a case another one: not that a figure crept up."""
    causes = [(c.cause, c.score, c.findings, c.route, c.due) for c in data.causes]
    findings = [(f.finding, f.severity, f.follows) for f in data.findings]
    return repr((data.archive, data.rules, data.trial, data.check_archive, causes, findings))
