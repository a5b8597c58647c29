"""Every shipped rule's vectors to the cent, and what an estimate says about them in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tomli

from edge_agent.explain import explain_estimate
from edge_agent.load.ledger import LoadLedger
from edge_agent.load.points import LoadPoint
from edge_agent.model import Quantity, Reading
from edge_agent.settings import config_files
from edge_agent.settings.tariff import Tariffs
from edge_agent.tariff import (
    DemandRule,
    Edition,
    Estimate,
    Flat,
    Measured,
    Parts,
    PowerFactorTable,
    Prices,
    Rule,
    StepTariff,
    Surcharge,
    Unmetered,
    adjustment_percent,
    capacity_outside,
    category_outside,
    cos_phi,
    demand_charge,
    flat_sum,
    meter_capacity_kw,
    number,
    power_factor_adjustment,
    standing,
    step_charge,
    unmetered,
    unmetered_kwh,
)
from edge_agent.words import languages, sentences
from edge_agent.words.again import again

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
        assert "\n".join(again(line, "tariff.", lang) for line in explain_estimate(estimate)) == text
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
    assert all(component.quantity for component in estimate.components), "nothing is said of what is not there"
    if "notes" in case:
        assert sorted(note.code.rsplit(".", 1)[1] for note in estimate.notes) == sorted(case["notes"])


@pytest.mark.parametrize("case", cases("power_factor"))
def test_a_power_factor_changes_the_bill_as_the_table_says(case: dict[str, Any]):
    table = rule_of(case, PowerFactorTable)
    active, reactive = number(case["active_kwh"]), number(case["reactive_kvarh"])
    assert str(cos_phi(active, reactive)) == case["cos"]
    estimate = power_factor_adjustment(table, active, reactive, optional(case, "bill"))
    sign = "+" if number(case["percent"]) > 0 else ""
    assert f": {sign}{number(case['percent']).normalize():f} %" in "\n".join(explain_estimate(estimate))
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
    assert estimate.quantity == number(case["quantity"]), "what is asked on top is no capacity"
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
        edition=Edition("test", 1, "CNY"),
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


# --- words -----------------------------------------------------------------------------------------------------------


def test_an_estimate_speaks_chinese_throughout():
    english = {code for code in sentences("en") if code.startswith("tariff.")}
    assert len(english) > 40
    assert english == {code for code in sentences("zh") if code.startswith("tariff.")}


def test_the_arithmetic_can_be_followed():
    rule = rule_of({"rule": "cn-demand"}, DemandRule)
    measured = Measured(contract=number(800), demand=number(900), energy_kwh=number(9), installed_kva=number(1250))
    estimate = demand_charge(rule, measured, Prices({("demand", ""): number(40)}), days=17)
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
