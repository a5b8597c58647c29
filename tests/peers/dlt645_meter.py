"""The package `dlt645` as a process, for the tests: its server, its client, and what one of its clients weighs.

    dlt645_meter.py serve tcp ADDRESS ITEMS       a free port of 127.0.0.1
    dlt645_meter.py serve PATH ADDRESS ITEMS      a serial port, 9600 8N1
    dlt645_meter.py read PATH ADDRESS ITEMS       reads them once, from whoever answers on a serial port
    dlt645_meter.py weigh N                       MiB that each of N clients takes

It runs in an environment of its own and knows nothing of this project. ITEMS is JSON: for a server identifier -> value
(a demand is [kW, "2026-11-24T18:45"], an event count a list), for a client a list of identifiers, and "address".
ADDRESS goes to the package as it is. A server says "dlt645 3.2.0 serves PLACE" and ends with its standard input; the
others answer in JSON.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

# mypy does not see the package: it is in the peers' own environment alone.
from dlt645 import MeterClientService, MeterServerService  # type: ignore[import-not-found]
from dlt645.model.types.dlt645_type import Demand  # type: ignore[import-not-found]

BAUD = 9600
PAGE = 4096


def serve(place: str, address: str, items: dict[str, Any]) -> None:
    if place == "tcp":
        meter = MeterServerService.new_tcp_server("127.0.0.1", 0, 3.0)
    else:
        meter = MeterServerService.new_rtu_server(place, 8, 1, BAUD, "N", 3.0)
    meter.set_address(address)
    for name, value in items.items():
        put(meter, int(name, 16), value)
    if not meter.start():
        sys.exit(f"{place}: cannot be served")
    shown = meter.server.port
    sys.stdout.write(f"dlt645 {version('dlt645')} serves {shown}\n")
    sys.stdout.flush()
    sys.stdin.read()
    meter.stop()


def put(meter: Any, di: int, value: Any) -> None:
    match di >> 24:
        case 0x00:
            taken = meter.set_00(di, value)
        case 0x01:
            taken = meter.set_01(di, Demand(value[0], datetime.fromisoformat(value[1])))
        case 0x02:
            taken = meter.set_02(di, value)
        case 0x03:
            taken = meter.set_03(di, [tuple(v) if isinstance(v, list) else v for v in value])
        case _:
            taken = meter.set_04(di, value)
    if not taken:
        sys.exit(f"{di:08X}: {value!r} is not taken")


def read(path: str, address: str, items: list[str]) -> dict[str, Any]:
    client = MeterClientService.new_rtu_client(path, BAUD, 8, 1, "N", 0.7)
    client.set_address(address)
    methods = (client.read_00, client.read_01, client.read_02, client.read_03, client.read_04)
    found: dict[str, Any] = {}
    for name in items:
        if name == "address":
            found[name] = plain(client.read_address())
        else:
            di = int(name, 16)
            found[name] = plain(methods[di >> 24](di))
    client.disconnect()
    return found


def plain(item: Any) -> Any:
    if isinstance(item, list):
        return [plain(one) for one in item]
    value = getattr(item, "value", None)
    if isinstance(value, Demand):
        return [value.value, value.time.isoformat(timespec="minutes")]
    return getattr(value, "event", value)


def weigh(count: int) -> float:
    """The mean of what each further client adds, in MiB of resident memory."""
    kept = [MeterClientService.new_tcp_client("127.0.0.1", 1, 1.0)]
    before = resident()
    kept += [MeterClientService.new_tcp_client("127.0.0.1", 1, 1.0) for _ in range(count)]
    return (resident() - before) / len(kept[1:]) / 2**20


def resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def main(words: list[str]) -> None:
    match words:
        case ["serve", place, address, items]:
            serve(place, address, json.loads(items))
        case ["read", path, address, items]:
            sys.stdout.write(json.dumps(read(path, address, json.loads(items))) + "\n")
        case ["weigh", count]:
            sys.stdout.write(json.dumps(weigh(int(count))) + "\n")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
