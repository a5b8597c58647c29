"""The simulated meter: its physics against closed forms, its registers against `struct`, its scenarios and profiles."""

from __future__ import annotations

import math
import struct
import tomllib
from pathlib import Path

import pytest

from simulator.clock import DAY_MS, ScaledClock, boot_ms
from simulator.device import Exchanged, Fell, Nameplate, RatioChanged, SimMeter, Turned
from simulator.modbus import SimUnit
from simulator.profile import ProfileMistake, load_profile, profiles_dir
from simulator.scenario import ScenarioMistake, load_scenario, scenarios_dir
from simulator.shape import Curve, Energies, Vertex, constant, factory_day, from_csv, reactive, steps

T0 = 1_772_380_800_000  # 2026-03-02 00:00 +08:00
HOUR_MS = 3_600_000

PROFILE = """
profile = "test-meter"
driver = "modbus"
model = "none"
source = "made for this test"
side = "secondary"
max_registers = 60

[[register]]
quantity = "active_power"
address = "input:0x0034"
type = "f32"
unit = "W"

[[register]]
quantity = "active_energy_import"
address = "input:0x0048"
type = "f32"
unit = "kWh"
step = 0.01
digits = "6.2"

[[register]]
quantity = "reactive_energy_import"
address = "input:0x004A"
type = "u32"
unit = "kvarh"
scale = 0.01
step = 0.01
digits = "6.2"
order = "CDAB"

[[register]]
quantity = "active_energy_export"
address = "input:0x0050"
type = "bcd32"
unit = "kWh"
scale = 0.01
step = 0.01
digits = "6.2"

[[register]]
quantity = "current_l1"
address = "holding:0x0000"
type = "u16"
unit = "A"
scale = 0.001
not_available = [0xFFFF]

[[register]]
quantity = "reactive_power"
address = "holding:0x0001"
type = "i32"
unit = "var"
order = "DCBA"

[[register]]
quantity = "voltage_l1"
address = "holding:0x0003"
type = "f64"
unit = "V"
order = "BADC"

[[register]]
quantity = "meter_serial"
address = "holding:0x0010"
type = "ascii:6"
"""

METER = """
[clock]
start = 2026-03-02T00:00:00+08:00

[[meter]]
id = "m1"
profile = "test-meter"
unit = 1
ct = "400/5"
serial = "0000123456"
load = { kind = "factory-day" }
"""


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    (tmp_path / "test-meter.toml").write_text(PROFILE)
    return tmp_path


def meter(profiles: Path, curve: Curve, **more: object) -> SimMeter:
    plate = Nameplate("0000123456", u_n_v=400, ct=80)
    return SimMeter(load_profile(profiles / "test-meter.toml"), curve, plate, start_ms=T0, **more)  # type: ignore[arg-type]


def worked_example() -> Curve:
    return factory_day(peak_w=220_000, mean_w=160_000, pf=0.85, midnight_ms=T0)


# --- physics -------------------------------------------------------------------------------------------------------


def test_the_factory_day_is_the_worked_example():
    day = worked_example()
    minutes = [day.at(T0 + m * 60_000) for m in range(1440)]
    assert day.energies(T0 + DAY_MS).minus(day.energies(T0)).active_import_wh == pytest.approx(3_840_000, rel=1e-12)
    assert max(p.p_w for p in minutes) == pytest.approx(220_000, abs=1e-6)
    assert max(p.s_va for p in minutes) == pytest.approx(258_823.53, abs=0.01)
    assert min(p.p_w for p in minutes) > 80_000  # production never stops
    assert {p.s_va > 250_000 for p in minutes if p.p_w > 212_500.001} == {True}
    assert {p.s_va > 250_000 for p in minutes if p.p_w < 212_499.999} == {False}
    at_peak = [m for m, p in enumerate(minutes) if p.p_w > 219_999.9]
    assert 120 <= len(at_peak) <= 180
    assert at_peak == list(range(at_peak[0], at_peak[-1] + 1))  # one peak a day


def test_the_secondary_register_of_the_worked_example_moves_48_kwh_a_day(profiles: Path):
    factory = meter(profiles, worked_example())
    for day in (1, 30, 365):
        assert factory.value("active_energy_import", T0 + day * DAY_MS) == pytest.approx(48_000 * day, rel=1e-12)
    register = factory.profile.register("active_energy_import")
    assert struct.unpack(">f", factory.raw(register, T0 + DAY_MS))[0] == 48.0


