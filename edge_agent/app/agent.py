"""The running agent: one task per link, one tick, one uplink, one control socket, one store thread."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import importlib
import random
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from edge_agent.app.documents import Documents
from edge_agent.app.identity import Identity, identity_of
from edge_agent.app.keeping import STATE_EVERY_MS, Keeping, committed
from edge_agent.app.logs import set_up_logs
from edge_agent.app.watchdog import Watchdog
from edge_agent.archive import Archive
from edge_agent.assembly import core_of
from edge_agent.audit.release import ReleaseError
from edge_agent.clock import ScaledClock, SystemClock
from edge_agent.contract import envelope
from edge_agent.contract.records import Boot, TimeFix, Tombstone, record_letter
from edge_agent.contract.shapes import rfc3339
from edge_agent.control import AgentSays, Control
from edge_agent.explain import explain
from edge_agent.image import ProcessImage, Snapshot
from edge_agent.model import DeviceSpec, Letter, LinkSpec, Ms, Outcome, Request, Sealed
from edge_agent.poller import Poller
from edge_agent.ports import Clock, Driver
from edge_agent.settings import Site, SiteError, config_files, device_specs, digest, link_specs, load_site
from edge_agent.store import Limits, Shed, Store, StoreError, StoreEvent
from edge_agent.uplink import Uplink

log = structlog.get_logger()
TICK_S = 1.0
SCALED_TICK_S = 0.05
STOP_S = 4.0
EXIT_SITE, EXIT_STORE = 78, 74  # sysexits: EX_CONFIG, EX_IOERR


def clock_of(site: Site) -> Clock:
    table = site.clock
    if table.kind == "system" or table.start is None or table.rate is None or table.anchor_bt_ms is None:
        return SystemClock()
    return ScaledClock(start_ms=round(table.start.timestamp() * 1000), anchor_bt_ms=table.anchor_bt_ms, rate=table.rate)


def open_driver(link: LinkSpec, clock: Clock) -> Driver:
    """The driver that the link's kind names, loaded by name."""
    module = importlib.import_module(f"drivers.{link.kind.partition('-')[0]}")
    driver: Driver = module.open_driver(link, clock.now_ms)
    return driver


def requests_of(device: DeviceSpec) -> tuple[Request, ...]:
    found: tuple[Request, ...] = importlib.import_module(f"drivers.{device.profile.driver}").requests(device)
    return found


