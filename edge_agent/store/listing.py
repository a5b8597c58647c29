"""Findings as a list for people: the latest step of each, read from the messages as they were sent."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from edge_agent.store.shapes import FindingRow

FINDING_KIND = "finding"
CASE_KIND = "case"


def finding_bodies(connection: sqlite3.Connection) -> Iterator[tuple[int, bytes]]:
    """(seq, body) of all finding messages, newest first; 0 for those of a store before a rescue."""
    yield from connection.execute("SELECT seq, body FROM chain WHERE kind = ? ORDER BY seq DESC", (FINDING_KIND,))
    yield from connection.execute("SELECT 0, body FROM earlier WHERE kind = ? ORDER BY n DESC", (FINDING_KIND,))


def bodies_of(connection: sqlite3.Connection, finding: str) -> list[bytes]:
    """The messages of one finding, oldest first; those of a store before a rescue come before its own."""
    earlier = "SELECT body FROM earlier WHERE kind = ? AND instr(body, ?) ORDER BY n"
    chain = "SELECT body FROM chain WHERE kind = ? AND instr(body, ?) ORDER BY seq"
    named = finding.encode()
    bodies = [body for query in (earlier, chain) for (body,) in connection.execute(query, (FINDING_KIND, named))]
    return [body for body in bodies if (row := _row(0, body)) is not None and row.finding == finding]


def bodies(connection: sqlite3.Connection, kind: str, part: str = "") -> list[bytes]:
    """Every message of a kind whose id has `part` in it, oldest first; those of a store before a rescue come first."""
    earlier = "SELECT body FROM earlier WHERE kind = ? AND instr(id, ?) ORDER BY n"
    chain = "SELECT body FROM chain WHERE kind = ? AND instr(id, ?) ORDER BY seq"
    return [body for query in (earlier, chain) for (body,) in connection.execute(query, (kind, part))]


def latest_cases(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """The `data` of the last case told of each point."""
    found: dict[str, dict[str, Any]] = {}
    for query in (
        "SELECT body FROM chain WHERE kind = ? ORDER BY seq DESC",
        "SELECT body FROM earlier WHERE kind = ? ORDER BY n DESC",
    ):
        for (body,) in connection.execute(query, (CASE_KIND,)):
            try:
                data: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])["data"]
                found.setdefault(data["point"], data)
            except (msgspec.DecodeError, KeyError, TypeError):
                continue
    return list(found.values())


def latest_steps(records: Iterable[tuple[int, bytes]], limit: int) -> list[FindingRow]:
    """One row per finding from (seq, body), newest first in and out; a body that is no such message is left out."""
    rows: dict[str, FindingRow] = {}
    for seq, body in records:
        row = _row(seq, body)
        if row is None:
            continue
        latest = rows.get(row.finding)
        if latest is None:
            if len(rows) == limit:
                break
            rows[row.finding] = row
        else:
            rows[row.finding] = latest._replace(first_time=row.time)
    return list(rows.values())


def _row(seq: int, body: bytes) -> FindingRow | None:
    try:
        message: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
        # event id: <finding>/<step>/<n>; source: /<utility>/<gateway>[/<point>]
        finding, step, n = str(message["id"]).rsplit("/", 2)
        source = str(message["source"]).split("/", 3)
        return FindingRow(
            finding=finding,
            step=step,
            n=int(n),
            severity=str(message.get("severity", "")),
            point=source[3] if len(source) > 3 else "",
            topic=str(message.get("subject", "")),
            time=str(message.get("time") or ""),
            first_time=str(message.get("time") or ""),
            seq=seq,
            data=message.get("data") or {},
        )
    except (msgspec.DecodeError, KeyError, ValueError):
        return None
