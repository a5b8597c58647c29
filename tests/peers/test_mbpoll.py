"""`mbpoll`, a Modbus master of another maker, reads our simulated meters: what it shows is the simulator's truth."""

from __future__ import annotations

import math
import os
import re
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import pytest

from simulator.clock import HandClock
from simulator.device import Nameplate, SimMeter
from simulator.line.modbus_rtu import RtuStation
from simulator.line.plan import LinePlan, StationPlan
from simulator.line.pty import PtyLine
from simulator.line.station import LineClock, Turnaround
from simulator.line.uart import Format
from simulator.loop import LoopThread
from simulator.modbus import ModbusPort, SimUnit
from simulator.profile import SimProfile, SimRegister, load_profile, profiles_dir
from simulator.shape import constant
from tests.figures import report
from tests.lines import SMALL, T0
from tests.peers.programs import package, program

FEW = (
    "acrel-dtsd1352",
    "carlo-gavazzi-em340",
    "eastron-sdm630",
    "schneider-iem3155",
    "seneca-t201dch",
    "shelly-pro-3em",
)
ALL = os.environ.get("EDGE_PROVE_PEER_MODELS") == "all"
MODELS = sorted(p.stem for p in profiles_dir().glob("*.toml") if not p.stem.startswith("dlt645")) if ALL else FEW
UNITS = {1: (8_000.0, 0.8), 17: (-5_000.0, 0.95)} | ({2: (24_000.0, 1.0)} if ALL else {})
"""Unit and its load: W on the primary side, exported where negative, and its power factor."""

TYPES = {("u16", "ABCD"): "", ("i16", "ABCD"): ""} | {
    (kind, order): word
    for order in ("ABCD", "CDAB")
    for kind, word in (("u32", ":int"), ("i32", ":int"), ("f32", ":float"))
}
"""What mbpoll decodes by itself; the rest it shows as words, and the test puts them together."""

_STRUCT = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}
BAUD = 115_200
CHANNEL = Sequence[str]
"""The words that tell mbpoll where to ask, the device or host last."""


def meter_of(profile: SimProfile, unit: int) -> SimMeter:
    p_w, pf = UNITS[unit]
    registers = {
        "active_energy_import": 1_234_567.0 + unit,
        "reactive_energy_import": 456_789.0,
        "active_energy_export": 98_765.0,
    }
    plate = Nameplate(f"{123_400 + unit:012d}", ct=5.0, shares=(0.5, 0.3, 0.2))
    return SimMeter(profile, constant(p_w, pf, origin_ms=T0), plate, start_ms=T0, registers=registers)


def units_of(profile: SimProfile, gaps: str = "zero") -> dict[int, SimUnit]:
    return {unit: SimUnit(meter_of(profile, unit), gaps=gaps) for unit in UNITS}


class StandingClock(HandClock):
    """It stands, so that there is one truth while a process is started for each register."""

    def real_s_until(self, utc_ms: int) -> float:
        return (utc_ms - self.now_ms) / 1000


CLOCK = StandingClock(T0 + 3_600_000)


@contextmanager
def over_tcp(units: dict[int, SimUnit]) -> Iterator[CHANNEL]:
    port = ModbusPort(units, CLOCK)
    with LoopThread("meters") as loop:
        loop.run(port.start())
        yield ("-m", "tcp", "-p", str(port.port), "127.0.0.1")
        loop.run(port.stop())


@contextmanager
def over_rtu(units: dict[int, SimUnit]) -> Iterator[CHANNEL]:
    def station(number: int, unit: SimUnit) -> StationPlan:
        def hang(clock: LineClock, seed: int) -> RtuStation:
            return RtuStation(f"unit {number}", number, unit, CLOCK, Turnaround(0.002))

        return StationPlan(f"unit {number}", f"unit {number}", hang)

    stations = tuple(station(number, unit) for number, unit in units.items())
    with PtyLine(LinePlan("line", Format(BAUD), 0, stations, (), lambda: ()), CLOCK) as line:
        yield ("-m", "rtu", "-b", str(BAUD), "-P", "none", line.path)


