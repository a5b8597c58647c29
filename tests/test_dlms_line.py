"""DLMS meters where they are: on a line with Modbus and DL/T 645 meters, behind a port, behind one TCP endpoint."""

from __future__ import annotations

import asyncio
import os
import pty
import tty
from collections.abc import Sequence
from dataclasses import replace

import pytest

from drivers.dlms.driver import DlmsDriver
from drivers.dlms.planning import requests
from drivers.link import CarrierLink, open_link
from edge_agent.fieldbus import FieldLine
from edge_agent.model import DeviceSpec, DlmsSpec, Gap, LinkSpec, Outcome, Profile, Quantity, Reading, Register
from edge_agent.ports import BadReply, LinkDown, NoReply
from simulator.faults import Faults
from simulator.line.carrier import Carrier
from simulator.line.station import Station, seat
from simulator.line.virtual import LoopClock, run_virtual
from simulator.line.wire import PacedLine, Reply
from tests.dlms_desk import EXPECTED, device, meter, shown
from tests.dlms_served import HdlcServer, Served, WrapperServer, place, u32
from tests.lines import T0, dlt_station, rtu_station
from tests.rtu_line import LoopClock as BootClock

ADDRESSES = {17: b"\x02\x23", 18: b"\x02\x25"}


class HdlcStation:
    """A DLMS meter on a simulated line; `late_s` from some time on: so much later than usual."""

    def __init__(self, served: Served, physical: int) -> None:
        self.name = f"dlms {physical}"
        self.faults = Faults(())
        self.server = HdlcServer(served, ADDRESSES[physical])
        self.late: list[float] = []
        self._waits = b""

    def heard(self, data: bytes, at_s: float) -> Sequence[Reply]:
        self._waits += self.server.feed(data)
        return ()

    def quiet(self, at_s: float) -> Sequence[Reply]:
        answer, self._waits = self._waits, b""
        return (Reply(answer, 0.03 + (self.late.pop(0) if self.late else 0.0)),) if answer else ()


def dlms(physical: int, *, energy: int = 123_456) -> tuple[DeviceSpec, Served]:
    served = meter()
    served.values[place("1-0:1.8.0*255")] = u32(energy)
    spec = DlmsSpec(client=16, server=1, physical=physical, address_size=2)
    made = device(spec, "active_energy_import", "voltage_l1", "meter_serial", id_=f"d{physical}")
    return replace(made, link="bus"), served


POWER = Register(Quantity("active_power"), "input:0x0000", "f32", "W")
VOLTAGE = Register(Quantity("voltage_l1"), "di:02010100", "bcd3.1", "V")
MODBUS = DeviceSpec("m1", "bus", 1, Profile("small", "modbus", "t", "t", "primary", 60, (POWER,)))
DLT = DeviceSpec("m3", "bus", 0, Profile("dlt", "dlt645", "t", "t", "primary", 10, (VOLTAGE,)), address="000012345678")
LINE = LinkSpec("bus", "serial", path="/dev/none", baud=9600, timeout_s=0.6, shared_line=True, listen_s=0)


class Mixed:
    """One line with two DLMS meters, a Modbus and a DL/T 645 meter."""

    def __init__(self) -> None:
        self.line = PacedLine()
        clock = LoopClock(self.line.loop, T0)
        self.specs: list[DeviceSpec] = [MODBUS, DLT]
        self.stations: dict[int, HdlcStation] = {}
        self.served: dict[int, Served] = {}
        for physical in ADDRESSES:
            spec, served = dlms(physical, energy=1000 * physical)
            served.now_s = self.line.loop.time
            self.specs.append(spec)
            self.served[physical] = served
            self.stations[physical] = HdlcStation(served, physical)
        stations: list[Station] = [rtu_station(self.line, 1), dlt_station(self.line, "000012345678")]
        for station in [*stations, *self.stations.values()]:
            seat(station, self.line, clock)
        boot = BootClock()
        link = CarrierLink(Carrier(self.line), LINE, now_ms=boot.now_ms)
        self.field = FieldLine(LINE, link, self.specs, boot.now_ms)

    async def round(self) -> dict[str, dict[str, object]]:
        """Every question of every device once; a failure is in place of the values."""
        found: dict[str, list[Outcome]] = {}
        for request in self.field.requests:
            try:
                found.setdefault(request.device, []).extend(await self.field.read(request))
            except NoReply as error:
                now_ms = self.field.link.now_ms()
                found.setdefault(request.device, []).extend(
                    Gap(request.device, q, error.cause, now_ms, str(error)) for q in request.quantities
                )
        return {name: shown(outcomes) for name, outcomes in found.items()}


