"""`plan`: what a site's questions cost its lines, and what would make them fit; worked out before anything is wired.

Nothing is asked of any device. A driver says which questions it would ask (`requests`), what each puts on the wire
(`wire_bytes`) and, where its questions depend on the line, what they cost there (`cost_on`).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from drivers.cost import Job, LineCost, Overrun, overrun, utilisation
from edge_agent.model import LINES, DeviceId, DeviceSpec, LinkSpec, Request
from edge_agent.words import Phrase, phrase

FULL = 0.80
"""Of a line's time: above it, repeats after a lost answer and live readings find little room."""

CADENCES_S = (1, 2, 3, 5, 10, 15, 20, 30, 60, 90, 180, 300, 450, 900, 1800, 3600)
"""Cadences that meet the boundaries of a demand interval."""

BAUDS = (1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200)


@dataclass(frozen=True, slots=True)
class Question:
    """One planned round trip."""

    request: Request
    address: str
    count: int | None
    holes: int
    sent: int
    expected: int
    takes_s: float

    @property
    def job(self) -> Job:
        return Job(self.takes_s, self.request.every_s)


@dataclass(frozen=True)
class DevicePlan:
    """The questions of one device; None: its driver does not say what they put on the wire."""

    device: DeviceSpec
    cost: LineCost
    questions: tuple[Question, ...] | None

    @property
    def jobs(self) -> list[Job]:
        return [q.job for q in self.questions or ()]

    @property
    def cycle_s(self) -> float:
        """Every question once."""
        return sum(q.takes_s for q in self.questions or ())

    @property
    def cycle_bytes(self) -> int:
        return sum(q.sent + q.expected for q in self.questions or ())

    @property
    def utilisation(self) -> float:
        return utilisation(self.jobs)


@dataclass(frozen=True)
class LinkPlan:
    """Everything that is asked on one link."""

    link: LinkSpec
    devices: tuple[DevicePlan, ...]

    @property
    def jobs(self) -> list[Job]:
        return [job for d in self.devices for job in d.jobs]

    @cached_property
    def utilisation(self) -> float:
        return utilisation(self.jobs)

    @cached_property
    def overrun(self) -> Overrun | None:
        return overrun(self.jobs)

    @cached_property
    def overrun_beside_silence(self) -> Overrun | None:
        """As `overrun`, while one device keeps silent for the whole time-out."""
        return overrun(self.jobs, blocked_s=self.link.timeout_s) if self.jobs else None

    @property
    def cycle_s(self) -> float:
        return sum(d.cycle_s for d in self.devices)

    @property
    def unplanned(self) -> tuple[DeviceId, ...]:
        return tuple(d.device.id for d in self.devices if d.questions is None)

    @property
    def fits(self) -> bool:
        return self.utilisation <= 1 and self.overrun is None

    @property
    def roomy(self) -> bool:
        return self.fits and self.utilisation <= FULL


def plan_link(link: LinkSpec, devices: Sequence[DeviceSpec], turnaround_s: float | None = None) -> LinkPlan:
    """The devices of one link. Raises ValueError for a profile that cannot be read as it says."""
    return LinkPlan(link, tuple(plan_device(link, d, turnaround_s) for d in devices if d.link == link.id))


def plan_device(link: LinkSpec, device: DeviceSpec, turnaround_s: float | None = None) -> DevicePlan:
    line = LineCost.on(link, turnaround_s)
    try:
        driver: Any = importlib.import_module(f"drivers.{device.profile.driver}")
    except ModuleNotFoundError as missing:
        if missing.name != f"drivers.{device.profile.driver}":
            raise
        return DevicePlan(device, line, None)
    if not hasattr(driver, "wire_bytes"):
        return DevicePlan(device, line, None)
    if hasattr(driver, "cost_on"):
        line = driver.cost_on(link, turnaround_s)
        requests = driver.requests(device, line)
    else:
        requests = driver.requests(device)
    return DevicePlan(device, line, tuple(_question(driver, r, line) for r in requests))


def behind_gateway(link: LinkSpec, baud: int) -> LinkSpec:
    """A TCP link as the serial line that its gateway leads to."""
    return replace(link, kind="tcp-serial", baud=baud) if link.kind == "modbus-tcp" else link


