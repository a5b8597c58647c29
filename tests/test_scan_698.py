"""Scan on lines with DL/T 698.45 meters: each device named for what it is, with the package or without."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.dlt698 import survey as survey_698
from drivers.dlt698.frame import WILDCARD, encode
from drivers.gate import GateRefused
from drivers.gate import dlt698 as gate
from drivers.link import Framing, MemoryLink
from edge_agent.model import LinkSpec
from edge_agent.sighting import Seen, Sighting
from edge_agent.survey import Probed, Wanted, probe_device
from edge_agent.survey.fragment import fragment
from edge_agent.survey.place import Setting
from edge_agent.words import spoken
from simulator.line.virtual import run_virtual
from tests.figures import report as figure
from tests.house.tree import ROOT
from tests.on_698 import METER, framed
from tests.survey_line import scenario_line

from tests.test_scan import DLT_METER, HEAD, METER as MODBUS_METER, scanned, seen  # isort: skip

OBJECT_METER = """
[[meter]]
id = "%s"
line = "a"
protocol = "dlt698"
address = "%s"
load = { kind = "constant", p_kw = 8 }
"""

DLMS_METER = """
[[meter]]
id = "hdlc"
line = "a"
protocol = "dlms"
load = { kind = "constant", p_kw = 8 }
dlms = { physical = 17 }
"""

MIXED = (
    HEAD
    + 'parity = "E"\n'
    + MODBUS_METER % ("modbus", 3)
    + DLT_METER % ("dlt645", "123456789012")
    + OBJECT_METER % ("dlt698", "201605190907")
    + DLMS_METER
)

RECORDED = {
    "0": "68 17 00 43 45 AA AA AA AA AA AA 00 5B 4F 05 01 00 40 01 02 00 00 ED 03 16",
    "1": "68 17 00 43 45 AA AA AA AA AA AA 00 5B 4F 05 01 01 40 01 02 00 00 C6 07 16",
    "25": "68 17 00 43 45 AA AA AA AA AA AA 00 5B 4F 05 01 25 40 01 02 00 00 0A 92 16",
}
"""The question for an address as public firmware and testers ask it, by its number."""

ANSWERED = "68 21 00 C3 05 33 09 20 39 00 00 00 4A 55 85 01 25 40 01 02 00 01 09 06 00 00 39 20 09 33 00 00 B2 D8 16"
"""What a meter said to the last of them, from the same sources."""


async def freely(unclear: bool) -> None:
    """Leave to speak, on a line with nobody else."""


def glanced(link: MemoryLink) -> list[Sighting]:
    async def story() -> list[Sighting]:
        return [s async for s in survey_698.Seeker(link).glance((), freely)]

    return run_virtual(story())


@pytest.mark.parametrize("number", RECORDED)
def test_whoever_is_there_is_asked_as_recorded(number: str):
    recorded = bytes.fromhex(RECORDED[number])
    apdu = bytearray(survey_698.QUESTION)
    apdu[2] = int(number, 16)
    assert encode(WILDCARD, bytes(apdu)) == recorded
    gate(recorded)


def test_a_recorded_answer_names_its_meter():
    link = MemoryLink(lambda asked: b"\xfe" * 4 + bytes.fromhex(ANSWERED), framing=Framing(9600, "E"))
    (sighting,) = glanced(link)
    assert (sighting.driver, sighting.address, sighting.seen) == ("dlt698", "000039200933", Seen.DEVICE)
    assert sighting.frame is not None
    assert sighting.frame.reply == bytes.fromhex(ANSWERED)


@pytest.mark.parametrize(
    "apdu",
    [
        bytes.fromhex("EE 01 02 00 00"),  # an error
        bytes.fromhex("90 00 05 85 01 01 00 00"),  # under the security module
        bytes.fromhex("85 01 01 40010200 00 06 00 00"),  # no such object
    ],
)
def test_a_refusal_names_its_meter_too(apdu: bytes):
    (sighting,) = glanced(MemoryLink(lambda asked: framed(METER, apdu), framing=Framing(9600, "E")))
    assert (sighting.address, sighting.seen) == (METER, Seen.DEVICE)


def test_an_echo_and_another_masters_question_are_no_meter():
    for said in (lambda asked: asked, lambda asked: framed(METER, survey_698.QUESTION, control=0x43)):
        found = glanced(MemoryLink(said, framing=Framing(9600, "E")))
        assert [s.seen for s in found] in ([], [Seen.GARBLED])


@pytest.mark.parametrize(
    ("address", "kind", "apdu"),
    [
        (WILDCARD, 0x45, "05 01 01 00100200 00"),  # another object
        (WILDCARD, 0x45, "05 02 01 01 40010200 00"),  # in a list
        (WILDCARD, 0x45, "05 05 01 0001 00"),  # the next block
        (WILDCARD, 0x45, "06 01 01 40010200 09 06 000000000001 00"),  # SET
        (WILDCARD, 0x05, "05 01 01 40010200 00"),  # not said to be a wildcard
        (METER, 0x45, "05 01 01 40010200 00"),  # a wildcard that is none
        ("12AAAAAAAAAA", 0x45, "05 01 01 40010200 00"),  # in the lower digits
        (WILDCARD, 0xC5, "05 01 01 40010200 00"),  # everybody, by broadcast
        (WILDCARD, 0x55, "05 01 01 40010200 00"),  # another logical address
    ],
)
def test_the_gate_lets_nothing_else_go_to_whoever_is_there(address: str, kind: int, apdu: str):
    gate(framed("AAAAAAAA1234", survey_698.QUESTION, control=0x43, kind=0x45))
    with pytest.raises(GateRefused):
        gate(framed(address, bytes.fromhex(apdu), control=0x43, kind=kind))


def test_on_a_mixed_line_each_device_is_what_it_is(tmp_path: Path):
    """Beside the HDLC meter, whom nobody asks here: it answers none of these questions, and is no other's device."""
    found, line = scanned(tmp_path, MIXED, Wanted(units=range(1, 33)))
    named = {f.sighting.address: f.sighting.driver for f in found.found}
    assert named == {"3": "modbus", "123456789012": "dlt645", "201605190907": "dlt698"}
    assert all(f.sighting.seen is Seen.DEVICE for f in found.found)
    assert found.setting == Setting(9600, "E")
    assert found.complete
    assert any("698.45" in advice for advice in found.advice())
    asked = {s.data.lstrip(b"\xfe")[4] for s in line.tap.by("technician") if s.data.lstrip(b"\xfe")[3:4] == b"\x43"}
    assert asked == {0x45}


