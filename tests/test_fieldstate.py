"""What `status` says about lines and devices, on a simulated line: who is silent, what is cut, who else is master."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from drivers.link import CarrierLink
from edge_agent.app.fieldstate import FieldState
from edge_agent.cli.listing import ahead, show_field, span
from edge_agent.fieldbus import FieldLine
from edge_agent.image import ProcessImage
from edge_agent.model import DeviceSpec, Gap, LinkSpec, Profile, Quantity, Register
from edge_agent.poller import Poller
from simulator.faults import Fault, FaultKind
from simulator.line.carrier import Carrier
from simulator.line.second_master import Question, SecondMaster
from simulator.line.station import seat
from simulator.line.virtual import LoopClock
from simulator.line.wire import PacedLine
from tests.lines import T0, ask_rtu, rtu_station, virtually
from tests.rtu_line import LoopClock as BootClock

MAP = (
    Register(Quantity.ACTIVE_POWER, "input:0", "f32", "W", every_s=15),
    Register(Quantity.VOLTAGE_L1, "input:2", "f32", "V", every_s=15),
    Register(Quantity.ACTIVE_ENERGY_IMPORT, "input:8", "u32", "kWh", every_s=60),
)
PROFILE = Profile("small", "modbus", "small", "test", "primary", 60, MAP)
LONGEST_PAUSE_S, TIME_OUT_S = 300.0, 0.5


def never() -> Fault:
    return Fault(FaultKind.SILENCE)


class Site:
    """A line with four Modbus units and an agent's poller on it; `now` is what a person is shown."""

    def __init__(self, *faults: Fault, silent: int = 2, **spec: Any) -> None:
        more = {"shared_line": True, "listen_s": 0.0, **spec}
        self.wire = PacedLine()
        self.clock = LoopClock(self.wire.loop, T0)
        self.stations = [rtu_station(self.wire, n, *(faults if n == silent else ())) for n in range(1, 5)]
        self.ends = [seat(station, self.wire, self.clock) for station in self.stations]
        self.carrier = Carrier(self.wire)
        link = LinkSpec("bus", "serial", path="/dev/bus", timeout_s=TIME_OUT_S, **more)
        boot = BootClock()
        devices = [DeviceSpec(f"m{n}", "bus", n, PROFILE) for n in range(1, 5)]
        self.line = FieldLine(link, CarrierLink(self.carrier, link, now_ms=boot.now_ms), devices, boot.now_ms)
        self.image = ProcessImage({d.id: ("bus", None) for d in devices})
        self.poller = Poller(
            "bus", self.line, self.line.requests, clock=boot, take=self.image.take, chance=self._chance, line=self.line
        )
        self.chances = 0

    def _chance(self) -> float:
        self.chances += 1
        return 0.5

    @contextlib.asynccontextmanager
    async def polled(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.poller.run())
        yield
        assert not task.done()
        task.cancel()
        await asyncio.wait((task,))

    def now(self) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        boot = BootClock()
        state = FieldState(
            [self.poller], {"bus": self.line}, self.image.latest, boot.now_ms(), boot.state()
        )  # fmt: skip
        (link,) = state.links()
        return link, {d["id"]: d for d in state.devices(self.image.health())}

    def shown(self) -> str:
        link, devices = self.now()
        text = io.StringIO()
        show_field({"links": [link], "devices": list(devices.values())}, text, width=240)
        return text.getvalue()

    def asked(self, number: int) -> int:
        return self.stations[number - 1].unit.counts.requests


@virtually
async def test_a_silent_device_is_left_alone_and_status_says_why_since_when_and_until_when():
    site = Site(never())
    async with site.polled():
        await asyncio.sleep(3600)
        link, devices = site.now()
        text = site.shown()
    assert (link["state"], link["up"], link["where"]) == ("up", True, "bus, 9600 8N1")
    assert link["last_frame_s"] < 15
    assert link["said"] == "up"
    dead, well = devices["m2"], devices["m1"]
    assert dead["pause"]["cause"] == "no_reply"
    assert dead["pause"]["reason"] == "it keeps silent"
    assert dead["pause"]["detail"] == "unit 2 kept silent"
    assert dead["pause"]["failures"] > 10
    assert 3590 < dead["pause"]["since_s"] <= 3600
    assert dead["pause"]["since"].startswith("1970-01-01T")  # this boot clock is its own UTC
    assert 0 < dead["next_try_s"] <= LONGEST_PAUSE_S
    assert 0 < dead["asked_s"] <= LONGEST_PAUSE_S
    assert (dead["answered_s"], dead["last_good_s"], dead["latency_ms"]) == (None, None, None)
    assert well["pause"] is None
    assert well["said"] == "answers"
    assert 15 < well["latency_ms"]["last"] <= well["latency_ms"]["longest"] < 60
    assert well["answered_s"] <= 15
    assert "left alone: it keeps silent (unit 2 kept silent)" in text
    assert "never" in text


@virtually
async def test_one_silent_device_costs_the_others_one_time_out_for_each_pause():
    site = Site(never())
    async with site.polled():
        await asyncio.sleep(3600)
    pauses = 1 + 5 + (3600 - 465) // 300  # tried at 0, 15, 45, 105, 225, 465 s, then every five minutes
    assert pauses - 1 <= site.asked(2) <= pauses + 1
    for well in (1, 3, 4):
        assert site.asked(well) >= 240 + 60 - 2


