"""Listen before you speak: another master is recognised by what it says, and has the line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import structlog
from hypothesis import event, given
from hypothesis import strategies as st

from drivers.link import CarrierLink, Framing, MemoryLink
from drivers.link.listening import LINGER_S, Heard, Overhearing, listen
from edge_agent.fieldbus import LISTEN_S, SETTLEMENT_LISTEN_S, FieldLine, listening_s
from edge_agent.holding import FRESH_MS, AskedStamp
from edge_agent.model import Gap, LinkSpec, Outcome, Quantity, Reading, Register
from edge_agent.poller import LinkState, Poller
from edge_agent.ports import LinkDown
from tests.on_698 import framed
from tests.rtu_line import LoopClock, RtuLine, bus, rtu, unit, virtually

READ = rtu(3, bytes.fromhex("03 0000 0002"))
ANSWER = rtu(3, bytes.fromhex("03 04 00000001"))
DLT_READ = bytes.fromhex("68129078563412681104333334336816")
DLT_ANSWER = bytes.fromhex("68129078563412689108 33333433AB896745CC16".replace(" ", ""))
OBJECT_READ = bytes.fromhex("68 1700 43 05 070919051620 00 1560 0501014001020000 C607 16")
OBJECT_ANSWER = framed("201605190907", bytes.fromhex("85 01 01 40010200 01 09 06 123456789012 0000"))
SNRM = bytes.fromhex("7EA0070321930F017E")
AARQ = bytes.fromhex("7EA02B032110FBAFE6E600601DA109060760857405080101BE10040E01000000065F1F0400007E1F04B0CAEA7E")
"""Frames worked by hand: client 16 (0x21) to server 1 (0x03); a meter's address is sent lowest byte first."""


def heard(*pieces: bytes, apart_s: float = 0.05) -> Heard:
    overhearing = Overhearing(Framing())
    for n, piece in enumerate(pieces):
        overhearing.hear(piece, n * apart_s)
    return overhearing.heard()


