"""The Modbus driver: reads registers of meters and current transformers, and nothing else.

`requests` turns a device's profile into few questions, `open_driver` gives a driver for one link. The parts: `planning`
(which registers share a question), `decoding` (bytes to readings, compiled once per question), `exchange` (one question
and its answer over TCP, sans I/O; the one door to pymodbus, used as a codec), `driver` (asks, un-merges, names the
failure).

Source: MODBUS Application Protocol V1.1b3; MODBUS Messaging on TCP/IP V1.0b.
"""

from __future__ import annotations

from drivers.modbus.decoding import raw_of
from drivers.modbus.driver import ModbusDriver, open_driver
from drivers.modbus.planning import requests

__all__ = ["ModbusDriver", "open_driver", "raw_of", "requests"]
