"""The simulated DL/T 698.45 meter, asked by hand and by the agent's own driver, also beside Modbus and DL/T 645."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from drivers.link import CarrierLink
from edge_agent.fieldbus import FieldLine
from edge_agent.model import DeviceSpec, Gap, Identity, LinkSpec, Outcome, Quantity, Reading
from edge_agent.ports import BadReply, DriverError, NoReply
from edge_agent.settings.profile import load_profile
from simulator.faults import Fault, FaultKind, Faults
from simulator.line import dlt698
from simulator.line.carrier import Carrier
from simulator.line.dlt645 import Dlt645Station
from simulator.line.dlt698 import Dlt698Station
from simulator.line.dlt698_items import PROFILE as SIM_PROFILE
from simulator.line.dlt698_items import Objects
from simulator.line.modbus_rtu import RtuStation
from simulator.line.station import seat
from simulator.line.uart import Format
from simulator.line.virtual import LoopClock, run_virtual
from simulator.line.wire import PacedLine
from simulator.scenario import load_scenario
from tests import figures
from tests.e2e.processes import Process, wait_until
from tests.lines import SMALL, T0, Desk, dlt_station, rtu_station, sim_meter, virtually
from tests.on_698 import CLOCK, ENERGY, METER, OTHER, VOLTAGES, framed, got, u32, x25
from tests.test_dlt698_driver import ROOT

EIGHT_E = Format(9600, "E")


def station(line: PacedLine, address: str = METER, *faults: Fault, **more: Any) -> Dlt698Station:
    meter = sim_meter(SIM_PROFILE, p_w=more.pop("p_w", 8000.0))
    objects = Objects(meter, address, Faults(faults), counters=more.pop("counters", {}))
    return Dlt698Station(address, address, objects, LoopClock(line.loop, T0), **more)


def ask(*oads: int, piid: int = 5, address: str = METER) -> bytes:
    listed = bytes((2, piid, len(oads))) if len(oads) > 1 else bytes((1, piid))
    apdu = b"\x05" + listed + b"".join(oad.to_bytes(4, "big") for oad in oads) + b"\0"
    return b"\xfe" * 4 + framed(address, apdu, control=0x43)


def apdu_of(came: bytes, address: str = METER) -> bytes:
    """Of one whole frame of that meter; AssertionError for anything else."""
    frame = came.lstrip(b"\xfe")
    assert int.from_bytes(frame[1:3], "little") == len(frame) - 2, came.hex(" ")
    assert (frame[0], frame[3], frame[4], frame[-1]) == (0x68, 0xC3, 5, 0x16)
    assert frame[10:4:-1].hex() == address
    assert frame[12:14] == x25(frame[1:12])
    assert frame[-3:-1] == x25(frame[1:-3])
    return frame[14:-3]


# --- by hand


def test_the_check_is_that_of_annex_a():
    assert dlt698.check(b"123456789") == x25(b"123456789") == bytes.fromhex("6E90")


def test_the_worked_question_is_understood_and_another_master_puts_it_the_same_way():
    frame = bytes.fromhex("68 1700 43 05 070919051620 00 1560 0501014001020000 C607 16")
    assert dlt698.asking(OTHER, (0x40010200,)) == frame
    taken = dlt698.take(bytearray(b"\x68\x00noise" + frame))
    assert taken is not None
    assert (taken.control, taken.apdu) == (0x43, bytes.fromhex("0501014001020000"))


@virtually
async def test_a_station_answers_what_it_has_and_keeps_silent_for_others():
    desk = Desk(EIGHT_E)
    meter = station(desk.line)
    desk.hang(meter)
    apdu = apdu_of(await desk.ask(ask(VOLTAGES)))
    assert apdu == got(5, VOLTAGES.to_bytes(4, "big") + bytes.fromhex("01 0103 120905 120905 120905"))  # 400 V / 1.732
    assert await desk.ask(ask(VOLTAGES, address=OTHER)) == b""
    assert await desk.ask(ask(VOLTAGES)[:-3] + b"\0\0\x16") == b""
    assert apdu_of(await desk.ask(ask(0x2FFF0200))) == got(5, bytes.fromhex("2FFF0200 00 06"))
    assert apdu_of(await desk.ask(ask(0x20000204))) == got(5, bytes.fromhex("20000204 00 08"))
    assert meter.writes_seen == 0


@virtually
async def test_a_station_refuses_what_would_change_it_and_counts_that():
    desk = Desk(EIGHT_E)
    meter = station(desk.line)
    desk.hang(meter)
    for n, write in enumerate(("06 01 02 40000200 1C07E00114101B0B 00", "07 01 05 00100100 0F00 00"), start=1):
        came = await desk.ask(framed(METER, bytes.fromhex(write), control=0x43))
        assert apdu_of(came) == bytes((0xEE, bytes.fromhex(write)[2], 2, 0, 0))
        assert meter.writes_seen == n


@virtually
async def test_a_long_answer_comes_in_blocks_that_are_asked_for_one_by_one():
    desk = Desk(EIGHT_E)
    desk.hang(station(desk.line, most_apdu=64))
    first = apdu_of(await desk.ask(ask(ENERGY, VOLTAGES, CLOCK, piid=9)))
    assert first[:8] == bytes((0x85, 5, 9, 0, 0, 0, 1, 2))
    second = apdu_of(await desk.ask(framed(METER, bytes((5, 5, 9, 0, 0, 0)), control=0x43)))
    assert second[:8] == bytes((0x85, 5, 9, 1, 0, 1, 1, 1))
    assert apdu_of(await desk.ask(framed(METER, bytes((5, 5, 9, 0, 1, 0)), control=0x43)))[0] == 0xEE


@virtually
async def test_counters_and_registers_are_the_meters():
    desk = Desk(EIGHT_E)
    desk.hang(station(desk.line, counters={"301B0700": 3, "30000A03": 2}))
    await asyncio.sleep(3600.0)
    shown = apdu_of(await desk.ask(ask(ENERGY)))
    assert shown[7:12] == bytes.fromhex("01 01 05") + u32(10)[:2]
    assert 9 <= int.from_bytes(shown[11:15], "big") <= 10  # 8 kW an hour behind 80/1: 0.1 kWh, in hundredths
    assert bytes.fromhex("0202") + u32(3) in apdu_of(await desk.ask(ask(0x301B0700)))
    assert bytes.fromhex("0202") + u32(2) in apdu_of(await desk.ask(ask(0x30000A03)))


# --- by the agent

NOT_COMPARED = ("events_", "demand_", "running", "active_energy_import_t")


def device(name: str, profile: str, **more: Any) -> DeviceSpec:
    return DeviceSpec(name, "l", more.pop("unit", 0), load_profile(ROOT / f"config/profiles/{profile}.toml"), **more)


def field_line(carrier: Carrier, *devices: DeviceSpec) -> FieldLine:
    spec = LinkSpec("l", "serial", path="/x", baud=9600, parity="E", timeout_s=1.0)
    loop = asyncio.get_running_loop()
    link = CarrierLink(carrier, spec, now_ms=lambda: round(loop.time() * 1000))
    return FieldLine(spec, link, devices, link.now_ms)


async def poll(line: FieldLine) -> dict[tuple[str, str], Outcome]:
    found: list[Outcome] = []
    for request in line.requests:
        found += await line.read(request)
    return {(o.device, o.quantity): o for o in found}


@pytest.mark.parametrize(
    "more",
    [{}, {"most_apdu": 64}, {"lists": False}, {"scrambled": True, "preamble": 0}],
    ids=["plain", "blocks", "single", "scrambled"],
)
def test_the_agent_reads_what_the_meter_measures(more):
    """Every register of the profile, against the simulated meter's own truth; driver and simulator share no codec."""

    async def story() -> None:
        line = PacedLine(EIGHT_E)
        meter = station(line, counters={"30130700": 4, "30040A04": 9}, p_w=80_000.0, **more)
        seat(meter, line, LoopClock(line.loop, T0))
        field = field_line(Carrier(line), device("m1", "dlt698-3p", address=METER))
        await asyncio.sleep(2 * 3600.0)
        found = await poll(field)
        sim, now_ms = meter.items.meter, meter.clock.utc_ms()
        checked = 0
        for (_, quantity), outcome in found.items():
            if not isinstance(outcome, Reading) or quantity.startswith(
                ("events_", "demand_", "running", "active_energy_import_t")
            ):
                continue
            name = {"reactive_energy_q1": "reactive_energy_import", "reactive_energy_q4": "reactive_energy_export",
                    "active_energy_combined": "active_energy_import"}.get(quantity, quantity)  # fmt: skip
            if name in {"reactive_energy_q2", "reactive_energy_q3"}:
                assert outcome.value == 0
                continue
            truth = float(sim.value(name, now_ms))
            drift = outcome.step + (abs(truth) * 1e-3 if "energy" in name else 0)  # it ran on while it was read
            assert outcome.value == pytest.approx(truth, abs=drift), quantity
            checked += 1
        assert checked > 30
        assert found["m1", "events_meter_reset"].value == 4  # type: ignore[union-attr]
        assert found["m1", "events_current_loss_l3"].value == 9  # type: ignore[union-attr]
        assert found["m1", "demand_period"].value == 15  # type: ignore[union-attr]
        assert found["m1", "running_demand"].value == pytest.approx(80_000 / 80, rel=1e-3)  # type: ignore[union-attr]
        clock, serial = found["m1", "meter_clock"], found["m1", "meter_serial"]
        assert isinstance(clock, Identity)
        assert isinstance(serial, Identity)
        assert clock.text.startswith("2026-03-02T02:00")
        assert serial.text == "000000123456"
        assert {q for (_, q), o in found.items() if isinstance(o, Gap)} == {
            "maximum_demand_export", "maximum_demand_export_time",
        }  # fmt: skip
        assert meter.writes_seen == 0

    run_virtual(story())


