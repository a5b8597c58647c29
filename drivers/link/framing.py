"""How characters lie on a serial line, and what time that takes.

Source: MODBUS over Serial Line V1.02, 2.5.1.1 (silences) and 2.5.1 (characters of 10 or 11 bits).
"""

from __future__ import annotations

from typing import NamedTuple

from edge_agent.model import LINES, LinkSpec

FIXED_ABOVE_BAUD = 19_200
"""Above this speed the silences no longer shrink: 1.75 ms and 0.75 ms."""


class Framing(NamedTuple):
    """Speed and shape of a character: start bit, data, parity where there is one, stop bits."""

    baud: int = 9600
    parity: str = "N"  # "N", "E", "O"
    data_bits: int = 8
    stop_bits: int = 1

    @property
    def char_s(self) -> float:
        """One character: 1.042 ms at 9600 8N1, 1.146 ms at 9600 8E1."""
        return (1 + self.data_bits + (self.parity != "N") + self.stop_bits) / self.baud

    @property
    def silence_s(self) -> float:
        """The silence that ends a frame and has to lie before the next: t3.5."""
        return 3.5 * self.char_s if self.baud <= FIXED_ABOVE_BAUD else 0.00175

    def __str__(self) -> str:
        return f"{self.baud} {self.data_bits}{self.parity}{self.stop_bits}"


def framing_of(spec: LinkSpec) -> Framing | None:
    """The line's framing; None where there is no line, only packets."""
    if spec.kind not in LINES:
        return None
    return Framing(spec.baud, spec.parity, spec.data_bits, spec.stop_bits)
