"""The memory of one topic about one point: everything the life of a finding must know after a restart."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from edge_agent.audit.topic import Answer, Opening, Verdict
from edge_agent.model import Fact, FactSource, FactState, Ms


class Phase(StrEnum):
    QUIET = "quiet"
    CONFIRMING = "confirming"
    OPEN = "open"
    FADING = "fading"


@dataclass(slots=True)
class LevelCount:
    """How far one level is on its way to opening. Windows that count never overlap."""

    windows: list[list[Ms]] = field(default_factory=list)  # [start, end]
    days: list[int] = field(default_factory=list)  # local days as ordinals
    hold_from: Ms | None = None
    hold_to: Ms | None = None
    recent: list[Ms | None] = field(default_factory=list)  # of the last verdicts: the end of one above, else None

    def exceeded(self, verdict: Verdict, opening: Opening, day: int) -> bool:
        """Count a verdict above this level; whether the level's opening is met."""
        if opening.hold_s is not None and 0 < opening.hold_s <= verdict.held_s:
            return True
        if opening.hold_s is not None and verdict.held_s:
            return False
        if opening.hold_s is not None and opening.k > 1:
            return self._mostly(verdict, opening, opening.hold_s)
        if opening.hold_s is not None and verdict.periods > 1:
            self.interrupted()
            return False
        if opening.hold_s is not None:
            if self.hold_from is None or self.hold_to is None or verdict.start_ms > self.hold_to:
                self.hold_from = verdict.start_ms
            self.hold_to = verdict.end_ms
            return verdict.end_ms - self.hold_from >= opening.hold_s * 1000
        if opening.unit == "day":
            if day not in self.days:
                self.days.append(day)
            self.days = [d for d in self.days if day - d < opening.n]
            return len(self.days) >= opening.k
        span = opening.n * (3_600_000 if opening.unit == "hour" else max(1, verdict.end_ms - verdict.start_ms))
        if not self.windows or verdict.start_ms >= self.windows[-1][1]:
            self.windows.append([verdict.start_ms, verdict.end_ms])
        self.windows = [w for w in self.windows if w[1] > verdict.end_ms - span or w[1] == verdict.end_ms]
        return len(self.windows) >= opening.k

    def interrupted(self, opening: Opening | None = None, verdict: Verdict | None = None) -> bool:
        """An answer that is not above this level breaks a hold, never a count; whether there was one."""
        if opening is not None and opening.k > 1 and opening.hold_s is not None:
            if verdict is None or verdict.answer is Answer.UNKNOWN or not self.recent:
                return False
            self._pass(verdict, opening, None)
            return True
        broken = self.hold_from is not None
        self.hold_from = self.hold_to = None
        return broken

    def _mostly(self, verdict: Verdict, opening: Opening, hold_s: int) -> bool:
        """A hold that `k` of the last `n` verdicts carry; it begins with the end of the first: that is when it was."""
        self._pass(verdict, opening, verdict.end_ms)
        above = [end_ms for end_ms in self.recent if end_ms is not None]
        if self.hold_from is None or len(above) < opening.k:
            self.hold_from = above[0]
        return len(above) >= opening.k and verdict.end_ms - self.hold_from >= hold_s * 1000

    def _pass(self, verdict: Verdict, opening: Opening, above_ms: Ms | None) -> None:
        """Remember a verdict; what lies before a gap longer than `n` of them is forgotten."""
        gap_ms = verdict.start_ms - (verdict.start_ms if self.hold_to is None else self.hold_to)
        if gap_ms > opening.n * max(1, verdict.end_ms - verdict.start_ms):
            self.recent, self.hold_from = [], None
        self.recent = [*self.recent, above_ms][-opening.n :]
        self.hold_to = verdict.end_ms
        if above_ms is None and not any(self.recent):
            self.recent, self.hold_from, self.hold_to = [], None, None


@dataclass(slots=True)
class Counts:
    """What is counted within a finding, on blocks of the demand period; `max` on every window."""

    intervals: int = 0
    days: int = 0
    episodes: int = 0
    longest_run: int = 0
    run: int = 0
    last_block_end: Ms = 0
    last_day: int = 0
    max_low: float = 0.0
    unknown: int = 0

    def breach(self, verdict: Verdict, day: int) -> None:
        self.max_low = max(self.max_low, verdict.low)
        if not verdict.block:
            return
        self.run = self.run + 1 if verdict.start_ms == self.last_block_end else 1
        self.longest_run = max(self.longest_run, self.run)
        self.intervals += 1
        self.last_block_end = verdict.end_ms
        if day != self.last_day:
            self.days, self.last_day = self.days + 1, day

    def told(self) -> dict[str, int | float]:
        return {
            "intervals": self.intervals,
            "days": self.days,
            "episodes": self.episodes,
            "longest_run": self.longest_run,
        }


@dataclass(slots=True)
class FindingState:
    """An open finding, or one that may still be updated within its period."""

    id: str
    episode: str
    n: int
    severity: str
    opened_ms: Ms
    active: bool
    release: str
    counts: Counts
    measured: dict[str, Any]
    worst: float = 0.0
    pairs: int = 0  # opened-and-cleared pairs told so far
    told_day: int = 0  # local day of the last `updated` that reopened it
    clear_owed: str = ""  # why the last episode ended, while that is still to be told with the day's counts
    clear_ms: Ms = 0
    origin: str = "agent"
    from_ms: Ms = 0  # of its last episode: the start of what opened it, its hold included
    last_ms: Ms = 0  # and the end of the last breach of it


@dataclass(slots=True)
class Track:
    """One topic about one point (and one thing in it: `key`)."""

    topic: str
    point: str
    key: str
    phase: Phase = Phase.QUIET
    levels: list[LevelCount] = field(default_factory=list)
    fade_from: Ms | None = None
    last_end_ms: Ms = 0
    parked_ms: Ms | None = None
    confirm_ms: Ms | None = None  # the reading that the next one must agree with
    confirm_since_ms: Ms = 0
    confirm_level: int = -1
    waiting: list[dict[str, Any]] = field(default_factory=list)  # what was measured and is not confirmed yet
    unconfirmed: int = 0
    answered: bool = False  # a person has said what it was: it is not told again until it has been clear
    finding: FindingState | None = None

    @property
    def id(self) -> str:
        return f"{self.topic}/{self.point}/{self.key}"

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Track:
        """Raises KeyError, TypeError or ValueError on a track that this version did not write."""
        data = dict(plain)
        finding = data.pop("finding")
        levels = [LevelCount(**level) for level in data.pop("levels")]
        track = cls(**{**data, "phase": Phase(data["phase"]), "levels": levels})
        if finding is not None:
            track.finding = FindingState(**{**finding, "counts": Counts(**finding["counts"])})
            track.finding.measured = _revived(finding["measured"])
        track.waiting = [_revived(measured) for measured in track.waiting]
        return track


def _revived(measured: dict[str, Any]) -> dict[str, Any]:
    return {**measured, "facts": [_fact(f) for f in measured.get("facts", ())]}


def _fact(plain: dict[str, Any]) -> Fact:
    return Fact(**{**plain, "state": FactState(plain["state"]), "source": FactSource(plain["source"])})
