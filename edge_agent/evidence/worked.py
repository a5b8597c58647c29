"""From the bytes of a frozen frame to the figures of its finding, as somebody with a pencil does it.

Only what was frozen goes in. A value is shown only if the bytes, read here once more, say what was frozen; where they
do not, or the protocol is one whose bytes are not laid out here, its register stands there without a number.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from math import hypot, isclose
from typing import Any, NamedTuple

from edge_agent.contract.shapes import rfc3339

Data = Mapping[str, Any]
ACTIVE, REACTIVE = "active_energy_import", "reactive_energy_import"
_PREFIX = {"k": 1000.0, "M": 1e6, "m": 1e-3}
_INTEGERS = {"u16": 2, "i16": 2, "u32": 4, "i32": 4, "u64": 8, "i64": 8}
_FLOATS = {"f32": ">f", "f64": ">d"}
_BCD = re.compile(r"(s?)bcd([0-9]+)\.([0-9])")


class Taken(NamedTuple):
    """One value and the bytes that carried it."""

    quantity: str
    at: str
    register: Data  # address, type, order, scale, unit
    reply: str  # the frame that carried it
    first: int  # where its own bytes begin in the reply, counted from 1; 0: they are not laid out here
    raw: str  # its own bytes, in hexadecimal, as they came
    number: str  # what they are as a number
    value: float  # as it was frozen, in the quantity's unit, on the meter's side
    factor: float | None  # to the primary side; None: nothing to multiply by, or not known


class Summed(NamedTuple):
    """A register at two readings, and the mean power between them on the primary side, W or var."""

    quantity: str
    start: float
    end: float
    start_at: str
    end_at: str
    seconds: float
    power: float
    off: float  # what one step of the register is worth


class Phase(NamedTuple):
    """What a phase showed, primary side: V, A, W; `made` is what U, I and the power factor make, W."""

    name: str
    u: float
    i: float
    cos: float
    made: float
    shown: float


def taken(document: Data) -> list[Taken]:
    """What the frames beside the finding carried, device by device."""
    values = {(v["device"], v["quantity"]): v["value"] for v in document["shown"] if "value" in v}
    return [
        _taken(document, frame["device"], quantity, values[frame["device"], quantity], frame)
        for frame in document["frames"]
        for quantity in frame["quantities"]
        if (frame["device"], quantity) in values and quantity in _registers(document, frame["device"])
    ]


def taken_at(document: Data, end: str) -> list[Taken]:
    """What the frames at an end of the window carried: "start" or "end"."""
    boundary, meter = document["registers"].get(end, {}), document.get("meter", "")
    out: list[Taken] = []
    for quantity, (value, *_) in sorted(boundary.get("registers", {}).items()):
        if quantity not in _registers(document, meter):
            continue
        found = [
            _taken(document, meter, quantity, value, {"at": boundary["at"], "request": a, "reply": b})
            for a, b in boundary.get("frames", ())
        ]
        best = next((t for t in found if t.raw), found[0] if found else None)
        out += [] if best is None else [best._replace(at=_instant(boundary["registers"][quantity][2]) or best.at)]
    return out


def summed(document: Data) -> list[Summed]:
    """Active and reactive energy between the readings at both ends; empty where they are not both there."""
    ends, k = document["registers"], document["said"].get("k")
    if k is None or not {"start", "end"} <= ends.keys():
        return []
    out = []
    for quantity in (ACTIVE, REACTIVE):
        pair = [ends[end].get("registers", {}).get(quantity) for end in ("start", "end")]
        if None in pair or None in (pair[0][2], pair[1][2]) or pair[1][2] <= pair[0][2]:
            continue
        (start, _, start_ms), (end, step, end_ms) = pair
        seconds = (end_ms - start_ms) / 1000
        at = _instant(start_ms), _instant(end_ms)
        worth = k * 3600 / seconds
        out.append(Summed(quantity, start, end, *at, seconds, (end - start) * worth, step * worth))
    return out


def phases(document: Data) -> list[Phase]:
    """U, I, cos phi and P of each phase as the finding has them; empty where it does not speak of all three."""
    named = {m["name"]: m["value"] for m in document["said"]["measured"] if "value" in m}
    out = []
    for n in (1, 2, 3):
        wanted = (f"voltage_l{n}_v", f"current_l{n}_a", f"active_power_l{n}_w")
        if not all(name in named for name in wanted):
            continue
        u, i, p = (named[name] for name in wanted)
        cos = _cos(document, n)
        if cos is not None:
            out.append(Phase(f"L{n}", u, abs(i), cos, u * abs(i) * cos, p))
    return out


def ratio_of(facts: Iterable[Data], name: str) -> float | None:
    """400/5 as 80; None where no such fact was used, or it is no ratio."""
    text = next((str(f["value"]) for f in facts if f["name"] == name), "")
    primary, _, secondary = text.partition("/")
    try:
        return float(primary) / float(secondary or 1)
    except (ValueError, ZeroDivisionError):
        return None


def _taken(document: Data, device: str, quantity: str, value: float, frame: Data) -> Taken:
    register = _registers(document, device)[quantity]
    driver = document["devices"][device]["driver"]
    read = _read(driver, register, bytes.fromhex(frame["request"]), bytes.fromhex(frame["reply"]))
    first, raw, number = 0, "", ""
    if read is not None:
        at, own, found = read
        size = _size(register["unit"])
        if isclose(found * register["scale"] * size, value, rel_tol=1e-9, abs_tol=1e-9):
            first, raw, number = at + 1, own.hex(" "), f"{found:.12g}"
    factor = _factor(document, device, quantity)
    return Taken(quantity, frame.get("at", ""), register, frame["reply"], first, raw, number, value, factor)


def _registers(document: Data, device: str) -> Mapping[str, Data]:
    registers: Mapping[str, Data] = document.get("devices", {}).get(device, {}).get("registers", {})
    return registers


def _factor(document: Data, device: str, quantity: str) -> float | None:
    said, side = document["said"], document["devices"][device]["side"]
    k = said.get("k")
    if side != "secondary" or k is None or device != document.get("meter"):
        return None
    vt = ratio_of(said.get("facts", ()), "vt") or 1.0
    factors = {"active": k, "reactive": k, "apparent": k, "current": k / vt, "voltage": vt}
    return factors.get(quantity.partition("_")[0])


def _read(driver: str, register: Data, request: bytes, reply: bytes) -> tuple[int, bytes, float] | None:
    """Where the register's own bytes are in a reply, and the number they are; None where they are not in it."""
    match driver:
        case "modbus":
            return _of_modbus(register, request, reply)
        case "dlt645":
            return _of_dlt645(register, reply)
    return None


