"""Figures of the agent beside those of others, measured side by side in one run: `make bench`.

Nothing here asserts: a machine that is busy gives other figures, and a test that measures time fails for its
neighbours' sake. What a goal is, and whether it was met, stands in the table.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROFILES = Path(__file__).resolve().parent / "profiles"
"""Where the profile of the measured meter is; `config/` has only real ones."""

VALUES = 30
REGISTERS = 60
