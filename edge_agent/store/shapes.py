"""What goes into the store and comes out of it: plain values, and the limits that it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from edge_agent.model import Ms, PointId

MIB = 1024 * 1024
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much; the figures and their reasons are in the reliability chapter of ARCHITECTURE.md."""

    group_rows: int = 64  # letters per commit
    group_s: float = 1.0  # longest wait of a letter or a receipt
    state_s: float = 30.0  # longest wait of tracks and ledger that come without a letter
    telemetry_s: float = 30.0
    state_bytes: int = MIB  # of tracks and ledger that may wait
    pending_letters: int = 20_000
    pending_intervals: int = 5_000
    kept_days: int = 90
    telemetry_days: int = 396  # 13 months
    registers_days: int = 7
    evidence_days: int = 396  # a dispute may come with the next year's bill
    evidence_share: float = 0.25  # of the quota of findings
    findings_quota_bytes: int = 64 * MIB
    telemetry_quota_bytes: int = 512 * MIB
    near_share: float = 0.8
    reserve_bytes: int = 8 * MIB
    tend_s: float = 3600.0
    trim_rows: int = 1_000  # at most, each time the store is tended: a clock that jumps ahead must not empty it
    failures_per_hour: int = 3
    busy_s: float = 5.0


class AckOutcome(StrEnum):
    """What became of a receipt; only ACCEPTED moved the cursor."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"  # at or below the cursor: known already
    NOTHING = "nothing"  # upto 0: the centre has none
    WRONG_EPOCH = "wrong_epoch"
    WRONG_HEAD = "wrong_head"  # the centre's chain is not ours: an alarm on both sides
    AHEAD = "ahead"  # the centre has more of this epoch than we: our disk went back in time


class IntervalRow(NamedTuple):
    """A closed block interval of one point, as it will be sent."""

    point: PointId
    start_ms: Ms
    end_ms: Ms
    body: bytes


class BoundaryRow(NamedTuple):
    """The energy registers of one device at an interval boundary, with their frames."""

    device: str
    at_ms: Ms
    body: bytes


class FindingRow(NamedTuple):
    """The latest step of one finding, as a listing shows it. `data` is the message's data as sent."""

    finding: str
    step: str
    n: int
    severity: str
    point: str
    topic: str
    time: str
    first_time: str
    seq: int
    data: Mapping[str, Any]


class Salvaged(NamedTuple):
    """What was rescued when a damaged findings.db was made anew."""

    moved_to: str
    why: str
    epoch: str  # of the damaged store, "" where it could not be read
    head_seq: int  # the last number known of it
    rescued: int  # records proved by their hash
    unsent: int  # of these, numbered anew and sent again under the new epoch
    lost: tuple[tuple[int, int], ...]  # numbers that were not rescued, both ends included
    tracks: int
    tracks_lost: int
    ledger: int
    ledger_lost: int


class Shed(NamedTuple):
    """Telemetry that was given up: the material of a tombstone record. Interval ends in UTC, both included."""

    reason: str  # "disk_full", "quota"
    first_ms: Ms
    last_ms: Ms
    intervals: int
    unsent: int


class Reopened(NamedTuple):
    """The disk failed; the file was closed, opened and checked, and nothing acknowledged was lost."""

    why: str
    times: int  # within the last hour


class Renewed(NamedTuple):
    """A damaged telemetry.db was put aside and made anew."""

    moved_to: Path
    why: str


class ReserveSpent(NamedTuple):
    """The disk was full: the reserve file was given up for findings."""

    free_bytes: int


StoreEvent = Shed | Reopened | Renewed | ReserveSpent


@dataclass(frozen=True, slots=True)
class Stats:
    """The store as its writer last saw it. `beat_s` is on the monotonic clock."""

    epoch: str
    head_seq: int
    kept_upto: int
    depth: int  # records that the centre has not acknowledged, dead letters apart
    dead: int
    oldest_unsent_ms: Ms | None
    pending: int  # letters waiting for their commit
    findings_used_bytes: int  # pages in use
    findings_file_bytes: int  # with its log
    findings_share: float  # of the quota
    findings_near_quota: bool
    telemetry_used_bytes: int
    telemetry_file_bytes: int
    telemetry_share: float
    telemetry_days: int
    telemetry_damaged: int  # rows that did not pass their check and were not served
    disk_free_bytes: int
    reserve_held: bool
    commits: int
    failing: str  # the code of the error that stopped the store, "" while it works
    beat_s: float

    def beating(self, beat_s: float, pending: int) -> Stats:
        return replace(self, beat_s=beat_s, pending=pending)

    def ended(self, failing: str) -> Stats:
        return replace(self, failing=failing)
