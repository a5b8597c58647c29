"""`python -m edge_agent.app --site FILE`: the same as `edge-agent run --site FILE`, without a command line's memory."""

from __future__ import annotations

import sys
from pathlib import Path

from edge_agent.app.start import EXIT_USAGE, run_agent


def main(words: list[str]) -> int:
    match words:
        case ["--site", file]:
            return run_agent(Path(file))
    print("usage: python -m edge_agent.app --site FILE", file=sys.stderr)
    return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
