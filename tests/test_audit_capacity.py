"""Stories of capacity that is used: while suspended, for hours, the other way round; and of what it would cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from math import isnan
from typing import Any

import msgspec
import pytest

from edge_agent.archive import Archive
from edge_agent.audit import estimates
from edge_agent.audit.study import Studies
from edge_agent.audit.topic import Step
from edge_agent.audit.topics.cap_thermal import HotSpots
from edge_agent.contract.finding import finding_letter
from edge_agent.contract.messages import FindingData
from edge_agent.explain import action_of, explain, reckoned
from edge_agent.load.views import Band, Day, DayBlock, Demand, Interval, LoadView, Mean, Role, Round, Source
from edge_agent.load.views import Block as ViewBlock
from edge_agent.model import ClockQuality, ClockState, Quantity
from edge_agent.settings.site import Ids
from tests.in_chinese import is_chinese
from tests.on_paper import MINUTE_MS, archive_of, local_ms, published
from tests.stories import POLL_MS, Office, Played, Player, cases, office_of, told_alike_after_restarts, told_as_written
from tests.test_audit import PF, demand_rows, interval_of, play_demand

HOUR_MS = 3_600_000
P = Quantity.ACTIVE_POWER


def play_given_out(case: Mapping[str, Any], office: Office) -> Played:
    """The same demands, given out instead of drawn."""
    told, expected = [], []
    for number, (end_ms, value, expect) in enumerate(demand_rows(case, "kva")):
        now = office.look(LoadView(end_ms + 200, [turned(interval_of(end_ms, value, "kva"))]))
        later = {"p": end_ms - POLL_MS if number in case.get("unconfirmed", ()) else end_ms}
        now += office.confirm(later, end_ms + 2 * POLL_MS)
        now += office.confirm(later, end_ms + 2 * POLL_MS + 120_000)
        told.append(", ".join(now))
        expected.append(expect)
    return Played(told, expected, office)


def turned(interval: Interval) -> Interval:
    demand = interval.register
    if demand is None:
        return interval
    nothing = Band(0.0, 0.0, 0.0)
    given = msgspec.structs.replace(
        demand, active=nothing, apparent=nothing, export=demand.active, export_apparent=demand.apparent
    )
    return msgspec.structs.replace(interval, register=given)


def play_days(case: Mapping[str, Any], office: Office) -> Played:
    """Days of one shape after the other: the peak from eight to eighteen, half of it at night."""
    told: list[str] = []
    day: date = case["first"]
    for count, peak, *what in case["days"]:
        if what == ["new archive"]:
            office.archive = archive_of({"id": "p", "transformer": {"rated_kva": 315}})
        if what == ["new charge"]:
            office.archive = archive_of(
                {**case["point"], "id": "p", "tariff_class": [{**case["point"]["tariff_class"][0], "class": "two"}]},
                tariff=case["tariff"],
            )
        if what == ["new class"]:
            put_right = {"from": date(2024, 1, 1), "class": "office", "state": "verified"}
            office.archive = archive_of({"id": "p", "tariff_class": [put_right]})
        for _ in range(count):
            view = day_view(day, peak * 1000, what[0] if what else "")
            now = office.look(view)
            if what == ["by hand"]:
                now += office.by_hand(view.now_ms)
            told += [f"{day}: {step}" for step in now]
            day += timedelta(days=1)
    return Played(told, case["expect"], office)


def play_shapes(case: Mapping[str, Any], office: Office) -> Played:
    """Days against two shapes that stand for the utility's own."""
    office.releases = dict(office.releases)
    release = office.releases["tar-class-shape"]
    shapes = {"office": shape(8, 18, 0.7), "home": shape(18, 23, 1.1)} if case["shapes"] else {}
    office.releases["tar-class-shape"] = replace(release, params={**release.params, "shapes": shapes})
    office.studies, office.life = Studies(office.topics, office.releases), office._new()
    return play_days(case, office)


