"""The store: what is recorded is numbered, chained, there after a restart, and forgotten once the centre has it."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import string
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.evidence import GENESIS, next_hash
from edge_agent.model import Letter, Sealed
from edge_agent.store import (
    AckOutcome,
    Store,
    StoreBusy,
    StoreClosed,
    StoreDirectoryMissing,
    StoreError,
    StoreHeld,
    StoreLocked,
    StoreMissing,
    StoreNewer,
    schema,
)
from edge_agent.store.jobs import Question
from edge_agent.store.rows import row_check
from edge_agent.store.shapes import DAY_MS
from edge_agent.words import say, sentences
from tests.letters import NOON_MS, QUICK, Hand, interval, letter, open_store, seal

SLOW = replace(QUICK, group_s=60, state_s=60, telemetry_s=60)
"""Nothing is committed because time passes."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.close()


def put(store: Store, *names: object) -> list[Sealed]:
    return store.record([letter(name) for name in names], urgent=True).result(5)


def ids(sealed: list[Sealed]) -> list[str]:
    return [json.loads(s.body)["id"] for s in sealed]


def sentence(error: StoreError) -> str:
    facts: dict[str, object] = {**error.facts}
    return say(error.code, "en", **facts)


# Recording


def test_letters_are_numbered_without_a_hole_and_chained_over_their_exact_bytes(store: Store):
    sealed = put(store, "a", "b") + put(store, "c")
    head = GENESIS
    for n, s in enumerate(sealed, start=1):
        assert s.seq == n
        assert json.loads(s.body)["prevhash"] == head.hex()
        assert json.loads(s.body)["epoch"] == store.epoch
        head = next_hash(head, n, s.body)
        assert s.hash_hex == head.hex()
    assert store.head() == (3, head.hex())
    assert store.unsent(0, 10).result() == sealed == store.sealed(1, 3).result()


def test_an_epoch_is_sixteen_hex_digits_and_new_with_every_store(tmp_path: Path):
    epochs = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        store = open_store(tmp_path / name)
        epochs.add(store.epoch)
        store.close()
    assert len(epochs) == 2
    assert all(len(e) == 16 and set(e) <= set(string.hexdigits.lower()) for e in epochs)


def test_a_letter_is_stored_once_in_one_call_in_one_batch_and_after_a_restart(tmp_path: Path):
    store = open_store(tmp_path, limits=SLOW)
    waiting = [store.record([letter("a"), letter("a")]), store.record([letter("a"), letter("b")])]
    last = store.record([letter("b")], urgent=True).result(5)
    assert [[s.seq for s in f.result(5)] for f in waiting] == [[1, 1], [1, 2]]
    assert [s.seq for s in last] == [2]
    epoch = store.epoch
    store.close()

    store = open_store(tmp_path)
    assert store.epoch == epoch
    assert [s.seq for s in put(store, "b", "c", "a")] == [2, 3, 1]
    assert ids(store.unsent(0, 10).result()) == ["a/opened/1", "b/opened/1", "c/opened/1"]
    store.close()


def test_tracks_and_letter_are_there_together_after_a_restart(tmp_path: Path):
    store = open_store(tmp_path)
    store.record([letter("a")], {"t1": b"one", "t2": b"two"}, [("k1", b"x"), ("k2", b"y")], urgent=True).result(5)
    store.record([], {"t1": b"changed", "t2": None, "t3": b""}, [("k3", b"z")]).result(5)
    store.close()
    store = open_store(tmp_path)
    assert store.load_tracks() == {"t1": b"changed", "t3": b""}
    assert store.load_ledger() == [b"x", b"y", b"z"]
    assert store.trim_ledger("k3").result(5) == 2
    assert store.load_ledger() == [b"z"]
    store.close()
    store = open_store(tmp_path)  # the sums in the meta row agree, or this would be a rescue
    assert store.salvaged is None
    assert store.load_ledger() == [b"z"]
    store.close()