def test_modbus_dlt645_and_dlt698_devices_share_one_line():
    """Each protocol's frames are noise to the others: an hour of polls, every value right, no question lost."""
    reads = failed = 0

    async def story() -> None:
        nonlocal reads, failed
        line = PacedLine(EIGHT_E)
        sits = LoopClock(line.loop, T0)
        stations: list[Dlt698Station | Dlt645Station | RtuStation] = [
            station(line),
            station(line, OTHER),
            dlt_station(line, "558890213594"),
            rtu_station(line, 7, profile=SMALL),
        ]
        for each in stations:
            seat(each, line, sits)
        modbus = DeviceSpec("mb", "l", 7, _small())
        field = field_line(
            Carrier(line), device("a", "dlt698-3p", address=METER), device("b", "dlt698-3p", address=OTHER),
            device("c", "dlt645-2007-3p", address="558890213594"), modbus,
        )  # fmt: skip
        for _ in range(20):
            for request in field.requests:
                try:
                    found = await field.read(request)
                except DriverError:
                    failed += 1
                    continue
                for outcome in found:
                    if isinstance(outcome, Reading) and outcome.quantity == Quantity.VOLTAGE_L1:
                        assert outcome.value == pytest.approx(230.9, abs=0.11)
                        reads += 1
            await asyncio.sleep(60.0)
        assert sum(s.writes_seen for s in stations) == 0
        assert field.foreign() == ""  # nothing of ours was taken for another master's

    run_virtual(story())
    figures.report("mixed line", protocols=3, voltages=reads, lost=failed)
    assert (reads, failed) == (80, 0)


