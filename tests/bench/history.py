"""Days behind an agent: its core fed in virtual time with what its meters would have shown, its state kept as it does.

    python -m tests.bench.history SITE END_MS DAYS

Every quarter of an hour each meter of SITE shows what the profile of a factory gives (tests/data), on weeks of its own;
in the last hour every minute, so that as many entries of open intervals lie in the store as an agent that stops leaves
there. Every eighth customer takes more than its contract, and one reading in a hundred is missing. Core, keeping and
store are the product's; a reference centre, centre.db beside SITE, has had everything but what the last hour brought.

SITE is read every quarter of an hour here and more often by the agent that is measured: nothing remembered asks how.
It says how many findings there are, and how much memory this process held after two days and at the end, MiB.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from edge_agent.app.casing import Casing
from edge_agent.app.evaluating import Evaluating
from edge_agent.app.identity import identity_of
from edge_agent.app.keeping import Keeping
from edge_agent.archive import Archive
from edge_agent.assembly import case_rules_of, core_of, keyset_of, resolution
from edge_agent.clock import ReplayedClock
from edge_agent.contract import envelope
from edge_agent.image import ProcessImage
from edge_agent.model import (
    ClockQuality,
    ClockState,
    DeviceId,
    DeviceSpec,
    Frame,
    Ms,
    Outcome,
    Reading,
)
from edge_agent.settings import config_files, device_specs, load_site, terms_of
from edge_agent.store import Limits, Store
from simulator.central.ledger import Ledger
from simulator.central.schemas import Schemas
from tests.bench.processes import memory
from tests.bench.sites import CONTRACT_KVA, START_KVARH, START_KWH
from tests.truth.profiles import ROWS, Floats, profiles

QUARTER_MS, MINUTE_MS, HOUR_MS, DAY_MS = 900_000, 60_000, 3_600_000, 86_400_000
WEEK = 672
"""Quarters of an hour."""

LOCAL_MS = 8 * HOUR_MS
"""The points' time before UTC."""

PF, TAN = 0.92, 0.4259969
OVER_EVERY = 8
"""So many customers, and one of them takes more than its contract."""

LOST = 0.01
SELDOM_MS = 6 * HOUR_MS
"""Until the last hour state without findings is written so often: what is written last is what counts."""


