"""What a demand or a capacity costs under a rule, for one month or a part of it.

One function for every country: what is paid for (base), what is paid on top (bands, as shares of the contract), and the
factors on the price. An estimate that serves a finding takes the lower bound of the demand: every rule here is monotone
in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from edge_agent.tariff.estimate import Component, Estimate, Said, priced, tidy
from edge_agent.tariff.rule import NO_PRICES, ONE, Base, DemandRule, Discount, PriceOf, Prices

ZERO = Decimal(0)
DAYS_OF_MONTH = 30
"""A part of a month is so many thirtieths, whatever the month's own length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is known about one contract, or about one class of time of it; kW or kVA as the rule's unit. None: unknown.

    `demand` is the month's largest; `intervals` are the demands of single intervals, where a rule asks for them.
    """

    contract: Decimal | None = None
    demand: Decimal | None = None
    highest_11_months: Decimal | None = None
    intervals: Sequence[Decimal] = ()
    hours_over: Decimal | None = None
    installed_kva: Decimal | None = None
    energy_kwh: Decimal | None = None
    power_factor_percent: Decimal | None = None
    time_class: str = ""


def demand_charge(
    rule: DemandRule, measured: Measured | Sequence[Measured], prices: Prices = NO_PRICES, *, days: int | None = None
) -> Estimate:
    """The estimate of a whole month, or of `days` days of it where the rule counts days.

    Several classes of time, or several feeds with contracts of their own, are reckoned one by one and added up.
    """
    parts = [measured] if isinstance(measured, Measured) else measured
    components: list[Component] = []
    notes: list[Said] = []
    for part in parts:
        _one(rule, part, prices, days, components, notes)
    return Estimate(edition=rule.edition, rule=rule.id, components=tuple(components), notes=tuple(notes))


def discount_reached(discount: Discount, energy_kwh: Decimal, installed_kva: Decimal) -> bool:
    """Whether a month's energy for each kVA of installed capacity reaches what the discount asks for."""
    return installed_kva > 0 and energy_kwh >= discount.kwh_per_kva * installed_kva


def interval_kva(kwh: Decimal, kvarh: Decimal, interval_min: int) -> Decimal:
    """Apparent demand of one interval from its active and reactive energy."""
    return (kwh * kwh + kvarh * kvarh).sqrt() * 60 / interval_min


def contract_counted(rule: DemandRule, part: Measured) -> tuple[Decimal | None, Said | None]:
    """The contract that bands measure against, and a note where a floor raised it; None: unknown."""
    if part.contract is None or rule.base is None or rule.base.kind != "contract":
        return part.contract, None
    floor = max(_floors(rule.base, part), default=ZERO)
    if floor <= part.contract:
        return part.contract, None
    fields = {"contract": tidy(part.contract), "floor": tidy(floor), "unit": rule.unit}
    return floor, Said("tariff.note.contract_floor", fields)


def _one(
    rule: DemandRule,
    part: Measured,
    prices: Prices,
    days: int | None,
    components: list[Component],
    notes: list[Said],
) -> None:
    contract, note = contract_counted(rule, part)
    if note is not None:
        notes.append(note)
    if rule.aggregate == "limiter":
        notes.append(_limit(rule, contract))
        return
    demand = _demand(rule, part, notes)
    factor, factors = ONE, []
    for share, said in _factors(rule, part, days, notes):
        factor *= share
        factors.append(said)
    if missing := _missing(rule, contract, demand, part):
        notes.append(Said("tariff.note.unknown", {"what": Said(f"tariff.what.{missing}")}))
        return

    def component(name: str, quantity: Decimal, price_of: PriceOf, how: Said, unit: str = rule.unit) -> Component:
        return priced(
            name,
            quantity,
            unit,
            prices.of(price_of, part.time_class),
            edition=rule.edition,
            digits=rule.digits,
            factor=factor,
            how=_classed(how, part.time_class),
            factors=factors,
        )

    if rule.base is not None:
        quantity, how = _base(rule, rule.base, part, contract, demand)
        name = "capacity" if rule.base.price == "capacity" else "base"
        components.append(component(name, quantity, rule.base.price, how))
    for band in rule.bands:
        if rule.aggregate == "hours_over":
            hours = _hours_over(rule, part, contract)
            how = Said("tariff.hours_over", {"hours": tidy(hours), "times": tidy(band.times)})
            components.append(component("excess", band.times * hours, band.price, how, "h"))
        elif rule.aggregate == "sum_sq_sqrt":
            over = _root_of_squares(part.intervals, (contract or ZERO) * band.start)
            fields = {"over": tidy(over), "times": tidy(band.times), "unit": rule.unit}
            components.append(component("excess", band.times * over, band.price, Said("tariff.root", fields)))
        elif contract is not None and demand is not None and demand > rule.gate * contract:
            start, end = band.start * contract, demand if band.end is None else min(demand, band.end * contract)
            if end > start:
                fields = {"end": tidy(end), "start": tidy(start), "times": tidy(band.times), "unit": rule.unit}
                quantity = band.times * (end - start)
                components.append(component("excess", quantity, band.price, Said("tariff.band", fields)))


