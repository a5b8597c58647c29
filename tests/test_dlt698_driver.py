"""DL/T 698.45 on a link: questions are planned, lists fall back, blocks are joined, and no value is an older one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from drivers.dlt698 import Dlt698Driver, open_driver, raw_of, requests, wire_bytes
from drivers.dlt698.driver import MOST_BLOCKS
from drivers.dlt698.items import layout, outcomes
from drivers.dlt698.planning import MOST_ANSWER, REFUSED_FOR_MS
from drivers.gate import GateRefused
from drivers.link import Framing, MemoryLink
from edge_agent.model import (
    UNIT,
    DeviceSpec,
    Frame,
    Gap,
    Identity,
    LinkSpec,
    Outcome,
    Profile,
    Quantity,
    Reading,
    Register,
)
from edge_agent.ports import BadReply, NoReply
from edge_agent.settings import check, link_rules
from edge_agent.settings.mistake import SiteError
from edge_agent.settings.profile import load_profile
from simulator.line.virtual import run_virtual
from tests.meters import read_profile
from tests.on_698 import ENERGY, METER, NOBODY_KNOWS, VOLTAGES, Clock, block, energies, framed, got, result, u32, volts

ROOT = Path(__file__).parent.parent
PROFILE = ROOT / "config/profiles/dlt698-3p.toml"
ITEMS = tomllib.loads((ROOT / "tests/vectors/dlt698/items.toml").read_text("utf-8"))["item"]
WORKED = tomllib.loads((ROOT / "tests/vectors/dlt698/frames.toml").read_text("utf-8"))["get"]

E = ("active_energy_import", "oad:00100200/1", "u32", "kWh", 0.01)
U = tuple((f"voltage_l{n}", f"oad:20000200/{n}", "u16", "V", 0.1) for n in (1, 2, 3))
F = ("frequency", "oad:200F0200", "u16", "Hz", 0.01)
FREQUENCY = 0x200F0200
VALUES = {ENERGY: energies(500), VOLTAGES: volts(2205, 2214, 2199), FREQUENCY: b"\x12\x13\x8a"}
READ = {
    "active_energy_import": 5000.0,
    "voltage_l1": 220.5,
    "voltage_l2": 221.4,
    "voltage_l3": 219.9,
    "frequency": 50.02,
}


def register(quantity: str, address: str, kind: str, unit: str, scale: float = 1.0, **more: Any) -> Register:
    return Register(Quantity(quantity), address, kind, unit, scale, **more)


def meter(*registers: Register, most: int = 8, address: str = METER) -> DeviceSpec:
    return DeviceSpec("m1", "l", 0, Profile("p", "dlt698", "p", "p", "primary", most, registers), address=address)


def request_of(*rows: tuple[Any, ...], most: int = 8):
    (request,) = requests(meter(*(register(*row) for row in rows), most=most))
    return request


class Asked:
    """What one question of ours said: its number, its attributes, or the block that was received."""

    def __init__(self, frame: bytes) -> None:
        apdu = frame[4:][14:-3]
        self.kind, self.piid = apdu[1], apdu[2]
        rest = apdu[4:] if self.kind == 2 else apdu[3:]
        self.oads = (
            [] if self.kind == 5 else [int.from_bytes(rest[i : i + 4], "big") for i in range(0, len(rest) - 1, 4)]
        )
        self.received = int.from_bytes(rest[:2], "big") if self.kind == 5 else -1


class Line:
    """A driver and a far end that answers as it is told; `asked` are the attributes of each question."""

    def __init__(self, answer: Callable[[Asked], bytes | None], clock: Clock | None = None) -> None:
        self.answer = answer
        self.asked: list[list[int]] = []
        self.link = MemoryLink(self._reply, now_ms=clock or Clock())
        self.driver = Dlt698Driver(self.link, 0.02, clock or Clock())

    def _reply(self, frame: bytes) -> bytes | None:
        asked = Asked(frame)
        self.asked.append(asked.oads)
        return self.answer(asked)

    def read(self, request) -> dict[str, object]:
        return said(asyncio.run(self.driver.read(request)))


def said(found: list[Outcome]) -> dict[str, object]:
    shown: dict[str, object] = {}
    for outcome in found:
        match outcome:
            case Reading():
                shown[outcome.quantity] = pytest.approx(outcome.value, rel=1e-12)
            case Identity():
                shown[outcome.quantity] = outcome.text
            case Gap():
                shown[outcome.quantity] = str(outcome.cause)
    assert len(shown) == len(found)
    return shown


def right(asked: Asked) -> bytes:
    return framed(METER, got(asked.piid, *(result(oad, VALUES.get(oad, NOBODY_KNOWS)) for oad in asked.oads)))


def error(asked: Asked, code: int = 2) -> bytes:
    return framed(METER, bytes((0xEE, asked.piid, code, 0, 0)))


# --- items


@pytest.mark.parametrize("case", ITEMS, ids=lambda c: c["name"])
def test_items(case):
    """Through the package: the value stands in an answer as a meter sends it."""
    written = {k: v for k, v in case["register"].items() if k != "not_available"}
    item = register(
        written["quantity"], written["address"], written["type"], written["unit"], written.get("scale", 1.0),
        not_available=tuple(case["register"].get("not_available", ())),
    )  # fmt: skip
    oad = int(item.address[4:12], 16)
    line = Line(lambda asked: framed(METER, got(asked.piid, result(oad, bytes.fromhex(case["hex"])))))
    (request,) = requests(meter(item))
    (outcome,) = asyncio.run(line.driver.read(request))
    match outcome:
        case Reading():
            assert outcome.value == pytest.approx(case["value"])
            assert outcome.step == pytest.approx(case["step"])
        case Identity():
            assert outcome.text == case["text"]
        case Gap():
            assert outcome.cause == case["gap"]
            assert item.address in outcome.detail


@pytest.mark.parametrize("case", WORKED, ids=lambda c: c["name"])
def test_the_standards_worked_answers_read_as_they_say(case):
    row = case["register"]
    item = register(row["quantity"], row["address"], row["type"], row["unit"], row.get("scale", 1.0))
    frame = Frame(b"", framed(METER, bytes.fromhex(case["answer"])), 0)
    assert raw_of(item, frame) == bytes.fromhex(case["raw"])
    from drivers.dlt698.codec import Got, understood

    said = understood(bytes.fromhex(case["answer"]))
    assert isinstance(said, Got)
    (outcome,) = outcomes(layout((item,)), "m1", {r.oad: r.found for r in said.results}, 0, frame)
    if "text" in case:
        assert isinstance(outcome, Identity)
        assert outcome.text == case["text"]
    else:
        assert isinstance(outcome, Reading)
        assert (outcome.value, outcome.step) == (case["value"], case["step"])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("voltage_l1", "di:02010100", "u16", "V"), "is not like oad:00100200"),
        (("voltage_l1", "oad:20000200/0", "u16", "V"), "is not like oad:00100200"),
        (("voltage_l1", "oad:20000200", "bcd3.1", "V"), "type 'bcd3.1' is not known"),
        (("voltage_l1", "oad:20000200", "ascii", "V"), "'ascii' is a text, the quantity is not"),
        (("meter_serial", "oad:40020200", "u32", ""), "'u32' is a number, the quantity is not"),
        (("voltage_l1", "oad:20000200", "u16", "A"), "'A' cannot become 'V'"),
    ],
)
def test_a_register_that_cannot_be_read_as_it_says_is_named(row, says):
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        request_of(row)


def test_raw_octets_are_those_of_the_value_and_of_nothing_else():
    reply = framed(METER, got(3, result(ENERGY, energies(7)), result(VOLTAGES, volts(2205))))
    frame = Frame(b"", b"\xfe" + reply, 0)
    assert raw_of(register(*E), frame) == u32(7)
    assert raw_of(register(*U[1]), frame) == b""
    assert raw_of(register(*F), frame) == b""


# --- questions


def test_one_question_lists_several_attributes_each_once():
    line = Line(right)
    assert line.read(request_of(E, *U, F)) == READ
    assert line.asked == [[ENERGY, VOLTAGES, FREQUENCY]]


def test_a_meter_that_knows_no_lists_is_asked_one_by_one():
    planned = requests(meter(*(register(*row) for row in (E, *U, F)), most=1))
    assert [[r.quantity for r in q.registers] for q in planned] == [[E[0]], [u[0] for u in U], [F[0]]]
    line = Line(right)
    assert [line.read(q) for q in planned][1] == {k: v for k, v in READ.items() if k.startswith("voltage")}
    assert [len(oads) for oads in line.asked] == [1, 1, 1]


def test_no_question_asks_for_more_than_a_meter_sends_at_once():
    demands = [register("maximum_demand", f"oad:10{n:02X}0200/9", "demand", "kW", 0.0001) for n in range(16, 32)]
    planned = requests(meter(*demands, most=16))
    assert [len(q.registers) for q in planned] == [2] * 8
    assert all(wire_bytes(q)[1] < MOST_ANSWER for q in planned)


def test_what_goes_over_the_wire_is_what_was_reckoned():
    line = Line(right)
    request = request_of(E, *U, F)
    line.read(request)
    sent, expected = wire_bytes(request)
    (frame,) = line.link.frames
    assert sent == len(frame.request)
    assert expected == 4 + len(frame.reply) - 5  # of the energy's rates only the total is wanted


@pytest.mark.parametrize("code", [1, 2])
def test_a_list_that_is_refused_is_asked_attribute_by_attribute_from_then_on(code):
    line = Line(lambda asked: error(asked, code) if asked.kind == 2 else right(asked))
    request = request_of(E, *U, F)
    assert line.read(request) == READ
    assert line.read(request) == READ
    singles = [[ENERGY], [VOLTAGES], [FREQUENCY]]
    assert line.asked == [[ENERGY, VOLTAGES, FREQUENCY], *singles, *singles]


def test_one_illegible_value_does_not_cost_the_others():
    """A text padded with zeros, which the package takes for no text: only its own attribute is lost."""
    text = ("rated_voltage", "oad:41040200", "ascii", "")
    padded = {**VALUES, 0x41040200: b"\x0a\x06220V\0\0"}

    def answer(asked: Asked) -> bytes:
        return framed(METER, got(asked.piid, *(result(oad, padded[oad]) for oad in asked.oads)))

    line = Line(answer)
    request = request_of(E, F, text)
    assert line.read(request) == dict.fromkeys((E[0], F[0], "rated_voltage"), "bad_reply")
    assert line.read(request) == {E[0]: 5000.0, F[0]: 50.02, "rated_voltage": "bad_reply"}
    assert line.asked[1:] == [[ENERGY, FREQUENCY, 0x41040200], [ENERGY], [FREQUENCY], [0x41040200]]


def test_a_living_meter_that_keeps_silent_at_a_list_is_asked_attribute_by_attribute():
    clock = Clock()
    line = Line(lambda asked: None if asked.kind == 2 else right(asked), clock)
    request, other = request_of(E, F), request_of(*U)
    for _ in range(3):
        with pytest.raises(NoReply):
            line.read(request)
        clock.ms += 1_000
        line.read(other)
    assert line.read(request) == {E[0]: 5000.0, F[0]: 50.02}


def test_a_dead_meters_lists_stay_lists():
    line = Line(lambda asked: None)
    request = request_of(E, F)
    for _ in range(5):
        with pytest.raises(NoReply):
            line.read(request)
    assert line.asked == [[ENERGY, FREQUENCY]] * 5


def test_an_attribute_that_is_refused_is_a_gap_with_its_words_and_asked_again_after_an_hour():
    clock = Clock()
    line = Line(right, clock)
    request = request_of(E, ("voltage_l12", "oad:2FFF0200", "u16", "V", 0.1))
    for _ in range(3):
        energy, gap = asyncio.run(line.driver.read(request))
        assert isinstance(energy, Reading)
        assert isinstance(gap, Gap)
        assert gap.cause == "refused"
        assert "no such object (DAR 6)" in gap.detail
    assert line.asked == [[ENERGY, 0x2FFF0200], [ENERGY], [ENERGY]]
    clock.ms += REFUSED_FOR_MS
    line.read(request)
    assert line.asked[-1] == [ENERGY, 0x2FFF0200]


def test_a_meter_that_refuses_everything_is_not_asked_for_an_hour():
    clock = Clock()
    line = Line(lambda asked: framed(METER, bytes.fromhex("90 00 04 01020304 00")), clock)
    request = request_of(E)
    for _ in range(3):
        (gap,) = asyncio.run(line.driver.read(request))
        assert isinstance(gap, Gap)
        assert (gap.cause, "security module" in gap.detail) == ("refused", True)
    assert line.asked == [[ENERGY]]
    clock.ms += REFUSED_FOR_MS
    line.answer = right
    assert line.read(request) == {E[0]: 5000.0}


# --- blocks


def in_blocks(asked: Asked, piid: list[int], wrong: int = 0) -> bytes:
    """An attribute in each block."""
    order = [ENERGY, VOLTAGES, FREQUENCY]
    if asked.kind != 5:
        piid[:] = [asked.piid]
    number = asked.received + 1
    oad = order[(number + wrong * (number > 0)) % 3]
    return framed(METER, block(piid[0], number, number == 2, result(oad, VALUES[oad])))


def test_blocks_are_joined_in_order():
    line = Line(lambda asked: in_blocks(asked, piid))
    piid: list[int] = []
    found = asyncio.run(line.driver.read(request_of(E, *U, F)))
    assert said(found) == READ
    frame = found[0].frame
    assert frame is not None
    assert (frame.request.count(b"\x68"), len(line.asked)) == (3, 3)
    assert raw_of(register(*F), frame) == VALUES[FREQUENCY]


def test_blocks_of_other_attributes_bring_no_value():
    piid: list[int] = []
    with pytest.raises(BadReply, match="blocks of other objects than asked"):
        Line(lambda asked: in_blocks(asked, piid, wrong=1)).read(request_of(E, *U, F))


def test_a_meter_that_never_ends_is_not_followed_for_ever():
    def answer(asked: Asked) -> bytes:
        return framed(METER, block(asked.piid, asked.received + 1, False, result(ENERGY, energies(1))))

    line = Line(answer)
    with pytest.raises(BadReply, match="no end after"):
        line.read(request_of(E, F))
    assert len(line.asked) == MOST_BLOCKS


# --- late answers on a line


@settings(max_examples=60, deadline=None)
@given(
    delays=st.lists(st.sampled_from([0.0, 0.1, 0.9, 1.1, 2.5, 7.0, 30.0]), min_size=4, max_size=10),
    pause_s=st.sampled_from([0.0, 0.5, 3.0]),
)
def test_no_value_is_older_than_the_question_that_was_asked_for_it(delays, pause_s):
    """Each answer tells when its question was asked, and comes as late as the line likes, also out of turn."""
    taken = late = 0

    async def story() -> None:
        nonlocal taken, late
        loop = asyncio.get_running_loop()
        waiting = iter(delays)

        def answer(frame: bytes) -> None:
            asked = Asked(frame)
            when_ms = round(loop.time() * 1000)
            reply = framed(METER, got(asked.piid, result(ENERGY, energies(when_ms))))
            loop.call_later(next(waiting, 0.0) + 0.001, link.come, reply)

        link = MemoryLink(answer, framing=Framing(), now_ms=lambda: round(loop.time() * 1000))
        driver = Dlt698Driver(link, 1.0, link.now_ms)
        request = request_of(E)
        for _ in range(len(delays)):
            began_ms = round(loop.time() * 1000)
            try:
                (found,) = await driver.read(request)
            except (NoReply, BadReply):
                late += 1
            else:
                assert isinstance(found, Reading)
                assert found.value >= 10 * began_ms - 10
                taken += 1
            await asyncio.sleep(pause_s)

    run_virtual(story())
    event(f"taken {min(taken, 3)}, late {min(late, 3)}")
    assert taken + late == len(delays)
    assert late >= sum(d > 1 for d in delays)
    assert late == 0 or max(delays) > 1


def test_a_late_meter_is_reported_as_one():
    clock = Clock()
    kept: list[Asked] = []
    line = Line(kept.append, clock)
    with pytest.raises(NoReply):
        line.read(request_of(E))
    clock.ms += 3_000
    line.link.come(right(kept[0]))
    line.answer = right
    line.read(request_of(E))
    seen = line.driver.latency("m1")
    assert seen is not None
    assert (seen.late_s, seen.answers) == (3.0, 1)


def test_a_driver_is_opened_on_a_link_that_others_may_share_and_cannot_write():
    link = MemoryLink(lambda frame: right(Asked(frame)))
    driver = open_driver(link, LinkSpec("l", "serial", timeout_s=1.0), Clock())
    assert said(asyncio.run(driver.read(request_of(E)))) == {E[0]: 5000.0}
    with pytest.raises(GateRefused):
        driver.link.write(framed(METER, bytes.fromhex("06 01 01 40 00 02 00 1C 07 E0 01 14 10 1B 0B 00"), control=0x43))


# --- the profile


def test_the_profile_reads_its_frames():
    """Each question of the profile is exactly one written question, and each register exactly one expected outcome."""
    recorded = tomllib.loads((ROOT / "tests/vectors/profiles/dlt698-3p.toml").read_text("utf-8"))
    exchanges = {bytes.fromhex(r["request"]): bytes.fromhex(r["reply"]) for r in recorded["reply"]}
    profile = read_profile(PROFILE)
    device = DeviceSpec("m1", "line", recorded["unit"], profile)

    async def poll() -> list[Outcome]:
        driver = Dlt698Driver(MemoryLink(exchanges.pop), 1.0, lambda: 0)
        return [o for request in requests(device) for o in await driver.read(request)]

    found = asyncio.run(poll())
    assert exchanges == {}
    expected = {q: value for r in recorded["reply"] for q, value in r["readings"].items()}
    shown: dict[str, object] = {}
    for outcome in found:
        match outcome:
            case Reading():
                shown[outcome.quantity] = [pytest.approx(outcome.value, rel=1e-12), UNIT[outcome.quantity]]
            case Identity():
                shown[outcome.quantity] = outcome.text
            case Gap():
                shown[outcome.quantity] = f"gap: {outcome.cause}"
    assert len(found) == len(shown) == len(profile.registers)
    assert shown == expected


def test_the_profile_agrees_with_the_packages_own_catalogue():
    """Type and scale of every register whose object the package knows are those of Annex E."""
    from dlt698.model import Oad
    from dlt698.standard import find_attribute

    names = {"uint8": "u8", "uint16": "u16", "uint32": "u32", "int16": "i16", "int32": "i32", "visible_string": "ascii",
             "octet_string": "digits", "date_time_s": "clock", "bit_string": "bits"}  # fmt: skip
    powers = {
        "kWh": 0,
        "kvarh": 0,
        "kVAh": 0,
        "kW": 0,
        "W": 0,
        "var": 0,
        "VA": 0,
        "V": 0,
        "A": 0,
        "Hz": 0,
        "1": 0,
        "min": 0,
    }
    known = 0
    for r in read_profile(PROFILE).registers:
        number = int(r.address[4:12], 16)
        if number >> 24 == 0x30:
            continue  # events: not in the catalogue
        found = find_attribute(Oad(oi=number >> 16, attribute=number >> 8 & 0xFF, index=0))
        assert found is not None, r
        known += 1
        if r.type.startswith("demand"):
            assert found.element_definition is not None
            number_of, time_of = found.element_definition.fields
            assert (names[number_of.type.name], names[time_of.type.name]) == ("u32", "clock")
            scaling = number_of.scaling
        else:
            assert names[(found.element_type or found.type).name] == r.type, r
            scaling = found.scaling
        if scaling is not None and r.unit in powers and r.type != "demand_time":
            assert r.scale == pytest.approx(10.0**scaling.scaler), r
    assert known > 55


def test_the_settings_read_the_profile_as_it_is_written():
    assert load_profile(PROFILE) == read_profile(PROFILE)


def test_the_profile_leaves_the_line_time_for_others():
    """Octets and pauses of all questions at 9600 8E1, against the time between them."""
    share = sum(
        (sum(wire_bytes(q)) * 11 / 9600 + 0.1) / q.every_s for q in requests(meter(*read_profile(PROFILE).registers))
    )
    assert 0.02 < share < 0.10


WRITTEN = """profile = "dlt698-test"
driver = "dlt698"
source = "test"
side = "secondary"
max_registers = 8