class Meter:
    """What one customer's meter shows; its registers stand at what the simulated meter begins with at the end."""

    def __init__(self, spec: DeviceSpec, number: int, shape: Floats, times_ms: Floats, k: float) -> None:
        self.spec, self.k = spec, k
        self.rng = np.random.default_rng([number, 7])
        quarters = np.arange(times_ms[0], times_ms[-1] + QUARTER_MS, QUARTER_MS)
        # The profile begins on a Friday, the epoch was a Thursday: each customer has weeks of its own, whole ones.
        first = 3 * 96 + number * WEEK + (int(times_ms[0] + LOCAL_MS) // QUARTER_MS + 3 * 96) % WEEK
        rows = shape[(first + np.arange(len(quarters))) % ROWS]
        share = 1.12 if number % OVER_EVERY == 0 else self.rng.uniform(0.45, 0.78)
        noise = 1 + 0.03 * self.rng.standard_normal(len(rows))
        watts = np.maximum(rows * noise, 0.01) / rows.max() * share * CONTRACT_KVA * 1000 * PF
        self.watts = np.interp(times_ms, quarters, watts)
        hours = np.diff(times_ms) / HOUR_MS
        moved = np.concatenate([[0.0], np.cumsum((self.watts[1:] + self.watts[:-1]) / 2 * hours)]) / k
        moved -= moved[-1]
        self.kwh, self.kvarh = START_KWH + moved / 1000, START_KVARH + moved / 1000 * TAN
        self.lost = self.rng.random(len(times_ms)) < LOST
        self.registers = [(r.quantity, resolution(r, 0.0)) for r in spec.profile.registers]

    def answers(self, i: int, bt_ms: Ms) -> list[Outcome]:
        if self.lost[i]:
            return []
        watts = float(self.watts[i]) / self.k
        volts = 230.0 * (1 + 0.01 * float(self.rng.standard_normal()))
        frame = Frame(self.rng.bytes(12), self.rng.bytes(125), bt_ms)
        shown = {
            "active_energy_import": float(self.kwh[i]) * 1000,
            "reactive_energy_import": float(self.kvarh[i]) * 1000,
            "active_power": watts,
            "reactive_power": watts * TAN,
            "apparent_power": watts / PF,
            "power_factor": PF,
            "voltage": volts,
            "current": watts / PF / 3 / volts,
            "frequency": 50.0,
            "ct_ratio": self.k,
            "vt_ratio": 1.0,
        }
        out: list[Outcome] = []
        for quantity, step in self.registers:
            name, _, phase = quantity.partition("_l")
            value = shown.get(name, 0.0) / (3 if phase and name.endswith("_power") else 1)
            out.append(Reading(self.spec.id, quantity, int(value / step + 0.5) * step, step, bt_ms, frame))
        return out


def times_ms(end_ms: Ms, days: int) -> Iterator[Ms]:
    last_ms = end_ms // QUARTER_MS * QUARTER_MS
    yield from range(last_ms - days * DAY_MS, last_ms - HOUR_MS, QUARTER_MS)
    yield from range(last_ms - HOUR_MS, end_ms + 1, MINUTE_MS)


class Behind:
    """An agent's core, keeping and store, without links and without a broker."""

    def __init__(self, site_path: Path, begin_ms: Ms) -> None:
        config = config_files()
        site = load_site(site_path, config=config)
        self.archive = Archive.of(site, terms_of(site, config))
        self.devices = device_specs(site, config=config)
        self.core = core_of(
            self.archive, self.devices, config, gateway=site.site.gateway, release_set=site.site.release_set
        )
        at = {d: p.id for p in self.archive.points.values() for d in (p.meter, p.ct) if d is not None}
        self.image = ProcessImage({d.id: (d.link, at.get(d.id)) for d in self.devices})
        self.offset_ms = begin_ms - HOUR_MS
        self.now_ms = begin_ms
        self.clock = ReplayedClock(HOUR_MS, ClockState(ClockQuality.SYNCED, self.offset_ms, 500))
        identity = identity_of(site.site, "0" * 64)
        state = Path(site.paths.state)
        self.store = Store.open(
            state / "findings.db", state / "telemetry.db", seal=envelope.seal, now_ms=lambda: self.now_ms,
            limits=Limits(group_s=0.1, state_s=1.0, telemetry_s=1.0),
        )  # fmt: skip
        casing = Casing(self.core, self.archive, identity, case_rules_of(config))
        self.keeping = Keeping(self.core, self.store, self.archive, identity, latest=self.image.latest, casing=casing)
        self.evaluating = Evaluating(
            self.core, self.store, self.archive, identity, self.clock, keyset_of(Path(site.paths.signers)),
            self.keeping.write,
        )  # fmt: skip
        self.keeping.besides.append(self.evaluating)
        self.gateway, self.sent = f"{site.site.utility}/{site.site.gateway}", 0
        self.centre = Ledger(site_path.with_name("centre.db"), Schemas())

    def k_of(self, device: DeviceId, at_ms: Ms) -> float:
        point = next(p for p in self.core.ledger.points if p.device == device)
        return next(k for since_ms, k in reversed(point.k) if since_ms <= at_ms)

    def tick(self, answers: Iterable[list[Outcome]], now_ms: Ms, *, keep_every_ms: Ms) -> int:
        """How many findings opened."""
        self.now_ms = now_ms
        for answer in answers:
            self.image.take(answer)
        self.clock.set(now_ms - self.offset_ms)
        snapshot = self.image.cut(now_ms - self.offset_ms, self.clock.state())
        outcome = self.core.tick(snapshot)
        self.evaluating.follow(outcome, now_ms)
        self.keeping.keep(outcome, snapshot, every_ms=keep_every_ms)
        return sum(step.kind.value == "opened" for step in outcome.steps)

    def told(self) -> None:
        """The centre has everything that was told so far."""
        seq, head = self.store.head()
        while self.sent < seq:
            for sealed in self.store.sealed(self.sent + 1, min(self.sent + 200, seq)).result():
                self.centre.take(self.gateway, sealed.kind, sealed.body, self.now_ms)
            self.sent = min(self.sent + 200, seq)
        self.centre.commit(self.now_ms)
        self.store.kept(self.store.epoch, seq, head).result()
        while rows := self.store.unsent_intervals(4_000).result():
            self.store.mark_sent(rows).result()

    def close(self) -> None:
        self.keeping.finish(self.now_ms - self.offset_ms)
        self.store.close()
        self.centre.close()


async def main() -> None:
    site_path, end_ms, days = Path(sys.argv[1]), int(sys.argv[2]) // MINUTE_MS * MINUTE_MS, int(sys.argv[3])
    times = list(times_ms(end_ms, days))
    behind = Behind(site_path, times[0])
    shape = profiles(fetch=False).shapes["G3-H"]
    meters = [
        Meter(spec, n, shape, np.array(times, np.float64), behind.k_of(spec.id, times[0]))
        for n, spec in enumerate(behind.devices)
    ]
    opened, early_mib = 0, 0.0
    for i, now_ms in enumerate(times):
        seldom = now_ms <= times[-1] - HOUR_MS - QUARTER_MS
        answers = (m.answers(i, now_ms - behind.offset_ms) for m in meters)
        opened += behind.tick(answers, now_ms, keep_every_ms=SELDOM_MS if seldom else MINUTE_MS)
        await asyncio.sleep(0)  # what is told once a day
        if now_ms % DAY_MS == 0 or now_ms == end_ms // QUARTER_MS * QUARTER_MS - HOUR_MS:
            behind.told()
        if now_ms - times[0] <= 2 * DAY_MS:
            early_mib = memory(os.getpid()).rss_mib
    behind.close()
    print(opened, f"{early_mib:.1f}", f"{memory(os.getpid()).rss_mib:.1f}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
