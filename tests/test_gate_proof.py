"""Nothing but reads reaches the wire, whatever the settings, requests and inputs: EDGE_PROVE_GATE of them.

Each case goes the way of every byte, through the voice of its protocol on a link that records what was sent. What was
sent is judged here by the standards, apart from the gate: which functions and controls read, and in what form.

Source of the judge: MODBUS Application Protocol V1.1b3, 6.1 to 6.4 and 6.21; MODBUS over Serial Line V1.02, 2.2 and
2.5.1; MODBUS Messaging on TCP/IP V1.0b, 3.1.3; DL/T 645-2007, 5.2, 7.1 to 7.3 and 7.5 (times are set by broadcast);
DL/T 698.45-2017, 5, 6.3 and Annexes A and D.3.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from random import Random

import pytest

from drivers.dlt645 import exchange as dlt_exchange
from drivers.dlt645.frame import address_of, encode
from drivers.dlt698 import exchange as dlt698_exchange
from drivers.dlt698 import frame as dlt698_frame
from drivers.gate import GATES, Gate, GateRefused
from drivers.link import Framing, MemoryLink, Voice
from drivers.modbus.exchange import Session
from drivers.modbus.rtu import RtuSession
from edge_agent.fieldbus import FieldLine
from edge_agent.model import UNIT, DeviceSpec, LinkSpec, Profile, Quantity, Register
from edge_agent.ports import DriverError
from simulator.line.virtual import run_virtual
from tests import figures, on_698
from tests.meters import mbap
from tests.mutations import crc, mutated, rtu
from tests.test_dlt645 import framed

CASES = int(os.environ.get("EDGE_PROVE_GATE", "20000"))
BY_SETTINGS = 40
"""One in so many cases is a device of a random profile on a random link, read by the agent's own driver."""


# --- the judge


def reads_modbus(pdu: bytes) -> bool:
    """Four functions read registers and bits, one the device's identification; each with its own form and limits."""
    if len(pdu) == 5 and 1 <= pdu[0] <= 4:
        first, count = struct.unpack(">HH", pdu[1:])
        return bool(1 <= count <= (2000 if pdu[0] in {1, 2} else 125) and first + count <= 65_536)
    return len(pdu) == 4 and pdu[:2] == b"\x2b\x0e" and pdu[2] in {1, 2, 3, 4}


def reads_tcp(data: bytes) -> bool:
    """One frame and no more: any transaction, protocol 0, its own length, any unit."""
    return len(data) >= 8 and data[2:6] == struct.pack(">HH", 0, len(data) - 6) and reads_modbus(data[7:])


def reads_rtu(data: bytes) -> bool:
    """To one unit, 0 being all of them and 248 to 255 nobody's; with its checksum."""
    if len(data) < 4 or data[0] not in range(1, 248):
        return False
    return data[-2:] == struct.pack("<H", crc(data[:-2])) and reads_modbus(data[1:-2])


def reads_dlt645(data: bytes) -> bool:
    """At most four FE, then one frame; 11 with an item (06...... also with six octets), 12 with a number, 13 bare."""
    start = data.find(b"\x68")
    if not 0 <= start <= 4 or data[:start] != b"\xfe" * start:
        return False
    frame = data[start:]
    if len(frame) < 12 or len(frame) != 12 + frame[9] or (frame[7], frame[-1]) != (0x68, 0x16):
        return False
    if frame[-2] != sum(frame[:-2]) % 256:
        return False
    octets = frame[1:7]
    if octets == b"\x99" * 6 or any(o != 0xAA and (o >> 4 > 9 or o & 15 > 9) for o in octets):
        return False
    if (frame[8], frame[9]) == (0x11, 10):
        return (frame[13] - 0x33) % 256 == 6
    return (frame[8], frame[9]) in {(0x11, 4), (0x12, 5), (0x13, 0)}


