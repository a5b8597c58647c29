"""The agent's DL/T 698.45 driver against the server of the package `dlt698`, a process of its own.

Frames, numbers of questions and what a server does with them are the peer's own code there; the codec of APDUs is the
one that the driver uses too, so nothing is proved of it here.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.dlt698 import Dlt698Driver, requests
from drivers.link import open_link
from edge_agent.model import DeviceSpec, Gap, LinkSpec, Outcome, Reading
from edge_agent.settings.profile import load_profile
from tests import figures

ROOT = Path(__file__).parents[2]
PROFILE = load_profile(ROOT / "config/profiles/dlt698-3p.toml")
SHOWN = {
    "active_energy_import": 123_456_780.0, "active_energy_import_t4": 23_456_720.0, "voltage_l1": 241.3,
    "voltage_l3": 219.8, "current_l2": -5.123, "active_power": 1234.5, "active_power_l1": -543.2,
    "power_factor_l1": -0.98, "frequency": 50.02,
    "meter_clock": "2026-11-24T18:50:07", "meter_serial": "000012345678", "demand_period": 15.0,
}  # fmt: skip
POLLS = 20


@pytest.fixture
def port(request) -> Iterator[int]:
    script = [sys.executable, "-m", "tests.peers.dlt698_meter", *request.param]
    with subprocess.Popen(script, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as meter:
        assert meter.stdin is not None
        assert meter.stdout is not None
        yield int(meter.stdout.readline())
        meter.stdin.close()
        assert meter.wait(10) == 0


def driver_to(port: int, timeout_s: float) -> Dlt698Driver:
    spec = LinkSpec("l", "tcp-serial", host="127.0.0.1", port=port, timeout_s=timeout_s, baud=115_200, parity="E")

    def now_ms() -> int:
        return round(asyncio.get_running_loop().time() * 1000)

    return Dlt698Driver(open_link(spec, now_ms=now_ms), timeout_s, now_ms)


DEVICE = DeviceSpec("m1", "l", 0, PROFILE, address="123456789012")


@pytest.mark.parametrize("port", [()], indirect=True, ids=["preset"])
def test_the_agent_reads_the_packages_own_server(port):
    asked = 0

    async def story() -> dict[str, Outcome]:
        nonlocal asked
        driver = driver_to(port, 3.0)
        found: list[Outcome] = []
        for _ in range(POLLS):
            driver.link.frames.clear()  # it keeps the last few
            found = [o for request in requests(DEVICE) for o in await driver.read(request)]
            asked += len(driver.link.frames)
        await driver.close()
        return {o.quantity: o for o in found}

    found = asyncio.run(story())
    figures.report("DL/T 698.45 server of the package", polls=POLLS, registers=len(found))
    shown = {q: (o.value if isinstance(o, Reading) else "" if isinstance(o, Gap) else o.text) for q, o in found.items()}
    assert {q: v for q, v in shown.items() if q in SHOWN} == {
        q: pytest.approx(v) if isinstance(v, float) else v for q, v in SHOWN.items()
    }
    gaps = [o for o in found.values() if isinstance(o, Gap)]
    assert len(gaps) > 20  # what this server does not have
    assert {o.cause for o in gaps} == {"refused"}
    assert asked > 100  # numbers have had their turn more than once


@pytest.mark.parametrize("port", [("CONNECT",)], indirect=True, ids=["connect"])
def test_a_server_that_wants_connect_first_gives_no_value_and_says_why(port):
    async def story() -> list[Outcome]:
        driver = driver_to(port, 2.0)
        (voltages, *_) = (r for r in requests(DEVICE) if "voltage_l1" in r.quantities)
        found = await driver.read(voltages)
        await driver.close()
        return found

    found = asyncio.run(story())
    details = [o.detail for o in found if isinstance(o, Gap)]
    assert len(details) == len(found) > 0
    assert all("wants CONNECT first, which this agent does not send" in detail for detail in details)
