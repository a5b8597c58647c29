"""What `status` says about links and devices, and what to do about it."""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    "status.link_up": "up",
    "status.link_listening": "{detail}",
    "status.link_given_up": "another master has this line, nothing is asked on it: {detail}",
    "status.link_down": "down: {detail}",
    "status.link_shared": "shared with {others}",
    "status.link_all_silent": (
        "not one of its {count} devices answers: look at the line itself (plugs, A and B, supply of the converter) and "
        "at its speed and parity before looking at a device"
    ),
    "status.device_answers": "answers",
    "status.device_partly": "answers; of {count} values {missing}",
    "status.device_not_asked": "not asked yet",
    "status.device_link": "cannot be asked: link {link} is {phase}",
    "status.device_left_alone": "left alone: {reason} ({detail})",
    "status.reason_no_reply": "it keeps silent",
    "status.reason_bad_reply": "what it answers cannot be used",
    "status.reason_busy": "it is busy",
    "status.reason_refused": "it refuses everything it is asked for",
    "status.reason_not_available": "it says that it has no value",
    "status.reason_implausible": "its values cannot be right",
    "status.phase_listening": "being listened to first",
    "status.phase_given_up": "another master's",
    "status.phase_down": "down",
}
