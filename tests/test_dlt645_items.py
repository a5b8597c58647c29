"""DL/T 645 data items and profiles: octets to readings, and the two profiles against their frames."""

from __future__ import annotations

import asyncio
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drivers.dlt645 import Dlt645Driver, raw_of, requests
from drivers.dlt645.items import layout, outcomes
from drivers.dlt645.planning import single
from drivers.link import MemoryLink
from edge_agent.model import (
    CUMULATIVE,
    DeviceSpec,
    Frame,
    Gap,
    GapCause,
    Identity,
    Outcome,
    Profile,
    Quantity,
    Reading,
    Register,
)
from edge_agent.settings.mistake import SiteError
from edge_agent.settings.profile import load_profile
from tests.meters import read_profile
from tests.test_dlt645 import METER, di, framed
from tests.written import as_written

ROOT = Path(__file__).parent.parent
ITEMS = tomllib.loads((ROOT / "tests/vectors/dlt645/items.toml").read_text("utf-8"))["case"]
FRAMES = tomllib.loads((ROOT / "tests/vectors/dlt645/frames.toml").read_text("utf-8"))["frame"]
PROFILES = sorted((ROOT / "config/profiles").glob("dlt645-*.toml"))


def register(**written: Any) -> Register:
    return Register(Quantity(written.pop("quantity")), **written)


def meter(*registers: Register, unit: int = int(METER), most: int = 10) -> DeviceSpec:
    return DeviceSpec("m1", "line", unit, Profile("test", "dlt645", "test", "test", "secondary", most, registers))


def check(outcome: Outcome, case: dict[str, Any]) -> None:
    match outcome:
        case Reading():
            assert outcome.value == pytest.approx(case["value"], rel=1e-12, abs=0)
            assert outcome.step == pytest.approx(case["step"], rel=1e-12)
        case Identity():
            assert outcome.text == case["text"]
        case Gap():
            assert outcome.cause == case["gap"]
            assert case["register"]["address"].partition("/")[0] in outcome.detail


@pytest.mark.parametrize("case", ITEMS, ids=lambda c: c["name"])
def test_items(case):
    (outcome,) = outcomes(layout((register(**case["register"]),)), "m1", bytes.fromhex(case["hex"]), 7, None)
    check(outcome, case)
    assert outcome.bt_ms == 7


def test_items_cover_every_type_and_cause():
    assert {c["register"]["type"].split(":")[0].rstrip("0123456789.") for c in ITEMS} == {
        "bcd", "sbcd", "demand", "demand_time", "date", "time", "clock", "digits", "bits", "ascii"
    }  # fmt: skip
    assert {c["gap"] for c in ITEMS if "gap" in c} == {"not_available", "implausible"}


@pytest.mark.parametrize("case", [c for c in FRAMES if "gap" not in c], ids=lambda c: c["name"])
def test_frames_checked_by_hand_read_as_the_display_shows(case):
    asked = register(**case["register"])
    reply = bytes.fromhex("FEFEFEFE") + bytes.fromhex(case["answered"])
    link = MemoryLink(lambda _: reply)
    device = meter(asked, unit=int(case["address"]))
    (request,) = requests(device)
    (outcome,) = asyncio.run(Dlt645Driver(link, 1.0, lambda: 0).read(request))
    check(outcome, case)
    assert not isinstance(outcome, Gap)
    assert outcome.frame == Frame(bytes.fromhex("FEFEFEFE" + case["asked"]), bytes.fromhex(case["answered"]), 0)
    assert raw_of(asked, outcome.frame) == bytes((o - 0x33) & 0xFF for o in bytes.fromhex(case["answered"])[14:-2])


def test_every_number_that_a_voltage_can_show_is_the_decimal_on_the_display():
    items = layout((register(quantity="voltage_l1", address="di:02010100", type="bcd3.1", unit="V"),))
    wrong = []
    for shown in range(10_000):
        digits = f"{shown:04d}"
        (outcome,) = outcomes(items, "m1", bytes.fromhex(digits)[::-1], 0, None)
        if not isinstance(outcome, Reading) or outcome.value != float(f"{digits[:3]}.{digits[3]}"):
            wrong.append(shown)
    assert wrong == []


