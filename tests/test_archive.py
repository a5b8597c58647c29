"""The archive: what was agreed and installed at any instant, and to which day and month an interval belongs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from math import sqrt
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
import tomli
from hypothesis import event, given
from hypothesis import strategies as st

from edge_agent.archive import ALWAYS_MS, Archive
from edge_agent.model import FactSource, FactState, Ms, PointStatus
from edge_agent.settings.instant import local_time, midnight_ms
from edge_agent.settings.site import Site, as_instant

SHANGHAI = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")
MINUTE_MS = 60_000

FACTORY = """
[site]
utility = "demo"
gateway = "gw-1"
[mqtt]
host = "127.0.0.1"
[[point]]
id = "p"
meter = "m1"
time_zone = "Asia/Shanghai"
u_n_v = 400
wiring = "3p4w"
"""

CAPACITY = """
[[point.capacity]]
from = 2024-01-01
kva = 250
basis = "capacity"
"""

CT_CHANGE = """
[[point.ct]]
from = 2026-03-01
ratio = "400/5"
[[point.ct]]
from = 2026-03-16
ratio = "600/5"
"""

TOU = """
[[point.tou]]
from = 2026-03-01
state = "verified"
verified_by = "t-17"
period = [ { rate = 4, from = "00:00", to = "08:00" }, { rate = 2, from = "08:00", to = "24:00", months = [3] },
           { rate = 1, from = "08:00", to = "24:00", months = [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12] } ]
