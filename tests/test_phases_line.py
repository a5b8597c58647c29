"""A simulated DL/T 645 meter on its line: what its phases show is judged as it is really asked; all in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from drivers.link import CarrierLink
from edge_agent.assembly import core_of
from edge_agent.audit.topic import Answer, Step, Verdict
from edge_agent.fieldbus import FieldLine
from edge_agent.image import ProcessImage
from edge_agent.model import DeviceSpec, LinkSpec, Profile
from edge_agent.poller import Poller
from edge_agent.settings import config_files
from edge_agent.settings.profile import load_profile
from simulator.line.virtual import run_virtual
from simulator.shape import Curve, steps
from tests import figures
from tests.lines import T0
from tests.on_paper import archive_of
from tests.test_dlt645 import METER
from tests.test_witness_line import BootClock, Site

SHOWN = ("voltage", "current_l", "active_power", "power_factor", "active_energy_import")
OF_ROUNDS = {
    "met-volt-loss", "met-curr-loss", "met-phase-break", "met-power-consistency", "met-reverse", "met-unbalance-i",
    "met-ct-overrange", "pq-volt-event", "pq-outage",
}  # fmt: skip


def profile() -> Profile:
    shipped = load_profile(config_files().shipped / "profiles/dlt645-2007-3p.toml")
    return replace(shipped, registers=tuple(r for r in shipped.registers if r.quantity.startswith(SHOWN)))


class Watched:
    """What an agent said about the site's meter in so many seconds."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.answers: dict[str, Counter[Answer]] = {t: Counter() for t in OF_ROUNDS}
        self.reasons: Counter[str] = Counter()
        self.of_blocks: dict[str, Counter[Answer]] = {"pq-volt-deviation": Counter()}

    def _hear(self, said: Mapping[str, Sequence[Verdict]]) -> None:
        for topic, verdicts in said.items():
            if topic in self.of_blocks:
                self.of_blocks[topic].update(v.answer for v in verdicts)
            if topic in OF_ROUNDS:
                self.answers[topic].update(v.answer for v in verdicts)
                self.reasons.update(v.reason for v in verdicts if v.answer is Answer.UNKNOWN)

    async def watch(self, site: Site, for_s: float) -> None:
        device = DeviceSpec("m1", "bus", 0, profile(), address=METER, zone="Asia/Shanghai")
        core = core_of(archive_of(), [device], config_files(), gateway="gw-1", release_set="cn-sg-meter")
        core.hearers.append(self._hear)
        image, clock = ProcessImage({"m1": ("bus", "p")}), BootClock()
        spec = LinkSpec("bus", "serial", path="-", baud=9600, parity="E", timeout_s=2.0)
        field = FieldLine(spec, CarrierLink(site.carrier, spec, now_ms=clock.now_ms), [device], clock.now_ms)
        poller = Poller("bus", field, field.requests, clock=clock, take=image.take, chance=lambda: 0.5)
        task = asyncio.create_task(poller.run())
        try:
            until_s = asyncio.get_running_loop().time() + for_s
            while asyncio.get_running_loop().time() < until_s:
                await asyncio.sleep(1.0)
                outcome = core.tick(image.cut(clock.now_ms(), clock.state()))
                poller.confirm(outcome.wants)
                self.steps += outcome.steps
        finally:
            task.cancel()
            await asyncio.wait((task,))


def watched(for_s: float, shares: tuple[float, float, float] | None = None, curve: Curve | None = None) -> Watched:
    async def story() -> Watched:
        factory = Site(curve=curve)
        if shares is not None:
            factory.meter.nameplate = replace(factory.meter.nameplate, shares=shares)
        out = Watched()
        await out.watch(factory, for_s)
        return out

    return run_virtual(story())


def test_a_meter_in_order_is_judged_and_found_in_order():
    seen = watched(3600.0)
    assert seen.steps == []
    clear = {t: answers[Answer.CLEAR] / max(1, answers.total()) for t, answers in seen.answers.items()}
    figures.report("phases of a DL/T 645 meter in order", least_share_clear=min(clear.values()))
    assert all(answers.total() > 60 for answers in seen.answers.values()), seen.answers
    assert min(clear.values()) > 0.9, (clear, seen.reasons)
    assert seen.of_blocks["pq-volt-deviation"] == {Answer.CLEAR: 3}, "readings of a minute cover a quarter of an hour"


def test_a_load_that_jumps_all_the_time_fits_its_voltages_and_currents_where_they_were_read_at_once():
    """Six-fold within seconds, like a saw mill's; powers are asked for twice as often as the rest."""
    chance = random.Random(20260310)
    levels, at_ms = [], 0
    while at_ms < 3_700_000:
        levels.append((at_ms, chance.choice([30e3, 60e3, 120e3, 180e3]), chance.uniform(0.7, 0.99)))
        at_ms += chance.randint(5_000, 90_000)
    seen = watched(3600.0, curve=steps(levels, origin_ms=T0))
    assert seen.steps == []
    answers = seen.answers["met-power-consistency"]
    figures.report("power against voltages and currents, load jumping", breaches=answers[Answer.BREACH])
    assert answers.total() >= 55
    assert answers[Answer.CLEAR] >= 0.9 * answers.total(), answers


@pytest.mark.parametrize(("shares", "topic", "key"), [((0.5, 0.5, 0.0), "met-curr-loss", "l3")])
def test_a_phase_without_current_is_found_on_the_line(shares: tuple[float, float, float], topic: str, key: str):
    seen = watched(1500.0, shares)
    assert [(s.topic, s.key, str(s.kind)) for s in seen.steps] == [(topic, key, "opened")]
    (step,) = seen.steps
    assert step.measured["current_l3_a"] == 0
    assert step.measured["current_l1_a"] > 200
