"""Changes to a site file as text: one key a line, so that the comments of the example survive."""

from __future__ import annotations

import re
from collections.abc import Mapping

Changes = Mapping[tuple[str, str], str]


def edit(text: str, changes: Changes) -> str:
    """`text` with (table, key) set to a TOML value, in the first table of that name; a missing table goes to the end.

    ("link", "port") means the first [[link]] or [link].
    """
    lines = text.splitlines()
    for (table, key), value in changes.items():
        _set(lines, table, key, value)
    return "\n".join(lines) + "\n"


def _set(lines: list[str], table: str, key: str, value: str) -> None:
    header = re.compile(rf"\[{{1,2}}{re.escape(table)}\]{{1,2}}\s*(#.*)?$")
    start = next((i for i, line in enumerate(lines) if header.match(line)), None)
    if start is None:
        lines += ["", f"[{table}]", f"{key} = {value}"]
        return
    for i in range(start + 1, len(lines)):
        if lines[i].startswith("["):
            break
        if re.match(rf"{re.escape(key)}\s*=", lines[i]):
            lines[i] = f"{key} = {value}"
            return
    lines.insert(start + 1, f"{key} = {value}")
