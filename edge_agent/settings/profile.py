"""Device profiles: what the registers of one device model mean, read from data and held to what a driver can do.

A profile is written once and trusted by every site, so each field is checked here and no driver meets a surprise.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge_agent.model import EVENTS, UNIT, EventNumber, Hallmark, Profile, Quantity, Register
from edge_agent.settings.mistake import Mistake, Report, SiteError
from edge_agent.settings.shape import Given, nearest, read_table
from edge_agent.settings.shipped import ConfigFiles
from edge_agent.settings.site import OBIS, Id, Table
from edge_agent.settings.toml import read_toml
from edge_agent.words import phrase

WIDTH = {"u16": 1, "i16": 1, "u32": 2, "i32": 2, "f32": 2, "bcd32": 2, "u64": 4, "i64": 4, "f64": 4}
"""Registers of 16 bits that a value of each type fills; `ascii:<registers>` says its own."""

DRIVERS_TYPES = {
    "modbus": re.compile(rf"\A({'|'.join(WIDTH)}|ascii:[1-9][0-9]?)\Z"),
    "dlt645": re.compile(
        r"\A(s?bcd([1-9]|1[0-9])\.[0-9]|demand|demand_time|date|time|clock|(ascii|digits|bits):[1-9][0-9]?)\Z"
    ),
    "dlt698": re.compile(r"\A([ui](8|16|32|64)|demand|demand_time|clock|digits|ascii|bits)\Z"),
}
"""The types that a driver knows; a profile of another driver has whatever type that driver reads."""

_BCD = re.compile(r"\As?bcd([0-9]+)\.([0-9])\Z")
_PREFIXES = ("", "m", "k", "M", "G")
_ADDRESS = re.compile(r"\A(input|holding):(0x[0-9A-Fa-f]{1,4}|[0-9]{1,5})\Z")
_DI = re.compile(r"\Adi:([0-9A-F]{8})(/[1-9][0-9]?)?\Z")
_SAID = re.compile(r"\A43/14:(vendor|product|revision|url|product_name|model|application)\Z")
_WHOLE = re.compile(r"\A(u16|u32|u64|bcd32|digits:[1-9][0-9]?)\Z")
_TEXT = re.compile(r"\Aascii:[1-9][0-9]?\Z")
"""Types that an identity can have: whole numbers and texts."""
_OBJECT = re.compile(rf"\A(?:([1-9][0-9]{{0,2}})/)?({OBIS})(?:/[1-9][0-9]?)?\Z")
_RECORD_OBJECT = re.compile(rf"\A{OBIS}\Z")
_LOGS = re.compile(rf"\A{OBIS}( *, *{OBIS})*\Z")
_RECORD_ITEM = re.compile(r"\Adi:(?:0600|0604)0001/[1-9][0-9]{0,2}\Z")
"""A load profile's object; event logs' objects; a DL/T 645 load record and its minutes."""
_NUMBERED = {1, 3, 4, 5}
"""Interface classes that hold numbers: data, register, extended register, demand register."""
_OAD = re.compile(r"\Aoad:([0-9A-F]{8})(/[1-9][0-9]?(\.[1-9][0-9]?)*)?\Z")
_ASCII = re.compile(r"\Aascii:([1-9][0-9]?)\Z")

Text = Annotated[str, Meta(min_length=1, max_length=400, extra={"right": "text"})]
Raw = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]  # TOML's own bounds


class RegisterTable(Table, frozen=True, kw_only=True):
    """[[register]]: where one quantity sits."""

    quantity: str
    address: Annotated[str, Meta(min_length=1, max_length=64, extra={"right": "address"})]
    type: Annotated[str, Meta(min_length=1, max_length=32, extra={"right": "register_type"})] | None = None
    unit: Annotated[str, Meta(max_length=8, extra={"right": "text"})] | None = None
    scale: Annotated[float, Meta(ge=-1e9, le=1e9)] = 1.0
    order: Literal["ABCD", "CDAB", "BADC", "DCBA"] = "ABCD"
    step: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    digits: Annotated[str, Meta(pattern=r"\A[1-9][0-9]?\.[0-9]\Z", extra={"right": "digits"})] | None = None
    every_s: Annotated[float, Meta(ge=1, le=86_400)] = 60.0
    not_available: tuple[Raw, ...] = ()


class IdentityTable(Table, frozen=True, kw_only=True):
    """[[identity]]: what every device of the model says about itself, and where that is written."""

    address: Annotated[str, Meta(min_length=1, max_length=64, extra={"right": "identity_address"})]
    equals: tuple[Annotated[int, Meta(ge=0, le=2**63 - 1)] | Annotated[str, Meta(min_length=1, max_length=80)], ...]
    source: Text
    type: Annotated[str, Meta(min_length=1, max_length=32, extra={"right": "identity_type"})] | None = None
    order: Literal["ABCD", "CDAB", "BADC", "DCBA"] = "ABCD"


class EventTable(Table, frozen=True, kw_only=True):
    """[[event]]: what a number in the device's event logs means."""

    number: Annotated[int, Meta(ge=0, le=65_535)]
    means: str
    log: Annotated[str, Meta(max_length=64, extra={"right": "record_place"})] = ""


