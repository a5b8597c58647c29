"""What one release file says otherwise than another, key by key: the numbers, not the lines of the text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

PROCEEDINGS = frozenset({"version", "status"})
"""Keys that differ between any two versions."""


class Change(NamedTuple):
    """`before` or `after` is None where the key is absent."""

    key: str  # levels[warning].above, params.failures ...
    before: Any
    after: Any


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Sorted by key; levels are set side by side by their severity."""
    old, new = dict(_flat(before)), dict(_flat(after))
    changed = (key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key))
    return [Change(key, old.get(key), new.get(key)) for key in changed if key not in PROCEEDINGS]


def _flat(plain: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(plain, Mapping):
        for key, value in plain.items():
            yield from _flat(value, f"{at}.{key}" if at else str(key))
    elif isinstance(plain, list | tuple) and plain and all(isinstance(x, Mapping) for x in plain):
        for n, entry in enumerate(plain, 1):
            yield from _flat({k: v for k, v in entry.items() if k != "severity"}, f"{at}[{entry.get('severity', n)}]")
    else:
        yield at, list(plain) if isinstance(plain, tuple) else plain
