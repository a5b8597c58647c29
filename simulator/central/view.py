"""What the centre has, to look at from outside: read-only, beside the centre that writes."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple, Self


class Head(NamedTuple):
    gateway: str
    epoch: str
    upto: int
    head: str
    highest: int


class Row(NamedTuple):
    """One event or finding as the centre shows it."""

    no: int
    finding: str | None
    step: str | None
    point: str | None
    topic: str
    severity: str | None
    time: str | None
    seq: int
    message: dict[str, Any]


class View:
    """A reader of the centre's database; each call sees what was committed by then."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def heads(self) -> list[Head]:
        return [Head(*row) for row in self._db.execute("SELECT gateway, epoch, upto, head, highest FROM head")]

    def gaps(self) -> list[tuple[str, str, int, int]]:
        return list(self._db.execute("SELECT gateway, epoch, first, last FROM gaps"))

    def events(self, after: int = 0, kind: str | None = None) -> list[Row]:
        """In the order in which they joined the chain."""
        return self._rows(
            "SELECT no, finding, step, point, topic, severity, time, seq, body FROM event"
            " WHERE no > ?1 AND (?2 IS NULL OR kind = ?2) ORDER BY no",
            (after, kind),
        )

    def findings(self) -> list[Row]:
        """Each finding at its latest step."""
        return self._rows(
            "SELECT e.no, f.finding, f.step, f.point, f.topic, f.severity, f.time, f.seq, f.body FROM findings f"
            " JOIN event e USING (gateway, event_id) ORDER BY e.no",
            (),
        )

    def demand(self, after_end: str = "") -> list[tuple[str, str, dict[str, Any]]]:
        """(point, end, row) of every interval that ends after `after_end` (the message's own text), by end."""
        rows = self._db.execute(
            "SELECT point, end, body FROM demand WHERE end > ? ORDER BY end, point", (after_end,)
        ).fetchall()
        return [(point, end, json.loads(body)) for point, end, body in rows]

    def state(self, topic: str) -> dict[str, Any] | None:
        """The last word of any gateway on a state topic: "status", "points/factory"."""
        row = self._db.execute(
            "SELECT body FROM state WHERE topic = ? ORDER BY received_ms DESC LIMIT 1", (topic,)
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def quarantine(self) -> list[tuple[str, str, str, int | None, int]]:
        """(topic, reason, detail, seq, times)"""
        return list(self._db.execute("SELECT topic, reason, detail, seq, times FROM quarantine ORDER BY no"))

    def tally(self, name: str) -> int:
        """Over all gateways: "messages", "duplicates", "rejected", "events_known"."""
        return int(self._db.execute("SELECT coalesce(sum(n), 0) FROM tally WHERE name = ?", (name,)).fetchone()[0])

    def _rows(self, query: str, values: tuple[Any, ...]) -> list[Row]:
        rows = [Row(*row) for row in self._db.execute(query, values)]
        return [row._replace(message=json.loads(str(row.message))) for row in rows]
