"""Rounds of sampled values: what a device showed at about one instant, beside the round before.

A device answers in several questions, and some registers less often than others. A round is complete when all that are
asked as often as its quickest ones are fresh; slower ones are carried along for as long as a sample vouches for
anything, and are named. Values are on the primary side here: current by the ratio of the current transformers, voltage
by that of the voltage transformers, power by both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

from edge_agent.load.points import Timeline, in_force
from edge_agent.load.views import Role, Round
from edge_agent.model import UNIT, DeviceId, Ms, PointId, Quantity, Reading

SAMPLED = frozenset(q for q in Quantity if UNIT[q] in {"W", "var", "VA", "V", "A", "Hz"}) | frozenset(
    q for q in Quantity if q.startswith("power_factor")
)
"""What is measured at an instant; maxima of demand are not."""
_DEMANDS = frozenset({Quantity.RUNNING_DEMAND, Quantity.MAXIMUM_DEMAND, Quantity.MAXIMUM_DEMAND_EXPORT})


@dataclass(frozen=True, slots=True)
class Sampler:
    """A device as a source of samples for a point. `amps`, `volts`, `watts`: what its values are multiplied by.

    `brisk`: the quantities that are asked most often. `vouched_ms`: samples further apart vouch for nothing between.
    """

    point: PointId
    device: DeviceId
    role: Role
    quantities: frozenset[Quantity]
    brisk: frozenset[Quantity]
    vouched_ms: Ms
    amps: Timeline = ((0, 1.0),)
    volts: Timeline = ((0, 1.0),)
    watts: Timeline = ((0, 1.0),)

    def factor(self, quantity: Quantity, at_ms: Ms) -> float | None:
        """None: the ratio is not known then."""
        match UNIT[quantity]:
            case "A":
                return in_force(self.amps, at_ms)
            case "V":
                return in_force(self.volts, at_ms)
            case "W" | "var" | "VA":
                return in_force(self.watts, at_ms)
        return 1.0


@dataclass(slots=True)
class _Open:
    """What has come since the last round, and what that round showed and when it ended. `owed`: brisk ones to come."""

    owed: int
    lasting: Mapping[Quantity, tuple[Ms, float]]
    """What a value is multiplied by from when on, where it has only ever been this."""
    latest: dict[Quantity, tuple[Ms, float]] = field(default_factory=dict)
    fresh: dict[Quantity, Ms] = field(default_factory=dict)
    last: tuple[Ms, Mapping[Quantity, float]] | None = None


class Rounds:
    """Turns readings into rounds; `settle` gives those that are complete. Nothing of it outlives a restart."""

    def __init__(self, samplers: Iterable[Sampler]) -> None:
        self._samplers: dict[DeviceId, list[Sampler]] = {}
        for sampler in samplers:
            self._samplers.setdefault(sampler.device, []).append(sampler)
        self._open = {d: [_Open(len(s.brisk), _lasting(s)) for s in each] for d, each in self._samplers.items()}
        self._out: list[Round] = []

    def feed(self, readings: Iterable[tuple[Reading, Ms]]) -> None:
        """Readings with their UTC ms, in order; those of no use here are passed over."""
        for (device, quantity, value, _, _, _), t_ms in readings:
            samplers = self._samplers.get(device)
            if samplers is None or quantity not in SAMPLED or not isfinite(value):
                continue
            for sampler, held in zip(samplers, self._open[device], strict=True):
                if quantity not in sampler.quantities:
                    continue
                is_brisk = quantity in sampler.brisk
                if is_brisk and quantity in held.fresh:
                    self._close(sampler, held)  # its next round has begun: what this one misses did not come
                held.latest[quantity] = (t_ms, value)
                held.fresh[quantity] = t_ms
                held.owed -= is_brisk
                if not held.owed:
                    self._close(sampler, held)

    def settle(self, now_ms: Ms) -> Sequence[Round]:
        """Rounds that are complete, or will not be any more, each once and in order per device."""
        for sampler, held in self._held():
            if held.fresh and now_ms - min(held.fresh.values()) > sampler.vouched_ms:
                self._close(sampler, held)
        out, self._out = self._out, []
        return out

    def stepped(self) -> None:
        """The wall clock was set: no round continues one from before."""
        for sampler, held in self._held():
            held.latest, held.fresh, held.last, held.owed = {}, {}, None, len(sampler.brisk)

    def _held(self) -> Iterator[tuple[Sampler, _Open]]:
        for device, samplers in self._samplers.items():
            yield from zip(samplers, self._open[device], strict=True)

    def _close(self, sampler: Sampler, held: _Open) -> None:
        brisk = [t for q, t in held.fresh.items() if q in sampler.brisk]
        if not brisk:
            return  # a slow register alone is no round; it is carried into the next
        first_ms, end_ms = min(brisk), max(brisk)
        now = _primary(sampler, held, end_ms)
        stale = frozenset(now.keys() - held.fresh.keys())
        last = held.last
        near = last is not None and 0 < end_ms - last[0] <= sampler.vouched_ms
        start_ms, before = last if last is not None and near else (end_ms, now)
        held.last, held.fresh, held.owed = (end_ms, now), {}, len(sampler.brisk)
        self._out.append(
            Round(
                sampler.point, sampler.device, sampler.role, start_ms, end_ms, before, now, stale, end_ms - first_ms,
                sampler.quantities, {q: held.latest[q][0] for q in now},
            )
        )  # fmt: skip


def _primary(sampler: Sampler, held: _Open, end_ms: Ms) -> dict[Quantity, float]:
    out: dict[Quantity, float] = {}
    oldest_ms = end_ms - sampler.vouched_ms
    for quantity, (t_ms, value) in held.latest.items():
        if t_ms < oldest_ms:
            continue
        lasting = held.lasting.get(quantity)
        factor = lasting[1] if lasting is not None and t_ms >= lasting[0] else sampler.factor(quantity, t_ms)
        if factor is not None:
            out[quantity] = value * factor
    return out


def _lasting(sampler: Sampler) -> dict[Quantity, tuple[Ms, float]]:
    by_unit = {"A": sampler.amps, "V": sampler.volts, "W": sampler.watts, "var": sampler.watts, "VA": sampler.watts}
    lines = {q: by_unit.get(UNIT[q], ((0, 1.0),)) for q in sampler.quantities}
    return {q: line[0] for q, line in lines.items() if len(line) == 1}


def sampled_of(quantities: Iterable[Quantity]) -> frozenset[Quantity]:
    """Those of a device's quantities that a round holds."""
    return frozenset(quantities) & (SAMPLED - _DEMANDS)
