"""What `load` shows to `audit`: closed intervals with bounds, register events, how a device answers.

Plain values only; no array leaves the room. Everything here is primary side: K has been applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from edge_agent.model import ClockState, DeviceId, Frame, LinkId, Ms, PointId, Quantity


class Band(NamedTuple):
    """A mean over an interval that is only known to lie between `low` and `high`, with its best `value`."""

    low: float
    value: float
    high: float

    def over(self, divisor: float) -> Band:
        return Band(self.low / divisor, self.value / divisor, self.high / divisor)


class Source(StrEnum):
    """Where a demand comes from."""

    REGISTER = "register"  # difference of interpolated energy registers
    POWER = "power"  # mean of sampled power
    PROFILE = "profile"  # the meter's own load profile
    RECORDED = "recorded"  # a mean over its row, from a file


class Demand(msgspec.Struct, frozen=True):
    """Mean powers over one interval from one source, import side, W and VA.

    `export` and `export_apparent`: the same of what flowed the other way, None where the source does not say; samples
    count on the import side alone.
    """

    source: Source
    active: Band | None
    reactive: Band | None
    apparent: Band | None
    coverage: float  # share of the interval that readings vouch for
    resolution: float  # one register step as power over the interval, W or VA; 0 where there is none
    export: Band | None = None
    export_apparent: Band | None = None


class Interval(msgspec.Struct, frozen=True):
    """One closed demand interval of one point, stamped with its end.

    `count` > 1: the interval spans that many demand periods of which only the mean is known; its `low` says
    "at least one of these" (domain rule of bounds).
    """

    point: PointId
    start_ms: Ms
    end_ms: Ms
    block: bool  # ends on the grid of the demand period; blocks never overlap
    register: Demand | None
    sampled: Demand | None
    decided_ms: Ms  # time of the reading that closed it
    count: int = 1
    spans: str = ""  # why it may not be judged: "archive_change", "clock_step", "register_break"

    @property
    def demands(self) -> tuple[Demand, ...]:
        if self.register is None:
            return () if self.sampled is None else (self.sampled,)
        return (self.register,) if self.sampled is None else (self.register, self.sampled)

    @property
    def coverage(self) -> float:
        return max((d.coverage for d in self.demands), default=0.0)


@dataclass(frozen=True, slots=True)
class RegisterEvent:
    """A cumulative register did what a register does not do by itself."""

    point: PointId
    device: DeviceId
    quantity: Quantity
    kind: str  # "decrease", "rollover", "replacement", "jump"; of a counter of events "counter_fell"
    before: float
    after: float
    before_ms: Ms
    after_ms: Ms
    confirmed: bool  # both levels were read twice
    serial_known: bool
    before_frame: Frame | None = None
    after_frame: Frame | None = None


@dataclass(frozen=True, slots=True)
class Comm:
    """How a device answers: counted from the outcomes of its reads."""

    device: DeviceId
    point: PointId | None
    link: LinkId
    failures: int  # reads without any value, in a row
    good: int  # reads with values, in a row
    failing_since_ms: Ms | None
    last_good_ms: Ms | None
    cause: str
    detail: str
    link_down: bool
    now_ms: Ms


@dataclass(frozen=True, slots=True)
class Witnessed:
    """Something that a meter says happened to it: told once, whether its counter or its log said so, or both.

    It happened between `start_ms` and `end_ms` (UTC): two readings of the counter, or, by the meter's clock, the log's
    entries. `before` and `after`: what the counter stood at, None where only the log speaks.
    """

    point: PointId
    device: DeviceId
    code: str
    id: str  # the same after a restart: what tells this event from the next one of its code
    count: int
    sources: tuple[str, ...]  # "counter", "log"
    start_ms: Ms
    end_ms: Ms
    told_ms: Ms
    before: int | None = None
    after: int | None = None
    before_ms: Ms | None = None
    after_ms: Ms | None = None
    logged_ms: tuple[Ms, ...] = ()
    operator: str = ""
    serial_known: bool = True  # it is the same meter as before
    placed: bool = True  # False: only a stamp of a clock that is off says when


class Role(StrEnum):
    """Which of a point's devices measured."""

    METER = "meter"  # the one that bills
    CT = "ct"  # an independent current transformer that answers on a link


