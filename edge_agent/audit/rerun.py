"""A parked track runs again over what a meter has said of its gap after all.

Life went on behind the gap while it was unknown: live tracks stand where the live verdicts took them. The gap is judged
by tracks of its own, which begin as they stood before it. What these open is told, and handed over to the live tracks;
a finding that is known by now is not told again: it gets the intervals of the gap added to its counts, and one update.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge_agent.audit.lifecycle import Lifecycle, Lifetime, lifetime
from edge_agent.audit.topic import Answer, StepKind, Verdict
from edge_agent.audit.track import Phase, Track
from edge_agent.model import PointId, Severity

REASON = "profile"
"""Of the update of a finding that was known before its meter's records came."""


def parked(life: Lifecycle, point: PointId) -> list[dict[str, Any]]:
    """The point's tracks as they stand, as plain data."""
    return [track.to_plain() for track in life.tracks.values() if track.point == point]


def rerun(
    life: Lifecycle, tracks: Sequence[Mapping[str, Any]], said: Iterable[tuple[str, Verdict]], out: Lifetime
) -> None:
    """Judge what a gap held: topics and their verdicts in the order of time. `tracks`: as `parked` gave them.

    Raises KeyError, TypeError or ValueError for tracks that this version did not write.
    """
    beside = life.beside()
    before = {track.id: track for track in (Track.from_plain(dict(plain)) for plain in tracks)}
    was = {track.id: (track.finding.id if track.finding else "", _last_day(track)) for track in before.values()}
    beside.restore(before.values())
    known = {t.finding.id for t in (*life.tracks.values(), *before.values()) if t.finding is not None}
    mine = lifetime()
    told: dict[str, list[Verdict]] = {}
    for topic, verdict in said:
        beside.judge([verdict], topic, mine)
        told.setdefault(f"{topic}/{verdict.point}/{verdict.key}", []).append(verdict)
    out.notes.extend(mine.notes)
    for id_ in mine.changed:
        then, now = beside.tracks[id_], life.track(beside.tracks[id_])
        if then.finding is None:
            _join(now, then)
        elif then.finding.id not in known:
            _adopt(beside, now, then, mine)
        elif now.finding is not None and now.finding.id == then.finding.id:
            _add(life, now, then, told.get(id_, ()), was.get(id_, ("", 0))[1], out)
        out.changed[id_] = now
        life.keep(now)
    out.steps.extend(step for step in mine.steps if step.finding not in known)


def _adopt(beside: Lifecycle, now: Track, then: Track, mine: Lifetime) -> None:
    """A finding that nobody knew: it is the live track's from here on, unless another episode has begun there."""
    assert then.finding is not None
    if now.finding is None:
        _join(now, then)
        now.finding = then.finding
        if then.finding.active:
            now.phase, now.fade_from, now.confirm_ms, now.waiting = Phase.OPEN, None, None, []
    elif then.finding.active:
        then.finding.active = False
        beside.tell(then, StepKind.CLEARED, "period", then.last_end_ms, mine)
    elif then.finding.clear_owed:
        reason, then.finding.clear_owed = then.finding.clear_owed, ""
        beside.tell(then, StepKind.CLEARED, reason, then.finding.clear_ms, mine)


def _join(now: Track, then: Track) -> None:
    """Windows and days that count towards an opening: those of the gap, and those behind it."""
    for live, gap in zip(now.levels, then.levels, strict=False):
        live.windows = sorted([*gap.windows, *(w for w in live.windows if w not in gap.windows)])
        live.days = sorted({*gap.days, *live.days})


def _add(life: Lifecycle, now: Track, then: Track, verdicts: Sequence[Verdict], last_day: int, out: Lifetime) -> None:
    """To a finding that is known: the gap's breaches, each once."""
    finding, gap = now.finding, then.finding
    assert finding is not None
    assert gap is not None
    breaches = [v for v in verdicts if v.answer is Answer.BREACH]
    if not breaches:
        return
    _join(now, then)
    counts = finding.counts
    behind = (counts.run, counts.last_block_end, counts.last_day)
    days = {life.day_of(now, v.end_ms) for v in breaches if v.block} - {last_day}
    if counts.last_day >= max(days, default=0) and counts.last_day != last_day:
        days.discard(life.day_of(now, max(v.end_ms for v in verdicts)))  # the day on which live verdicts went on
    days_before = counts.days
    for verdict in breaches:
        counts.breach(verdict, life.day_of(now, verdict.end_ms))
    counts.days = days_before + len(days)
    counts.run, counts.last_block_end, counts.last_day = behind
    worst = max(breaches, key=lambda v: v.low)
    if worst.low > finding.worst:
        finding.worst, finding.measured = worst.low, gap.measured
    if Severity(gap.severity).rank > Severity(finding.severity).rank:
        finding.severity = gap.severity
    life.tell(now, StepKind.UPDATED, REASON, worst.end_ms, out)


def _last_day(track: Track) -> int:
    return track.finding.counts.last_day if track.finding is not None else 0
