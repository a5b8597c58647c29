"""DLMS under fire: mutated APDUs and HDLC frames, also with checksums put right. No crash, no hang, no wrong value.

Every case is an answer of a meter with something wrong in it. It may come to a value, or to one of the driver's errors;
anything else is a crash. Where a tag or a checksum vouches for it, a value may only be the right one. EDGE_PROVE_APDUS
says how many APDUs, and how many frames (10,000 unless it does).
"""

from __future__ import annotations

import os
import random
import resource
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from drivers.dlms import objects
from drivers.dlms.acse import Mechanism
from drivers.dlms.association import Association, Terms
from drivers.dlms.axdr import Data, decode
from drivers.dlms.counters import HeardCounter, InvocationCounter, MemoryStore
from drivers.dlms.hdlc import Hdlc, Say, Whole
from drivers.dlms.hdlc_frame import ServerAddress
from drivers.dlms.protection import Level, Protection
from drivers.dlms.reading import Get
from drivers.dlms.wrapper import Wrapper
from drivers.dlms.wrapper import encode as wrapped
from drivers.dlms.xdlms import Attribute
from drivers.gate_dlms import WrapperGate
from edge_agent.ports import DriverError
from tests.dlms_client import ENERGIES, KEYS, TIME
from tests.dlms_meter import CLIENT_TITLE, CLOCK_VALUE, METER_TITLE, aare, frame, guarded, x25
from tests.figures import report
from tests.test_dlms_association import DAY, PROFILE

CASES = int(os.environ.get("EDGE_PROVE_APDUS", "10000"))
LONGEST_S = 1.0
MOST_GROWN_MIB = 48
LLC = b"\xe6\xe7\x00"

GETS = {
    "one": (b"\xc4\x01\x41\x00" + CLOCK_VALUE, (TIME,)),
    "refused": (b"\xc4\x01\x41\x01\x04", (TIME,)),
    "list": (b"\xc4\x03\x41\x03\x00\x06\x00\x00\x03\xe8\x01\x0b\x00\x12\x00\x05", tuple(ENERGIES[:3])),
    "profile": (b"\xc4\x01\x41\x00\x01\x03" + DAY[2:71], (PROFILE,)),
    "last block": (b"\xc4\x02\x41\x01\x00\x00\x00\x01\x00\x0e" + CLOCK_VALUE, (TIME,)),
    "block": (b"\xc4\x02\x41\x00\x00\x00\x00\x01\x00\x0e" + CLOCK_VALUE, (TIME,)),
    "exception": (bytes.fromhex("D8010600001000"), (TIME,)),
    "service error": (bytes.fromhex("0E050501"), (TIME,)),
}
COLUMNS = (
    objects.CaptureObject(8, objects.CLOCK, 2),
    objects.CaptureObject(1, bytes((0, 0, 96, 10, 1, 255)), 2),
    objects.CaptureObject(3, bytes((1, 0, 1, 8, 0, 255)), 2),
)
LISTED = bytes.fromhex("01010204120003110009060100010800FF02020102 02030F01160100 02030F021601000100")
CAPTURED = bytes.fromhex("01010204120008090600000100 00FF0F02120000")


def mutated(chance: random.Random, octets: bytes) -> bytes:
    """One to three things wrong with it."""
    damaged = bytearray(octets)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(damaged) + 1)
        match chance.randrange(7):
            case 0 if damaged:
                damaged[at % len(damaged)] ^= 1 << chance.randrange(8)
            case 1 if damaged:
                damaged[at % len(damaged)] = chance.choice((0x00, 0x01, 0x02, 0x7E, 0x7F, 0x80, 0x82, 0x84, 0xFF))
            case 2:
                del damaged[at:]
            case 3:
                del damaged[at : at + chance.randint(1, 4)]
            case 4:
                damaged[at:at] = chance.randbytes(chance.randint(1, 4))
            case 5:
                damaged[at : at + 4] = chance.choice((b"\x84\xff\xff\xff\xff", b"\x01\x82\xff\xff", b"\x02\x01" * 40))
            case _:
                damaged += chance.randbytes(chance.randint(1, 8))
    return bytes(damaged)


def a_get(chance: random.Random) -> object:
    """In the clear: it may come to any value, and must come to one or to an error."""
    answer, attributes = chance.choice(list(GETS.values()))
    return get(attributes).feed(mutated(chance, answer))


def get(attributes: tuple[Attribute, ...]) -> Get:
    association = Association(Terms())
    assert association.request
    association.feed(ACCEPTS)
    return Get(association, attributes)


ACCEPTS = aare()
CHALLENGES = aare(0, 14, title=METER_TITLE, challenge=b"P6wRJ21F")