def test_of_all_two_octets_exactly_the_packed_decimals_are_numbers():
    items = layout((register(quantity="voltage_l1", address="di:02010100", type="bcd3.1", unit="V"),))
    found = [outcomes(items, "m1", raw.to_bytes(2, "little"), 0, None)[0] for raw in range(0x10000)]
    assert sum(isinstance(o, Reading) for o in found) == 10_000
    gaps = [o.cause for o in found if isinstance(o, Gap)]
    assert (gaps.count(GapCause.NOT_AVAILABLE), gaps.count(GapCause.IMPLAUSIBLE)) == (1, 0x10000 - 10_001)


BLOCKS = {
    "di:0001FF00/1": "di:00010000",
    "di:0001FF00/5": "di:00010400",
    "di:0101FF00/2": "di:01010100",
    "di:0201FF00/1": "di:02010100",
    "di:0202FF00/3": "di:02020300",
    "di:0203FF00/1": "di:02030000",
    "di:0204FF00/4": "di:02040300",
    "di:0205FF00/2": "di:02050100",
    "di:0206FF00/1": "di:02060000",
    "di:0207FF00/2": "di:02070200",
    "di:040005FF/7": "di:04000507",
    "di:03010000/3": None,
    "di:0402FF00/1": None,
    "di:000100FF/1": None,
    "di:00010000": None,
}


@pytest.mark.parametrize(("block", "alone"), BLOCKS.items())
def test_what_stands_for_an_item_of_a_block(block, alone):
    found = single(Register(Quantity.VOLTAGE_L1, block, "bcd3.1", "V"))
    assert (found and found.address) == alone


UNREADABLE = {
    "no identifier": ({"address": "input:0x0048"}, "is not like di:00010000"),
    "small letters": ({"address": "di:0201ff00/1"}, "is not like di:00010000"),
    "half an octet": ({"type": "bcd3.2"}, "is not whole octets"),
    "another driver's type": ({"type": "u16"}, "'u16' is"),
    "a text that is a number": ({"type": "digits:2"}, "is a text"),
    "a number that is a text": ({"quantity": "meter_serial", "unit": ""}, "is a number"),
    "another unit": ({"unit": "A"}, "'A' cannot become 'V'"),
    "an octet order": ({"order": "CDAB"}, "one octet order"),
    "a value that is none": ({"not_available": (0xFFFF,)}, "one octet order"),
}


