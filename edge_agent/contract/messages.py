"""Every message between gateway and centre, as closed types: what is written here is what the JSON Schemas say.

`python -m edge_agent.contract` writes schemas/ and asyncapi.json from this file; the tests hold them together. Chain
messages (`finding`, `record`) travel as CloudEvents 1.0 structured JSON; the others are plain objects. Who sends what
on which topic, how often and how safely: asyncapi.json.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from edge_agent.contract.records import (
    Acceptance,
    Boot,
    CauseWord,
    Config,
    Exemption,
    Feedback,
    Package,
    RegisterSaid,
    ServiceWindow,
    StepWord,
    Suppressed,
    TimeFix,
    Tombstone,
)
from edge_agent.contract.shapes import (
    SEQ_MAX,
    BootId,
    Closed,
    Code,
    Day,
    Digest,
    Epoch,
    EventId,
    FindingId,
    HashHex,
    Id,
    Money,
    Name,
    Seq,
    SeqOrNone,
    Share,
    Tally,
    Text,
    Time,
    Unit,
    Version,
    described,
)

SeverityWord = Literal["info", "notice", "warning", "major", "critical"]
QualityWord = Literal["synced", "central", "holdover", "meter", "rtc", "restored", "unset"]
EventCode = Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+){3}$")]
ErrorMs = Annotated[int, Meta(ge=0, le=SEQ_MAX)]
BootMs = Annotated[str, Meta(pattern=r"^[0-9]{1,16}$")]
NotNegative = Annotated[float, Meta(ge=0)]
Refused = Annotated[list[Seq], Meta(max_length=1000)]
Moment = Annotated[datetime, Meta(tz=True)]
RouteWord = Literal["archive", "metering", "collection", "billing", "customer-inspection"]


# --- a finding -------------------------------------------------------------------------------------------------------


class Measured(Closed, frozen=True, kw_only=True):
    """One value that the finding rests on: a number with its bounds, or a text. What is not known is absent."""

    name: Annotated[Name, described("what was measured")]
    value: Annotated[float | UnsetType, described("best value, in `unit`")] = UNSET
    low: Annotated[float | UnsetType, described("the true value is not below this, in `unit`")] = UNSET
    high: Annotated[float | UnsetType, described("the true value is not above this, in `unit`")] = UNSET
    unit: Annotated[Unit | UnsetType, described('unit of the numbers; "1" is a plain ratio or number')] = UNSET
    text: Annotated[Text | UnsetType, described("a value that is no number")] = UNSET


class Count(Closed, frozen=True, kw_only=True):
    """How often, over blocks of the demand period that do not overlap."""

    name: Annotated[Name, described("what was counted: intervals, days, longest run ...")]
    value: Annotated[float, described("in `unit`")]
    unit: Annotated[Unit, described('"1" is a plain number')]


class FactUsed(Closed, frozen=True, kw_only=True):
    """A fact of the archive that the finding rests on, and how far it can be relied on."""

    name: Annotated[Name, described("capacity, ct, vt, meter_serial ...")]
    value: Annotated[float | Text, described("as the archive has it")]
    state: Annotated[Literal["verified", "unverified", "conflict"], described("how far it can be relied on")]
    source: Annotated[Literal["system", "technician", "meter"], described("where it comes from")]
    since: Annotated[Time | UnsetType, described("in force from this instant on, UTC")] = UNSET
    verified_at: Annotated[Code | UnsetType, described("when it was verified, as the archive has it")] = UNSET


class JudgedInterval(Closed, frozen=True, kw_only=True):
    """What was judged: half-open, (start, end]."""

    start: Annotated[Time | UnsetType, described("UTC; absent while the gateway has no true time")] = UNSET
    end: Annotated[Time | UnsetType, described("UTC; absent while the gateway has no true time")] = UNSET


class CapacityUsed(Closed, frozen=True, kw_only=True):
    """What the contract allows, and what of it may run."""

    contracted: Annotated[float, described("contracted capacity, in `unit`")]
    running: Annotated[float, described("less what is suspended or reduced, in `unit`")]
    unit: Annotated[Literal["VA", "W"], described("of both")]
    status: Annotated[Literal["normal", "suspended", "reduced"] | UnsetType, described("in force")] = UNSET
    basis: Annotated[
        Literal["capacity", "contracted-demand", "actual-demand"] | UnsetType, described("what the tariff bills on")
    ] = UNSET


class Threshold(Closed, frozen=True, kw_only=True):
    """What the measured value was held against; the level of the release that was passed follows from the severity."""

    value: Annotated[float, described("in `unit`")]
    unit: Annotated[Unit, described('VA, W ...; "1" is a plain ratio')]


class Action(Closed, frozen=True, kw_only=True):
    """What could be done next: a proposal, never an order."""

    code: Annotated[Name, described("of the sentence in the catalogue")]
    text: Annotated[Text, described("the sentence, in English")]


class EstimateUsed(Closed, frozen=True, kw_only=True):
    """What a rule of the tariff would make of what was measured: an estimate, not a bill, and binding on nobody."""

    rule: Annotated[Text, described("tariff, rule and version, cn/cn-demand@1")]
    amount: Annotated[Money, described("in `currency`, an exact decimal")]
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$"), described("ISO 4217")]
    at_most: Annotated[bool, described("the rule names a most, and what is asked may be less")]
    binding: Annotated[Literal[False], described("never: an estimate, not a bill")]
    lines: Annotated[list[Text], described("the arithmetic, in English")]


class FindingData(Closed, frozen=True, kw_only=True):
    """One step in the life of one finding (疑点): what was measured, against what; suspected, never proved."""

    finding: Annotated[FindingId, described("id: the same after a crash, a resend, another release")]
    step: Annotated[Literal["opened", "updated", "cleared", "annotated"], described("what happened to it")]
    n: Annotated[int, Meta(ge=1), described("1, 2, 3 ... within the finding")]
    episode: Annotated[Code, described("billing month 2026-03, day 2026-03-14, or instant of the first interval")]
    active: Annotated[bool, described("whether the condition holds now")]
    reason: Annotated[Name, described("why this step: level, episode, hold, period, superseded, day ...")]
    topic: Annotated[Id, described("audit topic (稽查主题)")]
    key: Annotated[Code | UnsetType, described("phase, register or device: what in the point")] = UNSET
    release: Annotated[Version, described("audit topic and version of its parameters, cap-over-contract@7")]
    params_digest: Annotated[Digest, described("of the release's parameters, with its algorithm")]
    archive: Annotated[Version | UnsetType, described("version of the customers' master data (档案)")] = UNSET
    route: Annotated[RouteWord, described("the department whose answer is asked")]
    due: Annotated[Day | UnsetType, described("the local day by which")] = UNSET
    opened: Annotated[Time | UnsetType, described("when it opened, UTC")] = UNSET
    interval: Annotated[JudgedInterval, described("the interval judged")]
    point: Annotated[Id | UnsetType, described("metering point (计量点); absent: about the gateway")] = UNSET
    supply_org: Annotated[Code | UnsetType, described("opaque code of the supply organisation")] = UNSET
    consumer_no: Annotated[Code | UnsetType, described("opaque consumer number (户号), never a name")] = UNSET
    metering_point: Annotated[Code | UnsetType, described("the utility's own number of the metering point")] = UNSET
    asset_no: Annotated[Code | UnsetType, described("asset number of the meter")] = UNSET
    trial: Annotated[bool, described("the point is not accepted yet: outside evaluation")]
    exempt: Annotated[bool, described("an approved exemption covers it")]
    test: Annotated[bool, described("made on request, to test the way to the centre")]
    check_archive: Annotated[bool, described("rests on a fact that is unverified or in conflict: archive first")]
    origin: Annotated[Literal["agent", "meter", "both"], described("who noticed")]
    k: Annotated[float | UnsetType, described("综合倍率, CT x VT ratio in force", "1")] = UNSET
    capacity: Annotated[CapacityUsed | UnsetType, described("contracted and running capacity in force")] = UNSET
    threshold: Annotated[Threshold | UnsetType, described("what it was held against")] = UNSET
    coverage: Annotated[Share | UnsetType, described("share of the interval that readings vouch for", "1")] = UNSET
    sources: Annotated[Tally | UnsetType, described("independent ways of measuring that support it")] = UNSET
    measured: Annotated[list[Measured], described("the values it rests on")]
    counts: Annotated[list[Count], described("over the episode so far")]
    facts: Annotated[list[FactUsed], described("the facts of the archive it rests on")]
    action: Annotated[Action | UnsetType, described("what could be done next")] = UNSET
    estimate: Annotated[EstimateUsed | UnsetType, described("absent where no price is known")] = UNSET
    evidence: Annotated[Digest | UnsetType, described("of the frozen bundle of this step, sent on request")] = UNSET
    iec: Annotated[EventCode | UnsetType, described("IEC 61968-9 EndDeviceEventType")] = UNSET
    anomaly: Annotated[Text | UnsetType, described("the acquisition system's name of the anomaly")] = UNSET


# --- chain messages: CloudEvents 1.0, structured JSON ----------------------------------------------------------------


class CloudEvent(Closed, frozen=True, kw_only=True):
    """What every message of the chain carries beside its data. The chain hashes the exact bytes of the message."""

    specversion: Annotated[Literal["1.0"], described("of CloudEvents")]
    id: Annotated[EventId, described("the same for every sending of the same message: keep one of each")]
    source: Annotated[
        str,
        Meta(pattern=r"^/[a-z0-9-]{1,32}/[a-z0-9-]{1,32}(/[a-z0-9-]{1,32})?$"),
        described("/<utility>/<gateway>/<point>, without the point where it is about the gateway"),
    ]
    type: Annotated[str, Meta(pattern=r"^edge-agent\.[a-z]+\.[a-z_]+\.v1$"), described("what it reports")]
    subject: Annotated[Name, described("audit topic id, or the kind of record")]
    time: Annotated[Time | UnsetType, described("UTC; end of the interval judged; absent while time is unset")] = UNSET
    datacontenttype: Literal["application/json"]
    dataschema: Annotated[str, described("JSON Schema of `data`")]
    seq: Annotated[Seq, described("number in the chain, without gaps within an epoch")]
    epoch: Annotated[Epoch, described("drawn anew whenever the gateway's store is made anew")]
    prevhash: Annotated[HashHex, described("SHA-256 head of the chain before this message")]
    clockq: Annotated[QualityWord, described("how well the gateway knew the time")]
    clockerrms: Annotated[ErrorMs | UnsetType, described("bound of the clock's error; absent: unknown", "ms")] = UNSET
    bootid: Annotated[BootId, described("of the gateway's start")]
    btms: Annotated[
        BootMs | UnsetType,
        described("time since boot, while the clock is not synced; a text: CloudEvents' integers end at 2^31", "ms"),
    ] = UNSET
    severity: Annotated[SeverityWord, described("提示 一般 较重 重大 紧急")]


class FindingEvent(CloudEvent, frozen=True, kw_only=True):
    """One step of a finding, on `up/finding`."""

    data: FindingData


class RecordEvent(CloudEvent, frozen=True, kw_only=True):
    """Any other entry of the chain, on `up/record`."""

    data: (
        Boot | Config | TimeFix | Tombstone | Acceptance | ServiceWindow | Package | Feedback | Exemption | Suppressed
        | RegisterSaid
    )  # fmt: skip


# --- evaluation -----------------------------------------------------------------------------------------------------


class Rate(Closed, frozen=True, kw_only=True):
    """How many of how many. Absent `share`: of none, nothing can be said."""

    count: Tally
    of: Tally
    share: Annotated[Share | UnsetType, described("count over of", "1")] = UNSET


class EvaluationData(Closed, frozen=True, kw_only=True):
    """How one audit topic did in one month: findings that opened in it on accepted points, and what became of them.

    Exempt findings are counted and stand outside every rate. It is sent again when something of it changes.
    """

    topic: Annotated[Id, described("audit topic (稽查主题)")]
    month: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}$"), described("local calendar month, 2026-03")]
    opened: Annotated[Tally, described("findings that opened in the month")]
    exempted: Annotated[Tally, described("of these, covered by an approved exemption")]
    received: Tally
    dispatched: Tally
    on_site: Tally
    confirmed: Annotated[Tally, described("属实")]
    not_confirmed: Annotated[Tally, described("不属实")]
    cannot_tell: Annotated[Tally, described("无法核实")]
    rectified: Annotated[Tally, described("已整改")]
    closed: Annotated[Tally, described("归档")]
    completion: Annotated[Rate, described("办结率: closed, of those that opened")]
    timeliness: Annotated[Rate, described("及时率: answered by their due day, of those answered or past it")]
    confirmation: Annotated[Rate, described("属实率: confirmed, of those confirmed or not confirmed")]
    rectification: Annotated[Rate, described("整改率: rectified, of those confirmed")]
    recurrence: Annotated[Rate, described("重复发生率: opened after one of the same kind was rectified or closed")]
    recovered_kwh: Annotated[NotNegative, described("追补电量", "kWh")]
    recovered_money: Annotated[NotNegative, described("in the utility's currency")]
    blind: Annotated[Share | UnsetType, described("share of the time judged that was UNKNOWN (无法判定)", "1")] = UNSET
    capped: Annotated[bool, described("its release has lost its credit: findings stay at notice")]


class EvaluationEvent(CloudEvent, frozen=True, kw_only=True):
    """The audit indicators of one topic and month, on `up/evaluation`."""

    data: EvaluationData


# --- state and telemetry ---------------------------------------------------------------------------------------------


class ClockNow(Closed, frozen=True, kw_only=True):
    """How well the gateway knows the time."""

    quality: QualityWord
    error_ms: Annotated[Tally | UnsetType, described("bound of the error; absent: unknown", "ms")] = UNSET


class Online(Closed, frozen=True, kw_only=True, tag_field="state", tag="online"):
    """Birth: sent after each connect, retained."""

    boot_id: BootId
    at: Annotated[Time | UnsetType, described("UTC")] = UNSET
    agent: Annotated[Version, described("version of the agent")]
    contract: Annotated[Literal["v1"], described("version of these messages")]
    clock: ClockNow
    epoch: Annotated[Epoch, described("of the store")]
    first: Annotated[SeqOrNone, described("lowest number that can still be sent again; 0: none")]
    last: Annotated[SeqOrNone, described("highest number of the chain; 0: none")]
    upto: Annotated[SeqOrNone, described("highest number that the centre has acknowledged; 0: none")]
    head: Annotated[HashHex, described("SHA-256 head of the chain after `last`")]
    config_digest: Annotated[Digest | UnsetType, described("of the site file")] = UNSET
    archive: Annotated[Version | UnsetType, described("applied version of the archive")] = UNSET
    release_set: Annotated[Id | UnsetType, described("set of audit topics that runs here")] = UNSET
    releases: Annotated[list[Version] | UnsetType, described("applied releases, topic@version")] = UNSET
    ack: Annotated[Literal["centre", "broker"], described("who says that a chain message is done")]


class Offline(Closed, frozen=True, kw_only=True, tag_field="state", tag="offline"):
    """Will, or goodbye. Whether a gateway is online, the heartbeat's age says, never the will alone."""

    boot_id: BootId
    why: Annotated[Literal["lost", "stopped"], described("lost: the broker says so; stopped: the agent says so")]


