"""What flows out is told apart from what is drawn, with the bounds of its own register."""

from __future__ import annotations

from math import hypot

import pytest

from edge_agent.load.closing import demand_of
from edge_agent.load.views import Band, Demand


def of(p_in: float, p_out: float, q_in: float, q_out: float, step: float = 0.0) -> Demand:
    middle = [p_in, p_out, q_in, q_out]
    low, high = [max(m - step, 0.0) for m in middle], [m + step for m in middle]
    return demand_of([True] * 4, low, middle, high, [step] * 4, [1.0] * 4)


def test_what_flows_out_has_bounds_of_its_own():
    demand = of(0, 100e3, 0, 30e3, step=800)
    assert demand.export == Band(99_200, 100_000, 100_800)
    assert demand.export_apparent is not None
    assert demand.export_apparent.low == pytest.approx(hypot(99_200, 28_400)), "less a step of each"
    assert demand.active == Band(0, 0, 800)


def test_reactive_power_of_a_quarter_with_both_directions_is_nobodys():
    demand = of(50e3, 100e3, 60e3, 0)
    assert demand.export_apparent is not None
    assert demand.export_apparent.low == 100e3, "S is at least P"


def test_a_meter_without_an_export_register_says_nothing_of_it():
    middle = [1e5, 0.0, 3e4, 0.0]
    demand = demand_of([True, False, True, False], middle, middle, middle, [0.0] * 4, [1.0] * 4)
    assert (demand.export, demand.export_apparent) == (None, None)
