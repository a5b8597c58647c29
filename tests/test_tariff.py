"""Contract rules: every shipped rule's vectors to the cent, rules of other countries by the same types, and what holds
for any rule whatever its numbers."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tomli
from hypothesis import event, given, settings
from hypothesis import strategies as st

from edge_agent.explain import explain_estimate
from edge_agent.load.ledger import LoadLedger
from edge_agent.load.points import LoadPoint
from edge_agent.model import Quantity, Reading
from edge_agent.settings import config_files
from edge_agent.settings.tariff import Tariffs
from edge_agent.tariff import (
    NO_PRICES,
    Band,
    Base,
    DemandRule,
    Edition,
    Estimate,
    Flat,
    Floor,
    Measured,
    Parts,
    PowerFactorTable,
    Prices,
    Rule,
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
    limit,
    meter_capacity_kw,
    number,
    power_factor_adjustment,
    standing,
    step_charge,
    unmetered,
    unmetered_kwh,
)
from edge_agent.words import languages, sentences

FOLDER = Path(__file__).parent / "vectors/tariffs"
SHIPPED = Tariffs(config_files())
RULES: dict[str, Rule] = SHIPPED.rules
ZERO = Decimal(0)


def cases(kind: str) -> list[Any]:
    """Every case of a kind in the vectors of the shipped rules."""
    found = []
    for path in sorted(FOLDER.glob("*.toml")):
        for case in tomli.loads(path.read_text(encoding="utf-8")).get(kind, []):
            found.append(pytest.param(case, id=f"{case['rule']}: {case.get('name', kind)}"))
    assert found, f"no vector of a {kind}"
    return found


def rule_of(case: Mapping[str, Any], kind: type[Any]) -> Any:
    rule = RULES[case["rule"]]
    assert isinstance(rule, kind)
    return rule


def prices_of(case: Mapping[str, Any]) -> Prices:
    return Prices({(of, ""): number(amount) for of, amount in case.get("prices", {}).items()})


def optional(case: Mapping[str, Any], key: str) -> Decimal | None:
    return number(case[key]) if key in case else None


def money_is(estimate: Estimate, case: Mapping[str, Any]) -> None:
    """To the cent and with two decimals; a case without a total is silent about money, and says so."""
    assert estimate.total == optional(case, "total")
    for name in ("base", "capacity", "excess", "made_up", "surcharge", "flat"):
        if isinstance(case.get(name), str):
            assert str(estimate.amount(name)) == case[name]
    said = [line.code for line in estimate.said()]
    assert said[0] == "tariff.estimate"
    assert ("tariff.total" in said or "tariff.total_at_most" in said) == ("total" in case)
    for lang in languages():
        text = "\n".join(explain_estimate(estimate, lang))
        assert estimate.name in text
        assert {"en": "not a bill", "zh": "不是账单"}[lang] in text
        if "total" in case:
            assert case["total"] in text


def test_every_shipped_tariff_can_be_read():
    assert [m.sentence() for m in SHIPPED.mistakes()] == []
    assert {rule.edition.tariff for rule in RULES.values()} == {path.stem for path in FOLDER.glob("*.toml")} - {"slips"}


def test_every_shipped_rule_has_a_vector():
    kinds = ("demand", "power_factor", "step", "capacity_outside", "category_outside", "flat", "unmetered", "parts")
    proved = {p.values[0]["rule"] for kind in kinds for p in cases(kind)}
    assert proved == set(RULES)


@pytest.mark.parametrize("case", cases("demand"))
def test_a_demand_is_charged_as_the_rule_says(case: dict[str, Any]):
    measured = Measured(
        contract=optional(case, "contract"),
        demand=optional(case, "demand"),
        installed_kva=optional(case, "installed_kva"),
        energy_kwh=optional(case, "energy_kwh"),
    )
    estimate = demand_charge(rule_of(case, DemandRule), measured, prices_of(case), days=case.get("days"))
    assert estimate.quantity == number(case["quantity"])
    money_is(estimate, case)
    if "notes" in case:
        assert sorted(note.code.rsplit(".", 1)[1] for note in estimate.notes) == sorted(case["notes"])


@pytest.mark.parametrize("case", cases("power_factor"))
def test_a_power_factor_changes_the_bill_as_the_table_says(case: dict[str, Any]):
    table = rule_of(case, PowerFactorTable)
    active, reactive = number(case["active_kwh"]), number(case["reactive_kvarh"])
    assert str(cos_phi(active, reactive)) == case["cos"]
    estimate = power_factor_adjustment(table, active, reactive, optional(case, "bill"))
    assert estimate.components[0].quantity == number(case["percent"])
    money_is(estimate, case)


@pytest.mark.parametrize("case", cases("table"))
def test_the_adjustment_table_is_the_printed_one(case: dict[str, Any]):
    table = rule_of(case, PowerFactorTable)
    assert len(case["lines"]) >= 40
    for line in case["lines"]:
        cos, percent = line.split()
        assert adjustment_percent(table, Decimal(cos)) == Decimal(percent), line
    lowest = Decimal(case["lines"][-1].split()[0])
    below = [adjustment_percent(table, Decimal(n) / 100) for n in range(int(lowest * 100), -1, -1)]
    assert {high - low for low, high in pairwise(below)} == {Decimal(2)}


def test_nothing_used_has_no_power_factor():
    table = rule_of({"rule": "cn-pf-90"}, PowerFactorTable)
    estimate = power_factor_adjustment(table, ZERO, ZERO, number(100))
    assert estimate.total is None
    assert [note.code for note in estimate.notes] == ["tariff.note.unknown"]


@pytest.mark.parametrize("case", cases("step"))
def test_a_household_pays_by_steps(case: dict[str, Any]):
    estimate = step_charge(
        rule_of(case, StepTariff),
        number(case["energy_kwh"]),
        number(case.get("before_kwh", 0)),
        persons=case.get("persons"),
        months=case.get("months", 12),
    )
    assert [c.quantity for c in estimate.components] == [number(kwh) for kwh in case["parts"]]
    assert ("tariff.note.household" in [n.code for n in estimate.notes]) == ("persons" not in case)
    money_is(estimate, case)


@pytest.mark.parametrize("case", cases("standing"))
def test_a_household_stands_on_a_step(case: dict[str, Any]):
    for kwh, step, left in zip(case["year_kwh"], case["number"], case["left_kwh"], strict=True):
        found = standing(rule_of(case, StepTariff), number(kwh))
        assert (found.number, found.left_kwh) == (step, None if left == -1 else number(left)), kwh


@pytest.mark.parametrize("case", cases("capacity_outside"))
def test_capacity_outside_of_what_was_agreed(case: dict[str, Any]):
    estimate = capacity_outside(
        rule_of(case, Surcharge), number(case["quantity"]), case["days"], prices_of(case), two_part=case["two_part"]
    )
    assert estimate.components[0].quantity == number(case["quantity"])
    assert estimate.at_most == ("surcharge" in case), "what is asked on top may be less, and it is said"
    money_is(estimate, case)


@pytest.mark.parametrize("case", cases("category_outside"))
def test_energy_at_the_price_of_another_class(case: dict[str, Any]):
    estimate = category_outside(
        rule_of(case, Surcharge), number(case["energy_kwh"]), optional(case, "agreed"), optional(case, "due")
    )
    assert estimate.components[0].quantity == number(case["energy_kwh"])
    money_is(estimate, case)


@pytest.mark.parametrize("case", cases("flat"))
def test_a_flat_sum(case: dict[str, Any]):
    money_is(flat_sum(rule_of(case, Flat), number(case["quantity"])), case)


@pytest.mark.parametrize("case", cases("unmetered"))
def test_energy_that_no_meter_counted(case: dict[str, Any]):
    rule = rule_of(case, Unmetered)
    assert unmetered_kwh(rule, number(case["kw"]), case["use"], days=case.get("days")) == number(case["kwh"])
    estimate = unmetered(rule, number(case["kw"]), case["use"], prices_of(case), days=case.get("days"))
    assert estimate.components[0].quantity == number(case["kwh"])
    assert ("tariff.note.time_assumed" in [n.code for n in estimate.notes]) == ("days" not in case)
    money_is(estimate, case)


@pytest.mark.parametrize(
    ("basis", "limiter_kw", "kw"),
    [("basic", None, "79.2"), ("max", None, "316.8"), ("basic", "50", "50"), ("limiter", None, None)],
)
def test_v09_the_current_that_stands_for_a_load_matters_fourfold(basis: Any, limiter_kw: str | None, kw: str | None):
    rule = Unmetered(
        id="x",
        edition=EDITION,
        days=180,
        hours_power=number(12),
        hours_light=number(6),
        times=number(3),
        current_basis=basis,
    )
    found = meter_capacity_kw(
        rule,
        phases=3,
        volts=number(220),
        basic_a=number("1.5"),
        max_a=number(6),
        k=number(80),
        limiter_kw=None if limiter_kw is None else number(limiter_kw),
    )
    assert found == (None if kw is None else number(kw))


@pytest.mark.parametrize("case", cases("parts"))
def test_who_pays_for_demand_or_capacity(case: dict[str, Any]):
    rule = rule_of(case, Parts)
    for answer in ("single", "either", "two"):
        assert case[answer]
        assert {rule.allowed(number(kva)) for kva in case[answer]} == {answer}


def test_v05_the_energy_of_a_month_with_a_ct_change_is_k_by_k():
    """620 kWh at 80 and 360 at 120; this energy is what power factor and steps are reckoned with."""
    day_ms = 86_400_000
    point = LoadPoint(
        id="factory",
        device="m1",
        period_ms=900_000,
        slide_ms=900_000,
        poll_ms=60_000,
        k=((0, 80.0), (75 * day_ms, 120.0)),
        s_cap_va=((0, 277_128.0), (75 * day_ms, 415_692.0)),
        changes_ms=(75 * day_ms,),
        modulus={Quantity.ACTIVE_ENERGY_IMPORT: 1_000_000_000.0},
        quantities=frozenset({Quantity.ACTIVE_ENERGY_IMPORT}),
        has_serial=False,
    )
    ledger = LoadLedger([point])
    for day, kwh in ((60, 1000.0), (75, 1620.0), (91, 1980.0)):
        reading = Reading("m1", Quantity.ACTIVE_ENERGY_IMPORT, kwh * 1000, 10.0, day * day_ms, None)
        ledger.feed([(reading, day * day_ms)])
    month_wh = ledger.energy_wh("factory", Quantity.ACTIVE_ENERGY_IMPORT)
    assert month_wh == 92_800_000.0
    table = rule_of({"rule": "cn-pf-90"}, PowerFactorTable)
    adjusted = power_factor_adjustment(table, number(month_wh) / 1000, number(50_000), number(70_000))
    assert adjusted.total == number("700.00")


# --- other countries: their rules are built here, by the same types --------------------------------------------------

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
    rule = rule_of({"rule": "es-85-105"}, DemandRule)
    assert rule.base == Base("measured", floors=(Floor(number("0.85"), "contract"),))
    assert rule.bands == (Band(number("1.05"), None, number(2)),)


# --- what holds for any rule -----------------------------------------------------------------------------------------

ANY = [rule for rule in RULES.values() if isinstance(rule, DemandRule)]
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
    for rule in (rule_of({"rule": "cn-demand-from-contract"}, DemandRule), BR):
        before, after = charged(rule, Decimal(100), Decimal(105)), charged(rule, Decimal(100), Decimal("105.001"))
        assert Decimal(10) <= after - before < Decimal("10.01"), rule.id


@given(CONTRACT, KW, st.decimals(min_value="0.01", max_value=99, places=4), st.integers(0, 60), st.integers(0, 60))
def test_parts_of_a_month_add_up_whatever_the_order(
    contract: Decimal, demand: Decimal, rate: Decimal, first: int, second: int
):
    """Days before bands or after, in one part or two: the same sum, but for the last cent of each rounding."""
    rule, measured = rule_of({"rule": "cn-demand"}, DemandRule), Measured(contract=contract, demand=demand)
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
    table = rule_of({"rule": name}, PowerFactorTable)
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
        adjustment_percent(rule_of({"rule": name}, PowerFactorTable), cos)


@given(
    st.sampled_from(["cn-zj-step", "cn-jx-step"]),
    st.decimals(0, 9000, places=2),
    st.decimals(0, 9000, places=2),
    st.sampled_from([None, 3, 6]),
)
def test_steps_taken_month_by_month_are_those_of_the_year(
    name: str, first: Decimal, then: Decimal, persons: int | None
):
    step = rule_of({"rule": name}, StepTariff)
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


# --- words -----------------------------------------------------------------------------------------------------------


def codes(said: Said) -> Iterator[str]:
    yield said.code
    for value in said.fields.values():
        if isinstance(value, Said):
            yield from codes(value)


def test_an_estimate_speaks_chinese_throughout():
    english = {code for code in sentences("en") if code.startswith("tariff.")}
    assert len(english) > 40
    assert english == {code for code in sentences("zh") if code.startswith("tariff.")}


def test_the_arithmetic_can_be_followed():
    rule = rule_of({"rule": "cn-demand"}, DemandRule)
    measured = Measured(contract=number(800), demand=number(900), energy_kwh=number(9), installed_kva=number(1250))
    estimate = demand_charge(rule, measured, price("40"), days=17)
    assert explain_estimate(estimate) == [
        "Estimate, not a bill, under the rule cn/cn-demand@1:",
        "Demand charge: 800 kW as contracted x 40 CNY x 17 / 30 days = 18133.33 CNY.",
        "Over the contract: (900 - 840) kW x 2 x 40 CNY x 17 / 30 days = 2720.00 CNY.",
        "Together 20853.33 CNY (estimate, not a bill).",
    ]
    assert explain_estimate(estimate, "zh") == [
        "按规则 cn/cn-demand@1 估算（仅为估算，不是账单）：",
        "需量电费：合同值 800 kW × 40 CNY × 17 / 30 天 = 18133.33 CNY。",
        "超出合同部分：（900 - 840）kW × 2 × 40 CNY × 17 / 30 天 = 2720.00 CNY。",
        "合计 20853.33 CNY（仅为估算，不是账单）。",
    ]


def test_no_field_is_left_over_and_none_is_missing():
    """Every sentence that an estimate uses names only fields that it carries."""
    fields = {
        code: {name for _, name, _, _ in string.Formatter().parse(text) if name}
        for code, text in sentences("en").items()
        if code.startswith("tariff.")
    }
    estimates = [
        demand_charge(
            rule,
            Measured(
                contract=Decimal(10), demand=Decimal(20), power_factor_percent=Decimal(90), intervals=(Decimal(20),)
            ),
            price("1"),
            days=3,
        )
        for rule in [*ANY, FR_C4, FR_HTA, JP, IT]
    ]
    used = {code for estimate in estimates for line in estimate.said() for code in codes(line)}
    assert len(used) > 15
    assert used <= fields.keys()
