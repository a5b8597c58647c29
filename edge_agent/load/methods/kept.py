"""What a method remembers, as plain values for the store, and back after a restart.

A state is a flat dataclass of numbers, texts, tuples and mappings of these. What was stored by another version, or does
not fit, is no state: the method begins anew, which costs time and never a wrong answer.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

State = TypeVar("State")


def to_plain(state: Any) -> dict[str, Any]:
    """Names to plain values, as JSON can hold them."""
    return {f.name: getattr(state, f.name) for f in fields(state)}


def from_plain(kind: type[State], plain: Any) -> State | None:
    """The state again, or None where `plain` is not one of this kind."""
    made = fields(kind)  # type: ignore[arg-type]
    if not isinstance(plain, dict) or set(plain) != {f.name for f in made}:
        return None
    fresh = kind()
    values = {name: _tuples(value) for name, value in plain.items()}
    if any(not _alike(getattr(fresh, name), value) for name, value in values.items()):
        return None
    return kind(**values)


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
