"""The driver's side of a DLMS conversation in tests: whatever it says passes the gate on its way to the meter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from drivers.dlms.acse import Mechanism
from drivers.dlms.association import Association, Phase, Terms
from drivers.dlms.counters import HeardCounter, InvocationCounter, MemoryStore
from drivers.dlms.objects import CLOCK, Class, attribute, obis
from drivers.dlms.protection import Keys, Level, Protection, Wrap
from drivers.dlms.reading import Get
from drivers.dlms.xdlms import Attribute, Result
from drivers.gate_dlms import WrapperGate
from tests.dlms_meter import AK, CLIENT_TITLE, EK, Meter

KEYS = Keys(EK, AK)
TIME = attribute(Class.CLOCK, CLOCK, "time")
ENERGIES = [attribute(Class.REGISTER, obis(f"1-0:1.8.{n}.255"), "value") for n in range(12)]


@dataclass
class Client:
    """One association with a meter."""

    meter: Meter
    association: Association
    gate: WrapperGate
    protection: Protection | None = None

    def say(self, apdu: bytes) -> bytes:
        self.gate(b"\0\1\0\x10\0\1" + len(apdu).to_bytes(2, "big") + apdu)
        return self.meter.answer(apdu)

    def open(self) -> Client:
        while self.association.phase is not Phase.OPEN:
            self.association.feed(self.say(self.association.request))
        return self

    def read(self, *attributes: Attribute) -> Sequence[Result]:
        get = Get(self.association, attributes)
        while (results := get.feed(self.say(get.request))) is None:
            pass
        return results

    def release(self) -> None:
        if request := self.association.release():
            self.association.feed(self.say(request))


def client(
    meter: Meter,
    mechanism: Mechanism = Mechanism.NONE,
    *,
    level: Level | None = None,
    wrap: Wrap = Wrap.GLO,
    counter: InvocationCounter | None = None,
    heard: HeardCounter | None = None,
    meter_title: bytes = b"",
    own_title_sent: bool = True,
    **terms: Any,
) -> Client:
    """`level` None: without keys; NONE: keys for the proof alone."""
    gate = WrapperGate()
    protection = None
    if level is not None:
        protection = Protection(
            KEYS, CLIENT_TITLE, counter or InvocationCounter(MemoryStore()), witness=gate, heard=heard, level=level,
            wrap=wrap, meter_title=meter_title, own_title_sent=own_title_sent,
        )  # fmt: skip
        meter.ciphers, meter.control = level is not Level.NONE, level or 0
        meter.general = wrap in {Wrap.GENERAL_GLO, Wrap.GENERAL_DED}
        meter.dedicated = wrap.is_dedicated
    if mechanism is Mechanism.HLS_GMAC:
        meter.stoc = meter.stoc or b"P6wRJ21F"
    password = b"12345678" if mechanism is Mechanism.LLS else b""
    association = Association(Terms(mechanism=mechanism, password=password, **terms), protection)
    return Client(meter, association, gate, protection)
