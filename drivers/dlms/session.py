"""One association with one meter, over polls: opened when something is asked, kept while that is cheaper, ended well.

A meter serves one client at a time and ends an association that nobody uses. So it is kept open only where the next
poll comes before that, and released otherwise. What broke off is made anew from the data link up.

Under keys every APDU takes a new number of the invocation counter, and an APDU is never sent twice. A meter that has
seen higher numbers than ours (another system had the key, a disk was replaced) refuses; then its counter is read in the
clear, over the public client, and ours goes on from there: upwards only, and at most once an hour.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from drivers.dlms import keyring
from drivers.dlms.acse import Mechanism
from drivers.dlms.association import Association, Phase, Terms
from drivers.dlms.axdr import Data
from drivers.dlms.channel import Asked, Channel, Wire, channel_of
from drivers.dlms.counter_file import counter_of
from drivers.dlms.counters import BLOCK, HeardCounter, InvocationCounter
from drivers.dlms.initiate import Agreed, Conformance
from drivers.dlms.objects import Class, obis
from drivers.dlms.protection import Level, Protection, Witness, Wrap
from drivers.dlms.reading import Get
from drivers.dlms.refused import (
    AccessRefused,
    AssociationBusy,
    AssociationLost,
    AssociationRefused,
    Desync,
    ExceptionResponse,
    MeterHungUp,
    NotSupported,
    Said,
    ServiceError,
    Unsupported,
)
from drivers.dlms.xdlms import Attribute, Result
from drivers.gate import GateRefused
from drivers.link.latency import LatencyFilter
from edge_agent.model import DeviceSpec, DlmsSpec, Frame, Ms
from edge_agent.ports import BadReply, DriverError, LinkDown, NoReply, Refused

log = structlog.get_logger()

RESYNC_MS = 3_600_000
UNREAD_MS = 60_000
"""A counter that could not be read is tried again so much later."""

USUAL_INACTIVITY_S = 120.0
MARGIN_S = 5.0
"""So much before its end an association is taken for ended: a question takes time as well."""

_LEVELS = {"none": Level.NONE, "authenticated": Level.AUTHENTICATED, "authenticated-encrypted": Level.BOTH}
_MECHANISMS = {"none": Mechanism.NONE, "lls": Mechanism.LLS, "hls5": Mechanism.HLS_GMAC}
_INACTIVITY = (
    Attribute(Class.TCP_UDP_SETUP, bytes((0, 0, 25, 0, 0, 255)), 6),
    Attribute(Class.HDLC_SETUP, bytes((0, 0, 22, 0, 0, 255)), 8),
)
_ATTRIBUTE, _LISTED, _UNDER_KEYS = 10, 14, 36
"""Octets of an attribute in a list, of a usual value in an answer to one, and of protection."""

_PDU_TOO_LONG, _COUNTER = 4, 6
_OF_THE_HEADER = {
    Unsupported.SUITE, Unsupported.COMPRESSION, Unsupported.GENERAL_CIPHERING, Unsupported.GENERAL_BLOCK_TRANSFER,
}  # fmt: skip


class Fetched(NamedTuple):
    """What came for one attribute."""

    result: Result | DriverError
    frame: Frame


class Session:
    """What is open, and known of how to ask, with one meter. `every_s`: how often it is polled."""

    def __init__(self, wire: Wire, device: DeviceSpec, now_ms: Callable[[], Ms]) -> None:
        self.spec: DlmsSpec = device.dlms or DlmsSpec()
        self.seen = LatencyFilter()
        self.associations = 0
        """How many were opened; another one may be with another meter."""
        self.every_s = min((device.every_s or r.every_s for r in device.profile.registers), default=0.0)
        self.list_max = self.spec.with_list_max
        self._device = device.id
        self._wire = wire
        self._now_ms = now_ms
        self._channel: Channel = channel_of(wire, self.spec, self.seen)
        self._association: Association | None = None
        self._heard = HeardCounter()
        self._invoked = 0
        self._used_ms: Ms = 0
        self._inactivity_s = self.spec.inactivity_s
        self._resynced_ms: Ms | None = None
        self._lists_given = False
        self._lists_silent = 0

    # -- opening and ending --------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether there is an association that the meter should still know of."""
        association = self._association
        if association is None or association.phase is not Phase.OPEN or not self._channel.is_up:
            return False
        return self._now_ms() - self._used_ms < 1000 * (self._lasts_s - MARGIN_S)

    @property
    def agreed(self) -> Agreed:
        assert self._association is not None
        assert self._association.agreed is not None
        return self._association.agreed

    @property
    def _lasts_s(self) -> float:
        lasts_s = USUAL_INACTIVITY_S if self._inactivity_s is None else self._inactivity_s
        return lasts_s or float("inf")  # 0: never ended

    async def open(self) -> bool:
        """Make sure of an association; whether it is a new one. Raises a `DriverError`."""
        if self.is_open:
            return False
        await self._lose()
        try:
            await self._associate()
        except DriverError as error:
            reached = self._association is not None
            await self._give_up(error)
            if not reached or not await self._resynchronise(error):
                raise
            try:
                await self._associate()
            except DriverError as again:
                await self._give_up(again)
                raise
        self.associations += 1
        if self._inactivity_s is None:
            await self._ask_inactivity()
        return True

    async def end_if_idle(self) -> None:
        """Release it where the meter would end it before the next poll."""
        if self._association is not None and self.every_s >= self._lasts_s - MARGIN_S:
            await self.release()

    async def release(self) -> None:
        """The end in good order, as far as the meter goes along."""
        association, self._association = self._association, None
        if association is None or not self._channel.is_up:
            return
        try:
            if association.phase is Phase.OPEN and (request := association.release()):
                association.feed((await self._channel.ask(request)).apdu)
            await self._channel.disconnect()
        except DriverError:
            await self._channel.drop()

    async def lost(self) -> None:
        """Something broke: whatever may still come must not be taken for an answer."""
        await self._lose()

    async def _lose(self) -> None:
        association, self._association = self._association, None
        if association is not None:
            self._invoked = association.invoked
            await self._channel.drop()

    # -- asking --------------------------------------------------------------------------------------------------

    async def get(self, attributes: Sequence[Attribute], *, patience_s: float = 0.0) -> tuple[Sequence[Result], Frame]:
        """One GET with its blocks. Raises a `DriverError`; after one that leaves doubts the association is lost."""
        association = self._association
        assert association is not None
        sent, came = b"", b""
        get = Get(association, attributes)
        try:
            while True:
                asked = await self._channel.ask(get.request, patience_s=patience_s)
                self._used_ms = self._now_ms()
                sent, came = sent + asked.frame.request, came + asked.frame.reply
                if (results := get.feed(asked.apdu)) is not None:
                    return results, Frame(sent, came, asked.frame.bt_ms)
        except DriverError as error:
            error.sent, error.received = error.sent or sent, error.received or came
            if isinstance(error, ExceptionResponse) and error.counter is not None and self._raise(error.counter):
                await self._lose()
                raise AssociationLost(error.name) from error
            if not isinstance(error, Refused) or _is_unvouched(error):
                await self._lose()
            raise

    async def values(self, attributes: Sequence[Attribute], into: dict[Attribute, Fetched]) -> None:
        """All of them, in as few questions as the meter takes. Raises a `DriverError` at the first that breaks off;
        what came until then is in `into`."""
        left = [a for a in attributes if a not in into]
        while left:
            chunk = left[: self._together()]
            try:
                results, frame = await self.get(chunk)
            except Refused as error:
                if _is_unvouched(error):
                    raise
                if len(chunk) == 1:
                    into[chunk[0]] = Fetched(error, Frame(error.sent, error.received, self._now_ms()))
                    del left[0]
                else:
                    self._shorten(error, len(chunk))
                if self._association is None:
                    raise
                continue
            except (NoReply, BadReply, LinkDown):
                self._suspect_lists(len(chunk))
                raise
            if len(chunk) > 1:
                self._lists_given, self._lists_silent = True, 0
            into.update({a: Fetched(r, frame) for a, r in zip(chunk, results, strict=True)})
            del left[: len(chunk)]

    def _together(self) -> int:
        """How many attributes a question may name now."""
        agreed, under_keys = self.agreed, _UNDER_KEYS if self.spec.security != "none" else 0
        if not agreed.conformance & Conformance.MULTIPLE_REFERENCES:
            return 1
        most = self.list_max
        if agreed.max_pdu:
            most = min(most, (agreed.max_pdu - 4 - under_keys) // _ATTRIBUTE)
        if not agreed.conformance & Conformance.BLOCK_TRANSFER_WITH_GET:
            sizes = [size for size in (agreed.max_pdu, self.spec.max_pdu) if size]
            most = min([most, *((size - 4 - under_keys) // _LISTED for size in sizes)])
        return max(1, most)

    def _shorten(self, error: Refused, count: int) -> None:
        """A list was refused: a shorter one, or none from now on."""
        too_long = isinstance(error, ExceptionResponse) and error.service == _PDU_TOO_LONG
        self.list_max = max(1, count // 2) if too_long else 1
        log.info("meter refuses a list of attributes", device=self._device, list=count, now=self.list_max)

    def _suspect_lists(self, count: int) -> None:
        """A meter that has never answered a list and keeps silent at it, or hangs up, may not know what it is."""
        if count == 1 or self._lists_given:
            return
        self._lists_silent += 1
        if self._lists_silent >= 2:
            self.list_max, self._lists_silent = 1, 0

    async def _ask_inactivity(self) -> None:
        """After how long the meter ends an association: asked once, since most say so."""
        self._inactivity_s = USUAL_INACTIVITY_S
        attribute = _INACTIVITY[0 if self._wire.link.framing is None else 1]
        try:
            (result,), _ = await self.get([attribute])
        except Refused:
            return
        if isinstance(result, Data) and result.is_integer and isinstance(result.value, int):
            self._inactivity_s = float(result.value)

    # -- how an association comes about --------------------------------------------------------------------------

    async def _associate(self) -> None:
        spec = self.spec
        mechanism = _MECHANISMS[spec.authentication]
        password = keyring.password_of(spec) if mechanism is Mechanism.LLS else b""
        terms = Terms(mechanism=mechanism, password=password, max_pdu=spec.max_pdu, releases=spec.release)
        association = Association(terms, await self._protection(), invoked=self._invoked)
        await self._channel.connect()
        self._association = association
        await self._open(association, self._channel)

    async def _open(self, association: Association, channel: Channel) -> None:
        secret = self.spec.authentication == "lls"
        while association.phase is not Phase.OPEN:
            try:
                asked: Asked = await channel.ask(association.request, secret=secret)
            except GateRefused:
                # What did not pass holds a password or a key: it is not to be seen in any log.
                raise GateRefused("the opening of an association does not read", b"") from None
            association.feed(asked.apdu)
        self._used_ms = self._now_ms()

    async def _protection(self) -> Protection | None:
        spec = self.spec
        level = _LEVELS[spec.security]
        if level is Level.NONE and spec.authentication != "hls5":
            return None
        keys, title = keyring.keys_of(spec), bytes.fromhex(spec.client_title)
        counter, file = counter_of(spec.state, keys.encryption, title)
        if file.is_new and self._resynced_ms is None:
            await self._read_counter(counter, above=BLOCK, first=True)
        # The gate of a DLMS voice seals as well as it passes: `drivers.gate_dlms`.
        witness: Witness = self._wire.voice.gate  # type: ignore[assignment]
        return Protection(
            keys, title, counter, witness=witness, heard=self._heard, level=level, wrap=Wrap(spec.wrap),
            meter_title=bytes.fromhex(spec.meter_title),
        )  # fmt: skip

    async def _give_up(self, error: DriverError) -> None:
        """The association did not come about; a data link that did is ended."""
        association, self._association = self._association, None
        if association is not None:
            self._invoked = association.invoked
        with contextlib.suppress(DriverError):
            if isinstance(error, Refused | AssociationBusy) and self._channel.is_up:
                await self._channel.disconnect()
        await self._channel.drop()

    # -- counters ------------------------------------------------------------------------------------------------

    def _raise(self, number: int) -> bool:
        """Ours goes on above the number that the meter has seen; whether that was news."""
        keys, title = keyring.keys_of(self.spec), bytes.fromhex(self.spec.client_title)
        counter, _ = counter_of(self.spec.state, keys.encryption, title)
        raised = counter.raise_to(number + 1)
        if raised:
            log.warning("invocation counter raised to the meter's", device=self._device)
        return raised

    async def _resynchronise(self, error: DriverError) -> bool:
        """Whether our counter was behind the meter's, and no longer is."""
        if self.spec.security == "none" and self.spec.authentication != "hls5":
            return False
        if isinstance(error, ExceptionResponse) and error.counter is not None:
            return self._raise(error.counter)
        if not _may_be_the_counter(error):
            return False
        keys, title = keyring.keys_of(self.spec), bytes.fromhex(self.spec.client_title)
        counter, _ = counter_of(self.spec.state, keys.encryption, title)
        return await self._read_counter(counter)

    async def _read_counter(self, counter: InvocationCounter, *, above: int = 1, first: bool = False) -> bool:
        """Read the meter's counter in the clear, over the public client, and go on above it.

        `first`: before anything else is asked; a meter that cannot be heard is not asked a second time then: raises
        NoReply or LinkDown.
        """
        now_ms = self._now_ms()
        if not self.spec.counter_object or (self._resynced_ms is not None and now_ms - self._resynced_ms < RESYNC_MS):
            return False
        self._resynced_ms = now_ms
        place = Attribute(Class.DATA, obis(self.spec.counter_object.replace("*", ".")), 2)
        channel = channel_of(self._wire, self.spec, self.seen, client=self.spec.counter_client)
        association = Association(Terms(max_pdu=self.spec.max_pdu, releases=self.spec.release))
        try:
            await channel.connect()
            while association.phase is not Phase.OPEN:
                association.feed((await channel.ask(association.request)).apdu)
            get = Get(association, [place])
            (result,) = get.feed((await channel.ask(get.request)).apdu) or (None,)
        except DriverError as error:
            await channel.drop()
            self._resynced_ms = now_ms - RESYNC_MS + UNREAD_MS
            if first and isinstance(error, NoReply | LinkDown) and not isinstance(error, Said):
                self._resynced_ms = None
                raise
            log.warning("the meter's invocation counter cannot be read", device=self._device, detail=str(error))
            return False
        with contextlib.suppress(DriverError):
            if request := association.release():
                association.feed((await channel.ask(request)).apdu)
            if self._wire.link.framing is not None:
                await channel.disconnect()
        await channel.drop()  # the next association begins on a fresh channel
        if not isinstance(result, Data) or not result.is_integer or not isinstance(result.value, int):
            return False
        raised = result.value >= 0 and counter.raise_to(result.value + above)
        if raised:
            log.warning("invocation counter raised to the meter's", device=self._device)
        return raised


def _is_unvouched(error: DriverError) -> bool:
    """Whether a header said it that no tag vouches for: it tells nothing of the meter, or of how to ask it."""
    return isinstance(error, NotSupported) and error.what in _OF_THE_HEADER


def _may_be_the_counter(error: DriverError) -> bool:
    """Whether a meter says this, or keeps silent so, when it has seen our number before."""
    if isinstance(error, ExceptionResponse | ServiceError | AssociationRefused | MeterHungUp):
        return True
    if isinstance(error, AssociationBusy | NotSupported | AccessRefused | Desync):
        return False
    return isinstance(error, NoReply | LinkDown) and bool(error.sent)
