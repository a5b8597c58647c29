"""Carries the outbox to the broker and waits until the centre has it."""

from __future__ import annotations

from edge_agent.uplink.faults import MqttFault
from edge_agent.uplink.neighbours import Documents
from edge_agent.uplink.uplink import Report, TimeFromCentre, Uplink

__all__ = ["Documents", "MqttFault", "Report", "TimeFromCentre", "Uplink"]
