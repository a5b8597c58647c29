"""Both sides of the DLMS tests with peers: our simulated meter with what it should show, and the peers' commands."""

from __future__ import annotations

import json
import math
import re
import select
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from simulator.device import ENERGIES
from simulator.dlms import requests
from simulator.dlms.meter import Answer, DlmsMeter
from simulator.dlms.requests import Act, Get, Next, Unknown
from simulator.dlms.station import DlmsStation
from simulator.dlms.tcp import DlmsPort
from simulator.faults import Fault
from simulator.line.plan import LinePlan, StationPlan
from simulator.line.pty import PtyLine
from simulator.line.station import LineClock, Turnaround
from simulator.line.uart import Format
from simulator.loop import LoopThread
from tests.peers.dlms_matrix import Way
from tests.peers.programs import BEGINS_S, FOLDER, THEIR_PYTHON
from tests.peers.test_mbpoll import StandingClock
from tests.sim_dlms import AK, CLIENT_TITLE, EK, PASSWORD, T0, sim_meter

BAUD = 115_200
GURUX = FOLDER / "gurux_client.py"
QUARTER_MS = 900_000
DAY_ROWS = 97
"""From midnight to midnight, both of them."""

TWELVE: dict[str, tuple[str, int]] = {
    "1.0.1.8.0.255": ("active_energy_import", 1), "1.0.2.8.0.255": ("active_energy_export", 1),
    "1.0.3.8.0.255": ("reactive_energy_import", 1), "1.0.4.8.0.255": ("reactive_energy_export", 1),
    "1.0.9.8.0.255": ("apparent_energy_import", 1), "1.0.1.7.0.255": ("active_power", 0),
    "1.0.16.7.0.255": ("active_power", 0), "1.0.32.7.0.255": ("voltage_l1", -1), "1.0.52.7.0.255": ("voltage_l2", -1),
    "1.0.72.7.0.255": ("voltage_l3", -1), "1.0.31.7.0.255": ("current_l1", -3), "1.0.14.7.0.255": ("frequency", -2),
}  # fmt: skip
"""Register: its quantity, and its scaler. The load profile captures all twelve, beside time and status."""

Asked = Get | Next | Act | Unknown


