"""What can be asked of the writer thread; each carries the future that it answers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from edge_agent.store.findings_db import FindingsDb
from edge_agent.store.telemetry_db import TelemetryDb


@dataclass(slots=True)
class Write:
    """A change of findings.db."""

    apply: Callable[[FindingsDb], Any]
    wait_s: float
    letters: int = 0
    size: int = 0
    future: Future[Any] = field(default_factory=Future)


@dataclass(slots=True)
class TelemetryWrite:
    """A change of telemetry.db."""

    apply: Callable[[TelemetryDb], Any]
    rows: int
    future: Future[Any] = field(default_factory=Future)


@dataclass(slots=True)
class Question:
    """Something to be read from what is committed."""

    ask: Callable[[FindingsDb, TelemetryDb], Any]
    telemetry: bool = False
    future: Future[Any] = field(default_factory=Future)


@dataclass(slots=True)
class Tend:
    """Trim, expire, shed and set the reserve aside now."""

    future: Future[Any] = field(default_factory=Future)


@dataclass(slots=True)
class Stop:
    """Commit what waits, then end."""

    future: Future[Any] = field(default_factory=Future)


Job = Write | TelemetryWrite | Question | Tend | Stop
