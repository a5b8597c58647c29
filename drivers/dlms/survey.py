"""Who is on a link, in DLMS/COSEM, and what a meter says that it has.

On a line the usual HDLC addresses are called with SNRM, one by one: whoever answers, with UA or with DM, says its own
address, so an answer that comes late is credited to who gave it. Over TCP a meter answers an AARQ or not at all. Then
the association is opened, for the public client that every meter should know or for that of a device of the site, and
the meter is asked who it is, who is beside it, and what it has (`inventory`).

It only reads: nothing leaves but through the gate, and before each question leave is asked for.

Source: IEC 62056-46 (addresses, SNRM and UA), IEC 62056-5-3 (AARQ of the public client).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from drivers.dlms import hdlc_frame
from drivers.dlms.channel import Wire
from drivers.dlms.hdlc_frame import FINAL, ServerAddress, client_octet
from drivers.dlms.inventory import MOST_METERS, Asking
from drivers.dlms.refused import LinkRefused
from drivers.dlms.session import Session
from drivers.link import Answer, Exchange, Link
from drivers.link.rollcall import called
from edge_agent.model import LINES, DeviceSpec, DlmsSpec, Frame, Profile
from edge_agent.ports import DriverError, LinkDown, NoReply, Refused
from edge_agent.sighting import DlmsCalls, Leave, Seen, Sighting

FRAMINGS = ((9600, "N"), (2400, "N"), (19200, "N"), (4800, "N"), (115200, "N"), (9600, "E"))
"""What meters come with: HDLC has eight bits and no parity (IEC 62056-46, 5)."""

LINKS = LINES | {"dlms-tcp"}
ON_REQUEST = LINES
"""Where such meters are looked for only if somebody asks for it: it takes a while."""

WAIT_S = 0.7
"""For the first octet of a UA."""

_USUAL_SERVERS = (1, 16)
"""Of one octet: the management logical device, and the first of the others (IEC 62056-46, 6.4.2.3)."""
_USUAL_PHYSICALS = (16, 17, 18, 1)
_MOST = {1: 0x7D, 2: 0x7D, 4: 0x3FFD}
"""By octets of an address: above are those of all stations, and of one that calls."""

_LIST_OCTETS = 40_000
_LIST_FRAMES = 400
_FRAME_S = 0.25
_LISTS = 4
"""So many lists of that size, in so many frames, are reckoned with."""

_NO_PROFILE = Profile("scan", "dlms", "", "", "secondary", 1, ())


class Place(NamedTuple):
    """An address: a logical device, on a line of a physical one in 2 or 4 octets, or alone in 1; over TCP a wPort."""

    server: int
    physical: int | None = None
    size: int = 1

    def __str__(self) -> str:
        if self.physical is None:
            return f"{self.server}"
        return f"{self.server}/{self.physical}" + ("/4" if self.size == 4 else "")

    def to_octets(self) -> bytes:
        return ServerAddress(self.server, self.physical, self.size).to_octets()


def place_of(address: str) -> Place:
    """From its written form. Raises ValueError."""
    parts = [int(part) for part in address.split("/")]
    if not 1 <= len(parts) <= 3 or (len(parts) == 3 and parts[2] not in {2, 4}):
        raise ValueError(f"{address!r} is not like 1, 1/17 or 1/2836/4")
    if len(parts) == 1:
        return Place(parts[0])
    return Place(parts[0], parts[1], parts[2] if len(parts) == 3 else 4 if max(parts) > 0x7F else 2)


def places(calls: DlmsCalls, *, on_line: bool, thorough: bool = False) -> list[Place]:
    """The addresses that are called, the likeliest first."""
    if not on_line:
        return [Place(server) for server in calls.servers or _USUAL_SERVERS]
    physicals = calls.physicals
    if not physicals and not calls.servers:
        physicals = _USUAL_PHYSICALS
        if thorough:
            physicals = tuple(dict.fromkeys((*physicals, *range(1, _MOST[2] + 1))))
    servers = calls.servers or _USUAL_SERVERS
    alone = [Place(s) for s in servers if s <= _MOST[1]] if not calls.physicals else []
    within = calls.servers or (1,)
    both = [
        Place(server, physical, size)
        for physical in physicals
        for server in within
        for size in (2, 4)
        if max(server, physical) <= _MOST[size]
    ]
    return list(dict.fromkeys((*alone, *both)))


class _WatchedWire(Wire):
    """A wire on which each question waits for leave."""

    leave: Leave
    hushed = False
    """Nothing more is to be said: leave was not given."""

    async def converse(self, exchange: Exchange, timeout_s: float, *, secret: bool) -> Answer:
        try:
            await self.leave(False)
        except BaseException:
            self.hushed = True
            raise
        return await super().converse(exchange, timeout_s, secret=secret)


class Seeker:
    """Calls the meters of one link. Units are another protocol's."""

    def __init__(self, link: Link, calls: DlmsCalls | None = None, wait_s: float | None = None) -> None:
        self.link = link
        self._calls = calls or DlmsCalls()
        self._wait_s = wait_s or WAIT_S
        self._wire = _WatchedWire(link, 2.0)
        self._on_line = link.framing is not None
        self._called: set[Place] = set()
        self._seen: dict[Place, Sighting] = {}
        self._told: dict[Place, Sighting] = {}
        self._names: dict[str, Place] = {}

    async def glance(self, units: Sequence[int], leave: Leave) -> AsyncIterator[Sighting]:
        """Every address but those of a thorough look."""
        for place in self._places():
            async for sighting in self._call(place, leave):
                yield sighting

    async def look(self, units: Sequence[int], leave: Leave, *, thorough: bool = False) -> AsyncIterator[Sighting]:
        """The other addresses; then everybody who was found is asked what he is, and what he has."""
        for place in self._places(thorough=thorough):
            if place not in self._called:
                async for sighting in self._call(place, leave):
                    yield sighting
        while waiting := [p for p, s in self._seen.items() if p not in self._told and s.seen is Seen.DEVICE]:
            place = waiting[0]
            sighting, beside = await self._described(place, leave)
            self._told[place] = sighting
            yield sighting
            for other in beside:
                if other not in self._called and len(self._told) < MOST_METERS:
                    async for found in self._call(other, leave):
                        yield found

    async def describe(self, address: str, leave: Leave) -> Sighting | None:
        place = place_of(address)
        if self._on_line and self._calls.device is None:
            async for _ in self._call(place, leave):
                pass
            if place not in self._seen:
                return None
        sighting, _ = await self._described(place, leave)
        return None if place not in self._seen and _is_silence(sighting.refusal) else sighting

    def glance_s(self, units: Sequence[int]) -> float:
        return len(self._places()) * self._question_s

    def look_s(self, units: Sequence[int], *, thorough: bool = False) -> float:
        return len(self._places(thorough=thorough)) * self._question_s + _LISTS * self._list_s

    def usual_s(self, units: Sequence[int]) -> float:
        return len(self._places()) * self._question_s + self._list_s / 5

    @property
    def _question_s(self) -> float:
        framing = self.link.framing
        return self._wire.timeout_s if framing is None else self._wait_s + 12 * framing.char_s + framing.silence_s

    @property
    def _list_s(self) -> float:
        return _LIST_OCTETS * self.link.char_s + _LIST_FRAMES * (_FRAME_S if self._on_line else _FRAME_S / 5)

    # -- calling -------------------------------------------------------------------------------------------------

    def _places(self, *, thorough: bool = False) -> list[Place]:
        device = self._calls.device
        if device is None:
            return places(self._calls, on_line=self._on_line, thorough=thorough)
        spec = device.dlms or DlmsSpec()
        return [Place(spec.server, spec.physical, spec.address_size)]

    async def _call(self, place: Place, leave: Leave) -> AsyncIterator[Sighting]:
        self._called.add(place)
        if self._calls.device is not None or not self._on_line:
            # A meter of the site is taken to be there; over TCP, only opening an association tells.
            found = await self._opened(place, leave)
        else:
            found = await self._snrm(place, leave)
        for at, sighting in found:
            if at not in self._seen:
                self._seen[at] = sighting
                yield sighting

    async def _snrm(self, place: Place, leave: Leave) -> list[tuple[Place, Sighting]]:
        """Whoever answers the wish to connect; called again where octets came that were no frame."""
        request = hdlc_frame.encode(place.to_octets(), self._client, hdlc_frame.SNRM | FINAL)
        stray = b""
        for again in (False, True):
            await leave(again)
            received, waited_s = await called(self._wire.voice, request, self._wait_s)
            frames, stray = _answers(received, request, self._client)
            found: list[tuple[Place, Sighting]] = []
            for frame in frames:
                at = _source(frame.source)
                if at is None or frame.kind not in {hdlc_frame.UA, hdlc_frame.DM}:
                    continue
                error = None
                if frame.kind == hdlc_frame.DM:
                    error = LinkRefused("the meter answers SNRM with DM: it will not connect")
                late = "" if at == place else "answered late"
                raw = Frame(request, frame.raw, self.link.now_ms())
                found.append((at, Sighting("dlms", str(at), Seen.DEVICE, late, (), waited_s, raw, error)))
                if frame.kind == hdlc_frame.UA:
                    await self._hang_up(frame.source, leave)
            if found or not stray:
                return found
        await leave(True)
        what = "octets came each time, and no HDLC frame among them"
        return [(place, Sighting("dlms", str(place), Seen.GARBLED, what))]

    async def _hang_up(self, server: bytes, leave: Leave) -> None:
        await leave(False)
        await called(
            self._wire.voice, hdlc_frame.encode(server, self._client, hdlc_frame.DISC | FINAL), self._wait_s / 2
        )

    async def _opened(self, place: Place, leave: Leave) -> list[tuple[Place, Sighting]]:
        sighting, _ = await self._described(place, leave, briefly=True)
        return [] if _is_silence(sighting.refusal) else [(place, sighting)]

    @property
    def _client(self) -> bytes:
        return client_octet(self._calls.client)

    # -- asking --------------------------------------------------------------------------------------------------

    async def _described(
        self, place: Place, leave: Leave, *, briefly: bool = False
    ) -> tuple[Sighting, Iterable[Place]]:
        """What the meter says about itself, and who else can be reached there. `briefly`: whether it lets us in."""
        self._wire.leave, self._wire.hushed = leave, False
        device = self._calls.device or self._device(place)
        known = self._seen.get(place)
        about = known or Sighting("dlms", str(place), Seen.DEVICE)
        session = Session(self._wire, device, self.link.now_ms)
        try:
            error = await self._open(session)
            if error is not None or briefly:
                refused = isinstance(error, DriverError) and not isinstance(error, Refused | NoReply)
                seen = Seen.UNSUPPORTED if refused and known is None else Seen.DEVICE
                return about._replace(seen=seen, refusal=error), ()
            asking = Asking(session, device, self.link.now_ms)
            texts, saps = await asking.identity()
            name = dict(texts).get("name", "")
            if name and self._names.setdefault(name, place) != place:
                what = f"the same meter as {self._names[name]}"
                return about._replace(seen=Seen.ALIAS, detail=what, texts=texts, refusal=None), ()
            inventory = await asking.inventory()
            return about._replace(texts=texts, inventory=inventory, refusal=asking.failed), self._beside(place, saps)
        finally:
            if not self._wire.hushed:
                with suppress(DriverError):
                    await session.release()

    def _beside(self, place: Place, saps: Sequence[int]) -> list[Place]:
        """The other logical devices, where their numbers fit the address."""
        most = _MOST[place.size] if self._on_line else 0xFFFF
        return [place._replace(server=sap) for sap in saps if sap != place.server and sap <= most]

    async def _open(self, session: Session) -> DriverError | None:
        """Once more where a meter kept silent: one without a data link may not know what DISC is."""
        error: DriverError | None = None
        for _ in range(2 if self._on_line else 1):
            try:
                await session.open()
            except LinkDown as down:
                if self._on_line or not down.sent:
                    raise
                return down
            except NoReply as silence:
                error = silence
                if silence.code:
                    return error
            except DriverError as refusal:
                return refusal
            else:
                return None
        return error

    def _device(self, place: Place) -> DeviceSpec:
        spec = DlmsSpec(
            client=self._calls.client, server=place.server, physical=place.physical, address_size=place.size,
            counter_object="", inactivity_s=120.0, with_list_max=1,
        )  # fmt: skip
        return DeviceSpec("scan", self.link.name, 0, _NO_PROFILE, dlms=spec)


def _is_silence(error: DriverError | None) -> bool:
    """Whether not one octet came."""
    return isinstance(error, NoReply) and not error.received and not error.code


def _answers(received: bytes, request: bytes, client: bytes) -> tuple[list[hdlc_frame.Frame], bytes]:
    """The frames for us in what came, and what was no frame at all; our own echo is neither."""
    reader = hdlc_frame.FrameReader()
    reader.feed(received.replace(request, b"", 1))
    frames: list[hdlc_frame.Frame] = []
    while (frame := reader.take()) is not None:
        if frame.destination == client:
            frames.append(frame)
    stray = bytes(reader.noise).strip(b"\x7e") + bytes(reader.pending)
    return frames, stray


def _source(address: bytes) -> Place | None:
    match len(address):
        case 1:
            return Place(address[0] >> 1)
        case 2:
            return Place(address[0] >> 1, address[1] >> 1, 2)
        case 4:
            server, physical = (address[n] >> 1 << 7 | address[n + 1] >> 1 for n in (0, 2))
            return Place(server, physical, 4)
    return None
