"""A device profile made of what a DLMS meter lists: what is a quantity of ours, with what it said when it was read.

What was refused, or is measured in another unit than it should be, stands there as a comment, with the reason; so does
what could not be told at all. A person has to look at it: the meter does not say which side of the transformers its
values are on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edge_agent.model import LINES, UNIT, DlmsSpec, Gap, GapCause, Identity, LinkSpec, Outcome, Reading, Register
from edge_agent.sighting import Inventory, Listed, Record, Sighting
from edge_agent.survey.fragment import comment, device_id, quoted
from edge_agent.survey.scan import who
from edge_agent.words import say

_MEASURING = {3, 4, 5, 7}
"""Classes whose objects are named one by one, where they are no quantity of ours; of the others only how many."""

CLASSES = {
    1: "data", 3: "register", 4: "extended register", 5: "demand register", 6: "register activation",
    7: "profile generic", 8: "clock", 9: "script table", 11: "special days table", 15: "association LN",
    17: "SAP assignment", 18: "image transfer", 19: "IEC local port set-up", 20: "activity calendar",
    21: "register monitor", 22: "single action schedule", 23: "IEC HDLC set-up", 40: "push set-up",
    41: "TCP-UDP set-up", 42: "IPv4 set-up", 61: "register table", 62: "compact data", 63: "status mapping",
    64: "security set-up", 68: "arbitrator", 70: "disconnect control", 71: "limiter",
}  # fmt: skip
"""Interface classes by their number, as the standard calls them."""


def profile_name(path: Path) -> str:
    """The name that a profile in this file has to have. Raises ValueError for a file name that cannot be one."""
    name = path.stem.replace("_", "-")
    if path.suffix != ".toml" or not re.fullmatch(r"[a-z0-9-]{1,32}", name):
        raise ValueError(f"{path.name!r} is no name of a profile: a-z, 0-9 and -, at most 32, and .toml")
    return name


def can_be_profile(inventory: Inventory) -> bool:
    """Whether there is a number to be read at all."""
    return any(UNIT[m.register.quantity] and _is_given(m.outcome) for m in inventory.matched)


def profile(name: str, sighting: Sighting, inventory: Inventory, link: LinkSpec, device: str = "") -> str:
    """The profile as a file; `device`: the meter's id, if the site file has it already.

    Raises ValueError where nothing of it is a quantity of ours.
    """
    if not inventory.matched:
        raise ValueError(f"{who(sighting)} lists nothing that is a quantity of ours")
    said = dict(sighting.texts)
    meter = said.get("name", who(sighting))
    lines = [
        *comment(say("survey.profile.head", meter=meter, client=inventory.spec.client)),
        *(comment(say("survey.profile.unfinished", why=str(inventory.refusal))) if inventory.refusal else []),
        *_placed(name, sighting, inventory, link, device),
        f"profile = {quoted(name)}",
        'driver = "dlms"',
        f"model = {quoted(' '.join(filter(None, (meter, said.get('firmware'))))[:200])}",
        f"source = {quoted(say('survey.profile.source', meter=meter, client=inventory.spec.client))}",
        *comment(say("survey.profile.side")),
        'side = "secondary"',
        "max_registers = 16",
        *_records("load_profile", inventory.load_profiles),
        *_records("event_log", inventory.event_logs),
    ]
    for matched in inventory.matched:
        lines += ["", *_register(matched.register, matched.outcome)]
    if inventory.near:
        lines += ["", *comment(say("survey.profile.near"))]
        lines += [f"#   {place}: {what}" for place, what in inventory.near]
    return "\n".join([*lines, *_unknown(inventory)]) + "\n"


def site_tables(link: LinkSpec, profile: str, sighting: Sighting, inventory: Inventory) -> list[str]:
    """The meter's tables for the site file, as it was asked; secrets are named by the files they stand in."""
    spec, on_line = inventory.spec, link.kind in LINES
    usual = DlmsSpec()
    lines = [
        "[[device]]",
        f"id = {quoted(device_id(link, sighting.address.replace('/', '-')))}",
        f"link = {quoted(link.id)}",
        f"profile = {quoted(profile)}",
        "",
        "[device.dlms]",
        f"client = {spec.client}",
        f"server = {spec.server}",
    ]
    if on_line and spec.physical is not None:
        lines += [f"physical = {spec.physical}", f"address_size = {spec.address_size}"]
    for key in ("authentication", "security", "wrap", "client_title", "password_file", "encryption_key_file",
                "authentication_key_file"):  # fmt: skip
        value = getattr(spec, key)
        if value != getattr(usual, key):
            lines.append(f"{key} = {quoted(value)}")
    return lines


