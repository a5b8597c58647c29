"""What the ledger must know of a point before it can turn registers into demand. Plain data, given by `app`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from edge_agent.model import DeviceId, Ms, PointId, Quantity

ENERGIES = (
    Quantity.ACTIVE_ENERGY_IMPORT,
    Quantity.ACTIVE_ENERGY_EXPORT,
    Quantity.REACTIVE_ENERGY_IMPORT,
    Quantity.REACTIVE_ENERGY_EXPORT,
)
POWERS = (Quantity.ACTIVE_POWER, Quantity.REACTIVE_POWER, Quantity.APPARENT_POWER)

Timeline = tuple[tuple[Ms, float], ...]
"""(from_ms, value), in order: a value holds until the next one starts."""


def in_force(timeline: Timeline, at_ms: Ms) -> float | None:
    """The value that holds at `at_ms`, or None before the first."""
    index = bisect_right(timeline, at_ms, key=lambda entry: entry[0])
    return timeline[index - 1][1] if index else None


def next_change_ms(timeline: Timeline, at_ms: Ms) -> Ms | None:
    index = bisect_right(timeline, at_ms, key=lambda entry: entry[0])
    return timeline[index][0] if index < len(timeline) else None


@dataclass(frozen=True, slots=True)
class LoadPoint:
    """A point as the ledger sees it.

    `k`: K = CT x VT ratio (1 for a meter that shows primary values). `s_cap_va`: what the current transformers can
    carry, the bound of plausibility; never the contract. `changes_ms`: instants at which capacity, ratio or meter
    change; an interval that spans one is not judged. `modulus`: value at which a register rolls over, in its unit.
    """

    id: PointId
    device: DeviceId
    period_ms: Ms
    slide_ms: Ms
    poll_ms: Ms
    k: Timeline
    s_cap_va: Timeline
    changes_ms: tuple[Ms, ...] = ()
    modulus: Mapping[Quantity, float] = field(default_factory=dict)
    quantities: frozenset[Quantity] = frozenset()
    has_serial: bool = False
    has_profile: bool = False  # the meter keeps a load profile that can be read
    grid_offset_ms: Ms = 0
    zone: tzinfo = UTC  # in which the meter's local time is

    @property
    def vouched_ms(self) -> Ms:
        """A segment longer than this vouches for nothing (1.5 polls, at least 60 s)."""
        return max(self.poll_ms * 3 // 2, 60_000)

    def __post_init__(self) -> None:
        if self.period_ms % self.slide_ms:
            raise ValueError(f"point {self.id}: slide {self.slide_ms} ms does not divide period {self.period_ms} ms")
