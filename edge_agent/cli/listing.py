"""`findings`, `explain`, `status`: from the running agent, or from the store as it lies on the disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO
from zoneinfo import ZoneInfo

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
        with reader_of(site) as reader:
            return [plain_row(row) for row in reader.findings()]
    except ControlError as reason:
        raise click.ClickException(str(reason)) from None


def explained(site: Site, finding: str, lang: str = "en") -> list[str]:
    """The finding in plain words. Raises `ClickException` when there is no such finding."""
    try:
        return list(ask(Path(site.paths.runtime), "explain", finding=finding, lang=lang))
    except NoAgent:
        with reader_of(site) as reader:
            steps = steps_of(reader.steps(finding))
    except ControlError as reason:
        raise click.ClickException(str(reason)) from None
    if not steps:
        raise click.ClickException(f"no finding {finding!r} in this store; `edge-agent findings` lists them")
    zone = next((ZoneInfo(p.time_zone) for p in site.point if p.id == steps[-1].get("point")), None)
    return explain(steps, lang, zone)


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


SHOWN_UNKNOWN = 3


def show_status(state: Mapping[str, Any]) -> None:
    click.echo(f"gateway {state['gateway']}  agent {state['agent']}  clock {state['clock']['quality']}")
    store, uplink = state["store"], state["uplink"]
    click.echo(
        f"store: {store['depth']} message(s) not acknowledged, last number {store['last']}, "
        f"{store['disk_free_mib']} MiB free;  broker: {uplink['state']}"
    )
    show_field(state)
    for point in state["points"]:
        trial = "on trial" if point["trial"] else "accepted"
        load = f"load rate {100 * point['load_rate']:.1f} %" if point["load_rate"] is not None else "load rate unknown"
        click.echo(f"point {point['id']}: {trial}, {load}{_figures(point)}")
        for topic in point["topics"]:
            click.echo(f"  {topic['topic']}: {topic['said']}")
        for unknown in point["unknown"][-SHOWN_UNKNOWN:]:
            click.echo(f"  not known: {unknown['from']} to {unknown['to']}: {unknown['said']}")
        for finding in point["open"]:
            click.echo(f"  open: {finding['finding']} ({finding['severity']})")


def _figures(point: Mapping[str, Any]) -> str:
    """The rest of the picture, as far as it is known."""
    said = ""
    for name, unit in (("demand_w", "kW"), ("demand_va", "kVA")):
        if point[name] is not None:
            said += f", {point[name][1] / 1000:.1f} {unit}"
    if point["power_factor"] is not None:
        said += f", power factor {point['power_factor']:.2f}"
    if point["completeness"] is not None:
        said += f", {100 * point['completeness']:.0f} % of today is vouched for"
    return said


def show_field(state: Mapping[str, Any], out: TextIO | None = None, *, width: int | None = None) -> None:
    """Links and devices: how they are, since when, and what happens next."""
    console = Console(file=out, width=width)
    if width is None and not console.is_terminal:
        console = Console(file=out, width=220)
    console.print(_links(state["links"]))
    console.print(_devices(state["devices"]))


def _links(links: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("link", "where", "since", "last frame", "next try", "state")
    for link in links:
        said = link["said"] + (f": {link['advice']}" if link["advice"] and link["advice"] not in link["said"] else "")
        table.add_row(
            link["id"], link["where"], span(link["since_s"]), ago(link["last_frame_s"]), ahead(link["next_try_s"]), said
        )
    return table


def _devices(devices: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("device", "link", "latency", "asked", "answered", "left alone", "fails", "next try", "state")
    for device in devices:
        latency, pause = device["latency_ms"], device["pause"]
        table.add_row(
            device["id"], device["link"],
            "" if latency is None else f"{latency['last']:.0f} ms, to {max(latency['longest'], latency['late']):.0f}",
            ago(device["asked_s"]), ago(device["answered_s"]),
            "" if pause is None else f"for {span(pause['since_s'])}", "" if pause is None else str(pause["failures"]),
            ahead(device["next_try_s"]), device["said"],
        )  # fmt: skip
    return table


def span(seconds: float) -> str:
    """A time that has passed, as people say it: "8 s", "12 min", "3 h 5 min", "2 d 4 h"."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def ago(seconds: float | None) -> str:
    return "never" if seconds is None else f"{span(seconds)} ago"


def ahead(seconds: float | None) -> str:
    return "" if seconds is None else f"in {span(seconds)}"


@contextmanager
def reader_of(site: Site) -> Iterator[StoreReader]:
    """The store as it lies on the disk. Raises `ClickException`."""
    try:
        with Store.read_only(Path(site.paths.state) / "findings.db") as reader:
            yield reader
    except StoreError as error:
        raise click.ClickException(sentence(error)) from None
