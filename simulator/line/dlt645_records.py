"""What a DL/T 645-2007 meter writes down by itself: records of events, and blocks of load records.

Simplified: of an event's record only the times and the operator's code are filled, energies and demands are zero; a
load record has the registers of class 4, and the active powers where all classes are asked for. Source: DL/T 645-2007,
annex A, table A.4 and annex B, as given in dlt645 3.2.0 (event_record_types) and in wuhuangrui/C82_DL689
ClouSoft/MeterPro/DL645V07.cpp at cbf4c18d.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from simulator.clock import Ms


class Happened(NamedTuple):
    """Something that happened to a meter."""

    what: str  # a key of `KINDS`
    at_ms: Ms
    until_ms: Ms | None = None
    operator: str = "00000000"


class Kind(NamedTuple):
    """Its identifier without the number of the record, octets of a record, and what stands first in it."""

    base: int
    octets: int
    fields: str  # "w" when, "u" until, "o" operator, "b" before (of a clock)


KINDS: dict[str, Kind] = {
    "programming": Kind(0x03300000, 50, "wo"),
    "meter_reset": Kind(0x03300100, 106, "wo"),
    "demand_reset": Kind(0x03300200, 202, "wo"),
    "event_reset": Kind(0x03300300, 14, "wo"),
    "clock_set": Kind(0x03300400, 16, "obw"),
    "cover_open": Kind(0x03300D00, 60, "wu"),
    "terminal_cover_open": Kind(0x03300E00, 60, "wu"),
    "power_off": Kind(0x03110000, 12, "wu"),
    "magnetic": Kind(0x03350000, 0, ""),  # counted; no record of it is in the standard
    **{
        f"{what}_l{phase}": Kind(base | phase << 8, octets, "wu")
        for what, base, octets in (
            ("voltage_loss", 0x03010000, 131),
            ("phase_break", 0x03040000, 131),
            ("current_loss", 0x030B0000, 115),
        )
        for phase in (1, 2, 3)
    },
}


def kind_of(base: int) -> str | None:
    return next((what for what, kind in KINDS.items() if kind.base == base and kind.octets), None)


def counted(happened: Sequence[Happened], di: int, at_ms: Ms) -> dict[int, int]:
    """How often, by the octet of the count in the item: counts of three phases share one, each with its minutes."""
    found: dict[int, int] = {}
    for event in happened:
        if event.at_ms > at_ms:
            continue
        base = KINDS[event.what].base
        is_phase = event.what[-3:-1] == "_l"
        if di == (base & 0xFFFF0000 if is_phase else base):
            at = 6 * (int(event.what[-1]) - 1) if is_phase else 0
            found[at] = found.get(at, 0) + 1
    return found


def octets_of(what: str, event: Happened | None, stamp: Callable[[Ms], bytes], at_ms: Ms) -> bytes:
    """A record as it goes out; `stamp` gives ss mm hh DD MM YY of an instant by the meter's clock."""
    kind = KINDS[what]
    if event is None:
        return bytes(kind.octets)
    until_ms = event.until_ms if event.until_ms is not None and event.until_ms <= at_ms else None
    fields = {
        "w": stamp(event.at_ms),
        "b": stamp(event.at_ms),
        "u": bytes(6) if until_ms is None else stamp(until_ms),
        "o": bytes.fromhex(event.operator)[::-1],
    }
    return b"".join(fields[name] for name in kind.fields).ljust(kind.octets, b"\0")


def block(stamp: bytes, registers: bytes, power: bytes) -> bytes:
    """One load record; `stamp`: mm hh DD MM YY."""
    classes = (b"", power, b"", registers, b"", b"")
    body = stamp + b"".join(values + b"\xaa" for values in classes)
    head = b"\xa0\xa0" + bytes((len(body),)) + body
    return head + bytes((sum(head) & 0xFF, 0xE5))
