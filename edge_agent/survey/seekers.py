"""Each driver's way of finding who is on a link, by name: a driver that has one is asked, and there is no list."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import cache
from itertools import zip_longest
from typing import Any

from edge_agent.sighting import Seeker
from edge_agent.survey.place import Setting


@cache
def surveys() -> dict[str, Any]:
    """The `survey` modules of the drivers that have one."""
    drivers = importlib.import_module("drivers")
    names = sorted(m.name for m in pkgutil.iter_modules(drivers.__path__) if m.ispkg)
    found = {n: f"drivers.{n}.survey" for n in names if importlib.util.find_spec(f"drivers.{n}.survey") is not None}
    return {name: importlib.import_module(module) for name, module in found.items()}


def seekers(link: Any, kind: str, asked: Mapping[str, Any] | None = None) -> dict[str, Seeker]:
    """One for each protocol that is spoken on such a link; some are looked for only where they are asked for: by
    driver, with whatever its seeker is to know."""
    asked = asked or {}
    return {
        name: module.Seeker(link, asked[name]) if name in asked else module.Seeker(link)
        for name, module in _spoken(kind, asked).items()
    }


def settings(
    kind: str, first: Setting, bauds: Iterable[int] = (), parities: Iterable[str] = (), asked: Container[str] = (),
) -> list[Setting]:  # fmt: skip
    """Speeds and parities in the order in which they are tried: `first`, then the likeliest of each protocol in turn.

    With bauds or parities, no others; `asked`: drivers that are looked for because somebody asks for it. Behind a
    converter the line is set in the converter: there is nothing to try.
    """
    if kind != "serial":
        return [first]
    bauds, parities = set(bauds), set(parities)

    def wanted(baud: int, parity: str) -> bool:
        return (not bauds or baud in bauds) and (not parities or parity in parities)

    found = [first] if wanted(first.baud, first.parity) else []
    found += [Setting(baud, parity) for baud, parity in _likeliest(kind, asked) if wanted(baud, parity)]
    found += [Setting(baud, parity) for baud in sorted(bauds) for parity in sorted(parities or {"N", "E"})]
    return list(dict.fromkeys(found))


def _spoken(kind: str, asked: Container[str]) -> dict[str, Any]:
    return {
        name: module
        for name, module in surveys().items()
        if kind in module.LINKS and (name in asked or kind not in getattr(module, "ON_REQUEST", ()))
    }


def _likeliest(kind: str, asked: Container[str]) -> Iterator[tuple[int, str]]:
    likeliest_first = sorted(_spoken(kind, asked).items(), key=lambda named: (named[0] != "modbus", named[0]))
    for row in zip_longest(*(module.FRAMINGS for _, module in likeliest_first)):
        yield from (framing for framing in row if framing is not None)
