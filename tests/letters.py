"""Letters, intervals and a store to put them into, for the tests of the store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_agent.model import Letter, Severity
from edge_agent.store import IntervalRow, Limits, Store, StoreEvent

NOON_MS = 1_773_489_600_000
"""2026-03-14 12:00 UTC."""

QUARTER_MS = 900_000


def seal(letter: Letter, seq: int, epoch: str, prevhash: str) -> bytes:
    """A message like the real ones: CloudEvents, structured JSON."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": letter.id,
            "source": letter.source,
            "type": letter.type,
            "subject": letter.subject,
            "time": "2026-03-14T12:00:00Z",
            "severity": letter.severity,
            "seq": seq,
            "epoch": epoch,
            "prevhash": prevhash,
            "data": letter.data,
        },
        separators=(",", ":"),
    ).encode()


def letter(name: object, step: str = "opened", n: int = 1, *, kind: str = "finding", **data: Any) -> Letter:
    return Letter(
        id=f"{name}/{step}/{n}",
        kind=kind,
        type=f"edge-agent.{kind}.{step}.v1",
        source="/demo/gw-1/factory",
        subject="cap-over-contract",
        time_ms=NOON_MS,
        severity=Severity.WARNING,
        data=data,
    )


def interval(k: int, body: bytes = b'{"demand_w":1}', point: str = "factory") -> IntervalRow:
    """The k-th quarter of an hour after noon."""
    return IntervalRow(point, NOON_MS + (k - 1) * QUARTER_MS, NOON_MS + k * QUARTER_MS, body)


class Hand:
    """A clock that is set by hand."""

    def __init__(self, now_ms: int = NOON_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


QUICK = Limits(group_s=0.05, state_s=0.05, telemetry_s=0.05, reserve_bytes=64 * 1024, tend_s=3600, busy_s=0.2)


def open_store(
    folder: Path,
    *,
    limits: Limits = QUICK,
    now_ms: Callable[[], int] | None = None,
    report: Callable[[StoreEvent], None] = lambda event: None,
    seal: Callable[[Letter, int, str, str], bytes] = seal,
    boot: str = "boot1",
) -> Store:
    return Store.open(
        folder / "findings.db",
        folder / "telemetry.db",
        seal=seal,
        now_ms=now_ms or Hand(),
        limits=limits,
        report=report,
        boot=boot,
    )
