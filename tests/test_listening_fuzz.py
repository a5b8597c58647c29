"""Listening under fire: what others say, mutated and run together. No crash, no hang, and nobody is heard who did not
speak.

A judge in this file says by the standards what a frame is; whatever is said to have been overheard must stand in the
stream, whole and with its own checksum right; of HDLC the header, whose check is its own. What stood alone in a stream
and was right must have been heard.
"""

from __future__ import annotations

import time
from collections import Counter
from random import Random

import pytest

from drivers.link.framing import Framing
from drivers.link.listening import Overheard, Overhearing
from tests import figures, on_698
from tests.mutations import FRAMES, LONGEST_S, crc, mutated, pieces, rtu
from tests.test_dlt645 import METER, di, framed


def hdlc_sum(data: bytes | bytearray) -> int:
    """ISO/IEC 13239, 4.2.5.2, bit by bit."""
    value = 0xFFFF
    for octet in data:
        value ^= octet
        for _ in range(8):
            value = value >> 1 ^ 0x8408 if value & 1 else value >> 1
    return value ^ 0xFFFF


def hdlc(destination: bytes, source: bytes, control: int, text: bytes = b"") -> bytes:
    length = 2 + len(destination) + len(source) + 1 + 2 + (len(text) + 2 if text else 0)
    head = bytes((0xA0 | length >> 8, length & 0xFF)) + destination + source + bytes((control,))
    body = head + hdlc_sum(head).to_bytes(2, "little")
    if text:
        body += text
        body += hdlc_sum(body).to_bytes(2, "little")
    return b"\x7e" + body + b"\x7e"


SAID: tuple[tuple[str, bool, bytes], ...] = (
    ("Modbus RTU", True, rtu(5, bytes.fromhex("03 0000 000A"))),
    ("Modbus RTU", False, rtu(5, bytes.fromhex("03 06 000102030405"))),
    ("Modbus RTU", False, rtu(9, bytes.fromhex("84 02"))),
    ("Modbus RTU", True, rtu(7, bytes.fromhex("10 0001 0002 04 000A0102"))),
    ("Modbus RTU", True, rtu(17, bytes.fromhex("04 0048 007D"))),
    ("DL/T 645", True, framed(METER, 0x11, di(0x00010000))),
    ("DL/T 645", False, framed(METER, 0x91, di(0x00010000) + bytes.fromhex("78563412"))),
    ("DL/T 645", True, framed("9" * 12, 0x08, bytes(6))),
    ("DL/T 698.45", True, on_698.framed(METER, bytes.fromhex("05 01 01 40010200 00"), control=0x43)),
    ("DL/T 698.45", False, on_698.framed(METER, on_698.got(1, on_698.result(0x00100200, on_698.energies(5))))),
    ("DLMS HDLC", True, bytes.fromhex("7EA0070321930F017E")),
    ("DLMS HDLC", True, hdlc(b"\x03", b"\x21", 0x10, b"\xe6\xe6\x00" + bytes(20))),
    ("DLMS HDLC", False, hdlc(b"\x21", b"\x02\x21", 0x30, b"\xe6\xe7\x00" + bytes(30))),
)
"""Protocol, whether a master says it, and the frame."""


def put_right(frame: bytearray) -> None:
    """The check at the end of whatever kind of frame it looks like."""
    if len(frame) < 5:
        return
    if frame[0] == 0x68 and len(frame) > 8 and frame[4] == 5 and frame[7] != 0x68:
        on_698.put_right(frame)
    elif frame[0] == 0x68:
        frame[-2] = sum(frame[:-2]) & 0xFF
    elif frame[0] == 0x7E:
        frame[-3:-1] = hdlc_sum(frame[1:-3]).to_bytes(2, "little")
    else:
        frame[-2:] = crc(frame[:-2]).to_bytes(2, "little")


