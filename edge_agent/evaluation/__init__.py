"""Audit evaluation (稽查评价): what became of the findings, as the indicators that the trade reports."""

from edge_agent.evaluation.blindness import Blindness
from edge_agent.evaluation.dockets import Docket, dockets_of
from edge_agent.evaluation.indicators import DEFINITIONS, Indicators, indicators
from edge_agent.evaluation.letter import evaluation_letter, plain_indicators

__all__ = [
    "DEFINITIONS",
    "Blindness",
    "Docket",
    "Indicators",
    "dockets_of",
    "evaluation_letter",
    "indicators",
    "plain_indicators",
]
