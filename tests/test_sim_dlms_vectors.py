"""The Green Book's worked example, said to the simulated meter by hand: what it answers, octet for octet.

The client's lines go in as they are printed; what comes out is compared with the meter's lines, or taken apart by hand
(`tests/dlms_meter`), never by the code that made it.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from simulator.clock import HandClock
from simulator.dlms.codec import FrameReader
from simulator.dlms.guard import Keys, NotGenuine, proof, seal, unseal
from simulator.dlms.meter import DlmsMeter
from simulator.dlms.station import DlmsStation
from simulator.dlms.tables import ClientTable
from tests import dlms_meter as hand
from tests.sim_dlms import AK, CLIENT_TITLE, EK, KEYS, METER_TITLE, T0, sim_meter

BOOK = tomllib.loads((Path(__file__).parent / "vectors/dlms/green_book.toml").read_text("utf-8"))
GET_CLOCK = bytes.fromhex(BOOK["get"]["plain"])
COUNTER = BOOK["keys"]["counter"]
SENDER = bytes.fromhex(BOOK["keys"]["sender"])


def octets(room: str, name: str) -> bytes:
    return bytes.fromhex(BOOK[room][name])


def book_meter(*clients: ClientTable, **more: Any) -> DlmsMeter:
    """A meter of the book's conformance and size."""
    return sim_meter(clients=clients, **{"services": 0x00501F, "most_pdu": 500, **more})


def said(meter: DlmsMeter, apdu: bytes, client: int = 1, channel: object = "book") -> bytes:
    return meter.answer(client, apdu, channel, 0.0).apdu


def test_aarq_without_authentication_is_accepted():
    meter = book_meter(ClientTable(sap=1))
    assert said(meter, octets("aarq", "none")) == octets("aare", "ok")
    meter.clock = HandClock(T0 + 90_000)
    clock = bytes.fromhex("C4010000090C07EA03020100011E00FE2000")  # Monday 2026-03-02 00:01:30, UTC+8: deviation -480
    assert said(meter, GET_CLOCK) == clock


def test_aarq_with_a_password_is_accepted_and_with_another_one_refused():
    meter = book_meter(ClientTable(sap=1, auth="lls", password="12345678"))
    assert said(meter, octets("aarq", "lls")) == octets("aare", "ok")
    meter = book_meter(ClientTable(sap=1, auth="lls", password="87654321"))
    assert said(meter, octets("aarq", "lls")) == hand.aare(1, 13)


def test_aarq_for_another_context_is_refused():
    meter = book_meter(ClientTable(sap=1))
    short_names = octets("aarq", "none").replace(bytes.fromhex("60857405080101"), bytes.fromhex("60857405080102"))
    assert said(meter, short_names) == octets("aare", "context")


def test_aarq_of_an_old_version_of_dlms_is_an_initiate_error():
    meter = book_meter(ClientTable(sap=1))
    old = octets("aarq", "none").replace(bytes.fromhex("065F1F04"), bytes.fromhex("055F1F04"))
    assert old != octets("aarq", "none")
    assert said(meter, old) == octets("aare", "error")
    assert said(meter, GET_CLOCK) == bytes.fromhex("D80101")  # no association


def test_the_whole_hls_exchange():
    client = ClientTable(sap=1, auth="gmac", title=CLIENT_TITLE.hex(), **KEYS)
    meter = book_meter(client, challenge="P6wRJ21F", counter=COUNTER)
    assert said(meter, octets("aarq", "hls5")) == octets("aare", "hls5")
    assert said(meter, GET_CLOCK) == bytes.fromhex("D80101")  # not before the proof
    reply = said(meter, bytes.fromhex("C30141000F0000280000FF01010911") + octets("hls", "f_stoc"))
    assert reply == bytes.fromhex("C701410001000911") + octets("hls", "f_ctos")
    assert said(meter, GET_CLOCK)[:4] == bytes.fromhex("C4010000")
    assert [seen.counter for seen in meter.ledger.seen] == [1]


def test_a_wrong_proof_ends_the_association():
    client = ClientTable(sap=1, auth="gmac", title=CLIENT_TITLE.hex(), **KEYS)
    for bit in (8, 39, 40, 100, 135):  # counter and tag
        meter = book_meter(client, challenge="P6wRJ21F", counter=COUNTER)
        said(meter, octets("aarq", "hls5"))
        wrong = bytearray(octets("hls", "f_stoc"))
        wrong[bit >> 3] ^= 1 << (bit & 7)
        reply = said(meter, bytes.fromhex("C30141000F0000280000FF01010911") + bytes(wrong))
        assert reply == bytes.fromhex("C701410300")
        assert said(meter, GET_CLOCK) == bytes.fromhex("D80101")
        assert not meter.ledger.seen[0].genuine


