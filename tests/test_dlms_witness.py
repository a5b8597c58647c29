"""A simulated DLMS meter on its line, the agent's own parts, and what becomes of its events, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from drivers.link import CarrierLink
from edge_agent.app.backfilling import BackFilling
from edge_agent.app.identity import identity_of
from edge_agent.app.keeping import Keeping
from edge_agent.app.witnessing import Witnessing
from edge_agent.assembly import core_of
from edge_agent.audit.topic import Step
from edge_agent.fieldbus import FieldLine
from edge_agent.image import ProcessImage
from edge_agent.model import DeviceSpec, DlmsSpec, EventNumber, LinkSpec, Profile, Quantity, Register
from edge_agent.poller import Poller
from edge_agent.settings import config_files
from edge_agent.store import Store
from simulator.device import Fell
from simulator.dlms.codec import name_of, u32
from simulator.dlms.objects import CosemObject
from simulator.dlms.station import DlmsStation
from simulator.dlms.tables import LogTable
from simulator.line.carrier import Carrier
from simulator.line.station import Turnaround, seat
from simulator.line.virtual import LoopClock, run_virtual
from simulator.line.wire import PacedLine
from tests import figures
from tests.on_paper import MINUTE_MS, archive_of
from tests.sim_dlms import PLAIN, T0, sim_meter
from tests.sim_line import GENERIC
from tests.test_keeping import SITE
from tests.test_witness_line import BootClock, Cupboard

HOUR_S, HOUR_MS = 3600.0, 60 * MINUTE_MS
PHYSICAL = 17
WANTED = {
    Quantity.ACTIVE_ENERGY_IMPORT, Quantity.REACTIVE_ENERGY_IMPORT, Quantity.METER_SERIAL, Quantity.METER_CLOCK,
    Quantity.EVENTS_POWER_OFF,
}  # fmt: skip
COVER, MAGNET, RESET = 44, 42, 200
COUNTER = "0-0:96.15.1.255"


def profile(*, counter: bool = False, events: tuple[EventNumber, ...] = ()) -> Profile:
    """Of the shipped profile what a line at 9600 baud reads with ease; its logs and what their numbers mean are whole.

    `counter`: the maker counts openings of the cover as well; `events`: numbers of its own.
    """
    registers = tuple(r for r in GENERIC.registers if r.quantity in WANTED)
    assert {r.quantity for r in registers} == WANTED
    if counter:
        where = f"1/{COUNTER[:-4]}*255/2"
        registers += (Register(Quantity.EVENTS_COVER, where, "", "count", every_s=300.0),)
    return replace(GENERIC, registers=registers, events=GENERIC.events + events)


def at(minutes: float, code: int, log: int = 1) -> LogTable:
    return LogTable(at=minutes * 60.0, code=code, log=log)


class Site:
    """A factory's meter on its line; agents come and go, their store stays."""

    def __init__(self, *logs: LogTable, before: int = 0, **more: Any) -> None:
        self.line = PacedLine()
        clock = LoopClock(self.line.loop, T0)
        self.meter = sim_meter(clients=[PLAIN], logs=logs, clock=clock, physical=PHYSICAL, **more)
        opened = [T0 + round(entry.at * 1000) for entry in logs if entry.code == COVER]  # type: ignore[operator]
        counter = CosemObject(
            1, name_of(COUNTER), {2: lambda at_ms: u32(before + sum(opened_ms <= at_ms for opened_ms in opened))}
        )
        self.meter.holding.objects[counter.name] = counter
        self.station = DlmsStation("m1", self.meter, PHYSICAL, 2, Turnaround())
        seat(self.station, self.line, clock)
        self.carrier = Carrier(self.line)
        self.shelf = Cupboard()
        self.steps: list[Step] = []

    async def agent(self, for_s: float, profile: Profile = profile()) -> None:  # noqa: B008 (read once, frozen)
        """An agent for so long; then it is killed, and nothing that it had in memory is left."""
        archive = archive_of()
        dlms = DlmsSpec(client=1, physical=PHYSICAL, address_size=2)
        device = DeviceSpec("m1", "bus", 0, profile, 60.0, zone="Asia/Shanghai", dlms=dlms)
        core = core_of(archive, [device], config_files(), gateway="gw-1", release_set="cn-sg-meter")
        image, clock = ProcessImage({"m1": ("bus", "p")}), BootClock()
        spec = LinkSpec("bus", "serial", path="-", baud=9600, timeout_s=2.0)
        link = CarrierLink(self.carrier, spec, now_ms=clock.now_ms)
        field = FieldLine(spec, link, [device], clock.now_ms, utc_ms=lambda: clock.state().utc_ms(clock.now_ms()))
        poller = Poller("bus", field, field.requests, clock=clock, take=image.take, chance=lambda: 0.5)
        logs = ["m1"] if profile.event_log else []
        witnessing, backfilling = Witnessing(core, lambda _: poller, logs), BackFilling(core, lambda _: poller)
        keeping = Keeping(core, cast(Store, self.shelf), archive, identity_of(SITE.site, "0" * 64))
        keeping.restore()
        task = asyncio.create_task(poller.run())
        try:
            until_s = asyncio.get_running_loop().time() + for_s
            while asyncio.get_running_loop().time() < until_s:
                await asyncio.sleep(1.0)
                snapshot = image.cut(clock.now_ms(), clock.state())
                outcome = core.tick(snapshot)
                assert snapshot.now_ms is not None
                poller.confirm(outcome.wants)
                backfilling.follow(outcome.missing, snapshot.now_ms)
                witnessing.follow(outcome.rose, snapshot.now_ms)
                keeping.keep(outcome, snapshot)
                self.steps += outcome.steps
            assert not task.done(), task
        finally:
            witnessing.stop()
            backfilling.stop()
            task.cancel()
            await asyncio.wait((task,))
            await field.close()

    def of(self, topic: str) -> list[Step]:
        return [s for s in self.steps if s.topic == topic]


