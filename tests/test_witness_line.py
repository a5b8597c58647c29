"""A simulated DL/T 645 meter, the agent's own parts on its line, and what becomes of events; all in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
from edge_agent.load.views import Interval, Source
from edge_agent.model import ClockQuality, ClockState, DeviceSpec, LinkSpec, Ms, Profile, Quantity
from edge_agent.poller import Poller
from edge_agent.settings import config_files
from edge_agent.settings.profile import load_profile
from edge_agent.store import Store
from simulator.device import Fell, Nameplate, SimMeter
from simulator.line.carrier import Carrier
from simulator.line.dlt645 import Dlt645Station
from simulator.line.dlt645_items import Items
from simulator.line.dlt645_records import Happened
from simulator.line.dlt645_tables import PROFILE
from simulator.line.station import seat
from simulator.line.uart import Format
from simulator.line.virtual import LoopClock, run_virtual
from simulator.line.wire import PacedLine
from simulator.shape import Curve, constant
from tests import figures
from tests.lines import T0
from tests.on_paper import MINUTE_MS, archive_of
from tests.test_dlt645 import METER
from tests.test_keeping import SITE, Shelf

HOUR_S, HOUR_MS = 3600.0, 60 * MINUTE_MS
WANTED = {
    Quantity.ACTIVE_ENERGY_IMPORT, Quantity.REACTIVE_ENERGY_IMPORT, Quantity.METER_SERIAL, Quantity.METER_DATE,
    Quantity.METER_TIME, Quantity.EVENTS_COVER, Quantity.EVENTS_METER_RESET, Quantity.EVENTS_MAGNETIC,
}  # fmt: skip
"""Of the shipped profile: a line at 9600 baud reads more, a test need not."""


def profile(**changes: Any) -> Profile:
    shipped = load_profile(config_files().shipped / "profiles/dlt645-2007-3p.toml")
    registers = tuple(r for r in shipped.registers if r.quantity in WANTED)
    assert {r.quantity for r in registers} == WANTED
    return Profile(shipped.name, "dlt645", "m", "s", shipped.side, 10, registers, **changes)


class Cupboard(Shelf):
    """A store that keeps no telemetry."""

    def add_intervals(self, rows: Any, boundaries: Any) -> None: ...


class BootClock:
    """Boot time is the loop's, and the gateway knows the time."""

    def now_ms(self) -> Ms:
        return round(asyncio.get_running_loop().time() * 1000)

    def state(self) -> ClockState:
        return ClockState(ClockQuality.SYNCED, T0, 0)

    async def sleep_until(self, bt_ms: Ms) -> None:
        await asyncio.sleep(max(0.0, bt_ms / 1000 - asyncio.get_running_loop().time()))


class Site:
    """A factory's meter on its line; agents come and go, their store stays."""

    def __init__(
        self, *happened: Happened, events: Sequence[Fell] = (), p_kw: float = 100.0, curve: Curve | None = None,
        **items: Any,
    ) -> None:  # fmt: skip
        self.line = PacedLine(Format(9600, "E"))
        plate = Nameplate("000000123456", ct=80.0)
        curve = constant(p_kw * 1000, 0.9, origin_ms=T0) if curve is None else curve
        registers = {"active_energy_import": 1_234_560.0}
        self.meter = SimMeter(PROFILE, curve, plate, start_ms=T0, registers=registers, events=events)
        clock = LoopClock(self.line.loop, T0)
        self.station = Dlt645Station("m1", METER, Items(self.meter, METER, happened=happened, **items), clock)
        seat(self.station, self.line, clock)
        self.carrier = Carrier(self.line)
        self.shelf = Cupboard()
        self.steps: list[Step] = []
        self.told_s: list[float] = []
        self.closed: list[Interval] = []

    async def agent(self, for_s: float, *, profile: Profile = profile()) -> None:  # noqa: B008 (read once, frozen)
        """An agent for so long; then it is killed, and nothing that it had in memory is left."""
        archive = archive_of()
        device = DeviceSpec("m1", "bus", 0, profile, address=METER, zone="Asia/Shanghai")
        core = core_of(archive, [device], config_files(), gateway="gw-1", release_set="cn-sg-meter")
        image, clock = ProcessImage({"m1": ("bus", "p")}), BootClock()
        spec = LinkSpec("bus", "serial", path="-", baud=9600, parity="E", timeout_s=2.0)
        field = FieldLine(spec, CarrierLink(self.carrier, spec, now_ms=clock.now_ms), [device], clock.now_ms)
        poller = Poller("bus", field, field.requests, clock=clock, take=image.take, chance=lambda: 0.5)
        witnessing, backfilling = Witnessing(core, lambda _: poller), BackFilling(core, lambda _: poller)
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
                self.told_s += [asyncio.get_running_loop().time()] * len(outcome.steps)
                self.closed += outcome.closed
            assert not task.done(), task
        finally:
            witnessing.stop()
            backfilling.stop()
            task.cancel()
            await asyncio.wait((task,))

    def of(self, topic: str) -> list[Step]:
        return [s for s in self.steps if s.topic == topic]


