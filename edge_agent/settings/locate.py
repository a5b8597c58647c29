"""On which line of a TOML text each key stands: what the parser knows and does not tell.

A scan of lines, not a second parser: it follows headers, keys, brackets and quotes far enough to know where a key
begins. The text has been through tomli, so what is odd here is legal; a key that the scan does not see (inside an
inline table) is answered with the line of the nearest key around it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

KeyPath = tuple[str | int, ...]
"""Where a value sits: `("point", 0, "capacity", 1, "kva")`."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\]|\\.)*"')
_LITERAL = re.compile(r"'[^']*'")
_TRIPLES = ('"""', "'''")


def locate(text: str) -> dict[KeyPath, int]:
    """The line, from 1, of every header and key; a table that is never headed has the line of its first key."""
    lines: dict[KeyPath, int] = {}
    last: dict[KeyPath, int] = {}  # index of the newest entry of each array of tables
    table: KeyPath = ()
    key: KeyPath = ()
    open_value = _Value()
    for number, line in enumerate(text.split("\n"), 1):
        if open_value:
            open_value.scan(line)
            _note_entries(lines, key, open_value, number)
            continue
        stripped = line.strip()
        if stripped.startswith("["):
            table = _header(stripped, last)
            _note(lines, table, number)
            continue
        keys, rest = _keys(stripped)
        if keys and rest.startswith("="):
            key = table + keys
            _note(lines, key, number)
            open_value = _Value()
            open_value.scan(rest[1:])
            _note_entries(lines, key, open_value, number)
    return lines


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """The line of a key, or of the nearest thing around it; 1 where nothing around it is written."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _note(lines: dict[KeyPath, int], path: KeyPath, number: int) -> None:
    for length in range(1, len(path) + 1):
        lines.setdefault(path[:length], number)


def _note_entries(lines: dict[KeyPath, int], key: KeyPath, value: _Value, number: int) -> None:
    """The tables and lists in a list of them, by the line on which each begins."""
    for index in range(value.entries):
        lines.setdefault((*key, index), number)


def _header(stripped: str, last: dict[KeyPath, int]) -> KeyPath:
    """The table that a header opens; `[[x]]` is one more entry of x."""
    array = stripped.startswith("[[")
    keys, _ = _keys(stripped[2 if array else 1 :])
    if not keys:
        return ()
    parent = _newest(keys[:-1], last)
    path = (*parent, keys[-1])
    if array:
        last[path] = last.get(path, -1) + 1
    return (*path, last[path]) if path in last else path


def _newest(keys: Iterable[str | int], last: Mapping[KeyPath, int]) -> KeyPath:
    path: KeyPath = ()
    for key in keys:
        path = (*path, key)
        if path in last:
            path = (*path, last[path])
    return path


def _keys(text: str) -> tuple[tuple[str, ...], str]:
    """The dotted key that `text` begins with, and what follows it."""
    found: list[str] = []
    while True:
        text = text.lstrip()
        match = _BARE.match(text) or _BASIC.match(text) or _LITERAL.match(text)
        if match is None:
            return tuple(found), text
        found.append(_unquoted(match.group()))
        text = text[match.end() :].lstrip()
        if not text.startswith("."):
            return tuple(found), text
        text = text[1:]


def _unquoted(key: str) -> str:
    if key.startswith("'"):
        return key[1:-1]
    if not key.startswith('"'):
        return key
    try:
        return str(json.loads(key))
    except ValueError:  # an escape that TOML has and JSON has not
        return key[1:-1]


class _Value:
    """How far a value that began after an equals sign is still open at the end of a line."""

    def __init__(self) -> None:
        self.depth = 0
        self.quote = ""
        self.entries = 0
        self._list = False

    def __bool__(self) -> bool:
        return self.depth > 0 or bool(self.quote)

    def scan(self, line: str) -> None:
        at = 0
        while at < len(line):
            if self.quote:
                at = self._inside_quote(line, at)
            elif line[at] == "#":
                return
            elif line[at] in "\"'":
                self.quote = line[at : at + 3] if line[at : at + 3] in _TRIPLES else line[at]
                at += len(self.quote)
            else:
                self._bracket(line[at])
                at += 1
        if len(self.quote) == 1:
            self.quote = ""  # only three quotes carry over a line's end

    def _bracket(self, char: str) -> None:
        if char in "[{":
            self._list = char == "[" if self.depth == 0 else self._list
            self.entries += self.depth == 1 and self._list
            self.depth += 1
        elif char in "]}":
            self.depth -= 1

    def _inside_quote(self, line: str, at: int) -> int:
        if line[at] == "\\" and self.quote[0] == '"':
            return at + 2
        if line.startswith(self.quote, at):
            at += len(self.quote)
            if len(self.quote) == 3:
                while at < len(line) and line[at] == self.quote[0]:  # a string may end in quotes of its own
                    at += 1
            self.quote = ""
            return at
        return at + 1
