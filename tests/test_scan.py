"""Scan: who hangs on a line, found without a word of configuration, and never against another master."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from drivers.dlt645 import survey as dlt645_survey
from drivers.dlt645.frame import encode
from drivers.link import Framing, MemoryLink, framing_of
from drivers.modbus import survey as modbus_survey
from edge_agent.model import LinkSpec
from edge_agent.sighting import Seen, Sighting
from edge_agent.survey import Place, Report, Wanted, scan
from edge_agent.survey.place import Setting
from edge_agent.survey.seekers import settings, surveys
from simulator.line.virtual import run_virtual
from simulator.scenario import scenarios_dir
from tests.figures import report as figure
from tests.lines import virtually
from tests.rtu_line import LoopClock as BootClock
from tests.survey_line import NOON_S, Stamp, SurveyLine, Told, scenario_line

MASTER_EXCHANGES = int(os.environ.get("EDGE_PROVE_SECOND_MASTER", "300"))
SCANS = 20
EXCHANGE_S = 0.865
EVERYTHING = Wanted()

HEAD = """
[clock]
start = 2026-03-02T08:00:00+08:00

[[line]]
id = "a"
"""

METER = """
[[meter]]
id = "%s"
line = "a"
profile = "acrel-dtsd1352"
unit = %d
load = { kind = "constant", p_kw = 8 }
"""

DLT_METER = """
[[meter]]
id = "%s"
line = "a"
protocol = "dlt645"
address = "%s"
load = { kind = "constant", p_kw = 8 }
"""

MASTER = """
[[line.master]]
id = "terminal"
period_s = %s
first_s = %s
timeout_ms = 500
ask = [{ unit = 1, function = 3, register = 10, count = 2 }, { unit = 2, function = 3, register = 10, count = 2 }]
"""


def scanned(
    tmp_path: Path, text: str, wanted: Wanted = EVERYTHING, *, listens: bool = False, **link: Any
) -> tuple[Report, SurveyLine]:
    """The scan of a line that is written down like a scenario. `listens`: the line was not asked on lately."""
    path = tmp_path / "scenario.toml"
    path.write_text(text)

    async def story() -> tuple[Report, SurveyLine]:
        line = scenario_line(path, **link)
        line.stamp.fresh = not listens
        found = await scan(line.place(), wanted, line.told)
        assert line.played.writes_seen == 0
        return found, line

    return run_virtual(story())


def seen(report: Report, kind: Seen = Seen.DEVICE) -> list[str]:
    return sorted(f.sighting.address for f in report.found if f.sighting.seen is kind)


# --- what hangs there ----------------------------------------------------------------------------------------------


def test_the_mixed_line_is_found_without_configuration():
    async def story() -> None:
        line = scenario_line("rs485")
        await asyncio.sleep(NOON_S)
        found = await scan(line.place(), Wanted(), line.told)
        assert seen(found) == ["1", "123456789012", "2", "3"]
        assert {f.setting for f in found.found} == {Setting(9600, "N")}
        texts = {f.sighting.address: dict(f.sighting.texts) for f in found.found}
        assert texts["1"] == {"vendor": "Acrel", "product": "DTSD1352", "revision": "1.0"}
        assert texts["2"] == {}
        assert found.complete
        assert found.listened_s == 60
        assert found.spent_s < found.worst_s == found.limit_s
        assert line.played.writes_seen == 0
        assert line.stamp.marks > 400
        figure("scan of the mixed line", devices=4, seconds=round(found.spent_s), worst_s=round(found.worst_s))

    run_virtual(story())


@pytest.mark.parametrize(("baud", "parity"), [(2400, "E"), (9600, "E"), (19200, "E"), (38400, "N"), (1200, "N")])
def test_speed_and_parity_are_found(tmp_path: Path, baud: int, parity: str):
    text = (scenarios_dir() / "rs485.toml").read_text().replace("baud = 9600", f"baud = {baud}")
    found, _ = scanned(tmp_path, text.replace('parity = "N"', f'parity = "{parity}"'))
    assert seen(found) == ["1", "123456789012", "2", "3"]
    assert found.setting == Setting(baud, parity)
    assert found.complete
    assert found.spent_s < found.limit_s


def test_a_line_that_is_set_otherwise_than_the_site_file_says_is_found(tmp_path: Path):
    path = tmp_path / "scenario.toml"
    path.write_text(HEAD + METER % ("a", 1) + METER % ("b", 2))

    async def story() -> None:
        line = scenario_line(path, parity="E")
        line.stamp.fresh = True
        found = await scan(line.place(), Wanted(), line.told)
        assert seen(found) == ["1", "2"]
        assert {f.setting for f in found.found} == {Setting(9600, "N")}
        assert found.tried[:2] == [Setting(9600, "E"), Setting(9600, "N")]

    run_virtual(story())


@pytest.mark.parametrize("right", ["N", "O", ""])
def test_a_device_that_overlooks_a_wrong_parity_is_garbled_until_its_own_is_tried(right: str):
    """It takes any question at 19200 baud and answers in its own parity; "": in none that anybody understands."""
    answer = bytes.fromhex("05 03 02 12 34 44 F3")

    def opened(spec: LinkSpec) -> MemoryLink:
        def reply(question: bytes) -> bytes | None:
            if spec.baud != 19200 or question[:2] not in {b"\x05\x03", b"\x05\x04"}:
                return None
            whole = answer if question[1] == 3 else bytes.fromhex("05 84 01 C3 01")
            return whole if spec.parity == right else bytes(byte ^ 0x81 for byte in whole)

        return MemoryLink(reply, framing=framing_of(spec))

    async def story() -> None:
        spec = LinkSpec("bus-1", "serial", path="/dev/ttyUSB0", baud=19200, parity="E")
        place = Place(spec, BootClock(), stamp=Stamp(fresh=True), open_link=opened)
        found = await scan(place, Wanted(), Told())
        tried = [Setting(19200, "E"), Setting(19200, "N"), Setting(19200, "O")]
        if right:
            assert [(f.sighting.address, f.sighting.seen, f.setting) for f in found.found] == [
                ("5", Seen.DEVICE, Setting(19200, right))
            ]
            assert found.tried == tried[: 2 if right == "N" else 3]
        else:
            assert seen(found, Seen.GARBLED) == ["5"]
            assert found.tried[:3] == tried
            assert len(found.tried) > 10
            assert any("another parity" in advice for advice in found.advice())
        assert found.complete

    run_virtual(story())


def test_a_unit_that_no_glance_has_asked_is_found_and_the_late_one_is_itself(tmp_path: Path):
    """Unit 40 answers after 0.5 s, while its neighbours are being asked: neither of them is credited with it."""
    slow = METER % ("slow", 40) + "turnaround_ms = 500\n"
    found, _ = scanned(tmp_path, HEAD + METER % ("far", 200) + slow)
    assert seen(found) == ["200", "40"]
    assert any("late" in f.sighting.detail for f in found.found if f.sighting.address == "40")


def test_a_slow_line_finds_no_neighbour_of_anybody(tmp_path: Path):
    units = [3, 7, 8, 20]
    meters = "".join(
        METER % (f"m{u}", u) + f"turnaround_ms = {ms}\n" for u, ms in zip(units, (350, 420, 260, 610), strict=True)
    )
    found, _ = scanned(tmp_path, HEAD + meters, Wanted(units=range(1, 33)))
    assert set(seen(found)) <= {str(u) for u in units}
    assert {"3", "20"} <= set(seen(found))


def test_only_what_is_asked_for_is_tried(tmp_path: Path):
    wanted = Wanted(units=range(1, 4), bauds=(9600, 4800), parities=("E",))
    found, line = scanned(tmp_path, HEAD + METER % ("m", 9), wanted)
    assert found.found == []
    assert found.tried == [Setting(9600, "E"), Setting(4800, "E")]
    assert all(len(s.data) < 8 or s.data[0] in {1, 2, 3, 0xFE} for s in line.tap.by("technician"))


def test_a_silent_line_says_what_to_look_at(tmp_path: Path):
    found, line = scanned(tmp_path, HEAD + "baud = 300\n" + METER % ("m", 1))
    assert found.found == []
    assert found.complete
    assert 600 < found.spent_s <= found.worst_s
    (advice,) = found.advice()
    assert "A and B swapped" in advice
    assert "120 ohm" in advice
    assert "9600 8N1, 2400 8E1" in advice
    assert line.told.asked[-1][1] <= line.told.asked[-1][2] == found.limit_s


def test_when_the_time_is_over_what_was_found_stands(tmp_path: Path):
    found, _ = scanned(tmp_path, HEAD + METER % ("a", 2) + METER % ("b", 240), Wanted(within_s=20))
    assert seen(found) == ["2"]
    assert not found.complete
    assert found.left_out == ["the rest at 9600 8N1"]
    assert 20 <= found.spent_s < 22
    found, _ = scanned(tmp_path, HEAD + METER % ("b", 240), Wanted(within_s=20))
    assert found.found == []
    assert found.left_out[0] == "2400 8E1"


def test_the_likeliest_settings_come_first_and_a_converter_has_its_own():
    tries = settings("serial", Setting(4800, "O"))
    assert tries[:4] == [Setting(4800, "O"), Setting(9600, "N"), Setting(2400, "E"), Setting(9600, "E")]
    assert len(tries) == len(set(tries)) > 12
    assert settings("tcp-serial", Setting(4800, "O")) == [Setting(4800, "O")]
    assert settings("serial", Setting(9600, "N"), bauds=[300]) == [Setting(300, "E"), Setting(300, "N")]
    assert set(surveys()) == {"modbus", "dlt645", "dlt698", "dlms"}


# --- two at one address --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first_ms", "second_ms"), [(20, 22), (20, 150)], ids=["at once", "one after the other"])
def test_two_devices_at_one_unit_are_said_to_be_two(tmp_path: Path, first_ms: int, second_ms: int):
    twins = (
        METER % ("a", 5) + f"turnaround_ms = {first_ms}\njitter_ms = 3\n"
        + METER % ("b", 5) + f"turnaround_ms = {second_ms}\njitter_ms = 3\ntwin = true\n"
    )  # fmt: skip
    found, _ = scanned(tmp_path, HEAD + METER % ("c", 1) + twins, Wanted(units=range(1, 33)))
    assert seen(found) == ["1"]
    assert [f.sighting.address for f in found.found if f.sighting.seen in {Seen.SEVERAL, Seen.GARBLED}] == ["5"]
    assert any("two devices" in advice for advice in found.advice())


def test_meters_that_answer_at_once_are_told_apart_by_their_addresses(tmp_path: Path):
    addresses = ["100000000012", "100000000013", "200000000012", "300000003412"]
    meters = "".join(DLT_METER % (f"m{n}", a) + "jitter_ms = 40\n" for n, a in enumerate(addresses))
    found, line = scanned(tmp_path, HEAD + 'baud = 2400\nparity = "E"\n' + meters, Wanted(units=range(1, 3)))
    assert seen(found) == addresses
    assert found.setting == Setting(2400, "E")
    assert found.tried == [Setting(9600, "N"), Setting(2400, "E"), Setting(2400, "N")]
    assert found.complete
    assert seen(found, Seen.GARBLED) == []
    assert line.played.writes_seen == 0
    figure("DL/T 645 addresses told apart", meters=len(addresses), seconds=round(found.spent_s))


def test_a_meter_of_1997_is_named():
    """It answers in its own way; put together by hand, since the standard has no such answer to this question."""
    old = encode("000000000017", 0x81, b"\x10\x90\x78\x56\x34\x12")
    link = MemoryLink(lambda data: old, framing=Framing(1200, "E"))

    async def story() -> list[Sighting]:
        async def leave(unclear: bool) -> None:
            pass

        return [s async for s in dlt645_survey.Seeker(link).glance((), leave)]

    (sighting,) = run_virtual(story())
    assert (sighting.address, sighting.seen) == ("000000000017", Seen.UNSUPPORTED)
    assert "1997" in sighting.detail


# --- other masters -------------------------------------------------------------------------------------------------


def test_a_second_master_is_heard_before_anything_is_asked():
    async def story() -> None:
        line = scenario_line("busy-line", baud=2400, parity="E", settlement=True)
        found = await scan(line.place(), Wanted(), line.told)
        assert line.written == 0
        assert found.found == []
        assert "a DL/T 645 master that asks meters 123456789012, 123456789013 at 2400 8E1" in found.objection
        assert "second RS-485 port" in found.objection
        assert found.heard == ("a DL/T 645 master that asks meters 123456789012, 123456789013",)
        assert len(found.left_out) > 10
        assert not line.stamp.fresh

    run_virtual(story())


def test_a_second_master_at_another_speed_is_somebody_who_speaks(tmp_path: Path):
    busy = HEAD + "baud = 4800\n" + MASTER % (5, 3) + METER % ("a", 1) + METER % ("b", 2)
    found, line = scanned(tmp_path, busy, listens=True)
    assert line.written == 0
    assert "a Modbus RTU master that asks units 1, 2 at 4800 8N1" in found.objection
    rare = HEAD + "baud = 4800\n" + MASTER % (100, 3) + METER % ("a", 1) + METER % ("b", 2)
    found, line = scanned(tmp_path, rare, listens=True)
    assert line.written == 0
    assert "somebody speaks on this line" in found.objection


@pytest.mark.parametrize("baud", [9600, 4800], ids=["at our speed", "at another speed"])
def test_a_second_master_stops_the_scan_in_the_middle(tmp_path: Path, baud: int):
    """The terminal begins when the listening is over: it loses hardly more than the exchange that told of it."""
    text = HEAD + f"baud = {baud}\n" + MASTER % (2, 75) + METER % ("a", 1) + METER % ("b", 2)
    found, line = scanned(tmp_path, text, Wanted(parities=("N",)), listens=True)
    assert line.written > 0
    assert "on this line" in found.objection
    assert found.spent_s < 75 - 60 + 200
    terminal = line.played.masters["terminal"].counts
    last_said_s = line.tap.by("technician")[-1].end_s
    assert last_said_s < 75 + 6
    assert terminal.lost <= 3
    assert not line.stamp.fresh


def test_twenty_scans_cost_another_master_nothing(tmp_path: Path):
    """A scan that listens stops before its first question. The control asks the same without listening to anybody."""
    asked, lost, written = beside_a_terminal(tmp_path, scans_that_listen)
    assert asked >= MASTER_EXCHANGES
    assert (lost, written) == (0, 0)
    control_asked, control_lost, control_written = beside_a_terminal(tmp_path, questions_alone)
    assert control_written > 1000
    assert control_lost > 0
    figure(
        "second master while scan is started", exchanges=asked, scans=SCANS, lost=lost,
        control_exchanges=control_asked, control_lost=control_lost,
    )  # fmt: skip


async def scans_that_listen(line: SurveyLine) -> None:
    """Twenty of them, spread over the terminal's exchanges; every second one begins at the wrong speed."""
    master, objected = line.played.masters["terminal"], 0
    for n in range(SCANS):
        await asyncio.sleep(EXCHANGE_S * max(0, n * MASTER_EXCHANGES // (SCANS + 1) - master.counts.asked))
        line.stamp.forget()
        found = await scan(line.place(), Wanted(bauds=(19200, 38400) if n % 2 else ()), line.told)
        objected += "on this line there is" in found.objection
    await asyncio.sleep(EXCHANGE_S * max(0, MASTER_EXCHANGES + 1 - master.counts.asked))
    assert objected == SCANS


async def questions_alone(line: SurveyLine) -> None:
    async def leave(unclear: bool) -> None:
        pass

    place = line.place()
    link = (await place.at(Setting(19200, "E"))).link
    link.ear = None
    _ = [s async for s in modbus_survey.Seeker(link).look(range(1, 248), leave)]
    await place.close()


def beside_a_terminal(tmp_path: Path, work: Callable[[SurveyLine], Awaitable[None]]) -> tuple[int, int, int]:
    """Exchanges of a terminal that asks all the time meanwhile, how many it lost, and the bytes that we said."""
    path = tmp_path / "scenario.toml"
    path.write_text(HEAD + MASTER % (2 * EXCHANGE_S, 2) + METER % ("a", 1) + METER % ("b", 2))

    async def story() -> tuple[int, int, int]:
        line = scenario_line(path)
        master = line.played.masters["terminal"]
        await work(line)
        master.stop()
        return master.counts.asked, master.counts.lost, line.written

    return run_virtual(story())


# --- over TCP ------------------------------------------------------------------------------------------------------


def test_a_device_that_does_not_look_at_the_unit_is_one(monkeypatch: pytest.MonkeyPatch):
    link = MemoryLink(
        lambda q: (
            q[:4] + b"\0\x05" + q[6:8] + b"\x02\x12\x34" if q[7] == 3 else q[:4] + b"\0\x03" + bytes((q[6], 0xAB, 1))
        )
    )
    found = run_virtual(looked(link))
    assert [(s.address, s.detail) for s in found] == [
        ("1", "answers at every unit: one device that does not look at it")
    ]


def test_a_gateways_nobody_there_is_nobody():
    def gateway(q: bytes) -> bytes:
        if q[6] == 9:
            return q[:4] + b"\0\x03" + bytes((9, q[7] | 0x80, 2))
        return q[:4] + b"\0\x03" + bytes((q[6], q[7] | 0x80, 11))

    assert [s.address for s in run_virtual(looked(MemoryLink(gateway)))] == ["9"]


async def looked(link: MemoryLink) -> list[Sighting]:
    async def leave(unclear: bool) -> None:
        pass

    seeker = modbus_survey.Seeker(link)
    found = [s async for s in seeker.glance(range(1, 33), leave)]
    return found + [s async for s in seeker.look(range(1, 248), leave)]


@virtually
async def test_an_identification_in_parts_is_read_to_its_end():
    texts = [(0, b"Maker"), (1, b"PAC-9"), (2, b"V1"), (5, b"Model nine")]

    def far_end(q: bytes) -> bytes:
        if q[7] != 0x2B:
            return q[:4] + b"\0\x03" + bytes((q[6], q[7] | 0x80, 1))
        mine = [t for t in texts if t[0] >= q[10] and (t[0] < 3 or q[9] > 1)][:2]
        rest = [t for t in texts if t[0] > mine[-1][0] and (t[0] < 3 or q[9] > 1)]
        body = bytes((q[6], 0x2B, 0x0E, q[9], 0x82, 0xFF if rest else 0, rest[0][0] if rest else 0, len(mine)))
        body += b"".join(bytes((n, len(t))) + t for n, t in mine)
        return q[:4] + len(body).to_bytes(2, "big") + body

    found = await looked(MemoryLink(far_end))
    assert dict(found[0].texts) == {"vendor": "Maker", "product": "PAC-9", "revision": "V1", "model": "Model nine"}


# --- whatever comes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["modbus", "dlt645"])
def test_whatever_is_answered_is_survived_and_nobody_else_is_credited(kind: str):
    """Right answers of others than were asked, spoilt ones, and noise: no crash, and no device that did not speak."""
    chance = Random(11)
    right = [
        bytes.fromhex("07 03 02 12 34 3D 33"), bytes.fromhex("07 83 02 61 F0"),
        bytes.fromhex("07 2B 0E 01 01 00 00 01 00 03 41 42 43"), encode("000000000017", 0x93, b"\x17" + b"\0" * 5),
        encode("000000000018", 0x91, bytes.fromhex("0000010012345678")), encode("000000000018", 0xD1, b"\x02"),
    ]  # fmt: skip
    seen_kinds: dict[str, int] = {}

    def reply(question: bytes) -> bytes | None:
        frame = bytearray(chance.choice(right))
        for _ in range(chance.choice((0, 0, 1, 3))):
            frame[chance.randrange(len(frame))] = chance.randrange(256)
        if chance.random() < 0.3:
            frame = bytearray(chance.randbytes(chance.randint(1, 40)))
        return bytes(frame) if chance.random() < 0.8 else None

    async def story() -> None:
        async def leave(unclear: bool) -> None:
            await asyncio.sleep(0)

        for _ in range(60 if kind == "modbus" else 4):
            link = MemoryLink(reply, framing=Framing(9600, "N"))
            seeker = surveys()[kind].Seeker(link)
            async for sighting in seeker.look(range(1, 12), leave):
                seen_kinds[sighting.seen] = seen_kinds.get(sighting.seen, 0) + 1
                if sighting.seen is Seen.DEVICE and kind == "modbus":
                    assert sighting.address == "7"
                if sighting.seen is Seen.DEVICE and kind == "dlt645" and sighting.frame is not None:
                    assert encode_address(sighting.address) in sighting.frame.reply

    run_virtual(story())
    assert seen_kinds.get(Seen.DEVICE, 0) > 0
    assert len(seen_kinds) > 1


def encode_address(address: str) -> bytes:
    return bytes.fromhex(address)[::-1]
