"""The checksums by which frames of the protocols on a serial line are told from noise.

Source: MODBUS over Serial Line V1.02, 6.2.2 (CRC); ISO/IEC 13239, 4.2.5.2 (HCS and FCS of HDLC); DL/T
698.45-2017, Annex A (the same).
"""

from __future__ import annotations


def _table(polynomial: int) -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ polynomial if byte & 1 else byte >> 1
        table.append(byte)
    return tuple(table)


_MODBUS = _table(0xA001)
_HDLC = _table(0x8408)


def modbus_crc(data: bytes | bytearray | memoryview) -> int:
    """CRC-16 of Modbus RTU; on the wire its low byte goes first."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _MODBUS[(crc ^ byte) & 0xFF]
    return crc


def is_modbus_rtu(frame: bytes | bytearray | memoryview) -> bool:
    """Whether the bytes end in their own CRC."""
    return len(frame) >= 4 and modbus_crc(frame[:-2]) == frame[-2] | frame[-1] << 8


def hdlc_check(data: bytes | bytearray | memoryview) -> int:
    """HCS or FCS of HDLC and of DL/T 698.45 (CRC-16/X-25); on the wire its low byte goes first."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _HDLC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFF


def dlt645_sum(data: bytes | bytearray | memoryview) -> int:
    """The sum of a DL/T 645 frame, modulo 256."""
    return sum(data) & 0xFF
