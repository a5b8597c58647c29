"""A release file as data -> `Release`; every mistake is named with its key, all of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from edge_agent.audit.topic import Clearing, Level, Opening, Release, Route
from edge_agent.model import Severity

EPISODES = ("run", "day", "month", "once")
STATES = ("draft", "in_review", "approved", "published", "suspended", "retired")
UNITS = ("interval", "hour", "day")
DUE_DAYS = {"critical": 1, "major": 3, "warning": 7, "notice": 30, "info": 30}
"""Days until an answer is due (domain rule 5.0.1 [C])."""
KEYS = {"topic", "version", "status", "episode", "route", "levels", "clear", "due_days", "params", "iec", "anomaly",
        "sets", "title", "title_zh", "suppressed_by_work_order", "supersedes", "unit"}  # fmt: skip
NEEDED = ("topic", "version", "status", "episode", "route", "levels", "clear", "iec")


class ReleaseError(ValueError):
    """A release that cannot be run: says which keys and what would be right. `mistakes`: one each."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


def release_from(plain: Mapping[str, Any], digest: str) -> Release:
    """Raises `ReleaseError`. `digest` is the sha-256 of the file as it is."""
    name = str(plain.get("topic", "?"))
    mistakes = [f"{name}: {said}" for said in mistakes_in(plain)]
    if mistakes:
        raise ReleaseError(*mistakes)
    try:
        return Release(
            topic=name,
            version=int(plain["version"]),
            status=str(plain["status"]),
            episode=plain["episode"],
            route=Route(plain["route"]),
            levels=tuple(_level(level) for level in plain["levels"]),
            clear=_clearing(plain["clear"]),
            due_days={**DUE_DAYS, **plain.get("due_days", {})},
            params=dict(plain.get("params", {})),
            iec=str(plain["iec"]),
            anomaly=str(plain.get("anomaly", "")),
            digest=digest,
            suppressed_by_work_order=bool(plain.get("suppressed_by_work_order", False)),
            supersedes=tuple(plain.get("supersedes", ())),
            unit=str(plain.get("unit", "1")),
        )
    except (KeyError, TypeError, ValueError) as wrong:
        raise ReleaseError(f"{name}: {wrong}") from None


def mistakes_in(plain: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong in a release file, key by key, and what would be right; nothing where it can be run."""
    for key in sorted(set(plain) - KEYS):
        yield f"unknown key {key!r}; known are {', '.join(sorted(KEYS))}"
    for key in NEEDED:
        if key not in plain:
            yield f"key {key!r} is missing"
    if not _whole(plain.get("version", 1), 1):
        yield f"version is {plain['version']!r}, must be a whole number from 1 on"
    yield from _choice("status", plain, STATES)
    yield from _choice("episode", plain, EPISODES)
    yield from _choice("route", plain, tuple(r.value for r in Route))
    if "levels" in plain:
        yield from _levels(plain["levels"])
    if "clear" in plain:
        yield from _clear(plain["clear"])
    due = plain.get("due_days", {})
    if not isinstance(due, Mapping) or not all(k in DUE_DAYS and _whole(v, 1) for k, v in due.items()):
        yield f"due_days is {due!r}, must give whole days from 1 on for some of {', '.join(DUE_DAYS)}"
    if not isinstance(plain.get("params", {}), Mapping):
        yield "params must be a table"
    for key in ("sets", "supersedes"):
        said = plain.get(key, [])
        if not isinstance(said, list | tuple) or not all(isinstance(x, str) for x in said):
            yield f"{key} must be a list of names"


def _choice(key: str, plain: Mapping[str, Any], known: tuple[str, ...]) -> Iterator[str]:
    if key in plain and plain[key] not in known:
        yield f"{key} is {plain[key]!r}, must be one of {', '.join(known)}"


def _levels(levels: Any) -> Iterator[str]:
    if not isinstance(levels, list) or not levels or not all(isinstance(x, Mapping) for x in levels):
        yield "levels must be given from the lowest `above` to the highest, at least one"
        return
    for n, level in enumerate(levels, 1):
        yield from (f"levels[{n}].{said}" for said in _level_mistakes(level))
    above = [x.get("above") for x in levels]
    if all(map(_number, above)) and above != sorted(above):
        yield "levels must be given from the lowest `above` to the highest, at least one"


def _level_mistakes(level: Mapping[str, Any]) -> Iterator[str]:
    for key in ("severity", "above", "open", "source"):
        if key not in level:
            yield f"{key} is missing"
    for key in sorted(set(level) - {"severity", "above", "open", "source"}):
        yield f"{key} is unknown; a level has severity, above, open and source"
    yield from _choice("severity", level, tuple(s.value for s in Severity))
    if "above" in level and not _number(level["above"]):
        yield f"above is {level['above']!r}, must be a number"
    opening = level.get("open", {})
    if not isinstance(opening, Mapping) or set(opening) - {"k", "n", "unit", "hold_s"}:
        yield f"open is {opening!r}, must be {{ k, n, unit }} or {{ hold_s }}"
        return
    if "hold_s" not in opening and opening.get("unit", "interval") not in UNITS:
        yield f"open.unit is {opening['unit']!r}, must be interval, hour or day"
    for key in sorted({"k", "n", "hold_s"} & set(opening)):
        if not _whole(opening[key], 1):
            yield f"open.{key} is {opening[key]!r}, must be a whole number from 1 on"


def _clear(clear: Any) -> Iterator[str]:
    if isinstance(clear, str):
        if clear not in {"manual", "period"}:
            yield f"clear is {clear!r}, must be manual, period or {{ below, hold_s }}"
    elif not isinstance(clear, Mapping) or set(clear) != {"below", "hold_s"}:
        yield f"clear is {clear!r}, must be manual, period or {{ below, hold_s }}"
    elif not _number(clear["below"]) or not _whole(clear["hold_s"], 0):
        yield f"clear is {dict(clear)!r}: below must be a number, hold_s whole seconds from 0 on"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _level(plain: Mapping[str, Any]) -> Level:
    opening = plain["open"]
    unit = opening.get("unit", "interval")
    return Level(
        severity=Severity(plain["severity"]),
        above=float(plain["above"]),
        open=Opening(int(opening.get("k", 1)), int(opening.get("n", 1)), unit, opening.get("hold_s")),
        source=str(plain["source"]),
    )


def _clearing(plain: Mapping[str, Any] | str) -> Clearing:
    if isinstance(plain, str):
        return Clearing(plain)
    return Clearing("hold", float(plain["below"]), int(plain["hold_s"]))
