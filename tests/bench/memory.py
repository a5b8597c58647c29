"""The agent's memory with 64 points and TLS: client certificate, mosquitto with TLS, audit, store and delivery on.

The meters are polled once a second instead of every quarter minute, so that what fills up with polls (the frames that
a link remembers, the image, the open intervals) has filled up within the time of a measurement.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import trustme

from tests.bench import ROOT
from tests.bench.figures import Figure, Table
from tests.bench.processes import Child, Memory, memory, python
from tests.bench.sites import START_KVARH, START_KWH, Place, scenario, write_site
from tests.broker import Broker, TlsFiles, free_port

POINTS = 64
PROFILE = "acrel-dtsd1352"
GOAL_MIB = 56.0
FLAGS = ("-OO", "-X", "faulthandler")
PROGRAM = ("-m", "edge_agent.app", "--site")
COMPILED = Path(sys.prefix) / "compiled"
NEEDED = "edge_agent.app", "drivers.modbus.driver", "drivers.modbus.rtu", "numpy", "paho.mqtt.client", "sqlite3", "ssl"
SERVICE = {"MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONTZPATH": "/usr/share/zoneinfo"}
"""As systemd/edge-agent.service sets and starts it."""


class Identities(NamedTuple):
    """TLS files of a broker, and of the gateway that it lets in."""

    broker: TlsFiles
    gateway: TlsFiles


def identities(folder: Path, gateway: str = "gw-1") -> Identities:
    folder.mkdir(parents=True)
    authority = trustme.CA()
    ca = folder / "ca.crt"
    authority.cert_pem.write_to_path(str(ca))
    files = []
    for name, leaf in (
        ("broker", authority.issue_cert("localhost", "127.0.0.1")),
        ("gateway", authority.issue_cert(f"{gateway}.test", common_name=gateway)),
    ):
        cert, key = folder / f"{name}.crt", folder / f"{name}.key"
        cert.write_bytes(b"".join(part.bytes() for part in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(key))
        files.append(TlsFiles(ca, cert, key, require_client=True))
    return Identities(*files)


@contextmanager
def agent_with_tls(
    folder: Path, *, links: int = 1, every_s: float = 1, profile: str = PROFILE, state: Path | None = None
) -> Iterator[Child]:
    """A real agent with 64 points on 1 or 64 links, its meters and its broker, running until the block ends.

    `state`: a state folder that an agent of these points has left behind, its centre's database beside it; both are
    copied.
    """
    tls = identities(folder / "tls")
    inside = free_port()  # where the centre listens, without TLS
    with ExitStack() as stage:
        if state is not None:
            shutil.copytree(state, folder / "state")
            shutil.copy(state.parent / "centre.db", folder / "centre.db")
        extra = f"listener {inside} 127.0.0.1"
        broker = stage.enter_context(Broker(folder / "broker", tls=tls.broker, extra=extra))
        centre = ("-m", "simulator.cli", "central", "--port", str(inside), "--db", folder / "centre.db")
        stage.enter_context(Child("centre", python(*centre), folder))
        single = int(links > 1)
        plan = scenario(folder, POINTS, profile=profile, kwh=START_KWH, kvarh=START_KVARH)
        words = ("-m", "tests.bench.meters", plan, str(1 - single), str(single))
        meters = stage.enter_context(Child("meters", python(*words), folder, talks=True))
        ports = json.loads(meters.ask())[0]
        places = [Place(port, 1) for port in ports] if single else [Place(ports[0], 1 + i) for i in range(POINTS)]
        site = write_site(folder, places, mqtt_port=broker.port, profile=profile, every_s=every_s, tls=tls.gateway)
        agent = stage.enter_context(Child("agent", python(*compiled(), *PROGRAM, site), folder, env=SERVICE))
        yield agent
        agent.check()
        if "u'gw-1'" not in broker.log:
            raise RuntimeError(f"the agent did not reach its broker:\n{broker.log[-600:]}")


def compiled() -> tuple[str, ...]:
    """The flags that the unit starts Python with; and all of it compiled for them, as an installation does.

    A checkout would compile at its first start, and keep the memory that this took. Raises CalledProcessError.
    """
    flags = (*FLAGS, "-X", f"pycache_prefix={COMPILED}")
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for words in (("-m", "compileall", "-q", "edge_agent", "drivers"), ("-c", f"import {', '.join(NEEDED)}")):
        subprocess.run(python(*flags, *words), cwd=ROOT, env=env, check=True)
    return flags


def held(agent: Child, seconds: float) -> Memory:
    time.sleep(seconds)
    agent.check()
    return memory(agent.pid)


def report(table: Table, folder: Path, *, quick: bool) -> None:
    seconds = 20.0 if quick else 240.0
    for links in (1, POINTS):
        with agent_with_tls(folder / str(links), links=links) as agent:
            early, late = held(agent, 15.0), held(agent, seconds)
        what = f"{POINTS} points, TLS, {links} link{'s' * (links > 1)}"
        table.add(Figure(f"RSS with {what}", "MiB", late.rss_mib, at_most=GOAL_MIB))
        table.add(Figure(f"PSS with {what}", "MiB", late.pss_mib))
        table.note(f"memory: {what}: {early.rss_mib:.1f} MiB after 15 s, {late.rss_mib:.1f} MiB {seconds:.0f} s later")
