"""How many bytes a disk is given to write.

As root: an ext4 of its own on a loop device, and the device's own count of sectors, journal and metadata included.
Otherwise: the bytes that the process hands to write calls, traced with strace, which leaves out what the file system
adds. /proc/PID/io would be neither: it charges whole folios for a few bytes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

SECTOR = 512
IMAGE_BYTES = 256 << 20
WRITES = "write,pwrite64,writev,pwritev"
_LINE = re.compile(r"(?:p?write(?:v|64)?)\(\d+<(?P<path>[^>]*)>.*= (?P<bytes>\d+)$")


class Disk(Protocol):
    """A folder, what to put before a command that writes there, and the bytes written so far."""

    folder: Path
    how: str

    def under(self, command: list[str | Path]) -> list[str | Path]: ...
    def written(self) -> int: ...


class LoopDisk:
    how = "bytes that the block device received (ext4 on a loop device, /sys/block)"

    def __init__(self, folder: Path, device: str) -> None:
        self.folder = folder
        self._stat = Path("/sys/block") / Path(device).name / "stat"

    def under(self, command: list[str | Path]) -> list[str | Path]:
        return command

    def written(self) -> int:
        subprocess.run(["sync", "--file-system", self.folder], check=True)
        return int(self._stat.read_text().split()[6]) * SECTOR


class TracedDisk:
    how = "bytes handed to write calls (strace; no loop device here): the file system's own come on top"

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "traced"
        self.folder.mkdir()
        self._log = folder / "strace.log"

    def under(self, command: list[str | Path]) -> list[str | Path]:
        return ["strace", "-D", "-f", "-y", "-e", f"trace={WRITES}", "-o", self._log, *command]

    def written(self) -> int:
        total = 0
        for line in self._log.read_text("utf-8", "replace").splitlines():
            found = _LINE.search(line)
            if found and found["path"].startswith(str(self.folder)):
                total += int(found["bytes"])
        return total


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """A loop device where root allows one, else a traced folder."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = folder / "disk"
    device = _mount(folder / "disk.img", mounted) if os.geteuid() == 0 else None
    if device is None:
        yield TracedDisk(folder)
        return
    try:
        yield LoopDisk(mounted, device)
    finally:
        subprocess.run(["umount", mounted], check=True)


def _mount(image: Path, at: Path) -> str | None:
    """The loop device that was mounted, or None where the system allows none."""
    if not all(map(shutil.which, ("mkfs.ext4", "mount"))):
        return None
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    at.mkdir()
    with suppress(subprocess.CalledProcessError):
        # Nothing of the making may be left to do: the kernel would write it while something else is measured.
        lazy = "lazy_itable_init=0,lazy_journal_init=0"
        subprocess.run(["mkfs.ext4", "-q", "-b", "4096", "-E", lazy, image], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", image, at], check=True, capture_output=True)
        for line in Path("/proc/mounts").read_text().splitlines():
            source, target, *_ = line.split()
            if target == str(at):
                return source
    return None
