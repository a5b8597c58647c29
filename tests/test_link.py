"""Links: bytes go out past the gate and in silence, come back whole, and a channel that ends is said to have ended."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import termios
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from drivers.link import CarrierLink, Framing, MemoryLink, TcpLink, converse, framing_of, open_link
from drivers.link.listening import Overhearing
from drivers.link.serial import SerialLink
from drivers.modbus import ModbusDriver, open_driver, requests
from drivers.modbus.rtu import RtuSession
from edge_agent.model import Gap, LinkSpec, Quantity, Reading, Register
from edge_agent.ports import BadReply, DriverError, LinkDown, NoReply
from tests.rtu_line import LoopClock, Question, RtuLine, bus, crc, rtu, unit, virtually

U16 = Register(Quantity.VOLTAGE_L1, "input:4", "u16", "V", 0.1)
E32 = Register(Quantity.ACTIVE_ENERGY_IMPORT, "input:0", "u32", "Wh")


# --- time on the wire


@pytest.mark.parametrize(
    ("framing", "char_ms", "silence_ms"),
    [
        (Framing(9600), 1.0417, 3.6458),
        (Framing(9600, "E"), 1.1458, 4.0104),
        (Framing(2400, "E"), 4.5833, 16.0417),
        (Framing(9600, "N", 8, 2), 1.1458, 4.0104),
        (Framing(19200), 0.5208, 1.8229),
        (Framing(38400), 0.2604, 1.75),
        (Framing(115200, "E"), 0.0955, 1.75),
    ],
    ids=str,
)
def test_a_characters_time_and_the_silence_between_frames(framing, char_ms, silence_ms):
    assert framing.char_s * 1000 == pytest.approx(char_ms, abs=1e-4)
    assert framing.silence_s * 1000 == pytest.approx(silence_ms, abs=1e-4)


def test_a_link_knows_its_wire():
    spec = LinkSpec("b", "serial", path="/dev/ttyS0", baud=2400, parity="E")
    link = open_link(spec, now_ms=lambda: 0)
    assert (link.bits_per_s, str(link.framing), link.kind) == (2400, "2400 8E1", "serial")
    converter = open_link(replace(spec, kind="tcp-serial", host="h", port=4001), now_ms=lambda: 0)
    assert (converter.bits_per_s, converter.kind, converter.name) == (2400, "tcp-serial", "h:4001")
    lan = open_link(LinkSpec("l", "modbus-tcp", "h"), now_ms=lambda: 0)
    assert (lan.framing, lan.char_s, lan.gap_s, lan.bits_per_s) == (None, 0.0, None, 0)
    assert framing_of(LinkSpec("l", "modbus-tcp", "h")) is None
    with pytest.raises(ValueError, match="kind 'rtu' is not known"):
        open_link(LinkSpec("l", "rtu"), now_ms=lambda: 0)


def test_a_question_waits_until_the_line_is_silent():
    async def story() -> tuple[float, float]:
        line = RtuLine(lambda q: [(q.numbered(), 0.01)])
        link = CarrierLink(line, bus(), now_ms=LoopClock().now_ms)
        await link.open()
        line.say(bytes(30))  # somebody speaks for 31 ms
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.001)
        line.piece = 1
        line.say(bytes(30))
        started_s = loop.time()
        await asyncio.sleep(0.02)
        await converse(link.gate("modbus-rtu"), RtuSession().ask(1, 4, 0, 1, 0.0), 0.5)
        return started_s, line.asked[0][0]

    started_s, asked_s = virtually(story())
    assert asked_s - started_s >= 30 * 10 / 9600 + 3.5 * 10 / 9600 - 1e-6


def test_a_line_that_is_never_silent_is_a_link_that_is_down():
    async def story() -> None:
        line = RtuLine(lambda q: [])
        link = CarrierLink(line, bus(), now_ms=LoopClock().now_ms)
        await link.open()

        async def babble() -> None:
            while True:
                line._arrive(b"\0", [0, 0, False])
                await asyncio.sleep(0.002)

        babbling = asyncio.create_task(babble())
        with pytest.raises(LinkDown, match="never silent"):
            await link.turn()
        babbling.cancel()
        assert line.asked == []

    virtually(story())


# --- echo


@pytest.mark.parametrize("piece", [0, 1, 5])
def test_an_adapter_that_hears_itself_is_not_an_answer(piece):
    async def story() -> None:
        line = RtuLine(lambda q: [(q.numbered(), 0.01)])
        line.piece = piece
        write = line.write

        def echoing(data: bytes) -> None:
            write(data)
            line._talk.clear()
            line.say(data)

        line.write = echoing  # type: ignore[method-assign]
        spec = bus(echo=True, timeout_s=0.5)
        driver = open_driver(CarrierLink(line, spec, now_ms=LoopClock().now_ms), spec, LoopClock().now_ms)
        (request,) = requests(unit(1, U16))
        for _ in range(5):
            (outcome,) = await driver.read(request)
            assert isinstance(outcome, Reading)
            assert outcome.frame is not None
            assert len(outcome.frame.reply) == 7
        spec = bus(timeout_s=0.5)
        unaware = open_driver(CarrierLink(line, spec, now_ms=LoopClock().now_ms), spec, LoopClock().now_ms)
        with pytest.raises(BadReply, match="echo = true"):
            await unaware.read(request)

    virtually(story())


def test_an_adapter_that_does_not_echo_after_all_costs_no_answer():
    async def story() -> None:
        line = RtuLine(lambda q: [(q.numbered(), 0.01)])
        spec = bus(echo=True, timeout_s=0.5)
        driver = open_driver(CarrierLink(line, spec, now_ms=LoopClock().now_ms), spec, LoopClock().now_ms)
        (request,) = requests(unit(1, U16))
        assert isinstance((await driver.read(request))[0], Reading)

    virtually(story())


# --- channels that end


def test_a_carrier_that_is_unplugged_is_a_link_that_is_down_and_comes_back():
    async def story() -> None:
        line = RtuLine(lambda q: [(q.numbered(), 0.01)])
        link = CarrierLink(line, bus(timeout_s=0.5), now_ms=LoopClock().now_ms)
        driver = ModbusDriver(link, 0.5)
        (request,) = requests(unit(1, E32, U16))
        await driver.read(request)
        asyncio.get_running_loop().call_later(0.012, line.cut, "was unplugged")
        with pytest.raises(LinkDown, match="bus was unplugged"):
            await driver.read(request)
        assert not link.is_open
        await asyncio.sleep(0.1)  # the answer comes, and nobody hears it
        assert isinstance((await driver.read(request))[0], Reading)

    virtually(story())


def test_a_carrier_that_cannot_start_is_a_link_that_is_down():
    class Gone:
        def start(self, on_bytes: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None:
            raise OSError(19, "No such device")

        def write(self, data: bytes) -> None: ...

        def close(self) -> None: ...

    async def story() -> None:
        link = CarrierLink(Gone(), bus(), now_ms=lambda: 0)
        with pytest.raises(LinkDown, match="No such device"):
            await link.open()

    virtually(story())
    with pytest.raises(ValueError, match="not modbus-tcp"):
        CarrierLink(Gone(), LinkSpec("lan", "modbus-tcp"), now_ms=lambda: 0)


def test_bytes_that_nobody_asked_for_are_kept_within_bounds():
    async def story() -> None:
        link = MemoryLink(lambda raw: None, framing=Framing())
        await link.open()
        for n in range(300):
            link.come(bytes((n & 0xFF,)) * 40)
        aside = link.set_aside()
        assert len(aside) == 4096
        assert aside[-1] == 299 & 0xFF
        assert link.set_aside() == b""

    asyncio.run(story())


def test_the_round_trips_of_all_protocols_stand_in_one_ring():
    async def story() -> None:
        link = MemoryLink(lambda raw: rtu(raw[0], b"\x04\x02\0\1"), framing=Framing(115200), now_ms=lambda: 7)
        one, other = ModbusDriver(link, 0.2), ModbusDriver(link, 0.2)
        for driver, number in ((one, 1), (other, 2)):
            (request,) = requests(unit(number, U16))
            await driver.read(request)
        assert [f.request[0] for f in link.frames] == [1, 2]
        assert {f.bt_ms for f in link.frames} == {7}

    asyncio.run(story())


# --- a converter


class Converter:
    """A TCP port with a line behind it: raw RTU bytes."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self.answer = answer
        self.connections = 0
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Converter:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.hang_up()
        await asyncio.sleep(0.02)

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                raw = await reader.readexactly(8)
                if came := self.answer(raw):
                    writer.write(came)