def _of_modbus(register: Data, request: bytes, reply: bytes) -> tuple[int, bytes, float] | None:
    """TCP: seven bytes of header; RTU: one, the unit. Then function, first register and how many; function, bytes."""
    head = 1 if len(request) == 8 else 7
    first, count = (int.from_bytes(request[head + at : head + at + 2], "big") for at in (1, 3))
    number, kind = int(register["address"].partition(":")[2], 0), register["type"]
    size = _INTEGERS.get(kind) or (4 if kind in {"f32", "bcd32"} else 8 if kind == "f64" else 0)
    if not size or not first <= number or number + size // 2 > first + count:
        return None
    start = head + 2 + 2 * (number - first)
    own = reply[start : start + size]
    if len(own) != size:
        return None
    straight = _straight(own, register["order"])
    if kind in _FLOATS:
        return start, own, float(struct.unpack(_FLOATS[kind], straight)[0])
    if kind == "bcd32":
        return (start, own, float(straight.hex())) if straight.hex().isdecimal() else None
    return start, own, float(int.from_bytes(straight, "big", signed=kind[0] == "i"))


def _straight(own: bytes, order: str) -> bytes:
    """Most significant byte first. DCBA is the whole in reverse, CDAB its words, BADC the bytes of each word."""
    words = [own[i : i + 2] for i in range(0, len(own), 2)]
    if order in {"CDAB", "DCBA"}:
        words.reverse()
    return b"".join(w[::-1] if order in {"BADC", "DCBA"} else w for w in words)


def _of_dlt645(register: Data, reply: bytes) -> tuple[int, bytes, float] | None:
    """Behind 68, address, 68, control and length; every byte of the data is 33H too large, least significant first."""
    item, _, place = register["address"].removeprefix("di:").partition("/")
    kind = _BCD.fullmatch(register["type"])
    start = reply.find(b"\x68")
    if kind is None or start < 0 or len(reply) < start + 12:
        return None
    whole, after = int(kind[2]), int(kind[3])
    data = bytes((b - 0x33) % 256 for b in reply[start + 10 : start + 10 + reply[start + 9]])
    size = (whole + after) // 2
    at = 4 + size * (int(place or 1) - 1)
    own = data[at : at + size]
    if data[3::-1].hex().upper() != item or len(own) != size:
        return None
    minus = kind[1] and own[-1] & 0x80
    text = (bytes([own[-1] & 0x7F, *own[-2::-1]]) if minus else own[::-1]).hex()
    return (start + 10 + at, own, (-1 if minus else 1) * int(text) / 10**after) if text.isdecimal() else None


def _cos(document: Data, n: int) -> float | None:
    """Of a phase: its own, else that of its powers, else the total's; without its sign."""
    shown = {
        v["quantity"]: v["value"]
        for v in document["shown"]
        if "value" in v and v["device"] == document.get("meter", v["device"])
    }
    own, p, q = (shown.get(f"{name}_l{n}") for name in ("power_factor", "active_power", "reactive_power"))
    if own is not None:
        return abs(float(own))
    if p is not None and q is not None and (s := hypot(p, q)) > 0:
        return float(abs(p) / s)
    total = shown.get("power_factor")
    return None if total is None else abs(float(total))


def _size(unit: str) -> float:
    """kWh is 1000 Wh; min and Hz are what they are."""
    return _PREFIX.get(unit[:1], 1.0) if unit[1:] in {"W", "Wh", "VA", "VAh", "var", "varh", "V", "A"} else 1.0


def _instant(at_ms: int | None) -> str:
    return "" if at_ms is None else rfc3339(at_ms)


def total(found: Sequence[Phase]) -> tuple[float, float]:
    """What all phases make, and what they show, W."""
    return sum(p.made for p in found), sum(p.shown for p in found)
