"""What goes wrong on the wire itself: the pair breaks, something hums into it, the adapter hears itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from simulator.clock import Ms
from simulator.faults import NEVER_MS
from simulator.line.station import LineClock, during
from simulator.line.wire import End, PacedLine


class LineFaultKind(StrEnum):
    CUT = "cut"  # between the master and all stations
    NOISE = "noise"  # 1 to 8 stray bytes, `every_s` of the wire's time in the mean
    ECHO = "echo"  # the master's adapter hears what it says


LINE_TRUTH: dict[LineFaultKind, str] = {
    LineFaultKind.CUT: "gap: no_reply from every device of the line",
    LineFaultKind.NOISE: "reading or gap: bad_reply, never another value",
    LineFaultKind.ECHO: "reading, where the link knows that its adapter echoes; else gap: bad_reply",
}
"""What an honest reader reports while the fault is in force; a scenario may say it more precisely."""


@dataclass(slots=True)
class LineFault:
    """One fault of a line in force over [from_ms, to_ms) of the scenario's time."""

    kind: LineFaultKind
    from_ms: Ms = -NEVER_MS
    to_ms: Ms = NEVER_MS
    every_s: float = 1.0
    truth: str = ""
    struck: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.truth = self.truth or LINE_TRUTH[self.kind]

    def in_force(self, at_ms: Ms) -> bool:
        return self.from_ms <= at_ms < self.to_ms


def disturb(
    line: PacedLine, clock: LineClock, faults: Iterable[LineFault], *, master: End, stations: Sequence[End], seed: int
) -> None:
    """Let a line's faults come and go at their times."""
    for number, fault in enumerate(faults):
        match fault.kind:
            case LineFaultKind.CUT:
                during(line, clock, fault, _counted(fault, lambda: line.cut(stations)), line.restore)
            case LineFaultKind.ECHO:
                during(
                    line,
                    clock,
                    fault,
                    _counted(fault, lambda: setattr(master, "echo", True)),
                    lambda: setattr(master, "echo", False),
                )
            case LineFaultKind.NOISE:
                noise = Noise(line, fault, Random(seed * 1000 + number))
                during(line, clock, fault, noise.begin, noise.end)


class Noise:
    """Somebody on the pair who makes no sense."""

    def __init__(self, line: PacedLine, fault: LineFault, chance: Random) -> None:
        self._line = line
        self._fault = fault
        self._chance = chance
        self._place = line.join("noise", lambda data, at_s: None)
        self._on = False

    def begin(self) -> None:
        self._on = True
        self._next()

    def end(self) -> None:
        self._on = False

    def _next(self) -> None:
        self._line.loop.call_later(self._chance.expovariate(1 / self._fault.every_s), self._strike)

    def _strike(self) -> None:
        if self._on:
            self._fault.struck += 1
            self._place.say(self._chance.randbytes(self._chance.randint(1, 8)))
            self._next()


def _counted(fault: LineFault, begin: Callable[[], object]) -> Callable[[], None]:
    def strike() -> None:
        fault.struck += 1
        begin()

    return strike
