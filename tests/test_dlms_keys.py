"""Protection and counters of the DLMS driver: what is not the meter's yields no value, no number is used twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from drivers.dlms.counter_file import CounterFile, counter_of
from drivers.dlms.refused import (
    AssociationRefused,
    CounterUnkept,
    Flaw,
    KeyAbsent,
    MeterUnproven,
    ProtectionRefused,
)
from edge_agent.model import DlmsSpec
from edge_agent.ports import BadReply, DriverError, NoReply, Refused
from simulator.line.virtual import run_virtual
from tests.dlms_desk import EXPECTED, device, forget_counters, meter, over_hdlc, over_tcp, under_keys
from tests.dlms_meter import aare, guarded
from tests.dlms_served import place, u32


@pytest.fixture(autouse=True)
def a_process_of_its_own() -> Iterator[None]:
    forget_counters()
    yield
    forget_counters()


# -- protection --------------------------------------------------------------------------------------------------------


FLAWS = {
    "a wrong tag": Flaw.TAG,
    "a flipped bit": Flaw.TAG,
    "a weaker security control": Flaw.WEAKER,
    "an answer in the clear": Flaw.WEAKER,
    "an old counter": Flaw.OLD_COUNTER,
    "another meter's title": Flaw.OTHER_TITLE,
}


@pytest.mark.parametrize("line", [False, True], ids=["tcp", "hdlc"])
@pytest.mark.parametrize("flaw", FLAWS)
def test_an_answer_that_is_not_the_meters_yields_no_value(flaw, line, tmp_path):
    async def story() -> None:
        general = flaw == "another meter's title"
        served = meter(ciphers=True, stoc=b"P6wRJ21F", general=general)
        spec = device(under_keys(tmp_path, wrap="general-glo" if general else "glo"))
        desk = over_hdlc(served, spec)[0] if line else over_tcp(served, spec)
        assert await desk.read() == EXPECTED
        last: list[bytes] = []

        def spoiled(answer: bytes) -> bytes:
            if answer[:1] not in {b"\xcc", b"\xdb"}:
                return answer
            match flaw:
                case "a wrong tag":
                    return answer[:-1] + bytes((answer[-1] ^ 1,))
                case "a flipped bit":
                    return answer[:-20] + bytes((answer[-20] ^ 4,)) + answer[-19:]
                case "a weaker security control":
                    at = answer.index(b"\x30", 1)
                    body = guarded(0x10, served.title, served.counter + 1, b"\xc4\x03\x41\x00")
                    return answer[:1] + bytes((len(body),)) + body if at else b""
                case "an answer in the clear":
                    return b"\xc4\x03\x41\x01\x00" + u32(666)
                case "an old counter":
                    last.append(answer)
                    return last[0]
            return answer.replace(served.title, b"OTHERMTR")

        served.says = spoiled
        if flaw == "an old counter":
            assert await desk.read() == EXPECTED  # the one that is said again afterwards
        with pytest.raises(ProtectionRefused) as refused:
            await desk.read()
        assert refused.value.flaw is FLAWS[flaw]
        assert isinstance(refused.value, BadReply)
        served.says = lambda answer: answer
        assert await desk.read() == EXPECTED

    run_virtual(story())


def test_a_meter_that_does_not_know_the_key_is_not_believed(tmp_path):
    async def story() -> None:
        served = meter(ciphers=False, stoc=b"P6wRJ21F")
        desk = over_tcp(served, device(under_keys(tmp_path, security="none")))
        served.change = lambda plain: plain[:-3] + b"\0\0\0" if plain[0] == 0xC7 else plain
        with pytest.raises(MeterUnproven):
            await desk.read()

    run_virtual(story())


def test_what_is_wrong_with_a_secret_is_said_without_it(tmp_path):
    async def said(spec: DlmsSpec) -> KeyAbsent:
        with pytest.raises(KeyAbsent) as absent:
            await over_tcp(meter(ciphers=True), device(spec)).read()
        return absent.value

    async def story() -> None:
        (tmp_path / "short").write_text("00112233canary")
        for spec in (
            DlmsSpec(authentication="lls"),
            DlmsSpec(authentication="lls", password_file=str(tmp_path / "none")),
            replace(under_keys(tmp_path), encryption_key="canary0011"),
            replace(under_keys(tmp_path), encryption_key="", encryption_key_file=str(tmp_path / "short")),
        ):
            error = await said(spec)
            assert isinstance(error, Refused)
            assert "canary" not in f"{error!r} {error} {error.fields}"

    run_virtual(story())


def test_a_password_leaves_no_trace_in_the_frames_of_the_link():
    async def story(line: bool) -> None:
        spec = device(DlmsSpec(client=1, authentication="lls", password="canary-password"))
        served = meter()
        desk = over_hdlc(served, spec)[0] if line else over_tcp(served, spec)
        assert await desk.read() == EXPECTED
        assert any(b"canary-password" in sent for sent in desk.link.sent)
        assert not any(b"canary" in frame.request for frame in desk.link.frames)
        served.says = lambda answer: None if answer[0] == 0x61 else answer
        await desk.driver.release()
        with pytest.raises(NoReply) as silent:
            await desk.read()
        assert b"canary" not in silent.value.sent
        assert not any(b"canary" in frame.request for frame in desk.link.frames)

    run_virtual(story(False))
    run_virtual(story(True))


# -- counters ----------------------------------------------------------------------------------------------------------

COUNTER = place("0-0:43.1.0*255", 1)


@pytest.mark.parametrize("rejected", ["exception", "exception with counter", "silence"])
@pytest.mark.parametrize("line", [False, True], ids=["tcp", "hdlc"])
def test_a_counter_that_the_meter_has_seen_goes_on_above_it(rejected, line, tmp_path):
    """The gateway's disk was replaced: its counter begins anew, the meter's does not."""

    async def story() -> None:
        served = meter(ciphers=True, stoc=b"P6wRJ21F", heard=54_321, rejected=rejected)
        served.public = {COUNTER: u32(served.heard)}
        # Known to have been used, so the meter is not asked before: it has to refuse first.
        (tmp_path / "warm").mkdir()
        spec = under_keys(tmp_path / "warm", counter_object="0-0:43.1.0*255")
        counter_of(spec.state, bytes(range(16)), bytes.fromhex(spec.client_title))[0].take()
        desk = over_hdlc(served, device(spec))[0] if line else over_tcp(served, device(spec))
        assert await desk.read() == EXPECTED
        assert served.refused == 1
        assert min(n for key, n in served.counters) > 54_321

    run_virtual(story())


def test_a_new_counter_begins_above_what_the_meter_has_seen(tmp_path):
    async def story() -> None:
        served = meter(ciphers=True, stoc=b"P6wRJ21F", heard=54_321)
        served.public = {COUNTER: u32(54_321)}
        desk = over_tcp(served, device(under_keys(tmp_path, counter_object="0-0:43.1.0*255")))
        assert await desk.read() == EXPECTED
        assert served.refused == 0
        assert min(n for _, n in served.counters) == 54_321 + 1000

    run_virtual(story())


def test_a_meter_that_lowers_its_claim_does_not_lower_ours_and_is_asked_once_an_hour(tmp_path):
    async def story() -> None:
        served = meter(ciphers=True, stoc=b"P6wRJ21F", heard=10)
        served.public = {COUNTER: u32(10)}
        desk = over_tcp(served, device(under_keys(tmp_path, counter_object="0-0:43.1.0*255")))
        await desk.read()
        used, before = max(n for _, n in served.counters), len(served.counters)
        served.public[COUNTER] = u32(3)
        served.heard = 1 << 30  # whatever comes is refused now
        served.client = None
        associations = served.associations
        for minute in range(1, 121):
            desk.shift_ms += 60_000
            with pytest.raises(Refused):
                await desk.read()
            if minute == 59:
                assert served.associations == associations  # the public client was not asked again
        assert served.associations == associations + 2
        served.heard = used
        assert await desk.read() == EXPECTED
        assert min(n for _, n in served.counters[before:]) > used

    run_virtual(story())


def test_nothing_is_enciphered_where_the_counter_cannot_be_kept(tmp_path):
    async def story() -> None:
        served = meter(ciphers=True, stoc=b"P6wRJ21F")
        (tmp_path / "file").write_text("")
        with pytest.raises(CounterUnkept):
            await over_tcp(served, device(under_keys(tmp_path / "file" / "folder"))).read()
        assert served.counters == []

    run_virtual(story())


def test_refusals_are_typed_and_have_a_cure():
    async def story() -> None:
        served = meter(says=lambda answer: aare(1, 13, b"") if answer[0] == 0x61 else answer)
        desk = over_tcp(served, device(DlmsSpec(client=1, authentication="lls", password="wrong")))
        with pytest.raises(AssociationRefused) as refused:
            await desk.read()
        assert isinstance(refused.value, DriverError)
        assert refused.value.code == "dlms.association.authentication_failure"
        assert not desk.link.is_open

    run_virtual(story())


# -- the file of a counter ---------------------------------------------------------------------------------------------


def test_a_file_keeps_how_far_the_numbers_are_reserved(tmp_path):
    path = tmp_path / "a.counter"
    file = CounterFile(path)
    assert (file.start(), file.is_new) == (0, True)
    file.reserve(1000)
    with pytest.raises(CounterUnkept, match="another process"):
        CounterFile(path)
    file.close()
    again = CounterFile(path)
    assert (again.start(), again.is_new) == (1000, False)
    again.close()
    assert path.stat().st_mode & 0o077 == 0


def test_no_single_bit_of_the_file_may_change(tmp_path):
    path = tmp_path / "a.counter"
    file = CounterFile(path)
    file.reserve(123_456)
    file.close()
    written, refused = path.read_bytes(), 0
    for bit in range(len(written) * 8):
        spoiled = bytearray(written)
        spoiled[bit >> 3] ^= 1 << (bit & 7)
        path.write_bytes(spoiled)
        with pytest.raises(CounterUnkept, match="damaged"):
            CounterFile(path)
        refused += 1
    assert refused == len(written) * 8 > 80
    for length in range(len(written)):
        path.write_bytes(written[:length])
        with pytest.raises(CounterUnkept):
            CounterFile(path)


def test_meters_that_share_key_and_title_share_the_counter_and_others_do_not(tmp_path):
    key, title = bytes(16), bytes(8)
    one, _ = counter_of(str(tmp_path), key, title)
    assert counter_of(str(tmp_path), key, title)[0] is one
    assert counter_of(str(tmp_path), key, b"another1")[0] is not one
    assert counter_of(str(tmp_path), bytes(15) + b"1", title)[0] is not one
    assert [one.take() for _ in range(3)] == [0, 1, 2]
    forget_counters()
    assert counter_of(str(tmp_path), key, title)[0].take() == 1000
    assert not any(key.hex() in path.name for path in tmp_path.iterdir())
