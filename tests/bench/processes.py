"""What the system says about a process: the CPU time that it used, the memory that it holds."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench import ROOT

STOP_S = 20.0
SPARE_FILES = 64


class Memory(NamedTuple):
    """Resident and proportional set size, MiB."""

    rss_mib: float
    pss_mib: float


def cpu_s(pid: int) -> float:
    """User and system time of a running process over all its threads, to the nanosecond.

    /proc/PID/stat has the same sum in ticks of 10 ms, too coarse for a reader that uses 3 ms a second; this is the
    clock behind it (clock_getcpuclockid(3)). Raises OSError when the process is gone.
    """
    return time.clock_gettime((~pid << 3) | 2)


def files_allowed() -> int:
    """How many files a process may have open here, once it has asked for all that it may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def room_for_files(count: int) -> None:
    """Let this process have so many connections open. ValueError where the system does not allow it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + SPARE_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count + SPARE_FILES, hard))


def memory(pid: int) -> Memory:
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0])
    return Memory(fields["Rss"] / 1024, fields["Pss"] / 1024)


class Child:
    """A process with its output in a file, stopped at the end of the block."""

    def __init__(
        self, name: str, command: Sequence[str | Path], folder: Path, *, env: Mapping[str, str] | None = None,
        talks: bool = False,
    ) -> None:  # fmt: skip
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else log,
                stderr=log,
                text=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def check(self) -> None:
        """Raises RuntimeError, with its last words, when the process has ended by itself."""
        if self.process.poll() is not None:
            words = self.log.read_text("utf-8", "replace").splitlines()[-8:]
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n" + "\n".join(words))

    def ask(self, line: str = "") -> str:
        """One line to a child that talks, and its answer; without a line only what it says next."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if line:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            self.process.wait(STOP_S)
            self.check()
        return answer

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
        return self.process.returncode

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def python(*words: str | Path) -> list[str | Path]:
    """A command for this interpreter."""
    return [sys.executable, *words]
