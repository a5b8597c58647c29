"""What to do when a device cannot be read, by the cause of the failure."""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    "read.link_down": (
        "Check the address, and whether another program is connected to it: many meters and gateways serve one "
        "connection at a time. Close the other one (an agent elsewhere, a control system, a configuration tool), then "
        "read again."
    ),
    "read.no_reply": (
        "Check the unit number, supply and wiring of the device, and whether another program has the only connection "
        "that it serves; then read again."
    ),
    "read.bad_reply": (
        "What answered does not speak Modbus TCP as asked: check the port, and that no other device has this unit "
        "number."
    ),
    "read.link_down_line": (
        "Check that the adapter is plugged in and that the link's path names it, that this user may open it, and that "
        "no other program has it."
    ),
    "read.no_reply_line": (
        "Check the device's address and its supply, that A and B are not swapped, and that the link has the speed and "
        "parity that the device is set to; then read again."
    ),
    "read.bad_reply_line": (
        "Check speed and parity of the link, that no other device on the line has this address, and that nobody else "
        "speaks on it."
    ),
    "read.refused_line": "The device has none of the registers asked for: check that its profile is the right one.",
    "read.implausible": (
        "A value that no network has is not taken: the device may be of another model than its profile, or the profile "
        "may have the wrong type, byte order or unit for this register. Compare its raw bytes with the display."
    ),
    "read.refused": "The device has none of the registers asked for: check that its profile is the right one.",
}
