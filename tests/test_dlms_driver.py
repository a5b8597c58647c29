"""The DLMS driver against a meter that is written apart from it: every association, over TCP and on a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from drivers.dlms.planning import raw_of
from drivers.dlms.refused import (
    AssociationBusy,
)
from edge_agent.model import DlmsSpec, Gap, GapCause, Reading
from edge_agent.ports import NoReply
from simulator.line.virtual import run_virtual
from tests.dlms_desk import (
    EXPECTED,
    device,
    forget_counters,
    meter,
    over_hdlc,
    over_tcp,
    under_keys,
)
from tests.dlms_served import Served, octets, place, scaler, u32


@pytest.fixture(autouse=True)
def a_process_of_its_own() -> Iterator[None]:
    forget_counters()
    yield
    forget_counters()


def kinds(served: Served) -> list[str]:
    """What the meter was asked, by service and kind."""
    names = {
        (0x60,): "aarq",
        (0x62,): "rlrq",
        (0xC0, 1): "get",
        (0xC0, 2): "next",
        (0xC0, 3): "list",
        (0xC3, 1): "proof",
    }
    return [names.get(tuple(apdu[:2])) or names[(apdu[0],)] for apdu in served.asked]


WAYS = [
    ("none", "none", "glo"),
    ("lls", "none", "glo"),
    ("hls5", "none", "glo"),
    *((a, "authenticated", w) for a in ("none", "lls", "hls5") for w in ("glo", "general-glo")),
    *(
        (a, "authenticated-encrypted", w)
        for a in ("none", "lls", "hls5")
        for w in ("glo", "ded", "general-glo", "general-ded")
    ),
]


def spec_of(tmp_path, authentication: str, security: str, wrap: str, **more: Any) -> DlmsSpec:
    keys = authentication == "hls5" or security != "none"
    if not keys:
        password = "12345678" if authentication == "lls" else ""
        return DlmsSpec(client=1, authentication=authentication, password=password, **more)
    password = "12345678" if authentication == "lls" else ""
    given = {"authentication": authentication, "security": security, "wrap": wrap, "password": password, **more}
    return under_keys(tmp_path, **given)


def meter_of(authentication: str, security: str, wrap: str, **more: Any) -> Served:
    ciphers = security != "none"
    return meter(
        ciphers=ciphers, control={"none": 0, "authenticated": 0x10}.get(security, 0x30),
        stoc=b"P6wRJ21F" if authentication == "hls5" else b"", general=wrap.startswith("general"),
        dedicated=wrap.endswith("ded"), **more,
    )  # fmt: skip


@pytest.mark.parametrize("line", [False, True], ids=["tcp", "hdlc"])
@pytest.mark.parametrize("way", WAYS, ids=["-".join(w) for w in WAYS])
def test_a_meter_is_read_in_every_association(way, line, tmp_path):
    """All registers, twice: one association, values with the meter's own scalers, and then a proper end."""

    async def story() -> None:
        served = meter_of(*way)
        spec = device(spec_of(tmp_path, *way, physical=17 if line else None, address_size=2 if line else 1))
        desk = over_hdlc(served, spec, address=b"\x02\x23")[0] if line else over_tcp(served, spec)
        assert await desk.read() == EXPECTED
        assert await desk.read() == EXPECTED
        assert served.associations == 1
        await desk.driver.release()
        assert kinds(served)[-1] == "rlrq"
        await desk.driver.close()
        numbers = [n for n in served.counters if n[0] == "glo"]
        assert len(set(numbers)) == len(numbers)

    run_virtual(story())


def test_the_numbers_are_the_meters_to_the_last_digit():
    async def story() -> None:
        desk = over_tcp(meter())
        outcomes = [o for request in desk.requests for o in await desk.driver.read(request)]
        by = {o.quantity: o for o in outcomes if isinstance(o, Reading)}
        steps = {q: (by[q].value, by[q].step) for q in by if q in {"active_energy_import", "voltage_l1", "current_l1"}}
        assert steps == {
            "active_energy_import": (1_234_560.0, 10.0), "voltage_l1": (230.5, 0.1), "current_l1": (5.12, 0.01),
        }  # fmt: skip
        for outcome in by.values():
            assert outcome.frame is not None
        energy = by[next(q for q in by if q == "active_energy_import")]
        assert energy.frame is not None
        assert raw_of(desk.spec.profile.registers[0], energy.frame) == u32(123_456)

    run_virtual(story())


def test_one_question_brings_a_list_and_scalers_are_asked_once():
    async def story() -> None:
        served = meter()
        desk = over_tcp(served)
        await desk.read()
        # Who it is, after how long it hangs up, what its numbers mean, its numbers.
        assert kinds(served) == ["aarq", "get", "list", "list", "list"]
        await desk.read()
        assert kinds(served)[5:] == ["list"]

    run_virtual(story())


def test_a_meter_without_lists_is_asked_one_by_one_and_not_offered_a_list_again():
    async def story() -> None:
        served = meter(lists=False)
        desk = over_tcp(served)
        assert await desk.read() == EXPECTED
        assert kinds(served).count("list") == 1
        assert await desk.read() == EXPECTED
        assert kinds(served).count("list") == 1

    run_virtual(story())