def test_currents_of_the_worked_example(profiles: Path):
    """Domain table: 220 kW at power factor 0.85 and 0.4 kV is 373.6 A, 4.67 A in the meter behind 400/5."""
    factory = meter(profiles, constant(220_000, 0.85))
    assert factory.value("current_l1", T0) == pytest.approx(4.67, abs=0.005)
    assert factory.value("voltage_l1", T0) == pytest.approx(230.94, abs=0.01)
    assert factory.value("current_n", T0) == pytest.approx(0, abs=1e-6)


def test_registers_conserve_the_energy_of_the_load(profiles: Path):
    """Against an independent sum over seconds, in steps of odd length, through a change of sign and a step in load."""
    curve = Curve(
        [
            Vertex(0, 100e3, 40e3),
            Vertex(HOUR_MS, -60e3, -20e3),
            Vertex(HOUR_MS, 80e3, 0),
            Vertex(2 * HOUR_MS, 20e3, 30e3),
        ],
        origin_ms=T0,
    )
    sim = meter(profiles, curve)
    summed = [0.0] * 5
    for second in range(7200):
        p, q = curve.at(T0 + second * 1000 + 500)
        for i, w in enumerate((max(p, 0), max(-p, 0), max(q, 0), max(-q, 0), math.hypot(p, q))):
            summed[i] += w / 3600
    while sim.now_ms < T0 + 2 * HOUR_MS:
        sim.step(min(37.123, (T0 + 2 * HOUR_MS - sim.now_ms) / 1000))
    truth = sim.truth()
    assert tuple(truth.since_start) == pytest.approx(summed, rel=1e-5)
    for name, wh in zip(
        ("active_energy_import", "active_energy_export", "reactive_energy_import"), summed, strict=False
    ):
        assert sim.value(name) == pytest.approx(wh / 80, rel=1e-5)
    shown_kwh = struct.unpack(">f", sim.raw(sim.profile.register("active_energy_import")))[0]
    assert 0 <= truth.since_start.active_import_wh / 80_000 - shown_kwh < 0.01 + 1e-5


def test_a_moment_asked_twice_or_out_of_order_says_the_same(profiles: Path):
    sim = meter(profiles, worked_example())
    instants = [T0 + k * 12_345_678 for k in range(50)]
    forward = [sim.value("active_energy_import", t) for t in instants]
    assert forward == [sim.value("active_energy_import", t) for t in reversed(instants)][::-1]
    assert forward == sorted(forward)


def test_an_energy_register_shows_whole_steps_rounded_down(profiles: Path):
    sim = meter(profiles, constant(160_000, 1.0, origin_ms=T0))
    seen = set()
    for second in range(0, 600, 7):
        shown = struct.unpack(">f", sim.raw(sim.profile.register("active_energy_import"), T0 + second * 1000))[0]
        exact = 160 * second / 3600 / 80
        assert shown == struct.unpack(">f", struct.pack(">f", round(shown * 100) / 100))[0]
        assert shown - 1e-6 <= exact < shown + 0.01 + 1e-6
        seen.add(shown)
    assert len(seen) > 30


def test_a_float_register_is_the_nearest_of_32_bits(profiles: Path):
    sim = meter(profiles, constant(100_000 / 3, 1.0), registers={"active_energy_import": 999_000_000.0})
    shown = struct.unpack(">f", sim.raw(sim.profile.register("active_power"), T0))[0]
    assert shown == struct.unpack(">f", struct.pack(">f", 100_000 / 3 / 80))[0]
    # Above 2^19 kWh the steps are 2^-4 kWh, not the display's 0.01.
    register = sim.profile.register("active_energy_import")
    shown_kwh = {struct.unpack(">f", sim.raw(register, T0 + s * 1000))[0] for s in range(0, 3600, 60)}
    assert len(shown_kwh) == 7  # 0.41 kWh in steps of 0.0625
    assert {kwh * 16 % 1 for kwh in shown_kwh} == {0.0}


def test_registers_roll_over_at_their_digits(profiles: Path):
    full = {"active_energy_import": 999_999_990.0, "reactive_energy_import": 999_999_990.0}
    sim = meter(profiles, Curve([Vertex(0, 80_000, 80_000)], origin_ms=T0), registers=full)
    after_ms = T0 + 60_000  # 16.667 Wh later
    assert struct.unpack(">f", sim.raw(sim.profile.register("active_energy_import"), T0))[0] == pytest.approx(
        999_999.99
    )
    assert struct.unpack(">f", sim.raw(sim.profile.register("active_energy_import"), after_ms))[0] == 0.0
    low, high = struct.unpack(">HH", sim.raw(sim.profile.register("reactive_energy_import"), T0))
    assert (high << 16 | low) == 99_999_999
    low, high = struct.unpack(">HH", sim.raw(sim.profile.register("reactive_energy_import"), after_ms))
    assert (high << 16 | low) == 0


