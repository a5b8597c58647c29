"""The agent's wiring: the only room that sees all of it, and contains no rule of the domain."""

from edge_agent.app.agent import Agent, run_agent

__all__ = ["Agent", "run_agent"]
