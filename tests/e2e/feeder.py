"""A feeder whose 64 points are over their contracts again and again, so that the chain never stands still.

Every eight hours each point goes from calm over heavy load to a real overload, and once while it is calm its register
falls; an eighth of them begins each hour. Windows of an hour survive what a kill costs at this rate: the registers go
on counting while the agent is away.
"""

from __future__ import annotations

from typing import Any

from tests.e2e.site import PointPlan, rounds

POINTS = 64
RATE = 720.0
DAYS = 14
LEVELS = ((0.0, 36.0), (2.0, 88.0), (5.5, 165.0))  # hours, kW: 40, 98 and 183 % of 100 kVA
FALL = 'kind = "fell"\nat = {at_s}.0\nby = 300.0'


def falls(shift_h: int) -> list[str]:
    return [FALL.format(at_s=3600 * hour) for hour in range(9 - shift_h, 24 * DAYS, 8)]


FEEDER: dict[str, Any] = {
    "points": [
        PointPlan(f"p{i}", rounds(8, *LEVELS, shift_h=i % 8, days=DAYS), registers_kwh=5000.0, events=falls(i % 8))
        for i in range(POINTS)
    ],
    "rate": RATE,
    "every_s": 300.0,
    "period_min": 60,
    "slide_min": 60,
}
