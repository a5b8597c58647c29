"""What a meter says happened: counters and logs, in any order, each event once; and what survives a restart."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from edge_agent.load.points import LoadPoint
from edge_agent.load.views import Witnessed
from edge_agent.model import Identity, MeterEvent, Ms, Quantity, Reading
from edge_agent.witness import Witness
from edge_agent.witness.story import CLOCK_OFF_MS, Entry, Move, lay
from edge_agent.witness.witness import KEPT, KEPT_MS, LOG_WAIT_MS, SERIAL_WAIT_MS
from tests.figures import report
from tests.ledger_bench import TEN, point
from tests.on_paper import DAY_MS, MINUTE_MS

EXAMPLES = int(os.environ.get("EDGE_PROVE_WITNESS", "300"))
POLL_MS = 15 * MINUTE_MS
SERIAL = "000000123456"


def meter_point(**changes: Any) -> LoadPoint:
    return point(**{"has_serial": True, **changes})


class Bench:
    """A witness of one meter, its counter of openings, and everything that it told."""

    def __init__(self, **changes: Any) -> None:
        self.point = meter_point(**changes)
        self.witness = Witness([self.point])
        self.told: list[Witnessed] = []

    def read(self, at_ms: Ms, value: int, *, serial: str | None = SERIAL, code: str = "cover") -> list[Witnessed]:
        if serial is not None:
            self.witness.identify(Identity("m1", Quantity.METER_SERIAL, serial, at_ms, None), at_ms)
        self.witness.feed([(Reading("m1", Quantity(f"events_{code}"), float(value), 1.0, at_ms, None), at_ms)])
        return self.settle(at_ms)

    def twice(self, at_ms: Ms, value: int, **more: Any) -> list[Witnessed]:
        """As a poll and the re-read that it asked for."""
        return self.read(at_ms, value, **more) + self.read(at_ms + 10_000, value, **more)

    def log(self, now_ms: Ms, *when_ms: Ms, code: str = "cover_open", **more: Any) -> list[Witnessed]:
        self.witness.logged("m1", [MeterEvent("m1", code, w, **more) for w in when_ms], now_ms)
        return self.settle(now_ms)

    def settle(self, now_ms: Ms) -> list[Witnessed]:
        told = self.witness.settle(now_ms)
        self.told += told
        return told

    def clock(self, at_ms: Ms, text: str) -> None:
        self.witness.identify(Identity("m1", Quantity.METER_CLOCK, text, at_ms, None), at_ms)

    def restarted(self) -> None:
        plain = json.loads(json.dumps(self.witness.dump()))
        self.witness = Witness([self.point])
        self.witness.restore(plain)


def said(told: Sequence[Witnessed]) -> list[tuple[str, int, int | None, int | None, str]]:
    return [(w.code, w.count, w.before, w.after, "+".join(w.sources)) for w in told]


# -- counters


def test_the_first_reading_of_a_counter_is_where_counting_begins():
    bench = Bench()
    assert bench.twice(TEN, 17) == []
    assert bench.twice(TEN + POLL_MS, 17) == []
    (told,) = bench.twice(TEN + 2 * POLL_MS, 18)
    assert said([told]) == [("cover_open", 1, 17, 18, "counter")]
    assert (told.before_ms, told.after_ms) == (TEN + POLL_MS + 10_000, TEN + 2 * POLL_MS)
    assert told.serial_known
    assert told.placed


def test_a_rise_is_told_when_a_second_reading_agrees_and_is_asked_for_again():
    bench = Bench()
    bench.twice(TEN, 3)
    assert bench.read(TEN + POLL_MS, 4) == []
    assert bench.witness.wants() == {"m1"}
    assert bench.witness.rose() == {"m1": {"cover_open": 1}}
    assert len(bench.read(TEN + POLL_MS + 10_000, 4)) == 1
    assert bench.witness.wants() == frozenset()
    assert bench.witness.rose() == {}


def test_one_bad_frame_is_no_event_and_no_new_beginning():
    bench = Bench()
    bench.twice(TEN, 3)
    for wrong in (99, 0):
        bench.read(TEN + POLL_MS, wrong)
        assert bench.read(TEN + POLL_MS + 10_000, 3) == []
    assert bench.witness.fell() == []
    assert said(bench.twice(TEN + 2 * POLL_MS, 4)) == [("cover_open", 1, 3, 4, "counter")]


def test_a_counter_that_goes_on_rising_is_told_as_far_as_it_is_sure():
    bench = Bench()
    bench.twice(TEN, 3)
    bench.read(TEN + POLL_MS, 4)
    assert said(bench.read(TEN + 2 * POLL_MS, 6)) == [("cover_open", 1, 3, 4, "counter")]
    assert said(bench.read(TEN + 2 * POLL_MS + 10_000, 6)) == [("cover_open", 2, 4, 6, "counter")]


def test_a_counter_that_fell_begins_anew_and_says_so():
    bench = Bench()
    bench.twice(TEN, 9)
    assert bench.twice(TEN + POLL_MS, 2) == []
    (fell,) = bench.witness.fell()
    assert (fell.kind, fell.quantity, fell.before, fell.after) == ("counter_fell", "events_cover", 9, 2)
    assert fell.confirmed
    assert bench.witness.fell() == []
    assert said(bench.twice(TEN + 2 * POLL_MS, 3)) == [("cover_open", 1, 2, 3, "counter")]


def test_the_counters_of_another_meter_are_no_increments():
    bench = Bench()
    bench.twice(TEN, 3)
    bench.read(TEN + POLL_MS, 17, serial=None)
    bench.read(TEN + POLL_MS + 10_000, 17, serial=None)
    assert bench.told == [], "the serial is awaited"
    assert bench.witness.wants() == {"m1"}
    assert bench.twice(TEN + POLL_MS + 20_000, 17, serial="000000654321") == []
    assert said(bench.twice(TEN + 2 * POLL_MS, 18, serial="000000654321")) == [("cover_open", 1, 17, 18, "counter")]


def test_without_the_serial_it_is_told_after_an_hour_as_not_known():
    bench = Bench()
    bench.twice(TEN, 3)
    bench.twice(TEN + POLL_MS, 4, serial=None)
    assert bench.settle(TEN + POLL_MS + SERIAL_WAIT_MS - 1) == []
    (told,) = bench.settle(TEN + POLL_MS + SERIAL_WAIT_MS)
    assert not told.serial_known
    assert told.count == 1


# -- logs


def test_the_same_event_from_counter_and_log_counts_once_whichever_comes_first():
    at_ms = TEN + 20 * MINUTE_MS
    for first in ("counter", "log"):
        bench = Bench()
        bench.twice(TEN + POLL_MS, 3)
        bench.log(TEN + POLL_MS + 11_000)
        if first == "log":
            assert said(bench.log(at_ms + MINUTE_MS, at_ms)) == [("cover_open", 1, None, None, "log")]
            assert bench.twice(TEN + 2 * POLL_MS, 4) == []
        else:
            assert said(bench.twice(TEN + 2 * POLL_MS, 4)) == [("cover_open", 1, 3, 4, "counter")]
            assert bench.log(TEN + 2 * POLL_MS + MINUTE_MS, at_ms) == []
        assert bench.log(TEN + 3 * POLL_MS, at_ms) == [], "and what a log says again is not news"
        assert len(bench.told) == 1


def test_where_the_log_was_asked_for_one_event_is_told_with_both():
    bench = Bench()
    bench.twice(TEN, 3)
    bench.read(TEN + POLL_MS, 4)
    bench.witness.asking("m1", TEN + POLL_MS)
    assert bench.read(TEN + POLL_MS + 10_000, 4) == []
    (told,) = bench.log(TEN + POLL_MS + 12_000, TEN + 7 * MINUTE_MS, operator="0000000A")
    assert said([told]) == [("cover_open", 1, 3, 4, "counter+log")]
    assert told.logged_ms == (TEN + 7 * MINUTE_MS,)
    assert told.start_ms == told.end_ms == TEN + 7 * MINUTE_MS
    assert told.operator == "0000000A"


def test_a_log_that_does_not_answer_holds_nothing_up_for_long():
    bench = Bench()
    bench.twice(TEN, 3)
    bench.read(TEN + POLL_MS, 4)
    bench.witness.asking("m1", TEN + POLL_MS)
    assert bench.read(TEN + POLL_MS + 10_000, 4) == []
    assert bench.settle(TEN + POLL_MS + LOG_WAIT_MS - 1) == []
    assert len(bench.settle(TEN + POLL_MS + LOG_WAIT_MS)) == 1
    bench.witness.asking("m1", TEN + 2 * POLL_MS)
    bench.read(TEN + 2 * POLL_MS, 5)
    bench.witness.logged("m1", None, TEN + 2 * POLL_MS + 5_000)
    assert len(bench.read(TEN + 2 * POLL_MS + 10_000, 5)) == 1, "it cannot be read: nothing to wait for"


def test_what_a_log_says_at_first_is_its_history():
    bench = Bench()
    assert bench.log(TEN, TEN - DAY_MS, TEN - MINUTE_MS) == []
    assert bench.log(TEN + POLL_MS, TEN - DAY_MS, TEN - MINUTE_MS, TEN + MINUTE_MS) != []
    assert said(bench.told) == [("cover_open", 1, None, None, "log")]
    assert bench.told[0].logged_ms == (TEN + MINUTE_MS,)


def test_an_entry_that_names_its_counter_is_laid_by_it_whatever_its_stamp():
    bench = Bench()
    bench.twice(TEN, 3)
    bench.log(TEN + 11_000)
    bench.clock(TEN + MINUTE_MS, "2026-03-10T04:01:00")  # two hours ahead of 02:01 UTC
    assert said(bench.log(TEN + 2 * MINUTE_MS, TEN + 2 * 60 * MINUTE_MS, counter=4)) == [
        ("cover_open", 1, None, None, "log")
    ]
    assert bench.twice(TEN + POLL_MS, 4) == []


def test_a_stamp_of_a_clock_that_is_off_places_nothing_and_counters_count():
    bench = Bench()
    bench.twice(TEN, 3)
    bench.log(TEN + 11_000)
    bench.clock(TEN + 12_000, "2026-03-10T02:05:12")  # 300 s ahead
    (told,) = bench.log(TEN + 10 * MINUTE_MS, TEN + 13 * MINUTE_MS)
    assert not told.placed
    assert said(bench.twice(TEN + POLL_MS, 4)) == [("cover_open", 1, 3, 4, "counter")]
    bench = Bench()
    bench.twice(TEN, 3)
    bench.log(TEN + 11_000)
    bench.clock(TEN + 12_000, "2026-03-10T02:05:11")  # 299 s
    (told,) = bench.log(TEN + 10 * MINUTE_MS, TEN + 9 * MINUTE_MS)
    assert told.placed


def test_date_and_time_together_are_a_clock_and_a_stamp_of_the_future_shows_that_it_is_off():
    bench = Bench()
    bench.twice(TEN, 3)
    bench.log(TEN + 11_000)
    for quantity, text in ((Quantity.METER_DATE, "2026-03-11"), (Quantity.METER_TIME, "02:00:12")):
        bench.witness.identify(Identity("m1", quantity, text, TEN + 12_000, None), TEN + 12_000)
    (told,) = bench.log(TEN + 10 * MINUTE_MS, TEN + 9 * MINUTE_MS)
    assert not told.placed, "a day ahead"
    bench = Bench()
    bench.twice(TEN, 3)
    bench.log(TEN + 11_000)
    (told,) = bench.log(TEN + 10 * MINUTE_MS, TEN + 10 * MINUTE_MS + CLOCK_OFF_MS)
    assert not told.placed


# -- restarts


def test_an_event_of_the_agents_absence_is_found_once_and_not_again_when_the_log_comes():
    bench = Bench()
    bench.twice(TEN, 3)
    bench.restarted()
    back_ms = TEN + DAY_MS
    assert said(bench.twice(back_ms, 4)) == [("cover_open", 1, 3, 4, "counter")]
    bench.restarted()
    assert bench.log(back_ms + MINUTE_MS, TEN + 60 * MINUTE_MS) == []
    bench.restarted()
    assert bench.twice(back_ms + POLL_MS, 4) == []
    assert bench.log(back_ms + POLL_MS, TEN + 60 * MINUTE_MS) == []


def test_an_event_has_one_name_before_and_after_a_crash_that_lost_the_state():
    bench = Bench()
    bench.twice(TEN, 3)
    before = json.dumps(bench.witness.dump())
    (told,) = bench.twice(TEN + POLL_MS, 4)
    bench.witness = Witness([bench.point])
    bench.witness.restore(json.loads(before))
    (again,) = bench.twice(TEN + 2 * POLL_MS, 5)
    assert again.id == told.id


def test_what_waits_survives_a_restart():
    bench = Bench()
    bench.twice(TEN, 3)
    bench.twice(TEN + POLL_MS, 4, serial=None)
    bench.restarted()
    assert bench.witness.wants() == {"m1"}
    assert len(bench.read(TEN + POLL_MS + 20_000, 4)) == 1
    bench.restarted()
    assert bench.twice(TEN + 2 * POLL_MS, 4) == []


def test_a_clock_that_was_a_year_ahead_holds_nobody_up():
    bench = Bench()
    bench.twice(TEN + 365 * DAY_MS, 3)
    bench.witness.stepped(TEN)
    (told,) = bench.twice(TEN + POLL_MS, 4)
    assert (told.before_ms, told.after_ms) == (TEN, TEN + POLL_MS)


def test_what_is_remembered_is_bounded_and_what_is_forgotten_is_history():
    bench = Bench()
    bench.twice(TEN, 0)
    bench.log(TEN + 11_000)
    stamps = [TEN + n * POLL_MS for n in range(1, 3 * KEPT)]
    for n, at_ms in enumerate(stamps, start=1):
        bench.log(at_ms + MINUTE_MS, at_ms)
        bench.twice(at_ms + 2 * MINUTE_MS, n)
    assert sum(w.count for w in bench.told) == len(stamps)
    assert len(json.dumps(bench.witness.dump())) < 20_000
    assert bench.log(stamps[-1] + POLL_MS, *stamps) == [], "a log that says everything again"
    assert bench.settle(stamps[-1] + 2 * KEPT_MS) == []


# -- any history, heard in any order


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], list[int], list[tuple[int, int]], int]:
    """Minutes of events, of polls, (entry, when it is heard) and by how many seconds the meter's clock is off."""
    events = sorted(draw(st.lists(st.integers(1, 600), max_size=12, unique=True)))
    polls = sorted(draw(st.sets(st.integers(1, 700), max_size=20)) | {0, 720})
    heard = [(n, draw(st.integers(events[n], 719))) for n in range(len(events)) if draw(st.booleans())]
    return events, polls, heard, draw(st.integers(-299, 299))


