"""Opening the two databases so that no state of the disk needs hands: make, check, rescue, renew."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edge_agent.model import Ms
from edge_agent.store.errors import StoreDamaged, StoreError, StoreFull, StoreUnwritable
from edge_agent.store.files import free_bytes, put_aside, size_with_log
from edge_agent.store.findings_db import FindingsDb, Seal
from edge_agent.store.salvage import finish_swap, make_new, reseal_json, salvage
from edge_agent.store.shapes import MIB, Limits, Renewed, StoreEvent
from edge_agent.store.telemetry_db import TelemetryDb

Classify = Callable[[sqlite3.Error, Path], StoreError]
T = TypeVar("T")


def open_findings(
    path: Path,
    *,
    seal: Seal,
    now_ms: Callable[[], Ms],
    limits: Limits,
    boot: str,
    classify: Classify,
    make_space: Callable[[], object],
) -> FindingsDb:
    """The store at `path`, made anew where there is none, rescued where it is damaged. Raises StoreError otherwise."""

    def sound() -> FindingsDb:
        return FindingsDb.open(path, seal=seal, now_ms=now_ms, busy_s=limits.busy_s)

    def attempt() -> FindingsDb:
        finish_swap(path, boot)
        if not path.exists():
            make_new(path, busy_s=limits.busy_s)
        try:
            return sound()
        except StoreDamaged as damage:
            _rescue(path, str(damage.facts.get("reason", "")), limits, boot, make_space)
        return sound()

    return _with_space(attempt, path, classify, make_space)


def open_telemetry(
    path: Path,
    *,
    limits: Limits,
    boot: str,
    classify: Classify,
    spend_reserve: Callable[[], object],
    report: Callable[[StoreEvent], None],
) -> TelemetryDb:
    """The telemetry at `path`, made anew where it is missing or damaged. Raises StoreError otherwise."""

    def attempt() -> TelemetryDb:
        try:
            return TelemetryDb.open(path, busy_s=limits.busy_s)
        except StoreDamaged as damage:
            report(Renewed(put_aside(path, boot), str(damage.facts.get("reason", ""))))
        return TelemetryDb.open(path, busy_s=limits.busy_s)

    return _with_space(attempt, path, classify, spend_reserve)


def _rescue(path: Path, why: str, limits: Limits, boot: str, make_space: Callable[[], object]) -> None:
    if free_bytes(path.parent) < 2 * size_with_log(path) + MIB:
        make_space()
    try:
        salvage(path, boot=boot, why=why, reseal=reseal_json, busy_s=limits.busy_s)
    except (sqlite3.Error, OSError):
        raise  # the disk, not the damage: the old file is untouched, the next start tries again
    except Exception as error:
        # Damage that the rescue itself trips over: the file stays beside for whoever looks, the agent starts.
        salvage(path, boot=boot, why=f"{why}; {error!r}", reseal=reseal_json, busy_s=limits.busy_s, empty=True)


def _with_space(attempt: Callable[[], T], path: Path, classify: Classify, make_space: Callable[[], object]) -> T:
    for last_try in (False, True):
        try:
            return attempt()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise StoreUnwritable(path=str(path), reason=error.strerror or repr(error)) from error
            if last_try:
                raise StoreFull(path=str(path)) from error
        except sqlite3.Error as error:
            failure = classify(error, path)
            if last_try or not isinstance(failure, StoreFull):
                raise failure from error
        make_space()
    raise AssertionError("the second try returns or raises")
