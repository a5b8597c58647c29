"""The simulated meters in a process of their own, with a watch at each door: who asked, how often, how fast.

    python -m tests.bench.meters SCENARIO DOORS SINGLE

Behind each of DOORS ports stand all meters; SINGLE more groups have a port for each meter. It says its ports as one
line of JSON, and after every line that it is told, what came through each door since the last.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, cast

from simulator.clock import Ms
from simulator.modbus import Answer, ModbusPort, SimUnit
from simulator.scenario import load_scenario
from tests.bench import PROFILES

PAUSE_S = 0.1
"""Questions further apart belong to different rounds."""


class Watched:
    """A meter that notes when it is asked."""

    def __init__(self, unit: SimUnit, asked_s: list[float]) -> None:
        self._unit = unit
        self._asked_s = asked_s

    def answer(self, pdu: bytes, at_ms: Ms) -> Answer:
        self._asked_s.append(time.perf_counter())
        return self._unit.answer(pdu, at_ms)


def said(asked_s: list[float]) -> dict[str, Any]:
    """How many questions came, and the median time from one to the next within a round, ms."""
    steps = [b - a for a, b in pairwise(asked_s) if b - a < PAUSE_S]
    found = {"polls": len(asked_s), "step_ms": 1000 * median(steps) if steps else None}
    asked_s.clear()
    return found


async def main() -> None:
    path, doors, single = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    plan = load_scenario(path, profiles=PROFILES)
    clock = plan.clock()
    units = [meter.hang() for meter in plan.meters]
    asked: list[list[float]] = []
    groups: list[list[ModbusPort]] = []
    for group in range(doors + single):
        times: list[float] = []
        behind = [cast("SimUnit", Watched(unit, times)) for unit in units]
        if group < doors:
            groups.append([ModbusPort(dict(enumerate(behind, start=1)), clock)])
        else:
            groups.append([ModbusPort({1: unit}, clock) for unit in behind])
        asked.append(times)
    for port in (port for group in groups for port in group):
        await port.start()
    print(json.dumps([[port.port for port in group] for group in groups]), flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps([said(times) for times in asked]), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
