"""Simulated DLMS meters over HDLC: the link's own rules, and three protocols on one line, in memory and on a pty."""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from drivers.dlms.acse import Mechanism
from drivers.dlms.association import Phase
from drivers.dlms.axdr import Tag
from drivers.dlms.hdlc import Hdlc, Parameters, Say, Up, Whole
from drivers.dlms.hdlc_frame import FINAL, FrameReader, ServerAddress, encode
from drivers.dlms.objects import Class, attribute, obis
from drivers.dlms.protection import Keys, Level, Wrap
from drivers.dlms.reading import Get
from drivers.dlms.refused import LinkRefused, MeterHungUp, Said
from drivers.dlms.selection import by_entry
from edge_agent.ports import BadReply, DriverError, NoReply
from simulator.clock import HandClock, ScaledClock, boot_ms
from simulator.dlms.station import DlmsStation
from simulator.faults import Fault, FaultKind
from simulator.line.carrier import by_characters
from simulator.line.pty import PtyLine
from simulator.line.uart import Format
from simulator.line.virtual import LoopClock, run_virtual
from simulator.scenario import load_scenario, scenarios_dir
from tests.dlms_meter import frame
from tests.figures import report
from tests.lines import Desk, Ear, ask_rtu, dlt_parts, pdu_of, read_item, rtu_station
from tests.sim_dlms import (
    AK,
    BUFFER,
    CLIENTS,
    EK,
    ENERGY,
    METER_TITLE,
    T0,
    TIME,
    TWELVE,
    Client,
    HdlcSay,
    at_station,
    sim_meter,
)
from tests.test_line_scenarios import serial_port

WIDE = Parameters(512, 512, 1, 7)
WAYS = [
    ("none", Wrap.GLO), ("lls", Wrap.GLO), ("gmac", Wrap.GLO), ("gmac", Wrap.DED), ("gmac", Wrap.GENERAL_GLO),
]  # fmt: skip
ADDRESSES = [(None, 1), (17, 2), (17, 4), (2836, 4)]


def station(*faults: Fault, physical: int | None = None, octets: int = 1, **more: Any) -> DlmsStation:
    return DlmsStation("m1", sim_meter(*faults, **{"clock": HandClock(T0), **more}), physical, octets)


def over(say: HdlcSay, kind: str = "lls", wrap: Wrap = Wrap.GLO, **more: Any) -> Client:
    if kind == "gmac":
        return Client(say, Mechanism.HLS_GMAC, level=Level.BOTH, wrap=wrap, meter_title=METER_TITLE, **more)
    return Client(say, {"lls": Mechanism.LLS, "none": Mechanism.NONE}[kind])


SAPS = {"none": 1, "lls": 2, "gmac": 3}


@pytest.mark.parametrize(("physical", "octets"), ADDRESSES)
@pytest.mark.parametrize(("kind", "wrap"), WAYS)
@pytest.mark.parametrize("parameters", [None, Parameters(), WIDE, Parameters(64, 64)])
def test_a_day_of_profile_comes_in_segments_and_blocks(
    physical: int | None, octets: int, kind: str, wrap: Wrap, parameters: Parameters | None
):
    at = station(physical=physical, octets=octets, window=4, most_info=300)
    say = at_station(at, SAPS[kind], parameters=parameters)
    client = over(say, kind, wrap).open()
    assert len(client.value(BUFFER).items("buffer", Tag.ARRAY)) == 97
    assert len(client.read(*TWELVE)) == 12
    client.release()
    say.disconnect()
    assert not at.meter.open
    assert say.link.skipped == 0
    assert not at.meter.ledger.twice


def test_a_ua_says_what_was_agreed_on_or_nothing():
    at = station(most_info=200, window=3)
    assert at_station(at, parameters=Parameters(128, 180, 1, 2)).connect() == Up(Parameters(180, 128, 2, 1))
    assert at_station(at).connect() == Up(Parameters(128, 128, 1, 1))
    bare = station(most_info=200, quirks=["bare_ua"])
    assert at_station(bare, parameters=WIDE).connect() == Up(Parameters())


