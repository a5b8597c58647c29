"""What a meter remembers: a load profile of its energy registers, and logs of what happened to it.

The profile has an entry at every full period of the meter's own clock, with the registers as they stood: what the load
curve says of that instant, cut to the register's step. Without power there are no entries. The entry that follows says
so in its status, and a log has both ends. Event codes are each maker's own; these are the ones of this meter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from simulator.clock import Ms
from simulator.device import ENERGIES, SimMeter
from simulator.dlms.clock import MeterClock
from simulator.dlms.codec import Data, name_of, u8
from simulator.dlms.profile import Column, Entry, Profile, clock_column
from simulator.dlms.registers import REGISTER, REGISTERS, Registers, Shown
from simulator.faults import NEVER_MS, FaultKind, Faults

LOAD_PROFILE = "1-0:99.1.0.255"
STATUS = "0-0:96.10.1.255"
EVENT_LOG, EVENT_CODE = "0-0:99.98.{}.255", "0-0:96.11.{}.255"
_DATA = 1

POWER_DOWN, POWER_UP, CLOCK_OLD, CLOCK_NEW, LOCKED_OUT, CHANGED = 1, 2, 4, 5, 46, 47
"""Codes of the standard log: power failed and came back, the clock before and after it was set, a client that could not
prove itself, a parameter was changed."""

CLOCK_SET, WAS_DOWN = 0x20, 0x80
"""Bits of the status of an entry: the clock was set in its period; the power was off in it."""


class Logged(NamedTuple):
    """An event that a scenario puts in a log."""

    log: int
    at_ms: Ms
    code: int


class History:
    """The memory of one meter."""

    def __init__(
        self,
        registers: Registers,
        faults: Faults,
        clock: MeterClock,
        *,
        period_s: int,
        history_s: float,
        logged: Sequence[Logged] = (),
    ) -> None:
        self._registers = registers
        self._meter: SimMeter = registers.meter
        self._clock = clock
        self._period_ms = period_s * 1000
        self._holes = faults.in_meter(FaultKind.PROFILE_HOLE)
        self._rescaled = faults.in_meter(FaultKind.RESCALED)
        self._logged = logged
        self._locked_out: list[Ms] = []
        self._first_ms = self._begun(round(history_s * 1000))
        self._captured: tuple[Ms, list[Entry]] = (self._first_ms - 1, [])

    def entries(self, now_ms: Ms) -> Sequence[Entry]:
        """The load profile's, as the meter that hangs there now has captured them."""
        upto_ms, captured = self._captured
        if now_ms < upto_ms:
            upto_ms, captured = self._first_ms - 1, []
        if now_ms > upto_ms:
            captured = captured + [
                Entry(at_ms, shown_ms)
                for at_ms, shown_ms in self._clock.instants(self._period_ms, upto_ms + 1, now_ms)
                if not any(hole.in_force(at_ms) for hole in self._holes)
            ]
            self._captured = (now_ms, captured)
        hung_ms = self._meter.hung_ms(now_ms)
        return captured if hung_ms is None else [entry for entry in captured if entry.at_ms > hung_ms]

    def events(self, log: int, now_ms: Ms) -> Sequence[Entry]:
        """What stands in a log; 0 is the standard one."""
        found = [self._at(event.at_ms, event.code) for event in self._logged if event.log == log]
        if log == 0:
            found += [entry for hole in self._holes for entry in self._failed(hole.from_ms, hole.to_ms)]
            found += [self._at(at_ms, LOCKED_OUT) for at_ms in self._locked_out]
            for at_ms, before_ms, after_ms in self._clock.jumps:
                found += [Entry(at_ms, at_ms + before_ms, CLOCK_OLD), Entry(at_ms, at_ms + after_ms, CLOCK_NEW)]
            found += [self._at(at_ms, CHANGED) for at_ms in self._changes()]
        hung_ms = self._meter.hung_ms(now_ms)
        from_ms = self._first_ms if hung_ms is None else hung_ms
        kept = [entry for entry in found if from_ms <= entry.at_ms <= now_ms]
        return sorted(kept, key=lambda entry: (entry.at_ms, entry.code))

    def changes(self, now_ms: Ms) -> int:
        """How often a parameter was changed."""
        return sum(at_ms <= now_ms for at_ms in self._changes())

    def power_failures(self, now_ms: Ms) -> int:
        return sum(hole.from_ms <= now_ms for hole in self._holes)

    def locked_out(self, at_ms: Ms) -> None:
        """A client has failed to prove itself."""
        self._locked_out.append(at_ms)

    def profile(self, columns: Mapping[str, Shown], **kind: Any) -> Profile:
        return Profile(
            name=name_of(LOAD_PROFILE),
            columns=(
                clock_column(self._clock),
                Column(_DATA, name_of(STATUS), 2, lambda entry, now_ms: self.status(entry)),
                *(self._column(name_of(text), shown) for text, shown in columns.items()),
            ),
            entries=self.entries,
            clock=self._clock,
            period_s=self._period_ms // 1000,
            **kind,
        )

    def log(self, number: int, **kind: Any) -> Profile:
        return Profile(
            name=name_of(EVENT_LOG.format(number)),
            columns=(
                clock_column(self._clock),
                Column(_DATA, name_of(EVENT_CODE.format(number)), 2, lambda entry, now_ms: u8(entry.code)),
            ),
            entries=lambda now_ms: self.events(number, now_ms),
            clock=self._clock,
            **kind,
        )

    def status(self, entry: Entry) -> Data:
        from_ms = entry.at_ms - self._period_ms
        set_now = any(from_ms < at_ms <= entry.at_ms for at_ms, _, _ in self._clock.jumps)
        down = any(hole.from_ms < entry.at_ms and from_ms < hole.to_ms for hole in self._holes)
        return u8(CLOCK_SET * set_now | WAS_DOWN * down)

    def _column(self, name: bytes, shown: Shown) -> Column:
        def cell(entry: Entry, now_ms: Ms) -> Data:
            return self._registers.value(shown, entry.at_ms, scaled_at_ms=now_ms)

        return Column(REGISTER, name, 2, cell, shown.quantity)

    def _begun(self, history_ms: int) -> Ms:
        """Since when the meter has captured: no longer than its registers have been above zero."""
        start_ms = self._meter.start_ms
        at_ms = start_ms - history_ms
        while at_ms < start_ms and any(self._registers.energy(name, at_ms) < 0 for name in ENERGIES):
            at_ms += self._period_ms
        return min(at_ms, start_ms)

    def _failed(self, from_ms: Ms, to_ms: Ms) -> list[Entry]:
        return [
            self._at(at_ms, code) for at_ms, code in ((from_ms, POWER_DOWN), (to_ms, POWER_UP)) if abs(at_ms) < NEVER_MS
        ]

    def _changes(self) -> list[Ms]:
        return [at_ms for fault in self._rescaled for at_ms in (fault.from_ms, fault.to_ms) if abs(at_ms) < NEVER_MS]

    def _at(self, at_ms: Ms, code: int) -> Entry:
        return Entry(at_ms, self._clock.shown_ms(at_ms), code)


CAPTURED = tuple(name for name, shown in REGISTERS.items() if shown.quantity in ENERGIES[:4])
"""What the load profile captures, unless the scenario says otherwise."""
