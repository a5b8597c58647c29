"""What modules of others load and nobody here uses, kept out of the process: a gateway has no memory for it.

Only the first import of a module decides what comes with it. So `app` and `cli` import this room before any other, and
a package that stands behind one door (numpy, paho) is loaded at that door in one of these blocks.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType

UNUSED = {
    "structlog": "rich",  # for tracebacks that nobody sees here: 5 MiB
    "msgspec": "typing_extensions",  # the standard library has all that it takes from there: 0.3 MiB
}
"""Packages that have no door of their own, and what they load where it is installed."""

LATER = {
    "pathlib": "ipaddress",  # for hosts in brackets, in addresses of the web: 0.3 MiB
    "structlog": "structlog.stdlib",  # its bridge to the standard library's log: 0.1 MiB
    "msgspec": "msgspec.inspect",  # for JSON schemas, which are made on a desk: 0.1 MiB
}
"""And what they load and may want one day; in this order, since each loads the ones before it."""


@contextmanager
def without(name: str) -> Iterator[None]:
    """In this block the module `name` is not installed, unless it is loaded already: for one that is asked to do so."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # as the import system writes that there is none
    try:
        yield
    finally:
        del sys.modules[name]


@contextmanager
def until_used(name: str) -> Iterator[None]:
    """In this block the module `name` is imported by name alone; the first look at anything in it loads it."""
    if name in sys.modules:
        yield
        return
    stand_in = ModuleType(name)
    stand_in.__getattr__ = lambda wanted: getattr(importlib.import_module(name), wanted)  # type: ignore[method-assign]  # a module may have one: PEP 562
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]
    package, _, own = name.rpartition(".")
    if package:
        setattr(importlib.import_module(package), own, stand_in)


for package, later in LATER.items():
    with without(UNUSED[package]) if package in UNUSED else nullcontext(), until_used(later):
        importlib.import_module(package)
