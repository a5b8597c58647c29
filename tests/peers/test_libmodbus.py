"""Our Modbus driver reads a server made with libmodbus: every value exactly, over TCP and RTU, and no late one ever."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import termios
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from drivers.link import Framing, TcpLink
from drivers.link.serial import SerialLink
from drivers.modbus import ModbusDriver, open_driver, requests
from edge_agent.model import (
    DeviceSpec,
    Gap,
    GapCause,
    Identity,
    LinkSpec,
    Outcome,
    Profile,
    Quantity,
    Reading,
    Register,
)
from edge_agent.ports import DriverError, NoReply
from tests.figures import report
from tests.peers.line import PtyBus
from tests.peers.programs import Peer
from tests.rtu_line import LoopClock, crc

BAUD = 115_200
POLLS = int(os.environ.get("EDGE_PROVE_PEER_POLLS", "24"))
Serving = Callable[..., Peer]


@dataclass(frozen=True)
class Held:
    """A register of the server, and what stands in it: a number and what the unit's number adds to it, or a text."""

    register: Register
    base: float | str
    per_unit: float = 0.0

    def of(self, unit: int) -> float | str:
        return self.base.format(unit) if isinstance(self.base, str) else self.base + self.per_unit * unit


def held(
    quantity: str, address: str, kind: str, unit: str, base: float | str, per_unit: float = 0.0, **more: Any
) -> Held:
    return Held(Register(Quantity(quantity), address, kind, unit, **more), base, per_unit)


INPUTS = (
    held("voltage_l1", "input:0", "u16", "V", 230.0, 0.1, scale=0.1),
    held("reactive_power", "input:1", "i16", "var", -500, -1),
    held("active_energy_import", "input:2", "u32", "Wh", 3_141_592_600, 1),
    held("active_power", "input:4", "i32", "W", -123_400, -1),
    held("frequency", "input:6", "f32", "Hz", 49.75, 0.0625),
    held("current_l1", "input:8", "f32", "A", 10.25, 1, order="CDAB"),
    held("current_l2", "input:10", "f32", "A", 20.5, 1, order="BADC"),
    held("current_l3", "input:12", "f32", "A", 40.125, 1, order="DCBA"),
    held("active_energy_export", "input:14", "u64", "Wh", 123_456_789_012_300, 1),
    held("reactive_power_l1", "input:18", "i64", "var", -987_654_321.00, -0.01, scale=0.01),
    held("power_factor", "input:24", "f64", "", 0.8125, 0.015625),
    held("reactive_energy_import", "input:28", "bcd32", "varh", 12_345_600, 1),
    held("meter_serial", "input:32", "ascii:8", "", "LIBMODBUS-{:04d}"),
)
HOLDINGS = (
    held("voltage_l2", "holding:0x1000", "u16", "V", 50.0, 0.1, scale=0.1),
    held("reactive_power_l2", "holding:0x1001", "i16", "var", 0, -1),
    held("active_energy_import_t1", "holding:0x1002", "u32", "Wh", 7, 65_536),
    held("active_power_l1", "holding:0x1004", "f32", "W", -1234.5, -1),
    held("active_power_l2", "holding:0x1006", "f32", "W", -2345.25, -1, order="CDAB"),
    held("active_power_l3", "holding:0x1008", "f32", "W", -3456.125, -1, order="BADC"),
    held("reactive_power_l3", "holding:0x100A", "f32", "var", -4567.0625, -1, order="DCBA"),
)
KNOWN = (*INPUTS, *HOLDINGS)
NOTHING = (
    Register(Quantity.ACTIVE_POWER_L1, "input:40", "f32", "W"),
    Register(Quantity.VOLTAGE_L2, "input:42", "u16", "V", not_available=(0xFFFF,)),
    Register(Quantity.ACTIVE_POWER_L2, "input:44", "i32", "W", not_available=(0x7FFFFFFF,)),
)
IN_THE_HOLE = Register(Quantity.VOLTAGE_L3, "input:22", "u16", "V")
IS_BUSY = Register(Quantity.VOLTAGE_L3, "input:60", "u16", "V")
FAILS = Register(Quantity.VOLTAGE_L3, "input:61", "u16", "V")
STAMPS = tuple(
    Register(Quantity(name), f"input:{200 + 2 * n}", "u32", "Wh", every_s=10 + n)
    for n, name in enumerate(
        ("active_energy_import", "active_energy_export", *(f"active_energy_import_t{rate}" for rate in (1, 2, 3, 4)))
    )
)
"""Each holds its own address and the number of the question that it answers; each is asked for by itself."""


