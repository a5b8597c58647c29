"""`case` and `cases`: what is open at a point, read together; from the running agent, or as it was told last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from edge_agent.cli.listing import reader_of
from edge_agent.control import ControlError, NoAgent, ask
from edge_agent.explain_case import explain_case
from edge_agent.settings import Site
from edge_agent.words import say


def case_rows(site: Site) -> list[dict[str, Any]]:
    """The case of every point with something open, gravest first. Raises `ClickException`."""
    try:
        rows = list(ask(Path(site.paths.runtime), "cases"))
    except NoAgent:
        with reader_of(site) as reader:
            rows = reader.cases()
    except ControlError as reason:
        raise click.ClickException(str(reason)) from None
    return sorted((r for r in rows if r["causes"]), key=lambda r: (-r["causes"][0]["score"], r["point"]))


def case_row(site: Site, point: str) -> dict[str, Any]:
    """One point's case; without a cause where nothing is open. Raises `ClickException`."""
    known = [p.id for p in site.point]
    if point not in known:
        raise click.ClickException(f"no point {point!r} in the site file; there are {', '.join(known) or 'none'}")
    found = next((r for r in case_rows(site) if r["point"] == point), None)
    return found or {"point": point, "state": "over", "causes": [], "findings": []}


def show_case(row: Mapping[str, Any], lang: str) -> None:
    click.echo("\n".join(explain_case(row, lang)))


def show_cases(rows: Sequence[Mapping[str, Any]], lang: str) -> None:
    if not rows:
        click.echo("nothing is open")
        return
    table = Table("point", "likeliest cause", "score", "findings", "route", "due", "next")
    for row in rows:
        first = row["causes"][0]
        cause = say(f"case.cause.{first['cause']}", lang)
        marks = " (trial)" if row["trial"] else ""
        route, step = say(f"finding.route.{first['route']}", lang), say(f"case.next.{first['cause']}", lang)
        count, due = str(len(row["findings"])), first.get("due", "")
        table.add_row(row["point"] + marks, cause, f"{first['score']:g}", count, route, due, step)
    Console(width=None if Console().is_terminal else 240).print(table)
