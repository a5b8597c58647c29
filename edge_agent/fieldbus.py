"""A link and the drivers that speak on it, each loaded by name when a device of the site file needs it.

The devices of a line may speak several protocols: a question goes to the driver of its device's profile, and all of
them share the one link. On a serial line somebody else may be master: nothing is asked before it has been listened to.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog

from edge_agent.model import (
    DeviceId,
    DeviceSpec,
    Frame,
    LinkSpec,
    MeterEvent,
    Ms,
    Outcome,
    Profile,
    Recorded,
    Register,
    Request,
)
from edge_agent.ports import Clock, Driver, DriverError, LinkDown, Refused

log = structlog.get_logger()

SETTLEMENT_LISTEN_S = 960.0
"""A collection terminal reads a settlement meter every fifteen minutes."""

LISTEN_S = 60.0
STRAY_BYTES = 16
"""More bytes of no frame than that are worth a word: a master at another speed looks like this."""

NEWS_S, NEWS_SHARE = 0.005, 0.25
"""A device's turnaround is news when it differs by more from what the questions were planned with."""

ADVICE = "use the meter's second RS-485 port, or say shared_line = true for this link if sharing has been agreed"


class Stamp(Protocol):
    """When this gateway last asked on a line, over the end of the process."""

    def is_fresh(self) -> bool:
        """Whether that was so lately that no other master can have settled on the line."""

    def mark(self) -> None: ...

    def forget(self) -> None: ...


class FieldLine:
    """One link with all its drivers: a `Driver`, and who else was heard on the line."""

    def __init__(
        self,
        spec: LinkSpec,
        link: Any,
        devices: Sequence[DeviceSpec],
        now_ms: Callable[[], Ms],
        *,
        utc_ms: Callable[[], Ms | None] = lambda: None,
    ) -> None:
        self.spec = spec
        self.link = link
        self.is_serial: bool = link.framing is not None
        self.stamp: Stamp | None = None
        self.others: tuple[str, ...] = ()
        """The other masters that were heard, in words with the devices that they ask."""
        self._specs = tuple(d for d in devices if d.link == spec.id)
        self._modules = {d.profile.driver: _driver_module(d.profile.driver) for d in devices}
        drivers: dict[str, Any] = {name: m.open_driver(link, spec, now_ms) for name, m in self._modules.items()}
        for name, driver in drivers.items():
            if hasattr(driver, "know"):  # what is asked outside of any request: load profiles, held to true time
                driver.know([d for d in devices if d.profile.driver == name], utc_ms)
        self._drivers = {d.id: drivers[d.profile.driver] for d in devices}
        self._turnaround_s: dict[DeviceId, float] = {}  # as the questions were planned with; else as is usual
        self.requests: tuple[Request, ...] = tuple(r for d in self._specs for r in self._planned(d))
        if self.is_serial:
            listening = importlib.import_module("drivers.link.listening")
            link.ear = listening.Overhearing(link.framing, reply_s=spec.timeout_s)

    async def read(self, request: Request) -> Sequence[Outcome]:
        try:
            found: Sequence[Outcome] = await self._drivers[request.device].read(request)
        except LinkDown:
            raise
        except DriverError:
            self._mark()
            raise
        self._mark()
        return found

    async def recorded(self, device: DeviceId, since_ms: Ms, until_ms: Ms) -> Sequence[Recorded]:
        """The device's own load profile over (since, until]; `Refused` where its driver reads none."""
        reader = getattr(self._drivers[device], "recorded", None)
        if reader is None:
            raise Refused(f"{device}: its driver reads no load profile")
        found: Sequence[Recorded] = await reader(device, since_ms, until_ms)
        self._mark()
        return found

    async def logged(self, device: DeviceId, since_ms: Ms, rose: Mapping[str, int]) -> Sequence[MeterEvent]:
        """The device's own log of events (`ports.Logbook`); `Refused` where its driver reads none."""
        reader = getattr(self._drivers[device], "logged", None)
        if reader is None:
            raise Refused(f"{device}: its driver reads no event log")
        found: Sequence[MeterEvent] = await reader(device, since_ms, rose)
        self._mark()
        return found

    def _mark(self) -> None:
        if self.stamp is not None:
            self.stamp.mark()

    async def close(self) -> None:
        for driver in dict.fromkeys(self._drivers.values()):
            if hasattr(driver, "release") and self._may_speak:
                await driver.release()
            await driver.close()
        await self.link.close()

    @property
    def devices(self) -> tuple[DeviceId, ...]:
        return tuple(d.id for d in self._specs)

    @property
    def _may_speak(self) -> bool:
        """Whether the line is not another master's."""
        return not self.others or self.spec.shared_line

    @property
    def where(self) -> str:
        """The port or endpoint, and the form of the line: "/dev/ttyUSB0, 9600 8N1"."""
        return f"{self.link.name}, {self.link.framing}" if self.is_serial else f"{self.link.name}"

    def latency(self, device: DeviceId) -> Any:
        """How long the device takes to answer, as its driver has seen it; None where it has not, or does not look."""
        report = getattr(self._drivers.get(device), "latency", None)
        return report(device) if report else None

    # -- which questions ------------------------------------------------------------------------------------------

    def replanned(self) -> tuple[Request, ...] | None:
        """The line's questions anew, where a device answers so much faster or slower than was thought that others are
        cheaper; None: they stay as they are."""
        news = False
        found: list[Request] = []
        for device in self._specs:
            before = tuple(r for r in self.requests if r.device == device.id)
            planned = self._planned(device) if self._is_news(device.id) else before
            changed = [r.registers for r in planned] != [r.registers for r in before]
            found += planned if changed else before
            news = news or changed
        if not news:
            return None
        log.info("questions planned anew", link=self.spec.id)
        self.requests = tuple(found)
        return self.requests

    def _is_news(self, device: DeviceId) -> bool:
        """Whether the device's turnaround is another than its questions were planned with; it is remembered."""
        seen, thought_s = self.latency(device), self._turnaround_s.get(device)
        if seen is None or seen.typical_s is None:
            return False
        if thought_s is not None and abs(seen.typical_s - thought_s) <= max(NEWS_S, NEWS_SHARE * thought_s):
            return False
        self._turnaround_s[device] = seen.typical_s
        return True

    def _planned(self, device: DeviceSpec) -> tuple[Request, ...]:
        """The device's questions, as cheap on this line as is known by now; what it refuses they learn by asking."""
        module = self._modules[device.profile.driver]
        costs = (module.cost_on(self.spec, self._turnaround_s.get(device.id)),) if hasattr(module, "cost_on") else ()
        found: tuple[Request, ...] = module.requests(device, *costs)
        return found

    # -- others on the line --------------------------------------------------------------------------------------

    @property
    def listens_s(self) -> float:
        """For how long the line has to be listened to before the first question; 0.0: not at all, or not again."""
        if not self.is_serial or (self.stamp is not None and self.stamp.is_fresh()):
            return 0.0
        return listening_s(self.spec)

    async def listen(self, progress: Callable[[float], None]) -> str:
        """Who else is master on the line and what to do about it; "": nobody, or sharing is allowed.

        Raises `LinkDown`. `progress` hears about once a second how many seconds are left.
        """
        listening = importlib.import_module("drivers.link.listening")
        heard = await listening.listen(self.link, self.listens_s, progress)
        if heard.stray > STRAY_BYTES and not heard.frames:
            log.warning(
                "bytes on the line that are no frame: another master at another speed, or noise",
                link=self.spec.id, bytes=heard.stray,
            )  # fmt: skip
        return self._objection(heard.masters)

    def foreign(self) -> str:
        """The same of what was heard since, between our own questions."""
        if not self.is_serial:
            return ""
        self.link.ear.at_rest(asyncio.get_running_loop().time())
        return self._objection(self.link.ear.masters())

    def _objection(self, masters: Sequence[str]) -> str:
        if not masters:
            return ""
        before, self.others = self.others, tuple(masters)
        if self.spec.shared_line:
            if before != self.others:
                log.info("sharing the line", link=self.spec.id, others=list(masters))
            return ""
        if self.stamp is not None:
            self.stamp.forget()  # whoever comes next shall listen for himself
        return f"on this line there is {' and '.join(masters)}: {ADVICE}"


