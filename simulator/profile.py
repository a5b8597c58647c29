"""What the registers of a device model mean, read from config/profiles, and how the device puts a value into them.

This is the device's side: its own reader of the profile file and its own encoder. The agent's driver has its own, and
the two share nothing, so that a mistake in one shows as a wrong value and not as agreement.
"""

from __future__ import annotations

import math
import struct
import tomllib
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

TABLES = ("holding", "input")

_INTEGERS = {
    "u16": (1, False), "i16": (1, True), "u32": (2, False), "i32": (2, True), "u64": (4, False), "i64": (4, True),
}  # fmt: skip
_FLOATS = {"f32": (2, ">f"), "f64": (4, ">d")}
_PREFIX = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "m": 1e-3, "c": 1e-2, "d": 1e-1}
_UNITS = ("varh", "VAh", "Wh", "var", "VA", "Hz", "W", "V", "A", "1")
_KEYS = {
    "quantity", "address", "type", "unit", "scale", "order", "step", "digits", "every_s", "not_available",
}  # fmt: skip


class ProfileMistake(ValueError):
    """A profile that says nothing or two things; the text names the file and the register."""


@dataclass(frozen=True, slots=True)
class SimRegister:
    """One quantity in the device's memory."""

    quantity: str
    table: str  # "input" or "holding"
    address: int
    kind: str  # "u16" ... "f64", "bcd32", "ascii"
    width: int  # in 16-bit registers
    si_per_unit: float  # register's unit in the quantity's unit: 1000 for kWh
    scale: float
    order: str
    step: float | None  # in the register's unit
    modulus: int | None  # in the register's unit
    not_available: tuple[int, ...]
    fixed: bytes | None = None  # what always stands there, whatever the meter measures

    def encode(self, value_si: float) -> bytes:
        """The register's bytes while the quantity stands at `value_si` (in Wh, W, V, A ...).

        Whole display steps, rounded down as a counter wheel does; rolled over at the modulus; held at the ends of the
        type, as meters do; a float is the nearest one of its width.
        """
        value = value_si / self.si_per_unit
        if self.kind in _FLOATS:
            if self.step is not None and math.isfinite(value):
                value = self._whole_steps(value) * self.step
            elif self.modulus is not None and math.isfinite(value):
                value = math.fmod(value, self.modulus)
            return self._ordered(struct.pack(_FLOATS[self.kind][1], value / self.scale))
        if self.step is not None:
            # Decimal, because 0.01 / 0.001 is not 10 in binary and the last digit of a register is a tariff.
            raw = int(self._whole_steps(value) * Decimal(str(self.step)) / Decimal(str(self.scale)))
        else:
            rolled = value if self.modulus is None else math.fmod(value, self.modulus)
            counts = "_energy_" in self.quantity
            raw = math.floor(rolled / self.scale + 1e-6) if counts else round(rolled / self.scale)
        if self.kind == "bcd32":
            return self._ordered(bytes.fromhex(f"{min(max(raw, 0), 99_999_999):08d}"))
        return self._ordered(self._clamped(raw).to_bytes(2 * self.width, "big", signed=_INTEGERS[self.kind][1]))

    def encode_text(self, text: str) -> bytes:
        """An ascii register's bytes, two characters a register, NUL to the end."""
        return self._ordered(text.encode("ascii")[: 2 * self.width].ljust(2 * self.width, b"\x00"))

    def encode_nothing(self) -> bytes:
        """What the device shows where it has no value: NaN, or its own "not available"."""
        if self.kind in _FLOATS and not self.not_available:
            return self._ordered(struct.pack(_FLOATS[self.kind][1], math.nan))
        if self.not_available:
            return self._ordered((self.not_available[0] % (1 << 16 * self.width)).to_bytes(2 * self.width, "big"))
        raise ProfileMistake(f"{self.quantity}: a {self.kind} register without `not_available` always has a value")

    def _whole_steps(self, value: float) -> int:
        assert self.step is not None
        steps = math.floor(value / self.step + 1e-6)  # 48.00 that computes as 47.999999999 shows 48.00
        return steps if self.modulus is None else steps % round(self.modulus / self.step)

    def _clamped(self, raw: int) -> int:
        bits = 16 * self.width
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if _INTEGERS[self.kind][1] else (0, (1 << bits) - 1)
        return min(max(raw, low), high)

    def _ordered(self, big_endian: bytes) -> bytes:
        words = [big_endian[i : i + 2] for i in range(0, len(big_endian), 2)]
        if self.order in {"CDAB", "DCBA"}:
            words.reverse()
        if self.order in {"BADC", "DCBA"}:
            words = [w[::-1] for w in words]
        return b"".join(words)


