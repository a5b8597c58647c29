"""What modules of others load and nobody here uses, kept out of the process: a gateway has no memory for it.

Only the first import of a module decides what comes with it. So `app` and `cli` import this room before any other, and
a package that stands behind one door (numpy, paho) is loaded at that door in one of these blocks.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

UNUSED = {
    "structlog": "rich",  # for tracebacks that nobody sees here: 5 MiB
    "msgspec": "typing_extensions",  # the standard library has all that it takes from there: 0.3 MiB
}
"""Packages that have no door of their own, and what they load where it is installed."""


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
    package, _, own = name.rpartition(".")
    stand_in = ModuleType(name)
    stand_in.__getattr__ = lambda wanted: getattr(importlib.import_module(name), wanted)  # type: ignore[method-assign]
    if package:
        setattr(importlib.import_module(package), own, stand_in)
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]


with until_used("ipaddress"):  # for hosts in brackets: 0.3 MiB
    importlib.import_module("pathlib")
for package, unused in UNUSED.items():
    with without(unused):
        importlib.import_module(package)
