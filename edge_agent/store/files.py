"""The files around the databases: the lock, the reserve, the directory, and putting a damaged file aside.

The lock is advisory and belongs to the open file, so it goes with the process however that ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_agent.store.errors import StoreDirectoryMissing, StoreHeld, StoreUnwritable

LOG_SUFFIXES: Final = ("-wal", "-shm")

KEPT_ASIDE = 2
"""Damaged copies that are kept for whoever wants to look; more would fill the disk they failed on."""


class StateLock:
    """This process has the state directory; a second agent is refused and told who has it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise StoreHeld(path=str(path), holder_pid=holder or "?") from None
        with suppress(OSError):  # a full disk must not keep the agent from starting: the lock holds without its text
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Releasing twice is no error."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Reserve:
    """Space set aside for findings on a full disk."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes

    @property
    def held(self) -> bool:
        try:
            return self._path.stat().st_size >= self._size_bytes
        except OSError:
            return False

    def take(self) -> bool:
        """Set the space aside if the disk has twice as much; True when it is held."""
        if self.held:
            return True
        if free_bytes(self._path.parent) < 2 * self._size_bytes:
            return False
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size_bytes)
            finally:
                os.close(descriptor)
        except OSError:
            self.spend()
            return False
        return True

    def spend(self) -> bool:
        """Give the space to whoever writes next; True when there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True


def check_directory(directory: Path) -> None:
    """Refuse a state directory that is not there or cannot be written, in words that say which."""
    if not directory.is_dir():
        raise StoreDirectoryMissing(path=str(directory))
    probe = directory / ".writable"
    try:
        os.close(os.open(probe, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        probe.unlink()
    except OSError as error:
        if error.errno != errno.ENOSPC:  # a full disk is dealt with where it hurts, with the reserve
            raise StoreUnwritable(path=str(directory), reason=error.strerror or "") from None


def is_read_only(directory: Path) -> bool:
    return bool(os.statvfs(directory).f_flag & os.ST_RDONLY)


def free_bytes(directory: Path) -> int:
    try:
        disk = os.statvfs(directory)
    except OSError:
        return 0
    return disk.f_bavail * disk.f_frsize


def size_with_log(path: Path) -> int:
    total = 0
    for name in (path, *(path.with_name(path.name + suffix) for suffix in LOG_SUFFIXES)):
        with suppress(OSError):
            total += name.stat().st_size
    return total


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def aside_path(path: Path, boot: str) -> Path:
    """Where a damaged database would go now: `<name>.corrupt-<boot>`, numbered when this boot has seen one already."""
    aside = path.with_name(f"{path.name}.corrupt-{boot}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.corrupt-{boot}.{number}")
    return aside


def put_aside(path: Path, boot: str) -> Path:
    """Rename a damaged database, its log first: a log left behind would be replayed into the next one."""
    aside = aside_path(path, boot)
    for suffix in (*LOG_SUFFIXES, ""):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    sync_directory(path.parent)
    copies = [c for c in path.parent.glob(f"{path.name}.corrupt-*") if not c.name.endswith(LOG_SUFFIXES) and c != aside]
    for old in sorted(copies, key=lambda c: c.stat().st_mtime, reverse=True)[KEPT_ASIDE - 1 :]:
        remove_database(old)
    return aside


def remove_database(path: Path) -> None:
    for suffix in ("", *LOG_SUFFIXES):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def connect(path: Path, *, busy_s: float, pragmas: str) -> sqlite3.Connection:
    """Open or make for writing, by this thread alone, transactions written out; readable by nobody else."""
    with suppress(OSError):  # SQLite says better what is wrong with the path
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, timeout=busy_s)
    try:
        for pragma in pragmas.split(";"):
            connection.execute(f"PRAGMA {pragma.strip()}")
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreUnwritable(path=str(path), reason=f"journal mode stays {mode}")
    except BaseException:
        connection.close()
        raise
    return connection
