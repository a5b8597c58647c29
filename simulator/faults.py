"""What goes wrong, as data: which fault, from when to when, on which register, and what an honest reader makes of it.

Faults on the wire change the reply and leave the meter alone; faults of the display change one register's bytes. The
meter's truth is untouched by both. Nothing here is left to chance: `one_in = 25` spoils exactly every 25th request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from simulator.clock import Ms


class FaultKind(StrEnum):
    SILENCE = "silence"
    LATE = "late"  # the right reply, `delay_ms` of real time later; others may overtake it
    EXCEPTION = "exception"  # Modbus exception `code`
    WRONG_UNIT = "wrong_unit"
    WRONG_FUNCTION = "wrong_function"
    STALE_TRANSACTION = "stale_transaction"  # the transaction id of the request before
    SHORT = "short"  # one register fewer than asked
    HALF_FRAME = "half_frame"  # the first half of the reply, then the connection is reset
    RESET = "reset"
    SPLIT = "split"  # the right reply, byte by byte
    NAN = "nan"
    NOT_AVAILABLE = "not_available"  # the device's own mark for "no value"
    STUCK = "stuck"  # a register stands still
    HELD = "held"  # a register shows `value` (quantity's unit), whatever is true


ON_DISPLAY = frozenset({FaultKind.NAN, FaultKind.NOT_AVAILABLE, FaultKind.STUCK, FaultKind.HELD})

TRUTH: dict[FaultKind, str] = {
    FaultKind.SILENCE: "gap: no_reply",
    FaultKind.LATE: "gap: no_reply, and the late bytes answer nothing",
    FaultKind.EXCEPTION: "gap: refused, or busy for codes 5 and 6",
    FaultKind.WRONG_UNIT: "gap: bad_reply",
    FaultKind.WRONG_FUNCTION: "gap: bad_reply",
    FaultKind.STALE_TRANSACTION: "gap: bad_reply or no_reply",
    FaultKind.SHORT: "gap: bad_reply",
    FaultKind.HALF_FRAME: "gap: link_down",
    FaultKind.RESET: "gap: link_down",
    FaultKind.SPLIT: "reading, as if nothing were wrong",
    FaultKind.NAN: "gap: not_available",
    FaultKind.NOT_AVAILABLE: "gap: not_available",
    FaultKind.STUCK: "reading of a value that is no longer true",
    FaultKind.HELD: "reading of a value that was never true",
}
"""What an honest reader reports while the fault is in force; a scenario may say it more precisely."""

NEVER_MS: Ms = 1 << 62


@dataclass(slots=True)
class Fault:
    """One fault in force over [from_ms, to_ms) of the scenario's time."""

    kind: FaultKind
    from_ms: Ms = -NEVER_MS
    to_ms: Ms = NEVER_MS
    quantity: str | None = None  # None: every register
    code: int = 4
    delay_ms: int = 0
    one_in: int = 1
    value: float = 0.0
    truth: str = ""
    met: int = field(default=0, init=False)  # requests that came while it was in force
    struck: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.truth = self.truth or TRUTH[self.kind]

    def in_force(self, at_ms: Ms) -> bool:
        return self.from_ms <= at_ms < self.to_ms


class Faults:
    """The faults of one meter."""

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self.all = tuple(faults)
        self._wire = tuple(f for f in faults if f.kind not in ON_DISPLAY)
        self._display = tuple(f for f in faults if f.kind in ON_DISPLAY)

    def on_wire(self, quantities: Sequence[str], at_ms: Ms) -> Fault | None:
        """The first fault that spoils a reply with these quantities, and count it."""
        for fault in self._wire:
            if fault.in_force(at_ms) and (fault.quantity is None or fault.quantity in quantities):
                fault.met += 1
                if fault.met % fault.one_in == 0:
                    fault.struck += 1
                    return fault
        return None

    def on_display(self, quantity: str, at_ms: Ms) -> Fault | None:
        for fault in self._display:
            if fault.in_force(at_ms) and fault.quantity in {None, quantity}:
                return fault
        return None

    def truth(self, at_ms: Ms) -> tuple[Fault, ...]:
        """Every fault in force at an instant: the ground truth for a judge."""
        return tuple(f for f in self.all if f.in_force(at_ms))
