"""What goes wrong, as data: which fault, from when to when, on which register, and what an honest reader makes of it.

Faults on the wire change the reply and leave the meter alone; faults of the display change one register's bytes. The
meter's truth is untouched by both. Nothing here is left to chance: `one_in = 25` spoils exactly every 25th request.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
    BUSY = "busy"  # Modbus exception 6; DL/T 645 error word 01
    WRONG_CHECK = "wrong_check"  # serial lines: CRC or checksum off by one bit
    CUT_FRAME = "cut_frame"  # serial lines: the first half of the reply, then silence
    NOISE = "noise"  # serial lines: stray bytes before and behind the reply
    WRONG_PARITY = "wrong_parity"  # serial lines: the device is set to another parity than the line
    HOLE = "hole"  # Modbus: `count` registers from `address` that the device refuses (exception 2)
    SWAPPED = "swapped"  # Modbus: a register's words in reverse
    NAN = "nan"
    NOT_AVAILABLE = "not_available"  # the device's own mark for "no value"
    STUCK = "stuck"  # a register stands still
    HELD = "held"  # a register shows `value` (quantity's unit), whatever is true
    # DLMS meters alone, from here on:
    WRONG_INVOKE = "wrong_invoke"  # the invoke-id of another question
    BLOCK_ABORT = "block_abort"  # after the first block: long-get-aborted
    ASSOCIATION_HELD = "association_held"  # somebody else's association is open: AARQ is refused
    HUNG_UP = "hung_up"  # the meter ends link and association instead of answering
    COUNTER_REJECTED = "counter_rejected"  # it claims to have heard a higher invocation counter, `count` above the last
    WRONG_TAG = "wrong_tag"
    FLIPPED_BIT = "flipped_bit"  # in what is ciphered
    WEAKER = "weaker"  # protected by `code` 0x10 or 0x20 alone; any other code: in the clear
    OTHER_TITLE = "other_title"  # another meter answers, under its own title
    OLD_COUNTER = "old_counter"  # the counter of the reply before
    RESCALED = "rescaled"  # the registers of a quantity have the scaler `value`
    CLOCK_JUMP = "clock_jump"  # the meter's clock is off by `value` seconds
    NULL_CELLS = "null_cells"  # load profile: null where a cell can be told from the row above; `quantity`: always
    PROFILE_HOLE = "profile_hole"  # the meter was without power: no entries


ON_DISPLAY = frozenset({FaultKind.NAN, FaultKind.NOT_AVAILABLE, FaultKind.STUCK, FaultKind.HELD, FaultKind.SWAPPED})
ON_LINE = frozenset({FaultKind.WRONG_CHECK, FaultKind.CUT_FRAME, FaultKind.NOISE, FaultKind.WRONG_PARITY})
"""What only a serial line can do."""

ON_TCP = frozenset({FaultKind.STALE_TRANSACTION, FaultKind.HALF_FRAME, FaultKind.RESET})
"""What only a connection can do."""

OPENING = frozenset({FaultKind.ASSOCIATION_HELD})
PROTECTING = frozenset({
    FaultKind.COUNTER_REJECTED, FaultKind.WRONG_TAG, FaultKind.FLIPPED_BIT, FaultKind.WEAKER, FaultKind.OTHER_TITLE,
    FaultKind.OLD_COUNTER,
})  # fmt: skip
"""What only an association that ciphers can meet."""

IN_THE_METER = frozenset({FaultKind.RESCALED, FaultKind.CLOCK_JUMP, FaultKind.NULL_CELLS, FaultKind.PROFILE_HOLE})
"""What changes a DLMS meter itself, for as long as it is in force; its replies are right."""

ON_DLMS = OPENING | PROTECTING | IN_THE_METER | {FaultKind.WRONG_INVOKE, FaultKind.BLOCK_ABORT, FaultKind.HUNG_UP}
"""What only a DLMS meter can do."""

NOT_ON_DLMS = frozenset({FaultKind.HOLE, FaultKind.SWAPPED, FaultKind.NAN, FaultKind.STALE_TRANSACTION})

_NOT_IN_A_REPLY = ON_DISPLAY | IN_THE_METER | {FaultKind.HOLE, FaultKind.WRONG_PARITY}

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
    FaultKind.BUSY: "gap: busy, and asked again at the next turn",
    FaultKind.WRONG_CHECK: "gap: bad_reply",
    FaultKind.CUT_FRAME: "gap: bad_reply or no_reply",
    FaultKind.NOISE: "reading or gap: bad_reply, never another value",
    FaultKind.WRONG_PARITY: "gap: no_reply or bad_reply",
    FaultKind.HOLE: "readings, after the request has been cut at the hole",
    FaultKind.SWAPPED: "reading of a value that was never true, unless its size gives it away",
    FaultKind.NAN: "gap: not_available",
    FaultKind.NOT_AVAILABLE: "gap: not_available",
    FaultKind.STUCK: "reading of a value that is no longer true",
    FaultKind.HELD: "reading of a value that was never true",
    FaultKind.WRONG_INVOKE: "gap: bad_reply",
    FaultKind.BLOCK_ABORT: "gap: busy or refused, and no value of the blocks that came",
    FaultKind.ASSOCIATION_HELD: "gap: busy, until the other one's association is over",
    FaultKind.HUNG_UP: "gap: busy or link_down, and a new association at the next turn",
    FaultKind.COUNTER_REJECTED: "gap, and the next question with a counter further up, never further down",
    FaultKind.WRONG_TAG: "gap: bad_reply",
    FaultKind.FLIPPED_BIT: "gap: bad_reply",
    FaultKind.WEAKER: "gap: bad_reply",
    FaultKind.OTHER_TITLE: "gap: bad_reply",
    FaultKind.OLD_COUNTER: "gap: bad_reply",
    FaultKind.RESCALED: "reading of the same value, once the scaler has been read anew",
    FaultKind.CLOCK_JUMP: "readings; entries of the profile whose time is off, and marked so",
    FaultKind.NULL_CELLS: "entries as if nothing were wrong; a `quantity`'s cells are unknown",
    FaultKind.PROFILE_HOLE: "no entries: the time between the two beside it is unknown, its energy is not",
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
    address: str = ""  # of a hole: "input:0x0040"
    count: int = 1
    truth: str = ""
    met: int = field(default=0, init=False)  # requests that came while it was in force
    struck: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.truth = self.truth or TRUTH[self.kind]
        if self.kind is FaultKind.HOLE:
            table, _, number = self.address.partition(":")
            if table not in {"holding", "input"} or not number:
                raise ValueError(f"a hole is at input:0x... or holding:0x..., not {self.address!r}")
            int(number, 0)

    def in_force(self, at_ms: Ms) -> bool:
        return self.from_ms <= at_ms < self.to_ms


class Faults:
    """The faults of one meter."""

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self.all = tuple(faults)
        self._wire = tuple(f for f in faults if f.kind not in _NOT_IN_A_REPLY)
        self._holes = tuple((*_place(f), f) for f in faults if f.kind is FaultKind.HOLE)
        self._display = tuple(f for f in faults if f.kind in ON_DISPLAY)

    def on_wire(
        self, quantities: Sequence[str], at_ms: Ms, *, among: Collection[FaultKind] | None = None
    ) -> Fault | None:
        """The first fault that spoils a reply with these quantities, and count it; `among`: of these kinds only."""
        for fault in self._wire:
            if among is not None and fault.kind not in among:
                continue
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

    def in_meter(self, kind: FaultKind) -> tuple[Fault, ...]:
        """The faults of a kind that change the meter itself, whenever they are in force."""
        return tuple(fault for fault in self.all if fault.kind is kind)

    def hole(self, table: str, address: int, count: int, at_ms: Ms) -> Fault | None:
        """The hole that a block of registers falls into, and count it."""
        for where, first, fault in self._holes:
            if where == table and first < address + count and address < first + fault.count and fault.in_force(at_ms):
                fault.met += 1
                fault.struck += 1
                return fault
        return None

    def truth(self, at_ms: Ms) -> tuple[Fault, ...]:
        """Every fault in force at an instant: the ground truth for a judge."""
        return tuple(f for f in self.all if f.in_force(at_ms))


def _place(fault: Fault) -> tuple[str, int]:
    table, _, number = fault.address.partition(":")
    return table, int(number, 0)
