"""Stories of what a meter counts beside what it samples, of what stands beside it, and of what it says about itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from math import nan, pi, sin
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
import tomli

from edge_agent.assembly import core_with
from edge_agent.audit.beside import CURRENTS
from edge_agent.contract.finding import finding_letter
from edge_agent.explain import action_of, explain
from edge_agent.image import Snapshot
from edge_agent.load.claims import Claims
from edge_agent.load.points import LoadPoint
from edge_agent.load.standings import RATES, TOTAL, Standings
from edge_agent.load.views import (
    Band,
    Block,
    Claim,
    Day,
    DayBlock,
    Demand,
    Health,
    Interval,
    LoadView,
    Mean,
    RegisterEvent,
    Role,
    Round,
    Source,
    Standing,
)
from edge_agent.model import ClockQuality, ClockState, Identity, Ms, Quantity, Reading
from edge_agent.settings.site import Site
from tests.in_chinese import is_chinese
from tests.on_paper import FACTORY, MINUTE_MS, archive_of, local_ms, published
from tests.stories import Office, Played, Player, cases, office_of, said, told_alike_after_restarts, told_as_written

BLOCK_MS = 15 * MINUTE_MS
CAP_KW = 277.0


def at(ms: Ms) -> str:
    """`"03-10 11:15"`, local."""
    return datetime.fromtimestamp((ms + 8 * 3_600_000) / 1000, UTC).strftime("%m-%d %H:%M")


# -- what the register counts beside what is sampled --------------------------------------------------------------


def play_pace(case: Mapping[str, Any], office: Office) -> Played:
    """Rows of blocks: how many, kW by the register, kW by the samples, their coverage; "gap", "jump", and `flight`."""
    end_ms, told = local_ms(case["start"]), []
    for row in case["rows"]:
        if row[0] in {"jump", "jump serial unknown"}:
            now = office.look(LoadView(end_ms, events=[jump(end_ms, row[1], row[2], known=row[0] == "jump")]))
            told += [f"{at(end_ms)}: {step}" for step in now]
            continue
        if row[0] in {"flies", "flies serial unknown", "catches up"}:
            for view in flight(end_ms, *row):
                end_ms = view.now_ms
                told += [f"{at(end_ms)}: {step}" for step in office.look(view)]
            continue
        count, register, sampled, *coverage = row
        for _ in range(count):
            end_ms += BLOCK_MS
            block = block_of(end_ms, register, sampled, *coverage, step_kwh=case.get("step_kwh", 0.01))
            now = office.look(LoadView(end_ms + 200, [block]))
            now += office.confirm({"p": end_ms}, end_ms + 15_000)
            told += [f"{at(end_ms)}: {step}" for step in now]
    return Played(told, case["expect"], office)


def block_of(end_ms: Ms, register: Any, sampled: Any, coverage: float = 1.0, *, step_kwh: float) -> Interval:
    step_w = step_kwh * 80 * 4 * 1000
    counted = powers = None
    if register != "gap":
        watts = register * 1000.0
        counted = Demand(
            Source.REGISTER, Band(max(0.0, watts - step_w), watts, watts + step_w), None, None, 1.0, step_w
        )
    if sampled != "gap":
        watts = sampled * 1000.0
        missing = (1 - coverage) * CAP_KW * 1000
        best = watts if coverage >= 0.5 else nan
        powers = Demand(
            Source.POWER, Band(watts * 0.995 * coverage, best, watts * 1.005 * coverage + missing), None, None,
            coverage, 0.0,
        )  # fmt: skip
    spans = "no_reading" if counted is None and powers is None else ""
    return Interval("p", end_ms - BLOCK_MS, end_ms, True, counted, powers, end_ms + 100, 1, spans)


def jump(at_ms: Ms, before_kwh: float, after_kwh: float, *, known: bool, since_ms: Ms = 15_000) -> RegisterEvent:
    return RegisterEvent(
        "p", "m1", Quantity.ACTIVE_ENERGY_IMPORT, "jump", before_kwh * 1000, after_kwh * 1000, at_ms - since_ms, at_ms,
        confirmed=True, serial_known=known,
    )  # fmt: skip


def flight(from_ms: Ms, how: str, minutes: int, register_kw: float, sampled_kw: float | str) -> list[LoadView]:
    """A register beyond what is carried, read every minute: in every one, or in every 15th for 15 ("catches up")."""
    views, kwh, every = [], 1234.56, 15 if how == "catches up" else 1
    for minute in range(1, minutes + 1):
        end_ms = from_ms + minute * MINUTE_MS
        rounds, events = [], []
        if sampled_kw != "gap":
            shown = {Quantity.ACTIVE_POWER: float(sampled_kw) * 1000}
            rounds.append(Round("p", "m1", Role.METER, end_ms - MINUTE_MS, end_ms, shown, shown))
        if minute % every == 0:
            after = kwh + register_kw / 60 / 80 * every
            known = how != "flies serial unknown"
            event = jump(end_ms, kwh, after, known=known, since_ms=MINUTE_MS)
            events.append(replace(event, confirmed=every > 1 or minute == 1))
            kwh = after
        views.append(LoadView(end_ms, rounds=rounds, events=events))
    return views


# -- a main meter and the one behind it ---------------------------------------------------------------------------

QUARTER_MS = 6 * 3_600_000


def play_balance(case: Mapping[str, Any], office: Office) -> Played:
    """Rows of days: how many, kW by the main meter and by the one behind it ("gap": not read), by six hours."""
    changes = case["point"]
    office.move_to(archive_of({**changes, "subs": ["p2"]}, {**changes, "id": "p2", "meter": "m2"}))
    end_ms, told, seed = local_ms(case["start"]), [], Random(11)
    step_w = case.get("step_kwh", 0.01) * 80 / 6 * 1000
    for days, main_kw, sub_kw in case["rows"]:
        for i in range(days * 4):
            end_ms += QUARTER_MS
            level = 1 + 0.3 * sin(i) + seed.gauss(0, 0.02)
            closed = []
            for point, kw in (("p", main_kw), ("p2", sub_kw)):
                loss = 1.0 if point == "p" else 1 + seed.gauss(0, 0.002)
                band = (
                    None
                    if kw == "gap"
                    else Band(
                        kw * level * loss * 1000 - step_w, kw * level * loss * 1000, kw * level * loss * 1000 + step_w
                    )
                )
                demand = None if band is None else Demand(Source.REGISTER, band, None, None, 1.0, step_w)
                spans = "" if demand else "no_reading"
                closed.append(Interval(point, end_ms - QUARTER_MS, end_ms, True, demand, None, end_ms, 1, spans))
            told += [f"{at(end_ms)}: {step}" for step in office.look(LoadView(end_ms + 200, closed))]
    return Played(told, case["expect"], office)


# -- an independent current transformer beside the meter ---------------------------------------------------------


def play_beside(case: Mapping[str, Any], office: Office) -> Played:
    """Rows of days: how many, factor and constant A by which the phases in `off` differ, and what is missing."""
    end_ms, told, phases, seed = local_ms(case["start"]), [], case.get("phases", [1]), Random(7)
    for row in case["rows"]:
        if row[0] == "set":
            claim = Claim("p", "m1", Role.METER, Quantity(row[1]), float(row[2]), end_ms, again=row[3:] != ["first"])
            told += [f"{at(end_ms)}: {step}" for step in office.look(LoadView(end_ms, claims=[claim]))]
            continue
        days, factor, constant, *what = row
        for i in range(days * 96):
            end_ms += BLOCK_MS
            missing = what[0] if what else ""
            meter: dict[Quantity, Mean] = {}
            ct: dict[Quantity, Mean] = {}
            for phase in phases:
                amperes = case.get("least_a", 60) + case.get("swing_a", 240) * sin(pi * (i % 96) / 96) ** 2
                amperes *= 1 + seed.gauss(0, 0.002)
                wrong = phase in case.get("off", phases) and not (missing == "at times" and i % 96 >= 32)
                there = amperes * factor + constant if wrong else amperes
                meter[CURRENTS[phase]] = mean_of(-amperes if case.get("signed") else amperes)
                ct[CURRENTS[phase]] = mean_of(there * (1 + seed.gauss(0, 0.004)))
            made = [Block("p", Role.METER, end_ms - BLOCK_MS, end_ms, meter)]
            if missing != "no ct" and not (missing == "half" and i % 2):
                made.append(Block("p", Role.CT, end_ms - BLOCK_MS, end_ms, ct))
            told += [f"{at(end_ms)}: {step}" for step in office.look(LoadView(end_ms, blocks=made))]
    return Played(told, case["expect"], office)


def mean_of(amperes: float) -> Mean:
    return Mean(amperes, min(amperes * 0.95, amperes * 1.05), max(amperes * 0.95, amperes * 1.05), 1.0)


# -- what the meter says about itself -----------------------------------------------------------------------------


def play_claims(case: Mapping[str, Any], office: Office) -> Played:
    """Rows: when, which quantity, what it says (of a clock: by how many seconds it is ahead), "first" or "again"."""
    told, expected = [], []
    clock = ClockState(ClockQuality(case.get("clock", "synced")), 0, case.get("clock_error_ms", 500))
    for when, name, value, again, expect in case["rows"]:
        at_ms, quantity = local_ms(when), Quantity(name)
        if quantity is Quantity.METER_CLOCK:
            zone = ZoneInfo("Asia/Shanghai")
            shown = datetime.fromtimestamp(at_ms / 1000 + value, zone).replace(tzinfo=None).isoformat()
            (claim,) = claimed(Identity("m1", quantity, shown, 0, None), at_ms)
        else:
            known = value if isinstance(value, str) else float(value)
            claim = Claim("p", "m1", Role.METER, quantity, known, at_ms, again == "again")
        told.append(", ".join(office.look(LoadView(at_ms, claims=[claim], clock=clock))))
        expected.append(expect)
    return Played(told, expected, office)


def claimed(identity: Identity, at_ms: Ms) -> Sequence[Claim]:
    claims = Claims([("m1", "p", Role.METER)], {"p": ZoneInfo("Asia/Shanghai")})
    claims.identify(identity, at_ms)
    return claims.settle()


def test_date_and_time_asked_for_one_after_the_other_are_a_clock_but_around_midnight():
    claims = Claims([("m1", "p", Role.METER)], {"p": ZoneInfo("Asia/Shanghai")})

    def ahead(date: str, time: str, at_ms: Ms, apart_ms: Ms = 400) -> Ms | None:
        claims.identify(Identity("m1", Quantity.METER_DATE, date, 0, None), at_ms - apart_ms)
        claims.identify(Identity("m1", Quantity.METER_TIME, time, 0, None), at_ms)
        return claims.settle()[-1].ahead_ms

    noon, midnight = local_ms("2026-03-10 12:00"), local_ms("2026-03-11 00:00")
    assert ahead("2026-03-10", "12:01:30", noon) == 90_000
    assert ahead("2026-03-10", "12:01:30", noon, 60_000) is None, "too far apart"
    assert ahead("2026-03-10", "00:00:00", midnight) is None, "the date is the day before's"
    assert ahead("2026-02-31", "12:00:00", noon) is None


# -- data: days of blocks, and the gateway itself -----------------------------------------------------------------


def play_days(case: Mapping[str, Any], office: Office) -> Played:
    """Rows: day, what is missing ("nothing" came, or from-to hours), when the gateway did not run, what is told."""
    told, expected = [], []
    clock = ClockState(ClockQuality.SYNCED, 0, 500)
    for day, missing, asleep, expect in case["rows"]:
        start_ms = local_ms(f"{day} 00:00")
        away = [hours_of(start_ms, span) for span in asleep]
        now: list[str] = []
        for at_ms in range(start_ms, start_ms + 24 * 3_600_000, 4 * MINUTE_MS):
            if not any(a < at_ms < b for a, b in away):
                now += office.look(LoadView(at_ms, clock=clock))
        if missing != "nothing":
            gaps = [hours_of(start_ms, span) for span in missing]
            made = day_of(date.fromisoformat(day), start_ms, gaps, case.get("coverage", 1.0))
            now += office.look(LoadView(start_ms + 25 * 3_600_000, days=[made]))
        told.append(", ".join(now))
        expected.append(expect)
    return Played(told, expected, office)


def hours_of(start_ms: Ms, span: str) -> tuple[Ms, Ms]:
    hours = [part.split(":") for part in span.split("-")]
    first, last = (start_ms + (int(h) * 60 + int(m)) * MINUTE_MS for h, m in hours)
    return first, last


def day_of(day: date, start_ms: Ms, gaps: Sequence[tuple[Ms, Ms]], coverage: float) -> Day:
    ends = range(start_ms + BLOCK_MS, start_ms + 96 * BLOCK_MS + 1, BLOCK_MS)
    blocks = tuple(
        DayBlock(end, coverage, Band(1.0, 1.0, 1.0), None, None)
        for end in ends
        if not any(a < end <= b for a, b in gaps)
    )
    return Day("p", day, start_ms, start_ms + 96 * BLOCK_MS, 96, blocks)


@pytest.mark.parametrize(
    ("asleep", "agent_down", "cause"),
    [(["02:00-04:00"], 8, "agent_down"), (["02:00-03:00"], 4, "not_read"), ([], 0, "not_read")],
)
def test_the_gateways_own_absence_is_told_apart(asleep: list[str], agent_down: int, cause: str):
    rows = [["2026-03-10", [], [], ""], ["2026-03-11", ["02:00-04:00"], asleep, ""]]
    office = office_of({"topics": ["dat-missing"], "point": {}}, forgetful=True)
    play_days({"rows": rows}, office)
    measured = office.steps[0].measured
    assert (measured["valid"], measured["expected"], measured["gaps"]) == (88, 96, "02:00-04:00")
    assert (measured["agent_down"], measured["cause"]) == (agent_down, cause)


def play_health(case: Mapping[str, Any], office: Office) -> Played:
    """Rows: minutes, and what the gateway shows of itself, as `Health` has it."""
    now_ms, told, minute = local_ms("2026-03-10 10:00"), [], 0
    for minutes, shown in case["rows"]:
        for _ in range(minutes):
            usual: dict[str, Any] = {"backlog": 0.1, "oldest_s": 60.0, "disk_free_mib": 4000.0, "unsynced_s": 0.0}
            usual |= {name: None if value == "unknown" else value for name, value in shown.items()}
            health = Health(**usual)
            told += [f"{minute}: {s}" for s in office.look(LoadView(now_ms + minute * MINUTE_MS, health=health))]
            minute += 1
    return Played(told, case["expect"], office)


def play_standings(case: Mapping[str, Any], office: Office) -> Played:
    """Rows: when, total and rates in kWh ("none": not read), how many ms apart, what is told."""
    told, expected = [], []
    for when, total, rates, apart_ms, expect in case["rows"]:
        at_ms = local_ms(when)
        values = {TOTAL: total * 1000.0} | {
            q: r * 1000.0 for q, r in zip(RATES, rates, strict=True) if not isinstance(r, str)
        }
        standing = Standing("p", "m1", at_ms, apart_ms, values, case.get("step_kwh", 0.01) * 1000)
        told.append(", ".join(office.look(LoadView(at_ms, standings=[standing]))))
        expected.append(expect)
    return Played(told, expected, office)


def play_rounds(case: Mapping[str, Any], office: Office) -> Played:
    """Rows of minutes: kW, A in each phase, "alike" where every round is the same to the last digit.

    `energy_kw`: by how much the energy register moves meanwhile, where it is read.
    """
    start_ms, minute, told, seed = local_ms(case["start"]), 0, [], Random(3)
    for minutes, kw, amperes, *alike in case["rows"]:
        for _ in range(minutes):
            end_ms = start_ms + minute * MINUTE_MS
            off = 0.0 if alike else seed.gauss(0, 0.01)
            now = {Quantity.ACTIVE_POWER: kw * 1000.0 * (1 + off), Quantity.CURRENT_L1: amperes * (1 + off)}
            if not case.get("no_voltage"):
                now[Quantity.VOLTAGE_L1] = 230.0 + 10 * off
            each = Round("p", "m1", Role.METER, end_ms - MINUTE_MS, end_ms, now, now)
            closed = []
            if "energy_kw" in case and end_ms % BLOCK_MS == 0:
                watts = case["energy_kw"] * 1000.0
                moved = Demand(Source.REGISTER, Band(watts - 100, watts, watts + 100), None, None, 1.0, 100.0)
                closed = [Interval("p", end_ms - BLOCK_MS, end_ms, True, moved, None, end_ms)]
            told += [f"{minute}: {step}" for step in office.look(LoadView(end_ms, closed=closed, rounds=[each]))]
            minute += 1
    return Played(told, case["expect"], office)


def test_the_registers_of_one_round_stand_together():
    quantities = frozenset({TOTAL, *RATES})
    point = LoadPoint("p", "m1", BLOCK_MS, MINUTE_MS, 15_000, ((0, 80.0),), ((0, 1e6),), quantities=quantities)
    standings = Standings([point])

    def reading(quantity: Quantity, value: float, at_ms: Ms) -> tuple[Reading, Ms]:
        return Reading("m1", quantity, value, 10.0, at_ms, None), at_ms

    standings.feed([reading(TOTAL, 100.0, 0), *(reading(q, 25.0, 300) for q in RATES[:3])])
    assert not standings.settle(), "one of its rates has not come"
    standings.feed([reading(TOTAL, 110.0, 15_000), *(reading(q, 26.0, 15_400) for q in RATES)])
    (standing,) = standings.settle()
    assert (standing.values[TOTAL], standing.spread_ms, standing.at_ms) == (110.0, 400, 15_400)
    assert not standings.settle()


PLAYERS: dict[str, Player] = {
    "met-main-sub": play_balance,
    "met-sum-rates": play_standings,
    "dat-implausible": play_rounds,
    "dat-missing": play_days,
    "dat-agent-health": play_health,
    "dat-unknown-meter": play_claims,
    "tar-archive-mismatch": play_claims,
    "dat-clock": play_claims,
    "met-ratio-mismatch": play_beside,
    "met-unmetered-current": play_beside,
    "met-stop": play_pace,
    "met-fly": play_pace,
    "met-energy-error": play_pace,
}


EXPLAINED = sorted(PLAYERS)
CLOCK = ClockState(ClockQuality.SYNCED, 0, 500)
ACCUSING = ["the" + "ft", "fra" + "ud", "by" + "pass", "ste" + "al", "crimin", "guilty", "offen", "illegal"]


@pytest.mark.parametrize("topic", EXPLAINED)
def test_what_a_story_tells_can_be_explained(topic: str):
    """The message of the first finding in a topic's scenarios, in words: with all that it measured, and no more."""
    for case in (c.values[1] for c in cases([topic])):
        office = office_of(case, forgetful=False)
        PLAYERS[topic](case, office)
        if office.steps:
            break
    step = office.steps[0]
    site = msgspec.convert(tomli.loads(FACTORY), Site)
    letter = finding_letter(
        step, site=site.site, point=office.archive.points.get(step.point), archive_version=office.archive.version,
        clock=CLOCK, boot_id="b", bt_ms=step.time_ms, k=80.0, action=action_of(topic),
    )  # fmt: skip
    data = msgspec.json.decode(msgspec.json.encode(letter.data))
    told = [{**data, "severity": str(step.severity), "time": "2026-03-10T04:00:00.000Z"}]
    text = "\n".join(explain(told))
    assert "?" not in text, "nothing that the message has is left out"
    assert "{" not in text
    assert action_of(topic)[1] in text
    assert [word for word in ACCUSING if word in text.lower()] == []
    assert "e+" not in text, "a number is written out"
    is_chinese(chinese := "\n".join(explain(told, "zh")))
    assert action_of(topic, "zh")[1] in chinese