Status = Online | Offline


class ChainNow(Closed, frozen=True, kw_only=True):
    """Where the chain stands, of the epoch that the birth message names."""

    last: Annotated[SeqOrNone, described("highest number; 0: none")]
    upto: Annotated[SeqOrNone, described("highest number that the centre has acknowledged; 0: none")]


class Backlog(Closed, frozen=True, kw_only=True):
    """What waits on the gateway."""

    depth: Annotated[Tally, described("chain messages that the centre has not acknowledged")]
    oldest_s: Annotated[Tally | UnsetType, described("age of the oldest of them", "s")] = UNSET
    blocks: Annotated[Tally | UnsetType, described("demand intervals not sent")] = UNSET
    dead: Annotated[Tally | UnsetType, described("messages that the centre refused for good")] = UNSET


class DiskNow(Closed, frozen=True, kw_only=True):
    """Room on the gateway's data partition."""

    free_mib: Annotated[Tally, described("free", "MiB")]
    used_mib: Annotated[Tally, described("used by the agent's two databases", "MiB")]


class LinkNow(Closed, frozen=True, kw_only=True):
    """One line to meters."""

    id: Id
    up: Annotated[bool, described("whether a device on it answers")]


class AckProblem(Closed, frozen=True, kw_only=True):
    """Why the last acknowledgement counted for nothing."""

    kind: Annotated[
        Literal["epoch", "head", "ahead", "malformed"],
        described("epoch or head is not ours; the centre has more than we; not an acknowledgement"),
    ]
    count: Annotated[Tally, described("since the agent started")]


