"""Whole conversations over HDLC: data link, association, protection, reading and gate together, with frames lost."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from drivers.dlms.acse import Mechanism
from drivers.dlms.association import Association, Phase, Terms
from drivers.dlms.axdr import decode
from drivers.dlms.counters import InvocationCounter, MemoryStore
from drivers.dlms.hdlc import Down, Event, Hdlc, Parameters, Say, Up, Whole
from drivers.dlms.hdlc_frame import ServerAddress
from drivers.dlms.protection import Level, Protection, Wrap
from drivers.dlms.reading import Get
from drivers.dlms.xdlms import Attribute, Result
from drivers.gate_dlms import HdlcGate
from tests.dlms_client import ENERGIES, KEYS, TIME
from tests.dlms_hdlc_meter import HdlcMeter
from tests.dlms_meter import CLIENT_TITLE, CLOCK_VALUE, Meter
from tests.test_dlms_association import DAY, ENERGY, PROFILE, VALUES


@dataclass
class Line:
    """A client and a meter on a line that loses and damages frames; every frame of the client passes its gate."""

    meter: HdlcMeter
    link: Hdlc
    gate: HdlcGate = field(default_factory=HdlcGate)
    bad: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    lost: int = 0

    def converse(self, frame: bytes) -> Event:
        for _ in range(200):
            self.gate(frame)
            came = b"" if self._loses() else self.meter.answer(frame)
            if came and self._loses():
                came = came[: self.chance.randrange(len(came))]
            elif came and self._loses():
                damaged = bytearray(came)
                damaged[self.chance.randrange(len(came))] ^= 1 << self.chance.randrange(8)
                came = bytes(damaged)
            event = None
            for n in range(0, len(came), 17):
                event = self.link.feed(came[n : n + 17]) or event
            if event is None:
                self.link.expired()
                frame = self.link.again()
            elif isinstance(event, Say):
                frame = event.frame
            else:
                return event
        raise AssertionError("it never ends")

    def _loses(self) -> bool:
        lost = self.chance.random() < self.bad
        self.lost += lost
        return lost

    def ask(self, apdu: bytes) -> bytes:
        event = self.converse(self.link.ask(apdu))
        assert isinstance(event, Whole)
        return event.apdu

    def read(self, association: Association, *attributes: Attribute) -> tuple[Result, ...]:
        get = Get(association, attributes)
        while (results := get.feed(self.ask(get.request))) is None:
            pass
        return results


def whole_conversation(line: Line, level: Level | None, wrap: Wrap = Wrap.GLO) -> None:
    meter = line.meter.meter
    protection = None
    if level is not None:
        counter = InvocationCounter(MemoryStore())
        protection = Protection(KEYS, CLIENT_TITLE, counter, witness=line.gate, level=level, wrap=wrap)
        meter.ciphers, meter.control, meter.stoc = True, level, b"P6wRJ21F"
        meter.general = wrap in {Wrap.GENERAL_GLO, Wrap.GENERAL_DED}
        meter.dedicated = wrap.is_dedicated
    mechanism = Mechanism.NONE if level is None else Mechanism.HLS_GMAC
    association = Association(Terms(mechanism=mechanism), protection)
    assert isinstance(line.converse(line.link.connect()), Up)
    while association.phase is not Phase.OPEN:
        association.feed(line.ask(association.request))
    assert line.read(association, TIME) == (decode(CLOCK_VALUE),)
    assert line.read(association, *ENERGIES, TIME) == tuple(decode(v) for v in (*ENERGY.values(), CLOCK_VALUE))
    assert line.read(association, PROFILE) == (decode(DAY),)
    association.feed(line.ask(association.release()))
    assert isinstance(line.converse(line.link.disconnect()), Down)
    assert len(set(meter.counters)) == len(meter.counters)  # whatever was said again, no counter came twice


@pytest.mark.parametrize("level", [None, Level.BOTH])
@pytest.mark.parametrize("window", [1, 3, 7])
@pytest.mark.parametrize(("sends", "takes"), [(64, 64), (128, 128), (1500, 40)])
def test_a_whole_conversation_in_segments_both_ways(level, window, sends, takes):
    line = Line(
        HdlcMeter(Meter(dict(VALUES), block=400), info=sends, takes=takes, window=window),
        Hdlc(16, ServerAddress(1), parameters=Parameters(128, 1500, 1, 7)),
    )
    whole_conversation(line, level)
    segmented = [frame for frame in line.meter.heard if frame[1] & 8]
    assert segmented  # the list of thirteen is longer than a frame
    assert max(len(frame) for frame in line.meter.heard) <= takes + 11


@pytest.mark.parametrize("wrap", Wrap)
def test_each_way_of_ciphering_over_a_four_octet_address(wrap):
    address = ServerAddress(1, 2836)
    line = Line(HdlcMeter(Meter(dict(VALUES), block=90), own=address.to_octets()), Hdlc(16, address))
    whole_conversation(line, Level.BOTH, wrap)


@pytest.mark.parametrize("seed", range(20))
def test_a_line_that_loses_cuts_and_damages_frames_costs_time_and_nothing_else(seed):
    line = Line(
        HdlcMeter(Meter(dict(VALUES), block=300), info=100, window=1 + seed % 3),
        Hdlc(16, ServerAddress(1)),
        bad=0.2,
        chance=random.Random(seed),
    )
    whole_conversation(line, Level.BOTH if seed % 2 else None)
    assert line.lost > 3
