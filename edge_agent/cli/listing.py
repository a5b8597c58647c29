"""`findings`, `explain`, `status`: from the running agent, or from the store as it lies on the disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from edge_agent.control import ControlError, NoAgent, ask
from edge_agent.explain import explain
from edge_agent.listing import plain_row, sentence, steps_of
from edge_agent.settings import Site
from edge_agent.store import Store, StoreError, StoreReader


def finding_rows(site: Site) -> list[dict[str, Any]]:
    """The latest step of each, newest first. Raises `ClickException`."""
    try:
        return list(ask(Path(site.paths.runtime), "findings"))
    except NoAgent:
        with _reader(site) as reader:
            return [plain_row(row) for row in reader.findings()]
    except ControlError as reason:
        raise click.ClickException(str(reason)) from None


def explained(site: Site, finding: str) -> list[str]:
    """The finding in plain words. Raises `ClickException` when there is no such finding."""
    try:
        return list(ask(Path(site.paths.runtime), "explain", finding=finding))
    except NoAgent:
        with _reader(site) as reader:
            steps = steps_of(reader.steps(finding))
    except ControlError as reason:
        raise click.ClickException(str(reason)) from None
    if not steps:
        raise click.ClickException(f"no finding {finding!r} in this store; `edge-agent findings` lists them")
    return explain(steps)


def show_findings(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        click.echo("no findings")
        return
    table = Table("finding", "step", "severity", "active", "opened", "last", "route", "due")
    for r in rows:
        marks = " (trial)" if r["trial"] else ""
        table.add_row(
            r["finding"], r["step"], r["severity"] + marks, "yes" if r["active"] else "no",
            r["opened"], r["time"], r["route"], r["due"],
        )  # fmt: skip
    Console(width=None if Console().is_terminal else 200).print(table)


def show_status(state: Mapping[str, Any]) -> None:
    click.echo(f"gateway {state['gateway']}  agent {state['agent']}  clock {state['clock']['quality']}")
    store, uplink = state["store"], state["uplink"]
    click.echo(
        f"store: {store['depth']} message(s) not acknowledged, last number {store['last']}, "
        f"{store['disk_free_mib']} MiB free;  broker: {uplink['state']}"
    )
    for link in state["links"]:
        click.echo(f"link {link['id']}: {'up' if link['up'] else 'down: ' + link['detail']}")
    for device in state["devices"]:
        said = f"does not answer ({device['cause']}: {device['detail']})" if device["failures"] else "answers"
        pause = f", next try in {device['next_try_s']:.0f} s" if device.get("next_try_s") is not None else ""
        click.echo(f"device {device['id']} on {device['link']}: {said}{pause}")
    for point in state["points"]:
        trial = "on trial" if point["trial"] else "accepted"
        load = f"load rate {100 * point['load_rate']:.1f} %" if point["load_rate"] is not None else "load rate unknown"
        click.echo(f"point {point['id']}: {trial}, {load}")
        for topic in point["topics"]:
            click.echo(f"  {topic['topic']}: {topic['said']}")
        for finding in point["open"]:
            click.echo(f"  open: {finding['finding']} ({finding['severity']})")


@contextmanager
def _reader(site: Site) -> Iterator[StoreReader]:
    try:
        with Store.read_only(Path(site.paths.state) / "findings.db") as reader:
            yield reader
    except StoreError as error:
        raise click.ClickException(sentence(error)) from None
