"""What the centre says it has stored: read with care, counted when it is not what it should be.

Whatever comes on the topic may be garbage, old, or of another gateway's store. Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from edge_agent.contract.messages import Ack

Ms = int

SIZE_MAX = 65_536


class Heard(NamedTuple):
    """An acknowledgement and when it came, ms on the steady clock."""

    ack: Ack
    at_ms: Ms

    @property
    def utc_ms(self) -> Ms | None:
        """The centre's UTC when it sent this."""
        at = self.ack.at
        return round(at.timestamp() * 1000) if isinstance(at, datetime) else None


@dataclass(slots=True)
class AckProblems:
    """Why acknowledgements counted for nothing. `kind` is "" once one has counted again."""

    kind: str = ""
    count: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)

    def happened(self, kind: str) -> bool:
        """Note it; True where it is news."""
        news = kind != self.kind
        self.kind = kind
        self.count += 1
        self.by_kind[kind] = self.by_kind.get(kind, 0) + 1
        return news

    def over(self) -> None:
        self.kind = ""


_decoder = msgspec.json.Decoder(Ack)


def read(payload: bytes, at_ms: Ms) -> Heard | None:
    """None: it is no acknowledgement."""
    if len(payload) > SIZE_MAX:
        return None
    try:
        return Heard(_decoder.decode(payload), at_ms)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError):
        return None


def best(heard: Sequence[Heard]) -> Heard:
    """Of several that came together, the one that says most: they are cumulative."""
    return max(heard, key=lambda h: h.ack.upto)


def refused_numbers(heard: Sequence[Heard]) -> list[int]:
    return [seq for h in heard if h.ack.nack is not UNSET for seq in h.ack.nack]


def wanted_range(heard: Sequence[Heard]) -> tuple[int, int] | None:
    """What the last of them asks for."""
    need = heard[-1].ack.need if heard else UNSET
    return None if need is UNSET else need