def test_meters_that_answer_at_once_are_told_apart(tmp_path: Path):
    addresses = ["100000000012", "100000000013", "200000000012"]
    meters = "".join(OBJECT_METER % (f"m{n}", a) + "jitter_ms = 40\n" for n, a in enumerate(addresses))
    found, line = scanned(tmp_path, HEAD + 'parity = "E"\n' + meters, Wanted(units=range(1, 3)))
    assert seen(found) == addresses
    assert {f.sighting.driver for f in found.devices} == {"dlt698"}
    assert found.complete
    assert seen(found, Seen.GARBLED) == []
    assert line.played.writes_seen == 0
    figure("DL/T 698.45 addresses told apart", meters=len(addresses), seconds=round(found.spent_s))


def test_probe_names_a_meter_that_is_not_probed(tmp_path: Path):
    """Twelve digits are a DL/T 645 address as well: nobody answers there in that protocol."""
    path = tmp_path / "scenario.toml"
    path.write_text(HEAD + 'parity = "E"\n' + DLT_METER % ("m", "123456789012") + OBJECT_METER % ("o", "201605190907"))

    async def story() -> Probed | None:
        line = scenario_line(path, parity="E")
        line.stamp.fresh = True
        return await probe_device(line.place(), "dlt645", "201605190907", [], line.told)

    probed = run_virtual(story())
    assert probed is not None
    assert (probed.sighting.driver, probed.sighting.address) == ("dlt698", "201605190907")
    assert "dlt698-3p is its profile" in spoken(probed.verdict)
    tables = fragment(LinkSpec("bus-1", "serial", path="/dev/ttyUSB0"), None, [probed], known=True)
    assert 'address = "201605190907"\nprofile = "dlt698-3p"' in tables


WITHOUT = """
import json, pathlib, sys
sys.modules["dlt698"] = None
sys.path.insert(0, ".")
from tests.test_scan import scanned
from edge_agent.survey import Wanted
found, _ = scanned(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).read_text(), Wanted(units=range(1, 33)))
print(json.dumps([[f.sighting.driver, f.sighting.address, f.sighting.seen, f.sighting.detail] for f in found.found]))
"""


def test_without_the_package_the_meter_is_named_all_the_same(tmp_path: Path):
    """In a process of its own, where the package cannot be imported."""
    (tmp_path / "mixed.toml").write_text(MIXED)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path), str(tmp_path / "mixed.toml")],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    named = {address: (driver, seen, detail) for driver, address, seen, detail in json.loads(done.stdout)}
    assert set(named) == {"3", "123456789012", "201605190907"}
    driver, what, detail = named["201605190907"]
    assert (driver, what) == ("dlt698", "device")
    assert "install the agent with its extra dlt698" in detail