def shape(from_h: int, to_h: int, off: float) -> list[float]:
    """A working day that is high between two hours, then a day off."""
    work = [1.0 if from_h * 4 <= n < to_h * 4 else 0.3 for n in range(96)]
    return [*work, *(off * w for w in work)]


def day_view(day: date, peak_va: float, what: str) -> LoadView:
    start_ms = local_ms(f"{day} 00:00")
    usual = peak_va * (1 + ((day.toordinal() * 7) % 5 - 2) / 100) * (0.7 if day.weekday() >= 5 else 1.0)
    blocks = []
    for n in range(48 if what == "half" else 96):
        va = usual if 32 <= n < 72 else usual / 2
        band = Band(va * 0.995, va, va * 1.005)
        apparent = None if what == "active only" else band
        blocks.append(DayBlock(start_ms + (n + 1) * 900_000, 1.0, band.over(1 / PF), None, apparent))
    over_ms = start_ms + 86_400_000
    whole = Day("p", day, start_ms, over_ms, 96, tuple(blocks))
    closed = []
    if what == "gives out":
        closed = [turned(interval_of(over_ms - 12 * 3_600_000, 50.0, "kva"))]
    seen = []
    if what.startswith("ct "):
        amps = 400 * float(what[3:])
        means = {Quantity.CURRENT_L1: Mean(amps, amps, amps, 1.0)}
        seen = [ViewBlock("p", Role.METER, over_ms - 900_000, over_ms, means)]
    return LoadView(over_ms + 3_600_000, closed, days=[whole], blocks=seen)


def play_stretches(case: Mapping[str, Any], office: Office) -> Played:
    """Quarters of an hour, each told by its hour since the beginning."""
    told: list[str] = []
    start_ms = end_ms = local_ms(case["start"])
    for count, value in case["stretches"]:
        for _ in range(count):
            now = office.look(LoadView(end_ms + 200, [interval_of(end_ms, value, "kva")]))
            now += office.confirm({"p": end_ms}, end_ms + POLL_MS)
            told += [f"{(end_ms - start_ms) // 3_600_000} h: {step}" for step in now]
            end_ms += 900_000
    return Played(told, case["expect"], office)


def play_minutes(case: Mapping[str, Any], office: Office) -> Played:
    """A round a minute, kW, on an interval of 15 min that has just begun; each step told by its minute."""
    told: list[str] = []
    start_ms = local_ms(case["start"])
    office.look(LoadView(start_ms, [interval_of(start_ms, 100.0, "kw")]))
    powers = [kw * 1000 for count, kw in case["minutes"] for _ in range(count)]
    for minute, (before, now) in enumerate(pairwise([powers[0], *powers]), start=1):
        at_ms = start_ms + minute * MINUTE_MS
        whole = not (isnan(before) or isnan(now))
        rounds = [Round("p", "m1", Role.METER, at_ms - MINUTE_MS, at_ms, {P: before}, {P: now})] if whole else []
        told += [f"{minute}: {step}" for step in office.look(LoadView(at_ms, rounds=rounds))]
    return Played(told, case["expect"], office)


def play_energies(case: Mapping[str, Any], office: Office) -> Played:
    """Days of equal hours: how many, kWh drawn, kvarh, kWh given out; NaN: nothing is known of the day."""
    told: list[str] = []
    day: date = case["first"]
    for count, *energies in case["days"]:
        for _ in range(count):
            told += [f"{day}: {step}" for step in office.look(energy_view(day, energies, case.get("step_kwh", 0.0)))]
            day += timedelta(days=1)
    return Played(told, case["expect"], office)