def test_letters_that_cannot_be_sealed_fail_alone_and_cost_no_number(tmp_path: Path):
    def picky(letter: Letter, seq: int, epoch: str, prevhash: str) -> bytes:
        if letter.id.startswith("bad"):
            raise ValueError("no such field")
        return seal(letter, seq, epoch, prevhash)

    store = open_store(tmp_path, limits=SLOW, seal=picky)
    good = store.record([letter("a")])
    bad = store.record([letter("b"), letter("bad")], {"t": b"never"})
    urgent = store.record([letter("c")], urgent=True)
    assert [s.seq for s in good.result(5)] == [1]
    with pytest.raises(ValueError, match="no such field"):
        bad.result(5)
    assert [s.seq for s in urgent.result(5)] == [2]
    assert store.load_tracks() == {}
    assert ids(store.unsent(0, 9).result()) == ["a/opened/1", "c/opened/1"]
    store.close()


def test_a_group_is_committed_at_64_letters_or_when_one_is_urgent_or_after_its_time(tmp_path: Path):
    store = open_store(tmp_path, limits=SLOW)
    futures = [store.record([letter(k)]) for k in range(63)]
    store.unsent(0, 1).result(5)  # a question is answered after everything before it was taken
    assert not any(f.done() for f in futures)
    assert store.head()[0] == 0
    futures.append(store.record([letter(63)]))
    assert [f.result(5)[0].seq for f in futures] == list(range(1, 65))
    assert store.stats().commits == 1

    waiting = store.record([letter(64)])
    state = store.record([], {"t": b"1"})
    assert store.record([letter(65)], urgent=True).result(5)[0].seq == 66
    assert waiting.done()
    assert state.done()
    assert store.stats().commits == 2
    store.close()

    store = open_store(tmp_path, limits=replace(SLOW, group_s=0.1))
    state = store.record([], {"t": b"2"})
    started_s = time.monotonic()
    store.record([letter(66)]).result(5)
    assert time.monotonic() - started_s > 0.09
    assert state.done()
    store.close()


def test_close_commits_what_waits_and_then_refuses(tmp_path: Path):
    store = open_store(tmp_path, limits=SLOW)
    waiting = store.record([letter("a")])
    telemetry = store.add_intervals([interval(1)])
    store.close()
    assert waiting.result(0)[0].seq == 1
    assert telemetry.result(0) == 1
    with pytest.raises(StoreClosed):
        store.record([letter("b")]).result(0)
    store.close()


def test_a_future_cannot_be_cancelled_once_handed_over(store: Store):
    future = store.record([letter("a")])
    assert not future.cancel()
    assert future.result(5)[0].seq == 1


def test_what_may_wait_is_bounded(tmp_path: Path):
    store = open_store(tmp_path, limits=replace(SLOW, pending_letters=3, group_rows=1000))
    store.record([letter(1), letter(2)])
    with pytest.raises(StoreBusy):
        store.record([letter(3), letter(4)]).result(0)
    store.record([letter(3)], urgent=True).result(5)
    assert len(store.record([letter(4), letter(5)], urgent=True).result(5)) == 2
    store.close()


def test_many_threads_record_at_once_and_none_is_lost(store: Store):
    futures: list[Future[list[Sealed]]] = []

    def work(name: int) -> None:
        futures.extend(store.record([letter(f"{name}-{k}")]) for k in range(100))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(f.result(10)[0].seq for f in futures) == list(range(1, 401))


# Delivery


def test_a_receipt_counts_only_for_our_epoch_and_our_head(store: Store):
    sealed = put(store, *"abcde")
    epoch = store.epoch
    for receipt, outcome in (
        (("0" * 16, 3, sealed[2].hash_hex), AckOutcome.WRONG_EPOCH),
        ((epoch, 3, sealed[3].hash_hex), AckOutcome.WRONG_HEAD),
        ((epoch, 3, sealed[2].hash_hex.upper() + "0"), AckOutcome.WRONG_HEAD),
        ((epoch, 6, sealed[4].hash_hex), AckOutcome.AHEAD),
        ((epoch, 0, GENESIS.hex()), AckOutcome.NOTHING),
        ((epoch, -1, ""), AckOutcome.NOTHING),
    ):
        assert store.kept(*receipt).result(5) is outcome
        assert store.stats().kept_upto == 0
    assert len(store.unsent(0, 10).result()) == 5

    assert store.kept(epoch, 3, sealed[2].hash_hex).result(5) is AckOutcome.ACCEPTED
    assert [s.seq for s in store.unsent(0, 10).result()] == [4, 5]
    assert store.kept(epoch, 3, sealed[2].hash_hex).result(5) is AckOutcome.REPEATED
    assert store.kept(epoch, 2, sealed[1].hash_hex).result(5) is AckOutcome.REPEATED
    assert store.kept(epoch, 2, sealed[2].hash_hex).result(5) is AckOutcome.WRONG_HEAD
    assert store.stats().kept_upto == 3
    assert len(store.sealed(1, 5).result()) == 5  # kept for a resend


