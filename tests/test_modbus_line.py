"""The Modbus driver on the simulated line: UART garbling, noise, pieces cut anywhere, answers late and overtaken.

Every register of a unit holds the number of the question it answers, so a value tells which question that was.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest

from drivers.link import CarrierLink
from drivers.modbus import open_driver, requests
from edge_agent.model import LinkSpec, Reading
from edge_agent.ports import DriverError
from simulator.faults import Faults
from simulator.line.carrier import Carrier, at_random
from simulator.line.disturbance import LineFault, LineFaultKind, Noise
from simulator.line.modbus_rtu import rtu, whole
from simulator.line.station import seat
from simulator.line.uart import Format
from simulator.line.virtual import LoopClock, run_virtual
from simulator.line.wire import PacedLine, Reply
from tests.lines import T0
from tests.rtu_line import E32, F16, P32, R32, U16, unit


class Numbering:
    """A unit whose registers hold the number of the question; `share` of its answers come up to `longest_s` late."""

    def __init__(self, unit_id: int, chance: Random, share: float, longest_s: float, asked: list[int]) -> None:
        self.name = f"unit {unit_id}"
        self.faults = Faults()
        self.late = 0
        self._unit_id = unit_id
        self._chance = chance
        self._share = share
        self._longest_s = longest_s
        self._asked = asked
        self._came = bytearray()

    def heard(self, data: bytes, at_s: float) -> Sequence[Reply]:
        self._came += data
        return ()

    def quiet(self, at_s: float) -> Sequence[Reply]:
        frame = bytes(self._came)
        self._came.clear()
        if not frame or frame[0] != self._unit_id or not whole(frame):
            return ()
        number, size = len(self._asked), 2 * (frame[4] << 8 | frame[5])
        self._asked.append(self._unit_id)
        after_s, chance = 0.02 + 0.02 * self._chance.random(), self._chance.random()
        if chance < self._share:
            self.late += 1
            after_s = 0.25 + self._longest_s * self._chance.random() ** 2
        elif chance < self._share + 0.01:
            return ()
        words = (number & 0xFFFF).to_bytes(2, "big") * (size // 2)
        return (Reply(rtu(self._unit_id, bytes((frame[1], size)) + words), after_s),)


async def polled(
    seed: int, share: float, longest_s: float, noise_s: float | None, form: Format, *, echo: bool, polls: int
) -> Counter[str]:
    loop = asyncio.get_running_loop()
    chance, asked, seen = Random(seed), list[int](), Counter[str]()
    line = PacedLine(form)
    units = [Numbering(number, chance, share, longest_s, asked) for number in range(1, 6)]
    for station in units:
        seat(station, line, LoopClock(loop, T0))
    carrier = Carrier(line, echo=echo, split=at_random(chance))
    if noise_s is not None:
        Noise(line, LineFault(LineFaultKind.NOISE, every_s=noise_s), chance).begin()
    spec = LinkSpec("bus", "serial", path="-", baud=form.baud, parity=form.parity, timeout_s=0.25, echo=echo)
    driver = open_driver(CarrierLink(carrier, spec, now_ms=lambda: 0), spec, lambda: 0)
    planned = [r for number in range(1, 6) for r in requests(unit(number, E32, P32, U16, F16, R32))]
    while seen["polls"] < polls:
        for request in planned:
            first = len(asked)
            seen["polls"] += 1
            try:
                found = await driver.read(request)
            except DriverError as error:
                seen[type(error).__name__] += 1
                await asyncio.sleep(0.3)
                continue
            right = {n & 0xFFFF for n in range(first, len(asked)) if asked[n] == request.unit}
            for outcome in found:
                if isinstance(outcome, Reading):
                    scale = {"voltage_l1": 0.1, "current_n": 0.01}.get(outcome.quantity, 1.0)
                    seen["right" if round(outcome.value / scale) & 0xFFFF in right else "WRONG"] += 1
    seen["late"] = sum(station.late for station in units)
    return seen


@pytest.mark.parametrize(
    ("share", "longest_s", "noise_s", "form", "echo"),
    [
        (0.04, 8.0, None, Format(), False),
        (0.3, 3.0, None, Format(9600, "E"), False),
        (0.04, 4.0, 1.0, Format(), False),
        (0.04, 4.0, 0.3, Format(19200, "E"), True),
        (0.2, 20.0, 2.0, Format(115200), False),
    ],
)
def test_on_a_line_with_noise_and_late_answers_every_value_answers_its_own_question(
    share, longest_s, noise_s, form, echo
):
    seen = run_virtual(polled(11, share, longest_s, noise_s, form, echo=echo, polls=3_000))
    assert seen["WRONG"] == 0
    assert seen["late"] > 50
    assert seen["right"] > 1_000
