"""DL/T 698.45 under fire: mutated frames, also with their checks put right again. No crash, no hang, no wrong value.

What a value may come from is worked out a second time and differently: every place in the stream is tried for a whole
frame, without any state, and its APDU is read here by hand. EDGE_PROVE_FRAMES says how many streams (20,000 unless it
does).
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from drivers.dlt698 import codec
from drivers.dlt698.codec import Value
from drivers.dlt698.exchange import Session
from drivers.dlt698.items import OCTETS, layout, outcomes
from edge_agent.model import UNIT, Gap, GapCause, Identity, Quantity, Reading, Register
from edge_agent.ports import BadReply, NoReply, Refused
from tests import figures
from tests.mutations import FRAMES, LONGEST_S, Stopwatch, mutated, pieces
from tests.on_698 import (
    CLOCK,
    ENERGY,
    METER,
    OTHER,
    VOLTAGES,
    Clock,
    block,
    framed,
    got,
    put_right,
    result,
    u32,
    volts,
    x25,
)

ODD = (0x68, 0x16, 0xFE, 0, 1, 2, 5, 6, 0x85, 0xC3, 0xFF)

ANSWERED = {
    ENERGY: b"\x01\x03" + u32(12_345_678) + u32(1) + u32(12_345_677),
    VOLTAGES: volts(2205, 2214, 2199),
    CLOCK: bytes.fromhex("1C 07EA 0B 18 12 32 07"),
}
ASKED = ((ENERGY,), (ENERGY, VOLTAGES), (CLOCK, VOLTAGES, ENERGY))


def frames(stream: bytes) -> list[tuple[int, str, bytes]]:
    """Control, address and APDU of every whole and right frame of one meter, wherever it begins."""
    found = []
    for at in range(len(stream) - 18):
        end = at + int.from_bytes(stream[at + 1 : at + 3], "little") + 2
        if stream[at] != 0x68 or end > len(stream) or end - at > 2048 or end - at < 19:
            continue
        if stream[at + 4] != 5 or stream[end - 1] != 0x16:
            continue
        if stream[at + 12 : at + 14] != x25(stream[at + 1 : at + 12]) or stream[end - 3 : end - 1] != x25(
            stream[at + 1 : end - 3]
        ):
            continue
        apdu = stream[at + 14 : end - 3]
        if stream[at + 3] & 8:
            apdu = bytes((octet - 0x33) & 0xFF for octet in apdu)
        found.append((stream[at + 3] & ~8, stream[at + 10 : at + 4 : -1].hex().upper(), apdu))
    return found


def answers(apdu: bytes, piid: int, oads: tuple[int, ...]) -> bool:
    """Whether it begins as the answer to these attributes, in normal, list or block form."""
    if len(apdu) < 8 or apdu[0] != 0x85 or apdu[2] & 0x3F != piid:
        return False
    first = oads[0].to_bytes(4, "big")
    if apdu[1] == 1:
        return len(oads) == 1 and apdu[3:7] == first
    if apdu[1] == 2:
        return len(oads) > 1 and apdu[3] == len(oads) and apdu[4:8] == first
    return apdu[1] == 5 and apdu[4:6] == b"\0\0"


@pytest.mark.timeout(3600)
def test_no_value_comes_from_a_frame_with_a_flaw():
    chance, seen, watch = random.Random(698), Counter[str](), Stopwatch()
    for n in range(FRAMES):
        oads = ASKED[n % len(ASKED)]
        exchange = Session(Clock(1000 * chance.randrange(64))).ask(METER, oads)
        piid = exchange.asked.piid
        results = [result(oad, ANSWERED[oad]) for oad in oads]
        apdu = got(piid, *results)
        if chance.random() < 0.15:
            apdu = block(piid, 0, chance.random() < 0.5, *results)
        frame = framed(METER, apdu, control=chance.choice((0xC3, 0xC3, 0xCB)))
        if chance.random() < 0.15:
            frame = chance.choice((
                framed(OTHER, apdu), framed(METER, got(piid ^ 1 << chance.randrange(6), *results)),
                framed(METER, got(piid, *results[::-1], *results[:1])),
                framed(METER, apdu, client=chance.randrange(1, 256)),
            ))  # fmt: skip
        kind, stream = mutated(chance, frame, put_right, ODD)
        value, failure = watch.feed(exchange, pieces(chance, stream))
        rights = [(c, a, d) for c, a, d in frames(stream) if a == METER and c & 0xC0 == 0xC0]
        if value is not None:
            assert any(c == 0xC3 and d == value and answers(d, piid, oads) for c, _, d in rights), (kind, stream.hex())
            assert exchange.results
            seen["value"] += 1
            seen["value, other than sent"] += value != apdu
        else:
            assert isinstance(failure, NoReply | BadReply | Refused)
            assert not isinstance(failure, Refused) or rights, (kind, stream.hex(" "))
            assert not isinstance(failure, NoReply) or stream.strip(b"\xfe") == b""
            seen[type(failure).__name__] += 1
        seen[f"{kind}: {'no ' * (value is None)}value"] += 1
    figures.report("DL/T 698.45", frames=FRAMES, values=seen["value"], no_value=FRAMES - seen["value"], wrong_values=0,
                   longest_ms=round(1000 * watch.longest_s, 1))  # fmt: skip
    assert watch.longest_s < LONGEST_S
    assert seen["cut: value"] == seen["noise: value"] == 0
    if FRAMES >= 20_000:
        assert seen["right: value"] > FRAMES / 20
        assert seen["value, other than sent"] > FRAMES / 200
        assert seen["Illegible"] > FRAMES / 50
        assert min(seen[f"{k}: no value"] for k in ("octets", "fixed up", "cut", "inserted", "dropped")) > FRAMES / 30


REGISTERS = [
    Register(Quantity(q), "oad:00100200", t, UNIT[Quantity(q)], 0.1)
    for q, t in (
        ("active_energy_import", "u32"), ("active_power", "i32"), ("power_factor", "i16"), ("voltage_l1", "u16"),
        ("demand_period", "u8"), ("reactive_power", "i8"), ("apparent_power", "u64"), ("active_energy_combined", "i64"),
        ("maximum_demand", "demand"), ("maximum_demand_time", "demand_time"), ("meter_clock", "clock"),
        ("meter_serial", "digits"), ("asset_number", "ascii"), ("meter_status_1", "bits"),
    )
]  # fmt: skip


def some_data(chance: random.Random, depth: int = 0) -> bytes:
    """A value of any of the types that may come, its octets as they fall; sometimes torn."""
    tag = chance.choice((0, 1, 2, 4, 5, 6, 9, 10, 15, 16, 17, 18, 20, 21, 28, 2, 6, 28, chance.randrange(97)))
    fixed = {5: 4, 6: 4, 15: 1, 16: 2, 17: 1, 18: 2, 20: 8, 21: 8, 28: 7, 3: 1, 22: 1, 23: 4, 24: 8, 25: 10}
    if tag in {1, 2}:
        inner = chance.randrange(4) if depth < 3 else 0
        return bytes((tag, inner)) + b"".join(some_data(chance, depth + 1) for _ in range(inner))
    if tag == 4:
        return b"\x04\x10" + chance.randbytes(2)
    if tag in {9, 10, 12}:
        size = chance.randrange(12)
        return bytes((tag, size)) + bytes(chance.choice((0x20, 0x41, 0x12, 0xFF)) for _ in range(size))
    if tag == 28 and chance.random() < 0.5:
        return bytes.fromhex("1C 07EA") + bytes((chance.randrange(1, 14), chance.randrange(1, 33), 12, 0, 0))
    return bytes((tag,)) + chance.choice((bytes, lambda n: b"\xff" * n, chance.randbytes))(fixed.get(tag, 0))


@pytest.mark.timeout(3600)
def test_any_data_is_a_value_of_the_type_or_a_gap_with_its_cause():
    chance, seen = random.Random(45), Counter[str]()
    for n in range(FRAMES):
        register = REGISTERS[n % len(REGISTERS)]
        apdu = got(3, result(ENERGY, some_data(chance)))
        if chance.random() < 0.1:
            apdu = apdu[: chance.randrange(3, len(apdu))]
        try:
            said = codec.understood(apdu)
        except codec.Unreadable:
            seen["unreadable"] += 1
            continue
        if not isinstance(said, codec.Got):
            continue
        found = said.results[0].found
        (outcome,) = outcomes(layout((register,)), "m1", {ENERGY: found}, 0, None)
        match outcome:
            case Reading():
                assert isinstance(found, Value)
                assert register.type in {found.kind, "demand"}
                assert abs(outcome.value / outcome.step - round(outcome.value / outcome.step)) < 1e-3
            case Identity():
                assert outcome.text.isascii()
                assert outcome.text.isprintable()
            case Gap():
                assert outcome.cause in {GapCause.NOT_AVAILABLE, GapCause.IMPLAUSIBLE, GapCause.REFUSED}
        seen[f"{register.type} {type(outcome).__name__}"] += 1
    figures.report("DL/T 698.45 items", frames=FRAMES, unreadable=seen["unreadable"])
    if FRAMES >= 20_000:
        assert [t for t in OCTETS if not seen[f"{t} Gap"]] == []
        with_values = {t for t in OCTETS if seen[f"{t} Reading"] or seen[f"{t} Identity"]}
        assert with_values >= set(OCTETS) - {"demand", "demand_time"}
        assert seen["unreadable"] > FRAMES / 20


@pytest.mark.parametrize("pattern", ["68", "68 20 00 43 05", "68 FF 07 43 05 00", "FE", "68 68 68 43 05 AA"])
def test_no_flood_of_bytes_keeps_the_reader_busy_or_grows_it(pattern):
    octets = bytes.fromhex(pattern)
    exchange, watch = Session(Clock()).ask(METER, (ENERGY,)), Stopwatch()
    flood = octets * (65_536 // len(octets))
    watch.feed(exchange, [flood[at : at + 256] for at in range(0, len(flood), 256)])
    assert watch.longest_s < 4.0
    assert exchange._session.reader.pending <= 2048
