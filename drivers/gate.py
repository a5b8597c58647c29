"""The read-only gate: the last thing every outgoing byte passes.

It parses the bytes itself, by the standard, and shares no code with whatever encoded them: a mistake in an encoder is
a `GateRefused`, never a write to a meter. What is not on the list of reads is refused, known or not. There is one gate
per kind of link; a link cannot be made without one.

Source: MODBUS Application Protocol V1.1b3, 6.1-6.4 and 6.21; MODBUS Messaging on TCP/IP V1.0b, 3.1.3.
"""

from __future__ import annotations

from collections.abc import Callable

Gate = Callable[[bytes], None]
"""Returns for a read, raises `GateRefused` for anything else."""

_MOST = {1: 2000, 2: 2000, 3: 125, 4: 125}
"""Read functions (coils, discrete inputs, holding registers, input registers) and how many each may ask for."""


class GateRefused(Exception):
    """Bytes that are not a read were about to leave: a bug in this agent. Nothing was sent."""

    def __init__(self, why: str, data: bytes) -> None:
        super().__init__(f"{why}: {data.hex(' ')}")
        self.data = data


def modbus_tcp(data: bytes) -> None:
    """Pass exactly one Modbus TCP request that reads."""
    if len(data) < 8:
        raise GateRefused("shorter than a header and a function", data)
    if data[2] or data[3]:
        raise GateRefused("not the Modbus protocol identifier", data)
    if data[4] << 8 | data[5] != len(data) - 6:
        raise GateRefused("not exactly one request", data)
    _reading_pdu(data[7:], data)


def _reading_pdu(pdu: bytes, data: bytes) -> None:
    function = pdu[0]
    if function == 0x2B:
        # Encapsulated interface: only 14, read device identification, by category 1-3 or one object (4).
        if len(pdu) != 4 or pdu[1] != 0x0E or not 1 <= pdu[2] <= 4:
            raise GateRefused("not a read of the device identification", data)
        return
    if function not in _MOST:
        raise GateRefused(f"function {function} does not read", data)
    if len(pdu) != 5:
        raise GateRefused("a read is function, address and count", data)
    address, count = pdu[1] << 8 | pdu[2], pdu[3] << 8 | pdu[4]
    if not 1 <= count <= _MOST[function] or address + count > 0x10000:
        raise GateRefused(f"cannot read {count} from {address:#06x}", data)


GATES: dict[str, Gate] = {"modbus-tcp": modbus_tcp}
"""By kind of link."""