def right(physical: int) -> dict[str, object]:
    return {"active_energy_import": 10_000.0 * physical, "voltage_l1": 230.5, "meter_serial": "00012345"}


def test_meters_of_three_protocols_share_a_line():
    async def story() -> None:
        mixed = Mixed()
        for _ in range(20):
            found = await mixed.round()
            assert found["d17"] == right(17)
            assert found["d18"] == right(18)
            assert found["m1"] == {"active_power": pytest.approx(8000.0)}
            assert list(found["m3"]) == ["voltage_l1"]
            assert isinstance(found["m3"]["voltage_l1"], float)
            await asyncio.sleep(5)
        assert {p: s.associations for p, s in mixed.served.items()} == {17: 1, 18: 1}
        assert mixed.line.counts.collisions == 0
        assert mixed.field.foreign() == ""
        await mixed.field.close()
        assert all(s.client is None for s in mixed.served.values())  # released, and the link ended

    run_virtual(story())


def test_an_answer_that_comes_late_harms_nobody():
    """Each of a meter's answers of a poll comes late once: no wrong value anywhere, and the next poll is whole."""

    async def story(at: int) -> tuple[int, int]:
        mixed = Mixed()
        await mixed.round()
        heard = len(mixed.stations[17].server.heard)
        mixed.stations[17].late = [0.0] * at + [1.0]
        gaps = 0
        for _ in range(3):
            for name, values in (await mixed.round()).items():
                for quantity, value in values.items():
                    if isinstance(value, str) and value.startswith("gap"):
                        gaps += 1
                        continue
                    power: dict[str, object] = {"active_power": pytest.approx(8000.0)}
                    expected = {"d17": right(17), "d18": right(18), "m1": power}
                    assert name == "m3" or value == expected[name][quantity]
            await asyncio.sleep(5)
        assert (await mixed.round())["d17"] == right(17)
        return gaps, len(mixed.stations[17].server.heard) - heard

    for at in range(6):
        run_virtual(story(at))


def test_a_dead_dlms_meter_does_not_take_the_others_along():
    async def story() -> None:
        mixed = Mixed()
        await mixed.round()
        mixed.stations[17].server.feed = lambda data: b""  # type: ignore[method-assign]
        found = await mixed.round()
        assert set(found["d17"].values()) == {"gap: no_reply"}
        assert found["d18"] == right(18)
        assert found["m1"] == {"active_power": pytest.approx(8000.0)}

    run_virtual(story())


def test_an_echo_of_our_own_question_is_no_other_master():
    """The adapter hears what it says, the site file does not know, and the meter keeps silent: it was still us."""

    async def story() -> None:
        mixed = Mixed()
        mixed.stations[17].server.feed = lambda data: b""  # type: ignore[method-assign]
        link, said = mixed.field.link, []

        def echoed(data: bytes) -> None:
            said.append(data)
            CarrierLink._send(link, data)
            asyncio.get_running_loop().call_later(len(data) * link.char_s, link._came, data)

        link._send = echoed
        with pytest.raises((NoReply, BadReply)):
            await mixed.field.read(next(r for r in mixed.field.requests if r.device == "d17"))
        assert said
        assert mixed.field.foreign() == ""
        assert mixed.field.others == ()

    run_virtual(story())


# -- real ports and sockets --------------------------------------------------------------------------------------------


def boot_ms() -> int:
    return round(asyncio.get_running_loop().time() * 1000)


async def read_all(driver: DlmsDriver, *specs: DeviceSpec) -> dict[str, dict[str, object]]:
    return {spec.id: shown([o for request in requests(spec) for o in await driver.read(request)]) for spec in specs}