def an_aare(chance: random.Random) -> object:
    hls = chance.random() < 0.5
    guard = protection(Level.NONE) if hls else None
    terms = Terms(mechanism=Mechanism.HLS_GMAC) if hls else Terms()
    association = Association(terms, guard)
    assert association.request
    association.feed(mutated(chance, CHALLENGES if hls else ACCEPTS))
    return association.phase


def protection(level: Level = Level.BOTH) -> Protection:
    counter = InvocationCounter(MemoryStore())
    heard = HeardCounter()
    return Protection(
        KEYS, CLIENT_TITLE, counter, witness=WrapperGate(), heard=heard, level=level, meter_title=METER_TITLE
    )


SECRET = GETS["profile"][0]
CIPHERED = {
    level: [
        head + bytes((len(body),)) + body
        for body in [guarded(level, METER_TITLE, 9, SECRET)]
        for head in (b"\xcc", b"\xdb\x08" + METER_TITLE, b"\xdb\x00")
    ]
    for level in (Level.AUTHENTICATED, Level.BOTH)
}


def a_ciphered(chance: random.Random) -> object:
    """Under a tag: a value is the right one, or none."""
    level = chance.choice(list(CIPHERED))
    plain = protection(level).unprotect(mutated(chance, chance.choice(CIPHERED[level])))
    assert plain == SECRET, "a value from an answer that the tag does not vouch for"
    return plain


ANSWER = LLC + GETS["profile"][0]
PIECES = [ANSWER[n : n + 40] for n in range(0, len(ANSWER), 40)]
STREAM = [frame(0x30 | n << 1, piece, more=n < len(PIECES) - 1) for n, piece in enumerate(PIECES)]


def put_right(octets: bytes) -> bytes:
    """Length and checksums of a frame that was tampered with, so that only its meaning is wrong."""
    octets = octets[:1500]
    if len(octets) < 12:
        return octets
    body = bytearray(octets[1:-3])
    size = len(body) + 2
    body[0:2] = bytes((body[0] & 0x08 | 0xA0 | size >> 8, size & 0xFF))
    body[5:7] = x25(bytes(body[:5])).to_bytes(2, "little")
    return b"\x7e" + bytes(body) + x25(bytes(body)).to_bytes(2, "little") + b"\x7e"


def right_by_chance(stream: bytes) -> set[bytes]:
    """Frames in a stream, wherever they begin, that are as long as they say, whose checksum is right, and that nobody
    sent: sixteen bits are right by chance once in 65,536.
    """
    found = set()
    for at, octet in enumerate(stream[:-2]):
        octets = stream[at : at + 2 + ((stream[at + 1] & 7) << 8 | stream[at + 2])]
        if octet == 0x7E and octets[-1:] == b"\x7e" and x25(octets[1:-3]).to_bytes(2, "little") == octets[-3:-1]:
            found.add(octets)
    return found - set(STREAM)


MUTATED: Counter[str] = Counter()


def a_stream(chance: random.Random) -> object:
    """Frames of one answer, some damaged, in pieces of any size. What is not put right cannot change the value.

    But for a checksum that is right by chance: that is looked up.
    """
    link = Hdlc(16, ServerAddress(1))
    link.connect()
    link.feed(frame(0x73))
    link.ask(b"\xc0" * 13)
    honest = chance.random() < 0.5
    frames = list(STREAM)
    for n in {chance.randrange(len(frames)) for _ in range(chance.randint(1, 2))}:
        frames[n] = mutated(chance, frames[n]) if honest else put_right(mutated(chance, frames[n]))
        MUTATED["frames"] += 1
    if chance.random() < 0.2:
        frames.insert(chance.randrange(len(frames) + 1), chance.choice(frames))
    stream = b"".join(frames)
    at = 0
    while at < len(stream):
        size = chance.choice((1, 7, 64, 2000))
        event = link.feed(stream[at : at + size])
        at += size
        while isinstance(event, Say):
            event = link.feed(b"")
        if isinstance(event, Whole):
            if honest and LLC + event.apdu != ANSWER:
                assert right_by_chance(stream), "a value out of a frame with a flaw"
                MUTATED["by chance"] += 1
            return event
    raise link.expired()


def a_wrapped(chance: random.Random) -> object:
    wrapper = Wrapper(16, 1)
    wrapper.ask(b"\xc0")
    stream = wrapped(1, 16, b"\x0f\x00") + wrapped(1, 16, GETS["profile"][0])
    stream = mutated(chance, stream)
    at = 0
    while at < len(stream):
        size = chance.choice((1, 7, 64, 2000))
        answer = wrapper.feed(stream[at : at + size])
        at += size
        if answer is not None:
            return answer
    raise wrapper.expired()


