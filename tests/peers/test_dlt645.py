"""Our DL/T 645 driver reads the server of `dlt645`, its client reads our simulated meter, and its faults are the known.

The package's faults stand here as tests of their own: each says what it does, and fails when it does so no more. It
wants addresses with the lowest octet in front, so it is told "129078563412" for the meter 123456789012.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from drivers.dlt645 import Dlt645Driver, open_driver, requests
from drivers.dlt645.frame import encode
from drivers.link import open_link
from edge_agent.model import UNIT, DeviceSpec, Gap, GapCause, Identity, LinkSpec, Outcome, Quantity, Reading
from simulator.device import Nameplate, SimMeter
from simulator.line.dlt645 import Dlt645Station
from simulator.line.dlt645_items import Items
from simulator.line.dlt645_tables import PROFILE
from simulator.line.plan import LinePlan, StationPlan
from simulator.line.pty import PtyLine
from simulator.line.station import LineClock, Turnaround
from simulator.line.uart import Format
from simulator.shape import constant
from tests.figures import report
from tests.lines import T0
from tests.meters import read_profile
from tests.peers.line import PtyBus
from tests.peers.programs import ROOT, Peer, dlt645
from tests.peers.test_mbpoll import StandingClock
from tests.rtu_line import LoopClock

Serving = Callable[..., Peer]
METER, AS_THEY_WANT_IT = "123456789012", "129078563412"
FRAMES = tomllib.loads((ROOT / "tests/vectors/dlt645/frames.toml").read_text("utf-8"))
LIBRARY = read_profile(ROOT / "config/profiles/dlt645-2007-3p.toml")
BAUD = 9600

HOLDS: dict[str, tuple[Any, str, float | str]] = {
    "00000000": (-12.5, "active_energy_combined", -12_500.0),
    "00010000": (123_456.78, "active_energy_import", 123_456_780.0),
    "00010100": (10_000.01, "active_energy_import_t1", 10_000_010.0),
    "00010200": (40_000.02, "active_energy_import_t2", 40_000_020.0),
    "00010300": (50_000.03, "active_energy_import_t3", 50_000_030.0),
    "00010400": (23_456.72, "active_energy_import_t4", 23_456_720.0),
    "00020000": (99.99, "active_energy_export", 99_990.0),
    "00030000": (45_678.9, "reactive_energy_import", 45_678_900.0),
    "00040000": (12.34, "reactive_energy_export", 12_340.0),
    "00050000": (0.01, "reactive_energy_q1", 10.0),
    "00060000": (0.02, "reactive_energy_q2", 20.0),
    "00070000": (0.03, "reactive_energy_q3", 30.0),
    "00080000": (700_000.04, "reactive_energy_q4", 700_000_040.0),
    "02010100": (220.5, "voltage_l1", 220.5),
    "02010200": (221.4, "voltage_l2", 221.4),
    "02010300": (219.9, "voltage_l3", 219.9),
    "02020100": (5.123, "current_l1", 5.123),
    "02020200": (-4.001, "current_l2", -4.001),
    "02020300": (0.238, "current_l3", 0.238),
    "02030000": (1.2345, "active_power", 1234.5),
    "02030100": (-0.5432, "active_power_l1", -543.2),
    "02030200": (0.7777, "active_power_l2", 777.7),
    "02030300": (1.0, "active_power_l3", 1000.0),
    "02040000": (-79.9999, "reactive_power", -79_999.9),
    "02040100": (0.1, "reactive_power_l1", 100.0),
    "02040200": (0.02, "reactive_power_l2", 20.0),
    "02040300": (0.003, "reactive_power_l3", 3.0),
    "02050000": (3.4567, "apparent_power", 3456.7),
    "02050100": (1.0001, "apparent_power_l1", 1000.1),
    "02050200": (1.1, "apparent_power_l2", 1100.0),
    "02050300": (1.3566, "apparent_power_l3", 1356.6),
    "02060000": (0.987, "power_factor", 0.987),
    "02060100": (-0.5, "power_factor_l1", -0.5),
    "02060200": (0.75, "power_factor_l2", 0.75),
    "02060300": (0.001, "power_factor_l3", 0.001),
    "02800001": (0.456, "current_n", 0.456),
    "02800002": (49.98, "frequency", 49.98),
    "02800004": (2.2222, "running_demand", 2222.2),
    "03110000": (["000123"], "events_power_off", 123.0),
    "03300000": (["000004"], "events_programming", 4.0),
    "03300100": (["000001"], "events_meter_reset", 1.0),
    "03300200": (["000012"], "events_demand_reset", 12.0),
    "03300300": (["000003"], "events_event_reset", 3.0),
    "03300400": (["000056"], "events_clock_set", 56.0),
    "03300D00": (["000002"], "events_cover", 2.0),
    "03300E00": (["000007"], "events_terminal_cover", 7.0),
    "04000101": ("26112402", "meter_date", "2026-11-24"),
    "04000102": ("184530", "meter_time", "18:45:30"),
    "04000103": ("15", "demand_period", 15.0),
    "04000104": ("01", "demand_slide", 1.0),
    "04000402": ("000000123456", "meter_serial", "000000123456"),
    "04000403": ("31323334353637383930".rjust(64, "0"), "asset_number", "1234567890"),
    "04000404": ("000032323056", "rated_voltage", "220V"),
    "04000405": ("000000333041", "rated_current", "30A"),
    "04000406": ("000000363041", "maximum_current", "60A"),
    "04000501": ("0012", "meter_status_1", "0012"),
    "04000507": ("8000", "meter_status_7", "8000"),
    "04000602": ("05", "reactive_combination_1", "05"),
}
"""Identifier: what the server is told in its own units, which quantity that is, and the value in the quantity's unit.