def value_of(outcome: Outcome | None) -> str:
    """What was read, for a person."""
    match outcome:
        case None:
            return say("survey.profile.not_read")
        case Reading():
            return f"{outcome.value:.10g} {UNIT[outcome.quantity].removeprefix('1')}".strip()
        case Identity():
            return outcome.text
    address, _, why = outcome.detail.partition(": ")
    return why if "*255/" in address else outcome.detail


def class_name(number: int) -> str:
    return CLASSES.get(number, f"class {number}")


def others(inventory: Inventory) -> list[Listed]:
    """What is listed, measures or records something, and is neither a quantity of ours nor near one."""
    known = {place_of(m.register.address) for m in inventory.matched} | {place for place, _ in inventory.near}
    known |= {r.name for r in (*inventory.load_profiles, *inventory.event_logs)}
    return [o for o in inventory.objects if o.class_id in _MEASURING and o.name not in known]


def place_of(address: str) -> str:
    """The OBIS code in the address of a register."""
    return next(part for part in address.split("/") if ":" in part)


def _placed(name: str, sighting: Sighting, inventory: Inventory, link: LinkSpec, device: str) -> list[str]:
    """Where the file belongs, and what names it."""
    if device:
        return comment(say("survey.profile.known", device=device, profile=name))
    tables = (f"# {line}".rstrip() for line in site_tables(link, name, sighting, inventory))
    return [*comment(say("survey.profile.place")), "#", *tables, "#"]


def _register(register: Register, outcome: Outcome | None) -> list[str]:
    table = [
        "[[register]]",
        f'quantity = "{register.quantity}"',
        f'address = "{register.address}"',
        f"every_s = {register.every_s:g}",
    ]
    if _is_given(outcome):
        return [*comment(say("survey.profile.read", value=value_of(outcome))), *table]
    return [*comment(say("survey.profile.left_out", why=value_of(outcome))), *(f"# {line}" for line in table)]


def _is_given(outcome: Outcome | None) -> bool:
    """Whether the meter gives it, even if it has no value now; what was not read may be there."""
    return not isinstance(outcome, Gap) or outcome.cause is GapCause.NOT_AVAILABLE


def _records(key: str, found: Sequence[Record]) -> list[str]:
    """The first that can be used, and the others as comments."""
    lines: list[str] = []
    best = next((r for r in found if not r.flaw), None)
    for record in found:
        every = "" if not record.every_s else f" # every {record.every_s} s"
        if record is best:
            lines.append(f'{key} = "{record.name}"{every}')
        else:
            why = record.flaw or say("survey.profile.another")
            lines += comment(f'{key} = "{record.name}": {why}')
    return lines


def _unknown(inventory: Inventory) -> list[str]:
    rest = others(inventory)
    named = [place_of(m.register.address) for m in inventory.matched]
    counted = Counter(
        class_name(o.class_id) for o in inventory.objects if o.class_id not in _MEASURING and o.name not in named
    )
    lines: list[str] = []
    if rest:
        lines += ["", *comment(say("survey.profile.unknown"))]
        lines += [f"#   {o.name}: {class_name(o.class_id)}" for o in rest]
    if counted:
        what = ", ".join(f"{count} {name}" for name, count in sorted(counted.items()))
        lines += ["", *comment(say("survey.profile.others", what=what))]
    return lines
