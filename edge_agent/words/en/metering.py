"""What findings about metering, archive and data say to a person: measured against what, and what to do next."""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    # the register beside the powers
    "finding.title.met-stop": "Suspected: a register of the meter stands still while energy flows",
    "finding.seen.met-stop": (
        "The active energy register of the meter at point {point} did not move for {still_min} minutes, up to {end}, "
        "while the powers that the meter showed say that at least {missed_kwh} kWh (on the meter's own side) flowed."
    ),
    "finding.action.met-stop": (
        "Read register and power at the meter's display, twice and some minutes apart; if it stands, have the meter "
        "tested, and make up the energy from the powers that were sampled."
    ),
    "finding.title.met-fly": "Suspected: a register of the meter moves many times too fast",
    "finding.seen.met-fly": (
        "Between {start} and {end} the active energy register of the meter at point {point} moved by {moved_kwh} kWh "
        "(on the meter's own side), at least {judged} times what can have flowed."
    ),
    "finding.action.met-fly": (
        "Compare the register at the meter's display with the last readings; do not bill the energy before the meter "
        "has been tested."
    ),
    "finding.title.met-energy-error": "The energy of the meter's register differs from the power it shows",
    "finding.seen.met-energy-error": (
        "On the day that ended {end}, the register of the meter at point {point} counted at least {rho} times the "
        "energy that the sampled powers add up to; the two differ by at least {share}."
    ),
    "finding.action.met-energy-error": (
        "Have the meter tested; compare the pulse constant and the ratios set in it with its plate and the archive."
    ),
    # an independent current transformer beside the meter
    "finding.title.met-ratio-mismatch": "The ratio of the current transformers differs from the archive",
    "finding.seen.met-ratio-mismatch": (
        "At point {point}, {said_by} says a ratio of {ratio} ({fits}), where the archive has {archive}; they differ by "
        "at least {share}."
    ),
    "finding.action.met-ratio-mismatch": (
        "Check the archive first, then read the plate of the current transformers on site, phase by phase, and the "
        "ratio set in the meter."
    ),
    "finding.title.met-unmetered-current": "Current beside the meter's that the meter does not see",
    "finding.seen.met-unmetered-current": (
        "On the days up to {end}, an independent current transformer on {phase} of point {point} saw at least "
        "{unseen_a} A more than the meter ({kind}), by {pairs} pairs of means of the same time."
    ),
    "finding.action.met-unmetered-current": (
        "Measure both places with a clamp at the same time and follow the conductors between them; check where the "
        "independent transformer is placed, and the secondary circuit of the meter's."
    ),
    # the archive
    "finding.title.dat-unknown-meter": "A meter answers that the archive does not have at this point",
    "finding.seen.dat-unknown-meter": (
        "The device {device} at point {point} says twice that its number is {shown}; the archive has {archive}."
    ),
    "finding.action.dat-unknown-meter": (
        "Ask the metering department for the exchange and its registers; enter meter, number and date in the archive, "
        "or read the plate on site."
    ),
    "finding.title.tar-archive-mismatch": "The archive and the meter differ",
    "finding.seen.tar-archive-mismatch": (
        "The meter at point {point} says twice that its {field} is {shown}; the archive has {archive}."
    ),
    "finding.action.tar-archive-mismatch": (
        "Compare archive, contract and plate; correct the archive, or have the meter set, whichever is wrong."
    ),
    "finding.title.tar-tou-schedule": "The meter switches its rates by another schedule than the archive's",
    "finding.seen.tar-tou-schedule": (
        "From {local_start} to {local_end}, local time, the meter at point {point} counted at least {wrong_kwh} kWh "
        "(on its own side) in rate {counted}, where the archive's schedule has rate {expected}; in that one it counted "
        "{right_kwh} kWh. The archive's schedule of that day, rate and hours: {table}. The registers of the rates, "
        "kWh: {registers_before} before, {registers_after} after."
    ),
    "finding.action.tar-tou-schedule": (
        "Compare the schedule that the utility has published, the archive's and the one set in the meter, also how "
        "each of them numbers the rates; have the one that is wrong put right, and the energy of that time reckoned "
        "anew by rates. It is a question of the utility's own settings, not of the customer's use."
    ),
    # data
    "finding.title.dat-clock": "The meter's clock is off",
    "finding.seen.dat-clock": (
        "The clock of the meter at point {point} showed {shown}, at least {off_s} s {way} of the gateway's "
        "({gateway_clock})."
    ),
    "finding.action.dat-clock": "Have the meter's clock set, and look at what it stamped since it was right last.",
    "finding.title.dat-missing": "Readings of a day are missing",
    "finding.seen.dat-missing": (
        "Of the {expected} intervals of the day that ended {end}, {valid} have a value at point {point}; of the others "
        "{agent_down} lie where the gateway itself did not run. Missing, in hours since the day began: {gaps}."
    ),
    "finding.action.dat-missing": (
        "Where the gateway did not run, look at its supply; else at the line and the meter. Read the meter's load "
        "profile for the gaps, by hand if need be."
    ),
    "finding.title.dat-agent-health": "The gateway's check of itself",
    "finding.seen.dat-agent-health": (
        "Up to {end}, {what} of the gateway stood at {amount}, the limit is {allowed}; {owed} messages are owed to the "
        "centre, the oldest for {oldest_s} s."
    ),
    "finding.action.dat-agent-health": (
        "backlog, oldest: look at the network and at the centre's acknowledgements. clock: at its source of time. "
        "disk: at the free space under the store, MiB."
    ),
    "finding.title.met-sum-rates": "The total register differs from the sum of its rates",
    "finding.seen.met-sum-rates": (
        "The meter at point {point} showed a total of {total} kWh and rates of {rates} kWh (on its own side), read "
        "within {spread_ms} ms of each other; they differ by {off_kwh} kWh, {allowed_kwh} kWh are allowed."
    ),
    "finding.action.met-sum-rates": "Read all registers at the meter's display, and have the meter tested.",
    "finding.title.dat-implausible": "A device shows what cannot be",
    "finding.seen.dat-implausible": (
        "The device {device} at point {point} showed, up to {end}: {what}, {shown}; the limit is {largest}."
    ),
    "finding.action.dat-implausible": (
        "Compare with the meter's display; check the ratio in the archive, the register map of its profile and the "
        "line."
    ),
    "finding.title.met-main-sub": "A main meter and the meters behind it differ by more than the usual loss",
    "finding.seen.met-main-sub": (
        "On the day that ended {end}, the meter of point {point} counted {main_kwh} kWh and those behind it ({subs}) "
        "{subs_kwh} kWh; at least {loss_kwh} kWh are the difference, {expected_kwh} kWh the usual loss ({balance})."
    ),
    "finding.action.met-main-sub": (
        "Compare ratios and directions of all these meters with the archive; look for a circuit that has no meter, and "
        "read all registers on site on one day."
    ),
    # why it cannot be said
    "verdict.rates_not_all_read": "not all four rate registers are read: the meter may have one that is not",
    "verdict.no_schedule": "the archive has no schedule of rates for the point",
    "verdict.rate_not_read": "the register of the rate that the archive's schedule has is not read",
    "verdict.rates_do_not_add_up": "the registers of the rates did not move by what the total moved",
    "verdict.clock_unknown": "nobody knows by how much the meter's clock is off: it was not asked before and after",
    "verdict.clock_off": "the meter's clock is off by five minutes or more, and by it the meter switches its rates",
    "verdict.clocks_change": "the clocks change on that day",
    "verdict.holidays_unknown": "the calendar of holidays has no day of that year",
    "verdict.read_apart": "the registers were not read at one instant",
    "verdict.first_day": "the point began on that day",
    "verdict.not_known": "it is not known of the gateway",
    "verdict.gateway_clock": "the gateway's own clock has no source that vouches for it",
    "verdict.says_nothing": "what the meter says there is nothing that can be compared",
    "verdict.too_few": "too few pairs or days yet",
    "verdict.no_spread": "the load hardly changes: it tells no ratio",
    "verdict.fact_unknown": "the archive does not know what this rests on",
    "verdict.not_in_archive": "the archive does not know it",
    "verdict.ratio_not_set": "the meter is set to no ratio: it shows its own side",
    "verdict.ambiguous": "it fits more than one explanation",
    "verdict.no_data": "nothing was measured",
    "verdict.wrong_shape": "what was measured does not belong together",
    "verdict.too_small": "too small to tell",
    "verdict.out_of_order": "not later than what was seen before",
    "verdict.looks_ratio": "it looks like another ratio",
    "verdict.looks_constant": "it looks like a constant current beside the meter's",
    "verdict.looks_shunt": "a share of the current is missing, and no standard ratio explains it",
    "verdict.looks_intermittent": "at times they agree, at times they do not",
    "verdict.looks_less": "the independent transformer sees less than the meter: look at how it is placed first",
    "verdict.register_or_power_missing": "register or sampled power is missing",
    "verdict.too_little_expected": "too little energy is expected for a step of the register to tell",
    "verdict.stands_so_far": "the register has stood, not for long enough yet to tell",
    "verdict.alike_so_far": "the values stand still; how the energy register moves meanwhile is not known yet",
    "verdict.coverage": "too much of the time is missing",
    "verdict.fact_changed": "a fact of the archive changed meanwhile: it begins anew",
    "verdict.not_possible": "a reading is none that a meter gives",
    "verdict.not_a_number": "a reading is no number",
}
