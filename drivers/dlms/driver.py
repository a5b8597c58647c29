"""Reads the meters of a link: opens what has to be open, asks, and says of every register what came or why nothing did.

What a register's number means is read from the meter, and again when the meter may be another one, or set otherwise:
at every new association it is asked who it is (name of the logical device, serial number, firmware, configuration).
A number whose type has changed is not used before its scaler was read anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import structlog

from drivers.dlms.axdr import Data, Tag
from drivers.dlms.channel import Wire
from drivers.dlms.logbook import Logbook
from drivers.dlms.objects import obis, scaler_unit
from drivers.dlms.planning import Plan, plan_of
from drivers.dlms.recording import Recording
from drivers.dlms.refused import AssociationLost, DataAccess, Desync, Malformed, MeterHungUp, access_error
from drivers.dlms.session import Fetched, Session
from drivers.dlms.units import ScalerUnit
from drivers.dlms.values import Item, outcome_of
from drivers.dlms.xdlms import Attribute
from drivers.link import Link
from drivers.link.latency import Latency
from edge_agent.model import DeviceId, DeviceSpec, GapCause, LinkSpec, MeterEvent, Ms, Outcome, Recorded, Request
from edge_agent.ports import BadReply, DriverError, LinkDown, NoReply, Refused

log = structlog.get_logger()
T = TypeVar("T")

REFUSED_FOR_MS = 3_600_000
"""An object that a meter does not give is asked for again after an hour: a right or a firmware may have changed."""

DAY_MS = 86_400_000
SILENT_QUESTIONS = 3
"""After so many in a row without one byte, the channel itself is in doubt."""

FAREWELL_S = 1.5

CHANGES = Attribute(1, obis("0-0:96.2.0.255"), 2)
"""How often the meter was configured: read behind every reading, where the meter has it, so that no number is taken
under a scaler of before. Source: IEC 62056-6-1, abstract objects, 0-b:96.2.0."""

IDENTITY = (
    *(Attribute(1, obis(p), 2) for p in ("0-0:42.0.0.255", "0-0:96.1.0.255", "1-0:0.2.0.255", "1-0:0.2.1.255")),
    CHANGES,
)
"""Name of the logical device, serial number, firmware, configuration program and how often that changed."""


class _Meter:
    """What is known of one meter."""

    def __init__(self, session: Session, device: DeviceSpec, utc_ms: Callable[[], Ms | None]) -> None:
        self.session = session
        self.device = device
        self.recording = Recording(session, device, utc_ms)
        self.logbook = Logbook(session, device, utc_ms)
        self.identity: tuple[object, ...] | None = None
        self.identified_ms: Ms = 0
        self.configured: object = None
        """How often the meter was configured, when its units were read."""
        self.changed = False
        self.not_given: set[Attribute] = set()
        self.units: dict[Attribute, ScalerUnit] = {}
        self.units_ms: Ms = 0
        self.tags: dict[Attribute, Tag] = {}


class DlmsDriver:
    """DLMS/COSEM on one link: over HDLC where the link is a line, else in the TCP wrapper. One read at a time."""

    def __init__(self, link: Link, timeout_s: float, now_ms: Callable[[], Ms]) -> None:
        self.link = link
        self._wire = Wire(link, timeout_s)
        self._now_ms = now_ms
        self._utc_ms: Callable[[], Ms | None] = lambda: None
        self._devices: dict[DeviceId, DeviceSpec] = {}
        self._meters: dict[DeviceId, _Meter] = {}
        self._silent = 0

    def know(self, devices: Sequence[DeviceSpec], utc_ms: Callable[[], Ms | None]) -> None:
        """The devices of the link, and true time: for load profiles, which are asked for outside of any request."""
        self._devices |= {d.id: d for d in devices}
        self._utc_ms = utc_ms

    async def read(self, request: Request) -> list[Outcome]:
        """One outcome per register of the request, in its order.

        Raises LinkDown, NoReply, BadReply or Refused when not one register was answered for; each keeps the bytes.
        """
        plan = plan_of(request)
        meter = self._meter(plan.device)
        return await self._with(meter, lambda: self._read_unchanged(meter, plan))

    async def recorded(self, device: DeviceId, since_ms: Ms, until_ms: Ms) -> list[Recorded]:
        """What the meter wrote down at (since, until], UTC by its own clock. Raises a `DriverError`."""
        meter = self._known(device)

        async def ask() -> list[Recorded]:
            await self._identify(meter, self._now_ms())  # a profile's numbers are under the scalers of now
            return await meter.recording.read(since_ms, until_ms)

        return await self._with(meter, ask)

    async def logged(self, device: DeviceId, since_ms: Ms, rose: Mapping[str, int]) -> list[MeterEvent]:
        """The entries of the meter's event logs from `since_ms` on, whichever counters rose. Raises a `DriverError`."""
        meter = self._known(device)
        return await self._with(meter, lambda: meter.logbook.read(since_ms))

    def latency(self, device: DeviceId) -> Latency | None:
        """How long the meter takes to answer; None before it was asked for the first time."""
        meter = self._meters.get(device)
        return meter.session.seen.report() if meter else None

    async def release(self) -> None:
        """End every association in good order, for whoever comes next; nobody waits long for that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                for meter in self._meters.values():
                    await meter.session.release()

    async def close(self) -> None:
        for meter in self._meters.values():
            await meter.session.lost()
        await self.link.close()

    def _known(self, device: DeviceId) -> _Meter:
        spec = self._devices.get(device)
        if spec is None:
            raise Refused(f"{device}: the driver does not know it")
        return self._meter(spec)

    def _meter(self, device: DeviceSpec) -> _Meter:
        meter = self._meters.get(device.id)
        if meter is None:
            self._devices.setdefault(device.id, device)
            meter = _Meter(Session(self._wire, device, self._now_ms), device, self._true_ms)
            self._meters[device.id] = meter
        return meter

    async def _with(self, meter: _Meter, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask once, and once more where an association that was open turns out to be none."""
        session = meter.session
        try:
            was_open = session.is_open
            try:
                found = await self._asked(meter, ask)
            except (AssociationLost, MeterHungUp, Desync, LinkDown) as error:
                if not was_open or not self._has_just_ended(error):
                    raise
                found = await self._asked(meter, ask)
        except DriverError as error:
            await self._count_silence(error)
            raise
        else:
            self._silent = 0
            return found
        finally:
            await session.end_if_idle()
            await self._close_if_alone()

    async def _asked(self, meter: _Meter, ask: Callable[[], Awaitable[T]]) -> T:
        fresh, now_ms = await meter.session.open(), self._now_ms()
        if fresh or now_ms - meter.identified_ms >= DAY_MS:
            await self._identify(meter, now_ms)
        return await ask()

    def _has_just_ended(self, error: DriverError) -> bool:
        """Whether it was ended at the other end while we were not looking: that says nothing about the meter now."""
        return not isinstance(error, LinkDown) or (self.link.framing is None and not error.received)

    async def _count_silence(self, error: DriverError) -> None:
        silent = isinstance(error, NoReply) and not error.received and bool(error.sent)
        self._silent = self._silent + 1 if silent else 0
        if self._silent >= SILENT_QUESTIONS and self.link.may_go_deaf:
            self._silent = 0
            await self.link.close()

    async def _close_if_alone(self) -> None:
        """A TCP connection that no association is open on is given back: many meters serve one."""
        if self.link.framing is None and not any(m.session.is_open for m in self._meters.values()):
            await self.link.close()

    def _true_ms(self) -> Ms | None:
        return self._utc_ms()

    # -- who it is -----------------------------------------------------------------------------------------------

    async def _identify(self, meter: _Meter, now_ms: Ms) -> None:
        if now_ms - meter.identified_ms >= DAY_MS:
            meter.not_given.clear()
        came: dict[Attribute, Fetched] = {}
        await meter.session.values([a for a in IDENTITY if a not in meter.not_given], came)
        meter.not_given |= {a for a, fetched in came.items() if not isinstance(fetched.result, Data)}
        identity = tuple(
            fetched.result if (fetched := came.get(a)) is not None and isinstance(fetched.result, Data) else None
            for a in IDENTITY
        )
        meter.identified_ms = now_ms
        meter.configured = identity[-1]
        if identity == meter.identity:
            return
        if meter.identity is not None:
            log.info("meter has another identity: what its registers mean is read anew", device=meter.device.id)
            meter.session.list_max = meter.session.spec.with_list_max
        meter.identity = identity
        self._forget_units(meter)

    def _forget_units(self, meter: _Meter) -> None:
        meter.units.clear()
        meter.tags.clear()
        meter.recording.forget()
        meter.logbook.forget()

    # -- values --------------------------------------------------------------------------------------------------

    async def _read_unchanged(self, meter: _Meter, plan: Plan) -> list[Outcome]:
        """A reading during which the meter was not configured; once more where it was."""
        for _ in range(2):
            found = await self._read(meter, plan)
            if not meter.changed:
                return found
            await self._identify(meter, self._now_ms())
            meter.changed = False
        raise BadReply(f"{meter.device.id}: it is being configured")

    async def _read(self, meter: _Meter, plan: Plan) -> list[Outcome]:
        now_ms, session = self._now_ms(), meter.session
        if now_ms - meter.units_ms >= DAY_MS:
            meter.units.clear()
            meter.units_ms = now_ms
        plan.refused = {n: held for n, held in plan.refused.items() if held[1] > now_ms}
        asked = [item for n, item in enumerate(plan.items) if n not in plan.refused]
        scalers: dict[Attribute, Fetched] = {}
        came: dict[Attribute, Fetched] = {}
        failed: DriverError | None = None
        try:
            await self._learn_units(meter, asked, scalers)
            last = [CHANGES] if asked and CHANGES not in meter.not_given else []
            await session.values([*dict.fromkeys(i.attribute for i in asked), *last], came)
            meter.changed = bool(last) and came[CHANGES].result != meter.configured
            if changed := self._changed_types(meter, asked, came):
                await self._learn_units(meter, changed, scalers)
        except DriverError as error:
            if not came or isinstance(error, AssociationLost | MeterHungUp):
                raise
            if CHANGES not in meter.not_given and CHANGES not in came:
                raise  # whether the meter was configured meanwhile cannot be told
            failed = error  # what was answered stands; the rest is not asked of a meter that has stopped answering
        return [self._outcome(meter, plan, n, came, scalers, failed) for n in range(len(plan.items))]

    async def _learn_units(self, meter: _Meter, items: Sequence[Item], into: dict[Attribute, Fetched]) -> None:
        wanted = [i.scaler for i in items if i.scaler is not None and i.scaler not in meter.units]
        await meter.session.values(list(dict.fromkeys(wanted)), into)
        for place in wanted:
            fetched = into.get(place)
            if fetched is not None and isinstance(fetched.result, Data):
                try:
                    meter.units[place] = scaler_unit(fetched.result)
                except Malformed as error:
                    into[place] = Fetched(error, fetched.frame)

    def _changed_types(self, meter: _Meter, items: Sequence[Item], came: dict[Attribute, Fetched]) -> list[Item]:
        """Items whose numbers come in another type than before: their units are forgotten."""
        changed = []
        for item in items:
            fetched = came.get(item.attribute)
            if item.scaler is None or fetched is None or not isinstance(fetched.result, Data):
                continue
            tag = fetched.result.tag
            if meter.tags.setdefault(item.attribute, tag) is not tag:
                meter.tags[item.attribute] = tag
                meter.units.pop(item.scaler, None)
                changed.append(item)
        return changed

    def _outcome(
        self,
        meter: _Meter,
        plan: Plan,
        n: int,
        came: dict[Attribute, Fetched],
        scalers: dict[Attribute, Fetched],
        failed: DriverError | None,
    ) -> Outcome:
        item, now_ms = plan.items[n], self._now_ms()
        if n in plan.refused:
            return plan.gap(item, GapCause.REFUSED, now_ms, plan.refused[n][0])
        fetched = came.get(item.attribute)
        if fetched is None:
            assert failed is not None
            return plan.gap(item, failed.cause, now_ms, str(failed))
        unit = None
        if isinstance(fetched.result, Data) and item.scaler is not None:
            unit = meter.units.get(item.scaler)
            if unit is None:
                fetched = scalers.get(item.scaler) or Fetched(failed or BadReply("no scaler"), fetched.frame)
        if isinstance(fetched.result, Data):
            return outcome_of(item, fetched.result, unit, meter.device.id, fetched.frame.bt_ms, fetched.frame)
        error = fetched.result
        if isinstance(error, DataAccess):
            error = access_error(error, str(item.attribute))
        if isinstance(error, Refused):
            plan.refused[n] = (str(error), now_ms + REFUSED_FOR_MS)
        return plan.gap(item, error.cause, fetched.frame.bt_ms, str(error), fetched.frame)


def open_driver(link: Link, spec: LinkSpec, now_ms: Callable[[], Ms]) -> DlmsDriver:
    """A driver on a link that several may share; it opens it at the first question. `now_ms` is the boot clock.

    Where a meter's invocation counters are kept, its `DlmsSpec` says.
    """
    return DlmsDriver(link, spec.timeout_s, now_ms)
