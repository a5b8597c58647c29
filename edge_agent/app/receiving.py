"""Releases that come over the broker: checked, tried on what is stored, kept for the next start; a record either way.

A release is a state document: the same one comes again with every connection, and is then no news.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence

import msgspec
import structlog
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from edge_agent.app.identity import Identity
from edge_agent.app.recalling import interval_from
from edge_agent.archive import Archive
from edge_agent.audit.release import ReleaseError
from edge_agent.audit.topic import Release
from edge_agent.contract.applied import AppliedReleases, Heard, Waiting
from edge_agent.contract.records import Package, record_letter
from edge_agent.contract.shapes import time_or_absent
from edge_agent.core import Core
from edge_agent.load.views import Interval
from edge_agent.model import ClockQuality, Letter, Ms
from edge_agent.package import PackageRefused
from edge_agent.ports import Clock
from edge_agent.releases import Shelf, State
from edge_agent.releases.dossier import KIND, Dossier
from edge_agent.replay.compare import compare
from edge_agent.replay.dry_run import dry_run
from edge_agent.store import Store, StoreError

log = structlog.get_logger()
TRIED_MS = 7 * 86_400_000
TRIED_MOST = 10_000
"""Intervals on which a release is tried here: the agent has other things to do."""

REFUSALS = 24
"""Refused releases of one run that become records."""


class Receiving:
    """`write` puts letters into the store. One release at a time; one that comes meanwhile is dropped and counted."""

    def __init__(
        self, shelf: Shelf, core: Core, store: Store, archive: Archive, identity: Identity, clock: Clock,
        write: Callable[[Sequence[Letter], Ms], None],
        send: Callable[[Iterable[tuple[str, bytes]]], bool] = lambda messages: True,
    ) -> None:  # fmt: skip
        self._shelf, self._core, self._store, self._archive = shelf, core, store, archive
        self._identity, self._clock, self._write, self._send = identity, clock, write, send
        self._task: asyncio.Task[None] | None = None
        self._refused = 0
        self._waiting: dict[str, str] = {}  # release -> the state that it will have
        self.dropped = 0

    def hear(self, raw: bytes) -> None:
        """A message on the releases topic."""
        if self.busy:
            self.dropped += 1
            return
        self._task = asyncio.get_running_loop().create_task(self._hear(raw))
        self._task.add_done_callback(_finished)

    def applied(self) -> list[tuple[str, bytes]]:
        """What runs and what waits for the next start, as a message with its topic below `up/`."""
        return [("releases", self._document())]

    @property
    def busy(self) -> bool:
        return self._task is not None and not self._task.done()

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _hear(self, raw: bytes) -> None:
        whole = hashlib.sha256(raw).hexdigest()
        digest = whole[:16]
        heard = Heard(package=f"sha-256:{whole}", outcome="known")
        synced = self._clock.state().quality is ClockQuality.SYNCED
        now_ms = self._clock.state().utc_ms(self._clock.now_ms())
        try:
            stored = await self._stored(now_ms)
            dossier = await asyncio.to_thread(self._take, raw, now_ms if synced else None, stored)
        except PackageRefused as refused:
            if refused.code != "old_version":
                heard = replace(heard, outcome="refused", reason=refused.code)
                self._refuse(refused.code, digest)
        except ReleaseError as wrong:
            log.warning("release refused", cause=str(wrong))
            heard = replace(heard, outcome="refused", reason="release")
            self._refuse("release", digest)
        except OSError as cause:
            heard = replace(heard, outcome="refused", reason="not_kept")
            log.error("release cannot be kept", cause=str(cause))
        else:
            heard = replace(heard, outcome="taken")
            self._waiting[dossier.name] = dossier.state.value
            log.info("release taken: it counts from the next start on", release=dossier.name)
            self._say(Package(document=KIND, version=dossier.version, outcome="applied"), digest)
        if heard.outcome != "refused" or self._refused <= REFUSALS:
            self._send([("releases", self._document(heard))])

    def _document(self, heard: Heard | UnsetType = UNSET) -> bytes:
        now_ms = self._clock.state().utc_ms(self._clock.now_ms())
        applied = AppliedReleases(
            at=time_or_absent(now_ms),
            applied=sorted(r.name for r in self._core.releases.values()),
            waiting=[Waiting(release=name, state=state) for name, state in sorted(self._waiting.items())],
            heard=heard,
        )
        return msgspec.json.encode(applied)

    def _take(self, raw: bytes, now_ms: Ms | None, stored: Sequence[Interval]) -> Dossier:
        """In a thread of its own. Raises `PackageRefused`, `ReleaseError` or OSError; nothing is kept then."""
        return self._shelf.receive(raw, now_ms=now_ms, tried=lambda state, x: self._try(state, x, stored))

    def _try(self, state: State, release: Release, stored: Sequence[Interval]) -> None:
        if state is not State.PUBLISHED or not stored:
            return
        running = self._core.releases
        after = {**running, release.topic: release}
        points = self._core.ledger.points
        runs = [
            dry_run(stored, self._archive, points, each, gateway=self._identity.site.gateway)
            for each in (running, after)
        ]
        found = compare(*runs)
        log.info("release tried on what is stored", release=release.name, intervals=len(stored), new=len(found.new),
                 gone=len(found.gone), moved=len(found.moved), regraded=len(found.regraded))  # fmt: skip

    async def _stored(self, now_ms: Ms | None) -> list[Interval]:
        if now_ms is None:
            return []
        try:
            rows = await asyncio.wrap_future(self._store.intervals(max(0, now_ms - TRIED_MS), now_ms, TRIED_MOST))
        except StoreError:
            return []
        return [i for row in rows if row.point in self._archive.points and (i := interval_from(row)) is not None]

    def _refuse(self, code: str, digest: str) -> None:
        self._refused += 1
        if self._refused <= REFUSALS:
            self._say(Package(document=KIND, version=0, outcome="refused", reason=code), digest)

    def _say(self, record: Package, digest: str) -> None:
        letter = record_letter(
            record, id=f"{KIND}/{digest}", site=self._identity.site, clock=self._clock.state(),
            boot_id=self._identity.boot_id, bt_ms=self._clock.now_ms(),
        )  # fmt: skip
        self._write([letter], self._clock.now_ms())


def _finished(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("release was not looked at", error=repr(error))
