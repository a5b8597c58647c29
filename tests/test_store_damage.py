"""The store on a disk that fails: damaged files, full, read-only, and errors in the middle of a commit."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.store import (
    AckOutcome,
    Renewed,
    Reopened,
    ReserveSpent,
    Shed,
    Store,
    StoreDamaged,
    StoreEvent,
    StoreFailing,
    StoreFull,
    StoreUnwritable,
)
from edge_agent.store.files import put_aside
from edge_agent.store.pages import Pages
from tests.letters import QUICK, interval, letter, open_store

COPIES = int(os.environ.get("EDGE_PROVE_DAMAGE", "50"))
RECORDS, KEPT, DEAD = 400, 150, (170, 171)
PAGE = 4096
PLACE = {"seq", "epoch", "prevhash"}


# A store to damage


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 records of many sizes, 150 of them acknowledged, two refused; as left behind by kill -9: with a log."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "running").mkdir()
    store = open_store(folder / "running")
    group = 20
    for first in range(0, RECORDS - 2 * group, group):
        put(store, range(first, first + group))
    store.dead(DEAD).result(5)
    head = store.sealed(KEPT, KEPT).result()[0]
    assert store.kept(store.epoch, KEPT, head.hash_hex).result(5) is AckOutcome.ACCEPTED
    for k in range(RECORDS - 2 * group, RECORDS):
        put(store, [k])
    (folder / "with-log").mkdir()
    for name in ("findings.db", "findings.db-wal"):
        shutil.copy(folder / "running" / name, folder / "with-log" / name)
    store.close()
    (folder / "closed").mkdir()
    shutil.copy(folder / "running" / "findings.db", folder / "closed" / "findings.db")
    assert (folder / "with-log" / "findings.db-wal").stat().st_size > 10 * PAGE
    return folder


def put(store: Store, numbers: Sequence[int]) -> None:
    """One commit: a finding of each number with its track and a ledger entry."""
    letters = [letter(f"f{k}", filler="x" * (17 * k % 700) + "y" * (9000 if k % 50 == 0 else 0)) for k in numbers]
    tracks: dict[str, bytes | None] = {f"t{k % 60}": b"track %d" % k * (k % 30) for k in numbers}
    store.record(letters, tracks, [(f"{k:06}", b"entry %d" % k) for k in numbers], urgent=True).result(5)


class Truth:
    """What is in the undamaged store."""

    def __init__(self, original: Path, scratch: Path) -> None:
        shutil.copytree(original / "closed", scratch)
        store = open_store(scratch)
        assert store.salvaged is None
        self.epoch = store.epoch
        self.bodies = {s.seq: json.loads(s.body) for s in store.sealed(1, RECORDS).result()}
        self.seq_of = {body["id"]: seq for seq, body in self.bodies.items()}
        self.tracks, self.ledger = store.load_tracks(), store.load_ledger()
        store.close()
        assert len(self.bodies) == RECORDS


@pytest.fixture(scope="module")
def truth(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return Truth(original, tmp_path_factory.mktemp("truth") / "copy")


def flip(raw: bytearray, chance: random.Random) -> None:
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)


def zero(raw: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(raw) // PAGE) * PAGE
    raw[at : at + PAGE] = bytes(PAGE)


def truncate(raw: bytearray, chance: random.Random) -> None:
    del raw[chance.randrange(len(raw)) :]


def swap(raw: bytearray, chance: random.Random) -> None:
    a, b = (k * PAGE for k in chance.sample(range(len(raw) // PAGE), 2))
    raw[a : a + PAGE], raw[b : b + PAGE] = raw[b : b + PAGE], raw[a : a + PAGE]


def half_page(raw: bytearray, chance: random.Random) -> None:
    """A torn write: the first 512 bytes of one page are another's."""
    a, b = (k * PAGE for k in chance.sample(range(len(raw) // PAGE), 2))
    raw[a : a + 512] = raw[b : b + 512]


DAMAGE: tuple[Callable[[bytearray, random.Random], None], ...] = (flip, zero, truncate, swap, half_page)


def same_event(body: bytes, original: dict[str, object]) -> bool:
    strip = {k: v for k, v in json.loads(body).items() if k not in PLACE}
    return strip == {k: v for k, v in original.items() if k not in PLACE}


def judge(folder: Path, truth: Truth, *, log_damaged: bool) -> str:
    """Open what is left and compare every row with the truth; the name of what happened."""
    started_s = time.monotonic()
    store = open_store(folder)
    assert time.monotonic() - started_s < 30
    try:
        chain = store.sealed(1, RECORDS + 9).result()
        salvaged = store.salvaged
        tracks, ledger = store.load_tracks(), store.load_ledger()
        if salvaged is None:
            assert store.epoch == truth.epoch
            assert [json.loads(s.body) for s in chain] == [truth.bodies[n] for n in range(1, len(chain) + 1)]
            if log_damaged:
                return "whole" if len(chain) == RECORDS else f"lost {RECORDS - len(chain)}"
            assert len(chain) == RECORDS
            assert (tracks, ledger) == (truth.tracks, truth.ledger)
            return "whole"

        assert store.epoch != truth.epoch
        assert (folder / salvaged.moved_to).exists()
        sent_again = {truth.seq_of[json.loads(s.body)["id"]] for s in chain}
        assert len(sent_again) == len(chain) == salvaged.unsent
        assert all(same_event(s.body, truth.bodies[truth.seq_of[json.loads(s.body)["id"]]]) for s in chain)
        assert all(json.loads(s.body)["epoch"] == store.epoch for s in chain)
        with sqlite3.connect(folder / "findings.db") as connection:
            earlier = connection.execute("SELECT epoch, seq, body FROM earlier").fetchall()
        connection.close()
        assert all(json.loads(body) == truth.bodies[seq] for _, seq, body in earlier)
        survivors = sent_again | {seq for _, seq, _ in earlier}
        assert len(survivors) == len(sent_again) + len(earlier) == salvaged.rescued
        lost = {n for first, last in salvaged.lost for n in range(first, last + 1)}
        assert not lost & survivors
        if not log_damaged and salvaged.epoch:  # the meta row was proved: then the count is complete
            assert lost | survivors == set(range(1, RECORDS + 1))
            assert salvaged.tracks + salvaged.tracks_lost == len(truth.tracks)
            assert salvaged.ledger + salvaged.ledger_lost == len(truth.ledger)
        if not log_damaged:
            assert tracks.items() <= truth.tracks.items()
            assert set(ledger) <= set(truth.ledger)
            assert len(ledger) == len(set(ledger))
        more = store.record([letter("f0"), letter("after")], urgent=True).result(5)
        assert more[-1].seq == len(chain) + 1 + (0 if 1 in survivors else 1)
        return "rescued"
    finally:
        store.close()
        with Store.read_only(folder / "findings.db") as reader:
            assert reader.verify().intact


@pytest.mark.timeout(max(120, 5 * COPIES))
def test_a_damaged_file_opens_by_itself_and_nothing_is_silently_wrong(original: Path, truth: Truth, tmp_path: Path):
    seen: Counter[tuple[str, str]] = Counter()
    rescued_share = []
    for k in range(COPIES):
        chance = random.Random(k)
        damage, source = DAMAGE[k % len(DAMAGE)], "with-log" if k // len(DAMAGE) % 2 else "closed"
        folder = tmp_path / f"copy-{k}"
        shutil.copytree(original / source, folder)
        raw = bytearray((folder / "findings.db").read_bytes())
        damage(raw, chance)
        (folder / "findings.db").write_bytes(raw)
        try:
            outcome = judge(folder, truth, log_damaged=False)
        except Exception as error:
            error.add_note(f"copy {k}: {damage.__name__} of {source}")
            raise
        seen[damage.__name__, outcome] += 1
        if outcome == "rescued":
            connection = sqlite3.connect(folder / "findings.db")
            left = connection.execute("SELECT (SELECT count(*) FROM chain) + (SELECT count(*) FROM earlier)").fetchone()
            connection.close()
            rescued_share.append(left[0] / RECORDS)
        shutil.rmtree(folder)
    assert {name for name, outcome in seen if outcome == "rescued"} == {d.__name__ for d in DAMAGE}, seen
    assert sorted(rescued_share)[len(rescued_share) // 2] > 0.9, (
        seen
    )  # one bad page costs the rows on it, not the store


@pytest.mark.timeout(max(120, 5 * COPIES))
def test_a_damaged_log_costs_at_most_the_records_on_its_bad_page(original: Path, truth: Truth, tmp_path: Path):
    """A log that is cut off looks like one that was never longer; only the centre's receipts can tell.

    The same holds for damage to the last commit: nothing behind it proves that it was made.
    """
    seen: Counter[tuple[str, str]] = Counter()
    pages = Pages(original / "with-log" / "findings.db")
    committed = sorted(image.offset for image in pages.images if image.in_log)[: pages.committed_frames]
    pages.close()
    assert len(committed) > 8
    for k in range(COPIES // 2):
        chance, damage = random.Random(k), (flip, zero, truncate)[k % 3]
        folder = tmp_path / f"copy-{k}"
        shutil.copytree(original / "with-log", folder)
        raw = bytearray((folder / "findings.db-wal").read_bytes())
        at = chance.choice(committed)
        frame = raw[at : at + PAGE]
        damage(frame, chance)
        raw[at : at + PAGE] = frame
        (folder / "findings.db-wal").write_bytes(raw if damage is not truncate else raw[: at + len(frame)])
        outcome = judge(folder, truth, log_damaged=True)
        assert damage is truncate or outcome in {"rescued", "whole", "lost 1"}, (k, damage.__name__, outcome)
        seen[damage.__name__, outcome] += 1
        shutil.rmtree(folder)
    assert seen["flip", "rescued"] + seen["zero", "rescued"] > COPIES // 5, seen


@pytest.mark.parametrize("content", [b"", b"not a database\n" * 1000, bytes(8192)], ids=["empty", "text", "zeros"])
def test_a_file_that_is_no_database_is_put_aside(tmp_path: Path, content: bytes):
    (tmp_path / "findings.db").write_bytes(content)
    (tmp_path / "telemetry.db").write_bytes(content)
    events: list[StoreEvent] = []
    store = open_store(tmp_path, report=events.append)
    assert store.salvaged is not None
    assert store.salvaged.rescued == 0
    assert (tmp_path / "findings.db.corrupt-boot1").read_bytes() == content
    assert [type(e) for e in events] == ([Renewed] if content else [])  # an empty file needs no making anew
    assert store.record([letter("a")], urgent=True).result(5)[0].seq == 1
    store.close()


def test_the_rescue_is_told_until_it_has_been_recorded(original: Path, tmp_path: Path):
    folder = tmp_path / "copy"
    shutil.copytree(original / "closed", folder)
    raw = bytearray((folder / "findings.db").read_bytes())
    raw[-PAGE:] = bytes(PAGE)
    raw[PAGE * 40 : PAGE * 41] = bytes(PAGE)
    (folder / "findings.db").write_bytes(raw)
    for _ in range(2):
        store = open_store(folder)
        assert store.salvaged is not None
        store.close()
    store = open_store(folder)
    store.salvaged_told().result(5)
    store.close()
    store = open_store(folder)
    assert store.salvaged is None
    store.close()


@pytest.mark.parametrize("aside_done", [False, True])
def test_a_rescue_cut_by_a_crash_is_finished_by_the_next_start(original: Path, tmp_path: Path, aside_done: bool):
    folder = tmp_path / "copy"
    shutil.copytree(original / "closed", folder)
    old = folder / "findings.db"
    (folder / "findings.db.new").write_bytes(b"half built")
    store = open_store(tmp_path / "copy")
    store.close()
    assert not (folder / "findings.db.new").exists()

    # a finished new store that was not swapped in yet
    (tmp_path / "other").mkdir()
    other = open_store(tmp_path / "other")
    epoch = other.epoch
    other.close()
    shutil.copy(tmp_path / "other" / "findings.db", folder / "findings.db.ready")
    if aside_done:
        put_aside(old, "boot1")
    store = open_store(folder)
    assert store.epoch == epoch
    assert (folder / "findings.db.corrupt-boot1").exists()
    store.close()


def test_few_damaged_copies_are_kept(tmp_path: Path):
    for n in range(5):
        (tmp_path / "findings.db").write_bytes(b"no database %d" % n)
        open_store(tmp_path, boot=f"b{n}").close()
    assert len(list(tmp_path.glob("findings.db.corrupt-*"))) == 2
    assert (tmp_path / "findings.db.corrupt-b4").exists()


def test_damage_under_a_running_store_ends_it_and_the_next_start_rescues(tmp_path: Path):
    store = open_store(tmp_path)
    store.record([letter(k, filler="x" * 500) for k in range(50)], urgent=True).result(5)
    other = sqlite3.connect(tmp_path / "findings.db")
    other.execute("UPDATE chain SET body = x'00' WHERE seq = 20")
    other.commit()
    other.close()
    with pytest.raises(StoreDamaged) as damaged:
        store.unsent(0, 50).result(5)
    assert damaged.value.exit_code == 75
    with pytest.raises(StoreDamaged):
        store.record([letter("later")]).result(5)
    assert store.stats().failing == "store.damaged"
    store.close()
    store = open_store(tmp_path)
    assert store.salvaged is not None
    assert (store.salvaged.rescued, store.salvaged.lost) == (49, ((20, 20),))
    store.close()


def test_damaged_telemetry_is_made_anew_and_findings_do_not_notice(tmp_path: Path):
    store = open_store(tmp_path)
    store.record([letter("a")], urgent=True).result(5)
    store.add_intervals([interval(k, b"x" * 500) for k in range(1, 300)]).result(5)
    store.close()
    raw = bytearray((tmp_path / "telemetry.db").read_bytes())
    raw[PAGE:] = os.urandom(len(raw) - PAGE)
    (tmp_path / "telemetry.db").write_bytes(raw)
    events: list[StoreEvent] = []
    store = open_store(tmp_path, report=events.append)
    assert [type(e) for e in events] == [Renewed]
    assert store.salvaged is None
    assert store.head()[0] == 1
    assert store.unsent_intervals(9).result() == []
    assert store.add_intervals([interval(1)]).result(5) == 1
    store.close()


def test_a_telemetry_row_that_fails_its_check_is_not_served(tmp_path: Path):
    store = open_store(tmp_path)
    store.add_intervals([interval(1), interval(2)]).result(5)
    other = sqlite3.connect(tmp_path / "telemetry.db")
    other.execute("UPDATE intervals_20260314 SET body = x'7b7d' WHERE end_ms = ?", (interval(1).end_ms,))
    other.commit()
    other.close()
    assert store.unsent_intervals(9).result() == [interval(2)]
    store.add_intervals([interval(3)]).result(5)
    assert store.stats().telemetry_damaged == 1
    store.close()


# A full disk, a read-only one, and errors in the middle


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mount.returncode != 0:
        pytest.skip("mounting a file system is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


SMALL = replace(QUICK, reserve_bytes=1024 * 1024)


def fill(folder: Path) -> Path:
    """Use up the rest of the disk."""
    hog = folder / "hog"
    with hog.open("ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return hog


def test_a_full_disk_costs_telemetry_but_no_finding_and_recovers_alone(small_disk: Path):
    events: list[StoreEvent] = []
    store = open_store(small_disk, limits=SMALL, report=events.append)
    rows = []
    for day in range(8):
        of_day = [interval(48 + 96 * day + k, b"x" * 900, f"p{p}") for k in range(1, 97) for p in range(4)]
        store.add_intervals(of_day).result(5)
        rows += of_day
    assert store.stats().reserve_held
    hog = fill(small_disk)

    recorded = 0
    for k in range(100):
        sealed = store.record([letter(k, filler="x" * 2000)], {"t": b"%d" % k}, urgent=True).result(10)
        recorded += len(sealed)
    assert recorded == 100
    assert any(isinstance(e, ReserveSpent) for e in events)
    shed = [e for e in events if isinstance(e, Shed)]
    assert shed
    assert {e.reason for e in shed} == {"disk_full"}
    assert shed[0].first_ms == rows[0].end_ms
    left = store.intervals(0, rows[-1].end_ms, 9999).result()
    assert 0 < len(left) == len(rows) - sum(e.intervals for e in shed)
    assert left == sorted(rows, key=lambda r: (r.end_ms, r.point))[-len(left) :]

    # until nothing is left to give: then it says so, keeps what it has, and takes up again when there is room
    refused = None
    for k in range(100, 5000):
        try:
            store.record([letter(k, filler="x" * 20_000)], {"t": b"%d" % k}, urgent=True).result(10)
            recorded += 1
        except StoreFull:
            refused = k
            break
    assert refused is not None
    assert [s.seq for s in store.unsent(recorded - 1, 9).result()] == [recorded]
    hog.unlink()
    again = store.record([letter(refused, filler="x" * 20_000)], {"t": b"%d" % refused}, urgent=True).result(10)
    assert [s.seq for s in again] == [recorded + 1]
    store.tend().result(5)
    store.close()
    store = open_store(small_disk, limits=SMALL)
    assert store.salvaged is None
    assert store.head()[0] == recorded + 1
    assert store.load_tracks() == {"t": b"%d" % refused}
    store.close()


def test_a_start_on_a_full_disk_uses_the_reserve(small_disk: Path):
    store = open_store(small_disk, limits=SMALL)
    store.record([letter("a")], urgent=True).result(5)
    store.close()
    fill(small_disk)
    store = open_store(small_disk, limits=SMALL)
    assert store.record([letter("b")], urgent=True).result(5)[0].seq == 2
    store.close()


def test_a_read_only_disk_is_said_at_the_start(small_disk: Path):
    store = open_store(small_disk, limits=SMALL)
    store.record([letter("a")], urgent=True).result(5)
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreUnwritable) as refused:
        open_store(small_disk, limits=SMALL)
    assert refused.value.facts["path"] == str(small_disk)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    store = open_store(small_disk, limits=SMALL)
    assert store.record([letter("b")], urgent=True).result(5)[0].seq == 2
    store.close()


class Failing:
    """A database whose next commits fail as SQLite says when the disk does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, codes: list[int]) -> None:
        from edge_agent.store.findings_db import FindingsDb

        self.codes = codes
        commit = FindingsDb.transact

        def transact(db, writes):
            results = commit(db, writes)
            if self.codes:  # the worst case: the commit is on the disk, and the answer is an error
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = self.codes.pop(0)
                raise error
            return results

        monkeypatch.setattr(FindingsDb, "transact", transact)


def test_an_io_error_is_answered_by_opening_anew_and_storing_again_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    events: list[StoreEvent] = []
    store = open_store(tmp_path, report=events.append)
    store.record([letter("a")], urgent=True).result(5)
    Failing(monkeypatch, [sqlite3.SQLITE_IOERR])
    assert [s.seq for s in store.record([letter("b")], {"t": b"1"}, urgent=True).result(5)] == [2]
    assert events == [Reopened("disk I/O error", 1)]
    assert len(store.unsent(0, 9).result()) == 2
    assert store.stats().failing == ""
    store.close()


def test_a_disk_that_turns_read_only_fails_the_call_and_not_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = open_store(tmp_path)
    Failing(monkeypatch, [sqlite3.SQLITE_READONLY] * 5)
    for _ in range(5):
        with pytest.raises(StoreUnwritable):
            store.record([letter("a")], urgent=True).result(5)
    assert store.stats().failing == ""
    assert [s.seq for s in store.record([letter("a")], urgent=True).result(5)] == [1]
    store.close()


def test_the_third_io_error_in_an_hour_ends_the_store_for_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = open_store(tmp_path)
    Failing(monkeypatch, [sqlite3.SQLITE_IOERR] * 3)
    future = store.record([letter("a")], urgent=True)
    with pytest.raises(StoreFailing) as failing:
        future.result(5)
    assert failing.value.exit_code == 75
    with pytest.raises(StoreFailing):
        store.record([letter("b")]).result(5)
    assert store.stats().failing == "store.failing"
    store.close()


CHILD = """
import sys
from pathlib import Path
from tests.letters import letter, open_store
store = open_store(Path(sys.argv[1]), report=lambda event: print("event", type(event).__name__, flush=True))
for k in range(12):
    try:
        store.record([letter(k)], urgent=True).result(10)
        print("stored", k, flush=True)
    except Exception as error:
        print("failed", k, type(error).__name__, flush=True)
store.close()
"""


@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
def test_a_failing_sync_or_write_never_acknowledges_what_is_not_there(tmp_path: Path, call: str):
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    folder = tmp_path / "state"
    folder.mkdir()
    open_store(folder).close()
    root = Path(__file__).parents[1]
    inject = f"inject={call}:error=EIO:when={'6' if call == 'fdatasync' else '40'}"
    ran = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject, sys.executable, "-c", CHILD,
         str(folder)],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "ptrace" in ran.stderr:
        pytest.skip("strace may not trace here")
    said = ran.stdout.split("\n")
    stored = [int(line.split()[1]) for line in said if line.startswith("stored")]
    assert "event Reopened" in said, (ran.stdout, ran.stderr)
    store = open_store(folder)
    assert store.salvaged is None
    names = [int(json.loads(s.body)["id"].split("/")[0]) for s in store.unsent(0, 99).result()]
    assert set(stored) <= set(names)
    assert len(names) == len(set(names))
    assert stored == list(range(12))
    store.close()
