"""What a test has measured, for the table of `python -m tests.prove`: one JSON line a figure, in the file it names."""

from __future__ import annotations

import json
import os
from pathlib import Path

REPORT = "EDGE_PROVE_REPORT"


def report(name: str, **figures: str | int | float) -> None:
    """Say what was measured; where nobody asked for it, nothing happens."""
    path = os.environ.get(REPORT)
    if not path:
        return
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"name": name, **figures}) + "\n")
