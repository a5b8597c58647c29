"""What a contract says about money and capacity, as types: no number of any country stands here.

A rule is data (`config/tariffs/`), read and checked by `settings`. Ratios are shares of the contracted capacity, prices
are per unit and month unless they say otherwise, and every number is an exact `Decimal`: an estimate that is a cent off
is disputed for the cent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_FLOOR, Decimal
from types import MappingProxyType
from typing import Literal

Aggregate = Literal["max_month", "max_12m", "sum_sq_sqrt", "hours_over", "limiter"]
"""How the demands of a month become one figure.

`max_month`: the largest. `max_12m`: the largest of this month and the eleven before. `sum_sq_sqrt`: the root of the sum
of squares of what each interval was over the contract. `hours_over`: for how long it was over. `limiter`: none; the
supply trips.
"""
Basis = Literal["capacity", "contracted-demand", "actual-demand"]
BaseKind = Literal["contract", "measured", "contract_or_measured"]
FloorOf = Literal["contract", "installed_kva", "highest_11_months"]
PriceOf = Literal["demand", "capacity", "energy", "excess", "hour_over"]
SurchargeKind = Literal["suspended", "expansion", "category"]
FlatKind = Literal["move-resident", "move-other", "feed"]
Use = Literal["power", "light"]
CurrentBasis = Literal["basic", "max", "limiter"]

ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class Edition:
    """Which file a rule stands in: an estimate names it."""

    tariff: str
    version: int
    currency: str
    digest: str = ""
    """SHA-256 of the file as it is."""


@dataclass(frozen=True, slots=True)
class Floor:
    """A least that is paid for: `ratio` of something that stands in the contract or its history."""

    ratio: Decimal
    of: FloorOf


@dataclass(frozen=True, slots=True)
class Base:
    """What is paid for before any excess.

    The floors of a `contract` raise the contract itself, and the bands measure against what was raised. Spain until
    2021 is `measured` with a floor of 0.85 of the contract, and a band from 1.05.
    """

    kind: BaseKind
    price: PriceOf = "demand"
    floors: tuple[Floor, ...] = ()


@dataclass(frozen=True, slots=True)
class Band:
    """The part of the demand between two shares of the contract, and how many times it is paid."""

    start: Decimal
    end: Decimal | None
    times: Decimal
    price: PriceOf = "demand"


@dataclass(frozen=True, slots=True)
class Discount:
    """A demand price times `factor` in a month with at least so much energy for each kVA of installed capacity."""

    kwh_per_kva: Decimal
    factor: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandRule:
    """How a demand or a capacity is measured and paid for."""

    id: str
    edition: Edition
    basis: Basis
    unit: Literal["kW", "kVA"]
    interval_min: int
    slide_min: int
    aggregate: Aggregate
    stamp: Literal["end", "start"] = "end"
    restart_on_boundary: bool = True
    base: Base | None = None
    bands: tuple[Band, ...] = ()
    gate: Decimal = Decimal(0)
    """No band counts unless the demand is above this share of the contract."""
    limit_ratio: Decimal | None = None
    """`limiter`: the share of the contract at which the supply trips."""
    power_factor_zero: Decimal | None = None
    """The price is times (this - power factor in %) / 100; Japan: 185."""
    prorata: Literal["none", "days/30"] = "none"
    digits: int = 2
    """Decimals of the money, rounded half up."""
    discount: Discount | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of an adjustment table: `percent` at `lowest`, and so much more for every 0.01 above it."""

    lowest: Decimal
    highest: Decimal
    percent: Decimal
    per_hundredth: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerFactorTable:
    """The adjustment of a bill by the month's power factor against a standard; segments from low to high."""

    id: str
    edition: Edition
    standard: Decimal
    segments: tuple[Segment, ...]
    cos_digits: int = 2
    digits: int = 2


@dataclass(frozen=True, slots=True)
class Tier:
    """A step of a household's year, kWh; the last has no end."""

    up_to_kwh: Decimal | None
    price: Decimal | None


