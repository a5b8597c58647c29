"""A serial line on this desk: three meters behind a pty, played by a process, and a site file for an agent on it.

m1 and m2 speak Modbus RTU, m3 DL/T 645; m2 never answers. The line is shared by agreement, so nobody listens first.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.control import ask
from tests.e2e.processes import ROOT, Process, wait_until

SCENARIO = """
[clock]
start = 2026-03-02T10:00:00+08:00

[[line]]
id = "bus"
baud = 19200

[[meter]]
id = "m1"
line = "bus"
profile = "eastron-sdm220"
unit = 1
load = { kind = "constant", p_kw = 5, pf = 0.9 }

[[meter]]
id = "m2"
line = "bus"
profile = "eastron-sdm220"
unit = 2
load = { kind = "constant", p_kw = 5, pf = 0.9 }

[[meter.fault]]
kind = "silence"

[[meter]]
id = "m3"
line = "bus"
protocol = "dlt645"
address = "000012345678"
load = { kind = "constant", p_kw = 5, pf = 0.9 }
"""

SITE = """
[site]
utility = "demo"
gateway = "gw-1"

[paths]
state = "state"
runtime = "run"

[mqtt]
host = "127.0.0.1"
port = 1

[[link]]
id = "bus"
kind = "serial"
path = "{port}"
baud = 19200
timeout_s = 0.3
{sharing}

[[device]]
id = "m1"
link = "bus"
unit = 1
profile = "eastron-sdm220"
every_s = 1

[[device]]
id = "m2"
link = "bus"
unit = 2
profile = "eastron-sdm220"
every_s = 1

[[device]]
id = "m3"
link = "bus"
address = "000012345678"
profile = "dlt645-2007-1p"
every_s = 2
"""


class SerialDesk:
    """The processes and files of one test. `sharing`: more keys of the link."""

    def __init__(self, folder: Path, *, sharing: str = "shared_line = true\nlisten_s = 0") -> None:
        self.folder = folder
        self.beside: list[subprocess.Popen[bytes]] = []
        """What else a test has started here."""
        self.site = folder / "site.toml"
        self.port = folder / "ports/bus"
        for made in (folder, folder / "state", folder / "run"):
            made.mkdir(parents=True, exist_ok=True)
        (folder / "scenario.toml").write_text(SCENARIO, encoding="utf-8")
        self.site.write_text(SITE.format(port=self.port, sharing=sharing), encoding="utf-8")
        self.meters = Process(
            "meters",
            (sys.executable, "-m", "simulator.cli", "serve", str(folder / "scenario.toml"), "--ports",
             str(folder / "ports")),
            folder,
        )  # fmt: skip
        self.agent = Process("agent", (sys.executable, "-m", "edge_agent", "run", "--site", str(self.site)), folder)

    def start_meters(self) -> None:
        self.meters.start()
        wait_until(self.port.exists, 15, "the port is there")

    def start_agent(self) -> None:
        before = len(self.agent.lines("agent started"))
        self.agent.start()
        wait_until(lambda: len(self.agent.lines("agent started")) > before, 20, f"it starts:\n{self.agent.log[-2000:]}")

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "edge_agent", *words, "--site", str(self.site)]

    def verb(self, *words: str, within_s: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), cwd=ROOT, capture_output=True, text=True, timeout=within_s, check=False
        )

    def status(self) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """The link and the devices, as the running agent says over its socket."""
        said = ask(self.folder / "run", "status")
        return said["links"][0], {d["id"]: d for d in said["devices"]}

    def status_as_a_verb(self) -> dict[str, Any]:
        done = self.verb("status", "--json")
        assert done.returncode == 0, done.stderr
        return msgspec.json.decode(done.stdout, type=dict[str, Any])

    def end(self) -> None:
        for other in self.beside:
            other.kill()
            other.wait()
        for process in (self.agent, self.meters):
            process.kill()
