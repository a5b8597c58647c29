"""疑点线索 as it travels: the open findings of one point, merged, ranked by likely cause, on `up/case`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from edge_agent.contract.messages import Action, CloudEvent, RouteWord, SeverityWord
from edge_agent.contract.shapes import Closed, Code, Day, FindingId, Id, Name, Text, Time, Unit, Version, described
from edge_agent.contract.topics import Ids
from edge_agent.model import ClockState, Letter, Ms, Severity

KIND = "case"


class CaseFinding(Closed, frozen=True, kw_only=True):
    """One open finding of the point."""

    finding: FindingId
    topic: Id
    severity: SeverityWord
    since: Annotated[Time | UnsetType, described("opened, UTC")] = UNSET
    judged: Annotated[float | UnsetType, described("at the least, what the levels were compared with, in `unit`")] = (
        UNSET
    )
    unit: Annotated[Unit | UnsetType, described('of `judged`; "1" is a plain ratio')] = UNSET
    follows: Annotated[Name | UnsetType, described("from this cause: named here, and not asked about by itself")] = (
        UNSET
    )


class CaseValue(Closed, frozen=True, kw_only=True):
    """A number that speaks for a cause."""

    name: Name
    value: Annotated[float, described("at the least", "1")]


class CaseCause(Closed, frozen=True, kw_only=True):
    """One likely cause: an order in which to look, no more."""

    cause: Annotated[Name, described("of the rules' catalogue; other: the finding itself")]
    score: Annotated[float, described("for the order only: base and weights of the rules")]
    reason: Annotated[Text, described("what speaks for it, in English")]
    findings: Annotated[list[FindingId], Meta(min_length=1), described("that speak for it")]
    values: Annotated[list[CaseValue], described("numbers that speak for it")]
    route: Annotated[RouteWord, described("the department whose answer is asked")]
    due: Annotated[Day | UnsetType, described("the local day by which")] = UNSET
    next: Annotated[Action, described("the next step for the inspector")]


class CaseData(Closed, frozen=True, kw_only=True):
    """One point, all that is open there."""

    case: Annotated[Code, described("gateway and point")]
    point: Annotated[Id, described("metering point (计量点)")]
    state: Annotated[Literal["open", "over"], described("over: nothing is open there any more")]
    supply_org: Annotated[Code | UnsetType, described("opaque code of the supply organisation")] = UNSET
    consumer_no: Annotated[Code | UnsetType, described("opaque consumer number (户号), never a name")] = UNSET
    rules: Annotated[Version, described("version of the ranking rules")]
    archive: Annotated[Version | UnsetType, described("version of the customers' master data (档案)")] = UNSET
    trial: Annotated[bool, described("the point is not accepted yet: outside evaluation")]
    check_archive: Annotated[bool, described("a finding rests on a fact that is unverified or in conflict")]
    causes: Annotated[list[CaseCause], described("likeliest first")]
    findings: Annotated[list[CaseFinding], described("open now, gravest first")]


class CaseEvent(CloudEvent, frozen=True, kw_only=True):
    """The picture of a point has changed, on `up/case`."""

    data: CaseData


def case_letter(
    data: CaseData,
    *,
    id: str,
    site: Ids,
    severity: Severity,
    time_ms: Ms | None,
    clock: ClockState,
    boot_id: str,
    bt_ms: Ms,
) -> Letter:
    """The chain message. `id` follows from the steps that changed the picture: the same after a crash."""
    plain: dict[str, Any] = msgspec.to_builtins(data)
    return Letter(
        id=id, kind=KIND, type="edge-agent.case.changed.v1", source=f"/{site.utility}/{site.gateway}/{data.point}",
        subject=KIND, time_ms=time_ms, severity=severity, data=plain, clock=clock, boot_id=boot_id, bt_ms=bt_ms,
    )  # fmt: skip


__all__ = ["KIND", "CaseCause", "CaseData", "CaseEvent", "CaseFinding", "CaseValue", "case_letter"]
