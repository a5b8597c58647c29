"""What the open findings of one point say together, and the next step for the inspector."""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    "case.title": "Point {point}: {count} open finding(s), likeliest cause first",
    "case.over": "Point {point}: nothing is open.",
    "case.cause": "{rank}. {cause} (score {score})",
    "case.because": "   because: {clues}",
    "case.clue": "{title}",
    "case.clue.judged": "{title} ({judged})",
    "case.clue.since": "{title}, since {since}",
    "case.clue.since_judged": "{title} ({judged}), since {since}",
    "case.value.ct_load": "the current reached at least {share} of what the current transformers are rated for",
    "case.follows": "   explained by it, not asked about by themselves: {titles}",
    "case.route": "   whose answer is asked: {route}, by {due}",
    "case.next": "   next: {next}",
    "case.archive_first": (
        "Check the archive first: a fact that one of these rests on is not verified, or is in conflict."
    ),
    "case.trial": "The point is on trial: none of this counts in any evaluation.",
    "case.order_only": "The order says where to look first; what lies behind it is established on site.",
    "case.and": "; ",
    # causes
    "case.cause.wrong-ratio": "The ratio in the archive is not the one installed",
    "case.cause.meter-exchanged": "The meter was exchanged and the archive does not know",
    "case.cause.current-lost": "A current does not reach the meter",
    "case.cause.voltage-lost": "A voltage does not reach the meter",
    "case.cause.wired-wrong": "The metering is suspected to be wired wrongly",
    "case.cause.meter-fault": "The meter is suspected to count wrongly",
    "case.cause.meter-touched": "The meter was opened or set, and no work order covers it",
    "case.cause.beside-the-meter": "Load is suspected that the meter does not see",
    "case.cause.expansion": "Suspected expansion of capacity that was not applied for",
    "case.cause.suspended-used": "Suspected use of suspended or reduced capacity",
    "case.cause.generation-undeclared": "Generation that was not declared is suspected",
    "case.cause.load-grown": "The load has grown over what the contract allows",
    "case.cause.archive-wrong": "The archive and the meter differ",
    "case.cause.collection": "Readings are missing or doubtful: the picture is incomplete",
    "case.cause.other": "By itself",
    # next steps
    "case.next.wrong-ratio": (
        "Read the plates of the current transformers and the meter's ratio setting; correct the archive, "
        "then judge the "
        "point again."
    ),
    "case.next.meter-exchanged": (
        "Look for the exchange order; read serial and registers on site and enter meter and date in the archive."
    ),
    "case.next.current-lost": (
        "Clamp the secondary current of each phase at the meter's terminals, look at links and terminals of "
        "the current "
        "circuit, and work out the energy that is missing from the other phases."
    ),
    "case.next.voltage-lost": (
        "Measure the voltages at the meter's terminals, look at fuses and terminals of the voltage circuit, "
        "and work out "
        "the energy that is missing."
    ),
    "case.next.wired-wrong": (
        "Take the phasors at the meter's terminals, compare with the pattern named, and have the wiring put "
        "right under a "
        "work order; correct the energy with the factor found."
    ),
    "case.next.meter-fault": "Have the meter checked on site with a reference meter, and exchanged where it is off.",
    "case.next.meter-touched": (
        "Compare with the work orders; look at seals and covers, read settings and registers, and compare "
        "them with the "
        "last ones kept here."
    ),
    "case.next.beside-the-meter": (
        "Check place, direction and ratio of the independent transformer first; then clamp each phase before "
        "and behind "
        "the meter at the same time."
    ),
    "case.next.expansion": (
        "Check capacity timeline and ratio in the archive; then count transformers and large equipment on "
        "site with the "
        "customer, read nameplates, and urge the customer to apply for the capacity that is needed."
    ),
    "case.next.suspended-used": (
        "Check the dates of the suspension in the archive; then look at the seals of what is suspended on site."
    ),
    "case.next.generation-undeclared": (
        "Ask whether generation is installed and registered; read its nameplates on site."
    ),
    "case.next.load-grown": "Advise the customer to apply for more capacity, or to correct the power factor.",
    "case.next.archive-wrong": (
        "Compare the fields named with meter and contract, and correct what is wrong, with its source."
    ),
    "case.next.collection": "Put the collection right first: link, address, supply, clock of the devices named.",
    "case.next.other": "Follow the finding's own advice.",
}
