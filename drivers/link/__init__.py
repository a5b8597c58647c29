"""Byte links: a channel that is opened, asked through a gate and closed, and the one way to converse on it.

`open_link` gives the link that a specification names; it connects at the first question. The parts: `base` (what every
link has, `converse`), `tcp` (Modbus TCP, the TCP wrapper of DLMS, and converters onto a serial line), `serial` (a
port), `holder` (who else has the port), `carrier` (a simulated line), `memory` (a function), `framing` (how long a
character takes), `latency` (how long a device takes), `listening` (who else is master on a line).
"""

from __future__ import annotations

from collections.abc import Callable

from drivers.link.base import KEPT_FRAMES, Answer, Exchange, Link, Voice, converse
from drivers.link.carrier import Carrier, CarrierLink
from drivers.link.framing import Framing, framing_of
from drivers.link.memory import MemoryLink
from drivers.link.tcp import TcpLink
from edge_agent.model import LinkSpec, Ms


def open_link(spec: LinkSpec, *, now_ms: Callable[[], Ms]) -> Link:
    """The link of that kind, not connected yet. `now_ms` is the boot clock."""
    framing = framing_of(spec)
    match spec.kind:
        case "modbus-tcp" | "dlms-tcp" | "tcp-serial":
            return TcpLink(
                spec.host,
                spec.port,
                now_ms=now_ms,
                connect_timeout_s=spec.connect_timeout_s,
                framing=framing,
                echo=spec.echo,
                kind=spec.kind,
            )
        case "serial":
            from drivers.link.serial import SerialLink  # termios: only where there is a port

            assert framing is not None
            return SerialLink(spec.path, framing, now_ms=now_ms, echo=spec.echo)
    raise ValueError(f"link {spec.id}: kind {spec.kind!r} is not known")


__all__ = [
    "KEPT_FRAMES",
    "Answer",
    "Carrier",
    "CarrierLink",
    "Exchange",
    "Framing",
    "Link",
    "MemoryLink",
    "TcpLink",
    "Voice",
    "converse",
    "framing_of",
    "open_link",
]