@dataclass
class Ours:
    """One of our simulated meters, and all that came to it."""

    meter: DlmsMeter
    place: str = ""
    apdus: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Question and answer as they went over the link, ciphered where they are."""
    asked: list[Asked] = field(default_factory=list)
    """Every GET, and the proof of HLS-5, in the clear."""

    def steps(self, name: str, at_ms: int) -> int:
        """What a register's number is, by the meter's physics: energies are cut to their last digit."""
        quantity, scaler = TWELVE[name]
        value = float(self.meter.holding.meter.value(quantity, at_ms))
        number = value / 10.0**scaler
        return math.floor(number + 1e-6) if quantity in ENERGIES else round(number)

    def value(self, name: str, at_ms: int = T0) -> float:
        return round(self.steps(name, at_ms) * 10.0 ** TWELVE[name][1], 6)

    def row(self, at_ms: int) -> list[int]:
        return [self.steps(name, at_ms) for name in TWELVE]

    def heard(self, tag: int) -> list[bytes]:
        """Answers to questions that begin with an octet."""
        return [answer for question, answer in self.apdus if question[0] == tag]


@contextmanager
def our_meter(
    way: Way, monkeypatch: pytest.MonkeyPatch, *faults: Fault, physical: int | None = None, octets: int = 1, **dlms: Any
) -> Iterator[Ours]:
    """It stands at T0 with a day behind it, and is served on a TCP port or on a pty. `physical`, `octets`: its address
    there."""
    clock = StandingClock(T0)
    captures = [f"1-0:{name[4:]}" for name in TWELVE]
    ours = Ours(sim_meter(*faults, clock=clock, captures=captures, **dlms))
    answer, request = ours.meter.answer, requests.request

    def overheard(sap: int, apdu: bytes, channel: object, now_s: float) -> Answer:
        said = answer(sap, apdu, channel, now_s)
        ours.apdus.append((apdu, said.apdu))
        return said

    def understood(plain: bytes) -> Asked:
        ours.asked.append(asked := request(plain))
        return asked

    monkeypatch.setattr(ours.meter, "answer", overheard)
    monkeypatch.setattr(requests, "request", understood)
    with _on_line(ours, clock, physical, octets) if way.on_line else _on_port(ours):
        yield ours


@contextmanager
def _on_port(ours: Ours) -> Iterator[None]:
    port = DlmsPort({1: ours.meter})
    with LoopThread("dlms port") as loop:
        loop.run(port.start())
        try:
            ours.place = f"127.0.0.1:{port.port}"
            yield
        finally:
            loop.run(port.stop())


@contextmanager
def _on_line(ours: Ours, clock: StandingClock, physical: int | None, octets: int) -> Iterator[None]:
    def hang(clock: LineClock, seed: int) -> DlmsStation:
        return DlmsStation("m1", ours.meter, physical, octets, Turnaround(0.001))

    plan = LinePlan("line", Format(BAUD), 0, (StationPlan("m1", "sap 1", hang),), (), lambda: ())
    with PtyLine(plan, clock) as line:
        ours.place = line.path
        yield


# -- the peers -------------------------------------------------------------------------------------------------------


def gurux_reads(ours: Ours, way: Way, *steps: str, **more: Any) -> dict[str, dict[str, Any]]:
    """What came of each step, and of `program`."""
    work = {
        "hdlc": way.on_line, "client": way.sap, "server": 1, "auth": way.kind, "password": PASSWORD.decode(),
        "general": way.wrap == "general-glo", "title": CLIENT_TITLE.hex(), "encryption_key": EK.hex(),
        "authentication_key": AK.hex(), "counter": 1, "most_pdu": 400, "registers": list(TWELVE),
        "clock": "0.0.1.0.0.255", "data": "0.0.42.0.0.255", "profile": "1.0.99.1.0.255",
        "range": ["2026-03-01T06:00:00+08:00", "2026-03-01T08:00:00+08:00"], "entries": [90, 8], "steps": steps,
    } | more  # fmt: skip
    done = subprocess.run(
        [*theirs("-I", str(GURUX)), ours.place, json.dumps(work)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {line["step"]: line for line in map(json.loads, done.stdout.splitlines())}


def theirs(*words: str) -> list[str]:
    if not THEIR_PYTHON.exists():
        pytest.fail(f"{THEIR_PYTHON} is missing: `make test` makes it from tests/peers/requirements.txt")
    return [str(THEIR_PYTHON), *words]


def pydlms(*words: str) -> list[str]:
    """Its own command, as a user has it."""
    return theirs(str(THEIR_PYTHON.with_name("pydlms")), *words)


def pydlms_reads(ours: Ours, way: Way, store: Path, verb: str, *words: str) -> Any:
    """What one of its verbs says, as JSON. In `store` it keeps its invocation counter from one run to the next."""
    endpoint = f"serial://{ours.place}?baud={BAUD}" if way.on_line else f"tcp://{ours.place}"
    who = ["--client", str(way.sap), "--auth", way.kind]
    if way.kind == "lls":
        who += ["--password", PASSWORD.decode()]
    if way.ciphered:
        who += ["--key", EK.hex(), "--auth-key", AK.hex(), "--system-title", CLIENT_TITLE.hex()]
        who += ["--protection", way.wrap, "--ic-store", str(store)]
    done = said_by_pydlms("--json", verb, endpoint, *who, *words)
    assert done.returncode == 0, f"pydlms {verb}: {done.stderr}"
    return json.loads(done.stdout)


def said_by_pydlms(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(pydlms(*words), capture_output=True, text=True, timeout=60, check=False)


def pydlms_version() -> str:
    return said_by_pydlms("--version").stdout.strip()


@contextmanager
def pydlms_serves(way: Way) -> Iterator[int]:
    """Its simulator behind a TCP port: in the wrapper, or HDLC over TCP."""
    words = ["--hdlc"] if way.on_line else []
    if way.ciphered:
        words += ["--key", EK.hex(), "--auth-key", AK.hex(), "--client", f"{way.sap}:5"]
    elif way.kind == "lls":
        words += ["--client", f"{way.sap}:1:{PASSWORD.decode()}"]
    else:
        words += ["--client", f"{way.sap}:0"]
    with serving(pydlms("simulate", "--port", "0", *words)) as said:
        found = re.search(r"listening on 127\.0\.0\.1:(\d+)", said)
        assert found is not None, said
        yield int(found[1])


@contextmanager
def serving(command: Sequence[str]) -> Iterator[str]:
    """A server that speaks on its standard error, and the first line that it says. It ends with whoever started it."""
    dies_with_us = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    with subprocess.Popen(
        [*dies_with_us, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            ready, _, _ = select.select([process.stderr], [], [], BEGINS_S)
            yield process.stderr.readline() if ready else ""
        finally:
            process.kill()
