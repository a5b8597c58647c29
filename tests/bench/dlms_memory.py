"""What DLMS/COSEM adds to the agent's memory: agents side by side, alike but for the protocol of their meters.

64 points behind one port, twelve values each, once a second, with audit, store and delivery to a broker: over Modbus,
over DLMS in the clear, and over DLMS with HLS-5, authenticated and encrypted, where `cryptography` is loaded.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from edge_agent.control import ask
from tests.bench import PROFILES, ROOT
from tests.bench.dlms_meters import keys, port_of, served
from tests.bench.figures import Figure, Table
from tests.bench.memory import POINTS, SERVICE
from tests.bench.processes import Child, memory, python
from tests.bench.sites import Place, scenario, write_site
from tests.broker import Broker

MODBUS, PLAIN, CIPHERED = "Modbus", "DLMS, plain", "DLMS, ciphered"
GOALS_MIB = {PLAIN: 3.0, CIPHERED: 16.0}


@contextmanager
def agent(folder: Path, kind: str) -> Iterator[Child]:
    """A real agent with its meters, until the block ends. RuntimeError where a meter could not be read."""
    folder.mkdir()
    with ExitStack() as stage:
        broker = stage.enter_context(Broker(folder / "broker"))
        centre = ("-m", "simulator.cli", "central", "--port", str(broker.port), "--db", folder / "centre.db")
        stage.enter_context(Child("centre", python(*centre), folder))
        if kind == MODBUS:
            profile, dlms = "bench-modbus-12", None
            plan = scenario(folder, POINTS, profile=profile)
            words = ("-m", "tests.bench.meters", plan, "1", "0")
            port = json.loads(stage.enter_context(Child("meters", python(*words), folder, talks=True)).ask())[0][0]
        else:
            profile, meters = "bench-dlms-12", {PLAIN: "plain", CIPHERED: "ciphered"}[kind]
            dlms = keys(folder) if kind == CIPHERED else "client = 1\n"
            port = port_of(stage.enter_context(served(folder, {meters: 1}, count=POINTS)))
        places = [Place(port, 1 + i) for i in range(POINTS)]
        site = write_site(folder, places, mqtt_port=broker.port, profile=profile, period_min=1, dlms=dlms)
        (folder / "config").mkdir()
        (folder / "config/profiles").symlink_to(PROFILES)
        command = python("-m", "tests.bench.launch", folder / "config", "run", "--site", site)
        child = stage.enter_context(Child("agent", command, folder, env=SERVICE))
        yield child
        child.check()
        silent = [d["id"] for d in ask(folder / "run", "status")["devices"] if d["last_good_bt_ms"] is None]
        if silent:
            raise RuntimeError(f"{kind}: {len(silent)} meters were not read: {child.log.read_text('utf-8')[-800:]}")


def report(table: Table, folder: Path, *, quick: bool) -> None:
    runs, seconds = (1, 25.0) if quick else (3, 90.0)
    subprocess.run([*python("-m", "compileall", "-q", "edge_agent", "drivers")], cwd=ROOT, check=True)
    found: dict[str, list[float]] = {kind: [] for kind in (MODBUS, PLAIN, CIPHERED)}
    for run in range(runs):
        with ExitStack() as stage:
            children = {kind: stage.enter_context(agent(folder / f"{run}-{i}", kind)) for i, kind in enumerate(found)}
            time.sleep(seconds)
            for kind, child in children.items():
                found[kind].append(memory(child.pid).rss_mib)
    rss = {kind: median(held) for kind, held in found.items()}
    for kind, goal in GOALS_MIB.items():
        what = f"RSS that {kind} adds, {POINTS} points"
        table.add(Figure(what, "MiB", rss[kind] - rss[MODBUS], at_most=goal))
    table.note(
        f"memory of DLMS: {POINTS} points, 12 values a second each, no TLS, after {seconds:.0f} s, medians of {runs} "
        f"run(s): " + ", ".join(f"{kind} {held:.1f} MiB" for kind, held in rss.items())
    )
