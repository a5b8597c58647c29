"""Whether a finding is so: by what was done to the point, or by the load itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_agent.model import Ms
from tests.truth.faults import Happening
from tests.truth.kinds import Kind
from tests.truth.meter import World
from tests.truth.play import Finding
from tests.truth.profiles import Floats

DAY_MS = 86_400_000
DAY_H = 24.0
CLASS = 0.005
"""Meter and transformers of class 0.5: what they may show too much is no accusation of the agent's."""

BY_LOAD = {
    # topic: highest share of the contract that must have been reached, over how many hours
    "cap-over-contract": (1.0, 0.25),
    "cap-heavy-load": (0.80, 2.0),
    "cap-overload-sustained": (1.0, 2.0),
    "cap-demand-over": (1.05, 0.25),
    "cap-thermal": (0.95, 0.25),
}


@dataclass(frozen=True)
class Judged:
    """One finding, and why it is so or not: "done", "load", "not so"."""

    finding: Finding
    why: str

    @property
    def so(self) -> bool:
        return self.why != "not so"


def judged(finding: Finding, world: World, kind: Kind | None, happening: Happening | None) -> Judged:
    if kind is not None and happening is not None and finding.topic in {*kind.must, *kind.may}:
        slack_ms = 2 * world.load.every_s * 1000
        if finding.opened_ms >= happening.from_ms - slack_ms:
            return Judged(finding, "done")
    if finding.topic == "dat-missing" and _refused(finding, world):
        return Judged(finding, "done")
    return Judged(finding, "load" if _by_load(finding, world) else "not so")


def _by_load(finding: Finding, world: World) -> bool:
    customer, load = world.customer, world.load
    if finding.topic in BY_LOAD:
        share, hours = BY_LOAD[finding.topic]
        if finding.topic == "cap-demand-over":
            demand, limit = load.sliding_w(), customer.contract_w
        else:
            demand = load.sliding_va()
            limit = customer.contract_kva * 1000
        end = _step(world, finding.opened_ms) - round(900 / load.step_s) + 1
        held_h = DAY_H if finding.topic == "cap-thermal" else hours - 0.25  # the day's ageing is of the day behind it
        width = max(1, round(held_h * 3600 / load.step_s))
        slack = load.sub + 1
        stretch = demand[max(0, end - width - slack) : end + slack]
        # Of a hold every window counts; the steps at its edges may lie outside.
        at_least = stretch.max() if hours <= 0.25 else np.quantile(stretch, 0.15)
        return bool(at_least * (1 + CLASS) > share * limit)
    if finding.topic == "cap-reverse-overload":
        return _given_out(finding, world)
    if finding.topic == "cap-demand-forecast":
        return _goes_on(finding, world)
    if finding.topic == "met-ct-overrange":
        end = _step(world, finding.opened_ms)
        just_then = slice(max(0, end - 2 * load.sub), end + load.sub)
        amps = np.hypot(load.p[just_then], load.q[just_then]) / (3**0.5 * 400.0) / customer.ct_a
        return bool(amps.max(initial=0.0) * (1 + customer.unbalance + 0.04) > 1.2)
    if finding.topic == "met-ct-oversized":
        end = _step(world, finding.opened_ms)
        month = slice(max(0, end - round(32 * 86_400 / load.step_s)), max(1, end))
        amps = np.hypot(load.p[month], load.q[month]) / (3**0.5 * 400.0) / customer.ct_a
        return bool(np.median(amps[amps > 0.01]) < 0.30 * 1.06)
    return False


def _given_out(finding: Finding, world: World) -> bool:
    """Whether for two hours before it opened 0.80 of the nameplate was given out, and 1.00 since where it says so."""
    load, rated_va = world.load, world.customer.contract_kva * 1000
    if world.generated_w is None:
        return False
    quarter, hold = round(900 / load.step_s), round(7200 / load.step_s)
    out = np.maximum(world.generated_w - load.p, 0.0)
    share = _sliding(np.where(out > 0, np.hypot(out, load.q), 0.0), quarter) * (1 + CLASS) / rated_va
    end, slack = _step(world, finding.opened_ms) - quarter + 1, load.sub + 1
    held = share[max(0, end - (hold - quarter)) : end + slack]
    so = bool(held.size and np.quantile(held, 0.15) > 0.80)
    if so and finding.severity != "notice":
        over = _sliding((share[max(0, end - hold) :] > 1.0).astype(float), hold - quarter)
        so = bool(over.size and over.max() >= 0.85)
    return so


def _goes_on(finding: Finding, world: World) -> bool:
    """Whether the running block would have ended above the limit, had the load gone on as in its last minute (4.10)."""
    load, customer = world.load, world.customer
    quarter, minute = round(900 / load.step_s), max(1, round(60 / load.step_s))
    now = _step(world, finding.opened_ms)
    begun = (now - 1) // quarter * quarter
    if not customer.by_demand or not begun < now <= len(load.p):
        return False
    last = max(float(load.p[max(0, now - minute) : now].mean()), float(load.p[now - 1]))
    demand = (float(load.p[begun:now].sum()) + last * (begun + quarter - now)) / quarter
    return demand * (1 + CLASS) > 1.05 * customer.contract_w


def _refused(finding: Finding, world: World) -> bool:
    """Whether enough of the day's blocks hold what no meter that is in order shows: they have no energy, and no value.

    A register that moves by more than the transformers carry, or falls; and what was not read at all.
    """
    load, customer = world.load, world.customer
    ticks, day = 900 // load.every_s, 86_400 // load.every_s
    moved = load.over_ticks(load.p) * world.pace + world.moved_wh * customer.k
    most = 1.2 * 3**0.5 * 400.0 * customer.ct_a * load.every_s / 3600
    odd = (moved > most) | (moved < 0) | world.lost
    end = round((finding.opened_ms - load.start_ms) / (load.every_s * 1000)) // ticks * ticks
    blocks = odd[max(0, end - day) : end].reshape(-1, ticks).any(axis=1)
    return bool(blocks.mean() > (0.05 if finding.severity == "notice" else 0.20)) if blocks.size else False


def _sliding(values: Floats, width: int) -> Floats:
    total = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray((total[width:] - total[:-width]) / width)


def _step(world: World, at_ms: Ms) -> int:
    return round((at_ms - world.load.start_ms) / (world.load.step_s * 1000))


def is_found(finding: Finding, kind: Kind, happening: Happening, world: World) -> bool:
    """Whether this is what the kind asks for, in time."""
    slack_ms = 2 * world.load.every_s * 1000
    until = happening.until_ms if happening.until_ms is not None else world.load.times_ms()[-1]
    last = min(until, happening.from_ms + 14 * DAY_MS) + round(kind.patience_days * DAY_MS)
    return finding.topic in kind.must and happening.from_ms - slack_ms <= finding.opened_ms <= last
