"""Reads a parsed TOML file against its Structs, table by table, and goes on after each mistake.

`msgspec.convert` stops at the first thing that does not fit. A technician on a roof wants all of them, so the tables
are walked here, each value is converted by itself, and what did fit is kept as `Given` for the rules that look at
several keys together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from edge_agent.settings.instant import Instant
from edge_agent.settings.locate import KeyPath
from edge_agent.settings.mistake import Report
from edge_agent.settings.site import as_instant
from edge_agent.words import Phrase, phrase

_PERSONAL = frozenset(
    "name customer customer_name owner contact person address street city phone tel telephone mobile email mail "
    "identity id_no id_number id_card passport".split()
)


@dataclass
class Given:
    """One table as it was written: the values that fit, with defaults.

    `written` holds the keys of the file, and those that a misspelt key was probably meant for.
    """

    path: KeyPath
    values: dict[str, Any] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)

    def get(self, key: str) -> Any:
        """The value or its default; None where it is absent or did not fit."""
        return self.values.get(key)

    def at(self, key: str) -> KeyPath:
        return (*self.path, key)

    def table(self, key: str) -> Given | None:
        value = self.values.get(key)
        return value if isinstance(value, Given) else None

    def tables(self, key: str) -> list[Given]:
        value = self.values.get(key)
        return [entry for entry in value if isinstance(entry, Given)] if isinstance(value, list) else []


def read_table(kind: type[Struct], raw: Mapping[str, Any], path: KeyPath, report: Report) -> Given:
    """What `raw` says as a `kind`; everything that is unknown, missing or does not fit goes into the report."""
    fields = {f.encode_name: f for f in msgspec.structs.fields(kind)}
    given = Given(path, written=set(raw))
    absent = [key for key in fields if key not in raw]
    given.written |= {_unknown(key, list(fields), absent, (*path, key), report) for key in raw if key not in fields}
    for key, f in fields.items():
        if key in raw:
            _read_value(f.type, raw[key], key, given, report)
        elif key in given.written:
            continue
        elif f.required:
            code = "missing_table" if _struct(f.type) else "missing_key"
            report.add(code, given.at(key), right=expected(f.type))
        else:
            given.values[key] = _default(f, given.at(key))
    return given


def _read_value(kind: Any, value: Any, key: str, given: Given, report: Report) -> None:
    path = given.at(key)
    struct, many = _struct(kind), _struct_in_tuple(kind)
    if struct and isinstance(value, dict):
        given.values[key] = read_table(struct, value, path, report)
    elif many and isinstance(value, list):
        given.values[key] = [_read_entry(many, entry, (*path, i), report) for i, entry in enumerate(value)]
    elif struct or many:
        report.add("wrong_type", path, got=shown(value), right=expected(kind))
    else:
        try:
            _refuse_endless(value)
            given.values[key] = msgspec.convert(value, kind, dec_hook=as_instant)
        except ValueError:  # msgspec's own is one
            got = phrase("check.got.secret") if _is_secret(kind) else shown(value)
            report.add(_mistake_of(kind, value), path, got=got, right=expected(kind))


def _read_entry(kind: type[Struct], entry: Any, path: KeyPath, report: Report) -> Given | None:
    if isinstance(entry, dict):
        return read_table(kind, entry, path, report)
    report.add("wrong_type", path, got=shown(entry), right=phrase("check.right.table"))
    return None


def _default(f: msgspec.structs.FieldInfo, path: KeyPath) -> Any:
    """An absent table stands as an empty one: its keys have their defaults, and there is nothing in it to report."""
    if struct := _struct(f.type):
        if f.default is None:
            return None
        return Given(path, {g.encode_name: g.default for g in msgspec.structs.fields(struct) if not g.required})
    if _struct_in_tuple(f.type):
        return []
    return f.default


def _refuse_endless(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):  # inf passes every lower bound
        raise ValueError("not a finite number")


def _unknown(key: str, known: list[str], absent: list[str], path: KeyPath, report: Report) -> str:
    """The key that was probably meant, or "": most likely one that is not there, which then is not missed as well."""
    if key.lower() in _PERSONAL:
        report.add("personal_key", path)
        return ""
    near = nearest(key, absent) or nearest(key, known)
    right = phrase("check.right.near", near=near) if near else phrase("check.right.known", known=", ".join(known))
    report.add("unknown_key", path, right=right)
    return near or ""


def nearest(written: str, known: list[str]) -> str | None:
    """The one of `known` that was probably meant."""
    import difflib

    lowered = {name.lower(): name for name in known}
    found = difflib.get_close_matches(written.lower(), lowered, n=1, cutoff=0.6)
    return lowered[found[0]] if found else None


def _mistake_of(kind: Any, value: Any) -> str:
    """An id that is no id is worth its own code; else: the wrong kind of thing, or the right kind out of bounds."""
    base, metas = _plain(kind)
    if isinstance(value, str) and any((m.extra or {}).get("right") == "id" for m in metas):
        return "bad_id"
    if base in {int, float} and isinstance(value, int | float) and not isinstance(value, bool):
        return "bad_value" if base is float or isinstance(value, int) else "wrong_type"
    if base is str and isinstance(value, str):
        return "bad_value"
    if get_origin(base) is Literal and type(value) in {type(choice) for choice in get_args(base)}:
        return "bad_value"
    if base in {Instant, date, datetime} and isinstance(value, date):
        return "bad_value"
    return "wrong_type"


def expected(kind: Any) -> Phrase:
    """What would be right for a value of this type, in words."""
    base, metas = _plain(kind)
    for meta in metas:
        if meta.extra and "right" in meta.extra:
            return phrase(f"check.right.{meta.extra['right']}")
    if get_origin(base) is Literal:
        return phrase("check.right.one_of", choices=", ".join(_toml(choice) for choice in get_args(base)))
    if get_origin(base) is tuple:
        inner = get_args(base)[0]
        if _struct(inner):
            return phrase("check.right.tables")
        return phrase("check.right.list", item=expected(inner))
    if base in {int, float}:
        return _number(base, metas)
    words = {bool: "true_false", str: "text", Instant: "instant", date: "date", datetime: "date_time"}
    return phrase(f"check.right.{words.get(base, 'table')}")


def _number(base: type, metas: list[Meta]) -> Phrase:
    low = next((m.ge for m in metas if m.ge is not None), None)
    above = next((m.gt for m in metas if m.gt is not None), None)
    high = next((m.le for m in metas if m.le is not None), None)
    whole = "whole" if base is int else "number"
    if low is None and above is None:
        return phrase(f"check.right.{whole}")
    edge = "between" if low is not None else "above"
    return phrase(
        f"check.right.{whole}_{edge}", low=_number_text(low if low is not None else above), high=_number_text(high)
    )


def _number_text(number: float | None) -> str:
    return "" if number is None else f"{int(number)}" if number == int(number) else f"{number:g}"


def shown(value: Any) -> Phrase:
    """What was written, named by its kind so that `250` and `"250"` are told apart."""
    match value:
        case bool():
            return phrase("check.got.plain", value=_toml(value))
        case str():
            return phrase("check.got.text", value=_short(value))
        case int() | float():
            return phrase("check.got.number", value=_short(_digits(value)))
        case date() | time():
            return phrase("check.got.plain", value=value.isoformat())
        case list():
            return phrase("check.got.list", count=len(value))
        case _:
            return phrase("check.got.table")


def _digits(number: float) -> str:
    try:
        return str(number)
    except ValueError:  # longer than Python prints
        return hex(int(number))


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _short(text: str) -> str:
    text = "".join(c if c.isprintable() else "�" for c in text[:61])
    return text if len(text) <= 60 else text[:60] + "…"


def _is_secret(kind: Any) -> bool:
    return any((meta.extra or {}).get("secret") for meta in _plain(kind)[1])


def _plain(kind: Any) -> tuple[Any, list[Meta]]:
    """The type without `| None`, and its constraints."""
    metas: list[Meta] = []
    while True:
        if get_origin(kind) in {Union, UnionType}:
            kind = next(option for option in get_args(kind) if option is not type(None))
        elif get_origin(kind) is Annotated:
            kind, *found = get_args(kind)
            metas += [m for m in found if isinstance(m, Meta)]
        else:
            return kind, metas


def _struct(kind: Any) -> type[Struct] | None:
    base, _ = _plain(kind)
    return base if isinstance(base, type) and issubclass(base, Struct) else None


def _struct_in_tuple(kind: Any) -> type[Struct] | None:
    base, _ = _plain(kind)
    return _struct(get_args(base)[0]) if get_origin(base) is tuple else None