@virtually
async def test_a_technicians_reading_of_a_silent_device_costs_one_time_out():
    """However many questions its map takes."""
    site = Site(never())
    async with site.polled():
        await asyncio.sleep(100)
        started_s = site.wire.loop.time()
        found = await site.poller.read_now("m2")
        assert site.wire.loop.time() - started_s < 1.5 * TIME_OUT_S
    assert len(site.line.requests) == 8, "two questions each"
    assert [(o.quantity, o.cause) for o in found if isinstance(o, Gap)] == [(r.quantity, "no_reply") for r in MAP]


@virtually
async def test_a_cut_pair_is_told_from_a_dead_device_and_all_come_back_when_it_is_mended():
    site = Site()
    async with site.polled():
        await asyncio.sleep(600)
        site.wire.cut(site.ends)
        await asyncio.sleep(1800)
        link, devices = site.now()
        assert link["state"] == "up", "a port does not notice it"
        assert "not one of its 4 devices answers" in link["said"]
        assert "A and B" in link["said"]
        assert {d["pause"]["cause"] for d in devices.values()} == {"no_reply"}
        assert all(1700 < d["last_good_s"] < 1830 for d in devices.values()), "the age of what is known"
        site.wire.restore()
        mended_s = site.wire.loop.time()
        while any(d["pause"] for d in site.now()[1].values()):  # noqa: ASYNC110
            await asyncio.sleep(1)
        took_s = site.wire.loop.time() - mended_s
        await asyncio.sleep(120)
        link, devices = site.now()
    assert took_s <= LONGEST_PAUSE_S + 20
    assert link["said"] == "up"
    assert Counter(d["said"] for d in devices.values()) == {"answers": 4}


@virtually
async def test_a_port_that_is_gone_is_the_links_failure_and_nobody_is_left_alone_for_it():
    site = Site()
    async with site.polled():
        await asyncio.sleep(60)
        site.carrier.unplug()
        await asyncio.sleep(30)
        link, devices = site.now()
        text = site.shown()
        assert (link["state"], link["up"]) == ("down", False)
        assert "unplugged" in link["detail"]
        assert 0 <= link["next_try_s"] <= 60
        assert 10 < link["since_s"] <= 30
        assert {d["pause"] for d in devices.values()} == {None}
        assert {d["said"] for d in devices.values()} == {"cannot be asked: link bus is down"}
        assert all(d["asked_s"] > 10 for d in devices.values()), "what could not leave is no question"
        assert "down: bus" in text
        tries = site.chances
        site.carrier.plug()
        await asyncio.sleep(60)
        link, devices = site.now()
    assert tries >= 2, "each pause before a try is drawn by lot"
    assert link["state"] == "up"
    assert {d["said"] for d in devices.values()} == {"answers"}


@virtually
async def test_while_a_line_is_listened_to_status_says_for_how_long_yet():
    site = Site(shared_line=False, listen_s=None, settlement=True)
    async with site.polled():
        await asyncio.sleep(300.5)
        link, devices = site.now()
        assert (link["state"], link["up"]) == ("listening", True)
        assert link["said"] == "listening before the first question, 660 s left"
        assert {d["said"] for d in devices.values()} == {"cannot be asked: link bus is being listened to first"}
        await asyncio.sleep(700)
        link, _ = site.now()
    assert link["state"] == "up"
    assert link["since_s"] < 50, "up since the listening ended"


def second_master(site: Site) -> SecondMaster:
    asks = [Question(ask_rtu(n, "04 0000 000A"), lambda came: len(came) >= 25) for n in (1, 3)]
    return SecondMaster(site.wire, asks, own=[site.ends[0], site.ends[2]], name="terminal", period_s=20, first_s=30)


@virtually
async def test_another_master_is_named_with_what_it_asks_and_what_to_do():
    site = Site(shared_line=False, listen_s=None)
    second_master(site)
    async with site.polled():
        await asyncio.sleep(600)
        link, devices = site.now()
        text = site.shown()
    assert (link["state"], link["up"], link["next_try_s"]) == ("given_up", False, None)
    assert link["masters"] == ["a Modbus RTU master that asks units 1, 3"]
    assert "second RS-485 port" in link["advice"]
    assert {d["said"] for d in devices.values()} == {"cannot be asked: link bus is another master's"}
    assert "units 1, 3" in text
    assert site.carrier.written == 0


@virtually
async def test_a_line_that_is_shared_by_agreement_says_with_whom():
    site = Site()
    second_master(site)
    async with site.polled():
        await asyncio.sleep(600)
        link, devices = site.now()
    assert link["state"] == "up"
    assert link["said"] == "up, shared with a Modbus RTU master that asks units 1, 3"
    assert {d["said"] for d in devices.values()} == {"answers"}


@virtually
async def test_a_device_that_refuses_some_of_its_registers_says_how_many():
    site = Site(Fault(FaultKind.HOLE, address="input:0x0002", count=2))
    async with site.polled():
        await asyncio.sleep(120)
        device = site.now()[1]["m2"]
    assert device["said"] == "answers; of 3 values 1 refused"
    assert device["pause"] is None
    (gone,) = device["missing"]
    assert (gone["quantity"], gone["cause"]) == ("voltage_l1", "refused")
    assert "illegal data address" in gone["detail"]


@virtually
async def test_a_device_that_refuses_everything_answers_and_is_not_left_alone():
    site = Site(Fault(FaultKind.EXCEPTION, code=1))
    async with site.polled():
        await asyncio.sleep(120)
        device = site.now()[1]["m2"]
    assert device["said"].startswith("it refuses everything it is asked for (unit 2: illegal function")
    assert device["pause"] is None
    assert device["answered_s"] is not None
    assert device["last_good_s"] is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h 0 min"), (186_000, "2 d 3 h")],
)
def test_how_long_is_said_in_words(seconds: float, said: str):
    assert span(seconds) == said
    assert ahead(seconds) == f"in {said}"