def energy_view(day: date, energies: Sequence[float], step_kwh: float) -> LoadView:
    start_ms = local_ms(f"{day} 00:00")
    drawn, reactive, given = ([*energies, 0.0, 0.0])[:3]
    closed = []
    for n in range(24):
        end_ms = start_ms + (n + 1) * HOUR_MS
        demand = None
        if not isnan(drawn):
            means = [x / 24 for x in (drawn, reactive, given)]
            p, q, out = (Band(max(0.0, x - step_kwh), x, x + step_kwh).over(1e-3) for x in means)
            demand = Demand(Source.REGISTER, p, q, p, 1.0, step_kwh * 1000, out)
        spans = "" if demand else "no_reading"
        closed.append(Interval("p", end_ms - HOUR_MS, end_ms, True, demand, None, end_ms, 1, spans))
    over_ms = start_ms + 24 * HOUR_MS
    return LoadView(over_ms + HOUR_MS, closed, days=[Day("p", day, start_ms, over_ms, 24, ())])


PLAYERS: dict[str, Player] = {
    "cap-suspended-use": play_demand,
    "cap-overload-sustained": play_demand,
    "cap-reverse-overload": play_given_out,
    "cap-expansion-suspect": play_days,
    "cap-thermal": play_stretches,
    "tar-capacity-rule": play_days,
    "tar-class-shape": play_shapes,
    "tar-pf": play_energies,
    "tar-export-undeclared": play_energies,
    "tar-step-tier": play_energies,
    "cap-demand-forecast": play_minutes,
}


@pytest.mark.parametrize(("topic", "case"), cases(PLAYERS))
def test_story(topic: str, case: dict[str, Any]):
    told_as_written(PLAYERS[topic], topic, case)


@pytest.mark.parametrize(("topic", "case"), cases(PLAYERS))
def test_story_with_a_restart_at_every_instant(topic: str, case: dict[str, Any]):
    told_alike_after_restarts(PLAYERS[topic], case)


def first_told(topic: str) -> tuple[list[Step], Archive]:
    """The steps of the first story of a topic in which something is told."""
    for parameters in cases([topic]):
        case = parameters.values[1]
        office = office_of(case, forgetful=False)
        PLAYERS[topic](case, office)
        if office.steps:
            return [s for s in office.steps if s.finding == office.steps[0].finding], office.archive
    raise AssertionError(f"nothing is ever told of {topic}")


def message_of(step: Step, archive: Archive) -> dict[str, Any]:
    letter = finding_letter(
        step, site=Ids(utility="demo", gateway="gw-1"), point=archive.points["p"], archive_version=archive.version,
        clock=ClockState(ClockQuality.SYNCED, 0, 500), boot_id="b", bt_ms=0, action=action_of(step.topic),
        capacity=archive.capacity("p", step.time_ms - 1, step.time_ms), k=80.0,
        reckoned=reckoned(step.measured.get("estimate")),
    )  # fmt: skip
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(letter.data))
    msgspec.convert(plain, FindingData)
    return {**plain, "severity": step.severity.value, "time": "2026-02-25T06:15:00.000Z"}


@pytest.mark.parametrize("topic", sorted(PLAYERS))
def test_what_is_told_reads_as_sentences(topic: str):
    steps, archive = first_told(topic)
    told = [message_of(step, archive) for step in steps]
    text = "\n".join(explain(told))
    assert "?" not in text, text
    assert "{" not in text
    assert "nan" not in text
    assert action_of(topic)[1] in text
    for word in FORBIDDEN:
        assert word not in text.lower()
    is_chinese(chinese := "\n".join(explain(told, "zh")))
    assert action_of(topic, "zh")[1] in chinese


FORBIDDEN = ["the" + "ft", "fra" + "ud", "by" + "pass", "ste" + "al", "crimin", "guilty", "offen", "illegal"]


def test_an_estimate_is_told_with_its_arithmetic_and_is_no_bill():
    case = next(c.values[1] for c in cases(["cap-suspended-use"]) if "two-part" in c.values[1]["name"])
    office = office_of(case, forgetful=False)
    play_demand(case, office)
    text = "\n".join(explain([message_of(s, office.archive) for s in office.steps]))
    assert "Estimate, not a bill, under the rule cn/cn-suspended@1:" in text
    assert "To be made up: 250 kVA x 30 CNY x 1 / 30 days = 250.00 CNY." in text
    assert "Together at most 750.00 CNY (estimate, not a bill)." in text
    is_chinese(chinese := "\n".join(explain([message_of(s, office.archive) for s in office.steps], "zh")))
    assert "应补电费：250 kVA × 30 CNY × 1 / 30 天 = 250.00 CNY。" in chinese
    assert "合计不超过 750.00 CNY（仅为估算，不是账单）。" in chinese


