"""A letter becomes a message of the chain: CloudEvents 1.0, structured JSON, in bytes that never change again.

The same letter with the same number gives the same bytes: attributes in one order, data sorted by name, no white space.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from edge_agent.contract.shapes import SEQ_MAX, time_or_absent
from edge_agent.model import ClockQuality, Letter

DATA_SCHEMA = {
    "finding": "urn:edge-agent:finding:v1#/$defs/FindingData",
    "case": "urn:edge-agent:case:v1#/$defs/CaseData",
    "record": "urn:edge-agent:record:v1#/$defs/Record",
    "evaluation": "urn:edge-agent:evaluation:v1#/$defs/EvaluationData",
}
"""Where the schema of `data` is found, by the letter's kind: a part of the message's own schema."""


class _Sealed(Struct, frozen=True, kw_only=True):
    """The attributes in the order in which they are written; `messages.CloudEvent` says what they mean."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: str | UnsetType
    datacontenttype: str = "application/json"
    dataschema: str
    seq: int
    epoch: str
    prevhash: str
    clockq: str
    clockerrms: int | UnsetType
    bootid: str
    btms: str | UnsetType
    severity: str
    data: dict[str, Any]


_encoder = msgspec.json.Encoder(order="deterministic")


def seal(letter: Letter, seq: int, epoch: str, prevhash: str) -> bytes:
    """The message of `letter` as number `seq` of `epoch`; `prevhash` is the head before it, lower-case hex.

    ValueError: no number of the chain, or a kind of letter that has no schema.
    """
    if not 1 <= seq <= SEQ_MAX:
        raise ValueError(f"{seq} is no number of a chain")
    if letter.kind not in DATA_SCHEMA:
        raise ValueError(f"no schema for letters of kind {letter.kind!r}")
    clock = letter.clock
    return _encoder.encode(
        _Sealed(
            id=letter.id,
            source=letter.source,
            type=letter.type,
            subject=letter.subject,
            time=UNSET if clock.quality is ClockQuality.UNSET else time_or_absent(letter.time_ms),
            dataschema=DATA_SCHEMA[letter.kind],
            seq=seq,
            epoch=epoch,
            prevhash=prevhash,
            clockq=clock.quality,
            clockerrms=UNSET if clock.error_ms is None else min(max(clock.error_ms, 0), SEQ_MAX),
            bootid=letter.boot_id,
            btms=UNSET if clock.quality is ClockQuality.SYNCED else str(letter.bt_ms),
            severity=letter.severity,
            data=letter.data,
        )
    )
