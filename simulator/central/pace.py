"""When an acknowledgement is due: after so many messages or so much time, whichever comes first.

Time is an argument, in ms of any one clock.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class AckPace(Generic[Key]):
    """At most one acknowledgement per `after` messages or `every_ms` for each chain."""

    after: int = 50
    every_ms: int = 2000
    _news: dict[Key, int] = field(default_factory=dict)
    _due_ms: dict[Key, int] = field(default_factory=dict)

    def news(self, key: Key, now_ms: int) -> None:
        """A message of this chain came: new or again, its sender waits for a word."""
        self._news[key] = self._news.get(key, 0) + 1
        self.at(key, now_ms if self._news[key] >= self.after else now_ms + self.every_ms)

    def at(self, key: Key, due_ms: int) -> None:
        """Say a word at `due_ms` even if nothing else comes."""
        self._due_ms[key] = min(self._due_ms.get(key, due_ms), due_ms)

    def take_due(self, now_ms: int) -> list[Key]:
        """The chains whose acknowledgement is due now; they begin to count anew."""
        due = [key for key, due_ms in self._due_ms.items() if due_ms <= now_ms]
        for key in due:
            del self._due_ms[key]
            self._news.pop(key, None)
        return due

    def next_ms(self) -> int | None:
        return min(self._due_ms.values(), default=None)