TOLD: Counter[str] = Counter()


def test_whatever_is_heard_when_every_event_is_told_once():
    TOLD.clear()
    every_event_once()
    assert TOLD["events"] > EXAMPLES
    assert min(TOLD["by_the_log_first"], TOLD["by_both"], TOLD["entries_that_were_no_news"]) > EXAMPLES // 20
    report("events told once, counter and log in any order", histories=EXAMPLES, **TOLD)


@settings(max_examples=EXAMPLES, deadline=None)
@given(histories(), st.sets(st.integers(0, 720), max_size=4), st.booleans())
def every_event_once(
    history: tuple[list[int], list[int], list[tuple[int, int]], int], restarts: set[int], numbered: bool
) -> None:
    events, polls, heard, off_s = history
    bench = Bench()
    bench.twice(TEN - 20_000, 5)
    bench.log(TEN - 5_000)
    known: set[int] = set()
    for minute in range(721):
        now_ms = TEN + minute * MINUTE_MS
        if minute in restarts:
            bench.restarted()
        count = sum(e <= minute for e in events)
        if minute in polls:
            bench.read(now_ms + 1000, 5 + count)
        for n in [n for n, at in heard if at == minute]:
            when_ms = TEN + events[n] * MINUTE_MS + off_s * 1000
            if when_ms > TEN - 20_000:  # else it is history by the meter's clock
                known.add(n)
            bench.witness.asking("m1", now_ms + 1500)
            bench.log(now_ms + 2000, when_ms, counter=6 + n if numbered else None)
        if minute in polls:
            known |= set(range(count))
            bench.read(now_ms + 11_000, 5 + count)
        assert sum(w.count for w in bench.told) <= len(known), "never more than can be known"
    assert sum(w.count for w in bench.told) == len(events), "the counter has the last word"
    assert len({w.id for w in bench.told if w.before is not None}) == sum(w.before is not None for w in bench.told)
    TOLD["events"] += len(events)
    TOLD["by_the_log_first"] += sum(w.count for w in bench.told if w.sources == ("log",))
    TOLD["by_both"] += sum(w.count for w in bench.told if len(w.sources) > 1)
    TOLD["entries_that_were_no_news"] += len(heard) - sum(len(w.logged_ms) for w in bench.told)


