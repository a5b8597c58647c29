"""Chain records: everything that belongs to the evidence and is no finding.

Their kind stands in `record` and in the event's `subject`. A record's id is deterministic, so that writing it again
after a crash gives the same message.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from edge_agent.contract.shapes import (
    BootId,
    Closed,
    Code,
    Digest,
    FindingId,
    Id,
    Name,
    Tally,
    Time,
    Version,
    described,
)
from edge_agent.contract.topics import Ids
from edge_agent.model import ClockState, Letter, Ms, Severity

KIND = "record"

Amount = Annotated[float, Meta(ge=0)]
StepWord = Literal[
    "received", "dispatched", "on_site", "confirmed", "not_confirmed", "cannot_tell", "rectified", "closed"
]
CauseWord = Literal["archive", "wiring", "meter_fault", "collection", "breach", "established_by_inspection", "normal"]


class Boot(Closed, frozen=True, kw_only=True, tag_field="record", tag="boot"):
    """The agent started."""

    agent: Annotated[Version, described("version of the agent")]
    after: Annotated[
        Literal["first", "stop", "crash"] | UnsetType, described("how the run before it ended; absent: unknown")
    ] = UNSET
    config_digest: Annotated[Digest | UnsetType, described("of the site file")] = UNSET
    archive: Annotated[Version | UnsetType, described("version of the archive")] = UNSET


class Config(Closed, frozen=True, kw_only=True, tag_field="record", tag="config"):
    """Settings, archive or releases changed while the agent ran, or between two runs."""

    part: Annotated[Literal["site", "archive", "releases"], described("what changed")]
    digest: Annotated[Digest, described("now in force")]
    previous: Annotated[Digest | UnsetType, described("in force before")] = UNSET


class TimeFix(Closed, frozen=True, kw_only=True, tag_field="record", tag="time_fix"):
    """From here on the gateway knows the time, or knows it otherwise than before."""

    boot_id: Annotated[BootId, described("the start whose boot times this offset turns into UTC")]
    offset_ms: Annotated[int, described("UTC = time since boot + offset", "ms")]
    error_ms: Annotated[Tally | UnsetType, described("bound of the error; absent: unknown", "ms")] = UNSET
    quality: Annotated[Name, described("as in `clockq`")]
    step_ms: Annotated[int | UnsetType, described("by how much the clock jumped, where it did", "ms")] = UNSET


class Tombstone(Closed, frozen=True, kw_only=True, tag_field="record", tag="tombstone"):
    """A declared loss: what was given up, and why."""

    what: Annotated[Literal["telemetry", "findings", "records"], described("what is gone")]
    reason: Annotated[Name, described("disk_full, quota, not_stored, damaged ...")]
    count: Annotated[Tally, described("how many")]
    unsent: Annotated[Tally | UnsetType, described("of these, how many the centre never had")] = UNSET
    since: Annotated[Time | UnsetType, described("earliest of them, UTC")] = UNSET
    until: Annotated[Time | UnsetType, described("latest of them, UTC")] = UNSET
    ranges: Annotated[
        list[tuple[int, int]] | UnsetType, described("first and last number of what is gone from a damaged chain")
    ] = UNSET
    old_epoch: Annotated[str | UnsetType, described("the epoch that `ranges` counts in")] = UNSET
    worst: Annotated[float | UnsetType, described("largest value among findings that were folded into one")] = UNSET


class Acceptance(Closed, frozen=True, kw_only=True, tag_field="record", tag="acceptance"):
    """A technician accepted a point, or took the acceptance back."""

    point: Id
    accepted: bool
    at: Annotated[Time | UnsetType, described("from when on, UTC")] = UNSET
    by: Annotated[Code | UnsetType, described("opaque code of the technician")] = UNSET


class ServiceWindow(Closed, frozen=True, kw_only=True, tag_field="record", tag="service_window"):
    """Announced work: what happens inside is recorded and not raised."""

    points: Annotated[list[Id], Meta(min_length=1)]
    since: Annotated[Time, described("UTC")]
    until: Annotated[Time, described("UTC")]
    work_order: Annotated[Code | UnsetType, described("number of the work order")] = UNSET
    people: Annotated[list[Code] | UnsetType, described("opaque codes")] = UNSET
    seals: Annotated[list[Code] | UnsetType, described("numbers of the seals opened or set")] = UNSET


class Package(Closed, frozen=True, kw_only=True, tag_field="record", tag="package"):
    """A signed document from the centre was applied, refused or taken back."""

    document: Annotated[Name, described("archive, releases, site, command ...")]
    version: Tally
    outcome: Literal["applied", "refused", "rolled_back"]
    reason: Annotated[Name | UnsetType, described("why it was refused or taken back")] = UNSET
    previous: Annotated[Tally | UnsetType, described("version in force before")] = UNSET


class Feedback(Closed, frozen=True, kw_only=True, tag_field="record", tag="feedback"):
    """What became of a finding: one step of its handling by people."""

    finding: FindingId
    step: Annotated[StepWord, described("确认收到 派发 到场 属实 不属实 无法核实 已整改 归档")]
    cause: Annotated[CauseWord | UnsetType, described("what it turned out to be")] = UNSET
    work_order: Annotated[Code | UnsetType, described("number of the work order")] = UNSET
    by: Annotated[Code, described("opaque code of who says so")]
    at: Annotated[Time, described("when it happened, UTC")]
    recovered_kwh: Annotated[Amount | UnsetType, described("energy billed afterwards (追补电量)", "kWh")] = UNSET
    recovered_money: Annotated[Amount | UnsetType, described("in the utility's currency")] = UNSET
    channel: Annotated[Literal["verb", "package"], described("said at the gateway, or signed and sent")]
    key: Annotated[Id | UnsetType, described("whose signature: with `package`")] = UNSET


class Exemption(Closed, frozen=True, kw_only=True, tag_field="record", tag="exemption"):
    """From now on findings of this topic on this point open marked as exempt, for a time."""

    point: Id
    topic: Annotated[Id, described("audit topic (稽查主题)")]
    since: Annotated[Time, described("first instant, UTC")]
    until: Annotated[Time, described("first instant after it, UTC")]
    reason: Annotated[Code, described("opaque code or number of the decision")]
    author: Annotated[Code, described("opaque code of who asked for it")]
    approver: Annotated[Code, described("opaque code of who approved it: another person")]
    channel: Annotated[Literal["verb", "package"], described("said at the gateway, or signed and sent")]
    key: Annotated[Id | UnsetType, described("whose signature: with `package`")] = UNSET


class Suppressed(Closed, frozen=True, kw_only=True, tag_field="record", tag="suppressed"):
    """A topic's condition was met inside announced work: recorded, not raised."""

    topic: Annotated[Id, described("audit topic (稽查主题)")]
    work_order: Annotated[Code, described("that covers it")]
    key: Annotated[Code | UnsetType, described("phase, register or device: what in the point")] = UNSET


