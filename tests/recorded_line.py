"""A factory's meter that writes its load down, on a line in virtual time; agents come and go, their store stays.

The meter is a DL/T 645 one with load records, or a DLMS one with a load profile, over HDLC. What the agent is made of
is the agent's own: poller, core, back-fill and keeping; only its wiring is repeated here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

from drivers.link import CarrierLink
from edge_agent.app.backfilling import BackFilling
from edge_agent.app.identity import identity_of
from edge_agent.app.keeping import Keeping
from edge_agent.assembly import core_of
from edge_agent.audit.topic import Step
from edge_agent.backfill import WHOLE
from edge_agent.core import Core
from edge_agent.fieldbus import FieldLine
from edge_agent.image import ProcessImage
from edge_agent.load.views import Interval, Source
from edge_agent.model import DeviceSpec, DlmsSpec, LinkSpec, Ms, Profile, Quantity, Recorded
from edge_agent.poller import Poller
from edge_agent.ports import NoReply
from edge_agent.settings import config_files
from edge_agent.settings.profile import load_profile
from edge_agent.store import Store
from simulator.device import Event, Nameplate, SimMeter
from simulator.dlms.station import DlmsStation
from simulator.faults import Fault, Faults
from simulator.line.carrier import Carrier
from simulator.line.dlt645 import Dlt645Station
from simulator.line.dlt645_items import Items
from simulator.line.dlt645_tables import PROFILE
from simulator.line.station import seat
from simulator.line.uart import Format
from simulator.line.virtual import LoopClock
from simulator.line.wire import PacedLine
from simulator.shape import Curve, steps
from tests.lines import T0
from tests.on_paper import DAY_MS, MINUTE_MS, archive_of
from tests.sim_dlms import PLAIN, sim_meter
from tests.test_dlt645 import METER
from tests.test_keeping import SITE
from tests.test_witness_line import BootClock, Cupboard

ALL = bool(os.environ.get("EDGE_PROVE_BACKFILL_ALL"))
"""Every combination; otherwise some of each."""

HOUR_S, HOUR_MS, QUARTER_MS = 3600.0, 60 * MINUTE_MS, 15 * MINUTE_MS
K, STEP_WH = 80, 10.0
WANTED = {Quantity.ACTIVE_ENERGY_IMPORT, Quantity.REACTIVE_ENERGY_IMPORT, Quantity.METER_SERIAL,
          Quantity.METER_DATE, Quantity.METER_TIME}  # fmt: skip
"""Of the shipped profiles: a line reads more, a test need not."""

UP_H, DOWN_H = 2, 4.5
OVERLOAD = ((0.0, 120.0), (UP_H, 240.0), (DOWN_H, 120.0))
"""Hours and kW; at a power factor of 0.85 these are 141 and 282 kVA, of 250."""


def load_of(levels: Sequence[tuple[float, float]]) -> Curve:
    """(hours from T0, kW)"""
    return steps([(round(h * HOUR_MS), kw * 1000, 0.85) for h, kw in levels], origin_ms=T0)


def _profile(name: str, recorded: str) -> Profile:
    shipped = load_profile(config_files().shipped / f"profiles/{name}.toml")
    registers = tuple(r for r in shipped.registers if r.quantity in WANTED)
    return Profile(shipped.name, shipped.driver, "m", "s", shipped.side, 10, registers, load_profile=recorded)


class RecordedLine:
    """`protocol`: "dlt645" or "dlms". `recorded`: what the device's profile names as load profile; None: as shipped."""

    def __init__(
        self, protocol: str = "dlt645", *faults: Fault, levels: Sequence[tuple[float, float]] = OVERLOAD,
        events: Sequence[Event] = (), recorded: str | None = None, clock_error_s: float = 0.0, every_min: int = 15,
        point: dict[str, Any] | None = None, **meter: Any,
    ) -> None:  # fmt: skip
        self.line = PacedLine(Format(9600, "E"))
        clock = LoopClock(self.line.loop, T0)
        curve = load_of(levels)
        self.device: DeviceSpec
        self.station: Dlt645Station | DlmsStation
        if protocol == "dlt645":
            plate = Nameplate("000000123456", ct=K)
            registers = {"active_energy_import": 1_234_560.0, "reactive_energy_import": 765_430.0}
            self.meter = SimMeter(PROFILE, curve, plate, start_ms=T0, registers=registers, events=events)
            items = Items(
                self.meter, METER, faults=Faults(faults), clock_error_s=clock_error_s, load_every_min=every_min, **meter
            )
            self.station = Dlt645Station("m1", METER, items, clock)
            profile = _profile("dlt645-2007-3p", f"di:06040001/{every_min}" if recorded is None else recorded)
            self.device = DeviceSpec("m1", "bus", 0, profile, 60.0, address=METER, zone="Asia/Shanghai")
        else:
            made = sim_meter(
                *faults, clients=[PLAIN], curve=curve, clock=clock, events=events, clock_error_s=clock_error_s,
                capture_s=60 * every_min, inactivity_s=0, **meter,
            )  # fmt: skip
            self.meter = made.holding.meter
            self.station = DlmsStation("m1", made, 17, 2)
            profile = _profile("dlms-generic-3p", "1-0:99.1.0*255" if recorded is None else recorded)
            spec = DlmsSpec(client=1, server=1, physical=17, address_size=2)
            self.device = DeviceSpec("m1", "bus", 0, profile, 60.0, dlms=spec)
        seat(self.station, self.line, clock)
        self.carrier = Carrier(self.line)
        self.archive = archive_of(point or {})
        self.shelf = Cupboard()
        self.steps: list[Step] = []
        self.closed: list[Interval] = []
        self.core: Core
        self.withheld_s = 0.0
        """Until then whoever asks for records hears nothing."""

    async def agent(self, for_s: float) -> None:
        """An agent for so long; then it is killed, and nothing that it had in memory is left."""
        core = self.core = core_of(
            self.archive, [self.device], config_files(), gateway="gw-1", release_set="cn-sg-meter"
        )
        image, clock = ProcessImage({"m1": ("bus", "p")}), BootClock()
        spec = LinkSpec("bus", "serial", path="-", baud=9600, parity="E", timeout_s=2.0)
        link = CarrierLink(self.carrier, spec, now_ms=clock.now_ms)
        field = FieldLine(spec, link, [self.device], clock.now_ms, utc_ms=lambda: clock.state().utc_ms(clock.now_ms()))
        given = field.recorded

        async def recorded(device: str, since_ms: Ms, until_ms: Ms) -> Sequence[Recorded]:
            if asyncio.get_running_loop().time() < self.withheld_s:
                raise NoReply(f"{device} is busy with itself")
            return await given(device, since_ms, until_ms)

        field.recorded = recorded  # type: ignore[method-assign]
        poller = Poller("bus", field, field.requests, clock=clock, take=image.take, chance=lambda: 0.5)
        backfilling = BackFilling(core, lambda _: poller)
        keeping = Keeping(core, cast(Store, self.shelf), self.archive, identity_of(SITE.site, "0" * 64))
        keeping.restore()
        task = asyncio.create_task(poller.run())
        try:
            until_s = asyncio.get_running_loop().time() + for_s
            while asyncio.get_running_loop().time() < until_s:
                await asyncio.sleep(5.0)
                snapshot = image.cut(clock.now_ms(), clock.state())
                outcome = core.tick(snapshot)
                assert snapshot.now_ms is not None
                poller.confirm(outcome.wants)
                backfilling.follow(outcome.missing, snapshot.now_ms)
                keeping.keep(outcome, snapshot)
                self.steps += outcome.steps
                self.closed += outcome.closed
            assert not task.done(), task
        finally:
            backfilling.stop()
            task.cancel()
            await asyncio.wait((task,))

    # -- what came out ------------------------------------------------------------------------------------------

    def told(self, topic: str = "cap-over-contract") -> list[str]:
        return [s.kind.value for s in self.steps if s.topic == topic]

    def blocks(self) -> dict[Ms, Interval]:
        """The demand periods of which something is known, by their ends; an AssertionError where one is there twice."""
        found: dict[Ms, Interval] = {}
        for interval in self.closed:
            if interval.block and interval.count == 1 and interval.register is not None:
                before = found.get(interval.end_ms)
                assert before is None or before.coverage < WHOLE, "an interval was judged twice"
                found[interval.end_ms] = interval
        return found

    def known(self, from_h: float, to_h: float) -> dict[float, str]:
        """Source by the hour at which a period ends, in (from, to]."""
        return {
            (end - T0) / HOUR_MS: i.register.source.value
            for end, i in sorted(self.blocks().items())
            if i.register is not None and from_h < (end - T0) / HOUR_MS <= to_h
        }

    def energy_off_wh(self, from_h: float, to_h: float) -> float:
        """What the periods add up to, less what the meter's register moved, primary side. They must be all there."""
        ends = range(T0 + round(from_h * HOUR_MS) + QUARTER_MS, T0 + round(to_h * HOUR_MS) + 1, QUARTER_MS)
        blocks = self.blocks()
        assert [e for e in ends if e not in blocks] == []
        demands = [blocks[e].register for e in ends]
        wh = sum(d.active.value for d in demands if d is not None and d.active is not None) / 4
        before, after = (self.shown_wh(ms) for ms in (ends[0] - QUARTER_MS, ends[-1]))
        return wh - (after - before) * K

    def shown_wh(self, at_ms: Ms) -> float:
        """What the meter's register of active import shows, on its side."""
        return float(self.meter.value("active_energy_import", at_ms)) // STEP_WH * STEP_WH

    def reasons(self) -> list[str]:
        """Why something is unknown, in the order of time, each as often as it begins anew."""
        told = [i.spans for i in self.closed if i.spans.startswith("gap")]
        return [code for n, code in enumerate(told) if n == 0 or told[n - 1] != code]

    def overload_is_told_once(self) -> None:
        """As if there had been no gap: opened, risen, cleared, all with the profile as source."""
        assert self.told() == ["opened", "updated", "cleared"]
        opened, _, cleared = [s for s in self.steps if s.topic == "cap-over-contract"]
        assert {s.measured["source"] for s in (opened, cleared)} == {"profile"}
        assert opened.time_ms == T0 + UP_H * HOUR_MS + QUARTER_MS
        assert cleared.time_ms == T0 + round(DOWN_H * HOUR_MS) + 45 * MINUTE_MS
        assert cleared.counts["intervals"] == cleared.counts["longest_run"] == (DOWN_H - UP_H) * 4
        assert [i for i, j in pairwise(self.steps) if i.finding == j.finding and i.n >= j.n] == []


__all__ = ["DAY_MS", "RecordedLine", "Source"]
