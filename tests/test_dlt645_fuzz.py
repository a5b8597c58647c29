"""DL/T 645 under fire: mutated frames, also with their checksum put right again. No crash, no hang, no wrong value.

What a value may come from is worked out a second time and differently: every place in the stream is tried for a whole
frame, without any state. EDGE_PROVE_FRAMES says how many streams (20,000 unless it does).
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from drivers.dlt645.exchange import Session
from drivers.dlt645.items import layout, outcomes
from edge_agent.model import Gap, GapCause, Identity, Quantity, Reading, Register
from edge_agent.ports import BadReply, NoReply, Refused
from tests import figures
from tests.mutations import FRAMES, LONGEST_S, Stopwatch, pieces
from tests.test_dlt645 import METER, OTHER, Clock, di, framed

STREAMS = FRAMES


ASKED = (
    (0x00010000, 0, bytes.fromhex("78563412")),
    (0x02030100, 0, bytes.fromhex("325480")),
    (0x01010000, 0, bytes.fromhex("5634124518241126")),
    (0x0001FF00, 0, bytes.fromhex("78563412") * 5),
    (0x0001FF00, 3, bytes.fromhex("78563412") * 2),
)
"""Identifier, frame number, and the octets of the right answer."""


def right(number: int, seq: int, payload: bytes, address: str = METER) -> bytes:
    return framed(address, 0x92 if seq else 0x91, di(number) + payload + (bytes((seq,)) if seq else b""))


def may_come_from(stream: bytes, number: int, seq: int) -> tuple[set[bytes], bool]:
    """The payloads of every whole and right answer anywhere in the stream, and whether a right refusal is in it."""
    meter = bytes.fromhex(METER)[::-1]
    answers, refuses = set(), False
    for at in range(len(stream) - 12):
        if stream[at] != 0x68 or stream[at + 1 : at + 8] != meter + b"\x68":
            continue
        control, length = stream[at + 8 : at + 10]
        frame = stream[at : at + 12 + length]
        if len(frame) != 12 + length or frame[-1] != 0x16 or sum(frame[:-2]) % 256 != frame[-2]:
            continue
        data = bytes((octet - 0x33) % 256 for octet in frame[10:-2])
        if control in ((0x92, 0xB2) if seq else (0x91, 0xB1)) and data[:4] == di(number):
            if not seq:
                answers.add(data[4:])
            elif len(data) > 4 and data[-1] == seq:
                answers.add(data[4:-1])
        refuses = refuses or control == (0xD2 if seq else 0xD1) or control & 0x1F in (1, 2, 3)
    return answers, refuses


def put_right(frame: bytearray) -> None:
    """The checksum of a frame that was tampered with, so that only its meaning is wrong."""
    if len(frame) > 2:
        frame[-2] = sum(frame[:-2]) & 0xFF


def mutated(chance: random.Random, number: int, seq: int, payload: bytes) -> tuple[str, bytes]:
    """A stream with something wrong in it, and what that is."""
    frame = bytearray(right(number, seq, payload))
    kind = chance.choice(
        ("right", "octets", "octets, sum right", "cut", "inserted", "dropped", "swapped", "other", "nested", "noise")
    )
    match kind:
        case "octets" | "octets, sum right":
            for _ in range(chance.randint(1, 3)):
                frame[chance.randrange(len(frame))] = chance.choice((0x68, 0x16, 0xFE, 0xFF, chance.randrange(256)))
            if kind != "octets":
                put_right(frame)
        case "cut":
            del frame[chance.randrange(len(frame)) :]
        case "inserted":
            frame.insert(chance.randrange(len(frame)), chance.choice((0x68, 0xFE, chance.randrange(256))))
            if chance.random() < 0.5:
                put_right(frame)
        case "dropped":
            del frame[chance.randrange(len(frame))]
            if chance.random() < 0.5:
                put_right(frame)
        case "swapped":
            at = chance.randrange(len(frame) - 1)
            frame[at], frame[at + 1] = frame[at + 1], frame[at]  # a sum does not see it where both are summed
        case "other":
            at = chance.randrange(4)
            frame = bytearray(
                (
                    right(number, seq, payload, OTHER),
                    right(number ^ 1 << chance.randrange(32), seq, payload),
                    framed(METER, chance.randrange(256), di(number) + payload),
                    right(number, chance.randrange(1, 256), payload),
                )[at]
            )
        case "nested":
            frame = bytearray(framed(OTHER, 0x91, bytes(4)) + frame + framed(METER, 0x11, di(number)))
            frame[chance.randrange(16)] ^= 1 << chance.randrange(8)
        case "noise":
            frame = bytearray(chance.choice((0x68, 0x16, 0x91, 0x33, chance.randrange(256))) for _ in range(40))
    front = bytes(chance.choice((0xFE, 0xFE, 0x68, chance.randrange(256))) for _ in range(chance.randrange(9)))
    return kind, front + bytes(frame)


@pytest.mark.timeout(3600)
def test_no_value_comes_from_a_frame_with_a_flaw():
    chance = random.Random(645)
    seen: Counter[str] = Counter()
    watch = Stopwatch()
    for n in range(STREAMS):
        number, seq, payload = ASKED[n % len(ASKED)]
        kind, stream = mutated(chance, number, seq, payload)
        answers, refuses = may_come_from(stream, number, seq)
        exchange = Session(Clock(), 2.0).ask(METER, number, seq)
        value, failure = watch.feed(exchange, pieces(chance, stream))
        if value is not None:
            assert value in answers, (kind, stream.hex(" "))
            seen["value"] += 1
            seen["value, other than sent"] += value != payload
        else:
            assert isinstance(failure, NoReply | BadReply | Refused)
            assert not isinstance(failure, Refused) or refuses, (kind, stream.hex(" "))
            assert not isinstance(failure, NoReply) or stream.strip(b"\xfe") == b""
            seen[type(failure).__name__] += 1
        seen[f"{kind}: {'no ' * (value is None)}value"] += 1
    figures.report("DL/T 645", frames=STREAMS, values=seen["value"], no_value=STREAMS - seen["value"], wrong_values=0,
                   longest_ms=round(1000 * watch.longest_s, 1))  # fmt: skip
    assert watch.longest_s < LONGEST_S
    if STREAMS >= 20_000:
        assert seen["right: value"] > STREAMS / 12
        assert seen["value, other than sent"] > STREAMS / 200
        assert seen["octets: no value"] > STREAMS / 15
        assert min(seen[f"{k}: no value"] for k in ("octets, sum right", "cut", "inserted", "dropped", "other")) > 500
        assert seen["noise: value"] == seen["cut: value"] == 0


REGISTERS = [
    Register(Quantity(q), "di:00010000", t, u)
    for q, t, u in (
        ("active_energy_import", "bcd6.2", "kWh"),
        ("active_power", "sbcd2.4", "kW"),
        ("power_factor", "sbcd1.3", "1"),
        ("maximum_demand", "demand", "kW"),
        ("maximum_demand_time", "demand_time", ""),
        ("meter_clock", "clock", ""),
        ("meter_date", "date", ""),
        ("meter_time", "time", ""),
        ("meter_serial", "digits:6", ""),
        ("asset_number", "ascii:8", ""),
        ("meter_status_1", "bits:2", ""),
    )
]


@pytest.mark.timeout(3600)
def test_any_octets_are_a_value_of_the_format_or_a_gap_with_its_cause():
    chance = random.Random(2007)
    seen: Counter[str] = Counter()
    for n in range(STREAMS):
        register = REGISTERS[n % len(REGISTERS)]
        octets = bytes(
            chance.choice((0, 0xFF, 0x20, int(f"{chance.randrange(100):02d}", 16), chance.randrange(256)))
            for _ in range(chance.choice((2, 3, 4, 6, 7, 8)))
        )
        (outcome,) = outcomes(layout((register,)), "m1", octets, 0, None)
        match outcome:
            case Reading():
                digits = f"{abs(outcome.value) / outcome.step:.6f}"
                assert digits.endswith((".000000", "-0.000000"))  # a whole number of steps
                assert octets[-1] != 0xFF or register.type == "demand"  # whose time alone may be absent
            case Identity():
                assert outcome.text.isascii()
                assert outcome.text.isprintable()
            case Gap():
                assert outcome.cause in {GapCause.NOT_AVAILABLE, GapCause.IMPLAUSIBLE}
                assert not (outcome.cause is GapCause.NOT_AVAILABLE and outcome.quantity == "active_power"
                            and octets != b"\xff\xff\xff")  # fmt: skip
        seen[f"{register.type} {type(outcome).__name__}"] += 1
    values = sum(count for what, count in seen.items() if not what.endswith("Gap"))
    figures.report("DL/T 645 items", frames=STREAMS, values=values)
    if STREAMS >= 20_000:
        short = [r.type for r in REGISTERS if not seen[f"{r.type} Gap"]]
        assert short == []
        assert sum(count for what, count in seen.items() if what.endswith(("Reading", "Identity"))) > STREAMS / 40
