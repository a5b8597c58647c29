"""What the matrix of DLMS peers leaves out: longer HDLC addresses, windows, dedicated keys, asking for counters."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.figures import report
from tests.peers.dlms_matrix import Way
from tests.peers.dlms_sides import (
    DAY_ROWS,
    our_meter,
    pydlms_reads,
    pydlms_serves,
    said_by_pydlms,
)
from tests.peers.test_dlms import EVERY_WAY
from tests.peers.test_dlms_driver import BUFFER, ROWS, SHOWN, Desk, spec
from tests.sim_dlms import AK, CLIENT_TITLE, EK

GLO, LINE = Way("wrapper", "GMAC glo"), Way("HDLC", "GMAC glo")
NAME = "1.0.1.8.0.255"
PROFILE = ("profile", "--obis", "1.0.99.1.0.255", "--max-pdu", "1000")


@pytest.mark.parametrize(("physical", "octets"), [(17, 2), (17, 4), (2836, 4)][-3 if EVERY_WAY else -1 :])
def test_pydlms_finds_our_meter_at_a_longer_address(
    physical: int, octets: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    at = ("--physical", str(physical), "--address-size", str(octets))
    with our_meter(LINE, monkeypatch, physical=physical, octets=octets) as ours:
        assert len(pydlms_reads(ours, LINE, tmp_path / "counter.json", *PROFILE, *at)) == DAY_ROWS
        elsewhere = ("--physical", str(physical + 1), "--address-size", str(octets), "--timeout", "1")
        with pytest.raises(AssertionError):
            pydlms_reads(ours, LINE, tmp_path / "counter.json", *PROFILE, *elsewhere)
    assert ours.meter.counts.associations == 1


@pytest.mark.parametrize(("window", "most_info"), [(3, 64), (7, 512)][-2 if EVERY_WAY else -1 :])
def test_pydlms_takes_several_frames_of_our_meter_at_a_time(
    window: int, most_info: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with our_meter(LINE, monkeypatch, window=window, most_info=most_info) as ours:
        day = pydlms_reads(ours, LINE, tmp_path / "counter.json", *PROFILE, "--hdlc-window", str(window))
    assert len(day) == DAY_ROWS
    assert not ours.meter.ledger.twice


@pytest.mark.parametrize("dress", [("glo", 0xD0, 0xD4), ("general-glo", 0xDC, 0xDC)], ids=lambda d: d[0])
def test_pydlms_brings_a_key_of_its_own_to_our_meter(
    dress: tuple[str, int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    wrap, question, answer = dress
    way = Way("wrapper", f"GMAC {wrap}")
    with our_meter(way, monkeypatch) as ours:
        read = pydlms_reads(
            ours, way, tmp_path / "counter.json", "read", "--obis", NAME, "--register", "--dedicated-key"
        )
    assert read[0]["value"] == ours.value(NAME)
    assert (question, answer) in {(q[0], a[0]) for q, a in ours.apdus}
    assert not {0xC8, 0xDB} & {q[0] for q, _ in ours.apdus}


@pytest.mark.usefixtures("own_counters")
@pytest.mark.parametrize("link", ["wrapper", "HDLC"])
@pytest.mark.parametrize(("wrap", "tags"), [("ded", {0xD0, 0xD3}), ("general-ded", {0xDC})])
def test_our_driver_brings_a_key_of_its_own_to_pydlms(
    wrap: str, tags: set[int], link: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """With a window and frames of 512 octets where it is a line."""
    way = Way(link, f"GMAC {wrap}")

    async def story(port: int) -> None:
        desk = Desk(way, port, spec(way, tmp_path, hdlc_window=3, hdlc_max_info=512), monkeypatch)
        assert await desk.read() == SHOWN
        assert len(await desk.rows(BUFFER)) == ROWS
        assert {question[0] for question, _ in desk.asked} == {0x60, *tags}
        await desk.driver.release()
        await desk.driver.close()

    with pydlms_serves(way) as port:
        asyncio.run(story(port))


def test_pydlms_finds_the_counters_of_our_meter_over_the_public_client(monkeypatch: pytest.MonkeyPatch):
    """Twice with no memory of its own, and once more with the number that our meter's refusal names."""
    who = ["--client", str(GLO.sap), "--auth", "gmac", "--key", EK.hex(), "--auth-key", AK.hex()]
    who += ["--system-title", CLIENT_TITLE.hex()]
    with our_meter(GLO, monkeypatch) as ours:
        found: dict[str, Any] = json.loads(said_by_pydlms("--json", "discover-ic", f"tcp://{ours.place}").stdout)
        counters = {counter["obis"]: counter["readable"] for counter in found["invocation_counters"]}
        assert counters == {"0.0.43.1.0.255": True, "0.0.43.1.1.255": True}
        for word in ("--discover-ic", "--discover-ic", "--ic-retry"):
            done = said_by_pydlms("--json", "read", f"tcp://{ours.place}", *who, "--obis", NAME, "--register", word)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)[0]["value"] == ours.value(NAME)
        assert "retrying once" in done.stderr
    refused = [answer for _, answer in ours.apdus if answer[0] == 0xD8]
    assert [answer[:3].hex() for answer in refused] == ["d80106"]
    assert not ours.meter.ledger.twice
    report("our meter's counters, found by pydlms", objects=len(counters), refused=len(refused))
