"""Contract rules and what they would make of measured quantities: exact numbers, no country, no clock, no sentence.

`settings` reads the rules (`config/tariffs/`) and says which of them count for a class of use (`Terms`); an audit topic
asks one function and puts the `Estimate` beside its finding:

    rule = terms.demand("contracted-demand")
    estimate = demand_charge(rule, Measured(contract=kilo(capacity.contracted), demand=kilo(demand.low)), terms.prices)
    estimate.total      # Decimal, or None where no price is known
    estimate.said()     # the arithmetic, as codes and fields

An estimate is not a bill, and every one of them says so.
"""

from edge_agent.tariff.demand import Measured, contract_counted, demand_charge, discount_reached, interval_kva, limit
from edge_agent.tariff.estimate import Component, Estimate, Said
from edge_agent.tariff.outside import (
    capacity_outside,
    category_outside,
    flat_sum,
    meter_capacity_kw,
    unmetered,
    unmetered_kwh,
)
from edge_agent.tariff.power_factor import adjustment_percent, cos_phi, power_factor_adjustment
from edge_agent.tariff.rule import (
    NO_PRICES,
    Band,
    Base,
    DemandRule,
    Discount,
    Edition,
    Flat,
    Floor,
    LargeHousehold,
    Parts,
    PowerFactorTable,
    Prices,
    Rule,
    Segment,
    StepTariff,
    Surcharge,
    Terms,
    Tier,
    Unmetered,
    kilo,
    number,
)
from edge_agent.tariff.step import Standing, limits_kwh, standing, step_charge

__all__ = [
    "NO_PRICES",
    "Band",
    "Base",
    "Component",
    "DemandRule",
    "Discount",
    "Edition",
    "Estimate",
    "Flat",
    "Floor",
    "LargeHousehold",
    "Measured",
    "Parts",
    "PowerFactorTable",
    "Prices",
    "Rule",
    "Said",
    "Segment",
    "Standing",
    "StepTariff",
    "Surcharge",
    "Terms",
    "Tier",
    "Unmetered",
    "adjustment_percent",
    "capacity_outside",
    "category_outside",
    "contract_counted",
    "cos_phi",
    "demand_charge",
    "discount_reached",
    "flat_sum",
    "interval_kva",
    "kilo",
    "limit",
    "limits_kwh",
    "meter_capacity_kw",
    "number",
    "power_factor_adjustment",
    "standing",
    "step_charge",
    "unmetered",
    "unmetered_kwh",
]
