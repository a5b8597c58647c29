"""The outbox against a list: whatever the order of calls, restarts and receipts, both say the same."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import event, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_agent.evidence import GENESIS, next_hash
from edge_agent.model import Sealed
from edge_agent.store import AckOutcome, Limits, Store
from edge_agent.store.shapes import DAY_MS
from tests.letters import Hand, letter, open_store

LIMITS = Limits(group_s=0.0, state_s=0.0, telemetry_s=0.0, reserve_bytes=4096, tend_s=10_000, kept_days=1)
NAMES = st.integers(0, 40).map(lambda n: f"f{n}")


@dataclass
class Entry:
    """What the list knows of one record."""

    name: str
    at_ms: int
    sealed: Sealed


class Outbox(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="outbox-"))
        self.clock = Hand()
        self.chain: list[Entry] = []  # seq k is at k - 1, trimmed or not
        self.base = self.kept = 0
        self.dead: set[int] = set()
        self.tracks: dict[str, bytes] = {}
        self.ledger: list[tuple[str, bytes]] = []
        self.store: Store = open_store(self.folder, limits=LIMITS, now_ms=self.clock)
        self.epoch = self.store.epoch
        self.mattered: Counter[str] = Counter()

    def head_hex(self, seq: int) -> str:
        return self.chain[seq - 1].sealed.hash_hex if seq else GENESIS.hex()

    @rule(
        names=st.lists(NAMES, min_size=1, max_size=6),
        tracks=st.dictionaries(st.sampled_from("abc"), st.none() | st.binary(max_size=9), max_size=2),
        entries=st.lists(st.integers(0, 9), max_size=2),
        urgent=st.booleans(),
    )
    def record(self, names: list[str], tracks: dict[str, bytes | None], entries: list[int], urgent: bool) -> None:
        ledger = [(f"{k}", b"entry %d" % k) for k in entries]
        sealed = self.store.record([letter(n) for n in names], tracks, ledger, urgent=urgent).result(10)
        assert len(sealed) == len(names)
        there = {e.name: e for e in self.chain[self.base :]}
        for name, s in zip(names, sealed, strict=True):
            if name in there:
                assert s == there[name].sealed
                self.mattered["known letter"] += 1
                continue
            assert s.seq == len(self.chain) + 1
            assert json.loads(s.body)["prevhash"] == self.head_hex(len(self.chain))
            assert s.hash_hex == next_hash(bytes.fromhex(self.head_hex(len(self.chain))), s.seq, s.body).hex()
            self.chain.append(Entry(name, self.clock.now_ms, s))
            there[name] = self.chain[-1]
            self.mattered["new letter"] += 1
        for key, blob in tracks.items():
            if blob is None:
                self.tracks.pop(key, None)
            else:
                self.tracks[key] = blob
        self.ledger += ledger

    @rule(key=st.sampled_from("abc"), blob=st.none() | st.binary(max_size=9))
    def keep_state(self, key: str, blob: bytes | None) -> None:
        assert self.store.record([], {key: blob}).result(10) == []
        self.tracks.update({key: blob} if blob is not None else {})
        if blob is None:
            self.tracks.pop(key, None)

    @precondition(lambda self: self.chain)
    @rule(back=st.integers(0, 5))
    def receive(self, back: int) -> None:
        upto = max(len(self.chain) - back, 1)
        outcome = self.receipt(upto, self.head_hex(upto))
        if upto > self.kept:
            assert outcome is AckOutcome.ACCEPTED
            self.kept = upto
        else:
            assert outcome is AckOutcome.REPEATED

    @precondition(lambda self: self.kept)
    @rule()
    def receive_again(self) -> None:
        assert self.receipt(self.kept, self.head_hex(self.kept)) is AckOutcome.REPEATED

    @precondition(lambda self: len(self.chain) > self.base)
    @rule(back=st.integers(0, 5))
    def receive_what_is_not_ours(self, back: int) -> None:
        upto = max(len(self.chain) - back, self.base + 1)
        assert self.receipt(upto, "ab" * 32) is AckOutcome.WRONG_HEAD
        assert self.receipt(len(self.chain) + 1 + back, self.head_hex(len(self.chain))) is AckOutcome.AHEAD
        assert self.receipt(-back, self.head_hex(0)) is AckOutcome.NOTHING

    def receipt(self, upto: int, head_hex: str) -> AckOutcome:
        outcome = self.store.kept(self.epoch, upto, head_hex).result(10)
        self.mattered[f"receipt {outcome}"] += 1
        return outcome

    @rule(epoch=st.sampled_from(["", "0" * 16]))
    def receive_for_another_epoch(self, epoch: str) -> None:
        assert self.store.kept(epoch, 1, "").result(10) is AckOutcome.WRONG_EPOCH

    @precondition(lambda self: self.chain)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        seq = data.draw(st.integers(self.base + 1, len(self.chain)) if len(self.chain) > self.base else st.just(1))
        self.store.dead([seq]).result(10)
        if seq > self.kept:
            self.dead.add(seq)
            self.mattered["dead letter"] += 1

    @rule(before=st.integers(0, 9))
    def trim_ledger(self, before: int) -> None:
        dropped = self.store.trim_ledger(f"{before}").result(10)
        left = [(key, blob) for key, blob in self.ledger if key >= f"{before}"]
        assert dropped == len(self.ledger) - len(left)
        self.ledger = left

    @rule(days=st.integers(-2, 9))
    def pass_time(self, days: int) -> None:
        self.clock.now_ms += days * DAY_MS

    @precondition(lambda self: self.kept > self.base)
    @rule(days=st.integers(0, 4))
    def tend(self, days: int) -> None:
        self.clock.now_ms += days * DAY_MS
        self.store.tend().result(10)
        old = self.clock.now_ms - LIMITS.kept_days * DAY_MS
        while self.base < self.kept and self.chain[self.base].at_ms < old:
            self.base += 1
            self.mattered["trimmed"] += 1

    @precondition(lambda self: self.chain)
    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = open_store(self.folder, limits=LIMITS, now_ms=self.clock)
        assert self.store.salvaged is None
        assert self.store.epoch == self.epoch
        self.mattered["restart"] += 1

    @rule(after=st.integers(0, 50), limit=st.integers(0, 9))
    def ask(self, after: int, limit: int) -> None:
        waiting = [e.sealed for e in self.chain[max(self.kept, after) :] if e.sealed.seq not in self.dead]
        assert self.store.unsent(after, limit).result(10) == waiting[:limit]
        self.mattered["asked for some"] += bool(waiting[:limit])

    @invariant()
    def both_say_the_same(self) -> None:
        assert self.store.head() == (len(self.chain), self.head_hex(len(self.chain)))
        assert self.store.sealed(0, 10_000).result(10) == [e.sealed for e in self.chain[self.base :]]
        waiting = [e for e in self.chain[self.kept :] if e.sealed.seq not in self.dead]
        assert self.store.unsent(0, 10_000).result(10) == [e.sealed for e in waiting]
        stats = self.store.stats()
        assert (stats.kept_upto, stats.depth) == (self.kept, len(waiting))
        assert self.store.load_tracks() == self.tracks
        assert self.store.load_ledger() == [blob for _, blob in self.ledger]

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)
            for name, count in self.mattered.items():
                if count:
                    event(name)
            SEEN.update(self.mattered)


SEEN: Counter[str] = Counter()
MATTERS = {
    "new letter", "known letter", "restart", "trimmed", "dead letter", "asked for some",
    *(f"receipt {outcome}" for outcome in AckOutcome if outcome is not AckOutcome.WRONG_EPOCH),
}  # fmt: skip


TestOutbox = Outbox.TestCase
# The same histories each time: whether every case that matters was met is then no matter of luck.
TestOutbox.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)


def test_every_case_that_matters_was_met():
    assert {name for name, count in SEEN.items() if count} >= MATTERS, SEEN