def test_what_is_said_to_a_link_that_is_not_up_is_answered_dm():
    say = at_station(station(), 1)
    assert isinstance(say, HdlcSay)
    say.connect()
    say.disconnect()
    say.disconnect()  # twice: UA, then DM; both mean that there is none
    at = station()
    heard = at.heard(encode(b"\x03", b"\x03", 0x10, b"\xe6\xe6\x00\xc0"), 1.0)
    assert heard[0].data == frame(0x1F, to=b"\x03")


def test_a_question_that_comes_twice_is_served_once():
    at = station()
    say = at_station(at, 3)
    client = over(say, "gmac").open()
    before = at.meter.counts.requests
    get = Get(client.association, (TIME,))
    first = say(get.request)
    assert at.meter.counts.requests == before + 1
    at_meter = FrameReader()
    at_meter.feed(at.heard(say.link.again(), 2.0)[0].data)
    repeated = at_meter.take()
    assert repeated is not None
    assert repeated.info == b"\xe6\xe7\x00" + first
    assert at.meter.counts.requests == before + 1
    assert not at.meter.ledger.twice


def test_a_segment_that_was_not_heard_is_said_again():
    at = station()
    say = at_station(at, 2)
    over(say).open()
    link = Hdlc(2, ServerAddress(1))  # by hand: the client's frames
    at.heard(link.connect(), 10.0)
    link.feed(at.heard(link.connect(), 10.0)[0].data)
    aarq = Client(lambda apdu: apdu, Mechanism.LLS).association.request
    assert isinstance(link.feed(at.heard(link.ask(aarq), 11.0)[0].data), Whole)
    lost = at.heard(
        link.ask(bytes.fromhex("C00141 0007 0100630100FF 02 01 02 0204 0600000001 0600000004 120001 120000")), 12.0
    )
    assert lost
    again = at.heard(encode(b"\x03", b"\x05", 1 << 5 | FINAL | 0x01), 13.0)  # RR: nothing of it was heard
    assert [reply.data for reply in again] == [reply.data for reply in lost]
    event = link.feed(again[0].data)
    while isinstance(event, Say):
        event = link.feed(b"".join(reply.data for reply in at.heard(event.frame, 14.0)))
    assert isinstance(event, Whole)
    assert event.apdu[:4] == bytes.fromhex("C4014100")


def test_a_link_that_says_nothing_for_too_long_is_gone():
    at = station(inactivity_s=60)
    now_s = [0.0]
    say = at_station(at, 2, at_s=now_s)
    client = over(say).open()
    now_s[0] = 61.0
    with pytest.raises(MeterHungUp):
        client.value(TIME)
    assert not at.meter.open


def test_frames_for_others_and_noise_meet_silence():
    at = station(physical=17, octets=2)
    snrm = Hdlc(16, ServerAddress(1, 17)).connect()
    for octets in (b"\x02\x25", b"\x04\x23", b"\x03", bytes.fromhex("00020023")):
        assert not at.heard(encode(octets, b"\x21", 0x93), 1.0)
    assert at.heard(b"\x7e\xa0\x55" + bytes(range(40)), 2.0) == []
    assert len(at.heard(snrm, 10.0)) == 1


SEEN: dict[FaultKind, type[DriverError] | None] = {
    FaultKind.SILENCE: NoReply,
    FaultKind.WRONG_CHECK: DriverError,
    FaultKind.CUT_FRAME: BadReply,
    FaultKind.WRONG_UNIT: NoReply,
    FaultKind.NOISE: None,
    FaultKind.SPLIT: None,
    FaultKind.LATE: None,
    FaultKind.HUNG_UP: MeterHungUp,
}
"""What the link makes of it; None: the right value. (In memory a late answer is not late.)"""


