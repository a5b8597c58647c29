"""Reads one DLMS/COSEM meter as fast as it answers, on one core, as the poller does: link, driver, values checked.

    python -m tests.bench.dlms_reader PORT METER ATTRIBUTES READS FOLDER

METER is `plain` or `ciphered` (HLS-5, authenticated and encrypted), ATTRIBUTES 1 (a GET) or 12 (a with-list); the
counters are kept in FOLDER. What it says is one line of JSON: reads, seconds, CPU seconds. Connection, association and
what is read once are not in them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import replace

from edge_agent.clock import SystemClock
from edge_agent.fieldbus import open_line
from edge_agent.model import DeviceSpec, DlmsSpec, LinkSpec, Reading
from edge_agent.settings import load_profile
from tests.bench import PROFILES
from tests.bench.dlms_meters import AGENTS_TITLE, AK, EK

METERS = {"plain": 1, "ciphered": 2}
"""By name: its SAP."""

PROFILE = load_profile(PROFILES / "bench-dlms-12.toml")


def device(meter: str, attributes: int, folder: str) -> DeviceSpec:
    spec = DlmsSpec(client=1, server=METERS[meter], state=folder)
    if meter == "ciphered":
        spec = replace(
            spec, authentication="hls5", security="authenticated-encrypted", client_title=AGENTS_TITLE,
            encryption_key=EK, authentication_key=AK,
        )  # fmt: skip
    return DeviceSpec("m1", "net", 0, replace(PROFILE, registers=PROFILE.registers[:attributes]), dlms=spec)


async def main() -> None:
    port, attributes, reads = int(sys.argv[1]), int(sys.argv[3]), int(sys.argv[4])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    link = LinkSpec("net", "dlms-tcp", host="127.0.0.1", port=port)
    line = open_line(link, [device(sys.argv[2], attributes, sys.argv[5])], SystemClock())
    (request,) = line.requests
    for _ in range(3):  # connected, associated, scalers known, everything used once
        last = await line.read(request)
    began_s, cpu_s = time.perf_counter(), time.process_time()
    for _ in range(reads):
        last = await line.read(request)
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    if len(last) != attributes or not all(isinstance(value, Reading) for value in last):
        sys.exit(f"not everything could be read: {last}")
    await line.close()
    print(json.dumps({"reads": reads, "took_s": took_s, "cpu_s": cpu_s}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
