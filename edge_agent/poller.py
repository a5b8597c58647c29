"""One task per link: ask what the plan says is due, hand the outcomes on, name the failure.

Every question on a link goes through this task, also those from outside the plan: a live reading for a technician, and
the re-reads that confirm a value before a finding is opened. Nothing that a driver raises ends the task. What changes
is logged once; what stays as it is, is not.

On a line that others may be master of, the task listens before its first question. Whoever is heard asking there, then
or later, has the line: nothing is asked on it any more until the settings allow it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import structlog

from edge_agent.model import DeviceId, Gap, GapCause, LinkId, MeterEvent, Ms, Outcome, Recorded, Request
from edge_agent.plan import PollPlan, Reconnect
from edge_agent.ports import BadReply, Clock, Driver, DriverError, LinkDown, Refused
from edge_agent.words import say

log = structlog.get_logger()

_LOOK_AGAIN_MS = 10_000
"""A sleep is never longer: the clock's offset may have become known meanwhile."""


_SAY_AGAIN_MS = 60_000
"""On a line that is another master's, every quantity is missing; so often that is said."""


_LONG_AWAY_MS = 600_000

_REPLAN_MS = 60_000


class Line(Protocol):
    """A line that others may be master of, and whose questions depend on how its devices answer."""

    @property
    def listens_s(self) -> float:
        """For how long to listen before the first question; 0.0: not at all."""

    async def listen(self, progress: Callable[[float], None]) -> str:
        """Why nothing may be asked on the line, or "". Raises `LinkDown`; `progress` gets the seconds that are left."""

    def foreign(self) -> str:
        """The same of what was heard since."""

    def replanned(self) -> Sequence[Request] | None:
        """The questions anew, where cheaper ones are known by now; None: they stay as they are."""


class Phase(StrEnum):
    """How a link is."""

    UP = "up"
    LISTENING = "listening"  # before the first question
    GIVEN_UP = "given_up"  # to another master
    DOWN = "down"


class LinkState(NamedTuple):
    """How a link is, since when, and if it is not simply up: why, and when it is tried again (None: not by itself).

    All boot time.
    """

    link: LinkId
    phase: Phase
    since_ms: Ms
    detail: str
    next_try_ms: Ms | None

    @property
    def up(self) -> bool:
        """Whether there is a channel; while it is listened to there is."""
        return self.phase in {Phase.UP, Phase.LISTENING}


class _Wanted(NamedTuple):
    """What a device wrote down by itself, and who waits for it."""

    device: DeviceId
    what: str  # "load profile", "event log"
    read: Callable[[], Awaitable[Sequence[Any]]]
    future: asyncio.Future[list[Any]]


class Contact(NamedTuple):
    """When a device was asked last, and when it last answered anything, be it a refusal. Boot time; None: never."""

    asked_ms: Ms | None = None
    answered_ms: Ms | None = None


