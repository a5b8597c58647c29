"""The agent's keeping of findings in a process of its own: 8 points, real letters, real state, the real store.

    python -m tests.bench.keeper SITE CONFIG

It reads lines `single N` and `grouped N` and answers with the mean size of a message. Single: each finding is a commit
of its own. Grouped: twenty come within a commit's waiting time. The receipt moves the cursor once every twenty.
`single-alone N`, `grouped-alone N`: short messages and nothing but them, straight into the store.
"""

from __future__ import annotations

import sys
import time
from itertools import count
from pathlib import Path

from edge_agent.app.identity import identity_of
from edge_agent.app.keeping import Keeping
from edge_agent.archive import Archive
from edge_agent.assembly import core_of
from edge_agent.audit.topic import Route, Step, StepKind
from edge_agent.audit.track import Counts, FindingState, LevelCount, Phase, Track
from edge_agent.contract import envelope
from edge_agent.core import CoreOutcome
from edge_agent.image import Snapshot
from edge_agent.model import ClockQuality, ClockState, Letter, Quantity, Reading, Sealed, Severity
from edge_agent.settings import config_files, device_specs, load_site
from edge_agent.store import Limits, Store

TOGETHER = 20
START_MS = 1_773_454_500_000
CLOCK = ClockState(ClockQuality.SYNCED, 0, 500)


def step(n: int, point: str, at_ms: int) -> Step:
    """A finding as the topic makes it for a quarter of an hour over the contract."""
    return Step(
        finding=f"gw-1.{point}.cap-over-contract.n{n}", n=1, kind=StepKind.OPENED, point=point,
        topic="cap-over-contract", release="cap-over-contract@1", release_digest="ab" * 32, key="", episode="2026-03",
        severity=Severity.WARNING, active=True, reason="level", time_ms=at_ms, opened_ms=at_ms,
        route=Route.CUSTOMER_INSPECTION, due_ms=at_ms + 7 * 86_400_000, trial=False, exempt=False, check_archive=False,
        measured={"start_ms": at_ms - 900_000, "end_ms": at_ms, "low": 1.02, "high": 1.05, "source": "register",
                  "coverage": 1.0, "limit_va": 250_000.0},
        counts={"intervals": 1, "days": 1, "episodes": 1}, facts=(), iec="3.8.139.139", anomaly="负荷超容",
    )  # fmt: skip


def track(found: Step) -> Track:
    """The memory of an open finding, its three levels counting."""
    counts = Counts(1, 1, 1, 1, 1, found.time_ms, 739_000, 1.02)
    state = FindingState(
        found.finding, found.episode, found.n, found.severity.value, found.opened_ms, True, found.release, counts,
        {**found.measured, "facts": []}, 1.02,
    )  # fmt: skip
    levels = [LevelCount([[found.time_ms - 900_000, found.time_ms]]) for _ in range(3)]
    return Track(found.topic, found.point, "", Phase.OPEN, levels, last_end_ms=found.time_ms, finding=state)


class Keeper:
    """Feeds the ledger a reading a second, and keeps findings beside it."""

    def __init__(self, site_path: Path, config_path: Path) -> None:
        config = config_files(config_path)
        site = load_site(site_path, config=config)
        self.archive = Archive.of(site)
        devices = device_specs(site, config=config)
        gateway, release_set = site.site.gateway, site.site.release_set
        self.core = core_of(self.archive, devices, config, gateway=gateway, release_set=release_set)
        state = Path(site.paths.state)
        self.store = Store.open(
            state / "findings.db", state / "telemetry.db", seal=envelope.seal, now_ms=lambda: self.now_ms,
            limits=Limits(group_s=0.05),
        )  # fmt: skip
        identity = identity_of(site.site, "0" * 64)
        self.keeping = Keeping(self.core, self.store, self.archive, identity, committed=lambda _: None)
        self.told = 0  # messages handed over
        self.points = [(p.id, p.device) for p in self.core.ledger.points]
        self.now_ms = START_MS
        self.numbers = count(1)

    def tick(self) -> None:
        self.now_ms += 1000
        wh = (self.now_ms - START_MS) / 36_000
        quantities = (Quantity.ACTIVE_ENERGY_IMPORT, Quantity.REACTIVE_ENERGY_IMPORT, Quantity.ACTIVE_POWER)
        self.core.ledger.feed(
            [(Reading(d, q, wh, 10.0, self.now_ms, None), self.now_ms) for _, d in self.points for q in quantities]
        )
        self.core.ledger.close()

    def stored(self) -> list[Sealed]:
        """The messages that are not acknowledged yet, once the last of them is committed."""
        while self.store.head()[0] < self.told:
            time.sleep(0.0005)
        after = self.store.stats().kept_upto
        return self.store.unsent(after, self.told - after).result()

    def keep(self, findings: int, together: int) -> float:
        """Mean bytes of a message, once all are stored and acknowledged."""
        size = 0
        for done in range(0, findings, TOGETHER):
            for _ in range(min(TOGETHER, findings - done)):
                self.tick()
                n = next(self.numbers)
                self.told += 1
                point = self.points[n % len(self.points)][0]
                found = step(n, point, self.now_ms)
                outcome = CoreOutcome(steps=[found], changed={f"{found.topic}/{point}/": track(found)})
                self.keeping.keep(outcome, Snapshot(self.now_ms, self.now_ms, CLOCK))
                if together == 1:
                    self.stored()
            sealed = self.stored()
            size += sum(len(s.body) for s in sealed)
            self.store.kept(self.store.epoch, sealed[-1].seq, sealed[-1].hash_hex).result()
        return size / findings

    def keep_alone(self, findings: int, together: int) -> float:
        """As `keep`, of messages as short as they can be, without tracks and open intervals."""
        size = 0
        for _ in range(0, findings, TOGETHER):
            sealed: list[Sealed] = []
            for _ in range(TOGETHER // together):
                letters = [self.short() for _ in range(together)]
                written = [self.store.record([letter]) for letter in letters]
                sealed += [s for future in written for s in future.result()]
            size += sum(len(s.body) for s in sealed)
            self.store.kept(self.store.epoch, sealed[-1].seq, sealed[-1].hash_hex).result()
        return size / findings

    def short(self) -> Letter:
        n = next(self.numbers)
        self.told += 1
        self.now_ms += 1000
        return Letter(
            id=f"f{n}/opened/1", kind="finding", type="t", source="/s", subject="cap-over-contract",
            time_ms=self.now_ms, severity=Severity.WARNING, clock=CLOCK,
        )  # fmt: skip


def main() -> None:
    keeper = Keeper(Path(sys.argv[1]), Path(sys.argv[2]))
    print("ready", flush=True)
    for line in sys.stdin:
        how, number = line.split()
        keep = keeper.keep_alone if how.endswith("-alone") else keeper.keep
        print(keep(int(number), 1 if how.startswith("single") else TOGETHER), flush=True)
    keeper.store.close()


if __name__ == "__main__":
    main()