[[register]]
quantity = "active_energy_import"
address = "oad:00100200/1"
type = "u32"
unit = "kWh"
scale = 0.01
"""

MISTAKES = {
    "an identifier of 645": (
        "oad:00100200/1",
        "di:00010000",
        'is no DL/T 698.45 object attribute; such as "oad:00100200"',
    ),
    "seven digits": ("oad:00100200/1", "oad:0010020/1", "is no DL/T 698.45 object attribute"),
    "value 0": ("oad:00100200/1", "oad:00100200/0", "is no DL/T 698.45 object attribute"),
    "a type of 645": ('"u32"', '"bcd6.2"', "u8, u16, u32"),
    "a text": ('"u32"', '"ascii"', "one is a number, one a text"),
    "another unit": ('"kWh"', '"kW"', '"kWh"'),
}


@pytest.mark.parametrize(("right", "wrong", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_profile_is_said_in_words(tmp_path, right, wrong, says):
    path = tmp_path / "dlt698-test.toml"
    path.write_text(WRITTEN, encoding="utf-8")
    assert load_profile(path).registers[0].type == "u32"
    path.write_text(WRITTEN.replace(right, wrong), encoding="utf-8")
    with pytest.raises(SiteError) as caught:
        load_profile(path)
    assert any(says in m.sentence() for m in caught.value.mistakes), [m.sentence() for m in caught.value.mistakes]


# --- the extra


SITE = """
[site]
gateway = "gw-0001"
[[link]]
id = "line"
kind = "serial"
path = "/dev/serial/by-id/usb-x"
[[device]]
id = "m1"
link = "line"
address = "000012345678"
profile = "dlt698-3p"
"""


def said_of(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "site.toml"
    path.write_text(text, encoding="utf-8")
    return [s for m in check(path) if "m1" in m.key_path and ": hint: " not in (s := m.sentence())]


def test_a_site_names_such_a_meter_by_its_twelve_digits(tmp_path):
    assert said_of(tmp_path, SITE) == []
    (by_unit,) = said_of(tmp_path, SITE.replace('address = "000012345678"', "unit = 5"))[:1]
    assert "address" in by_unit
    (elsewhere,) = said_of(tmp_path, SITE.replace('kind = "serial"\npath = "/dev/serial/by-id/usb-x"',
                                                  'kind = "modbus-tcp"\nhost = "192.168.1.5"'))  # fmt: skip
    assert "dlt698" in elsewhere


def test_without_the_extra_the_site_check_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(link_rules, "find_spec", lambda name: None)
    (missing,) = said_of(tmp_path, SITE)
    assert 'pip install "edge-agent[dlt698]"' in missing


def test_without_the_extra_the_driver_says_what_to_install_and_listening_still_knows_the_protocol():
    """In a process of its own, where the package cannot be found."""
    code = """
import sys
sys.modules["dlt698"] = None
from drivers.link import Framing
from drivers.link.listening import Overhearing
from drivers.gate import dlt698
question = bytes.fromhex("68 1700 43 05 070919051620 00 1560 0501014001020000 C607 16")
ear = Overhearing(Framing())
ear.hear(question, 0.0)
dlt698(question)
print(ear.heard().masters)
from drivers.dlt698 import open_driver
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "a DL/T 698.45 master that asks meter 201605190907" in done.stdout
    assert (
        'ModuleNotFoundError: DL/T 698.45 meters need the extra dlt698: pip install "edge-agent[dlt698]"' in done.stderr
    )
