"""A load that never changes, read through registers that move in steps: who is accused, who is not, and why not.

250 kVA at power factor 0.85 behind a CT 400/5; registers of kWh and kvarh polled every 15 s; days of it, all cases side
by side as the points of one core. `EDGE_PROVE_DAYS` makes it longer.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import pytest

from edge_agent.assembly import core_with
from edge_agent.audit.topic import Answer, Step, StepKind, Verdict
from edge_agent.core import Core
from edge_agent.image import Snapshot
from edge_agent.load.points import LoadPoint
from edge_agent.model import ClockQuality, ClockState, Ms, Quantity, Reading
from tests.models.histories import Meter
from tests.on_paper import DAY_MS, MINUTE_MS, archive_of, local_ms, published

DAYS = float(os.environ.get("EDGE_PROVE_DAYS", "2"))
START = local_ms("2026-03-01 00:00")
POLL_MS = 15_000
CONTRACT_VA, PF, K = 250_000.0, 0.85, 80.0
DISPLAY = 10.0  # Wh: two decimals of kWh
TOPIC = "cap-over-contract"
pytestmark = pytest.mark.timeout(120 + 20 * DAYS)


@dataclass
class Case:
    """One customer: how much of the contract is used, and what the meter's registers show it with."""

    name: str
    share: float
    meter: Meter
    verdicts: Counter[Answer] = field(default_factory=Counter)
    steps: list[Step] = field(default_factory=list)
    highest_low: float = 0.0
    lowest_high: float = 9.0
    last: Verdict | None = None

    def readings(self, t_ms: Ms) -> Iterator[tuple[Reading, Ms]]:
        hours = (t_ms - START) / 3.6e6
        apparent_va = self.share * CONTRACT_VA
        for quantity, part in (
            (Quantity.ACTIVE_ENERGY_IMPORT, PF),
            (Quantity.REACTIVE_ENERGY_IMPORT, sqrt(1 - PF * PF)),
        ):
            value, step = self.meter.shows(apparent_va * part * hours / K)
            yield Reading(f"m-{self.name}", quantity, value, step, t_ms, None), t_ms

    def take(self, verdict: Verdict) -> None:
        self.verdicts[verdict.answer] += 1
        if verdict.answer is not Answer.UNKNOWN:
            self.highest_low = max(self.highest_low, verdict.low)
            self.lowest_high = min(self.lowest_high, verdict.high)
            self.last = verdict


def float32_from(kwh: float) -> Meter:
    return Meter(kwh * 1000, None)


CASES = [
    Case("display-99", 0.995, Meter(1_000_000.0, DISPLAY)),
    Case("float-1000-99", 0.995, float32_from(1_000)),
    Case("float-300000-99", 0.995, float32_from(300_000)),
    Case("float-1000000-99", 0.995, float32_from(1_000_000)),
    Case("display-101", 1.01, Meter(1_000_000.0, DISPLAY)),
    Case("float-1000-101", 1.01, float32_from(1_000)),
    Case("float-60000-101", 1.01, float32_from(60_000)),
    Case("float-300000-101", 1.01, float32_from(300_000)),
    Case("float-1000000-101", 1.01, float32_from(1_000_000)),
    Case("float-1000000-115", 1.15, float32_from(1_000_000)),
]


@pytest.fixture(scope="module")
def days() -> dict[str, Case]:
    """All customers through one core, poll by poll."""
    by_point = {c.name: c for c in CASES}
    core = constant_core(by_point)

    def hear(said: Mapping[str, Sequence[Verdict]]) -> None:
        for verdict in said[TOPIC]:
            by_point[verdict.point].take(verdict)

    core.hearers.append(hear)
    clock = ClockState(ClockQuality.SYNCED, 0, 500)
    end_ms = START + round(DAYS * DAY_MS)
    for t_ms in range(START, end_ms + 1, POLL_MS):
        readings = [r for case in CASES for r in case.readings(t_ms)]
        outcome = core.tick(Snapshot(t_ms, t_ms, clock, readings))
        for step in outcome.steps:
            by_point[step.point].steps.append(step)
    for case in CASES:
        print(
            f"{case.name}: low up to {case.highest_low:.4f}, high from {case.lowest_high:.4f}, {dict(case.verdicts)},"
            f" {[(s.topic, s.kind.value, s.severity.value) for s in case.steps]}"
        )
    return {c.name: c for c in CASES}