def test_the_cursor_is_there_after_a_restart(tmp_path: Path):
    store = open_store(tmp_path)
    sealed = put(store, *"abc")
    store.kept(store.epoch, 2, sealed[1].hash_hex).result(5)
    store.close()
    store = open_store(tmp_path)
    assert store.unsent(0, 10).result() == sealed[2:]
    store.close()


def test_unsent_goes_on_after_a_number_and_stops_at_its_limit(store: Store):
    put(store, *"abcdef")
    assert [s.seq for s in store.unsent(2, 3).result()] == [3, 4, 5]
    assert store.unsent(6, 3).result() == store.unsent(0, 0).result() == []
    assert store.sealed(5, 99).result() == store.unsent(4, 9).result()


def test_a_refused_record_is_a_dead_letter_with_its_reason_and_is_not_sent_again(tmp_path: Path):
    store = open_store(tmp_path)
    sealed = put(store, *"abcd")
    store.dead([2, 4, 99], "schema").result(5)
    store.dead([2], "again").result(5)
    assert [s.seq for s in store.unsent(0, 10).result()] == [1, 3]
    assert (store.stats().depth, store.stats().dead) == (2, 2)
    store.close()
    store = open_store(tmp_path)
    assert [s.seq for s in store.unsent(0, 10).result()] == [1, 3]
    assert store.kept(store.epoch, 3, sealed[2].hash_hex).result(5) is AckOutcome.ACCEPTED
    assert (store.stats().depth, store.stats().dead) == (0, 1)
    store.close()
    with sqlite3.connect(tmp_path / "findings.db") as connection:
        rows = connection.execute("SELECT seq, reason, body FROM dead").fetchall()
    connection.close()
    assert rows == [(2, "schema", sealed[1].body), (4, "schema", sealed[3].body)]


def test_stats_say_how_deep_how_old_and_how_full(tmp_path: Path):
    clock = Hand()
    store = open_store(tmp_path, now_ms=clock, limits=replace(QUICK, findings_quota_bytes=400_000))
    first = put(store, "a")[0]
    clock.now_ms += 60_000
    put(store, "b")
    stats = store.stats()
    assert (stats.depth, stats.oldest_unsent_ms, stats.head_seq) == (2, NOON_MS, 2)
    assert stats.findings_used_bytes > 0
    assert stats.disk_free_bytes > 0
    assert stats.reserve_held
    assert not stats.findings_near_quota
    store.kept(store.epoch, 1, first.hash_hex).result(5)
    assert (store.stats().depth, store.stats().oldest_unsent_ms) == (1, NOON_MS + 60_000)
    store.record([letter("big", filler="x" * 300_000)], urgent=True).result(5)
    assert store.stats().findings_share > 0.8
    assert store.stats().findings_near_quota
    store.close()


# Retention and time


def test_delivered_records_are_trimmed_after_90_days_and_the_chain_goes_on(tmp_path: Path):
    clock = Hand()
    store = open_store(tmp_path, now_ms=clock)
    old = put(store, *"abcd")
    clock.now_ms += 91 * DAY_MS
    new = put(store, *"ef")
    store.kept(store.epoch, 3, old[2].hash_hex).result(5)
    store.tend().result(5)
    assert [s.seq for s in store.sealed(1, 99).result()] == [4, 5, 6]  # 4 is old, and the centre does not have it
    assert store.kept(store.epoch, 2, old[1].hash_hex).result(5) is AckOutcome.REPEATED
    store.close()
    with Store.read_only(tmp_path / "findings.db") as reader:
        report = reader.verify()
        assert report.intact
        assert report.records == 3
    store = open_store(tmp_path, now_ms=clock)
    assert store.salvaged is None
    assert put(store, "g")[0].seq == 7
    assert store.kept(store.epoch, 6, new[1].hash_hex).result(5) is AckOutcome.ACCEPTED
    store.close()