@pytest.mark.parametrize(("topic", "case"), cases(PLAYERS))
def test_story(topic: str, case: dict[str, Any]):
    told_as_written(PLAYERS[topic], topic, case)


@pytest.mark.parametrize(("topic", "case"), cases(PLAYERS))
def test_story_with_a_restart_at_every_instant(topic: str, case: dict[str, Any]):
    told_alike_after_restarts(PLAYERS[topic], case)


# -- through the whole core ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k_step_wh", "told"), [(10.0, ["met-stop opened major", "met-stop cleared hold"]), (5e4, [])])
def test_a_register_that_stops_is_found_through_ledger_and_core_and_a_coarse_one_is_not_accused(
    k_step_wh: float, told: list[str]
):
    """150 kW all day by the samples; the register stands from the third to the fifth hour."""
    archive = archive_of({})
    energy, power = Quantity.ACTIVE_ENERGY_IMPORT, Quantity.ACTIVE_POWER
    start_ms = local_ms("2026-03-10 08:00")
    point = LoadPoint(
        "p", "m1", BLOCK_MS, MINUTE_MS, 30_000, archive.k_timeline("p"), ((0, archive.s_cap_va("p", start_ms) or 0.0),),
        quantities=frozenset({energy, power}),
    )  # fmt: skip
    core = core_with(archive, [point], published()[0], gateway="gw-1")
    steps, counted, blocks = [], 1e6, 0
    for i in range(8 * 120):
        t_ms = start_ms + i * 30_000
        if not 240 <= i < 600:
            counted += 150_000 / 80 / 120
        shown = counted // k_step_wh * k_step_wh
        readings = [Reading("m1", energy, shown, k_step_wh, t_ms, None), Reading("m1", power, 1875.0, 1.0, t_ms, None)]
        outcome = core.tick(Snapshot(t_ms, t_ms, CLOCK, [(r, t_ms) for r in readings]))
        steps += [f"{s.topic} {said(s)}" for s in outcome.steps]
        blocks += sum(i.block and i.count == 1 for i in outcome.closed)
    assert blocks > 28
    assert [s for s in steps if s.startswith("met-")] == told
