"""Whether a site's questions fit its lines, and what would make them fit."""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    "plan.fits": "Link {link}: everything fits; {percent} % of the line is used.",
    "plan.over": "Link {link}: does not fit. The questions need {percent} % of the time that there is. It would fit:",
    "plan.late": (
        "Link {link}: does not fit. Within {within_s} s, questions of {needs_s} s can fall due together: some would "
        "miss their turn. It would fit:"
    ),
    "plan.full": (
        "Link {link}: fits, but {percent} % of the line is used: little is left for repeats after a lost answer. There "
        "would be room:"
    ),
    "plan.no_room_for_silence": (
        "Link {link}: while one device is silent, each try at it takes {timeout_s} s, and others can miss their turn."
    ),
    "plan.unplanned": "Link {link}: left out, because their driver does not say what it puts on the line: {devices}.",
    "plan.perhaps_a_gateway": (
        "Link {link}: {devices} devices behind one TCP endpoint. If it is a gateway onto a serial line, name that "
        "line's speed: edge-agent plan --gateway-baud 9600."
    ),
    "plan.slower_one": "with device {device} alone at every_s = {every_s}",
    "plan.slower_all": "with every device of {link} at every_s = {every_s}, or slower where it is already",
    "plan.higher_baud": "at {baud} baud, set in every device of {link} and in the site file",
    "plan.more_lines": "on {lines} lines; away from {link}, a line each: {moved}",
    "plan.telemetry_leaves_out": (
        "Assumed: a point's load crosses a step of 10 % {per_day} times a day. Findings, reconnects and the centre's "
        "acknowledgements of findings come on top."
    ),
}