def reads_dlt698(data: bytes) -> bool:
    """At most four FE, then one frame of a client to one meter; GET of one attribute, of some, or of a block.

    To a wildcard address (AA for the first octets, not for none of them) GET of attribute 4001, 2 alone.
    """
    start = data.find(b"\x68")
    if not 0 <= start <= 4 or data[:start] != b"\xfe" * start:
        return False
    frame = data[start:]
    if len(frame) < 19 or int.from_bytes(frame[1:3], "little") != len(frame) - 2 or frame[-1] != 0x16:
        return False
    octets = list(frame[10:4:-1])
    while frame[4] == 0x45 and octets and octets[0] == 0xAA:
        octets.pop(0)
    if frame[3] != 0x43 or any(o >> 4 > 9 or o & 15 > 9 for o in octets):
        return False
    if (frame[4], len(octets) == 6) not in {(5, True), (0x45, False)}:
        return False
    if frame[12:14] != on_698.x25(frame[1:12]) or frame[-3:-1] != on_698.x25(frame[1:-3]):
        return False
    apdu = frame[14:-3]
    if len(apdu) < 4 or apdu[0] != 5 or apdu[2] & 0x40 or apdu[-1] != 0:
        return False
    asked = apdu[3:-1]
    if frame[4] == 0x45:
        return apdu[1] == 1 and asked == bytes.fromhex("40010200")
    if apdu[1] == 2:
        return 1 <= asked[0] <= 127 and len(asked) == 1 + 4 * asked[0]
    return (apdu[1], len(asked)) in {(1, 4), (5, 2)}


JUDGES: dict[str, Callable[[bytes], bool]] = {
    "modbus-tcp": reads_tcp,
    "modbus-rtu": reads_rtu,
    "dlt645": reads_dlt645,
    "dlt698": reads_dlt698,
}


def test_the_judge_knows_every_gate_and_tells_reads_from_writes():
    assert JUDGES.keys() == GATES.keys()
    assert reads_tcp(bytes.fromhex("0001 0000 0006 01 04 0048 0002"))
    assert reads_rtu(bytes.fromhex("0104 0048 0002 F1DD"))
    assert reads_dlt645(bytes.fromhex("FEFEFEFE 68AAAAAAAAAAAA681300DF16"))
    assert reads_dlt645(bytes.fromhex("68 129078563412 68 11 04 33333433 68 16"))
    writes = [bytes.fromhex(pdu) for pdu in ("05 0001 FF00", "06 0001 0003", "16 0004 00F2 0025")]
    assert not any(reads_tcp(mbap(1, 1, pdu)) or reads_rtu(rtu(1, pdu)) for pdu in writes)
    assert not reads_dlt645(framed("123456789012", 0x14, bytes(12)))
    assert not reads_dlt645(framed("123456789012", 0x1C, bytes(16)))
    assert reads_dlt698(bytes.fromhex("FE 68 17004305070919051620001560 0501014001020000 C607 16"))
    for service in SERVICES_698[1:]:
        assert not reads_dlt698(on_698.framed(on_698.METER, bytes.fromhex(service), control=0x43)), service


# --- what is tried


