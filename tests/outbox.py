"""A store in memory for the uplink's tests: the same calls and answers as the real one, without a file.

Records are real chain messages; what has been asked of it stays to be looked at.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from edge_agent.contract.demand import demand_row
from edge_agent.contract.envelope import seal
from edge_agent.contract.records import Boot, record_letter
from edge_agent.evidence import GENESIS, next_hash
from edge_agent.model import ClockQuality, ClockState, Sealed


class Outcome(StrEnum):
    ACCEPTED = "accepted"
    REPEATED = "repeated"
    NOTHING = "nothing"
    WRONG_EPOCH = "wrong_epoch"
    WRONG_HEAD = "wrong_head"
    AHEAD = "ahead"


@dataclass(frozen=True)
class Ids:
    root: str = "ea"
    utility: str = "demo"
    gateway: str = "gw-1"


class Row(NamedTuple):
    point: str
    start_ms: int
    end_ms: int
    body: bytes


@dataclass
class Stats:
    kept_upto: int
    oldest_unsent_ms: int | None


class MemoryOutbox:
    """`fill` adds records; `upto` is the cursor; `broken` makes every answer fail, `slow_s` those of `unsent` late."""

    def __init__(self, epoch: str = "0123456789abcdef") -> None:
        self.epoch = epoch
        self.records: list[Sealed] = []
        self.upto = 0
        self.dead_letters: list[int] = []
        self.rows: list[Row] = []
        self.sent_rows: list[Row] = []
        self.oldest_ms: int | None = None
        self.broken: Exception | None = None
        self.slow_s = 0.0
        self.outcomes: list[Outcome] = []
        self._head = GENESIS

    def fill(self, count: int) -> list[Sealed]:
        made = []
        clock = ClockState(ClockQuality.SYNCED, 1_700_000_000_000, 500)
        for _ in range(count):
            seq = len(self.records) + 1
            letter = record_letter(Boot(agent="0.1.0"), id=f"b-{seq}", site=Ids(), clock=clock, boot_id="b", bt_ms=seq)
            body = seal(letter, seq, self.epoch, self._head.hex())
            self._head = next_hash(self._head, seq, body)
            made.append(Sealed(seq, letter.kind, body, self._head.hex()))
            self.records.append(made[-1])
        return made

    def fill_rows(self, point: str, ends: Iterable[int]) -> None:
        body = demand_row(point, source="register", coverage=1.0, active_w=(1.0, 2.0, 3.0), apparent_va=None)
        self.rows += [Row(point, end - 900_000, end, body) for end in ends]

    def head(self) -> tuple[int, str]:
        return len(self.records), self._head.hex()

    def stats(self) -> Stats:
        return Stats(self.upto, self.oldest_ms)

    def unsent(self, after_seq: int = 0, limit: int = 200) -> Future[list[Sealed]]:
        rows = [r for r in self.records[max(after_seq, self.upto) :] if r.seq not in self.dead_letters]
        if not self.slow_s:
            return self._answer(rows[:limit])
        late: Future[list[Sealed]] = Future()
        threading.Timer(self.slow_s, late.set_result, (rows[:limit],)).start()
        return late

    def sealed(self, first: int, last: int) -> Future[list[Sealed]]:
        return self._answer(self.records[first - 1 : last])

    def kept(self, epoch: str, upto: int, head_hex: str) -> Future[Any]:
        outcome = self._judge(epoch, upto, head_hex)
        if self.broken is None:
            self.outcomes.append(outcome)
            if outcome is Outcome.ACCEPTED:
                self.upto = upto
        return self._answer(outcome)

    def dead(self, seqs: Sequence[int]) -> Future[None]:
        self.dead_letters += seqs
        return self._answer(None)

    def unsent_intervals(self, limit: int) -> Future[list[Any]]:
        return self._answer(sorted((r for r in self.rows if r not in self.sent_rows), key=lambda r: -r.end_ms)[:limit])

    def mark_sent(self, rows: Iterable[Any]) -> Future[None]:
        self.sent_rows += rows
        return self._answer(None)

    def _judge(self, epoch: str, upto: int, head_hex: str) -> Outcome:
        if epoch != self.epoch:
            return Outcome.WRONG_EPOCH
        if upto == 0:
            return Outcome.NOTHING
        if upto > len(self.records):
            return Outcome.AHEAD
        if self.records[upto - 1].hash_hex != head_hex:
            return Outcome.WRONG_HEAD
        return Outcome.REPEATED if upto <= self.upto else Outcome.ACCEPTED

    def _answer(self, value: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.broken is not None:
            future.set_exception(self.broken)
        else:
            future.set_result(value)
        return future
