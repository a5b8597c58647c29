"""Which imports take memory: `python -m tests.bench.imports edge_agent.app drivers.modbus` in a fresh process.

Each module is charged with what the resident memory grew by while it was loaded, less what it loaded itself; sums are
by the package that the module belongs to.
"""

from __future__ import annotations

import builtins
import importlib
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

PAGE_KIB = os.sysconf("SC_PAGE_SIZE") / 1024
_import = builtins.__import__


def resident_kib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_KIB


class Watch:
    """Stands where `import` goes by, and weighs what came of it."""

    def __init__(self) -> None:
        self.grown: Counter[str] = Counter()
        self._inner = [0.0]

    def __call__(self, name: str, scope: Any = None, local: Any = None, wanted: Any = (), level: int = 0) -> Any:
        known, before = len(sys.modules), resident_kib()
        self._inner.append(0.0)
        try:
            return _import(name, scope, local, wanted, level)
        finally:
            inner, grown = self._inner.pop(), resident_kib() - before
            if len(sys.modules) > known:
                absolute = name if not level else (scope or {}).get("__package__", "") or ""
                self.grown[absolute.partition(".")[0]] += round(grown - inner)
                self._inner[-1] += grown


def main() -> None:
    watch = Watch()
    start = resident_kib()
    builtins.__import__ = watch  # type: ignore[assignment]  # counts what each import adds
    for name in sys.argv[1:]:
        importlib.import_module(name)
    builtins.__import__ = _import
    for name, kib in watch.grown.most_common(15):
        print(f"{kib / 1024:6.1f} MiB  {name}")
    print(f"{(resident_kib() - start) / 1024:6.1f} MiB  all, {len(sys.modules)} modules")


if __name__ == "__main__":
    main()