def test_the_ciphered_aarq_of_the_book_with_its_dedicated_key():
    client = ClientTable(sap=1, auth="lls", password="12345678", protect="both", **KEYS)
    meter = book_meter(client, services=0x007C1F, most_pdu=1024, counter=COUNTER)
    aare = said(meter, octets("aarq", "glo"))
    parts = hand.tlvs(aare[2:])
    assert parts[0xBE] == b"\x04" + bytes((len(octets("initiate", "glo_response")),)) + octets(
        "initiate", "glo_response"
    )
    assert parts[0xA4] == b"\x04\x08" + METER_TITLE
    assert parts[0xA1][-1:] == b"\x03"
    assert hand.opened(METER_TITLE, octets("initiate", "glo_response")[2:]) == octets("initiate", "response")
    # Under the dedicated key, which counts from 0 on both sides:
    key = octets("initiate", "dedicated_key")
    asked = hand.guarded(0x30, SENDER, 0, GET_CLOCK, key=key)
    reply = said(meter, b"\xd0" + bytes((len(asked),)) + asked)
    assert reply[0] == 0xD4
    assert hand.opened(METER_TITLE, reply[2:], key=key)[:6] == bytes.fromhex("C4010000090C")


@pytest.mark.parametrize("name", ["both", "authenticated", "encrypted"])
def test_glo_get_of_the_book_is_answered_as_it_was_protected(name: Any):
    client = ClientTable(sap=1, protect=name, **KEYS)
    meter = book_meter(client, counter=COUNTER)
    control = {"both": 0x30, "authenticated": 0x10, "encrypted": 0x20}[name]
    first = hand.guarded(control, SENDER, COUNTER - 1, octets("initiate", "request_plain"))
    information = b"\x21" + bytes((len(first),)) + first
    aarq = hand.tlv(0xA1, bytes.fromhex("060760857405080103")) + hand.tlv(0xA6, b"\x04\x08" + SENDER)
    aarq += hand.tlv(0xBE, b"\x04" + bytes((len(information),)) + information)
    assert said(meter, hand.tlv(0x60, aarq))[0] == 0x61
    reply = said(meter, octets("get", name))
    assert (reply[0], reply[2]) == (0xCC, control)
    assert hand.opened(METER_TITLE, reply[2:])[:6] == bytes.fromhex("C4010000090C")
    assert said(meter, octets("get", name)) == bytes.fromhex("D80106") + (COUNTER + 1).to_bytes(
        4, "big"
    )  # the same again
    assert len(meter.ledger.twice) == 1


@pytest.mark.parametrize("name", ["both", "authenticated", "encrypted"])
def test_the_meters_own_protection_gives_the_lines_of_the_book(name: str):
    control = {"both": 0x30, "authenticated": 0x10, "encrypted": 0x20}[name]
    keys = Keys(EK, AK)
    assert seal(keys, SENDER, control, COUNTER, GET_CLOCK) == octets("get", name)[2:]
    assert unseal(keys, SENDER, octets("get", name)[2:]) == GET_CLOCK
    if control & 0x10:
        for bit in range(8, len(octets("get", name)[2:]) * 8):
            flipped = bytearray(octets("get", name)[2:])
            flipped[bit >> 3] ^= 1 << (bit & 7)
            with pytest.raises(NotGenuine):
                unseal(keys, SENDER, bytes(flipped))


def test_initiate_and_proofs_by_the_meters_own_protection():
    keys = Keys(EK, AK)
    assert unseal(keys, SENDER, octets("initiate", "glo_request")[2:]) == octets("initiate", "request")
    assert (
        seal(keys, METER_TITLE, 0x30, COUNTER, octets("initiate", "response")) == octets("initiate", "glo_response")[2:]
    )
    assert proof(keys, CLIENT_TITLE, 1, b"P6wRJ21F") == octets("hls", "f_stoc")
    assert proof(keys, METER_TITLE, COUNTER, b"K56iVagY") == octets("hls", "f_ctos")


def test_the_frames_of_the_book():
    station = DlmsStation("m1", book_meter(ClientTable(sap=16)))
    assert station.address == b"\x03"

    def heard(frame: bytes) -> bytes:
        replies = station.heard(frame, 1.0)
        return b"".join(reply.data for reply in replies)

    assert heard(octets("hdlc", "disc")) == hand.frame(0x1F)  # DM: there was no link
    ua = heard(octets("hdlc", "snrm"))
    reader = FrameReader()
    reader.feed(ua)
    frame = reader.take()
    assert frame is not None
    assert (frame.destination, frame.source, frame.control) == (b"\x21", b"\x03", 0x73)
    assert frame.info == bytes.fromhex("818012 050180 060180 070400000001 080400000001")
    assert heard(octets("hdlc", "aarq_none")) == hand.frame(0x30, b"\xe6\xe7\x00" + octets("aare", "ok"))
    assert heard(octets("hdlc", "aarq_none")) == hand.frame(0x30, b"\xe6\xe7\x00" + octets("aare", "ok"))  # said again
    assert station.meter.counts.associations == 1  # and served once
    assert heard(octets("hdlc", "disc")) == hand.frame(0x73)


def test_a_frame_with_any_bit_flipped_meets_silence():
    whole = octets("hdlc", "aarq_none")
    silent = 0
    for bit in range(8, len(whole) * 8 - 8):
        station = DlmsStation("m1", book_meter(ClientTable(sap=16)))
        station.heard(octets("hdlc", "snrm"), 1.0)
        flipped = bytearray(whole)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        assert not station.heard(bytes(flipped), 2.0)
        silent += not station.meter.counts.associations
    assert silent == len(whole) * 8 - 16
