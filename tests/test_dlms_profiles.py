"""The profiles of DLMS meters: every one shipped reads the conversation that is written down for it."""

from __future__ import annotations

import asyncio
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from drivers.dlms.driver import DlmsDriver
from drivers.dlms.planning import requests
from drivers.dlms.values import item_of
from drivers.link import MemoryLink
from edge_agent.model import CUMULATIVE, UNIT, DeviceSpec, DlmsSpec, Outcome, Profile, Quantity
from tests.dlms_served import place
from tests.meters import read_profile
from tests.written import as_written

ROOT = Path(__file__).parent.parent
PROFILES = [p for p in sorted((ROOT / "config/profiles").glob("*.toml")) if read_profile(p).driver == "dlms"]
IDS = [p.stem for p in PROFILES]


def written(path: Path) -> dict[str, Any]:
    return tomllib.loads((ROOT / "tests/vectors/profiles" / path.name).read_text("utf-8"))


def read_device(profile: Profile, far_end: Any) -> list[Outcome]:
    device = DeviceSpec("m1", "lan", 0, profile, dlms=DlmsSpec())

    async def poll() -> list[Outcome]:
        driver = DlmsDriver(MemoryLink(far_end), 1.0, lambda: 0)
        return [o for request in requests(device) for o in await driver.read(request)]

    return asyncio.run(poll())


def test_the_profiles_are_there():
    assert IDS == [
        "dlms-dsmr-3p", "dlms-generic-3p", "dlms-idis-3p", "dlms-is15959-1p", "dlms-is15959-3p",
        "iskraemeco-am550", "kamstrup-omnipower", "landisgyr-e450-ch", "landisgyr-e450",
    ]  # fmt: skip


@pytest.mark.parametrize("path", PROFILES, ids=IDS)
def test_a_profile_reads_its_conversation(path):
    """Each question of the profile is exactly one written question, in its order, and each register one outcome."""
    recorded, profile = written(path), read_profile(path)
    replies = iter(recorded["reply"])

    def far_end(asked: bytes) -> bytes:
        reply = next(replies)
        assert asked.hex().upper() == reply["request"]
        return bytes.fromhex(reply["reply"])

    found = read_device(profile, far_end)
    assert next(replies, None) is None, "a question that is written down was not asked"
    got = as_written(found, rel=1e-12)
    assert len(found) == len(got) == len(profile.registers)
    assert got == recorded["readings"]


@pytest.mark.parametrize("path", PROFILES, ids=IDS)
def test_a_conversation_shows_more_values_than_gaps(path):
    """A vector in which the meter refuses everything proves nothing."""
    shown = Counter(str(value).startswith("gap") for value in written(path)["readings"].values())
    assert shown[False] > shown[True]


@pytest.mark.parametrize("path", PROFILES, ids=IDS)
def test_no_object_stands_for_two_quantities(path):
    places = Counter(item_of(r).attribute for r in read_profile(path).registers)
    assert [p for p, times in places.items() if times > 1] == []


GROUPS = {  # value groups C.D.E of IEC 62056-6-1
    "active_energy_import": "1.8.0", "active_energy_export": "2.8.0", "reactive_energy_import": "3.8.0",
    "reactive_energy_export": "4.8.0", "reactive_energy_q1": "5.8.0", "reactive_energy_q2": "6.8.0",
    "reactive_energy_q3": "7.8.0", "reactive_energy_q4": "8.8.0", "apparent_energy_import": "9.8.0",
    **{f"active_energy_{way}_t{n}": f"{c}.8.{n}" for way, c in (("import", 1), ("export", 2)) for n in (1, 2, 3, 4)},
    "active_power": "16.7.0", "active_power_l1": "36.7.0", "active_power_l2": "56.7.0", "active_power_l3": "76.7.0",
    "apparent_power": "9.7.0", "voltage_l1": "32.7.0", "voltage_l2": "52.7.0", "voltage_l3": "72.7.0",
    "current_l1": "31.7.0", "current_l2": "51.7.0", "current_l3": "71.7.0", "current_n": "91.7.0",
    "power_factor": "13.7.0", "power_factor_l1": "33.7.0", "power_factor_l2": "53.7.0", "power_factor_l3": "73.7.0",
    "frequency": "14.7.0", "running_demand": "1.4.0", "maximum_demand": "1.6.0",
}  # fmt: skip
SINGLE_PHASE = {"voltage_l1": "12.7.0", "current_l1": "11.7.0"}


@pytest.mark.parametrize("path", PROFILES, ids=IDS)
def test_each_number_is_the_object_that_the_standard_names_so(path):
    """Whatever the channel, and but for a meter with one phase, whose names have no phase."""
    groups = GROUPS | (SINGLE_PHASE if path.stem.endswith("-1p") else {})
    numbers = [r for r in read_profile(path).registers if UNIT[r.quantity] not in {"", "count"}]
    assert len(numbers) >= 8
    for register in numbers:
        name = item_of(register).attribute.instance
        assert name[0] == 1
        assert ".".join(map(str, name[2:5])) == groups[register.quantity], register.address


@pytest.mark.parametrize("path", PROFILES, ids=IDS)
def test_a_meter_is_asked_for_what_an_audit_rests_on(path):
    profile = read_profile(path)
    quantities = {r.quantity for r in profile.registers}
    assert {Quantity.ACTIVE_ENERGY_IMPORT, Quantity.METER_CLOCK, Quantity.METER_SERIAL} <= quantities
    assert quantities & CUMULATIVE
    for record in filter(None, (profile.load_profile, profile.event_log)):
        assert place(record, 7)[:2] == b"\0\7"
        assert record.split(":")[1].startswith("99.")