class RegisterSaid(Closed, frozen=True, kw_only=True, tag_field="record", tag="register"):
    """A register did what it does not do by itself; whether that is a finding, its topic says."""

    device: Id
    quantity: Annotated[Name, described("which register")]
    what: Annotated[
        Literal["decrease", "rollover", "replacement", "jump", "counter_fell"],
        described("what it did; counter_fell: a counter of events begins anew, from here on its increments count"),
    ]
    before: Annotated[float, described("last value before, as the meter gave it", "Wh, varh or events")]
    after: Annotated[float, described("first value after, as the meter gave it", "Wh, varh or events")]
    confirmed: Annotated[bool, described("both values were read twice")]
    serial_known: Annotated[bool, described("the meter's serial was read afterwards")]


Record = (
    Boot | Config | TimeFix | Tombstone | Acceptance | ServiceWindow | Package | Feedback | Exemption | Suppressed
    | RegisterSaid
)  # fmt: skip


def record_letter(
    data: Record,
    *,
    id: str,
    site: Ids,
    clock: ClockState,
    boot_id: str,
    bt_ms: Ms,
    severity: Severity = Severity.INFO,
    point: str = "",
) -> Letter:
    """The chain message of one record; `id` tells it from others of its kind: a boot id, a version."""
    kind = str(type(data).__struct_config__.tag)
    return Letter(
        id=f"{site.gateway}/{kind}/{id}",
        kind=KIND,
        type=f"edge-agent.record.{kind}.v1",
        source=f"/{site.utility}/{site.gateway}/{point}" if point else f"/{site.utility}/{site.gateway}",
        subject=kind,
        time_ms=clock.utc_ms(bt_ms),
        severity=severity,
        data=msgspec.to_builtins(data),
        clock=clock,
        boot_id=boot_id,
        bt_ms=bt_ms,
    )