class CountingTcp(TcpLink):
    sent = 0

    def _send(self, data: bytes) -> None:
        self.sent += 1
        super()._send(data)


class CountingSerial(SerialLink):
    sent = 0

    def _send(self, data: bytes) -> None:
        self.sent += 1
        super()._send(data)


def over_tcp(peer: Peer, timeout_s: float = 2.0) -> tuple[CountingTcp, ModbusDriver]:
    spec = LinkSpec("net", "modbus-tcp", "127.0.0.1", peer.port, timeout_s=timeout_s)
    link = CountingTcp(spec.host, spec.port, now_ms=LoopClock().now_ms)
    return link, open_driver(link, spec, LoopClock().now_ms)


def over_rtu(path: str, timeout_s: float = 2.0) -> tuple[CountingSerial, ModbusDriver]:
    spec = LinkSpec("bus", "serial", path=path, baud=BAUD, timeout_s=timeout_s)
    link = CountingSerial(path, Framing(BAUD), now_ms=LoopClock().now_ms)
    return link, open_driver(link, spec, LoopClock().now_ms)


def device(unit: int, registers: Iterable[Register]) -> DeviceSpec:
    profile = Profile("peer", "modbus", "libmodbus", "modbus_server.c", "secondary", 125, tuple(registers))
    return DeviceSpec(f"u{unit}", "bus", unit, profile)


async def outcomes_of(driver: ModbusDriver, spec: DeviceSpec) -> dict[Quantity, Outcome]:
    found: dict[Quantity, Outcome] = {}
    for request in requests(spec):
        found |= {outcome.quantity: outcome for outcome in await driver.read(request)}
    return found


def said(outcome: Outcome) -> float | str:
    match outcome:
        case Reading():
            return outcome.value
        case Identity():
            return outcome.text
    return f"{outcome.cause}: {outcome.detail}"


def reads_every_register(found: dict[Quantity, Outcome], unit: int) -> int:
    """Compare each value of a unit with what the server was built to hold; how many they were."""
    right = {h.register.quantity: h.of(unit) for h in KNOWN}
    shown = {quantity: said(outcome) for quantity, outcome in found.items()}
    texts = {quantity for quantity, value in right.items() if isinstance(value, str)}
    assert {q: v for q, v in shown.items() if q in texts} == {q: right[q] for q in texts}
    numbers = {q: v for q, v in shown.items() if q not in texts}
    assert numbers == pytest.approx({q: v for q, v in right.items() if q not in texts}, rel=1e-12, abs=0)
    return len(shown)


def test_every_register_over_tcp_and_a_hole_un_merges(libmodbus: Path, serving: Serving):
    async def story(peer: Peer) -> int:
        compared = 0
        link, driver = over_tcp(peer)
        for unit in (1, 2, 3):
            asked, sent = requests(device(unit, (h.register for h in KNOWN))), link.sent
            assert len(asked) == 2, "all input registers are one question, all holding registers another"
            found = {o.quantity: o for request in asked for o in await driver.read(request)}
            compared += reads_every_register(found, unit)
            assert link.sent - sent == 4, "the merged one is refused for its hole, and asked again in two parts"
            assert [frame.reply[7:9] for frame in link.frames].count(b"\x84\x02") == unit
            again = {o.quantity: o for request in asked for o in await driver.read(request)}
            compared += reads_every_register(again, unit)
            assert link.sent - sent == 7, "from then on in parts"
        await driver.close()
        return compared

    peer = serving(libmodbus, "tcp")
    compared = asyncio.run(story(peer))
    assert compared == 2 * 3 * len(KNOWN)
    report("Modbus TCP", server=peer.version, values=compared, wrong=0)


