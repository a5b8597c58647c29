"""One step of a finding becomes a letter to the centre.

What the audit measured is handed over as names and numbers. Some names have a place of their own in the message
(`RESERVED`); every other becomes one of its `measured` values, with the unit that the end of its name says
(`demand_va` is VA). A number that is no number, a code that is no code and a text that is empty are left out: a message
that is wrong in one field must not keep the finding from the centre.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any, Protocol, cast

import msgspec
from msgspec import UNSET, UnsetType

from edge_agent.contract.messages import (
    Action,
    CapacityUsed,
    Count,
    FactUsed,
    FindingData,
    JudgedInterval,
    Measured,
    Threshold,
)
from edge_agent.contract.shapes import CODE_PATTERN, given, rfc3339, time_or_absent
from edge_agent.contract.topics import Ids
from edge_agent.model import Capacity, ClockQuality, ClockState, Fact, Letter, Ms, Severity

KIND = "finding"

RESERVED = frozenset({"start_ms", "end_ms", "coverage", "reads", "threshold", "threshold_unit", "capacity", "k"})
"""Names in a step's `measured` that have a place of their own: UTC ms, shares, `model.Capacity`, the multiplier."""

UNIT_OF_ENDING = {
    "kwh": "kWh",
    "wh": "Wh",
    "varh": "varh",
    "vah": "VAh",
    "kw": "kW",
    "kva": "kVA",
    "w": "W",
    "var": "var",
    "va": "VA",
    "v": "V",
    "a": "A",
    "hz": "Hz",
    "percent": "%",
    "ms": "ms",
    "s": "s",
    "min": "min",
    "days": "d",
}
"""The unit that the last word of a name says; any other name is a plain number."""