@pytest.mark.parametrize(
    ("data", "masters", "protocols"),
    [
        (READ, ("a Modbus RTU master that asks unit 3",), ("Modbus RTU",)),
        (rtu(7, bytes.fromhex("01 0013 0013")), ("a Modbus RTU master that asks unit 7",), ("Modbus RTU",)),
        (rtu(7, bytes.fromhex("10 0001 0002 04 000A0102")), ("a Modbus RTU master that asks unit 7",), ("Modbus RTU",)),
        (rtu(7, bytes.fromhex("0F 0013 000A 02 CD01")), ("a Modbus RTU master that asks unit 7",), ("Modbus RTU",)),
        (rtu(7, bytes.fromhex("06 0001 0003")) * 2, ("a Modbus RTU master that asks unit 7",), ("Modbus RTU",)),
        (READ + ANSWER + rtu(4, READ[1:-2]), ("a Modbus RTU master that asks units 3, 4",), ("Modbus RTU",)),
        (b"\xfe" * 4 + DLT_READ, ("a DL/T 645 master that asks meter 123456789012",), ("DL/T 645",)),
        (DLT_READ + DLT_ANSWER, ("a DL/T 645 master that asks meter 123456789012",), ("DL/T 645",)),
        (b"\xfe" * 4 + OBJECT_READ, ("a DL/T 698.45 master that asks meter 201605190907",), ("DL/T 698.45",)),
        (OBJECT_READ + OBJECT_ANSWER, ("a DL/T 698.45 master that asks meter 201605190907",), ("DL/T 698.45",)),
        (
            framed("201605190907", OBJECT_READ[14:-3], control=0x43, client=16),
            ("a DL/T 698.45 master 16 that asks meter 201605190907",),
            ("DL/T 698.45",),
        ),
        (
            framed("201605190907", bytes(900), control=0x43),
            ("a DL/T 698.45 master that asks meter 201605190907",),
            ("DL/T 698.45",),
        ),
        (OBJECT_ANSWER * 3, ("an unheard DL/T 698.45 master whom meter 201605190907 answers",), ("DL/T 698.45",)),
        (
            OBJECT_READ + DLT_READ,
            (
                "a DL/T 698.45 master that asks meter 201605190907",
                "a DL/T 645 master that asks meter 123456789012",
            ),
            ("DL/T 645", "DL/T 698.45"),
        ),
        (OBJECT_READ[:-3] + b"\x00" + OBJECT_READ[-2:], (), ()),
        (SNRM, ("a DLMS HDLC master 16 that asks server 1",), ("DLMS HDLC",)),
        (AARQ, ("a DLMS HDLC master 16 that asks server 1",), ("DLMS HDLC",)),
        (
            SNRM + READ + DLT_READ,
            (
                "a DLMS HDLC master 16 that asks server 1",
                "a Modbus RTU master that asks unit 3",
                "a DL/T 645 master that asks meter 123456789012",
            ),
            ("DL/T 645", "DLMS HDLC", "Modbus RTU"),
        ),
        (ANSWER * 3, ("an unheard Modbus RTU master whom unit 3 answers",), ("Modbus RTU",)),
        (ANSWER, (), ("Modbus RTU",)),
        (rtu(7, bytes.fromhex("06 0001 0003")), (), ()),
        (b"", (), ()),
        (READ[:-1], (), ()),
        (DLT_READ[:-2] + b"\x69\x16", (), ()),
        (SNRM[:6] + b"\x0e" + SNRM[7:], (), ()),
    ],
)
@pytest.mark.parametrize("piece", [1, 5, 1000])
@pytest.mark.parametrize("noise", [b"", b"\x00\x03\x68\x7e\xa0", b"\x01\x03\x04"], ids=["clean", "noise", "begun"])
def test_who_asks_is_recognised_wherever_the_frame_begins(data, masters, protocols, piece, noise):
    whole = noise + data
    got = heard(*(whole[at : at + piece] for at in range(0, len(whole), piece)), apart_s=0.001)
    assert got.masters == masters
    assert got.protocols == protocols
    assert all(frame.data in whole for frame in got.frames)


