"""What a finding says to a person: measured against what, whose answer is asked, and never more."""

from __future__ import annotations

_COUNTER = (
    "The meter's counter of {event} at point {point} rose from {before} to {after} between two readings, {before_at} "
    "and {after_at}."
)
_LOG = "The meter at point {point} logged {event} ({events} time(s)) at {logged}, by its own clock."
_BOTH = (
    "The meter's counter of {event} at point {point} rose from {before} to {after} between two readings, {before_at} "
    "and {after_at}; its log has it at {logged}, by its own clock."
)

SENTENCES: dict[str, str] = {
    # titles
    "finding.title.cap-over-contract": "Suspected use over the contracted capacity",
    "finding.title.cap-heavy-load": "Heavy load",
    "finding.title.cap-demand-over": "Suspected demand over the contracted maximum",
    "finding.title.cap-suspended-use": "Suspected use of capacity that is suspended or reduced",
    "finding.title.cap-expansion-suspect": "Suspected expansion of capacity without consent",
    "finding.title.cap-thermal": "The transformer is warm by its load, or ages faster than normal",
    "finding.title.cap-demand-forecast": "The running interval may end above the contracted demand",
    "finding.title.cap-overload-sustained": "Sustained overload",
    "finding.title.cap-reverse-overload": "Heavy load or overload by what is given out",
    "finding.title.tar-pf": "Power factor of the month below the standard",
    "finding.title.tar-export-undeclared": "Energy is given out and no generation is declared",
    "finding.title.tar-class-shape": "The load looks like another class of use than the contract's",
    "finding.title.tar-capacity-rule": "The way of charging does not fit the size of the supply",
    "finding.title.tar-step-tier": "The year's energy is near a step of the tariff, or past it",
    "finding.title.met-decrease": "A register of the meter shows less than before",
    "finding.title.met-cover": "The meter says that a cover was opened",
    "finding.title.met-magnetic": "The meter says that it was in a constant magnetic field",
    "finding.title.met-param-change": "The meter says that it was programmed or reset",
    "finding.title.dat-comm": "A device does not answer",
    "finding.state.open": "Open since {opened}.",
    "finding.state.over": "Opened {opened}; does not hold any more ({at}).",
    # what was seen
    "finding.seen.cap-over-contract": (
        "In the interval that ended {end}, point {point} drew at least {drawn}, {share} of its running capacity of "
        "{running}."
    ),
    "finding.seen.cap-over-contract.several": (
        "In at least one of {periods} intervals from {start} to {end}, point {point} drew at least {drawn}, {share} of "
        "its running capacity of {running}; only their mean is known."
    ),
    "finding.seen.cap-heavy-load": (
        "Point {point} drew more than {threshold} of its running capacity of {running} for as long as {release} asks; "
        "at the most, in the interval that ended {end}, at least {drawn}, {share} of it."
    ),
    "finding.seen.cap-demand-over": (
        "In the interval that ended {end}, the demand of point {point} was at least {drawn}; contracted are "
        "{contracted}, and {rule} leaves {free} of it free."
    ),
    "finding.seen.cap-demand-over.several": (
        "In at least one of {periods} intervals from {start} to {end}, the demand of point {point} was at least "
        "{drawn}; contracted are {contracted}, and {rule} leaves {free} of it free; only their mean is known."
    ),
    "finding.seen.cap-suspended-use": (
        "In the interval that ended {end}, point {point} drew at least {drawn}, {times} times what may run since "
        "{suspended_since}; since then at least {used_kwh} kWh, over it on {used_days} day(s)."
    ),
    "finding.seen.cap-suspended-use.several": (
        "In at least one of {periods} intervals from {start} to {end}, point {point} drew at least {drawn}, {times} "
        "times what may run since {suspended_since}; since then at least {used_kwh} kWh, over it on {used_days} day(s)."
    ),
    "finding.seen.cap-expansion-suspect": (
        "Up to {end}, the daily peaks of point {point} stand at least {times} times as high as before, suspected since "
        "{onset} ({step_days} day(s)): before at {level_before}, since then at least at {level_since}. Contracted are "
        "{contracted}, running {running}. The load was at about the contract or above it."
    ),
    "finding.seen.cap-thermal": (
        "At {end}, the hot spot of the transformer at point {point} ({rated}) was computed at {hot_spot_c} degrees or "
        "more, its ageing at {ageing} times normal or more; the air outside is {ambient}."
    ),
    "finding.seen.cap-demand-forecast": (
        "At {end}, {elapsed_s} s into the interval, the load of point {point} would carry its demand to {projected} or "
        "more if it went on like this; contracted are {contracted}, and {rule} leaves {free} of it free."
    ),
    "finding.seen.cap-overload-sustained": (
        "Point {point} drew more than its running capacity of {running} for as long as {release} asks; at the most, in "
        "the interval that ended {end}, at least {drawn}, {share} of it."
    ),
    "finding.seen.cap-reverse-overload": (
        "Point {point} gave out more than {threshold} of its rated {rated} for as long as {release} asks; at the most, "
        "in the interval that ended {end}, at least {drawn}, {share} of it."
    ),
    "finding.seen.tar-pf": (
        "In billing month {month} up to {end}, the power factor of point {point} was at most {power_factor} against a "
        "standard of {standard} (adjustment {adjustment_percent} %), from {active_kwh} kWh and {reactive_kvarh} kvarh "
        "by their lower bounds; {coverage_share} of the time is known; the month is closed: {final}."
    ),
    "finding.seen.tar-export-undeclared": (
        "On {day}, at least {export_kwh} kWh flowed out at point {point}, for which no generation is declared. kWh by "
        "the hour: {export_by_hour}."
    ),
    "finding.seen.tar-class-shape": (
        "In four weeks in a row up to {end}, the load of point {point} looked more like class {class_nearest} than "
        "like the agreed {class_agreed} (similarity: {similarity}). Night share {night_share}, evening share "
        "{evening_share}."
    ),
    "finding.seen.tar-capacity-rule": (
        "On {end}, point {point} has {size_kva} kVA; the archive says {has}, and {rule} asks for {should}."
    ),
    "finding.seen.tar-step-tier": (
        "Up to {end}, point {point} drew at least {year_kwh} kWh in {year}: step {step} of {rule} ends at {step_kwh} "
        "kWh ({what})."
    ),
    "finding.seen.met-decrease": (
        "Between {start} and {end}, register {quantity} of the meter at point {point} went from {before} to {after}, "
        "as the meter shows it; both values were read twice, and the meter's serial is unchanged."
    ),
    "finding.seen.met-cover": _COUNTER,
    "finding.seen.met-cover.log": _LOG,
    "finding.seen.met-cover.both": _BOTH,
    "finding.seen.met-magnetic": _COUNTER,
    "finding.seen.met-magnetic.log": _LOG,
    "finding.seen.met-magnetic.both": _BOTH,
    "finding.seen.met-param-change": _COUNTER,
    "finding.seen.met-param-change.log": _LOG,
    "finding.seen.met-param-change.both": _BOTH,
    "finding.event.cover_open": "openings of its cover",
    "finding.event.terminal_cover_open": "openings of its terminal cover",
    "finding.event.magnetic": "constant magnetic fields",
    "finding.event.programming": "programmings",
    "finding.event.meter_reset": "resets of its registers",
    "finding.event.demand_reset": "resets of its demand",
    "finding.event.event_reset": "erasures of its events",
    "finding.seen.dat-comm": (
        "{devices} on link {link} did not answer for {silent_min} minutes, up to {end} ({detail})."
    ),
    # how sure
    "finding.sure.bounds": (
        "The figure is the lower bound: register steps and missing readings are already taken off. "
        "Readings vouch for {coverage} of the interval; the demand comes from {source}."
    ),
    "finding.sure.recorded": (
        "The figure comes from {source}, which vouches for {coverage} of the interval; what is missing is taken off."
    ),
    "finding.sure.both": "The energy registers and the sampled powers agree on it.",
    "finding.sure.active_only": "Only active power was measured; apparent power cannot be less than it.",
    "finding.sure.meter": "This is what the meter says; the agent has measured nothing that shows it.",
    "finding.sure.witness": "The meter itself says so as well: about that time it counted or logged {event}.",
    "finding.source.register": "the difference of energy registers",
    "finding.source.power": "sampled power",
    "finding.source.profile": "the meter's own load profile",
    "finding.source.recorded": "a recorded file",
    "finding.counts": (
        "So far: {intervals} interval(s) on {days} day(s), {episodes} episode(s), "
        "longest run {longest_run} interval(s)."
    ),
    # what it rests on
    "finding.fact": "It rests on {name} = {value} ({state}, source {source}).",
    "finding.archive_first": "Check the archive first: a fact that this rests on is not verified, or is in conflict.",
    "finding.trial": (
        "The point was on trial (no acceptance is recorded for that time): this does not count in any evaluation."
    ),
    "finding.threshold": "Published limit passed: {threshold} ({release}).",
    # who answers
    "finding.route": "Whose answer is asked: {route}, by {due}.",
    "finding.route.archive": "the archive department",
    "finding.route.metering": "the metering department",
    "finding.route.collection": "the data collection department",
    "finding.route.billing": "the billing department",
    "finding.route.customer-inspection": "customer inspection",
    # steps
    "finding.step.opened": "opened",
    "finding.step.updated": "updated",
    "finding.step.cleared": "cleared",
    "finding.step.annotated": "annotated",
    "finding.history": "{time}  {step} ({reason}), severity {severity}",
    # what could be done next
    "finding.action.cap-over-contract": (
        "Check contract and CT ratio in the archive; if they are right, advise the customer to apply for more "
        "capacity or to correct the power factor."
    ),
    "finding.action.cap-heavy-load": "Advise the customer to apply for more capacity or to correct the power factor.",
    "finding.action.cap-demand-over": "Compare with the meter's own maximum demand before the bill is made.",
    "finding.action.cap-suspended-use": (
        "Check the entry of the archive and the seal first; if they are right, inspect on site what runs."
    ),
    "finding.action.cap-expansion-suspect": (
        "Check contract, CT ratio and applications in the archive first; then inspect on site which transformers and "
        "machines are connected since that day."
    ),
    "finding.action.cap-thermal": (
        "Compare with the transformer's own thermometer; advise to shift load, to correct the power factor or to apply "
        "for more capacity before the summer."
    ),
    "finding.action.cap-demand-forecast": "Tell the customer in time, where that was agreed; nothing is owed yet.",
    "finding.action.cap-overload-sustained": (
        "Tell the customer that the transformer ages; advise to apply for more capacity or to correct the power factor."
    ),
    "finding.action.cap-reverse-overload": (
        "Compare the generation that was agreed with what is given out, and the nameplate with the archive."
    ),
    "finding.action.tar-pf": (
        "Compare with the bill and with the meter's setting of reactive quadrants; advise to check compensation."
    ),
    "finding.action.tar-export-undeclared": (
        "Look for an application in the archive; if there is none, ask the customer, and check the meter's wiring."
    ),
    "finding.action.tar-class-shape": "Check in the archive what the contract says the supply is used for.",
    "finding.action.tar-capacity-rule": "Compare contract, class of use and capacity in the archive.",
    "finding.action.tar-step-tier": "Tell the customer; check in the archive how many persons live there.",
    "finding.action.met-decrease": "Read the meter on site and compare its serial and registers with the archive.",
    "finding.action.met-cover": (
        "Compare with the work orders; inspect seals and covers on site, and compare the registers with the last ones."
    ),
    "finding.action.met-magnetic": "Inspect meter and surroundings on site, and compare the energy of the days around.",
    "finding.action.met-param-change": (
        "Compare with the work orders; read the meter's settings and registers and compare them with the archive."
    ),
    "finding.action.dat-comm": "Check supply, wiring and address of the device named, then the link.",
    # why it cannot be said
    "verdict.gap": "no readings for longer than a demand period",
    "verdict.no_reading": "no readings at both ends of the interval yet",
    "verdict.ratio_unknown": "the archive knows no CT or VT ratio for this time",
    "verdict.archive_change": "contract, ratio or meter changed inside the interval",
    "verdict.clock_step": "the gateway's clock was set inside the interval",
    "verdict.register_break": "the register does not continue from its last value",
    "verdict.meter_exchanged": "the meter was exchanged",
    "verdict.meter_exchange": "the meter was exchanged inside the interval",
    "verdict.capacity_unknown": "the archive knows no capacity for this time",
    "verdict.capacity_suspended": "no capacity is running: suspended",
    "verdict.export_not_measured": "the meter does not measure what is given out, or it has not been read",
    "verdict.nameplate_unknown": "neither the transformer's nameplate nor a contract in kVA is known",
    "verdict.nothing_over_to_pay": "the contract's rule asks nothing on top for a demand over the contract",
    "verdict.generation_undeclared": "power flows out and no generation is declared: what is drawn is not what is used",
    "verdict.too_little_of_the_day": "too few blocks of the day are known",
    "verdict.baseline_too_few": "the customer's usual days are still being learnt",
    "verdict.baseline_no_spread": "the customer's usual days are all the same",
    "verdict.baseline_not_a_number": "the day's peak is not known",
    "verdict.baseline_out_of_order": "the day has been judged already",
    "verdict.too_little_of_the_window": "too little of the running interval is known",
    "verdict.window_over": "the interval is over",
    "verdict.no_power_factor_rule": "no power factor rule is known for the point's class of use",
    "verdict.month_too_young": "the billing month is too young",
    "verdict.too_little_of_the_month": "too little of the billing month is known",
    "verdict.too_little_energy": "too little energy to tell a power factor by",
    "verdict.generation_declared": "generation is declared",
    "verdict.year_over": "the calendar year is over",
    "verdict.no_step_tariff": "no step tariff is known for the point's class of use",
    "verdict.year_not_whole": "what was used before in this year is not known",
    "verdict.class_shapes_unknown": "the utility has loaded no shapes of its classes of use",
    "verdict.class_unknown": "the point's class of use is not known, or has no shape",
    "verdict.shape_unknown": "the load has no shape that could be compared",
    "verdict.no_capacity_rule": "no rule of size is known for the point's class of use",
    "verdict.joined_unknown": "when the customer joined, or when the rule began, is not known",
    "verdict.joined_before": "the customer joined before the rule began: the old way of charging may go on",
    "verdict.nothing_suspended": "nothing is suspended or reduced",
    "verdict.contract_in_other_unit": "the contract is in the other unit (kVA or kW)",
    "verdict.active_power_only": "only active power is measured; kVA is never inferred from kW",
    "verdict.mean_of_several": "only the mean over several intervals is known",
    "verdict.register_too_coarse": (
        "the register is too coarse: one step of it is {step_kw} kW, so an overload under {least} cannot be told"
    ),
    "verdict.serial_unknown": "the meter's serial is not known, so an exchange cannot be told from a decrease",
    "verdict.meter_clock_off": "only the meter's clock says when, and it is off by five minutes or more",
    "verdict.read_once": "the value before was read only once",
    "verdict.between": "between the bounds: neither over nor clear",
    "verdict.clear": "clear",
    "verdict.breach": "over the limit",
}