def answered(raw: bytes) -> bytes:
    return Question(raw[0], raw[1], 0, int.from_bytes(raw[4:6], "big"), 5).numbered()


def test_behind_a_converter_frames_are_those_of_the_line_and_a_desync_drops_the_connection():
    replies: list[Callable[[bytes], bytes | None]] = [answered, lambda raw: rtu(9, b"\x04\x02\0\1"), answered, answered]

    async def story() -> None:
        async with Converter(lambda raw: (replies.pop(0))(raw) if replies else None) as converter:
            spec = LinkSpec("gw", "tcp-serial", "127.0.0.1", converter.port, timeout_s=0.5, baud=115200)
            driver = open_driver(open_link(spec, now_ms=lambda: 0), spec, lambda: 0)
            (request,) = requests(unit(1, E32, U16))
            assert isinstance((await driver.read(request))[0], Reading)
            with pytest.raises(BadReply, match="asked unit 1, 9 answered"):
                await driver.read(request)
            assert not driver.link.is_open
            assert isinstance((await driver.read(request))[0], Reading)
            assert converter.connections == 2
            await driver.close()

    asyncio.run(story())


def test_a_converter_that_ends_the_connection_is_a_link_that_is_down_at_once():
    async def story() -> None:
        async with Converter(lambda raw: None) as converter:
            link = TcpLink("127.0.0.1", converter.port, now_ms=lambda: 0, framing=Framing(115200))
            await link.open()
            loop = asyncio.get_running_loop()
            loop.call_later(0.05, converter.hang_up)
            started_s = loop.time()
            with pytest.raises(LinkDown, match=r"ended the connection|broke"):
                await converse(link.gate("modbus-rtu"), RtuSession().ask(1, 4, 0, 1, 0.0), 5.0)
            assert loop.time() - started_s < 1.0
            assert not link.is_open

    asyncio.run(story())


