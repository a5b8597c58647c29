"""The DL/T 698.45 driver: reads the objects of China's newer meters, and nothing else. It needs the extra `dlt698`.

`requests` turns a device's profile into few questions, `open_driver` gives a driver on a link. The parts: `frame`
(bytes to frames and back, finding its way again after noise), `codec` (the door to the package `dlt698`: octets of an
APDU to values and back), `exchange` (one question and its answer, sans I/O, and what becomes of late answers), `items`
(values to readings, compiled once per question), `planning` (which registers share a question), `driver` (asks, joins
blocks, falls back, names the failure).

A meter's address is 12 digits; `address` in a profile is `oad:00100200` for an attribute (object identifier, attribute,
index in it, 0 for all), `oad:00100200/2` for the second element of what it holds, `oad:30110700/1.2.1` further in.

`survey` finds such meters on a line and names them; like `frame` it does without the package, which is loaded with
whatever of the others is used first.

Only GET is spoken, in the association that every meter has without CONNECT. A meter that answers nothing without
CONNECT, or only under its security module, is refused with the reason.

Source: DL/T 698.45-2017 by way of the package `dlt698` 1.0.1 and the clauses that it cites: 5 (frames), 6.3.4 and the
GET service of 6.3 (APDUs), Annex A (check), Annex D.3 (worked examples), Annex E (objects).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drivers.dlt698.driver import Dlt698Driver, open_driver
    from drivers.dlt698.items import raw_of
    from drivers.dlt698.planning import requests, wire_bytes

__all__ = ["Dlt698Driver", "open_driver", "raw_of", "requests", "wire_bytes"]

_PLACES = {"Dlt698Driver": "driver", "open_driver": "driver", "raw_of": "items"}


def __getattr__(name: str) -> Any:
    """Whoever reads such meters loads the package; whoever only knows their frames does without."""
    if name in __all__:
        return getattr(import_module(f"drivers.dlt698.{_PLACES.get(name, 'planning')}"), name)
    raise AttributeError(name)