@dataclass(frozen=True, slots=True)
class LargeHousehold:
    """From so many persons on, every limit is higher by this much a month."""

    persons: int
    extra_kwh_month: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTariff:
    """阶梯电价: the dearer the more a household has used in the calendar year."""

    id: str
    edition: Edition
    tiers: tuple[Tier, ...]
    large_household: LargeHousehold | None = None
    digits: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Surcharge:
    """What a contract asks for use outside of it: what was not paid, and up to `times` that on top.

    Customers without a demand or capacity charge pay `flat` for each kVA (kW) instead, where there is such a sum.
    """

    id: str
    edition: Edition
    kind: SurchargeKind
    times: Decimal
    flat: Decimal | None = None
    default_months: int | None = None
    """How far back is reckoned where the beginning cannot be established."""
    digits: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """A sum for each kVA (kW), or for each time."""

    id: str
    edition: Edition
    kind: FlatKind
    amount: Decimal
    per: Literal["kVA", "time"]
    digits: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmetered:
    """How energy that no meter counted is reckoned where it cannot be established otherwise."""

    id: str
    edition: Edition
    days: int
    hours_power: Decimal
    hours_light: Decimal
    times: Decimal
    current_basis: CurrentBasis
    digits: int = 2

    def hours(self, use: Use) -> Decimal:
        return self.hours_power if use == "power" else self.hours_light


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """From which size on a commercial or industrial customer may, and must, pay for demand or capacity (两部制)."""

    id: str
    edition: Edition
    may_above_kva: Decimal
    must_from_kva: Decimal

    def allowed(self, contract_kva: Decimal) -> Literal["single", "either", "two"]:
        if contract_kva >= self.must_from_kva:
            return "two"
        return "either" if contract_kva > self.may_above_kva else "single"


Rule = DemandRule | PowerFactorTable | StepTariff | Surcharge | Flat | Unmetered | Parts


@dataclass(frozen=True, slots=True)
class Prices:
    """What one unit costs, by what it is and, where it differs, by class of time.

    There is no default: a price that is absent makes an estimate silent, not zero.
    """

    known: Mapping[tuple[PriceOf, str], Decimal] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, what: PriceOf, time_class: str = "") -> Decimal | None:
        found = self.known.get((what, time_class))
        return self.known.get((what, "")) if found is None else found


NO_PRICES = Prices()


@dataclass(frozen=True, slots=True)
class Terms:
    """What counts for one class of use: its rules, and the prices that are known."""

    code: str
    rules: tuple[Rule, ...]
    prices: Prices = NO_PRICES
    new_customers_from: date | None = None
    """From this day on customers of this class join under `parts`; None: nobody has said."""

    def demand(self, basis: str) -> DemandRule | None:
        """The rule of the basis that the archive names; None: this class has no such charge."""
        return next((r for r in self.rules if isinstance(r, DemandRule) and r.basis == basis), None)

    @property
    def two_part(self) -> bool:
        """Whether this class pays for demand or capacity beside energy (两部制)."""
        return any(isinstance(r, DemandRule) for r in self.rules)

    @property
    def power_factor(self) -> PowerFactorTable | None:
        return next((r for r in self.rules if isinstance(r, PowerFactorTable)), None)

    @property
    def step(self) -> StepTariff | None:
        return next((r for r in self.rules if isinstance(r, StepTariff)), None)

    @property
    def parts(self) -> Parts | None:
        return next((r for r in self.rules if isinstance(r, Parts)), None)

    @property
    def unmetered(self) -> Unmetered | None:
        return next((r for r in self.rules if isinstance(r, Unmetered)), None)

    def surcharge(self, kind: SurchargeKind) -> Surcharge | None:
        return next((r for r in self.rules if isinstance(r, Surcharge) and r.kind == kind), None)

    def flat(self, kind: FlatKind) -> Flat | None:
        return next((r for r in self.rules if isinstance(r, Flat) and r.kind == kind), None)


def number(value: float | Decimal | str) -> Decimal:
    """A measured or written number as the shortest decimal that means it: 0.1 is 0.1. ValueError: it is none."""
    found = value if isinstance(value, Decimal) else Decimal(str(value))
    if not found.is_finite():
        raise ValueError(f"{value} is no number to reckon with")
    return found


def kilo(base: float) -> Decimal:
    """W, VA or Wh in thousands, rounded down to a whole one: the lower bound of a demand stays one."""
    return (number(base) / 1000).quantize(Decimal("0.001"), rounding=ROUND_FLOOR)