class Step(Protocol):
    """What the audit says about one step (`audit.topic.Step`)."""

    @property
    def finding(self) -> str: ...
    @property
    def n(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def point(self) -> str: ...
    @property
    def topic(self) -> str: ...
    @property
    def release(self) -> str: ...
    @property
    def release_digest(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def episode(self) -> str: ...
    @property
    def severity(self) -> Severity: ...
    @property
    def active(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    @property
    def time_ms(self) -> Ms: ...
    @property
    def opened_ms(self) -> Ms: ...
    @property
    def route(self) -> str: ...
    @property
    def due_ms(self) -> Ms: ...
    @property
    def trial(self) -> bool: ...
    @property
    def exempt(self) -> bool: ...
    @property
    def check_archive(self) -> bool: ...
    @property
    def measured(self) -> Mapping[str, Any]: ...
    @property
    def counts(self) -> Mapping[str, int | float]: ...
    @property
    def facts(self) -> tuple[Fact, ...]: ...
    @property
    def iec(self) -> str: ...
    @property
    def anomaly(self) -> str: ...
    @property
    def origin(self) -> str: ...


class Codes(Protocol):
    """The opaque codes of a metering point (`archive.Point`), and the zone in which its days begin."""

    @property
    def consumer_no(self) -> str | None: ...
    @property
    def supply_org(self) -> str | None: ...
    @property
    def metering_point(self) -> str | None: ...
    @property
    def asset_no(self) -> str | None: ...
    @property
    def tz(self) -> tzinfo: ...


def finding_letter(
    step: Step,
    *,
    site: Ids,
    point: Codes | None,
    archive_version: str,
    clock: ClockState,
    boot_id: str,
    bt_ms: Ms,
    capacity: Capacity | None = None,
    k: float | None = None,
    action: tuple[str, str] | None = None,
    test: bool = False,
) -> Letter:
    """The chain message of one step. `point` is None for a finding about the gateway.

    `capacity` and `k` are those in force at the end of the interval judged; a step that carries them in its `measured`
    overrules them. `action` is the code of a sentence in the catalogue and that sentence in English.
    """
    measured = step.measured
    timed = clock.quality is not ClockQuality.UNSET
    data = FindingData(
        finding=step.finding,
        step=cast(Any, str(step.kind)),
        n=step.n,
        episode=_code(step.episode) or "none",
        active=step.active,
        reason=_name(step.reason),
        topic=step.topic,
        key=_absent(_code(step.key)),
        release=step.release,
        params_digest=_digest(step.release_digest),
        archive=given(archive_version),
        route=cast(Any, str(step.route)),
        due=_day(step.due_ms, point.tz if point else UTC) if timed else UNSET,
        opened=time_or_absent(step.opened_ms) if timed else UNSET,
        interval=JudgedInterval(
            start=time_or_absent(_instant(measured.get("start_ms"))) if timed else UNSET,
            end=rfc3339(_instant(measured.get("end_ms")) or step.time_ms) if timed else UNSET,
        ),
        point=given(step.point),
        supply_org=_absent(_code(point.supply_org)) if point else UNSET,
        consumer_no=_absent(_code(point.consumer_no)) if point else UNSET,
        metering_point=_absent(_code(point.metering_point)) if point else UNSET,
        asset_no=_absent(_code(point.asset_no)) if point else UNSET,
        trial=step.trial,
        exempt=step.exempt,
        test=test,
        check_archive=step.check_archive,
        origin=cast(Any, step.origin),
        k=_absent(_number(measured.get("k", k))),
        capacity=_capacity(measured.get("capacity", capacity)),
        threshold=_threshold(measured),
        coverage=_absent(_share(measured.get("coverage"))),
        reads=_reads(measured.get("reads")),
        measured=[m for name in sorted(measured.keys() - RESERVED) if (m := _measured(name, measured[name]))],
        counts=[
            Count(name=_name(name), value=number, unit=_unit(name, "1"))
            for name in sorted(step.counts)
            if (number := _number(step.counts[name])) is not None
        ],
        facts=[_fact(fact) for fact in step.facts],
        action=Action(code=action[0], text=action[1]) if action else UNSET,
        iec=given(step.iec),
        anomaly=given(step.anomaly),
    )
    where = f"/{site.utility}/{site.gateway}"
    return Letter(
        id=f"{step.finding}/{step.kind}/{step.n}",
        kind=KIND,
        type=f"edge-agent.finding.{step.kind}.v1",
        source=f"{where}/{step.point}" if step.point else where,
        subject=step.topic,
        time_ms=step.time_ms if timed else None,
        severity=step.severity,
        data=msgspec.to_builtins(data),
        clock=clock,
        boot_id=boot_id,
        bt_ms=bt_ms,
    )


def _measured(name: str, value: Any) -> Measured | None:
    """A number, a band (three numbers: low, value, high), a table with those names, a text; None where none of them."""
    match value:
        case bool():
            return Measured(name=_name(name), text="yes" if value else "no")
        case int() | float():
            if name.endswith("_at_ms") and (instant := _instant(value)) is not None:
                return Measured(name=_name(name.removesuffix("_ms")), text=rfc3339(instant))
            return _banded(name, {"value": value}, "1")
        case str():
            return Measured(name=_name(name), text=value[:500]) if value else None
        case Mapping():
            return _banded(name, value, str(value.get("unit", "1")))
        case [low, best, high]:
            return _banded(name, {"low": low, "value": best, "high": high}, "1")
    return None


def _banded(name: str, numbers: Mapping[str, Any], unit: str) -> Measured | None:
    value, low, high = (_absent(_number(numbers.get(n))) for n in ("value", "low", "high"))
    if value is low is high is UNSET:
        return None
    return Measured(name=_name(name), value=value, low=low, high=high, unit=_unit(name, unit))


def _capacity(capacity: Any) -> CapacityUsed | UnsetType:
    if not isinstance(capacity, Capacity):
        return UNSET
    contracted, running = _number(capacity.contracted), _number(capacity.running)
    if contracted is None or running is None:
        return UNSET
    return CapacityUsed(
        contracted=contracted,
        running=running,
        unit=cast(Any, capacity.unit),
        status=cast(Any, str(capacity.status)),
        basis=given(capacity.basis),
    )


def _threshold(measured: Mapping[str, Any]) -> Threshold | UnsetType:
    value = _number(measured.get("threshold"))
    return UNSET if value is None else Threshold(value=value, unit=str(measured.get("threshold_unit", "1")))


def _fact(fact: Fact) -> FactUsed:
    value = fact.value if isinstance(fact.value, str) else _number(fact.value)
    return FactUsed(
        name=_name(fact.name),
        value="unknown" if value is None or value == "" else value,
        state=cast(Any, str(fact.state)),
        source=cast(Any, str(fact.source)),
        since=_time_if_any(fact.from_ms),
        verified_at=_absent(_code(fact.verified_at)),
    )


def _time_if_any(utc_ms: Ms) -> str | UnsetType:
    """Absent for "since ever", which a timeline writes as an instant before the year 1."""
    try:
        return rfc3339(utc_ms)
    except ValueError:
        return UNSET


def _unit(name: str, fallback: str) -> str:
    return UNIT_OF_ENDING.get(name.rpartition("_")[2], fallback)


def _number(value: Any) -> float | None:
    """Finite and short: nine digits are more than any meter has, and 262.30000000000001 helps nobody."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.9g}")


def _share(value: Any) -> float | None:
    number = _number(value)
    return None if number is None else min(max(number, 0.0), 1.0)


def _reads(value: Any) -> int | UnsetType:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else UNSET


def _instant(value: Any) -> Ms | None:
    number = _number(value)
    return None if number is None else int(number)


def _day(utc_ms: Ms, tz: tzinfo) -> str:
    return datetime.fromtimestamp(utc_ms / 1000, tz).date().isoformat()


_CODE = re.compile(CODE_PATTERN.removesuffix("$") + r"\Z")


def _code(text: str | None) -> str | None:
    return text if text and _CODE.match(text) else None


def _name(text: str) -> str:
    """A name as the schema has it: lower case, no blanks, not empty."""
    cleaned = re.sub(r"[^a-z0-9_.-]", "_", text.lower())[:64]
    return cleaned if cleaned[:1].isalpha() else f"x{cleaned}"[:64]


def _digest(text: str) -> str:
    return text if text.startswith("sha-256:") else f"sha-256:{text}"


def _absent(value: Any) -> Any:
    return UNSET if value is None else value


__all__ = ["KIND", "RESERVED", "Codes", "Step", "finding_letter"]
