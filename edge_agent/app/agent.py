"""The running agent: one task per link, one tick, one uplink, one control socket, one store thread."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from edge_agent.app.answers import Answers
from edge_agent.app.backfilling import BackFilling
from edge_agent.app.casing import Casing
from edge_agent.app.documents import Documents
from edge_agent.app.evaluating import Evaluating
from edge_agent.app.identity import Identity, identity_of
from edge_agent.app.keeping import STATE_EVERY_MS, Keeping
from edge_agent.app.recalling import recall
from edge_agent.app.selfcheck import SelfCheck
from edge_agent.app.watchdog import Watchdog
from edge_agent.app.witnessing import Witnessing
from edge_agent.archive import Archive
from edge_agent.assembly import case_rules_of, core_of, keyset_of, shelf_of
from edge_agent.clock import ScaledClock, SystemClock
from edge_agent.contract import envelope
from edge_agent.contract.records import Boot, TimeFix, Tombstone, record_letter
from edge_agent.contract.shapes import rfc3339
from edge_agent.control import Control
from edge_agent.fieldbus import FieldLine, open_line
from edge_agent.holding import AskedStamp
from edge_agent.image import ProcessImage, Snapshot
from edge_agent.listing import sentence
from edge_agent.model import DeviceId, DeviceSpec, LinkSpec, Ms, PointId
from edge_agent.package import Keyset
from edge_agent.poller import Poller
from edge_agent.ports import Clock
from edge_agent.settings import Site, config_files, device_specs, link_specs, terms_of
from edge_agent.store import Limits, Shed, Store, StoreError, StoreEvent
from edge_agent.uplink import Uplink

if TYPE_CHECKING:
    from edge_agent.app.commanding import Commanding
    from edge_agent.app.receiving import Receiving

log = structlog.get_logger()
TICK_S = 1.0
SCALED_TICK_S = 0.05
STOP_S = 4.0
CONFIRM_EVERY_MS = 10_000
"""What one more reading did not settle, the next polls may: a slow line is not asked without a pause."""

EXIT_OK, EXIT_AGAIN = 0, 75  # sysexits: EX_TEMPFAIL, the service manager starts the agent anew


def clock_of(site: Site) -> Clock:
    table = site.clock
    if table.kind == "system" or table.start is None or table.rate is None or table.anchor_bt_ms is None:
        return SystemClock()
    return ScaledClock(start_ms=round(table.start.timestamp() * 1000), anchor_bt_ms=table.anchor_bt_ms, rate=table.rate)


class Agent:
    """Everything wired together; `run` until `stop`. Raises `StoreError` or `ReleaseError` when it cannot start."""

    def __init__(self, site: Site, config_digest: str, *, clock: Clock | None = None) -> None:
        self.site = site
        self.clock = clock or clock_of(site)
        self.identity: Identity = identity_of(site.site, config_digest)
        config = config_files()
        self.archive = Archive.of(site, terms_of(site, config))
        devices = device_specs(site, config=config)
        self.shelf = shelf_of(site, config)
        for entry in self.shelf.entries():
            if entry.wrong is not None:
                log.warning("release passed over", release=entry.name, cause=str(entry.wrong))
        self.core = core_of(
            self.archive, devices, config, gateway=site.site.gateway, release_set=site.site.release_set,
            rulings=self.shelf.rulings(),
        )  # fmt: skip
        at = {d: p.id for p in self.archive.points.values() for d in (p.meter, p.ct) if d is not None}
        self.image = ProcessImage({d.id: (d.link, at.get(d.id)) for d in devices})
        self.lines = {link.id: self._line(link, devices) for link in link_specs(site)}
        self.pollers = [self._poller(line) for line in self.lines.values()]
        self._link_of = {d.id: d.link for d in devices}
        self.backfilling = BackFilling(self.core, self._poller_of)
        logs = frozenset(d.id for d in devices if d.profile.event_log)
        self.witnessing = Witnessing(self.core, self._poller_of, logs & {p.device for p in self.core.ledger.points})
        self._asked_bt: dict[DeviceId, Ms] = {}
        self._stopping = asyncio.Event()
        self._happened: deque[StoreEvent] = deque()  # filled on the store's thread
        self._records = 0
        self._offset_ms = self.clock.state().offset_ms
        self._recalled = False
        self._scaled = isinstance(self.clock, ScaledClock)
        self._tick_s = SCALED_TICK_S if self._scaled else TICK_S
        rate = self.clock.rate if isinstance(self.clock, ScaledClock) else 1.0
        self._state_ms = max(STATE_EVERY_MS, round(1000 * rate))
        self._exit_code = EXIT_OK
        self._trouble = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self.casing = Casing(self.core, self.archive, self.identity, case_rules_of(config))
        self.store = self._open_store()
        self.keeping = Keeping(
            self.core, self.store, self.archive, self.identity, latest=self.image.latest, casing=self.casing,
            devices=devices, committed=self._on_commit,
        )  # fmt: skip
        keyset = keyset_of(Path(site.paths.signers))
        self.evaluating = Evaluating(
            self.core, self.store, self.archive, self.identity, self.clock, keyset, self.keeping.write
        )
        self.keeping.besides.append(self.evaluating)
        self.receiving = self._receiving() if keyset.signers else None
        self.commanding = self._commanding(keyset) if keyset.signers else None
        self.documents = Documents(
            self.identity, self.archive, self.core, self.image, self.store, self.clock, self.pollers,
            self.lines, site.mqtt.ack, self.clock.now_ms(), lambda: self.uplink,
        )  # fmt: skip
        self.uplink = Uplink(
            site.mqtt, site.site, self.store, self.clock, self.documents,
            boot_id=self.identity.boot_id, limits=site.delivery,
            packages={} if self.receiving is None or self.commanding is None else {
                "feedback": self.evaluating.hear, "releases": self.receiving.hear, "command": self.commanding.hear,
            },
            greet=(lambda: ()) if self.receiving is None else self.receiving.applied,
        )  # fmt: skip
        self.answers = Answers(
            devices, self.core, self.store, self.clock, self.documents, self.pollers, self.casing,
            self.uplink.send_evidence,
        )  # fmt: skip
        self.watchdog = Watchdog(self.store, self.pollers)
        self.selfcheck = SelfCheck()

    # -- life ---------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Until `stop`; what is decided is on disk when it returns. Exit code: `EXIT_AGAIN` once the store ended."""
        self._loop = asyncio.get_running_loop()
        open_findings = self.keeping.restore()
        self._say_boot()
        self.evaluating.say_releases(self.clock.now_ms())
        control = Control(Path(self.site.paths.runtime), self.answers.handlers() | self.evaluating.handlers())
        try:
            await control.start()
        except OSError as cause:
            log.warning(
                "no control socket: verbs cannot ask this agent", folder=self.site.paths.runtime, cause=str(cause)
            )
        log.info("agent started", gateway=self.site.site.gateway, points=len(self.archive.points),
                 devices=len(self._link_of), open_findings=open_findings, epoch=self.store.epoch)  # fmt: skip
        self.watchdog.ready()
        polling = [asyncio.create_task(p.run(), name=f"link {p.link}") for p in self.pollers]
        ticking = asyncio.create_task(self._ticks(), name="tick")
        delivering = asyncio.create_task(self.uplink.run(), name="uplink")
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait({*polling, ticking, delivering, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()  # a task that ended by itself is a bug: let it be seen, and systemd start anew
        finally:
            stopping.cancel()
            await self._wind_down([*polling, ticking], delivering, control)
        return self._exit_code

    def stop(self) -> None:
        self._stopping.set()

    async def _wind_down(
        self, working: list[asyncio.Task[None]], delivering: asyncio.Task[None], control: Control
    ) -> None:
        self.watchdog.stopping()
        self.backfilling.stop()
        self.witnessing.stop()
        self.evaluating.stop()
        if self.receiving is not None:
            self.receiving.stop()
        if self.commanding is not None:
            self.commanding.stop()
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        self.keeping.finish(self.clock.now_ms())
        self.uplink.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S / 2):
                await asyncio.gather(delivering, return_exceptions=True)
        await control.stop()
        await asyncio.to_thread(self.store.close)  # commits what waits
        log.info("agent stopped")

    # -- the tick -----------------------------------------------------------------------------------------------

    async def _ticks(self) -> None:
        while True:
            await asyncio.sleep(self._tick_s)
            try:
                self._tick()
                self._trouble = ""
            except StoreError as error:
                if self._trouble != error.code:
                    log.error("store failed", says=sentence(error))
                self._trouble = error.code
            self.watchdog.feed()

    def _tick(self) -> None:
        snapshot = self.image.cut(self.clock.now_ms(), self.clock.state())
        if snapshot.stepped_ms is not None or (self._offset_ms is None and snapshot.clock.offset_ms is not None):
            self._say_time(snapshot)
        self._offset_ms = snapshot.clock.offset_ms
        if not self._recalled and snapshot.now_ms is not None:
            self._recalled = True
            recall(self.core, self.store, self.archive, snapshot.now_ms, self.keeping.gathering.restore)
        outcome = self.core.tick(snapshot, self.selfcheck.look(snapshot, self.store.stats()))
        self._confirm(outcome.wants, snapshot.bt_ms)
        if snapshot.now_ms is not None:
            self.backfilling.follow(outcome.missing, snapshot.now_ms)
            self.witnessing.follow(outcome.rose, snapshot.now_ms)
            self.evaluating.follow(outcome, snapshot.now_ms)
        self.keeping.keep(outcome, snapshot, every_ms=self._state_ms)
        self.uplink.points_changed(*{i.point for i in outcome.closed if i.block})
        self._say_losses()
        for step in outcome.steps:
            log.info("finding", step=step.kind.value, finding=step.finding, severity=step.severity.value)
        if self.store.stats().failing and not self._stopping.is_set():
            log.error("store has ended: the agent ends and is to be started anew", says=self.keeping.trouble)
            self._exit_code = EXIT_AGAIN
            self.stop()

    def _on_commit(self, points: frozenset[PointId]) -> None:
        """On the store's thread: only hand over."""
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self.uplink.news)
            if points:
                self._loop.call_soon_threadsafe(self.uplink.points_changed, *points)

    def _confirm(self, devices: Iterable[DeviceId], now_bt: Ms) -> None:
        due = [d for d in devices if now_bt - self._asked_bt.get(d, -CONFIRM_EVERY_MS) >= CONFIRM_EVERY_MS]
        self._asked_bt |= dict.fromkeys(due, now_bt)
        for poller in self.pollers:
            if mine := [d for d in due if self._link_of.get(d) == poller.link]:
                poller.confirm(mine)

    def _poller_of(self, device: DeviceId) -> Poller | None:
        return next((p for p in self.pollers if p.link == self._link_of.get(device)), None)

    # -- records ------------------------------------------------------------------------------------------------

    def _say(self, data: Boot | TimeFix | Tombstone, id_: str = "") -> None:
        if not id_:
            self._records += 1
            id_ = f"{self.identity.boot_id}/{self._records}"
        now_bt = self.clock.now_ms()
        letter = record_letter(
            data, id=id_, site=self.site.site, clock=self.clock.state(), boot_id=self.identity.boot_id, bt_ms=now_bt
        )
        self.keeping.write([letter], now_bt)

    def _say_boot(self) -> None:
        self._say(
            Boot(
                agent=self.identity.agent,
                config_digest=f"sha-256:{self.identity.config_digest}",
                archive=self.archive.version,
            ),
            self.identity.boot_id,
        )
        if self.store.salvaged is not None:
            rescued = self.store.salvaged
            self._say(
                Tombstone(what="records", reason="damaged", count=sum(b - a + 1 for a, b in rescued.lost),
                          ranges=list(rescued.lost)[:1000], old_epoch=rescued.epoch or "unknown"),
                f"salvage-{self.store.epoch}",
            )  # fmt: skip
            self.store.salvaged_told()

    def _say_time(self, snapshot: Snapshot) -> None:
        offset_ms = snapshot.clock.offset_ms
        assert offset_ms is not None
        fix = TimeFix(boot_id=self.identity.boot_id, offset_ms=offset_ms, quality=snapshot.clock.quality.value)
        if self._offset_ms is not None:
            fix = TimeFix(
                boot_id=fix.boot_id, offset_ms=offset_ms, quality=fix.quality, step_ms=offset_ms - self._offset_ms
            )
        log.warning("clock set", offset_ms=offset_ms, stepped=self._offset_ms is not None)
        self._say(fix)

    def _say_losses(self) -> None:
        while self._happened:
            event = self._happened.popleft()
            if isinstance(event, Shed):
                self._say(
                    Tombstone(what="telemetry", reason=event.reason, count=event.intervals, unsent=event.unsent,
                              since=rfc3339(event.first_ms), until=rfc3339(event.last_ms))
                )  # fmt: skip
            else:
                log.warning("store", happened=type(event).__name__, detail=str(event))
        if lost := self.keeping.take_lost():
            self._say(Tombstone(what="records", reason="not_stored", count=lost))

    # -- wiring -------------------------------------------------------------------------------------------------

    def _receiving(self) -> Receiving:
        from edge_agent.app.receiving import Receiving  # for sites with pinned signers: it brings replay with it

        return Receiving(
            self.shelf,
            self.core,
            self.store,
            self.archive,
            self.identity,
            self.clock,
            self.keeping.write,
            self._send,
        )

    def _commanding(self, keyset: Keyset) -> Commanding:
        from edge_agent.app.commanding import Commanding
        from edge_agent.app.doing import DoingHere

        doing = DoingHere(self.store, self.archive, self.clock, self._poller_of, self._send, self.evaluating.announce)
        commanding = Commanding(doing, self.store, self.identity, self.clock, keyset, self.keeping.write, self._send)
        self.keeping.besides.append(commanding)
        return commanding

    def _send(self, messages: Iterable[tuple[str, bytes]]) -> bool:
        return self.uplink.send(messages)

    def _line(self, link: LinkSpec, devices: tuple[DeviceSpec, ...]) -> FieldLine:
        stamp = AskedStamp(Path(self.site.paths.runtime), link.id, SystemClock().now_ms)
        return open_line(link, devices, self.clock, stamp=stamp)

    def _poller(self, line: FieldLine) -> Poller:
        return Poller(
            line.spec.id, line, line.requests, clock=self.clock, take=self.image.take, chance=random.random,
            line=line if line.is_serial else None,
        )  # fmt: skip

    def _open_store(self) -> Store:
        state = Path(self.site.paths.state)
        table = self.site.store
        limits = Limits(
            kept_days=table.retention_days,
            telemetry_days=table.telemetry_months * 31,
            findings_quota_bytes=table.findings_quota_mb << 20,
            telemetry_quota_bytes=table.telemetry_quota_mb << 20,
            group_s=0.1 if self._scaled else 1.0,
            state_s=1.0 if self._scaled else 30.0,
            telemetry_s=1.0 if self._scaled else 30.0,
        )
        return Store.open(
            state / "findings.db", state / "telemetry.db", seal=envelope.seal, now_ms=self._utc_ms, limits=limits,
            boot=self.identity.boot_id, report=self._happened.append,
        )  # fmt: skip

    def _utc_ms(self) -> Ms:
        return self.clock.state().utc_ms(self.clock.now_ms()) or 0


__all__ = ["Agent", "clock_of"]
