"""One step of a finding becomes a letter to the centre.

What the audit measured is handed over as names and numbers. Some names have a place of their own in the message
(`RESERVED`); every other becomes one of its `measured` values, with the unit that the end of its name says
(`demand_va` is VA). A number that is no number, a code that is no code and a text that is empty are left out: a message
that is wrong in one field must not keep the finding from the centre.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, Protocol, cast

import msgspec
from msgspec import UNSET, UnsetType

from edge_agent.contract.messages import (
    Action,
    CapacityUsed,
    Count,
    EstimateUsed,
    FactUsed,
    FindingData,
    JudgedInterval,
    Measured,
    Threshold,
)
from edge_agent.contract.shapes import CODE_PATTERN, MONEY_PATTERN, given, rfc3339, time_or_absent
from edge_agent.contract.topics import Ids
from edge_agent.model import UNIT, Capacity, ClockQuality, ClockState, Fact, Letter, Ms, Quantity, Severity

KIND = "finding"

RESERVED = frozenset(
    {"start_ms", "end_ms"}  # the interval judged, UTC ms
    | {"low", "high"}  # what the levels were compared with
    | {"limit", "limit_unit", "contracted", "running", "status", "basis"}  # the capacity judged against, VA or W
    | {"threshold", "threshold_unit"}  # the level of the release that was passed
    | {"coverage", "sources", "k"}
    | {"estimate"}  # what a rule of the tariff would make of it, as plain texts
)
"""Names in a step's `measured` that have a place of their own in the message."""

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

JUDGED = "judged"
"""The measured value that the levels were compared with: load over capacity, seconds of silence, energy lost."""

