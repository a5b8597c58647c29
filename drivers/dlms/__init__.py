"""The DLMS/COSEM driver: reads smart meters over HDLC or the TCP wrapper, plain or under keys, and nothing else.

`requests` turns a device's profile into few questions, `open_driver` gives a driver on a link. Its parts with a wire:
`channel` (an APDU to a meter and one back), `session` (an association over many polls), `driver` (who it is, what its
numbers mean, the outcome of every register), `recording` (its load profile) and `logbook` (its event logs), both
out of `buffer`, `keyring` and `counter_file` (secrets, and counters that no crash sets back). `values`, `planning` and
`load_profile` say what comes means.

The parts without a wire, from outside inwards: `hdlc` (with `hdlc_frame`) and `wrapper` are the data links;
`association` opens, proves and ends an association, out of `acse` and `initiate`, and puts `protection` on and off,
which counts with `counters`; `reading` is one GET with its blocks, out of `xdlms` and `selection`; `axdr` and
`cosem_time` give typed values, `objects` and `units` their meaning; `refused` holds every way of saying no. `octets`
and `ber` cut.

Logical names, security suite 0 (glo, ded, general-glo, general-ded), no authentication, LLS and HLS-5 GMAC. Short
names, suites 1 and 2, mode E, general block transfer and pushes are recognised and not spoken. Nothing here writes: the
only action is the one that proves an association, and the gate (`drivers.gate_dlms`) passes no other.

Source: IEC 62056-46, -47, -5-3, -6-2 (DLMS UA 1000-1 and 1000-2).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drivers.dlms.driver import DlmsDriver, open_driver
    from drivers.dlms.planning import raw_of, requests, wire_bytes

__all__ = ["DlmsDriver", "open_driver", "raw_of", "requests", "wire_bytes"]

_PLACES = {"DlmsDriver": "driver", "open_driver": "driver"}


def __getattr__(name: str) -> Any:
    """The driver is loaded by whoever drives: who wants the codec alone pays for that alone."""
    if name in __all__:
        return getattr(import_module(f"drivers.dlms.{_PLACES.get(name, 'planning')}"), name)
    raise AttributeError(name)