def _missing(rule: DemandRule, contract: Decimal | None, demand: Decimal | None, part: Measured) -> str:
    """What the rule needs and nobody knows, or ""."""
    kind = rule.base.kind if rule.base is not None else ""
    if rule.aggregate == "hours_over" and part.hours_over is not None:
        needs_contract = kind == "contract"
    else:
        needs_contract = kind in {"contract", "contract_or_measured"} or bool(rule.bands)
    if needs_contract and contract is None:
        return "contract"
    sampled = rule.aggregate in {"sum_sq_sqrt", "hours_over"}
    needs_demand = kind in {"measured", "contract_or_measured"} or (bool(rule.bands) and not sampled)
    if needs_demand and demand is None:
        return "demand"
    if rule.power_factor_zero is not None and part.power_factor_percent is None:
        return "power_factor"
    return ""


def _demand(rule: DemandRule, part: Measured, notes: list[Said]) -> Decimal | None:
    if rule.aggregate != "max_12m" or part.demand is None:
        return part.demand
    if part.highest_11_months is None:
        notes.append(Said("tariff.note.history"))
        return part.demand
    return max(part.demand, part.highest_11_months)


def _base(
    rule: DemandRule, base: Base, part: Measured, contract: Decimal | None, demand: Decimal | None
) -> tuple[Decimal, Said]:
    """What is paid for, and why it is that much; what is needed is known by now."""
    known: dict[str, Decimal] = {}
    if contract is not None and base.kind != "measured":
        known["contract" if contract == part.contract else "floor"] = contract
    if demand is not None and base.kind != "contract":
        known["measured"] = demand
        known |= {"floor": max(_floors(base, part), default=ZERO)}
    why = max(known, key=lambda w: known[w])
    return known[why], Said(f"tariff.base.{why}", {"quantity": tidy(known[why]), "unit": rule.unit})


def _floors(base: Base, part: Measured) -> Iterator[Decimal]:
    """The leasts that can be told; a floor of what nobody knows is none."""
    for floor in base.floors:
        of: Decimal | None = getattr(part, floor.of)
        if of is not None:
            yield floor.ratio * of


def _factors(rule: DemandRule, part: Measured, days: int | None, notes: list[Said]) -> Iterator[tuple[Decimal, Said]]:
    if rule.power_factor_zero is not None and part.power_factor_percent is not None:
        zero, pf = rule.power_factor_zero, part.power_factor_percent
        yield (zero - pf) / 100, Said("tariff.factor.power_factor", {"zero": tidy(zero), "pf": tidy(pf)})
    if days is not None and rule.prorata == "none":
        notes.append(Said("tariff.note.whole_month"))
    elif days is not None:
        yield Decimal(days) / DAYS_OF_MONTH, Said("tariff.factor.days", {"days": days, "of": DAYS_OF_MONTH})
    discount = rule.discount
    if discount is None:
        return
    if part.energy_kwh is None or part.installed_kva is None:
        notes.append(Said("tariff.note.discount_unknown", {"least": tidy(discount.kwh_per_kva)}))
    elif discount_reached(discount, part.energy_kwh, part.installed_kva):
        yield discount.factor, Said("tariff.factor.discount", {"factor": tidy(discount.factor)})
        rate = tidy(part.energy_kwh / part.installed_kva, 2)
        notes.append(Said("tariff.note.discount", {"rate": rate, "least": tidy(discount.kwh_per_kva)}))


def _limit(rule: DemandRule, contract: Decimal | None) -> Said:
    if contract is None:
        return Said("tariff.note.unknown", {"what": Said("tariff.what.contract")})
    return Said("tariff.note.limiter", {"limit": tidy(contract * (rule.limit_ratio or ONE)), "unit": rule.unit})


def limit(rule: DemandRule, contract: Decimal) -> Decimal | None:
    """At what demand the supply trips; None: it does not."""
    return contract * (rule.limit_ratio or ONE) if rule.aggregate == "limiter" else None


def _hours_over(rule: DemandRule, part: Measured, contract: Decimal | None) -> Decimal:
    if part.hours_over is not None:
        return part.hours_over
    over = sum(1 for demand in part.intervals if contract is not None and demand > contract)
    return Decimal(over * rule.interval_min) / 60


def _root_of_squares(intervals: Sequence[Decimal], contract: Decimal) -> Decimal:
    return sum(((d - contract) ** 2 for d in intervals if d > contract), ZERO).sqrt()


def _classed(how: Said, time_class: str) -> Said:
    return Said("tariff.classed", {"class": time_class, "how": how}) if time_class else how
