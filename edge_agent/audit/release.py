"""A release file as data -> `Release`; every mistake is named with its key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.audit.topic import Clearing, Level, Opening, Release, Route
from edge_agent.model import Severity

EPISODES = ("run", "day", "month", "once")
DUE_DAYS = {"critical": 1, "major": 3, "warning": 7, "notice": 30, "info": 30}
"""Days until an answer is due (domain rule 5.0.1 [C])."""
KEYS = {"topic", "version", "status", "episode", "route", "levels", "clear", "due_days", "params", "iec", "anomaly",
        "sets", "title", "title_zh", "suppressed_by_work_order", "supersedes", "unit"}  # fmt: skip


class ReleaseError(ValueError):
    """A release that cannot be run: says which key and what would be right."""


def release_from(plain: Mapping[str, Any], digest: str) -> Release:
    """Raises `ReleaseError`. `digest` is the sha-256 of the file as it is."""
    name = str(plain.get("topic", "?"))
    unknown = sorted(set(plain) - KEYS)
    if unknown:
        raise ReleaseError(f"{name}: unknown key {unknown[0]!r}; known are {', '.join(sorted(KEYS))}")
    try:
        episode = plain["episode"]
        if episode not in EPISODES:
            raise ReleaseError(f"{name}: episode is {episode!r}, must be one of {', '.join(EPISODES)}")
        levels = tuple(_level(name, level) for level in plain["levels"])
        if [x.above for x in levels] != sorted(x.above for x in levels) or not levels:
            raise ReleaseError(f"{name}: levels must be given from the lowest `above` to the highest, at least one")
        return Release(
            topic=name,
            version=int(plain["version"]),
            status=str(plain["status"]),
            episode=episode,
            route=Route(plain["route"]),
            levels=levels,
            clear=_clearing(name, plain["clear"]),
            due_days={**DUE_DAYS, **plain.get("due_days", {})},
            params=dict(plain.get("params", {})),
            iec=str(plain["iec"]),
            anomaly=str(plain.get("anomaly", "")),
            digest=digest,
            suppressed_by_work_order=bool(plain.get("suppressed_by_work_order", False)),
            supersedes=tuple(plain.get("supersedes", ())),
            unit=str(plain.get("unit", "1")),
        )
    except KeyError as missing:
        raise ReleaseError(f"{name}: key {missing} is missing") from None
    except (TypeError, ValueError) as wrong:
        raise wrong if isinstance(wrong, ReleaseError) else ReleaseError(f"{name}: {wrong}") from None


def _level(name: str, plain: Mapping[str, Any]) -> Level:
    opening = plain["open"]
    unit = opening.get("unit", "interval")
    if "hold_s" not in opening and unit not in {"interval", "hour", "day"}:
        raise ReleaseError(f"{name}: open.unit is {unit!r}, must be interval, hour or day")
    return Level(
        severity=Severity(plain["severity"]),
        above=float(plain["above"]),
        open=Opening(int(opening.get("k", 1)), int(opening.get("n", 1)), unit, opening.get("hold_s")),
        source=str(plain["source"]),
    )


def _clearing(name: str, plain: Mapping[str, Any] | str) -> Clearing:
    if isinstance(plain, str):
        if plain not in {"manual", "period"}:
            raise ReleaseError(f"{name}: clear is {plain!r}, must be manual, period or {{ below, hold_s }}")
        return Clearing(plain)
    return Clearing("hold", float(plain["below"]), int(plain["hold_s"]))
