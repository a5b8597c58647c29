"""Frames that were worked out by hand or logged from a meter, at both ends: agent and simulator have a codec each.

The agent's half of the DL/T 645 frames is in `test_dlt645` and `test_dlt645_items`, from the same file of vectors.
"""

from __future__ import annotations

import math
import struct
import tomllib
from pathlib import Path
from typing import Any

import pytest

from drivers.dlt645.exchange import Session
from drivers.gate import modbus_rtu as gate_of_modbus_rtu
from drivers.modbus.rtu import RtuSession
from edge_agent.ports import BadReply, NoReply
from simulator.line import dlt645, modbus_rtu
from simulator.line.uart import Format
from simulator.line.virtual import run_virtual
from simulator.profile import SimProfile
from tests.lines import Desk, dlt_station, register, rtu_station
from tests.test_line_dlt645 import OnPaper

FRAMES = tomllib.loads((Path(__file__).parent / "vectors/dlt645/frames.toml").read_text("utf-8"))
CASES = [pytest.param(case, id=case["name"]) for case in FRAMES["frame"]]
MODBUS = bytes.fromhex("0104004800 02F1DD")
"""Two input registers at 0x0048 of unit 1."""


def item_of(case: dict[str, Any]) -> int:
    return int(case["register"]["address"].removeprefix("di:"), 16)


def hears(case: dict[str, Any], question: bytes) -> bytes:
    """What a simulated meter with the frame's value says."""

    async def story() -> None:
        desk = Desk(Format(2400, "E"))
        value = {} if "value" not in case else {case["register"]["quantity"]: case["value"]}
        if case["register"]["type"] == "demand_time":
            value = {"maximum_demand": 12_345.6}
        desk.hang(dlt_station(desk.line, case["address"], meter=OnPaper(**value), preamble=0))
        heard.append(await desk.ask(question))

    heard: list[bytes] = []
    run_virtual(story())
    return heard[0]


def test_there_are_frames_of_both_kinds():
    kinds = [("log" if case["name"].startswith("log") else "hand") for case in FRAMES["frame"] + FRAMES["address"]]
    assert (kinds.count("hand"), kinds.count("log")) == (9, 4)


@pytest.mark.parametrize("case", CASES)
def test_the_simulators_own_encoder_asks_the_same_question(case: dict[str, Any]):
    octets = dlt645.address_octets(case["address"])
    asked = dlt645.to_bytes(octets, dlt645.READ, item_of(case).to_bytes(4, "little"))
    assert asked == bytes.fromhex(case["asked"])
    assert dlt645.answers(asked, bytes.fromhex(case["answered"])) is ("gap" not in case)


@pytest.mark.parametrize("case", CASES)
def test_the_simulator_gives_the_same_answer(case: dict[str, Any]):
    assert hears(case, bytes.fromhex(case["asked"])) == bytes.fromhex(case["answered"])


@pytest.mark.parametrize("case", CASES)
def test_a_question_with_a_wrong_checksum_meets_silence(case: dict[str, Any]):
    asked = bytearray.fromhex(case["asked"])
    asked[-2] = (asked[-2] + 1) % 256
    assert hears(case, bytes(asked)) == b""


@pytest.mark.parametrize("case", CASES)
def test_an_answer_with_a_wrong_checksum_is_no_answer(case: dict[str, Any]):
    answered = bytearray.fromhex(case["answered"])
    answered[-2] = (answered[-2] + 1) % 256
    exchange = Session(lambda: 0, 2.0).ask(case["address"], item_of(case))
    assert exchange.feed(bytes(answered)) is None
    assert isinstance(exchange.expired(), BadReply | NoReply)


def test_modbus_rtu_two_input_registers():
    exchange = RtuSession().ask(1, 4, 0x0048, 2, 0.0)
    assert exchange.request == MODBUS
    gate_of_modbus_rtu(MODBUS)
    assert modbus_rtu.rtu(1, MODBUS[1:-2]) == MODBUS
    assert modbus_rtu.whole(MODBUS)
    assert exchange.feed(modbus_rtu.rtu(1, bytes.fromhex("04 04 43664000"))) == bytes.fromhex("43664000")


def test_modbus_rtu_two_input_registers_of_a_simulated_unit():
    async def story() -> None:
        desk = Desk(Format(9600))
        desk.hang(
            rtu_station(desk.line, 1, profile=SimProfile("worked", "primary", 60, (register("voltage_l1", 0x48),)))
        )
        heard.append(await desk.ask(MODBUS))

    heard: list[bytes] = []
    run_virtual(story())
    exchange = RtuSession().ask(1, 4, 0x0048, 2, 0.0)
    assert exchange.feed(heard[0]) == heard[0][3:7] == struct.pack(">f", 400 / math.sqrt(3))
