"""The energy registers at each block's end, with the raw frames that carried them: a week of material for a dispute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from edge_agent.load.points import ENERGIES
from edge_agent.load.views import Interval, Source
from edge_agent.model import ClockState, DeviceId, Outcome, PointId, Quantity, Reading
from edge_agent.store import BoundaryRow

Latest = Mapping[DeviceId, Mapping[Quantity, Outcome]]


def boundary_rows(
    closed: Iterable[Interval], meters: Mapping[PointId, DeviceId], latest: Latest, clock: ClockState
) -> list[BoundaryRow]:
    """One row per meter and block that closed: the readings that closed it, as the meter gave them."""
    rows: dict[tuple[DeviceId, int], BoundaryRow] = {}
    for interval in closed:
        device = meters.get(interval.point)
        if device is None or not interval.block or interval.count > 1 or _is_written_down(interval):
            continue
        last = latest.get(device, {})
        found = [r for q in ENERGIES if isinstance(r := last.get(q), Reading)]
        if found:
            body = {
                "registers": {r.quantity.value: [r.value, r.step, clock.utc_ms(r.bt_ms)] for r in found},
                "frames": sorted({(r.frame.request.hex(), r.frame.reply.hex()) for r in found if r.frame is not None}),
            }
            rows[device, interval.end_ms] = BoundaryRow(device, interval.end_ms, msgspec.json.encode(body))
    return list(rows.values())


def _is_written_down(interval: Interval) -> bool:
    """By its meter, and read long after it ended: the latest readings are not those that closed it."""
    return interval.register is not None and interval.register.source is Source.PROFILE
