"""The centre's database and its judgement of every message: accept, count as known, wait for its turn, or quarantine.

No network and no clock: `take` each message of a batch, then `commit`, which hands back the acknowledgements that may
now be said. An acknowledgement is read inside the transaction, and exists only when that has committed.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from simulator.central.chain import START, digest, next_head
from simulator.central.pace import AckPace
from simulator.central.schemas import Schemas
from simulator.clock import Ms, iso

CHAIN = frozenset({"finding", "case", "evaluation", "record"})
STATE = frozenset({"status", "heartbeat", "points", "archive", "releases"})
MAX_BODY = 262_144
MAX_SEQ = 2**31 - 1
NACKS_SAID = 50
GAP_AGAIN_MS = 30_000

_EPOCH = re.compile(r"[0-9a-f]{16}")
_HASH = re.compile(r"[0-9a-f]{64}")


class Chain(NamedTuple):
    """One gateway's chain of one epoch."""

    gateway: str  # "<utility>/<gateway>"
    epoch: str


@dataclass(frozen=True, slots=True)
class Ack:
    """What the centre has of a chain, as it tells the gateway."""

    chain: Chain
    upto: int
    head: str
    need: tuple[int, int] | None
    nack: tuple[int, ...]
    at_ms: Ms

    def body(self) -> bytes:
        words: dict[str, Any] = {"epoch": self.chain.epoch, "upto": self.upto, "head": self.head}
        if self.need is not None:
            words["need"] = list(self.need)
        return json.dumps({**words, "nack": list(self.nack), "at": iso(self.at_ms)}, separators=(",", ":")).encode()