def test_all_may_be_trimmed_and_the_next_record_still_follows_the_last(tmp_path: Path):
    clock = Hand()
    store = open_store(tmp_path, now_ms=clock)
    last = put(store, *"abc")[-1]
    store.kept(store.epoch, 3, last.hash_hex).result(5)
    clock.now_ms += 91 * DAY_MS
    store.tend().result(5)
    assert store.sealed(1, 9).result() == []
    assert json.loads(put(store, "d")[0].body)["prevhash"] == last.hash_hex
    store.close()


def test_over_its_quota_the_store_forgets_delivered_records_before_their_time_and_no_others(tmp_path: Path):
    store = open_store(tmp_path, limits=replace(QUICK, findings_quota_bytes=500_000, trim_rows=10))
    sealed = store.record([letter(k, filler="x" * 10_000) for k in range(60)], urgent=True).result(5)
    store.tend().result(5)
    assert len(store.sealed(1, 60).result()) == 60
    store.kept(store.epoch, 30, sealed[29].hash_hex).result(5)
    store.tend().result(5)
    left = [s.seq for s in store.sealed(1, 60).result()]
    assert left[0] > 1
    assert left[-30:] == list(range(31, 61))
    store.close()


def test_a_clock_that_goes_back_or_is_not_known_costs_nothing(tmp_path: Path):
    clock = Hand()
    store = open_store(tmp_path, now_ms=clock)
    put(store, "a")
    clock.now_ms = NOON_MS - 400 * DAY_MS
    put(store, "b")
    clock.now_ms = 0
    put(store, "c")
    store.add_intervals([interval(1)]).result(5)
    last = put(store, "d")[0]
    store.kept(store.epoch, 4, last.hash_hex).result(5)
    for now_ms in (0, NOON_MS - 400 * DAY_MS, NOON_MS):
        clock.now_ms = now_ms
        store.tend().result(5)
    assert [s.seq for s in store.sealed(1, 9).result()] == [1, 2, 3, 4]
    assert store.unsent_intervals(9).result() == [interval(1)]
    store.close()
    store = open_store(tmp_path, now_ms=clock)
    assert put(store, "e")[0].seq == 5
    store.close()


# Opening, and refusing to


def test_a_second_agent_is_refused_and_told_who_has_the_store(store: Store, tmp_path: Path):
    with pytest.raises(StoreHeld) as refused:
        open_store(tmp_path)
    assert refused.value.facts["holder_pid"] == str(os.getpid())
    put(store, "a")
    store.close()
    open_store(tmp_path).close()


def test_a_missing_directory_is_an_error_with_its_cure(tmp_path: Path):
    with pytest.raises(StoreDirectoryMissing) as missing:
        open_store(tmp_path / "nowhere")
    assert "Create it" in sentence(missing.value)


def test_a_newer_schema_is_refused_and_left_as_it_is(tmp_path: Path):
    open_store(tmp_path).close()
    for name in ("findings.db", "telemetry.db"):
        with sqlite3.connect(tmp_path / name) as connection:
            before = connection.execute("SELECT version, chk FROM schema").fetchone()
            connection.execute("UPDATE schema SET version = 99, chk = ?", (row_check("schema", 99),))
        connection.close()
        with pytest.raises(StoreNewer) as newer:
            open_store(tmp_path)
        assert "99" in sentence(newer.value)
        with sqlite3.connect(tmp_path / name) as connection:
            connection.execute("UPDATE schema SET version = ?, chk = ?", before)
        connection.close()
    assert not list(tmp_path.glob("*.corrupt-*"))
    open_store(tmp_path).close()


def test_an_older_schema_is_brought_up_to_date_and_keeps_its_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = open_store(tmp_path)
    sealed = put(store, *"abc")
    store.close()
    monkeypatch.setattr(schema, "SCHEMA", 3)
    monkeypatch.setitem(schema.MIGRATIONS, 1, ["ALTER TABLE note ADD COLUMN why TEXT"])
    monkeypatch.setitem(schema.MIGRATIONS, 2, ["CREATE TABLE extra (n INTEGER)", "INSERT INTO extra VALUES (7)"])
    store = open_store(tmp_path)
    assert store.salvaged is None
    assert store.unsent(0, 9).result() == sealed
    store.close()
    with sqlite3.connect(tmp_path / "findings.db") as connection:
        assert connection.execute("SELECT n FROM extra").fetchall() == [(7,)]
        assert connection.execute("SELECT version FROM schema").fetchall() == [(3,)]
    connection.close()


