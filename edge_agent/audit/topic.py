"""What an audit topic is: a named question, its published parameters, and its answers.

A topic is code without memory; a release is data without code. "Cannot say" is an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from edge_agent.load.views import LoadView
from edge_agent.model import Capacity, DaySpan, Fact, FactState, Ms, PointId, Ratings, Severity

if TYPE_CHECKING:
    from edge_agent.audit.study import Study
    from edge_agent.tariff import Terms
    from edge_agent.tariff.schedule import Schedule


class Answer(StrEnum):
    """BREACH 超限, CLEAR 正常, BETWEEN 边界内, UNKNOWN 无法判定"""

    BREACH = "breach"
    CLEAR = "clear"
    BETWEEN = "between"
    UNKNOWN = "unknown"


class Route(StrEnum):
    """The department whose answer is asked."""

    ARCHIVE = "archive"
    METERING = "metering"
    COLLECTION = "collection"
    BILLING = "billing"
    CUSTOMER_INSPECTION = "customer-inspection"


class Opening(NamedTuple):
    """When a level opens: `k` windows in `n` units that do not overlap, or a hold without a break.

    Both together: a hold that goes on as long as `k` of the last `n` windows are above the level.
    """

    k: int = 1
    n: int = 1
    unit: str = "interval"  # "interval", "hour", "day"
    hold_s: int | None = None


@dataclass(frozen=True, slots=True)
class Level:
    severity: Severity
    above: float
    open: Opening
    source: str  # where the number comes from, with its trust mark


@dataclass(frozen=True, slots=True)
class Clearing:
    """CLEAR is `high` below `below`; held for `hold_s`; or only a person, or the period's end, clears."""

    kind: str = "hold"  # "hold", "manual", "period"
    below: float = 0.0
    hold_s: int = 0


@dataclass(frozen=True, slots=True)
class Release:
    """The published half of a topic, `topic@version`."""

    topic: str
    version: int
    status: str
    episode: str  # "run", "day", "month", "once"
    route: Route
    levels: tuple[Level, ...]
    clear: Clearing
    due_days: Mapping[str, int]
    params: Mapping[str, Any]
    iec: str  # IEC 61968-9 EndDeviceEventType
    anomaly: str  # the acquisition system's name, "" where it has none
    digest: str  # sha-256 of the release file
    suppressed_by_work_order: bool = False
    supersedes: tuple[str, ...] = ()
    unit: str = "1"  # of the levels' `above`

    @property
    def name(self) -> str:
        return f"{self.topic}@{self.version}"


class Verdict(msgspec.Struct, frozen=True):
    """One answer about one point at one instant (the end of what was judged).

    A key that ends in `*` means every track of the point whose key begins so. A BREACH of these opens nothing: it is a
    witness, and corroborates the findings that are open about a time which it shares. `measured` is of this interval;
    `running` counts since the beginning (energy, days, an estimate), and the newest one is told.
    """

    point: PointId  # "" for a finding about the gateway or a link
    answer: Answer
    start_ms: Ms
    end_ms: Ms
    low: float = 0.0
    high: float = 0.0
    decided_ms: Ms = 0  # the reading that must be confirmed
    confirmed: bool = False  # recorded data, or confirmed by the topic itself
    block: bool = True  # counts as an interval of its own
    periods: int = 1  # above 1: true of at least one of so many intervals, hence no hold
    key: str = ""  # phase, register, device: what in the point
    reason: str = ""  # code of why it is UNKNOWN or BETWEEN
    measured: Mapping[str, Any] = msgspec.field(default_factory=dict)
    running: Mapping[str, Any] = msgspec.field(default_factory=dict)
    facts: tuple[Fact, ...] = ()
    origin: str = "agent"  # who noticed: "agent", "meter", "both"
    sampled: bool = False  # what an instant showed: no register confirms it, only the next verdict of the same thing
    held_s: float = 0.0  # a meter's word: for how long it had seen this before it said so

    @property
    def is_witness(self) -> bool:
        return self.key.endswith("*") and self.answer is Answer.BREACH


class StepKind(StrEnum):
    OPENED = "opened"
    UPDATED = "updated"
    CLEARED = "cleared"
    ANNOTATED = "annotated"


