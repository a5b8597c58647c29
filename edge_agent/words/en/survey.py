"""What `scan` and `probe` say to the technician on site."""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    "survey.begins": (
        "{where}: listening for {listen_s} s, then looking, usually for {usual} and never for more than {worst}"
    ),
    "survey.found": "{who} at {setting}: {seen}",
    "survey.seen.device": "answers",
    "survey.seen.several": "several devices answer at once",
    "survey.seen.garbled": "answers with bytes that are no frame",
    "survey.seen.unsupported": "answers in a way that this agent does not read",
    "survey.unknown_talk": (
        "somebody speaks on this line ({bytes} bytes that are no frame at any speed that was listened at): another "
        "master at another speed, or noise on an open line. Say its speed with --baud and --parity to learn who it is; "
        "if it is noise, see to termination, bias and shield; nothing was asked, unless sharing the line has been "
        "agreed: then say --shared-line (shared_line = true in the site file)"
    ),
    "survey.shares": "goes on beside others, as shared_line allows: {objection}",
    "survey.silent": (
        "nobody answered at {tried}. Check, in this order: A and B swapped (swap them once and scan again); the device "
        "has supply, and its port is RS-485 and enabled; the common wire; 120 ohm at both ends of a long line and "
        "nowhere else; speed and parity as the device's menu shows them (--baud, --parity); for DL/T 645 meters that "
        "do not say their address, --thorough"
    ),
    "survey.silent_tcp": (
        "nobody answered. Check the address and the port, whether another program has the only connection, and behind "
        "a gateway the speed and parity of its line: those are set in the gateway"
    ),
    "survey.garbled": (
        "{who} answers at {setting} with bytes that are no frame: two devices with this address, another parity "
        "(--parity), a line without termination, or wires that are too long for this speed"
    ),
    "survey.several": (
        "{who}: two devices have this address. Take one off the line, give it another address in its menu, scan again"
    ),
    "survey.settlement": (
        "a DL/T 645 meter answers here: if it is the utility's settlement meter, say settlement = true for this link, "
        "so that 16 minutes are listened for its collection terminal, or use the meter's second port"
    ),
    "survey.left_out": "not looked at: {what}",
    "survey.spent": "the time is over after {spent}: {left}",
}
