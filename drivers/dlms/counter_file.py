"""Where an invocation counter's reservation is kept on the disk: one small file for each key and client.

The file is named after a digest of the key and the client's title, and says how far the numbers are reserved. It is
replaced whole, and on the disk with its folder before a number of the new block is used: after a crash at any instant
no number is used twice. As long as a process has it, no other may use its numbers.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from hashlib import sha256
from pathlib import Path

from drivers.dlms.counters import MOST, InvocationCounter
from drivers.dlms.refused import CounterUnkept

_COUNTERS: dict[Path, tuple[InvocationCounter, CounterFile]] = {}
"""Of this process: meters that share a key and a client title share the counter."""


class CounterFile:
    """The reservation of one counter, for this process alone. Raises CounterUnkept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CounterUnkept(f"{path.parent}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise CounterUnkept("another process uses the same key and client title") from None
        try:
            self._upto = self._read()
        except CounterUnkept:
            os.close(self._lock)
            raise

    @property
    def is_new(self) -> bool:
        """Nothing was ever reserved here: whoever had the key before may have used numbers."""
        return self._upto == 0

    def start(self) -> int:
        return self._upto

    def reserve(self, upto: int) -> None:
        fresh = self._path.with_suffix(".new")
        try:
            port = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(port, _text(upto))
                os.fsync(port)
            finally:
                os.close(port)
            fresh.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise CounterUnkept(f"{self._path}: {error.strerror}") from error
        self._upto = upto

    def close(self) -> None:
        os.close(self._lock)

    def _read(self) -> int:
        try:
            written = self._path.read_bytes()
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise CounterUnkept(f"{self._path}: {error.strerror}") from error
        number = written.split(b" ")[0]
        if not number.isdigit() or not 0 < int(number) <= MOST + 1 or written != _text(int(number)):
            raise CounterUnkept(f"{self._path} is damaged: how far the numbers were used is not known")
        return int(number)


def counter_of(folder: str, key: bytes, title: bytes) -> tuple[InvocationCounter, CounterFile]:
    """The counter under a key, of the client with that title, and its file. Raises CounterUnkept."""
    if not folder:
        raise CounterUnkept("no folder was given")
    path = Path(folder) / f"{sha256(b'invocation counter' + key + title).hexdigest()[:32]}.counter"
    if path not in _COUNTERS:
        file = CounterFile(path)
        _COUNTERS[path] = (InvocationCounter(file), file)
    return _COUNTERS[path]


def let_go() -> None:
    """Give every counter of this process back; whoever holds one must not use it any more."""
    while _COUNTERS:
        _COUNTERS.popitem()[1][1].close()


def _text(upto: int) -> bytes:
    return b"%d %08x\n" % (upto, zlib.crc32(b"%d" % upto))
