"""What a DL/T 645 meter writes down by itself: event records and load records, octet by octet, and asked of a meter."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import pytest

from drivers.dlt645 import load_records, requests
from drivers.dlt645.events import LAYOUTS, event_of, record_of
from drivers.gate import GateRefused, dlt645
from drivers.link import CarrierLink
from edge_agent.fieldbus import FieldLine
from edge_agent.load.recorded import recorded_periods
from edge_agent.load.views import Source
from edge_agent.model import EVENTS, DeviceSpec, LinkSpec, MeterEvent, Ms, Profile, Quantity, Recorded, Register
from edge_agent.ports import NoReply, Refused
from edge_agent.settings.mistake import SiteError
from edge_agent.settings.profile import load_profile
from simulator.device import SimMeter
from simulator.line.carrier import Carrier
from simulator.line.dlt645 import MOST_DATA, Dlt645Station
from simulator.line.dlt645_items import Items
from simulator.line.dlt645_records import KINDS, Happened
from simulator.line.dlt645_tables import PROFILE
from simulator.line.station import seat
from simulator.line.uart import Format
from simulator.line.virtual import LoopClock, run_virtual
from simulator.line.wire import PacedLine
from simulator.scenario import ScenarioMistake, load_scenario
from tests.ledger_bench import point
from tests.lines import T0, sim_meter
from tests.on_paper import DAY_MS, MINUTE_MS, local_ms
from tests.test_dlt645 import METER, framed

SHANGHAI = ZoneInfo("Asia/Shanghai")
HOUR_MS = 60 * MINUTE_MS
E = Register(Quantity.ACTIVE_ENERGY_IMPORT, "di:00010000", "bcd6.2", "kWh", digits="6.2")


def hexa(text: str) -> bytes:
    return bytes.fromhex(text)


# -- event records: octets as they go out, lowest first


@pytest.mark.parametrize(
    ("code", "octets", "when", "until", "operator"),
    [
        # 2026-03-10 10:07:30 to 10:12:05, then twelve energies
        ("cover_open", "300710100326 051210100326" + "00" * 48, "10:07:30", "10:12:05", ""),
        ("terminal_cover_open", "300710100326 000000000000" + "00" * 48, "10:07:30", None, ""),  # not closed yet
        ("voltage_loss_l2", "300710100326 FFFFFFFFFFFF" + "00" * 119, "10:07:30", None, ""),
        ("power_off", "300710100326 051210100326", "10:07:30", "10:12:05", ""),
        ("programming", "300710100326 78563412" + "FF" * 40, "10:07:30", None, "12345678"),
        ("meter_reset", "300710100326 78563412" + "00" * 96, "10:07:30", None, "12345678"),
        ("event_reset", "300710100326 78563412 FF000003", "10:07:30", None, "12345678"),
        ("clock_set", "78563412 000010100326 300710100326", "10:07:30", None, "12345678"),
    ],
)
def test_a_record_says_when_and_who(code: str, octets: str, when: str, until: str | None, operator: str):
    event = event_of("m1", code, hexa(octets), SHANGHAI, None)
    at = {text: local_ms(f"2026-03-10 {text}") for text in (when, until) if text}
    assert event == MeterEvent("m1", code, at[when], None, at[until] if until else None, operator)


@pytest.mark.parametrize(
    "octets",
    ["00" * 60, "FF" * 60, "300710100326", "", "306110100326" + "00" * 54, "300710320226" + "00" * 54, "3A" * 60],
    ids=["never", "absent", "cut", "empty", "minute 61", "32 February", "no digits"],
)
def test_what_is_no_record_says_nothing(octets: str):
    assert event_of("m1", "cover_open", hexa(octets), SHANGHAI, None) is None


def test_records_have_the_standards_identifiers():
    assert record_of("cover_open", 1) == 0x03300D01
    assert record_of("terminal_cover_open", 10) == 0x03300E0A
    assert record_of("phase_break_l3", 2) == 0x03040302
    assert record_of("current_loss_l1", 1) == 0x030B0101
    assert record_of("power_off", 1) == 0x03110001
    assert record_of("cover_open", 11) is None
    assert record_of("magnetic", 1) is None, "an extension whose records nobody has described"
    assert LAYOUTS.keys() == EVENTS.keys() - {"magnetic"}


# -- load records


def load_block(stamp: str, *classes: str, head: str = "A0A0") -> bytes:
    """A block put together by hand."""
    body = hexa(stamp) + b"".join(hexa(values) + b"\xaa" for values in classes)
    octets = hexa(head) + bytes((len(body),)) + body
    return octets + bytes((sum(octets) & 0xFF, 0xE5))


REGISTERS = "56341200 00000000 78560000 00000000"  # 1234.56 kWh, 0, 56.78 kvarh, 0
CLASS_4 = load_block("1510100326", "", "", "", REGISTERS, "", "")
TEN_FIFTEEN = local_ms("2026-03-10 10:15")


@pytest.mark.parametrize(
    "octets",
    [
        CLASS_4,
        load_block("1510100326", "11" * 17, "22" * 24, "33" * 8, REGISTERS, "44" * 16, "55" * 6),
        load_block("1510100326", REGISTERS),
    ],
    ids=["class 4 with all borders", "all classes", "without the borders in front"],
)
def test_a_block_gives_the_registers_at_its_time(octets: bytes):
    (block,) = load_records.blocks(octets, SHANGHAI)
    assert block == load_records.Block(TEN_FIFTEEN, (1_234_560.0, 0.0, 56_780.0, 0.0))


def test_blocks_follow_one_another_and_a_wrong_one_is_passed_over():
    wrong = load_block("3010100326", "", "", "", REGISTERS, "", "", head="E0E0")
    later = load_block("4510100326", "", "", "", "FFFFFFFF FFFFFFFF 78560080 00000000", "", "")
    first, last = load_records.blocks(CLASS_4 + wrong + later, SHANGHAI)
    assert first.end_ms == TEN_FIFTEEN
    assert last.end_ms == TEN_FIFTEEN + 30 * MINUTE_MS
    assert last.registers == (None, None, None, 0.0), "absent, and a combination below zero, are no registers"


def test_no_bit_of_a_block_can_be_wrong_and_none_of_it_missing():
    values = 0
    for bit in range(8 * len(CLASS_4)):
        flipped = bytearray(CLASS_4)
        flipped[bit // 8] ^= 1 << bit % 8
        values += len(list(load_records.blocks(bytes(flipped), SHANGHAI)))
    assert values == 0
    for length in range(len(CLASS_4)):
        assert list(load_records.blocks(CLASS_4[:length], SHANGHAI)) == []
    assert list(load_records.blocks(CLASS_4 + b"\xdd", SHANGHAI)) != [], "some meters send an octet more"


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("stamp", "utc"),
    [
        ("4501251026", "2026-10-24 23:45"),  # 01:45 summer time
        ("1502251026", None),  # 02:15 comes twice that night: nobody can say which it was
        ("5902251026", None),
        ("0003251026", "2026-10-25 02:00"),
        ("3002290326", None),  # 02:30 does not exist that night
        ("0003290326", "2026-03-29 01:00"),
    ],
)
def test_a_stamp_that_a_change_of_the_hour_makes_twice_or_never_is_no_time(stamp: str, utc: str | None):
    found = [b.end_ms for b in load_records.blocks(load_block(stamp, "", "", "", REGISTERS, "", ""), BERLIN)]
    assert found == ([] if utc is None else [local_ms(utc, ZoneInfo("UTC"))])


def test_the_question_passes_the_gate_and_nothing_else_of_its_length_does():
    asked = hexa("01000406") + load_records.asked(TEN_FIFTEEN, 6, SHANGHAI)
    assert asked == hexa("01000406 06 15 10 10 03 26")
    dlt645(b"\xfe" * 4 + framed(METER, 0x11, asked))
    for control, data in ((0x14, asked), (0x11, hexa("01000400") + asked[4:]), (0x11, asked[:9]), (0x12, asked)):
        with pytest.raises(GateRefused):
            dlt645(framed(METER, control, data))


@pytest.mark.parametrize("written", ["di:06040001", "di:06010001/15", "di:06040001/0", "06040001/15"])
def test_a_profile_that_names_no_such_records_is_a_mistake(written: str, tmp_path):
    text = (
        'profile = "x"\ndriver = "dlt645"\nsource = "s"\nside = "secondary"\nmax_registers = 1\n'
        '[[register]]\nquantity = "active_energy_import"\naddress = "di:00010000"\ntype = "bcd6.2"\nunit = "kWh"\n'
    )
    path = tmp_path / "x.toml"
    path.write_text(f'load_profile = "di:06040001/15"\n{text}')
    assert load_profile(path).load_profile == "di:06040001/15"
    path.write_text(f'load_profile = "{written}"\n{text}')
    with pytest.raises(SiteError) as wrong:
        load_profile(path)
    assert "di:06040001/15" in str(wrong.value)
    with pytest.raises(ValueError, match="load_profile"):
        requests(device(load_profile=written))


# -- asked of a simulated meter on a line, in virtual time


def device(load_profile: str = "di:06040001/15") -> DeviceSpec:
    profile = Profile("p", "dlt645", "m", "s", "secondary", 1, (E,), load_profile=load_profile)
    return DeviceSpec("m1", "bus", 0, profile, address=METER, zone="Asia/Shanghai")


class Bus:
    """A line with one meter, and the driver on it."""

    def __init__(
        self, happened: Sequence[Happened] = (), *, most_data: int = MOST_DATA, meter: SimMeter | None = None,
        load_profile: str = "di:06040001/15", start_ms: Ms = T0 + DAY_MS,
    ) -> None:  # fmt: skip
        line = PacedLine(Format(2400, "E"))
        self.meter = meter or sim_meter(PROFILE, p_w=8_000.0)
        items = Items(self.meter, METER, happened=happened)
        clock = LoopClock(line.loop, start_ms)
        self.station = Dlt645Station("m1", METER, items, clock, most_data=most_data)
        seat(self.station, line, clock)
        spec = LinkSpec("bus", "serial", path="-", baud=2400, parity="E", timeout_s=2.0)
        link = CarrierLink(Carrier(line), spec, now_ms=self.now_ms)
        self.field = FieldLine(spec, link, [device(load_profile)], self.now_ms)

    def now_ms(self) -> Ms:
        return round(asyncio.get_running_loop().time() * 1000)

    async def read(self) -> None:
        await self.field.read(self.field.requests[0])

    async def logged(self, **rose: int) -> list[MeterEvent]:
        return list(await self.field.logged("m1", 0, rose))

    async def recorded(self, since_ms: Ms, until_ms: Ms) -> list[Recorded]:
        return list(await self.field.recorded("m1", since_ms, until_ms))


@pytest.mark.parametrize("most_data", [MOST_DATA, 40], ids=["one frame", "following frames"])
def test_the_newest_records_are_read_as_many_as_the_counter_rose_by(most_data: int):
    happened = [Happened("cover_open", T0 + n * HOUR_MS, T0 + n * HOUR_MS + 30_000) for n in range(1, 5)]
    happened += [Happened("programming", T0 + 3 * HOUR_MS, operator="0000ABCD"), Happened("magnetic", T0 + HOUR_MS)]

    async def story() -> None:
        bus = Bus(happened, most_data=most_data)
        await bus.read()
        before = bus.station.counts.requests
        found = await bus.logged(cover_open=2, programming=1, magnetic=1)
        assert [(e.code, e.when_ms, e.until_ms, e.operator) for e in found] == [
            ("cover_open", T0 + 4 * HOUR_MS, T0 + 4 * HOUR_MS + 30_000, ""),
            ("cover_open", T0 + 3 * HOUR_MS, T0 + 3 * HOUR_MS + 30_000, ""),
            ("programming", T0 + 3 * HOUR_MS, None, "0000ABCD"),
        ]
        assert all(e.frame is not None and e.frame.reply for e in found)
        if most_data == MOST_DATA:
            assert bus.station.counts.requests - before == 3
        assert len(await bus.logged(cover_open=99)) == 4, "of ten that are kept, four were written"
        assert await bus.logged() == []
        assert bus.station.counts.writes_seen == 0

    run_virtual(story())


def test_a_meter_without_records_refuses_and_one_that_was_not_read_is_not_known():
    async def story() -> None:
        bus = Bus()
        with pytest.raises(NoReply):
            await bus.logged(cover_open=1)
        await bus.read()
        bus.station.items._event_record = lambda *_: None  # type: ignore[method-assign]
        with pytest.raises(Refused, match="no event records"):
            await bus.logged(cover_open=1, programming=1)

    run_virtual(story())


@pytest.mark.parametrize("load_profile", ["di:06040001/15", "di:06000001/15"])
def test_a_days_load_records_are_the_registers_at_each_quarter(load_profile: str):
    async def story() -> None:
        bus = Bus(load_profile=load_profile)
        await bus.read()
        began_s = asyncio.get_running_loop().time()
        found = await bus.recorded(T0 + HOUR_MS, T0 + 7 * HOUR_MS)
        took_s = asyncio.get_running_loop().time() - began_s
        imported = [r for r in found if r.quantity is Quantity.ACTIVE_ENERGY_IMPORT]
        assert [r.end_ms for r in imported] == [T0 + HOUR_MS + n * 15 * MINUTE_MS for n in range(1, 25)]
        for entry in imported:
            shown = float(bus.meter.value("active_energy_import", entry.end_ms)) // 10 * 10
            assert entry.value == pytest.approx(shown, abs=0.01)
            assert (entry.kind, entry.step) == ("register", 10.0)
        assert took_s < 20, "four questions at 2400 baud, or eight where all classes come along"
        made = point(quantities=frozenset({E.quantity}), has_profile=True)
        periods = recorded_periods(made, found)
        assert [p.end_ms for p in periods] == [r.end_ms for r in imported[1:]]
        assert all(p.register is not None and p.register.source is Source.PROFILE for p in periods)

    run_virtual(story())


def test_what_a_meter_did_not_write_is_left_out_and_the_rest_is_there():
    """Without supply from 02:00 to 05:00; and nothing is asked for that lies ahead."""

    async def story() -> None:
        bus = Bus([Happened("power_off", T0 + 2 * HOUR_MS, T0 + 5 * HOUR_MS)])
        await bus.read()
        found = await bus.recorded(T0 + HOUR_MS, T0 + 6 * HOUR_MS)
        ends = sorted({(r.end_ms - T0) // MINUTE_MS for r in found})
        assert ends == [75, 90, 105, 300, 315, 330, 345, 360]
        assert await bus.recorded(T0 + 2 * HOUR_MS, T0 + 3 * HOUR_MS) == []
        assert await bus.recorded(T0 + 2 * DAY_MS, T0 + 2 * DAY_MS + HOUR_MS) == []

    run_virtual(story())


def test_a_device_whose_profile_names_no_records_refuses():
    async def story() -> None:
        bus = Bus(load_profile="")
        await bus.read()
        with pytest.raises(Refused, match="names no load records"):
            await bus.recorded(T0, T0 + HOUR_MS)

    run_virtual(story())


def test_the_simulator_counts_what_happens_and_knows_every_code():
    assert KINDS.keys() == EVENTS.keys()
    happened = [Happened("voltage_loss_l2", T0 + HOUR_MS), Happened("cover_open", T0 + HOUR_MS)] * 2
    items = Items(sim_meter(PROFILE), METER, counters={"03300D00": 5}, happened=happened)
    assert items.read(0x03300D00, T0) == hexa("050000")
    assert items.read(0x03300D00, T0 + HOUR_MS) == hexa("070000")
    assert (items.read(0x03010000, T0 + HOUR_MS) or b"").hex() == "00" * 6 + "020000" + "00" * 9
    assert (items.read(0x03300D03, T0 + HOUR_MS) or b"") == bytes(60)
    assert items.read(0x03350001, T0 + HOUR_MS) is None
    assert items.read(0x03300D0B, T0 + HOUR_MS) is None


SCENARIO = """
[clock]
start = 2026-03-02T00:00:00+08:00
[[line]]
id = "bus"
[[meter]]
id = "m1"
line = "bus"
protocol = "dlt645"
address = "123456789012"
load = { kind = "constant", p_kw = 8 }
[[meter.event]]
kind = "happened"
what = "WHAT"
at = 3600
until = 2026-03-02T01:05:00+08:00
"""


def test_a_scenario_fires_what_happens_to_a_meter(tmp_path):
    path = tmp_path / "covers.toml"
    path.write_text(SCENARIO.replace("WHAT", "cover_open"))
    (line,) = load_scenario(path).lines

    async def story() -> None:
        loop = asyncio.get_running_loop()
        (station,) = line.play(loop, LoopClock(loop, T0)).stations.values()
        assert isinstance(station, Dlt645Station)
        assert station.items.happened == (Happened("cover_open", T0 + HOUR_MS, T0 + HOUR_MS + 5 * MINUTE_MS),)

    run_virtual(story())
    path.write_text(SCENARIO.replace("WHAT", "cover_opened"))
    with pytest.raises(ScenarioMistake, match="cover_opened"):
        load_scenario(path)
