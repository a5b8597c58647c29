"""How an event of a meter is put: which readings and entries it rests on, when it happened, and what it is called."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from edge_agent.load.views import Witnessed
from edge_agent.model import DeviceId, Ms
from edge_agent.witness.story import Entry, Meter, Move, is_known


def witnessed(
    device: DeviceId, meter: Meter, code: str, count: int, moves: Sequence[Move], entries: Sequence[Entry], now_ms: Ms
) -> Witnessed:
    logged = tuple(sorted(e.when_ms for e in entries if e.when_ms is not None))
    operator = next((e.operator for e in reversed(entries) if e.operator), "")
    sources = (("counter",) if moves else ()) + (("log",) if entries else ())
    if not moves:
        first = min(entries, key=lambda e: (e.when_ms or 0, e.counter or 0))
        start_ms, end_ms = (logged[0], logged[-1]) if logged else (now_ms, now_ms)
        return Witnessed(
            meter.point, device, code, f"{_stamp(first.when_ms or 0)}-{first.counter or 0}", count, sources, start_ms,
            end_ms, now_ms, logged_ms=logged, operator=operator, serial_known=meter.serial is not None,
        )  # fmt: skip
    first_move, last_move = moves[0], moves[-1]
    start_ms, end_ms = first_move.before_ms, last_move.after_ms
    if len(logged) >= count and logged[0] <= logged[-1] <= now_ms:
        start_ms, end_ms = logged[0], logged[-1]
    return Witnessed(
        meter.point, device, code, f"{_stamp(first_move.base_ms)}-{first_move.before}", count, sources, start_ms,
        end_ms, now_ms, before=first_move.before, after=last_move.after, before_ms=first_move.before_ms,
        after_ms=last_move.after_ms, logged_ms=logged, operator=operator,
        serial_known=is_known(meter, last_move.after_ms),
    )  # fmt: skip


def unplaced(device: DeviceId, meter: Meter, code: str, entry: Entry, now_ms: Ms) -> Witnessed:
    assert entry.when_ms is not None
    return Witnessed(
        meter.point, device, code, _stamp(entry.when_ms), 1, ("log",), now_ms, now_ms, now_ms,
        logged_ms=(entry.when_ms,), operator=entry.operator, serial_known=meter.serial is not None, placed=False,
    )  # fmt: skip


def _stamp(utc_ms: Ms) -> str:
    return datetime.fromtimestamp(utc_ms / 1000, UTC).strftime("%Y%m%d%H%M%S")