class Heartbeat(Closed, frozen=True, kw_only=True):
    """That the gateway lives, and how; on `up/heartbeat`. Small: it is most of what an idle site sends."""

    at: Annotated[Time | UnsetType, described("UTC")] = UNSET
    up_s: Annotated[Tally, described("since the agent started", "s")]
    clock: ClockNow
    chain: ChainNow
    backlog: Backlog
    disk: DiskNow | UnsetType = UNSET
    memory_mib: Annotated[Tally | UnsetType, described("resident memory of the agent", "MiB")] = UNSET
    links: Annotated[list[LinkNow], described("every line to meters")]
    ack_problem: AckProblem | UnsetType = UNSET
    dropped: Annotated[Tally | UnsetType, described("messages from the broker that were thrown away unread")] = UNSET
    archive: Annotated[Version | UnsetType, described("applied version of the archive")] = UNSET


class OpenFinding(Closed, frozen=True, kw_only=True):
    """An open finding in short: it is announced here at once, its chain message follows in order."""

    finding: FindingId
    topic: Id
    severity: SeverityWord
    since: Annotated[Time | UnsetType, described("opened, UTC")] = UNSET


class PointState(Closed, frozen=True, kw_only=True):
    """One metering point as it is now; on `up/points/<point>`, retained, sent when something of it changes."""

    state: Annotated[Literal["trial", "accepted"], described("trial: outside evaluation until a technician accepts it")]
    at: Annotated[Time | UnsetType, described("UTC")] = UNSET
    load: Annotated[
        NotNegative | UnsetType, described("demand over running capacity, in steps of 0.1; absent: unknown", "1")
    ] = UNSET
    end: Annotated[Time | UnsetType, described("end of the block that p, s and pf are of, UTC")] = UNSET
    p: Annotated[
        tuple[float, float, float] | UnsetType, described("active power: low, value, high; primary side", "W")
    ] = UNSET
    s: Annotated[
        tuple[float, float, float] | UnsetType, described("apparent power: low, value, high; primary side", "VA")
    ] = UNSET
    pf: Annotated[Share | UnsetType, described("power factor of the block's means; absent: unknown", "1")] = UNSET
    completeness: Annotated[Share | UnsetType, described("of the local day so far, what readings vouch for", "1")] = (
        UNSET
    )
    findings: Annotated[list[OpenFinding], described("open now")]