async def away(for_s: float) -> None:
    await asyncio.sleep(for_s)


@pytest.mark.parametrize("counter", [True, False], ids=["counter and log", "log"])
def test_a_cover_opened_while_the_agent_was_down_is_one_finding_of_the_meters(counter: bool):
    opened_ms = T0 + 2 * HOUR_MS
    given = profile(counter=counter)

    async def story() -> Site:
        site = Site(at(-20, COVER), at(120, COVER), before=7)
        await site.agent(HOUR_S / 2, given)
        assert site.steps == [], "what the log and the counter begin with is a baseline"
        await away(4 * HOUR_S)
        await site.agent(HOUR_S / 2, given)
        (step,) = site.of("met-cover")
        assert (step.kind, step.origin, step.severity) == ("opened", "meter", "major")
        assert step.measured["said_by"] == ("counter, log" if counter else "log")
        if counter:
            assert (step.measured["before"], step.measured["after"]) == (8, 9)
        assert (step.measured["logged_first_ms"], step.time_ms) == (opened_ms, opened_ms)
        await away(60.0)
        await site.agent(1.5 * HOUR_S, given)
        assert len(site.steps) == 1, "neither the counter, nor its log, nor another restart tells it again"
        return site

    site = run_virtual(story())
    assert site.station.writes_seen == 0
    (letter,) = [x for x in site.shelf.letters if "met-cover" in x]
    assert letter.endswith("/opened/1")
    figures.report(f"a DLMS meter's cover, {'counter and log' if counter else 'log alone'}", findings=len(site.steps))


def test_each_event_is_told_once_though_the_log_is_read_every_hour():
    async def story() -> None:
        site = Site(at(80, COVER), at(90, MAGNET), at(150, COVER))
        await site.agent(4.5 * HOUR_S)
        assert len({s.finding for s in site.of("met-cover")}) == 2
        assert len({s.finding for s in site.of("met-magnetic")}) == 1
        assert {s.origin for s in site.steps} == {"meter"}

    run_virtual(story())


def test_a_register_that_fell_as_the_meter_says_it_was_reset_has_two_origins():
    """The number 200 is this maker's own, and stands in its profile."""
    reset = EventNumber(RESET, "meter_reset", "0-0:99.98.0*255")

    async def story() -> None:
        fell = Fell(T0 + 100 * MINUTE_MS, "active_energy_import", 1_000_000.0)
        site = Site(at(100, RESET, log=0), events=[fell])
        await site.agent(3 * HOUR_S, profile(events=(reset,)))
        decreases, (change,) = site.of("met-decrease"), site.of("met-param-change")
        assert len({s.finding for s in decreases}) == 1
        assert decreases[-1].origin == "both"
        assert decreases[-1].measured["witness"] == "meter_reset"
        assert change.origin == "meter"

    run_virtual(story())


def test_a_number_that_the_profile_does_not_name_is_no_finding():
    async def story() -> None:
        site = Site(at(80, RESET), at(90, 46), at(95, 41))
        await site.agent(2.5 * HOUR_S)
        assert site.steps == []

    run_virtual(story())