def test_over_a_real_port():
    async def story() -> None:
        master, slave = pty.openpty()
        tty.setraw(master)
        path = os.ttyname(slave)
        os.close(slave)
        (first, one), (second, other) = dlms(17, energy=17_000), dlms(18, energy=18_000)
        servers = [HdlcServer(one, ADDRESSES[17]), HdlcServer(other, ADDRESSES[18])]

        def far_end() -> None:
            try:
                data = os.read(master, 4096)
            except OSError:
                return
            for server in servers:
                if answer := server.feed(data):
                    os.write(master, answer)

        asyncio.get_running_loop().add_reader(master, far_end)
        spec = LinkSpec("bus", "serial", path=path, baud=115_200, timeout_s=1.0)
        driver = DlmsDriver(open_link(spec, now_ms=boot_ms), 1.0, boot_ms)
        try:
            for _ in range(5):
                assert await read_all(driver, first, second) == {"d17": right(17), "d18": right(18)}
            assert (one.associations, other.associations) == (1, 1)
            await driver.release()
            assert one.client is other.client is None
        finally:
            await driver.close()
            asyncio.get_running_loop().remove_reader(master)
            os.close(master)

    asyncio.run(story())


def net(port: int) -> LinkSpec:
    return LinkSpec("net", "dlms-tcp", "127.0.0.1", port, timeout_s=0.3, connect_timeout_s=1.0)


def test_over_a_real_socket_with_two_meters_behind_it():
    async def story() -> None:
        first, second = device(DlmsSpec(server=1), id_="d1"), device(DlmsSpec(server=2), id_="d2")
        meters = {1: meter(), 2: meter()}
        async with WrapperServer(meters) as server:
            driver = DlmsDriver(open_link(net(server.port), now_ms=boot_ms), 0.3, boot_ms)
            for _ in range(3):
                assert await read_all(driver, first, second) == {"d1": EXPECTED, "d2": EXPECTED}
            assert server.connections == 1
            server.cut()
            await asyncio.sleep(0.05)
            assert await read_all(driver, first, second) == {"d1": EXPECTED, "d2": EXPECTED}  # not a poll is lost
            assert server.connections == 2
            await driver.release()
            await driver.close()

    asyncio.run(story())


def test_a_connection_that_is_cut_in_the_middle_of_an_answer_is_a_link_that_is_down():
    async def story() -> None:
        served = meter()
        async with WrapperServer({1: served}) as server:
            driver = DlmsDriver(open_link(net(server.port), now_ms=boot_ms), 0.3, boot_ms)
            spec = device()

            def cut(answer: bytes) -> bytes | None:
                if answer[0] == 0xC4:
                    server.cut()
                    return None
                return answer

            served.says = cut
            with pytest.raises((LinkDown, NoReply)):
                await read_all(driver, spec)
            served.says = lambda answer: answer
            assert await read_all(driver, spec) == {"m1": EXPECTED}
            await driver.close()

    asyncio.run(story())


def test_a_late_answer_over_tcp_goes_with_its_connection():
    async def story() -> None:
        served = meter()
        async with WrapperServer({1: served}) as server:
            driver = DlmsDriver(open_link(net(server.port), now_ms=boot_ms), 0.3, boot_ms)
            spec = device(None, "active_energy_import")
            assert await read_all(driver, spec) == {"m1": {"active_energy_import": 1_234_560.0}}
            served.says = lambda answer: None if answer[0] == 0xC4 else answer
            with pytest.raises(NoReply):
                await read_all(driver, spec)
            served.says = lambda answer: answer
            served.values[place("1-0:1.8.0*255")] = u32(123_457)
            assert await read_all(driver, spec) == {"m1": {"active_energy_import": 1_234_570.0}}
            assert server.connections == 2
            await driver.close()

    asyncio.run(story())


def test_readings_have_their_frames():
    async def story() -> None:
        served = meter()
        async with WrapperServer({1: served}) as server:
            driver = DlmsDriver(open_link(net(server.port), now_ms=boot_ms), 0.3, boot_ms)
            (request,) = requests(device(None, "active_energy_import"))
            (reading,) = await driver.read(request)
            assert isinstance(reading, Reading)
            assert reading.frame is not None
            assert reading.frame.request[:6] == bytes.fromhex("000100100001")
            assert reading.frame.reply[-5:] == u32(123_456)
            await driver.close()

    asyncio.run(story())
