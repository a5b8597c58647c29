"""What the DLMS peers do with a meter that lies, what they are known to do wrong, and what the standard says of both.

A fault of theirs is a test that says what they do, and fails when they do so no more.
"""

from __future__ import annotations

import asyncio
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from drivers.dlms.refused import AssociationRefused
from edge_agent.model import DlmsSpec
from simulator.faults import Fault, FaultKind
from tests.figures import report
from tests.peers.dlms_matrix import Way
from tests.peers.dlms_sides import gurux_reads, our_meter, pydlms_reads, pydlms_serves, said_by_pydlms
from tests.peers.programs import ROOT
from tests.peers.test_dlms_driver import SHOWN, Desk, spec

BOOK = tomllib.loads((ROOT / "tests/vectors/dlms/green_book.toml").read_text("utf-8"))
NAME = "1.0.1.8.0.255"
PROPOSED = BOOK["initiate"]["conformance"]
BACKWARDS = int(f"{PROPOSED:024b}"[::-1], 2)
"""As Gurux's library counts the bits of that block."""

PLAIN, LLS, LINE = Way("wrapper", "none"), Way("wrapper", "LLS"), Way("HDLC", "none")
GLO, GENERAL = Way("wrapper", "GMAC glo"), Way("wrapper", "GMAC general-glo")

LIES: dict[str, tuple[FaultKind, int, str]] = {
    "wrong tag": (FaultKind.WRONG_TAG, 4, "tag mismatch"),
    "bit flipped": (FaultKind.FLIPPED_BIT, 4, "tag mismatch"),
    "not encrypted": (FaultKind.WEAKER, 0x10, "not encrypted"),
    "not authenticated": (FaultKind.WEAKER, 0x20, "not authenticated"),
    "in the clear": (FaultKind.WEAKER, 0, "unprotected"),
    "another meter's title": (FaultKind.OTHER_TITLE, 4, ""),
    "old counter": (FaultKind.OLD_COUNTER, 4, "stale invocation counter"),
}
"""What our simulated meter does to an answer, and a word of pydlms about it."""

TAKEN = {"wrong tag", "not encrypted", "not authenticated", "in the clear", "old counter"}


def lie(name: str) -> Fault:
    kind, code, _ = LIES[name]
    return Fault(kind, code=code, quantity="active_energy_import")


