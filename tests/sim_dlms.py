"""A simulated DLMS meter for tests, and the agent's own side of the conversation with it, whatever carries the APDUs.

The client is the driver's sans-io protocol, and everything it says passes the read-only gate: simulator and driver
share octets and frames, and neither association, services nor protection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from drivers.dlms.acse import Mechanism
from drivers.dlms.association import Association, Phase, Terms
from drivers.dlms.axdr import Data
from drivers.dlms.counters import HeardCounter, InvocationCounter, MemoryStore
from drivers.dlms.hdlc import Down, Hdlc, Up, Whole
from drivers.dlms.hdlc import Event as HdlcEvent
from drivers.dlms.hdlc import Phase as LinkPhase
from drivers.dlms.hdlc import Say as SayNext
from drivers.dlms.hdlc_frame import ServerAddress
from drivers.dlms.objects import CLOCK, Class, attribute, obis
from drivers.dlms.protection import Keys, Level, Protection, Wrap
from drivers.dlms.reading import Get
from drivers.dlms.wrapper import Wrapper
from drivers.dlms.xdlms import Attribute, Result
from drivers.gate_dlms import HdlcGate, WrapperGate
from simulator.clock import HandClock, Ms, to_ms
from simulator.device import Event, Nameplate, SimMeter
from simulator.dlms.meter import Answer, DlmsMeter
from simulator.dlms.plan import making
from simulator.dlms.registers import PROFILE
from simulator.dlms.station import DlmsStation
from simulator.dlms.tables import ClientTable, DlmsTable, LogTable
from simulator.faults import Fault, Faults
from simulator.shape import Curve, constant

START = datetime(2026, 3, 2, tzinfo=timezone(timedelta(hours=8)))
T0: Ms = to_ms(START)
HOUR_MS = 3_600_000
EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
CLIENT_TITLE, METER_TITLE = bytes.fromhex("4D4D4D0000000001"), bytes.fromhex("4D4D4D0000BC614E")
KEYS: dict[str, Any] = {"encryption_key": EK.hex(), "authentication_key": AK.hex()}
PASSWORD = b"12345678"

PLAIN = ClientTable(sap=1)
LLS = ClientTable(sap=2, auth="lls", password="12345678")
GMAC = ClientTable(sap=3, auth="gmac", protect="both", **KEYS)
PROOF = ClientTable(sap=4, auth="gmac", title=CLIENT_TITLE.hex(), **KEYS)
CLIENTS = [PLAIN, LLS, GMAC, PROOF]

REGISTERS = {
    "active_energy_import": 1_234_560.0, "active_energy_export": 10_000.0, "reactive_energy_import": 765_430.0,
    "reactive_energy_export": 10_000.0, "apparent_energy_import": 2_000_000.0,
}  # fmt: skip
TIME = attribute(Class.CLOCK, CLOCK, "time")
ENERGY = attribute(Class.REGISTER, obis("1-0:1.8.0.255"), "value")
BUFFER = attribute(Class.PROFILE_GENERIC, obis("1-0:99.1.0.255"), "buffer")
EVENTS = attribute(Class.PROFILE_GENERIC, obis("0-0:99.98.0.255"), "buffer")
TWELVE = [
    attribute(Class.REGISTER, obis(f"1-0:{c}.255"), "value")
    for c in (
        "1.8.0", "2.8.0", "3.8.0", "4.8.0", "9.8.0", "1.7.0", "16.7.0", "32.7.0", "52.7.0", "72.7.0", "31.7.0",
        "14.7.0",
    )
]  # fmt: skip


def sim_meter(
    *faults: Fault,
    clients: Sequence[ClientTable] = CLIENTS,
    logs: Sequence[LogTable] = (),
    events: Sequence[Event] = (),
    curve: Curve | None = None,
    clock: Any = None,
    state: Any = None,
    sap: int = 1,
    serial: str = "0000123456",
    clock_error_s: float = 0.0,
    **dlms: Any,
) -> DlmsMeter:
    """80 kW at a power factor of 0.8 behind CT 400/5: 1000 W on the meter's side; one day before T0 it had begun."""
    table = DlmsTable(**{"title": METER_TITLE.hex(), "counter": 1, **dlms})
    plan = making(
        table, list(clients), list(logs), start=START, instant=_instant, clock_error_s=clock_error_s, state=state
    )
    physics = SimMeter(
        PROFILE, curve or constant(80_000.0, 0.8, origin_ms=T0), Nameplate(serial, ct=80.0), start_ms=T0,
        registers=REGISTERS, events=events,
    )  # fmt: skip
    return plan.make("m1", sap, 4059, physics, Faults(faults), clock or HandClock(T0))


def _instant(at: datetime | float) -> Ms:
    return to_ms(at) if isinstance(at, datetime) else T0 + round(at * 1000)


Say = Callable[[bytes], bytes]
"""An APDU there, an APDU back."""