The package takes no power factor of 1.
"""

DEMANDS = {"01010000": [12.3456, "2026-11-24T18:45"], "01020000": [0.5, "2024-02-29T00:15"]}
OF_DEMANDS: dict[str, float | str] = {
    "maximum_demand": 12_345.6,
    "maximum_demand_time": "2026-11-24T18:45",
    "maximum_demand_export": 500.0,
    "maximum_demand_export_time": "2024-02-29T00:15",
}
LOSSES = {"03010000": [["000015", "000012"], ["000025", "000024"], ["000034", "000030"]]}
"""Count and minutes of each phase's voltage losses."""


def meter() -> DeviceSpec:
    return DeviceSpec("m1", "line", 0, LIBRARY, address=METER)


TOLD = json.dumps({di: told for di, (told, _, _) in HOLDS.items()} | DEMANDS | LOSSES)
LOG = json.dumps({"00010000": 2.26, "02010100": 224.8, "02020100": 0.238})
"""What the meter of the log showed, at the address 558890213594."""

NOT_THERE = {
    "meter_clock", "ct_ratio", "vt_ratio", "events_magnetic",
}  # fmt: skip
"""What the package has no item for: extensions, and the clock in one piece."""


@pytest.fixture(scope="module")
def theirs() -> Iterator[Peer]:
    """The package's server over TCP, holding all of the above."""
    with Peer(dlt645("serve", "tcp", AS_THEY_WANT_IT, TOLD)) as peer:
        yield peer


def raw(peer: Peer, asked: bytes) -> bytes:
    """What the server says to a frame, whole or not at all."""
    with socket.create_connection(("127.0.0.1", peer.port), 5.0) as wire:
        wire.settimeout(5.0)
        wire.sendall(asked)
        came = b""
        while len(came) < 14 or len(came) < 16 + came[13]:
            more = wire.recv(300)
            assert more, f"it hung up after {came.hex()}"
            came += more
        return came


async def read(driver: Dlt645Driver, spec: DeviceSpec) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    for request in requests(spec):
        found |= {outcome.quantity.value: outcome for outcome in await driver.read(request)}
    return found


def compare(found: dict[str, Outcome]) -> int:
    """Everything that the server holds, as our driver reads it; how many values they were."""
    right = {quantity: value for _, quantity, value in HOLDS.values()} | OF_DEMANDS
    texts = {q: o.text for q, o in found.items() if isinstance(o, Identity)}
    numbers = {q: o.value for q, o in found.items() if isinstance(o, Reading)}
    known = {q for q, v in right.items() if isinstance(v, str)}
    assert {q: texts.get(q) for q in known} == {q: right[q] for q in known}
    assert {q: numbers.get(q) for q in right.keys() - known} == pytest.approx(
        {q: v for q, v in right.items() if q not in known}, rel=1e-12, abs=0
    )
    gaps = {q: o.cause for q, o in found.items() if isinstance(o, Gap)}
    assert gaps == dict.fromkeys(NOT_THERE, GapCause.REFUSED)
    return len(right)


def driver_on(spec: LinkSpec) -> Dlt645Driver:
    now_ms = LoopClock().now_ms
    return open_driver(open_link(spec, now_ms=now_ms), spec, now_ms)


def test_the_three_phase_profile_over_tcp(theirs: Peer):
    async def story() -> int:
        driver = driver_on(LinkSpec("line", "tcp-serial", "127.0.0.1", theirs.port, baud=BAUD))
        count = compare(await read(driver, meter()))
        assert await driver.read_address() == METER
        await driver.close()
        return count

    count = asyncio.run(story())
    assert count == len(HOLDS) + len(OF_DEMANDS)
    report("DL/T 645 over TCP", server=theirs.version, values=count, wrong=0)