@dataclass(frozen=True, slots=True)
class Step:
    """One step in the life of a finding: what a message to the centre says."""

    finding: str
    n: int  # 1, 2, 3 ... within the finding
    kind: StepKind
    point: PointId
    topic: str
    release: str
    release_digest: str
    key: str
    episode: str  # "2026-03", "2026-03-14", "20260314T101500Z"
    severity: Severity
    active: bool
    reason: str  # why this step: "level", "episode", "hold", "period", "superseded", "day" ...
    time_ms: Ms  # end of the interval judged
    opened_ms: Ms
    route: Route
    due_ms: Ms
    trial: bool
    exempt: bool
    check_archive: bool  # rests on a fact that is unverified or in conflict
    measured: Mapping[str, Any]
    counts: Mapping[str, int | float]
    facts: tuple[Fact, ...]
    iec: str
    anomaly: str
    origin: str = "agent"


class Site(Protocol):
    """What topics and the life of a finding ask of the archive. Times are UTC ms; None is "unknown"."""

    def capacity(self, point: PointId, start_ms: Ms, end_ms: Ms) -> Capacity | None: ...
    def meter_facts(self, point: PointId, at_ms: Ms) -> tuple[Fact, ...]: ...
    def k_facts(self, point: PointId, at_ms: Ms) -> tuple[Fact, ...]: ...
    def serial(self, point: PointId, at_ms: Ms) -> Fact | None: ...
    def accepted(self, point: PointId, at_ms: Ms) -> bool: ...
    def work_order(self, point: PointId, start_ms: Ms, end_ms: Ms, topic: str | None = None) -> str | None: ...
    def day_span(self, point: PointId, end_ms: Ms) -> DaySpan: ...
    def local_day(self, point: PointId, end_ms: Ms) -> date: ...
    def billing_month(self, point: PointId, end_ms: Ms) -> str: ...
    def month_end_ms(self, point: PointId, end_ms: Ms) -> Ms: ...
    def day_class(self, point: PointId, day: date) -> str: ...
    def ratings(self, point: PointId, at_ms: Ms) -> Ratings: ...
    def tariff_class(self, point: PointId, at_ms: Ms) -> Fact | None: ...
    def schedule(self, point: PointId, at_ms: Ms) -> tuple[Schedule, Fact] | None: ...
    def holidays_known(self, point: PointId, day: date) -> bool: ...
    def joined(self, point: PointId) -> date | None: ...
    def terms(self, point: PointId, at_ms: Ms) -> Terms | None: ...
    def subs(self, point: PointId) -> tuple[PointId, ...]: ...
    def facts_version(self, point: PointId) -> str: ...


@dataclass(frozen=True, slots=True)
class AuditTopic:
    """The code of a topic. `examine` yields one verdict per thing judged; it remembers nothing.

    `blinded_by`: topics whose open finding on a point makes this one unable to say. `biased_by`: topics whose open
    finding means that what this one measured is too low, and is marked so. `study`: what it has to remember.

    `"dat-clock>300"` among `blinded_by`: only once what was measured there has been above. `disputes`: while a finding
    is open, the fact of the archive that its `measured` names as `disputed` is in conflict for all other topics.
    """

    id: str
    examine: Callable[[LoadView, Site, Release], Iterator[Verdict]]
    needs: tuple[str, ...] = ()
    blinded_by: tuple[str, ...] = ()
    biased_by: tuple[str, ...] = ()
    study: Callable[[Release], Study] | None = None
    disputes: bool = False


def grade(release: Release, low: float, high: float) -> Answer:
    """BREACH only if `low` is above the lowest level, CLEAR only if `high` is below the clearing one."""
    if low > release.levels[0].above:
        return Answer.BREACH
    if high < release.clear.below:
        return Answer.CLEAR
    return Answer.BETWEEN


def weakest(facts: tuple[Fact, ...]) -> FactState:
    """The weakest state among the facts that a verdict rests on; verified when it rests on none."""
    order = (FactState.CONFLICT, FactState.UNVERIFIED, FactState.VERIFIED)
    return min((f.state for f in facts), key=order.index, default=FactState.VERIFIED)
