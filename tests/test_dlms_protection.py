"""Ciphering: what is not protected as agreed yields nothing, and no counter is ever used twice under a key."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from drivers.dlms.acse import Mechanism
from drivers.dlms.counters import MOST, MOST_RAISED, HeardCounter, InvocationCounter, MemoryStore
from drivers.dlms.protection import Keys, Level, Protection, Wrap
from drivers.dlms.refused import (
    CounterSpent,
    Flaw,
    Malformed,
    MeterUnproven,
    NotSupported,
    ProtectionRefused,
    Unsupported,
)
from drivers.gate import GateRefused
from drivers.gate_dlms import WrapperGate
from edge_agent.ports import DriverError
from tests.dlms_client import KEYS, TIME, client
from tests.dlms_meter import AK, CLIENT_TITLE, CLOCK_VALUE, EK, METER_TITLE, Meter, guarded, opened, proof

PLAIN = bytes.fromhex("C4014100") + CLOCK_VALUE
DED = bytes(range(0x40, 0x50))


def made(**more) -> Protection:
    counter = more.pop("counter", None) or InvocationCounter(MemoryStore())
    keys = more.pop("keys", KEYS)
    return Protection(keys, CLIENT_TITLE, counter, witness=WrapperGate(), **{"meter_title": METER_TITLE, **more})


def dressed(body: bytes, tag: int = 0xCC, title: bytes | None = None) -> bytes:
    head = bytes((tag,)) if title is None else bytes((tag, len(title))) + title
    return head + bytes((len(body),)) + body


def reply(control: int = 0x30, counter: int = 10, title: bytes = METER_TITLE, key: bytes = EK) -> bytes:
    return guarded(control, title, counter, PLAIN, key=key)


def flaw(guard: Protection, apdu: bytes) -> Flaw:
    with pytest.raises(ProtectionRefused) as refused:
        guard.unprotect(apdu)
    return refused.value.flaw


@pytest.mark.parametrize("level", [Level.AUTHENTICATED, Level.ENCRYPTED, Level.BOTH])
@pytest.mark.parametrize("tag", [0xCC, 0xDB])
def test_an_answer_protected_as_agreed(level, tag):
    apdu = dressed(reply(level), tag, METER_TITLE if tag == 0xDB else None)
    assert made(level=level).unprotect(apdu) == PLAIN


def test_no_flipped_bit_yields_a_value_and_the_right_answer_still_counts():
    apdu = dressed(reply())
    guard = made()
    for bit in range(len(apdu) * 8):
        flipped = bytearray(apdu)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(DriverError):
            guard.unprotect(bytes(flipped))
    for length in range(len(apdu)):
        with pytest.raises(DriverError):
            guard.unprotect(apdu[:length] or b"\0")
    assert guard.unprotect(apdu) == PLAIN  # a forgery has not moved the counter


def test_a_wrong_tag_a_wrong_key_and_a_wrong_title_are_one_refusal():
    assert flaw(made(), dressed(reply()[:-1] + b"\0")) is Flaw.TAG
    assert flaw(made(), dressed(reply(key=bytes(16)))) is Flaw.TAG
    assert flaw(made(), dressed(reply(title=b"OTHERMTR"))) is Flaw.TAG


@pytest.mark.parametrize(
    ("agreed", "came", "good"),
    [
        (Level.BOTH, 0x30, True),
        (Level.BOTH, 0x20, False),
        (Level.BOTH, 0x10, False),
        (Level.BOTH, 0x00, False),
        (Level.AUTHENTICATED, 0x10, True),
        (Level.AUTHENTICATED, 0x30, True),  # stronger than agreed
        (Level.AUTHENTICATED, 0x20, False),
        (Level.AUTHENTICATED, 0x00, False),
        (Level.ENCRYPTED, 0x20, True),
        (Level.ENCRYPTED, 0x30, True),
        (Level.ENCRYPTED, 0x10, False),
        (Level.ENCRYPTED, 0x00, False),
    ],
)
def test_protection_weaker_than_agreed_is_refused(agreed, came, good):
    guard = made(level=agreed)
    if good:
        assert guard.unprotect(dressed(reply(came))) == PLAIN
    else:
        assert flaw(guard, dressed(reply(came))) is Flaw.WEAKER


def test_an_answer_in_the_clear_is_the_weakest():
    for apdu in (PLAIN, bytes.fromhex("0800065F1F040000501F01F40007"), bytes.fromhex("C701410000")):
        assert flaw(made(), apdu) is Flaw.WEAKER


def test_an_old_counter_is_refused_whatever_its_tag():
    guard = made()
    assert guard.unprotect(dressed(reply(counter=10))) == PLAIN
    assert flaw(guard, dressed(reply(counter=10))) is Flaw.OLD_COUNTER
    assert flaw(guard, dressed(reply(counter=9))) is Flaw.OLD_COUNTER
    assert guard.unprotect(dressed(reply(counter=11))) == PLAIN
    assert made(heard=HeardCounter(20)).unprotect(dressed(reply(counter=21))) == PLAIN
    assert flaw(made(heard=HeardCounter(21)), dressed(reply(counter=21))) is Flaw.OLD_COUNTER


def test_the_heard_counter_outlives_an_association():
    heard, meter = HeardCounter(), Meter()
    client(meter, level=Level.BOTH, heard=heard).open().read(TIME)
    assert heard.last == meter.counter
    replayed = client(Meter(), level=Level.BOTH, heard=heard)  # as if everything were sent once more
    with pytest.raises(ProtectionRefused) as refused:
        replayed.open()
    assert refused.value.flaw is Flaw.OLD_COUNTER


def test_another_meters_title_is_refused_and_an_empty_one_is_the_negotiated():
    body = reply()
    assert flaw(made(), dressed(body, 0xDB, b"OTHERMTR")) is Flaw.OTHER_TITLE
    assert made().unprotect(dressed(body, 0xDB, b"")) == PLAIN
    assert made().unprotect(dressed(body, 0xDB, METER_TITLE)) == PLAIN
    with pytest.raises(ProtectionRefused):
        made().meet(b"OTHERMTR")
    with pytest.raises(Malformed):
        made(meter_title=b"").meet(b"short")


def test_an_answer_under_another_key_is_refused():
    global_key = made(wrap=Wrap.GLO)
    dedicated = made(wrap=Wrap.DED, dedicated_key=DED)
    assert dedicated.unprotect(dressed(reply(key=DED), 0xD4)) == PLAIN
    assert dedicated.unprotect(dressed(reply(key=DED, counter=11), 0xDC, METER_TITLE)) == PLAIN
    for guard, tag in ((global_key, 0xD4), (global_key, 0xDC), (dedicated, 0xCC), (dedicated, 0xDB)):
        assert flaw(guard, dressed(reply(), tag, METER_TITLE if tag > 0xDA else None)) is Flaw.OTHER_KEY
    assert flaw(global_key, dressed(b"\x70" + reply()[1:])) is Flaw.OTHER_KEY  # the broadcast key


@pytest.mark.parametrize(
    ("apdu", "what"),
    [
        (dressed(b"\x31" + reply()[1:]), Unsupported.SUITE),
        (dressed(b"\x32" + reply()[1:]), Unsupported.SUITE),
        (dressed(b"\xb0" + reply()[1:]), Unsupported.COMPRESSION),
        (b"\xdd\x00", Unsupported.GENERAL_CIPHERING),
        (b"\xdf\x00", Unsupported.GENERAL_CIPHERING),
        (b"\xe0\x80\x00\x01", Unsupported.GENERAL_BLOCK_TRANSFER),
    ],
)
def test_what_is_not_spoken_says_so(apdu, what):
    with pytest.raises(NotSupported) as refused:
        made().unprotect(apdu)
    assert refused.value.what is what


def test_what_is_inside_must_be_what_the_outside_says():
    for tag in (0x28, 0x2E, 0xCF):
        with pytest.raises(Malformed):
            made().unprotect(dressed(reply(), tag))
    for torn in (b"\xcc", b"\xcc\x05\x30\0\0\0\1", b"\xcc\x06\x20\0\0\0\1", dressed(reply()) + b"\0"):
        with pytest.raises(DriverError):
            made().unprotect(torn)


def test_keys_and_titles_are_checked_and_not_shown():
    for keys in ((b"short", bytes(16)), (bytes(16), bytes(32))):
        with pytest.raises(ValueError, match="16 octets"):
            Keys(*keys)
    with pytest.raises(ValueError, match="8 octets"):
        Protection(KEYS, b"short", InvocationCounter(MemoryStore()), witness=WrapperGate())
    with pytest.raises(ValueError, match="encrypted"):
        made(level=Level.AUTHENTICATED, wrap=Wrap.DED)
    secret = Keys(b"canary-of-16-oct", b"canary-of-16-oct")
    assert "canary" not in f"{secret!r} {secret}"


def test_a_dedicated_key_is_new_each_time_and_counts_from_nothing():
    first, second = made(wrap=Wrap.DED), made(wrap=Wrap.DED)
    assert len(first.dedicated_key) == len(second.dedicated_key) == 16
    assert first.dedicated_key != second.dedicated_key
    get = bytes.fromhex("C0014100080000010000FF0200")
    apdus = [first.protect(get) for _ in range(3)]
    assert [(apdu[0], int.from_bytes(apdu[3:7], "big")) for apdu in apdus] == [(0xD0, n) for n in range(3)]
    assert [opened(CLIENT_TITLE, apdu[2:], key=first.dedicated_key) for apdu in apdus] == [get] * 3


def test_nothing_is_enciphered_that_does_not_read():
    store = MemoryStore()
    guard = made(counter=InvocationCounter(store))
    for written in ("C1014100080000010000FF0200090C" + "00" * 12, "C301410008 0000010000FF0100", "C801", "", "D90100"):
        with pytest.raises(GateRefused):
            guard.protect(bytes.fromhex(written))
    assert store.upto == 0  # no counter was even reserved


def test_an_old_proof_is_no_proof():
    guard = made()
    guard.unprotect(dressed(reply(counter=10)))
    guard.prove(b"anything")
    with pytest.raises(MeterUnproven, match="old"):
        guard.check_proof(b"challenge", proof(METER_TITLE, 10, b"challenge"))
    guard.unprotect(dressed(reply(counter=12)))  # the APDU that brings the proof has a counter of its own
    guard.check_proof(b"challenge", proof(METER_TITLE, 11, b"challenge"))
    for wrong in (proof(CLIENT_TITLE, 13, b"challenge"), proof(METER_TITLE, 13, b"other"), proof(METER_TITLE, 13, b"")):
        with pytest.raises(MeterUnproven):
            guard.check_proof(b"challenge", wrong)


# -- counters ---------------------------------------------------------------------------------------------------------


class Disk:
    """A store of which the process may die at any time: what was reserved stays, or fails."""

    def __init__(self) -> None:
        self.upto = 0
        self.full = False

    def start(self) -> int:
        return self.upto

    def reserve(self, upto: int) -> None:
        if self.full:
            raise OSError("no space left")
        assert upto > self.upto, "a reservation never goes down"
        self.upto = upto


STEPS = st.lists(
    st.one_of(
        st.just("take"), st.just("crash"), st.just("full"), st.just("room"), st.integers(0, 60), st.integers(0, MOST)
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 7))
def test_no_number_is_given_twice_whatever_breaks(steps, block):
    disk = Disk()
    counter = InvocationCounter(disk, block=block)
    given_out: list[int] = []
    for step in steps:
        match step:
            case "take":
                try:
                    given_out.append(counter.take())
                except (OSError, CounterSpent):
                    event("refused")
            case "crash":
                event("crash")
                counter = InvocationCounter(disk, block=block)
            case "full" | "room":
                disk.full = step == "full"
            case int():
                try:
                    event(f"raised: {counter.raise_to(step)}")
                except CounterSpent:
                    assert step > MOST_RAISED
    assert given_out == sorted(set(given_out))
    assert all(number < disk.upto for number in given_out)


def test_a_block_is_reserved_before_its_first_number_is_used():
    disk = Disk()
    counter = InvocationCounter(disk)
    assert disk.upto == 0
    assert [counter.take() for _ in range(1000)] == list(range(1000))
    assert disk.upto == 1000
    assert counter.take() == 1000
    assert disk.upto == 2000
    assert InvocationCounter(disk).take() == 2000


def test_a_counter_goes_up_and_never_down():
    counter = InvocationCounter(MemoryStore(500))
    assert not counter.raise_to(500)
    assert not counter.raise_to(3)
    assert counter.take() == 500
    assert counter.raise_to(9000)
    assert counter.take() == 9000
    with pytest.raises(CounterSpent):
        counter.raise_to(MOST_RAISED + 1)
    assert counter.take() == 9001


def test_the_last_number_is_the_last():
    counter = InvocationCounter(MemoryStore(MOST - 1))
    assert [counter.take(), counter.take()] == [MOST - 1, MOST]
    with pytest.raises(CounterSpent):
        counter.take()
    with pytest.raises(CounterSpent):
        InvocationCounter(MemoryStore(MOST + 1)).take()


def test_one_counter_serves_association_after_association():
    disk = Disk()
    used = []
    for _ in range(5):
        meter = Meter()
        talk = client(meter, Mechanism.HLS_GMAC, level=Level.BOTH, counter=InvocationCounter(disk)).open()
        talk.read(TIME)
        used += [n for _, n in meter.counters]
    assert len(used) == len(set(used)) == 20


def test_without_cryptography_it_says_what_to_install(monkeypatch):
    for name in ("cryptography", "cryptography.hazmat.primitives.ciphers.aead"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(NotSupported) as refused:
        made(keys=Keys(EK, AK)).prove(b"challenge")
    assert refused.value.what is Unsupported.CIPHERING
    assert client(Meter(), Mechanism.LLS).open().read(TIME)  # a password needs none


def test_cryptography_is_loaded_when_a_key_is_first_used():
    code = (
        "import sys, json, pkgutil, importlib, drivers.dlms, drivers.gate_dlms\n"
        "for m in pkgutil.iter_modules(drivers.dlms.__path__): importlib.import_module('drivers.dlms.' + m.name)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True, timeout=60
    )
    loaded = json.loads(done.stdout)
    assert "drivers.dlms.protection" in loaded
    assert [name for name in loaded if name.startswith("cryptography")] == []