def test_every_register_over_rtu_of_two_units_on_one_line(libmodbus: Path, serving: Serving):
    async def story(path: str) -> int:
        compared = 0
        _, driver = over_rtu(path)
        for _ in range(2):
            for unit in (2, 3):
                compared += reads_every_register(
                    await outcomes_of(driver, device(unit, (h.register for h in KNOWN))), unit
                )
        await driver.close()
        return compared

    with PtyBus(2) as bus:
        peers = [serving(libmodbus, "rtu", path, BAUD, unit) for path, unit in zip(bus.stations, (2, 3), strict=True)]
        compared = asyncio.run(story(bus.master))
    assert compared == 2 * 2 * len(KNOWN)
    report("Modbus RTU", server=peers[0].version, values=compared, wrong=0)


@pytest.mark.parametrize("over", ["tcp", "rtu"])
def test_what_is_no_value_is_a_gap_with_its_cause(libmodbus: Path, serving: Serving, over: str):
    async def story(driver: ModbusDriver) -> dict[str, GapCause]:
        causes: dict[str, GapCause] = {}
        nothing = await outcomes_of(driver, device(1, NOTHING))
        causes |= {q: o.cause for q, o in nothing.items() if isinstance(o, Gap)}
        for name, register in {"hole": IN_THE_HOLE, "busy": IS_BUSY}.items():
            (outcome,) = (await outcomes_of(driver, device(1, [register]))).values()
            assert isinstance(outcome, Gap)
            causes[name] = outcome.cause
        with pytest.raises(NoReply, match="device failure"):
            await outcomes_of(driver, device(1, [FAILS]))
        found = await outcomes_of(driver, device(1, (h.register for h in KNOWN)))
        assert reads_every_register(found, 1) == len(KNOWN), "and the line is as good as before"
        await driver.close()
        return causes

    with PtyBus() as bus:
        if over == "tcp":
            peer = serving(libmodbus, "tcp")
            causes = asyncio.run(_with(lambda: over_tcp(peer)[1], story))
        else:
            serving(libmodbus, "rtu", bus.stations[0], BAUD, 1)
            causes = asyncio.run(_with(lambda: over_rtu(bus.master)[1], story))
    absent = dict.fromkeys((r.quantity.value for r in NOTHING), GapCause.NOT_AVAILABLE)
    assert causes == absent | {"hole": GapCause.REFUSED, "busy": GapCause.BUSY}


async def _with(made: Callable[[], ModbusDriver], story: Callable[[ModbusDriver], Any]) -> Any:
    return await story(made())


def test_a_unit_that_the_server_does_not_have_is_no_value(libmodbus: Path, serving: Serving):
    async def story(peer: Peer) -> None:
        _, driver = over_tcp(peer)
        with pytest.raises(NoReply, match="gateway target did not respond"):
            await outcomes_of(driver, device(4, [KNOWN[0].register]))
        await driver.close()

    asyncio.run(story(serving(libmodbus, "tcp")))


def test_libmodbus_has_no_identification_to_read(libmodbus: Path, serving: Serving):
    """Function 43/14 cannot be compared with this server: it knows no more of it than that it is no function of its."""
    peer = serving(libmodbus, "tcp")
    with socket.create_connection(("127.0.0.1", peer.port), 5.0) as wire:
        wire.settimeout(5.0)
        wire.sendall(bytes.fromhex("0001 0000 0005 01 2B 0E 01 00"))
        assert wire.recv(300)[7:9] == b"\xab\x01"


