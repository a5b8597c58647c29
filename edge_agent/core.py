"""The one seam of the pure part: a snapshot in, an outcome out. No socket, no file, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from edge_agent.audit.disputed import disputed_site
from edge_agent.audit.lifecycle import Lifecycle, Lifetime, Note, lifetime
from edge_agent.audit.rerun import parked, rerun
from edge_agent.audit.study import Studies
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Step, Verdict
from edge_agent.audit.track import Track
from edge_agent.backfill import Filled, Gaps, Missing
from edge_agent.image import Snapshot
from edge_agent.load.blocks import Blocks
from edge_agent.load.claims import Claims
from edge_agent.load.days import Days
from edge_agent.load.ledger import LoadLedger
from edge_agent.load.rounds import Rounds, Sampler
from edge_agent.load.standings import Standings
from edge_agent.load.views import Comm, Health, Interval, LoadView, RegisterEvent, Role
from edge_agent.model import ClockState, DeviceId, MeterEvent, Ms, PointId
from edge_agent.witness import Witness

GRAVEST = {answer: rank for rank, answer in enumerate((Answer.CLEAR, Answer.BETWEEN, Answer.UNKNOWN, Answer.BREACH))}
"""Of what is said about the phases of a point at one instant, the gravest is what `status` shows."""

UNKNOWN_KEPT = 8
AT_ONCE = 256
"""Intervals that topics look at together. Behind a gap thirty of each point close at once, and what all topics say of
two thousand intervals is more memory than all that the agent remembers."""


class Unknown(NamedTuple):
    """A time of a point of which nothing is known; `why` is a code of `words` ("verdict.gap_not_recorded")."""

    start_ms: Ms
    end_ms: Ms
    why: str


@dataclass(frozen=True, slots=True)
class CoreOutcome:
    """What one tick found: steps to tell, intervals to keep, re-reads that would settle something."""

    closed: Sequence[Interval] = ()
    steps: Sequence[Step] = ()
    notes: Sequence[Note] = ()
    events: Sequence[RegisterEvent] = ()
    changed: Mapping[str, Track] = field(default_factory=dict)
    wants: frozenset[DeviceId] = frozenset()
    missing: Sequence[Missing] = ()
    """Gaps that the meters' own load profiles may fill; `fill` or `give_up` is the answer."""
    rose: Mapping[DeviceId, Mapping[str, int]] = field(default_factory=dict)
    """Counters of events that stand higher: the meters' own logs may say more; `logged` is the answer."""


