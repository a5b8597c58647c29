"""The lines of a scenario, under virtual time and, as somebody with a serial port meets them, behind a pty."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import statistics
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.clock import ScaledClock, boot_ms
from simulator.line.pty import PtyLine
from simulator.line.virtual import LoopClock, run_virtual
from simulator.scenario import ScenarioMistake, load_scenario, scenarios_dir
from tests.lines import (
    Ear,
    ask_rtu,
    dlt_parts,
    pdu_of,
    read_item,
)

CHAR_S = 10 / 9600


# --- scenarios -----------------------------------------------------------------------------------------------------


def test_the_mixed_line_answers_in_both_protocols():
    async def story() -> None:
        scenario = load_scenario(scenarios_dir() / "rs485.toml")
        loop = asyncio.get_running_loop()
        played = scenario.lines[0].play(loop, LoopClock(loop, scenario.start_ms))
        ear = Ear(played.carrier)
        await asyncio.sleep(36_000)  # 10:00, the peak
        energy = dlt_parts(await ear.ask(read_item("123456789012", "00010000")))
        assert energy[:2] == ("123456789012", 0x91)
        assert int(energy[2][4:][::-1].hex()) >= 123456
        assert len(pdu_of(await ear.ask(ask_rtu(1, "03 000A 0002")), 1)) == 6
        assert len(pdu_of(await ear.ask(ask_rtu(2, "04 0000 0024")), 2)) == 2 + 72
        assert pdu_of(await ear.ask(ask_rtu(2, "04 0020 0016")), 2) == b"\x84\x02"  # the hole
        assert len(pdu_of(await ear.ask(ask_rtu(3, "04 0000 0009")), 3)) == 20
        assert await ear.ask(ask_rtu(4, "04 0000 0009")) == b""
        assert (played.requests, played.writes_seen, played.line.counts.collisions) == (5, 0, 0)

    run_virtual(story())


def test_the_busy_lines_terminal_reads_all_day():
    async def story() -> None:
        scenario = load_scenario(scenarios_dir() / "busy-line.toml")
        loop = asyncio.get_running_loop()
        played = scenario.lines[0].play(loop, LoopClock(loop, scenario.start_ms))
        await asyncio.sleep(86_400)
        counts = played.masters["terminal"].counts
        assert (counts.asked, counts.answered, counts.disturbed) == (96 * 5, 96 * 5, 0)

    run_virtual(story())


LINE = """
[clock]
start = 2026-03-02T00:00:00+08:00

[[line]]
id = "a"

