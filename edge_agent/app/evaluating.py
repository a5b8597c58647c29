"""What people say of findings: into the chain, into what topics may still say, and into the indicators.

Whatever is heard is checked whole before any of it counts, and every change is a record. What must be known after a
restart goes into the store with the tracks, under names that begin with `MARK`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from msgspec import UNSET

from edge_agent.app.identity import Identity
from edge_agent.app.keeping import MARK
from edge_agent.archive import Archive
from edge_agent.audit.standing import Announced, Answered, Exempted
from edge_agent.audit.topic import Verdict
from edge_agent.contract.messages import Exempting, FeedbackPackage, Said
from edge_agent.contract.records import Config, Exemption, Feedback, Package, Record, ServiceWindow, record_letter
from edge_agent.control import AgentSays
from edge_agent.core import Core, CoreOutcome
from edge_agent.evaluation import Blindness, Indicators, dockets_of, evaluation_letter, indicators, plain_indicators
from edge_agent.listing import sentence, steps_of
from edge_agent.model import ClockQuality, Letter, Ms, PointId
from edge_agent.package import Keyset, Opened, PackageRefused, Ratchet, open_package, plain_payload
from edge_agent.ports import Clock
from edge_agent.store import Store, StoreError
from edge_agent.words import Phrase, spoken

if TYPE_CHECKING:
    from edge_agent.contract.commands import AnnounceWork

log = structlog.get_logger()
KIND = "feedback"
SETTLES = {"confirmed": True, "rectified": True, "not_confirmed": False}
"""What an inspector's word says of what was seen, for topics that wait for one: it is so, or it was nothing."""

AT_ONCE = 8
"""Packages that are looked at at the same time; more are thrown away unread."""

REFUSALS_A_DAY = 24
"""Refused packages that become records: whoever sends rubbish must not fill the chain."""

DAY_MS = 86_400_000
KEPT_MS = 31 * DAY_MS
"""An exemption that is over is kept so long: what is judged late is still covered by it."""


