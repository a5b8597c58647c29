"""The agent's wiring: the only room that sees all of it, and contains no rule of the domain."""

from edge_agent import lean  # noqa: F401  # isort: skip  # before anything that imports a package of others
from edge_agent.app.agent import Agent
from edge_agent.app.start import run_agent

__all__ = ["Agent", "run_agent"]
