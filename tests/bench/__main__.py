"""`python -m tests.bench [--quick] [--only NAME] [--json FILE]`: the figures, side by side, in one run."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path

from tests.bench.figures import Table

PARTS = ("polling", "memory", "replaying", "writing")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short stretches: for trying the bench itself")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be given again")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    asked = parser.parse_args()
    table = Table()
    for name in asked.only or PARTS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="ea-bench-") as folder:
            importlib.import_module(f"tests.bench.{name}").report(table, Path(folder), quick=asked.quick)
    table.show(sys.stdout)
    if asked.json is not None:
        asked.json.write_text(json.dumps(table.plain(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
