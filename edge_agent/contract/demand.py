"""The demand message: what the store keeps per point and interval is a row, and one block's rows are one message.

A row's bytes are made once, when the interval closes, and go into the message as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, cast

import msgspec
from msgspec import UNSET, Struct, UnsetType

from edge_agent.contract.messages import DemandRow
from edge_agent.contract.shapes import rfc3339
from edge_agent.model import ClockQuality, Ms, PointId

Bounds = tuple[float, float, float]
"""low, value, high"""


class _Block(Struct):
    start: str
    end: str
    points: list[msgspec.Raw]


_encoder = msgspec.json.Encoder()


def demand_row(
    point: PointId,
    *,
    source: str,
    coverage: float,
    active_w: Bounds | None,
    apparent_va: Bounds | None,
    quality: ClockQuality = ClockQuality.SYNCED,
) -> bytes:
    """One point's row of a block. Bounds are widened as they are rounded, never narrowed."""
    return _encoder.encode(
        DemandRow(
            point=point,
            source=cast(Any, source) if source else UNSET,
            coverage=_short(min(max(math.floor(coverage * 10_000) / 10_000, 0.0), 1.0)),
            clockq=UNSET if quality is ClockQuality.SYNCED else cast(Any, str(quality)),
            p=_rounded(active_w),
            s=_rounded(apparent_va),
        )
    )


def demand_message(start_ms: Ms, end_ms: Ms, rows: Iterable[bytes]) -> bytes:
    """The message of the block (start, end], UTC ms, of rows as `demand_row` made them."""
    return _encoder.encode(_Block(rfc3339(start_ms), rfc3339(end_ms), [msgspec.Raw(row) for row in rows]))


def _rounded(bounds: Bounds | None) -> Bounds | UnsetType:
    """To whole W or VA; under 1 kW, where a whole one would be coarse, to tenths."""
    if bounds is None or not all(map(math.isfinite, bounds)):
        return UNSET
    low, value, high = bounds
    digits = 1 if abs(high) < 1000 else 0
    tens = 10**digits
    down, up = math.floor(low * tens) / tens, math.ceil(high * tens) / tens
    return _short(down), _short(min(max(round(value, digits), down), up)), _short(up)


def _short(number: float) -> float:
    """A whole number without its `.0`: a tenth of a metered month's bytes."""
    return int(number) if number == int(number) else number
