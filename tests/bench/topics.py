"""What the audit costs on one core with all topics on: a point-year of quarter-hour blocks beside a bare pass of the
ledger on the same readings, and a tick at 1 s cadence as points are added.

The meter is one of tests/truth with an independent current transformer beside it: everything that a topic asks for is
there, nothing is wrong with it, and readings come through the process image in virtual time. Each tick is given to the
core and then to a ledger of its own, so that both are measured under the same load of the machine. CPU seconds, without
what it takes to make the readings.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from edge_agent.archive import Archive
from edge_agent.assembly import core_of
from edge_agent.core import Core
from edge_agent.image import ProcessImage
from edge_agent.load.ledger import LoadLedger
from edge_agent.model import ClockQuality, ClockState, DeviceId, Outcome
from edge_agent.settings import config_files
from tests.bench.figures import Figure, Table
from tests.truth.customer import Customer, archive_of, devices_of, drawn, table_of
from tests.truth.load import load_of
from tests.truth.meter import World
from tests.truth.play import BOOT_MS, RELEASE_SET, Answering, Story
from tests.truth.profiles import profiles

QUARTER_S = 900
POINTS = (16, 64, 256, 1024)
GATE = 64
"""As many points as a gateway has at most."""

CLOCK = ClockState(ClockQuality.SYNCED, BOOT_MS, 500)


def report(table: Table, folder: Path, *, quick: bool) -> None:
    days = 31 if quick else 366
    passes = [_year(days) for _ in range(3)]
    year = 366 / days
    whole, load, bare = (median(cost) * year for cost in zip(*passes, strict=True))
    table.add(Figure("a point-year with all topics, beside a bare ledger", "CPU s", whole, bare, at_most=10))
    table.note(
        f"topics: {days} days of readings every quarter of an hour, median of 3 passes, each tick to core and ledger "
        f"in turn; without topics all that `load` works out takes {load:.1f} CPU s a point-year"
    )
    for points in POINTS:
        ticks = _ticks(points, beside_s=6 if quick else 60)
        table.add(Figure(f"a tick of {points} points at 1 s cadence with all topics", "ms", 1000 * ticks.mean_s))
        table.note(
            f"topics: {points} points, {ticks.count} ticks of {ticks.readings} readings: "
            f"{1e6 * ticks.mean_s / points:.0f} us a point, longest tick {1000 * ticks.longest_s:.0f} ms"
            + (f"; {100 * ticks.mean_s:.0f} % of one core" if points == GATE else "")
        )


@dataclass
class Ticks:
    """CPU time of the ticks that were measured."""

    count: int
    readings: int
    mean_s: float
    longest_s: float


def _customer(every_s: int, slide_min: int) -> Customer:
    found = (drawn("p1", "G3-H", seed, every_s=every_s, slide_min=slide_min) for seed in range(100))
    customer = next(c for c in found if c.share < 0.9 and not c.by_demand)
    return replace(customer, has_ct=True, has_calendar=True)


def _answering(customer: Customer, *, days: int, sub: int) -> Answering:
    shape = profiles(fetch=False).shapes["G3-H"]
    return Answering(Story(World(customer, load_of(customer, shape, first_day=4, days=days, sub=sub))), None)


def _core(archive: Archive, customers: list[Customer]) -> tuple[Core, ProcessImage]:
    devices = [d for c in customers for d in devices_of(c)]
    core = core_of(archive, devices, config_files(), gateway="gw-1", release_set=RELEASE_SET)
    return core, ProcessImage({d.id: ("bus", c.id) for c in customers for d in devices_of(c)})


def _year(days: int) -> tuple[float, float, float]:
    """CPU seconds of the core, of the core without topics, and of a bare ledger."""
    customer = _customer(QUARTER_S, 15)
    archive = archive_of([table_of(customer)])
    core, image = _core(archive, [customer])
    plain, _ = _core(archive, [customer])
    plain.topics = []
    ledger = LoadLedger(core.ledger.points)
    meter = _answering(customer, days=days, sub=15)
    whole_s = load_s = bare_s = 0.0
    wants: frozenset[DeviceId] = frozenset()
    for i, t_ms in enumerate(meter.world.load.times_ms().tolist()):
        image.take(meter.answers(i, t_ms, t_ms - BOOT_MS, wanted=customer.meter in wants))
        snapshot = image.cut(t_ms - BOOT_MS + 5_000, CLOCK)
        began_s = time.process_time()
        wants = core.tick(snapshot).wants
        ticked_s = time.process_time()
        plain.tick(snapshot)
        plain_s = time.process_time()
        ledger.feed(snapshot.readings)
        ledger.close()
        bare_s += time.process_time() - plain_s
        load_s += plain_s - ticked_s
        whole_s += ticked_s - began_s
    return whole_s, load_s, bare_s


def _ticks(points: int, *, beside_s: int) -> Ticks:
    """Points that read the same, each from a meter and a transformer of its own: so long before and after the end of a
    quarter of an hour, up to which they were read every half minute."""
    one = _customer(1, 15)
    meter = _answering(one, days=1, sub=1)
    customers = [replace(one, id=f"p{n}") for n in range(points)]
    core, image = _core(archive_of([table_of(c) for c in customers]), customers)
    spent, readings = [], 0
    times_ms = meter.world.load.times_ms().tolist()
    first, last = QUARTER_S - beside_s, QUARTER_S + beside_s
    for i in (*range(29, first, 30), *range(first, last)):
        t_ms = times_ms[i]
        bt_ms = t_ms - BOOT_MS
        shown = meter.answers(i, t_ms, bt_ms, wanted=False)
        for customer in customers:
            image.take(_of(customer, one, shown))
        snapshot = image.cut(bt_ms + 500, CLOCK)
        began_s = time.process_time()
        core.tick(snapshot)
        if i >= first:
            spent.append(time.process_time() - began_s)
            readings += len(snapshot.readings)
    return Ticks(len(spent), readings // len(spent), sum(spent) / len(spent), max(spent))


def _of(customer: Customer, one: Customer, shown: Iterable[Outcome]) -> Iterator[Outcome]:
    """What one customer's devices show, said by another's."""
    for outcome in shown:
        yield outcome._replace(device=customer.meter if outcome.device == one.meter else customer.ct_device)
