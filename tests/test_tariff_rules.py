"""Rules of other countries, built here by the same types, and what holds for any rule whatever its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from edge_agent.explain import explain_estimate
from edge_agent.settings import config_files
from edge_agent.settings.tariff import Tariffs
from edge_agent.tariff import (
    NO_PRICES,
    Band,
    Base,
    DemandRule,
    Edition,
    Flat,
    Floor,
    Measured,
    PowerFactorTable,
    Prices,
    Said,
    StepTariff,
    Surcharge,
    Unmetered,
    adjustment_percent,
    capacity_outside,
    category_outside,
    cos_phi,
    demand_charge,
    flat_sum,
    interval_kva,
    kilo,
    limit,
    number,
    power_factor_adjustment,
    step_charge,
    unmetered,
)
from edge_agent.words import languages, sentences
from edge_agent.words.again import again

SHIPPED = Tariffs(config_files()).rules
ZERO = Decimal(0)


def shipped(name: str, kind: type[Any]) -> Any:
    rule = SHIPPED[name]
    assert isinstance(rule, kind)
    return rule


EDITION = Edition("test", 1, "EUR")


def built(**fields: Any) -> DemandRule:
    usual: dict[str, Any] = {
        "id": "x",
        "edition": EDITION,
        "basis": "contracted-demand",
        "unit": "kW",
        "interval_min": 15,
        "slide_min": 15,
        "aggregate": "max_month",
    }
    return DemandRule(**(usual | fields))


def price(demand: str) -> Prices:
    return Prices({("demand", ""): number(demand)})


FR_C4 = built(unit="kVA", aggregate="hours_over", bands=(Band(number(1), None, number(1), "hour_over"),))
FR_HTA = built(
    interval_min=10, slide_min=10, aggregate="sum_sq_sqrt", bands=(Band(number(1), None, number("0.04"), "excess"),)
)
BR = built(base=Base("contract_or_measured"), gate=number("1.05"), bands=(Band(number(1), None, number(2)),))
JP = built(
    interval_min=30, slide_min=30, aggregate="max_12m", base=Base("measured"), power_factor_zero=number(185), digits=0
)
JP_500 = built(
    interval_min=30,
    base=Base("contract"),
    bands=(Band(number(1), None, number("1.5")),),
    power_factor_zero=number(185),
    digits=0,
)
IN = built(
    unit="kVA",
    interval_min=30,
    base=Base(
        "measured", floors=(Floor(number("0.75"), "highest_11_months"), Floor(number("0.5"), "contract"))
    ),
    bands=(Band(number(1), None, number("1.5")),),
)  # fmt: skip
ES_4_5 = built(base=Base("contract"), bands=(Band(number(1), None, number(2), "excess"),), prorata="days/30")
ES_1_3 = built(aggregate="sum_sq_sqrt", bands=(Band(number(1), None, number("0.5"), "excess"),))
FR_36 = built(unit="kVA", aggregate="limiter", limit_ratio=number(1))
IT = built(aggregate="limiter", limit_ratio=number("1.10"))


def numbers(*values: float | str) -> tuple[Decimal, ...]:
    return tuple(number(v) for v in values)


def test_v16_france_c4_pays_for_the_hours_over():
    prices = Prices({("hour_over", ""): number("11.75")})
    assert demand_charge(FR_C4, Measured(hours_over=number(7)), prices).total == number("82.25")
    quarters = Measured(contract=number(50), intervals=numbers(*[60] * 28, *[50] * 9))
    assert demand_charge(FR_C4, quarters, prices).total == number("82.25"), "28 quarter hours over 50 kVA"


def test_v16_france_hta_pays_the_root_of_the_squares():
    measured = Measured(contract=number(100), intervals=numbers(105, 112, 100, 109))
    estimate = demand_charge(FR_HTA, measured, Prices({("excess", ""): number(20)}))
    assert estimate.total == number("12.65")


def test_france_hta_is_reckoned_by_class_of_time():
    prices = Prices({("excess", "P"): number(20), ("excess", ""): number(10)})
    over = numbers(105, 112, 100, 109)
    estimate = demand_charge(
        FR_HTA, [Measured(contract=number(100), intervals=over, time_class=c) for c in ("P", "HC")], prices
    )
    assert [c.amount for c in estimate.components] == [number("12.65"), number("6.32")]
    assert "class P" in "\n".join(explain_estimate(estimate))


@pytest.mark.parametrize(("kw", "total"), [(225, "8250.00"), (208, "6240.00"), (190, "6000.00"), (210, "6300.00")])
def test_v16_brazil_tolerates_five_per_cent(kw: int, total: str):
    assert demand_charge(BR, Measured(contract=number(200), demand=number(kw)), price("30")).total == number(total)


def test_v16_japan_pays_the_highest_of_twelve_months_by_power_factor():
    month = Measured(demand=number(97), highest_11_months=number(120), power_factor_percent=number(92))
    assert demand_charge(JP, month, price("1890")).total == number(210_924)
    first = demand_charge(JP, Measured(demand=number(120), power_factor_percent=number(92)), price("1890"))
    assert first.total == number(210_924)
    assert [n.code for n in first.notes] == ["tariff.note.history"]
    unknown = demand_charge(JP, Measured(demand=number(120), highest_11_months=number(97)), price("1890"))
    assert unknown.total is None


def test_japan_from_500_kw_pays_the_excess_one_and_a_half_times():
    month = Measured(contract=number(600), demand=number(640), power_factor_percent=number(100))
    estimate = demand_charge(JP_500, month, price("1000"))
    assert [c.amount for c in estimate.components] == [number(510_000), number(51_000)]


@pytest.mark.parametrize(
    ("demand", "highest", "total"),
    [("130", "100", "87500.00"), ("60", "100", "37500.00"), ("30", "40", "25000.00")],
    ids=["over the contract", "75 % of the highest", "50 % of the contract"],
)
def test_india_has_two_leasts(demand: str, highest: str, total: str):
    month = Measured(contract=number(100), demand=number(demand), highest_11_months=number(highest))
    assert demand_charge(IN, month, price("500")).total == number(total)


def test_spain_now_small_meters_pay_twice_the_excess_by_days():
    prices = Prices({("demand", ""): number("0.5"), ("excess", ""): number("1.4064")})
    estimate = demand_charge(ES_4_5, Measured(contract=number(30), demand=number(35)), prices, days=31)
    assert estimate.amount("base") == number("15.50")
    assert estimate.amount("excess") == number("14.53")  # 2 x 5 kW x 1.4064 x 31/30 = 14.5328


def test_spain_now_large_meters_pay_the_root_of_the_squares():
    measured = Measured(contract=number(100), intervals=numbers(103, 104, 90))
    estimate = demand_charge(ES_1_3, measured, Prices({("excess", ""): number("1.4064")}))
    assert estimate.total == number("3.52")  # 0.5 x 5 x 1.4064 = 3.516


def test_what_is_over_may_begin_above_the_contract():
    rule = built(aggregate="sum_sq_sqrt", bands=(Band(number("1.1"), None, number(1), "excess"),))
    measured = Measured(contract=number(100), intervals=numbers(113, 114, 110, 105))
    assert demand_charge(rule, measured, Prices({("excess", ""): number(1)})).total == number(5)


def test_the_higher_of_two_leasts_is_the_contract():
    base = Base("contract", floors=(Floor(number("0.3"), "installed_kva"), Floor(number("0.9"), "highest_11_months")))
    month = Measured(contract=number(50), installed_kva=number(200), highest_11_months=number(100))
    assert demand_charge(built(base=base), month, price("1")).total == number(90)


def test_a_part_without_its_price_has_no_sum():
    prices = Prices({("excess", "P1"): number(2)})
    parts = [Measured(contract=number(100), intervals=numbers(103), time_class=c) for c in ("P1", "P2")]
    estimate = demand_charge(ES_1_3, parts, prices)
    assert [c.amount for c in estimate.components] == [number(3), None]
    assert estimate.amount("excess") is estimate.total is None


def test_v16_united_kingdom_kva_of_a_half_hour():
    assert round(interval_kva(number(150), number(60), 30), 2) == number("323.11")


def test_where_the_supply_trips_nothing_is_charged():
    assert limit(FR_36, number(9)) == number(9)
    assert limit(IT, number(3)) == number("3.3")
    assert limit(BR, number(3)) is None
    estimate = demand_charge(IT, Measured(contract=number(3), demand=number(4)), price("30"))
    assert (estimate.components, estimate.total) == ((), None)
    assert "3.3 kW" in "\n".join(explain_estimate(estimate))


def test_v10_without_a_word_for_spain_85_and_105_are_data():
    rule = shipped("es-85-105", DemandRule)
    assert rule.base == Base("measured", floors=(Floor(number("0.85"), "contract"),))
    assert rule.bands == (Band(number("1.05"), None, number(2)),)


# --- what holds for any rule -----------------------------------------------------------------------------------------

ANY = [rule for rule in SHIPPED.values() if isinstance(rule, DemandRule)]
SMOOTH = [rule for rule in ANY if not rule.gate] + [IN, ES_4_5]
KW = st.decimals(min_value=0, max_value=2000, places=3)
CONTRACT = st.decimals(min_value=1, max_value=1000, places=1)


def charged(rule: DemandRule, contract: Decimal, demand: Decimal) -> Decimal:
    """What is paid for before rounding: prices of 1 for everything."""
    prices = Prices({(of, ""): Decimal(1) for of in ("demand", "capacity", "excess", "energy", "hour_over")})
    measured = Measured(contract=contract, demand=demand, power_factor_percent=Decimal(85))
    estimate = demand_charge(rule, measured, prices)
    assert estimate.total is not None
    return estimate.quantity


@given(st.sampled_from([*ANY, BR, IN, ES_4_5]), CONTRACT, KW, KW)
def test_more_demand_is_never_cheaper(rule: DemandRule, contract: Decimal, one: Decimal, other: Decimal):
    """So the lower bound of a demand gives the least that can be said."""
    low, high = sorted((one, other))
    event("over the contract" if high > contract else "under it")
    assert charged(rule, contract, low) <= charged(rule, contract, high)


def borders(rule: DemandRule) -> Iterator[Decimal]:
    for band in rule.bands:
        yield band.start
        if band.end is not None:
            yield band.end
    if rule.base is not None:
        yield from (floor.ratio for floor in rule.base.floors if floor.of == "contract")


@given(st.sampled_from([r for r in SMOOTH if any(borders(r))]), CONTRACT, st.data())
def test_no_jump_at_a_border(rule: DemandRule, contract: Decimal, data: st.DataObject):
    """A watt more costs a few watts more, at every border; only a gate may jump."""
    border = data.draw(st.sampled_from(sorted(borders(rule)))) * contract
    event(f"{rule.id}")
    watt = Decimal("0.001")
    steepest = 1 + sum(band.times for band in rule.bands)
    assert charged(rule, contract, border + watt) - charged(rule, contract, border - watt) <= 2 * watt * steepest


def test_a_gate_jumps_and_by_how_much():
    for rule in (shipped("cn-demand-from-contract", DemandRule), BR):
        before, after = charged(rule, Decimal(100), Decimal(105)), charged(rule, Decimal(100), Decimal("105.001"))
        assert Decimal(10) <= after - before < Decimal("10.01"), rule.id


@given(CONTRACT, KW, st.decimals(min_value="0.01", max_value=99, places=4), st.integers(0, 60), st.integers(0, 60))
def test_parts_of_a_month_add_up_whatever_the_order(
    contract: Decimal, demand: Decimal, rate: Decimal, first: int, second: int
):
    """Days before bands or after, in one part or two: the same sum, but for the last cent of each rounding."""
    rule, measured = shipped("cn-demand", DemandRule), Measured(contract=contract, demand=demand)
    prices = Prices({("demand", ""): rate})

    def total(days: int | None) -> Decimal:
        found = demand_charge(rule, measured, prices, days=days).total
        assert found is not None
        return found

    cent = Decimal("0.01")
    event("with excess" if demand > rule.bands[0].start * contract else "without")
    assert abs(total(first) + total(second) - total(first + second)) <= 3 * cent
    assert total(30) == total(None)
    assert total(0) == 0
    scaled = Prices({("demand", ""): rate * first / 30})
    by_price = demand_charge(rule, measured, scaled).total
    assert by_price is not None
    assert abs(by_price - total(first)) <= cent


@given(st.sampled_from(["cn-pf-90", "cn-pf-85", "cn-pf-80"]), st.integers(0, 99))
def test_a_better_power_factor_never_costs_more(name: str, hundredths: int):
    table = shipped(name, PowerFactorTable)
    worse, better = (adjustment_percent(table, Decimal(n) / 100) for n in (hundredths, hundredths + 1))
    assert better <= worse
    event("past the standard" if Decimal(hundredths) / 100 >= table.standard else "below it")


@settings(max_examples=200)
@given(st.floats(0, 1e7), st.floats(0, 1e7))
def test_every_power_factor_has_a_line(active: float, reactive: float):
    cos = cos_phi(number(active), number(reactive))
    if cos is None:
        event("nothing used")
        return
    event("some line")
    for name in ("cn-pf-90", "cn-pf-85", "cn-pf-80"):
        adjustment_percent(shipped(name, PowerFactorTable), cos)


@given(
    st.sampled_from(["cn-zj-step", "cn-jx-step"]),
    st.decimals(0, 9000, places=2),
    st.decimals(0, 9000, places=2),
    st.sampled_from([None, 3, 6]),
)
def test_steps_taken_month_by_month_are_those_of_the_year(
    name: str, first: Decimal, then: Decimal, persons: int | None
):
    step = shipped(name, StepTariff)
    whole = step_charge(step, first + then, persons=persons)
    parts = [step_charge(step, first, persons=persons), step_charge(step, then, first, persons=persons)]
    assert sum(p.quantity for p in parts) == whole.quantity == first + then
    totals = [p.total or ZERO for p in parts]
    assert abs(sum(totals, ZERO) - (whole.total or ZERO)) <= Decimal("0.03")
    event(f"{len(whole.components)} step(s)")


@given(st.sampled_from([*ANY, FR_C4, FR_HTA, BR, JP, JP_500, IN, ES_4_5, ES_1_3, IT]), CONTRACT, KW, st.booleans())
def test_without_prices_no_money_is_named(rule: DemandRule, contract: Decimal, demand: Decimal, full: bool):
    measured = Measured(contract=contract, demand=demand, intervals=(demand,), power_factor_percent=Decimal(90))
    estimate = demand_charge(rule, measured if full else Measured(), NO_PRICES)
    event("silent with quantities" if estimate.components else "nothing to reckon")
    assert estimate.total is None
    for lang in languages():
        text = "\n".join(explain_estimate(estimate, lang))
        assert estimate.edition.currency not in text
        assert {"en": "not a bill", "zh": "不是账单"}[lang] in text


def test_a_float_is_the_number_that_was_written():
    assert number(0.1) == Decimal("0.1")
    assert number(236.2) * 100 == Decimal(23620)
    for none in (float("nan"), float("inf"), "NaN"):
        with pytest.raises(ValueError, match="no number"):
            number(none)


@given(st.floats(0, 1e9))
def test_a_lower_bound_stays_one(watts: float):
    assert watts / 1000 - 0.001 - 1e-6 <= float(kilo(watts))
    assert kilo(watts) * 1000 <= number(watts)


# --- words -----------------------------------------------------------------------------------------------------------


def codes(said: Said) -> Iterator[str]:
    yield said.code
    for value in said.fields.values():
        if isinstance(value, Said):
            yield from codes(value)


def test_every_sentence_about_an_estimate_is_said_by_one():
    """And with its fields: `explain_estimate` fails where one is missing."""
    one, ten = Decimal(1), Decimal(10)
    prices = Prices({("demand", ""): one, ("capacity", ""): one, ("excess", ""): one, ("energy", ""): one})
    month = Measured(
        contract=ten,
        demand=Decimal(20),
        installed_kva=Decimal(100),
        energy_kwh=Decimal(26_000),
        power_factor_percent=Decimal(90),
        intervals=(Decimal(20),),
        time_class="P1",
    )
    bare = Measured(contract=ten, demand=Decimal(4))
    expansion, unmetered_rule = shipped("cn-expansion", Surcharge), shipped("cn-unmetered", Unmetered)
    table = shipped("cn-pf-90", PowerFactorTable)
    estimates = [
        *(demand_charge(rule, month, prices, days=3) for rule in [*ANY, FR_C4, FR_HTA, BR, JP, IN, IT]),
        *(demand_charge(rule, bare, prices) for rule in [*ANY, JP, IN]),
        *(demand_charge(rule, Measured(), prices) for rule in [*ANY, IT]),
        demand_charge(ANY[0], bare),
        power_factor_adjustment(table, ten, ten, ten),
        power_factor_adjustment(table, ten, ten),
        power_factor_adjustment(table, ZERO, ZERO),
        capacity_outside(expansion, ten, 3, prices, two_part=True),
        capacity_outside(expansion, ten, 3, prices, two_part=False),
        capacity_outside(shipped("cn-category", Surcharge), ten, 3, prices, two_part=False),
        category_outside(shipped("cn-category", Surcharge), ten, one, ten),
        flat_sum(shipped("cn-feed", Flat), ten),
        unmetered(unmetered_rule, ten, "power", prices),
        step_charge(shipped("cn-zj-step", StepTariff), Decimal(5000)),
    ]
    for lang in languages():
        assert all(explain_estimate(estimate, lang) for estimate in estimates)
    for estimate in estimates:
        english, chinese = (explain_estimate(estimate, lang) for lang in ("en", "zh"))
        assert [again(line, "tariff.", "zh") for line in english] == chinese, "said again from its English"
    said = {code for estimate in estimates for line in estimate.said() for code in codes(line)}
    assert said == {code for code in sentences("en") if code.startswith("tariff.")}
