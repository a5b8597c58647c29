"""What the centre asks for: signed, with an end, of a short list; done once however often it comes, always answered.

A command is looked at whole, then taken: that it was is on the disk, in the chain, before anything is done. What is
interrupted between the two is not done later by itself; the answer says so when the command comes again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import structlog
from msgspec import UNSET, Struct

from edge_agent.app.identity import Identity
from edge_agent.app.keeping import MARK
from edge_agent.contract.commands import ALLOWED, Command, Reply
from edge_agent.contract.records import Package, Record, record_letter
from edge_agent.contract.shapes import rfc3339
from edge_agent.model import ClockQuality, Letter, Ms
from edge_agent.package import Header, Keyset, Opened, PackageRefused, Ratchet, open_package, plain_payload, split
from edge_agent.package.sealing import header_of
from edge_agent.ports import Clock
from edge_agent.store import Store, StoreError

log = structlog.get_logger()
KIND = "command"
AT_ONCE = 8
"""Commands that are looked at or done at the same time; more are thrown away unread."""

REFUSALS_A_DAY = 24
"""Refused commands that become records, and answers to what nobody known has signed."""

REMEMBERED = 64
"""Commands whose end is told again when they come again; of older ones the ratchet says that they were taken."""

UNSIGNED = frozenset({"too_long", "form", "unknown_key", "signature", "header", "no_cryptography"})
"""Refusals of what anybody may have sent."""


class Doing(Protocol):
    """What a command leads to. Raises `PackageRefused` for what this gateway does not have or cannot do."""

    async def check(self, command: Command) -> None: ...
    async def do(self, command: Command) -> Mapping[str, Any]: ...
    def accept(self, command: Command) -> Sequence[Record]: ...


class Commanding:
    """`write` puts letters into the store with all that has changed; `send` hands messages to the uplink."""

    names = frozenset({KIND})

    def __init__(
        self, doing: Doing, store: Store, identity: Identity, clock: Clock, keyset: Keyset,
        write: Callable[[Sequence[Letter], Ms], None], send: Callable[[Iterable[tuple[str, bytes]]], bool],
    ) -> None:  # fmt: skip
        self._doing, self._store, self._identity, self._clock = doing, store, identity, clock
        self._keyset, self._write, self._send = keyset, write, send
        self._ratchet = Ratchet()
        self._ended: dict[str, dict[str, Any]] = {}  # digest -> the answer, without what was read
        self._running: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._one = asyncio.Lock()
        self._refusals: tuple[int, int] = (0, 0)  # day, how many
        self._dirty = False
        self.dropped = 0

    # -- the store ----------------------------------------------------------------------------------------------

    def take(self) -> dict[str, bytes]:
        """What has changed since the last time, to be stored with the tracks."""
        dirty, self._dirty = self._dirty, False
        plain = {"ratchet": self._ratchet.to_plain(), "ended": self._ended}
        return {f"{MARK}{KIND}": msgspec.msgpack.encode(plain)} if dirty else {}

    def failed(self, keys: Sequence[str]) -> None:
        """The store did not take these."""
        self._dirty = True

    def restore(self, key: str, blob: bytes) -> None:
        """Raises KeyError, TypeError, ValueError or AttributeError for what this version did not write."""
        plain = msgspec.msgpack.decode(blob)
        ended = {str(k): dict(v) for k, v in plain["ended"].items()}
        self._ratchet = Ratchet({str(k): int(v) for k, v in plain["ratchet"].items()})
        self._ended = ended

    # -- over the broker ----------------------------------------------------------------------------------------

    def hear(self, package: bytes) -> None:
        """A message on the command topic."""
        if len(self._tasks) >= AT_ONCE:
            self.dropped += 1
            return
        task = asyncio.get_running_loop().create_task(self._hear(package))
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    @property
    def busy(self) -> bool:
        return bool(self._tasks)

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _hear(self, package: bytes) -> None:
        digest = hashlib.sha256(package).hexdigest()
        if digest in self._running:
            return  # it will be answered when it is done
        if digest in self._ended:
            self._reply(digest, {**self._ended[digest], "again": True})
            return
        self._running.add(digest)
        try:
            async with self._one:
                opened, command = await self._taken(package, digest)
            said = await self._done(command)
        except PackageRefused as refused:
            self._refuse(package, digest, refused)
        except StoreError as error:
            log.warning("command not taken: the store fails", cause=error.code)
            self._end(digest, {"outcome": "failed", "reason": "store"})
        else:
            self._end(digest, {**_named(opened.header, command), **said})
        finally:
            self._running.discard(digest)

    async def _taken(self, package: bytes, digest: str) -> tuple[Opened, Command]:
        """Checked, remembered and recorded, on the disk. Raises `PackageRefused` and `StoreError`."""
        synced = self._clock.state().quality is ClockQuality.SYNCED
        opened = open_package(
            package, self._keyset, kind=KIND, scopes={"fleet", self._identity.site.gateway}, ratchet=self._ratchet,
            now_ms=self._now_ms() if synced else None,
        )  # fmt: skip
        if opened.header.exp is UNSET:
            raise PackageRefused("no_end")
        word = _word(opened)
        if word not in ALLOWED:
            raise PackageRefused("not_allowed", what=word or "-")
        command: Command = plain_payload(opened, Command)  # type: ignore[arg-type]  # a union of closed types is no `type[T]`
        await self._doing.check(command)
        self._ratchet.take(opened.header)
        # what comes again after a crash from here on was interrupted
        self._remember(digest, {**_named(opened.header, command), "outcome": "failed", "reason": "interrupted"})
        applied = Package(document=KIND, version=opened.header.v, outcome="applied")
        self._say(applied, digest)
        for n, record in enumerate(self._doing.accept(command)):
            self._say(record, f"{digest[:16]}/{n}", own=True)
        await asyncio.wrap_future(self._store.record((), urgent=True))
        return opened, command

    async def _done(self, command: Command) -> dict[str, Any]:
        what = str(type(command).__struct_config__.tag)
        try:
            said = await self._doing.do(command)
        except PackageRefused as cannot:
            log.warning("command not done", what=what, cause=cannot.code)
            return {"outcome": "failed", "reason": cannot.code}
        except TimeoutError:
            log.warning("command not done in time", what=what)
            return {"outcome": "failed", "reason": "too_late"}
        log.info("command done", what=what)
        return {"outcome": "done", **said}

    def _refuse(self, package: bytes, digest: str, refused: PackageRefused) -> None:
        now_ms = self._now_ms() or 0
        day, count = self._refusals
        self._refusals = (now_ms // 86_400_000, count + 1 if day == now_ms // 86_400_000 else 1)
        few = self._refusals[1] <= REFUSALS_A_DAY
        log.warning("command refused", code=refused.code, says=str(refused))
        header = None if refused.code in UNSIGNED else header_of(split(package).header)
        if few:
            version = 0 if header is None else header.v
            self._say(Package(document=KIND, version=version, outcome="refused", reason=refused.code), digest)
        if few or header is not None:
            signed = {} if header is None else {"v": header.v, "key": header.key}
            self._reply(digest, {**signed, "outcome": "refused", "reason": refused.code})

    # -- inside -------------------------------------------------------------------------------------------------

    def _end(self, digest: str, said: Mapping[str, Any]) -> None:
        self._reply(digest, said)
        self._remember(digest, {k: v for k, v in said.items() if k not in {"readings", "frames"}})

    def _remember(self, digest: str, said: Mapping[str, Any]) -> None:
        self._ended.pop(digest, None)
        self._ended[digest] = dict(said)
        while len(self._ended) > REMEMBERED:
            del self._ended[next(iter(self._ended))]
        self._dirty = True

    def _reply(self, digest: str, said: Mapping[str, Any]) -> None:
        now_ms = self._now_ms()
        at = {} if now_ms is None else {"at": rfc3339(now_ms)}
        reply = msgspec.convert({"command": f"sha-256:{digest}", **said, **at}, Reply)
        if not self._send([("reply", msgspec.json.encode(reply))]):
            log.warning("answer to a command dropped: too much waits to be sent")

    def _say(self, data: Record, id_: str, *, own: bool = False) -> None:
        letter = record_letter(
            data, id=id_ if own else f"{KIND}/{id_[:16]}", site=self._identity.site, clock=self._clock.state(),
            boot_id=self._identity.boot_id, bt_ms=self._clock.now_ms(),
        )  # fmt: skip
        self._write([letter], self._clock.now_ms())

    def _now_ms(self) -> Ms | None:
        return self._clock.state().utc_ms(self._clock.now_ms())

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("command failed", error=repr(error))


class _What(Struct):
    do: str = ""


def _word(opened: Opened) -> str:
    try:
        return msgspec.json.decode(opened.payload, type=_What).do[:64]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def _named(header: Header, command: Command) -> dict[str, Any]:
    return {"v": header.v, "key": header.key, "do": str(type(command).__struct_config__.tag)}