def test_orders_and_types_on_the_wire(profiles: Path):
    sim = meter(profiles, Curve([Vertex(0, -220_000, -96_000)]), registers={"active_energy_export": 123_456_780.0})
    raw = {r.quantity: sim.raw(r, T0) for r in sim.profile.registers}
    assert raw["active_energy_export"] == bytes.fromhex("12345678")
    assert struct.unpack("<i", raw["reactive_power"])[0] == -1200  # DCBA is little endian
    swapped = b"".join(raw["voltage_l1"][i : i + 2][::-1] for i in range(0, 8, 2))
    assert struct.unpack(">d", swapped)[0] == pytest.approx(400 / math.sqrt(3))
    assert raw["meter_serial"] == b"0000123456\x00\x00"


def test_an_exchange_a_fall_and_new_transformers_are_seen_and_the_truth_goes_on(profiles: Path):
    events = [
        Fell(T0 + 1 * HOUR_MS, "active_energy_import", 500.0),
        Exchanged(T0 + 2 * HOUR_MS, "0000777777", {"active_energy_import": 10_000.0}),
        RatioChanged(T0 + 3 * HOUR_MS, 100.0),
    ]
    sim = meter(profiles, constant(80_000, 1.0, origin_ms=T0), events=events)
    hourly = [sim.value("active_energy_import", T0 + h * HOUR_MS) for h in (0, 1, 2, 3, 4)]
    assert hourly == pytest.approx([0, 500, 10_000, 11_000, 11_800])  # the instant itself is after the event
    assert sim.value("meter_serial", T0 + 2 * HOUR_MS - 1) == "0000123456"
    assert sim.value("meter_serial", T0 + 2 * HOUR_MS) == "0000777777"
    assert sim.truth(T0 + 4 * HOUR_MS).since_start.active_import_wh == pytest.approx(320_000)
    assert [sim.truth(T0 + h * HOUR_MS).k for h in (2, 4)] == [80, 100]


def test_a_transformer_that_sits_the_wrong_way_round_turns_its_phase_and_what_is_counted(profiles: Path):
    events = [Turned(T0 + HOUR_MS, (2,)), Turned(T0 + 2 * HOUR_MS, (1, 2)), Turned(T0 + 3 * HOUR_MS)]
    sim = meter(profiles, constant(120_000, 1.0, origin_ms=T0), events=events)
    hourly = [sim.value("active_energy_import", T0 + h * HOUR_MS) for h in range(5)]
    assert hourly == pytest.approx([0, 1500, 2000, 2000, 3500]), "a third of it, then nothing"
    assert sim.value("active_energy_export", T0 + 4 * HOUR_MS) == pytest.approx(500), "two turned: a third flows out"
    powers = [sim.value(f"active_power{end}", T0 + HOUR_MS) for end in ("", "_l1", "_l2", "_l3")]
    assert powers == pytest.approx([500, 500, -500, 500])
    assert sim.value("power_factor_l2", T0 + HOUR_MS) == -1
    assert float(sim.value("current_l2", T0 + HOUR_MS)) > 0
    assert sim.truth(T0 + 4 * HOUR_MS).since_start.active_import_wh == pytest.approx(480_000), "the truth is not turned"


def test_maximum_demand_is_the_highest_closed_quarter_hour(profiles: Path):
    sim = meter(profiles, steps([(0, 80e3, 1), (HOUR_MS, 160e3, 1), (HOUR_MS + 450_000, 80e3, 1)], origin_ms=T0))
    assert sim.value("maximum_demand", T0 + HOUR_MS + 899_999) == pytest.approx(1000)
    assert sim.value("maximum_demand", T0 + HOUR_MS + 900_000) == pytest.approx(1500)  # half of the block at 160 kW
    assert sim.value("maximum_demand", T0 + 9 * HOUR_MS) == pytest.approx(1500)


def test_a_load_from_a_table():
    text = "time,p_kw,pf\n00:00,100,0.8\n12:00,200,1\n"
    held = from_csv(text, start_ms=T0, midnight_ms=T0, pf=0.9, hold=True)
    assert tuple(held.at(T0 + 13 * HOUR_MS)) == pytest.approx((200_000, 0))
    assert held.at(T0 + 25 * HOUR_MS).p_w == 100_000  # the day repeats
    assert held.energies(T0 + DAY_MS).minus(held.energies(T0)).active_import_wh == pytest.approx(3_600_000)
    sloped = from_csv(text, start_ms=T0, midnight_ms=T0, pf=0.9, hold=False)
    assert sloped.at(T0 + 6 * HOUR_MS).p_w == pytest.approx(150_000)
    seconds = from_csv("time,p_kw,q_kvar\n0,10,1\n60,20,2\n", start_ms=T0, midnight_ms=T0, pf=1, hold=False)
    assert tuple(seconds.at(T0 + 30_000)) == pytest.approx((15_000, 1500))


