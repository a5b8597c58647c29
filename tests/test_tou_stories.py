"""Stories of a meter that counts by its own schedule of rates, beside the archive's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
import tomli

from edge_agent.contract.finding import finding_letter
from edge_agent.explain import action_of, explain
from edge_agent.load.standings import RATES, TOTAL
from edge_agent.load.views import Claim, LoadView, Role, Standing
from edge_agent.model import ClockQuality, ClockState, Ms, Quantity
from edge_agent.settings.site import Site
from edge_agent.tariff.schedule import RatePeriod, Schedule, minutes
from tests.in_chinese import is_chinese
from tests.on_paper import FACTORY, MINUTE_MS, local_ms
from tests.stories import Office, Played, Player, cases, office_of, told_alike_after_restarts, told_as_written
from tests.test_metering_stories import ACCUSING, CLOCK

HOUR_MS = 60 * MINUTE_MS
TABLE = Schedule(
    tuple(
        RatePeriod(rate, minutes(start), minutes(end))
        for rate, start, end in (
            (4, "00:00", "08:00"), (2, "08:00", "11:00"), (3, "11:00", "17:00"), (1, "17:00", "19:00"),
            (2, "19:00", "22:00"), (4, "22:00", "24:00"),
        )
    )
)  # fmt: skip
"""What the simulated meter counts by; the scenarios' archive has the same, written as a person writes it."""


def play_tou(case: Mapping[str, Any], office: Office) -> Played:
    """Rows: hours, and how the meter is meanwhile, each as far as it differs from one that is right.

    `late_min`: it switches so much later than the table says. `split`: every rate gets a quarter. `kw`: its load on its
    own side. `read`: false: nothing is read, or only these rates. `ahead_s`: of its clock; "silent": it is not asked.
    `falls`: its registers begin anew.
    """
    zone = ZoneInfo(case["point"].get("time_zone", "Asia/Shanghai"))
    now_ms, told = local_ms(case["start"], zone), []
    counted = dict.fromkeys(RATES, 1e6)
    every = case.get("every_min", 15)
    clock = ClockState(ClockQuality(case.get("clock", "synced")), 0, 500)
    for hours, how in case["rows"]:
        if how.get("falls"):
            counted = dict.fromkeys(RATES, 0.0)
        for _ in range(round(hours * 60)):
            now_ms += MINUTE_MS
            for quantity, share in shares(now_ms, zone, how):
                counted[quantity] += share * how.get("kw", 1.25) * 1000 / 60
            minute = now_ms // MINUTE_MS
            claims = [clock_of(now_ms, how)] if minute % 60 == 7 and how.get("ahead_s") != "silent" else []
            standings = [shown(now_ms, counted, how, case)] if minute % every == 0 and how.get("read", True) else []
            if claims or standings:
                now = office.look(LoadView(now_ms, claims=claims, clock=clock, standings=standings))
                told += [f"{at(now_ms)}: {step}" for step in now]
    return Played(told, case["expect"], office)


def at(ms: Ms) -> str:
    """`"03-10 11:15"`, local."""
    return datetime.fromtimestamp((ms + 8 * HOUR_MS) / 1000, UTC).strftime("%m-%d %H:%M")


def shares(now_ms: Ms, zone: ZoneInfo, how: Mapping[str, Any]) -> Iterator[tuple[Quantity, float]]:
    """Into which registers the minute that ends now goes."""
    if how.get("split"):
        yield from ((q, 0.25) for q in RATES)
        return
    ahead_s = how.get("ahead_s", 0)
    meter_ms = now_ms - MINUTE_MS - how.get("late_min", 0) * MINUTE_MS
    meter_ms += 0 if isinstance(ahead_s, str) else ahead_s * 1000
    wall = datetime.fromtimestamp(meter_ms / 1000, zone)
    minute = wall.hour * 60 + wall.minute
    (rate,) = TABLE.rates(wall.month, "workday", minute, minute + 1)
    yield RATES[rate - 1], 1.0


def clock_of(now_ms: Ms, how: Mapping[str, Any]) -> Claim:
    ahead_ms = round(how.get("ahead_s", 0) * 1000)
    return Claim("p", "m1", Role.METER, Quantity.METER_CLOCK, f"{now_ms + ahead_ms}", now_ms, again=False,
                 ahead_ms=ahead_ms)  # fmt: skip


def shown(now_ms: Ms, counted: Mapping[Quantity, float], how: Mapping[str, Any], case: Mapping[str, Any]) -> Standing:
    step = case.get("step_kwh", 0.01) * 1000
    read = how.get("read", True)
    rates = RATES if read is True else tuple(RATES[n - 1] for n in read)
    values = {q: counted[q] // step * step for q in rates} | {TOTAL: sum(counted.values()) // step * step}
    return Standing("p", "m1", now_ms, 400, values, step)


PLAYERS: dict[str, Player] = {"tar-tou-schedule": play_tou}


@pytest.mark.parametrize(("topic", "case"), cases(PLAYERS))
def test_story(topic: str, case: dict[str, Any]):
    told_as_written(PLAYERS[topic], topic, case)


@pytest.mark.parametrize(("topic", "case"), cases(PLAYERS))
def test_story_with_a_restart_at_every_instant(topic: str, case: dict[str, Any]):
    told_alike_after_restarts(PLAYERS[topic], case)


@pytest.mark.parametrize("name", ["it switches an hour late every day", "energy goes into every rate at once"])
def test_what_is_told_can_be_explained_in_both_languages_and_asks_nothing_of_the_customer(name: str):
    case = next(c.values[1] for c in cases(PLAYERS) if c.values[1]["name"].startswith(name))
    office = office_of(case, forgetful=False)
    play_tou(case, office)
    step = office.steps[0]
    site = msgspec.convert(tomli.loads(FACTORY), Site)
    letter = finding_letter(
        step, site=site.site, point=office.archive.points["p"], archive_version=office.archive.version, clock=CLOCK,
        boot_id="b", bt_ms=step.time_ms, k=80.0, action=action_of(step.topic),
    )  # fmt: skip
    data = msgspec.json.decode(msgspec.json.encode(letter.data))
    told = [{**data, "severity": str(step.severity), "time": "2026-03-10T04:00:00.000Z"}]
    text = "\n".join(explain(told))
    assert "?" not in text, "nothing that the message has is left out"
    assert "{" not in text
    measured = step.measured
    for said in (measured["table"], measured["registers_before"], measured["registers_after"], measured["local_start"]):
        assert said in text
    assert f"in rate {measured['counted']}, where the archive's schedule has rate {measured['expected']}" in text
    assert f"at least {measured['wrong_kwh']['low']} kWh" in text
    assert "the archive department" in text
    assert "not of the customer's use" in text
    assert [word for word in ACCUSING if word in text.lower()] == []
    is_chinese("\n".join(explain(told, "zh")))
