"""How a meter is wired, as far as its values tell: the side of the transformers, and which current goes with which
voltage. Guesses, each with its confidence and its reason; "cannot say" where there is nothing to go by.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from edge_agent.model import Quantity
from edge_agent.survey.trial import Reads
from edge_agent.words import Phrase, phrase

Q = Quantity

_INPUT_A = 7.5
"""A 5 A input carries 6 A for good and is not overrun by more."""

_OVER_INPUT_A = 12.0
_LOADED_VA = 20.0
_TOGETHER = math.radians(40)
_APART = math.radians(25)


class Guess(NamedTuple):
    """What is guessed, between 0 and 1 how surely, and why; `what` is "" where it cannot be said."""

    what: str
    confidence: float
    why: Phrase


def side(reads: Reads) -> Guess:
    """On which side of current transformers the values are."""
    amperes = [abs(i) for n in (1, 2, 3) if (i := reads.number(Q(f"current_l{n}"))) is not None]
    if not amperes:
        return Guess("", 0.0, phrase("survey.side_no_current"))
    most = max(amperes)
    ratio = reads.number(Q.CT_RATIO)
    fields = {"amperes": f"{most:.3g}", "ratio": "" if ratio is None else f"{ratio:.4g}"}
    if reads.profile.side == "primary":
        return Guess("primary", 0.5, phrase("survey.side_profile", **fields))
    if most > _OVER_INPUT_A:
        return Guess("primary", 0.9, phrase("survey.side_too_much", **fields))
    if most < 0.05:
        return Guess("", 0.0, phrase("survey.side_no_current"))
    if most <= _INPUT_A and ratio is not None and ratio > 1:
        return Guess("secondary", 0.8, phrase("survey.side_ratio", **fields))
    return Guess("secondary", 0.6, phrase("survey.side_input", **fields))


def phases(reads: Reads) -> Guess:
    """Whether each current goes with its own voltage, by the angle between them: from P and Q of each phase."""
    angles = {}
    for n in (1, 2, 3):
        p, q = reads.number(Q(f"active_power_l{n}")), reads.number(Q(f"reactive_power_l{n}"))
        if p is not None and q is not None and math.hypot(p, q) >= _LOADED_VA / _side_share(reads):
            angles[n] = math.atan2(q, p)
    if len(angles) < 3:
        return Guess("", 0.0, phrase("survey.phases_unknown"))
    shown = {f"l{n}": f"{math.degrees(a):.0f}" for n, a in angles.items()}
    turned = [n for n in angles if _is_apart(angles[n], _others(angles, n), math.pi)]
    if _spread(list(angles.values())) <= _TOGETHER:
        sure = 0.85 if abs(_mean(list(angles.values()))) < math.pi / 2 else 0.5
        return Guess("in order", sure, phrase("survey.phases_in_order", **shown))
    if len(turned) == 1:
        return Guess(f"current L{turned[0]} reversed", 0.75, phrase("survey.phases_reversed", phase=turned[0], **shown))
    third = 2 * math.pi / 3
    if all(_is_apart(a, b, third) or _is_apart(a, b, -third) for a, b in _pairs(list(angles.values()))):
        return Guess("currents exchanged", 0.7, phrase("survey.phases_exchanged", **shown))
    return Guess("", 0.0, phrase("survey.phases_unclear", **shown))


def _side_share(reads: Reads) -> float:
    return 4.0 if reads.profile.side == "secondary" else 1.0


def _others(angles: dict[int, float], n: int) -> float:
    rest = [a for m, a in angles.items() if m != n]
    return _mean(rest) if _spread(rest) <= _TOGETHER else float("nan")


def _mean(angles: list[float]) -> float:
    return math.atan2(sum(map(math.sin, angles)), sum(map(math.cos, angles)))


def _spread(angles: list[float]) -> float:
    """The most by which two of them differ."""
    return max(abs(_turn(a - b)) for a in angles for b in angles)


def _turn(angle: float) -> float:
    return math.atan2(math.sin(angle), math.cos(angle))


def _is_apart(a: float, b: float, by: float) -> bool:
    return abs(_turn(a - b - by)) <= _APART  # NaN compares false


def _pairs(angles: list[float]) -> list[tuple[float, float]]:
    return [(angles[0], angles[1]), (angles[1], angles[2]), (angles[2], angles[0])]
