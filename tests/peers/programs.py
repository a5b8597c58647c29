"""Programs of other makers: where they are, how a process of one is started, spoken to and ended."""

from __future__ import annotations

import contextlib
import re
import select
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
THEIR_PYTHON = ROOT / ".venv-peers/bin/python"
DLT645 = FOLDER / "dlt645_meter.py"

BEGINS_S = 20.0


def program(name: str) -> str:
    """Its path. A machine without it fails the test: what is not compared is not shown."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is not installed: `sh tests/install-system.sh` does it, as `make test` does")
    return path


def package(name: str, version: str) -> str:
    """Which version of a Debian package is here; `version` is what the program says of itself, for other systems."""
    if shutil.which("dpkg-query") is None:
        return version
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name], capture_output=True, text=True, check=False)
    return done.stdout or version


def dlt645(*words: str) -> list[str]:
    """The command that runs the script beside the package that it needs, and beside nothing of ours."""
    if not THEIR_PYTHON.exists():
        pytest.fail(f"{THEIR_PYTHON} is missing: `make test` makes it from tests/peers/requirements.txt")
    return [str(THEIR_PYTHON), "-I", str(DLT645), *words]


def built(source: Path, target: Path, *libraries: str) -> Path:
    """A C program, every warning an error. What the compiler says is what the test says."""
    command = [program("cc"), "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-o", str(target), str(source)]
    done = subprocess.run([*command, *(f"-l{name}" for name in libraries)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{source.name} cannot be compiled:\n{done.stderr}")
    return target


class Peer:
    """A server of another maker: `with Peer(command) as peer:`. Its first line names it and says where it serves.

    It ends when its standard input does, so that none is left behind by a test that was killed.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)
        self.version = ""
        self.place = ""
        self._process: subprocess.Popen[str] | None = None

    @property
    def port(self) -> int:
        return int(self.place)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            said = re.fullmatch(r"(\S+ \S+) serves (\S+)\n", self._line())
            assert said is not None, f"{self.command[0]} did not begin to serve"
        except BaseException:
            self.__exit__()
            raise
        self.version, self.place = said[1], said[2]
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in filter(None, (process.stdout, process.stderr)):
            stream.close()

    def say(self, line: str) -> None:
        """One line to it, and the same line back: it has been taken."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        assert self._line() == line + "\n"

    def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        ready, _, _ = select.select([self._process.stdout], [], [], BEGINS_S)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self._process.kill()
            pytest.fail(f"{self.command[0]} ended or hangs: {self._process.stderr.read()}")
        return line
