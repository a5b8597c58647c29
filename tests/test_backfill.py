"""A gap in the readings and what the meter's own load profile says of it: in order, once, and only where it agrees."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from msgspec.structs import replace

from edge_agent.audit.topic import StepKind
from edge_agent.backfill import LONGEST_MS, PATIENCE_MS, Filled, Gaps, Missing
from edge_agent.core import Core, CoreOutcome
from edge_agent.load.ledger import LoadLedger
from edge_agent.load.views import Band, Demand, Interval, Source
from edge_agent.model import Ms, Quantity, Reading
from tests.ledger_bench import EP, EQ, POLL_MS, STEP_WH, TEN, K, point
from tests.on_paper import MINUTE_MS, archive_of, local_ms, published

PERIOD_MS = 15 * MINUTE_MS
HOUR_MS = 60 * MINUTE_MS
PF = 0.85


class Load:
    """A load that is one value until `up_ms`, another until `down_ms`, and the first again."""

    def __init__(self, low_kw: float, high_kw: float, up_ms: Ms, down_ms: Ms) -> None:
        self.low_kw, self.high_kw, self.up_ms, self.down_ms = low_kw, high_kw, up_ms, down_ms

    def kwh(self, at_ms: Ms, since_ms: Ms = TEN) -> float:
        """Primary energy from `since_ms` on."""
        high_ms = max(0, min(at_ms, self.down_ms) - max(since_ms, self.up_ms))
        return (self.low_kw * (at_ms - since_ms - high_ms) + self.high_kw * high_ms) / HOUR_MS

    def shown(self, quantity: Quantity, at_ms: Ms) -> float:
        """Secondary register in Wh or varh, whole steps."""
        share = 1.0 if quantity is EP else sqrt(1 - PF * PF) / PF
        return (1_000_000 + self.kwh(at_ms) * 1000 * share / K) // STEP_WH * STEP_WH

    def recorded(self, end_ms: Ms) -> Interval:
        """What the meter's profile says of one period."""
        wh = {q: self.shown(q, end_ms) - self.shown(q, end_ms - PERIOD_MS) for q in (EP, EQ)}
        step_w = STEP_WH * K * HOUR_MS / PERIOD_MS
        p, q = (Band(max(0.0, w - step_w), w, w + step_w) for w in (wh[n] * K * HOUR_MS / PERIOD_MS for n in (EP, EQ)))
        s = Band(*(sqrt(a * a + b * b) for a, b in zip(p, q, strict=True)))
        demand = Demand(Source.PROFILE, p, q, s, 1.0, step_w)
        return Interval("p", end_ms - PERIOD_MS, end_ms, True, demand, None, end_ms)


class Story:
    """The factory with a meter that keeps a profile; everything that came out, tick by tick."""

    def __init__(self, load: Load, **changes: object) -> None:
        releases, topics = published()
        made = point(quantities=frozenset({EP, EQ}), has_profile=True, **changes)
        self.core = Core(LoadLedger([made]), list(topics.values()), releases, archive_of({}), gateway="gw-1")
        self.load = load
        self.closed: list[Interval] = []
        self.steps: list[tuple[str, str]] = []
        self.missing: Sequence[Missing] = ()

    def poll(self, start_ms: Ms, until_ms: Ms) -> None:
        for t in range(start_ms, until_ms + 1, POLL_MS):
            self.core.ledger.feed([(Reading("m1", q, self.load.shown(q, t), STEP_WH, t, None), t) for q in (EP, EQ)])
            self.take(self.core.settle(t))

    def settle(self, now_ms: Ms) -> None:
        self.take(self.core.settle(now_ms))

    def take(self, outcome: CoreOutcome) -> None:
        self.closed += outcome.closed
        self.steps += [(s.topic, s.kind.value) for s in outcome.steps]
        self.last_steps = outcome.steps
        self.missing = outcome.missing

    def restarted(self) -> None:
        """The agent is killed and started: what was committed is all that is left."""
        ledger, gaps = json.loads(json.dumps([self.core.ledger.delta(), self.core.gaps.dump()]))
        tracks = list(self.core.lifecycle.tracks.values())
        releases, topics = published()
        fresh = Core(
            LoadLedger(self.core.ledger.points), list(topics.values()), releases, archive_of({}), gateway="gw-1"
        )
        fresh.ledger.restore([ledger])
        fresh.gaps.restore(gaps)
        fresh.lifecycle.restore(tracks)
        self.core = fresh

    def blocks(self) -> list[Interval]:
        return [i for i in self.closed if i.block and i.count == 1 and i.register is not None]


