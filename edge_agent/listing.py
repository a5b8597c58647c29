"""What the verbs list, as plain data: the same from a running agent and from the store as it lies on the disk."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from edge_agent.evidence.frozen import Frozen
from edge_agent.fieldbus import raw_of
from edge_agent.load.points import Timeline, in_force
from edge_agent.model import UNIT, Gap, Identity, Ms, Outcome, Profile
from edge_agent.store import FindingRow, StoreError
from edge_agent.words import say

BEHIND_CT = frozenset({"Wh", "varh", "VAh", "W", "var", "VA"})
"""Units of what K turns into the primary side."""


def plain_row(row: FindingRow) -> dict[str, Any]:
    """One finding: its latest step."""
    return {
        "finding": row.finding,
        "topic": row.topic,
        "point": row.point,
        "step": row.step,
        "severity": row.severity,
        "active": row.data.get("active", False),
        "opened": row.data.get("opened", row.first_time),
        "time": row.time,
        "route": row.data.get("route", ""),
        "due": row.data.get("due", ""),
        "trial": row.data.get("trial", False),
        "check_archive": row.data.get("check_archive", False),
        "seq": row.seq,
    }


def steps_of(bodies: Iterable[bytes]) -> list[Mapping[str, Any]]:
    """The steps of one finding as `explain` wants them, from its messages in order."""
    messages = (msgspec.json.decode(body, type=dict[str, Any]) for body in bodies)
    return [{**m["data"], "severity": m["severity"], "time": m.get("time", "")} for m in messages]


def plain_material(bodies: Iterable[bytes], frozen: Iterable[Frozen]) -> dict[str, Any]:
    """What a bundle of a finding is made from: its messages and what was frozen, exactly as they are stored."""
    return {
        "messages": [body.decode() for body in bodies],
        "frozen": [
            {"finding": f.finding, "n": f.n, "digest": f.digest, "packed": base64.b64encode(f.packed).decode()}
            for f in frozen
        ],
    }


def material_of(plain: Mapping[str, Any]) -> tuple[list[bytes], list[Frozen]]:
    """Messages and frozen bundles out of `plain_material`."""
    frozen = [Frozen(f["finding"], f["n"], f["digest"], base64.b64decode(f["packed"])) for f in plain["frozen"]]
    return [m.encode() for m in plain["messages"]], frozen


def plain_outcome(outcome: Outcome, profile: Profile, k: Timeline, now_ms: Ms) -> dict[str, Any]:
    """One register: where it sits, what it said, and what that means on the primary side where K is known."""
    register = next(r for r in profile.registers if r.quantity is outcome.quantity)
    row: dict[str, Any] = {
        "quantity": outcome.quantity.value,
        "register": register.address,
        "type": register.type,
        "unit": UNIT[outcome.quantity],
    }
    if outcome.frame is not None:
        row |= {"asked": outcome.frame.request.hex(" "), "frame": outcome.frame.reply.hex(" ")}
        row["raw"] = raw_of(profile, register, outcome.frame).hex(" ")
    if isinstance(outcome, Gap):
        return {**row, "gap": outcome.cause.value, "detail": outcome.detail}
    if isinstance(outcome, Identity):
        return {**row, "text": outcome.text}
    row |= {"value": outcome.value, "step": outcome.step, "side": profile.side}
    if row["unit"] not in BEHIND_CT:
        return row
    if profile.side == "primary":
        return {**row, "primary": outcome.value}
    ratio = in_force(k, now_ms)
    return row if ratio is None else {**row, "k": ratio, "primary": outcome.value * ratio}


def sentence(error: BaseException) -> str:
    """What a store error means to a person, and what to do."""
    if not isinstance(error, StoreError):
        return repr(error)
    try:
        return say(error.code, "en", **error.facts)
    except KeyError:
        return str(error)