@pytest.mark.parametrize(
    "frame", [READ, DLT_READ, OBJECT_READ, SNRM], ids=["Modbus RTU", "DL/T 645", "DL/T 698.45", "DLMS HDLC"]
)
def test_no_flipped_bit_passes_for_a_master(frame):
    """But in the HDLC frame's closing flag, which its header does not cover, and in DL/T 645's sum, which is a sum."""
    covered = frame[:-1] if frame is SNRM else frame
    for bit in range(8 * len(covered)):
        flipped = bytearray(frame)
        flipped[bit // 8] ^= 0x80 >> bit % 8
        assert heard(bytes(flipped)).masters == ()


def test_an_hour_of_noise_is_nobody():
    chance = Random(5)
    overhearing = Overhearing(Framing())
    for n in range(20_000):
        overhearing.hear(chance.randbytes(chance.randint(1, 40)), n * 0.2)
    got = overhearing.heard()
    assert got.masters == ()
    assert got.stray > 300_000


@given(st.lists(st.binary(max_size=60), max_size=20), st.floats(0, 1))
def test_whatever_is_said_is_survived_and_counted(pieces, apart_s):
    got = heard(*pieces, apart_s=apart_s)
    event("frames" if got.frames else "none")
    assert got.stray + sum(len(f.data) for f in got.frames) <= sum(map(len, pieces))


def test_our_own_echo_is_not_another_master_and_the_same_question_of_another_is():
    overhearing = Overhearing(Framing())
    overhearing.said(READ, 1.0)
    overhearing.hear(READ, 1.1)
    overhearing.at_rest(1.5)
    assert overhearing.masters() == ()
    overhearing.hear(READ, 60.0)
    overhearing.at_rest(60.5)
    assert overhearing.masters() == ("a Modbus RTU master that asks unit 3",)


# --- listening on a link


def listened(seconds: float, *said: tuple[float, bytes]) -> tuple[Heard, float, list[float]]:
    async def story() -> tuple[Heard, float, list[float]]:
        line = RtuLine(lambda q: [])
        link = CarrierLink(line, bus(), now_ms=LoopClock().now_ms)
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        for at_s, data in said:
            loop.call_later(at_s, line.say, data)
        left: list[float] = []
        got = await listen(link, seconds, left.append)
        assert line.asked == []
        return got, loop.time() - started_s, left

    return virtually(story())


def test_a_silent_line_is_listened_to_for_the_whole_time():
    got, took_s, left = listened(960)
    assert got == Heard((), (), (), 0)
    assert took_s == pytest.approx(960)
    assert len(left) == 960
    assert left[0] == 960


def test_a_terminal_that_asks_every_fifteen_minutes_is_heard_and_names_all_that_it_asks():
    got, took_s, _ = listened(960, (899.0, READ), (899.5, ANSWER), (900.0, rtu(4, READ[1:-2])))
    assert got.masters == ("a Modbus RTU master that asks units 3, 4",)
    assert 899 + LINGER_S < took_s < 899 + LINGER_S + 3


def test_a_link_that_ends_while_listening_is_down():
    async def story() -> None:
        line = RtuLine(lambda q: [])
        link = CarrierLink(line, bus(), now_ms=LoopClock().now_ms)
        asyncio.get_running_loop().call_later(5, line.cut)
        with pytest.raises(LinkDown, match="unplugged"):
            await listen(link, 60)
        with pytest.raises(ValueError, match="no line"):
            await listen(MemoryLink(lambda raw: None), 60)

    virtually(story())


# --- how long, and when not


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        (bus(), LISTEN_S),
        (bus(settlement=True), SETTLEMENT_LISTEN_S),
        (bus(listen_s=5.0), LISTEN_S),
        (bus(listen_s=5.0, shared_line=True), 5.0),
        (bus(listen_s=0.0, shared_line=True, settlement=True), 0.0),
        (bus(listen_s=1800.0, settlement=True), 1800.0),
        (bus(shared_line=True), LISTEN_S),
    ],
)
def test_how_long_a_line_is_listened_to(spec, seconds):
    assert listening_s(spec) == seconds
    assert (LISTEN_S, SETTLEMENT_LISTEN_S) == (60, 960)


def test_a_stamp_is_fresh_for_ten_minutes_and_only_in_its_own_boot(tmp_path: Path):
    now = [1_000_000]
    stamp = AskedStamp(tmp_path / "run", "bus", lambda: now[0], boot="b1")
    assert not stamp.is_fresh()
    stamp.mark()
    now[0] += FRESH_MS - 1
    again = AskedStamp(tmp_path / "run", "bus", lambda: now[0], boot="b1")
    assert again.is_fresh()
    assert not AskedStamp(tmp_path / "run", "bus", lambda: now[0], boot="b2").is_fresh()
    assert not AskedStamp(tmp_path / "run", "other", lambda: now[0], boot="b1").is_fresh()
    assert not AskedStamp(tmp_path / "run", "bus", lambda: now[0], boot="").is_fresh()
    now[0] += 1
    assert not again.is_fresh()
    again.mark()
    assert again.is_fresh()
    now[0] -= 5_000_000  # the clock of another boot with the same name
    assert not again.is_fresh()
    again.forget()
    (tmp_path / "run/link-bus.asked").write_text("b1 not-a-number")
    assert not again.is_fresh()


def test_a_runtime_folder_that_cannot_be_used_costs_nothing_but_listening(tmp_path: Path):
    (tmp_path / "run").write_text("a file")
    stamp = AskedStamp(tmp_path / "run", "bus", lambda: 5, boot="b1")
    stamp.mark()
    stamp.forget()
    assert not stamp.is_fresh()
    assert AskedStamp(tmp_path, "bus", lambda: 5)._boot  # this machine's own