def test_the_worked_example_is_a_question_that_libmodbus_answers(libmodbus: Path, serving: Serving):
    """Two input registers at 0x0048 of unit 1, with the checksum that is written beside them."""
    with PtyBus() as bus:
        serving(libmodbus, "rtu", bus.stations[0], BAUD, 1)
        port = os.open(bus.master, os.O_RDWR | os.O_NOCTTY)
        try:
            os.write(port, bytes.fromhex("0104004800 02F1DD"))
            came = b""
            while len(came) < 9 and select.select([port], [], [], 5.0)[0]:
                came += os.read(port, 9 - len(came))
        finally:
            os.close(port)
    assert came[:7] == bytes.fromhex("01 04 04 0000 0000")
    assert crc(came[:7]) == int.from_bytes(came[7:], "little")


# --- late answers


async def poll(link: CountingTcp | CountingSerial, driver: ModbusDriver, polls: int) -> tuple[int, int]:
    """Ask for the stamps in turn; values that were taken, and readings that were lost. None may be of another question
    than the one it was taken for: another register's, or older than this poll."""
    taken = lost = 0
    asked = requests(device(1, STAMPS))
    assert [len(request.registers) for request in asked] == [1] * len(STAMPS)
    for n in range(polls):
        request, sent = asked[n % len(asked)], link.sent
        try:
            (outcome,) = await driver.read(request)
        except DriverError:
            lost += 1
            continue
        assert isinstance(outcome, Reading), outcome
        address, question = divmod(int(outcome.value), 0x10000)
        assert f"input:{address}" == request.registers[0].address, "another register's value"
        assert sent % 0x10000 < question <= link.sent, "a value from before it was asked for"
        taken += 1
    await driver.close()
    return taken, lost


LATE = "late 3 450"
"""Every third answer comes 450 ms after its question; here nobody waits for more than 300."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("over", ["tcp", "rtu"])
def test_no_late_answer_is_taken_for_the_next_question(libmodbus: Path, serving: Serving, over: str):
    async def story(made: Callable[[], tuple[CountingTcp | CountingSerial, ModbusDriver]]) -> tuple[int, int, int]:
        link, driver = made()
        taken, lost = await poll(link, driver, POLLS)
        return taken, lost, link.sent

    with PtyBus() as bus:
        if over == "tcp":
            peer = serving(libmodbus, "tcp")
            peer.say(LATE)
            taken, lost, sent = asyncio.run(story(lambda: over_tcp(peer, 0.3)))
        else:
            peer = serving(libmodbus, "rtu", bus.stations[0], BAUD, 1)
            peer.say(LATE)
            taken, lost, sent = asyncio.run(story(lambda: over_rtu(bus.master, 0.3)))
    assert taken + lost == POLLS
    assert taken >= POLLS // 3
    assert sent // 3 >= POLLS // 4, "answers were late"
    report(
        f"late answers over {over.upper()}", server=peer.version, questions=sent, late=sent // 3, values=taken,
        lost=lost, wrong=0,
    )  # fmt: skip


def test_a_master_that_only_checks_checksums_takes_late_answers(libmodbus: Path, serving: Serving):
    """The control: the same line and the same lateness do mislead a master that forgets what it asked before."""
    wrong = taken = 0
    with PtyBus() as bus:
        peer = serving(libmodbus, "rtu", bus.stations[0], BAUD, 1)
        peer.say(LATE)
        port = os.open(bus.master, os.O_RDWR | os.O_NOCTTY)
        try:
            for n in range(12):
                address = 200 + 2 * (n % len(STAMPS))
                termios.tcflush(port, termios.TCIFLUSH)
                body = bytes((1, 4)) + address.to_bytes(2, "big") + (2).to_bytes(2, "big")
                os.write(port, body + crc(body).to_bytes(2, "little"))
                came = b""
                while len(came) < 9 and select.select([port], [], [], 0.3)[0]:
                    came += os.read(port, 9 - len(came))
                if (
                    len(came) == 9
                    and came[:3] == b"\x01\x04\x04"
                    and crc(came[:7]) == int.from_bytes(came[7:], "little")
                ):
                    taken += 1
                    wrong += int.from_bytes(came[3:5], "big") != address
        finally:
            os.close(port)
    assert wrong
    report("a master that only checks checksums", server=peer.version, values=taken, wrong=wrong)
