"""A process that reads a meter under keys as fast as it can, to be killed: `python -m tests.dlms_child PORT FOLDER`.

A reservation lasts for three numbers only, so that many of them are under way when it ends.
"""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from pathlib import Path

from drivers.dlms import counter_file
from drivers.dlms.counters import InvocationCounter
from drivers.dlms.driver import DlmsDriver
from drivers.dlms.planning import requests
from drivers.link import open_link
from edge_agent.model import LinkSpec
from edge_agent.ports import DriverError
from tests.dlms_desk import device, under_keys


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


async def read_on(port: int, folder: Path) -> None:
    link = open_link(LinkSpec("net", "dlms-tcp", "127.0.0.1", port), now_ms=now_ms)
    driver = DlmsDriver(link, 2.0, now_ms)
    (request,) = requests(device(under_keys(folder), "active_energy_import", "voltage_l1"))
    while True:
        try:
            await driver.read(request)
        except DriverError as error:
            print(repr(error), flush=True)
            await asyncio.sleep(0.02)
        else:
            print("read", flush=True)


if __name__ == "__main__":
    counter_file.InvocationCounter = partial(InvocationCounter, block=3)  # type: ignore[assignment,attr-defined]
    asyncio.run(read_on(int(sys.argv[1]), Path(sys.argv[2])))
