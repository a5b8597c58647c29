"""The device profiles: every one shipped reads its recorded frames as its source says."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path

import pytest

from drivers.link import MemoryLink
from drivers.modbus import ModbusDriver, requests
from edge_agent.model import DeviceSpec, Outcome
from edge_agent.settings.profile import load_profile
from tests.meters import read_profile
from tests.written import as_written

ROOT = Path(__file__).parent.parent
PROFILES = sorted((ROOT / "config" / "profiles").glob("*.toml"))
MODBUS = [p for p in PROFILES if read_profile(p).driver == "modbus"]
VECTORS = ROOT / "tests" / "vectors" / "profiles"


def test_profiles_are_shipped():
    assert {"eastron-sdm630", "acrel-dtsd1352", "seneca-t201dch"} <= {p.stem for p in PROFILES}


def test_every_profile_has_its_vectors_and_no_vector_is_left_over():
    assert {p.name for p in VECTORS.glob("*.toml")} == {p.name for p in PROFILES}, f"write the missing one in {VECTORS}"


@pytest.mark.parametrize("path", MODBUS, ids=lambda p: p.stem)
def test_a_profile_reads_its_recorded_frames(path):
    """Each question of the profile is exactly one recorded question, and each register exactly one expected outcome."""
    profile = read_profile(path)
    recorded = tomllib.loads((VECTORS / path.name).read_text("utf-8"))
    exchanges = {bytes.fromhex(r["request"])[2:]: r for r in recorded["reply"]}
    device = DeviceSpec("m1", "lan", recorded["unit"], profile)

    def far_end(raw: bytes) -> bytes:
        return raw[:2] + bytes.fromhex(exchanges.pop(raw[2:])["reply"])[2:]

    async def poll() -> list[Outcome]:
        driver = ModbusDriver(MemoryLink(far_end), 1.0)
        return [o for request in requests(device) for o in await driver.read(request)]

    found = asyncio.run(poll())
    assert exchanges == {}
    expected = {q: value for r in recorded["reply"] for q, value in r["readings"].items()}
    got = as_written(found, rel=1e-9)
    assert len(found) == len(got) == len(profile.registers)
    assert got == expected


@pytest.mark.parametrize("path", PROFILES, ids=lambda p: p.stem)
def test_a_profile_cites_what_was_read_and_says_its_side(path):
    profile = read_profile(path)
    assert profile.name == path.stem
    assert profile.side in {"primary", "secondary"}
    assert "page" in profile.source or " at " in profile.source


@pytest.mark.parametrize("path", PROFILES, ids=lambda p: p.stem)
def test_the_settings_read_a_profile_as_it_is_written(path):
    assert load_profile(path) == read_profile(path)


def test_the_meter_of_the_worked_example_has_what_the_audit_needs_on_the_secondary_side():
    profile = read_profile(ROOT / "config" / "profiles" / "acrel-dtsd1352.toml")
    assert profile.side == "secondary"
    assert {
        "active_energy_import", "reactive_energy_import", "active_power", "reactive_power", "apparent_power",
        "voltage_l1", "voltage_l2", "voltage_l3", "current_l1", "current_l2", "current_l3", "power_factor", "frequency",
    } <= {r.quantity for r in profile.registers}  # fmt: skip
