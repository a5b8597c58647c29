"""Frozen evidence in the store: with its finding or not at all, bounded, and through a rescue."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.contract.envelope import seal
from edge_agent.evidence.frozen import Frozen, freeze, thaw
from edge_agent.store import Limits, Store
from edge_agent.store.evidence_rows import STEPS_KEPT, shed_evidence, store_evidence
from edge_agent.store.schema import TABLES, create
from tests.figures import report as figure
from tests.letters import letter

DAY_MS = 86_400_000
NOW_MS = 1_772_000_000_000
FINDING = "gw-1.factory.cap-over-contract.2026-03"


def bundle(n: int, finding: str = FINDING, size: int = 3000) -> Frozen:
    """About as much as a real one, and as hard to pack."""
    noise = "".join(hashlib.sha256(f"{finding}{n}{i}".encode()).hexdigest() for i in range(size // 32))
    return freeze(finding, n, {"n": n, "noise": noise})


def opened(folder: Path, **limits: int) -> Store:
    return Store.open(
        folder / "findings.db", folder / "telemetry.db", seal=seal, now_ms=lambda: NOW_MS,
        limits=Limits(group_s=0.01, **limits),
    )  # fmt: skip


def test_a_finding_and_what_it_rests_on_are_on_the_disk_together(tmp_path):
    store = opened(tmp_path)
    (sealed,) = store.record([letter("x")], evidence=[bundle(1)]).result()
    assert sealed.seq == 1
    store.close()
    store = opened(tmp_path)
    assert store.evidence(FINDING).result() == [bundle(1)]
    assert store.evidence(FINDING[:-1]).result() == [], "a part of an id is no id"
    store.close()
    with Store.read_only(tmp_path / "findings.db") as reader:
        assert reader.evidence(FINDING) == [bundle(1)]


def test_a_step_told_again_keeps_the_bundle_that_its_message_names(tmp_path):
    store = opened(tmp_path)
    store.record([letter("x")], evidence=[bundle(1)]).result()
    store.record([letter("x")], evidence=[bundle(1, size=500)]).result()
    assert store.evidence(FINDING).result() == [bundle(1)]
    store.close()


def test_of_one_finding_the_first_and_the_latest_are_kept_and_every_digest(tmp_path):
    store = opened(tmp_path)
    for n in range(1, 21):
        store.record([letter(f"x{n}")], evidence=[bundle(n)]).result()
    found = store.evidence(FINDING).result()
    assert [f.n for f in found if f.packed] == [1, *range(20 - STEPS_KEPT + 2, 21)]
    assert [f.digest for f in found] == [bundle(n).digest for n in range(1, 21)]
    assert all(thaw(f) is None for f in found if not f.packed)
    store.close()


@pytest.fixture
def connection(tmp_path):
    create(tmp_path / "f.db", busy_s=1.0)
    with closing(sqlite3.connect(tmp_path / "f.db", isolation_level=None)) as opened_file:
        yield opened_file


def kept(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    return list(connection.execute("SELECT finding, step FROM evidence WHERE size > 0 ORDER BY n"))


def test_over_the_quota_the_middle_goes_first_and_then_the_oldest(connection):
    for n in range(1, 5):
        store_evidence(connection, [bundle(n, "a"), bundle(n, "b")], NOW_MS + n)
    one = len(bundle(1, "a").packed)
    assert shed_evidence(connection, 0, 9 * one) == 0
    shed_evidence(connection, 0, 4 * one + 100)
    assert kept(connection) == [("a", 1), ("b", 1), ("a", 4), ("b", 4)], "first and last of each"
    shed_evidence(connection, 0, 2 * one + 100)
    assert kept(connection) == [("a", 4), ("b", 4)]
    assert connection.execute("SELECT count(*) FROM evidence").fetchone() == (8,), "digests stay"
    shed_evidence(connection, NOW_MS + 3, 10 * one)
    assert connection.execute("SELECT count(*) FROM evidence").fetchone() == (4,), "what is past its time is gone"


def test_tending_keeps_evidence_within_its_share(tmp_path):
    store = opened(tmp_path, findings_quota_bytes=1 << 20)
    for stored in [store.record([letter(f"x{n}")], evidence=[bundle(1, f"f{n}")]) for n in range(200)]:
        stored.result()
    store.tend().result()
    with closing(sqlite3.connect(tmp_path / "findings.db")) as db:
        total, rows = db.execute("SELECT total(size), count(*) FROM evidence").fetchone()
    assert rows == 200
    assert 0.2 * (1 << 20) < total <= 0.25 * (1 << 20)
    store.close()


def test_a_store_that_an_older_version_made_gets_its_table(tmp_path):
    path = tmp_path / "findings.db"
    create(path, busy_s=1.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        from edge_agent.store.rows import row_check

        db.execute("DROP TABLE evidence")
        db.execute("UPDATE schema SET version = 1, chk = ?", (row_check("schema", 1),))
    with Store.read_only(path) as reader:
        assert reader.evidence(FINDING) == []
    store = opened(tmp_path)
    store.record([letter("x")], evidence=[bundle(1)]).result()
    assert store.evidence(FINDING).result() == [bundle(1)]
    store.close()
    assert any("evidence" in t for t in TABLES)


def test_a_row_that_was_changed_is_not_served(tmp_path):
    store = opened(tmp_path)
    store.record([letter("x")], evidence=[bundle(1), bundle(2)]).result()
    store.close()
    with closing(sqlite3.connect(tmp_path / "findings.db", isolation_level=None)) as db:
        db.execute("UPDATE evidence SET blob = ? WHERE step = 2", (bundle(2, size=400).packed,))
    with Store.read_only(tmp_path / "findings.db") as reader:
        assert reader.evidence(FINDING) == [bundle(1)]


def test_a_rescue_carries_it_over(tmp_path):
    store = opened(tmp_path)
    for n in range(1, 6):
        store.record([letter(f"x{n}")], evidence=[bundle(n)]).result()
    store.close()
    with closing(sqlite3.connect(tmp_path / "findings.db", isolation_level=None)) as db:
        db.execute("UPDATE meta SET chk = chk + 1")  # what opening finds damaged
    store = opened(tmp_path)
    assert store.salvaged is not None
    assert store.evidence(FINDING).result() == [bundle(n) for n in range(1, 6)]
    store.close()


def test_what_a_step_costs_on_flash(tmp_path):
    store = opened(tmp_path)
    store.record([letter("x0")]).result()
    before = store.stats().findings_used_bytes
    for n in range(1, 51):
        store.record([letter(f"x{n}")], evidence=[bundle(1, f"f{n}", size=2000)]).result()
    grown = (store.stats().findings_used_bytes - before) / 50
    figure(
        "evidence in the store", packed_bytes=len(bundle(1, "f1", size=2000).packed), grown_bytes_per_step=round(grown)
    )
    assert grown < 3 * 4096
    store.close()
