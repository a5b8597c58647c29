"""Characters as bits on a pair of wires, and what a receiver makes of them.

A receiver that expects the talker's own format hears his bytes. One that expects another format, or that hears two
talkers at once, samples the middle of bits where it believes they are, as a UART does, and gets what it gets. An idle
pair is 1; where two talk, 0 wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

_SAME_S = 1e-8


@dataclass(frozen=True, slots=True)
class Format:
    """Speed and framing of characters: 9600 8N1 unless said otherwise."""

    baud: int = 9600
    parity: str = "N"  # "N", "E", "O"
    data_bits: int = 8
    stop_bits: int = 1
    bits: int = field(init=False)  # of one character
    bit_s: float = field(init=False)
    char_s: float = field(init=False)
    silence_s: float = field(init=False)
    """3.5 characters; 1.75 ms above 19200 baud (MODBUS over Serial Line V1.02, 2.5.1.1)."""

    def __post_init__(self) -> None:
        if self.baud <= 0 or self.parity not in {"N", "E", "O"}:
            raise ValueError(f"no such format: {self.baud} baud, parity {self.parity!r}")
        if self.data_bits not in {7, 8} or self.stop_bits not in {1, 2}:
            raise ValueError(f"no such format: {self.data_bits} data bits, {self.stop_bits} stop bits")
        bits = 1 + self.data_bits + (self.parity != "N") + self.stop_bits
        put = object.__setattr__
        put(self, "bits", bits)
        put(self, "bit_s", 1 / self.baud)
        put(self, "char_s", bits / self.baud)
        put(self, "silence_s", 3.5 * bits / self.baud if self.baud <= 19200 else 0.00175)

    def __str__(self) -> str:
        return f"{self.baud} {self.data_bits}{self.parity}{self.stop_bits}"

    def hears(self, talker: Format) -> bool:
        """Whether this receiver gets that talker's bytes as they are; a second stop bit is idle time to it."""
        return self is talker or (
            self.baud == talker.baud and self.parity == talker.parity and self.data_bits == talker.data_bits
        )

    def parity_bit(self, byte: int) -> int:
        return (byte.bit_count() & 1) ^ (self.parity == "O")


class Span(NamedTuple):
    from_s: float
    to_s: float


class Signal(NamedTuple):
    """What one talker puts on the pair. While a span of `muted` lasts, none of it reaches the listener in question."""

    data: bytes
    format: Format
    start_s: float
    muted: tuple[Span, ...] = ()

    def level(self, at_s: float) -> int:
        form = self.format
        place = int((at_s - self.start_s) / form.bit_s) if at_s >= self.start_s else -1
        number, bit = divmod(place, form.bits)
        if place < 0 or number >= len(self.data) or any(span.from_s <= at_s < span.to_s for span in self.muted):
            return 1
        if bit == 0:
            return 0
        byte = self.data[number]
        if bit <= form.data_bits:
            return byte >> (bit - 1) & 1
        if bit == form.data_bits + 1 and form.parity != "N":
            return form.parity_bit(byte & ((1 << form.data_bits) - 1))
        return 1

    def edges(self) -> list[float]:
        places = range(len(self.data) * self.format.bits + 1)
        bits = [self.start_s + place * self.format.bit_s for place in places]
        return bits + [edge for span in self.muted for edge in span if bits[0] <= edge <= bits[-1]]


class Character(NamedTuple):
    byte: int
    end_s: float
    good: bool  # parity and stop bit as they should be


def received(signals: Sequence[Signal], form: Format, until_s: float) -> list[Character]:
    """What a receiver has made of the signals by `until_s`."""

    def level(at_s: float) -> int:
        return int(all(signal.level(at_s) for signal in signals))

    bit_s = form.bit_s
    checked = form.parity != "N"
    near_s = bit_s / 64
    edges = sorted({edge for signal in signals for edge in signal.edges()})
    heard: list[Character] = []
    i, free_s = 0, float("-inf")
    start_s: float | None = None
    while True:
        if start_s is None:
            while i < len(edges) and not (
                edges[i] >= free_s - near_s and level(edges[i] - near_s) and not level(edges[i] + near_s)
            ):
                i += 1
            if i == len(edges):
                return heard
            start_s = edges[i]
        if level(start_s + bit_s / 2):  # too short for a start bit
            free_s, start_s = start_s + bit_s / 2, None
            continue
        middle_s = start_s + 1.5 * bit_s
        byte = sum(level(middle_s + k * bit_s) << k for k in range(form.data_bits))
        right = not checked or level(middle_s + form.data_bits * bit_s) == form.parity_bit(byte)
        stop_s = start_s + (1 + form.data_bits + checked) * bit_s
        if stop_s + bit_s > until_s + _SAME_S:
            return heard
        stopped = level(stop_s + bit_s / 2)
        heard.append(Character(byte, stop_s + bit_s, bool(right and stopped)))
        # A stop bit that is 0 is taken for the next character's start bit (16550 data sheet, framing error).
        free_s, start_s = stop_s + bit_s / 2, None if stopped else stop_s
