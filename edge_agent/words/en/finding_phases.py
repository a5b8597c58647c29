"""What a finding about phases, currents and the supply's voltage says to a person; and why none can be made."""

from __future__ import annotations

from edge_agent.words.en.finding import _BOTH, _COUNTER, _LOG

_BY_METER = {"": _COUNTER, ".log": _LOG, ".both": _BOTH}
_PHASES = {
    "voltage_loss": "losses of voltage at phase L{n}",
    "current_loss": "losses of current at phase L{n}",
    "phase_break": "breaks of phase L{n}",
}

SENTENCES: dict[str, str] = {
    # titles
    "finding.title.met-volt-loss": "A phase has no voltage at the meter while its current flows",
    "finding.title.met-curr-loss": "A phase shows no current at the meter while others are loaded",
    "finding.title.met-phase-break": "A phase is broken",
    "finding.title.met-power-consistency": "Power does not fit voltages and currents: suspected wiring error",
    "finding.title.met-reverse": "Power flows backwards where no generation is declared",
    "finding.title.met-phase-seq": "The meter says that its phases follow one another in the wrong order",
    "finding.title.met-unbalance-i": "The currents of the phases are unbalanced",
    "finding.title.met-ct-overrange": "A current is above the range of its transformer or of the meter",
    "finding.title.met-ct-oversized": "The current transformers are too large for the load",
    "finding.title.pq-volt-event": "The supply's voltage was far too high or too low",
    "finding.title.pq-outage": "The point was without supply",
    "finding.title.pq-volt-deviation": "The supply's voltage is outside its limits",
    "finding.title.pq-unbalance-u": "The supply's voltages are unbalanced",
    # what was seen
    "finding.seen.met-volt-loss": (
        "At {start} and at {end} the meter at point {point} showed {voltage} of the rated voltage at phase {phase}, "
        "and a current there. Shown at the end of it: {shown}."
    ),
    "finding.seen.met-curr-loss": (
        "At {start} and at {end} the meter at point {point} showed no current at phase {phase}, its voltage being "
        "there and another phase loaded. Shown at the end of it: {shown}."
    ),
    "finding.seen.met-phase-break": (
        "At {start} and at {end} the meter at point {point} showed {voltage} of the rated voltage and no current at "
        "phase {phase}, another phase being alive. Shown at the end of it: {shown}."
    ),
    "finding.seen.met-power-consistency": (
        "The active power shown at point {point} is not what its voltages, currents and power factor make: at {end} it "
        "was {ratio} times as much ({pattern}), and readings have said so for as long as {release} asks. Shown then, "
        "primary side: {shown}."
    ),
    "finding.seen.met-reverse": (
        "At {start} and at {end} active power flowed out of point {point}{of_phase}, at least {share} of what its "
        "metering is rated for, and the archive declares no generation. Shown at the end of it: {shown}."
    ),
    "finding.seen.met-phase-seq": (
        "The status word of the meter at point {point} said at {end} that its {sequence_of}s follow one another in the "
        "wrong order (word {status_word})."
    ),
    "finding.seen.met-unbalance-i": (
        "At {start} and at {end} the currents at point {point} differed by at least {share} of the largest. Shown at "
        "the end of it: {shown}."
    ),
    "finding.seen.met-ct-overrange": (
        "At {start} and at {end} the current of phase {phase} at point {point} was at least {share} of what its "
        "transformer, or the meter, is rated for. Shown at the end of it: {shown}."
    ),
    "finding.seen.met-ct-oversized": (
        "From {start} to {end} half of the time under load at point {point}, on {days} days, the largest current of a "
        "phase was below {median} of the transformers' rated primary."
    ),
    "finding.seen.pq-volt-event": (
        "At {start} and at {end} the voltage at point {point} was {direction}: {voltage} of the rated one at phase "
        "{phase}. Shown at the end of it: {shown}."
    ),
    "finding.seen.pq-outage": (
        "At {start} and at {end} the meter at point {point} showed no voltage at any phase, and no current. Shown at "
        "the end of it: {shown}."
    ),
    "finding.seen.pq-volt-deviation": (
        "Over the interval that ended {end}, the mean voltage at point {point} was {direction}: {voltage} of the rated "
        "one at {phase}. Means: {shown}."
    ),
    "finding.seen.pq-unbalance-u": (
        "Over the interval that ended {end}, the voltages at point {point} were unbalanced by {unbalance} % "
        "({measure}); the limit is {limit} %. Means: {shown}."
    ),
    **{
        f"finding.seen.{topic}.meter{source}": sentence
        for topic in ("met-volt-loss", "met-curr-loss", "met-phase-break", "pq-outage")
        for source, sentence in _BY_METER.items()
    },
    # parts
    "finding.direction.high": "too high",
    "finding.direction.low": "too low",
    "finding.measure.negative_sequence": "negative sequence",
    "finding.measure.spread": "difference between the largest and the smallest",
    "finding.pattern.fits": "within its tolerance",
    "finding.pattern.one_lost": "like one element lost",
    "finding.pattern.one_reversed": "like one current transformer reversed",
    "finding.pattern.two_reversed": "like two current transformers reversed",
    "finding.pattern.all_reversed": "like all current transformers reversed",
    "finding.pattern.none": "like no wiring error that is known",
    "finding.at": "{pattern}, at {at}",
    "finding.of_phase": " at phase {phase}",
    **{f"finding.event.{code}_l{n}": said.format(n=n) for code, said in _PHASES.items() for n in (1, 2, 3)},
    "finding.event.power_off": "power failures",
    # what could be done next
    "finding.action.met-volt-loss": (
        "Look at the meter's voltage terminals, fuses and voltage transformers of that phase on site; what was not "
        "counted meanwhile is estimated from the other phases."
    ),
    "finding.action.met-curr-loss": (
        "Look at the current terminals, the link and the transformer of that phase on site, and compare with a clamp; "
        "a phase that carries no load is no fault."
    ),
    "finding.action.met-phase-break": "Look for an open fuse or conductor of that phase, at supply and meter.",
    "finding.action.met-power-consistency": (
        "Check the meter's wiring on site: direction and phase of each current transformer, order of the voltages."
    ),
    "finding.action.met-reverse": (
        "Ask whether there is generation that the archive does not know; if not, check the direction of the current "
        "transformers."
    ),
    "finding.action.met-phase-seq": "Check the order of the phases at the meter's terminals on site.",
    "finding.action.met-unbalance-i": "Advise the customer to share loads out among the phases; look for a fault.",
    "finding.action.met-ct-overrange": "Compare ratio and meter with the load, and have larger ones planned.",
    "finding.action.met-ct-oversized": "Check the ratio in archive and on the plate, and have smaller ones planned.",
    "finding.action.pq-volt-event": "Ask the operation of the network what happened at that time.",
    "finding.action.pq-outage": "Ask the operation of the network; compare with announced outages.",
    "finding.action.pq-volt-deviation": "Check the tap of the supplying transformer and the load of the line.",
    "finding.action.pq-unbalance-u": "Check the supply for a phase at fault and for large loads of one phase.",
    # why it cannot be said
    "verdict.no_voltage": "the meter gave no voltage",
    "verdict.no_current": "the meter gave no current",
    "verdict.no_power": "the meter gave no power, or no power factor beside it",
    "verdict.rating_unknown": "the archive knows neither a current transformer nor a maximum current",
    "verdict.not_at_once": "the values of one round were read too far apart to be compared",
    "verdict.may_be_generation": "power flows out: a reversed transformer and undeclared generation look alike",
    "verdict.wiring_3p3w": "in a three-wire connection the elements do not see the phases",
    "verdict.too_few_days": "the month had too few days with load",
    "verdict.status_word_unclear": "the meter's status word cannot be read",
}
