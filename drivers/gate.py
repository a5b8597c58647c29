"""The read-only gate: the last thing every outgoing byte passes.

It parses the bytes itself, by the standard, and shares no code with whatever encoded them: a mistake in an encoder is
a `GateRefused`, never a write to a meter. What is not on the list of reads is refused, known or not. There is one gate
per kind of link; a link cannot be made without one.

Source: MODBUS Application Protocol V1.1b3, 6.1-6.4 and 6.21; MODBUS Messaging on TCP/IP V1.0b, 3.1.3; DL/T 645-2007,
5.2 and 7.1-7.3; DL/T 698.45-2017, 5 and Annex A (frames), 6.3 and Annex D.3 (GET).
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


def modbus_rtu(data: bytes) -> None:
    """Pass exactly one Modbus RTU request that reads, to one unit, with its checksum."""
    if len(data) < 5:
        raise GateRefused("shorter than a unit, a function and a checksum", data)
    if not 1 <= data[0] <= 247:
        raise GateRefused(f"unit {data[0]} is not one device", data)
    if _crc16(data[:-2]) != data[-2] | data[-1] << 8:
        raise GateRefused("the checksum is wrong", data)
    _reading_pdu(data[1:-2], data)


def _crc16(data: bytes) -> int:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


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


def dlt645(data: bytes) -> None:
    """Pass exactly one DL/T 645-2007 frame that reads an item, the frame that follows it, or a meter's address."""
    frame = data.lstrip(b"\xfe")
    if len(data) - len(frame) > 4:
        raise GateRefused("more than four octets FE", data)
    if len(frame) < 12 or frame[0] != 0x68 or frame[7] != 0x68 or frame[-1] != 0x16:
        raise GateRefused("not framed by 68, 68 and 16", data)
    if len(frame) != 12 + frame[9]:
        raise GateRefused("not exactly one frame", data)
    if sum(frame[:-2]) & 0xFF != frame[-2]:
        raise GateRefused("a checksum that is not the frame's", data)
    # 11 names an item in four octets; 12 adds which frame of it, from 1 on, sent 33 higher; 13 has no data. Of load
    # records (06 sent as 39) 11 may also name how many, and from which time on.
    of_records = frame[8] == 0x11 and frame[9] == 10 and frame[13] == 0x39
    if not of_records and _DLT645_DATA.get(frame[8]) != frame[9]:
        raise GateRefused(f"control {frame[8]:02X} with {frame[9]} octets does not read", data)
    if frame[8] == 0x12 and frame[14] == 0x33:
        raise GateRefused("no frame has the number 0", data)
    _dlt645_address(frame[6:0:-1], wildcard=frame[8] == 0x13, data=data)


_DLT645_DATA = {0x11: 4, 0x12: 5, 0x13: 0}
"""The controls that read, and how many octets of data each has."""


def _dlt645_address(octets: bytes, *, wildcard: bool, data: bytes) -> None:
    """Digits, with AA in front for a short one; AA alone only asks who is there; 99 throughout is for broadcasts."""
    if wildcard:
        if octets != b"\xaa" * 6:
            raise GateRefused("an address is asked for with AA throughout", data)
        return
    digits = octets.lstrip(b"\xaa").hex()
    if not digits.isdecimal() or digits == "9" * 12:
        raise GateRefused("not the address of a meter", data)


def dlt698(data: bytes) -> None:
    """Pass exactly one DL/T 698.45 frame with GET of one attribute, of a list of them, or of the next block.

    It goes to one meter; to whoever is there, or whose address ends so, it goes if it asks for the address alone.

    Of the services of 6.3 that is one, GET (05), and of its kinds normal (1), list (2) and next (5). LINK, CONNECT,
    RELEASE, SET (06), ACTION (07), REPORT, PROXY (09), SECURITY (16) and whatever is not named are refused; so are GET
    of records (3, 4) and of a digest (6), which nobody asks here, and a time tag, by which a meter may judge clocks.
    """
    frame = data.lstrip(b"\xfe")
    if len(data) - len(frame) > 4:
        raise GateRefused("more than four octets FE", data)
    if len(frame) < 21 or frame[0] != 0x68 or frame[-1] != 0x16:
        raise GateRefused("not framed by 68 and 16", data)
    if frame[1] | frame[2] << 8 != len(frame) - 2:
        raise GateRefused("not exactly one frame", data)
    # From the client, begun by it, whole, as it is, with user data; logical address 0, six octets: of one meter (05),
    # or with AA in the higher ones, which stand for any digits (45).
    if frame[3] != 0x43:
        raise GateRefused(f"control {frame[3]:02X} is not a client's question", data)
    digits = frame[10:4:-1].lstrip(b"\xaa" if frame[4] == 0x45 else b"").hex()
    if frame[4] not in {0x05, 0x45} or (digits and not digits.isdecimal()) or (frame[4] == 0x45 and len(digits) == 12):
        raise GateRefused("not the address of one meter", data)
    for name, check in (("header", frame[1:14]), ("frame", frame[1:-1])):
        if _crc_x25(check[:-2]) != check[-2] | check[-1] << 8:
            raise GateRefused(f"the check of the {name} is wrong", data)
    apdu = frame[14:-3]
    if apdu[0] != 0x05:
        raise GateRefused(f"service {apdu[0]} does not read", data)
    # After the kind: number and priority (bit 6 is reserved); the kind's own octets; no time tag (0).
    size = {1: 4, 2: 1 + 4 * apdu[3], 5: 2}.get(apdu[1])
    if size is None:
        raise GateRefused(f"GET {apdu[1]} is not asked here", data)
    if apdu[2] & 0x40 or len(apdu) != 3 + size + 1 or apdu[-1] != 0:
        raise GateRefused("a GET is its kind, its number, what is asked, and no time tag", data)
    if apdu[1] == 2 and not 1 <= apdu[3] <= 0x7F:
        raise GateRefused(f"a list of {apdu[3]}", data)
    if frame[4] == 0x45 and (apdu[1] != 1 or apdu[3:7] != b"\x40\x01\x02\x00"):
        raise GateRefused("of whoever is there, nothing is asked but the address", data)


def _crc_x25(data: bytes) -> int:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x8408 if crc & 1 else crc >> 1
    return crc ^ 0xFFFF


GATES: dict[str, Gate] = {
    "modbus-tcp": modbus_tcp,
    "modbus-rtu": modbus_rtu,
    "dlt645": dlt645,
    "dlt698": dlt698,
}
"""By protocol; those of DLMS are made by `gate_of`."""


def gate_of(protocol: str) -> Gate:
    """The gate for one voice. Raises KeyError for a protocol that has none."""
    if protocol.startswith("dlms-"):
        from drivers.gate_dlms import GATES as ciphering  # they remember: each voice has its own

        return ciphering[protocol]()
    return GATES[protocol]
