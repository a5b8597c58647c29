"""需量预警: will the demand of the running interval be above what the contract leaves free, if the load goes on?

A warning in time, not a finding about what happened: once in each interval, from five minutes on, and not while the
load falls. It rests on the least power of the last minutes; for contracts in kW.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict, grade
from edge_agent.audit.topics.cap_demand_over import free_demand
from edge_agent.load.answers import CannotSay
from edge_agent.load.methods.forecast import Forecast, ForecastRule, forecast
from edge_agent.load.views import Band, LoadView, Role, Round
from edge_agent.model import Ms, PointId, Quantity

MINUTE_MS = 60_000


@dataclass(slots=True)
class _Window:
    """The running interval: what flowed so far, W x s, and the power of its last minutes."""

    start_ms: Ms
    period_ms: Ms
    low: float = 0.0
    value: float = 0.0
    high: float = 0.0
    seen_s: float = 0.0
    minute: int = 0
    powers: list[float] = field(default_factory=list)


class Windows:
    """The running interval of every point, from what its meter samples. The grid comes from what has closed."""

    def __init__(self, release: Release) -> None:
        self.changed = False
        self._release = release
        self._rule = ForecastRule(**release.params["forecast"])
        self._windows: dict[PointId, _Window] = {}

    def feed(self, view: LoadView, site: Site) -> Sequence[Verdict]:
        for interval in view.closed:
            if not interval.block or interval.count != 1:
                continue
            known, period_ms = self._windows.get(interval.point), interval.end_ms - interval.start_ms
            if known is None or known.period_ms != period_ms or known.start_ms > interval.end_ms + period_ms:
                self._windows[interval.point] = _Window(interval.end_ms, period_ms)
        return [v for each in view.rounds if each.role is Role.METER for v in self._round(each, site)]

    def dump(self) -> Mapping[str, Any]:
        return {point: list(astuple(window)) for point, window in self._windows.items()}

    def restore(self, plain: Mapping[str, Any]) -> None:
        windows: dict[PointId, _Window] = {}
        for point, (start_ms, period_ms, low, value, high, seen_s, minute, powers) in plain.items():
            sums = (float(low), float(value), float(high), float(seen_s))
            windows[point] = _Window(int(start_ms), int(period_ms), *sums, int(minute), [float(p) for p in powers])
        self._windows = windows

    def _round(self, each: Round, site: Site) -> Iterator[Verdict]:
        window = self._windows.get(each.point)
        power = each.now.get(Quantity.ACTIVE_POWER)
        if window is None or power is None or each.end_ms <= window.start_ms or Quantity.ACTIVE_POWER in each.stale:
            return
        gone = (each.end_ms - 1 - window.start_ms) // window.period_ms
        if gone > 0:
            begins_ms = window.start_ms + gone * window.period_ms
            yield Verdict(
                each.point, Answer.CLEAR, window.start_ms, begins_ms, confirmed=True, block=False, reason="window_over"
            )
            window = self._windows[each.point] = _Window(begins_ms, window.period_ms, powers=window.powers)
        self._add(window, each, power)
        minute = (each.end_ms - window.start_ms) // MINUTE_MS
        if minute <= window.minute:
            return
        window.minute = minute
        window.powers = [*window.powers, max(power, 0.0)][-self._rule.trend_samples :]
        if (each.end_ms - window.start_ms) / 1000 >= self._rule.least_elapsed_s:
            yield self._judged(each.point, each.end_ms, window, site)

    def _add(self, window: _Window, each: Round, power: float) -> None:
        before = each.before.get(Quantity.ACTIVE_POWER)
        from_ms = max(each.start_ms, window.start_ms)
        if before is None or from_ms >= each.end_ms:
            return
        seconds = (each.end_ms - from_ms) / 1000
        low, high = sorted((max(before, 0.0), max(power, 0.0)))
        window.low += low * seconds
        window.value += (low + high) / 2 * seconds
        window.high += high * seconds
        window.seen_s += seconds

    def _judged(self, point: PointId, now_ms: Ms, window: _Window, site: Site) -> Verdict:
        period_s, elapsed_s = window.period_ms / 1000, (now_ms - window.start_ms) / 1000

        def cannot(reason: str) -> Verdict:
            return Verdict(point, Answer.UNKNOWN, window.start_ms, now_ms, block=False, reason=reason)

        capacity = site.capacity(point, window.start_ms, now_ms)
        if capacity is None:
            return cannot("capacity_unknown")
        terms = site.terms(point, now_ms)
        rule = None if terms is None else terms.demand(capacity.basis)
        if capacity.unit != "W" or (rule is not None and (rule.unit != "kW" or not rule.bands)):
            return cannot("contract_in_other_unit")
        made = forecast(
            Band(window.low, window.value, window.high), window.powers, elapsed_s=elapsed_s, period_s=period_s,
            sample_s=60.0, coverage=window.seen_s / elapsed_s, cap_va=site.ratings(point, now_ms).s_cap_va,
            rule=self._rule,
        )  # fmt: skip
        if isinstance(made, CannotSay):
            return cannot("too_little_of_the_window")
        free, _, said = free_demand(point, now_ms, capacity, rule, site, self._release)
        goes_on = _goes_on(window, made, period_s - elapsed_s, period_s)
        low, high = goes_on.low / free, goes_on.high / free
        answer = grade(self._release, low, high)
        if answer is Answer.BREACH and made.falling:
            answer = Answer.BETWEEN
        measured = {
            **said,
            "projected_w": {n: round(getattr(goes_on, n)) for n in ("low", "value", "high")},
            "already_w": round(made.already),
            "elapsed_s": round(elapsed_s),
            "limit_w": free,
        }
        return Verdict(
            point, answer, window.start_ms, now_ms, low=low, high=high, decided_ms=now_ms, confirmed=True, block=False,
            measured=measured if answer is Answer.BREACH else {},
            facts=(capacity.fact, *site.k_facts(point, now_ms)),
        )  # fmt: skip


def _goes_on(window: _Window, made: Forecast, left_s: float, period_s: float) -> Band:
    """The interval's demand if the rest of it is as the least, the last and the largest of the last minutes."""
    least, most = min(window.powers), max(window.powers)
    high = max((window.high + most * left_s) / period_s, made.demand.value)
    return Band((window.low + least * left_s) / period_s, made.demand.value, high)


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from view.studied


TOPIC = AuditTopic(
    "cap-demand-forecast", examine, needs=("active_power",), blinded_by=("dat-implausible", "met-fly"),
    biased_by=("met-curr-loss", "met-phase-break", "met-volt-loss"), study=Windows,
)  # fmt: skip