def test_the_three_phase_profile_over_a_port(serving: Serving):
    async def story(path: str) -> int:
        driver = driver_on(LinkSpec("line", "serial", path=path, baud=BAUD))
        assert await driver.read_address() == METER
        count = compare(await read(driver, meter()))
        await driver.close()
        return count

    with PtyBus() as bus:
        peer = serving(*dlt645("serve", bus.stations[0], AS_THEY_WANT_IT, TOLD))
        count = asyncio.run(story(bus.master))
    report("DL/T 645 over a serial port", server=peer.version, values=count, wrong=0)


@pytest.mark.parametrize("case", [c for c in FRAMES["frame"] if c["address"] == METER], ids=lambda c: c["name"])
def test_frames_checked_by_hand_are_what_the_server_says(theirs: Peer, case: dict[str, Any]):
    asked, answered = bytes.fromhex(case["asked"]), bytes.fromhex(case["answered"])
    assert raw(theirs, b"\xfe" * 4 + asked) == b"\xfe" * 4 + answered


def test_the_real_meters_log_is_what_the_server_says(serving: Serving):
    peer = serving(*dlt645("serve", "tcp", "943521908855", LOG))
    log = [(c["asked"], c["answered"]) for c in FRAMES["frame"] if c["address"] != METER]
    log += [("68 AA AA AA AA AA AA 68 13 00 DF 16", c["answered"]) for c in FRAMES["address"] if c["is"] != METER]
    assert len(log) == 4
    for asked, answered in log:
        assert raw(peer, bytes.fromhex(asked)) == b"\xfe" * 4 + bytes.fromhex(answered)


def test_the_address_is_what_the_server_says(theirs: Peer):
    (answered,) = (c["answered"] for c in FRAMES["address"] if c["is"] == METER)
    asked = bytes.fromhex("FEFEFEFE 68 AAAAAAAAAAAA 68 13 00 DF 16")
    assert raw(theirs, asked) == b"\xfe" * 4 + bytes.fromhex(answered)


# --- their client at our meter

SHOWN = {
    "00010000": "active_energy_import", "00020000": "active_energy_export", "00030000": "reactive_energy_import",
    "02010100": "voltage_l1", "02010200": "voltage_l2", "02010300": "voltage_l3", "02020100": "current_l1",
    "02020200": "current_l2", "02020300": "current_l3", "02030000": "active_power", "02030100": "active_power_l1",
    "02030300": "active_power_l3", "02040000": "reactive_power", "02050000": "apparent_power",
    "02060000": "power_factor", "02800001": "current_n", "02800002": "frequency",
}  # fmt: skip
TEXTS = {"04000101": "26031204", "04000102": "120012", "04000103": "15", "04000402": "000020240117"}
"""A Thursday, noon, the demand period in minutes, the number on the meter."""

STEPS = {"V": (1.0, 0.1), "A": (1.0, 0.001), "W": (1000.0, 0.0001), "var": (1000.0, 0.0001), "Wh": (1000.0, 0.01)}
STEPS |= {"varh": STEPS["Wh"], "VA": STEPS["W"], "Hz": (1.0, 0.01), "1": (1.0, 0.001)}
"""Unit: how much of it is one of the item's, and the last digit of the item."""

OTHER = "558890213594"
FIRST_MS = T0 + 10 * 86_400_000 + 11 * 3_600_000  # 12 March, 11:00: read backwards, its maximum is a date as well
CLOCK = StandingClock(FIRST_MS + 3_600_000 + 12_000)


def our_meter(start_ms: int) -> SimMeter:
    curve = constant(90_000.0, 0.8, origin_ms=start_ms)
    registers = {"active_energy_import": 1_234_560.0, "active_energy_export": 98_760.0, "reactive_energy_import": 10.0}
    return SimMeter(
        PROFILE, curve, Nameplate("20240117", ct=80.0, shares=(0.5, 0.3, 0.2)), start_ms=start_ms, registers=registers
    )


@contextmanager
def our_line(address: str, meter: SimMeter) -> Iterator[str]:
    """One of our simulated meters on a pty; its path."""

    def hang(clock: LineClock, seed: int) -> Dlt645Station:
        return Dlt645Station(address, address, Items(meter, address), CLOCK, Turnaround(0.02))

    stations = (StationPlan(address, f"address {address}", hang),)
    with PtyLine(LinePlan("line", Format(BAUD), 0, stations, (), lambda: ()), CLOCK) as line:
        yield line.path