class Round(msgspec.Struct, frozen=True):
    """What a device showed in one round of questions, primary side, and in the round before.

    `start_ms` is the end of the round before; where none was near enough to vouch for the time between, it is `end_ms`,
    and `before` is `now`. `stale`: values of `now` that no question has brought since `before`. `spread_ms`: how
    far the round's own values lie apart.
    """

    point: PointId
    device: DeviceId
    role: Role
    start_ms: Ms
    end_ms: Ms
    before: Mapping[Quantity, float]
    now: Mapping[Quantity, float]
    stale: frozenset[Quantity] = frozenset()
    spread_ms: Ms = 0
    asked: frozenset[Quantity] = frozenset()
    """What the device is asked for at all: what of it is not in `now` did not come."""
    read_ms: Mapping[Quantity, Ms] = msgspec.field(default_factory=dict)
    """When each value of `now` was read."""


class Mean(NamedTuple):
    """A sampled quantity over a block: its mean over the covered part, its extremes there, and how much that is."""

    value: float
    least: float
    most: float
    coverage: float


class Block(msgspec.Struct, frozen=True):
    """Means of what a device sampled over one block of the demand period, primary side, stamped with its end."""

    point: PointId
    role: Role
    start_ms: Ms
    end_ms: Ms
    means: Mapping[Quantity, Mean]


class DayBlock(NamedTuple):
    """One closed block of a day: mean powers import side, W, var, VA; None: not known."""

    end_ms: Ms
    coverage: float
    active: Band | None
    reactive: Band | None
    apparent: Band | None


@dataclass(frozen=True, slots=True)
class Day:
    """A local day that is over: the blocks that closed, of so many that the day has."""

    point: PointId
    day: date
    start_ms: Ms
    end_ms: Ms
    expected: int
    blocks: Sequence[DayBlock]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a device says about itself, or how it is set: a text or a number, as given (no K on it).

    `again`: it said the same the time before.
    """

    point: PointId
    device: DeviceId
    role: Role
    quantity: Quantity
    value: str | float
    at_ms: Ms
    again: bool
    frame: Frame | None = None
    ahead_ms: Ms | None = None  # of a clock: by how much it was ahead of `at_ms`


@dataclass(frozen=True, slots=True)
class Standing:
    """The total register of a meter beside its rate registers, at about one instant, as the meter shows them (no K).

    `spread_ms`: how far the readings lie apart. `step`: the largest of theirs, Wh.
    """

    point: PointId
    device: DeviceId
    at_ms: Ms
    spread_ms: Ms
    values: Mapping[Quantity, float]
    step: float


@dataclass(frozen=True, slots=True)
class Health:
    """How the gateway itself is, as far as it is known; looked at once a minute."""

    backlog: float | None = None  # share of the store's quota that is used while the centre owes acknowledgements
    oldest_s: float | None = None  # age of the oldest message that the centre has not acknowledged; 0: none
    disk_free_mib: float | None = None  # under the store
    unsynced_s: float | None = None  # since when the clock has been without a source
    owed: int = 0  # messages that the centre has not acknowledged


@dataclass(frozen=True, slots=True)
class LoadView:
    """One tick's answers, frozen: what topics may look at."""

    now_ms: Ms
    closed: Sequence[Interval] = ()
    events: Sequence[RegisterEvent] = ()
    comms: Sequence[Comm] = ()
    meter_events: Sequence[Witnessed] = ()
    """What the meters themselves say happened, told with this tick."""
    witnessed: Sequence[Witnessed] = ()
    """The same of the last hours, this tick's included: what may corroborate."""
    rounds: Sequence[Round] = ()
    blocks: Sequence[Block] = ()
    days: Sequence[Day] = ()
    claims: Sequence[Claim] = ()
    clock: ClockState | None = None
    """How well the gateway's own clock is known; None where nobody says, as in recorded data."""
    health: Health | None = None
    standings: Sequence[Standing] = ()
    studied: Sequence[Any] = ()
    """What the topic's own study has found with this tick: see `audit.study`."""
    confirmed_ms: Mapping[PointId, Ms] = field(default_factory=dict)
    """Per point: every reading up to here has been followed by one that agrees with it."""
    worked: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What one topic has worked out of this view alone and others need too: arithmetic that is done once."""
    whole: bool = True
    """False: more of the same tick follows in a view of its own, so that nothing is missing yet."""

    def beside(self, studied: Sequence[Any]) -> LoadView:
        """The same view with what a study has found; the same object where that is nothing."""
        if not studied and not self.studied:
            return self
        return LoadView(
            self.now_ms, self.closed, self.events, self.comms, self.meter_events, self.witnessed, self.rounds,
            self.blocks, self.days, self.claims, self.clock, self.health, self.standings, studied, self.confirmed_ms,
            self.worked, self.whole,
        )  # fmt: skip
