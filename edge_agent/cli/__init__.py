"""The verbs of `edge-agent`. While an agent runs they ask it; otherwise they take the port exclusively."""

from edge_agent.cli.main import main

__all__ = ["main"]
