"""The simulated DL/T 645 meter: frames checked by hand, a real meter's log, addresses, blocks, and its items."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from simulator.clock import Ms
from simulator.device import Nameplate, SimMeter
from simulator.line.dlt645 import Dlt645Station
from simulator.line.dlt645_tables import PROFILE, Plate645
from simulator.line.station import Turnaround
from simulator.line.uart import Format
from simulator.line.virtual import run_virtual
from simulator.line.wire import PacedLine
from simulator.shape import constant, steps
from tests.lines import (
    T0,
    Desk,
    ask_dlt,
    dlt_parts,
    dlt_station,
    read_item,
    virtually,
)

METER = "123456789012"
LOG_METER = "558890213594"


def hexa(text: str) -> bytes:
    return bytes.fromhex(text)


# --- DL/T 645, frames checked by hand ------------------------------------------------------------------------------


class OnPaper:
    """A meter that holds what it is told to."""

    def __init__(self, **values: float | str) -> None:
        self.values = values
        self.nameplate = Nameplate("1")
        self.start_ms = T0

    def value(self, quantity: str, at_ms: Ms | None = None) -> float | str:
        return self.values.get(quantity, 0.0)

    def maximum_demand_ms(self, at_ms: Ms) -> Ms:
        return int(datetime(2026, 11, 24, 18, 45, tzinfo=timezone(timedelta(hours=8))).timestamp() * 1000)


BY_HAND = OnPaper(
    active_energy_import=123_456_780.0,
    voltage_l1=220.5,
    current_l1=5.123,
    active_power=1234.5,
    active_power_l1=-543.2,
    maximum_demand=12_345.6,
)
HEAD, LOG_HEAD = "68 129078563412 68", "68 943521908855 68"


@pytest.mark.parametrize(
    ("question", "reply"),
    [
        ("68AAAAAAAAAAAA681300DF16", f"{HEAD} 93 06 45C3AB896745 07 16"),
        (f"{HEAD} 11 04 33333433 68 16", f"{HEAD} 91 08 33333433 AB896745 CC 16"),
        (f"{HEAD} 11 04 33343435 6B 16", f"{HEAD} 91 06 33343435 3855 7A 16"),
        (f"{HEAD} 11 04 33343535 6C 16", f"{HEAD} 91 07 33343535 568433 FC 16"),
        (f"{HEAD} 11 04 33333635 6C 16", f"{HEAD} 91 07 33333635 785634 F1 16"),
        (f"{HEAD} 11 04 33343635 6D 16", f"{HEAD} 91 07 33343635 6587B3 8F 16"),
        (f"{HEAD} 11 04 33333434 69 16", f"{HEAD} 91 0C 33333434 896745 784B574459 DD 16"),
        (f"{HEAD} 11 04 32323235 66 16", f"{HEAD} D1 01 35 8D 16"),
    ],
    ids=["address", "+A", "UA", "IA", "P", "PA<0", "max", "unknown"],
)
@pytest.mark.parametrize("preamble", [0, 4])
def test_a_frame_checked_by_hand(question: str, reply: str, preamble: int):
    async def story() -> None:
        desk = Desk(Format(2400, "E"))
        desk.hang(dlt_station(desk.line, METER, meter=BY_HAND, preamble=preamble))
        heard = await desk.ask(hexa("FEFEFEFE") + hexa(question))
        assert heard == b"\xfe" * preamble + hexa(reply)

    run_virtual(story())


@pytest.mark.parametrize(
    ("question", "reply"),
    [
        ("68AAAAAAAAAAAA681300DF16", "68943521908855689306C76854C3BB884916"),
        ("68943521908855681104333334330916", "6894352190885568910833333433593533338116"),
        ("68943521908855681104333434350C16", "68943521908855689106333434357B555E16"),
        ("68943521908855681104333435350D16", "68943521908855689107333435356B35336316"),
    ],
)
def test_a_real_meters_log(question: str, reply: str):
    async def story() -> None:
        desk = Desk(Format(2400, "E"))
        meter = OnPaper(active_energy_import=2260.0, voltage_l1=224.8, current_l1=0.238)
        desk.hang(dlt_station(desk.line, LOG_METER, meter=meter, preamble=0))
        assert await desk.ask(hexa(question)) == hexa(reply)

    run_virtual(story())


@virtually
async def test_frames_that_are_broken_or_not_meant_meet_silence():
    desk = Desk()
    station = dlt_station(desk.line, METER)
    desk.hang(station)
    good = read_item(METER, "00010000")
    for bit in range(4 * 8, len(good) * 8):  # behind the preamble, which may be anything
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        assert await desk.ask(bytes(flipped)) == b"", bit
    assert await desk.ask(read_item("123456789013", "00010000")) == b""
    assert await desk.ask(ask_dlt(METER, 0x91, hexa("00000100"))) == b""  # another meter's reply, as it were
    assert station.counts.requests == 0
    assert dlt_parts(await desk.ask(good))[1] == 0x91


@virtually
async def test_preambles_doubled_starts_and_pauses_do_not_hide_a_frame():
    desk = Desk()
    desk.hang(dlt_station(desk.line, METER))
    bare = read_item(METER, "00010000")[4:]
    for before in (b"", b"\xfe", b"\xfe" * 8, b"\x68", b"\xfe\xfe\x68", b"\x00\x68\x12\x90"):
        assert dlt_parts(await desk.ask(before + bare))[1] == 0x91
    desk.ear.heard.clear()
    desk.ear.carrier.write(bare[:7])
    await asyncio.sleep(0.3)
    desk.ear.carrier.write(bare[7:])
    await asyncio.sleep(1)
    assert dlt_parts(desk.ear.came)[1] == 0x91
    desk.ear.heard.clear()
    desk.ear.carrier.write(bare[:7])
    await asyncio.sleep(1.5)  # half a second without an octet ends a frame
    desk.ear.carrier.write(bare[7:])
    await asyncio.sleep(1)
    assert desk.ear.came == b""


@virtually
async def test_short_addresses_find_their_meter():
    desk = Desk()
    desk.hang(dlt_station(desk.line, METER), dlt_station(desk.line, "123456789013", turnaround=Turnaround(0.0321)))
    for address in ("aaaaaaaa9012", "aaaaaaaaaa12"):
        assert dlt_parts(await desk.ask(read_item(address, "00010000")))[:2] == (METER, 0x91)
    with pytest.raises(AssertionError):  # both answer
        dlt_parts(await desk.ask(ask_dlt("aaaaaaaaaaaa", 0x13, b"")))
    assert desk.line.counts.collisions == 1
    assert await desk.ask(read_item("999999999999", "00010000")) == b""


@virtually
async def test_what_would_change_a_meter_is_refused_and_counted():
    desk = Desk()
    station = dlt_station(desk.line, METER)
    desk.hang(station)
    codes = (0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D)
    for control in codes:
        assert dlt_parts(await desk.ask(ask_dlt(METER, control, bytes(12)))) == (METER, control | 0xC0, b"\x04")
    assert await desk.ask(ask_dlt("999999999999", 0x08, bytes(6))) == b""  # broadcast time
    assert station.writes_seen == len(codes) + 1
    assert dlt_parts(await desk.ask(ask_dlt(METER, 0x11, b"\x00"))) == (METER, 0xD1, b"\x01")
    assert station.writes_seen == len(codes) + 1


@virtually
async def test_what_is_too_long_for_one_frame_comes_in_following_ones():
    desk = Desk()
    desk.hang(dlt_station(desk.line, METER, most_data=20))
    whole = Desk()
    whole.hang(dlt_station(whole.line, METER))
    await asyncio.sleep(3600)
    _, control, block = dlt_parts(await whole.ask(read_item(METER, "0001FF00")))
    assert (control, len(block)) == (0x91, 4 + 20)
    _, control, data = dlt_parts(await desk.ask(read_item(METER, "0001FF00")))
    assert (control, len(data)) == (0xB1, 20)
    assert data == block[:20]
    identifier = hexa("00FF0100")
    last = dlt_parts(await desk.ask(ask_dlt(METER, 0x12, identifier + b"\x01")))
    assert last == (METER, 0x92, identifier + block[20:] + b"\x01")
    assert dlt_parts(await desk.ask(ask_dlt(METER, 0x12, identifier + b"\x01"))) == last
    assert dlt_parts(await desk.ask(ask_dlt(METER, 0x12, identifier + b"\x02"))) == (METER, 0xD2, b"\x02")


@virtually
async def test_every_following_frame_but_the_last_says_that_there_is_more():
    desk = Desk()
    desk.hang(dlt_station(desk.line, METER, most_data=12))
    await asyncio.sleep(3600)
    data = dlt_parts(await desk.ask(read_item(METER, "0001FF00")))
    assert (data[1], len(data[2])) == (0xB1, 12)
    followed = [dlt_parts(await desk.ask(ask_dlt(METER, 0x12, data[2][:4] + bytes((n,))))) for n in (1, 2)]
    assert [(control, len(part), part[-1]) for _, control, part in followed] == [(0xB2, 12, 1), (0x92, 10, 2)]


@virtually
async def test_a_block_of_thirteen_months_and_five_rates_takes_two_frames():
    desk = Desk()
    desk.hang(dlt_station(desk.line, METER))
    _, control, first = dlt_parts(await desk.ask(read_item(METER, "0001FFFF"), 2))
    assert (control, len(first)) == (0xB1, 200)
    _, control, rest = dlt_parts(await desk.ask(ask_dlt(METER, 0x12, first[:4] + b"\x01"), 2))
    assert (control, rest[:4], rest[-1]) == (0x92, first[:4], 1)
    assert len(first[4:] + rest[4:-1]) == 13 * 5 * 4


@virtually
async def test_the_1997_edition_is_recognised_by_its_own_codes():
    desk = Desk(Format(1200, "E"))
    station = dlt_station(desk.line, METER, meter=BY_HAND, edition=1997, preamble=2)
    desk.hang(station)
    assert await desk.ask(read_item(METER, "00010000")) == b""
    assert await desk.ask(ask_dlt("aaaaaaaaaaaa", 0x13, b"")) == b""
    asked = ask_dlt("aaaaaaaaaaaa", 0x01, hexa("9010")[::-1])
    assert asked[4:] == hexa("68 AAAAAAAAAAAA 68 01 02 43C3") + bytes((sum(asked[4:-2]) & 0xFF, 0x16))
    reply = await desk.ask(asked)
    assert dlt_parts(reply) == (METER, 0x81, hexa("1090 78563412"))
    assert dlt_parts(await desk.ask(ask_dlt(METER, 0x01, hexa("11B6")))) == (METER, 0x81, hexa("11B6 2002"))
    assert dlt_parts(await desk.ask(ask_dlt(METER, 0x01, hexa("3333"))))[1:] == (0xC1, b"\x02")
    assert dlt_parts(await desk.ask(ask_dlt(METER, 0x04, bytes(6))))[1] == 0xC4
    assert station.writes_seen == 1


# --- DL/T 645, the items -------------------------------------------------------------------------------------------


def items_of(meter: Any, *, at_ms: Ms = T0, **more: Any) -> Callable[[str], bytes | None]:
    """Read an item without a line: its octets as they go out."""
    took: list[Dlt645Station] = []

    async def make() -> None:
        station = dlt_station(PacedLine(), METER, meter=meter)
        for name, value in more.items():
            setattr(station.items, name, value)
        station.items.__post_init__()
        took.append(station)

    run_virtual(make())
    return lambda di: took[0].items.read(int(di, 16), at_ms)


def digits(octets: bytes | None) -> str:
    assert octets is not None
    return octets[::-1].hex()


FACTORY = SimMeter(
    PROFILE,
    constant(160_000, 0.85, origin_ms=T0),
    Nameplate("000000123456", ct=80.0),
    start_ms=T0,
    registers={"active_energy_import": 1_234_560.0},
)
HOUR_MS = 3_600_000


def test_instantaneous_items_of_a_factory():
    read = items_of(FACTORY, at_ms=T0 + HOUR_MS)
    q = 160 * math.tan(math.acos(0.85)) / 80
    a = 160_000 / 0.85 / (math.sqrt(3) * 400) / 80
    assert digits(read("02010100")) == "2309"
    assert digits(read("0201FF00")) == "230923092309"
    assert float(digits(read("02020200"))) / 1000 == pytest.approx(a, abs=1e-3)
    assert digits(read("02030000")) == "020000"
    assert float(digits(read("02040000"))) / 1e4 == pytest.approx(q, abs=1e-4)
    assert float(digits(read("02050000"))) / 1e4 == pytest.approx(2 / 0.85, abs=1e-4)
    assert digits(read("02060000")) == "0850"
    assert float(digits(read("02070100"))) / 10 == pytest.approx(math.degrees(math.acos(0.85)), abs=0.1)
    assert digits(read("02800002")) == "5000"
    assert digits(read("02800004")) == "020000"
    assert float(digits(read("02800006"))) / 1e4 == pytest.approx(2 / 0.85, abs=1e-4)
    lengths = {
        "0203FF00": 12,
        "0204FF00": 12,
        "0205FF00": 12,
        "0206FF00": 8,
        "0207FF00": 6,
        "0208FF00": 6,
        "0209FF00": 6,
    }
    assert {di: len(read(di) or b"") for di in lengths} == lengths
    assert [len(read(f"028000{n:02X}") or b"") for n in range(1, 11)] == [3, 2, 3, 3, 3, 3, 2, 2, 2, 4]
    for unknown in ("02010400", "02010000", "02030001", "020A0000", "0280000B", "06000001", "FFFFFFFF"):
        assert read(unknown) is None


def test_energies_with_rates_quadrants_and_settlement_days():
    start = Nameplate("1", ct=80.0)
    curve = constant(160_000, 0.85, origin_ms=T0)
    meter = SimMeter(PROFILE, curve, start, start_ms=T0, registers={"active_energy_import": 1_000_000.0})
    april = int(datetime(2026, 4, 1, tzinfo=timezone(timedelta(hours=8))).timestamp() * 1000)
    read = items_of(meter, at_ms=april + 12 * HOUR_MS)
    hours = (april - T0) / HOUR_MS
    assert digits(read("00010000")) == f"{round((1000 + 2 * (hours + 12)) * 100):08d}"
    assert digits(read("00010001")) == f"{round((1000 + 2 * hours) * 100):08d}"  # at the settlement day
    assert digits(read("00010002")) == "00000000"  # before the meter
    rates = [int(digits(read(f"00010{n}00"))) for n in range(5)]
    assert 0 <= rates[0] - sum(rates[1:]) <= 4
    block = read("0001FF00")
    assert block == b"".join(read(f"00010{n}00") or b"" for n in range(5))
    assert len(read("000100FF") or b"") == 13 * 4
    assert read("00050000") == read("00030000") != bytes(4)  # quadrant I is all there is of I + II
    assert read("00060000") == read("00080000") == bytes(4)
    assert read("00010500") is None
    assert read("0001000D") is None
    assert read("00110000") is None
    assert int(digits(read("00150000"))) == pytest.approx(rates[0] / 3, abs=1)


def test_a_combined_energy_can_be_negative():
    curve = steps([(0, -80_000, 1.0)], origin_ms=T0)
    meter = SimMeter(PROFILE, curve, Nameplate("1", ct=80.0), start_ms=T0)
    read = items_of(meter, at_ms=T0 + HOUR_MS)
    assert (digits(read("00000000")), digits(read("00020000"))) == ("80000100", "00000100")
    assert digits(read("02030000")) == "810000"


def test_maximum_demand_has_its_time_and_none_where_it_never_happened():
    flat = constant(80_000, 1.0, origin_ms=T0)
    read = items_of(SimMeter(PROFILE, flat, Nameplate("1", ct=80.0), start_ms=T0), at_ms=T0 + HOUR_MS)
    assert digits(read("01010000")) == "2603020015" + "010000"
    assert digits(read("01010100")) == "0" * 16
    assert len(read("0101FF00") or b"") == 5 * 8
    assert read("01010001") is None
    rising = steps([(0, 80_000, 1.0), (30 * 60_000, 160_000, 1.0), (45 * 60_000, 8_000, 1.0)], origin_ms=T0)
    read = items_of(SimMeter(PROFILE, rising, Nameplate("1", ct=80.0), start_ms=T0), at_ms=T0 + HOUR_MS)
    assert digits(read("01010000")) == "2603020045" + "020000"
    read = items_of(SimMeter(PROFILE, rising, Nameplate("1", ct=80.0), start_ms=T0), at_ms=T0 + 60_000)
    assert digits(read("01010000")) == "0" * 16


def test_clock_identity_settings_status_and_events():
    counters = {"03300D00": 2, "03110000": 17, "03010000": 3, "10000001": 5}
    read = items_of(
        FACTORY,
        at_ms=T0 + 13 * HOUR_MS + 5 * 60_000 + 7_000,
        counters=counters,
        clock_error_s=61.0,
        status=(0x0004, 0, 0, 0, 0, 0, 0x8000),
        plate=Plate645(asset="A-77", period_min=15, slide_min=3),
        fixed={"04090101": hexa("1617")},
    )
    assert digits(read("04000101")) == "26030201"  # Monday
    assert digits(read("04000102")) == "130608"
    assert digits(read("0400010C")) == "26030201130608"
    assert (digits(read("04000103")), digits(read("04000104"))) == ("15", "03")
    assert (digits(read("04000306")), digits(read("04000307"))) == ("000080", "000001")
    assert (digits(read("04000401")), digits(read("04000402"))) == (METER, "000000123456")
    assert (read("04000403") or b"")[::-1].rstrip(b"\x00") == b"A-77"
    texts = {4: "220V", 5: "1.5A", 6: "6A", 7: "0.5S", 8: "2"}
    assert {n: (read(f"040004{n:02X}") or b"")[::-1].rstrip(b"\x00").decode() for n in texts} == texts
    assert [len(read(f"040004{n:02X}") or b"") for n in range(1, 14)] == [6, 6, 32, 6, 6, 6, 4, 4, 3, 3, 10, 10, 16]
    assert (read("04000501"), read("04000507")) == (b"\x04\x00", b"\x00\x80")
    assert len(read("040005FF") or b"") == 14
    assert [digits(read(di)) for di in ("03300D00", "03110000", "10000001")] == ["000002", "000017", "000005"]
    assert digits(read("03010000")) == "0" * 30 + "000003"
    assert read("04090101") == hexa("1617")
    assert [len(read(di) or b"") for di in ("04010000", "04010001", "04000106", "04000107")] == [42, 42, 5, 5]
    assert read("04000500") is None
    assert read("03200000") is None


def test_a_meter_without_the_ratio_items_says_so():
    read = items_of(FACTORY, plate=Plate645(shows_ratios=False))
    assert (read("04000306"), read("04000307")) == (None, None)


def test_daily_freezes_are_the_energies_at_midnight():
    read = items_of(FACTORY, at_ms=T0 + 34 * HOUR_MS)
    assert digits(read("05060001")) == "2603030000"
    assert digits(read("05060101"))[-8:] == "00128256"  # 1234.56 + 24 h at 2 kW
    assert digits(read("05060102"))[-8:] == "00123456"
    assert read("05060103") is None
