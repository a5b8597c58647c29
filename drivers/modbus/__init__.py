"""The Modbus driver: reads registers of meters and current transformers, and nothing else.

`requests` turns a device's profile into few questions, `open_driver` gives a driver on a link. The parts: `planning`
(which registers share a question), `decoding` (bytes to readings, compiled once per question), `exchange` and `rtu`
(one question and its answer over TCP and on a serial line, sans I/O; the doors to pymodbus, used as a codec), `owed`
and `ways` (why no late answer is taken for another, and how to ask differently meanwhile), `driver` (asks, un-merges,
names the failure).

Source: MODBUS Application Protocol V1.1b3; MODBUS Messaging on TCP/IP V1.0b; MODBUS over Serial Line V1.02.
"""

from __future__ import annotations

from drivers.modbus.decoding import raw_of
from drivers.modbus.driver import ModbusDriver, open_driver
from drivers.modbus.planning import asked, cost_on, requests, wire_bytes

__all__ = [
    "ModbusDriver",
    "asked",
    "cost_on",
    "open_driver",
    "raw_of",
    "requests",
    "wire_bytes",
]
