"""Apparent power and current at a working point: what a load rate and a CT's share of its rating follow from.

kVA is measured or made of P and Q of the same time; it is never inferred from kW and a guessed power factor.
"""

from __future__ import annotations

from math import hypot, sqrt

from edge_agent.load.answers import CannotSay, Figure, Why
from edge_agent.load.methods.given import sane


def apparent_va(active_w: float, reactive_var: float | None) -> Figure | CannotSay:
    """S from P and Q; with P alone S is at least that, and nothing above is known."""
    if not sane(active_w):
        return CannotSay(Why.NOT_A_NUMBER, "active_w")
    if reactive_var is None or not sane(reactive_var):
        return Figure(abs(active_w), float("nan"), float("inf"))
    made = hypot(active_w, reactive_var)
    return Figure(made, made, made)


def line_current_a(apparent: Figure, line_voltage_v: float) -> Figure | CannotSay:
    """Current of a balanced three-phase load, primary A."""
    if not (sane(line_voltage_v) and line_voltage_v > 1e-9):
        return CannotSay(Why.NOT_A_NUMBER, "line_voltage_v")
    return apparent.over(sqrt(3) * line_voltage_v)


def power_factor_at(active_w: float, capacity_va: float) -> float | CannotSay:
    """The power factor under which this active power takes more than the capacity: above 1, it does so at any."""
    if not (sane(active_w, capacity_va) and capacity_va > 0):
        return CannotSay(Why.FACT_UNKNOWN, "capacity_va")
    return abs(active_w) / capacity_va