OVERLOAD = Load(150, 240, TEN + 2 * HOUR_MS, TEN + 4 * HOUR_MS)  # 240 kW at 0.85 are 282 kVA of 250
CUT_MS, BACK_MS = TEN + HOUR_MS + 7 * MINUTE_MS, TEN + 7 * HOUR_MS + 4 * MINUTE_MS


def cut(load: Load = OVERLOAD) -> Story:
    """An hour of readings, six without, and twenty minutes again."""
    story = Story(load)
    story.poll(TEN, CUT_MS)
    story.restarted()
    story.poll(BACK_MS, BACK_MS + 20 * MINUTE_MS)
    return story


def test_nothing_behind_a_gap_is_judged_before_what_lies_in_it():
    story = cut()
    (gap,) = story.missing
    assert gap.point == "p"
    assert (gap.start_ms, gap.end_ms) == (TEN + HOUR_MS, TEN + 7 * HOUR_MS + PERIOD_MS)
    assert max(i.end_ms for i in story.closed) <= CUT_MS


def test_an_overload_in_the_gap_is_found_with_the_profile_as_its_source_and_cleared_behind_it():
    story = cut()
    (gap,) = story.missing
    recorded = [story.load.recorded(end) for end in range(gap.start_ms + PERIOD_MS, gap.end_ms + 1, PERIOD_MS)]
    assert story.core.fill("p", recorded) == Filled(25, 0)
    story.settle(BACK_MS + 20 * MINUTE_MS)
    opened = [s for s in story.last_steps if s.topic == "cap-over-contract" and s.kind is StepKind.OPENED]
    assert [s.measured["source"] for s in opened] == ["profile"]
    assert opened[0].time_ms == OVERLOAD.up_ms + PERIOD_MS
    story.poll(BACK_MS + 20 * MINUTE_MS, BACK_MS + 2 * HOUR_MS)
    assert ("cap-over-contract", "cleared") in story.steps


def test_the_days_energy_is_what_the_register_moved_and_nothing_is_there_twice():
    story = cut()
    (gap,) = story.missing
    story.core.fill("p", [story.load.recorded(e) for e in range(gap.start_ms, gap.end_ms + 1, PERIOD_MS)])
    last_ms = TEN + 10 * HOUR_MS
    story.poll(BACK_MS + 20 * MINUTE_MS, last_ms)
    blocks = story.blocks()
    ends = [b.end_ms for b in blocks]
    assert ends == list(range(TEN + PERIOD_MS, last_ms + 1, PERIOD_MS)), "every period once, in order"
    assert {b.register.source for b in blocks if b.register} == {Source.REGISTER, Source.PROFILE}
    wh = sum(b.register.active.value for b in blocks if b.register and b.register.active) / 4
    moved = (story.load.shown(EP, last_ms) - story.load.shown(EP, TEN)) * K
    assert wh == pytest.approx(moved, abs=STEP_WH * K)


def test_a_record_that_is_not_what_the_register_moved_is_not_believed():
    """One period of the profile says 40 kW more than can have flowed: none of the gap's records is taken."""
    story = cut()
    (gap,) = story.missing
    recorded = [story.load.recorded(e) for e in range(gap.start_ms + PERIOD_MS, gap.end_ms + 1, PERIOD_MS)]
    demand = recorded[5].register
    assert demand is not None
    assert demand.active is not None
    more = Band(*(w + 40_000 for w in demand.active))
    recorded[5] = replace(recorded[5], register=replace(demand, active=more))
    filled = story.core.fill("p", recorded)
    assert filled.periods == 0
    assert filled.contradicted >= 20
    story.core.give_up("p")
    story.settle(BACK_MS + 21 * MINUTE_MS)
    assert [s for s in story.steps if s[0] == "cap-over-contract"] == []
    assert any(i.spans == "gap_contradicted" for i in story.closed)