def _small() -> Any:
    from edge_agent.model import Profile, Register

    registers = (Register(Quantity.VOLTAGE_L1, "input:2", "f32", "V"),)
    return Profile("small", "modbus", "small", "none", "secondary", 20, registers)


FAULTS = {
    FaultKind.SILENCE: (NoReply,),
    FaultKind.LATE: (NoReply, BadReply),
    FaultKind.WRONG_UNIT: (BadReply,),
    FaultKind.WRONG_CHECK: (BadReply,),
    FaultKind.CUT_FRAME: (BadReply, NoReply),
    FaultKind.SHORT: (),
    FaultKind.EXCEPTION: (),
    FaultKind.WRONG_FUNCTION: (),
    FaultKind.SPLIT: (),
    FaultKind.NOISE: (),
}


@pytest.mark.parametrize("kind", FAULTS, ids=str)
def test_a_fault_brings_the_right_value_or_none(kind):
    outcomes: list[str] = []

    async def story() -> None:
        line = PacedLine(EIGHT_E)
        fault = Fault(kind, one_in=2, delay_ms=5 if kind is FaultKind.SPLIT else 1500, code=3)
        meter = station(line, METER, fault)
        seat(meter, line, LoopClock(line.loop, T0))
        field = field_line(Carrier(line), device("m1", "dlt698-3p", address=METER))
        (voltages,) = (r for r in field.requests if Quantity.VOLTAGE_L1 in r.quantities)
        for _ in range(20):
            try:
                found = await field.read(voltages)
            except FAULTS[kind]:
                outcomes.append("error")
            else:
                by_name = {o.quantity: o for o in found}
                voltage = by_name[Quantity.VOLTAGE_L1]
                if isinstance(voltage, Reading):
                    assert voltage.value == pytest.approx(230.9, abs=0.11)
                outcomes.append(type(voltage).__name__)
            await asyncio.sleep(2.0)
        assert fault.struck >= 1

    run_virtual(story())
    assert len(outcomes) == 20
    assert "Reading" in outcomes
    if FAULTS[kind]:
        assert outcomes.count("error") >= 5


