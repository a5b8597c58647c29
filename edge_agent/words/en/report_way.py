"""The way from the raw frame to the finding, and what is not known: the words of the page."""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    "report.digest": "Digest of the release's parameters",
    "report.times": "Times that end in Z are UTC; the local time at the point is UTC{offset} ({zone}).",
    "report.clock_said.no_error": "Gateway: {quality}; by how much it may be off is not known.",
    "report.clock_unread": "The meter's clock was not read.",
    "report.marks": (
        "Marks behind a source: [V] seen in a source, a digit behind it in how many; [C] worked out for this "
        "program; [M] from memory of the standard, to be checked before anybody relies on it; [X] sources "
        'differ. "Domain rule" is a paragraph of this program\'s own specification, no regulation.'
    ),
    "report.unknown": "What is not known",
    "report.unknown.ratio": (
        "Whether the transformers have the ratio that the archive says: the meter cannot see it. Read their plates."
    ),
    "report.unknown.serial": (
        "Whether the meter on the wall is the one in the archive: its serial was not read. Compare it with the plate."
    ),
    "report.unknown.clock": "By how much the meter's clock is off: it was not read. All times are the gateway's.",
    "report.unknown.coverage": (
        "What flowed in {share} of the interval: no reading vouches for it. The lower bound counts it as nothing."
    ),
    "report.unknown.one_way": "Whether another way of measuring would say the same: there was only one.",
    "report.unknown.gaps": "What the meter would have shown of: {names}. It gave no value.",
    "report.unknown.facts": "Whether these facts of the archive are right, for nobody has verified them: {names}.",
    "report.unknown.why": "Why it is so. Nothing here says what anybody did or meant.",
    "report.way": "From the raw frame to the finding",
    "report.way.bytes": "1. From bytes to values",
    "report.way.register": "{address}, {type}, x {scale}{unit}",
    "report.way.place": "frame {frame}, from byte {first}",
    "report.way.profile": (
        "Where each value stands, and how it is to be read, is said by profile {profile} ({model}), made after: "
        "{source}."
    ),
    "report.way.modbus": (
        "The question names the first register and how many (the last four bytes of it, before the two of the "
        "check on a serial line). In the reply the values begin at byte 10, on a serial line at byte 4: two "
        "bytes for each register, in order. u is a whole number, i one with a sign, f a floating-point number, "
        "bcd decimal digits; behind it the bits."
    ),
    "report.way.dlt645": (
        "In the reply 33H has been added to every byte of the data: take it off. Four bytes of item come first, "
        "then the values; the last byte of each comes first, and its digits are decimal."
    ),
    "report.way.other": "The bytes of this protocol are not taken apart here; the frames stand below as they came.",
    "report.way.primary": (
        "Primary side: voltages x VT {vt}, currents x CT {ct}, powers and energies x K {k}, by the archive."
    ),
    "report.way.means": "2. From registers to the mean power",
    "report.way.sum": (
        "{name}: ({end} - {start}) {unit} x {k} x 3600 / {seconds} s = {power}, between the readings at "
        "{start_at} and {end_at} local time. One step of the register is worth {off}."
    ),
    "report.way.apparent": "Apparent power: root of ({p}² + {q}²) = {s} kVA.",
    "report.way.band": (
        "{name}, at the exact ends of the interval: {value} {unit}, at least {low}, at most {high} {unit}. These "
        "are the finding's own figures."
    ),
    "report.way.against": "3. Against the limit",
    "report.way.share": (
        "{value} / {limit} {unit} = {share_value}; at least {low} / {limit} = {share_low}, at most {high} / "
        "{limit} = {share_high}. What counts is what it was at least."
    ),
    "report.way.phases": "2. What voltage, current and power factor make, and what is shown (primary side)",
    "report.way.all": "all",
    "report.way.deviation": (
        "{shown} kW / {made} kW = {ratio}: away from 1 by {off}. Of this {tolerance} may come from accuracy "
        "classes and the last digit: at least {low} is left."
    ),
    "report.way.pattern": (
        "Under a balanced load one lost element leaves 2/3 of the power, one reversed current transformer 1/3, "
        "two -1/3. What is shown looks {pattern}."
    ),
    "report.way.limit": "Published limit, and how it was made sure of",
    "report.way.passed": (
        "Passed: {release}, severity {severity}, above {above}. What was at least measured is {low}."
    ),
    "report.way.opened": "A finding of this severity opens after: {opening}.",
    "report.way.sure.next": (
        "No single reading opens it: a later reading had to follow from those at the ends of the interval."
    ),
    "report.way.sure.held": "No single reading opens it: several readings, over that time, had to say the same.",
    "report.opens.count": "{k} time(s) within {n} {unit}(s)",
    "report.opens.hold": "{minutes} min without a break",
    "report.opens.of": "{minutes} min in which at least {k} of every {n} readings say so",
    "report.site.by_archive": "by the archive: {value}; on the plate:",
    "report.column.at_time": "read at (local time)",
    "report.column.register": "register",
    "report.column.place": "where",
    "report.column.number": "as a number",
    "report.column.shown": "the meter shows",
    "report.column.primary": "primary side",
    "report.column.phase": "phase",
    "report.column.volts": "U, V",
    "report.column.amps": "I, A",
    "report.column.factor": "power factor, without its sign",
    "report.column.made": "U x I x power factor, kW",
    "report.column.power_shown": "power shown, kW",
    "report.column.ratio": "shown / made",
    "report.column.frame": "frame",
    "report.heading": "Evidence: {topic}",
    "report.comma": ", ",
    "report.worst": (
        "Shown is what went furthest over the limit so far; when the finding opened, {start} … {end} was judged."
    ),
    "report.way.sample": (
        "Beside the mean, one sample: at {at} the meter itself showed {shown} kVA, x {k} = {s} kVA, {share} of {limit} "
        "kVA."
    ),
    "report.way.lower": (
        "The sampled powers of the same interval allow a little less, at least {low}; of two ways the smaller one "
        "counts."
    ),
}