class ProfileTable(Table, frozen=True, kw_only=True):
    """A profile file."""

    profile: Id
    driver: Id
    source: Text
    side: Literal["primary", "secondary"]
    max_registers: Annotated[int, Meta(ge=1, le=125)]
    model: Text | None = None
    load_profile: Annotated[str, Meta(max_length=64, extra={"right": "record_place"})] = ""
    event_log: Annotated[str, Meta(max_length=160, extra={"right": "record_place"})] = ""
    register: tuple[RegisterTable, ...]
    event: tuple[EventTable, ...] = ()
    identity: tuple[IdentityTable, ...] = ()


def load_profile(path: Path) -> Profile:
    """SiteError with everything that is wrong in the file."""
    parsed = read_toml(path)
    given = read_table(ProfileTable, parsed.raw, (), parsed.report)
    _check_profile(given, path, parsed.report)
    if parsed.report.mistakes:
        raise SiteError(parsed.report.in_order())
    table = msgspec.convert(parsed.raw, ProfileTable)
    registers = tuple(_register(r) for r in table.register)
    return Profile(
        table.profile,
        table.driver,
        table.model or table.profile,
        table.source,
        table.side,
        table.max_registers,
        registers,
        tuple(Hallmark(i.address, i.equals, i.type or "", i.order) for i in table.identity),
        table.load_profile,
        table.event_log,
        tuple(EventNumber(e.number, e.means, e.log) for e in table.event),
    )


class Profiles:
    """The profiles that a site may name, each read at most once."""

    def __init__(self, files: ConfigFiles) -> None:
        self._paths = files.named("profiles")
        self._read: dict[str, Profile | SiteError] = {}

    @property
    def names(self) -> list[str]:
        return list(self._paths)

    def get(self, name: str) -> Profile:
        """KeyError: there is none of that name. SiteError: its file has mistakes."""
        if name not in self._read:
            try:
                self._read[name] = load_profile(self._paths[name])
            except SiteError as error:
                self._read[name] = error
        found = self._read[name]
        if isinstance(found, SiteError):
            raise found
        return found

    def mistakes(self) -> list[Mistake]:
        """What is wrong in the files read so far."""
        return [m for found in self._read.values() if isinstance(found, SiteError) for m in found.mistakes]


def _register(table: RegisterTable) -> Register:
    return Register(
        Quantity(table.quantity),
        table.address,
        table.type or "",
        UNIT[Quantity(table.quantity)] if table.unit is None else table.unit,
        table.scale,
        table.order,
        table.step,
        table.digits,
        table.every_s,
        table.not_available,
    )


def _check_profile(given: Given, path: Path, report: Report) -> None:
    name = given.get("profile")
    if name and name != path.stem.replace("_", "-"):
        report.add("profile_name", given.at("profile"), name=name, file=path.name)
    seen: dict[str, int] = {}
    for register in given.tables("register"):
        quantity = _check_quantity(register, report)
        if quantity is None:
            continue
        if quantity in seen:
            report.add("register_twice", register.at("quantity"), quantity=quantity, line=seen[quantity])
        seen.setdefault(quantity, report.line(register.at("quantity")))
        _check_meaning(register, given, report)
        _check_unit(register, quantity, report)
        _check_place(register, quantity, given, report)
    if isinstance(given.get("register"), list) and not given.get("register"):
        report.add("no_registers", given.at("register"))
    _check_records(given, report)
    for identity in given.tables("identity"):
        _check_identity(identity, given.get("driver"), report)


