"""What came of each case: whether what the core said is so, whether it was to be found, and whether it was.

Reckoned from the world that was played and from nothing else, so it can be done again without playing it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from tests.truth.cases import BY_NAME, Batch, staged
from tests.truth.customer import I_PHASE
from tests.truth.faults import Happening
from tests.truth.judge import Judged, is_found, judged
from tests.truth.kinds import Kind
from tests.truth.meter import World, shown
from tests.truth.play import Played
from tests.truth.profiles import Floats


@dataclass
class Result:
    """What came of one case. `late_h`: from what is true to the finding, hours. `enough`: the inputs suffice."""

    kind: str
    number: int
    shape: str
    days: float
    every_s: int
    disturbed: bool
    found: bool = False
    enough: bool = True
    late_h: float | None = None
    route: str = ""
    findings: list[dict[str, Any]] = field(default_factory=list)
    answers: list[tuple[str, str, str, int]] = field(default_factory=list)
    customer: dict[str, Any] = field(default_factory=dict)


def results_of(batch: Batch, said: Sequence[Played], shapes: dict[str, Floats]) -> list[Result]:
    """`said`: what `cases.played` gave for this batch."""
    kind = BY_NAME.get(batch.kind)
    stage = staged(batch, shapes)
    return [_result(batch, n, each, *stage[n], kind) for n, each in enumerate(said)]


def _result(batch: Batch, n: int, said: Played, world: World, happening: Happening | None, kind: Kind | None) -> Result:
    result = Result(
        batch.kind, batch.numbers[n], batch.shapes[n], said.days, batch.every_s, batch.disturbed,
        findings=[_plain(judged(f, world, kind, happening), world) for f in said.findings],
        answers=[(*key, count) for key, count in sorted(said.answers.items())],
        customer={"share": round(world.customer.share, 3), "kva": world.customer.contract_kva,
                  "ct_a": world.customer.ct_a, "register": world.customer.register,
                  "pf": round(world.customer.pf, 3)},
    )  # fmt: skip
    if kind is not None and happening is not None:
        hits = [f for f in said.findings if is_found(f, kind, happening, world)]
        result.enough = enough(kind, world, happening)
        if hits:
            first = min(hits, key=lambda f: f.opened_ms)
            result.found, result.route = True, first.route
            result.late_h = max(0.0, (first.opened_ms - happening.from_ms) / 3.6e6)
    return result


def _plain(verdict: Judged, world: World) -> dict[str, Any]:
    f = verdict.finding
    return {
        "topic": f.topic, "key": f.key, "why": verdict.why, "severity": f.severity, "route": f.route, "steps": f.steps,
        "opened_day": round((f.opened_ms - world.load.start_ms) / 86_400_000, 3), "measured": f.measured,
    }  # fmt: skip


def enough(kind: Kind, world: World, happening: Happening) -> bool:
    """Whether the load gives what the question needs (`Kind.needs`), once it is true."""
    what, least = kind.needs
    if not what:
        return True
    load, customer = world.load, world.customer
    if what == "margin":
        return _over(world, least)
    if what == "step":
        return _stepped(world, happening, least)
    since = max(0, round((happening.from_ms - load.start_ms) / (load.every_s * 1000)))
    amps = load.at_ticks(np.hypot(load.p, load.q))[since:] / (3**0.5 * 400.0) / customer.ct_a
    if what == "current":
        held = max(1, 1800 // load.every_s)
        runs = np.convolve(amps > least, np.ones(held), "valid")
        return bool((runs >= held).any())
    per_day = 86_400 // load.every_s
    if what == "block":
        first = max(0, -(-(happening.from_ms - load.start_ms) // 900_000))
        due = load.blocks_w()[first:] / customer.k / 4 > least
        return bool((due[1:] & due[:-1]).any())
    if what == "spread":
        return _spread(world, happening, least)
    flow = float(load.over_ticks(load.p)[since:].sum()) / customer.k / max(1e-9, len(amps) / per_day)
    return flow >= least


def _over(world: World, least: float) -> bool:
    """Whether both sources show a block of the grid that reaches `least` of the contract, less the class.

    Registers: less two steps of each, for what is shown may be a step less than what flowed, and the lower bound takes
    off another. Powers: between two readings no more than the lower of them is known.
    """
    load, customer = world.load, world.customer
    blocks = load.blocks_w() if customer.by_demand else load.blocks_va()
    limit = customer.contract_w if customer.by_demand else customer.contract_kva * 1000
    shown = load.at_ticks(load.p if customer.by_demand else np.hypot(load.p, load.q))
    known = np.minimum(shown, np.concatenate([shown[:1], shown[:-1]]))
    ticks = 900 // load.every_s
    sampled = known[: len(known) // ticks * ticks].reshape(-1, ticks).mean(axis=1)
    return bool((np.minimum(blocks - 2 * _step_w(world), sampled)[: len(sampled)] * 0.995 > least * limit).any())


def _spread(world: World, happening: Happening, least: float) -> bool:
    """Whether a phase that it is about shows currents that spread over `least`, on three days in a row.

    As the method has it: block means of what the meter shows, each day with the one before it, without the outermost
    twentieth of the pairs.
    """
    load, customer = world.load, world.customer
    first = max(0, -(-(happening.from_ms - load.start_ms) // 86_400_000))
    display = shown(world).meter
    about = [p for p in range(3) if world.unseen_a[p].any()] or [0, 1, 2]
    return any(_wide(display[I_PHASE[p]] * customer.k / customer.ct_a, load.every_s, first, least) for p in about)


def _wide(amps: Floats, every_s: int, first: int, least: float) -> bool:
    between = (amps + np.concatenate([amps[:1], amps[:-1]])) / 2
    ticks = 900 // every_s
    blocks = between[: len(between) // ticks * ticks].reshape(-1, ticks).mean(axis=1)
    wide = [
        float(np.subtract(*np.quantile(blocks[max(first, day - 1) * 96 : (day + 1) * 96], (0.975, 0.025)))) >= least
        for day in range(first + 1, len(blocks) // 96)  # the first one lacks a block
    ]
    return any(all(wide[at : at + 3]) for at in range(len(wide) - 2))


def _stepped(world: World, happening: Happening, least: float) -> bool:
    """Whether the daily peaks of the fortnight after stand out, by the release's own rule on what was really drawn.

    Each against the days of its class before: CUSUM above h = 8 with k = 0.5, the median of the fortnight at least
    1.10, and the days' P95 above `least` of the contract; by the lower bound, which lies a step of each register below
    what was moved. A load that swings by more than it has grown gives no answer.
    """
    limit = world.customer.contract_kva * 1000
    blocks = world.load.blocks_va() / limit
    days = blocks[: len(blocks) // 96 * 96].reshape(-1, 96)
    at = round((happening.from_ms - world.load.start_ms) / 86_400_000)
    noons = [datetime.fromtimestamp(world.load.start_ms / 1000 + (n + 0.5) * 86_400, UTC) for n in range(len(days))]
    weekend = np.array([noon.weekday() >= 5 for noon in noons])
    peaks, since = days.max(axis=1), days[at : at + 14] - _step_w(world) / limit
    total, highest, ratios = 0.0, 0.0, []
    for day, low in enumerate(since.max(axis=1).tolist(), at):
        own = peaks[:at][weekend[:at] == weekend[day]][-60:]
        middle = float(np.median(own))
        spread = max(1.4826 * float(np.median(np.abs(own - middle))), 0.02)
        total = max(0.0, total + (low - middle) / spread - 0.5)
        highest = max(highest, total)
        ratios.append(low / middle)
    return bool(
        highest > 8 and np.median(ratios) >= 1.10 and np.median(np.quantile(since, 0.95, axis=1)) >= least * 1.01
    )


def _step_w(world: World) -> float:
    """One step of each register, as power over a quarter of an hour: W or VA."""
    load, customer = world.load, world.customer
    stands = customer.start_kwh + float(load.over_ticks(load.p).sum()) / customer.k / 1000
    return customer.step_wh(stands) * customer.k * 4 * (1.0 if customer.by_demand else 1.42)
