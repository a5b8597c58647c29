"""What the rooms ask of the outside: a driver, a publisher, a clock, and the four ways a read can fail.

An error is named after what the poller does next, and keeps the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from edge_agent.model import ClockState, DeviceId, GapCause, MeterEvent, Ms, Outcome, Recorded, Request


class DriverError(Exception):
    """A read that brought no values; `received` holds whatever bytes came.

    `code` is that of the sentence which says what to do, with its `fields`; "": the driver knows none of its own.
    """

    cause = GapCause.BAD_REPLY
    code = ""

    def __init__(self, message: str, *, sent: bytes = b"", received: bytes = b"") -> None:
        super().__init__(message)
        self.fields: Mapping[str, Any] = {}
        self.sent = sent
        self.received = received


class LinkDown(DriverError):
    """The channel itself failed: reconnect; says nothing about any device on it."""

    cause = GapCause.LINK_DOWN


class NoReply(DriverError):
    """This device kept silent: back off from it, keep the link."""

    cause = GapCause.NO_REPLY


class BadReply(DriverError):
    """Bytes came and do not answer the question: drain the link before the next one."""

    cause = GapCause.BAD_REPLY


class Refused(DriverError):
    """The device answered that it will not: stop asking, show the technician."""

    cause = GapCause.REFUSED


class Driver(Protocol):
    """One protocol on one link. Not safe for two reads at once: the poller serialises."""

    async def read(self, request: Request) -> Sequence[Outcome]:
        """One outcome for every register asked, in the order asked, or a `DriverError`."""

    async def close(self) -> None: ...


class Recorder(Protocol):
    """A driver whose devices keep load profiles; others do not have this method."""

    async def recorded(self, device: DeviceId, since_ms: Ms, until_ms: Ms) -> Sequence[Recorded]:
        """What the device recorded at (since, until], UTC by its own clock, in order; a `DriverError` where nothing
        can be said: `Refused` where it keeps no profile."""


class Logbook(Protocol):
    """A driver whose devices keep logs of events; others do not have this method."""

    async def logged(self, device: DeviceId, since_ms: Ms, rose: Mapping[str, int]) -> Sequence[MeterEvent]:
        """Entries of the device's own log, in any order, those from `since_ms` on (UTC, by its clock) at least.

        `rose`: codes whose counter has risen, and by how much. A device that keeps one record after another of each
        kind is asked for the newest so many of these and no others; one with a log of everything may pass it over. A
        `DriverError` where nothing can be said: `Refused` where the device keeps no log.
        """


class Clock(Protocol):
    """Time as the agent sees it: system, scaled or replayed."""

    def now_ms(self) -> Ms:
        """Boot time now."""

    def state(self) -> ClockState:
        """How boot time maps to UTC at this instant; `offset_ms` None while the gateway has no true time."""

    async def sleep_until(self, bt_ms: Ms) -> None:
        """Return once boot time has reached `bt_ms`."""


class Publisher(Protocol):
    """A message bus connection; every callback arrives on the event loop's thread."""

    async def connect(self) -> None: ...

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> int:
        """Hand one message over; the number comes back in `on_published`."""

    async def disconnect(self) -> None: ...

    on_message: Callable[[str, bytes], None]
    on_published: Callable[[int, int], None]
    on_lost: Callable[[str], None]
