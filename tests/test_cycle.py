"""How close polling comes to what the wire allows: 16 meters of 40 values at 9600 8N1, through the agent's own poller.

The bound is worked out from the cheapest questions: their characters, the turnaround that the simulator takes, and the
silences that the standard wants. Beside the planned questions the same meters are asked for one register at a time,
and with neighbours merged but no hole read.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from functools import partial
from itertools import cycle as cycle_of
from itertools import islice
from random import Random
from statistics import median

import pytest

from drivers.link import CarrierLink, Link, open_link
from drivers.modbus.planning import wire_bytes
from edge_agent.fieldbus import FieldLine
from edge_agent.model import UNIT, DeviceSpec, LinkSpec, Outcome, Profile, Quantity, Reading, Register, Request
from edge_agent.poller import Poller
from simulator.clock import ScaledClock, boot_ms
from simulator.faults import Faults
from simulator.line.carrier import Carrier
from simulator.line.modbus_rtu import RtuStation
from simulator.line.plan import LinePlan, StationPlan
from simulator.line.pty import PtyLine
from simulator.line.station import LineClock, Turnaround, seat
from simulator.line.uart import Format
from simulator.line.virtual import LoopClock as VirtualClock
from simulator.line.virtual import run_virtual
from simulator.line.wire import PacedLine, Spoken, Trip, bound
from simulator.modbus import SimUnit
from simulator.profile import SimProfile, SimRegister
from tests.figures import report
from tests.lines import T0, sim_meter
from tests.rtu_line import LoopClock

METERS, VALUES = 16, 40
TURNAROUND_S = 0.020
FORM = Format()
CYCLES = int(os.environ.get("EDGE_PROVE_CYCLES", "2"))
PTY_CYCLES = int(os.environ.get("EDGE_PROVE_PTY_CYCLES", "1"))
PTY_METERS = int(os.environ.get("EDGE_PROVE_PTY_METERS", "1"))
SHOWN = (Quantity.ACTIVE_ENERGY_IMPORT, Quantity.ACTIVE_POWER, Quantity.VOLTAGE_L1, Quantity.CURRENT_L2)
WIDTH = {"u16": 1, "i32": 2, "f32": 2}


def holed_map(seed: int) -> list[Register]:
    """40 values as real meters have them: blocks of neighbours, small holes inside, large ones between."""
    random = Random(seed)
    quantities = list(islice(cycle_of(SHOWN), VALUES))
    found, at = [], 0
    for n, quantity in enumerate(quantities):
        kind = random.choice(("u16", "i32", "f32", "f32"))
        found.append(Register(quantity, f"input:{at}", kind, UNIT[quantity], every_s=3600))
        at += WIDTH[kind] + (random.choice((30, 60)) if n % 10 == 9 else random.choice((0, 0, 0, 2, 4, 10)))
    return found


def on_the_device(registers: Sequence[Register]) -> SimProfile:
    return SimProfile(
        "holed",
        "primary",
        125,
        tuple(
            SimRegister(
                r.quantity, "input", int(r.address[6:]), r.type, WIDTH[r.type], 1.0, 1.0, "ABCD", None, None, ()
            )
            for r in registers
        ),
    )


def device(number: int, registers: Sequence[Register] = (), every_s: float | None = None) -> DeviceSpec:
    profile = Profile("holed", "modbus", "", "", "primary", 125, tuple(registers or holed_map(number)))
    return DeviceSpec(f"m{number}", "bus", number, profile, every_s)


def one_by_one(spec: DeviceSpec) -> list[Request]:
    return [Request(spec.id, spec.unit, (r,), None, 3600.0) for r in spec.profile.registers]


def neighbours(spec: DeviceSpec) -> list[Request]:
    """Adjacent registers share a question, a hole ends it."""
    runs: list[list[Register]] = []
    end = None
    for register in spec.profile.registers:
        at = int(register.address[6:])
        if at != end:
            runs.append([])
        runs[-1].append(register)
        end = at + WIDTH[register.type]
    return [Request(spec.id, spec.unit, tuple(run), None, 3600.0) for run in runs]


class Ours:
    """The line has been ours all along: nothing has to be listened to."""

    def is_fresh(self) -> bool:
        return True

    def mark(self) -> None: ...

    def forget(self) -> None: ...


def hang(
    number: int, clock: LineClock, registers: Sequence[Register] = (), turnaround_s: float = TURNAROUND_S
) -> RtuStation:
    unit = SimUnit(sim_meter(on_the_device(registers or holed_map(number))), Faults())
    return RtuStation(f"m{number}", number, unit, clock, Turnaround(turnaround_s))


async def cycle(line: FieldLine, requests: Sequence[Request]) -> None:
    """A poller that finds every question due, until all are answered."""
    values: list[Outcome] = []
    done = asyncio.Event()
    wanted = sum(len(r.registers) for r in requests)

    def take(found: Sequence[Outcome]) -> None:
        values.extend(found)
        if len(values) >= wanted:
            done.set()

    poller = Poller("bus", line, requests, clock=LoopClock(), take=take, chance=lambda: 0.5, line=line)
    task = asyncio.create_task(poller.run())
    async with asyncio.timeout(300):
        await done.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [v for v in values if not isinstance(v, Reading)] == []
    assert len(values) == wanted


def took_s(spoken: Sequence[Spoken], questions: int) -> float:
    """From the first question to the end of the last answer, as the wire saw them."""
    assert len(spoken) == 2 * questions, "every question was asked and answered once"
    return spoken[-1].end_s - spoken[0].start_s


def wire_bound_s(requests: Sequence[Request]) -> float:
    """The last answer needs no silence behind it."""
    return bound([Trip(*wire_bytes(r), TURNAROUND_S) for r in requests], FORM) - FORM.silence_s


def asked(way: str, devices: Sequence[DeviceSpec], line: FieldLine) -> list[Request]:
    match way:
        case "neighbours":
            return [r for d in devices for r in neighbours(d)]
        case "one by one":
            return [r for d in devices for r in one_by_one(d)]
    return list(line.requests)


def field_line(spec: LinkSpec, link: Link, devices: Sequence[DeviceSpec]) -> FieldLine:
    line = FieldLine(spec, link, devices, LoopClock().now_ms)
    line.stamp = Ours()
    return line


async def in_memory(way: str) -> tuple[list[float], float, int]:
    """Each cycle, the bound, and how many questions a cycle has; in virtual time."""
    clock = VirtualClock(asyncio.get_running_loop(), T0)
    devices = [device(number) for number in range(1, METERS + 1)]
    wire = PacedLine(FORM)
    for number in range(1, METERS + 1):
        seat(hang(number, clock), wire, clock)
    spec = LinkSpec("bus", "serial", path="-")
    line = field_line(spec, CarrierLink(Carrier(wire), spec, now_ms=LoopClock().now_ms), devices)
    requests, tap = asked(way, devices, line), wire.tap()
    took = []
    for _ in range(CYCLES):
        tap.clear()
        await cycle(line, requests)
        took.append(took_s(tap.spoken, len(requests)))
    return took, wire_bound_s(line.requests), len(requests)


def on_a_pty(way: str) -> tuple[list[float], float, int]:
    """The same in real time: what the kernel, the event loop and this process add is in it."""
    devices = [device(number) for number in range(1, PTY_METERS + 1)]
    stations = tuple(StationPlan(d.id, f"unit {d.unit}", partial(hung, d.unit)) for d in devices)
    with PtyLine(LinePlan("bus", FORM, 1, stations, (), tuple), ScaledClock(T0, 1.0, boot_ms())) as served:
        spec = LinkSpec("bus", "serial", path=served.path)
        line = field_line(spec, open_link(spec, now_ms=LoopClock().now_ms), devices)
        requests, tap = asked(way, devices, line), served.played.line.tap()

        async def story() -> list[float]:
            took = []
            for _ in range(PTY_CYCLES):
                served.on_line(tap.clear)
                await cycle(line, requests)
                took.append(took_s(served.on_line(lambda: tap.spoken), len(requests)))
            return took

        return asyncio.run(story()), wire_bound_s(line.requests), len(requests)


def hung(number: int, clock: LineClock, seed: int) -> RtuStation:
    return hang(number, clock)


def shares(name: str, meters: int, found: dict[str, tuple[list[float], float, int]]) -> dict[str, float]:
    """The bound over the median cycle, for each way; reported."""
    bound_s = found["planned"][1]
    cycles = {way: median(took) for way, (took, _, _) in found.items()}
    report(
        name,
        meters=meters,
        values=meters * VALUES,
        cycles=len(found["planned"][0]),
        bound_s=round(bound_s, 3),
        **{f"{way}, questions": questions for way, (_, _, questions) in found.items()},
        **{f"{way}, s": round(took_s, 3) for way, took_s in cycles.items()},
        **{f"{way}, bound/cycle": round(bound_s / took_s, 4) for way, took_s in cycles.items()},
    )
    return {way: bound_s / took_s for way, took_s in cycles.items()}


WAYS = ("planned", "neighbours", "one by one")


def test_a_cycle_of_sixteen_meters_is_as_short_as_the_wire_allows():
    found = shares("cycle, virtual time", METERS, {way: run_virtual(in_memory(way)) for way in WAYS})
    assert 0.98 <= found["planned"] < 1.0005, found
    assert found["one by one"] < found["neighbours"] < found["planned"]


def test_a_slow_device_is_asked_in_one_question_once_that_is_known():
    """Planned for 20 ms a question is worth 19.6 registers; the device takes 150 ms, and a hole of 40 is read."""
    apart = [Register(q, f"input:{at}", "u16", UNIT[q]) for q, at in zip(SHOWN, (0, 1, 42, 43), strict=True)]

    async def story() -> tuple[list[int], list[int]]:
        clock = VirtualClock(asyncio.get_running_loop(), T0)
        wire, spec = PacedLine(FORM), LinkSpec("bus", "serial", path="-")
        seat(hang(1, clock, apart, 0.150), wire, clock)
        link = CarrierLink(Carrier(wire), spec, now_ms=LoopClock().now_ms)
        line = field_line(spec, link, [device(1, apart, 10.0)])
        found: list[Outcome] = []
        poller = Poller(
            "bus", line, line.requests, clock=LoopClock(), take=found.extend, chance=lambda: 0.5, line=line
        )  # fmt: skip
        before = [len(r.registers) for r in poller.plan.requests]
        task = asyncio.create_task(poller.run())
        await asyncio.sleep(600)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert all(isinstance(o, Reading) for o in found)
        assert len(found) >= 4 * 60, "no poll was lost over it"
        return before, [len(r.registers) for r in poller.plan.requests]

    assert run_virtual(story()) == ([2, 2], [4])


@pytest.mark.timeout(1800)
def test_a_cycle_on_a_pty_is_nearly_as_short():
    found = shares("cycle, pty", PTY_METERS, {way: on_a_pty(way) for way in WAYS})
    assert 0.95 <= found["planned"] < 1.005, found
    assert found["one by one"] < found["neighbours"] < found["planned"]
