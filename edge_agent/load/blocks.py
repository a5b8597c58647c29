"""Means of sampled quantities over the blocks of the demand period: what comparisons of currents and voltages rest on.

Between two rounds that vouch for each other a value is taken to run straight; the rest of a block is uncovered and
said so. Nothing is filled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

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


class Blocks:
    """Rounds in, closed blocks of means out. A block that a restart cuts is told with what it has covered since."""

    def __init__(self, points: Iterable[LoadPoint]) -> None:
        self._grid = {p.id: (p.period_ms, p.grid_offset_ms) for p in points}
        self._running: dict[tuple[PointId, Role], _Running] = {}
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

    def _take(self, each: Round) -> None:
        period_ms, offset_ms = self._grid[each.point]
        key = (each.point, each.role)
        start_ms, end_ms = each.start_ms, each.end_ms
        at_ms = start_ms
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
                _add(running, each, at_ms, until_ms)
            if until_ms >= end_ms:
                break
            at_ms = until_ms
        if end_ms == running.start_ms + period_ms:
            self._close(key)

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


def _add(running: _Running, each: Round, from_ms: Ms, to_ms: Ms) -> None:
    whole_ms = each.end_ms - each.start_ms
    left, right = (from_ms - each.start_ms) / whole_ms, (to_ms - each.start_ms) / whole_ms
    for quantity, after in each.now.items():
        before = each.before.get(quantity)
        if before is None or quantity in each.stale:
            continue
        a, b = before + (after - before) * left, before + (after - before) * right
        total = running.sums.get(quantity)
        if total is None:
            total = running.sums[quantity] = _Sum()
        total.integral += (a + b) / 2 * (to_ms - from_ms)
        total.covered_ms += to_ms - from_ms
        total.least, total.most = min(total.least, a, b), max(total.most, a, b)
