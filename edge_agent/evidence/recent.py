"""The last closed blocks of each point, in memory as plain numbers: what surrounds whatever is found next.

A finding is frozen the moment it is told, and the telemetry of that minute is not on the disk yet.
"""

from __future__ import annotations

import zlib
from array import array
from collections import deque
from collections.abc import Iterable
from math import floor, isfinite, nan
from typing import Any, NamedTuple

import msgspec

from edge_agent.contract.shapes import rfc3339
from edge_agent.load.views import Band, Interval, Source
from edge_agent.model import ClockQuality, Ms, PointId

EACH_WAY = 48
"""Blocks before and after what was judged; half a day of quarter hours. [V] EV0"""

BLOCKS = 2 * EACH_WAY + 16
BOUNDARIES = 12
"""Of each meter, with their frames: a finding is opened a poll or two after the block that decided it."""

_SOURCES = tuple(Source)
_QUALITIES = tuple(ClockQuality)
_WIDTH = 11  # end, start, coverage, source, clock quality, then active and apparent as low, value, high


class Boundary(NamedTuple):
    """The registers that a meter showed at the end of a block, with their frames, as telemetry keeps them."""

    at_ms: Ms
    packed: bytes

    def plain(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(zlib.decompress(self.packed))
        return found


class Recent:
    """Blocks and boundaries, fed as they close."""

    def __init__(self) -> None:
        self._blocks: dict[PointId, array[float]] = {}
        self._boundaries: dict[str, deque[Boundary]] = {}

    def feed(self, closed: Iterable[Interval], quality: ClockQuality) -> None:
        """Blocks of the demand period only: windows that slide overlap. One that is told again replaces itself."""
        for interval in closed:
            if not interval.block or interval.count > 1:
                continue
            rows = self._blocks.setdefault(interval.point, array("d"))
            row = array("d", _row(interval, quality))
            at = _place(rows, row[0])
            known = at < len(rows) and rows[at] == row[0]
            rows[at : at + _WIDTH if known else at] = row
            if len(rows) > BLOCKS * _WIDTH:
                del rows[:_WIDTH]

    def at_boundary(self, device: str, at_ms: Ms, body: bytes) -> None:
        """`body`: JSON with `registers` and `frames`."""
        kept = self._boundaries.setdefault(device, deque(maxlen=BOUNDARIES))
        if not kept or at_ms > kept[-1].at_ms:
            kept.append(Boundary(at_ms, zlib.compress(body, 1)))

    def boundary(self, device: str, at_ms: Ms) -> Boundary | None:
        return next((b for b in self._boundaries.get(device, ()) if b.at_ms == at_ms), None)

    def around(self, point: PointId, start_ms: Ms, end_ms: Ms) -> dict[str, list[dict[str, Any]]]:
        """The blocks before, during and after (start, end], oldest first: at most 48 each way, and as many within."""
        before: list[dict[str, Any]] = []
        during: list[dict[str, Any]] = []
        after: list[dict[str, Any]] = []
        rows = self._blocks.get(point, array("d"))
        for at in range(0, len(rows), _WIDTH):
            row = rows[at : at + _WIDTH]
            part = before if row[0] <= start_ms else during if row[1] < end_ms else after
            part.append(_plain(row))
        return {"before": before[-EACH_WAY:], "during": during[-2 * EACH_WAY :], "after": after[:EACH_WAY]}


def _row(interval: Interval, quality: ClockQuality) -> list[float]:
    demand = interval.register or interval.sampled
    row = [float(interval.end_ms), float(interval.start_ms), interval.coverage if demand is not None else 0.0]
    row += [_SOURCES.index(demand.source) if demand is not None else -1, _QUALITIES.index(quality)]
    for band in (demand.active, demand.apparent) if demand is not None else (None, None):
        row += (nan, nan, nan) if band is None else band
    return row


def _place(rows: array[float], end_ms: float) -> int:
    """Where a block of that end stands, or belongs."""
    at = len(rows)
    while at >= _WIDTH and rows[at - _WIDTH] >= end_ms:
        at -= _WIDTH
    return at


def _plain(row: array[float]) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "start": rfc3339(int(row[1])),
        "end": rfc3339(int(row[0])),
        "coverage": floor(row[2] * 10_000) / 10_000,
        "clockq": _QUALITIES[int(row[4])].value,
    }
    if row[3] >= 0:
        plain["source"] = _SOURCES[int(row[3])].value
    for name, band in (("p_w", Band(*row[5:8])), ("s_va", Band(*row[8:11]))):
        if isfinite(band.low) and isfinite(band.value):
            plain[name] = [round(b, 1) if isfinite(b) else None for b in band]
    return plain