def test_apparent_energy_of_a_constant_power_factor_is_exact():
    flowed = worked_example().energies(T0 + DAY_MS).minus(worked_example().energies(T0))
    assert flowed.apparent_vah == pytest.approx(flowed.active_import_wh / 0.85, rel=1e-12)
    assert flowed.reactive_import_varh == pytest.approx(reactive(flowed.active_import_wh, 0.85), rel=1e-12)
    assert Energies().plus(flowed) == flowed


@pytest.mark.parametrize(
    ("vertices", "period_ms"), [([], None), ([Vertex(1, 0, 0), Vertex(0, 0, 0)], None), ([Vertex(1, 0, 0)], 10)]
)
def test_a_load_that_is_none_is_refused(vertices: list[Vertex], period_ms: int | None):
    with pytest.raises(ValueError, match="load"):
        Curve(vertices, period_ms=period_ms)


# --- scenarios -----------------------------------------------------------------------------------------------------


def test_two_processes_with_the_same_three_numbers_read_the_same_instant():
    anchor = boot_ms()
    ours, theirs = (ScaledClock(T0, 864.0, anchor) for _ in range(2))
    assert ours.utc_at(anchor + 100_000) == theirs.utc_at(anchor + 100_000) == T0 + DAY_MS
    assert T0 <= ours.utc_ms() <= T0 + 864 * 5000


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (("ct =", "ctt ="), "unknown field `ctt`"),
        (('"test-meter"', '"nobodys-meter"'), "no profile 'nobodys-meter'"),
        (("+08:00", ""), "names no offset"),
        (('ct = "400/5"', 'ct = "0/5"'), "not a ratio"),
        (("unit = 1", "unit = 300"), "247"),
        (('kind = "factory-day"', 'kind = "factory-day", mean_kw = 230'), "no factory day"),
        (('load = { kind = "factory-day" }', 'load = { kind = "csv", file = "none.csv" }'), "none.csv"),
    ],
)
def test_a_mistake_in_a_scenario_is_named(profiles: Path, spoil: tuple[str, str], complaint: str):
    path = profiles / "scenario.toml"
    path.write_text(METER.replace(*spoil))
    with pytest.raises(ScenarioMistake, match=complaint) as mistake:
        load_scenario(path)
    assert "scenario.toml" in str(mistake.value)


def test_a_fault_that_the_register_cannot_show_is_a_mistake(profiles: Path):
    path = profiles / "scenario.toml"
    path.write_text(METER + '[[meter.fault]]\nkind = "nan"\nquantity = "reactive_power"\n')
    with pytest.raises(ScenarioMistake, match="always has a value"):
        load_scenario(path)


@pytest.mark.parametrize("path", sorted(scenarios_dir().glob("*.toml")), ids=lambda p: p.stem)
def test_every_scenario_that_ships_can_be_played(path: Path):
    scenario = load_scenario(path)
    assert scenario.meters or scenario.lines or scenario.dlms
    assert all(plan.hang(scenario.clock()).holding.objects for plan in scenario.dlms)
    for plan in scenario.meters:
        unit = plan.hang()
        for register in unit.meter.profile.registers:
            assert len(unit.meter.raw(register, scenario.start_ms + 36_000_000)) == 2 * register.width


MODBUS = [p for p in sorted(profiles_dir().glob("*.toml")) if tomllib.loads(p.read_text())["driver"] == "modbus"]


@pytest.mark.parametrize("path", MODBUS, ids=lambda p: p.stem)
def test_every_modbus_profile_that_ships_can_be_a_meter(path: Path):
    profile = load_profile(path)
    sim = SimMeter(profile, worked_example(), Nameplate("0000123456", ct=80), start_ms=T0)
    unit = SimUnit(sim)
    for register in profile.registers:
        function = 3 if register.table == "holding" else 4
        answer = unit.answer(struct.pack(">BHH", function, register.address, register.width), T0 + HOUR_MS)
        assert answer.pdu[:2] == bytes((function, 2 * register.width))


def test_a_mistake_in_a_profile_names_its_register(profiles: Path):
    path = profiles / "bad.toml"
    path.write_text(PROFILE.replace('type = "bcd32"', 'type = "bcd33"'))
    with pytest.raises(ProfileMistake, match=r"register 4 \(active_energy_export\): unknown type"):
        load_profile(path)
