"""What was found, as tables for the site file: link and devices, with the reasons as comments.

Where no profile fits, or several do, the file says so; a device without a profile is a comment and no table.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.model import LinkSpec
from edge_agent.survey.place import Setting
from edge_agent.survey.probe import Probed
from edge_agent.survey.scan import who
from edge_agent.words import phrase, say, spoken

UNPROBED_PROFILES = {"dlt698": "dlt698-3p"}
"""Of meters whose objects mean the same whoever made them."""

_ID_LENGTH = 32


def fragment(
    spec: LinkSpec, setting: Setting | None, probed: Sequence[Probed], *, known: bool, more: Sequence[str] = ()
) -> str:
    """`known`: the site file has the link already. `more`: tables of devices that were not probed."""
    lines = [*comment(say("survey.fragment"))]
    if not known:
        lines += ["", "[[link]]", *_link(spec, setting)]
    elif setting is not None and (spec.baud, spec.parity) != (setting.baud, setting.parity):
        lines += ["", *comment(say("survey.fragment_setting", link=spec.id, baud=setting.baud, parity=setting.parity))]
    for device in probed:
        lines += ["", *_device(spec, device)]
    if more:
        lines += ["", *more]
    return "\n".join(lines) + "\n"


def device_id(spec: LinkSpec, address: str) -> str:
    """Unique on the site: the link's id and the address, within 32 characters."""
    return f"{spec.id[: _ID_LENGTH - 1 - len(address)].rstrip('-')}-{address}"


def _link(spec: LinkSpec, setting: Setting | None) -> list[str]:
    lines = [f'id = "{spec.id}"', f'kind = "{spec.kind}"']
    lines += (
        [f"path = {quoted(spec.path)}"] if spec.kind == "serial" else [f'host = "{spec.host}"', f"port = {spec.port}"]
    )
    if setting is not None:
        lines += [f"baud = {setting.baud}", f'parity = "{setting.parity}"']
        lines += [f"stop_bits = {setting.stop_bits}"] if setting.stop_bits != 1 else []
        lines += [f"settlement = {str(spec.settlement).lower()}"]
        if spec.shared_line:
            lines += ["shared_line = true"]
    return lines


def _device(spec: LinkSpec, device: Probed) -> list[str]:
    best = device.best
    lines = comment(f"{who(device.sighting)}: {spoken(device.verdict)}")
    if device.cut_short:
        lines += comment(say("survey.cut_short"))
    for fit in device.reordered[:2]:
        fields = {"profile": fit.profile.name, "score": f"{fit.score:.2f}", "order": fit.order}
        lines += comment(spoken(phrase("survey.reordered", **fields)))
    if best is None:
        name = UNPROBED_PROFILES.get(device.sighting.driver)
        return lines if name is None else [*lines, *_table(spec, device, name)]
    for remark in best.remarks:
        mark = "?" if remark.fit is None else "+" if remark.fit >= 0.75 else "-" if remark.fit < 0.4 else "~"
        lines += comment(f"{mark} {spoken(remark.says)}")
    for name, guess in (("side", device.side), ("phases", device.phases)):
        if guess is not None:
            what = f"{guess.what} ({guess.confidence:.2f})" if guess.what else "cannot say"
            lines += comment(f"{name}: {what}; {spoken(guess.why)}")
    return [*lines, *_table(spec, device, best.profile.name)]


def _table(spec: LinkSpec, device: Probed, profile: str) -> list[str]:
    address = device.sighting.address
    return [
        "[[device]]",
        f'id = "{device_id(spec, address)}"',
        f'link = "{spec.id}"',
        f"unit = {address}" if device.sighting.driver == "modbus" else f'address = "{address}"',
        f'profile = "{profile}"',
    ]


def comment(text: str) -> list[str]:
    """As comment lines: over as many lines as it takes, none longer than a terminal."""
    lines, line = [], "#"
    for word in "".join(c if c.isprintable() else "?" for c in text).split():
        if len(line) + 1 + len(word) > 118:
            lines.append(line)
            line = "#  "
        line += f" {word}"
    return [*lines, line]


def quoted(value: str) -> str:
    """As a string of TOML."""
    value = "".join(c if c.isprintable() else "?" for c in value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