def they_read(path: str, address: str, *items: str) -> dict[str, Any]:
    command = dlt645("read", path, address, json.dumps(items))
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def read_by_them() -> dict[str, Any]:
    """What the package's client reads of our meter."""
    with our_line(METER, our_meter(FIRST_MS)) as path:
        return they_read(path, AS_THEY_WANT_IT, *SHOWN, *TEXTS, "01010000", "address")


def test_their_client_reads_our_meter(read_by_them: dict[str, Any], theirs: Peer):
    meter = our_meter(FIRST_MS)
    for item, quantity in SHOWN.items():
        per, digit = STEPS[UNIT[Quantity(quantity)]]
        value = float(meter.value(quantity, CLOCK.utc_ms())) / per
        assert value > 0
        assert read_by_them[item] == pytest.approx(value, rel=0, abs=digit * 1.0001), quantity
    assert {item: read_by_them[item] for item in TEXTS} == TEXTS
    demand_kw, _ = read_by_them["01010000"]
    assert demand_kw == 1.125
    values = len(SHOWN) + len(TEXTS) + 1
    report("our DL/T 645 meter on a pty", master=theirs.version, values=values, wrong=0)


# --- what is known to be wrong in the package


def test_their_fault_the_time_of_a_maximum_demand_is_read_backwards(read_by_them: dict[str, Any]):
    assert our_meter(FIRST_MS).maximum_demand_ms(CLOCK.utc_ms()) == FIRST_MS + 900_000, "2026-03-12 11:15"
    _, when = read_by_them["01010000"]
    assert when == "2015-11-12T03:26"


def test_their_fault_addresses_go_out_as_they_are_written(read_by_them: dict[str, Any]):
    """Ours is at 123456789012. A client that is told so finds nobody there, and calls the meter it finds otherwise."""
    assert read_by_them["address"] == AS_THEY_WANT_IT
    with our_line(METER, our_meter(FIRST_MS)) as path:
        assert they_read(path, METER, "02010100")["02010100"] is None


def test_their_fault_a_demand_at_a_quarter_past_midnight_is_no_demand():
    """Read backwards, the hour is a month."""
    with our_line(OTHER, our_meter(T0)) as path:
        assert they_read(path, "943521908855", "01010000")["01010000"] is None


def test_their_fault_no_blocks(theirs: Peer):
    """Our driver asks for their items one by one, which the profile's test has shown."""
    for block in (0x0001FF00, 0x0201FF00, 0x0203FF00, 0x040005FF):
        assert raw(theirs, encode(METER, 0x11, block.to_bytes(4, "little"))) == b"\xfe" * 4 + encode(
            METER, 0xD1, b"\x02"
        )


def test_their_fault_no_following_frames(theirs: Peer):
    asked = encode(METER, 0x12, 0x00010000.to_bytes(4, "little") + b"\x01")
    assert raw(theirs, asked) == b"\xfe" * 4 + encode(METER, 0xD2, b"\x01")


def test_their_fault_a_frame_for_another_meter_is_answered(theirs: Peer):
    """By the standard it meets silence."""
    asked = encode(OTHER, 0x11, 0x00010000.to_bytes(4, "little"))
    assert raw(theirs, asked) == b"\xfe" * 4 + encode(OTHER, 0xD1, b"\x01")


def test_their_fault_short_addresses_are_not_known(theirs: Peer):
    asked = encode("AAAAAAAAAA12", 0x11, 0x00010000.to_bytes(4, "little"))
    assert raw(theirs, asked)[12] == 0xD1


def test_their_fault_minutes_of_a_loss_stand_in_front_of_its_count(theirs: Peer):
    """Table A.4 names the count first, and so do our profile and our simulator."""

    async def story() -> dict[str, Outcome]:
        driver = driver_on(LinkSpec("line", "tcp-serial", "127.0.0.1", theirs.port, baud=BAUD))
        spec = meter()
        asked = [r for r in LIBRARY.registers if r.quantity.startswith("events_voltage_loss")]
        found = await read(driver, replace(spec, profile=replace(spec.profile, registers=tuple(asked))))
        await driver.close()
        return found

    found = asyncio.run(story())
    counts = {q: o.value for q, o in found.items() if isinstance(o, Reading)}
    assert counts == {"events_voltage_loss_l1": 12.0, "events_voltage_loss_l2": 24.0, "events_voltage_loss_l3": 30.0}


def test_their_fault_every_client_weighs_tens_of_mebibytes(theirs: Peer):
    done = subprocess.run(dlt645("weigh", "1"), capture_output=True, text=True, timeout=60, check=True)
    mib = json.loads(done.stdout)
    assert mib > 15
    report("a client of another maker", package=theirs.version, mib_per_client=round(mib, 1))
