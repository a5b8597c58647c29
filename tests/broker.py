"""A real mosquitto for the tests: a port and a configuration of its own, started, killed and restarted at will.

It listens on the loopback only. The port stays the same over a restart, so that a client finds its broker again; with
`persistent=True` so does what the broker had queued.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
READY_S = 10.0


class NoBroker(RuntimeError):
    """mosquitto is missing or would not start: the message carries its own words."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What a TLS listener needs. `require_client` makes the client show a certificate, whose CN is its user name."""

    ca: Path
    cert: Path
    key: Path
    require_client: bool = False


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def find_mosquitto() -> str:
    """Debian puts daemons where a plain user's PATH does not look."""
    found = shutil.which("mosquitto", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise NoBroker("mosquitto is not installed; tests/install-system.sh installs it")
    return found


class Broker:
    """One mosquitto process. It speaks MQTT 5 and 3.1.1; which of the two is the client's choice."""

    host = HOST

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        tls: TlsFiles | None = None,
        persistent: bool = False,
        extra: str = "",
    ) -> None:
        self.port = port or free_port()
        self.tls = tls
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "mosquitto.log"
        self._config = folder / "mosquitto.conf"
        self._config.write_text(_config(folder, self.port, tls, persistent, extra), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """Everything the broker has said, over all its starts."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        """Return once the port answers."""
        if self.running:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [find_mosquitto(), "-c", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise NoBroker(f"mosquitto ended with {self._process.returncode}:\n{self.log}")
            try:
                socket.create_connection((HOST, self.port), timeout=0.2).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        self.kill()
        raise NoBroker(f"mosquitto did not open port {self.port} in {READY_S:g} s:\n{self.log}")

    def stop(self) -> None:
        """Let it save and say goodbye to its clients."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As a power cut would: nothing saved, no goodbye."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Half-open: the connections stay, nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def restart(self, *, after_s: float = 0.0, clean: bool = True) -> None:
        """Gone for `after_s`, then back on the same port; `clean=False` kills instead of stopping."""
        if clean:
            self.stop()
        else:
            self.kill()
        time.sleep(after_s)
        self.start()

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)  # a frozen broker hears nothing else
            process.send_signal(number)
        try:
            process.wait(timeout=READY_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _config(folder: Path, port: int, tls: TlsFiles | None, persistent: bool, extra: str) -> str:
    lines = [
        "# log to standard error, which the test keeps",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "log_type information",
        "connection_messages true",
        f"pid_file {folder / 'mosquitto.pid'}",
        f"listener {port} {HOST}",
    ]
    if os.geteuid() == 0:
        lines.append("user root")  # else it changes to a user who cannot read the test's folder
    if tls is None:
        lines.append("allow_anonymous true")
    else:
        lines += [f"cafile {tls.ca}", f"certfile {tls.cert}", f"keyfile {tls.key}"]
        if tls.require_client:
            lines += ["require_certificate true", "use_identity_as_username true"]
        lines.append("allow_anonymous true")
    if persistent:
        lines += [
            "persistence true",
            f"persistence_location {folder}/",
            "autosave_interval 1",
            "autosave_on_changes true",
        ]
    else:
        lines.append("persistence false")
    return "\n".join([*lines, extra]) + "\n"
