"""Means of sampled quantities over the blocks of the demand period: what comparisons of currents and voltages rest on.

Between two rounds that vouch for each other a value is taken to run straight; the rest of a block is uncovered and
said so. Nothing is filled.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from edge_agent.load.points import LoadPoint
from edge_agent.load.views import Block, Mean, Role, Round
from edge_agent.model import Ms, PointId, Quantity

_NOTHING = (0.0, 0.0, inf, -inf)
"""Of a quantity in a block: integral in unit times ms, ms covered, least and most."""


@dataclass(slots=True)
class _Running:
    """A block that is not over; `sums` holds for each quantity, from its place on, what `_NOTHING` begins with."""

    start_ms: Ms
    places: dict[Quantity, int] = field(default_factory=dict)
    sums: array[float] = field(default_factory=lambda: array("d"))


class _Line(NamedTuple):
    """A quantity between two readings."""

    from_ms: Ms
    before: float
    after: float


class Blocks:
    """Rounds in, closed blocks of means out. A block that a restart cuts is told with what it has covered since."""

    def __init__(self, points: Iterable[LoadPoint]) -> None:
        self._grid = {p.id: (p.period_ms, p.grid_offset_ms) for p in points}
        self._running: dict[tuple[PointId, Role], _Running] = {}
        self._since: dict[tuple[PointId, Role], dict[Quantity, tuple[Ms, float]]] = {}
        self._ended: dict[tuple[PointId, Role], Ms] = {}
        self._out: list[Block] = []

    def feed(self, rounds: Iterable[Round]) -> None:
        for each in rounds:
            if each.point in self._grid:
                self._take(each)

    def settle(self, now_ms: Ms) -> Sequence[Block]:
        """Blocks that are over, each once; one whose device has fallen silent closes with the clock."""
        for key in [k for k, r in self._running.items() if now_ms >= r.start_ms + 2 * self._grid[k[0]][0]]:
            self._close(key)
        out, self._out = self._out, []
        return out

    def stepped(self) -> None:
        """The wall clock was set: blocks of the old grid are dropped."""
        self._running.clear()
        self._since.clear()
        self._ended.clear()

    def _take(self, each: Round) -> None:
        period_ms, offset_ms = self._grid[each.point]
        key = (each.point, each.role)
        end_ms = each.end_ms
        lines = self._lines(key, each)
        begun = self._running.get(key)
        first_ms = (each.start_ms - offset_ms) // period_ms * period_ms + offset_ms if begun is None else begun.start_ms
        at_ms = max(first_ms, min((line.from_ms for line in lines.values()), default=each.start_ms))
        while True:
            block_ms = (at_ms - offset_ms) // period_ms * period_ms + offset_ms
            running = self._running.get(key)
            if running is not None and running.start_ms != block_ms:
                self._close(key)
                running = None
            if running is None:
                running = self._running[key] = _Running(block_ms)
            until_ms = min(end_ms, block_ms + period_ms)
            if until_ms > at_ms:
                _add(running, lines, end_ms, at_ms, until_ms)
            if until_ms >= end_ms:
                break
            at_ms = until_ms
        if end_ms == running.start_ms + period_ms:
            self._close(key)

    def _lines(self, key: tuple[PointId, Role], each: Round) -> dict[Quantity, _Line]:
        """From reading to reading: what is asked less often than the rest runs straight over several rounds."""
        since = self._since.setdefault(key, {})
        if each.start_ms == each.end_ms or each.start_ms != self._ended.get(key):
            since.clear()
        self._ended[key] = each.end_ms
        lines: dict[Quantity, _Line] = {}
        for quantity, now in each.now.items():
            if quantity in each.stale:
                continue
            before = since.get(quantity)
            if before is None and each.start_ms < each.end_ms and quantity in each.before:
                before = (each.start_ms, each.before[quantity])
            if before is not None:
                lines[quantity] = _Line(*before, now)
            since[quantity] = (each.end_ms, now)
        for quantity in since.keys() - each.now.keys():
            del since[quantity]  # nothing vouches for what lies between
        return lines

    def _close(self, key: tuple[PointId, Role]) -> None:
        running = self._running.pop(key)
        period_ms = self._grid[key[0]][0]
        means: dict[Quantity, Mean] = {}
        for quantity, at in running.places.items():
            integral, covered_ms, least, most = running.sums[at : at + len(_NOTHING)]
            if covered_ms:
                means[quantity] = Mean(integral / covered_ms, least, most, covered_ms / period_ms)
        if means:
            self._out.append(Block(key[0], key[1], running.start_ms, running.start_ms + period_ms, means))


def _add(running: _Running, lines: Mapping[Quantity, _Line], end_ms: Ms, from_ms: Ms, to_ms: Ms) -> None:
    sums, places = running.sums, running.places
    for quantity, (line_ms, before, after) in lines.items():
        begin_ms = from_ms if from_ms > line_ms else line_ms
        if begin_ms >= to_ms:
            continue
        slope = (after - before) / (end_ms - line_ms)
        a, b = before + slope * (begin_ms - line_ms), before + slope * (to_ms - line_ms)
        at = places.get(quantity)
        if at is None:
            at = places[quantity] = len(sums)
            sums.extend(_NOTHING)
        sums[at] += (a + b) / 2 * (to_ms - begin_ms)
        sums[at + 1] += to_ms - begin_ms
        low, high = (a, b) if a < b else (b, a)
        sums[at + 2], sums[at + 3] = min(sums[at + 2], low), max(sums[at + 3], high)
