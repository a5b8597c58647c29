"""What happened between two readings of any cumulative register: it went on, rolled over, belongs to another meter,
fell or jumped (domain rule 4.9).

The ledger asks the same of the registers it makes demand of, reading by reading; this is the question for two readings
from anywhere, with the serials that were read beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from edge_agent.load.answers import CannotSay, Why
from edge_agent.load.methods.given import sane
from edge_agent.load.registers import Move, judge
from edge_agent.model import Ms


class Went(StrEnum):
    ON = "on"
    ROLLED_OVER = "rolled_over"
    EXCHANGED = "exchanged"  # another meter: a new segment, no energy
    DECREASED = "decreased"  # 示度下降
    JUMPED = "jumped"  # more than the transformers can carry: a bad frame, or 飞走


@dataclass(frozen=True, slots=True)
class Shown:
    """One reading; `serial` None where it was not read."""

    t_ms: Ms
    value: float
    step: float
    serial: str | None = None


@dataclass(frozen=True, slots=True)
class SanityRule:
    """Parameters of a release."""

    carry: float  # a register can move by so many times what the transformers carry
    least_decrease: float  # register's unit


@dataclass(frozen=True, slots=True)
class Passage:
    """`moved`: energy to book, register's unit; 0 where none may be. `bound`: the most that could have passed."""

    went: Went
    moved: float
    bound: float


def passage(
    last: Shown, new: Shown, *, k: float | None, s_cap_va: float | None, modulus: float | None, rule: SanityRule
) -> Passage | CannotSay:
    """From `last` to `new`; values in Wh (varh, VAh), `modulus` in the same."""
    if not sane(last.value, new.value, last.step, new.step):
        return CannotSay(Why.NOT_A_NUMBER, "register")
    if new.t_ms <= last.t_ms:
        return CannotSay(Why.OUT_OF_ORDER, "register", new.t_ms, last.t_ms)
    if last.serial is not None and new.serial is not None and last.serial != new.serial:
        return Passage(Went.EXCHANGED, 0.0, 0.0)
    if k is None or s_cap_va is None or not (k > 0 and s_cap_va > 0):
        return CannotSay(Why.FACT_UNKNOWN, "k" if k is None or not k > 0 else "s_cap_va")
    bound = rule.carry * s_cap_va * (new.t_ms - last.t_ms) / 3.6e6 / k + max(last.step, new.step)
    move, moved = judge(last.value, new.value, bound=bound, modulus=modulus)
    if move is Move.FOLLOWS:
        return Passage(Went.ON, moved, bound)
    if move is Move.ROLLOVER:
        return Passage(Went.ROLLED_OVER, moved, bound)
    if moved > 0:
        return Passage(Went.JUMPED, 0.0, bound)
    if -moved < rule.least_decrease:
        return Passage(Went.ON, 0.0, bound)
    if last.serial is None or new.serial is None:
        return CannotSay(Why.FACT_UNKNOWN, "serial")  # it may be another meter
    return Passage(Went.DECREASED, 0.0, bound)