"""


def archive(text: str) -> Archive:
    raw: dict[str, Any] = tomli.loads(text)
    return Archive.of(msgspec.convert(raw, Site, dec_hook=as_instant))


def at(text: str, zone: ZoneInfo = SHANGHAI) -> Ms:
    """UTC ms of a local wall clock."""
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * 1000


# --- timelines


def test_capacity_is_the_one_in_force():
    site = archive(FACTORY + CAPACITY + CAPACITY.replace("2024-01-01", "2026-03-16").replace("250", "400"))
    before = site.capacity("p", at("2026-03-15 23:45"), at("2026-03-16 00:00"))
    after = site.capacity("p", at("2026-03-16 00:00"), at("2026-03-16 00:15"))
    assert before is not None
    assert after is not None
    assert (before.contracted, before.running, before.unit) == (250_000, 250_000, "VA")
    assert (after.contracted, after.running, after.unit) == (400_000, 400_000, "VA")
    assert after.fact.from_ms == at("2026-03-16 00:00")


def test_an_interval_across_a_change_has_no_capacity():
    site = archive(FACTORY + CAPACITY + CAPACITY.replace("2024-01-01", "2026-03-16").replace("250", "400"))
    assert site.capacity("p", at("2026-03-15 23:50"), at("2026-03-16 00:05")) is None
    assert site.spans_change("p", at("2026-03-15 23:50"), at("2026-03-16 00:05"))


def test_before_the_first_entry_nothing_is_known():
    site = archive(FACTORY + CAPACITY + CT_CHANGE)
    assert site.capacity("p", at("2023-12-31 23:30"), at("2023-12-31 23:45")) is None
    assert site.ct_primary_a("p", at("2026-02-28 23:59")) is None
    assert site.s_cap_va("p", at("2026-02-28 23:59")) is None
    assert site.k_facts("p", at("2026-02-28 23:59")) == ()
    assert site.serial("p", at("2026-03-20 00:00")) is None


def test_a_point_about_which_nothing_is_written_knows_nothing():
    site = archive(FACTORY)
    now = at("2026-03-01 12:00")
    assert site.capacity("p", now, now + 1) is None
    assert site.k_timeline("p") == ()
    assert site.s_cap_va("p", now) is None
    assert not site.accepted("p", now)
    assert not site.spans_change("p", 0, now)
    assert site.work_order("p", 0, now) is None
    assert site.tariff_class("p", now) is None
    assert site.points["p"].transformer is None
    with pytest.raises(KeyError):
        site.capacity("another", now, now + 1)


def test_v05_ct_change():
    """620 and 360 secondary kWh either side of the exchange are 92 800 kWh, not 78 400 and not 117 600."""
    site = archive(FACTORY + CT_CHANGE)
    steps = site.k_timeline("p")
    assert steps == ((at("2026-03-01 00:00"), 80.0), (at("2026-03-16 00:00"), 120.0))
    registers = {"2026-03-01 00:00": 1000.0, "2026-03-16 00:00": 1620.0, "2026-04-01 00:00": 1980.0}
    marks = [(at(when), kwh) for when, kwh in registers.items()]
    energy_kwh = 0.0
    for (start_ms, first), (end_ms, second) in pairwise(marks):
        assert not site.spans_change("p", start_ms, end_ms)
        k = next(k for from_ms, k in reversed(steps) if from_ms <= start_ms)
        energy_kwh += (second - first) * k
    assert energy_kwh == 92_800.0
    assert site.spans_change("p", at("2026-03-01 00:00"), at("2026-04-01 00:00"))
    assert site.ct_primary_a("p", at("2026-03-15 23:59")) == 400
    assert site.ct_primary_a("p", at("2026-03-16 00:00")) == 600
    assert [f.value for f in site.k_facts("p", at("2026-03-16 00:00"))] == ["600/5"]


def test_k_is_known_once_both_ratios_are():
    vt = '[[point.vt]]\nfrom = 2026-03-10\nratio = "10000/100"\n'
    site = archive(FACTORY.replace("u_n_v = 400", "u_n_v = 10000") + CT_CHANGE.replace("400/5", "50/5") + vt)
    assert site.k_timeline("p") == ((at("2026-03-10 00:00"), 1000.0), (at("2026-03-16 00:00"), 12_000.0))
    assert [f.name for f in site.k_facts("p", at("2026-03-12 00:00"))] == ["ct", "vt"]
    assert site.s_cap_va("p", at("2026-03-12 00:00")) == pytest.approx(sqrt(3) * 10_000 * 50)
    assert site.spans_change("p", at("2026-03-09 23:50"), at("2026-03-10 00:05"))


def test_a_change_at_either_end_of_an_interval_is_no_change_in_it():
    site = archive(FACTORY + CT_CHANGE + '[[point.meter_serial]]\nfrom = 2026-03-16T10:00:00+08:00\nserial = "2"\n')
    change = at("2026-03-16 10:00")
    assert not site.spans_change("p", change - 15 * MINUTE_MS, change)
    assert not site.spans_change("p", change, change + 15 * MINUTE_MS)
    assert site.spans_change("p", change - 1, change + 1)
    assert site.changes("p") == (at("2026-03-01 00:00"), at("2026-03-16 00:00"), change)
    serial = site.serial("p", change)
    assert serial is not None
    assert (serial.name, serial.value) == ("meter_serial", "2")
    assert site.serial("p", change - 1) is None


def test_a_date_is_local_midnight_and_a_time_is_an_instant():
    site = archive(FACTORY + CT_CHANGE.replace("2026-03-16", "2026-03-15T16:00:00Z"))
    assert site.k_timeline("p")[1][0] == at("2026-03-16 00:00")


# --- capacity


def test_suspended_nothing_may_run():
    site = archive(FACTORY + CAPACITY + 'status = "suspended"\n')
    found = site.capacity("p", at("2026-03-01 00:00"), at("2026-03-01 00:15"))
    assert found is not None
    assert (found.contracted, found.running, found.status) == (250_000, 0, PointStatus.SUSPENDED)


def test_suspended_in_part():
    site = archive(FACTORY + CAPACITY + 'status = "suspended"\nrunning_kva = 100\n')
    found = site.capacity("p", at("2026-03-01 00:00"), at("2026-03-01 00:15"))
    assert found is not None
    assert (found.contracted, found.running) == (250_000, 100_000)


def test_reduced_and_then_normal_again():
    reduced = CAPACITY.replace("2024", "2025") + 'status = "reduced"\nrunning_kva = 160\n'
    site = archive(FACTORY + CAPACITY + reduced + CAPACITY.replace("2024", "2026"))
    running = [site.capacity("p", at(f"{year}-06-01 00:00"), at(f"{year}-06-01 00:15")) for year in (2024, 2025, 2026)]
    assert [(c.running, c.status) for c in running if c] == [
        (250_000, PointStatus.NORMAL),
        (160_000, PointStatus.REDUCED),
        (250_000, PointStatus.NORMAL),
    ]


def test_a_demand_contract_is_in_watts():
    kw = CAPACITY.replace("kva = 250", "kw = 800").replace('"capacity"', '"contracted-demand"')
    found = archive(FACTORY + kw).capacity("p", at("2026-03-01 00:00"), at("2026-03-01 00:15"))
    assert found is not None
    assert (found.contracted, found.running, found.unit, found.basis) == (800_000, 800_000, "W", "contracted-demand")


@pytest.mark.parametrize(
    ("written", "state", "source", "when", "who"),
    [
        ("", FactState.UNVERIFIED, FactSource.SYSTEM, "", ""),
        ('state = "conflict"\nsource = "meter"\n', FactState.CONFLICT, FactSource.METER, "", ""),
        (
            'state = "verified"\nsource = "technician"\nverified_at = 2026-01-05\nverified_by = "t-17"\n',
            FactState.VERIFIED,
            FactSource.TECHNICIAN,
            "2026-01-05",
            "t-17",
        ),
    ],
    ids=["nobody looked", "conflict", "verified"],
)
def test_a_fact_says_how_far_it_holds(written: str, state: FactState, source: FactSource, when: str, who: str):
    site = archive(FACTORY + CAPACITY + written + CT_CHANGE.strip() + "\n" + written)
    found = site.capacity("p", at("2026-03-20 00:00"), at("2026-03-20 00:15"))
    assert found is not None
    for fact in (found.fact, *site.k_facts("p", at("2026-03-20 00:00"))):
        assert (fact.state, fact.source, fact.verified_at, fact.verified_by) == (state, source, when, who)
    assert found.fact.value == 250_000


# --- what the metering can measure


def test_s_cap_of_the_worked_example():
    site = archive(FACTORY + CAPACITY + CT_CHANGE)
    assert site.s_cap_va("p", at("2026-03-02 00:00")) == pytest.approx(277_128, abs=1)  # 400 A at 400 V


def test_s_cap_of_a_direct_meter_is_its_maximum_current():
    site = archive(FACTORY + CAPACITY + "").points["p"]
    assert site.imax_a is None
    direct = archive(FACTORY + "imax_a = 100\n")
    assert direct.s_cap_va("p", 0) == pytest.approx(sqrt(3) * 400 * 100)
    assert direct.k_timeline("p") == ((ALWAYS_MS, 1.0),)
    assert direct.k_facts("p", at("2026-03-02 00:00")) == ()
    assert direct.ct_primary_a("p", at("2026-03-02 00:00")) is None


def test_s_cap_of_one_phase():
    single = FACTORY.replace('"3p4w"', '"1p2w"').replace("400", "220")
    assert archive(single + "imax_a = 60\n").s_cap_va("p", 0) == 13_200


def test_the_contract_never_serves_as_measuring_range():
    assert archive(FACTORY + CAPACITY).s_cap_va("p", at("2026-03-02 00:00")) is None


# --- days and months


def test_an_interval_that_ends_at_midnight_belongs_to_the_day_that_ends():
    site = archive(FACTORY)
    assert site.local_day("p", at("2026-03-15 00:00")) == date(2026, 3, 14)
    assert site.local_day("p", at("2026-03-15 00:00") + 1) == date(2026, 3, 15)
    assert site.local_day("p", at("2026-03-15 00:15")) == date(2026, 3, 15)


@pytest.mark.parametrize(
    ("billing_day", "end", "month", "month_end"),
    [
        (1, "2026-03-01 00:15", "2026-03", "2026-04-01 00:00"),
        (1, "2026-04-01 00:00", "2026-03", "2026-04-01 00:00"),
        (1, "2026-01-01 00:00", "2025-12", "2026-01-01 00:00"),
        (1, "2025-12-31 23:45", "2025-12", "2026-01-01 00:00"),
        (15, "2026-03-14 23:45", "2026-02", "2026-03-15 00:00"),
        (15, "2026-03-15 00:00", "2026-02", "2026-03-15 00:00"),
        (15, "2026-03-15 00:15", "2026-03", "2026-04-15 00:00"),
        (15, "2026-01-10 12:00", "2025-12", "2026-01-15 00:00"),
        (28, "2026-03-01 12:00", "2026-02", "2026-03-28 00:00"),
    ],
)
def test_billing_month(billing_day: int, end: str, month: str, month_end: str):
    site = archive(FACTORY + f"billing_day = {billing_day}\n")
    assert site.billing_month("p", at(end)) == month
    assert site.month_end_ms("p", at(end)) == at(month_end)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-03-30", 24), ("2026-10-25", 25)])
def test_days_when_the_clock_is_changed(day: str, hours: int):
    site = archive(FACTORY.replace("Asia/Shanghai", "Europe/Berlin"))
    start_ms = at(f"{day} 00:00", BERLIN)
    ends = [start_ms + n * 15 * MINUTE_MS for n in range(1, hours * 4 + 1)]
    assert {site.local_day("p", end) for end in ends} == {date.fromisoformat(day)}
    assert site.local_day("p", ends[-1] + 1) == date.fromisoformat(day) + timedelta(days=1)
    assert site.local_day("p", start_ms) == date.fromisoformat(day) - timedelta(days=1)


def test_a_month_in_which_the_clock_is_changed_is_an_hour_shorter():
    site = archive(FACTORY.replace("Asia/Shanghai", "Europe/Berlin"))
    end_ms = site.month_end_ms("p", at("2026-03-10 00:00", BERLIN))
    assert end_ms - at("2026-03-01 00:00", BERLIN) == (31 * 24 - 1) * 60 * MINUTE_MS


def test_a_midnight_that_does_not_exist_is_the_first_instant_of_its_day():
    beirut = ZoneInfo("Asia/Beirut")  # 2024-03-31: 24:00 is 01:00
    start = local_time(midnight_ms(date(2024, 3, 31), beirut), beirut)
    assert (start.day, start.hour) == (31, 1)
    assert local_time(midnight_ms(date(2024, 3, 31), beirut) - 1, beirut).day == 30


ZONES = ["Asia/Shanghai", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "Asia/Beirut"]


@given(
    ms=st.integers(
        int(datetime(1990, 1, 1, tzinfo=UTC).timestamp()), int(datetime(2060, 1, 1, tzinfo=UTC).timestamp())
    ),
    zone=st.sampled_from(ZONES),
    billing_day=st.integers(1, 28),
)
def test_every_instant_lies_in_the_month_that_it_is_said_to_lie_in(ms: int, zone: str, billing_day: int):
    end_ms = ms * 1000
    site = archive(FACTORY.replace("Asia/Shanghai", zone) + f"billing_day = {billing_day}\n")
    month_end_ms = site.month_end_ms("p", end_ms)
    year, month = map(int, site.billing_month("p", end_ms).split("-"))
    start_ms = midnight_ms(date(year, month, billing_day), ZoneInfo(zone))
    assert start_ms < end_ms <= month_end_ms
    assert site.billing_month("p", month_end_ms) == f"{year:04d}-{month:02d}"
    assert site.billing_month("p", month_end_ms + 1) != f"{year:04d}-{month:02d}"
    day = site.local_day("p", end_ms)
    assert midnight_ms(day, ZoneInfo(zone)) < end_ms <= midnight_ms(day + timedelta(days=1), ZoneInfo(zone))
    day_ms = midnight_ms(day + timedelta(days=1), ZoneInfo(zone)) - midnight_ms(day, ZoneInfo(zone))
    event("a day of 24 h" if day_ms == 86_400_000 else "a day of another length")


def test_holidays():
    calendar = '[[calendar]]\nid = "cn"\ndays = [2026-10-01, 2026-10-02]\n'
    site = archive(FACTORY + 'holiday_calendar = "cn"\n' + calendar)
    assert site.is_holiday("p", date(2026, 10, 1))
    assert not site.is_holiday("p", date(2026, 10, 3))
    assert not archive(FACTORY + calendar).is_holiday("p", date(2026, 10, 1))


# --- trial, work orders, identity


def test_a_point_is_on_trial_until_it_is_accepted():
    site = archive(FACTORY + '[point.accepted]\nat = 2026-01-05\nby = "t-17"\n')
    assert not site.accepted("p", at("2026-01-05 00:00") - 1)
    assert site.accepted("p", at("2026-01-05 00:00"))
    assert site.points["p"].accepted_by == "t-17"
    assert not archive(FACTORY).accepted("p", at("2026-01-05 00:00"))


WORK = """
[[point.work_order]]
id = "wo-1"
from = 2026-03-02T08:00:00+08:00
to = 2026-03-02T18:00:00+08:00
topics = ["met-cover"]
[[point.work_order]]
id = "wo-2"
from = 2026-03-05
to = 2026-03-06
"""


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        ("2026-03-02 07:45", "2026-03-02 08:00", None),
        ("2026-03-02 07:45", "2026-03-02 08:15", "wo-1"),
        ("2026-03-02 12:00", "2026-03-02 12:15", "wo-1"),
        ("2026-03-02 17:45", "2026-03-02 18:00", "wo-1"),
        ("2026-03-02 18:00", "2026-03-02 18:15", None),
        ("2026-03-04 23:45", "2026-03-05 00:00", None),
        ("2026-03-06 23:45", "2026-03-07 00:00", "wo-2"),  # the last day is part of it
        ("2026-03-07 00:00", "2026-03-07 00:15", None),
        ("2026-03-01 00:00", "2026-03-31 00:00", "wo-1"),
    ],
)
def test_work_orders(start: str, end: str, found: str | None):
    assert archive(FACTORY + WORK).work_order("p", at(start), at(end)) == found


def test_a_work_order_covers_its_topics_or_all():
    site = archive(FACTORY + WORK)
    first, second = (at("2026-03-02 12:00"), at("2026-03-02 12:15")), (at("2026-03-05 12:00"), at("2026-03-05 12:15"))
    assert site.work_order("p", *first, topic="met-cover") == "wo-1"
    assert site.work_order("p", *first, topic="met-magnetic") is None
    assert site.work_order("p", *second, topic="met-magnetic") == "wo-2"


def test_tariff_class_and_nameplate():
    entries = "".join(
        f'[[point.tariff_class]]\nfrom = {y}-01-01\nclass = "{c}"\n' for y, c in ((2024, "a"), (2026, "b"))
    )
    site = archive(FACTORY + entries + "[point.transformer]\nrated_kva = 250\nuk_percent = 4.0\n")
    found = [site.tariff_class("p", at(f"{year}-06-01 00:00")) for year in (2023, 2024, 2026)]
    assert [fact and fact.value for fact in found] == [None, "a", "b"]
    assert site.points["p"].tariff_class == "b"
    plate = site.points["p"].transformer
    assert plate is not None
    assert (plate.rated_kva, plate.uk_percent) == (250, 4.0)


def test_the_point_says_what_does_not_change():
    site = archive(
        FACTORY + 'ct_device = "j1"\nconsumer_no = "330"\ngeneration = true\n[point.demand]\nslide_min = 15\n'
    )
    point = site.points["p"]
    assert (point.id, point.meter, point.ct, point.consumer_no, point.supply_org) == ("p", "m1", "j1", "330", "")
    assert (point.tz, point.billing_day, point.u_n_v, point.wiring) == (SHANGHAI, 1, 400, "3p4w")
    assert (point.generation, point.period_min, point.slide_min, point.accepted_at_ms) == (True, 15, 15, None)


# --- the schedule of rates


def test_the_schedule_in_force_and_the_fact_that_says_so():
    site = archive(FACTORY + TOU + TOU.replace("2026-03-01", "2026-07-01").replace("08:00", "09:00"))
    assert site.schedule("p", at("2026-02-28 23:59")) is None
    first = site.schedule("p", at("2026-03-01 00:00"))
    later = site.schedule("p", at("2026-07-01 00:00"))
    assert first is not None
    assert later is not None
    schedule, fact = first
    assert (fact.name, fact.state, fact.from_ms) == ("tou", FactState.VERIFIED, at("2026-03-01 00:00"))
    assert str(fact.value).startswith("4 00:00-08:00, 2 08:00-24:00, ")
    assert schedule.rates(3, "workday", 0, 480) == {4}
    assert schedule.rates(3, "workday", 479, 481) == {2, 4}
    assert schedule.rates(4, "holiday", 480, 1440) == {1}
    assert later[0].rates(3, "workday", 480, 540) == {4}


def test_a_calendar_says_which_years_it_has():
    calendar = '[[calendar]]\nid = "cn"\ndays = [2026-10-01]\n'
    site = archive(FACTORY.replace("[[point]]", f'{calendar}[[point]]\nholiday_calendar = "cn"'))
    assert [site.holidays_known("p", date(year, 5, 1)) for year in (2025, 2026, 2027)] == [False, True, False]


# --- version


def test_the_version_follows_the_facts_and_nothing_else():
    text = FACTORY + CAPACITY + CT_CHANGE
    version = archive(text).version
    assert len(version) == 64
    same = [
        text + "# a comment\n",
        text.replace("127.0.0.1", "10.0.0.1"),
        text.replace('"m1"', '"m2"'),
        text + WORK,
        text + '[point.accepted]\nat = 2026-01-05\nby = "t-17"\n',
        text.replace("[[point]]", "[[point]]\nbilling_day = 1"),
    ]
    assert {archive(other).version for other in same} == {version}
    changed = [
        text.replace("250", "400"),
        text.replace("600/5", "800/5"),
        text.replace("2026-03-16", "2026-03-17"),
        text + 'state = "conflict"\n',
        text.replace("[[point]]", "[[point]]\nbilling_day = 2"),
        text + '[[point.tariff_class]]\nfrom = 2026-01-01\nclass = "b"\n',
        text + '[[calendar]]\nid = "cn"\ndays = [2026-10-01]\n',
        text + TOU,
        text + TOU.replace("08:00", "09:00"),
        text.replace('id = "p"', 'id = "q"'),
    ]
    versions = {archive(other).version for other in changed}
    assert len(versions) == len(changed)
    assert version not in versions


def test_the_order_of_points_does_not_matter():
    first = FACTORY[FACTORY.index("[[point]]") :]
    second = first.replace('"p"', '"q"')
    head = FACTORY[: FACTORY.index("[[point]]")]
    assert archive(head + first + second).version == archive(head + second + first).version
