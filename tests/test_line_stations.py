"""Stations on the simulated line as a stranger hears them: Modbus RTU and DL/T 645, byte for byte, with every fault.

Questions and replies are put together and taken apart by tests/lines.py, from the standards alone.
"""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from simulator.faults import ON_DLMS, ON_TCP, Fault, FaultKind
from simulator.line.modbus_rtu import crc
from simulator.line.station import Turnaround
from simulator.line.virtual import run_virtual
from tests.lines import (
    READ_SMALL,
    T0,
    Desk,
    ask_rtu,
    crc16,
    dlt_parts,
    dlt_station,
    pdu_of,
    read_item,
    rtu_station,
    virtually,
)

METER = "123456789012"
LOG_METER = "558890213594"


def hexa(text: str) -> bytes:
    return bytes.fromhex(text)


# --- Modbus RTU ----------------------------------------------------------------------------------------------------


def test_the_crc_is_the_standards():
    assert crc(hexa("0104004800 02")).to_bytes(2, "little") == hexa("F1DD")
    assert crc(hexa("02 07")).to_bytes(2, "little") == hexa("41 12")  # MODBUS over Serial Line V1.02, appendix B
    assert crc(b"123456789") == 0x4B37  # CRC-16/MODBUS check value
    chance = Random(1)
    for _ in range(300):
        data = chance.randbytes(chance.randrange(0, 260))
        assert crc(data) == crc16(data)


@virtually
async def test_a_unit_answers_registers_and_refuses_the_rest():
    desk = Desk()
    station = rtu_station(desk.line)
    desk.hang(station)
    block = pdu_of(await desk.ask(ask_rtu(1, READ_SMALL)), 1)
    assert block[:2] == b"\x04\x14"
    assert struct.unpack(">f", block[2:6])[0] == 8000.0
    assert struct.unpack(">f", block[6:10])[0] == pytest.approx(400 / math.sqrt(3))
    for refused, reply in {
        "04 0064 0002": "84 02",
        "04 0000 0000": "84 03",
        "04 0000 003D": "84 03",
        "04 0000": "84 03",
        "03 0000 0002": "83 02",
        "01 0000 0001": "81 01",
        "07": "87 01",
        "2B 0E 01 00": "AB 01",
    }.items():
        assert pdu_of(await desk.ask(ask_rtu(1, refused)), 1) == hexa(reply), refused
    assert station.writes_seen == 0


@virtually
async def test_writes_are_refused_and_counted_even_when_they_go_to_everybody():
    desk = Desk()
    stations = [rtu_station(desk.line, unit) for unit in (1, 2)]
    desk.hang(*stations)
    writes = ("05 0000 FF00", "06 0000 0001", "0F 0000 0001 01 01", "10 0000 0001 02 0001", "16 0000 0000 0000")
    for write in writes:
        pdu = hexa(write)
        assert pdu_of(await desk.ask(ask_rtu(1, write)), 1) == bytes((pdu[0] | 0x80, 1))
        assert await desk.ask(ask_rtu(0, write)) == b""
    assert await desk.ask(ask_rtu(0, READ_SMALL)) == b""
    assert [station.writes_seen for station in stations] == [2 * len(writes), len(writes)]


@virtually
async def test_bits_and_identification_are_the_standards():
    desk = Desk()
    coils = [i in {0, 2, 3, 6, 7, 8, 9} for i in range(10)]
    desk.hang(rtu_station(desk.line, bits={"coil": coils}, identity=("Acme", "AM-3", "V2.11")))
    assert pdu_of(await desk.ask(ask_rtu(1, "01 0000 000A")), 1) == hexa("01 02 CD 03")
    assert pdu_of(await desk.ask(ask_rtu(1, "01 0002 0003")), 1) == hexa("01 01 03")
    assert pdu_of(await desk.ask(ask_rtu(1, "01 0008 0003")), 1) == hexa("81 02")
    assert pdu_of(await desk.ask(ask_rtu(1, "02 0000 0001")), 1) == hexa("82 02")
    named = pdu_of(await desk.ask(ask_rtu(1, "2B 0E 01 00")), 1)
    assert named == hexa("2B 0E 01 81 00 00 03 00 04") + b"Acme" + hexa("01 04") + b"AM-3" + hexa("02 05") + b"V2.11"
    assert pdu_of(await desk.ask(ask_rtu(1, "2B 0E 04 01")), 1) == hexa("2B 0E 04 81 00 00 01 01 04") + b"AM-3"
    assert pdu_of(await desk.ask(ask_rtu(1, "2B 0E 04 07")), 1) == hexa("AB 02")
    assert pdu_of(await desk.ask(ask_rtu(1, "2B 0E 03 00")), 1) == hexa("AB 03")


