"""EV0, the facts behind one step: what was said, by which parameters, amid which blocks, registers and raw frames.

Every list is bounded, and what was left out is counted. What is not known is absent, never a default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from edge_agent.audit.topic import Release
from edge_agent.contract.shapes import rfc3339
from edge_agent.evidence.extras import EXTRAS, family_of
from edge_agent.evidence.recent import Boundary
from edge_agent.model import UNIT, ClockState, DeviceId, DeviceSpec, Frame, Gap, Identity, Ms, Outcome, Quantity

VERSION = "edge-agent.evidence.v1"
FRAMES_MOST = 24
FRAME_BYTES = 512
"""Of each direction of a frame; a longer one is cut, and says its length."""

VALUES_MOST = 160


def document(
    said: Mapping[str, Any],
    *,
    severity: str,
    start_ms: Ms,
    end_ms: Ms,
    zone: tzinfo,
    release: Release | None,
    serial: str | None,
    clock: ClockState,
    blocks: Mapping[str, list[dict[str, Any]]],
    ends: Mapping[str, Boundary | None],
    shown: Iterable[Outcome],
    meter: DeviceId | None = None,
    devices: Mapping[DeviceId, DeviceSpec] | None = None,
) -> dict[str, Any]:
    """`said`: the message's data. `ends`: registers at the window's "start" and "end". `shown`: the devices' last.

    `meter`: whose registers `ends` are. `devices`: how the bytes of a frame are to be read.
    """
    shown = list(shown)
    values, frames, left_out = shown_values(shown, clock)
    wanted = EXTRAS.get(str(said.get("topic")), ())
    return {
        "evidence": VERSION,
        "said": dict(said),
        "severity": severity,
        "window": {
            "start": rfc3339(start_ms),
            "end": rfc3339(end_ms),
            "start_local": _local(start_ms, zone),
            "end_local": _local(end_ms, zone),
            "zone": str(zone),
        },
        **({"release": _release(release)} if release is not None else {}),
        **({"meter_serial": serial} if serial else {}),
        **({"meter": meter} if meter else {}),
        "devices": _devices(shown, devices or {}),
        "clock": _clock(clock, values, zone),
        "intervals": {part: list(rows) for part, rows in blocks.items()},
        "registers": {name: {"at": rfc3339(b.at_ms), **b.plain()} for name, b in ends.items() if b is not None},
        "shown": values,
        "extras": {family: [v for v in values if family_of(v["quantity"]) == family] for family in wanted},
        "frames": frames,
        **({"left_out": left_out} if left_out else {}),
    }


def _devices(shown: Iterable[Outcome], devices: Mapping[DeviceId, DeviceSpec]) -> dict[str, Any]:
    """Of each device its profile, with the source that was read, and where each shown quantity stands in it."""
    out: dict[str, Any] = {}
    for name in dict.fromkeys(o.device for o in shown):
        if (spec := devices.get(name)) is None:
            continue
        asked = {o.quantity for o in shown if o.device == name}
        profile = spec.profile
        out[name] = {
            "driver": profile.driver,
            "profile": profile.name,
            "model": profile.model,
            "source": profile.source,
            "side": profile.side,
            **({"address": spec.address} if spec.address else {"unit": spec.unit}),
            "registers": {
                r.quantity.value: {
                    "address": r.address, "type": r.type, "order": r.order, "scale": r.scale, "unit": r.unit
                }
                for r in profile.registers
                if r.quantity in asked
            },
        }  # fmt: skip
    return out


def shown_values(shown: list[Outcome], clock: ClockState) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    """What the devices showed, each once, the frames that carried it, and how much was left out."""
    values: list[dict[str, Any]] = []
    frames: dict[tuple[bytes, bytes], dict[str, Any]] = {}
    left_out = max(0, len(shown) - VALUES_MOST)
    for outcome in shown[:VALUES_MOST]:
        at_ms = clock.utc_ms(outcome.bt_ms)
        row: dict[str, Any] = {"device": outcome.device, "quantity": outcome.quantity.value}
        if at_ms is not None:
            row["at"] = rfc3339(at_ms)
        match outcome:
            case Gap():
                row["gap"] = outcome.cause.value
            case Identity():
                row["text"] = outcome.text[:200]
            case _:
                row |= {"value": outcome.value, "step": outcome.step, "unit": UNIT[outcome.quantity]}
        values.append(row)
        if outcome.frame is None:
            continue
        key = (outcome.frame.request, outcome.frame.reply)
        if key not in frames and len(frames) >= FRAMES_MOST:
            left_out += 1
            continue
        frame = frames.setdefault(key, {"device": outcome.device, "quantities": [], **_frame(outcome.frame, clock)})
        frame["quantities"].append(outcome.quantity.value)
    return values, list(frames.values()), left_out


def _frame(frame: Frame, clock: ClockState) -> dict[str, Any]:
    at_ms = clock.utc_ms(frame.bt_ms)
    plain: dict[str, Any] = {} if at_ms is None else {"at": rfc3339(at_ms)}
    for name, raw in (("request", frame.request), ("reply", frame.reply)):
        plain[name] = raw[:FRAME_BYTES].hex()
        if len(raw) > FRAME_BYTES:
            plain[f"{name}_bytes"] = len(raw)
    return plain


def _clock(clock: ClockState, values: Iterable[Mapping[str, Any]], zone: tzinfo) -> dict[str, Any]:
    """The gateway's clock, and by how much the meter's was off when it was read last, where that can be said."""
    plain: dict[str, Any] = {"quality": clock.quality.value}
    if clock.error_ms is not None:
        plain["error_ms"] = clock.error_ms
    for value in values:
        if value["quantity"] == Quantity.METER_CLOCK.value and "text" in value and "at" in value:
            plain["meter"] = {"device": value["device"], "text": value["text"], "read_at": value["at"]}
            try:
                shown = datetime.fromisoformat(value["text"])
            except ValueError:
                continue
            shown = shown if shown.tzinfo else shown.replace(tzinfo=zone)
            plain["meter"]["offset_s"] = round((shown - datetime.fromisoformat(value["at"])).total_seconds(), 1)
    return plain


def _release(release: Release) -> dict[str, Any]:
    return {
        "name": release.name,
        "digest": release.digest,
        "unit": release.unit,
        "levels": [
            {"severity": x.severity.value, "above": x.above, "open": x.open._asdict(), "source": x.source}
            for x in release.levels
        ],
        "clear": {"kind": release.clear.kind, "below": release.clear.below, "hold_s": release.clear.hold_s},
        "params": dict(release.params),
    }


def _local(at_ms: Ms, zone: tzinfo) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone).isoformat(timespec="seconds")