@pytest.mark.parametrize(("written", "says"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_register_that_cannot_be_read_as_it_says_is_named(written, says):
    right = {"quantity": "voltage_l1", "address": "di:02010100", "type": "bcd3.1", "unit": "V"}
    assert requests(meter(register(**right)))
    with pytest.raises(ValueError, match=says):
        requests(meter(register(**{**right, **written})))


def test_items_of_one_block_have_one_length():
    two = (
        register(quantity="voltage_l1", address="di:0201FF00/1", type="bcd3.1", unit="V"),
        register(quantity="voltage_l2", address="di:0201FF00/2", type="bcd3.3", unit="V"),
    )
    with pytest.raises(ValueError, match="one length"):
        requests(meter(*two))
    with pytest.raises(ValueError, match="one item, or a block"):
        requests(meter(two[0], replace(two[1], address="di:0201FF00", type="bcd3.1")))


def test_the_raw_octets_of_an_item_of_a_block_in_two_frames():
    reply = framed(METER, 0xB1, di(0x0201FF00) + b"\x05\x22\x14") + framed(
        METER, 0x92, di(0x0201FF00) + b"\x22\x99\x21\x01"
    )
    second = register(quantity="voltage_l2", address="di:0201FF00/2", type="bcd3.1", unit="V")
    fourth = replace(second, address="di:0201FF00/4")
    assert raw_of(second, Frame(b"", reply, 0)) == b"\x14\x22"
    assert raw_of(fourth, Frame(b"", reply, 0)) == b""


# --- profiles


def test_the_profiles_are_there():
    assert [p.stem for p in PROFILES] == ["dlt645-2007-1p", "dlt645-2007-3p"]


@pytest.mark.parametrize("path", PROFILES, ids=lambda p: p.stem)
def test_a_profile_reads_its_frames(path):
    """Each question of the profile is exactly one recorded question, and each register exactly one expected outcome."""
    recorded = tomllib.loads((ROOT / "tests/vectors/profiles" / path.name).read_text("utf-8"))
    exchanges = {bytes.fromhex(r["request"]): bytes.fromhex(r["reply"]) for r in recorded["reply"]}
    profile = read_profile(path)
    device = DeviceSpec("m1", "line", recorded["unit"], profile)
    link = MemoryLink(exchanges.pop)

    async def read_device() -> list[Outcome]:
        driver = Dlt645Driver(link, 1.0, lambda: 0)
        return [o for request in requests(device) for o in await driver.read(request)]

    found = asyncio.run(read_device())
    assert exchanges == {}
    expected = {q: value for r in recorded["reply"] for q, value in r["readings"].items()}
    got = as_written(found, rel=1e-12)
    assert len(found) == len(got) == len(profile.registers)
    assert got == expected


@pytest.mark.parametrize("path", PROFILES, ids=lambda p: p.stem)
def test_the_settings_read_a_profile_as_it_is_written(path):
    assert load_profile(path) == read_profile(path)


@pytest.mark.parametrize("path", PROFILES, ids=lambda p: p.stem)
def test_every_register_that_only_grows_says_where_it_rolls_over(path):
    profile = read_profile(path)
    energies = [r for r in profile.registers if r.quantity in CUMULATIVE]
    assert len(energies) > 5
    assert {(r.type, r.digits) for r in energies} == {("bcd6.2", "6.2")}


@pytest.mark.parametrize("path", PROFILES, ids=lambda p: p.stem)
def test_a_profile_leaves_the_line_time_for_others(path):
    """Octets and pauses of all questions at 2400 8E1, against the time between them."""
    profile = read_profile(path)
    share = 0.0
    for request in requests(DeviceSpec("m1", "line", 1, profile)):
        octets = sum(1 for _ in request.registers) * 4 + 20 + 20
        share += (octets * 11 / 2400 + 0.1) / request.every_s
    assert 0.02 < share < 0.20


def test_a_meter_without_blocks_is_asked_item_by_item():
    phases = [
        register(quantity=f"voltage_l{n}", address=f"di:0201FF00/{n}", type="bcd3.1", unit="V") for n in (1, 2, 3)
    ]
    assert [[r.address for r in q.registers] for q in requests(meter(*phases))] == [
        ["di:0201FF00/1", "di:0201FF00/2", "di:0201FF00/3"]
    ]
    assert [[r.address for r in q.registers] for q in requests(meter(*phases, most=1))] == [
        ["di:02010100"], ["di:02010200"], ["di:02010300"]
    ]  # fmt: skip


WRITTEN = """profile = "dlt645-test"
driver = "dlt645"
source = "test"
side = "secondary"
max_registers = 10

[[register]]
quantity = "active_energy_import"
address = "di:00010000"
type = "bcd6.2"
unit = "kWh"
digits = "6.2"
"""

MISTAKES = {
    "a Modbus address": ("di:00010000", "input:0x0048", 'is no DL/T 645 data identifier; such as "di:00010000"'),
    "seven digits": ("di:00010000", "di:0001000", "is no DL/T 645 data identifier"),
    "item 0": ("di:00010000", "di:0001FF00/0", "is no DL/T 645 data identifier"),
    "a Modbus type": ('"bcd6.2"', '"u32"', "bcd6.2 or sbcd2.4"),
    "half an octet": ('"bcd6.2"', '"bcd6.1"', "is not a whole number of octets"),
    "a text": ('"bcd6.2"', '"ascii:6"', "one is a number, one a text"),
    "other digits": ('digits = "6.2"', 'digits = "5.3"', "is not what the type bcd6.2 shows"),
    "another unit": ('"kWh"', '"kW"', '"kWh"'),
}


@pytest.mark.parametrize(("right", "wrong", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_profile_is_said_in_words(tmp_path, right, wrong, says):
    path = tmp_path / "dlt645-test.toml"
    path.write_text(WRITTEN, encoding="utf-8")
    assert load_profile(path).registers[0].digits == "6.2"
    path.write_text(WRITTEN.replace(right, wrong), encoding="utf-8")
    with pytest.raises(SiteError) as caught:
        load_profile(path)
    assert any(says in m.sentence() for m in caught.value.mistakes), [m.sentence() for m in caught.value.mistakes]


def test_a_type_of_this_driver_is_a_mistake_in_a_modbus_profile(tmp_path):
    path = tmp_path / "dlt645-test.toml"
    text = (
        WRITTEN.replace('"dlt645"', '"modbus"').replace("di:00010000", "input:0x0048").replace('digits = "6.2"\n', "")
    )
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SiteError) as caught:
        load_profile(path)
    (mistake,) = caught.value.mistakes
    assert "u16, i16, u32" in mistake.sentence()