class Poller:
    """The one who speaks on a link.

    `take` gets every outcome as soon as it is known; `changed` hears when the link comes up or goes down; `chance`
    gives numbers in [0, 1) for the jitter; `line` knows of other masters, where there can be any.
    """

    def __init__(
        self,
        link: LinkId,
        driver: Driver,
        requests: Sequence[Request],
        *,
        clock: Clock,
        take: Callable[[Sequence[Outcome]], None],
        chance: Callable[[], float],
        changed: Callable[[LinkState], None] = lambda state: None,
        line: Line | None = None,
    ) -> None:
        self.link = link
        self.plan = PollPlan(requests, clock.now_ms())
        self.last_pass_ms = clock.now_ms()
        """When the task last went round: what a watchdog looks at."""
        self._driver = driver
        self._clock = clock
        self._take = take
        self._chance = chance
        self._changed = changed
        self._line = line
        self._silenced = ""  # why nothing may be asked on this line
        self._said_ms: Ms | None = None
        self._reconnect = Reconnect()
        self._state = LinkState(link, Phase.UP, clock.now_ms(), "", None)
        self._contacts: dict[DeviceId, Contact] = {}
        self._readers: list[tuple[DeviceId, asyncio.Future[list[Outcome]]]] = []
        self._to_confirm: dict[DeviceId, None] = {}
        self._records: list[_Wanted] = []
        self._wake = asyncio.Event()
        self._said: dict[int, str] = {}  # by id(request): what was last said about it
        self._replan_ms = clock.now_ms() + _REPLAN_MS

    @property
    def state(self) -> LinkState:
        return self._state

    def contact(self, device: DeviceId) -> Contact:
        return self._contacts.get(device, Contact())

    async def run(self) -> None:
        """Poll until cancelled; the driver is closed on the way out."""
        try:
            await self._listen_first()
            while True:
                self.last_pass_ms = self._clock.now_ms()
                self.plan.align(self._clock.state().offset_ms, self.last_pass_ms)
                if self._is_silenced():
                    await self._keep_silent()
                    continue
                if self._was_long_away():
                    await self._listen_first()
                    continue
                self._replan()
                await self._serve_readers()
                await self._serve_confirmations()
                now_ms = self._clock.now_ms()
                request = self.plan.due(now_ms) if now_ms >= self._reconnect.next_ms else None
                if request is not None:
                    await self._ask(request)
                    await asyncio.sleep(0)  # a driver that answers without waiting must not keep the loop to itself
                elif self._records and now_ms >= self._reconnect.next_ms:
                    await self._fetch(self._records.pop(0))
                else:
                    await self._rest()
        finally:
            for _, reader in self._readers:
                reader.cancel()
            for wanted in self._records:
                wanted.future.cancel()
            await self._close_quietly()

    async def read_now(self, device: DeviceId) -> list[Outcome]:
        """Everything the device has, asked for as soon as the link is free; also a device that is being left alone.

        Of a device that keeps silent only the first question is asked: the others on the link wait for one time-out.
        """
        reader: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self._readers.append((device, reader))
        self._wake.set()
        return await reader

    async def recorded(self, device: DeviceId, since_ms: Ms, until_ms: Ms) -> list[Recorded]:
        """What the device wrote into its own load profile at (since, until], UTC; asked when nothing else is due.

        Raises `DriverError`: `Refused` where it keeps no such thing.
        """
        return await self._wanted(device, "recorded", "load profile", since_ms, until_ms)

    async def logged(self, device: DeviceId, since_ms: Ms, rose: Mapping[str, int]) -> list[MeterEvent]:
        """Entries of the device's own log of events (`ports.Logbook`); asked when nothing else is due.

        Raises `DriverError`: `Refused` where it keeps no such thing.
        """
        return await self._wanted(device, "logged", "event log", since_ms, rose)

    def confirm(self, devices: Iterable[DeviceId]) -> None:
        """Read these devices once more before what is due next; the outcomes go the usual way."""
        known = {r.device for r in self.plan.requests}
        self._to_confirm |= {d: None for d in devices if d in known}
        self._wake.set()

    async def _wanted(self, device: DeviceId, method: str, what: str, *args: Any) -> list[Any]:
        async def read() -> Sequence[Any]:
            reader = getattr(self._driver, method, None)
            if reader is None:
                raise Refused(f"{device}: its driver reads no {what}")
            found: Sequence[Any] = await reader(device, *args)
            return found

        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._records.append(_Wanted(device, what, read, future))
        self._wake.set()
        return await future

    async def _listen_first(self) -> None:
        """Listen until it is known whether the line is ours; a link that is down is tried again as ever."""
        while self._line is not None and (self._line.listens_s > 0 or not self._state.up):
            log.info("listening before the first question", link=self.link, for_s=self._line.listens_s)
            try:
                objection = await self._line.listen(self._listening)
            except DriverError as error:
                now_ms = self._clock.now_ms()
                self._down(str(error))
                self._take(self._all_missing(now_ms, str(error)))
                while self._clock.now_ms() < self._reconnect.next_ms:
                    self.last_pass_ms = self._clock.now_ms()
                    self._turn_away(str(error))
                    await self._rest()
                continue
            self._up()
            if objection:
                self._give_way(objection)
            return

    def _replan(self) -> None:
        """Now and then: what has been seen of the devices may make other questions cheaper."""
        now_ms = self._clock.now_ms()
        if self._line is None or now_ms < self._replan_ms:
            return
        self._replan_ms = now_ms + _REPLAN_MS
        if requests := self._line.replanned():
            self.plan.replace(requests, now_ms)
            self._said.clear()

    def _listening(self, left_s: float) -> None:
        self.last_pass_ms = self._clock.now_ms()
        self._up(Phase.LISTENING)
        detail = f"listening before the first question, {left_s:.0f} s left"
        self._state = self._state._replace(detail=detail)
        self._turn_away(detail)

    def _is_silenced(self) -> bool:
        """Whether the line is another master's, as was heard before or has just been."""
        if not self._silenced and self._line is not None and (objection := self._line.foreign()):
            self._give_way(objection)
        return bool(self._silenced)

    def _was_long_away(self) -> bool:
        """Whether the link has been down for so long that somebody else may be on it, or it on another line."""
        if self._line is None or self._state.up or self._clock.now_ms() < self._reconnect.next_ms:
            return False
        return self._clock.now_ms() - self._state.since_ms >= _LONG_AWAY_MS

    def _give_way(self, objection: str) -> None:
        """The line is another's: nothing is asked on it by this process any more."""
        self._silenced = objection
        log.warning("another master has the line", link=self.link, detail=objection)
        self._state = LinkState(self.link, Phase.GIVEN_UP, self._clock.now_ms(), objection, None)
        self._changed(self._state)

    async def _keep_silent(self) -> None:
        now_ms = self._clock.now_ms()
        self._turn_away(self._silenced)
        self._to_confirm.clear()
        if self._said_ms is None or now_ms - self._said_ms >= _SAY_AGAIN_MS:
            if self._said_ms is None:
                await self._close_quietly()
            self._said_ms = now_ms
            self._take(self._all_missing(now_ms, self._silenced))
        await self._rest(idle=True)

    def _turn_away(self, why: str) -> None:
        """Whoever waits for a live reading hears why there is none."""
        now_ms = self._clock.now_ms()
        readers, self._readers = self._readers, []
        for device, reader in readers:
            if not reader.done():
                gaps = self._all_missing(now_ms, why)
                reader.set_result([g for g in gaps if g.device == device])
        records, self._records = self._records, []
        for wanted in records:
            if not wanted.future.done():
                wanted.future.set_exception(LinkDown(why))

    def _all_missing(self, now_ms: Ms, why: str) -> list[Outcome]:
        return [Gap(r.device, q, GapCause.LINK_DOWN, now_ms, why) for r in self.plan.requests for q in r.quantities]

    async def _serve_readers(self) -> None:
        while self._readers:
            device, reader = self._readers.pop(0)
            found: list[Outcome] = []
            began_ms = self._clock.now_ms()
            lost: Gap | None = None
            for request in self._of(device):
                if reader.done():
                    break
                if lost is not None:
                    found += [lost._replace(quantity=q) for q in request.quantities]
                    continue
                found += await self._ask(request)
                asked_ms = self.contact(device).asked_ms
                lost = _lost(found, asked=asked_ms is not None and asked_ms >= began_ms)
            if not reader.done():
                reader.set_result(found)

    async def _serve_confirmations(self) -> None:
        if self._clock.now_ms() < self._reconnect.next_ms:
            return
        paused = {p.device for p in self.plan.pauses()}
        while self._to_confirm:
            device = next(iter(self._to_confirm))
            del self._to_confirm[device]
            for request in self._of(device):
                if device not in paused:
                    await self._ask(request)

    async def _fetch(self, wanted: _Wanted) -> None:
        if wanted.future.done():
            return  # nobody waits any more
        try:
            found = await wanted.read()
        except Exception as error:
            if not isinstance(error, DriverError):
                log.exception("driver bug", link=self.link, device=wanted.device, while_=f"reading its {wanted.what}")
                await self._close_quietly()
                error = BadReply(repr(error))
            elif error.cause is GapCause.LINK_DOWN:
                self._down(str(error))
            if not wanted.future.done():
                wanted.future.set_exception(error)
            return
        self._up()
        if not wanted.future.done():
            wanted.future.set_result(list(found))

    def _of(self, device: DeviceId) -> list[Request]:
        return [r for r in self.plan.requests if r.device == device]

    async def _ask(self, request: Request) -> list[Outcome]:
        if self._is_silenced():
            return [Gap(request.device, q, GapCause.LINK_DOWN, self._clock.now_ms(), self._silenced)
                    for q in request.quantities]  # fmt: skip
        asked_ms = self._clock.now_ms()
        try:
            found = list(await self._driver.read(request))
        except DriverError as error:
            if error.sent:
                self._met(request.device, asked_ms=asked_ms)
            return self._failed(request, error.cause, _said(error))
        except Exception as bug:
            # Not one of the four: a mistake in a driver. The link starts afresh; the task goes on.
            if self._news(request, f"bug {bug!r}"):
                log.exception("driver bug", link=self.link, device=request.device, quantities=len(request.registers))
            await self._close_quietly()
            return self._failed(request, GapCause.BAD_REPLY, repr(bug), quiet=True)
        self._take(found)
        self._up()
        cause, detail = _verdict(found)
        self._met(request.device, asked_ms=asked_ms)
        if cause in {None, GapCause.REFUSED}:
            self._met(request.device, answered_ms=self._clock.now_ms())
        if cause is None:
            self._answers(request)
        else:
            self._count(request, cause, detail)
        return found

    def _failed(self, request: Request, cause: GapCause, detail: str, *, quiet: bool = False) -> list[Outcome]:
        now_ms = self._clock.now_ms()
        found: list[Outcome] = [Gap(request.device, q, cause, now_ms, detail) for q in request.quantities]
        if cause is GapCause.LINK_DOWN:
            self._down(detail)
            # Nobody on this link can be heard: each of its quantities is missing, not only those of this question.
            others = [r for r in self.plan.requests if r is not request]
            self._take(found + [Gap(r.device, q, cause, now_ms, detail) for r in others for q in r.quantities])
            return found
        self._take(found)
        self._up()
        if cause is GapCause.REFUSED:
            self._met(request.device, answered_ms=now_ms)
        self._count(request, cause, detail, quiet=quiet)
        return found

    def _met(self, device: DeviceId, **when_ms: Ms) -> None:
        self._contacts[device] = self.contact(device)._replace(**when_ms)

    def _answers(self, request: Request) -> None:
        ended = self.plan.answered(request)
        self._said.pop(id(request), None)
        if ended is not None:
            silent_s = (self._clock.now_ms() - ended.since_ms) / 1000
            log.info("device answers again", link=self.link, device=request.device, after_s=silent_s)

    def _count(self, request: Request, cause: GapCause, detail: str, *, quiet: bool = False) -> None:
        pause = self.plan.failed(request, cause, self._clock.now_ms(), detail)
        if quiet or not self._news(request, cause):
            return
        log.warning(
            "device refuses" if cause is GapCause.REFUSED else "device fails",
            link=self.link,
            device=request.device,
            cause=cause.value,
            detail=detail,
            pause_s=None if pause is None else (pause.next_ms - self._clock.now_ms()) / 1000,
        )

    def _news(self, request: Request, what: str) -> bool:
        """Whether this was not the last thing said about the question."""
        if self._said.get(id(request)) == what:
            return False
        self._said[id(request)] = what
        return True

    def _up(self, phase: Phase = Phase.UP) -> None:
        self._reconnect.up()
        was = self._state
        if was.phase is phase:
            return
        now_ms = self._clock.now_ms()
        self._state = LinkState(self.link, phase, now_ms, "", None)
        if not was.up:
            log.info("link up", link=self.link, after_s=(now_ms - was.since_ms) / 1000)
            self._changed(self._state)

    def _down(self, detail: str) -> None:
        now_ms = self._clock.now_ms()
        was = self._state
        next_ms = self._reconnect.failed(now_ms, self._chance())
        self._state = LinkState(self.link, Phase.DOWN, was.since_ms if not was.up else now_ms, detail, next_ms)
        if was.up or was.detail != detail:
            log.warning("link down", link=self.link, detail=detail)
        if was.up:
            self._changed(self._state)

    async def _close_quietly(self) -> None:
        try:
            await self._driver.close()
        except Exception:
            log.exception("driver bug", link=self.link, while_="closing")

    async def _rest(self, *, idle: bool = False) -> None:
        """Until something is due (`idle`: nothing ever is), or someone asks."""
        now_ms = self._clock.now_ms()
        due_ms = None if idle else self.plan.next_ms()
        until_ms = now_ms + _LOOK_AGAIN_MS
        if due_ms is not None:
            until_ms = min(until_ms, max(due_ms, self._reconnect.next_ms))
        sleeping = asyncio.ensure_future(self._clock.sleep_until(until_ms))
        waking = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait((sleeping, waking), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in (sleeping, waking):
                waiting.cancel()
            self._wake.clear()


def _said(error: DriverError) -> str:
    """What went wrong, and the cure where the driver names one."""
    return f"{error}. {say(error.code, **error.fields)}" if error.code else str(error)


def _lost(found: Sequence[Outcome], *, asked: bool) -> Gap | None:
    """The gap that more questions would bring as well: the device was asked, and nothing but silence has come.

    A question that a driver holds back, because an earlier answer is still owed, says nothing about the device.
    """
    gaps = [o for o in found if isinstance(o, Gap) and o.cause in {GapCause.NO_REPLY, GapCause.LINK_DOWN}]
    if not gaps or len(gaps) < len(found):
        return None
    return gaps[0] if asked or gaps[0].cause is GapCause.LINK_DOWN else None


def _verdict(found: Sequence[Outcome]) -> tuple[GapCause | None, str]:
    """Whether a device that brought outcomes was there: one value, or a word that it is busy, says so."""
    gaps = [o for o in found if isinstance(o, Gap)]
    if len(gaps) < len(found) or not gaps:
        return None, ""
    for cause in (GapCause.NO_REPLY, GapCause.BAD_REPLY, GapCause.LINK_DOWN, GapCause.REFUSED):
        for gap in gaps:
            if gap.cause is cause:
                return (cause if cause is not GapCause.REFUSED or _all_refused(gaps) else None), gap.detail
    return None, ""


def _all_refused(gaps: Sequence[Gap]) -> bool:
    return all(g.cause is GapCause.REFUSED for g in gaps)