def test_lists_keep_to_the_pdu_of_the_meter_and_to_what_the_site_says():
    async def story(served: Served, spec: DlmsSpec, longest: int) -> None:
        desk = over_tcp(served, device(spec))
        assert await desk.read() == EXPECTED
        counts = [apdu[3] for apdu in served.asked if apdu[:2] == b"\xc0\x03"]
        assert max(counts, default=1) == longest
        assert sum(counts) >= 13 or longest == 1

    run_virtual(story(meter(response=bytes.fromhex("0800065F1F0400001A1D00400007")), DlmsSpec(), 6))  # 64 octets
    run_virtual(story(meter(), DlmsSpec(with_list_max=4), 4))
    run_virtual(story(meter(), DlmsSpec(with_list_max=1), 1))
    run_virtual(story(meter(response=bytes.fromhex("0800065F1F040000101800000007")), DlmsSpec(), 1))  # no lists at all


def test_long_answers_come_in_blocks():
    async def story() -> None:
        served = meter(block=20)
        desk = over_tcp(served)
        assert await desk.read() == EXPECTED
        assert kinds(served).count("next") > 5

    run_virtual(story())


# -- what a meter does not give ----------------------------------------------------------------------------------------


def test_what_the_meter_lacks_is_a_gap_and_is_not_asked_for_an_hour():
    async def story() -> None:
        served = meter()
        del served.values[place("1-0:14.7.0*255")]
        desk = over_tcp(served)
        assert (await desk.read())["frequency"] == "gap: refused"
        served.asked.clear()
        assert (await desk.read()) == EXPECTED | {"frequency": "gap: refused"}
        assert not any(place("1-0:14.7.0*255") in apdu for apdu in served.asked)
        served.values[place("1-0:14.7.0*255")] = b"\x12" + (4998).to_bytes(2, "big")
        desk.shift_ms += 3_700_000
        assert (await desk.read())["frequency"] == 49.98

    run_virtual(story())


def test_a_quantity_that_the_meter_counts_in_another_unit_is_a_gap():
    async def story() -> None:
        served = meter()
        served.values[place("1-0:1.8.0*255", 3, 3)] = scaler(0, 31)  # VAh
        served.values[place("1-0:32.7.0*255", 3, 3)] = scaler(60, 35)
        served.values[place("1-0:31.7.0*255")] = b"\x00"
        served.values[place("1-0:14.7.0*255")] = u32(4_000_000_000)
        desk = over_tcp(served)
        outcomes = {o.quantity: o for request in desk.requests for o in await desk.driver.read(request)}
        gaps = {q: (o.cause, o.detail) for q, o in outcomes.items() if isinstance(o, Gap)}
        assert {q: cause for q, (cause, _) in gaps.items()} == {
            "active_energy_import": GapCause.IMPLAUSIBLE,
            "voltage_l1": GapCause.IMPLAUSIBLE,
            "current_l1": GapCause.NOT_AVAILABLE,
            "frequency": GapCause.IMPLAUSIBLE,
        }
        assert "VAh, not in Wh" in next(detail for q, (_, detail) in gaps.items() if q == "active_energy_import")

    run_virtual(story())


def test_a_changed_scaler_is_read_with_the_new_firmware():
    """The meter is set anew: its firmware says so at the next association, and no value has the old scaler."""

    async def story() -> None:
        served = meter()
        desk = over_tcp(served)
        assert (await desk.read())["active_energy_import"] == 1_234_560.0
        served.values[place("1-0:0.2.0*255", 1)] = octets(b"FW 1.1")
        served.values[place("1-0:1.8.0*255", 3, 3)] = scaler(0, 30)
        served.values[place("1-0:1.8.0*255")] = u32(1_234_570)
        served.client = None  # it has started anew
        assert (await desk.read())["active_energy_import"] == 1_234_570.0
        assert served.associations == 2

    run_virtual(story())


def test_a_number_of_another_type_is_not_used_before_its_scaler_was_read_anew():
    async def story() -> None:
        served = meter()
        desk = over_tcp(served)
        await desk.read()
        served.values[place("1-0:16.7.0*255")] = u32(12_345)
        served.values[place("1-0:16.7.0*255", 3, 3)] = scaler(-1, 27)
        assert (await desk.read())["active_power"] == 1234.5

    run_virtual(story())


def test_scalers_are_read_anew_after_a_day():
    async def story() -> None:
        served = meter(inactivity_s=1e9)
        desk = over_tcp(served, device(DlmsSpec(inactivity_s=0)))
        await desk.read()
        served.values[place("1-0:1.8.0*255", 3, 3)] = scaler(0, 30)
        desk.shift_ms += 86_400_000
        assert (await desk.read())["active_energy_import"] == 123_456.0
        assert served.associations == 1

    run_virtual(story())