def test_a_database_that_another_program_holds_is_an_error_that_says_so(tmp_path: Path):
    open_store(tmp_path).close()
    holder = sqlite3.connect(tmp_path / "findings.db", isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreLocked):
        open_store(tmp_path)
    holder.close()
    open_store(tmp_path).close()


def test_a_commit_that_meets_a_lock_fails_as_a_whole_and_can_be_made_again(store: Store, tmp_path: Path):
    put(store, "a")
    holder = sqlite3.connect(tmp_path / "findings.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreLocked):
        put(store, "b")
    holder.execute("ROLLBACK")
    holder.close()
    assert [s.seq for s in put(store, "b")] == [2]


def test_only_the_agents_user_can_read_the_files(store: Store, tmp_path: Path):
    put(store, "a")
    store.add_intervals([interval(1)]).result(5)
    files = [p for p in tmp_path.iterdir() if p.is_file()]
    assert {p.name for p in files} >= {"findings.db", "findings.db-wal", "telemetry.db", "agent.lock"}
    assert {stat.S_IMODE(p.stat().st_mode) for p in files} == {0o600}


def test_the_pragmas_are_those_that_were_measured(tmp_path: Path, store: Store):
    found = store._writer.put(
        Question(
            lambda findings, _: {
                name: findings.connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in (
                    "journal_mode", "synchronous", "wal_autocheckpoint", "page_size", "auto_vacuum", "cache_size",
                    "temp_store", "mmap_size", "cell_size_check", "trusted_schema", "journal_size_limit",
                    "foreign_keys",
                )
            }
        )
    ).result(5)  # fmt: skip
    assert found == {
        "journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 64, "page_size": 4096, "auto_vacuum": 0,
        "cache_size": -1024, "temp_store": 2, "mmap_size": 0, "cell_size_check": 1, "trusted_schema": 0,
        "journal_size_limit": 1048576, "foreign_keys": 1,
    }  # fmt: skip


# Reading without an agent


def test_the_reader_lists_the_latest_step_of_each_finding(store: Store, tmp_path: Path):
    store.record(
        [
            letter("over", "opened", 1, ratio=1.05),
            letter("boot", kind="record"),
            letter("cold", "opened", 1),
            letter("over", "updated", 2, ratio=1.2),
        ],
        urgent=True,
    ).result(5)
    with Store.read_only(tmp_path / "findings.db") as reader:  # while the agent runs
        rows = reader.findings()
        assert [(r.finding, r.step, r.n, r.seq) for r in rows] == [("over", "updated", 2, 4), ("cold", "opened", 1, 3)]
        first = rows[0]
        assert (first.point, first.topic, first.severity) == ("factory", "cap-over-contract", "warning")
        assert first.data == {"ratio": 1.2}
        assert first.first_time == "2026-03-14T12:00:00Z"
        assert reader.verify().intact
        assert reader.head() == store.head()
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._connection.execute("DELETE FROM chain")
    assert store.findings(1).result() == rows[:1]


def test_the_reader_verifies_what_someone_edited(store: Store, tmp_path: Path):
    put(store, *"abcde")
    store.close()
    with sqlite3.connect(tmp_path / "findings.db") as connection:
        connection.execute("UPDATE chain SET body = replace(body, 'warning', 'notice_') WHERE seq = 3")
    connection.close()
    with Store.read_only(tmp_path / "findings.db") as reader:
        assert reader.verify().first_bad == 3


def test_the_reader_says_that_there_is_no_store(tmp_path: Path):
    with pytest.raises(StoreMissing):
        Store.read_only(tmp_path / "findings.db")
    assert not list(tmp_path.iterdir())


# Words


def test_every_error_has_its_sentence():
    kinds: list[type[StoreError]] = [StoreError, *StoreError.__subclasses__()]
    assert len(kinds) > 10
    for kind in kinds:
        assert sentences("en")[kind.code]
        assert kind.exit_code in {1, 75}
    assert {k for k in sentences("en") if k.startswith("store.")} == {kind.code for kind in kinds}
