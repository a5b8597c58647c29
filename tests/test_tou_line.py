"""A simulated DL/T 645 meter that switches its rates by its own table: read on its line, judged by the archive's."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from drivers.link import CarrierLink
from edge_agent.assembly import core_of
from edge_agent.audit.topic import Answer, Step, Verdict
from edge_agent.fieldbus import FieldLine
from edge_agent.image import ProcessImage
from edge_agent.load.standings import RATES
from edge_agent.model import DeviceSpec, LinkSpec, Profile, Quantity
from edge_agent.poller import Poller
from edge_agent.settings import config_files
from edge_agent.settings.profile import load_profile
from simulator.device import Nameplate, SimMeter
from simulator.line.dlt645_tables import PROFILE, Plate645
from simulator.line.rates import RateRegisters
from simulator.line.virtual import run_virtual
from simulator.shape import constant
from tests import figures
from tests.lines import T0
from tests.on_paper import DAY_MS, MINUTE_MS, archive_of
from tests.test_dlt645 import METER
from tests.test_witness_line import HOUR_S, BootClock, Site

TOPIC = "tar-tou-schedule"
AT_ONE = ((0, 4), (60, 2))
"""Valley until one o'clock, then peak: what the archive has, and a meter that is right."""

SCHEDULE: dict[str, Any] = {
    "from": date(2024, 1, 1),
    "state": "verified",
    "period": [{"rate": 4, "from": "00:00", "to": "01:00"}, {"rate": 2, "from": "01:00", "to": "24:00"}],
}


def profile() -> Profile:
    wanted = {Quantity.ACTIVE_ENERGY_IMPORT, *RATES, Quantity.METER_CLOCK}
    shipped = load_profile(config_files().shipped / "profiles/dlt645-2007-3p.toml")
    registers = tuple(r for r in shipped.registers if r.quantity in wanted)
    assert {r.quantity for r in registers} == wanted
    return replace(shipped, registers=registers)


def watched(hours: float, **items: Any) -> tuple[list[Step], Counter[Answer], Counter[str]]:
    """What an agent says of the meter's rates in so many hours after midnight, all topics running."""
    steps: list[Step] = []
    answers: Counter[Answer] = Counter()
    reasons: Counter[str] = Counter()

    def hear(said: Mapping[str, Sequence[Verdict]]) -> None:
        for verdict in said[TOPIC]:
            answers[verdict.answer] += 1
            reasons[verdict.reason] += verdict.answer is Answer.UNKNOWN

    async def story() -> None:
        site = Site(**items)
        device = DeviceSpec("m1", "bus", 0, profile(), address=METER, zone="Asia/Shanghai")
        archive = archive_of({"tou": [SCHEDULE]})
        core = core_of(archive, [device], config_files(), gateway="gw-1", release_set="cn-sg-meter")
        core.hearers.append(hear)
        image, clock = ProcessImage({"m1": ("bus", "p")}), BootClock()
        spec = LinkSpec("bus", "serial", path="-", baud=9600, parity="E", timeout_s=2.0)
        field = FieldLine(spec, CarrierLink(site.carrier, spec, now_ms=clock.now_ms), [device], clock.now_ms)
        poller = Poller("bus", field, field.requests, clock=clock, take=image.take, chance=lambda: 0.5)
        task = asyncio.create_task(poller.run())
        try:
            until_s = asyncio.get_running_loop().time() + hours * HOUR_S
            while asyncio.get_running_loop().time() < until_s:
                await asyncio.sleep(5.0)
                outcome = core.tick(image.cut(clock.now_ms(), clock.state()))
                steps.extend(outcome.steps)
        finally:
            task.cancel()
            await asyncio.wait((task,))

    run_virtual(story())
    return steps, answers, reasons


def test_a_meter_that_switches_by_the_archives_schedule_is_found_in_order():
    steps, answers, reasons = watched(2.1, plate=Plate645(rate_switches=AT_ONE))
    figures.report("rates of a DL/T 645 meter in order", clear=answers[Answer.CLEAR])
    assert steps == []
    assert answers[Answer.BREACH] == 0
    assert answers[Answer.CLEAR] >= 15, (answers, reasons)


def test_a_meter_that_switches_an_hour_late_is_found_once_its_clock_was_asked_again():
    steps, answers, _ = watched(2.1, plate=Plate645(rate_switches=((0, 4), (120, 2))))
    assert [(s.topic, str(s.kind)) for s in steps] == [(TOPIC, "opened")]
    (step,) = steps
    assert (step.measured["expected"], step.measured["counted"]) == ("2", "4")
    assert step.measured["table"] == "4 00:00-01:00, 2 01:00-24:00"
    assert step.measured["right_kwh"] == 0
    figures.report("rates of a DL/T 645 meter that switches an hour late", breaches=answers[Answer.BREACH])
    assert answers[Answer.BREACH] >= 7


def test_a_meter_whose_clock_is_an_hour_late_has_no_wrong_table():
    """`dat-clock` speaks of it, on two reads."""
    steps, answers, reasons = watched(2.1, plate=Plate645(rate_switches=AT_ONE), clock_error_s=-3600.0)
    assert [s.topic for s in steps] == ["dat-clock"]
    assert answers[Answer.BREACH] == answers[Answer.CLEAR] == 0
    assert reasons["clock_off"] >= 15, reasons


def test_the_simulated_registers_of_the_rates_add_up_and_only_the_one_that_counts_moves():
    meter = SimMeter(PROFILE, constant(80_000, 1.0, origin_ms=T0), Nameplate("1", ct=80.0), start_ms=T0)
    rates = RateRegisters(meter, [(60, 2), (23 * 60, 4)], (0.1, 0.4, 0.3, 0.2), 8 * 60 * MINUTE_MS)
    name, before, moved = "active_energy_import", [0.0] * 4, Counter[int]()
    for at_ms in range(T0 + 30 * MINUTE_MS, T0 + 2 * DAY_MS, 30 * MINUTE_MS):
        held = [rates.value(name, n, at_ms) for n in (1, 2, 3, 4)]
        assert abs(sum(held) - float(meter.value(name, at_ms))) < 1e-6
        expected = 2 if 60 < (at_ms - T0) // MINUTE_MS % 1440 <= 23 * 60 else 4
        assert {n for n in (1, 2, 3, 4) if held[n - 1] - before[n - 1] > 1e-9} == {expected}
        moved[expected] += 1
        before = held
    assert rates.value(name, 4, T0 + 30 * MINUTE_MS) == 500.0, "a look back at what was before"
    assert moved == {2: 88, 4: 7}
