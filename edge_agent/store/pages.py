"""Rows out of the raw pages of a damaged database, without asking SQLite.

Reads table leaf pages (https://www.sqlite.org/fileformat2.html, sections 1.6, 2.1 and 4) wherever they lie in the file
or its log, so that a broken root page does not hide the leaves behind it. What comes out is only a candidate: the
caller proves each row by its check and its hash. Nothing is trusted: every offset is bounded, nothing recurses.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PAGE = 4096
LEAF = 0x0D
MAX_PAYLOAD = 16 * 1024 * 1024
WAL_HEADER, FRAME_HEADER = 32, 24

Column = None | int | float | str | bytes


class Image(NamedTuple):
    """One version of one page; images earlier in the list are newer."""

    number: int
    offset: int
    in_log: bool


class Pages:
    """A database file and its log, as page images: committed log frames newest first, the file, the log's rest."""

    def __init__(self, path: Path) -> None:
        self._file = _map(path)
        self._log = _map(path.with_name(path.name + "-wal"))
        committed, rest = _frames(self._log)
        self.committed_frames = len(committed)
        file = [Image(n + 1, n * PAGE, False) for n in range(len(self._file) // PAGE)]
        self.images = [*reversed(committed), *file, *reversed(rest)]
        self._newest: dict[int, Image] = {}
        for image in self.images:
            self._newest.setdefault(image.number, image)

    def rows(self, image: Image, least: int, most: int) -> Iterator[tuple[int, list[Column]]]:
        """(rowid, columns) of every cell of a table leaf page whose record has `least` to `most` columns."""
        page = self._bytes(image)
        start = 100 if image.number == 1 else 0
        if len(page) < PAGE or page[start] != LEAF:
            return
        for k in range(min(int.from_bytes(page[start + 3 : start + 5], "big"), PAGE // 2)):
            at = start + 8 + 2 * k
            try:
                rowid, payload = self._payload(page, int.from_bytes(page[at : at + 2], "big"))
                columns = _columns(payload, most)
            except (IndexError, ValueError, struct.error):
                continue
            if len(columns) >= least:
                yield rowid, columns

    def close(self) -> None:
        for source in (self._file, self._log):
            if isinstance(source, mmap.mmap):
                source.close()

    def _bytes(self, image: Image) -> bytes:
        source = self._log if image.in_log else self._file
        return source[image.offset : image.offset + PAGE]

    def _payload(self, page: bytes, at: int) -> tuple[int, bytes]:
        size, at = _varint(page, at)
        rowid, at = _varint(page, at)
        if size > MAX_PAYLOAD:
            raise ValueError("longer than anything stored")
        local = _local_size(size)
        payload = page[at : at + local]
        following = int.from_bytes(page[at + local : at + local + 4], "big") if local < size else 0
        seen = 0
        while len(payload) < size:
            image = self._newest.get(following)
            seen += 1
            if image is None or seen > MAX_PAYLOAD // PAGE:
                raise ValueError("the overflow chain is broken")
            more = self._bytes(image)
            following = int.from_bytes(more[:4], "big")
            payload += more[4 : 4 + size - len(payload)]
        return rowid, payload


def log_breaks_off(path: Path) -> bool:
    """Whether the log of this database holds commits that SQLite will not replay, because a frame before is damaged.

    It stops at the first frame whose checksum fails and says nothing, as after a power cut in the middle of a commit.
    But a commit is synced before the next one is written: with a second one behind the break, the first was made.
    """
    log = _map(path.with_name(path.name + "-wal"))
    try:
        _, rest = _frames(log)
        salts, header_holds = log[16:24], _header_holds(log)
        made = 0
        for image in rest:
            header = log[image.offset - FRAME_HEADER : image.offset]
            of_this_log = header[8:16] == salts or not header_holds
            made += of_this_log and header[4:8] != bytes(4)
        return made > 1
    finally:
        if isinstance(log, mmap.mmap):
            log.close()


def _map(path: Path) -> mmap.mmap | bytes:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # missing, or empty
        return b""


def _frames(log: mmap.mmap | bytes) -> tuple[list[Image], list[Image]]:
    """Frames up to the last commit whose checksums hold, as SQLite would replay them, and all the others."""
    everything = [
        Image(int.from_bytes(log[at : at + 4], "big"), at + FRAME_HEADER, True)
        for at in range(WAL_HEADER, len(log) - FRAME_HEADER - PAGE + 1, FRAME_HEADER + PAGE)
    ]
    if len(log) < WAL_HEADER:
        return [], []
    order = ">" if log[3] & 1 else "<"
    salts = log[16:24]
    sums = _checksum(log[:24], order, (0, 0))
    committed = 0
    if _header_holds(log):
        for n, image in enumerate(everything, start=1):
            header = log[image.offset - FRAME_HEADER : image.offset]
            sums = _checksum(header[:8] + log[image.offset : image.offset + PAGE], order, sums)
            if header[8:16] != salts or sums != struct.unpack(">II", header[16:24]):
                break
            if header[4:8] != b"\0\0\0\0":
                committed = n
    return everything[:committed], everything[committed:]


def _header_holds(log: mmap.mmap | bytes) -> bool:
    if len(log) < WAL_HEADER:
        return False
    return _checksum(log[:24], ">" if log[3] & 1 else "<", (0, 0)) == struct.unpack(">II", log[24:32])


def _checksum(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for k in range(0, len(words), 2):
        first = (first + words[k] + second) & 0xFFFFFFFF
        second = (second + words[k + 1] + first) & 0xFFFFFFFF
    return first, second


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for k in range(8):
        byte = data[at + k]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + k + 1
    return value << 8 | data[at + 8], at + 9


def _local_size(size: int) -> int:
    if size <= PAGE - 35:
        return size
    least = (PAGE - 12) * 32 // 255 - 23
    local = least + (size - least) % (PAGE - 4)
    return local if local <= PAGE - 35 else least


def _columns(payload: bytes, most: int) -> list[Column]:
    header_end, at = _varint(payload, 0)
    body, columns = header_end, list[Column]()
    while at < header_end:
        kind, at = _varint(payload, at)
        if len(columns) == most or body > len(payload):
            raise ValueError("no row of ours")
        value, body = _column(payload, kind, body)
        columns.append(value)
    if body != len(payload):
        raise ValueError("the record does not fill its payload")
    return columns


INT_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def _column(payload: bytes, kind: int, at: int) -> tuple[Column, int]:
    if kind == 0:
        return None, at
    if kind in INT_BYTES:
        end = at + INT_BYTES[kind]
        return int.from_bytes(payload[at:end], "big", signed=True), end
    if kind == 7:
        return struct.unpack(">d", payload[at : at + 8])[0], at + 8
    if kind in {8, 9}:
        return kind - 8, at
    if kind < 12:
        raise ValueError("a serial type that does not exist")
    end = at + (kind - 12) // 2
    return (str(payload[at:end], "utf-8") if kind % 2 else bytes(payload[at:end])), end
