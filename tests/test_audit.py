"""Stories of demand, of registers, of what meters say and of devices that answer; and what no story can say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import hypot, isnan, sqrt
from typing import Any

import pytest

from edge_agent.assembly import core_with
from edge_agent.audit.lifecycle import Lifecycle, lifetime
from edge_agent.audit.release import release_from
from edge_agent.audit.topic import Answer, AuditTopic, Verdict
from edge_agent.image import ProcessImage, Snapshot
from edge_agent.load.points import LoadPoint
from edge_agent.load.views import Band, Demand, Interval, LoadView, RegisterEvent, Source, Witnessed
from edge_agent.model import EVENTS, ClockQuality, ClockState, Gap, GapCause, Ms, Quantity, Reading
from tests.on_paper import MINUTE_MS, archive_of, local_ms, published
from tests.stories import POLL_MS, Office, Played, Player, cases, said, told_alike_after_restarts, told_as_written

RELEASES, TOPICS = published()
PF = 0.85


# -- capacity: demand in, steps out -----------------------------------------------------------------------------


def play_demand(case: Mapping[str, Any], office: Office) -> Played:
    unit = "kw" if case["topics"] == ["cap-demand-over"] else "kva"
    told, expected = [], []
    for number, (end_ms, value, expect) in enumerate(demand_rows(case, unit)):
        interval = interval_of(end_ms, value, unit, active_only=case.get("active_only", False))
        now = office.look(LoadView(end_ms + 200, [interval]))
        if number in case.get("unconfirmed", ()):
            now += office.confirm({"p": end_ms - POLL_MS}, end_ms + 2 * POLL_MS)
            assert office.life.wants() == {"p"}, "a reading that confirms is wanted"
            now += office.confirm({"p": end_ms - POLL_MS}, end_ms + 2 * POLL_MS + 120_000)
        else:
            now += office.confirm({"p": end_ms - POLL_MS}, end_ms + 200)
            now += office.confirm({"p": end_ms}, end_ms + POLL_MS)
        assert not office.life.wants()
        told.append(", ".join(now))
        expected.append(expect)
    return Played(told, expected, office)


def demand_rows(case: Mapping[str, Any], unit: str) -> Iterable[tuple[Ms, Any, str]]:
    if "rows" in case:
        for end, value, expect in case["rows"]:
            yield local_ms(end), value, expect
        return
    step_ms = case.get("slide_min", 15) * MINUTE_MS
    for i, (value, expect) in enumerate(zip(case[unit], case["expect"], strict=True)):
        yield local_ms(case["start"]) + i * step_ms, value, expect


def interval_of(end_ms: Ms, value: Any, unit: str, *, active_only: bool = False, point: str = "p") -> Interval:
    start_ms, block = end_ms - 15 * MINUTE_MS, end_ms % (15 * MINUTE_MS) == 0
    if not isinstance(value, list) and isnan(value):
        return Interval(point, start_ms, end_ms, block, None, None, end_ms + 100, 1, "no_reading")
    low, high = value if isinstance(value, list) else (value, value)
    return Interval(point, start_ms, end_ms, block, demand_of(low, high, unit, active_only), None, end_ms + 100)


def demand_of(low: float, high: float, unit: str, active_only: bool = False) -> Demand:
    band = Band(low * 1000, (low + high) * 500, high * 1000)
    if unit == "kw" or active_only:
        return Demand(Source.REGISTER, band, None, None, 1.0, 0.0)
    return Demand(Source.REGISTER, band.over(1 / PF), band.over(1 / sqrt(1 - PF**2)), band, 1.0, 0.0)


# -- registers: events in, steps out ----------------------------------------------------------------------------


def play_registers(case: Mapping[str, Any], office: Office) -> Played:
    told, expected = [], []
    heard: list[Witnessed] = []
    for at, kind, before, after, expect, *witness in case["rows"]:
        at_ms = local_ms(at)
        fresh = [happened(code, local_ms(f"{at[:10]} {hour}"), at_ms) for code, hour in map(str.split, witness)]
        heard += fresh
        match kind:
            case "by hand":
                now = office.by_hand(at_ms)
            case "quiet":
                now = office.look(LoadView(at_ms, meter_events=fresh, witnessed=heard))
            case _:
                known = kind if kind in {"rollover", "replacement"} else "decrease"
                event = RegisterEvent(
                    "p", "m1", Quantity.ACTIVE_ENERGY_IMPORT, known,
                    before * 1000, after * 1000, at_ms - POLL_MS, at_ms,
                    confirmed=kind != "read once", serial_known=kind != "serial unknown",
                )  # fmt: skip
                now = office.look(LoadView(at_ms, events=[event], meter_events=fresh, witnessed=heard))
        told.append(", ".join(now))
        expected.append(expect)
    return Played(told, expected, office)


def happened(code: str, when_ms: Ms, told_ms: Ms) -> Witnessed:
    """Between two readings of the counter, ten minutes around it."""
    span = (when_ms - 5 * MINUTE_MS, when_ms + 5 * MINUTE_MS)
    return Witnessed("p", "m1", code, f"x-{when_ms}", 1, ("counter",), *span, told_ms, 0, 1, *span)


# -- what the meter says: its words in, steps out ----------------------------------------------------------------

SAYS = {"met-cover": "cover_open", "met-magnetic": "magnetic", "met-param-change": "programming"}


def play_words(case: Mapping[str, Any], office: Office) -> Played:
    told, expected = [], []
    (topic,) = case["topics"]
    for at, kind, before, after, expect in case["rows"]:
        at_ms = local_ms(at)
        match kind:
            case "by hand":
                now = office.by_hand(at_ms)
            case "quiet":
                now = office.look(LoadView(at_ms))
            case _:
                code = kind if kind in EVENTS else SAYS[topic]
                now = office.look(LoadView(at_ms, meter_events=[word(code, kind, before, after, at_ms)]))
        told.append(", ".join(now))
        expected.append(expect)
    return Played(told, expected, office)


def word(code: str, kind: str, before: int, after: int, at_ms: Ms) -> Witnessed:
    logged = (at_ms - MINUTE_MS,) if kind in {"log", "both", "clock off"} else ()
    if kind in {"log", "clock off"}:
        return Witnessed(
            "p", "m1", code, f"{at_ms}-0", 1, ("log",), at_ms - MINUTE_MS, at_ms - MINUTE_MS, at_ms, logged_ms=logged,
            placed=kind == "log",
        )  # fmt: skip
    sources = ("counter", "log") if logged else ("counter",)
    start_ms = at_ms - 15 * MINUTE_MS
    return Witnessed(
        "p", "m1", code, f"b-{before}", after - before, sources, start_ms, at_ms, at_ms, before, after, start_ms,
        at_ms, logged, serial_known=kind != "serial unknown",
    )  # fmt: skip


# -- communication: answers of devices in, steps out ------------------------------------------------------------


def play_answers(case: Mapping[str, Any], office: Office) -> Played:
    """Devices m1, m2 belong to points p, p2."""
    points = {"m1": "p", "m2": "p2"}
    image = ProcessImage({d: ("lan", points[d]) for d in case["devices"]})
    start_ms, minute, told = local_ms(case["start"]), 0, []
    clock = ClockState(ClockQuality.SYNCED, start_ms, 0)
    for minutes, *words in case["reads"]:
        for _ in range(minutes):
            bt_ms = minute * MINUTE_MS
            image.take([o for d, word in zip(case["devices"], words, strict=True) for o in answer_of(d, word, bt_ms)])
            snapshot = image.cut(bt_ms, clock)
            before = len(office.steps)
            now = office.look(LoadView(start_ms + bt_ms, comms=snapshot.comms)) if snapshot.comms else []
            now += office.tell_owed(start_ms + bt_ms)
            whom = [s.point or s.measured["devices"] for s in office.steps[before:]] + ["p"]
            told += [f"{minute}: {step} {who}" for step, who in zip(now, whom, strict=False)]
            minute += 1
    return Played(told, case["expect"], office)


def answer_of(device: str, word: str, bt_ms: Ms) -> list[Reading | Gap]:
    if word == "nothing":
        return []
    quantity = Quantity.ACTIVE_ENERGY_IMPORT
    if word == "good":
        return [Reading(device, quantity, 1e6, 10.0, bt_ms, None)]
    return [Gap(device, quantity, GapCause(word), bt_ms, "")]


PLAYERS: dict[str, Player] = {
    "cap-over-contract": play_demand,
    "cap-heavy-load": play_demand,
    "cap-demand-over": play_demand,
    "met-decrease": play_registers,
    **dict.fromkeys(SAYS, play_words),
    "dat-comm": play_answers,
}


@pytest.mark.parametrize(("topic", "case"), cases(PLAYERS))
def test_story(topic: str, case: dict[str, Any]):
    told_as_written(PLAYERS[topic], topic, case)


@pytest.mark.parametrize(("topic", "case"), cases(PLAYERS))
def test_story_with_a_restart_at_every_instant(topic: str, case: dict[str, Any]):
    told_alike_after_restarts(PLAYERS[topic], case)


# -- what a list of demands cannot say ---------------------------------------------------------------------------


def verdict_of(interval: Interval, topic: str = "cap-over-contract") -> Verdict:
    (verdict,) = TOPICS[topic].examine(LoadView(interval.end_ms, [interval]), archive_of({}), RELEASES[topic])
    return verdict


def window(register: Demand | None, sampled: Demand | None, *, count: int = 1, spans: str = "") -> Interval:
    end_ms = local_ms("2026-03-10 12:00")
    return Interval("p", end_ms - count * 15 * MINUTE_MS, end_ms, True, register, sampled, end_ms, count, spans)


def kva(low: float, high: float | None = None) -> Demand:
    return demand_of(low, low if high is None else high, "kva")


def kw(value: float) -> Demand:
    return demand_of(value, value, "kva", active_only=True)


@pytest.mark.parametrize(
    ("register", "sampled", "answer"),
    [
        (kva(255), kva(260), Answer.BREACH),
        (kva(255), kva(249), Answer.BETWEEN),
        (kva(249), kva(260), Answer.BETWEEN),
        (kva(200), kva(210), Answer.CLEAR),
        (kva(200), kva(245), Answer.BETWEEN),
        (kva(255), kva(200), Answer.BETWEEN),
        (kva(255), None, Answer.BREACH),
        (None, kva(255), Answer.BREACH),
    ],
)
def test_where_both_sources_exist_both_must_agree(register: Demand | None, sampled: Demand | None, answer: Answer):
    verdict = verdict_of(window(register, sampled))
    assert verdict.answer is answer
    alone = [verdict_of(window(register, None)).answer, verdict_of(window(None, sampled)).answer]
    assert (verdict.reason == "sources_disagree") is (answer is not Answer.BREACH and Answer.BREACH in alone)


def test_registers_of_active_energy_alone_leave_apparent_power_to_the_samples():
    assert verdict_of(window(kw(220), kva(258.82))).answer is Answer.BREACH
    assert verdict_of(window(kw(150), kva(200))).answer is Answer.CLEAR
    assert verdict_of(window(kw(220), None)).reason == "active_power_only"


@pytest.mark.parametrize("spans", ["archive_change", "clock_step", "register_break", "gap", "no_reading"])
def test_a_window_that_spans_a_change_is_not_judged(spans: str):
    verdict = verdict_of(window(kva(300), None, spans=spans))
    assert (verdict.answer, verdict.reason) == (Answer.UNKNOWN, spans)


def test_a_step_of_the_register_that_is_worth_much_is_said():
    coarse = Demand(Source.REGISTER, Band(2e5, 2.1e5, 2.2e5), None, Band(235e3, 250e3, 265e3), 1.0, resolution=15e3)
    verdict = verdict_of(window(coarse, None))
    assert (verdict.answer, verdict.reason) == (Answer.BETWEEN, "register_too_coarse")


def test_the_mean_of_several_periods_accuses_and_never_clears():
    assert verdict_of(window(kva(255, 500), None, count=2)).answer is Answer.BREACH
    assert verdict_of(window(kva(100, 110), None, count=2)).answer is Answer.UNKNOWN


def test_the_mean_of_several_periods_is_no_two_hours():
    """At least one of eight periods was at 84 %: that is not heavy load for two hours."""
    office = Office(["cap-heavy-load"], archive_of({}), forgetful=False)
    interval = window(kva(210, 400), None, count=8)
    assert office.look(LoadView(interval.end_ms, [interval])) == []
    assert not office.life.wants()
    assert office.answers[Answer.BREACH] == 1


def test_an_open_finding_about_the_data_blinds_the_capacity_topics():
    fly = AuditTopic("met-fly", lambda *_: iter(()))
    level = {"severity": "major", "above": 0.0, "open": {"k": 1, "n": 1}, "source": "[M]"}
    told = {
        "topic": "met-fly", "version": 1, "status": "published", "episode": "once", "route": "metering",
        "iec": "1.1.1.1", "clear": "manual", "levels": [level],
    }  # fmt: skip
    releases = {**RELEASES, "met-fly": release_from(told, "00")}
    topic = TOPICS["cap-over-contract"]
    life = Lifecycle("gw-1", [fly, topic], releases, archive_of({}))
    now_ms = local_ms("2026-03-10 12:00")
    out = lifetime()
    life.judge([Verdict("p", Answer.BREACH, now_ms - 1, now_ms, low=1.0, high=1.0, confirmed=True)], "met-fly", out)
    assert [s.topic for s in out.steps] == ["met-fly"]

    def judge(minutes: int, value: float) -> list[str]:
        mine = lifetime()
        end_ms = now_ms + minutes * MINUTE_MS
        view = LoadView(end_ms, [interval_of(end_ms, value, "kva")])
        life.judge(topic.examine(view, archive_of({}), RELEASES[topic.id]), topic.id, mine)
        life.confirm({"p": end_ms}, end_ms, mine)
        return [said(s) for s in mine.steps]

    assert judge(15, 300) == [], "a point whose register flies is not over its contract"
    assert life.clear_by_hand(out.steps[0].finding, "t-17", now_ms, lifetime())
    assert judge(30, 300) == ["opened notice"]


def test_a_reading_that_goes_back_confirms_nothing():
    """A bad frame too high by little passes for energy until the next reading: what it decided is let go."""
    office = Office(["cap-over-contract"], archive_of({}), forgetful=False)
    interval = window(kva(260), None)
    office.look(LoadView(interval.end_ms, [interval]))
    out = lifetime()
    after_ms = interval.end_ms + 2 * POLL_MS
    office.life.confirm({"p": after_ms}, after_ms, out, {"p": interval.decided_ms})
    assert out.steps == []
    assert not office.life.wants()
    (track,) = out.changed.values()
    assert track.unconfirmed == 1


def test_windows_that_close_while_a_finding_waits_for_its_confirmation_count():
    office = Office(["cap-over-contract"], archive_of({}), forgetful=True)
    first = local_ms("2026-03-10 12:00")
    for minutes, value in ((0, 255), (15, 270)):
        assert office.look(LoadView(0, [interval_of(first + minutes * MINUTE_MS, value, "kva")])) == []
    assert office.confirm({"p": first + 15 * MINUTE_MS}, first + 16 * MINUTE_MS) == ["opened notice"]
    assert office.steps[0].counts == {"intervals": 2, "days": 1, "episodes": 1, "longest_run": 2}
    assert office.steps[0].measured["low"] == pytest.approx(1.08)


def test_a_clock_that_was_a_year_ahead_holds_nobody_up():
    office = Office(["cap-over-contract"], archive_of({}), forgetful=False)
    ahead, true_ms = local_ms("2027-03-10 12:00"), local_ms("2026-03-10 12:00")
    office.look(LoadView(0, [interval_of(ahead, 255, "kva")]))
    assert office.confirm({"p": ahead}, ahead) == ["opened notice"]
    assert len(office.life.stepped(true_ms)) == 1
    end_ms = true_ms + 30 * MINUTE_MS
    assert office.look(LoadView(0, [interval_of(end_ms, 255, "kva")])) == ["cleared period"]
    assert office.confirm({"p": end_ms}, end_ms) == ["opened notice"]
    assert [f.episode for f in office.life.open_findings("p")] == ["2026-03"]


def test_the_worked_example():
    """220 kW at 0.85 is 258.82 kVA: a notice of use above the contract. At 0.90 for two hours it is heavy load."""
    topics = ["cap-over-contract", "cap-heavy-load"]
    for pf, expected in ((0.85, ["cap-over-contract opened notice"]), (0.90, ["cap-heavy-load opened notice"])):
        office, told = Office(topics, archive_of({}), forgetful=False), []
        for i in range(12):
            end_ms = local_ms("2026-03-10 10:15") + i * 15 * MINUTE_MS
            p, q = 220_000.0, 220_000.0 / pf * sqrt(1 - pf * pf)
            active, reactive, s = (Band(x, x, x) for x in (p, q, hypot(p, q)))
            demand = Demand(Source.REGISTER, active, reactive, s, 1.0, 0.0)
            told += office.look(LoadView(0, [Interval("p", end_ms - 900_000, end_ms, True, demand, None, end_ms)]))
            told += office.confirm({"p": end_ms}, end_ms + POLL_MS)
        assert told == expected
        assert office.steps[0].measured["power_factor"] == pytest.approx(pf, abs=1e-3)
        if pf == 0.85:
            assert office.steps[0].measured["low"] == pytest.approx(1.0353, abs=1e-4)
            assert office.steps[0].severity == "notice"


def test_a_single_bad_frame_opens_nothing_through_the_whole_core():
    """99 % of the contract; after three lost polls a register reading is as high as it can be, and decides a window."""
    archive = archive_of({})
    registers = (Quantity.ACTIVE_ENERGY_IMPORT, Quantity.REACTIVE_ENERGY_IMPORT)
    cap = archive.s_cap_va("p", local_ms("2026-03-10 10:00")) or 0.0
    point = LoadPoint(
        id="p", device="m1", period_ms=15 * MINUTE_MS, slide_ms=MINUTE_MS, poll_ms=POLL_MS,
        k=archive.k_timeline("p"), s_cap_va=((0, cap),), quantities=frozenset(registers),
    )  # fmt: skip

    def steps(bad_at: int | None, share: float) -> tuple[list[str], int]:
        core = core_with(archive, [point], RELEASES, gateway="gw-1")
        heard: list[Verdict] = []
        core.hearers.append(lambda all_: heard.extend(all_["cap-over-contract"]))
        start, told = local_ms("2026-03-10 10:00"), []
        for i in range(100):
            t = start + i * POLL_MS
            va_h = share * 250_000 * (i * POLL_MS / 3.6e6) / 80
            values = [1e6 + PF * va_h, 1e6 + sqrt(1 - PF**2) * va_h]
            if bad_at is not None and bad_at - 4 < i < bad_at:
                continue
            if i == bad_at:
                values[0] += (1.19 * cap - share * 250_000 * PF) * 4 * POLL_MS / 3.6e6 / 80
            readings = [(Reading("m1", q, v, 0.0, t, None), t) for q, v in zip(registers, values, strict=True)]
            outcome = core.tick(Snapshot(t, t, ClockState(ClockQuality.SYNCED, 0, 0), readings))
            told += [said(s) for s in outcome.steps if s.topic == "cap-over-contract"]
        return told, sum(v.answer is Answer.BREACH for v in heard)

    assert steps(None, 0.99) == ([], 0)
    told, breaches = steps(72, 0.99)
    assert breaches > 0, "the bad frame did decide a window"
    assert told == []
    assert steps(None, 1.01)[0] == ["opened notice"]


def test_an_end_that_was_owed_and_told_makes_the_next_breach_news():
    """The day is over and nothing was heard: its end is told. Then the day's last window comes late, and breaches."""
    office, start = Office(["cap-over-contract"], archive_of({}), forgetful=True), local_ms("2026-03-10 10:15")
    told = []
    for value in (255, 230, 230, 230, 255, 230, 230, 230):
        told += office.look(LoadView(0, [interval_of(start, value, "kva")])) + office.confirm({"p": start}, start)
        start += 15 * MINUTE_MS
    assert told == ["opened notice", "cleared hold", "updated notice"]
    midnight = local_ms("2026-03-11 00:00")
    assert office.tell_owed(midnight + 30 * MINUTE_MS) == []
    assert office.tell_owed(midnight + 61 * MINUTE_MS) == ["cleared hold"]
    assert office.tell_owed(midnight + 62 * MINUTE_MS) == []
    assert office.look(LoadView(0, [interval_of(midnight, 255, "kva")])) == []
    assert office.confirm({"p": midnight}, midnight) == ["updated notice"]
