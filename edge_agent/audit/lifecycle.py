"""The life of a finding, for all topics: opening, confirming, holding, fading, clearing; one file, one table.

                 level's opening met              confirmed
        QUIET ───────────────────▶ CONFIRMING ───────────────▶ OPEN ◀──────┐
          ▲                            │ CLEAR, or no confirmation  │ CLEAR  │ BREACH
          │◀───────────────────────────┘                            ▼        │
          │◀────────────────────────────────────────────────── FADING ──────┘
                            hold met: `cleared`

It runs on interval time: verdicts come in the order of their ends, and UNKNOWN or BETWEEN neither open nor close.
A finding's id follows from gateway, point, topic, key and episode alone, so that a second run says the same again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from edge_agent.audit.standing import Standing
from edge_agent.audit.told import as_verdict, meanwhile, measured_of
from edge_agent.audit.topic import Answer, AuditTopic, Release, Route, Site, Step, StepKind, Verdict, weakest
from edge_agent.audit.track import Counts, FindingState, LevelCount, Phase, Track
from edge_agent.model import Fact, FactState, Ms, PointId, Severity

STEP: dict[tuple[Phase, Answer], Phase] = {
    (Phase.CONFIRMING, Answer.CLEAR): Phase.QUIET,
    (Phase.OPEN, Answer.CLEAR): Phase.FADING,
    (Phase.FADING, Answer.BREACH): Phase.OPEN,
}
"""Moves that a verdict causes by itself; a pair that is absent stays where it is."""

CONFIRM_WITHIN_MS = 120_000
"""At least this long a finding waits for its confirmation, and never less than two polls."""

DAY_MS = 86_400_000
NEVER_MS: Ms = 2**53
"""No register is read then: what was sampled waits for its own next verdict alone."""

OWED_AFTER_MS = 3_600_000
"""By then the verdicts of the day's last intervals are in, where there are any."""


@dataclass(frozen=True, slots=True)
class Note:
    """A breach inside a work order or service window: recorded, not raised."""

    topic: str
    point: PointId
    key: str
    work_order: str
    time_ms: Ms
    measured: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Lifetime:
    """What one call changed: steps to tell, notes to record, tracks to keep, points to read again."""

    steps: list[Step]
    notes: list[Note]
    changed: dict[str, Track]


