"""A device's round trips as a vector file: what was asked, what came, and what was read from it.

It has the form of the files in tests/vectors/profiles: Modbus questions and answers as over TCP, whatever they came
over; DL/T 645 frames as they are. A frame holds the meter's number and its readings: it is shared as such.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.model import UNIT, Frame, Gap, Identity, Outcome
from edge_agent.survey.probe import Fit, Probed
from edge_agent.survey.trial import Exchanged


def vector(device: Probed, fit: Fit) -> str:
    """What one reading of the whole device brought. Questions that nobody answered are left out."""
    modbus = device.sighting.driver == "modbus"
    over_tcp = device.setting is None
    once: dict[bytes, Exchanged] = {}
    for trip in fit.reads.exchanged:
        if trip.frame.reply:
            once[trip.frame.request] = trip
    lines = [
        f"# Recorded from a device: {fit.profile.model}, score {fit.score:.2f}. It holds its number and readings.",
        f"unit = {int(device.sighting.address)}",
    ]
    for number, trip in enumerate(once.values(), start=1):
        frame = trip.frame if not modbus else trip.frame if over_tcp else _as_tcp(trip.frame, number)
        lines += ["", "[[reply]]", f'request = "{_shown(frame.request)}"', f'reply = "{_shown(frame.reply)}"']
        lines += _readings(trip.outcomes)
    return "\n".join(lines) + "\n"


def file_name(fit: Fit, device: Probed, taken: Sequence[str]) -> str:
    """Named after the profile, as the vector of a profile is; a second device of that profile by its address too."""
    name = f"{fit.profile.name}.toml"
    return name if name not in taken else f"{fit.profile.name}-{device.sighting.address}.toml"


def _as_tcp(frame: Frame, number: int) -> Frame:
    """An RTU round trip without its checksums, behind headers."""
    return Frame(_headed(frame.request, number), _headed(frame.reply, number), frame.bt_ms)


def _headed(rtu: bytes, number: int) -> bytes:
    body = rtu[:-2]
    return number.to_bytes(2, "big") + b"\0\0" + len(body).to_bytes(2, "big") + body


def _readings(outcomes: Sequence[Outcome]) -> list[str]:
    if not outcomes:
        return ["readings = {}"]
    lines = ["", "[reply.readings]"]
    for outcome in outcomes:
        match outcome:
            case Gap():
                lines.append(f'{outcome.quantity} = "gap: {outcome.cause}"')
            case Identity():
                lines.append(f"{outcome.quantity} = {_text(outcome.text)}")
            case _:
                lines.append(f'{outcome.quantity} = [{outcome.value!r}, "{UNIT[outcome.quantity]}"]')
    return lines


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _shown(data: bytes) -> str:
    return data.hex(" ").upper()
