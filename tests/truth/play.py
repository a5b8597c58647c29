"""Customers side by side through one real core: readings as a field bus brings them, in virtual time.

The process image, the core, the topics and their published releases are the product's; only sockets and stores are
missing. What disturbs the collection (`Disturbed`) happens here, between the meters and the image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_agent.assembly import core_of, resolution
from edge_agent.audit.topic import Answer, Step, StepKind, Verdict
from edge_agent.image import ProcessImage
from edge_agent.model import (
    ClockQuality,
    ClockState,
    Gap,
    GapCause,
    Identity,
    Ms,
    Outcome,
    Quantity,
    Reading,
)
from edge_agent.settings import config_files
from tests.truth.customer import ENERGIES, I_PHASE, SLOW_S, U_PHASE, archive_of, devices_of, meter_profile, table_of
from tests.truth.meter import World, clock_text, shown

RELEASE_SET = "cn-sg-meter"
BOOT_MS = 1_400_000_000_000
QUESTIONS: tuple[frozenset[Quantity], ...] = (frozenset(ENERGIES), frozenset(U_PHASE), frozenset(I_PHASE))
"""What a meter answers at once; everything else that is quick is one more question."""


@dataclass(frozen=True)
class Disturbed:
    """How readings are spoiled: shares of questions lost and late, one day without anything, a clock that is off.

    `clock_off_s`: by so much the gateway's clock is wrong for a third of the time, twice, and is then set.
    """

    missing: float = 0.05
    late: float = 0.02
    late_s: float = 2.0
    outage_days: int = 1
    clock_off_s: float = 20.0


@dataclass
class Finding:
    """One finding as the centre would know it."""

    id: str
    topic: str
    key: str
    opened_ms: Ms
    severity: str
    route: str
    steps: int = 1
    cleared_ms: Ms | None = None
    measured: dict[str, Any] = field(default_factory=dict)


@dataclass
class Played:
    """What the core said of one point. `answers`: how often each topic said what, and for UNKNOWN and BETWEEN why."""

    point: str
    findings: list[Finding] = field(default_factory=list)
    answers: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    days: float = 0.0


@dataclass(frozen=True)
class Story:
    """A world, and what the site file says that differs from it."""

    world: World
    table: dict[str, Any] = field(default_factory=dict)


class Answering:
    """Readings of one customer, tick by tick."""

    def __init__(self, story: Story, disturbed: Disturbed | None) -> None:
        world, customer = story.world, story.world.customer
        self.world, self.customer = world, customer
        seen = shown(world)
        registers = {r.quantity: r for r in meter_profile(customer).registers}
        self.columns: list[list[tuple[Quantity, list[float], list[float] | float]]] = [[] for _ in range(4)]
        self.slow: list[tuple[Quantity, list[float]]] = []
        for quantity, values in seen.meter.items():
            register = registers[quantity]
            if register.every_s >= SLOW_S:
                self.slow.append((quantity, values.tolist()))
                continue
            place = next((i for i, q in enumerate(QUESTIONS) if quantity in q), 3)
            if register.type == "f32":
                steps: list[float] | float = [resolution(register, v) for v in values.tolist()]
            else:
                steps = resolution(register, 0.0)
            self.columns[place].append((quantity, values.tolist(), steps))
        self.ct = [(q, v.tolist()) for q, v in seen.ct.items()]
        n = world.load.ticks
        # Each at its own time, so that no hour of the day is left out.
        self.slow_ms = customer.seed % (SLOW_S // customer.every_s) * customer.every_s * 1000
        rng = np.random.default_rng([customer.seed, 4])
        self.lost = np.repeat(world.lost[:, None], 5, axis=1)
        self.late_ms = np.zeros((n, 5), np.int64)
        if disturbed is not None:
            self.lost |= rng.random((n, 5)) < disturbed.missing
            late = rng.random((n, 5)) < disturbed.late
            self.late_ms = np.where(late, rng.uniform(200, disturbed.late_s * 1000, (n, 5)), 0).astype(np.int64)
        self.plain = not (self.lost.any() or self.late_ms.any())

    def answers(self, i: int, t_ms: Ms, bt_ms: Ms, *, wanted: bool) -> list[Outcome]:
        """What one round of questions brings; `wanted`: the core asks for everything, as the poller does it then.

        A late answer shows what was, and is stamped when it came.
        """
        out: list[Outcome] = []
        device = self.customer.meter
        lost = () if self.plain else self.lost[i].tolist()
        late = () if self.plain else self.late_ms[i].tolist()
        for place, columns in enumerate(self.columns):
            if lost and lost[place]:
                out += [Gap(device, q, GapCause.NO_REPLY, bt_ms, "") for q, _, _ in columns]
                continue
            at = bt_ms + late[place] if late else bt_ms
            for q, values, step in columns:
                out.append(Reading(device, q, values[i], step if isinstance(step, float) else step[i], at, None))
        if self.ct and not (lost and lost[4]):
            at = bt_ms + 300 + (late[4] if late else 0)
            out += [Reading(self.customer.ct_device, q, values[i], 0.01, at, None) for q, values in self.ct]
        if (wanted or t_ms % (SLOW_S * 1000) == self.slow_ms) and not (lost and lost[3]):
            out += [Reading(device, q, values[i], 1.0, bt_ms, None) for q, values in self.slow]
            serial = next(s for from_, s in reversed(self.world.serials) if from_ <= i)
            clock = clock_text(t_ms, float(self.world.clock_s[i]))
            out.append(Identity(device, Quantity.METER_SERIAL, serial, bt_ms, None))
            out.append(Identity(device, Quantity.METER_CLOCK, clock, bt_ms, None))
        return out


def play(stories: Sequence[Story], disturbed: Disturbed | None = None) -> list[Played]:
    """All stories have the same ticks."""
    first = stories[0].world.load
    times = first.times_ms().tolist()
    if any(s.world.load.start_ms != first.start_ms or s.world.load.ticks != first.ticks for s in stories):
        raise ValueError("customers side by side are read at the same times")
    meters = [Answering(s, disturbed) for s in stories]
    customers = [s.world.customer for s in stories]
    devices = [d for c in customers for d in devices_of(c)]
    archive = archive_of(table_of(s.world.customer, **s.table) for s in stories)
    core = core_of(archive, devices, config_files(), gateway="gw-1", release_set=RELEASE_SET)
    point_of = {d.id: c.id for c in customers for d in devices_of(c)}
    image = ProcessImage({device: ("bus", point) for device, point in point_of.items()})
    played = {c.id: Played(c.id, days=first.ticks * first.every_s / 86_400) for c in customers}
    counted = {p.point: p.answers for p in played.values()}
    found: dict[str, Finding] = {}
    silent, off_ms = _spoiled(len(times), first.every_s, customers[0].seed, disturbed)
    wants: frozenset[str] = frozenset()

    def hear(said: Mapping[str, Sequence[Verdict]]) -> None:
        for topic, verdicts in said.items():
            for v in verdicts:
                if v.point in counted:
                    why = v.reason if v.answer is Answer.UNKNOWN or v.answer is Answer.BETWEEN else ""
                    counted[v.point][topic, v.answer, why] += 1

    core.hearers.append(hear)
    for i, t_ms in enumerate(times):
        if silent[i]:
            continue
        bt_ms = t_ms - BOOT_MS
        for meter in meters:
            image.take(meter.answers(i, t_ms, bt_ms, wanted=meter.customer.meter in wants))
        # Late answers are in before the tick: two seconds is what a question may take.
        clock = ClockState(ClockQuality.SYNCED, BOOT_MS + off_ms[i], 500)
        outcome = core.tick(image.cut(bt_ms + 5_000, clock))
        wants = outcome.wants
        for step in outcome.steps:
            _take(step, found, played)
    return [played[c.id] for c in customers]


def _take(step: Step, found: dict[str, Finding], played: dict[str, Played]) -> None:
    finding = found.get(step.finding)
    if finding is None:
        finding = found[step.finding] = Finding(
            step.finding, step.topic, step.key, step.time_ms, step.severity.value, step.route.value,
            measured=_plain(step.measured),
        )  # fmt: skip
        if step.point in played:
            played[step.point].findings.append(finding)
        elif not step.point and len(played) == 1:
            next(iter(played.values())).findings.append(finding)
    else:
        finding.steps += 1
        finding.severity = step.severity.value
    if step.kind is StepKind.CLEARED:
        finding.cleared_ms = step.time_ms


def _plain(measured: Any) -> dict[str, Any]:
    """Figures and texts; what is deeper is its own text."""
    kept = (int, float, str)
    return {k: v if isinstance(v, kept) else str(v)[:200] for k, v in measured.items() if k != "facts"}


def _spoiled(n: int, every_s: int, seed: int, disturbed: Disturbed | None) -> tuple[list[bool], list[int]]:
    """At which ticks nothing is running, and by how much the gateway's clock is off."""
    silent, off = np.zeros(n, np.bool_), np.zeros(n, np.int64)
    if disturbed is not None:
        rng = np.random.default_rng([seed, 5])
        day = 86_400 // every_s
        for _ in range(disturbed.outage_days):
            at = int(rng.integers(0, max(1, n - day)))
            silent[at : at + day] = True
        third = n // 6
        for part in range(2):
            at = int(rng.integers(part * n // 2, part * n // 2 + third))
            off[at : at + third] = round(rng.uniform(-1, 1) * disturbed.clock_off_s * 1000)
    return silent.tolist(), off.tolist()