SCENARIO = """
[clock]
start = 2026-03-02T00:00:00+08:00

[[line]]
id = "a"
baud = 9600
parity = "E"

[[line.master]]
id = "terminal"
period_s = 60
first_s = 5
ask = [{{ address = "123456789012", object = "00100200" }}]

[[meter]]
id = "m"
line = "a"
protocol = "dlt698"
address = "{address}"
count = 2
load = {{ kind = "constant", p_kw = 8.0 }}
{more}
"""


def test_a_scenario_hangs_such_meters_on_a_line_and_another_master_reads_them(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(SCENARIO.format(address=METER, more="most_apdu = 64"), encoding="utf-8")
    (plan,) = load_scenario(path).lines

    async def story() -> None:
        loop = asyncio.get_running_loop()
        played = plan.play(loop, LoopClock(loop, T0))
        await asyncio.sleep(200.0)
        assert list(played.stations) == ["m1", "m2"]
        assert played.masters["terminal"].counts.answered == 4
        assert played.masters["terminal"].counts.lost == 0
        assert played.requests == 4
        assert played.writes_seen == 0

    run_virtual(story())


@pytest.mark.parametrize(
    ("address", "more", "says"),
    [
        ("", "", "twelve digits"),
        (METER, '[[meter.fault]]\nkind = "hole"\naddress = "input:0x0040"', "cannot happen there"),
        (METER, '[[meter.fault]]\nkind = "busy"', "cannot happen there"),
        (METER, '[[meter.fault]]\nkind = "stuck"\nquantity = "vt_ratio"', "has no vt_ratio"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused_in_words(tmp_path, address, more, says):
    path = tmp_path / "s.toml"
    path.write_text(SCENARIO.format(address=address, more=more), encoding="utf-8")
    with pytest.raises(ValueError, match=says):
        load_scenario(path)


SITE = """
[site]
utility = "demo"
gateway = "gw-1"
[paths]
state = "{folder}/state"
runtime = "{folder}/run"
[mqtt]
host = "127.0.0.1"
port = 1
[[link]]
id = "bus"
kind = "serial"
path = "{folder}/ports/a"
baud = 9600
parity = "E"
timeout_s = 1
shared_line = true
listen_s = 0
[[device]]
id = "m1"
link = "bus"
address = "123456789012"
profile = "dlt698-3p"
"""


def test_the_verb_reads_such_a_meter_on_a_port(short_path):
    """Processes and a pty: the simulated meter on one side, `edge-agent read` on the other."""
    for folder in ("state", "run"):
        (short_path / folder).mkdir()
    scenario, site = short_path / "scenario.toml", short_path / "site.toml"
    alone = SCENARIO.replace(SCENARIO[SCENARIO.index("[[line.master]]") : SCENARIO.index("[[meter]]")], "")
    alone = alone.replace('parity = "E"', 'parity = "N"')  # a pty has none
    scenario.write_text(alone.format(address=METER, more=""), encoding="utf-8")
    site.write_text(SITE.format(folder=short_path), encoding="utf-8")
    played = (sys.executable, "-m", "simulator.cli", "serve", str(scenario), "--ports", str(short_path / "ports"))
    meters = Process("meters", played, short_path)
    meters.start()
    try:
        wait_until((short_path / "ports/a").exists, 15, "the port is there")
        verb = (sys.executable, "-m", "edge_agent", "read", "m1", "--json", "--site", str(site))
        done = subprocess.run(verb, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    finally:
        meters.kill()
    assert done.returncode == 0, done.stderr
    assert "parity" in done.stderr, "a pty drops it, and that is said beside the document, not in it"
    registers = {r["quantity"]: r for r in json.loads(done.stdout)}
    assert len(registers) > 60
    voltage = registers["voltage_l1"]
    assert (voltage["register"], voltage["raw"]) == ("oad:20000200/1", "12 09 05")
    assert 230.9 in voltage.values()