@pytest.mark.parametrize("kind", SEEN, ids=str)
@pytest.mark.parametrize("way", ["lls", "gmac"])
def test_a_fault_on_the_line(kind: FaultKind, way: str):
    at = station(Fault(kind, T0 + 1000, T0 + 2000), most_pdu=500)
    say = at_station(at, SAPS[way])
    client = over(say, way).open()
    right = client.value(ENERGY)
    assert isinstance(at.meter.clock, HandClock)
    at.meter.clock.now_ms = T0 + 1000
    expected = SEEN[kind]
    if expected is None:
        assert client.value(ENERGY) == right
    else:
        with pytest.raises(expected) as caught:
            client.value(ENERGY)
        assert not isinstance(caught.value, Said) or kind is FaultKind.HUNG_UP
    assert at.faults.all[0].struck >= 1
    at.meter.clock.now_ms = T0 + 2000
    if kind is FaultKind.HUNG_UP:
        say.link.lost()
        more: dict[str, Any] = {"counter": client.counter} if way == "gmac" else {}
        client = over(say, way, **more).open()
        assert client.value(ENERGY) == right
    elif expected is not None:
        # After silence the same frame again: the meter repeats the answer, which was served already.
        asked = at.meter.counts.requests
        assert say.again()
        assert at.meter.counts.requests == asked


def test_a_meter_that_will_not_connect_is_told_from_one_that_is_silent():
    at = station(Fault(FaultKind.SILENCE, T0, T0 + 1000))
    with pytest.raises(NoReply) as silent:
        at_station(at).connect()
    assert not isinstance(silent.value, LinkRefused)


# --- one line, three protocols -------------------------------------------------------------------------------------


class Over:
    """An association over a line in virtual time."""

    def __init__(self, ear: Ear, client: int, address: ServerAddress, **settings: Any) -> None:
        self.ear = ear
        self.link = Hdlc(client, address, **settings)

    async def up(self) -> Over:
        assert isinstance(await self._until(self.link.connect()), Up)
        return self

    async def say(self, apdu: bytes) -> bytes:
        event = await self._until(self.link.ask(apdu))
        assert isinstance(event, Whole)
        return event.apdu

    async def open(self, client: Client) -> Client:
        while client.association.phase is not Phase.OPEN:
            client.association.feed(await self.say(client.association.request))
        return client

    async def read(self, client: Client, *wanted: Any) -> Any:
        get = Get(client.association, wanted)
        while (results := get.feed(await self.say(get.request))) is None:
            pass
        return results

    async def _until(self, frame: bytes) -> Any:
        while True:
            self.ear.heard.clear()
            self.ear.carrier.write(frame)
            event = None
            for _ in range(200):
                self.ear.hears.clear()
                async with asyncio.timeout(2.0):
                    await self.ear.hears.wait()
                came, self.ear.heard[:] = self.ear.came, []
                if (event := self.link.feed(came)) is not None:
                    break
            await asyncio.sleep(0.005)
            if not isinstance(event, Say):
                return event
            frame = event.frame