def test_a_stamp_is_written_at_most_twice_a_minute(tmp_path: Path):
    now = [0]
    stamp = AskedStamp(tmp_path, "bus", lambda: now[0], boot="b1")
    written = set()
    for now[0] in range(0, 600_000, 500):
        stamp.mark()
        written.add((tmp_path / "link-bus.asked").read_text())
    assert len(written) == 20


# --- the poller gives way

E32 = Register(Quantity.ACTIVE_ENERGY_IMPORT, "input:0", "u32", "Wh", every_s=15)
U16 = Register(Quantity.VOLTAGE_L1, "input:4", "u16", "V", 0.1, every_s=15)


class Watch:
    """A poller on a line in memory, and what became of it."""

    def __init__(self, spec: LinkSpec, stamp: AskedStamp | None = None) -> None:
        self.line = RtuLine(lambda q: [(q.numbered(), 0.03)])
        clock = LoopClock()
        link = CarrierLink(self.line, spec, now_ms=clock.now_ms)
        self.field = FieldLine(spec, link, [unit(1, E32, U16)], clock.now_ms)
        self.field.stamp = stamp
        self.outcomes: list[Outcome] = []
        self.states: list[LinkState] = []
        self.poller = Poller(
            "bus", self.field, self.field.requests, clock=clock, take=self.outcomes.extend, chance=lambda: 0.5,
            changed=self.states.append, line=self.field,
        )  # fmt: skip

    async def run(
        self, seconds: float, *said: tuple[float, bytes], during: Callable[[], object] = lambda: None
    ) -> None:
        loop = asyncio.get_running_loop()
        self.started_s = loop.time()
        for at_s, data in said:
            loop.call_later(at_s, self.line.say, data)
        task = asyncio.create_task(self.poller.run())
        await asyncio.sleep(seconds)
        during()
        assert not task.done()
        task.cancel()
        await asyncio.wait((task,))

    @property
    def asked_s(self) -> list[float]:
        return [at_s - self.started_s for at_s, _ in self.line.asked]


def test_nothing_is_asked_before_the_line_has_been_listened_to():
    async def story() -> None:
        for spec, listens_s in ((bus(), 60), (bus(settlement=True), 960), (bus(shared_line=True, listen_s=0.0), 0)):
            watch = Watch(spec)
            await watch.run(1200)
            assert listens_s <= watch.asked_s[0] < listens_s + 0.1
            assert len(watch.asked_s) > 10
            assert all(isinstance(o, Reading) for o in watch.outcomes)

    virtually(story())


def test_the_watchdog_and_the_technician_see_that_it_listens():
    async def story() -> None:
        watch = Watch(bus(settlement=True))
        task = asyncio.create_task(watch.poller.run())
        await asyncio.sleep(300.5)
        assert LoopClock().now_ms() - watch.poller.last_pass_ms <= 1_100
        assert watch.poller.state.up
        assert watch.poller.state.detail == "listening before the first question, 660 s left"
        async with asyncio.timeout(2):
            found = await watch.poller.read_now("m1")
        assert [(o.quantity, o.cause) for o in found if isinstance(o, Gap)] == [
            ("active_energy_import", "link_down"), ("voltage_l1", "link_down"),
        ]  # fmt: skip
        assert "listening" in found[0].detail  # type: ignore[union-attr]
        await asyncio.sleep(700)
        assert watch.poller.state.detail == ""
        assert any(isinstance(o, Reading) for o in await watch.poller.read_now("m1"))
        task.cancel()
        await asyncio.wait((task,))

    virtually(story())


