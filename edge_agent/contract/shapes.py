"""The small types that every message is made of: ids, hashes, times, bands, and the closed object they stand in.

A field that has nothing to say is absent: its default is `UNSET`, and no message holds a null. Units stand in the
schema beside the value (`unit`), so that a reader of the schema need not guess.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from edge_agent.model import Ms

ID_PATTERN = r"^[a-z0-9-]{1,32}$"
CODE_PATTERN = r"^[A-Za-z0-9._/-]{1,64}$"
MONEY_PATTERN = r"^-?[0-9]{1,15}(\.[0-9]{1,4})?$"
SEQ_MAX = 2**31 - 1

Id = Annotated[str, Meta(pattern=ID_PATTERN)]
Code = Annotated[str, Meta(pattern=CODE_PATTERN)]
Money = Annotated[str, Meta(pattern=MONEY_PATTERN)]
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]
FindingId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:/-]{1,200}$")]
EventId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:/-]{1,240}$")]
Epoch = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$")]
HashHex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Digest = Annotated[str, Meta(pattern=r"^sha-256:[0-9a-f]{8,64}$")]
Version = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:+@-]{1,80}$")]
BootId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}$")]
Seq = Annotated[int, Meta(ge=1, le=SEQ_MAX)]
SeqOrNone = Annotated[int, Meta(ge=0, le=SEQ_MAX)]
Tally = Annotated[int, Meta(ge=0)]
Time = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$")]
Day = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
Share = Annotated[float, Meta(ge=0, le=1)]
Text = Annotated[str, Meta(min_length=1, max_length=500)]
Unit = Annotated[str, Meta(pattern=r"^[A-Za-z0-9%/]{1,8}$")]


class Closed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An object with exactly these fields."""


def described(text: str, unit: str = "") -> Meta:
    """What a field means, and its unit where it has one."""
    return Meta(description=text, extra_json_schema={"unit": unit} if unit else None)


def rfc3339(utc_ms: Ms) -> str:
    """`2026-03-14T10:15:00.000Z`; ValueError where the instant has no year of four digits."""
    try:
        whole = datetime.fromtimestamp(utc_ms // 1000, UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(f"no instant: {utc_ms} ms") from error
    return f"{whole.year:04d}{whole:-%m-%dT%H:%M:%S}.{utc_ms % 1000:03d}Z"


def time_or_absent(utc_ms: Ms | None) -> str | UnsetType:
    return UNSET if utc_ms is None else rfc3339(utc_ms)


def given(value: Any) -> Any:
    """The value, or absent where there is none: None and an empty text say nothing."""
    return UNSET if value is None or value == "" else value
