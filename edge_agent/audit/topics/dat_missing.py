"""采集缺数: how much of a day has no value, and was it the gateway that did not run?

A block counts when it has a value that enough of it vouches for; one that was filled from the meter's own load profile
does. The day on which a point begins is no whole day. A day of which nothing at all came is told when it is over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.views import Day, LoadView
from edge_agent.model import Ms, PointId

GAPS_TOLD = 12
KEPT_MS = 3 * 86_400_000


@dataclass(frozen=True, slots=True)
class Completeness:
    """A day that is over, in blocks of the demand period."""

    point: PointId
    start_ms: Ms
    end_ms: Ms
    expected: int
    valid: int
    asleep: int  # of the missing ones: the gateway did not run
    gaps: tuple[tuple[Ms, Ms], ...]
    whole: bool = True  # False: the point began on that day


class Days:
    """The study: which days were told, since when a point is there, and when the gateway did not run."""

    def __init__(self, release: Release) -> None:
        params = release.params
        self._coverage = float(params["least_coverage"])
        self._asleep_ms = round(float(params["asleep_s"]) * 1000)
        self._late_ms = round(float(params["late_s"]) * 1000)
        self._begun: dict[PointId, Ms] = {}
        self._told: dict[PointId, Ms] = {}  # end of the last day
        self._expected: dict[PointId, int] = {}
        self._due: dict[PointId, Ms] = {}
        self._seen_ms: Ms | None = None
        self._asleep: list[tuple[Ms, Ms]] = []
        self.changed = False

    def feed(self, view: LoadView, site: Site) -> Sequence[Completeness]:
        self._watch(view)
        for interval in view.closed:
            if interval.block and interval.count == 1 and interval.point not in self._begun:
                self._begun[interval.point] = interval.start_ms
                self.changed = True
        out: list[Completeness] = []
        for day in view.days:
            self._begun.setdefault(day.point, day.blocks[0].end_ms if day.blocks else day.start_ms)
            if day.end_ms <= self._told.get(day.point, 0):
                continue
            if day.point in self._told:
                out += self._empty(day.point, day.start_ms, site)
            out.append(self._count(day))
            self._tell(day.point, day.end_ms, day.expected)
        for point in [p for p, due_ms in self._due.items() if view.whole and view.now_ms >= due_ms]:
            out += self._empty(point, view.now_ms - self._late_ms, site)
        return out

    def dump(self) -> Mapping[str, Any]:
        return {
            "points": [[p, b, self._told.get(p), self._expected.get(p)] for p, b in self._begun.items()],
            "seen": self._seen_ms,
            "asleep": self._asleep,
        }

    def restore(self, plain: Mapping[str, Any]) -> None:
        for point, begun, told, expected in plain["points"]:
            self._begun[point] = int(begun)
            if told is not None and expected is not None:
                self._tell(point, int(told), int(expected))
        self._seen_ms = None if plain["seen"] is None else int(plain["seen"])
        self._asleep = [(int(a), int(b)) for a, b in plain["asleep"]]

    # -- inside -------------------------------------------------------------------------------------------------

    def _watch(self, view: LoadView) -> None:
        """The gateway looks at itself once a minute: where it did not, it did not run. Files say nothing of it."""
        if view.clock is None:
            return
        last, self._seen_ms = self._seen_ms, view.now_ms
        if last is not None and view.now_ms - last > self._asleep_ms:
            while self._asleep and view.now_ms - self._asleep[0][1] >= KEPT_MS:
                del self._asleep[0]
            self._asleep.append((last, view.now_ms))
            self.changed = True

    def _tell(self, point: PointId, end_ms: Ms, expected: int) -> None:
        self._told[point], self._expected[point] = end_ms, expected
        self._due[point] = end_ms + 23 * 3_600_000 + self._late_ms  # no day is shorter
        self.changed = True

    def _count(self, day: Day) -> Completeness:
        valid = {
            b.end_ms
            for b in day.blocks
            if b.coverage >= self._coverage and (b.active is not None or b.apparent is not None)
        }
        period_ms = (day.end_ms - day.start_ms) // max(1, day.expected)
        missing = [end for end in range(day.start_ms + period_ms, day.end_ms + 1, period_ms) if end not in valid]
        return Completeness(
            day.point, day.start_ms, day.end_ms, day.expected, day.expected - len(missing),
            sum(self._slept(end - period_ms, end) for end in missing), _joined(missing, period_ms),
            self._begun[day.point] <= day.start_ms,
        )  # fmt: skip

    def _empty(self, point: PointId, until_ms: Ms, site: Site) -> list[Completeness]:
        """Days that are over by then and of which nothing came."""
        out: list[Completeness] = []
        while True:
            span = site.day_span(point, self._told[point] + 1)
            if span.end_ms > until_ms:
                self._due[point] = span.end_ms + self._late_ms
                return out[-7:]
            expected = self._expected[point]
            out.append(self._count(Day(point, span.day, span.start_ms, span.end_ms, expected, ())))
            self._tell(point, span.end_ms, expected)

    def _slept(self, start_ms: Ms, end_ms: Ms) -> bool:
        return any(a < end_ms and start_ms < b for a, b in self._asleep)


def _joined(ends: Sequence[Ms], period_ms: Ms) -> tuple[tuple[Ms, Ms], ...]:
    """Missing blocks that adjoin, as one gap each."""
    gaps: list[tuple[Ms, Ms]] = []
    for end in ends:
        if gaps and gaps[-1][1] == end - period_ms:
            gaps[-1] = (gaps[-1][0], end)
        else:
            gaps.append((end - period_ms, end))
    return tuple(gaps)


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for day in view.studied:
        yield _verdict(day, release)


def _verdict(day: Completeness, release: Release) -> Verdict:
    plain = Verdict(day.point, Answer.UNKNOWN, day.start_ms, day.end_ms, decided_ms=day.end_ms, confirmed=True,
                    block=False)  # fmt: skip
    if not day.whole:
        return replace(plain, reason="first_day")
    missing = round(1 - day.valid / day.expected, 6)
    told = [f"{_clock(a, day.start_ms)}-{_clock(b, day.start_ms)}" for a, b in day.gaps[:GAPS_TOLD]]
    rest = len(day.gaps) - len(told)
    return replace(
        plain, answer=Answer.BREACH if missing > release.levels[0].above else Answer.CLEAR,
        low=missing, high=missing,
        measured={
            "valid": day.valid,
            "expected": day.expected,
            "agent_down": day.asleep,
            "gaps": ", ".join(told) + (f" (+{rest})" if rest else ""),
            "cause": "agent_down" if day.asleep == day.expected - day.valid else "not_read",
        },
    )  # fmt: skip


def _clock(at_ms: Ms, day_ms: Ms) -> str:
    """Hours since the day began."""
    minutes = (at_ms - day_ms) // 60_000
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


TOPIC = AuditTopic("dat-missing", examine, needs=("days",), study=Days)
