"""kill -9 at random instants: what was acknowledged is there, once, in order, with its track.

The control is the same writer saying "stored" before the commit instead of after it: it must be seen to lose, or the
test could not tell.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from edge_agent.evidence import GENESIS, verify
from edge_agent.store import AckOutcome, Store
from tests.letters import open_store

KILLS = int(os.environ.get("EDGE_PROVE_KILLS", "20"))
ROOT = Path(__file__).parents[1]

WRITER = """
import os, sys
from dataclasses import replace
from pathlib import Path
from tests.letters import QUICK, interval, letter, open_store

folder, early = Path(sys.argv[1]), sys.argv[2] == "before"
store = open_store(folder, limits=replace(QUICK, group_s=0.02, telemetry_s=0.02))
k = int.from_bytes(store.load_tracks().get("done", b"\\0")) + 1

def say(words):  # one write each: what the pipe has got was said
    os.write(1, f"{words}\\n".encode())

say(f"head {store.head()[0]}")
pending = []
while True:
    names = [k, k + 1] if k % 5 == 0 else [k]
    last = names[-1]
    tracks = {"done": last.to_bytes(4, "big"), f"t{k % 7}": b"x" * (k % 300), f"t{(k + 3) % 7}": None}
    letters = [letter(f"f{n}", filler="x" * (n % 900)) for n in names]
    if k % 9 == 0 and k > 1:
        letters.insert(0, letter(f"f{k - 1}"))  # once more, as after a crash
    future = store.record(letters, tracks, [(f"{k:09}", b"e")], urgent=k % 3 == 0)
    if early:
        say("stored " + " ".join(map(str, names)))
    else:
        future.add_done_callback(lambda f, names=names: say("stored " + " ".join(map(str, names))))
    if k % 4 == 0:
        store.add_intervals([interval(k)])
    if k % 10 == 0:
        seq, head = store.head()
        store.kept(store.epoch, seq, head)
    if k % 16 == 0:
        future.result()
    k = last + 1
"""


class Killed:
    """One store through many lives of a writer."""

    def __init__(self, folder: Path, when: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.when = when  # the writer says "stored" "before" or "after" the commit
        self.said: set[int] = set()
        self.lives = Counter[str]()

    def live_and_die(self, after_s: float) -> None:
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(self.folder), self.when],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        assert writer.stdout is not None
        first = writer.stdout.readline()
        assert first.startswith(b"head"), "the store did not open"
        time.sleep(after_s)
        writer.kill()
        output = writer.stdout.read()
        writer.stdout.close()
        writer.wait()
        lines = [line for line in output.decode().splitlines(keepends=True) if line.endswith("\n")]
        said = [int(n) for line in lines for n in re.findall(r"\d+", line)]
        self.said.update(said)
        self.lives["with records" if said else "without"] += 1

    def look(self) -> set[int]:
        """The numbers of the findings that are there; everything that must hold at any instant is checked."""
        store = open_store(self.folder)
        try:
            assert store.salvaged is None
            tracks, ledger = store.load_tracks(), store.load_ledger()
            sealed = store.sealed(1, 1_000_000).result()
            assert [s.seq for s in sealed] == list(range(1, store.head()[0] + 1))
            assert verify(
                [(s.seq, s.body, bytes.fromhex(s.hash_hex)) for s in sealed],
                after=(0, GENESIS),
                head=(store.head()[0], bytes.fromhex(store.head()[1])),
            ).intact
            bodies = [json.loads(s.body) for s in sealed]
            names = [int(body["id"].split("/")[0][1:]) for body in bodies]
            assert len(names) == len(set(names)), "a letter is there twice"
            assert names == sorted(names)
            if names:  # committed together: the track names the last letter, the ledger has one entry per call
                assert int.from_bytes(tracks["done"], "big") == names[-1]
                assert len(ledger) == sum(1 for n in names if n % 5 != 1 or n == 1)
            if sealed:
                last = sealed[-1]
                assert store.kept(store.epoch, last.seq, last.hash_hex).result(5) in {
                    AckOutcome.ACCEPTED,
                    AckOutcome.REPEATED,
                }
            return set(names)
        finally:
            store.close()
            with Store.read_only(self.folder / "findings.db") as reader:
                assert reader.verify().intact


@pytest.mark.timeout(60 + 5 * KILLS)
def test_kill_at_any_instant_loses_nothing_that_was_acknowledged(tmp_path: Path):
    chance = random.Random(KILLS)
    state = Killed(tmp_path / "state", "after")
    for _ in range(KILLS):
        state.live_and_die(chance.expovariate(8))
        there = state.look()
        assert state.said <= there, f"acknowledged and gone: {sorted(state.said - there)}"
    assert len(state.said) > 20 * KILLS
    assert state.lives["with records"] > KILLS // 2


@pytest.mark.timeout(60 + 5 * KILLS)
def test_control_a_writer_that_acknowledges_before_its_commit_is_seen_to_lose(tmp_path: Path):
    chance = random.Random(KILLS)
    lost = 0
    state = Killed(tmp_path / "state", "before")
    for n in range(10 * KILLS):  # on a slow machine most die before they have said anything
        state.said.clear()
        state.live_and_die(chance.expovariate(8))
        lost += len(state.said - state.look())
        if lost and n >= KILLS // 4:
            break
    assert lost > 0
