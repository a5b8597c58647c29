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
    "finding.sure.between": "The best value is {value}, {share}; at most it was {high}, {share_high}.",
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
    "finding.fact": "It rests on {name} = {value} ({state}, from {source}).",
    "finding.k": (
        "Powers and energies of the meter are multiplied by K = {k}, by the archive; whether the transformers on site "
        "have this ratio was not measured."
    ),
    "finding.archive_first": "Check the archive first: a fact that this rests on is not verified, or is in conflict.",
    "finding.trial": (
        "The point was on trial (no acceptance is recorded for that time): this does not count in any evaluation."
    ),
    "finding.threshold": "Published limit passed: {threshold} ({release}, parameters {digest}).",
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
    "finding.action.met-decrease": "Read the meter on site and compare its serial and registers with the archive.",
    "finding.action.met-cover": (
        "Compare with the work orders; inspect seals and covers on site, and compare the registers with the last ones."
    ),
    "finding.action.met-magnetic": "Inspect meter and surroundings on site, and compare the energy of the days around.",
    "finding.action.met-param-change": (
        "Compare with the work orders; read the meter's settings and registers and compare them with the archive."
    ),
    "finding.action.dat-comm": "Check supply, wiring and address of the device named, then the link.",
    # words that a message carries as codes
    "finding.reason.level": "level",
    "finding.reason.episode": "episode",
    "finding.reason.maximum": "maximum",
    "finding.reason.hold": "hold",
    "finding.reason.answered": "answered",
    "finding.reason.period": "period",
    "finding.reason.superseded": "superseded",
    "finding.reason.day": "day",
    "finding.reason.witness": "witness",
    "finding.severity.info": "info",
    "finding.severity.notice": "notice",
    "finding.severity.warning": "warning",
    "finding.severity.major": "major",
    "finding.severity.critical": "critical",
    "finding.fact.name.capacity": "capacity",
    "finding.fact.name.ct": "CT ratio",
    "finding.fact.name.vt": "VT ratio",
    "finding.fact.name.meter_serial": "serial of the meter",
    "finding.fact.name.tariff_class": "tariff class",
    "finding.fact.name.tou": "schedule of rates",
    "finding.fact.name.transformer": "transformer",
    "finding.fact.name.demand_period": "demand period",
    "finding.fact.name.demand_slide": "slide of the demand period",
    "finding.fact.name.rated_voltage": "rated voltage",
    "finding.fact.name.maximum_current": "maximum current",
    "finding.fact.name.asset_no": "asset number",
    "finding.fact.state.verified": "verified",
    "finding.fact.state.unverified": "unverified",
    "finding.fact.state.conflict": "conflict",
    "finding.fact.source.system": "the utility's system",
    "finding.fact.source.technician": "a technician",
    "finding.fact.source.meter": "the meter",
    # where a topic has no sentence in the reader's language
    "finding.seen.generic": "Between {start} and {end}, measured at point {point}: {values}.",
    "finding.action.generic": "Check the archive first, then compare the values named on site.",
    # why it cannot be said
    "verdict.gap": "no readings for longer than a demand period",
    "verdict.gap_refused": "no readings, and the meter gives no load profile of that time",
    "verdict.gap_not_recorded": "no readings, and no entry in the meter's load profile",
    "verdict.gap_distrusted": (
        "no readings, and the meter marks its entries as doubtful (clock set or invalid, data invalid), or two of them "
        "contradict each other"
    ),
    "verdict.gap_contradicted": "no readings, and the meter's load profile does not fit what its registers moved",
    "verdict.gap_clock_off": "no readings, and what the meter recorded was stamped by a clock that is off",
    "verdict.gap_not_had": "no readings, and the meter's load profile could not be read in time",
    "verdict.no_reading": "no readings at both ends of the interval yet",
    "verdict.ratio_unknown": "the archive knows no CT or VT ratio for this time",
    "verdict.archive_change": "contract, ratio or meter changed inside the interval",
    "verdict.clock_step": "the gateway's clock was set inside the interval",
    "verdict.register_break": "the register does not continue from its last value",
    "verdict.meter_exchanged": "the meter was exchanged",
    "verdict.meter_exchange": "the meter was exchanged inside the interval",
    "verdict.capacity_unknown": "the archive knows no capacity for this time",
    "verdict.capacity_suspended": "no capacity is running: suspended",
    "verdict.contract_in_other_unit": "the contract is in the other unit (kVA or kW)",
    "verdict.active_power_only": "only active power is measured; kVA is never inferred from kW",
    "verdict.mean_of_several": "only the mean over several intervals is known",
    "verdict.sources_disagree": "the registers alone, or the sampled powers alone, would say so; the other does not",
    "verdict.rise_not_confirmed": "daily peaks have risen, but not yet by enough, long enough or up to the contract",
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