# --- a port


class Port:
    """The far end of a pseudo-terminal, with a hand-written unit behind it."""

    def __init__(self) -> None:
        self.master, slave = os.openpty()
        self.path = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self.master, False)
        self.asked: list[bytes] = []
        self.answer: Callable[[bytes], bytes | None] = answered

    def serve(self) -> None:
        asyncio.get_running_loop().add_reader(self.master, self._hear)

    def _hear(self) -> None:
        try:
            raw = os.read(self.master, 4096)
        except OSError:  # EIO: nobody has the other end open
            return
        self.asked.append(raw)
        if came := self.answer(raw):
            os.write(self.master, came)

    def close(self) -> None:
        with contextlib.suppress(RuntimeError, OSError):
            asyncio.get_running_loop().remove_reader(self.master)
        with contextlib.suppress(OSError):
            os.close(self.master)


@pytest.fixture
def port() -> Iterator[Port]:
    port = Port()
    yield port
    port.close()


def on(path: str, **more: object) -> LinkSpec:
    return LinkSpec("bus", "serial", path=path, timeout_s=0.5, **more)  # type: ignore[arg-type]


def test_a_meter_on_a_port_is_read(port):
    async def story() -> None:
        driver = open_driver(open_link(on(port.path, baud=19200), now_ms=lambda: 0), on(port.path), lambda: 0)
        (request,) = requests(unit(3, E32, U16))
        with pytest.raises(NoReply):
            await driver.read(request)  # opened, and nobody answers yet
        port.serve()
        await asyncio.sleep(0.05)
        port.asked.clear()
        outcomes = await driver.read(request)
        assert [type(o) for o in outcomes] == [Reading, Reading]
        assert all(len(raw) == 8 and crc(raw[:-2]) == int.from_bytes(raw[-2:], "little") for raw in port.asked)
        await driver.close()

    asyncio.run(story())


def test_a_port_is_set_as_asked_and_raw(port):
    """Every byte value passes both ways: nothing of a terminal is left."""

    async def story() -> bytes:
        link = SerialLink(port.path, Framing(2400, "E"), now_ms=lambda: 0)
        with structlog.testing.capture_logs() as logs:
            await link.open()
            await link.open()
        assert [entry["event"] for entry in logs] == ["a pseudo-terminal has no parity and no character size"]
        assert "asked for 2400 8E1, it is at 2400 8N1" in logs[0]["detail"]
        assert termios.tcgetattr(port.master)[4] == termios.B2400
        os.write(port.master, bytes(range(256)))
        await asyncio.sleep(0.05)
        heard = link.set_aside()
        await link.close()
        return heard

    assert asyncio.run(story()) == bytes(range(256))


def test_a_real_port_that_does_not_take_the_parity_is_an_error(port, monkeypatch):
    monkeypatch.setattr("drivers.link.serial._PTY_MAJORS", ())

    async def story() -> None:
        link = SerialLink(port.path, Framing(2400, "E"), now_ms=lambda: 0)
        with pytest.raises(LinkDown, match="asked for 2400 8E1, it is at 2400 8N1"):
            await link.open()
        assert not link.is_open
        even = SerialLink(port.path, Framing(2400), now_ms=lambda: 0)
        await even.open()
        await even.close()

    asyncio.run(story())