@pytest.mark.parametrize("name", LIES)
def test_pydlms_finds_our_meter_out(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """So what our simulator calls a lie is one for somebody else, and for the reason that it should be."""
    fault = lie(name)
    with (
        our_meter(GLO, monkeypatch, fault) as ours,
        pytest.raises(AssertionError, match=LIES[name][2] or "mismatch|system title"),
    ):
        pydlms_reads(ours, GLO, tmp_path / "counter.json", "read", "--obis", NAME)
    assert fault.struck == 1


@pytest.mark.parametrize("name", sorted(TAKEN))
def test_their_fault_gurux_takes_what_is_not_protected_as_agreed(name: str, monkeypatch: pytest.MonkeyPatch):
    """The standard lets an association agree on protection so that this is found; our driver finds it."""
    fault = lie(name)
    with our_meter(GLO, monkeypatch, fault) as ours:
        steps = gurux_reads(ours, GLO, "associate", "single", registers=[NAME])
        assert steps["single"].get("came", {}).get(NAME) == [ours.value(NAME), 10.0, 30], "it refuses that now"
    assert fault.struck == 2
    report(f"Gurux's client and an answer that is wrong: {name}", taken="yes")


def test_their_fault_gurux_makes_a_number_of_its_own_authentication(monkeypatch: pytest.MonkeyPatch):
    """After the AARE its `authentication.value`, which its introduction asks for next, is no more."""
    with our_meter(GLO, monkeypatch) as ours:
        assert gurux_reads(ours, GLO, "associate")["associate"].get("came") == "int"
    with our_meter(LLS, monkeypatch) as ours:
        assert gurux_reads(ours, LLS, "associate")["associate"].get("came") == "Authentication"


def test_what_pydlms_cannot_ask_for_is_not_in_its_words():
    """Rows by time: if `profile` gets a word for it, the range of the matrix has a proof."""
    words = said_by_pydlms("profile", "--help").stdout.partition("--require-verified-release")[2]
    assert {w.strip("[],") for w in words.split() if w.strip("[],").startswith("--")} >= {"--last", "--scalers"}
    assert not {"--from", "--to", "--since", "--until", "--start", "--end", "--range", "--first"} & set(words.split())


@pytest.mark.parametrize(("way", "name"), [(PLAIN, "none"), (LLS, "lls")])
def test_what_opens_an_association_is_the_standards_to_the_octet(
    way: Way, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """The Green Book's AARQ, by Gurux, by pydlms, and by our driver (`tests/test_dlms_vectors.py`)."""
    with our_meter(way, monkeypatch) as ours:
        gurux_reads(ours, way, "associate", "release", most_pdu=1200, conformance=BACKWARDS)
        more = ["--max-pdu", "1200", "--conformance", f"{PROPOSED:06X}"]
        pydlms_reads(ours, way, tmp_path / "counter.json", "read", "--obis", NAME, *more)
    opened = [question.hex().upper() for question, _ in ours.apdus if question[0] == 0x60]
    assert opened == [BOOK["aarq"][name]] * 2


def test_the_frames_of_a_data_link_are_the_standards_to_the_octet(monkeypatch: pytest.MonkeyPatch):
    """SNRM, AARQ with its frame, DISC: by Gurux to our meter, as our driver says them."""
    with our_meter(LINE, monkeypatch) as ours:
        said = gurux_reads(ours, LINE, "associate", "release", client=16, most_pdu=1200, conformance=BACKWARDS)
    frames = [*said["associate"]["questions"], said["release"]["questions"][-1]]
    assert [frame.upper() for frame in frames] == [BOOK["hdlc"][name] for name in ("snrm", "aarq_none", "disc")]
    assert "error" not in said["release"]


# --- their simulator


@pytest.mark.usefixtures("own_counters")
def test_our_driver_goes_on_above_the_counter_that_their_simulator_names(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """Another system has had the key: our first number is old, they say from where on it is not, and one read later."""

    async def story(port: int) -> None:
        first = Desk(GLO, port, spec(GLO, tmp_path / "one"), monkeypatch)
        for _ in range(3):
            assert await first.read() == SHOWN
        await first.driver.release()
        await first.driver.close()
        second = Desk(GLO, port, spec(GLO, tmp_path / "two"), monkeypatch)
        assert await second.read() == SHOWN
        refused = [answer for _, answer in second.asked if answer[0] == 0xD8]
        assert [answer[:3].hex() for answer in refused] == ["d80106"]
        await second.driver.close()

    with pydlms_serves(GLO) as port:
        asyncio.run(story(port))


def test_their_fault_their_simulator_under_keys_knows_no_client_in_the_clear(monkeypatch: pytest.MonkeyPatch):
    """A meter has a public client, who needs no key; theirs refuses the application context."""

    async def story(port: int) -> None:
        desk = Desk(PLAIN, port, DlmsSpec(client=GLO.sap), monkeypatch)
        with pytest.raises(AssociationRefused) as refused:
            await desk.read()
        assert "context" in str(refused.value)
        await desk.driver.close()

    with pydlms_serves(GLO) as port:
        asyncio.run(story(port))


def test_their_fault_their_simulators_clock_and_its_rows_are_in_two_zones(monkeypatch: pytest.MonkeyPatch):
    """The clock shows UTC+2, the rows of the profile are stamped in UTC; our driver finds them all the same."""
    with pydlms_serves(PLAIN) as port:
        endpoint = f"tcp://127.0.0.1:{port}"
        who = ["--client", str(PLAIN.sap)]
        clock = json.loads(said_by_pydlms("--json", "clock", endpoint, *who).stdout)
        rows: list[dict[str, Any]] = json.loads(
            said_by_pydlms("--json", "profile", endpoint, *who, "--obis", "1.0.99.1.0.255").stdout
        )
    assert clock[0]["clock"].endswith("+02:00")
    assert {row["0.0.1.0.0.255/2"][-6:] for row in rows} == {"+00:00"}
    assert [row[f"{NAME}/2"] for row in rows] == [1000 + 7 * n for n in range(96)]