async def away(for_s: float) -> None:
    await asyncio.sleep(for_s)


def test_a_cover_opened_while_the_agent_was_down_is_one_finding_of_the_meters():
    opened_ms, closed_ms = T0 + 2 * HOUR_MS, T0 + 2 * HOUR_MS + 4 * MINUTE_MS

    async def story() -> Site:
        site = Site(Happened("cover_open", opened_ms, closed_ms))
        await site.agent(HOUR_S / 2)
        assert site.steps == []
        await away(4 * HOUR_S)
        await site.agent(HOUR_S / 2)
        (step,) = site.of("met-cover")
        assert (step.kind, step.origin, step.severity) == ("opened", "meter", "major")
        said = step.measured
        assert (said["before"], said["after"], said["said_by"]) == (0, 1, "counter, log")
        assert (said["logged_first_ms"], step.time_ms) == (opened_ms, opened_ms)
        assert said["before_ms"] < opened_ms < said["after_ms"]
        await away(60.0)
        await site.agent(1.5 * HOUR_S)
        assert len(site.steps) == 1, "neither the counter, nor its log, nor another restart tells it again"
        return site

    site = run_virtual(story())
    assert site.station.counts.writes_seen == 0
    told_s = site.told_s[0] - 4.5 * HOUR_S
    assert told_s < 60
    figures.report("an opened cover, found after a restart", told_after_s=round(told_s))
    (letter,) = [x for x in site.shelf.letters if "met-cover" in x]
    assert letter.endswith("/opened/1")


def test_the_first_reading_of_every_counter_is_a_baseline():
    async def story() -> None:
        site = Site(*(Happened("cover_open", T0 - n * HOUR_MS) for n in range(1, 4)), counters={"03350000": 7})
        await site.agent(HOUR_S)
        assert site.steps == []

    run_virtual(story())


def test_a_meter_that_writes_nothing_down_is_believed_by_its_counter():
    async def story() -> None:
        site = Site(Happened("magnetic", T0 + 20 * MINUTE_MS), Happened("cover_open", T0 + 21 * MINUTE_MS))
        site.station.items._event_record = lambda *_: None  # type: ignore[method-assign]
        await site.agent(HOUR_S)
        (magnetic,), (cover,) = site.of("met-magnetic"), site.of("met-cover")
        assert magnetic.measured["said_by"] == cover.measured["said_by"] == "counter"
        assert cover.measured["start_ms"] < T0 + 21 * MINUTE_MS < cover.measured["end_ms"]

    run_virtual(story())


def test_a_clock_that_is_off_does_not_hide_what_the_counter_says():
    async def story() -> None:
        site = Site(Happened("cover_open", T0 + 40 * MINUTE_MS), clock_error_s=-900.0)
        await site.agent(1.5 * HOUR_S)
        (step,) = site.of("met-cover")
        assert step.measured["said_by"] == "counter"
        assert "logged_first_ms" not in step.measured

    run_virtual(story())


def test_a_register_that_fell_as_the_meter_says_it_was_reset_has_two_origins():
    at_ms = T0 + 40 * MINUTE_MS

    async def story() -> None:
        fell = Fell(at_ms, "active_energy_import", 1_000_000.0)
        site = Site(Happened("meter_reset", at_ms, operator="0000ABCD"), events=[fell])
        await site.agent(2 * HOUR_S)
        decreases, (change,) = site.of("met-decrease"), site.of("met-param-change")
        assert len({s.finding for s in decreases}) == 1
        assert [s.kind for s in decreases] in (["opened"], ["opened", "annotated"])
        assert decreases[-1].origin == "both"
        assert decreases[-1].measured["witness"] == "meter_reset"
        assert (change.origin, change.severity, change.measured["operator"]) == ("meter", "major", "0000ABCD")

    run_virtual(story())


@pytest.mark.parametrize("recording", [True, False], ids=["load records", "none"])
def test_a_gap_is_filled_from_the_meters_load_records(recording: bool):
    """240 kW at 0.9 are 267 kVA of 250, while the agent is away; the finding says where the figure comes from."""

    async def story() -> None:
        site = Site(p_kw=240.0)
        given = profile(load_profile="di:06040001/15" if recording else "")
        await site.agent(120.0, profile=given)
        await away(3 * HOUR_S)
        await site.agent(HOUR_S, profile=given)
        blocks = [i for i in site.closed if i.block and i.register is not None and i.count == 1]
        ends = [(i.end_ms - T0) // MINUTE_MS for i in blocks]
        recorded = [i for i in blocks if i.register is not None and i.register.source is Source.PROFILE]
        opened = [s for s in site.of("cap-over-contract") if s.kind == "opened"]
        if recording:
            assert ends == list(range(15, 15 * len(ends) + 1, 15)), "every period once, in order"
            assert len(ends) >= 15
            assert len(recorded) >= 11
            assert [s.measured["source"] for s in opened] == ["profile"]
            figures.report("three hours away, DL/T 645 load records", periods_filled=len(recorded))
        else:
            assert recorded == []
            assert [s.measured["source"] for s in opened] != ["profile"]

    run_virtual(story())
