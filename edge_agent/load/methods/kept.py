"""What a method remembers, as plain values for the store, and back after a restart.

A state is a flat dataclass or struct of numbers, texts, tuples and mappings of these; a long row of numbers is an
`array`, which takes a quarter of a tuple's memory, and is stored as a list. What was stored by another version, or does
not fit, is no state: the method begins anew, which costs time and never a wrong answer.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeVar

import msgspec

State = TypeVar("State")


def to_plain(state: Any) -> dict[str, Any]:
    """Names to plain values, as JSON can hold them."""
    plain = ((name, getattr(state, name)) for name in _names(type(state)))
    return {name: value.tolist() if isinstance(value, array) else value for name, value in plain}


class EachPlain(Mapping[str, dict[str, Any]]):
    """States by name, each made plain when it is looked at: long rows as lists are several times their arrays."""

    def __init__(self, states: Mapping[str, Any]) -> None:
        self._states = states

    def __getitem__(self, name: str) -> dict[str, Any]:
        return to_plain(self._states[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)


def from_plain(kind: type[State], plain: Any) -> State | None:
    """The state again, or None where `plain` is not one of this kind."""
    if not isinstance(plain, dict) or set(plain) != set(_names(kind)):
        return None
    fresh = kind()
    try:
        values = {name: _taken(getattr(fresh, name), value) for name, value in plain.items()}
    except (TypeError, ValueError, OverflowError):  # numbers that are none, or too large for their row
        return None
    if any(not _alike(getattr(fresh, name), value) for name, value in values.items()):
        return None
    return kind(**values)


def _names(kind: type[Any]) -> tuple[str, ...]:
    """Of a dataclass or a struct."""
    return kind.__struct_fields__ if issubclass(kind, msgspec.Struct) else tuple(f.name for f in fields(kind))


def _taken(fresh: Any, value: Any) -> Any:
    return array(fresh.typecode, value) if isinstance(fresh, array) else _tuples(value)


def _tuples(value: Any) -> Any:
    """JSON has lists alone."""
    if isinstance(value, list | tuple):
        return tuple(_tuples(v) for v in value)
    if isinstance(value, dict):
        return {key: _tuples(v) for key, v in value.items()}
    return value


def _alike(fresh: Any, value: Any) -> bool:
    if isinstance(fresh, bool) or isinstance(value, bool):
        return isinstance(fresh, bool) and isinstance(value, bool)
    if fresh is None or value is None:
        return fresh is None and not isinstance(value, tuple | dict | str)
    if isinstance(fresh, float):
        return isinstance(value, float | int)
    return isinstance(value, type(fresh))
