"""One of sixteen devices is dead: what that costs the others, on a paced line at 9600 8N1 under virtual time.

The line is asked for more than it can carry, so that a device's cycle (from one of its readings to the next) is as long
as the line needs to go round: whatever a dead device takes can be seen in it. A back-off period is the time from one
try of a dead device to the next. EDGE_PROVE_DEAD_S says for how long the dead are watched.
"""

from __future__ import annotations

import asyncio
import os
import statistics
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import pytest

from drivers.link import CarrierLink
from edge_agent.fieldbus import FieldLine
from edge_agent.model import DeviceSpec, LinkSpec, Outcome, Profile, Quantity, Reading, Register
from edge_agent.plan import LONGEST_PAUSE_MS, PAUSE_MS
from edge_agent.poller import Poller
from simulator.line.carrier import Carrier
from simulator.line.modbus_rtu import RtuStation
from simulator.line.station import Turnaround, seat
from simulator.line.uart import Format
from simulator.line.virtual import LoopClock, run_virtual
from simulator.line.wire import PacedLine, Reply
from simulator.modbus import SimUnit
from simulator.profile import SimProfile, SimRegister
from tests import figures
from tests.lines import T0, sim_meter
from tests.rtu_line import LoopClock as BootClock

DEVICES = 16
TIMEOUT_S = 1.0
WARM_S = 120.0
ALIVE_S = 60.0
WATCHED_S = float(os.environ.get("EDGE_PROVE_DEAD_S", "300"))
TRIES = 1 + sum(at_s < WATCHED_S - 30 for at_s in (15, 45, 105, 225, 465, *range(765, 86_400, 300)))
"""Pauses of 15 s, doubling to five minutes."""

NAMES = [
    "active_power", "reactive_power", "apparent_power", "frequency", "power_factor", "current_n",
    *(f"{name}_l{n}" for n in (1, 2, 3) for name in ("voltage", "current", "active_power", "reactive_power")),
    "voltage_l12", "voltage_l23",
]  # fmt: skip
"""Twenty values of two registers each."""


def registers() -> tuple[SimRegister, ...]:
    return tuple(
        SimRegister(name, "input", 2 * at, "f32", 2, 1.0, 1.0, "ABCD", None, None, ()) for at, name in enumerate(NAMES)
    )


UNITS = {"voltage": "V", "current": "A", "active": "W", "reactive": "var", "apparent": "VA", "frequency": "Hz"}


def spec(number: int) -> DeviceSpec:
    asked = tuple(
        Register(Quantity(name), f"input:{2 * at}", "f32", UNITS.get(name.split("_", maxsplit=1)[0], ""), every_s=1.0)
        for at, name in enumerate(NAMES)
    )
    return DeviceSpec(f"m{number}", "bus", number, Profile("twenty", "modbus", "t", "t", "primary", 60, asked))


class Mortal:
    """A unit that hears everything and from some time on answers nothing."""

    def __init__(self, line: PacedLine, number: int) -> None:
        clock = LoopClock(line.loop, T0)
        unit = SimUnit(sim_meter(SimProfile("twenty", "primary", 60, registers())))
        self._station = RtuStation(f"unit {number}", number, unit, clock, Turnaround(0.02))
        self._line = line
        self.name = self._station.name
        self.faults = self._station.faults
        self.dead = False
        self.tried_s: list[float] = []

    def heard(self, data: bytes, at_s: float) -> Sequence[Reply]:
        return self._station.heard(data, at_s)

    def quiet(self, at_s: float) -> Sequence[Reply]:
        replies = self._station.quiet(at_s)
        if self.dead and replies:
            self.tried_s.append(at_s)
        return () if self.dead else replies


class Watched(NamedTuple):
    """When each device's readings came, and when the dead ones were tried."""

    read_s: Mapping[str, list[float]]
    tried_s: Mapping[str, list[float]]
    died_s: float

    def cycles_s(self, device: str, since_s: float = 0.0) -> list[float]:
        return [later - earlier for earlier, later in pairwise(s for s in self.read_s[device] if s >= since_s)]

    def all_cycles_s(self, since_s: float = 0.0) -> list[float]:
        living = [device for device in self.read_s if device not in self.tried_s]
        return [cycle for device in living for cycle in self.cycles_s(device, since_s)]