class Ledger:
    """One database file. Not safe for two threads at once."""

    def __init__(self, path: Path, schemas: Schemas, *, ack_after: int = 50, ack_every_ms: int = 2000) -> None:
        self._schemas = schemas
        self._pace: AckPace[Chain] = AckPace(ack_after, ack_every_ms)
        self._gap_since: dict[Chain, tuple[int, Ms]] = {}
        self._gap_after_ms = ack_every_ms
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "trusted_schema=OFF"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript((files("simulator.central") / "schema.sql").read_text("utf-8"))

    def close(self) -> None:
        self.rollback()
        self._db.close()

    def take(self, gateway: str, below_up: str, body: bytes, now_ms: Ms) -> None:
        """Judge one message from `<root>/v1/<gateway>/up/<below_up>`; nothing is kept before `commit`."""
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
        self._count(gateway, "messages")
        self._db.execute("SAVEPOINT message")
        try:
            self._judge(gateway, below_up, body, now_ms)
        except (KeyError, TypeError, ValueError) as error:  # it fits its schema and still cannot be read: not our end
            self._db.execute("ROLLBACK TO message")
            self._quarantine(gateway, below_up, "unreadable", repr(error), body, now_ms)
        self._db.execute("RELEASE message")

    def commit(self, now_ms: Ms, at_ms: Ms | None = None) -> list[Ack]:
        """Make the batch durable. Returns the acknowledgements that are due; none is true if this raises.

        `at_ms`: the UTC that they name, where it is not `now_ms`.
        """
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
        due = self._pace.take_due(now_ms)
        try:
            acks = [ack for chain in due if (ack := self._ack(chain, now_ms, at_ms or now_ms))]
            self._db.execute("COMMIT")
        except sqlite3.Error:
            for chain in due:
                self._pace.at(chain, now_ms)
            raise
        return acks

    def rollback(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def next_ack_ms(self) -> Ms | None:
        return self._pace.next_ms()

    def _judge(self, gateway: str, below_up: str, body: bytes, now_ms: Ms) -> None:
        kind = below_up.partition("/")[0]
        if len(body) > MAX_BODY:
            self._quarantine(gateway, below_up, "size", f"{len(body)} bytes", body[:1024], now_ms)
            return
        message = _parse(body)
        if message is None:
            # A checkpoint is a signed text, not JSON; every other kind is an object.
            if kind == "checkpoint" and kind not in self._schemas:
                self._parcel(gateway, below_up, body, now_ms)
            else:
                self._quarantine(gateway, below_up, "json", "not a JSON object", body, now_ms)
            return
        reason, objection = "no-schema", f"no schema for {kind}" if kind not in self._schemas else None
        if objection is None:
            reason, objection = "schema", self._schemas.objection(kind, message)
        if objection is None and kind in CHAIN and not _speaks_for(message, gateway):
            reason, objection = "source", f"source {message.get('source')!r} is not {gateway}"
        if objection is not None:
            self._quarantine(gateway, below_up, reason, objection, body, now_ms, message)
        if kind in CHAIN:
            self._take_record(gateway, below_up, message, body, now_ms, refused=objection is not None)
        elif objection is None:
            self._take_other(gateway, kind, below_up, message, body, now_ms)

    def _take_record(
        self, gateway: str, below_up: str, message: Mapping[str, Any], body: bytes, now_ms: Ms, *, refused: bool
    ) -> None:
        seq, epoch = message.get("seq"), message.get("epoch")
        if type(seq) is not int or not 1 <= seq <= MAX_SEQ or not isinstance(epoch, str) or not _EPOCH.fullmatch(epoch):
            if not refused:
                self._quarantine(gateway, below_up, "schema", "no seq or epoch", body, now_ms)
            return  # without its number it cannot even be refused by number
        chain = Chain(gateway, epoch)
        self._pace.news(chain, now_ms)
        upto, _ = self._heard(chain, now_ms, seq)
        if seq <= upto:
            row = self._db.execute(
                "SELECT body FROM chain WHERE gateway = ? AND epoch = ? AND seq = ?", (*chain, seq)
            ).fetchone()
            if row[0] == body:
                self._count(gateway, "duplicates")
            else:
                detail = f"{seq} is kept with other bytes"
                self._quarantine(gateway, below_up, "conflict", detail, body, now_ms, message)
            return
        prevhash = message.get("prevhash")
        added = self._db.execute(
            "INSERT OR IGNORE INTO waiting VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *chain, seq, digest(body), below_up, _text(message.get("id")),
                prevhash if isinstance(prevhash, str) and _HASH.fullmatch(prevhash) else None,
                body, refused, now_ms,
            ),
        ).rowcount  # fmt: skip
        if not added:
            self._count(gateway, "duplicates")
        self._join(chain, now_ms)

    def _join(self, chain: Chain, now_ms: Ms) -> None:
        """Move what has its turn from waiting into the chain, as far as the hashes follow from each other."""
        upto, head = self._db.execute("SELECT upto, head FROM head WHERE gateway = ? AND epoch = ?", chain).fetchone()
        while True:
            candidates = self._db.execute(
                "SELECT digest, kind, event_id, prevhash, body, nacked, received_ms FROM waiting"
                " WHERE gateway = ? AND epoch = ? AND seq = ? ORDER BY prevhash IS NULL",
                (*chain, upto + 1),
            ).fetchall()
            if not candidates:
                break
            chosen = next((c for c in candidates if c[3] == head or (c[3] is None and c[5])), None)
            for rival in candidates:
                if rival is not chosen:
                    detail = f"{upto + 1} says {rival[3]} came before it, not {head}"
                    self._quarantine(chain.gateway, rival[1], "chain", detail, rival[4], now_ms,
                                     {"seq": upto + 1, "epoch": chain.epoch})  # fmt: skip
            self._db.execute("DELETE FROM waiting WHERE gateway = ? AND epoch = ? AND seq = ?", (*chain, upto + 1))
            if chosen is None:
                break
            _, below_up, event_id, _, body, nacked, received_ms = chosen
            upto, head = upto + 1, next_head(head, upto + 1, body)
            self._db.execute(
                "INSERT INTO chain VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*chain, upto, below_up, event_id, head, body, nacked, received_ms),
            )
            if not nacked:
                self._event(chain, upto, below_up, json.loads(body), body, received_ms)
        self._db.execute("UPDATE head SET upto = ?, head = ? WHERE gateway = ? AND epoch = ?", (upto, head, *chain))

    def _event(
        self, chain: Chain, seq: int, kind: str, message: Mapping[str, Any], body: bytes, received_ms: Ms
    ) -> None:
        about = message["data"] if kind == "finding" else {}
        point = str(message["source"]).strip("/").split("/")[2:]
        added = self._db.execute(
            "INSERT OR IGNORE INTO event (gateway, event_id, epoch, seq, kind, type, finding, step, point, topic,"
            " severity, time, body, received_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                chain.gateway, message["id"], chain.epoch, seq, kind, message["type"], about.get("finding"),
                about.get("step"), "/".join(point) or None, message["subject"], message["severity"],
                message.get("time"), body.decode(), received_ms,
            ),
        ).rowcount  # fmt: skip
        if not added:
            self._count(chain.gateway, "events_known")

    def _take_other(
        self, gateway: str, kind: str, below_up: str, message: Mapping[str, Any], body: bytes, now_ms: Ms
    ) -> None:
        if kind == "demand":
            for row in message["points"]:
                self._db.execute(
                    "INSERT OR REPLACE INTO demand VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        gateway, row["point"], message["end"], message["start"], json.dumps(row, ensure_ascii=False),
                        now_ms,
                    ),
                )  # fmt: skip
        elif kind in STATE:
            self._db.execute(
                "INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?)", (gateway, below_up, body.decode(), now_ms)
            )
            if below_up == "status" and "epoch" in message:  # a birth: its sender wants to know where to go on
                chain = Chain(gateway, message["epoch"])
                self._heard(chain, now_ms, 0)
                self._pace.at(chain, now_ms)
        else:
            self._parcel(gateway, below_up, body, now_ms)

    def _heard(self, chain: Chain, now_ms: Ms, seq: int) -> tuple[int, str]:
        """Note that a chain is alive; its `upto` and head."""
        self._db.execute(
            "INSERT INTO head VALUES (?, ?, 0, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET highest = max(highest, excluded.highest), heard_ms = excluded.heard_ms",
            (*chain, START, seq, now_ms),
        )
        row = self._db.execute("SELECT upto, head FROM head WHERE gateway = ? AND epoch = ?", chain).fetchone()
        return int(row[0]), str(row[1])

    def _ack(self, chain: Chain, now_ms: Ms, at_ms: Ms) -> Ack | None:
        row = self._db.execute("SELECT upto, head FROM head WHERE gateway = ? AND epoch = ?", chain).fetchone()
        if row is None:  # its first batch was rolled back and has not come again
            return None
        nacked = self._db.execute(
            "SELECT seq FROM chain WHERE gateway = ?1 AND epoch = ?2 AND nacked UNION"
            " SELECT seq FROM waiting WHERE gateway = ?1 AND epoch = ?2 AND nacked ORDER BY seq DESC LIMIT ?3",
            (*chain, NACKS_SAID),
        ).fetchall()
        return Ack(chain, row[0], row[1], self._need(chain, now_ms), tuple(sorted(n for (n,) in nacked)), at_ms)

    def _need(self, chain: Chain, now_ms: Ms) -> tuple[int, int] | None:
        """The lowest gap, once it has stood for a while: what merely overtook another message is no gap."""
        gap = self._db.execute("SELECT first, last FROM gaps WHERE gateway = ? AND epoch = ?", chain).fetchone()
        if gap is None:
            self._gap_since.pop(chain, None)
            return None
        first, since_ms = self._gap_since.get(chain, (0, now_ms))
        if first != gap[0]:
            since_ms = now_ms
            self._gap_since[chain] = (gap[0], now_ms)
        if now_ms - since_ms < self._gap_after_ms:
            self._pace.at(chain, since_ms + self._gap_after_ms)
            return None
        self._pace.at(chain, now_ms + GAP_AGAIN_MS)
        return (int(gap[0]), int(gap[1]))

    def _parcel(self, gateway: str, below_up: str, body: bytes, now_ms: Ms) -> None:
        self._db.execute(
            "INSERT INTO parcel (gateway, topic, body, received_ms) VALUES (?, ?, ?, ?)",
            (gateway, below_up, body, now_ms),
        )

    def _quarantine(
        self,
        gateway: str,
        below_up: str,
        reason: str,
        detail: str,
        body: bytes,
        now_ms: Ms,
        message: Mapping[str, Any] | None = None,
    ) -> None:
        seq, epoch = (message or {}).get("seq"), (message or {}).get("epoch")
        self._count(gateway, "rejected")
        self._db.execute(
            "INSERT INTO quarantine (gateway, topic, reason, detail, epoch, seq, digest, body, first_ms, last_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?9, ?9)"
            " ON CONFLICT DO UPDATE SET times = times + 1, last_ms = excluded.last_ms",
            (
                gateway, below_up, reason, detail, _text(epoch), seq if type(seq) is int and seq <= MAX_SEQ else None,
                digest(body), body, now_ms,
            ),
        )  # fmt: skip

    def _count(self, gateway: str, name: str) -> None:
        self._db.execute(
            "INSERT INTO tally VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1",
            (gateway, name),
        )


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _speaks_for(message: Mapping[str, Any], gateway: str) -> bool:
    return str(message.get("source", "")).strip("/").split("/")[:2] == gateway.split("/")


def _text(word: object) -> str | None:
    return word if isinstance(word, str) else None