def mbpoll(channel: CHANNEL, *words: str) -> subprocess.CompletedProcess[str]:
    command = [program("mbpoll"), *channel[:-1], "-0", "-1", "-o", "2", *words, channel[-1]]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)


def shown(said: str) -> dict[int, list[str]]:
    """Per unit what stands behind each register's number; a negative 16-bit value stands in brackets behind it.

    A value above the half of its type is shown as a negative one.
    """
    found: dict[int, list[str]] = {}
    for block in said.split("-- Polling slave ")[1:]:
        values = re.findall(r"^\[\d+\]:\s+(\S+)(?: \((-?\d+)\))?$", block, re.MULTILINE)
        found[int(block.split(".")[0])] = [signed or value for value, signed in values]
    return found


def read(channel: CHANNEL, register: SimRegister, units: Sequence[int]) -> dict[int, float | str]:
    """The register's number, or its text, of each unit as mbpoll shows it.

    On a line one unit a process: between two units mbpoll keeps no silence of 3.5 characters, and a line that goes by
    the standard takes what follows an answer at once for its end.
    """
    if "rtu" in channel and len(units) > 1:
        return {unit: value for n in units for unit, value in read(channel, register, [n]).items()}
    table = "3" if register.table == "input" else "4"
    word = TYPES.get((register.kind, register.order))
    many = ("-a", ",".join(map(str, units)), "-r", str(register.address))
    if word is None:
        done = mbpoll(channel, "-t", f"{table}:hex", "-c", str(register.width), *many)
    else:
        big = ("-B",) if register.order == "ABCD" and word else ()
        done = mbpoll(channel, "-t", table + word, *big, *many)
    assert done.returncode == 0, done.stderr
    values = shown(done.stdout)
    assert list(values) == list(units), done.stdout
    return {unit: value_of(register, words, decoded=word is not None) for unit, words in values.items()}


def value_of(register: SimRegister, words: Sequence[str], *, decoded: bool) -> float | str:
    if decoded:
        (value,) = map(float, words)
        return value + (1 << 16 * register.width) if register.kind[0] == "u" and value < 0 else value
    raw = [int(word, 16).to_bytes(2, "big") for word in words]
    if register.order in {"CDAB", "DCBA"}:
        raw.reverse()
    octets = b"".join(word[::-1] if register.order in {"BADC", "DCBA"} else word for word in raw)
    if register.kind == "ascii":
        return octets.rstrip(b"\0").decode("ascii")
    if register.kind == "bcd32":
        return float(octets.hex())
    return float(struct.unpack(">" + _STRUCT[register.kind], octets)[0])


def compared(channel: CHANNEL, profile: SimProfile, units: dict[int, SimUnit]) -> int:
    """Each register that has a truth, in each unit, shown by mbpoll; how many values they were."""
    count = 0
    for register in profile.registers:
        try:
            truths = {n: unit.meter.value(register.quantity, CLOCK.utc_ms()) for n, unit in units.items()}
        except KeyError:  # nothing is simulated for it
            continue
        values = read(channel, register, list(units))
        for number, truth in truths.items():
            where = f"{profile.name} unit {number} {register.quantity} at {register.table}:{register.address}"
            value = values[number]
            if isinstance(value, str):
                assert value == str(truth)[: 2 * register.width], where
            else:
                per_count = register.scale * register.si_per_unit
                si, truth = value * per_count, held_at_its_ends(register.kind, float(truth), per_count)
                step = max(register.step or 0.0, 0.0 if register.kind in {"f32", "f64"} else register.scale)
                # mbpoll shows six digits of a float; a display cuts below its step.
                close = math.isclose(si, truth, rel_tol=1e-5, abs_tol=step * register.si_per_unit * 1.000001)
                assert close, f"{where}: {si} shown, {truth} true"
            count += 1
    return count


