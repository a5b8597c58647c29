"""运营动态: what a point's picture says, and that it is the same in the message and in `status`."""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.app.operations import picture_of
from edge_agent.archive import Archive
from edge_agent.assembly import core_of
from edge_agent.load.views import Band, Demand, Interval, Source
from edge_agent.settings import config_files, device_specs, load_site

SITE = load_site(config_files().shipped / "examples/factory.toml")
PERIOD = 900_000
NOON = 1_772_000_100_000 // 900_000 * 900_000


@pytest.fixture
def core() -> Any:
    archive = Archive.of(SITE)
    return core_of(archive, device_specs(SITE), config_files(), gateway="gw-1", release_set="cn-sg-meter")


ARCHIVE = Archive.of(SITE)


def block(end_ms: int, kw: float, kva: float | None, coverage: float = 1.0, spans: str = "") -> Interval:
    apparent = None if kva is None else Band(990.0 * kva, 1000.0 * kva, 1010.0 * kva)
    demand = Demand(Source.REGISTER, Band(990.0 * kw, 1000.0 * kw, 1010.0 * kw), None, apparent, coverage, 0.0)
    return Interval("factory", end_ms - PERIOD, end_ms, True, demand, None, end_ms, spans=spans)


def test_demand_load_rate_and_power_factor_are_of_the_last_block(core):
    core.interval["factory"] = block(NOON, 160, 188.24)
    picture = picture_of("factory", core, ARCHIVE, NOON)
    assert picture.load_rate == pytest.approx(0.75296)
    assert picture.power_factor == pytest.approx(0.85, abs=1e-4)
    assert picture.active_w is not None
    assert picture.active_w.value == 160_000
    assert picture.end_ms == NOON
    assert not picture.trial


def test_what_is_not_measured_is_not_said(core):
    assert picture_of("factory", core, ARCHIVE, NOON).load_rate is None
    core.interval["factory"] = block(NOON, 160, None)
    picture = picture_of("factory", core, ARCHIVE, NOON)
    assert picture.load_rate is None, "kVA is never inferred from kW"
    assert picture.power_factor is None
    core.interval["factory"] = block(NOON, 160, 188.24, spans="clock_step")
    assert picture_of("factory", core, ARCHIVE, NOON).active_w is None
    assert picture_of("factory", core, ARCHIVE, None).trial, "without true time nobody knows of an acceptance"


def test_completeness_is_of_the_day_so_far(core):
    start = ARCHIVE.day_span("factory", NOON).start_ms
    assert picture_of("factory", core, ARCHIVE, NOON).completeness is None
    core.days.feed([block(start + n * PERIOD, 100, 110, coverage=1.0) for n in (1, 2, 4)])
    assert picture_of("factory", core, ARCHIVE, NOON).completeness == pytest.approx(0.75), "one of four is missing"
    core.days.feed([block(start + 5 * PERIOD, 100, 110, coverage=0.5)])
    assert picture_of("factory", core, ARCHIVE, NOON).completeness == pytest.approx(0.7)
    core.days.feed([block(start + 86_400_000 + PERIOD, 100, 110)])
    assert picture_of("factory", core, ARCHIVE, NOON).completeness == 1.0, "another day"