GAPS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 3)), max_size=6)


@given(GAPS, st.lists(st.integers(0, 70), max_size=10))
def test_as_many_entries_are_laid_as_can_be(gaps: list[tuple[int, int]], stamps: list[int]):
    """Against the brute force of augmenting paths."""
    moves: list[Move] = []
    at = 0
    for gap, n in gaps:
        moves.append(Move(0, n, at * MINUTE_MS, (at + gap) * MINUTE_MS, 0))
        at += gap
    entries = [Entry(s * MINUTE_MS, None) for s in stamps]
    laid = lay(moves, entries)
    for m, move in enumerate(moves):
        assert sum(to == m for to in laid.values()) <= move.after
    slots = [m for m, move in enumerate(moves) for _ in range(move.after)]

    def reach(n: int, seen: set[int], taken: dict[int, int]) -> bool:
        for slot, m in enumerate(slots):
            low, high = moves[m].before_ms - CLOCK_OFF_MS, moves[m].after_ms + CLOCK_OFF_MS
            if slot in seen or not low <= (entries[n].when_ms or 0) <= high:
                continue
            seen.add(slot)
            if slot not in taken or reach(taken[slot], seen, taken):
                taken[slot] = n
                return True
        return False

    taken: dict[int, int] = {}
    most = sum(reach(n, set(), taken) for n in range(len(entries)))
    assert len(laid) == most
    event(f"laid {min(most, 4)}")