def number(chance: Random, most: int) -> int:
    """Anything, and mostly what lies at an edge."""
    return chance.choice(
        (0, 1, 2, most, most + 1, -1, most // 2, chance.randrange(most + 1), chance.randrange(most + 1))
    )


def write_pdu(chance: Random) -> bytes:
    """A function that writes, as the standard forms it (6.5, 6.6, 6.11, 6.12, 6.15 to 6.17)."""
    first, words = chance.randrange(65_536), chance.randrange(1, 8)
    many = struct.pack(">HHB", first, words, 2 * words) + chance.randbytes(2 * words)
    return chance.choice((
        b"\x05" + struct.pack(">H", first) + chance.choice((b"\xff\0", b"\0\0")),
        b"\x06" + struct.pack(">HH", first, chance.randrange(65_536)),
        b"\x0f" + struct.pack(">HHB", first, 8 * words, words) + chance.randbytes(words),
        b"\x10" + many,
        b"\x15\x09\x06" + chance.randbytes(6) + b"\0\x01",
        b"\x16" + struct.pack(">HHH", first, chance.randrange(65_536), chance.randrange(65_536)),
        b"\x17" + struct.pack(">HH", first, words) + many,
    ))  # fmt: skip


def read_pdu(chance: Random) -> bytes:
    if chance.random() < 0.1:
        return b"\x2b\x0e" + bytes((chance.randrange(6), chance.randrange(256)))
    if chance.random() < 0.5:
        return struct.pack(">BHH", chance.randrange(1, 5), chance.randrange(65_400), chance.randrange(1, 126))
    return struct.pack(">BHH", chance.randrange(1, 5), number(chance, 65_535) & 0xFFFF, number(chance, 125) & 0xFFFF)


def near_pdu(chance: Random) -> bytes:
    """Not quite a read."""
    pdu = read_pdu(chance)
    return chance.choice((
        write_pdu(chance), write_pdu(chance),
        bytes((chance.randrange(256),)) + pdu[1:],
        pdu + chance.randbytes(chance.randrange(1, 4)),
        pdu + write_pdu(chance),
        pdu[: chance.randrange(len(pdu))],
        bytes((pdu[0] | 0x80,)) + pdu[1:],
        b"\x2b" + chance.randbytes(3),
    ))  # fmt: skip


def tcp_cases(chance: Random) -> bytes:
    unit, tid = chance.choice((0, 1, 255, chance.randrange(256))), chance.randrange(65_536)
    way = chance.randrange(5)
    if way == 0:
        return (
            Session()
            .ask(number(chance, 255), chance.choice((3, 4, 6, 16)), number(chance, 65_535), number(chance, 125))
            .request
        )
    if way == 1:
        return mbap(tid, unit, near_pdu(chance))
    if way == 2:
        return mbap(tid, unit, read_pdu(chance)) + mbap(tid, unit, near_pdu(chance)) * chance.randrange(2)
    if way == 3:
        return chance.randbytes(chance.randrange(24))

    def put_right(frame: bytearray) -> None:
        if len(frame) > 6:
            frame[4:6] = (len(frame) - 6).to_bytes(2, "big")

    return mutated(chance, mbap(tid, unit, read_pdu(chance)), put_right, (0, 1, 5, 6, 15, 16, 22, 23))[1]


def rtu_cases(chance: Random) -> bytes:
    unit = chance.choice((0, 1, 247, 248, 255, chance.randrange(256), chance.randrange(1, 248)))
    way = chance.randrange(5)
    if way == 0:
        return (
            RtuSession()
            .ask(number(chance, 247), chance.choice((3, 4, 6, 16)), number(chance, 65_535), number(chance, 125), 0.0)
            .request
        )
    if way == 1:
        return rtu(unit, near_pdu(chance))
    if way == 2:
        return rtu(unit, read_pdu(chance)) + rtu(unit, near_pdu(chance)) * chance.randrange(2)
    if way == 3:
        return chance.randbytes(chance.randrange(24))

    def put_right(frame: bytearray) -> None:
        if len(frame) > 3:
            frame[-2:] = crc(frame[:-2]).to_bytes(2, "little")

    return mutated(chance, rtu(unit, read_pdu(chance)), put_right, (0, 1, 5, 6, 15, 16, 22, 23))[1]


CONTROLS = (0x08, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D, 0x03, 0x91, 0x04, 0x0A)
"""Broadcast time, the three that read, what writes, freezes, sets and switches; an answer; two of 1997 that write."""


def address_text(chance: Random) -> str:
    digits = f"{chance.randrange(10**12):012d}"
    if chance.random() < 0.7:
        return digits
    digits = digits[: chance.choice((12, 6, 2, 5))] + "00" * chance.randrange(3)
    return chance.choice((digits, digits, "9" * 12, "A" * 12, "AA" + digits[:10], digits[:10] + "AA", "F" * 12, ""))


def dlt_cases(chance: Random) -> bytes:
    way = chance.randrange(5)
    if way == 0:
        session = dlt_exchange.Session(lambda: 0, 1.0)
        if chance.random() < 0.1:
            return session.ask_address().request
        address = address_of(chance.choice((address_text(chance), number(chance, 10**12))))
        return session.ask(address, number(chance, 0xFFFFFFFF), number(chance, 255) * chance.randrange(2)).request
    address = (
        address_of(address_text(chance)) if chance.random() < 0.7 else chance.choice(("9" * 12, "A" * 12, "FA" * 6))
    )
    size = chance.choice((0, 4, 5, 6, 12, 16, chance.randrange(40)))
    frame = encode(address, chance.choice((*CONTROLS, chance.randrange(256))), chance.randbytes(size))
    right = encode(
        address, *chance.choice(((0x11, chance.randbytes(4)), (0x12, chance.randbytes(4) + b"\x01"), (0x13, b"")))
    )
    front = b"\xfe" * chance.choice((0, 1, 4, 4, 4, 5, 8))
    if way == 1:
        return front + frame
    if way == 2:
        return front + right + chance.choice((b"", b"", frame, b"\x16", b"\xfe" * 4 + frame))
    if way == 3:
        return chance.randbytes(chance.randrange(24))

    def put_right(octets: bytearray) -> None:
        if len(octets) > 2:
            octets[-2] = sum(octets[:-2]) & 0xFF

    return front + mutated(chance, right, put_right, (0x68, 0x14, 0x1C, 0x11, 0x16, 0x99, 0xAA))[1]


SERVICES_698 = (
    "05 01 01 40010200 00",
    "06 01 02 40000200 1C 07E0 01 14 10 1B 0B 00",
    "06 02 03 01 40010200 09 06 000000000001 00",
    "06 03 03 01 40000200 1C 07E0 01 14 10 1B 0B 40000200 00 00",
    "07 01 05 00100100 0F 00 00",
    "07 01 05 80008200 02 01 F2050201 01 00",
    "09 01 06 003C 01 07 05 000000000001 003C 01 40010200 00",
    "10 00 08 0501014001020000 01 10 00112233445566778899AABBCCDDEEFF",
    "02 00 0010 FFFFFFFFFFFFFFFF FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF 0400 0400 01 0400 00000064 00 00",
    "01 00 00 00B4 07E0 05 13 04 08 05 00 00A4",
    "03 01 00",
    "05 03 03 50040200 01 20210200 1C 07E0 01 14 00 00 00 02 00 20210200 00 00100200 00",
    "05 06 01 40010200 00",
    "05 01 01 40010200 01 07E0 01 14 10 1B 0B 01 0005",
    "08 01 05 01 40010200 00",
)
"""GET; what sets, acts, goes through, protects, associates, reports, after Annex D; GETs that are not on the list."""


def dlt698_cases(chance: Random) -> bytes:
    way = chance.randrange(5)
    if way == 0:
        session = dlt698_exchange.Session(lambda: number(chance, 63) * 1000)
        address = dlt698_frame.address_of(chance.choice((address_text(chance), number(chance, 10**12))))
        oads = tuple(chance.choice((number(chance, 0xFFFFFFFF), 0x00100200)) for _ in range(chance.randrange(4)))
        exchange = session.ask(address, oads)
        if chance.random() < 0.7:
            return exchange.request
        return session.ask_next(exchange.asked._replace(block=number(chance, 65_535))).request
    apdu = bytes.fromhex(chance.choice((*SERVICES_698, "05 01 01 40010200 00")))
    if chance.random() < 0.3:
        apdu = bytes((chance.randrange(256),)) + apdu[1:]
    digits = f"{chance.randrange(10**12):012d}"
    address = chance.choice(
        (digits, digits, digits, "A" * 12, "A" * 8 + digits[:4], "A" * 9 + "123", "9" * 12, "F" * 12)
    )
    control = chance.choice((0x43, 0x43, 0x43, 0x43, 0x4B, 0x63, 0x41, 0xC3, 0x83, 0x03, chance.randrange(256)))
    kind = chance.choice((5, 5, 5, 5, 5, 0x45, 0x85, 0xC5, 0x15, chance.randrange(256)))
    frame = on_698.framed(address, apdu, control=control, kind=kind)
    many = chance.randrange(1, 9)
    listed = bytes((5, 2, chance.randrange(64), many)) + chance.randbytes(4 * many) + b"\0"
    read = chance.choice((bytes.fromhex(SERVICES_698[0]), bytes.fromhex("05 05 21 0003 00"), listed))
    right = on_698.framed(address if address.isdecimal() else "000000000001", read, control=0x43)
    front = b"\xfe" * chance.choice((0, 1, 4, 4, 4, 5, 8))
    if way == 1:
        return front + frame
    if way == 2:
        return front + right + chance.choice((b"", b"", frame, b"\x16", b"\xfe" * 4 + frame))
    if way == 3:
        return chance.randbytes(chance.randrange(40))
    return front + mutated(chance, right, on_698.put_right, (0x68, 5, 6, 7, 9, 0x10, 0x16, 0x43, 1, 2))[1]


TRIED: dict[str, Callable[[Random], bytes]] = {
    "modbus-tcp": tcp_cases,
    "modbus-rtu": rtu_cases,
    "dlt645": dlt_cases,
    "dlt698": dlt698_cases,
}


# --- settings


def registers(chance: Random, protocol: str) -> Iterator[Register]:
    numbers = [q for q in Quantity if UNIT[q]]
    for quantity in chance.sample(numbers, chance.randrange(1, 20)):
        unit, every_s = UNIT[quantity].removeprefix("1"), chance.choice((5.0, 60.0))
        if protocol == "dlt645":
            di, kind = chance.choice(
                (
                    ("0001FF00/1", "bcd6.2"),
                    ("02010100", "bcd3.1"),
                    ("0203FF00/2", "sbcd2.4"),
                    (f"{chance.randrange(1 << 32):08X}", "bcd6.2"),
                )
            )
            yield Register(quantity, f"di:{di}", kind, unit, every_s=every_s)
        elif protocol == "dlt698":
            oad, kind = chance.choice((
                ("00100200/1", "u32"),
                ("20000200/2", "u16"),
                ("10100200/1", "demand"),
                (f"{chance.randrange(1 << 32):08X}", "i32"),
            ))  # fmt: skip
            yield Register(quantity, f"oad:{oad}", kind, UNIT[quantity], every_s=every_s)
        else:
            table, at = (
                chance.choice(("input", "holding")),
                chance.choice((0, 0xFFFC, chance.randrange(0x200), chance.randrange(0xFFFD))),
            )
            yield Register(
                quantity, f"{table}:{at:#06x}", chance.choice(("u16", "i32", "f32", "u64")), unit, every_s=every_s
            )


async def read_by_settings(chance: Random, protocol: str, seen: Counter[str]) -> list[bytes]:
    """What a device of these settings is asked, while its far end answers anything at all."""

    def answer(asked: bytes) -> bytes | None:
        if protocol == "dlt645":
            kind = (
                (0xD1, b"\x02")
                if chance.random() < 0.3
                else (0x91, bytes((o - 0x33) & 0xFF for o in asked[14:18]) + bytes(chance.randrange(9)))
            )
            right = framed(asked[10:4:-1].hex().upper(), *kind)
        elif protocol == "dlt698":
            question = asked[4:][14:-3]
            oads = question[4:-1] if question[1] == 2 else question[3:-1]
            results = [
                oads[i : i + 4] + chance.choice((b"\0\x06", b"\1" + on_698.energies(5), b"\1\0"))
                for i in range(0, len(oads) - 3, 4)
            ]
            apdu = chance.choice((
                on_698.got(question[2], *results, listed=question[1] == 2),
                bytes((0xEE, question[2], chance.choice((1, 2, 255)), 0, 0)),
                on_698.block(question[2], 0, False, *results),
            ))  # fmt: skip
            right = on_698.framed(asked[14:8:-1].hex(), apdu)
        else:
            body = asked[6 : -0 or None] if protocol == "modbus-tcp" else asked[:-2]
            count = 2 * int.from_bytes(body[4:6], "big")
            pdu = chance.choice(
                (
                    bytes((body[1] | 0x80, 2)),
                    bytes((body[1] | 0x80, 6)),
                    body[1:2] + bytes((count & 0xFF,)) + chance.randbytes(count),
                )
            )
            right = mbap(asked[0] << 8 | asked[1], body[0], pdu) if protocol == "modbus-tcp" else rtu(body[0], pdu)
        return chance.choice((right, right, None, chance.randbytes(9)))

    serial = protocol != "modbus-tcp"
    framing = Framing(chance.choice((2400, 9600, 115_200)), chance.choice("NEO")) if serial else None
    loop = asyncio.get_running_loop()
    link = MemoryLink(
        answer, framing=framing, now_ms=lambda: round(loop.time() * 1000), echo=serial and chance.random() < 0.1
    )
    spec = LinkSpec("l", "serial" if serial else "modbus-tcp", timeout_s=chance.choice((0.0, 0.05, 2.0)))
    driver = protocol if protocol.startswith("dlt") else "modbus"
    most = chance.choice((1, 2, 4, 125, 500, chance.randrange(1, 130)))
    profile = Profile("any", driver, "any", "none", "primary", most, tuple(registers(chance, protocol)))
    device = DeviceSpec("d", "l", number(chance, 255), profile, address=address_text(chance))
    try:
        line = FieldLine(spec, link, [device], link.now_ms)
    except (ValueError, AssertionError):
        seen["settings refused"] += 1
        return []
    for request in line.requests[:6]:
        for _ in range(2):
            try:
                await line.read(request)
            except DriverError:
                seen["reads failed"] += 1
            except GateRefused:
                seen["stopped by the gate"] += 1
            except Exception as error:  # an encoder that will not have a unit of 256: nothing left
                seen[f"not encoded: {type(error).__name__}"] += 1
    return link.sent


def tried(gates: Mapping[str, Gate], cases: int, seen: Counter[str]) -> Iterator[tuple[str, bytes]]:
    """What of so many cases reached the wire."""
    chance = Random(7)
    links = {protocol: MemoryLink(lambda data: None) for protocol in gates}
    for link in links.values():
        asyncio.run(link.open())
    voices = {protocol: Voice(link, gates[protocol]) for protocol, link in links.items()}
    for n in range(cases):
        protocol = tuple(gates)[n % len(gates)]
        if n // len(gates) % BY_SETTINGS == 0:
            for data in run_virtual(read_by_settings(chance, protocol, seen)):
                seen[f"{protocol} asked by settings"] += 1
                yield protocol, data
            continue
        try:
            data = TRIED[protocol](chance)
        except Exception:  # an encoder or an address that will not have it: there are no bytes
            seen[f"{protocol} not encoded"] += 1
            continue
        try:
            voices[protocol].write(data)
        except GateRefused:
            seen[f"{protocol} refused"] += 1
            seen[f"{protocol} refused, yet a read"] += JUDGES[protocol](data)
        else:
            seen[f"{protocol} passed"] += 1
        sent = links[protocol].sent
        yield from ((protocol, said) for said in sent)
        sent.clear()


@pytest.mark.timeout(7200)
def test_whatever_reaches_the_wire_is_a_read():
    seen: Counter[str] = Counter()
    outside: Counter[str] = Counter()
    for protocol, data in tried(GATES, CASES, seen):
        if not JUDGES[protocol](data):
            outside[protocol] += len(data)
            assert not outside, (protocol, data.hex(" "))
    for protocol in GATES:
        passed, refused, asked = (seen[f"{protocol} {how}"] for how in ("passed", "refused", "asked by settings"))
        figures.report(
            protocol, passed=passed, refused=refused, not_encoded=seen[f"{protocol} not encoded"],
            asked_by_random_settings=asked, bytes_outside_the_list=outside[protocol],
        )  # fmt: skip
        assert passed > CASES / 50
        assert refused > CASES / 10
        assert asked > CASES / 200
    # No narrower than the agent needs: what the gate alone refuses are addresses and numbers that are never asked.
    assert seen["modbus-tcp refused, yet a read"] == seen["modbus-rtu refused, yet a read"] == 0
    assert seen["dlt645 refused, yet a read"] < 0.05 * CASES
    assert seen["dlt698 refused, yet a read"] == 0


def test_without_its_gate_a_link_would_let_writes_through():
    """That the proof can fail: the same cases, and gates that pass everything."""
    outside = Counter(
        protocol
        for protocol, data in tried(dict.fromkeys(GATES, lambda data: None), 1_000, Counter())
        if not JUDGES[protocol](data)
    )
    assert min(outside[protocol] for protocol in GATES) > 50
