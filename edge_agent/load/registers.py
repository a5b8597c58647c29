"""Is this what a cumulative register does? Rollover, exchange, decrease, jump (domain rule 4.9).

A reading that does not follow from the last one is held as a suspect until the next reading says which of the two was
right: a single bad frame never breaks a register's history, and never becomes energy.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from edge_agent.model import Frame, Ms

ROLLOVER_ABOVE = 0.99
"""A register rolls over only from the last hundredth of its range."""


class Move(Enum):
    FOLLOWS = auto()
    ROLLOVER = auto()
    ODD = auto()


class Suspect(NamedTuple):
    """A reading that does not follow from the last accepted one, waiting for the next."""

    t_ms: Ms
    value: float
    step: float
    frame: Frame | None


def judge(last: float, new: float, *, bound: float, modulus: float | None) -> tuple[Move, float]:
    """How `new` follows from `last`, and the increase; `bound` is the most that can have passed, register's unit."""
    moved = new - last
    if 0 <= moved <= bound:
        return Move.FOLLOWS, moved
    if modulus is not None and moved < 0 and last > ROLLOVER_ABOVE * modulus and moved + modulus <= bound:
        return Move.ROLLOVER, moved + modulus
    return Move.ODD, moved
