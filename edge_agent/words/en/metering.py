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
    # why it cannot be said
    "verdict.register_or_power_missing": "register or sampled power is missing",
    "verdict.too_little_expected": "too little energy is expected for a step of the register to tell",
    "verdict.stands_so_far": "the register has stood, not for long enough yet to tell",
    "verdict.coverage": "too much of the time is missing",
    "verdict.fact_changed": "a fact of the archive changed meanwhile: it begins anew",
    "verdict.not_possible": "a reading is none that a meter gives",
    "verdict.not_a_number": "a reading is no number",
}