class Lifecycle:
    """Holds the tracks and moves them by verdicts. Time is in the verdicts; nothing here waits.

    `topics`: those that supersede others before these. `polls`: ms between polls of a point, for the patience of
    CONFIRMING.
    """

    def __init__(
        self,
        gateway: str,
        topics: Iterable[AuditTopic],
        releases: Mapping[str, Release],
        site: Site,
        polls: Mapping[PointId, Ms] | None = None,
    ) -> None:
        self._gateway = gateway
        self._topics = {t.id: t for t in topics}
        self._order = {t: i for i, t in enumerate(self._topics)}
        self._releases = dict(releases)
        self._site = site
        self._polls = dict(polls or {})
        self.standing = Standing()
        self.tracks: dict[str, Track] = {}
        self._by_point: dict[PointId, dict[str, Track]] = {}
        self._confirming: dict[str, Track] = {}
        self._owing: dict[str, Track] = {}
        self._disputing: dict[str, Track] = {}
        self._noted: set[tuple[str, str]] = set()
        self._superseded_by = {s: r.topic for r in self._releases.values() for s in r.supersedes}

    def restore(self, tracks: Iterable[Track]) -> None:
        for track in tracks:
            if track.topic in self._releases:
                self._keep(track)

    def wants(self) -> frozenset[PointId]:
        """Points whose next reading would confirm a finding."""
        return frozenset(t.point for t in self._confirming.values())

    def followed(self) -> Set[PointId]:
        """Points about which something is or was above a limit: what is said of others moves nothing but a breach."""
        return self._by_point.keys()

    def open_findings(self, point: PointId | None = None) -> list[FindingState]:
        tracks = self.tracks.values() if point is None else self._by_point.get(point, {}).values()
        return [t.finding for t in tracks if t.finding is not None and t.finding.active]

    def disputed(self) -> dict[PointId, frozenset[str]]:
        """Per point the facts of the archive that open findings say are not so."""
        found: dict[PointId, set[str]] = {}
        for track in self._disputing.values():
            if track.finding is None or not track.finding.active:
                continue
            if fact := track.finding.measured.get("disputed"):
                found.setdefault(track.point, set()).add(str(fact))
        return {point: frozenset(facts) for point, facts in found.items()}

    # -- verdicts in --------------------------------------------------------------------------------------------

    def judge(self, verdicts: Iterable[Verdict], topic: str, out: Lifetime) -> None:
        """One topic's verdicts, in the order of their ends."""
        release = self._releases[topic]
        for verdict in verdicts:
            if verdict.key.endswith("*"):
                for open_track in self._matching(topic, verdict):
                    if verdict.answer is Answer.BREACH:
                        self._corroborate(open_track, release, verdict, out)
                    else:
                        self._move(open_track, release, verdict, out)
                continue
            track = self._track(topic, verdict.point, verdict.key, len(release.levels))
            if track is None and verdict.answer is not Answer.BREACH:
                continue
            if track is None:
                track = Track(topic, verdict.point, verdict.key, levels=[LevelCount() for _ in release.levels])
                self._keep(track)
            if verdict.held_s and self._known_already(track, release, verdict, out):
                continue
            self._move(track, release, verdict, out)

    def confirm(
        self,
        confirmed_ms: Mapping[PointId, Ms],
        now_ms: Ms,
        out: Lifetime,
        contradicted_ms: Mapping[PointId, Ms] = MappingProxyType({}),
    ) -> None:
        """Open what the next reading has confirmed; let go what it contradicts, or what two polls did not confirm."""
        for track in sorted(self._confirming.values(), key=lambda t: (self._order.get(t.topic, 0), t.id)):
            if track.confirm_ms is None:
                continue  # superseded by what this same call has opened
            release = self._releases[track.topic]
            patience = max(CONFIRM_WITHIN_MS, 2 * self._polls.get(track.point, 0) + 30_000)
            contradicted = contradicted_ms.get(track.point, -1) >= track.confirm_ms
            if not contradicted and confirmed_ms.get(track.point, -1) >= track.confirm_ms:
                self._open(track, release, out)
            elif contradicted or now_ms - track.confirm_since_ms > patience:
                track.unconfirmed += 1
                self._quiet(track)
            else:
                continue
            out.changed[track.id] = track

    def stepped(self, t_ms: Ms) -> dict[str, Track]:
        """The clock was set back to `t_ms`: what was judged later than that on the old grid holds nobody up."""
        moved = {id_: t for id_, t in self.tracks.items() if t.last_end_ms > t_ms}
        for track in moved.values():
            track.last_end_ms = t_ms
            track.levels = [LevelCount() for _ in track.levels]
            if track.phase is Phase.CONFIRMING:
                self._quiet(track)
            elif track.phase is Phase.FADING:
                track.fade_from = None
        return moved

    def tell_owed(self, now_ms: Ms, out: Lifetime) -> None:
        """Ends of episodes that nobody's next verdict tells: the day is over, and the point gives none."""
        for track in [t for t in self._owing.values() if t.phase is Phase.QUIET]:
            finding = track.finding
            if finding is None or not finding.clear_owed:
                del self._owing[track.id]
            elif self._day(track, now_ms - OWED_AFTER_MS) != self._day(track, finding.clear_ms):
                self._tell_owed(track, finding, out)

    def clear_by_hand(self, finding: str, by: str, now_ms: Ms, out: Lifetime) -> bool:
        """A person closes a finding that only a person may close."""
        for track in self.tracks.values():
            if track.finding is not None and track.finding.id == finding and track.finding.active:
                release = self._releases[track.topic]
                self._clear(track, release, now_ms, f"manual:{by}", out)
                track.answered = release.clear.kind == "manual"
                out.changed[track.id] = track
                return True
        return False

    # -- for what is judged late (`audit.rerun`) ------------------------------------------------------------------

    def beside(self) -> Lifecycle:
        """The same without any track."""
        return Lifecycle(self._gateway, self._topics.values(), self._releases, self._site, self._polls)

    def track(self, like: Track) -> Track:
        """The live track of what that one is about; a new one, not kept yet, where there is none."""
        fresh = Track(like.topic, like.point, like.key, levels=[LevelCount() for _ in like.levels])
        return self.tracks.get(like.id, fresh)

    def keep(self, track: Track) -> None:
        self._confirming.pop(track.id, None)
        self._keep(track)

    def tell(self, track: Track, kind: StepKind, reason: str, time_ms: Ms, out: Lifetime) -> None:
        self._tell(track, self._releases[track.topic], kind, reason, time_ms, (), out)

    def day_of(self, track: Track, end_ms: Ms) -> int:
        return self._day(track, end_ms)

    # -- inside -------------------------------------------------------------------------------------------------

    def _track(self, topic: str, point: PointId, key: str, levels: int) -> Track | None:
        track = self.tracks.get(f"{topic}/{point}/{key}")
        if track is not None and len(track.levels) != levels:
            track.levels = [LevelCount() for _ in range(levels)]
        return track

    def _matching(self, topic: str, verdict: Verdict) -> list[Track]:
        tracks = self._by_point.get(verdict.point)
        if not tracks:
            return []
        prefix = f"{topic}/{verdict.point}/{verdict.key[:-1]}"
        return [t for id_, t in tracks.items() if id_.startswith(prefix)]

    def _keep(self, track: Track) -> None:
        self.tracks[track.id] = track
        self._by_point.setdefault(track.point, {})[track.id] = track
        if track.topic in self._topics and self._topics[track.topic].disputes:
            self._disputing[track.id] = track
        if track.phase is Phase.CONFIRMING:
            self._confirming[track.id] = track
        if track.finding is not None and track.finding.clear_owed:
            self._owing[track.id] = track

    def _move(self, track: Track, release: Release, verdict: Verdict, out: Lifetime) -> None:
        if verdict.end_ms < track.last_end_ms:
            if not verdict.held_s:
                return  # told already: a second run after a restart
            verdict = replace(verdict, end_ms=track.last_end_ms)  # a meter's word comes when it comes
        track.answered = track.answered and verdict.answer is not Answer.CLEAR
        if track.phase is Phase.QUIET and track.finding is None and verdict.answer is not Answer.BREACH:
            self._nothing_new(track, release, verdict, out)
            return
        verdict = self._blinded(track, verdict)
        if verdict.answer is Answer.BREACH and self._suppressed(track, release, verdict, out):
            return
        out.changed[track.id] = track
        last_ms, track.last_end_ms = track.last_end_ms, verdict.end_ms
        day = self._day(track, verdict.end_ms)
        self._turn_period(track, release, verdict, day, last_ms, out)
        track.parked_ms = (track.parked_ms or verdict.start_ms) if verdict.answer is Answer.UNKNOWN else None
        met = self._count(track, release, verdict, day)
        self._step(track, verdict)
        match track.phase:
            case Phase.QUIET if met >= 0 and not track.answered:
                self._confirm_or_open(track, release, verdict, met, out)
            case Phase.CONFIRMING if verdict.answer is Answer.BREACH:
                track.confirm_level = max(met, track.confirm_level)
                track.waiting.append(measured_of(verdict))
                if verdict.sampled and verdict.confirmed:
                    self._open(track, release, out)
            case Phase.OPEN if verdict.answer is Answer.BREACH:
                self._breach_while_open(track, release, verdict, met, day, out)
            case Phase.OPEN if track.finding is not None:
                track.finding.counts.unknown += verdict.answer is Answer.UNKNOWN
            case Phase.FADING:
                self._fade(track, release, verdict, out)

    def _corroborate(self, track: Track, release: Release, verdict: Verdict, out: Lifetime) -> None:
        """Somebody else says so too: told once of each finding."""
        finding = track.finding
        if finding is None or not finding.active or finding.n == 0 or finding.origin != "agent":
            return
        if not meanwhile(finding, verdict):
            return
        self._annotate(track, release, finding, verdict, out)

    def _known_already(self, track: Track, release: Release, verdict: Verdict, out: Lifetime) -> bool:
        """A meter says what a finding already says, of the same time: a witness, told once and counted never."""
        finding = track.finding
        if finding is None or finding.n == 0 or not meanwhile(finding, verdict):
            return False
        if finding.origin == "agent" and verdict.answer is Answer.BREACH:
            said = {"witness": verdict.measured.get("event", "")}
            self._annotate(
                track, release, finding, replace(verdict, origin="both", reason="witness", measured=said), out
            )
        return True

    def _annotate(self, track: Track, release: Release, finding: FindingState, verdict: Verdict, out: Lifetime) -> None:
        finding.origin = verdict.origin
        finding.measured = {**finding.measured, **verdict.measured}
        self._tell(track, release, StepKind.ANNOTATED, verdict.reason, int(finding.measured["end_ms"]), (), out)
        out.changed[track.id] = track

    def _nothing_new(self, track: Track, release: Release, verdict: Verdict, out: Lifetime) -> None:
        """Not above the limit, and nothing of it is open: only what was held is let go."""
        track.last_end_ms = verdict.end_ms
        track.parked_ms = (track.parked_ms or verdict.start_ms) if verdict.answer is Answer.UNKNOWN else None
        let_go = [c.interrupted(x.open, verdict) for x, c in zip(release.levels, track.levels, strict=True)]
        if any(let_go):
            out.changed[track.id] = track

    def _step(self, track: Track, verdict: Verdict) -> None:
        before = track.phase
        track.phase = STEP.get((before, verdict.answer), before)
        if before is Phase.CONFIRMING and track.phase is Phase.QUIET:
            self._quiet(track)
        elif before is Phase.OPEN and track.phase is Phase.FADING:
            track.fade_from = verdict.end_ms
        elif before is Phase.FADING and track.phase is Phase.OPEN:
            track.fade_from = None

    def _count(self, track: Track, release: Release, verdict: Verdict, day: int) -> int:
        """Count each level by itself; the highest whose opening is met, or -1."""
        met = -1
        for index, (level, count) in enumerate(zip(release.levels, track.levels, strict=True)):
            if verdict.answer is Answer.BREACH and (verdict.low > level.above or verdict.held_s):
                if count.exceeded(verdict, level.open, day):
                    met = index
            else:
                count.interrupted(level.open, verdict)
        return met

    def _confirm_or_open(self, track: Track, release: Release, verdict: Verdict, met: int, out: Lifetime) -> None:
        track.confirm_level = met
        # The reading that closed the window lies at or after its end.
        track.confirm_ms = NEVER_MS if verdict.sampled else verdict.end_ms
        track.confirm_since_ms = max(verdict.decided_ms, verdict.end_ms)
        track.waiting = [measured_of(verdict)]
        if verdict.confirmed:
            self._open(track, release, out)
        else:
            track.phase = Phase.CONFIRMING
            self._confirming[track.id] = track

    def _open(self, track: Track, release: Release, out: Lifetime) -> None:
        waiting, track.waiting = track.waiting, []
        end_ms = int(waiting[0]["end_ms"])
        finding = track.finding
        if finding is None:
            episode = self._episode(track, release, end_ms)
            finding = track.finding = FindingState(
                id=self._id(track, episode), episode=episode, n=0, severity="", opened_ms=0, active=False,
                release=release.name, counts=Counts(), measured={},
            )  # fmt: skip
        self._confirming.pop(track.id, None)
        day = self._day(track, end_ms)
        track.phase, track.fade_from, track.confirm_ms = Phase.OPEN, None, None
        finding.active = True
        if finding.origin == "agent":
            finding.origin = str(waiting[0].get("origin", "agent"))
        hold_ms = max((x.open.hold_s or 0 for x in release.levels[: max(0, track.confirm_level) + 1]), default=0) * 1000
        finding.from_ms, finding.last_ms = int(waiting[0]["start_ms"]) - hold_ms, int(waiting[-1]["end_ms"])
        finding.counts.episodes += 1
        for measured in waiting:
            finding.counts.breach(as_verdict(track, measured), self._day(track, int(measured["end_ms"])))
        finding.measured = max(waiting, key=lambda m: float(m["low"]))
        finding.worst = max(finding.worst, float(finding.measured["low"]))
        severity, facts = self._severity(track, release, track.confirm_level, finding)
        if finding.n == 0:
            finding.opened_ms, finding.severity = end_ms, severity
            self._tell(track, release, StepKind.OPENED, "level", end_ms, facts, out)
        else:
            rises = Severity(severity).rank > Severity(finding.severity).rank
            finding.severity = severity if rises else finding.severity
            finding.clear_owed = ""
            if rises or finding.told_day != day:
                finding.told_day = day
                self._tell(track, release, StepKind.UPDATED, "episode", end_ms, facts, out)
        self._supersede(track, release, end_ms, out)

    def _breach_while_open(
        self, track: Track, release: Release, verdict: Verdict, met: int, day: int, out: Lifetime
    ) -> None:
        finding = track.finding
        assert finding is not None
        finding.counts.breach(verdict, day)
        finding.last_ms = verdict.end_ms
        if finding.origin == "meter" and verdict.origin == "agent":
            if met < 0:
                return  # not for long enough to be a word of our own
            finding.origin = "both"
        risen = verdict.low > finding.worst
        if verdict.low >= finding.worst:
            finding.worst, finding.measured = verdict.low, measured_of(verdict)
        elif verdict.running:
            finding.measured = {**finding.measured, **verdict.running}
        if met < 0:
            return
        severity, facts = self._severity(track, release, met, finding)
        if Severity(severity).rank > Severity(finding.severity).rank:
            finding.severity = severity
            finding.measured = measured_of(verdict)
            self._tell(track, release, StepKind.UPDATED, "level", verdict.end_ms, facts, out)
        elif risen and release.clear.kind == "period" and finding.told_day != day:
            finding.told_day = day
            self._tell(track, release, StepKind.UPDATED, "maximum", verdict.end_ms, facts, out)

    def _fade(self, track: Track, release: Release, verdict: Verdict, out: Lifetime) -> None:
        if verdict.answer is not Answer.CLEAR:
            track.fade_from = None
            return
        if track.fade_from is None:
            track.fade_from = verdict.end_ms
        hold_ms = release.clear.hold_s * 1000 if release.clear.kind == "hold" else 0
        if release.clear.kind != "period" and verdict.end_ms - track.fade_from >= hold_ms:
            self._clear(track, release, verdict.end_ms, "hold" if release.clear.kind == "hold" else "answered", out)

    def _clear(self, track: Track, release: Release, at_ms: Ms, reason: str, out: Lifetime) -> None:
        finding = track.finding
        assert finding is not None
        finding.active = False
        repeats = release.episode in {"month", "day"}
        if repeats and finding.pairs and reason in {"hold", "superseded"}:
            finding.clear_owed, finding.clear_ms = reason, at_ms  # told once, with the day's counts
            self._owing[track.id] = track
        else:
            finding.pairs += 1
            self._tell(track, release, StepKind.CLEARED, reason, at_ms, (), out)
        self._quiet(track, keep=repeats)

    def _turn_period(
        self, track: Track, release: Release, verdict: Verdict, day: int, last_ms: Ms, out: Lifetime
    ) -> None:
        """The end of a day or of a billing month, told by the first verdict after it; `last_ms`: the one before."""
        finding = track.finding
        if finding is None or track.phase is Phase.CONFIRMING:
            return
        if finding.clear_owed and self._day(track, finding.clear_ms) != day:
            self._tell_owed(track, finding, out)
        if release.episode not in {"month", "day"} or self._episode(track, release, verdict.end_ms) == finding.episode:
            return
        if finding.active:
            if release.episode == "day":
                return  # an episode that runs over midnight stays one finding
            finding.active = False
            self._tell(track, release, StepKind.CLEARED, "period", last_ms, (), out)
        self._quiet(track)

    def _tell_owed(self, track: Track, finding: FindingState, out: Lifetime) -> None:
        reason, finding.clear_owed = finding.clear_owed, ""
        finding.told_day = 0  # whatever comes next is news again
        self._owing.pop(track.id, None)
        self._tell(track, self._releases[track.topic], StepKind.CLEARED, reason, finding.clear_ms, (), out)
        out.changed[track.id] = track

    def _supersede(self, track: Track, release: Release, at_ms: Ms, out: Lifetime) -> None:
        for topic in release.supersedes:
            for other in self._by_point.get(track.point, {}).values():
                if other.topic != topic:
                    continue
                for count in other.levels:
                    count.interrupted()
                if other.finding is not None and other.finding.active:
                    self._clear(other, self._releases[topic], at_ms, "superseded", out)
                    out.changed[other.id] = other
                elif other.phase is Phase.CONFIRMING:
                    self._quiet(other)
                    out.changed[other.id] = other

    def _blinded(self, track: Track, verdict: Verdict) -> Verdict:
        """An open finding that makes this one unable to say, or that says more than this one."""
        topic = self._topics.get(track.topic)
        above = self._superseded_by.get(track.topic)
        for other in self._by_point.get(track.point, {}).values():
            if other.finding is None or not other.finding.active:
                continue
            if topic is not None and any(_blinds(other, name) for name in topic.blinded_by):
                return replace(verdict, answer=Answer.UNKNOWN, reason=f"blinded_by:{other.topic}")
            if other.topic == above:
                return replace(verdict, answer=Answer.UNKNOWN, reason=f"superseded_by:{above}")
            if topic is not None and other.topic in topic.biased_by:
                verdict = replace(verdict, measured={**verdict.measured, "biased": "low", "biased_by": other.topic})
        return verdict

    def _suppressed(self, track: Track, release: Release, verdict: Verdict, out: Lifetime) -> bool:
        if not release.suppressed_by_work_order or track.phase is Phase.OPEN:
            return False
        if not track.point:
            return False
        during = (track.point, verdict.start_ms, verdict.end_ms)
        order = self._site.work_order(*during, track.topic) or self.standing.work_order(*during)
        if order is None:
            return False
        if (track.id, order) not in self._noted:
            self._noted.add((track.id, order))
            out.notes.append(Note(track.topic, track.point, track.key, order, verdict.end_ms, verdict.measured))
        return True

    def _severity(
        self, track: Track, release: Release, level: int, finding: FindingState
    ) -> tuple[str, tuple[Fact, ...]]:
        """The level's severity, capped at notice on trial, while a fact it rests on is not verified, or while the
        release has lost its credit."""
        severity = release.levels[max(0, level)].severity
        facts = tuple(finding.measured.get("facts", ()))
        shaky = weakest(facts) is not FactState.VERIFIED
        capped = self.standing.capped(track.topic, release.version)
        if (shaky or capped or self._on_trial(track, finding)) and severity.rank > Severity.NOTICE.rank:
            severity = Severity.NOTICE
        return severity, facts

    def _on_trial(self, track: Track, finding: FindingState) -> bool:
        return bool(track.point) and not self._site.accepted(track.point, int(finding.measured["end_ms"]))

    def _tell(
        self, track: Track, release: Release, kind: StepKind, reason: str, time_ms: Ms, facts: tuple[Fact, ...],
        out: Lifetime,
    ) -> None:  # fmt: skip
        finding = track.finding
        assert finding is not None
        finding.n += 1
        facts = facts or tuple(finding.measured.get("facts", ()))
        severity = Severity(finding.severity)
        shaky = weakest(facts) is not FactState.VERIFIED
        level = max(
            (x for x in release.levels if x.above < finding.measured["low"]), key=lambda x: x.above, default=None
        )
        unsaid = {"facts", "block", "origin"} | ({"low", "high"} if finding.measured.get("held_s") else set())
        measured = {k: v for k, v in finding.measured.items() if k not in unsaid}
        if level is not None:
            measured |= {"threshold": level.above, "threshold_unit": release.unit}
        out.steps.append(
            Step(
                finding=finding.id, n=finding.n, kind=kind, point=track.point, topic=track.topic,
                release=release.name, release_digest=release.digest, key=track.key, episode=finding.episode,
                severity=severity, active=finding.active, reason=reason, time_ms=time_ms,
                opened_ms=finding.opened_ms, route=Route.ARCHIVE if shaky else release.route,
                due_ms=finding.opened_ms + release.due_days.get(severity.value, 30) * DAY_MS,
                trial=self._on_trial(track, finding),
                exempt=self.standing.exempt(track.point, track.topic, time_ms), check_archive=shaky, measured=measured,
                counts=finding.counts.told(), facts=facts, iec=release.iec, anomaly=release.anomaly,
                origin=finding.origin,
            )
        )  # fmt: skip

    def _quiet(self, track: Track, *, keep: bool = False) -> None:
        track.phase, track.fade_from, track.confirm_ms, track.confirm_level = Phase.QUIET, None, None, -1
        track.waiting = []
        self._confirming.pop(track.id, None)
        if track.finding is not None and not keep and (track.finding.n == 0 or not track.finding.active):
            told_before = track.finding.n > 0 and self._releases[track.topic].episode in {"month", "day"}
            if not told_before or track.finding.pairs == 0 or not self._same_period(track):
                track.finding = None

    def _same_period(self, track: Track) -> bool:
        assert track.finding is not None
        release = self._releases[track.topic]
        return self._episode(track, release, track.last_end_ms) == track.finding.episode

    def _day(self, track: Track, end_ms: Ms) -> int:
        if not track.point:
            return datetime.fromtimestamp((end_ms - 1) / 1000, UTC).toordinal()
        return self._site.local_day(track.point, end_ms).toordinal()

    def _episode(self, track: Track, release: Release, end_ms: Ms) -> str:
        if release.episode == "month" and track.point:
            return self._site.billing_month(track.point, end_ms)
        if release.episode == "day" and track.point:
            return self._site.local_day(track.point, end_ms).isoformat()
        if release.episode == "day":
            return datetime.fromtimestamp((end_ms - 1) / 1000, UTC).date().isoformat()
        return datetime.fromtimestamp(end_ms / 1000, UTC).strftime("%Y%m%d%H%M%S")

    def _id(self, track: Track, episode: str) -> str:
        parts = (self._gateway, track.point or "-", track.topic, track.key.replace("/", "."), episode)
        return ".".join(p for p in parts if p)


def _blinds(other: Track, name: str) -> bool:
    """`"met-fly"`, or `"dat-clock>300"`: once it has been above that."""
    topic, _, least = name.partition(">")
    return other.topic == topic and (not least or (other.finding is not None and other.finding.worst > float(least)))


def lifetime() -> Lifetime:
    return Lifetime([], [], {})


__all__ = ["Iterator", "Lifecycle", "Lifetime", "Note", "lifetime"]