def test_without_a_record_the_gap_is_unknown_once_patience_ends():
    story = cut()
    assert story.missing
    story.poll(BACK_MS + 20 * MINUTE_MS, BACK_MS + PATIENCE_MS + 20 * MINUTE_MS)
    assert [m.late for m in story.missing] == [True]
    assert any(i.spans == "gap_not_had" for i in story.closed)
    assert story.blocks()[-1].end_ms == local_ms("2026-03-10 17:45")


def test_what_is_held_survives_a_restart():
    story = cut()
    before = story.missing
    story.restarted()
    story.settle(BACK_MS + 20 * MINUTE_MS)
    assert story.missing == before
    story.core.fill("p", [story.load.recorded(e) for e in range(before[0].start_ms, before[0].end_ms + 1, PERIOD_MS)])
    story.settle(BACK_MS + 21 * MINUTE_MS)
    assert ("cap-over-contract", "opened") in story.steps


def test_a_clock_that_is_set_lets_go_of_what_is_held():
    story = cut()
    story.core.gaps.stepped()
    story.settle(BACK_MS + 21 * MINUTE_MS)
    assert story.missing == []
    assert any(i.spans == "gap_not_had" for i in story.closed)


def test_a_point_whose_meter_keeps_no_profile_is_not_held():
    story = Story(OVERLOAD)
    story.core.gaps = Gaps({})
    story.poll(TEN, CUT_MS)
    story.poll(BACK_MS, BACK_MS + 20 * MINUTE_MS)
    assert story.missing == []
    assert any(i.spans == "gap" for i in story.closed)


def test_readings_missed_between_two_boundaries_ask_for_no_record():
    """The register was read on both boundaries: five minutes without a reading between them leave nothing open."""
    story = Story(OVERLOAD)
    story.poll(TEN, TEN + 18 * MINUTE_MS)
    story.poll(TEN + 23 * MINUTE_MS, TEN + 50 * MINUTE_MS)
    assert [m for m in story.missing if m.end_ms > TEN] == []
    assert [b.end_ms for b in story.blocks()] == [TEN + n * PERIOD_MS for n in (1, 2, 3)]


# -- any gap, any part of it recorded


def whole(end_ms: Ms, source: Source = Source.REGISTER) -> Interval:
    demand = Demand(source, Band(1.0, 1.0, 1.0), None, None, 1.0, 0.1)
    return Interval("p", end_ms - PERIOD_MS, end_ms, True, demand, None, end_ms)


