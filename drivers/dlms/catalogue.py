"""Which object of a meter's list is which quantity, by its OBIS code and class; load profiles and event logs too.

Only what the standard gives one meaning is named. What comes near a quantity and is none (the import alone of a power
that has a sign) is named as that, for whoever writes a profile.

Source: IEC 62056-6-1 (DLMS UA 1000-1, COSEM object identification), value groups C, D and E of electricity (tables for
A = 1) and abstract objects (A = 0: 0.1.0, 96.1, 96.2, 96.7, 96.20, 98, 99).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from drivers.dlms.objects import Class, Listed
from edge_agent.model import UNIT, Quantity, Register

_FAST_S, _SLOW_S, _RARE_S = 15.0, 300.0, 3600.0


class Meaning(NamedTuple):
    """A quantity as an attribute of an object; of several objects the first in the catalogue is preferred."""

    quantity: Quantity
    classes: tuple[int, ...]
    group: str  # A-C.D.E
    attribute: int = 2
    every_s: float = _FAST_S


_SCALED = (Class.REGISTER, Class.EXTENDED_REGISTER)
_NUMBER = (*_SCALED, Class.DATA)


def _energy(quantity: str, group: str, *, every_s: float = _FAST_S) -> Meaning:
    return Meaning(Quantity(quantity), _SCALED, group, every_s=every_s)


_ENERGIES = (
    _energy("active_energy_import", "1-1.8.0"),
    _energy("active_energy_export", "1-2.8.0"),
    _energy("reactive_energy_import", "1-3.8.0"),
    _energy("reactive_energy_export", "1-4.8.0"),
    _energy("apparent_energy_import", "1-9.8.0"),
    *(
        _energy(f"active_energy_{way}_t{rate}", f"1-{c}.8.{rate}", every_s=_SLOW_S)
        for way, c in (("import", 1), ("export", 2))
        for rate in (1, 2, 3, 4)
    ),
    *(_energy(f"reactive_energy_q{n}", f"1-{4 + n}.8.0", every_s=_SLOW_S) for n in (1, 2, 3, 4)),
)

_INSTANT = (
    ("active_power", "1-16.7.0"),
    ("apparent_power", "1-9.7.0"),
    ("power_factor", "1-13.7.0"),
    ("frequency", "1-14.7.0"),
    ("current_n", "1-91.7.0"),
    *((f"active_power_l{n}", f"1-{16 + 20 * n}.7.0") for n in (1, 2, 3)),
    *((f"apparent_power_l{n}", f"1-{9 + 20 * n}.7.0") for n in (1, 2, 3)),
    *((f"current_l{n}", f"1-{11 + 20 * n}.7.0") for n in (1, 2, 3)),
    *((f"voltage_l{n}", f"1-{12 + 20 * n}.7.0") for n in (1, 2, 3)),
    *((f"power_factor_l{n}", f"1-{13 + 20 * n}.7.0") for n in (1, 2, 3)),
)

_DATA, _EXTENDED = (Class.DATA,), (Class.EXTENDED_REGISTER,)
CATALOGUE: tuple[Meaning, ...] = (
    *_ENERGIES,
    *(Meaning(Quantity(quantity), _SCALED, group) for quantity, group in _INSTANT),
    Meaning(Quantity.RUNNING_DEMAND, (Class.DEMAND_REGISTER,), "1-1.4.0", 3, 60.0),
    Meaning(Quantity.MAXIMUM_DEMAND, _EXTENDED, "1-1.6.0", 2, _SLOW_S),
    Meaning(Quantity.MAXIMUM_DEMAND_TIME, _EXTENDED, "1-1.6.0", 5, _SLOW_S),
    Meaning(Quantity.MAXIMUM_DEMAND_EXPORT, _EXTENDED, "1-2.6.0", 2, _SLOW_S),
    Meaning(Quantity.MAXIMUM_DEMAND_EXPORT_TIME, _EXTENDED, "1-2.6.0", 5, _SLOW_S),
    Meaning(Quantity.METER_SERIAL, _DATA, "0-96.1.0", 2, _RARE_S),
    Meaning(Quantity.METER_CLOCK, (Class.CLOCK,), "0-1.0.0", 2, _SLOW_S),
    Meaning(Quantity.EVENTS_PROGRAMMING, _NUMBER, "0-96.2.0", 2, _SLOW_S),
    Meaning(Quantity.EVENTS_POWER_OFF, _NUMBER, "0-96.7.21", 2, _SLOW_S),  # any phase
    Meaning(Quantity.EVENTS_POWER_OFF, _NUMBER, "0-96.7.0", 2, _SLOW_S),  # all three
    Meaning(Quantity.EVENTS_COVER, _NUMBER, "0-96.20.0", 2, _SLOW_S),
    Meaning(Quantity.EVENTS_TERMINAL_COVER, _NUMBER, "0-96.20.5", 2, _SLOW_S),
    Meaning(Quantity.EVENTS_MAGNETIC, _NUMBER, "0-96.20.15", 2, _SLOW_S),
    Meaning(Quantity.CT_RATIO, (Class.DATA, Class.REGISTER), "1-0.4.2", 2, _RARE_S),
    Meaning(Quantity.VT_RATIO, (Class.DATA, Class.REGISTER), "1-0.4.3", 2, _RARE_S),
)  # fmt: skip

_DENOMINATOR = {Quantity.CT_RATIO: "1-0.4.5", Quantity.VT_RATIO: "1-0.4.6"}

NEAR: dict[str, str] = {
    "1-1.7.0": "active power drawn; active_power is the sum with its sign, 16.7.0",
    "1-2.7.0": "active power fed back; active_power is the sum with its sign, 16.7.0",
    "1-3.7.0": "reactive power drawn; reactive_power is 3.7.0 less 4.7.0",
    "1-4.7.0": "reactive power fed back; reactive_power is 3.7.0 less 4.7.0",
    "1-15.8.0": "active energy of both directions added up",
    "1-16.8.0": "active energy drawn less that fed back: it may fall",
    **{f"1-{1 + 20 * n}.7.0": f"active power of L{n} drawn; with its sign it is {16 + 20 * n}.7.0" for n in (1, 2, 3)},
}


def text(instance: bytes) -> str:
    """An OBIS code as profiles write it: 1-0:1.8.0*255."""
    a, b, c, d, e, f = instance
    return f"{a}-{b}:{c}.{d}.{e}*{f}"


def registers_of(objects: Iterable[Listed]) -> list[Register]:
    """The objects that hold quantities of ours, one for each quantity, in the order of the catalogue."""
    known: dict[str, list[Listed]] = {}
    for listed in objects:
        if listed.instance[5] == 255:  # what is now, and not a billing period's
            known.setdefault(_group(listed.instance), []).append(listed)
    found: dict[Quantity, Register] = {}
    for meaning in CATALOGUE:
        if meaning.quantity in found or _DENOMINATOR.get(meaning.quantity) in known:
            continue
        fitting = [o for o in known.get(meaning.group, ()) if o.class_id in meaning.classes and _gives(o, meaning)]
        if fitting:
            best = min(fitting, key=lambda o: o.instance[1])  # of several channels the first
            address = f"{best.class_id}/{text(best.instance)}/{meaning.attribute}"
            found[meaning.quantity] = Register(
                meaning.quantity, address, "", UNIT[meaning.quantity], every_s=meaning.every_s
            )
    return list(found.values())


def near_of(objects: Iterable[Listed]) -> list[tuple[str, str]]:
    """Objects that come near a quantity and are none, and what they are."""
    found = [(text(o.instance), NEAR[_group(o.instance)]) for o in objects if _group(o.instance) in NEAR]
    return sorted(dict(found).items())


def load_profiles_of(objects: Sequence[Listed]) -> list[bytes]:
    """Load profiles, the first period's first: 1-b:99.1.e and 99.2.e."""
    names = [o.instance for o in objects if o.class_id == Class.PROFILE_GENERIC and o.instance[5] == 255]
    return sorted(n for n in names if n[0] == 1 and n[2:4] in {b"\x63\x01", b"\x63\x02"})


def event_logs_of(objects: Sequence[Listed]) -> list[bytes]:
    """Event logs: 0-b:99.98.e."""
    names = [o.instance for o in objects if o.class_id == Class.PROFILE_GENERIC and o.instance[5] == 255]
    return sorted(n for n in names if n[0] in {0, 1} and n[2:4] == b"\x63\x62")


def _gives(listed: Listed, meaning: Meaning) -> bool:
    """Whether this client may read it; a meter that says nothing of rights is asked."""
    return not listed.readable or meaning.attribute in listed.readable


def _group(instance: bytes) -> str:
    a, _, c, d, e, _ = instance
    return f"{a}-{c}.{d}.{e}"