@virtually
async def test_who_is_not_meant_and_what_is_broken_meets_silence():
    desk = Desk()
    station = rtu_station(desk.line)
    desk.hang(station)
    good = ask_rtu(1, READ_SMALL)
    assert await desk.ask(ask_rtu(2, READ_SMALL)) == b""
    assert await desk.ask(good[:-1]) == b""
    assert await desk.ask(b"\x01") == b""
    for bit in range(len(good) * 8):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        assert await desk.ask(bytes(flipped), 0.2) == b""
    assert station.unit.counts.requests == 0
    assert len(await desk.ask(good)) == 25


@virtually
async def test_turnaround_has_its_own_length_and_jitter():
    desk = Desk()
    desk.hang(rtu_station(desk.line, turnaround=Turnaround(0.04, 0.02, Random(5))))
    tap = desk.line.tap()
    for _ in range(200):
        await desk.ask(ask_rtu(1, READ_SMALL), 0.2)
    thought = [s.start_s - q.end_s for q, s in zip(tap.by("master"), tap.by("unit 1"), strict=True)]
    assert 0.04 <= min(thought) < 0.042
    assert 0.058 < max(thought) <= 0.06


# --- faults, both protocols ----------------------------------------------------------------------------------------

Asked = Callable[..., Any]


def rtu_desk(*faults: Fault) -> tuple[Desk, bytes]:
    desk = Desk()
    desk.hang(rtu_station(desk.line, 1, *faults))
    return desk, ask_rtu(1, READ_SMALL)


def dlt_desk(*faults: Fault) -> tuple[Desk, bytes]:
    desk = Desk()
    desk.hang(dlt_station(desk.line, METER, *faults))
    return desk, read_item(METER, "0203FF00")


def spoilt(heard: bytes, right: bytes) -> dict[str, bool]:
    return {
        "silence": heard == b"",
        "right": heard == right,
        "as long": len(heard) == len(right),
        "begins right": 0 < len(heard) < len(right) and right.startswith(heard),
        "right inside": len(heard) > len(right) and right in heard,
    }


SEEN: dict[FaultKind, str] = {
    FaultKind.SILENCE: "silence",
    FaultKind.LATE: "right",
    FaultKind.SPLIT: "right",
    FaultKind.WRONG_CHECK: "as long",
    FaultKind.CUT_FRAME: "begins right",
    FaultKind.NOISE: "right inside",
    FaultKind.WRONG_PARITY: "silence",
    FaultKind.WRONG_UNIT: "as long",
    FaultKind.WRONG_FUNCTION: "as long",
}
"""What the raw bytes show."""


@pytest.mark.parametrize("desk_of", [rtu_desk, dlt_desk])
@pytest.mark.parametrize("kind", SEEN, ids=str)
def test_a_fault_shows_in_the_bytes_while_it_is_in_force(kind: FaultKind, desk_of: Asked):
    async def story() -> None:
        fault = Fault(kind, T0 + 10_000, T0 + 20_000, delay_ms=3)
        desk, question = desk_of(fault)
        right = await desk.ask(question)
        assert right
        await asyncio.sleep(10)
        heard = await desk.ask(question)
        assert spoilt(heard, right)[SEEN[kind]]
        assert (heard == right) == (SEEN[kind] == "right")
        await asyncio.sleep(10)
        assert await desk.ask(question) == right
        assert fault.truth
        assert fault.struck == (kind is not FaultKind.WRONG_PARITY)

    run_virtual(story())