class Agent:
    """Everything wired together; `run` until `stop`. Raises `StoreError` or `ReleaseError` when it cannot start."""

    def __init__(self, site: Site, config_digest: str) -> None:
        self.site = site
        self.clock = clock_of(site)
        self.identity: Identity = identity_of(site.site, config_digest)
        self.archive = Archive.of(site)
        config = config_files()
        devices = device_specs(site, config=config)
        self.core = core_of(self.archive, devices, config, gateway=site.site.gateway, release_set=site.site.release_set)
        at = {d: p.id for p in self.archive.points.values() for d in (p.meter, p.ct) if d is not None}
        self.image = ProcessImage({d.id: (d.link, at.get(d.id)) for d in devices})
        self.pollers = [self._poller(link, devices) for link in link_specs(site)]
        self._link_of = {d.id: d.link for d in devices}
        self._k = {p.device: p.k for p in self.core.ledger.points}
        self._stopping = asyncio.Event()
        self._shed: list[StoreEvent] = []
        self._records = 0
        self._scaled = isinstance(self.clock, ScaledClock)
        self._tick_s = SCALED_TICK_S if self._scaled else TICK_S
        rate = self.clock.rate if isinstance(self.clock, ScaledClock) else 1.0
        self._state_ms = max(STATE_EVERY_MS, round(1000 * rate))
        self.store = self._open_store()
        self.keeping = Keeping(self.core, self.store, self.archive, self.identity)
        self.documents = Documents(
            self.identity, self.archive, self.core, self.image, self.store, self.clock, self.pollers,
            site.mqtt.ack, self.clock.now_ms(), lambda: self.uplink,
        )  # fmt: skip
        self.uplink = Uplink(
            site.mqtt, site.site, self.store, self.clock, self.documents,
            boot_id=self.identity.boot_id, limits=site.delivery,
        )  # fmt: skip
        self.watchdog = Watchdog(self.store, self.pollers)

    # -- life ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until `stop`; what is decided is on disk when it returns."""
        open_findings = self.keeping.restore()
        self._say_boot()
        control = Control(Path(self.site.paths.runtime), self._handlers())
        try:
            await control.start()
        except OSError as cause:
            log.warning(
                "no control socket: verbs cannot ask this agent", folder=self.site.paths.runtime, cause=str(cause)
            )
        log.info("agent started", gateway=self.site.site.gateway, points=len(self.archive.points),
                 devices=len(self._link_of), open_findings=open_findings, epoch=self.store.epoch)  # fmt: skip
        self.watchdog.ready()
        tasks = [asyncio.create_task(p.run(), name=f"link {p.link}") for p in self.pollers]
        ticking = asyncio.create_task(self._ticks(), name="tick")
        delivering = asyncio.create_task(self.uplink.run(), name="uplink")
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait({*tasks, ticking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()  # a task that ended by itself is a bug: let it be seen, and systemd start anew
        finally:
            await self._wind_down(tasks, ticking, delivering, control)

    def stop(self) -> None:
        self._stopping.set()

    async def _wind_down(
        self, tasks: list[asyncio.Task[None]], ticking: asyncio.Task[None], delivering: asyncio.Task[None],
        control: Control,
    ) -> None:  # fmt: skip
        self.watchdog.stopping()
        for task in [*tasks, ticking]:
            task.cancel()
        await asyncio.gather(*tasks, ticking, return_exceptions=True)
        with contextlib.suppress(StoreError):
            await committed(self.keeping.write([], self._utc_ms()))
        self.uplink.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S / 2):
                await asyncio.gather(delivering, return_exceptions=True)
        delivering.cancel()
        await control.stop()
        await asyncio.to_thread(self.store.close)
        log.info("agent stopped")

    # -- the tick -----------------------------------------------------------------------------------------------

    async def _ticks(self) -> None:
        while True:
            await asyncio.sleep(self._tick_s)
            try:
                self._tick()
            except StoreError as error:
                log.error("store failed", error=str(error))
            self.watchdog.feed()

    def _tick(self) -> None:
        state = self.clock.state()
        snapshot = self.image.cut(self.clock.now_ms(), state)
        if snapshot.fixed or snapshot.stepped_ms is not None:
            self._say_time(snapshot)
        outcome = self.core.tick(snapshot)
        if outcome.wants:
            self._confirm(outcome.wants)
        kept = self.keeping.keep(outcome, snapshot, every_ms=self._state_ms)
        if kept.sealed is not None:
            kept.sealed.add_done_callback(lambda done: self._on_commit(done, kept.points))
        elif outcome.closed:
            self.uplink.points_changed(*{i.point for i in outcome.closed if i.block})
        if self._shed:
            self._say_shed()
        for step in outcome.steps:
            log.info("finding", step=step.kind.value, finding=step.finding, severity=step.severity.value)

    def _on_commit(self, done: Any, points: frozenset[str]) -> None:
        """On the store's thread: only hand over."""
        loop = self._loop
        if done.cancelled() or loop.is_closed():
            return
        error = done.exception()
        if error is not None:
            loop.call_soon_threadsafe(lambda: log.error("finding not stored", error=str(error)))
            return
        loop.call_soon_threadsafe(self.uplink.news)
        loop.call_soon_threadsafe(self.uplink.points_changed, *points)

    def _confirm(self, devices: frozenset[str]) -> None:
        for poller in self.pollers:
            poller.confirm(d for d in devices if self._link_of.get(d) == poller.link)

    def _utc_ms(self) -> Ms:
        return self.clock.state().utc_ms(self.clock.now_ms()) or 0

    # -- records ------------------------------------------------------------------------------------------------

    def _say(self, data: Any, id_: str) -> None:
        letter: Letter = record_letter(
            data, id=id_, site=self.site.site, clock=self.clock.state(), boot_id=self.identity.boot_id,
            bt_ms=self.clock.now_ms(),
        )  # fmt: skip
        written = self.keeping.write([letter], self._utc_ms())
        written.add_done_callback(lambda done: self._on_commit(done, frozenset()))

    def _say_boot(self) -> None:
        self._loop = asyncio.get_running_loop()
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
        state = snapshot.clock
        assert state.offset_ms is not None
        self._records += 1
        log.warning("clock set", offset_ms=state.offset_ms, stepped=snapshot.stepped_ms is not None)
        self._say(
            TimeFix(boot_id=self.identity.boot_id, offset_ms=state.offset_ms, quality=state.quality.value),
            f"{self.identity.boot_id}/{self._records}",
        )

    def _say_shed(self) -> None:
        events, self._shed = self._shed, []
        for event in events:
            if isinstance(event, Shed):
                self._records += 1
                self._say(
                    Tombstone(what="telemetry", reason=event.reason, count=event.intervals, unsent=event.unsent,
                              since=rfc3339(event.first_ms), until=rfc3339(event.last_ms)),
                    f"{self.identity.boot_id}/{self._records}",
                )  # fmt: skip
            else:
                log.warning("store", happened=type(event).__name__, detail=str(event))

    # -- wiring -------------------------------------------------------------------------------------------------

    def _poller(self, link: LinkSpec, devices: tuple[DeviceSpec, ...]) -> Poller:
        requests = [r for d in devices if d.link == link.id for r in requests_of(d)]
        return Poller(
            link.id, open_driver(link, self.clock), requests, clock=self.clock, take=self.image.take,
            chance=random.random,
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
            boot=self.identity.boot_id, report=self._shed.append,
        )  # fmt: skip

    # -- the control socket -------------------------------------------------------------------------------------

    def _handlers(self) -> dict[str, Any]:
        return {"status": self._status, "findings": self._findings, "explain": self._explain, "read": self._read}

    async def _status(self, _: Mapping[str, Any]) -> Any:
        return self.documents.full()

    async def _findings(self, _: Mapping[str, Any]) -> Any:
        from edge_agent.cli.listing import plain_row

        return [plain_row(row) for row in await asyncio.wrap_future(self.store.findings())]

    async def _explain(self, question: Mapping[str, Any]) -> Any:
        from edge_agent.cli.listing import steps_of

        finding = str(question.get("finding", ""))
        last, _ = self.store.head()
        bodies: list[Sealed] = await asyncio.wrap_future(self.store.sealed(1, last))
        steps = steps_of(finding, (s.body for s in bodies if s.kind == "finding"))
        if not steps:
            raise AgentSays(f"no finding {finding!r} in this store; `edge-agent findings` lists them")
        return explain(steps)

    async def _read(self, question: Mapping[str, Any]) -> Any:
        from edge_agent.cli.reading import plain_outcome

        device = str(question.get("device", ""))
        link = self._link_of.get(device)
        if link is None:
            raise AgentSays(f"no device {device!r}; there are {', '.join(sorted(self._link_of)) or 'none'}")
        poller = next(p for p in self.pollers if p.link == link)
        outcomes: list[Outcome] = await poller.read_now(device)
        profile = next(d.profile for d in device_specs(self.site) if d.id == device)
        return [plain_outcome(o, profile, self._k.get(device, ()), self._utc_ms()) for o in outcomes]


def run_agent(site_path: Path) -> int:
    """The verb `run`: exit code 0 after a clean stop; 78 for a site file with mistakes, 74 for a store that fails."""
    faulthandler.enable()
    try:
        site = load_site(site_path)
    except SiteError as error:
        for mistake in error.mistakes:
            print(mistake.sentence(), file=sys.stderr)
        return EXIT_SITE
    set_up_logs(site.log.level, as_json=site.log.json)
    return asyncio.run(_run(site, site_path))


async def _run(site: Site, site_path: Path) -> int:
    try:
        agent = Agent(site, digest(site_path.read_text(encoding="utf-8")))
    except (ReleaseError, SiteError) as error:
        log.error("cannot start", reason=str(error))
        return EXIT_SITE
    except (StoreError, OSError) as error:
        log.error("cannot start", reason=str(error))
        return EXIT_STORE
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, agent.stop)
    await agent.run()
    return 0


__all__ = ["Agent", "run_agent"]
