"""What the meters of `answers` hold: the registers of the measured profile, and what they mean, written by hand."""

from __future__ import annotations

import struct

from edge_agent.model import Quantity, Register
from edge_agent.settings import load_profile
from tests.bench import PROFILES, REGISTERS

QUESTION = 12
"""Bytes of a read over Modbus TCP."""

PROFILE = load_profile(PROFILES / "bench-30.toml")
_KIND = {"u32": ("I", 123_456), "i32": ("i", -54_321), "f32": ("f", 0.75)}
_HZ = 50.0  # a frequency of 0.75 Hz would be no reading


def _held(register: Register) -> tuple[str, float]:
    code, value = _KIND[register.type]
    return code, _HZ if register.quantity is Quantity.FREQUENCY else value


_SPOTS = sorted((int(r.address.partition(":")[2], 0), *_held(r)) for r in PROFILE.registers)
LAYOUT = ">" + "".join(code for _, code, _ in _SPOTS)
HELD = tuple(value for _, _, value in _SPOTS)
WORDS = struct.pack(LAYOUT, *HELD)
assert len(WORDS) == 2 * REGISTERS
assert [at for at, _, _ in _SPOTS] == list(range(0, REGISTERS, 2))
