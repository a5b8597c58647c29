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
    "survey.seen.alias": "answers here as well",
    "survey.lists": "lists {objects} objects, {ours} of them quantities of ours",
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
        "do not say their address, --thorough; for DLMS/COSEM meters, --dlms"
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
        "a {protocol} meter answers here: if it is the utility's settlement meter, say settlement = true for this "
        "link, so that 16 minutes are listened for its collection terminal, or use the meter's second port"
    ),
    "survey.left_out": "not looked at: {what}",
    "survey.spent": "the time is over after {spent}: {left}",
    # which profile fits
    "survey.fits": "{profile} fits (score {score})",
    "survey.may_fit": "{profile} may fit (score {score}): little of it could be checked, or not all of it was right",
    "survey.cannot_tell": "{profile} fits (score {score}), and so do {others}: cannot tell which of them it is",
    "survey.no_fit": "no profile fits (the best has a score of {best}): a profile for this model has to be written",
    "survey.reordered": "{profile} would fit (score {score}) with its words in the order {order}: copy it under "
    "another name with that order",
    "survey.unprobed.dlms": (
        "a DLMS/COSEM meter is not probed: its profile can be made of what it lists itself (edge-agent scan --dlms), "
        "and dlms-generic-3p reads what most of them have"
    ),
    "survey.unprobed.dlt698": (
        "a DL/T 698.45 meter is not probed: its objects mean the same in every meter, so dlt698-3p is its profile; to "
        "read it, the agent needs its extra dlt698"
    ),
    "survey.better_ones": "other profiles fit better",
    "survey.telling_gap": "{quantity}: {why}",
    "survey.hallmark": "{place} reads {said}, which is this model's own",
    "survey.other_hallmark": "{place} reads {said}, and {wanted} on this model",
    "survey.no_hallmark": "{place}, by which this model is known, gives nothing",
    "survey.named": 'it calls itself "{said}" ({word})',
    "survey.other_name": 'it calls itself "{said}", which is not in the model\'s name',
    "survey.answered": "{answered} of {total} registers are answered",
    "survey.refused": "{count} register(s) not given: {named}",
    "survey.sentinel": "{count} register(s) say that they have no value: {named}",
    "survey.frequency": "frequency {hertz} Hz",
    "survey.no_voltage": "no voltage: {volts} V",
    "survey.some_voltages": "voltages {volts} V: {live} of {total} phases are live",
    "survey.voltages": "voltages {volts} V",
    "survey.line_voltages": "line voltages {volts} V, against the phase voltages",
    "survey.sum": "{kind}: total {total} {unit}, phases together {parts} {unit}",
    "survey.triangle": "apparent power {s} VA, from active and reactive {pq} VA",
    "survey.pf": "power factor {pf}, active over apparent power {ps}",
    "survey.pf_alone": "power factor {pf}",
    "survey.product": "active power {p} W, from voltages, currents and power factor {ui} W",
    "survey.below_product": "active power {p} W, voltages times currents {ui} VA",
    "survey.no_load": "no load to speak of: {what} says nothing",
    "survey.implausible": "{count} value(s) that cannot be: {shown}",
    "survey.tiny": "values that are no meter's, such as bits of another type: {shown}",
    "survey.huge": "values beyond any meter: {shown}",
    "survey.serial": "serial number {text}",
    "survey.moves": "energy moved by {moved} Wh in {seconds} s, the power means {meant} Wh",
    "survey.moves_otherwise": "energy moved by {moved} Wh in {seconds} s, and the power means {meant} Wh",
    "survey.moves_unseen": "cannot say whether the energy moves as the power says: one step is {step} Wh, and in "
    "{seconds} s the power means {meant} Wh",
    "survey.falls": "the energy fell by itself: {moved} Wh in {seconds} s",
    "survey.fragment": (
        "What was found, for the site file: + fits, - does not, ~ half, ? cannot say. Compare the values with the "
        "meters' displays before a point is accepted."
    ),
    "survey.fragment_setting": (
        'the site file has link {link} at another setting: its devices answered at baud = {baud}, parity = "{parity}"'
    ),
    # a DLMS meter's list, as a profile
    "survey.profile.head": (
        "Made by `edge-agent scan --dlms` of the objects that {meter} lists to client {client}. Each register was read "
        "once; compare the values with the meter's display before a point is accepted."
    ),
    "survey.profile.unfinished": "The list or the reading of it broke off: {why}",
    "survey.profile.place": "Put it into /etc/edge-agent/profiles, and this into the site file:",
    "survey.profile.known": (
        'Put it into /etc/edge-agent/profiles, and say profile = "{profile}" for device {device} in the site file.'
    ),
    "survey.profile.source": "object list of {meter}, as it gives it to client {client}",
    "survey.profile.side": (
        "The meter does not say which side of the transformers its values are on: secondary is usual for meters behind "
        "transformers, and makes no difference for a direct one."
    ),
    "survey.profile.read": "it read {value}",
    "survey.profile.not_read": "not read: the association had broken off",
    "survey.profile.left_out": "left out: {why}",
    "survey.profile.another": "one is named already",
    "survey.profile.near": "Near a quantity, and none:",
    "survey.profile.unknown": "What these measure or record is not known here:",
    "survey.profile.others": "Also listed: {what}.",
    "survey.profile.public": (
        "{who}: client {client} reads nothing that is a quantity of ours; most meters show the public client (16) no "
        "more than who they are. Put the meter into the site file with the client, password or keys that its owner "
        "gave you, then: edge-agent scan --dlms --device ID -o FILE.toml"
    ),
    "survey.profile.no_list": "{who}: there is no list of objects to make a profile of",
    # how it is wired
    "survey.side_no_current": "no current that would tell",
    "survey.side_profile": "the profile's source says so; a current of {amperes} A neither shows nor denies it",
    "survey.side_too_much": "{amperes} A cannot come through the 5 A input of a meter on transformers",
    "survey.side_ratio": "{amperes} A fits a 5 A input, and the meter is set to a ratio of {ratio}",
    "survey.side_input": "{amperes} A fits a 5 A input; a small direct load would look the same",
    "survey.phases_unknown": "active and reactive power of three loaded phases are not there to compare",
    "survey.phases_in_order": "the currents stand at {l1}, {l2}, {l3} degrees to their voltages",
    "survey.phases_reversed": "the current of L{phase} stands the other way round: {l1}, {l2}, {l3} degrees",
    "survey.phases_exchanged": "the currents stand 120 degrees apart to their voltages: {l1}, {l2}, {l3}",
    "survey.phases_unclear": "the currents stand at {l1}, {l2}, {l3} degrees, which fits no usual mistake",
    "survey.nobody": "nobody answers at {who}",
    "survey.cut_short": "the time was over before everything had been tried",
}
