"""Every invocation counter that a meter has seen, by key and sender: whether one was ever sent twice.

A counter under a key makes a nonce, and a nonce that is used twice gives the key away. So the ledger keeps what was
sent, genuine or not, accepted or not, and on request keeps it on disk, so that a meter that was switched off goes on
where it was. The meter's own counters are there too, reserved ahead.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

_AHEAD = 1000


class Seen(NamedTuple):
    """One use of a key by a client."""

    key: str  # its fingerprint
    title: str  # of the sender, hex
    counter: int
    genuine: bool  # its tag was right, or it has none


class CounterLedger:
    """What clients have used, and what the meter itself may use next. `path`: kept there, a line for each use."""

    def __init__(self, path: Path | None = None, *, own_from: int = 1) -> None:
        self.seen: list[Seen] = []
        self.twice: list[Seen] = []
        """Genuine uses of a counter that had been used before under the same key by the same sender."""
        self._used: set[tuple[str, str, int]] = set()
        self._last: dict[tuple[str, str], int] = {}
        self._own_from = own_from
        self._own: dict[str, int] = {}
        self._reserved: dict[str, int] = {}
        self._path = path
        if path is not None and path.exists():
            self._load(path)

    def note(self, key: str, title: bytes, counter: int, *, genuine: bool) -> None:
        """A client has used a counter."""
        seen = Seen(key, title.hex(), counter, genuine)
        self._take(seen)
        self._write(seen._asdict())

    def last(self, key: str, title: bytes) -> int:
        """The highest counter that was accepted; -1: none yet."""
        return self._last.get((key, title.hex()), -1)

    def accept(self, key: str, title: bytes, counter: int) -> None:
        """From now on only what is above is taken."""
        self._last[key, title.hex()] = counter
        self._write({"accepted": key, "title": title.hex(), "counter": counter})

    def own(self, key: str) -> int:
        """The meter's own next counter under a key."""
        number = self._own.get(key, self._own_from)
        if number >= self._reserved.get(key, 0):
            self._reserved[key] = number + _AHEAD
            self._write({"own": key, "upto": number + _AHEAD})
        self._own[key] = number + 1
        return number

    def start_own(self, key: str, number: int) -> None:
        """For a key that is new: a dedicated one."""
        self._own[key] = number

    def count(self, key: str) -> int:
        """Genuine uses of a key."""
        return sum(seen.key == key and seen.genuine for seen in self.seen)

    def _take(self, seen: Seen) -> None:
        self.seen.append(seen)
        if not seen.genuine:
            return
        use = (seen.key, seen.title, seen.counter)
        if use in self._used:
            self.twice.append(seen)
        self._used.add(use)

    def _write(self, line: dict[str, object]) -> None:
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def _load(self, path: Path) -> None:
        for text in path.read_text("utf-8").splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:  # cut off when the meter was killed
                continue
            if "own" in line:
                self._own[line["own"]] = self._reserved[line["own"]] = line["upto"]
            elif "accepted" in line:
                self._last[line["accepted"], line["title"]] = line["counter"]
            else:
                self._take(Seen(**line))