class DemandRow(Closed, frozen=True, kw_only=True):
    """One point's mean power over one closed block. What readings cannot vouch for is absent."""

    point: Id
    source: Annotated[
        Literal["register", "power", "profile", "recorded"] | UnsetType,
        described("difference of energy registers; mean of sampled power; the meter's profile; a file"),
    ] = UNSET
    coverage: Annotated[Share, described("share of the block that readings vouch for", "1")]
    clockq: Annotated[QualityWord | UnsetType, described("how well the gateway knew the time; absent: synced")] = UNSET
    p: Annotated[
        tuple[float, float, float] | UnsetType, described("active power, import: low, value, high; primary side", "W")
    ] = UNSET
    s: Annotated[
        tuple[float, float, float] | UnsetType, described("apparent power: low, value, high; primary side", "VA")
    ] = UNSET


class DemandBlock(Closed, frozen=True, kw_only=True):
    """One closed block, (start, end], of all points that have it; on `up/demand`. Idempotent by (point, end)."""

    start: Annotated[Time, described("start of the block, UTC")]
    end: Annotated[Time, described("end of the block, UTC")]
    points: Annotated[list[DemandRow], Meta(min_length=1)]


# --- down ------------------------------------------------------------------------------------------------------------


class Ack(Closed, frozen=True, kw_only=True):
    """What the centre has stored, read in the transaction that stored it; on `down/ack`."""

    epoch: Epoch
    upto: Annotated[SeqOrNone, described("highest number with none missing below it; 0: nothing kept")]
    head: Annotated[HashHex, described("SHA-256 head of the chain after `upto`; 64 zeros for 0")]
    need: Annotated[tuple[Seq, Seq] | UnsetType, described("first and last number to send again")] = UNSET
    nack: Annotated[Refused | UnsetType, described("numbers refused for good: dead letters, count for upto")] = UNSET
    at: Annotated[Moment | UnsetType, described("the centre's UTC when it sent this")] = UNSET