OF_REGISTER = frozenset({"before", "after"})
STATUSES = ("normal", "suspended", "reduced")
BASES = ("capacity", "contracted-demand", "actual-demand")
INSTANT_MS = 10**11
"""A name that ends in `_ms` and is larger than this is an instant: three years after 1970 nobody measured."""


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
    reckoned: Sequence[str] = (),
    test: bool = False,
) -> Letter:
    """The chain message of one step. `point` is None for a finding about the gateway.

    `capacity` and `k` are those in force at the end of the interval judged; a step that says in its `measured` what it
    was judged against overrules them. `action` is the code of a sentence in the catalogue and that sentence in English,
    `reckoned` the arithmetic of the step's estimate.
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
            start=_time(measured.get("start_ms")) if timed else UNSET,
            end=(_time(measured.get("end_ms")) or time_or_absent(step.time_ms)) if timed else UNSET,
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
        capacity=_capacity(measured, capacity),
        threshold=_threshold(measured),
        coverage=_absent(_share(measured.get("coverage"))),
        sources=_tally(measured.get("sources")),
        measured=_all_measured(measured),
        counts=[
            Count(name=_name(name), value=number, unit=_unit(name, "1"))
            for name in sorted(step.counts)
            if (number := _number(step.counts[name])) is not None
        ],
        facts=[_fact(fact) for fact in step.facts],
        action=Action(code=action[0], text=action[1]) if action else UNSET,
        estimate=_estimate(measured.get("estimate"), reckoned),
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


def _all_measured(measured: Mapping[str, Any]) -> list[Measured]:
    """What was compared with the levels first, then everything else by name."""
    plain = _register_unit(measured)
    bounds = {"low": measured.get("low"), "high": measured.get("high")}
    judged = _banded(
        JUDGED, bounds, "1" if "limit" in measured else plain or _known_unit(measured.get("threshold_unit"))
    )
    others = (_measured(name, measured[name], plain) for name in sorted(measured.keys() - RESERVED))
    return [m for m in (judged, *others) if m is not None]


def _measured(name: str, value: Any, plain: str) -> Measured | None:
    """A number, a band (low, value, high), a text, several texts, an instant; None where it is none of them."""
    match value:
        case bool():
            return Measured(name=_name(name), text="yes" if value else "no")
        case int() | float():
            if name.endswith("_ms") and abs(value) >= INSTANT_MS and (instant := _time(value)):
                return Measured(name=_name(f"{name.removesuffix('_ms')}_at"), text=instant)
            return _banded(name, {"value": value}, plain if plain and name in OF_REGISTER else "1")
        case str():
            return Measured(name=_name(name), text=value[:500]) if value else None
        case Mapping():
            return _banded(name, value, "1")
        case [int() | float() as low, int() | float() as best, int() | float() as high]:
            return _banded(name, {"low": low, "value": best, "high": high}, "1")
        case [str(), *_] if text := ", ".join(v for v in value if isinstance(v, str) and v):
            return Measured(name=_name(name), text=text[:500])
    return None


def _banded(name: str, numbers: Mapping[str, Any], unit: str) -> Measured | None:
    value, low, high = (_absent(_number(numbers.get(n))) for n in ("value", "low", "high"))
    if value is low is high is UNSET:
        return None
    return Measured(name=_name(name), value=value, low=low, high=high, unit=given(_unit(name, unit)))


def _register_unit(measured: Mapping[str, Any]) -> str:
    """The unit of a register that the step speaks of, "" where it speaks of none."""
    try:
        return UNIT[Quantity(measured.get("quantity", ""))]
    except ValueError:
        return ""


def _estimate(plain: Any, reckoned: Sequence[str]) -> EstimateUsed | UnsetType:
    """Absent where there is none, or where it is no sum of money."""
    match plain:
        case {"rule": str() as rule, "amount": str() as amount, "currency": str() as currency} if _MONEY.match(amount):
            lines = [line[:500] for line in reckoned if line]
            most = bool(plain.get("at_most"))
            return EstimateUsed(rule=rule, amount=amount, currency=currency, at_most=most, binding=False, lines=lines)
    return UNSET


def _capacity(measured: Mapping[str, Any], in_force: Capacity | None) -> CapacityUsed | UnsetType:
    """What the step was judged against, else what was in force."""
    contracted, running = _number(measured.get("contracted")), _number(measured.get("running"))
    unit, status, basis = measured.get("limit_unit"), measured.get("status"), measured.get("basis")
    if contracted is None or running is None or unit not in {"VA", "W"}:
        if in_force is None:
            return UNSET
        contracted, running, unit = in_force.contracted, in_force.running, in_force.unit
        status, basis = str(in_force.status), in_force.basis
    return CapacityUsed(
        contracted=contracted,
        running=running,
        unit=cast(Any, unit),
        status=cast(Any, status) if status in STATUSES else UNSET,
        basis=cast(Any, basis) if basis in BASES else UNSET,
    )


def _threshold(measured: Mapping[str, Any]) -> Threshold | UnsetType:
    """The limit itself where a topic says one, else the level of the release that was passed."""
    value = _number(measured.get("limit"))
    if value is not None:
        return Threshold(value=value, unit=_known_unit(measured.get("limit_unit")))
    value = _number(measured.get("threshold"))
    return UNSET if value is None else Threshold(value=value, unit=_known_unit(measured.get("threshold_unit")))


def _known_unit(unit: Any) -> str:
    return unit if unit in UNIT_OF_ENDING.values() or unit == "count" else "1"


def _fact(fact: Fact) -> FactUsed:
    value = fact.value if isinstance(fact.value, str) else _number(fact.value)
    return FactUsed(
        name=_name(fact.name),
        value="unknown" if value is None or value == "" else value,
        state=cast(Any, str(fact.state)),
        source=cast(Any, str(fact.source)),
        since=_time(fact.from_ms),
        verified_at=_absent(_code(fact.verified_at)),
    )


def _time(utc_ms: Any) -> str | UnsetType:
    """Absent for what is no instant: "since ever", which a timeline writes as an instant before the year 1."""
    number = _number(utc_ms)
    try:
        return UNSET if number is None else rfc3339(int(number))
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


def _tally(value: Any) -> int | UnsetType:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else UNSET


def _day(utc_ms: Ms, tz: tzinfo) -> str:
    return datetime.fromtimestamp(utc_ms / 1000, tz).date().isoformat()


_MONEY = re.compile(MONEY_PATTERN.removesuffix("$") + r"\Z")
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
