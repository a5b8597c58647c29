"""What hangs on a line and answers, and how a fault spoils an answer on its way out of the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from simulator.clock import Ms, SimClock
from simulator.faults import NEVER_MS, Fault, FaultKind, Faults
from simulator.line.uart import Format
from simulator.line.wire import End, PacedLine, Reply


class LineClock(SimClock, Protocol):
    """Scenario time that also knows how far away an instant is."""

    def real_s_until(self, utc_ms: Ms) -> float:
        """Seconds of the loop's time from now until scenario time reaches `utc_ms`; negative when it has passed."""


class Station(Protocol):
    """A device on a line: it hears bytes and silence, and says its replies some time after the last character."""

    name: str

    @property
    def faults(self) -> Faults: ...

    def heard(self, data: bytes, at_s: float) -> Sequence[Reply]: ...

    def quiet(self, at_s: float) -> Sequence[Reply]: ...


@dataclass(slots=True)
class Turnaround:
    """How long a device thinks: `s`, and up to `jitter_s` more."""

    s: float = 0.03
    jitter_s: float = 0.0
    chance: Random | None = None

    def next_s(self) -> float:
        if self.jitter_s == 0.0 or self.chance is None:
            return self.s
        return self.s + self.chance.random() * self.jitter_s


def seat(station: Station, line: PacedLine, clock: LineClock, *, form: Format | None = None) -> End:
    """Hang a station on a line; faults of its character format come and go at their times."""

    def say(replies: Sequence[Reply], at_s: float) -> None:
        for reply in replies:
            line.loop.call_at(at_s + reply.after_s, end.say, reply.data)

    def heard(data: bytes, at_s: float) -> None:
        if replies := station.heard(data, at_s):
            say(replies, at_s)

    def quiet(at_s: float) -> None:
        if replies := station.quiet(at_s):
            say(replies, at_s)

    end = line.join(station.name, heard, quiet, form=form)
    right = end.format
    wrong = replace(right, parity="N" if right.parity != "N" else "E")
    for fault in station.faults.all:
        if fault.kind is FaultKind.WRONG_PARITY:
            during(line, clock, fault, lambda: setattr(end, "format", wrong), lambda: setattr(end, "format", right))
    return end


class Lasting(Protocol):
    """Something in force over [from_ms, to_ms) of the scenario's time."""

    @property
    def from_ms(self) -> Ms: ...

    @property
    def to_ms(self) -> Ms: ...


def during(
    line: PacedLine, clock: LineClock, fault: Lasting, begin: Callable[[], object], end: Callable[[], object]
) -> None:
    """Call `begin` and `end` at the fault's two instants; at once what has begun, never what is over."""
    if fault.to_ms < NEVER_MS:
        until_s = clock.real_s_until(fault.to_ms)
        if until_s <= 0:
            return
        line.loop.call_later(until_s, end)
    if fault.from_ms <= clock.utc_ms():
        begin()
    elif fault.from_ms < NEVER_MS:
        line.loop.call_later(clock.real_s_until(fault.from_ms), begin)


def spoil(frame: bytes, fault: Fault, after_s: float, *, check: int, chance: Random) -> list[Reply]:
    """A right reply as the fault lets it out; `check` is the index of its checksum's octet."""
    match fault.kind:
        case FaultKind.SILENCE:
            return []
        case FaultKind.LATE:
            return [Reply(frame, after_s + fault.delay_ms / 1000)]
        case FaultKind.WRONG_CHECK:
            wrong = bytearray(frame)
            wrong[check] ^= 0x01
            return [Reply(bytes(wrong), after_s)]
        case FaultKind.CUT_FRAME:
            return [Reply(frame[: len(frame) // 2], after_s)]
        case FaultKind.NOISE:
            before, behind = (chance.randbytes(chance.randint(1, 4)) for _ in range(2))
            return [Reply(before + frame + behind, after_s)]
        case FaultKind.SPLIT:  # delay_ms from character to character
            return [Reply(frame[i : i + 1], after_s + i * fault.delay_ms / 1000) for i in range(len(frame))]
    return [Reply(frame, after_s)]
