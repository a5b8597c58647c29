"""The DL/T 645-2007 driver: reads the data items of Chinese meters on a serial line, and nothing else.

`requests` turns a device's profile into few questions, `open_driver` gives a driver on a link. The parts: `frame`
(bytes to frames and back, finding its way again after noise), `exchange` (one question and its answer, sans I/O, and
what late answers may do), `items` (octets to readings, compiled once per question), `planning` (which registers share a
question, and what stands in for a block that a meter does not give), `events` and `load_records` (what a meter writes
down by itself), `driver` (asks, joins, falls back, names the failure).

A meter's address is 12 digits; `address` in a profile is `di:00010000`, or `di:0201FF00/2` for the second item of a
block. A line is 2400 baud, 8 bits, even parity unless the meter was set otherwise.

Source: DL/T 645-2007, clauses 5 and 7 and Annex A.
"""

from __future__ import annotations

from drivers.dlt645.driver import Dlt645Driver, open_driver
from drivers.dlt645.items import raw_of
from drivers.dlt645.planning import requests, wire_bytes

__all__ = ["Dlt645Driver", "open_driver", "raw_of", "requests", "wire_bytes"]
