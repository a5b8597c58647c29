"""What is wrong in a file that a person wrote, where, and what would be right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edge_agent.settings.locate import KeyPath, line_of
from edge_agent.words import say

Weight = Literal["error", "hint"]


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong; a `hint` is legal and probably not meant."""

    file: str
    line: int
    key_path: str
    code: str
    fields: Mapping[str, object]
    severity: Weight = "error"

    @property
    def wrong(self) -> str:
        return self.wrong_in("en")

    @property
    def right(self) -> str:
        return self.right_in("en")

    def wrong_in(self, lang: str) -> str:
        return say(f"check.{self.code}.wrong", lang, **self.fields)

    def right_in(self, lang: str) -> str:
        return say(f"check.{self.code}.right", lang, **self.fields)

    def sentence(self, lang: str = "en") -> str:
        """One line for a terminal: file, line, key, what is wrong, what would be right."""
        place = f"{self.file}:{self.line}: "
        key = f"{self.key_path}: " if self.key_path else ""
        hint = say("check.hint", lang) if self.severity == "hint" else ""
        return f"{place}{key}{hint}{self.wrong_in(lang)}; {self.right_in(lang)}"


class SiteError(Exception):
    """The site file cannot be used; `mistakes` holds everything that is wrong in it."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(m.sentence() for m in mistakes))
        self.mistakes = tuple(mistakes)


class Report:
    """The mistakes of one file, each put where its key stands."""

    def __init__(self, file: str, raw: Mapping[str, Any], lines: Mapping[KeyPath, int]) -> None:
        self.file = file
        self.mistakes: list[Mistake] = []
        self._raw = raw
        self._lines = lines

    def add(self, code: str, path: KeyPath, /, **fields: object) -> None:
        """`where` (the entry, by its id) and `key` of every sentence come from the path."""
        self._put(code, path, "error", fields)

    def hint(self, code: str, path: KeyPath, /, **fields: object) -> None:
        """As `add`, for what is legal and probably not meant."""
        self._put(code, path, "hint", fields)

    def _put(self, code: str, path: KeyPath, severity: Weight, fields: Mapping[str, object]) -> None:
        key = next((str(part) for part in reversed(path) if isinstance(part, str)), "")
        said = {"where": self.where(path), "key": key, **fields}
        self.mistakes.append(Mistake(self.file, line_of(self._lines, path), self.dotted(path), code, said, severity))

    def dotted(self, path: KeyPath) -> str:
        """`point[factory].capacity[2].kva`: entries by their id, or counted from 1 where they have none."""
        parts = ""
        for length, part in enumerate(path, 1):
            if isinstance(part, str):
                parts += f".{part}" if parts else part
            else:
                parts += f"[{self.name(path[:length])}]"
        return parts

    def where(self, path: KeyPath) -> str:
        """The entry that holds the key, in the file's own words: `device "m1"`, `point "factory", capacity 2`."""
        entries = []
        for length, part in enumerate(path, 1):
            if isinstance(part, int):
                name = self.name(path[:length])
                entries.append(
                    f'{path[length - 2]} "{name}"' if name != str(part + 1) else f"{path[length - 2]} {name}"
                )
        if entries:
            return ", ".join(entries)
        return f"[{'.'.join(map(str, path[:-1]))}]" if len(path) > 1 else self.file.rsplit("/", 1)[-1]

    def line(self, path: KeyPath) -> int:
        return line_of(self._lines, path)

    def name(self, path: KeyPath) -> str:
        """The id of an entry of a list, or its number from 1."""
        entry: Any = self._raw
        try:
            for part in path:
                entry = entry[part]
            written = entry["id"]
        except (KeyError, IndexError, TypeError):
            written = None
        number = str(int(path[-1]) + 1)
        return written if isinstance(written, str) and 0 < len(written) <= 40 and written.isprintable() else number

    def in_order(self) -> list[Mistake]:
        return sorted(self.mistakes, key=lambda m: m.line)