def test_V08_more_capacity_than_agreed():
    """+315 kVA for 47 days at 25 yuan: 12,337.50 to be made up, at most 49,350.00 together; single-part 15,750.00."""
    price = [{"of": "capacity", "amount": 25}]
    rules = ["cn-capacity", "cn-expansion"]
    archive = archive_of(
        {"id": "p", "tariff_class": [{"from": date(2024, 1, 1), "class": "two", "state": "verified"}]},
        tariff=[{"class": "two", "rules": rules, "price": price}, {"class": "one", "rules": ["cn-expansion"]}],
    )
    at_ms = local_ms("2026-03-10 12:00")
    capacity = archive.capacity("p", at_ms - 1, at_ms)
    assert capacity is not None
    two = estimates.outside(archive.terms("p", at_ms), capacity, "expansion", 315e3, 47)
    assert two is not None
    assert (two["amount"], two["at_most"], two["currency"]) == ("49350.00", True, "CNY")
    assert "= 12337.50 CNY." in reckoned(two)[0]
    one = archive_of(
        {"id": "p", "tariff_class": [{"from": date(2024, 1, 1), "class": "one", "state": "verified"}]},
        tariff=[{"class": "one", "rules": ["cn-expansion"]}],
    )
    flat = estimates.outside(one.terms("p", at_ms), capacity, "expansion", 315e3, 47)
    assert flat is not None
    assert flat["amount"] == "15750.00"
    assert estimates.outside(None, capacity, "expansion", 315e3, 47) is None


def test_a_person_who_has_looked_lets_the_baseline_learn_again():
    case = next(c.values[1] for c in cases(["cap-expansion-suspect"]) if "told once" in c.values[1]["name"])
    office = office_of({**case, "days": [[60, 215], [14, 262]]}, forgetful=False)
    play_days({**case, "days": [[60, 215], [14, 262]]}, office)
    office.by_hand(local_ms("2026-03-20 12:00"))
    office.studies.answered("cap-expansion-suspect", "p", agreed=True)
    told = play_days({**case, "first": date(2026, 3, 20), "days": [[60, 262], [8, 310]]}, office).told
    assert told == ["2026-05-25: opened major"], "the new level is the baseline; a second step is told again"


@pytest.mark.parametrize(
    ("load", "oil", "hot", "ageing"),
    [(0.5, 45.10, 52.68, None), (1.0, 75.00, 98.00, 1.0), (1.0353, 77.62, 101.93, 1.57), (1.3, 99.10, 134.10, 64.7)],
)
def test_V14_steady_temperatures_by_the_topic_itself(load: float, oil: float, hot: float, ageing: float | None):
    """20 degrees outside, 55/23/R5: where the bounds meet after four days of the same load. The release is asked to
    tell of everything above 0 degrees, since a verdict says what was measured only where it accuses."""
    release = published()[0]["cap-thermal"]
    study = HotSpots(replace(release, params={**release.params, "ambient_c": [20.0] * 12, "rated_c": 0.0}))
    archive = archive_of({"id": "p", "transformer": {"rated_kva": 250}})
    end_ms = local_ms("2026-07-06 00:15")
    for _ in range(4 * 96):
        (verdict,) = study.feed(LoadView(end_ms, [interval_of(end_ms, 250 * load, "kva")]), archive)
        end_ms += 900_000
    measured = verdict.measured
    assert [measured["oil_c"][b] for b in ("low", "high")] == pytest.approx([oil] * 2, abs=0.1)
    assert [measured["hot_spot_c"][b] for b in ("low", "high")] == pytest.approx([hot] * 2, abs=0.1)
    if ageing is not None:
        assert measured["ageing_24h"]["low"] == pytest.approx(ageing, rel=0.01)
