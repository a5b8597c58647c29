"""What meters say happened to them.

`witness` (counters and logs, each event told once), `story` (what is remembered, and how entries are laid onto a
counter's moves), `telling` (how an event is put).
"""

from __future__ import annotations

from edge_agent.witness.witness import Witness

__all__ = ["Witness"]