def _check_records(given: Given, report: Report) -> None:
    """Where the device keeps its load profile and its event log, as its driver writes a place; Modbus has none."""
    is_dlms = given.get("driver") == "dlms"
    place = {"dlms": _RECORD_OBJECT, "dlt645": _RECORD_ITEM}.get(given.get("driver") or "")
    for name in ("load_profile", "event_log"):
        written, right = given.get(name), _LOGS if is_dlms and name == "event_log" else place
        if written and (right is None or not right.match(written)):
            report.add("record_place", given.at(name), name=name, got=written[:60])
    _check_events(given, report)


def _check_events(given: Given, report: Report) -> None:
    """Each number once in each of the logs that the profile names, and a meaning that there is."""
    logs = {name.strip() for name in (given.get("event_log") or "").split(",")}
    seen: dict[tuple[str, int], int] = {}
    for event in given.tables("event"):
        means, log, number = event.get("means"), event.get("log") or "", event.get("number")
        if means is not None and means not in EVENTS:
            near = nearest(means, list(EVENTS))
            known = phrase("check.right.known", known=", ".join(EVENTS))
            right = phrase("check.right.near", near=near) if near else known
            report.add("unknown_event", event.at("means"), written=means[:60], right=right)
        if logs == {""}:
            report.add("event_log_missing", event.at("number"))
        elif log and log not in logs:
            report.add("event_log_other", event.at("log"), got=log)
        if number is None:
            continue
        line = next((seen[key] for key in ((log, number), ("", number)) if key in seen), None)
        if line is not None:
            report.add("event_twice", event.at("number"), number=number, line=line)
        seen.setdefault((log, number), report.line(event.at("number")))


def _check_identity(identity: Given, driver: str | None, report: Report) -> None:
    """A place that the driver has, a type that a model can be told by, and values of that type."""
    address, kind, equals = identity.get("address"), identity.get("type"), identity.get("equals")
    said = address is not None and _SAID.match(address) is not None
    places = {"modbus": _ADDRESS, "dlt645": _DI}
    place = None if said and driver == "modbus" else places.get(driver or "")
    if address is not None and place is not None and not place.match(address):
        report.add("identity_address", identity.at("address"), got=address[:60])
    if said and kind is not None:
        report.add("identity_type", identity.at("type"), got=kind)
    elif not said and not (kind and (_WHOLE.match(kind) or _TEXT.match(kind))):
        report.add("identity_type", identity.at("type"), got=kind or "")
    if equals is None:
        return
    texts = said or bool(kind and _TEXT.match(kind))
    if not equals or not all(isinstance(value, str if texts else int) for value in equals):
        report.add("identity_equals", identity.at("equals"), kind="a text" if texts else "a whole number")


def _check_quantity(register: Given, report: Report) -> Quantity | None:
    written = register.get("quantity")
    if written is None:
        return None
    known = [q.value for q in Quantity]
    if written in known:
        return Quantity(written)
    near = nearest(written, known)
    right = phrase("check.right.near", near=near) if near else phrase("check.right.quantity")
    report.add("unknown_quantity", register.at("quantity"), written=written[:60], right=right)
    return None


def _check_meaning(register: Given, profile: Given, report: Report) -> None:
    """Type and unit: said by every profile, but where the meter itself says them."""
    if profile.get("driver") != "dlms":
        for key, right in (("type", "register_type"), ("unit", "text")):
            if key not in register.written:
                report.add("missing_key", register.at(key), right=phrase(f"check.right.{right}"))
        return
    said = {"type", "order"} if _is_data(register) else {"type", "order", "scale", "unit"}
    for key in sorted(said & register.written):
        if key != "unit" or "digits" not in register.written:
            report.add("register_meter_says", register.at(key), quantity=register.get("quantity"))


def _is_data(register: Given) -> bool:
    """An object of class 1: it holds a bare value."""
    return (register.get("address") or "").startswith("1/")


