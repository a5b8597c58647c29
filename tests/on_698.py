"""DL/T 698.45 frames and answers put together octet by octet from the standard, apart from driver and simulator."""

from __future__ import annotations

from drivers.dlt698.exchange import Exchange, Session
from edge_agent.ports import DriverError

METER, OTHER = "123456789012", "201605190907"
ENERGY, VOLTAGES, CLOCK = 0x00100200, 0x20000200, 0x40000200

NOBODY_KNOWS = b"\x00\x06"
"""A result: no value, data access result 6."""


def x25(data: bytes | bytearray) -> bytes:
    """Annex A, bit by bit; low octet first."""
    crc = 0xFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = (crc >> 1) ^ 0x8408 if crc & 1 else crc >> 1
    return (crc ^ 0xFFFF).to_bytes(2, "little")


def framed(address: str, apdu: bytes, *, control: int = 0xC3, client: int = 0, kind: int = 0x05) -> bytes:
    if control & 0x08:
        apdu = bytes((octet + 0x33) & 0xFF for octet in apdu)
    octets = bytes((control, kind)) + bytes.fromhex(address)[::-1] + bytes((client,))
    body = (len(octets) + 2 + 2 + len(apdu) + 2).to_bytes(2, "little") + octets
    body += x25(body)
    body += apdu
    return b"\x68" + body + x25(body) + b"\x16"


def put_right(frame: bytearray) -> None:
    """Length and both checks of a frame that was tampered with, so that only its meaning is wrong."""
    if len(frame) > 8:
        frame[1:3] = (len(frame) - 2).to_bytes(2, "little")
        end = 6 + (frame[4] & 0x0F) + 1
        if len(frame) >= end + 5:
            frame[end : end + 2] = x25(frame[1:end])
        frame[-3:-1] = x25(frame[1:-3])


def result(oad: int, data: bytes) -> bytes:
    """What came for an attribute: data, or with `NOBODY_KNOWS` none."""
    return oad.to_bytes(4, "big") + (data if data == NOBODY_KNOWS else b"\x01" + data)


def got(piid: int, *results: bytes, listed: bool | None = None) -> bytes:
    """GET-Response, normal or list."""
    if len(results) > 1 if listed is None else listed:
        return bytes((0x85, 2, piid, len(results))) + b"".join(results) + b"\0\0"
    return bytes((0x85, 1, piid)) + b"".join(results) + b"\0\0"


def block(piid: int, number: int, last: bool, *results: bytes) -> bytes:
    """GET-Response, next."""
    return (
        bytes((0x85, 5, piid, last))
        + number.to_bytes(2, "big")
        + bytes((1, len(results)))
        + b"".join(results)
        + b"\0\0"
    )


def u32(value: int) -> bytes:
    return b"\x06" + value.to_bytes(4, "big")


def energies(first: int) -> bytes:
    return b"\x01\x02" + u32(first) + u32(0)


def volts(*tenths: int) -> bytes:
    return bytes((1, len(tenths))) + b"".join(b"\x12" + tenth.to_bytes(2, "big") for tenth in tenths)


class Clock:
    """The boot clock of a test: it stands until it is moved."""

    def __init__(self, ms: int = 1_000_000) -> None:
        self.ms = ms

    def __call__(self) -> int:
        return self.ms


def energy(session: Session | None = None, address: str = METER) -> Exchange:
    return (session or Session(Clock())).ask(address, (ENERGY,))


def outcome(exchange: Exchange, *pieces: bytes) -> bytes | DriverError:
    """What the bytes come to, and after them silence."""
    try:
        for piece in pieces:
            payload = exchange.feed(piece)
            if payload is not None:
                return payload
    except DriverError as error:
        return error
    return exchange.expired()
