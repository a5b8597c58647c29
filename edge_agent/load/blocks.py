"""Means of sampled quantities over the blocks of the demand period: what comparisons of currents and voltages rest on.

Between two rounds that vouch for each other a value is taken to run straight; the rest of a block is uncovered and
said so. Nothing is filled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edge_agent.load.points import LoadPoint
from edge_agent.load.views import Block, Mean, Role, Round
from edge_agent.model import Ms, PointId, Quantity


@dataclass(slots=True)
class _Sum:
    integral: float = 0.0  # unit times ms
    covered_ms: Ms = 0
    least: float = float("inf")
    most: float = float("-inf")


@dataclass(slots=True)
class _Running:
    start_ms: Ms
    sums: dict[Quantity, _Sum] = field(default_factory=dict)


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
        means = {
            q: Mean(s.integral / s.covered_ms, s.least, s.most, s.covered_ms / period_ms)
            for q, s in running.sums.items()
            if s.covered_ms
        }
        if means:
            self._out.append(Block(key[0], key[1], running.start_ms, running.start_ms + period_ms, means))


def _add(running: _Running, lines: Mapping[Quantity, _Line], end_ms: Ms, from_ms: Ms, to_ms: Ms) -> None:
    for quantity, line in lines.items():
        begin_ms = max(from_ms, line.from_ms)
        if begin_ms >= to_ms:
            continue
        slope = (line.after - line.before) / (end_ms - line.from_ms)
        a, b = line.before + slope * (begin_ms - line.from_ms), line.before + slope * (to_ms - line.from_ms)
        total = running.sums.get(quantity)
        if total is None:
            total = running.sums[quantity] = _Sum()
        total.integral += (a + b) / 2 * (to_ms - begin_ms)
        total.covered_ms += to_ms - begin_ms
        total.least, total.most = min(total.least, a, b), max(total.most, a, b)