def test_a_port_has_one_user_at_a_time(port):
    async def story() -> None:
        link, second = (SerialLink(port.path, Framing(), now_ms=lambda: 0) for _ in range(2))
        await link.open()
        with pytest.raises(LinkDown, match="in use by another program"):
            await second.open()
        other = os.open(port.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK) if os.geteuid() == 0 else None
        if other is not None:  # root may open an exclusive port; the lock still says whose it is
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(other)
        await link.close()
        await second.open()
        await second.close()

    asyncio.run(story())


def test_a_port_that_is_unplugged_is_down_and_found_again_under_its_name(tmp_path: Path):
    name = tmp_path / "usb-adapter"
    first, second = Port(), Port()

    async def story() -> None:
        name.symlink_to(first.path)
        first.serve()
        driver = open_driver(open_link(on(str(name)), now_ms=lambda: 0), on(str(name)), lambda: 0)
        (request,) = requests(unit(3, E32))
        await driver.read(request)
        name.unlink()
        first.close()  # gone, as a USB adapter goes
        await asyncio.sleep(0.05)
        assert not driver.link.is_open
        with pytest.raises(LinkDown, match="is the adapter plugged in"):
            await driver.read(request)
        name.symlink_to(second.path)  # in another socket
        second.serve()
        assert isinstance((await driver.read(request))[0], Reading)
        await driver.close()

    asyncio.run(story())
    second.close()


def test_a_port_that_goes_while_an_answer_is_awaited_is_down_at_once(port):
    async def story() -> float:
        port.answer = lambda raw: None
        port.serve()
        link = SerialLink(port.path, Framing(19200), now_ms=lambda: 0)
        driver = ModbusDriver(link, 5.0)
        (request,) = requests(unit(3, E32))
        loop = asyncio.get_running_loop()
        loop.call_later(0.1, port.close)
        started_s = loop.time()
        with pytest.raises(LinkDown):
            await driver.read(request)
        return loop.time() - started_s

    assert asyncio.run(story()) < 2.0


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/dev/serial/by-id/usb-none", "is the adapter plugged in"),
        ("/dev/null", "is not a serial port"),
        (str(Path(__file__)), "is not a serial port"),
    ],
)
def test_what_is_no_port_is_named(path, says):
    async def story() -> None:
        link = SerialLink(path, Framing(), now_ms=lambda: 0)
        with pytest.raises(LinkDown, match=says) as error:
            await link.open()
        assert path in str(error.value)
        assert not link.is_open

    asyncio.run(story())


def test_a_speed_that_no_port_has_is_named(port):
    async def story() -> None:
        with pytest.raises(LinkDown, match="cannot be set to 12345 baud"):
            await SerialLink(port.path, Framing(12345), now_ms=lambda: 0).open()

    asyncio.run(story())


def test_a_port_that_is_opened_a_thousand_times_leaves_nothing_open(port):
    async def story() -> None:
        link = SerialLink(port.path, Framing(), now_ms=lambda: 0)
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(1000):
            await link.open()
        await link.close()
        for _ in range(100):
            with contextlib.suppress(DriverError):
                await SerialLink("/dev/null", Framing(), now_ms=lambda: 0).open()
        assert len(list(Path("/proc/self/fd").iterdir())) == before

    asyncio.run(story())


# --- with others on the line


def test_where_sharing_is_allowed_we_keep_silent_while_the_other_masters_question_is_answered():
    async def story() -> tuple[float, float, float]:
        line = RtuLine(lambda q: [(q.numbered(), 0.01)])
        link = CarrierLink(line, bus(), now_ms=LoopClock().now_ms)
        assert link.framing is not None
        link.ear = Overhearing(link.framing, reply_s=1.0)
        await link.open()
        loop = asyncio.get_running_loop()
        line.say(rtu(9, bytes.fromhex("03 0000 0002")))  # the other master asks ...
        loop.call_later(0.4, line.say, rtu(9, bytes.fromhex("03 04 00000000")))  # ... and is answered 0.4 s later
        started_s = loop.time()
        await asyncio.sleep(0.05)
        driver = ModbusDriver(link, 0.5)
        (request,) = requests(unit(1, E32))
        assert not isinstance((await driver.read(request))[0], Gap)
        first_s = line.asked[0][0]
        line.say(rtu(9, bytes.fromhex("03 0000 0002")))  # this one is not answered
        unanswered_s = loop.time()
        await asyncio.sleep(0.05)
        await driver.read(request)
        return started_s, first_s - started_s, line.asked[1][0] - unanswered_s

    _, answered_s, silent_s = virtually(story())
    assert 0.4 < answered_s < 0.5
    assert 1.0 <= silent_s < 1.1
