"""The one door to what the simulator shares with the agent's driver: octets, A-XDR, BER, HDLC frames, wrapper header.

Everything else of DLMS is written twice. `UNREADABLE` is what all of these raise for bytes that are not theirs.
"""

from __future__ import annotations

from drivers.dlms.axdr import NULL, Bits, Data, Decoder, Tag, array, decode, encode, octet_string, structure
from drivers.dlms.ber import elements, unwrap, wrap
from drivers.dlms.hdlc_frame import FINAL, Frame, FrameReader
from drivers.dlms.hdlc_frame import encode as hdlc_frame
from drivers.dlms.octets import Octets, length_octets, string_octets
from drivers.dlms.refused import Malformed, NotSupported
from drivers.dlms.wrapper import HEADER, VERSION
from drivers.dlms.wrapper import encode as wrapped

__all__ = [
    "FINAL", "HEADER", "NULL", "UNREADABLE", "VERSION", "Bits", "Data", "Decoder", "Frame", "FrameReader", "Malformed",
    "Octets", "Tag", "array", "decode", "elements", "encode", "hdlc_frame", "length_octets", "octet_string",
    "string_octets", "structure", "unwrap", "wrap", "wrapped",
]  # fmt: skip

UNREADABLE = (Malformed, NotSupported)


def u8(value: int) -> Data:
    return Data(Tag.UNSIGNED, value)


def u16(value: int) -> Data:
    return Data(Tag.LONG_UNSIGNED, value)


def u32(value: int) -> Data:
    return Data(Tag.DOUBLE_LONG_UNSIGNED, value)


def i8(value: int) -> Data:
    return Data(Tag.INTEGER, value)


def i16(value: int) -> Data:
    return Data(Tag.LONG, value)


def enum(value: int) -> Data:
    return Data(Tag.ENUM, value)


def name_of(text: str) -> bytes:
    """A logical name from `1-0:1.8.0.255`. Raises ValueError."""
    parts = [int(part) for part in text.replace("-", ".").replace(":", ".").split(".")]
    if len(parts) != 6:
        raise ValueError(f"{text!r} is no OBIS code of six numbers")
    return bytes(parts)


def text_of(name: bytes) -> str:
    a, b, c, d, e, f = name
    return f"{a}-{b}:{c}.{d}.{e}.{f}"