class Core:
    """Ledger, topics and the life of findings, fed tick by tick.

    `last` keeps each topic's latest verdict per point, for `status`: what is said, and why it cannot be said; `unknown`
    the latest times of which nothing is known. `hearers` are told what every topic says, part by part: nobody keeps it
    all.
    """

    def __init__(
        self,
        ledger: LoadLedger,
        topics: Sequence[AuditTopic],
        releases: Mapping[str, Release],
        site: Site,
        *,
        gateway: str,
        samplers: Sequence[Sampler] = (),
    ) -> None:
        superseded = {s for r in releases.values() for s in r.supersedes}
        self.ledger = ledger
        self.topics = sorted((t for t in topics if t.id in releases), key=lambda t: (t.id in superseded, t.id))
        self.releases = dict(releases)
        self._site = site
        polls = {p.id: p.poll_ms for p in ledger.points}
        self._devices = {p.id: p.device for p in ledger.points}
        recording = [p for p in ledger.points if p.has_profile]
        self.gaps = Gaps({p.id: p.period_ms for p in recording}, {p.id: p.grid_offset_ms for p in recording})
        self.witness = Witness(ledger.points)
        self.rounds = Rounds(samplers)
        self.blocks = Blocks(ledger.points)
        self.days = Days(((p.id, p.period_ms) for p in ledger.points), site.day_span)
        others = [(s.device, s.point, s.role) for s in samplers if s.role is not Role.METER]
        zones = {p.id: p.zone for p in ledger.points}
        self.claims = Claims([*((p.device, p.id, Role.METER) for p in ledger.points), *others], zones)
        self.standings = Standings(ledger.points)
        self.studies = Studies(self.topics, self.releases)
        self.lifecycle = Lifecycle(gateway, self.topics, self.releases, site, polls)
        self.last: dict[tuple[str, PointId], Verdict] = {}
        self.interval: dict[PointId, Interval] = {}
        self.unknown: dict[PointId, deque[Unknown]] = {}
        self.hearers: list[Callable[[Mapping[str, Sequence[Verdict]]], None]] = []

    def tick(self, snapshot: Snapshot, health: Health | None = None) -> CoreOutcome:
        """`health`: how the gateway is, now and then.

        Raises nothing that the site can cause; an error here is a mistake in this program."""
        if snapshot.now_ms is None:
            return CoreOutcome(wants=self._wants())
        moved: dict[str, Track] = {}
        if snapshot.stepped_ms is not None:
            self.ledger.stepped(snapshot.stepped_ms)
            moved = self.lifecycle.stepped(snapshot.stepped_ms)
            self.gaps.stepped()
            self.witness.stepped(snapshot.stepped_ms)
            self.rounds.stepped()
            self.blocks.stepped()
        for identity, at_ms in snapshot.identities:
            self.ledger.identify(identity, at_ms)
            self.witness.identify(identity, at_ms)
            self.claims.identify(identity, at_ms)
        if snapshot.readings:
            self.ledger.feed(snapshot.readings)
            self.witness.feed(snapshot.readings)
            self.rounds.feed(snapshot.readings)
            self.claims.feed(snapshot.readings)
            self.standings.feed(snapshot.readings)
        outcome = self.settle(snapshot.now_ms, snapshot.comms, snapshot.clock, health)
        return replace(outcome, changed={**moved, **outcome.changed}) if moved else outcome

    def settle(
        self, now_ms: Ms, comms: Sequence[Comm] = (), clock: ClockState | None = None, health: Health | None = None
    ) -> CoreOutcome:
        """Judge what the ledger has closed; `replay` feeds the ledger itself and calls this."""
        closed = self.gaps.pass_on(self.ledger.close(), now_ms)
        for gap in self.gaps.parked():
            gap.tracks = parked(self.lifecycle, gap.gap.point)  # before what lies behind the gap is judged
        events = [*self.ledger.events(now_ms), *self.witness.fell()]
        happened = self.witness.settle(now_ms)
        rounds = self.rounds.settle(now_ms)
        self.blocks.feed(rounds)
        blocks = self.blocks.settle(now_ms)
        self.days.feed(closed)
        days, claims = self.days.settle(now_ms), self.claims.settle()
        standings = self.standings.settle()
        out = lifetime()
        self._settle_answers(now_ms, out)
        if closed or events or comms or happened or rounds or blocks or days or claims or health or standings:
            view = LoadView(
                now_ms, closed, events, comms, happened, self.witness.recent(), rounds, blocks, days, claims, clock,
                health, standings,
            )  # fmt: skip
            for topic_id, verdict in _in_time(self._telling(view)):
                self.lifecycle.judge([verdict], topic_id, out)
            for interval in closed:
                if interval.count == 1:
                    self.interval[interval.point] = interval
                if interval.spans.startswith("gap"):
                    self._unknown(interval)
        late = self._rerun(now_ms, out)
        self.lifecycle.tell_owed(now_ms, out)
        if self.lifecycle.wants():
            self.lifecycle.confirm(self.ledger.confirmed_ms(), now_ms, out, self.ledger.contradicted_ms())
        return CoreOutcome(
            [*closed, *late], out.steps, out.notes, events, out.changed, self._wants(), self.gaps.missing(now_ms),
            self.witness.rose(),
        )  # fmt: skip

    def fill(
        self,
        point: PointId,
        recorded: Sequence[Interval],
        why: Mapping[Ms, str] | None = None,
        gap: Missing | None = None,
    ) -> Filled:
        """What a point's meter has recorded of a gap; judged with the next tick.

        `why`: of a period that is in none of them, by its end. `gap`: the one that was asked for. A gap in which the
        register does not go on from where it was is not filled: what another meter wrote down was somebody else's.
        """
        broke = self.ledger.broke(point)
        if broke is not None and gap is not None and not gap.late and broke[0] >= gap.start_ms:
            self.gaps.give_up(point, broke[1])
            return Filled(0, len(recorded))
        return self.gaps.fill(point, recorded, why, gap)

    def give_up(self, point: PointId, why: str = "", gap: Missing | None = None) -> None:
        """The point's meter will not say what was in the gap; judged with the next tick, as unknown."""
        self.gaps.give_up(point, why, gap)

    def logged(self, device: DeviceId, events: Sequence[MeterEvent] | None, now_ms: Ms) -> None:
        """What a meter's own log says, None: it cannot be read now; judged with the next tick."""
        self.witness.logged(device, events, now_ms)

    def _settle_answers(self, now_ms: Ms, out: Lifetime) -> None:
        """A person has said what a finding was that nobody else may close: it closes, and the topic's baseline learns
        again. Once, for what is closed is not open."""
        for said in self.lifecycle.standing.to_settle():
            release = self.releases.get(said.topic)
            if release is None or release.clear.kind != "manual":
                continue
            if self.lifecycle.clear_by_hand(said.finding, said.by, now_ms, out):
                self.studies.answered(said.topic, said.point, agreed=said.agreed)

    def _examine(self, view: LoadView, *, studying: bool = False) -> dict[str, list[Verdict]]:
        """Each topic's verdicts. `studying`: the view is news, from which topics learn; what comes late is none."""
        said: dict[str, list[Verdict]] = {}
        doubted = disputed_site(self._site, self.lifecycle.disputed())
        for topic in self.topics:
            site = self._site if topic.disputes else doubted
            shown = self.studies.shown(topic.id, view, site) if studying else view
            said[topic.id] = list(topic.examine(shown, site, self.releases[topic.id]))
        return said

    def _telling(self, view: LoadView) -> dict[str, list[Verdict]]:
        """Of what topics say of a view, part by part, only what can move something: a breach, and what belongs to the
        track of one. What comes before a track begins moves nothing. Of a point whose register did something, or whose
        meter says that something happened, everything: that may be told behind the intervals after it.
        """
        telling: dict[str, list[Verdict]] = {topic.id: [] for topic in self.topics}
        alive = _Alive(self.lifecycle, {e.point for e in view.events} | {e.point for e in view.meter_events})
        for part in _parts(view):
            said = self._examine(part, studying=True)
            for hear in self.hearers:
                hear(said)
            alive.hear(said)
            for topic, verdicts in said.items():
                self._remember(topic, verdicts)
                telling[topic] += [v for v in verdicts if alive.moves(topic, v)]
        return telling

    def _rerun(self, now_ms: Ms, out: Lifetime) -> list[Interval]:
        """Judge what has been said of gaps behind which life went on; its intervals."""
        late: list[Interval] = []
        for refilled in self.gaps.refilled():
            counted = [
                (topic, v)
                for topic, verdicts in self._examine(LoadView(now_ms, refilled.judged)).items()
                for v in verdicts
                if v.answer is Answer.BREACH
            ]
            said = list(_in_time(self._examine(LoadView(now_ms, refilled.intervals))))
            for topic, told in counted:  # one interval was counted for each, a mean over several of them included
                again = next((entry for entry in said if entry[0] == topic and _is_in(entry[1], told)), None)
                if again is not None:
                    said.remove(again)
            rerun(self.lifecycle, refilled.tracks, said, out)
            late += refilled.intervals
        return late

    def _unknown(self, interval: Interval) -> None:
        """Remember of what time nothing is known, and why."""
        found = self.unknown.setdefault(interval.point, deque(maxlen=UNKNOWN_KEPT))
        last = found[-1] if found else None
        if last is not None and last.why == interval.spans and last.end_ms >= interval.start_ms >= last.start_ms:
            found[-1] = last._replace(end_ms=max(last.end_ms, interval.end_ms))
        else:
            found.append(Unknown(interval.start_ms, interval.end_ms, interval.spans))

    def _remember(self, topic: str, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            if verdict.answer is Answer.UNKNOWN and verdict.reason.startswith("gap"):
                continue
            last = self.last.get((topic, verdict.point))
            if last is None or last.end_ms != verdict.end_ms or GRAVEST[last.answer] <= GRAVEST[verdict.answer]:
                self.last[topic, verdict.point] = verdict

    def _wants(self) -> frozenset[DeviceId]:
        confirming = {self._devices[p] for p in self.lifecycle.wants() if p in self._devices}
        return self.ledger.wants() | self.witness.wants() | confirming


def _is_in(verdict: Verdict, told: Verdict) -> bool:
    """Whether it is a breach within the time of one that has been told."""
    if verdict.answer is not Answer.BREACH or verdict.key != told.key:
        return False
    return told.start_ms <= verdict.start_ms and verdict.end_ms <= told.end_ms


class _Alive:
    """Which verdicts can move something: those about tracks, and those about what a breach has begun meanwhile."""

    def __init__(self, lifecycle: Lifecycle, told_late: Set[PointId]) -> None:
        self._followed, self._tracks, self._told_late = lifecycle.followed(), lifecycle.tracks, told_late
        self._points: set[PointId] = set()
        self._begun: set[tuple[str, PointId, str]] = set()

    def hear(self, said: Mapping[str, Sequence[Verdict]]) -> None:
        for topic, verdicts in said.items():
            for v in verdicts:
                if v.answer is Answer.BREACH:
                    self._points.add(v.point)
                    self._begun.add((topic, v.point, v.key))

    def moves(self, topic: str, v: Verdict) -> bool:
        if v.answer is Answer.BREACH or v.point in self._told_late:
            return True
        if v.point not in self._followed and v.point not in self._points:
            return False
        if v.key.endswith("*"):
            return True
        return (topic, v.point, v.key) in self._begun or f"{topic}/{v.point}/{v.key}" in self._tracks


def _parts(view: LoadView) -> Iterator[LoadView]:
    """The view in parts, one after the other: what closed, a share at a time, and with the last share all the rest."""
    last = max(0, len(view.closed) - 1) // AT_ONCE * AT_ONCE
    for at in range(0, last, AT_ONCE):
        yield LoadView(view.now_ms, view.closed[at : at + AT_ONCE], whole=False)
    yield replace(view, closed=view.closed[last:]) if last else view


def _in_time(said: Mapping[str, Sequence[Verdict]]) -> Iterator[tuple[str, Verdict]]:
    """Topics and verdicts in the order of time, and at each instant topic by topic.

    One that supersedes another does so there and then, however many intervals were closed at once. Witnesses come last:
    they speak of what is open by then.
    """
    told = [(v, n, topic) for n, (topic, verdicts) in enumerate(said.items()) for v in verdicts]
    told.sort(key=lambda entry: (entry[0].is_witness, entry[0].end_ms, entry[1]))
    yield from ((topic, verdict) for verdict, _, topic in told)
