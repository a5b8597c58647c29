"""Reads as many meters as fast as they answer, on one core: the agent's way, or the least that asyncio can do.

    python -m tests.bench.reader WAY PORT DEVICES CONNECTIONS READS

WAY is `agent`, which is link, driver and decoding as the poller has them, or `bare`: a protocol, one frame out, one in,
one `struct.unpack`. Devices on one connection are asked one after the other, connections side by side. What it says is
one line of JSON: reads, seconds, CPU seconds. Nothing but the reads themselves is in them.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from edge_agent.clock import SystemClock
from edge_agent.fieldbus import open_line
from edge_agent.model import DeviceSpec, Gap, LinkSpec
from tests.bench import REGISTERS, VALUES
from tests.bench.answered import HELD, LAYOUT, PROFILE
from tests.bench.processes import room_for_files

ANSWER = 9 + 2 * REGISTERS
Read = Callable[[], Awaitable[Sequence[object]]]
"""Reads one device once; the values."""


def by_the_agent(port: int, units: range, number: int) -> list[Read]:
    """One connection of the agent's, with a device for each unit."""
    link = LinkSpec(f"lan-{number}", "modbus-tcp", host="127.0.0.1", port=port)
    devices = [DeviceSpec(f"m{number}-{unit}", link.id, unit, PROFILE) for unit in units]
    line = open_line(link, devices, SystemClock())
    assert len(line.requests) == len(units), "one question reads a device"

    return [partial(line.read, request) for request in line.requests]


class Bare(asyncio.Protocol):
    """One connection, one question at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._came = b""
        self._tid = 0
        self._answered: asyncio.Future[bytes] | None = None
        self._unpack = struct.Struct(LAYOUT).unpack_from

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._came += data
        if len(self._came) >= ANSWER and self._answered is not None:
            self._answered.set_result(self._came)
            self._came = b""

    async def read(self, unit: int) -> Sequence[object]:
        assert self._transport is not None
        self._tid = (self._tid + 1) & 0xFFFF
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(struct.pack(">HHHBBHH", self._tid, 0, 6, unit, 3, 0, REGISTERS))
        return self._unpack(await self._answered, 9)


async def bare(port: int, units: range) -> list[Read]:
    _, meter = await asyncio.get_running_loop().create_connection(Bare, "127.0.0.1", port)
    return [partial(meter.read, unit) for unit in units]


async def in_turn(reads: list[Read], rounds: int) -> int:
    """How many values that brought; the last of each device are looked at, so that no gap counts as a value."""
    found, last = 0, []
    for _ in range(rounds):
        last = [await read() for read in reads]
        found += sum(map(len, last))
    if any(isinstance(value, Gap) for values in last for value in values):
        sys.exit(f"not everything could be read: {last[0]}")
    return found


async def main() -> None:
    way = sys.argv[1]
    port, devices, connections, reads = map(int, sys.argv[2:])
    room_for_files(connections)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    units = range(1, devices // connections + 1)
    if way == "agent":
        wires = [by_the_agent(port, units, number) for number in range(connections)]
    else:
        wires = [await bare(port, units) for _ in range(connections)]
    await asyncio.gather(*(in_turn(wire, 2) for wire in wires))  # connected, and everything has been used once
    rounds = max(1, reads // devices)
    began_s, cpu_s = time.perf_counter(), time.process_time()
    found = sum(await asyncio.gather(*(in_turn(wire, rounds) for wire in wires)))
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    if found != rounds * devices * VALUES or len(HELD) != VALUES:
        sys.exit(f"{found} values instead of {rounds * devices * VALUES}")
    print(json.dumps({"reads": rounds * devices, "took_s": took_s, "cpu_s": cpu_s}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
