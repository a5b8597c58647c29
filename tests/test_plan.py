"""When a link asks what: on the grid, the oldest first, never twice for one slot, and gently with the silent."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from edge_agent.model import CUMULATIVE, GapCause, Ms, Quantity, Register, Request
from edge_agent.plan import LONGEST_PAUSE_MS, PAUSE_MS, REFUSED_PAUSE_MS, PollPlan, Reconnect

MINUTE = 60_000
NOON_UTC_MS = 1_780_056_000_000
"""2026-05-29T12:00:00Z"""

POWERS = [q for q in Quantity if q not in CUMULATIVE]


def request(device: str = "m1", every_s: float = 15.0, quantity: Quantity = Quantity.ACTIVE_POWER) -> Request:
    return Request(device, 1, (Register(quantity, "input:0", "f32", "W"),), None, every_s)


def drain(plan: PollPlan, now_ms: Ms) -> list[Request]:
    """Everything that is due, answered at once."""
    found = []
    while (due := plan.due(now_ms)) is not None:
        plan.answered(due)
        found.append(due)
    return found


def test_everything_is_asked_at_the_start_and_then_on_the_grid():
    plan = PollPlan([request("m1"), request("m2", 60)], 1_000)
    assert [r.device for r in drain(plan, 1_000)] == ["m1", "m2"]
    assert plan.next_ms() == 15_000
    assert drain(plan, 14_999) == []
    assert [r.device for r in drain(plan, 15_000)] == ["m1"]
    assert [r.device for r in drain(plan, 60_000)] == ["m1", "m2"]


def test_polls_meet_the_minute_once_true_time_is_known():
    plan = PollPlan([request()], 0)
    drain(plan, 0)
    booted_ms = NOON_UTC_MS + 7_300  # boot time 0 was 7.3 s past the minute
    plan.align(booted_ms, 0)
    slots: list[int] = []
    now_ms = 0
    while len(slots) < 8:
        now_ms = plan.next_ms() or 0
        drain(plan, now_ms)
        slots.append((now_ms + booted_ms) % MINUTE)
    assert slots == [15_000, 30_000, 45_000, 0] * 2


@pytest.mark.parametrize("nudge_ms", [-400, -5, 5, 400])
def test_a_clock_nudged_at_a_boundary_costs_no_poll(nudge_ms):
    plan = PollPlan([request(every_s=60)], 0)
    plan.align(NOON_UTC_MS, 0)
    asked = [now for now in range(0, 10 * MINUTE + 1_000, 1) if _asked(plan, now, nudge_ms)]
    gaps = [b - a for a, b in pairwise(asked)]
    assert len(asked) == 11
    assert all(abs(gap - MINUTE) <= 400 for gap in gaps)


def _asked(plan: PollPlan, now_ms: Ms, nudge_ms: Ms) -> bool:
    # Two milliseconds before the fifth boundary the offset changes.
    plan.align(NOON_UTC_MS + (nudge_ms if now_ms >= 5 * MINUTE - 2 else 0), now_ms)
    return bool(drain(plan, now_ms))


def test_a_clock_that_jumps_moves_the_grid_and_not_the_rate():
    plan = PollPlan([request(every_s=60)], 0)
    plan.align(NOON_UTC_MS, 0)
    drain(plan, 0)
    plan.align(NOON_UTC_MS - 7_200_000 - 12_345, 10_000)
    asked = [now for now in range(10_000, 10 * MINUTE, 1_000) if drain(plan, now)]
    assert 9 <= len(asked) <= 11
    assert ((plan.next_ms() or 0) + NOON_UTC_MS - 7_200_000 - 12_345) % MINUTE == 0


def test_what_fell_behind_is_skipped():
    plan = PollPlan([request()], 0)
    drain(plan, 0)
    assert len(drain(plan, 10 * MINUTE + 4_000)) == 1
    assert plan.next_ms() == 10 * MINUTE + 15_000


def test_registers_go_first_at_the_same_instant():
    power, energy = request(), request(quantity=Quantity.ACTIVE_ENERGY_IMPORT)
    plan = PollPlan([power, energy], 0)
    assert drain(plan, 0) == [energy, power]
    assert drain(plan, 15_000) == [energy, power]


def test_one_dead_device_costs_the_others_one_question_per_pause():
    dead = [request("dead", 15, q) for q in (Quantity.ACTIVE_POWER, Quantity.VOLTAGE_L1, Quantity.FREQUENCY)]
    plan = PollPlan([*dead, request("live")], 0)
    tries, live = [], 0
    for now_ms in range(0, 3_600_000, 500):
        while (due := plan.due(now_ms)) is not None:
            if due.device == "dead":
                tries.append(now_ms)
                plan.failed(due, GapCause.NO_REPLY, now_ms)
            else:
                live += 1
                plan.answered(due)
    pauses = [b - a for a, b in pairwise(tries)]
    assert pauses[:5] == [15_000, 30_000, 60_000, 120_000, 240_000]
    assert set(pauses[5:]) == {LONGEST_PAUSE_MS}
    assert live == 240
    (pause,) = plan.pauses()
    assert (pause.device, pause.cause, pause.failures, pause.since_ms) == ("dead", "no_reply", len(tries), 0)
    assert pause.next_ms == tries[-1] + LONGEST_PAUSE_MS


def test_a_device_that_comes_back_is_asked_as_usual_at_once():
    first, second = request(), request(quantity=Quantity.ACTIVE_ENERGY_IMPORT)
    plan = PollPlan([first, second], 0)
    plan.failed(plan.due(0) or first, GapCause.NO_REPLY, 0, "unit 1 kept silent")
    assert drain(plan, PAUSE_MS - 1) == []
    trial = plan.due(PAUSE_MS)
    assert trial is not None
    assert plan.due(PAUSE_MS) is None  # one question is the trial
    ended = plan.answered(trial)
    assert ended is not None
    assert ended.detail == "unit 1 kept silent"
    assert len(drain(plan, PAUSE_MS)) == 1
    assert plan.pauses() == ()


def mended(cut_s: float, *, long_dead: bool = False) -> tuple[list[float], int]:
    """Eight devices on a line that was cut for so long: how long after the mending each answers; how often the one that
    was dead before was tried in the hour after."""
    plan = PollPlan([request(f"m{n}", 15) for n in range(8)], 0)
    cut_ms, mended_ms = 3_600_000, 3_600_000 + round(1000 * cut_s)
    back: dict[str, float] = {}
    tries = 0
    for now_ms in range(0, mended_ms + 3_600_000, 250):
        while (due := plan.due(now_ms)) is not None:
            dead = long_dead and due.device == "m0"
            if dead or cut_ms <= now_ms < mended_ms:
                plan.failed(due, GapCause.NO_REPLY, now_ms)
                tries += dead and now_ms >= mended_ms
            else:
                plan.answered(due)
                if now_ms >= mended_ms:
                    back.setdefault(due.device, (now_ms - mended_ms) / 1000)
    return sorted(back.values()), tries


def test_when_a_line_is_whole_again_the_first_answer_brings_all_devices_back():
    back_s, _ = mended(3600)
    assert len(back_s) == 8
    assert back_s[-1] <= LONGEST_PAUSE_MS / 1000 + 15
    assert back_s[-1] - back_s[0] <= 15, "all within a poll of the first"


def test_a_device_that_was_dead_before_the_line_was_cut_is_not_tried_for_the_lines_sake():
    back_s, tries = mended(3600, long_dead=True)
    assert len(back_s) == 7
    assert back_s[-1] - back_s[0] <= 15
    assert 11 <= tries <= 12, "every five minutes, as before"


@pytest.mark.parametrize("cause", [GapCause.NO_REPLY, GapCause.BAD_REPLY])
def test_silence_and_garbage_pause_the_device(cause):
    plan = PollPlan([request()], 0)
    pause = plan.failed(plan.due(0) or request(), cause, 0)
    assert pause is not None
    assert plan.next_ms() == PAUSE_MS


def test_a_link_that_is_down_says_nothing_about_the_device():
    plan = PollPlan([request()], 0)
    assert plan.failed(plan.due(0) or request(), GapCause.LINK_DOWN, 0) is None
    assert plan.pauses() == ()
    assert plan.next_ms() == 15_000


def test_a_refused_question_is_left_alone_for_an_hour_and_the_device_is_not():
    refused, fine = request(quantity=Quantity.VOLTAGE_L1), request()
    plan = PollPlan([refused, fine], 0)
    asked = []
    for now_ms in range(0, 3_700_000, 1_000):
        while (due := plan.due(now_ms)) is not None:
            asked.append((now_ms, due is refused))
            if due is refused:
                plan.failed(due, GapCause.REFUSED, now_ms)
            else:
                plan.answered(due)
    assert [now for now, was_refused in asked if was_refused] == [0, 3_600_000]
    assert len(asked) > 240


PERIODS = st.lists(st.sampled_from([1.0, 5.0, 7.0, 15.0, 60.0]), min_size=1, max_size=6)


@given(PERIODS, st.lists(st.integers(1, 40_000), min_size=5, max_size=60), st.integers(0, 10**6))
def test_no_slot_is_asked_twice_and_none_in_a_burst(periods, waits, offset_ms):
    """However long the questions take: at most one poll per slot, and nothing that was missed is made up for."""
    plan = PollPlan([request(f"m{i}", p) for i, p in enumerate(periods)], 0)
    plan.align(offset_ms, 0)
    now_ms = 0
    asked: dict[str, list[int]] = {f"m{i}": [] for i in range(len(periods))}
    for wait_ms in waits:
        if (due := plan.due(now_ms)) is not None:
            asked[due.device].append(now_ms)
            plan.answered(due)
        now_ms += wait_ms
    for i, period_s in enumerate(periods):
        slots = [(at + offset_ms) // round(period_s * 1000) for at in asked[f"m{i}"]]
        event(f"{min(len(slots), 5)} polls")
        assert slots == sorted(set(slots))


@given(PERIODS, st.integers(1, 3_000))
def test_no_question_starves_on_a_slow_link(periods, takes_ms):
    plan = PollPlan([request(f"m{i}", p) for i, p in enumerate(periods)], 0)
    counts, now_ms = dict.fromkeys((f"m{i}" for i in range(len(periods))), 0), 0
    while now_ms < 600_000:
        due = plan.due(now_ms)
        if due is None:
            now_ms = plan.next_ms() or now_ms + 1
            continue
        counts[due.device] += 1
        plan.answered(due)
        now_ms += takes_ms
    slowest = max([*(round(p * 1000) for p in periods), takes_ms * len(periods)])
    assert min(counts.values()) >= 600_000 // (slowest + takes_ms * len(periods)) - 1 > 0


def test_a_link_is_tried_again_anywhere_within_a_back_off_that_doubles_up_to_a_minute():
    reconnect = Reconnect()
    widest = [reconnect.failed(0, 0.999_999) for _ in range(9)]
    assert widest == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]
    assert reconnect.failed(0, 0.5) == 30_000
    assert reconnect.failed(0, 0.0) == 100
    reconnect.up()
    assert reconnect.failed(0, 0.5) == 500


def test_the_earliest_deadline_goes_first_and_a_registers_is_its_slot():
    slow_power, fast_power = request("slow", 60), request("fast", 15)
    energy = request("meter", 60, Quantity.ACTIVE_ENERGY_IMPORT)
    plan = PollPlan([slow_power, fast_power, energy], 0)
    assert drain(plan, 0) == [energy, fast_power, slow_power]
    for slot_ms in (15_000, 30_000, 45_000):
        assert drain(plan, slot_ms) == [fast_power]
    assert drain(plan, 60_000) == [energy, fast_power, slow_power]


def test_at_one_deadline_the_device_goes_first_that_was_asked_longest_ago():
    """Four questions of one device do not go before the first of another."""
    many = [request("many", 15, q) for q in POWERS[:4]]
    few = [request("few", 15), request("other", 15)]
    plan = PollPlan([*many, *few], 0)
    assert [r.device for r in drain(plan, 0)] == ["many", "few", "other", "many", "many", "many"]


@given(st.integers(2, 16), st.integers(100, 5_000), st.integers(1, 4))
def test_on_a_line_that_cannot_keep_up_all_devices_lose_alike(devices, takes_ms, questions):
    fleet = [request(f"m{i}", 15, q) for i in range(devices) for q in POWERS[:questions]]
    plan = PollPlan(fleet, 0)
    counts = dict.fromkeys((r.device for r in fleet), 0)
    now_ms = 0
    while now_ms < 900_000:
        if (due := plan.due(now_ms)) is None:
            now_ms = plan.next_ms() or now_ms + 1
            continue
        counts[due.device] += 1
        plan.answered(due)
        now_ms += takes_ms
    event("overloaded" if devices * questions * takes_ms > 15_000 else "keeps up")
    assert max(counts.values()) - min(counts.values()) <= max(2, 0.05 * max(counts.values()))


def test_other_questions_for_the_same_registers_keep_their_slots():
    """What is asked in one question instead of two falls due when the first of the two would have."""
    first, second = request("m1", 15, POWERS[0]), request("m1", 15, POWERS[1])
    other = request("m2", 60, POWERS[2])
    plan = PollPlan([first, second, other], 0)
    assert len(drain(plan, 0)) == 3
    merged = Request("m1", 1, (*first.registers, *second.registers), None, 15)
    plan.replace([merged, other], 5_000)
    assert plan.due(5_000) is None
    assert plan.next_ms() == 15_000
    assert plan.due(15_000) is merged
    assert plan.due(60_000) is not None


def test_a_question_that_was_refused_stays_refused_in_other_words():
    both = request("m1", 15, POWERS[0])
    plan = PollPlan([both], 0)
    plan.failed(both, GapCause.REFUSED, 0)
    plan.replace([request("m1", 15, POWERS[0])], 60_000)
    assert plan.next_ms() == REFUSED_PAUSE_MS