# -- associations over polls ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [False, True], ids=["tcp", "hdlc"])
def test_an_association_is_kept_only_while_polls_come_before_its_end(line):
    async def story(every_s: float, kept: bool) -> None:
        served = meter(inactivity_s=120)
        spec = device(every_s=every_s)
        desk = over_hdlc(served, spec)[0] if line else over_tcp(served, spec)
        for _ in range(3):
            assert await desk.read() == EXPECTED
            assert (served.client is not None) is kept
            desk.shift_ms += round(1000 * every_s)
        assert served.associations == (1 if kept else 3)
        assert kinds(served).count("rlrq") == (0 if kept else 3)
        assert served.refused == 0

    run_virtual(story(60, True))
    run_virtual(story(900, False))


@pytest.mark.parametrize("line", [False, True], ids=["tcp", "hdlc"])
def test_an_association_that_has_ended_by_itself_is_made_anew_without_a_lost_poll(line):
    """After an hour of no polls, and after a meter that started anew in between."""

    async def story() -> None:
        served = meter()
        desk = over_hdlc(served)[0] if line else over_tcp(served)
        assert await desk.read() == EXPECTED
        desk.shift_ms += 3_600_000
        assert await desk.read() == EXPECTED
        served.client = None
        assert await desk.read() == EXPECTED
        assert served.associations == 3

    run_virtual(story())


def test_the_meter_says_itself_when_it_hangs_up():
    async def story() -> None:
        served = meter(inactivity_s=30)
        served.values[place("0-0:25.0.0*255", 41, 6)] = b"\x12\x00\x1e"
        desk = over_tcp(served, device(every_s=60))
        for _ in range(3):
            assert await desk.read() == EXPECTED
            desk.shift_ms += 60_000
        assert kinds(served).count("rlrq") == 3

    run_virtual(story())


def test_a_meter_that_is_another_clients_is_left_alone_and_says_what_to_do():
    async def story(line: bool) -> None:
        served = meter(inactivity_s=60)
        served.client = 32
        desk = over_hdlc(served)[0] if line else over_tcp(served)
        with pytest.raises(AssociationBusy) as busy:
            await desk.read()
        assert isinstance(busy.value, NoReply)
        assert busy.value.cause is GapCause.BUSY
        assert busy.value.code == "dlms.association.busy"
        desk.shift_ms += 61_000
        assert await desk.read() == EXPECTED

    run_virtual(story(False))
    run_virtual(story(True))


def test_a_line_that_dropped_leaves_a_link_that_is_ended_first():
    """The agent was killed in mid-association: DISC, its UA, and only then SNRM."""

    async def story() -> None:
        served = meter()
        desk, end = over_hdlc(served)
        await desk.read()
        again, _ = over_hdlc(served)
        again.link._reply = end.feed
        end.heard.clear()
        assert await again.read() == EXPECTED
        assert [frame[5] for frame in end.heard[:2]] == [0x53, 0x93]
        assert served.refused == 0

    run_virtual(story())


def test_a_meter_that_keeps_silent_at_disc_is_met_the_next_time_and_costs_one_time_out():
    async def story() -> None:
        served = meter()
        desk, end = over_hdlc(served)
        desk.link._reply = lambda data: b"" if data[5] == 0x53 else end.feed(data)
        began_ms = desk.now_ms()
        with pytest.raises(NoReply):
            await desk.read()
        assert 1000 <= desk.now_ms() - began_ms < 1500
        assert await desk.read() == EXPECTED

    run_virtual(story())


def test_a_lost_answer_is_had_by_saying_the_same_frame_again():
    """Each of the meter's answers lost once, one after the other: nothing is read wrongly, and nothing asked twice."""

    async def story(lost: int) -> int:
        served = meter()
        desk, end = over_hdlc(served)
        await desk.read()
        asked, count = len(served.asked), 0

        def far_end(data: bytes) -> bytes:
            nonlocal count
            came = end.feed(data)
            count += 1
            return b"" if count == lost else came

        desk.link._reply = far_end
        assert await desk.read() == EXPECTED
        assert len(served.asked) == asked + 1
        return count

    rounds = run_virtual(story(0)) or 1
    for lost in range(1, rounds + 1):
        run_virtual(story(lost))


def test_a_question_that_was_lost_is_said_again_with_its_number():
    async def story() -> None:
        served = meter()
        desk, end = over_hdlc(served)
        await desk.read()
        lost: list[bytes] = []

        def far_end(data: bytes) -> bytes:
            if not lost:
                lost.append(data)
                return b""
            return end.feed(data)

        desk.link._reply = far_end
        assert await desk.read() == EXPECTED
        assert end.heard[-2] == lost[0] or lost[0] in end.heard

    run_virtual(story())


def test_a_dead_meter_costs_one_time_out():
    async def story() -> None:
        desk, end = over_hdlc(meter())
        desk.link._reply = lambda _: None
        for _ in range(4):
            began_ms = desk.now_ms()
            with pytest.raises(NoReply):
                await desk.read()
            assert desk.now_ms() - began_ms < 1500
        assert end.heard == []

    run_virtual(story())
