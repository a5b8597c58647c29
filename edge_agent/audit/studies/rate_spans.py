"""What the registers of the rates did between two looks at them, while the meter's clock was vouched for.

A span begins with a look at the registers and ends with a later one, by which at least one of them has moved by more
than a few of its steps. It is held back until the meter's clock has been asked again: by that clock the meter switches,
and one that was right an hour ago may have been set since. Everything is on the meter's own side, Wh.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edge_agent.audit.topic import Release, Site
from edge_agent.load.views import Claim, LoadView, Role, Standing
from edge_agent.model import ClockQuality, ClockState, DeviceId, Ms, PointId, Quantity

TOTAL = Quantity.ACTIVE_ENERGY_IMPORT
RATE_OF = {
    Quantity.ACTIVE_ENERGY_IMPORT_T1: 1, Quantity.ACTIVE_ENERGY_IMPORT_T2: 2,
    Quantity.ACTIVE_ENERGY_IMPORT_T3: 3, Quantity.ACTIVE_ENERGY_IMPORT_T4: 4,
}  # fmt: skip
VOUCHED = frozenset({ClockQuality.SYNCED, ClockQuality.CENTRAL, ClockQuality.HOLDOVER})


@dataclass(frozen=True, slots=True)
class Look:
    """What the registers of one meter showed. `off_ms`: by how much its clock was off at most since then; None: nobody
    vouches for that."""

    device: DeviceId
    at_ms: Ms
    spread_ms: Ms
    total: float
    rates: Mapping[int, float]
    step: float
    off_ms: float | None


@dataclass(frozen=True, slots=True)
class RateSpan:
    """From one look to another. `why`: a code of why nothing can be said of it, "" where something can."""

    point: PointId
    before: Look
    after: Look
    why: str = ""

    @property
    def moved(self) -> dict[int, float]:
        return {n: self.after.rates[n] - shown for n, shown in self.before.rates.items()}

    @property
    def off_ms(self) -> float:
        return self.before.off_ms or 0.0

    @property
    def step(self) -> float:
        return max(self.before.step, self.after.step)


@dataclass(slots=True)
class _Point:
    look: Look | None = None
    clock: tuple[Ms, float | None] | None = None  # asked when, and off by how much at most
    waiting: list[RateSpan] = field(default_factory=list)


class RateSpans:
    """The study: spans of each point's rate registers, in order."""

    def __init__(self, release: Release) -> None:
        params = release.params
        self._span_ms = float(params["span_s"]) * 1000
        self._least_steps = float(params["least_steps"])
        self._clock_age_ms = float(params["clock_age_s"]) * 1000
        self._clock_bound_ms = float(params["clock_bound_s"]) * 1000
        self._clock_limit_ms = float(params["clock_limit_s"]) * 1000
        self._points: dict[PointId, _Point] = {}
        self.changed = False

    def feed(self, view: LoadView, site: Site) -> Sequence[RateSpan]:
        if not (view.standings or view.claims or view.events):
            return ()
        out: list[RateSpan] = []
        for event in view.events:
            kept = self._points.get(event.point)
            if kept is not None and (event.quantity is TOTAL or event.quantity in RATE_OF):
                kept.look = None
                kept.waiting.clear()
        for standing in view.standings:
            out += self._stand(standing, site)
        for claim in view.claims:
            if claim.role is Role.METER and claim.ahead_ms is not None:
                out += self._ask(claim, claim.ahead_ms, view.clock)
        return out

    def _stand(self, standing: Standing, site: Site) -> Iterator[RateSpan]:
        kept = self._points.setdefault(standing.point, _Point())
        look = self._look(standing, kept)
        first, kept.look = kept.look, look
        if first is None or first.device != look.device or first.rates.keys() != look.rates.keys():
            return
        if look.at_ms <= first.at_ms:
            return
        span = RateSpan(standing.point, first, look)
        moved = (look.total - first.total, *span.moved.values())
        if min(moved) < 0:
            yield replace(span, why="register_break")
            return
        most = max(moved)
        if most == 0:
            return  # nothing has moved: as good as the look before
        if look.at_ms - first.at_ms < self._span_ms or most <= self._least_steps * span.step:
            kept.look = first
            return
        if site.schedule(span.point, look.at_ms) is None:
            yield span
            return
        if first.off_ms is None or self._stale(kept, look.at_ms):
            unvouched = kept.clock is not None and kept.clock[1] is None
            why = "gateway_clock" if unvouched else "clock_unknown"
            yield from (replace(s, why=why) for s in (*kept.waiting, span))
            kept.waiting.clear()
            return
        kept.waiting.append(span)

    def _look(self, standing: Standing, kept: _Point) -> Look:
        rates = {n: standing.values[q] for q, n in RATE_OF.items() if q in standing.values}
        off_ms = None if kept.clock is None or self._stale(kept, standing.at_ms) else kept.clock[1]
        return Look(
            standing.device, standing.at_ms, standing.spread_ms, standing.values[TOTAL], rates, standing.step, off_ms
        )

    def _stale(self, kept: _Point, at_ms: Ms) -> bool:
        return kept.clock is None or abs(at_ms - kept.clock[0]) > self._clock_age_ms

    def _ask(self, claim: Claim, ahead_ms: Ms, clock: ClockState | None) -> Iterator[RateSpan]:
        """The meter's clock has been asked: what waited for it can be told."""
        kept = self._points.setdefault(claim.point, _Point())
        late = self._stale(kept, claim.at_ms)
        vouched = clock is not None and clock.quality in VOUCHED and clock.error_ms is not None
        off_ms = abs(ahead_ms) + self._clock_bound_ms + (clock.error_ms or 0) if clock and vouched else None
        kept.clock = (claim.at_ms, off_ms)
        if kept.look is not None:
            kept.look = replace(kept.look, off_ms=None if late else _worse(kept.look.off_ms, off_ms))
        for span in kept.waiting:
            yield self._told(span, off_ms, late=late)
        kept.waiting.clear()

    def _told(self, span: RateSpan, off_ms: float | None, *, late: bool) -> RateSpan:
        worst = _worse(span.before.off_ms, off_ms)
        if late or worst is None:
            return replace(span, why="clock_unknown" if late or off_ms is not None else "gateway_clock")
        why = "clock_off" if worst >= self._clock_limit_ms else ""
        return replace(span, before=replace(span.before, off_ms=worst), why=why)

    def dump(self) -> Mapping[str, Any]:
        return {
            point: {
                "look": None if p.look is None else _plain(p.look),
                "clock": None if p.clock is None else list(p.clock),
                "waiting": [[_plain(s.before), _plain(s.after)] for s in p.waiting],
            }
            for point, p in self._points.items()
        }

    def restore(self, plain: Mapping[str, Any]) -> None:
        points: dict[PointId, _Point] = {}
        for point, kept in plain.items():
            clock = kept["clock"]
            points[point] = _Point(
                None if kept["look"] is None else _look_from(kept["look"]),
                None if clock is None else (int(clock[0]), None if clock[1] is None else float(clock[1])),
                [RateSpan(point, _look_from(before), _look_from(after)) for before, after in kept["waiting"]],
            )
        self._points = points


def _worse(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one, other)


def _plain(look: Look) -> list[Any]:
    rates = [[n, shown] for n, shown in look.rates.items()]
    return [look.device, look.at_ms, look.spread_ms, look.total, rates, look.step, look.off_ms]


def _look_from(plain: Sequence[Any]) -> Look:
    device, at_ms, spread_ms, total, rates, step, off_ms = plain
    shown = {int(n): float(value) for n, value in rates}
    off = None if off_ms is None else float(off_ms)
    return Look(str(device), int(at_ms), int(spread_ms), float(total), shown, float(step), off)
