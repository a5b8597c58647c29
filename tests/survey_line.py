"""A simulated line as a technician meets it: a link that can be set to any speed and parity, and nobody's word for it.

The adapter is set by what the scan asks for, as a serial port is; what hangs on the line stays as it is.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from drivers.link import CarrierLink
from edge_agent.model import LinkSpec, Ms
from edge_agent.survey import Place
from simulator.line.carrier import Carrier
from simulator.line.plan import LinePlan, PlayedLine
from simulator.line.uart import Format
from simulator.line.virtual import LoopClock
from simulator.line.wire import Tap
from simulator.scenario import load_scenario, scenarios_dir
from tests.rtu_line import LoopClock as BootClock

NOON_S = 36_000
"""10:00 of the scenario's day: the loads are there."""


class Stamp:
    """When this gateway last asked, in memory."""

    def __init__(self, *, fresh: bool = False) -> None:
        self.fresh = fresh
        self.marks = 0

    def is_fresh(self) -> bool:
        return self.fresh

    def mark(self) -> None:
        self.fresh = True
        self.marks += 1

    def forget(self) -> None:
        self.fresh = False


class Told:
    """A `Notice` that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.asked: list[tuple[str, float, float]] = []
        self.listened: list[float] = []

    def says(self, text: str) -> None:
        self.said.append(text)

    def listens(self, left_s: float) -> None:
        self.listened.append(left_s)

    def asks(self, what: str, spent_s: float, worst_s: float) -> None:
        self.asked.append((what, spent_s, worst_s))


class SurveyLine:
    """A line in play, and what the technician has of it. Made inside the loop that paces it."""

    def __init__(self, plan: LinePlan, start_ms: Ms, **link: Any) -> None:
        loop = asyncio.get_running_loop()
        self.played: PlayedLine = plan.play(loop, LoopClock(loop, start_ms))
        self.carrier = Carrier(self.played.line, name="technician")
        self.stamp = Stamp()
        self.told = Told()
        self.spec = LinkSpec("bus-1", "serial", path="/dev/ttyUSB0", **link)
        self.tap: Tap = self.played.line.tap()

    def place(self) -> Place:
        return Place(self.spec, BootClock(), stamp=self.stamp, open_link=self._open)

    def _open(self, spec: LinkSpec) -> CarrierLink:
        return CarrierLink(_Set(self.carrier, spec), spec, now_ms=BootClock().now_ms)

    @property
    def written(self) -> int:
        return self.carrier.written


class _Set:
    """The carrier, set to the link's speed and form when it is opened."""

    def __init__(self, carrier: Carrier, spec: LinkSpec) -> None:
        self._carrier = carrier
        self._form = Format(spec.baud, spec.parity, spec.data_bits, spec.stop_bits)

    def start(self, on_bytes: Any, on_lost: Any) -> None:
        self._carrier.end.format = self._form
        self._carrier.start(on_bytes, on_lost)

    def write(self, data: bytes) -> None:
        self._carrier.write(data)

    def close(self) -> None:
        self._carrier.close()


def scenario_line(name: str | Path, *, profiles: Path | None = None, **link: Any) -> SurveyLine:
    """The first line of a scenario that ships, or of a file; with more profiles than those that ship."""
    path = name if isinstance(name, Path) else scenarios_dir() / f"{name}.toml"
    scenario = load_scenario(path, profiles=profiles)
    return SurveyLine(scenario.lines[0], scenario.start_ms, **link)
