"""A register that goes on jumping: its movement against the powers sampled meanwhile.

A jump beyond what the transformers carry is no energy, so no block holds it. One jump by itself may be a frame or a
counter that was set; a register that jumps again from where the last jump ended, reading after reading, moves, and what
it moves is held against the power of that very time. Powers are remembered from the first jump on, and only as long as
the register goes on; time without them is told, and never filled. All on the meter's own side, Wh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.audit.topic import Site
from edge_agent.load.methods.kept import from_plain, to_plain
from edge_agent.load.views import RegisterEvent, Role, Round
from edge_agent.model import Ms, PointId, Quantity

POWER = Quantity.ACTIVE_POWER
AGAIN_MS: Ms = 3_600_000
"""A register that has not jumped again by then has stopped flying: its powers are forgotten."""


@dataclass(frozen=True, slots=True)
class Flown:
    """From `start_ms` on, over jumps that adjoin: what was moved, and between what and what was drawn.

    `seen`: powers vouch for all of it.
    """

    start_ms: Ms
    end_ms: Ms
    moved_wh: float
    low_wh: float
    high_wh: float
    seen: bool


@dataclass(slots=True)
class _Flight:
    """Where the last jump ended, what was added up since the last answer, and the powers since then, Wh and W."""

    archive: str = ""
    end_ms: Ms = 0
    end_wh: float = 0.0
    start_ms: Ms = 0
    moved_wh: float = 0.0
    low_wh: float = 0.0
    high_wh: float = 0.0
    powers: tuple[tuple[Ms, Ms, float, float], ...] = ()


class Flights:
    """The registers that have jumped within the last hour."""

    def __init__(self, least_wh: float) -> None:
        self._least_wh = least_wh
        self._flights: dict[PointId, _Flight] = {}

    def see(self, rounds: Sequence[Round], site: Site) -> None:
        """Powers beside a register that flies; costs nothing while none does."""
        if not self._flights:
            return
        for each in rounds:
            flight = self._flights.get(each.point)
            if flight is None or each.role is not Role.METER:
                continue
            if each.end_ms - flight.end_ms > AGAIN_MS:
                del self._flights[each.point]
                continue
            k = site.ratings(each.point, each.end_ms).k
            if POWER in each.now and POWER in each.before and POWER not in each.stale and k is not None and k > 0:
                least, most = sorted((each.before[POWER] / k, each.now[POWER] / k))
                flight.powers += ((each.start_ms, each.end_ms, max(0.0, least), max(0.0, most)),)

    def jumped(self, event: RegisterEvent, site: Site) -> Flown | None:
        """Over this jump and those before it that adjoin; None where it is the first one.

        What was added up is answered once enough was drawn to compare, and begins anew then, or where powers miss.
        """
        flight, archive = self._flights.get(event.point), site.facts_version(event.point)
        on = flight is not None and (flight.archive, flight.end_ms, flight.end_wh) == (
            archive, event.before_ms, event.before,
        )  # fmt: skip
        if flight is None or not on or not event.serial_known:
            self._flights[event.point] = _Flight(archive, event.after_ms, event.after, event.after_ms)
            return None
        seen_ms = 0
        for start_ms, end_ms, least_w, most_w in flight.powers:
            within = min(end_ms, event.after_ms) - max(start_ms, event.before_ms)
            if within > 0:
                seen_ms += within
                flight.low_wh += least_w * within / 3.6e6
                flight.high_wh += most_w * within / 3.6e6
        flight.moved_wh += event.after - event.before
        seen = seen_ms == event.after_ms - event.before_ms
        flown = Flown(flight.start_ms, event.after_ms, flight.moved_wh, flight.low_wh, flight.high_wh, seen)
        flight.end_ms, flight.end_wh = event.after_ms, event.after
        flight.powers = tuple(p for p in flight.powers if p[1] > event.after_ms)
        if not seen or flight.low_wh > self._least_wh:
            flight.start_ms, flight.moved_wh, flight.low_wh, flight.high_wh = event.after_ms, 0.0, 0.0, 0.0
        return flown

    def dump(self) -> Mapping[str, Any]:
        return {point: to_plain(flight) for point, flight in self._flights.items()}

    def restore(self, plain: Mapping[str, Any]) -> None:
        for point, kept in plain.items():
            made = from_plain(_Flight, kept)
            if made is None:
                raise ValueError("not written by this version")
            self._flights[point] = made