class Evaluating:
    """`write` puts letters into the store with all that has changed."""

    names = frozenset({"standing", "blind", "ratchet", "told", "releases"})

    def __init__(
        self,
        core: Core,
        store: Store,
        archive: Archive,
        identity: Identity,
        clock: Clock,
        keyset: Keyset,
        write: Callable[[Sequence[Letter], Ms], None],
    ) -> None:
        self._core, self._store, self._archive = core, store, archive
        self._identity, self._clock, self._keyset, self._write = identity, clock, keyset, write
        self._standing = core.lifecycle.standing
        self.blindness = Blindness()
        self._ratchet = Ratchet()
        self._told: dict[str, str] = {}  # topic/month -> digest of what was sent
        self._ran = ""  # digest of the releases of the last run
        self._dirty: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusals: tuple[int, int] = (0, 0)  # day, how many
        self._due_ms: Ms = 0
        self.dropped = 0
        core.hearers.append(self._count)

    # -- the store ----------------------------------------------------------------------------------------------

    def take(self) -> dict[str, bytes]:
        """What has changed since the last time, to be stored with the tracks."""
        if self.blindness.changed:
            self._dirty.add("blind")
        dirty, self._dirty = self._dirty, set()
        return {f"{MARK}{name}": msgspec.msgpack.encode(self._state(name)) for name in sorted(dirty)}

    def failed(self, keys: Sequence[str]) -> None:
        """The store did not take these."""
        self._dirty |= {key.removeprefix(MARK) for key in keys}

    def restore(self, key: str, blob: bytes) -> None:
        """Raises KeyError, TypeError, ValueError or AttributeError for what this version did not write."""
        plain = msgspec.msgpack.decode(blob)
        match key.removeprefix(MARK):
            case "standing":
                self._standing.restore(plain)
            case "blind":
                self.blindness.restore(plain)
            case "ratchet":
                self._ratchet = Ratchet({str(k): int(v) for k, v in plain.items()})
            case "told":
                self._told = {str(k): str(v) for k, v in plain.items()}
            case "releases":
                self._ran = str(plain)

    def _state(self, name: str) -> Any:
        match name:
            case "standing":
                return self._standing.dump()
            case "blind":
                return self.blindness.dump()
            case "ratchet":
                return self._ratchet.to_plain()
            case "told":
                return self._told
        return self._ran

    # -- the tick -----------------------------------------------------------------------------------------------

    def say_releases(self, now_bt: Ms) -> None:
        """A record where other releases run than before this start."""
        names = sorted(f"{r.name} {r.digest}" for r in self._core.releases.values())
        digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
        if digest == self._ran:
            return
        previous, self._ran = self._ran, digest
        self._dirty.add("releases")
        if previous:
            changed = Config(part="releases", digest=f"sha-256:{digest}", previous=f"sha-256:{previous}")
            self._write([self._record(changed, f"{self._identity.boot_id}/releases")], now_bt)

    def follow(self, outcome: CoreOutcome, now_ms: Ms) -> None:
        """Once a day, and after feedback, tell what has changed."""
        if self._standing.changed:
            self._standing.changed = False
            self._dirty.add("standing")
        if now_ms >= self._due_ms:
            first = self._due_ms == 0
            self._due_ms = (now_ms // DAY_MS + 1) * DAY_MS
            if not first:
                self._spawn(self._tell())

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    # -- what people say ----------------------------------------------------------------------------------------

    def hear(self, package: bytes) -> None:
        """A message on the feedback topic."""
        if len(self._tasks) >= AT_ONCE:
            self.dropped += 1
            return
        self._spawn(self._hear(package))

    def handlers(self) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
        """For the control socket."""
        return {"feedback": self._asked, "evaluate": self._evaluate}

    async def _asked(self, question: Mapping[str, Any]) -> Any:
        """The verb: one step of one finding, or a signed package as it is."""
        try:
            if "package" in question:
                done = await self._take_package(str(question["package"]).encode())
            else:
                done = await self._take([msgspec.convert(question.get("said"), Said)], [], None)
            await self._flush()  # who is told that it is recorded can rely on it
            return done
        except PackageRefused as refused:
            raise AgentSays(spoken(Phrase(f"package.{refused.code}", refused.fields))) from None
        except msgspec.ValidationError as wrong:
            raise AgentSays(str(wrong)) from None
        except StoreError as error:
            raise AgentSays(sentence(error)) from None

    async def _evaluate(self, question: Mapping[str, Any]) -> Any:
        month = str(question.get("month") or "")
        return [plain_indicators(told) for told in await self._indicators({month} if month else None)]

    async def _hear(self, package: bytes) -> None:
        try:
            await self._take_package(package)
        except PackageRefused as refused:
            why = spoken(Phrase(f"package.{refused.code}", refused.fields))
            log.warning("feedback refused", code=refused.code, says=why)
            now_ms = self._now_ms() or 0
            day, count = self._refusals
            self._refusals = (now_ms // DAY_MS, count + 1 if day == now_ms // DAY_MS else 1)
            if self._refusals[1] <= REFUSALS_A_DAY:
                record = Package(document=KIND, version=0, outcome="refused", reason=refused.code)
                self._write([self._record(record, f"{KIND}/{_short(package)}")], self._clock.now_ms())

    async def _take_package(self, package: bytes) -> Any:
        """All of it or nothing. Raises `PackageRefused`."""
        synced = self._clock.state().quality is ClockQuality.SYNCED
        opened = open_package(
            package, self._keyset, kind=KIND, scopes={"fleet", self._identity.site.gateway}, ratchet=self._ratchet,
            now_ms=self._now_ms() if synced else None,
        )  # fmt: skip
        payload: FeedbackPackage = plain_payload(opened, FeedbackPackage)
        return await self._take(payload.feedback, payload.exemptions, opened)

    async def _take(self, said: Sequence[Said], exempting: Sequence[Exempting], opened: Opened | None) -> Any:
        """Check everything, then write everything in one transaction."""
        steps = {s.finding: await self._last_step(s.finding) for s in said}
        for exemption in exempting:
            self._check(exemption)
        if opened is not None and not self._ratchet.passes(opened.header):  # another came first while this one waited
            last = self._ratchet.last(KIND, opened.signer.id)
            raise PackageRefused("old_version", v=opened.header.v, last=last, key=opened.signer.id)
        how: dict[str, Any] = {"channel": "verb"}
        if opened is not None:
            how = {"channel": "package", "key": opened.signer.id}
        records: list[tuple[Record, PointId]] = []
        for s in said:
            records.append((Feedback(**msgspec.structs.asdict(s), **how), str(steps[s.finding].get("point", ""))))
            self._answer(s, steps[s.finding])
            self._settle(s, steps[s.finding])
        for e in exempting:
            record = Exemption(point=e.point, topic=e.topic, since=e.from_, until=e.to, reason=e.reason,
                               author=e.author, approver=e.approver, **how)  # fmt: skip
            records.append((record, e.point))
            self._standing.exemptions[_short(msgspec.json.encode(e))] = Exempted(
                e.point, e.topic, _ms(e.from_), _ms(e.to)
            )
        letters = [self._record(r, _short(msgspec.json.encode(r)), point) for r, point in records]
        if (now_ms := self._now_ms()) is not None:
            lasting = {k: e for k, e in self._standing.exemptions.items() if e.to_ms > now_ms - KEPT_MS}
            self._standing.exemptions = lasting
        if opened is not None:
            self._ratchet.take(opened.header)
            self._dirty.add("ratchet")
            applied = Package(document=KIND, version=opened.header.v, outcome="applied")
            letters.append(self._record(applied, f"{KIND}/{opened.digest[:16]}"))
        self._dirty.add("standing")
        self._due_ms = min(self._due_ms, self._now_ms() or self._due_ms)
        self._write(letters, self._clock.now_ms())
        return {"records": [x.id for x in letters]}

    def _check(self, exemption: Exempting) -> None:
        if exemption.point not in self._archive.points:
            raise PackageRefused("unknown_point", point=exemption.point)
        if exemption.topic not in self._core.releases:
            raise PackageRefused("unknown_topic", topic=exemption.topic)
        if exemption.author == exemption.approver:
            raise PackageRefused("same_person", key=exemption.author)
        try:
            if _ms(exemption.from_) >= _ms(exemption.to):
                raise PackageRefused("span")
        except ValueError as wrong:
            raise PackageRefused("payload", cause=str(wrong)) from None

    def _answer(self, said: Said, step: Mapping[str, Any]) -> None:
        """An answer about a finding inside evaluation counts for the release that made it."""
        if said.step not in {"confirmed", "not_confirmed", "cannot_tell"}:
            return
        if any(step.get(mark) for mark in ("trial", "exempt", "test")):
            return
        topic, _, version = str(step.get("release", "")).partition("@")
        number = int(version) if version.isdigit() else 0
        before = self._standing.capped(topic, number)
        confirmed = {"confirmed": True, "not_confirmed": False}.get(said.step)
        self._standing.answered(topic, number, said.finding, confirmed)
        if self._standing.capped(topic, number) != before:
            log.warning("topic is capped at notice" if not before else "topic may warn again", release=step["release"])

    def _settle(self, said: Said, step: Mapping[str, Any]) -> None:
        """What only a person may close waits for this: what it saw was so, or was not. Acted on with the next tick."""
        if (agreed := SETTLES.get(said.step)) is not None and not step.get("test"):
            point, topic = str(step.get("point", "")), str(step.get("topic", ""))
            self._standing.settle(Answered(said.finding, topic, point, said.by, agreed))

    def announce(self, work: AnnounceWork) -> ServiceWindow:
        """Announced work counts from now on, as the site file's does; its record. Raises `PackageRefused`."""
        for point in work.points:
            self._standing.windows[f"{work.work_order}/{point}"] = Announced(
                point, work.work_order, _ms(work.from_), _ms(work.to)
            )
        if (now_ms := self._now_ms()) is not None:
            lasting = {k: w for k, w in self._standing.windows.items() if w.to_ms > now_ms - KEPT_MS}
            self._standing.windows = lasting
        self._dirty.add("standing")
        return ServiceWindow(points=work.points, since=work.from_, until=work.to, work_order=work.work_order,
                             people=work.people or UNSET, seals=work.seals or UNSET)  # fmt: skip

    async def _last_step(self, finding: str) -> Mapping[str, Any]:
        bodies: list[bytes] = await asyncio.wrap_future(self._store.steps(finding))
        steps = steps_of(bodies)
        if not steps:
            raise PackageRefused("unknown_finding", finding=finding)
        return steps[-1]

    # -- indicators ---------------------------------------------------------------------------------------------

    async def _indicators(self, months: set[str] | None) -> list[Indicators]:
        """By month and topic, of those with findings or with time that was judged."""
        await self._flush()
        findings: list[bytes] = await asyncio.wrap_future(self._store.bodies("finding"))
        records: list[bytes] = await asyncio.wrap_future(self._store.bodies("record", f"/{KIND}/"))
        dockets = list((await asyncio.to_thread(dockets_of, findings, records, self._zone_of)).values())
        today = datetime.fromtimestamp((self._now_ms() or 0) / 1000, UTC).date()
        wanted = {(d.month, d.topic) for d in dockets if d.counts}
        wanted |= {(month, t) for month in self.blindness.months() for t in self.blindness.topics(month)}
        return [
            indicators(dockets, topic, month, today, blind=self.blindness.share(topic, month),
                       capped=self._is_capped(topic))
            for month, topic in sorted(wanted)
            if months is None or month in months
        ]  # fmt: skip

    async def _tell(self) -> None:
        """Messages of this month and the last, of the topics of which something but the time has changed."""
        now_ms = self._now_ms()
        if now_ms is None:
            return
        today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
        before = f"{today.year - (today.month == 1)}-{(today.month - 2) % 12 + 1:02d}"
        letters = []
        for told in await self._indicators({f"{today:%Y-%m}", before}):
            plain = plain_indicators(told)
            ended = told.month == before
            digest = _short(msgspec.json.encode({**plain, "blind": plain.get("blind") if ended else None}))
            if not told.opened and not ended:
                continue
            if self._told.get(f"{told.topic}/{told.month}") != digest:
                self._told[f"{told.topic}/{told.month}"] = digest
                letters.append(
                    evaluation_letter(
                        plain, id=digest, site=self._identity.site, clock=self._clock.state(),
                        boot_id=self._identity.boot_id, bt_ms=self._clock.now_ms(),
                    )
                )  # fmt: skip
        if letters:
            self._told = {k: v for k, v in self._told.items() if k.rpartition("/")[2] >= before}
            self._dirty.add("told")
            self._write(letters, self._clock.now_ms())

    def _is_capped(self, topic: str) -> bool:
        release = self._core.releases.get(topic)
        return release is not None and self._standing.capped(topic, release.version)

    # -- inside -------------------------------------------------------------------------------------------------

    def _count(self, said: Mapping[str, Sequence[Verdict]]) -> None:
        """What could not be said."""
        for topic, verdicts in said.items():
            self.blindness.feed(topic, verdicts, self._month_of)

    def _month_of(self, point: PointId, end_ms: Ms) -> str | None:
        if point not in self._archive.points or not self._archive.accepted(point, end_ms):
            return None
        return f"{self._archive.local_day(point, end_ms):%Y-%m}"

    def _zone_of(self, point: str) -> tzinfo:
        known = self._archive.points.get(point)
        return UTC if known is None else known.tz

    def _record(self, data: Record, id_: str, point: PointId = "") -> Letter:
        return record_letter(
            data, id=id_, site=self._identity.site, clock=self._clock.state(), boot_id=self._identity.boot_id,
            bt_ms=self._clock.now_ms(), point=point,
        )  # fmt: skip

    def _now_ms(self) -> Ms | None:
        return self._clock.state().utc_ms(self._clock.now_ms())

    async def _flush(self) -> None:
        """Everything that was handed over before is on the disk when this returns."""
        await asyncio.wrap_future(self._store.record((), urgent=True))

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("evaluation failed", error=repr(error))


def _short(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]


def _ms(utc: str) -> Ms:
    return round(datetime.fromisoformat(utc).timestamp() * 1000)