def test_every_fault_that_a_line_can_have_is_tested_here():
    alone = {
        FaultKind.EXCEPTION,
        FaultKind.BUSY,
        FaultKind.SHORT,
        FaultKind.HOLE,
        FaultKind.SWAPPED,
        FaultKind.STUCK,
        FaultKind.HELD,
        FaultKind.NAN,
        FaultKind.NOT_AVAILABLE,
    }
    assert set(SEEN) | alone | ON_TCP | ON_DLMS == set(FaultKind)


@virtually
async def test_what_is_wrong_is_wrong_in_one_thing_only():
    desk, question = rtu_desk(Fault(FaultKind.WRONG_CHECK))
    frame = await desk.ask(question)
    assert crc16(frame[:-2]) ^ int.from_bytes(frame[-2:], "little") == 0x0100
    desk, question = rtu_desk(Fault(FaultKind.WRONG_UNIT))
    assert pdu_of(await desk.ask(question), 2)[:2] == b"\x04\x14"
    desk, question = rtu_desk(Fault(FaultKind.WRONG_FUNCTION))
    assert pdu_of(await desk.ask(question), 1)[:2] == b"\x03\x14"
    desk, question = rtu_desk(Fault(FaultKind.SHORT))
    assert pdu_of(await desk.ask(question), 1)[:2] == b"\x04\x12"
    desk, question = dlt_desk(Fault(FaultKind.WRONG_CHECK))
    frame = (await desk.ask(question)).lstrip(b"\xfe")
    assert (sum(frame[:-2]) & 0xFF) ^ frame[-2] == 1
    desk, question = dlt_desk(Fault(FaultKind.WRONG_UNIT))
    assert dlt_parts(await desk.ask(question))[0] == "123456789013"
    desk, question = dlt_desk(Fault(FaultKind.SHORT))
    assert len(dlt_parts(await desk.ask(question))[2]) == 4 + 11


@virtually
async def test_exceptions_and_busy_have_their_codes():
    for fault, rtu, dlt in (
        (Fault(FaultKind.EXCEPTION, code=11), b"\x84\x0b", b"\x0b"),
        (Fault(FaultKind.BUSY), b"\x84\x06", b"\x01"),
    ):
        desk, question = rtu_desk(fault)
        assert pdu_of(await desk.ask(question), 1) == rtu
        desk, question = dlt_desk(fault)
        assert dlt_parts(await desk.ask(question)) == (METER, 0xD1, dlt)


@virtually
async def test_a_late_reply_can_come_after_the_next_question():
    desk = Desk()
    desk.hang(rtu_station(desk.line, 1, Fault(FaultKind.LATE, T0, T0 + 500, delay_ms=1480)))
    first = await desk.ask(ask_rtu(1, "04 0000 0002"), 1.2)
    assert first == b""
    desk.ear.carrier.write(ask_rtu(1, "04 0002 0002"))
    await asyncio.sleep(1.0)
    replies = [data for _, data in desk.ear.heard]
    assert [pdu_of(reply, 1)[2:] for reply in replies] == [
        struct.pack(">f", 400 / math.sqrt(3)),
        struct.pack(">f", 8000),
    ]


@virtually
async def test_a_late_reply_collides_with_the_next_question_when_they_meet():
    desk = Desk()
    desk.hang(rtu_station(desk.line, 1, Fault(FaultKind.LATE, T0, T0 + 500, delay_ms=1000)))
    await desk.ask(ask_rtu(1, READ_SMALL), 0.02 + 1.0 + 12 * 10 / 9600)
    desk.ear.carrier.write(ask_rtu(1, READ_SMALL))
    await asyncio.sleep(1)
    assert desk.line.counts.collisions == 1
    with pytest.raises(AssertionError):
        pdu_of(desk.ear.came, 1)


