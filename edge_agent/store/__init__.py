"""Keeps findings and their messages until the centre has them, the evaluator's state, and telemetry while it fits."""

from __future__ import annotations

from edge_agent.store.errors import (
    StoreBusy,
    StoreClosed,
    StoreDamaged,
    StoreDirectoryMissing,
    StoreError,
    StoreFailing,
    StoreFull,
    StoreHeld,
    StoreLocked,
    StoreMissing,
    StoreNewer,
    StoreUnreadable,
    StoreUnwritable,
)
from edge_agent.store.read_only import StoreReader
from edge_agent.store.shapes import (
    AckOutcome,
    BoundaryRow,
    FindingRow,
    IntervalRow,
    Limits,
    Renewed,
    Reopened,
    ReserveSpent,
    Salvaged,
    Shed,
    Stats,
    StoreEvent,
)
from edge_agent.store.store import Store
from edge_agent.store.telemetry_reader import TelemetryReader

__all__ = [
    "AckOutcome",
    "BoundaryRow",
    "FindingRow",
    "IntervalRow",
    "Limits",
    "Renewed",
    "Reopened",
    "ReserveSpent",
    "Salvaged",
    "Shed",
    "Stats",
    "Store",
    "StoreBusy",
    "StoreClosed",
    "StoreDamaged",
    "StoreDirectoryMissing",
    "StoreError",
    "StoreEvent",
    "StoreFailing",
    "StoreFull",
    "StoreHeld",
    "StoreLocked",
    "StoreMissing",
    "StoreNewer",
    "StoreReader",
    "StoreUnreadable",
    "StoreUnwritable",
    "TelemetryReader",
]
