"""A port that another program has: whose it is, where that can be seen."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.link import Framing
from drivers.link.holder import holder_of
from drivers.link.serial import SerialLink
from edge_agent.ports import LinkDown

HOLDS = {
    "locked": "fcntl.flock(port, fcntl.LOCK_EX)",
    "exclusive": "fcntl.ioctl(port, termios.TIOCEXCL)",
}


@pytest.fixture
def port() -> Iterator[str]:
    master, slave = os.openpty()
    path = os.ttyname(slave)
    os.close(slave)
    yield path
    os.close(master)


@pytest.mark.parametrize("how", HOLDS)
def test_the_program_that_has_the_port_is_named_and_when_it_ends_the_port_is_ours(
    port: str, how: str, monkeypatch: pytest.MonkeyPatch
):
    code = (
        f"import fcntl, os, sys, termios\nport = os.open({port!r}, os.O_RDWR | os.O_NOCTTY)\n{HOLDS[how]}\n"
        "print('mine', flush=True)\nsys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stdout.readline() == "mine\n"
    if how == "exclusive":
        monkeypatch.setattr(os, "open", refused_to_others(os.open, port))

    async def story() -> None:
        link = SerialLink(port, Framing(), now_ms=lambda: 0)
        name = Path(f"/proc/{other.pid}/comm").read_text("ascii").strip()
        with pytest.raises(LinkDown, match=rf"in use by process {other.pid} \({name}\)"):
            await link.open()
        other.communicate()
        monkeypatch.undo()
        await link.open()
        await link.close()

    asyncio.run(story())


def refused_to_others(really: Any, port: str) -> Any:
    """Root may open what another has opened exclusively; here it may not, as the agent's own user."""

    def opened(path: str, *more: Any, **named: Any) -> Any:
        if path == port:
            raise OSError(errno.EBUSY, "busy")
        return really(path, *more, **named)

    return opened


def test_where_other_processes_are_hidden_it_is_another_program(port: str, tmp_path: Path):
    assert holder_of(port, proc=tmp_path) == "another program"
    (tmp_path / "locks").write_text("1: POSIX  ADVISORY  READ 5 08:65:2 128 128\n2: nonsense\n")
    assert holder_of(port, proc=tmp_path) == "another program"
    at = Path(port).stat()
    inode = f"{os.major(at.st_dev):02x}:{os.minor(at.st_dev):02x}:{at.st_ino}"
    (tmp_path / "locks").write_text(f"1: FLOCK  ADVISORY  WRITE 99999999 {inode} 0 EOF\n")
    assert holder_of(port, proc=tmp_path) == "process 99999999", "it has ended meanwhile: the number alone"
    assert holder_of(str(tmp_path / "gone")) == "another program"