async def line_of_sixteen(dying: set[int], before_s: float, watched_s: float) -> Watched:
    """All live for a while, then those in `dying` fall silent, all at once."""
    loop, line = asyncio.get_running_loop(), PacedLine(Format())
    units = {number: Mortal(line, number) for number in range(1, DEVICES + 1)}
    for unit in units.values():
        seat(unit, line, LoopClock(loop, T0))
    link_spec = LinkSpec("bus", "serial", path="-", timeout_s=TIMEOUT_S)
    clock = BootClock()
    link = CarrierLink(Carrier(line), link_spec, now_ms=clock.now_ms)
    field = FieldLine(link_spec, link, [spec(n) for n in units], clock.now_ms)
    read_s: dict[str, list[float]] = {f"m{n}": [] for n in units}

    def take(found: Sequence[Outcome]) -> None:
        for outcome in found:
            if isinstance(outcome, Reading) and outcome.quantity is Quantity.ACTIVE_POWER:
                read_s[outcome.device].append(loop.time())

    poller = Poller("bus", field, field.requests, clock=clock, take=take, chance=lambda: 0.5)
    task = asyncio.create_task(poller.run())
    await asyncio.sleep(before_s)
    for number in dying:
        units[number].dead = True
    died_s = loop.time()
    await asyncio.sleep(watched_s)
    assert not task.done()
    assert {p.device for p in poller.plan.pauses()} == {f"m{n}" for n in dying}
    task.cancel()
    await asyncio.wait((task,))
    return Watched(read_s, {f"m{n}": units[n].tried_s for n in dying}, died_s)


@pytest.mark.timeout(1200)
def test_a_dead_device_costs_the_others_less_than_one_time_out_for_each_back_off_period():
    alive = run_virtual(line_of_sixteen(set(), WARM_S, ALIVE_S))
    usual_s = statistics.median(alive.all_cycles_s(WARM_S))
    figures.report("16 devices at 9600 8N1, none dead", **told(alive.all_cycles_s(WARM_S)))
    assert max(alive.all_cycles_s(WARM_S)) < 1.05 * usual_s
    for dying in ({7}, {3, 9, 16}):
        seen = run_virtual(line_of_sixteen(dying, WARM_S, WATCHED_S))
        worst_s, longer = cost_s(seen, usual_s)
        periods = sum(len(tried_s) - 1 for tried_s in seen.tried_s.values())
        figures.report(
            f"{len(dying)} of 16 dead for {WATCHED_S:.0f} s", **told(seen.all_cycles_s(seen.died_s)),
            back_off_periods=periods, cycles_that_were_longer=longer, by_at_most_ms_for_each_try=round(1000 * worst_s),
            time_out_ms=round(1000 * TIMEOUT_S),
        )  # fmt: skip
        assert 0.5 * TIMEOUT_S < worst_s < TIMEOUT_S
        assert statistics.median(seen.all_cycles_s(seen.died_s)) < usual_s
        for tried_s in seen.tried_s.values():
            assert TRIES - 1 <= len(tried_s) <= TRIES
            pauses = [later - earlier for earlier, later in pairwise(tried_s)]
            doubling = [min(PAUSE_MS << n, LONGEST_PAUSE_MS) / 1000 for n in range(len(pauses))]
            assert all(pause >= least for pause, least in zip(pauses, doubling, strict=True)), pauses


def told(cycles_s: Sequence[float]) -> dict[str, float]:
    return {
        "cycles": len(cycles_s),
        "cycle_ms": round(1000 * statistics.median(cycles_s)),
        "mean_ms": round(1000 * statistics.fmean(cycles_s), 1),
        "longest_ms": round(1000 * max(cycles_s)),
    }


def cost_s(seen: Watched, usual_s: float) -> tuple[float, int]:
    """The most by which a living device's cycle was longer than usual, for each dead device that was tried in it; and
    how many cycles were longer. A cycle in which nobody dead was tried must not be longer at all."""
    tries = sorted(s for tried_s in seen.tried_s.values() for s in tried_s)
    worst_s, longer = 0.0, 0
    for device in seen.read_s.keys() - seen.tried_s.keys():
        for start_s, end_s in pairwise(seen.read_s[device]):
            if end_s - start_s <= usual_s + 0.001:
                continue
            longer += 1
            tried = bisect_left(tries, end_s) - bisect_left(tries, start_s)
            assert tried, f"{device}: nobody was tried in a cycle of {end_s - start_s:.3f} s"
            worst_s = max(worst_s, (end_s - start_s - usual_s) / tried)
    return worst_s, longer