def test_another_master_has_the_line_and_is_named_with_the_cure():
    async def story() -> Watch:
        watch = Watch(bus(settlement=True))
        await watch.run(7200, (500.0, DLT_READ), (500.3, DLT_ANSWER))
        return watch

    with structlog.testing.capture_logs() as logs:
        watch = virtually(story())
    assert watch.line.asked == []
    state = watch.poller.state
    assert (state.up, state.next_try_ms) == (False, None)
    assert "a DL/T 645 master that asks meter 123456789012" in state.detail
    assert "second RS-485 port" in state.detail
    assert "shared_line = true" in state.detail
    assert [s.up for s in watch.states] == [False]
    assert [entry["event"] for entry in logs].count("another master has the line") == 1
    gaps = [o for o in watch.outcomes if isinstance(o, Gap)]
    assert len(gaps) == len(watch.outcomes) > 2 * 100  # said again every minute, for both quantities
    assert {g.cause for g in gaps} == {"link_down"}


def test_a_master_that_comes_later_has_the_line_too():
    async def story() -> Watch:
        watch = Watch(bus())
        await watch.run(600, (207.0, READ), (207.1, ANSWER))
        return watch

    watch = virtually(story())
    assert watch.asked_s
    assert max(watch.asked_s) < 225  # what was due next finds the line taken
    assert "asks unit 3" in watch.poller.state.detail


def test_polling_goes_on_only_where_sharing_is_allowed():
    async def story() -> Watch:
        watch = Watch(bus(shared_line=True))
        await watch.run(600, *((t + 7.0, READ) for t in range(0, 600, 60)))
        return watch

    with structlog.testing.capture_logs() as logs:
        watch = virtually(story())
    assert max(watch.asked_s) > 580
    assert watch.poller.state.up
    assert [entry["event"] for entry in logs].count("sharing the line") == 1


def test_a_restart_soon_after_its_own_last_question_does_not_listen_anew(tmp_path: Path):
    async def story() -> None:
        def stamp() -> AskedStamp:
            return AskedStamp(tmp_path, "bus", LoopClock().now_ms, boot="b1")

        first = Watch(bus(settlement=True), stamp())
        await first.run(1000)
        assert first.asked_s[0] >= 960
        await asyncio.sleep(500)
        second = Watch(bus(settlement=True), stamp())
        await second.run(100)
        assert second.asked_s[0] < 0.1
        await asyncio.sleep(700)
        third = Watch(bus(settlement=True), stamp())
        await third.run(1000, (400.0, READ))
        assert third.asked_s == []
        # Whoever gave way to a master listens when it is started again, however soon.
        fourth = Watch(bus(settlement=True), stamp())
        await fourth.run(100)
        assert fourth.asked_s == []

    virtually(story())


def test_a_master_heard_in_operation_takes_the_stamp_away(tmp_path: Path):
    async def story() -> None:
        stamp = AskedStamp(tmp_path, "bus", LoopClock().now_ms, boot="b1")
        watch = Watch(bus(), stamp)
        await watch.run(200, (100.0, READ), during=lambda: None)
        assert watch.asked_s
        assert not stamp.is_fresh()

    virtually(story())


def test_an_adapter_that_was_away_for_long_may_hang_on_another_line():
    async def story() -> tuple[list[float], list[float]]:
        watch = Watch(bus())
        loop = asyncio.get_running_loop()
        start, gone = watch.line.start, [False]

        def maybe(on_bytes: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None:
            if gone[0]:
                raise OSError(19, "No such device")
            start(on_bytes, on_lost)

        watch.line.start = maybe  # type: ignore[method-assign]

        def plug(there: bool) -> None:
            gone[0] = not there
            if not there:
                watch.line.cut()

        loop.call_later(100.5, plug, False)
        loop.call_later(130.5, plug, True)
        loop.call_later(300.5, plug, False)
        loop.call_later(1000.5, plug, True)
        await watch.run(1400)
        return watch.asked_s, [s.since_ms / 1000 - watch.started_s for s in watch.states]

    asked_s, _ = virtually(story())
    assert any(130 < at_s < 200 for at_s in asked_s)  # half a minute: the same line
    after = min(at_s for at_s in asked_s if at_s > 1000)
    assert after > 1060  # twelve minutes: listened to anew
