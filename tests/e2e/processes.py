"""Processes of a play: started, stopped, killed at will, all they say kept; and waiting for what is real."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from tests.broker import HOST
from tests.e2e.site import Stage

ROOT = Path(__file__).parents[2]
STEP_S = 0.05
T = TypeVar("T")


class Process:
    """One program of the play. Its log holds all its lives."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, *, cwd: Path = ROOT) -> None:
        self.name = name
        self.command = tuple(command)
        self._cwd = cwd
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    def start(self) -> Process:
        assert not self.running, f"{self.name} runs already"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self._cwd,
                env={**os.environ, "PYTHONPATH": str(self._cwd), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def stop(self, within_s: float = 5.0) -> int:
        """SIGTERM; the exit code. An AssertionError where it takes longer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self.ended(within_s)

    def ended(self, within_s: float) -> int:
        """The exit code of a process that is to end by itself."""
        assert self._process is not None
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} had not ended after {within_s:g} s:\n{self.log[-3000:]}") from None

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """The agent's log lines, or those of one event."""
        found = []
        for line in self.log.splitlines():
            with suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and event in {None, entry.get("event")}:
                    found.append(entry)
        return found


def wait_until(what: Callable[[], T], within_s: float, why: str = "") -> T:
    """What `what` gives as soon as that is true; an AssertionError that names what was waited for."""
    deadline = time.monotonic() + within_s
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {why or what.__name__}")
        time.sleep(STEP_S)


def listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=0.2).close()
    except OSError:
        return False
    return True


class Play:
    """The processes of one test on one stage; the broker comes from its own fixture."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.cast: list[Process] = []
        self.agent = self.process("agent", sys.executable, "-m", "edge_agent", "run", "--site", str(stage.site))
        self.meters = self.process(
            "meters", sys.executable, "-m", "simulator.cli", "serve", str(stage.scenario),
            "--port", str(stage.meter_port), "--rate", repr(stage.rate),
            "--anchor-bt-ms", str(stage.clock.anchor_bt_ms),
        )  # fmt: skip

    def process(self, name: str, *command: str, cwd: Path = ROOT) -> Process:
        made = Process(name, command, self.stage.folder, cwd=cwd)
        self.cast.append(made)
        return made

    def start_meters(self) -> None:
        self.meters.start()
        wait_until(lambda: listens(self.stage.meter_port), 15.0, "the meters listen")

    def start_agent(self) -> None:
        """Return once it says that it has started."""
        before = len(self.agent.lines("agent started"))
        self.agent.start()
        wait_until(
            lambda: len(self.agent.lines("agent started")) > before or not self.agent.running, 20.0, "the agent starts"
        )
        assert self.agent.running, self.agent.log[-3000:]

    def verb(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A verb of the agent's command line on this site."""
        return subprocess.run(
            [sys.executable, "-m", "edge_agent", *words, "--site", str(self.stage.site)],
            cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        done = self.verb("status", "--json")
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def end(self) -> None:
        for process in reversed(self.cast):
            process.kill()