def said(plan: LinkPlan) -> Iterator[Phrase]:
    """What a person must know about the link, worst first."""
    link = plan.link.id
    percent = f"{100 * plan.utilisation:.0f}"
    if plan.utilisation > 1:
        yield phrase("plan.over", link=link, percent=percent)
    elif plan.overrun is not None:
        late = plan.overrun
        yield phrase("plan.late", link=link, within_s=f"{late.within_s:g}", needs_s=f"{late.needs_s:.1f}")
    elif plan.utilisation > FULL:
        yield phrase("plan.full", link=link, percent=percent)
    if plan.roomy and plan.overrun_beside_silence is not None:
        yield phrase("plan.no_room_for_silence", link=link, timeout_s=f"{plan.link.timeout_s:g}")
    if plan.unplanned:
        yield phrase("plan.unplanned", link=link, devices=", ".join(plan.unplanned))
    if plan.link.kind == "modbus-tcp" and len(plan.devices) > 1:
        yield phrase("plan.perhaps_a_gateway", link=link, devices=len(plan.devices))


def remedies(plan: LinkPlan, turnaround_s: float | None = None) -> Iterator[Phrase]:
    """What would bring the link to at most `FULL`, each by itself; each is planned anew, not estimated."""
    if plan.roomy:
        return
    link, devices = plan.link, [d.device for d in plan.devices]
    if one := _slower_one(plan, turnaround_s):
        yield phrase("plan.slower_one", device=one[0], every_s=f"{one[1]:g}")
    for every_s in CADENCES_S:
        if plan_link(link, [_slower(d, every_s) for d in devices], turnaround_s).roomy:
            yield phrase("plan.slower_all", link=link.id, every_s=f"{every_s:g}")
            break
    for baud in BAUDS if link.kind in LINES else ():
        if baud > link.baud and plan_link(replace(link, baud=baud), devices, turnaround_s).roomy:
            yield phrase("plan.higher_baud", link=link.id, baud=baud)
            break
    if lines := _more_lines(plan):
        moved = "; ".join(", ".join(line) for line in lines[1:])
        yield phrase("plan.more_lines", link=link.id, lines=len(lines), moved=moved)


def _slower_one(plan: LinkPlan, turnaround_s: float | None) -> tuple[DeviceId, float] | None:
    """The device that has to give up least, by the factor of its cadence; None: no single one is enough."""
    found: list[tuple[float, DeviceId, float]] = []
    if len(plan.devices) < 2:
        return None
    for at, one in enumerate(plan.devices):
        fastest_s = min((job.every_s for job in one.jobs), default=0.0)
        for every_s in (c for c in CADENCES_S if c > fastest_s > 0):
            slow = plan_device(plan.link, replace(one.device, every_s=every_s), turnaround_s)
            if LinkPlan(plan.link, (*plan.devices[:at], slow, *plan.devices[at + 1 :])).roomy:
                found.append((every_s / fastest_s, one.device.id, every_s))
                break
    return min(found)[1:] if found else None


def _slower(device: DeviceSpec, every_s: float) -> DeviceSpec:
    """The device at a cadence of `every_s`, unless all of it is as slow already."""
    fastest_s = min(device.every_s or r.every_s for r in device.profile.registers)
    return device if fastest_s >= every_s else replace(device, every_s=every_s)


def _more_lines(plan: LinkPlan) -> list[list[DeviceId]] | None:
    """The devices on the fewest lines that were found to carry them: the heaviest first, each where there is most room.

    None: one device alone is too much for a line.
    """
    heaviest = sorted(plan.devices, key=lambda d: -d.utilisation)
    for n in range(2, len(heaviest) + 1):
        lines: list[list[DevicePlan]] = [[] for _ in range(n)]
        for device in heaviest:
            min(lines, key=lambda line: sum(d.utilisation for d in line)).append(device)
        if all(LinkPlan(plan.link, tuple(line)).roomy for line in lines):
            order = {d.device.id: at for at, d in enumerate(plan.devices)}
            return [sorted((d.device.id for d in line), key=order.__getitem__) for line in lines]
    return None


def _question(driver: Any, request: Request, line: LineCost) -> Question:
    sent, expected = driver.wire_bytes(request)
    if hasattr(driver, "asked"):
        address, count, holes = driver.asked(request)
    else:
        address, count, holes = request.registers[0].address, None, 0
    return Question(request, address, count, holes, sent, expected, line.round_trip_s(sent, expected))
