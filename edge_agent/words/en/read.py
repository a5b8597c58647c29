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
    "read.implausible": (
        "A value that no network has is not taken: the device may be of another model than its profile, or the profile "
        "may have the wrong type, byte order or unit for this register. Compare its raw bytes with the display."
    ),
    "read.refused": "The device has none of the registers asked for: check that its profile is the right one.",
}
