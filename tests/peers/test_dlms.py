"""DLMS/COSEM against two other makers: their clients read our simulated meter, our driver reads their simulator.

The peers are processes that share nothing with us: `pydlms`, the command of the package pydlms-client, and
`gurux_client.py`, a program made of Gurux's library. What they should read is taken from our meter's physics, not from
our codec. A step that goes otherwise than it should fails with both sides of the matter.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from simulator.dlms.registers import HZ, VA, VAH, VAR, VARH, WH, A, V, W
from simulator.dlms.requests import Act, Get, Next
from tests.peers.dlms_matrix import WAYS, Row, Way
from tests.peers.dlms_sides import (
    DAY_ROWS,
    QUARTER_MS,
    TWELVE,
    Ours,
    gurux_reads,
    our_meter,
    pydlms_reads,
    pydlms_version,
)
from tests.sim_dlms import T0

EVERY_WAY = os.environ.get("EDGE_PROVE_PEER_WAYS") == "all"
SOME = [WAYS[0], WAYS[2], WAYS[5], WAYS[7]]
READ = pytest.mark.parametrize("way", WAYS if EVERY_WAY else SOME, ids=str)

GURUX_STEPS = ("associate", "single", "listed", "block", "range", "entries", "release")
TEN = "its lists name ten attributes at the most: twelve come in lists of ten and two, which is shown beside"
NO_RANGE = "its command chooses the newest rows by place alone: `profile --last`"
UNITS = dict(zip(TWELVE, (WH, WH, VARH, VARH, VAH, W, W, V, V, V, A, HZ), strict=True))
SIGNS = {WH: "Wh", VARH: "varh", VAH: "VAh", W: "W", V: "V", A: "A", HZ: "Hz", VAR: "var", VA: "VA"}


def got(ours: Ours) -> list[Get]:
    return [asked for asked in ours.asked if isinstance(asked, Get)]


def lists(ours: Ours) -> list[int]:
    return [len(asked.targets) for asked in got(ours) if asked.listed]


def selectors(ours: Ours) -> set[int]:
    return {target.selector for asked in got(ours) for target in asked.targets}


def is_dressed(ours: Ours, way: Way) -> None:
    """Every question inside the association was said as agreed (in the clear, under glo, in general-glo), and so was
    its answer. Gurux says the proof of HLS-5 under glo in any case, which the standard leaves to it."""
    dress = {"none": (0xC0, 0xC4), "glo": (0xC8, 0xCC), "general-glo": (0xDB, 0xDB)}[
        way.wrap if way.ciphered else "none"
    ]
    inside = {(question[0], answer[0]) for question, answer in ours.apdus if question[0] not in {0x60, 0x62}}
    assert inside - {(0xCB, 0xCF)} == {dress}, f"{way}: questions and answers begin with {inside}"


def is_associated(ours: Ours, way: Way) -> None:
    assert [answer[0] for answer in ours.heard(0x60)] == [0x61] * ours.meter.counts.associations
    assert ours.meter.counts.associations > 0
    proofs = [asked for asked in ours.asked if isinstance(asked, Act)]
    assert len(proofs) == (ours.meter.counts.associations if way.ciphered else 0)
    assert ours.meter.counts.refused == 0
    is_dressed(ours, way)


def is_released(ours: Ours) -> None:
    assert [answer[0] for answer in ours.heard(0x62)] == [0x63] * ours.meter.counts.associations
    assert not ours.meter.open
    assert not ours.meter.ledger.twice
    assert ours.meter.counts.writes_seen == 0


def rows_are(rows: list[tuple[datetime, list[Any]]], ours: Ours, first_ms: int, count: int) -> None:
    """Stamps and all twelve numbers of every row."""
    due = [(first_ms + n * QUARTER_MS, ours.row(first_ms + n * QUARTER_MS)) for n in range(count)]
    assert [(round(1000 * stamp.timestamp()), numbers) for stamp, numbers in rows] == due


# --- Gurux's client at our meter


def by_gurux(step: dict[str, Any]) -> Any:
    assert "error" not in step, f"the library says {step['error']}"
    return step["came"]


def stamped(rows: list[list[Any]]) -> list[tuple[datetime, list[Any]]]:
    """Time, status 0, numbers."""
    assert {row[1] for row in rows} == {0}
    return [(datetime.fromisoformat(row[0]), row[2:]) for row in rows]


@READ
def test_gurux_reads_our_meter(way: Way, monkeypatch: pytest.MonkeyPatch):
    with our_meter(way, monkeypatch) as ours:
        steps = gurux_reads(ours, way, *GURUX_STEPS)
    row = Row(steps["program"]["came"], "our meter", way, cannot={"list of 12": TEN})

    def associated() -> None:
        by_gurux(steps["associate"])
        is_associated(ours, way)

    def read() -> None:
        came = by_gurux(steps["single"])
        assert bytes.fromhex(came.pop("0.0.42.0.0.255")) == ours.meter.holding.ldn(T0)
        assert came == {name: [ours.value(name), 10.0 ** TWELVE[name][1], UNITS[name]] for name in TWELVE}

    def in_blocks() -> None:
        rows_are(stamped(by_gurux(steps["block"])), ours, T0 - (DAY_ROWS - 1) * QUARTER_MS, DAY_ROWS)
        assert len([asked for asked in ours.asked if isinstance(asked, Next)]) > 10

    def in_range() -> None:
        rows_are(stamped(by_gurux(steps["range"])), ours, T0 - 72 * QUARTER_MS, 9)
        assert 1 in selectors(ours)

    def by_place() -> None:
        rows_are(stamped(by_gurux(steps["entries"])), ours, T0 - 7 * QUARTER_MS, 8)
        assert 2 in selectors(ours)

    def released() -> None:
        by_gurux(steps["release"])
        is_released(ours)

    row.step("association", associated)
    row.step("single reads", read)
    row.step("day in blocks", in_blocks)
    row.step("range", in_range)
    row.step("entries", by_place)
    row.step("release", released)
    row.close()
    # What it makes of a list all the same:
    assert by_gurux(steps["listed"]) == {name: ours.steps(name, T0) for name in TWELVE}
    assert lists(ours) == [10, 2], "its limit is another one now: then the list of 12 has a proof"


# --- pydlms's command at our meter


@READ
def test_pydlms_reads_our_meter(way: Way, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    store = tmp_path / "counter.json"
    with our_meter(way, monkeypatch) as ours:
        name = "1.0.1.8.0.255"
        register = pydlms_reads(ours, way, store, "read", "--obis", name, "--register")
        after_read = len(got(ours))
        day = pydlms_reads(ours, way, store, "profile", "--obis", "1.0.99.1.0.255", "--scalers", "--max-pdu", "400")
        last = pydlms_reads(ours, way, store, "profile", "--obis", "1.0.99.1.0.255", "--last", "8")
    row = Row(pydlms_version(), "our meter", way, cannot={"range": NO_RANGE})

    def associated() -> None:
        assert ours.meter.counts.associations == 3
        is_associated(ours, way)

    def read() -> None:
        assert [(r["obis"], r["value"], r["unit"]) for r in register] == [(name, ours.value(name), "Wh")]
        assert after_read == 2, "value and scaler, one by one"

    def in_a_list() -> None:
        assert lists(ours) == [12], "the scalers of the twelve columns"
        units = [text.partition(" ")[2] for text in list(day[0].values())[2:]]
        assert units == [SIGNS[UNITS[n]] for n in TWELVE]

    def in_blocks() -> None:
        plain = [(when(r), [scaled(t, n) for t, n in zip(list(r.values())[2:], TWELVE, strict=True)]) for r in day]
        rows_are(plain, ours, T0 - (DAY_ROWS - 1) * QUARTER_MS, DAY_ROWS)
        assert len([asked for asked in ours.asked if isinstance(asked, Next)]) > 10

    def by_place() -> None:
        rows_are([(when(r), list(r.values())[2:]) for r in last], ours, T0 - 7 * QUARTER_MS, 8)
        assert selectors(ours) == {0, 2}

    row.step("association", associated)
    row.step("single reads", read)
    row.step("list of 12", in_a_list)
    row.step("day in blocks", in_blocks)
    row.step("entries", by_place)
    row.step("release", lambda: is_released(ours))
    row.close()


def when(row: dict[str, Any]) -> datetime:
    return datetime.strptime(row["0.0.1.0.0.255/2"], "%Y-%m-%d %H:%M:%S.%f %z")


def scaled(text: str, name: str) -> int:
    """The register's number again."""
    return round(float(text.partition(" ")[0]) / 10.0 ** TWELVE[name][1])
