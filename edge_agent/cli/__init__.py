"""The verbs of `edge-agent`. While an agent runs they ask it; otherwise they take the port exclusively."""

from edge_agent import lean  # noqa: F401  # isort: skip  # before anything that imports a package of others
from edge_agent.cli.main import main

__all__ = ["main"]
