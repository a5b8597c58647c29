"""Which other program has a serial port, where this machine lets us see that.

The kernel lists file locks with their owner; and whose open files one may look at, one can ask for the port. Under a
service manager that hides other processes, and of another user's programs, neither says anything: nobody is named then.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")


def holder_of(path: str, *, proc: Path = _PROC) -> str:
    """`process 812 (minicom)`, or "another program" where that cannot be known."""
    for pid in _holders(path, proc):
        if pid != os.getpid():
            name = ""
            with contextlib.suppress(OSError):
                name = (proc / str(pid) / "comm").read_text("utf-8", "replace").strip()
            return f"process {pid} ({name})" if name else f"process {pid}"
    return "another program"


def _holders(path: str, proc: Path) -> Iterator[int]:
    """Process ids, those that hold a lock on the port first."""
    try:
        port = Path(path).stat()
    except OSError:
        return
    inode = f"{os.major(port.st_dev):02x}:{os.minor(port.st_dev):02x}:{port.st_ino}"
    with contextlib.suppress(OSError):
        for line in (proc / "locks").read_text("ascii", "replace").splitlines():
            # "5: FLOCK  ADVISORY  WRITE 812 00:18:7 0 EOF"; a waiting one has "->" behind its number.
            words = line.split()
            if len(words) == 8 and words[1] == "FLOCK" and words[5] == inode and words[4].isdecimal():
                yield int(words[4])
    with contextlib.suppress(OSError):
        for process in proc.iterdir():
            if process.name.isdecimal() and _has_open(process, port.st_rdev):
                yield int(process.name)


def _has_open(process: Path, device: int) -> bool:
    with contextlib.suppress(OSError):
        for file in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                if file.stat().st_rdev == device:
                    return True
    return False