class Said(Closed, frozen=True, kw_only=True):
    """What became of one finding: one step of its handling."""

    finding: FindingId
    step: StepWord
    cause: CauseWord | UnsetType = UNSET
    work_order: Annotated[Code | UnsetType, described("number of the work order")] = UNSET
    by: Annotated[Code, described("opaque code of who says so")]
    at: Annotated[Time, described("when it happened, UTC")]
    recovered_kwh: Annotated[NotNegative | UnsetType, described("追补电量", "kWh")] = UNSET
    recovered_money: Annotated[NotNegative | UnsetType, described("in the utility's currency")] = UNSET


class Exempting(Closed, frozen=True, kw_only=True):
    """An approved exemption of a topic on a point: findings still open, marked."""

    point: Id
    topic: Id
    from_: Annotated[Time, described("first instant, UTC")] = field(name="from")
    to: Annotated[Time, described("first instant after it, UTC")]
    reason: Annotated[Code, described("opaque code or number of the decision")]
    author: Annotated[Code, described("opaque code of who asked for it")]
    approver: Annotated[Code, described("opaque code of who approved it: another person")]


class FeedbackPackage(Closed, frozen=True, kw_only=True):
    """Payload of a signed package (base64 signature, one-line JSON header, this) on `down/feedback`; all or nothing."""

    feedback: Annotated[list[Said], Meta(max_length=200)] = field(default_factory=list)
    exemptions: Annotated[list[Exempting], Meta(max_length=200)] = field(default_factory=list)


class ReleaseDecision(Closed, frozen=True, kw_only=True):
    """Payload of one signed package about a release of an audit topic; `down/releases` has all of one, oldest first."""

    topic: Annotated[Id, described("audit topic (稽查主题)")]
    version: Annotated[int, Meta(ge=1), described("of its release")]
    state: Annotated[
        Literal["in_review", "approved", "published", "suspended", "retired"],
        described("审核中 已审核 已发布 已暂停 已退役"),
    ]
    digest: Annotated[HashHex, described("SHA-256 of the release file")]
    at: Annotated[str, Meta(max_length=32), described("when it was signed, UTC, by the clock of whoever did")]
    text: Annotated[str | UnsetType, described("the release file, TOML; with `in_review` only")] = UNSET
