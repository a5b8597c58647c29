"""What an estimate says: its arithmetic in words, and that it is not a bill."""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    "tariff.estimate": "Estimate, not a bill, under the rule {rule}:",
    "tariff.total": "Together {amount} {currency} (estimate, not a bill).",
    "tariff.total_at_most": "Together at most {amount} {currency} (estimate, not a bill).",
    "tariff.silent": "No price is known for all of this: no sum is named.",
    # one summand
    "tariff.line": "{name}: {how} x {price} {currency}{factors} = {amount} {currency}.",
    "tariff.line.silent": "{name}: {how}{factors}; no price is known.",
    "tariff.line.adjustment": "{how}: on {bill} {currency} that is {amount} {currency}.",
    "tariff.line.surcharge": "{name}: {how}: at most {amount} {currency}.",
    "tariff.part.base": "Demand charge",
    "tariff.part.capacity": "Capacity charge",
    "tariff.part.excess": "Over the contract",
    "tariff.part.power_factor": "Power factor",
    "tariff.part.step": "Energy",
    "tariff.part.made_up": "To be made up",
    "tariff.part.surcharge": "On top, as the rule allows",
    "tariff.part.flat": "Flat sum",
    # where a quantity comes from
    "tariff.quantity": "{quantity} {unit}",
    "tariff.classed": "class {class}: {how}",
    "tariff.base.contract": "{quantity} {unit} as contracted",
    "tariff.base.measured": "{quantity} {unit} as measured",
    "tariff.base.floor": "{quantity} {unit}, the least that is paid for",
    "tariff.band": "({end} - {start}) {unit} x {times}",
    "tariff.root": "root of the sum of squares of what intervals were over, {over} {unit}, x {times}",
    "tariff.hours_over": "{hours} h over the contract x {times}",
    "tariff.power_factor": "Power factor {cos} against the standard of {standard}: {sign}{percent} %",
    "tariff.step": "step {number}: {quantity} kWh",
    "tariff.unmetered": "{kw} kW x {days} days x {hours} h = {quantity} kWh",
    "tariff.times_amount": "{times} x {amount}",
    # factors
    "tariff.nothing": "",
    "tariff.times": " x {factor}{rest}",
    "tariff.factor.days": "{days} / {of} days",
    "tariff.factor.power_factor": "({zero} - {pf}) / 100",
    "tariff.factor.discount": "{factor}",
    # what changed a figure, or is not known
    "tariff.note.contract_floor": (
        "The contracted {contract} {unit} are below the least that may be contracted; reckoned with {floor} {unit}."
    ),
    "tariff.note.discount": "{rate} kWh for each kVA in the month reach {least}: the demand price is reduced.",
    "tariff.note.discount_unknown": (
        "Whether the month has {least} kWh for each kVA is not known: reckoned without the reduction."
    ),
    "tariff.note.whole_month": "The rule counts whole months: reckoned with one.",
    "tariff.note.history": "The eleven months before are not known: reckoned with this month alone.",
    "tariff.note.unknown": "Nothing can be reckoned: {what} is not known.",
    "tariff.note.limiter": "The supply trips at {limit} {unit}; nothing is charged for it.",
    "tariff.note.household": (
        "How many persons live there is not known: households of {persons} and more have higher steps."
    ),
    "tariff.note.default_months": "Where the beginning cannot be established, {months} months are reckoned.",
    "tariff.note.time_assumed": "The time is not known: the rule assumes {days} days.",
    "tariff.what.contract": "the contract",
    "tariff.what.demand": "the demand",
    "tariff.what.power_factor": "the power factor",
    "tariff.what.energy": "the month's energy",
    "tariff.what.flat": "a flat sum for this class of use",
}