def spoke(frame: Overheard) -> bool:
    """Whether these octets are a frame of that protocol, of that device, by its own check."""
    data = frame.data
    match frame.protocol:
        case "Modbus RTU":
            return crc(data[:-2]) == int.from_bytes(data[-2:], "little") and data[0] == int(frame.device)
        case "DL/T 645":
            return (
                (data[0], data[7], data[-1]) == (0x68, 0x68, 0x16)
                and len(data) == 12 + data[9]
                and sum(data[:-2]) & 0xFF == data[-2]
                and frame.asks == (data[8] < 0x80)
                and frame.device == data[6:0:-1].hex().upper()
            )
        case "DL/T 698.45":
            end = 6 + (data[4] & 15) + 1
            return (
                (data[0], data[-1]) == (0x68, 0x16)
                and len(data) == int.from_bytes(data[1:3], "little") + 2
                and data[end : end + 2] == on_698.x25(data[1:end])
                and data[-3:-1] == on_698.x25(data[1:-3])
                and frame.asks == (data[3] < 0x80)
                and frame.device == data[end - 2 : 4 : -1].hex().upper()
            )
    ends = [
        at
        for at in range(4, min(14, len(data)))
        if hdlc_sum(data[1 : at + 1]) == int.from_bytes(data[at + 1 : at + 3], "little")
    ]
    return data[0] == 0x7E and data[1] & 0xF0 == 0xA0 and bool(ends)


@pytest.mark.timeout(3600)
def test_nobody_is_heard_who_did_not_speak():
    chance, seen, longest_s = Random(16), Counter[str](), 0.0
    for n in range(FRAMES):
        protocol, asks, frame = SAID[n % len(SAID)]
        kind, stream = mutated(chance, frame, put_right, (0x68, 0x16, 0x7E, 0xA0, 3, 4, 0xFE))
        for _ in range(chance.choice((0, 0, 0, 1, 3))):
            kind, stream = (
                "run together",
                stream + mutated(chance, chance.choice(SAID)[2], put_right, (0x68, 0x7E, 3))[1],
            )
        ear = Overhearing(Framing())
        now_s, began_s = 0.0, time.process_time()
        for piece in pieces(chance, stream):
            now_s += chance.choice((0.001, 0.001, 0.02, 0.3))
            ear.hear(piece, now_s)
            ear.wait_s(now_s)
        heard = ear.heard()
        longest_s = max(longest_s, time.process_time() - began_s)
        for overheard in heard.frames:
            assert overheard.data in stream
            assert spoke(overheard), (kind, overheard)
            seen[f"{overheard.protocol} {'asks' if overheard.asks else 'answers'}"] += 1
        if kind == "right" and now_s < 0.25:
            assert [(f.protocol, f.asks) for f in heard.frames] == [(protocol, asks)], frame.hex(" ")
            assert heard.frames[0].data == frame or (protocol == "DLMS HDLC" and frame.startswith(heard.frames[0].data))
            seen["right, heard"] += 1
        seen["frames"] += len(heard.frames)
        seen["silent"] += not heard.frames
        assert heard.stray <= len(stream)
    figures.report("listening", frames=FRAMES, overheard=seen["frames"], streams_without_any=seen["silent"],
                   longest_ms=round(1000 * longest_s, 1))  # fmt: skip
    assert longest_s < LONGEST_S
    assert seen["right, heard"] > FRAMES / 50
    assert seen["silent"] > FRAMES / 5
    for protocol, asks, _ in SAID:
        assert seen[f"{protocol} {'asks' if asks else 'answers'}"] > FRAMES / 100


@pytest.mark.parametrize(
    "pattern",
    [
        "68",
        "01 03",
        "7E A7 FF 02 02 02 03",
        "68 20 00 43 05",
        "01 10 00 00 00 7B F6",
        "FE",
        "68 11 11 11 11 11 11 68 91 C8",
    ],
)
def test_no_flood_of_bytes_keeps_the_ear_busy(pattern):
    octets = bytes.fromhex(pattern)
    flood, ear, began_s = octets * (65_536 // len(octets)), Overhearing(Framing()), time.process_time()
    for at in range(0, len(flood), 64):
        ear.hear(flood[at : at + 64], at / 1000)
    ear.heard()
    assert time.process_time() - began_s < 4.0