@given(st.integers(1, 40), st.sets(st.integers(0, 45)), st.integers(0, 3))
def test_whatever_part_of_a_gap_is_recorded_time_is_covered_once(length: int, recorded: set[int], behind: int):
    """Periods 0 .. before, a gap of `length`, and some behind it."""
    gaps = Gaps({"p": PERIOD_MS})
    gap = Interval("p", 3 * PERIOD_MS, (3 + length) * PERIOD_MS, False, None, None, 0, length, "gap")
    closed = [whole(n * PERIOD_MS) for n in (1, 2, 3)] + [gap]
    closed += [whole((4 + length + n) * PERIOD_MS) for n in range(behind)]
    out = gaps.pass_on(closed, 0)
    assert out == closed[:3]
    assert gaps.missing() == [Missing("p", gap.start_ms, gap.end_ms)]
    profile = [whole(n * PERIOD_MS, Source.PROFILE) for n in recorded]
    filled = gaps.fill("p", profile)
    fits = {n for n in recorded if 3 < n <= 3 + length}
    assert filled == Filled(len(fits), 0)
    if not fits:
        gaps.give_up("p")
    out += gaps.pass_on([], 1)
    spans = [(i.start_ms, i.end_ms) for i in out]
    assert spans == sorted(spans)
    assert all(earlier[1] == later[0] for earlier, later in pairwise(spans)), "no hole, no overlap"
    assert spans[-1][1] == max(gap.end_ms, closed[-1].end_ms)
    known = [i.end_ms // PERIOD_MS for i in out if i.register is not None and i.register.source is Source.PROFILE]
    assert known == sorted(fits)
    event("whole" if len(fits) == length else "part" if fits else "none")


def test_of_a_long_gap_only_the_last_week_is_asked_for():
    gaps = Gaps({"p": PERIOD_MS})
    days = 30 * 96
    gaps.pass_on([Interval("p", 0, days * PERIOD_MS, False, None, None, 0, days, "gap")], 0)
    (gap,) = gaps.missing()
    assert gap.end_ms - gap.start_ms == LONGEST_MS


# -- what comes late, beside what is known by then


def late(load: Load, behind_h: float) -> Story:
    """The gap of `cut`, given up; life goes on for so long."""
    story = cut(load)
    story.poll(BACK_MS + 20 * MINUTE_MS, BACK_MS + round(behind_h * HOUR_MS))
    return story


def said_late(story: Story, now_ms: Ms) -> Filled:
    gap = next(m for m in story.missing if m.late and m.end_ms > TEN)
    recorded = [story.load.recorded(e) for e in range(gap.start_ms + PERIOD_MS, gap.end_ms + 1, PERIOD_MS)]
    filled = story.core.fill("p", recorded, gap=gap)
    story.settle(now_ms)
    return filled


def first_gap_done(story: Story) -> None:
    """The period before the first reading is asked for, too; here nobody answers."""
    for gap in [m for m in story.missing if m.late and m.end_ms <= TEN]:
        story.core.give_up("p", gap=gap)
    story.settle(TEN)


def test_a_finding_that_is_known_by_then_gets_the_gaps_intervals_and_one_update():
    """Overload from inside the gap until long behind it: opened live; the six hours before are added, not told anew."""
    load = Load(150, 240, TEN + 2 * HOUR_MS, TEN + 9 * HOUR_MS)
    story = late(load, 1.5)
    first_gap_done(story)
    assert [k for t, k in story.steps if t == "cap-over-contract"][:1] == ["opened"]
    before = story.core.lifecycle.tracks["cap-over-contract/p/"].finding
    assert before is not None
    n, intervals = before.n, before.counts.intervals
    assert said_late(story, BACK_MS + 2 * HOUR_MS).periods >= 24
    finding = story.core.lifecycle.tracks["cap-over-contract/p/"].finding
    assert finding is not None
    over = [s for s in story.last_steps if s.topic == "cap-over-contract"]
    assert [(s.kind, s.reason, s.n) for s in over] == [(StepKind.UPDATED, "profile", n + 1)]
    ends = {b.end_ms for b in story.blocks() if b.end_ms > load.up_ms}
    assert finding.counts.intervals == len(ends), "every interval over the contract once"
    assert finding.counts.intervals - intervals >= 20
    assert finding.counts.days == 1
    story.settle(BACK_MS + 2 * HOUR_MS + 1)
    assert story.last_steps == [], "and only once"


def test_what_comes_late_and_shows_nothing_says_nothing():
    story = late(Load(150, 150, TEN, TEN), 1.0)
    first_gap_done(story)
    told = list(story.steps)
    assert said_late(story, BACK_MS + 2 * HOUR_MS).periods >= 24
    assert story.steps == told
    assert [m for m in story.missing if m.end_ms > TEN] == []


def test_a_parked_gap_survives_a_restart_and_is_forgotten_after_a_week():
    story = late(OVERLOAD, 1.0)
    first_gap_done(story)
    story.restarted()
    story.settle(BACK_MS + HOUR_MS)
    assert said_late(story, BACK_MS + 2 * HOUR_MS).periods >= 24
    assert [k for t, k in story.steps if t == "cap-over-contract"][:1] == ["opened"]
    other = late(OVERLOAD, 1.0)
    other.settle(BACK_MS + LONGEST_MS + HOUR_MS)
    assert other.missing == []


def test_topics_that_supersede_each_other_do_so_however_much_is_judged_at_once():
    story = cut()
    (gap,) = story.missing
    story.core.fill("p", [story.load.recorded(e) for e in range(gap.start_ms, gap.end_ms + 1, PERIOD_MS)])
    story.settle(BACK_MS + 20 * MINUTE_MS)
    told = {t for t, _ in story.steps}
    assert told == {"cap-over-contract", "cap-overload-sustained"}, "a heavy load is no finding while it is an overload"