def _check_unit(register: Given, quantity: Quantity, report: Report) -> None:
    unit, base = register.get("unit"), UNIT[quantity]
    allowed = {"": [""], "1": ["1", "%"]}.get(base, [prefix + base for prefix in _PREFIXES])
    if unit is not None and unit not in allowed:
        fields = {"quantity": quantity, "unit": unit, "allowed": ", ".join(f'"{u}"' for u in allowed)}
        report.add("register_unit", register.at("unit"), **fields)
    if register.get("scale") == 0:
        report.add("register_scale", register.at("scale"), quantity=quantity)


def _check_place(register: Given, quantity: Quantity, profile: Given, report: Report) -> None:
    """Type, address and width: a value must lie inside the address space and fit into one read."""
    kind, address = register.get("type"), register.get("address")
    driver = profile.get("driver")
    if driver == "dlms":
        _check_object(register, quantity, address, report)
        return
    if kind and driver in DRIVERS_TYPES and not DRIVERS_TYPES[driver].match(kind):
        right = phrase(f"check.right.register_type{'' if driver == 'modbus' else '_' + driver}")
        report.add("bad_value", register.at("type"), got=f'"{kind[:60]}"', right=right)
        return
    if driver == "dlt645":
        _check_item(register, quantity, kind, address, report)
        return
    if driver == "dlt698":
        _check_oad(register, quantity, kind, address, report)
        return
    text = _ASCII.match(kind) if kind else None
    width = int(text.group(1)) if text else WIDTH.get(kind or "", 0)
    if text and UNIT[quantity]:
        report.add("register_text", register.at("type"), quantity=quantity)
    limit = profile.get("max_registers")
    if limit and width > limit:
        report.add("register_wide", register.at("type"), quantity=quantity, width=width, limit=limit)
    if driver != "modbus" or address is None:
        return  # an address is in its driver's own notation
    place = _ADDRESS.match(address)
    if place is None:
        report.add("register_address", register.at("address"), quantity=quantity, got=address[:60])
    elif int(place.group(2), 0 if place.group(2).startswith("0x") else 10) + max(width, 1) > 65_536:
        report.add("register_beyond", register.at("address"), quantity=quantity, got=address[:60])


def _check_object(register: Given, quantity: Quantity, address: str | None, report: Report) -> None:
    """DLMS: an attribute of an object, and no number where the class holds none."""
    written = None if address is None else _OBJECT.match(address)
    if address is not None and (written is None or any(int(part) > 255 for part in re.split(r"[-:.*]", written[2]))):
        report.add("register_object", register.at("address"), quantity=quantity, got=address[:60])
    elif written is not None and UNIT[quantity] and int(written[1] or 3) not in _NUMBERED:
        report.add("register_class", register.at("address"), quantity=quantity, got=written[1])


def _check_item(register: Given, quantity: Quantity, kind: str | None, address: str | None, report: Report) -> None:
    """DL/T 645: an identifier or an item of a block, whole octets, and the digits that the type already says."""
    if address is not None and not _DI.match(address):
        report.add("register_item", register.at("address"), quantity=quantity, got=address[:60])
    if kind is None:
        return
    number = _BCD.match(kind)
    if (number is not None or kind == "demand") != (UNIT[quantity] != ""):
        report.add("register_kind", register.at("type"), quantity=quantity, got=kind)
    if number is None:
        return
    whole, decimals = int(number[1]), int(number[2])
    if (whole + decimals) % 2:
        report.add("register_octets", register.at("type"), quantity=quantity, got=kind)
    digits = register.get("digits")
    if digits is not None and digits != f"{whole}.{decimals}":
        report.add("register_digits", register.at("digits"), quantity=quantity, got=digits, type=kind)


def _check_oad(register: Given, quantity: Quantity, kind: str | None, address: str | None, report: Report) -> None:
    """DL/T 698.45: an object attribute and the way to a value in it; a number for what is one."""
    if address is not None and not _OAD.match(address):
        report.add("register_oad", register.at("address"), quantity=quantity, got=address[:60])
    if kind is not None and (kind[0] in "ui" or kind == "demand") != (UNIT[quantity] != ""):
        report.add("register_value", register.at("type"), quantity=quantity, got=kind)