@dataclass(frozen=True, slots=True)
class SimProfile:
    name: str
    side: str  # "primary": the registers are multiplied inside the meter; "secondary": the reader multiplies
    max_registers: int
    registers: tuple[SimRegister, ...]

    def register(self, quantity: str) -> SimRegister:
        """Raises KeyError for a quantity that this model does not have."""
        for register in self.registers:
            if register.quantity == quantity:
                return register
        raise KeyError(quantity)


def load_profile(path: Path) -> SimProfile:
    """Read one profile file. Raises ProfileMistake naming the file and the register."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ProfileMistake(f"{path}: {error}") from error
    if table.get("side", "secondary") not in {"primary", "secondary"}:
        raise ProfileMistake(f"{path}: side is primary or secondary, not {table['side']!r}")
    registers = []
    for number, entry in enumerate(table.get("register", []), start=1):
        try:
            registers.append(_register(entry))
        except (KeyError, ValueError) as error:
            raise ProfileMistake(f"{path}: register {number} ({entry.get('quantity', '?')}): {error}") from error
    if not registers:
        raise ProfileMistake(f"{path}: no [[register]]")
    for entry in table.get("identity", []):
        try:
            registers += _hallmark(entry)
        except (KeyError, ValueError) as error:
            raise ProfileMistake(f"{path}: identity at {entry.get('address', '?')}: {error}") from error
    return SimProfile(
        name=str(table.get("profile", path.stem)),
        side=table.get("side", "secondary"),
        max_registers=int(table.get("max_registers", 125)),
        registers=tuple(registers),
    )


def profiles_dir() -> Path:
    """config/profiles of the checkout, or of the installed wheel."""
    root = Path(__file__).resolve().parent.parent
    checkout = root / "config" / "profiles"
    return checkout if checkout.is_dir() else root / "edge_agent" / "_config" / "profiles"


def _register(entry: dict[str, Any]) -> SimRegister:
    if unknown := entry.keys() - _KEYS:
        raise ValueError(f"unknown key {', '.join(sorted(unknown))}")
    table, _, number = str(entry["address"]).partition(":")
    if table not in TABLES or not number:
        raise ValueError(f"address is input:0x... or holding:0x..., not {entry['address']!r}")
    kind, _, registers = str(entry["type"]).partition(":")
    if kind == "ascii":
        width = int(registers)
    elif kind == "bcd32":
        width = 2
    elif kind in _INTEGERS:
        width = _INTEGERS[kind][0]
    elif kind in _FLOATS:
        width = _FLOATS[kind][0]
    else:
        raise ValueError(f"unknown type {entry['type']!r}")
    order = str(entry.get("order", "ABCD"))
    if order not in {"ABCD", "CDAB", "BADC", "DCBA"}:
        raise ValueError(f"unknown order {order!r}")
    digits = entry.get("digits")
    return SimRegister(
        quantity=str(entry["quantity"]),
        table=table,
        address=int(number, 0),
        kind=kind,
        width=width,
        si_per_unit=_si(str(entry.get("unit", ""))),
        scale=float(entry.get("scale", 1.0)),
        order=order,
        step=float(entry["step"]) if "step" in entry else None,
        modulus=10 ** int(str(digits).partition(".")[0]) if digits is not None else None,
        not_available=tuple(int(raw) for raw in entry.get("not_available", ())),
    )


def _hallmark(entry: dict[str, Any]) -> list[SimRegister]:
    """The register by which the model is known; what it says of function 43/14 is the scenario's affair."""
    if str(entry["address"]).startswith("43/14:"):
        return []
    place = {"quantity": "hallmark", **{str(key): entry[key] for key in ("address", "type", "order") if key in entry}}
    register = _register(place)
    value = entry["equals"][0]
    fixed = (
        register.encode_text(value)
        if isinstance(value, str)
        else register._ordered(int(value).to_bytes(2 * register.width, "big"))
    )
    return [replace(register, fixed=fixed)]


def _si(unit: str) -> float:
    if not unit:
        return 1.0
    if unit == "%":
        return 0.01
    for base in _UNITS:
        if unit.endswith(base) and (prefix := unit.removesuffix(base)) in _PREFIX:
            return _PREFIX[prefix]
    raise ValueError(f"unknown unit {unit!r}")