def virtually(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtual(story())


def test_dlms_modbus_and_dlt645_share_a_line_and_nobody_is_disturbed():
    async def story() -> None:
        scenario = load_scenario(scenarios_dir() / "dlms-line.toml")
        loop = asyncio.get_running_loop()
        played = scenario.lines[0].play(loop, LoopClock(loop, scenario.start_ms))
        ear = Ear(played.carrier)
        tap = played.line.tap()
        await asyncio.sleep(36_000)  # 10:00, the peak
        one = await Over(ear, 1, ServerAddress(1, 17)).up()
        plain = await one.open(Client(bytes, Mechanism.LLS))
        two = await Over(ear, 1, ServerAddress(1, 2836), parameters=WIDE).up()
        keys = Keys(EK, AK)
        title = bytes.fromhex("53494D0000510002")
        ciphered = await two.open(Client(bytes, Mechanism.HLS_GMAC, level=Level.BOTH, keys=keys, meter_title=title))
        for _ in range(3):
            (power,) = await one.read(plain, attribute(Class.REGISTER, obis("1-0:1.7.0.255"), "value"))
            assert power.integer("") == 220_000 / 80
            (flags,) = await one.read(plain, attribute(Class.DATA, obis("0-0:96.1.1.255"), "value"))
            assert flags.octets("") == bytes.fromhex("7E7E7EA0077E7E7E")
            assert len(await two.read(ciphered, *TWELVE)) == 12
            energy = dlt_parts(await ear.ask(read_item("123456789012", "00010000")))
            assert energy[1] == 0x91
            assert len(pdu_of(await ear.ask(ask_rtu(1, "03 000A 0002")), 1)) == 6
        (day,) = await two.read(ciphered, BUFFER)
        assert len(day.items("buffer", Tag.ARRAY)) == 96 + 41
        assert played.line.counts.collisions == 0
        assert played.writes_seen == 0
        stations = {spoken.who for spoken in tap.spoken}
        assert stations == {"master", "dlms-1", "dlms-2", "modbus", "dlt645"}
        ledger = played.stations["dlms-2"].meter.ledger  # type: ignore[union-attr]
        assert not ledger.twice
        assert len(ledger.seen) >= 10

    virtually(story)


@pytest.mark.parametrize("pieces", [1, 7, 64])
def test_a_reply_in_pieces_is_the_same_reply(pieces: int):
    async def story() -> None:
        desk = Desk()
        meter = sim_meter(clock=desk.clock)
        desk.hang(DlmsStation("m1", meter, 17, 2), rtu_station(desk.line, 1))
        desk.ear.carrier.end.split = by_characters(pieces)
        over_line = await Over(desk.ear, 2, ServerAddress(1, 17)).up()
        client = await over_line.open(Client(bytes, Mechanism.LLS))
        (rows,) = await over_line.read(client, BUFFER._replace(selection=by_entry(1, 8)))
        assert len(rows.items("buffer", Tag.ARRAY)) == 8

    virtually(story)


def test_the_pace_is_the_wires():
    async def story() -> None:
        desk = Desk(Format(9600))
        meter = sim_meter(clock=desk.clock)
        desk.hang(DlmsStation("m1", meter, 17, 2))
        over_line = await Over(desk.ear, 2, ServerAddress(1, 17)).up()
        client = await over_line.open(Client(bytes, Mechanism.LLS))
        tap = desk.line.tap()
        began_s = desk.line.loop.time()
        await over_line.read(client, BUFFER)
        took_s = desk.line.loop.time() - began_s
        wire_s = sum(len(spoken.data) for spoken in tap.spoken) * 10 / 9600
        assert wire_s < took_s
        report("simulator-dlms-profile-9600", wire_s=round(wire_s, 2), took_s=round(took_s, 2))

    virtually(story)


def test_on_a_pty_beside_two_other_protocols():
    scenario = load_scenario(scenarios_dir() / "dlms-line.toml")
    clock = ScaledClock(scenario.start_ms, 1.0, boot_ms())
    with PtyLine(scenario.lines[0], clock) as line, serial_port(line.path) as port:

        def receive() -> bytes:
            return os.read(port.fd, 4096) if select.select([port.fd], [], [], 2.0)[0] else b""

        def send(data: bytes) -> None:
            os.write(port.fd, data)

        say = HdlcSay(send, receive, 1, ServerAddress(1, 2836), parameters=WIDE)
        title = bytes.fromhex("53494D0000510002")
        client = Client(say, Mechanism.HLS_GMAC, level=Level.BOTH, meter_title=title).open()
        assert len(client.read(*TWELVE)) == 12
        time.sleep(0.02)  # without a silence before it, a Modbus question is part of what was said before
        assert len(pdu_of(port.ask(ask_rtu(1, "03 000A 0002"), 9)[0], 1)) == 6
        assert dlt_parts(port.ask(read_item("123456789012", "00010000"), 24)[0])[1] == 0x91
        rows = client.value(BUFFER._replace(selection=by_entry(90, 97)))
        assert len(rows.items("buffer", Tag.ARRAY)) == 8
        client.release()
        say.disconnect()
        assert line.on_line(lambda: line.played.writes_seen) == 0


def test_every_client_of_these_tests_is_one_of_the_meters():
    assert set(SAPS.values()) <= {client.sap for client in CLIENTS}
