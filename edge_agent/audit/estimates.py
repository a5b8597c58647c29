"""What the contract's rules would make of a finding, where rules and prices are known: an estimate, not a bill.

A finding keeps it as plain texts, money to the cent. Without a price nothing is named, and where a rule is missing
nothing is reckoned; a mistake in the arithmetic must not cost the finding either, so what cannot be reckoned is none.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from edge_agent.model import Capacity
from edge_agent.tariff import (
    DemandRule,
    Estimate,
    Measured,
    PowerFactorTable,
    Said,
    Surcharge,
    Terms,
    capacity_outside,
    demand_charge,
    kilo,
    number,
    power_factor_adjustment,
)

Plain = dict[str, Any]


def demand_over(terms: Terms, rule: DemandRule, part: Measured) -> Plain | None:
    """The month's demand charge as far as it is known by now."""
    return _plain(lambda: demand_charge(rule, part, terms.prices))


def outside(terms: Terms | None, capacity: Capacity, kind: str, quantity: float, days: int) -> Plain | None:
    """Capacity (VA or W) used outside of what was agreed, for so many days that are sure."""
    rule = None if terms is None else next(
        (r for r in terms.rules if isinstance(r, Surcharge) and r.kind == kind), None
    )  # fmt: skip
    if terms is None or rule is None or quantity <= 0 or days <= 0:
        return None
    return _plain(
        lambda: capacity_outside(
            rule, kilo(quantity), days, terms.prices, two_part=terms.two_part,
            unit="kVA" if capacity.unit == "VA" else "kW",
            price_of="capacity" if capacity.basis == "capacity" else "demand",
        )
    )  # fmt: skip


def power_factor(table: PowerFactorTable, energies: tuple[float, float], bill: Decimal | None) -> Plain | None:
    """What a month's power factor does to a bill, by kWh and kvarh; without the bill nothing is named."""
    active_kwh, reactive_kvarh = (number(round(e, 3)) for e in energies)
    return _plain(lambda: power_factor_adjustment(table, active_kwh, reactive_kvarh, bill))


def installed_kva(transformer_va: float | None) -> Decimal | None:
    return None if transformer_va is None else kilo(transformer_va)


def _plain(reckon: Callable[[], Estimate]) -> Plain | None:
    """Texts alone, as the store, the message and an inspector can hold them; None: no money can be named."""
    try:
        estimate = reckon()
        total = estimate.total
    except (ValueError, ArithmeticError, InvalidOperation):
        return None
    if total is None:
        return None
    return {
        "rule": estimate.name,
        "amount": f"{total:f}",
        "currency": estimate.edition.currency,
        "at_most": estimate.at_most,
        "lines": [_line(said) for said in (*(c.said for c in estimate.components), *estimate.notes)],
    }


def _line(said: Said) -> Plain:
    return {"code": said.code, "fields": {name: _field(value) for name, value in said.fields.items()}}


def _field(value: object) -> object:
    if isinstance(value, Said):
        return _line(value)
    return f"{value:f}" if isinstance(value, Decimal) else value