def an_object(chance: random.Random) -> object:
    """What the classes make of values of any shape."""
    kind = chance.randrange(5)
    data = decode(mutated(chance, (DAY, LISTED, CAPTURED, b"\x02\x02\x0f\xfe\x16\x1e", CLOCK_VALUE)[kind]))
    makes: list[Callable[[Data], object]] = [
        lambda d: objects.rows(d, COLUMNS, period_s=900),
        objects.object_list,
        objects.capture_objects,
        objects.scaler_unit,
        lambda d: objects.time_of(d).instant(),
    ]
    return makes[kind](data)


def random_octets(chance: random.Random) -> object:
    return decode(chance.randbytes(chance.randrange(200)))


APDUS = (a_get, a_get, an_aare, a_ciphered, a_wrapped, an_object, random_octets)
FRAMES = (a_stream,)
MUST = {
    "APDUs": ("Malformed", "ProtectionRefused", "Desync", "NoReply", "NotSupported", "a_get", "a_ciphered", "an_aare"),
    "HDLC frames": ("NoReply", "BadReply", "Desync", "a_stream"),
}
"""What must have come of them, so that nobody counts cases in which nothing was reached."""


@pytest.mark.timeout(60 + CASES / 500)
@pytest.mark.parametrize(("what", "kinds"), [("APDUs", APDUS), ("HDLC frames", FRAMES)])
def test_no_mutation_is_a_crash_a_hang_or_a_wrong_value(
    what: str, kinds: tuple[Callable[[random.Random], object], ...]
):
    chance = random.Random(62056)
    seen: Counter[str] = Counter()
    longest_s = 0.0
    one_of_each(chance)
    before_mib, before_frames = resident_mib(), MUTATED["frames"]
    most_mib = before_mib
    began = time.monotonic()
    done = cases = 0
    while done < CASES:
        kind = kinds[cases % len(kinds)]
        start = time.thread_time()
        try:
            kind(chance)
        except DriverError as error:
            seen[type(error).__name__] += 1
            seen["refused"] += 1
        else:
            seen[kind.__name__] += 1
            seen["values"] += 1
        longest_s = max(longest_s, time.thread_time() - start)
        cases += 1
        if cases % 500 == 0:
            most_mib = max(most_mib, resident_mib())
        done = MUTATED["frames"] - before_frames if kinds is FRAMES else cases
    grown_mib = max(most_mib, resident_mib()) - before_mib
    seconds = time.monotonic() - began
    assert seen["values"] + seen["refused"] == cases
    assert min(seen["values"], seen["refused"]) > cases / 20, seen
    for must in MUST[what]:
        assert seen[must], f"{must} never happened: {seen}"
    assert longest_s < LONGEST_S
    assert grown_mib < MOST_GROWN_MIB
    report(
        f"DLMS mutations, {what}", mutated=done, answers=cases, values=seen["values"], refused=seen["refused"],
        by_chance=MUTATED["by chance"], seconds=round(seconds, 1), longest_ms=round(longest_s * 1000, 1),
        grown_mib=round(grown_mib, 1),
    )  # fmt: skip


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def one_of_each(chance: random.Random) -> None:
    """What is loaded at its first use is loaded; the undamaged come to their values."""
    for answer, attributes in GETS.values():
        try:
            get(attributes).feed(answer)
        except DriverError:
            assert answer[0] in {0xD8, 0x0E}
    for level, apdus in CIPHERED.items():
        assert {protection(level).unprotect(apdu) for apdu in apdus} == {SECRET}
    assert len(objects.rows(decode(DAY), COLUMNS)) == 96
    assert objects.object_list(decode(LISTED))[0].readable == {1, 2}
    assert objects.capture_objects(decode(CAPTURED)) == COLUMNS[:1]
    for kind in (*APDUS, *FRAMES):
        try:
            kind(chance)
        except DriverError:
            continue


def test_a_session_that_is_fed_rubbish_for_ever_takes_no_memory():
    chance = random.Random(7)
    link, wrapper = Hdlc(16, ServerAddress(1)), Wrapper(16, 1)
    kept = 0
    for n in range(max(300, CASES // 100)):
        if n % 50 == 0:
            link.connect()
            link.feed(frame(0x73))
            wrapper.lost()
        rubbish = mutated(chance, chance.choice(STREAM)) + chance.randbytes(300) + frame(0x03, chance.randbytes(100))
        for feed in (link.feed, wrapper.feed):
            try:
                feed(rubbish)
            except DriverError:
                continue
        sizes = [len(link._reader._buffer), len(link._answer), sum(map(len, link.aside)), len(wrapper._buffer)]
        kept = max(kept, sum(sizes))
    assert kept < 80_000
    assert len(link.aside) == 16