def constant_core(by_point: dict[str, Case]) -> Core:
    archive = archive_of(*({"id": name, "meter": f"m-{case.name}"} for name, case in by_point.items()))
    registers = frozenset({Quantity.ACTIVE_ENERGY_IMPORT, Quantity.REACTIVE_ENERGY_IMPORT})
    points = [
        LoadPoint(
            id=name, device=f"m-{case.name}", period_ms=15 * MINUTE_MS, slide_ms=MINUTE_MS, poll_ms=POLL_MS,
            k=archive.k_timeline(name), s_cap_va=((0, archive.s_cap_va(name, START) or 0.0),), quantities=registers,
        )
        for name, case in by_point.items()
    ]  # fmt: skip
    return core_with(archive, points, published()[0], gateway="gw-1")


def found(case: Case, topic: str = TOPIC) -> list[Step]:
    return [s for s in case.steps if s.topic == topic and s.kind is StepKind.OPENED]


def test_every_sliding_window_was_judged(days: dict[str, Case]):
    for case in days.values():
        judged = case.verdicts.total() - case.verdicts[Answer.UNKNOWN]
        assert judged == round(DAYS * 24 * 60) - 14, case.name
        assert case.verdicts[Answer.UNKNOWN] < 20, case.name


@pytest.mark.parametrize(
    "name", ["display-99", "float-1000-99", "float-300000-99", "float-1000000-99"]
)  # fmt: skip
def test_within_the_contract_nobody_is_accused(days: dict[str, Case], name: str):
    case = days[name]
    assert case.verdicts[Answer.BREACH] == 0
    assert case.highest_low < 1.0
    assert found(case) == []


def test_close_to_the_contract_is_heavy_load_where_the_register_can_tell(days: dict[str, Case]):
    assert len(found(days["display-99"], "cap-heavy-load")) == 1
    assert len(found(days["float-1000-99"], "cap-heavy-load")) == 1


@pytest.mark.parametrize("name", ["display-101", "float-1000-101", "float-60000-101"])
def test_one_per_cent_above_is_found_within_a_day(days: dict[str, Case], name: str):
    case = days[name]
    assert case.verdicts[Answer.BREACH] > 0
    (opened,) = found(case)
    assert opened.time_ms - START <= DAY_MS
    assert opened.severity == "notice"


@pytest.mark.parametrize("name", ["float-300000-101", "float-1000000-101"])
def test_a_register_too_coarse_for_one_per_cent_says_so(days: dict[str, Case], name: str):
    case = days[name]
    assert set(case.verdicts) == {Answer.BETWEEN, Answer.UNKNOWN}
    assert found(case) == []
    assert case.last is not None
    assert case.last.reason == "register_too_coarse"


def test_what_is_far_above_is_found_with_the_coarsest_register(days: dict[str, Case]):
    (opened,) = found(days["float-1000000-115"])
    assert opened.time_ms - START <= DAY_MS


@pytest.mark.parametrize(
    ("name", "low"),
    [
        ("display-99", 0.989),
        ("display-101", 1.006),
        ("float-60000-101", 1.006),
        ("float-300000-101", 0.988),
        ("float-1000000-101", 0.933),
    ],
)
def test_the_highest_lower_bound_is_what_was_computed_by_hand(days: dict[str, Case], name: str, low: Any):
    assert days[name].highest_low == pytest.approx(low, abs=0.0015)