def held_at_its_ends(kind: str, truth: float, per_count: float) -> float:
    """What a register can show at most and at least, as meters hold it: an unsigned one shows no exported power."""
    if kind[0] not in "ui":
        return truth
    bits = int(kind[1:])
    low, high = (0, (1 << bits) - 1) if kind[0] == "u" else (-(1 << bits - 1), (1 << bits - 1) - 1)
    return min(max(truth, low * per_count), high * per_count)


@cache
def version() -> str:
    said = subprocess.run([program("mbpoll"), "-V"], capture_output=True, text=True, check=False).stdout.strip()
    return f"mbpoll {package('mbpoll', said)}"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("over", [over_tcp, over_rtu], ids=["tcp", "rtu"])
def test_what_mbpoll_shows_is_the_simulators_truth(over):
    values = 0
    seen: set[tuple[str, str, str]] = set()
    for name in MODELS:
        profile = load_profile(profiles_dir() / f"{name}.toml")
        units = units_of(profile)
        with over(units) as channel:
            count = compared(channel, profile, units)
        assert count, name
        values += count
        seen |= {(r.table, r.kind, r.order) for r in profile.registers}
    assert {
        ("input", "f32", "ABCD"),
        ("input", "f32", "CDAB"),
        ("input", "i32", "CDAB"),
        ("holding", "f32", "CDAB"),
    } <= seen
    assert {("holding", "f32", "ABCD"), ("holding", "u32", "ABCD"), ("holding", "i16", "ABCD")} <= seen
    report(f"our simulator over {over.__name__[5:]}", master=version(), models=len(MODELS), values=values, wrong=0)


@pytest.mark.parametrize("over", [over_tcp, over_rtu], ids=["tcp", "rtu"])
def test_a_float_in_the_other_word_order_is_another_number(over):
    """That the orders above agree is no accident of symmetric bytes."""
    with over(units_of(SMALL)) as channel:
        right = mbpoll(channel, "-t", "3:float", "-B", "-a", "1", "-r", "0")
        swapped = mbpoll(channel, "-t", "3:float", "-a", "1", "-r", "0")
    (p_w,), (other,) = shown(right.stdout)[1], shown(swapped.stdout)[1]
    assert float(p_w) == UNITS[1][0]
    assert abs(float(other)) < 1e-30


@pytest.mark.parametrize("over", [over_tcp, over_rtu], ids=["tcp", "rtu"])
def test_a_hole_is_refused_in_the_standards_words(over):
    with over(units_of(SMALL, gaps="refuse")) as channel:
        hole = mbpoll(channel, "-t", "3", "-a", "1", "-r", "4", "-c", "2")
        across = mbpoll(channel, "-t", "3", "-a", "17", "-r", "2", "-c", "8")
        beyond = mbpoll(channel, "-t", "4", "-a", "17", "-r", "0")
        there = mbpoll(channel, "-t", "3:float", "-B", "-a", "17", "-r", "0", "-c", "2")
    for refused in (hole, across, beyond):
        assert refused.returncode == 1
        assert "Illegal data address" in refused.stderr
    assert there.returncode == 0


@pytest.mark.parametrize("over", [over_tcp, over_rtu], ids=["tcp", "rtu"])
def test_a_write_is_refused_and_counted(over):
    units = units_of(SMALL)
    with over(units) as channel:
        for words in (("-t", "4", "-a", "1", "-r", "0", "--"), ("-t", "0", "-a", "1", "-r", "0", "--")):
            done = subprocess.run(
                [program("mbpoll"), *channel[:-1], "-0", "-1", *words[:-1], channel[-1], "1"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            assert done.returncode == 1
            assert "Illegal function" in done.stderr
    assert units[1].counts.writes_seen == 2


@pytest.mark.parametrize("over", [over_tcp, over_rtu], ids=["tcp", "rtu"])
def test_a_unit_that_is_not_there_keeps_silent(over):
    with over(units_of(SMALL)) as channel:
        done = mbpoll(channel, "-t", "3", "-a", "9", "-r", "0", "-o", "0.3")
    assert done.returncode == 1
    assert "timed out" in done.stderr
