"""`python -m tests.bench [--quick] [--only NAME] [--json FILE]`: the figures, side by side, in one run."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.bench.figures import Table
from tests.bench.writing import idle_gateway

PARTS = ("polling", "reading", "dlms", "memory", "dlms_memory", "replaying", "topics", "writing")
ALONE = ("month",)
"""Only when asked for: a month is lived in twenty minutes."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short stretches: for trying the bench itself")
    parser.add_argument("--only", choices=(*PARTS, *ALONE), action="append", help="this part alone; may be given again")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    asked = parser.parse_args()
    names = asked.only or PARTS
    table = Table()
    with ExitStack() as stage:
        folder = Path(stage.enter_context(tempfile.TemporaryDirectory(prefix="ea-bench-")))
        more: dict[str, dict[str, Any]] = {}
        if "writing" in names:  # its idle gateway warms up while the others are measured
            more["writing"] = {"idle": stage.enter_context(idle_gateway(folder / "idle", quick=asked.quick))}
        for name in names:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            part = importlib.import_module(f"tests.bench.{name}")
            (folder / name).mkdir()
            part.report(table, folder / name, quick=asked.quick, **more.get(name, {}))
    table.show(sys.stdout)
    if asked.json is not None:
        asked.json.write_text(json.dumps(table.plain(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