@virtually
async def test_a_hole_refuses_what_spans_it_and_nothing_else():
    hole = Fault(FaultKind.HOLE, address="input:0x0005", count=2)
    desk, question = rtu_desk(hole)
    assert pdu_of(await desk.ask(question), 1) == b"\x84\x02"
    assert pdu_of(await desk.ask(ask_rtu(1, "04 0000 0005")), 1)[:2] == b"\x04\x0a"
    assert pdu_of(await desk.ask(ask_rtu(1, "04 0007 0003")), 1)[:2] == b"\x04\x06"
    assert pdu_of(await desk.ask(ask_rtu(1, "04 0006 0001")), 1) == b"\x84\x02"
    assert hole.struck == 2


@virtually
async def test_a_display_can_stick_swap_and_show_nothing():
    stuck = Fault(FaultKind.STUCK, T0 + 450_000, quantity="active_energy_import")
    swapped = Fault(FaultKind.SWAPPED, T0, T0 + 450_000, quantity="active_power")
    desk, _ = rtu_desk(stuck, swapped)
    energy, power = ask_rtu(1, "04 0008 0002"), ask_rtu(1, "04 0000 0002")
    assert pdu_of(await desk.ask(power), 1)[2:] == hexa("0000 45FA")
    await asyncio.sleep(1000)
    assert pdu_of(await desk.ask(power), 1)[2:] == hexa("45FA 0000")
    assert pdu_of(await desk.ask(energy), 1)[2:] == hexa("00000001")
    await asyncio.sleep(1000)
    assert pdu_of(await desk.ask(energy), 1)[2:] == hexa("00000001")  # and not 4 kWh
    desk, _ = rtu_desk(Fault(FaultKind.NOT_AVAILABLE, quantity="active_energy_import"))
    assert pdu_of(await desk.ask(energy), 1)[2:] == hexa("0000FFFF")
    desk, _ = dlt_desk(
        Fault(FaultKind.NOT_AVAILABLE, quantity="active_power_l2"),
        Fault(FaultKind.HELD, value=-1.5, quantity="active_power"),
    )
    data = dlt_parts(await desk.ask(read_item(METER, "0203FF00")))[2][4:]
    assert (data[:3], data[6:9]) == (hexa("150080"), hexa("FFFFFF"))


@virtually
async def test_a_fault_can_strike_every_third_time():
    fault = Fault(FaultKind.SILENCE, one_in=3)
    desk, question = rtu_desk(fault)
    assert [bool(await desk.ask(question)) for _ in range(9)] == [True, True, False] * 3
    assert (fault.met, fault.struck) == (9, 3)


@virtually
async def test_two_devices_at_one_address_spoil_each_other():
    desk = Desk()
    twins = [
        rtu_station(desk.line, 1, name=name, turnaround=Turnaround(s)) for name, s in (("a", 0.020), ("b", 0.0243))
    ]
    desk.hang(*twins)
    with pytest.raises(AssertionError):
        pdu_of(await desk.ask(ask_rtu(1, READ_SMALL)), 1)
    assert desk.line.counts.collisions == 1
    assert [twin.unit.counts.requests for twin in twins] == [1, 1]


@virtually
async def test_two_protocols_share_a_line_and_neither_minds_the_other():
    desk = Desk()
    rtu = [rtu_station(desk.line, unit) for unit in (1, 0x68)]
    dlt = [dlt_station(desk.line, address) for address in (METER, "686868686868")]
    desk.hang(*rtu, *dlt)
    for _ in range(3):
        for station in rtu:
            pdu_of(await desk.ask(ask_rtu(station.unit_id, READ_SMALL)), station.unit_id)
        for meter in dlt:
            assert dlt_parts(await desk.ask(read_item(meter.address, "00010000")))[:2] == (meter.address, 0x91)
    assert [s.unit.counts.requests for s in rtu] + [s.counts.requests for s in dlt] == [3] * 4
    assert [s.writes_seen for s in rtu] + [s.writes_seen for s in dlt] == [0] * 4
    assert desk.line.counts.collisions == 0
