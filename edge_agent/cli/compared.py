"""Two runs over the same data side by side, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.console import Console
from rich.table import Table

from edge_agent.contract.shapes import rfc3339
from edge_agent.model import Ms
from edge_agent.replay.compare import Comparison
from edge_agent.words import say


def show_comparison(comparison: Comparison) -> None:
    """What differs, one line each; what is the same is counted."""
    if not comparison.differs:
        click.echo(say("releases.no_difference", same=len(comparison.same)))
        return
    table = Table("finding", "what", "severity", "opened", "cleared")
    for row in sorted(_rows(comparison), key=lambda row: (row[0], row[1])):
        table.add_row(*row)
    Console(width=None if Console().is_terminal else 200).print(table)
    click.echo(f"{len(comparison.same)} finding(s) are the same")


def _rows(comparison: Comparison) -> Iterator[tuple[str, str, str, str, str]]:
    for what, many in (("new", comparison.new), ("gone", comparison.gone)):
        for one in many:
            yield one.finding, what, one.severity, rfc3339(one.opened_ms), _end(one.cleared_ms)
    for what, pairs in (("moved", comparison.moved), ("regraded", comparison.regraded)):
        for before, after in pairs:
            yield (
                after.finding, what, _arrow(before.severity, after.severity),
                _arrow(rfc3339(before.opened_ms), rfc3339(after.opened_ms)),
                _arrow(_end(before.cleared_ms), _end(after.cleared_ms)),
            )  # fmt: skip


def _arrow(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"


def _end(cleared_ms: Ms | None) -> str:
    return "-" if cleared_ms is None else rfc3339(cleared_ms)