[[meter]]
id = "m1"
line = "a"
profile = "acrel-dtsd1352"
load = { kind = "constant", p_kw = 8 }
"""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (LINE.replace('line = "a"', 'line = "b"'), "no line 'b'"),
        (LINE.replace('id = "a"', 'id = "a"\nbaud = -1'), "no such format"),
        (LINE + '[[line]]\nid = "b"\n', "no meter hangs on it"),
        (LINE + LINE[LINE.index("[[meter]]") :].replace("m1", "m2"), "two devices at unit 1"),
        (LINE.replace('line = "a"', 'line = "a"\nprotocol = "dlt645"'), "twelve digits"),
        (LINE.replace('line = "a"', 'protocol = "dlt645"'), "hangs on a line"),
        (LINE.replace('line = "a"', 'line = "a"\nunit = 247\ncount = 2'), "no unit above 247"),
        (LINE + '[[meter.fault]]\nkind = "reset"\n', "cannot happen there"),
        (LINE.replace('line = "a"\n', "") + '[[meter.fault]]\nkind = "wrong_check"\n', "cannot happen there"),
        (LINE + '[[meter.fault]]\nkind = "hole"\n', "a hole is at"),
        (LINE + '[[line.fault]]\nkind = "cut"\nfrom = 2026-03-02T00:00:00\n', "no offset"),
    ],
)
def test_a_mistake_about_a_line_is_named(tmp_path: Path, text: str, complaint: str):
    if "[[line.fault]]" in text:  # a table of the line must stand under it
        fault = text[text.index("[[line.fault]]") :]
        text = text.replace(fault, "").replace('id = "a"\n', f'id = "a"\n{fault}')
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    with pytest.raises(ScenarioMistake, match=complaint):
        load_scenario(path)


def test_two_devices_at_one_place_are_meant_when_it_says_so(tmp_path: Path):
    twin = LINE[LINE.index("[[meter]]") :].replace("m1", "m2") + "twin = true\n"
    path = tmp_path / "scenario.toml"
    path.write_text(LINE + twin)
    assert [station.place for station in load_scenario(path).lines[0].stations] == ["unit 1", "unit 1"]


# --- the pty, in real time -----------------------------------------------------------------------------------------


class SerialPort:
    """A serial port of twenty lines."""

    def __init__(self, path: str, speed: int = termios.B9600) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.fd, termios.TCSANOW)
        attributes = termios.tcgetattr(self.fd)
        attributes[4] = attributes[5] = speed
        termios.tcsetattr(self.fd, termios.TCSANOW, attributes)
        time.sleep(0.05)  # the line looks every 10 ms whether somebody came

    def ask(self, question: bytes, length: int, wait_s: float = 2.0) -> tuple[bytes, float]:
        """The reply, and the seconds from writing to its last octet."""
        began = time.perf_counter()
        os.write(self.fd, question)
        came = b""
        while len(came) < length and select.select([self.fd], [], [], wait_s)[0]:
            came += os.read(self.fd, 4096)
        return came, time.perf_counter() - began

    def close(self) -> None:
        os.close(self.fd)


@contextlib.contextmanager
def serial_port(path: str, speed: int = termios.B9600) -> Iterator[SerialPort]:
    port = SerialPort(path, speed)
    try:
        yield port
    finally:
        port.close()


@pytest.fixture
def pty_line() -> Iterator[PtyLine]:
    scenario = load_scenario(scenarios_dir() / "rs485.toml")
    clock = ScaledClock(scenario.start_ms, 1.0, boot_ms())
    with PtyLine(scenario.lines[0], clock) as line:
        yield line


def test_a_pty_keeps_the_wires_pace(pty_line: PtyLine):
    asked = ask_rtu(1, "03 000A 0010")
    length = 5 + 2 * 16
    wire_s = (8 + length) * CHAR_S
    took = []
    with serial_port(pty_line.path) as port:
        for _ in range(20):
            reply, took_s = port.ask(asked, length)
            assert len(pdu_of(reply, 1)) == length - 3
            took.append(took_s)
            time.sleep(0.005)
    assert min(took) >= wire_s + 0.015  # the station's shortest turnaround; never sooner than the wire
    assert statistics.median(took) < wire_s + 0.020 + 0.010


def test_a_port_can_be_closed_and_opened_again_and_has_one_owner_at_a_time(pty_line: PtyLine):
    for _ in range(3):
        with serial_port(pty_line.path) as port:
            fcntl.ioctl(port.fd, termios.TIOCEXCL)
            assert len(port.ask(ask_rtu(1, "03 000A 0002"), 9)[0]) == 9
    assert pty_line.on_line(lambda: pty_line.played.requests) == 3


def test_a_wrong_speed_on_a_pty_is_not_understood(pty_line: PtyLine):
    with serial_port(pty_line.path, termios.B19200) as port:
        assert port.ask(ask_rtu(1, "03 000A 0002"), 9, wait_s=0.3)[0] == b""
    with serial_port(pty_line.path) as port:
        assert len(port.ask(ask_rtu(1, "03 000A 0002"), 9)[0]) == 9


def test_serve_says_where_its_lines_are_and_what_was_asked(tmp_path: Path):
    command = [sys.executable, "-m", "simulator.cli", "serve", "rs485", "--ports", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith(
            f"rs485 at {tmp_path}/rs485, 9600 8N1: settlement (address 123456789012), sub-1 (unit 1)"
        )
        with serial_port(str(tmp_path / "rs485")) as port:
            assert len(pdu_of(port.ask(ask_rtu(1, "03 000A 0002"), 9)[0], 1)) == 6
            assert port.ask(ask_rtu(1, "06 000A 0002"), 5)[0][1:3] == b"\x86\x01"
        process.terminate()
        rest, _ = process.communicate(timeout=10)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert "2 requests, 1 attempts to write" in rest
    assert not (tmp_path / "rs485").is_symlink()