def listening_s(spec: LinkSpec) -> float:
    """How long to listen: what the line needs, longer if the site file says so, less only where sharing is allowed."""
    usual_s = SETTLEMENT_LISTEN_S if spec.settlement else LISTEN_S
    if spec.listen_s is None:
        return usual_s
    return spec.listen_s if spec.shared_line else max(usual_s, spec.listen_s)


def open_line(link: LinkSpec, devices: Sequence[DeviceSpec], clock: Clock, *, stamp: Stamp | None = None) -> FieldLine:
    """The link with a driver for each protocol of its devices; it is opened at the first question."""
    links = importlib.import_module("drivers.link")
    line = FieldLine(
        link,
        links.open_link(link, now_ms=clock.now_ms),
        [d for d in devices if d.link == link.id],
        clock.now_ms,
        utc_ms=lambda: clock.state().utc_ms(clock.now_ms()),
    )
    line.stamp = stamp
    return line


def open_driver(link: LinkSpec, devices: Sequence[DeviceSpec], clock: Clock) -> Driver:
    """The same as a mere driver."""
    return open_line(link, devices, clock)


def requests_of(device: DeviceSpec) -> tuple[Request, ...]:
    """The round trips that read everything the device's profile names, wherever the device may hang."""
    found: tuple[Request, ...] = _driver_module(device.profile.driver).requests(device)
    return found


def raw_of(profile: Profile, register: Register, frame: Frame) -> bytes:
    """A register's own bytes in the frame that brought its value."""
    found: bytes = _driver_module(profile.driver).raw_of(register, frame)
    return found


def _driver_module(name: str) -> Any:
    return importlib.import_module(f"drivers.{name}")
