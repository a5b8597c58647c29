"""What a finding about capacity, its price or the archive of a contract says to a person; and why none can be made."""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    # titles
    "finding.title.cap-demand-forecast": "The running interval may end above the contracted demand",
    "finding.title.cap-expansion-suspect": "Suspected expansion of capacity without consent",
    "finding.title.cap-overload-sustained": "Sustained overload",
    "finding.title.cap-reverse-overload": "Heavy load or overload by what is given out",
    "finding.title.cap-suspended-use": "Suspected use of capacity that is suspended or reduced",
    "finding.title.cap-thermal": "The transformer is warm by its load, or ages faster than normal",
    "finding.title.tar-capacity-rule": "The way of charging does not fit the size of the supply",
    "finding.title.tar-class-shape": "The load looks like another class of use than the contract's",
    "finding.title.tar-export-undeclared": "Energy is given out and no generation is declared",
    "finding.title.tar-pf": "Power factor of the month below the standard",
    "finding.title.tar-step-tier": "The year's energy is near a step of the tariff, or past it",
    # what was seen
    "finding.seen.cap-demand-forecast": (
        "At {end}, {elapsed_s} s into the interval, the load of point {point} would carry its demand to {projected} or "
        "more if it went on like this; contracted are {contracted}, and {rule} leaves {free} of it free."
    ),
    "finding.seen.cap-expansion-suspect": (
        "Up to {end}, the daily peaks of point {point} stand at least {times} times as high as before, suspected since "
        "{onset} ({step_days} day(s)): before at {level_before}, since then at least at {level_since}. Contracted are "
        "{contracted}, running {running}. The load was at about the contract or above it."
    ),
    "finding.seen.cap-overload-sustained": (
        "Point {point} drew more than its running capacity of {running} for as long as {release} asks; at the most, in "
        "the interval that ended {end}, at least {drawn}, {share} of it."
    ),
    "finding.seen.cap-reverse-overload": (
        "Point {point} gave out more than {threshold} of its rated {rated} for as long as {release} asks; at the most, "
        "in the interval that ended {end}, at least {drawn}, {share} of it."
    ),
    "finding.seen.cap-suspended-use": (
        "In the interval that ended {end}, point {point} drew at least {drawn}, {times} times what may run since "
        "{suspended_since}; since then at least {used_kwh} kWh, over it on {used_days} day(s)."
    ),
    "finding.seen.cap-suspended-use.several": (
        "In at least one of {periods} intervals from {start} to {end}, point {point} drew at least {drawn}, {times} "
        "times what may run since {suspended_since}; since then at least {used_kwh} kWh, over it on {used_days} day(s)."
    ),
    "finding.seen.cap-thermal": (
        "At {end}, the hot spot of the transformer at point {point} ({rated}) was computed at {hot_spot_c} degrees or "
        "more, its ageing at {ageing} times normal or more; the air outside is {ambient}."
    ),
    "finding.seen.tar-capacity-rule": (
        "On {end}, point {point} has {size_kva} kVA; the archive says {has}, and {rule} asks for {should}."
    ),
    "finding.seen.tar-class-shape": (
        "In four weeks in a row up to {end}, the load of point {point} looked more like class {class_nearest} than "
        "like the agreed {class_agreed} (similarity: {similarity}). Night share {night_share}, evening share "
        "{evening_share}."
    ),
    "finding.seen.tar-export-undeclared": (
        "On {day}, at least {export_kwh} kWh flowed out at point {point}, for which no generation is declared. kWh by "
        "the hour: {export_by_hour}."
    ),
    "finding.seen.tar-pf": (
        "In billing month {month} up to {end}, the power factor of point {point} was at most {power_factor} against a "
        "standard of {standard} (adjustment {adjustment_percent} %), from {active_kwh} kWh and {reactive_kvarh} kvarh "
        "by their lower bounds; {coverage_share} of the time is known; the month is closed: {final}."
    ),
    "finding.seen.tar-step-tier": (
        "Up to {end}, point {point} drew at least {year_kwh} kWh in {year}: step {step} of {rule} ends at {step_kwh} "
        "kWh ({what})."
    ),
    # what could be done next
    "finding.action.cap-demand-forecast": "Tell the customer in time, where that was agreed; nothing is owed yet.",
    "finding.action.cap-expansion-suspect": (
        "Check contract, CT ratio and applications in the archive first; then inspect on site which transformers and "
        "machines are connected since that day."
    ),
    "finding.action.cap-overload-sustained": (
        "Tell the customer that the transformer ages; advise to apply for more capacity or to correct the power factor."
    ),
    "finding.action.cap-reverse-overload": (
        "Compare the generation that was agreed with what is given out, and the nameplate with the archive."
    ),
    "finding.action.cap-suspended-use": (
        "Check the entry of the archive and the seal first; if they are right, inspect on site what runs."
    ),
    "finding.action.cap-thermal": (
        "Compare with the transformer's own thermometer; advise to shift load, to correct the power factor or to apply "
        "for more capacity before the summer."
    ),
    "finding.action.tar-capacity-rule": "Compare contract, class of use and capacity in the archive.",
    "finding.action.tar-class-shape": "Check in the archive what the contract says the supply is used for.",
    "finding.action.tar-export-undeclared": (
        "Look for an application in the archive; if there is none, ask the customer, and check the meter's wiring."
    ),
    "finding.action.tar-pf": (
        "Compare with the bill and with the meter's setting of reactive quadrants; advise to check compensation."
    ),
    "finding.action.tar-step-tier": "Tell the customer; check in the archive how many persons live there.",
    # why it cannot be said
    "verdict.baseline_no_spread": "the customer's usual days are all the same",
    "verdict.baseline_not_a_number": "the day's peak is not known",
    "verdict.baseline_out_of_order": "the day has been judged already",
    "verdict.baseline_too_few": "the customer's usual days are still being learnt",
    "verdict.class_shapes_unknown": "the utility has loaded no shapes of its classes of use",
    "verdict.class_unknown": "the point's class of use is not known, or has no shape",
    "verdict.export_not_measured": "the meter does not measure what is given out, or it has not been read",
    "verdict.generation_declared": "generation is declared",
    "verdict.generation_undeclared": "power flows out and no generation is declared: what is drawn is not what is used",
    "verdict.joined_before": "the customer joined before the rule began: the old way of charging may go on",
    "verdict.joined_unknown": "when the customer joined, or when the rule began, is not known",
    "verdict.month_too_young": "the billing month is too young",
    "verdict.nameplate_unknown": "neither the transformer's nameplate nor a contract in kVA is known",
    "verdict.no_capacity_rule": "no rule of size is known for the point's class of use",
    "verdict.no_power_factor_rule": "no power factor rule is known for the point's class of use",
    "verdict.no_step_tariff": "no step tariff is known for the point's class of use",
    "verdict.nothing_over_to_pay": "the contract's rule asks nothing on top for a demand over the contract",
    "verdict.nothing_suspended": "nothing is suspended or reduced",
    "verdict.shape_unknown": "the load has no shape that could be compared",
    "verdict.too_little_energy": "too little energy to tell a power factor by",
    "verdict.too_little_of_the_day": "too few blocks of the day are known",
    "verdict.too_little_of_the_month": "too little of the billing month is known",
    "verdict.too_little_of_the_window": "too little of the running interval is known",
    "verdict.window_over": "the interval is over",
    "verdict.year_not_whole": "what was used before in this year is not known",
    "verdict.year_over": "the calendar year is over",
}
