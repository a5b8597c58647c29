"""功率因数考核: is the power factor of the billing month below the standard that the contract sets?

From the energies of the month, as a bill has it: rounded half up to two decimals, from the fifth day on, for good when
the month closes. Time that is not known is reckoned in the customer's favour, and too much of it leaves no answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from math import hypot
from typing import TYPE_CHECKING, Any

from edge_agent.audit.studies.day_by_day import DayByDay
from edge_agent.audit.studies.flow import Flow, counted
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict, grade
from edge_agent.load.methods.power_factor import half_up
from edge_agent.load.views import Band, Interval, LoadView
from edge_agent.model import DaySpan, Ms, PointId

if TYPE_CHECKING:
    from edge_agent.tariff import PowerFactorTable, Terms

DAY_MS, HOUR_MS = 86_400_000, 3_600_000


@dataclass(slots=True)
class Month:
    """What has flowed since the billing month began."""

    name: str = ""
    active: Flow = field(default_factory=Flow)
    reactive: Flow = field(default_factory=Flow)
    most_w: float = 0.0  # largest demand seen, by its lower bound
    most_va: float = 0.0  # and the largest apparent one, by its upper bound

    @classmethod
    def of(cls, plain: Sequence[Any] | None) -> Month:
        if plain is None:
            return cls()
        name, active, reactive, most_w, most_va = plain
        return cls(str(name), Flow.of(active), Flow.of(reactive), float(most_w), float(most_va))

    def plain(self) -> list[Any]:
        return [self.name, self.active.plain(), self.reactive.plain(), self.most_w, self.most_va]

    def take(self, interval: Interval, span: DaySpan, site: Site) -> None:
        name = site.billing_month(interval.point, interval.end_ms)
        if name != self.name:
            self.name, self.active, self.reactive, self.most_w, self.most_va = name, Flow(), Flow(), 0.0, 0.0
        demand = counted(interval)
        if demand is None or demand.active is None or demand.reactive is None:
            return
        self.active.add(demand.active, demand.source, interval.start_ms, interval.end_ms)
        self.reactive.add(demand.reactive, demand.source, interval.start_ms, interval.end_ms)
        self.most_w = max(self.most_w, demand.active.low)
        self.most_va = max(self.most_va, hypot(demand.active.high, demand.reactive.high))

    def over(self, point: PointId, span: DaySpan, site: Site, release: Release) -> Iterator[Verdict]:
        """The month to date, when a day of it is over."""
        end_ms = site.month_end_ms(point, span.end_ms)
        # 32 days before the end of a month lie in the one before it, whatever its length.
        start_ms = site.month_end_ms(point, end_ms - 32 * DAY_MS)
        yield self._judged(point, span, (start_ms, end_ms), site, release)

    def _judged(self, point: PointId, span: DaySpan, month: tuple[Ms, Ms], site: Site, release: Release) -> Verdict:
        start_ms, end_ms = month
        params, terms = release.params, site.terms(point, span.end_ms)
        table = None if terms is None else terms.power_factor

        def cannot(reason: str) -> Verdict:
            return Verdict(point, Answer.UNKNOWN, span.start_ms, span.end_ms, block=False, reason=reason)

        if table is None or terms is None:
            return cannot("no_power_factor_rule")
        if span.end_ms - start_ms < params["least_days"] * DAY_MS:
            return cannot("month_too_young")
        elapsed_ms = span.end_ms - start_ms
        coverage = self.active.seen_ms / elapsed_ms
        if coverage < params["least_coverage"]:
            return cannot("too_little_of_the_month")
        missing_h = (elapsed_ms - self.active.seen_ms) / HOUR_MS
        active, reactive = self.active.band, self.reactive.band
        if active.low < params["least_wh"]:
            return cannot("too_little_energy")
        best = _cos(active.high + missing_h * self.most_va, reactive.low)
        worst = _cos(active.low, reactive.high + missing_h * self.most_va)
        low, high = float(table.standard - best), float(table.standard - worst)
        final = span.end_ms == end_ms
        measured: dict[str, Any] = {
            "month": self.name,
            "final": final,
            "coverage": round(coverage, 4),
            "active_kwh": _kilo(active),
            "reactive_kvarh": _kilo(reactive),
            "power_factor": str(best),
            "standard": str(table.standard),
            "adjustment_percent": _percent(table, best),
        }
        if final and low > 0:
            from edge_agent.audit import estimates

            base = _bill(point, span.end_ms, active, self.most_w, terms, site)
            estimate = estimates.power_factor(table, (active.high / 1000, reactive.low / 1000), base)
            measured |= {} if estimate is None else {"estimate": estimate}
        fact = site.tariff_class(point, span.end_ms)
        facts = (*((fact,) if fact is not None else ()), *site.k_facts(point, span.end_ms))
        return Verdict(
            point, grade(release, low, high), span.start_ms, span.end_ms, low=low, high=high, decided_ms=span.end_ms,
            confirmed=True, running=measured, facts=facts,
        )  # fmt: skip


def _cos(active: float, reactive: float) -> Decimal:
    whole = hypot(active, reactive)
    return half_up(active / whole if whole > 0 else 1.0)


def _percent(table: PowerFactorTable, cos: Decimal) -> str:
    from edge_agent.tariff import adjustment_percent

    try:
        return f"{adjustment_percent(table, cos).normalize():f}"
    except ValueError:
        return ""


def _bill(point: PointId, at_ms: Ms, active: Band, most_w: float, terms: Terms, site: Site) -> Decimal | None:
    """Energy, and demand or capacity, of the month: what the adjustment is taken of. None: a price is missing."""
    price = terms.prices.of("energy")
    if price is None:
        return None
    from edge_agent.audit.estimates import installed_kva
    from edge_agent.tariff import Measured, demand_charge, kilo, number

    energy_kwh = number(round(active.low / 1000, 3))
    if not terms.two_part:
        return price * energy_kwh
    capacity = site.capacity(point, at_ms - 1, at_ms)
    rule = None if capacity is None else terms.demand(capacity.basis)
    if capacity is None or rule is None or (rule.unit == "kVA") != (capacity.unit == "VA"):
        return None
    part = Measured(
        contract=kilo(capacity.contracted), demand=kilo(most_w), energy_kwh=energy_kwh,
        installed_kva=installed_kva(site.ratings(point, at_ms).transformer_va),
    )  # fmt: skip
    charge = demand_charge(rule, part, terms.prices).total
    return None if charge is None else price * energy_kwh + charge


def _kilo(band: Band) -> dict[str, float]:
    return {n: round(getattr(band, n) / 1000, 2) for n in ("low", "value", "high")}


def study(release: Release) -> DayByDay:
    return DayByDay(release, Month.of)


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from view.studied


TOPIC = AuditTopic(
    "tar-pf", examine, needs=("active_energy_import", "reactive_energy_import"),
    blinded_by=("dat-implausible", "met-fly"), biased_by=("met-curr-loss", "met-phase-break", "met-volt-loss"),
    study=study,
)  # fmt: skip
