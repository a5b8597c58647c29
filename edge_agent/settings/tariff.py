"""Tariff files: the rules of a contract as data, read into the types of `tariff` or answered with every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from edge_agent.settings.mistake import Mistake, SiteError
from edge_agent.settings.shape import read_table
from edge_agent.settings.shipped import ConfigFiles
from edge_agent.settings.site import Id, Table, TariffTable
from edge_agent.settings.tariff_rules import check_tariff
from edge_agent.settings.toml import digest, read_toml
from edge_agent.tariff import (
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
    number,
)

Text = Annotated[str, Meta(min_length=1, max_length=400, extra={"right": "text"})]
Currency = Annotated[str, Meta(pattern=r"\A[A-Z]{3}\Z", extra={"right": "currency"})]
Share = Annotated[float, Meta(ge=0, le=100)]
Times = Annotated[float, Meta(ge=0, le=100)]
Amount = Annotated[float, Meta(ge=0, le=1e9)]
Cos = Annotated[float, Meta(ge=0, le=1)]
Percent = Annotated[float, Meta(ge=-1000, le=1000)]
Minutes = Annotated[int, Meta(ge=1, le=60)]
Rounding = Literal["half_up_0", "half_up_1", "half_up_2", "half_up_3", "half_up_4"]
PriceName = Literal["demand", "capacity", "energy", "excess", "hour_over"]


class FloorTable(Table, frozen=True, kw_only=True):
    """A least that is paid for."""

    ratio: Share
    of: Literal["contract", "installed_kva", "highest_11_months"]


class BaseTable(Table, frozen=True, kw_only=True):
    """[demand.base]"""

    kind: Literal["contract", "measured", "contract_or_measured"]
    price: PriceName = "demand"
    floor: tuple[FloorTable, ...] = ()


class BandTable(Table, frozen=True, kw_only=True):
    """A part of the demand, by shares of the contract."""

    from_: Share = field(name="from")
    to: Share | None = None
    mult: Times
    price: PriceName = "demand"


class DiscountTable(Table, frozen=True, kw_only=True):
    """[demand.discount]"""

    kwh_per_kva: Annotated[float, Meta(gt=0, le=1e6)]
    factor: Annotated[float, Meta(gt=0, le=1)]


class DemandTable(Table, frozen=True, kw_only=True):
    """[[demand]]: how a demand or a capacity is measured and paid for."""

    id: Id
    basis: Literal["capacity", "contracted-demand", "actual-demand"]
    unit: Literal["kW", "kVA"]
    interval_min: Minutes
    slide_min: Minutes
    aggregate: Literal["max_month", "max_12m", "sum_sq_sqrt", "hours_over", "limiter"]
    stamp: Literal["end", "start"] = "end"
    restart_on_boundary: bool = True
    base: BaseTable | None = None
    bands: tuple[BandTable, ...] = ()
    gate: Share = 0.0
    limit_ratio: Share | None = None
    power_factor_zero: Annotated[float, Meta(gt=100, le=1000)] | None = None
    prorata: Literal["none", "days/30"] = "none"
    round: Rounding = "half_up_2"
    discount: DiscountTable | None = None


class SegmentTable(Table, frozen=True, kw_only=True):
    """A stretch of an adjustment table."""

    from_: Cos = field(name="from")
    to: Cos
    percent: Percent
    per_hundredth: Percent = 0.0


class PowerFactorTableFile(Table, frozen=True, kw_only=True):
    """[[power_factor]]"""

    id: Id
    standard: Cos
    segments: tuple[SegmentTable, ...]
    round: Rounding = "half_up_2"


class TierTable(Table, frozen=True, kw_only=True):
    """A step of the year."""

    up_to_kwh: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    price: Amount | None = None


class LargeHouseholdTable(Table, frozen=True, kw_only=True):
    """[step.large_household]"""

    persons: Annotated[int, Meta(ge=2, le=20)]
    extra_kwh_month: Amount


class StepTable(Table, frozen=True, kw_only=True):
    """[[step]]"""

    id: Id
    tiers: tuple[TierTable, ...]
    large_household: LargeHouseholdTable | None = None
    round: Rounding = "half_up_2"


class SurchargeTable(Table, frozen=True, kw_only=True):
    """[[surcharge]]"""

    id: Id
    kind: Literal["suspended", "expansion", "category"]
    times: Times
    flat: Amount | None = None
    default_months: Annotated[int, Meta(ge=1, le=120)] | None = None
    round: Rounding = "half_up_2"


class FlatTable(Table, frozen=True, kw_only=True):
    """[[flat]]"""

    id: Id
    kind: Literal["move-resident", "move-other", "feed"]
    amount: Amount
    per: Literal["kVA", "time"]
    round: Rounding = "half_up_2"


class UnmeteredTable(Table, frozen=True, kw_only=True):
    """[[unmetered]]"""

    id: Id
    days: Annotated[int, Meta(ge=1, le=3660)]
    hours_power: Annotated[float, Meta(gt=0, le=24)]
    hours_light: Annotated[float, Meta(gt=0, le=24)]
    times: Times
    current_basis: Literal["basic", "max", "limiter"]
    round: Rounding = "half_up_2"


class PartsTable(Table, frozen=True, kw_only=True):
    """[[parts]]"""

    id: Id
    may_above_kva: Amount
    must_from_kva: Amount


class TariffFile(Table, frozen=True, kw_only=True):
    """A tariff file."""

    tariff: Id
    version: Annotated[int, Meta(ge=1, le=1_000_000)]
    title: Text
    title_zh: Text
    currency: Currency
    source: Text
    demand: tuple[DemandTable, ...] = ()
    power_factor: tuple[PowerFactorTableFile, ...] = ()
    step: tuple[StepTable, ...] = ()
    surcharge: tuple[SurchargeTable, ...] = ()
    flat: tuple[FlatTable, ...] = ()
    unmetered: tuple[UnmeteredTable, ...] = ()
    parts: tuple[PartsTable, ...] = ()


def load_tariff(path: Path) -> tuple[Rule, ...]:
    """The rules of one file. SiteError with everything that is wrong in it."""
    parsed = read_toml(path)
    given = read_table(TariffFile, parsed.raw, (), parsed.report)
    check_tariff(given, path, parsed.report)
    if parsed.report.mistakes:
        raise SiteError(parsed.report.in_order())
    table = msgspec.convert(parsed.raw, TariffFile)
    edition = Edition(table.tariff, table.version, table.currency, digest(parsed.text))
    return (
        *(_demand(t, edition) for t in table.demand),
        *(_power_factor(t, edition) for t in table.power_factor),
        *(_step(t, edition) for t in table.step),
        *(_surcharge(t, edition) for t in table.surcharge),
        *(
            Flat(id=t.id, edition=edition, kind=t.kind, amount=number(t.amount), per=t.per, digits=_digits(t.round))
            for t in table.flat
        ),
        *(_unmetered(t, edition) for t in table.unmetered),
        *(
            Parts(
                id=t.id,
                edition=edition,
                may_above_kva=number(t.may_above_kva),
                must_from_kva=number(t.must_from_kva),
            )
            for t in table.parts
        ),
    )


class Tariffs:
    """The rules of every tariff file there is, by their ids; read when the first is asked for."""

    def __init__(self, files: ConfigFiles) -> None:
        self._files = files
        self._rules: dict[str, Rule] | None = None
        self._broken: list[Mistake] = []

    @property
    def rules(self) -> dict[str, Rule]:
        """Those of the files that can be read; what is wrong in the others, `mistakes` says."""
        if self._rules is None:
            self._rules = {}
            for path in self._files.named("tariffs").values():
                try:
                    self._rules |= {rule.id: rule for rule in load_tariff(path)}
                except SiteError as error:
                    self._broken += error.mistakes
        return self._rules

    def mistakes(self) -> list[Mistake]:
        """What is wrong in the files, if they were read."""
        return list(self._broken)


def terms_of(tables: tuple[TariffTable, ...], config: ConfigFiles) -> dict[str, Terms]:
    """What counts for each class of use that the site file names. SiteError: a tariff file has mistakes by now."""
    if not tables:
        return {}
    tariffs = Tariffs(config)
    rules = tariffs.rules
    if absent := [name for table in tables for name in table.rules if name not in rules]:
        if tariffs.mistakes():
            raise SiteError(tariffs.mistakes())
        raise KeyError(absent[0])
    return {
        table.code: Terms(
            table.code,
            tuple(rules[name] for name in table.rules),
            Prices({(p.of, p.time_class): number(p.amount) for p in table.price}),
            table.new_customers_from,
        )
        for table in tables
    }


def _digits(rounding: str) -> int:
    return int(rounding.rsplit("_", 1)[1])


def _demand(table: DemandTable, edition: Edition) -> DemandRule:
    base, discount, zero, limit = table.base, table.discount, table.power_factor_zero, table.limit_ratio
    return DemandRule(
        id=table.id,
        edition=edition,
        basis=table.basis,
        unit=table.unit,
        interval_min=table.interval_min,
        slide_min=table.slide_min,
        aggregate=table.aggregate,
        stamp=table.stamp,
        restart_on_boundary=table.restart_on_boundary,
        base=None
        if base is None
        else Base(base.kind, base.price, tuple(Floor(number(f.ratio), f.of) for f in base.floor)),
        bands=tuple(
            Band(number(b.from_), None if b.to is None else number(b.to), number(b.mult), b.price) for b in table.bands
        ),
        gate=number(table.gate),
        limit_ratio=None if limit is None else number(limit),
        power_factor_zero=None if zero is None else number(zero),
        prorata=table.prorata,
        digits=_digits(table.round),
        discount=None if discount is None else Discount(number(discount.kwh_per_kva), number(discount.factor)),
    )


def _power_factor(table: PowerFactorTableFile, edition: Edition) -> PowerFactorTable:
    segments = tuple(
        Segment(number(s.from_), number(s.to), number(s.percent), number(s.per_hundredth)) for s in table.segments
    )
    return PowerFactorTable(
        id=table.id,
        edition=edition,
        standard=number(table.standard),
        segments=segments,
        digits=_digits(table.round),
    )


def _step(table: StepTable, edition: Edition) -> StepTariff:
    large = table.large_household
    return StepTariff(
        id=table.id,
        edition=edition,
        tiers=tuple(
            Tier(
                None if t.up_to_kwh is None else number(t.up_to_kwh),
                None if t.price is None else number(t.price),
            )
            for t in table.tiers
        ),
        large_household=None if large is None else LargeHousehold(large.persons, number(large.extra_kwh_month)),
        digits=_digits(table.round),
    )


def _surcharge(table: SurchargeTable, edition: Edition) -> Surcharge:
    return Surcharge(
        id=table.id,
        edition=edition,
        kind=table.kind,
        times=number(table.times),
        flat=None if table.flat is None else number(table.flat),
        default_months=table.default_months,
        digits=_digits(table.round),
    )


def _unmetered(table: UnmeteredTable, edition: Edition) -> Unmetered:
    return Unmetered(
        id=table.id,
        edition=edition,
        days=table.days,
        hours_power=number(table.hours_power),
        hours_light=number(table.hours_light),
        times=number(table.times),
        current_basis=table.current_basis,
        digits=_digits(table.round),
    )
