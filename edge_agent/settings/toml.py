"""From a path to a parsed TOML file with a report for it, or to the one mistake that ends the reading."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli

from edge_agent.settings.locate import locate
from edge_agent.settings.mistake import Report, SiteError

MAX_BYTES = 1 << 20
"""64 points fill a few tens of kilobytes; more than this is another file."""

_BARE_VERSION = re.compile(r"^\s*version\s*=\s*\d+\.\d+\.\d+\s*(#.*)?$")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file that is TOML, whatever it says."""

    raw: Mapping[str, Any]
    text: str
    report: Report


def read_toml(path: Path) -> Parsed:
    """SiteError with one mistake: absent, not readable, too large, not UTF-8 or not TOML."""
    data = _bytes(path)
    try:
        # A byte order mark is what some editors put first; it says nothing. TOML ends lines with LF or CRLF.
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise _end(path, "not_utf8", data[: error.start].count(b"\n") + 1) from None
    try:
        raw = tomli.loads(text)
    except (ValueError, RecursionError) as error:
        raise _not_toml(path, text, error) from None
    return Parsed(raw, text, Report(str(path), raw, locate(text)))


def digest(text: str | bytes) -> str:
    """SHA-256 of a file's text, hex: which site file is in force."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise _end(path, "file_is_folder")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _end(path, "file_absent") from None
    except (OSError, ValueError) as error:  # a path with a NUL in it is a ValueError
        raise _end(path, "file_unreadable", cause=getattr(error, "strerror", None) or str(error)) from None
    if len(data) > MAX_BYTES:
        raise _end(path, "file_too_large", limit_kb=MAX_BYTES // 1024)
    return data


def _not_toml(path: Path, text: str, error: Exception) -> SiteError:
    said = str(error)
    lines = text.split("\n")
    found = re.search(r"\s*\(at line (\d+), column \d+\)$", said)
    line = int(found.group(1)) if found else max(len(text.rstrip().split("\n")), 1)
    if re.search(r"\(at end of document\)$", said):
        line = max(len(text.rstrip().split("\n")), 1)
    written = _without_secret(lines[line - 1].strip()) if line <= len(lines) else ""
    if _BARE_VERSION.match(written):
        return _end(path, "version_unquoted", line)
    cause = re.sub(r"\s*\(at .*\)$", "", said)
    return _end(path, "syntax", line, cause=cause[:120], written=written[:60])


def _without_secret(line: str) -> str:
    """The line as it may be shown: of one that may hold a password or a key, its name alone."""
    name = re.split(r"[\s=:]", line, maxsplit=1)[0].strip("\"'")
    return f"{name} …" if re.search(r"pass|key", name, re.IGNORECASE) else line


def _end(path: Path, code: str, line: int = 1, **fields: object) -> SiteError:
    """The one mistake that ends the reading of a file."""
    report = Report(str(path), {}, {(): line})
    report.add(code, (), **fields)
    return SiteError(report.mistakes)