class Client:
    """The driver's side: one association over whatever carries it."""

    def __init__(
        self,
        say: Say,
        mechanism: Mechanism = Mechanism.NONE,
        *,
        level: Level | None = None,
        wrap: Wrap = Wrap.GLO,
        counter: InvocationCounter | None = None,
        heard: HeardCounter | None = None,
        meter_title: bytes = b"",
        password: bytes = b"",
        keys: Keys | None = None,
        **terms: Any,
    ) -> None:
        self.gate: WrapperGate | HdlcGate = say.gate if isinstance(say, HdlcSay) else WrapperGate()
        self.counter = counter or InvocationCounter(MemoryStore(1))
        self.protection = None
        if level is not None:
            self.protection = Protection(
                keys or Keys(EK, AK), CLIENT_TITLE, self.counter, witness=self.gate, heard=heard, level=level,
                wrap=wrap, meter_title=meter_title,
            )  # fmt: skip
        if mechanism is Mechanism.LLS:
            password = password or PASSWORD
        self.association = Association(Terms(mechanism=mechanism, password=password, **terms), self.protection)
        self._say = say
        self.said: list[bytes] = []

    def say(self, apdu: bytes) -> bytes:
        if isinstance(self.gate, WrapperGate):  # HDLC passes its frames through its own
            self.gate(b"\0\1\0\x10\0\1" + len(apdu).to_bytes(2, "big") + apdu)
        self.said.append(apdu)
        return self._say(apdu)

    def open(self) -> Client:
        while self.association.phase is not Phase.OPEN:
            self.association.feed(self.say(self.association.request))
        return self

    def read(self, *attributes: Attribute) -> Sequence[Result]:
        get = Get(self.association, attributes)
        while (results := get.feed(self.say(get.request))) is None:
            pass
        return results

    def value(self, wanted: Attribute) -> Data:
        (result,) = self.read(wanted)
        assert isinstance(result, Data), result
        return result

    def release(self) -> None:
        self.association.feed(self.say(self.association.release()))
        assert self.association.phase is Phase.CLOSED


class Channel:
    """A client's way to a meter in memory."""

    def __init__(self, meter: DlmsMeter, sap: int = 1) -> None:
        self.meter, self.sap = meter, sap
        self.now_s = 0.0
        self.answers: list[Answer] = []

    def __call__(self, apdu: bytes) -> bytes:
        answer = self.meter.answer(self.sap, apdu, self, self.now_s)
        self.answers.append(answer)
        return answer.apdu

    def close(self) -> None:
        self.meter.closed(self)


def connect(meter: DlmsMeter, kind: str = "none", *, wrap: Wrap = Wrap.GLO, **more: Any) -> Client:
    """The client that a name stands for, on a channel of its own; not yet associated."""
    match kind:
        case "public":
            return Client(Channel(meter, 16), **more)
        case "none":
            return Client(Channel(meter, 1), **more)
        case "lls":
            return Client(Channel(meter, 2), Mechanism.LLS, **more)
        case "proof":
            return Client(Channel(meter, 4), Mechanism.HLS_GMAC, level=Level.NONE, meter_title=METER_TITLE, **more)
    return Client(Channel(meter, 3), Mechanism.HLS_GMAC, level=Level.BOTH, wrap=wrap, **more)


def wrapped_say(send: Callable[[bytes], None], receive: Callable[[], bytes], client: int, sap: int) -> Say:
    """Over the TCP wrapper."""
    link = Wrapper(client, sap)

    def say(apdu: bytes) -> bytes:
        send(link.ask(apdu))
        while (answer := link.feed(receive())) is None:
            pass
        return answer

    return say


def local(utc_ms: Ms) -> str:
    return datetime.fromtimestamp(utc_ms / 1000, UTC).astimezone(START.tzinfo).strftime("%d %H:%M:%S")


class HdlcSay:
    """Over HDLC: `send` puts bytes on the line, `receive` takes what came; nothing is silence, and said so."""

    def __init__(
        self,
        send: Callable[[bytes], None],
        receive: Callable[[], bytes],
        client: int,
        address: ServerAddress,
        **settings: Any,
    ) -> None:
        self.link = Hdlc(client, address, **settings)
        self.gate = HdlcGate()
        self.frames = 0
        self._send, self._receive = send, receive

    def __call__(self, apdu: bytes) -> bytes:
        """The answer; connects first where there is no link. Raises what the link makes of silence."""
        if self.link.phase is LinkPhase.DOWN:
            self.connect()
        event = self._until(self.link.ask(apdu))
        assert isinstance(event, Whole)
        return event.apdu

    def connect(self) -> Up:
        event = self._until(self.link.connect())
        assert isinstance(event, Up)
        return event

    def disconnect(self) -> None:
        assert isinstance(self._until(self.link.disconnect()), Down)

    def again(self) -> bytes:
        """Say the last frame once more, and go on from there."""
        event = self._until(self.link.again())
        assert isinstance(event, Whole)
        return event.apdu

    def _until(self, frame: bytes) -> HdlcEvent:
        while True:
            self.gate(frame)
            self._send(frame)
            self.frames += 1
            while True:
                came = self._receive()
                if not came:
                    raise self.link.expired()
                if (event := self.link.feed(came)) is not None:
                    break
            if not isinstance(event, SayNext):
                return event
            frame = event.frame


def at_station(station: DlmsStation, client: int = 16, *, at_s: list[float] | None = None, **settings: Any) -> HdlcSay:
    """A line with nothing on it but this meter, and no time that passes but by hand."""
    now_s = [0.0] if at_s is None else at_s
    came: list[bytes] = []

    def send(frame: bytes) -> None:
        came.clear()
        came.extend(reply.data for reply in station.heard(frame, now_s[0]))

    plate = station.meter.holding.plate
    address = ServerAddress(plate.sap, station.physical, station.octets)
    return HdlcSay(send, lambda: came.pop(0) if came else b"", client, address, **settings)
