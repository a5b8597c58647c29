"""Use outside of what was agreed, as the contract reckons it: never what happened, only what the rule would make of it.

Three kinds (suspended or reduced capacity used, more capacity than agreed, another class of use than agreed), flat
sums, and energy that no meter counted. What is said to be at most so much is the most that the rule allows.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from edge_agent.tariff.demand import DAYS_OF_MONTH
from edge_agent.tariff.estimate import Component, Estimate, Said, money, priced, tidy
from edge_agent.tariff.rule import Edition, Flat, PriceOf, Prices, Surcharge, Unmetered, Use

Power = Literal["kVA", "kW"]


def capacity_outside(
    rule: Surcharge,
    quantity: Decimal,
    days: int,
    prices: Prices,
    *,
    two_part: bool,
    unit: Power = "kVA",
    price_of: PriceOf = "capacity",
) -> Estimate:
    """Capacity that was suspended, or never agreed, and used for `days` days.

    A customer with a demand or capacity charge makes up for the days and pays up to `times` that on top; any other pays
    the flat sum once, where the rule has one.
    """
    if two_part:
        how = Said("tariff.quantity", {"quantity": tidy(quantity), "unit": unit})
        made_up = priced(
            "made_up",
            quantity,
            unit,
            prices.of(price_of),
            edition=rule.edition,
            digits=rule.digits,
            factor=Decimal(days) / DAYS_OF_MONTH,
            how=how,
            factors=[Said("tariff.factor.days", {"days": days, "of": DAYS_OF_MONTH})],
        )
        return _with_surcharge(rule.edition, rule.id, made_up, rule.times, rule.digits)
    if rule.flat is None:
        note = Said("tariff.note.unknown", {"what": Said("tariff.what.flat")})
        return Estimate(edition=rule.edition, rule=rule.id, notes=(note,))
    flat = priced("flat", quantity, unit, rule.flat, edition=rule.edition, digits=rule.digits)
    return Estimate(edition=rule.edition, rule=rule.id, components=(flat,))


def category_outside(
    rule: Surcharge, energy_kwh: Decimal, price_agreed: Decimal | None, price_due: Decimal | None
) -> Estimate:
    """Energy paid for at the price of one class of use where that of another was due."""
    difference = None if price_agreed is None or price_due is None else price_due - price_agreed
    made_up = priced("made_up", energy_kwh, "kWh", difference, edition=rule.edition, digits=rule.digits)
    estimate = _with_surcharge(rule.edition, rule.id, made_up, rule.times, rule.digits)
    if rule.default_months is None:
        return estimate
    note = Said("tariff.note.default_months", {"months": rule.default_months})
    return Estimate(edition=rule.edition, rule=rule.id, components=estimate.components, notes=(note,))


def flat_sum(rule: Flat, quantity: Decimal) -> Estimate:
    """So much for each kVA, or for each time."""
    unit = "kVA" if rule.per == "kVA" else "x"
    component = priced("flat", quantity, unit, rule.amount, edition=rule.edition, digits=rule.digits)
    return Estimate(edition=rule.edition, rule=rule.id, components=(component,))


def unmetered_kwh(rule: Unmetered, power_kw: Decimal, use: Use, *, days: int | None = None) -> Decimal:
    """The energy of a load that no meter counted; without `days`, for as long as the rule assumes."""
    return power_kw * (rule.days if days is None else days) * rule.hours(use)


def unmetered(rule: Unmetered, power_kw: Decimal, use: Use, prices: Prices, *, days: int | None = None) -> Estimate:
    """What that energy would cost, and the most that is asked on top."""
    counted = rule.days if days is None else days
    energy = unmetered_kwh(rule, power_kw, use, days=days)
    fields = {"kw": tidy(power_kw), "days": counted, "hours": tidy(rule.hours(use)), "quantity": tidy(energy)}
    made_up = priced(
        "made_up",
        energy,
        "kWh",
        prices.of("energy"),
        edition=rule.edition,
        digits=rule.digits,
        how=Said("tariff.unmetered", fields),
    )
    estimate = _with_surcharge(rule.edition, rule.id, made_up, rule.times, rule.digits)
    if days is not None:
        return estimate
    note = Said("tariff.note.time_assumed", {"days": rule.days})
    return Estimate(edition=rule.edition, rule=rule.id, components=estimate.components, notes=(note,))


def meter_capacity_kw(
    rule: Unmetered,
    *,
    phases: int,
    volts: Decimal,
    basic_a: Decimal,
    max_a: Decimal,
    k: Decimal = Decimal(1),
    limiter_kw: Decimal | None = None,
) -> Decimal | None:
    """The capacity that stands for the load where a meter was made inaccurate: by the current that the rule names.

    A limiter's setting counts where one is fitted. `volts`: line to neutral. None: the rule asks for a limiter and
    there is none.
    """
    if limiter_kw is not None:
        return limiter_kw
    if rule.current_basis == "limiter":
        return None
    amperes = basic_a if rule.current_basis == "basic" else max_a
    return phases * volts * amperes * k / 1000


def _with_surcharge(edition: Edition, rule: str, made_up: Component, times: Decimal, digits: int) -> Estimate:
    """What is made up, and at most so many times its money on top."""
    if made_up.amount is None:
        return Estimate(edition=edition, rule=rule, components=(made_up,))
    how = Said("tariff.times_amount", {"amount": made_up.amount, "times": tidy(times)})
    amount = money(times * made_up.amount, digits)
    fields = {"name": Said("tariff.part.surcharge"), "how": how, "amount": amount, "currency": edition.currency}
    surcharge = Component(
        name="surcharge",
        quantity=times,
        unit="x",
        amount=amount,
        said=Said("tariff.line.surcharge", fields),
        at_most=True,
    )
    return Estimate(edition=edition, rule=rule, components=(made_up, surcharge))
