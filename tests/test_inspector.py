"""An inspector with the bundle in hand and no network: from the raw frame to the finding, by pencil.

Nothing of the agent is used to get the figures: the bytes are read with `struct`, by the table of the meter's manual.
Whatever the finding says must come out, and both pages must tell it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from datetime import datetime
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from edge_agent.evidence.report import report
from edge_agent.evidence.way import way
from tests.figures import report as figure
from tests.house.tree import ROOT
from tests.in_chinese import ACCUSING, is_chinese
from tests.inspected import FACTORY, KVA, MILL, P_KW, PF, Inspected, inspect

# Acrel DTSD1352, address table: register, how it is packed, and what one count is worth.
ACTIVE, REACTIVE = (0x000A, ">I", 0.01), (0x0028, ">I", 0.01)  # kWh, kvarh, import
VOLTS = [(0x0061 + n, ">H", 0.1) for n in range(3)]
AMPS = [(0x0064 + n, ">H", 0.01) for n in range(3)]
POWERS = [(0x0164 + 2 * n, ">i", 0.001) for n in range(4)]  # kW; the last of all three phases
FACTORS = [(0x017C + n, ">h", 0.001) for n in range(3)]
CT = 400 / 5
S_KVA = P_KW / PF
STEP_KWH = 0.01
LANGS = ("en", "zh")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Inspected:
    return inspect(Path(tmp_path_factory.mktemp("i")))


def step_of(seen: Inspected, point: str, n: int = 1) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(seen.unpacked(point)[f"evidence/step-{n:03d}.json"])
    return document


def page_of(seen: Inspected, point: str, lang: str) -> str:
    """As it is read: without tags."""
    page = seen.unpacked(point)[f"report.{lang}.html"].decode()
    return unescape(re.sub(r"<[^>]*>", "\n", re.sub(r"<style.*?</style>|<svg.*?</svg>", " ", page, flags=re.DOTALL)))


def words_of(request: str, reply: str) -> dict[int, bytes]:
    """Modbus TCP, function 3: the two bytes of each register that was asked for, by its number."""
    transaction, _, _, unit, function, first, count = struct.unpack(">HHHBBHH", bytes.fromhex(request))
    raw = bytes.fromhex(reply)
    assert struct.unpack(">HHHBBB", raw[:9]) == (transaction, 0, len(raw) - 6, unit, function, 2 * count)
    assert function == 3
    return {first + n: raw[9 + 2 * n : 11 + 2 * n] for n in range(count)}


def value_of(words: dict[int, bytes], register: tuple[int, str, float]) -> float:
    number, packed, worth = register
    own = b"".join(words[number + n] for n in range(struct.calcsize(packed) // 2))
    return float(struct.unpack(packed, own)[0]) * worth


def all_words(frames: list[tuple[str, str]]) -> dict[int, bytes]:
    return {number: own for request, reply in frames for number, own in words_of(request, reply).items()}


def measured(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {m["name"]: m for m in document["said"]["measured"]}


def fact(document: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [f for f in document["said"]["facts"] if f["name"] == name]
    return dict(found)


def ratio(text: str) -> float:
    primary, secondary = text.split("/")
    return float(primary) / float(secondary)


def tells(seen: Inspected, point: str, *said: str) -> None:
    for lang in LANGS:
        page = page_of(seen, point, lang)
        missing = [each for each in said if each not in page]
        assert not missing, f"report.{lang}.html of {point} does not tell: {missing}"


# -- the worked example ---------------------------------------------------------------------------------------------


def by_hand(document: dict[str, Any]) -> dict[str, float]:
    """Mean powers between the readings at both ends, kW and kvar on the primary side, and what a step is worth."""
    ends = [document["registers"][end] for end in ("start", "end")]
    words = [all_words(end["frames"]) for end in ends]
    k, powers, hours = ratio(fact(document, "ct")["value"]), [], 0.0
    for quantity, register in (("reactive_energy_import", REACTIVE), ("active_energy_import", ACTIVE)):
        start_ms, end_ms = (end["registers"][quantity][2] for end in ends)  # when each was read
        hours = (end_ms - start_ms) / 3_600_000
        powers.append(k * (value_of(words[1], register) - value_of(words[0], register)) / hours)
    q, p = powers
    return {"p": p, "q": q, "s": math.hypot(p, q), "worth": k * STEP_KWH / hours, "seconds": 3600 * hours,
            "start_kwh": value_of(words[0], ACTIVE), "end_kwh": value_of(words[1], ACTIVE)}  # fmt: skip


def test_the_load_of_the_worked_example_comes_out_of_the_frames(seen: Inspected):
    document = step_of(seen, FACTORY)
    hand = by_hand(document)
    named = measured(document)
    assert hand["p"] == pytest.approx(P_KW, abs=2 * hand["worth"])
    assert hand["s"] == pytest.approx(S_KVA, abs=2 * hand["worth"])
    for name, key in (("active_w", "p"), ("reactive_var", "q"), ("apparent_va", "s")):
        low, value, high = (named[name][n] / 1000 for n in ("low", "value", "high"))
        assert low <= hand[key] <= high, name
        assert low < value < high
        assert value == pytest.approx(hand[key], abs=2 * hand["worth"])
        assert high - low <= 6.5 * hand["worth"], "the bounds are some steps of the register, and nothing more"
    assert named["apparent_va"]["low"] / 1000 <= S_KVA <= named["apparent_va"]["high"] / 1000, "258.82 kVA lies within"
    sample = all_words([(f["request"], f["reply"]) for f in document["frames"]])
    own = CT * value_of(sample, (0x017A, ">I", 0.001))
    assert own == pytest.approx(S_KVA, abs=CT * 0.001), "one sample of the meter's own apparent power"
    assert own / KVA == pytest.approx(1.0353, abs=0.0004)
    tells(seen, FACTORY, "0x017A", f"{own:.10g} kVA", f"{100 * own / KVA:.2f} %")
    for n in ("low", "value", "high"):
        s = math.hypot(named["active_w"][n], named["reactive_var"][n])
        assert s == pytest.approx(named["apparent_va"][n], abs=1), "S is made of P and Q"
    figure("inspector", p_kw=round(hand["p"], 2), s_kva=round(hand["s"], 2), share=round(hand["s"] / KVA, 4),
           share_low=named["judged"]["low"], zip_bytes=seen.bundle(FACTORY).stat().st_size)  # fmt: skip


def test_its_share_of_the_contract_is_what_the_limit_was_held_against(seen: Inspected):
    document = step_of(seen, FACTORY)
    said, named = document["said"], measured(document)
    running = fact(document, "capacity")["value"]
    assert running == said["capacity"]["running"] == 1000 * KVA
    assert ratio(fact(document, "ct")["value"]) == said["k"] == CT
    assert {f["state"] for f in said["facts"]} == {"verified"}
    judged, own = named["judged"]["low"], named["apparent_va"]["low"] / running
    assert judged <= own + 2 / running, "in whole VA"
    if judged < own - 2 / running:  # the other way of measuring gives a lower bound: the smaller one counts
        assert said["sources"] == 2
        assert "of two ways the smaller one counts" in way_of(document)
    else:
        assert "of two ways the smaller one counts" not in way_of(document)
    assert named["apparent_va"]["value"] / running == pytest.approx(1.0353, abs=0.03)
    assert named["judged"]["low"] > said["threshold"]["value"] == 1.0
    released(document)
    (notice,) = [x for x in document["release"]["levels"] if x["above"] == said["threshold"]["value"]]
    assert (notice["severity"], notice["open"]["k"], notice["open"]["n"]) == (document["severity"], 1, 1)
    quarter(document)


def way_of(document: dict[str, Any]) -> str:
    return "".join(way(document, document, [], "en"))


def test_its_pages_tell_every_figure(seen: Inspected):
    files = seen.unpacked(FACTORY)
    steps = [json.loads(files[n]) for n in sorted(files) if n.startswith("evidence/")]
    judged = next(d for d in reversed(steps) if d["window"] == steps[-1]["window"] and len(d["registers"]) == 2)
    hand, named = by_hand(judged), measured(judged)
    words = all_words(judged["registers"]["end"]["frames"])
    shares = [f"{100 * named['apparent_va'][n] / 1000 / KVA:.2f} %" for n in ("value", "high")]
    shares.append(f"{math.floor(100 * 100 * named['apparent_va']['low'] / 1000 / KVA) / 100:.2f} %")
    band = [f"{named['apparent_va'][n] / 1000:.2f}" for n in ("low", "value", "high")]
    tells(
        seen, FACTORY, "0x000A", "0x0028", (words[0x0A] + words[0x0B]).hex(" "), f"{hand['end_kwh']:.10g} kWh",
        f"{hand['start_kwh']:.10g} kWh", f"{hand['seconds']:.10g}", f"{hand['p']:.2f} kW", f"{hand['q']:.2f} kvar",
        f"{hand['s']:.2f} kVA", *band, *shares,
        "acrel-dtsd1352", "400/5", "250 kVA", "cap-over-contract@1", judged["release"]["digest"], "2026-01-05",
        judged["window"]["end_local"], judged["window"]["end"], "0000200001",
    )  # fmt: skip


# -- one current transformer the wrong way round -----------------------------------------------------------------------


def powers_by_hand(document: dict[str, Any]) -> dict[str, Any]:
    """U I cos phi of each phase and what is shown, W on the primary side."""
    words = all_words([(f["request"], f["reply"]) for f in document["frames"]])
    k = ratio(fact(document, "ct")["value"])
    u = [value_of(words, r) for r in VOLTS]
    i = [k * value_of(words, r) for r in AMPS]
    cos = [abs(value_of(words, r)) for r in FACTORS]
    shown = [1000 * k * value_of(words, r) for r in POWERS]
    made = [u[n] * i[n] * cos[n] for n in range(3)]
    return {"u": u, "i": i, "cos": cos, "shown": shown, "made": made, "words": words}


def test_the_phase_that_runs_backwards_comes_out_of_the_frames(seen: Inspected):
    document = step_of(seen, MILL)
    hand, named = powers_by_hand(document), measured(document)
    each = [s / m for s, m in zip(hand["shown"][:3], hand["made"], strict=True)]
    assert each == pytest.approx([1, -1, 1], abs=0.02)
    whole = hand["shown"][3] / sum(hand["made"])
    assert whole == pytest.approx(1 / 3, abs=0.01)
    assert sum(hand["shown"][:3]) == pytest.approx(hand["shown"][3], abs=3 * 80)
    for n in range(3):
        assert named[f"voltage_l{n + 1}_v"]["value"] == pytest.approx(hand["u"][n], abs=1e-3)
        assert named[f"current_l{n + 1}_a"]["value"] == pytest.approx(hand["i"][n], abs=1e-3)
        assert named[f"active_power_l{n + 1}_w"]["value"] == pytest.approx(hand["shown"][n], abs=1e-3)
        assert named[f"ratio_l{n + 1}"]["value"] == pytest.approx(each[n], abs=1e-4)
    assert named["ratio"]["value"] == pytest.approx(whole, abs=1e-4)
    off = abs(whole - 1)
    assert named["judged"]["low"] == pytest.approx(off - document["release"]["params"]["tolerance"], abs=1e-4)
    assert (named["pattern"]["text"], named["at"]["text"]) == ("one_reversed", "L2")
    assert named["judged"]["low"] > document["said"]["threshold"]["value"] == 0.2
    assert (document["severity"], document["said"]["route"]) == ("major", "metering")
    released(document)
    figure("inspector wiring", ratio=round(whole, 4), l2=round(each[1], 4), judged_low=named["judged"]["low"],
           zip_bytes=seen.bundle(MILL).stat().st_size)  # fmt: skip


def test_its_pages_tell_every_phase(seen: Inspected):
    document = step_of(seen, MILL)
    hand, words = powers_by_hand(document), powers_by_hand(document)["words"]
    second = (words[0x166] + words[0x167]).hex(" ")
    said = [second, str(struct.unpack(">i", bytes.fromhex(second))[0]), "0x0166", "i32", "0x0062", "0x0065", "0x017D"]
    for n in range(3):
        said += [f"{hand['u'][n]:.10g}", f"{hand['i'][n]:.10g}", f"{hand['cos'][n]:.10g}"]
        said += [f"{hand['made'][n] / 1000:.3f}", f"{hand['shown'][n] / 1000:.3f}"]
    whole = hand["shown"][3] / sum(hand["made"])
    said += [f"{whole:.4f}", f"{abs(whole - 1):.4f}", "1/3", "L2", "0.02"]
    tells(seen, MILL, *said, "met-power-consistency@1", document["release"]["digest"], "400/5", "0000200002")


# -- both ------------------------------------------------------------------------------------------------------------


def released(document: dict[str, Any]) -> None:
    """The parameters are those of the file that was published, to the byte."""
    said = document["said"]
    topic, _, version = said["release"].partition("@")
    text = (ROOT / f"config/releases/{topic}.toml").read_bytes()
    assert said["params_digest"] == f"sha-256:{hashlib.sha256(text).hexdigest()}"
    assert document["release"]["digest"] == hashlib.sha256(text).hexdigest()
    assert (document["release"]["name"], version) == (said["release"], "1")


def quarter(document: dict[str, Any]) -> None:
    """Whole quarters of an hour, the same instants in local time and in UTC."""
    window = document["window"]
    for end in ("start", "end"):
        utc, local = (datetime.fromisoformat(window[name]) for name in (end, f"{end}_local"))
        assert utc == local
        assert (local.minute % 15, local.second) == (0, 0)
    assert window["zone"] == "Asia/Shanghai"


@pytest.mark.parametrize("point", [FACTORY, MILL])
def test_the_bundle_says_how_its_bytes_are_to_be_read(seen: Inspected, point: str):
    document = step_of(seen, point)
    table = document["devices"][document["meter"]]
    assert (table["profile"], table["side"]) == ("acrel-dtsd1352", "secondary")
    assert "manual" in table["source"]
    registers = table["registers"]
    for quantity, (number, packed, worth) in {
        "active_energy_import": ACTIVE, "reactive_energy_import": REACTIVE, "voltage_l2": VOLTS[1],
        "current_l2": AMPS[1], "active_power_l2": POWERS[1], "active_power": POWERS[3], "power_factor_l2": FACTORS[1],
    }.items():  # fmt: skip
        assert int(registers[quantity]["address"].removeprefix("holding:"), 16) == number
        assert registers[quantity]["type"] == {">I": "u32", ">H": "u16", ">i": "i32", ">h": "i16"}[packed]
        assert (registers[quantity]["scale"], registers[quantity]["order"]) == (worth, "ABCD")


@pytest.mark.parametrize("point", [FACTORY, MILL])
def test_both_pages_say_who_is_asked_what_is_not_known_and_accuse_nobody(seen: Inspected, point: str):
    route = {FACTORY: ("customer inspection", "用电检查"), MILL: ("the metering department", "计量")}[point]
    for lang, asked, unknown in (("en", route[0], "What is not known"), ("zh", route[1], "尚不清楚的事项")):
        page = page_of(seen, point, lang)
        assert asked in page
        assert unknown in page
        assert not [word for word in ACCUSING if word in page]
        sources = [d["source"] for d in step_of(seen, point)["devices"].values()]
        assert "?" not in page.replace(sources[0], "")
        assert "{" not in page
    english, chinese = (page_of(seen, point, lang) for lang in LANGS)
    assert "serial was not read" in english
    assert "未读到其编号" in chinese
    assert "whether the transformers on site have this ratio was not measured" in english
    assert "verified 2026-01-05" in english
    assert "已核实 2026-01-05" in chinese


@pytest.mark.parametrize("point", [FACTORY, MILL])
def test_what_the_verb_explains_is_in_both_languages_and_both_times(seen: Inspected, point: str):
    english, chinese = seen.said[point]["en"], seen.said[point]["zh"]
    is_chinese(chinese)
    for text in (english, chinese):
        assert seen.findings[point] in text
        instants = re.findall(r"([-0-9]+ [:0-9]+)\+08:00 \[([-0-9T:.]+)Z\]", text)
        assert len(instants) >= 3
        for local, utc in instants:
            late = datetime.fromisoformat(f"{utc}Z") - datetime.fromisoformat(f"{local}+08:00")
            assert 0 <= late.total_seconds() < 1, "the same instant, to the second"
        assert len(re.findall("Z", text)) == len(instants), "no instant without its local time"
    assert figures_of(english) == figures_of(chinese)
    told = {
        FACTORY: ("of its running capacity of 250 kVA", "为运行容量 250 kVA 的"),
        MILL: ("like one current transformer reversed, at L2", "如同一只电流互感器反接，位于 L2"),
    }[point]
    assert told[0] in english
    assert told[1] in chinese


def test_every_excerpt_of_the_guide_is_what_the_program_says(seen: Inspected):
    """To the word; figures, instants and digests are of another run."""
    guide = (ROOT / "docs/inspector.md").read_text("utf-8")
    said = {
        alike(row)
        for point in (FACTORY, MILL)
        for lang in LANGS
        for row in (*seen.said[point][lang].splitlines(), *rows_of(seen, point, lang))
    }
    shown = [row for block in re.findall(r"```text\n(.*?)```", guide, re.DOTALL) for row in block.splitlines()]
    assert len(shown) > 40
    assert [row for row in shown if alike(row) not in said] == []


def rows_of(seen: Inspected, point: str, lang: str) -> list[str]:
    """A page line by line, the cells of a table with a stroke between them."""
    page = re.sub(
        r"<style.*?</style>|<svg.*?</svg>", " ", seen.unpacked(point)[f"report.{lang}.html"].decode(), flags=re.S
    )
    page = re.sub(r"</t[dh]>", " | ", re.sub(r"</(?:tr|p|h\d|li|table)>", "\n", page))
    return unescape(re.sub(r"<[^>]*>", "", page)).splitlines()


def alike(row: str) -> str:
    row = re.sub(r"\b(?:[0-9a-f]{2} )+[0-9a-f]{2}\b|\b[0-9a-f]{12,}", "H", row)
    return " ".join(re.sub(r"\d+(?:\.\d+)?", "#", row).split()).rstrip(" |")


@pytest.mark.parametrize("lang", LANGS)
def test_what_was_frozen_before_it_said_how_bytes_are_read_still_makes_a_page(seen: Inspected, lang: str):
    for point in (FACTORY, MILL):
        document = {k: v for k, v in step_of(seen, point).items() if k not in {"devices", "meter"}}
        message = json.loads(seen.unpacked(point)["messages/001.json"])
        step = {**message["data"], "severity": message["severity"], "time": message["time"]}
        page = report([step], [document], [], lang)
        assert document["frames"][0]["reply"][:2] in page
        assert page.count("<h1>") == 2


def figures_of(text: str) -> set[str]:
    """Numbers with a digit behind the point: powers, shares, voltages."""
    return set(re.findall(r"-?\d+\.\d+", text))
