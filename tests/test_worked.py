"""The bytes of a frozen frame, read once more for the page: never a number that was not frozen."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from edge_agent.evidence.report import source_of
from edge_agent.evidence.worked import ratio_of, taken
from edge_agent.model import UNIT, Quantity
from edge_agent.settings import config_files
from edge_agent.words import sentences

FRAMES = tomllib.loads((Path(__file__).parent / "vectors/dlt645/frames.toml").read_text("utf-8"))["frame"]
NUMBERS = [f for f in FRAMES if isinstance(f.get("value"), float) and "bcd" in f["register"]["type"]]


def document(driver: str, register: dict[str, Any], value: float, request: str, reply: str) -> dict[str, Any]:
    quantity = register["quantity"]
    plain = {"order": "ABCD", "scale": 1.0, **register}
    return {
        "said": {"k": 80, "facts": [{"name": "ct", "value": "400/5"}]},
        "meter": "m1",
        "devices": {"m1": {"driver": driver, "side": "secondary", "registers": {quantity: plain}}},
        "shown": [{"device": "m1", "quantity": quantity, "value": value, "unit": UNIT[Quantity(quantity)]}],
        "frames": [{"device": "m1", "quantities": [quantity], "at": "", "request": request, "reply": reply}],
    }


@pytest.mark.parametrize("frame", NUMBERS, ids=lambda f: f["name"])
def test_a_645_frame_is_taken_apart(frame: dict[str, Any]):
    asked, answered = (frame[name].replace(" ", "") for name in ("asked", "answered"))
    (found,) = taken(document("dlt645", frame["register"], frame["value"], asked, answered))
    raw = bytes.fromhex(found.raw)
    stuffed = bytes((b + 0x33) % 256 for b in raw)
    assert bytes.fromhex(answered)[found.first - 1 :].startswith(stuffed)
    assert float(found.number) * (1000 if frame["register"]["unit"][0] == "k" else 1) == pytest.approx(frame["value"])


def test_there_were_frames_of_it():
    assert len(NUMBERS) >= 5


POWER = {"quantity": "active_power", "address": "input:0x0034", "unit": "W"}


@pytest.mark.parametrize(
    ("register", "data", "value"),
    [
        ({"type": "f32"}, "461c4000", 10_000.0),
        ({"type": "f32", "order": "CDAB"}, "4000461c", 10_000.0),
        ({"type": "i32", "order": "DCBA", "scale": 0.1}, "f0d8ffff", -1000.0),
        ({"type": "u32", "order": "BADC"}, "00001027", 10_000.0),
        ({"type": "bcd32"}, "00010000", 10_000.0),
        ({"type": "i16", "scale": 0.001, "unit": "kW"}, "d8f0", -10_000.0),
    ],
    ids=lambda x: x.get("type") if isinstance(x, dict) else None,
)
@pytest.mark.parametrize("wire", ["tcp", "rtu"])
def test_a_modbus_frame_is_taken_apart(register: dict[str, Any], data: str, value: float, wire: str):
    words = len(data) // 4
    question, answer = f"04 0033 {words + 1:04x}", f"04 {2 * words + 2:02x} ffff {data}"
    if wire == "tcp":
        request, reply = f"0001 0000 0006 01 {question}", f"0001 0000 {5 + 2 * words:04x} 01 {answer}"
    else:
        request, reply = f"01 {question} 0000", f"01 {answer} 0000"
    (found,) = taken(document("modbus", {**POWER, **register}, value, request.replace(" ", ""), reply.replace(" ", "")))
    assert found.raw.replace(" ", "") == data
    assert found.first == (12 if wire == "tcp" else 6)
    assert found.factor == 80


def test_bytes_that_say_something_else_than_was_frozen_are_shown_without_a_number():
    request, reply = "000100000006010400340002", "000100000007010404461c4000"
    (right,) = taken(document("modbus", {**POWER, "type": "f32"}, 10_000.0, request, reply))
    (wrong,) = taken(document("modbus", {**POWER, "type": "f32"}, 9_999.0, request, reply))
    (unknown,) = taken(document("dlms", {**POWER, "type": ""}, 10_000.0, request, reply))
    (cut,) = taken(document("modbus", {**POWER, "type": "f32"}, 10_000.0, request, reply[:-2]))
    assert right.number == "10000"
    assert [(t.first, t.raw, t.number) for t in (wrong, unknown, cut)] == [(0, "", "")] * 3


def test_a_ratio_is_read_where_it_is_one():
    assert [ratio_of([{"name": "ct", "value": v}], "ct") for v in ("400/5", "80", "x", "1/0")] == [80, 80, None, None]
    assert ratio_of([], "ct") is None


def test_every_source_of_a_shipped_level_is_said_in_chinese():
    sources = [
        level["source"]
        for file in sorted((config_files().shipped / "releases").glob("*.toml"))
        for level in tomllib.loads(file.read_text("utf-8"))["levels"]
    ]
    assert len(sources) > 60
    assert [s for s in sources if source_of(s, "en") != s] == []
    assert [s for s in sources if source_of(s, "zh") == s] == [], "edge_agent/words/*/limits.py does not have them"
    known = {said for code, said in sentences("en").items() if code.startswith("report.limit.")}
    assert sorted(known - set(sources)) == [], "no release says so any more"
    assert source_of("a source that nobody has translated", "zh") == "a source that nobody has translated"
