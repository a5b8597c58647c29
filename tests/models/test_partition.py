"""The partition against every partition there is, on register maps that nobody chose by hand."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import NamedTuple

import pytest

from drivers.cost import LineCost
from drivers.modbus.planning import OVER_TCP, Span, cost_on, partition
from edge_agent.model import LinkSpec, Quantity, Register
from tests.figures import report

MAPS = int(os.environ.get("EDGE_PROVE_MAPS", "100"))
TYPES = {"u16": 1, "u32": 2, "ascii:3": 3, "f64": 4}
LINES = [
    OVER_TCP,
    *(
        cost_on(LinkSpec("", "serial", baud=baud, parity=parity), turnaround_s)
        for baud in (1200, 9600, 19_200, 115_200)
        for parity in "NE"
        for turnaround_s in (0.0, 0.005, 0.020, 0.150)
    ),
]
pytestmark = pytest.mark.timeout(120 + MAPS)


class Map(NamedTuple):
    registers: list[Register]
    most: int
    cost: LineCost
    refused: list[Span]


def register_map(random: Random) -> Map:
    """Up to eight registers in clusters, some overlapping, and what the device is known to refuse."""
    cost = random.choice(LINES)
    even = min(70, round(cost.per_question_s / cost.per_register_s))  # holes where it matters: merged, or just not
    registers, at = [], 100
    for _ in range(random.randint(1, 8)):
        kind = random.choice(list(TYPES))
        registers.append(Register(Quantity.VOLTAGE_L1, f"input:{at}", kind, "V"))
        at += max(0, TYPES[kind] + random.choice((-2, -1, 0, 0, 1, 3, 8, 45, even // 2, even - 1, even + 1, even + 3)))
    most = random.choice((4, 5, 8, 16, 17, 32, 60, 125))
    refused = []
    for _ in range(random.choice((0, 0, 1, 2, 3))):
        start = random.randint(100, at)
        refused.append((start, start + random.choice((1, 1, 2, 6, 20))))
    random.shuffle(registers)
    return Map(registers, most, cost, refused)


def span(register: Register) -> Span:
    start = int(register.address.partition(":")[2])
    return start, start + TYPES[register.type]


def gaps(registers: Sequence[Register]) -> list[int]:
    """From each register to the next; negative where they overlap."""
    return [later[0] - earlier[1] for earlier, later in pairwise(sorted(map(span, registers)))]


def price(run: Sequence[Register], known: Map) -> float:
    """Of one question, from the figures of the line alone; infinite where it may not be asked."""
    start, end = min(span(r)[0] for r in run), max(span(r)[1] for r in run)
    covers = any(start <= a and b <= end for a, b in known.refused)
    if end - start > known.most or (covers and len(run) > 1):
        return math.inf
    if known.cost is OVER_TCP:
        return 16 + (end - start)
    line = known.cost
    return 13 * line.char_s + 2 * line.silence_s + line.turnaround_s + 2 * line.char_s * (end - start)


def every_partition(registers: Sequence[Register]) -> Iterator[list[list[Register]]]:
    """All of them, also those that tear neighbours apart: 4140 of eight registers."""
    if not registers:
        yield []
        return
    first, rest = registers[0], registers[1:]
    for runs in every_partition(rest):
        yield [[first], *runs]
        for i in range(len(runs)):
            yield [*runs[:i], [first, *runs[i]], *runs[i + 1 :]]


def test_no_partition_is_cheaper():
    seen: Counter[str] = Counter()
    for number in range(MAPS):
        known = register_map(Random(f"map {number}"))
        runs = partition(known.registers, known.most, known.cost, known.refused)
        assert sorted(map(id, known.registers)) == sorted(id(r) for run in runs for r in run), number
        mine = sum(price(run, known) for run in runs)
        least = min(sum(price(run, known) for run in runs) for runs in every_partition(known.registers))
        assert math.isclose(mine, least, rel_tol=1e-6), f"map {number}: {mine} s, {least} s is possible"
        holes = sum(max(0, hole) for run in runs for hole in gaps(run))
        free = partition(known.registers, known.most, known.cost)
        unlimited = partition(known.registers, 125, known.cost, known.refused)
        seen["maps"] += 1
        seen["several questions, a hole read for nothing"] += len(runs) > 1 and holes > 0
        seen["overlapping registers"] += min(gaps(known.registers), default=0) < 0
        seen["refused spans that change the plan"] += len(free) != len(runs)
        seen["cut by the device's maximum"] += len(unlimited) < len(runs)
    report("partition", **{name.replace(" ", "_").replace(",", ""): n for name, n in seen.items()})
    assert seen.pop("maps") == MAPS
    assert len(seen) == 4
    assert min(seen.values()) > MAPS // 10, seen
