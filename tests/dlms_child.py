"""A process that reads meters under keys as fast as it can, to be killed: `python -m tests.dlms_child PORT FOLDER HOW`.

The meters are those of `METERS`, behind one port; every few readings an association is ended and made anew, so that
proofs and questions are under way alike. A reservation lasts for three numbers only, so that many of them are under way
too. HOW is `ahead`, as the agent has it, or `behind`: a number is put on record after its use, as one would without
thinking. It says `ask` before, and `read` after, every reading.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from drivers.dlms import counter_file
from drivers.dlms.counters import CounterStore, InvocationCounter
from drivers.dlms.driver import DlmsDriver
from drivers.dlms.planning import requests
from drivers.link import open_link
from edge_agent.model import DeviceSpec, LinkSpec
from edge_agent.ports import DriverError
from tests.dlms_desk import AK_HEX, device, under_keys

BLOCK = 3
READINGS = 4
"""After so many, on the average, all associations are ended."""


class Way(NamedTuple):
    """A meter: its SAP, how its APDUs are ciphered, what is ciphered of them, and its key."""

    name: str
    sap: int
    wrap: str
    security: str
    key: str


METERS = (
    Way("glo", 1, "glo", "authenticated-encrypted", "00" * 15 + "01"),
    Way("ded", 2, "ded", "authenticated-encrypted", "00" * 15 + "02"),
    Way("general-glo", 3, "general-glo", "authenticated-encrypted", "00" * 15 + "03"),
    Way("proof", 4, "glo", "none", "00" * 15 + "04"),  # HLS-5 alone: every number is a proof's
)


class Behind(InvocationCounter):
    """What must not be: the number is on record when the next one is wanted, and not before it is used."""

    def __init__(self, store: CounterStore) -> None:
        super().__init__(store)
        self._kept = store
        self._number = store.start()

    def take(self) -> int:
        self._kept.reserve(max(self._number, 1))
        self._number += 1
        return self._number - 1

    def raise_to(self, number: int) -> bool:
        raised, self._number = number > self._number, max(number, self._number)
        return raised


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def devices(folder: Path) -> list[DeviceSpec]:
    return [
        device(
            under_keys(
                folder, client=1, server=way.sap, security=way.security, wrap=way.wrap, encryption_key=way.key,
                authentication_key=AK_HEX, meter_title="",
            ),
            "active_energy_import", "voltage_l1", id_=way.name,
        )
        for way in METERS
    ]  # fmt: skip


async def read_on(port: int, folder: Path) -> None:
    link = open_link(LinkSpec("net", "dlms-tcp", "127.0.0.1", port), now_ms=now_ms)
    driver = DlmsDriver(link, 2.0, now_ms)
    asked = [request for spec in devices(folder) for request in requests(spec)]
    chance = random.Random()
    print("ready", flush=True)
    while True:
        print("ask", flush=True)
        try:
            await driver.read(chance.choice(asked))
        except DriverError as error:
            print(repr(error), flush=True)
            await asyncio.sleep(0.02)
        else:
            print("read", flush=True)
        if chance.random() < 1 / READINGS:
            await driver.release()


if __name__ == "__main__":
    counts = partial(InvocationCounter, block=BLOCK) if sys.argv[3] == "ahead" else Behind
    counter_file.InvocationCounter = counts  # type: ignore[assignment,attr-defined]
    asyncio.run(read_on(int(sys.argv[1]), Path(sys.argv[2])))
