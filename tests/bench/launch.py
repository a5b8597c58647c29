"""The agent as `python -m edge_agent` starts it, with a folder of its own where a gateway has /etc/edge-agent.

python -m tests.bench.launch FOLDER run --site FILE
"""

from __future__ import annotations

import sys
from pathlib import Path

from edge_agent.settings import shipped

# The one default that everything goes through: no rule, no driver and no setting is another than on a gateway.
shipped.config_files.__defaults__ = (Path(sys.argv.pop(1)),)

from edge_agent.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
