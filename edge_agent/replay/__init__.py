"""Recorded load data through the same core as live readings."""

from edge_agent.replay.report import PointReport
from edge_agent.replay.rows import ReplayError, Rows, read_rows
from edge_agent.replay.run import replay

__all__ = ["PointReport", "ReplayError", "Rows", "read_rows", "replay"]
