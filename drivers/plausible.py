"""Between which values a quantity can be right at all.

A register read in the wrong word order, a value torn by its meter, a profile of another model: what they give is mostly
beyond what any network or instrument has. Such a value is a gap that says so and keeps its frame; it is never clipped
and never a number. The bounds judge no load: a dead phase, a short circuit, a load above everything that was contracted
lies well inside them. That a register fell is no matter of bounds either: it is evidence, and `load` sees to it.

A value that a device shows at its own side of the transformers and one on the primary side have the same bounds, so
they are those of the primary side.
"""

from __future__ import annotations

from typing import NamedTuple

from edge_agent.model import UNIT, Quantity


class Bounds(NamedTuple):
    """The least and the most that a quantity can be, in its unit, and how that is known."""

    low: float
    high: float
    source: str
    trust: str
    """"defined": it follows from what the quantity is; "standard": a limit of one, with room on top, cited and not read
    by this project; "chosen": no source, far beyond anything that is metered."""


_OF_UNIT: dict[str, Bounds] = {
    "V": Bounds(
        0.0, 900e3,
        "IEC 60038: 550 kV is the highest voltage of equipment at which customers are supplied; 1.6 times that lasts "
        "no longer than a fault does",
        "standard",
    ),
    "A": Bounds(
        -500e3, 500e3,
        "IEC/IEEE 62271-37-013: breakers of the largest generators interrupt up to some 300 kA; with the sign of the "
        "power in some meters",
        "standard",
    ),
    "W": Bounds(-10e9, 10e9, "no power station or customer has 10 GW", "chosen"),
    "var": Bounds(-10e9, 10e9, "as for W", "chosen"),
    "VA": Bounds(0.0, 10e9, "as for W; a magnitude has no sign", "chosen"),
    "Wh": Bounds(0.0, 1e15, "10 GW for eleven years; a register of one direction has no sign", "chosen"),
    "varh": Bounds(0.0, 1e15, "as for Wh", "chosen"),
    "VAh": Bounds(0.0, 1e15, "as for Wh", "chosen"),
    "Hz": Bounds(
        15.0, 100.0,
        "16.7 Hz of railways to twice 50 Hz: islands and generators run away within it; where there is no voltage "
        "there is no frequency, and a meter shows 0",
        "chosen",
    ),
    "min": Bounds(0.0, 1440.0, "a demand period is at most a day", "chosen"),
    "count": Bounds(0.0, 2.0**32 - 1, "how often something happened: the most that 32 bits hold", "defined"),
}  # fmt: skip

_FACTOR = Bounds(-1.0001, 1.0001, "P / S; single precision may read 1.0000001 after a division", "defined")
_RATIO = Bounds(1e-6, 1e6, "a ratio of transformers is positive; 500 kA to 1 A is the largest that could be", "chosen")

_OF_QUANTITY: dict[Quantity, Bounds] = {
    **{q: _FACTOR for q in Quantity if q.startswith("power_factor")},
    Quantity.CT_RATIO: _RATIO,
    Quantity.VT_RATIO: _RATIO,
    Quantity.ACTIVE_ENERGY_COMBINED: _OF_UNIT["Wh"]._replace(
        low=-1e15, source="10 GW for eleven years; a sum of both directions may be negative"
    ),
}

BOUNDS: dict[Quantity, Bounds] = {
    q: _OF_QUANTITY[q] if q in _OF_QUANTITY else _OF_UNIT[UNIT[q]] for q in Quantity if UNIT[q]
}
"""Every quantity that is a number."""
