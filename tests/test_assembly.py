"""From settings to a core: what the ledger is told of a point, which topics run, and what a register can resolve."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from edge_agent.archive import Archive
from edge_agent.assembly import core_of, grid_offset_ms, load_point, releases_of, resolution, topics_of
from edge_agent.audit.release import ReleaseError
from edge_agent.model import Quantity, Register
from edge_agent.settings import ConfigFiles, config_files, device_specs, load_site

SITE = load_site(config_files().shipped / "examples/factory.toml")
ARCHIVE = Archive.of(SITE)
(METER,) = device_specs(SITE)


def test_the_factory_as_the_ledger_sees_it():
    load = load_point(ARCHIVE, ARCHIVE.points["factory"], METER)
    assert (load.period_ms, load.slide_ms, load.device) == (900_000, 60_000, "m1")
    assert [k for _, k in load.k] == [80.0]
    since_ms = load.k[0][0]
    assert dict(load.s_cap_va)[since_ms] == pytest.approx(math.sqrt(3) * 400 * 400), "what the CTs carry"
    assert Quantity.ACTIVE_ENERGY_IMPORT in load.quantities


def test_a_meter_that_shows_primary_values_has_a_k_of_one():
    device = replace(METER, profile=replace(METER.profile, side="primary"))
    assert load_point(ARCHIVE, ARCHIVE.points["factory"], device).k == ((0, 1.0),)


@pytest.mark.parametrize(
    ("zone", "minutes", "offset_min"),
    [("Asia/Shanghai", 15, 0), ("Asia/Kathmandu", 15, 0), ("Asia/Kathmandu", 30, 15), ("Asia/Kolkata", 60, 30)],
)
def test_demand_periods_start_on_the_hour_of_the_point(zone, minutes, offset_min):
    point = Archive.of(
        msgspec.structs.replace(SITE, point=(msgspec.structs.replace(SITE.point[0], time_zone=zone),))
    ).points["factory"]
    assert grid_offset_ms(point, minutes * 60_000) == offset_min * 60_000


def register(type_: str, **more: object) -> Register:
    return Register(Quantity.ACTIVE_ENERGY_IMPORT, "input:0x0048", type_, "kWh", **more)  # type: ignore[arg-type]


def test_what_a_register_can_resolve():
    assert resolution(register("u32", scale=0.01), 5e6) == pytest.approx(10.0)
    assert resolution(register("u32", scale=0.001, step=0.1), 5e6) == pytest.approx(100.0), "the display is coarser"
    assert resolution(register("u32", scale=-0.01), 5e6) == pytest.approx(10.0)
    assert resolution(register("bcd6.2"), 5e6) == pytest.approx(10.0), "0.01 kWh"
    assert resolution(register("bcd32"), 5e6) == pytest.approx(1000.0)
    shown_kwh = 123_456.789  # a float of 32 bits: its neighbours are 1/128 kWh away
    (at,) = struct.unpack(">f", struct.pack(">f", shown_kwh))
    (next_,) = struct.unpack(">f", struct.pack(">I", struct.unpack(">I", struct.pack(">f", shown_kwh))[0] + 1))
    assert resolution(register("f32"), at * 1000) >= (next_ - at) * 1000
    assert resolution(register("f32"), at * 1000) <= 2 * (next_ - at) * 1000
    assert resolution(register("f32", step=0.1), at * 1000) == pytest.approx(100.0)
    assert resolution(register("f64"), 1e6) < 1e-6


def test_every_published_release_of_a_set_has_its_topic():
    releases = releases_of(config_files(), "cn-sg-meter")
    assert releases
    assert {t.id for t in topics_of(releases)} == set(releases)
    assert all(len(r.digest) == 64 for r in releases.values())


def folder(tmp_path: Path, **files: str) -> ConfigFiles:
    (tmp_path / "releases").mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / f"releases/{name}.toml").write_text(text)
    return ConfigFiles(tmp_path, tmp_path / "nothing")


def test_a_release_that_cannot_be_run_is_named(tmp_path):
    whole = (config_files().shipped / "releases/dat-comm.toml").read_text()
    with pytest.raises(ReleaseError, match="has no published release"):
        releases_of(folder(tmp_path / "1", draft=whole.replace('"published"', '"draft"')), "cn-sg-meter")
    with pytest.raises(ReleaseError, match=r"broken\.toml"):
        releases_of(folder(tmp_path / "2", broken="topic = "), "cn-sg-meter")
    with pytest.raises(ReleaseError, match="unknown key 'colour'"):
        releases_of(folder(tmp_path / "3", odd=f'colour = "red"\n{whole}'), "cn-sg-meter")
    with pytest.raises(ReleaseError, match="no audit topic of that name"):
        topics_of(releases_of(folder(tmp_path / "4", x=whole.replace('"dat-comm"', '"dat-comet"')), "cn-sg-meter"))


def test_a_core_watches_points_that_have_a_meter():
    core = core_of(ARCHIVE, [METER], config_files(), gateway="gw-1", release_set="cn-sg-meter")
    assert [p.id for p in core.ledger.points] == ["factory"]
    bare = core_of(ARCHIVE, [], config_files(), gateway="gw-1", release_set="cn-sg-meter")
    assert bare.ledger.points == ()
