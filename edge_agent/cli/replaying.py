"""`replay`: a file, a point and a calendar, with progress on a terminal and quiet in a pipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
from msgspec.structs import replace
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from edge_agent.archive import Archive
from edge_agent.assembly import releases_of, shelf_of
from edge_agent.audit.release import ReleaseError
from edge_agent.audit.topic import Release
from edge_agent.contract.shapes import rfc3339
from edge_agent.model import DeviceSpec, PointId
from edge_agent.replay import PointReport, ReplayError, Rows, read_rows, replay
from edge_agent.settings import Site, config_files, device_specs, terms_of
from edge_agent.words import say

CURES = dict.fromkeys(
    ("capacity_unknown", "ratio_unknown"), " (if the archive's first entry held then too, give it an earlier `from`)"
)


class Recorded(NamedTuple):
    """A file of load data, and the point whose data they are."""

    rows: Rows
    archive: Archive
    point: PointId
    device: DeviceSpec


def recorded(file: Path, site: Site, *, point: str | None, tz: str | None, stamp: str) -> Recorded:
    """Raises `ClickException` with what is wrong and what would be right; `ReplayError` where it is in the file."""
    if not site.point:
        raise click.ClickException("the site file has no [[point]]")
    if point is None and len(site.point) > 1:
        raise click.ClickException(f"say which point with --point: {_names(site)}")
    name = point or site.point[0].id
    zone = _zone(tz)
    if tz is not None:
        site = replace(site, point=tuple(replace(p, time_zone=tz) for p in site.point))
    table = next((p for p in site.point if p.id == name), None)
    if table is None:
        raise click.ClickException(f"no point {name!r} in the site file; there are {_names(site)}")
    device = next((d for d in device_specs(site) if d.id == table.meter), None)
    if device is None:
        raise click.ClickException(
            f"point {name!r} has no meter in the site file: its profile says what registers mean"
        )
    return Recorded(
        read_rows(file, tz=zone, stamp=stamp), Archive.of(site, terms_of(site, config_files())), name, device
    )


def replay_file(file: Path, site: Site, *, point: str | None, tz: str | None, stamp: str) -> PointReport:
    """The report on one point. Raises `ClickException` with what is wrong and what would be right."""
    try:
        data = recorded(file, site, point=point, tz=tz, stamp=stamp)
        releases = releases_of(config_files(), site.site.release_set, shelf_of(site, config_files()).rulings())
        return replayed(data, {file.name: releases}, site.site.gateway)[0]
    except (ReplayError, ReleaseError) as wrong:
        raise click.ClickException(str(wrong)) from None


def replayed(data: Recorded, runs: Mapping[str, Mapping[str, Release]], gateway: str) -> list[PointReport]:
    """One report for each set of releases, with progress on a terminal under each one's name. Raises `ReplayError`."""
    reports = []
    with Progress(console=Console(stderr=True), transient=True, disable=not Console(stderr=True).is_terminal) as bar:
        for name, releases in runs.items():
            task = bar.add_task(f"replaying {name}", total=len(data.rows))

            def shown(done: int, task: TaskID = task) -> None:
                bar.update(task, completed=done)

            reports.append(
                replay(data.rows, data.archive, data.point, data.device, releases, gateway=gateway, progress=shown)
            )
    return reports


def show_report(report: PointReport) -> None:
    plain = report.plain()
    click.echo(f"point {report.point}")
    for name, unit in (
        ("intervals", f"of {plain['step_min']:g} min; judged on {plain['period_min']:g} min"),
        ("over_contract", "intervals over the running capacity"),
        ("days_over", "days with one"),
        ("longest_run", "intervals in a row"),
        ("max_kva", "kVA"),
        ("max_kw", "kW"),
        ("coverage", "of the time is vouched for by readings"),
    ):
        value, unit = ("unknown", "") if plain[name] is None else (plain[name], unit)
        click.echo(f"  {name:<14} {value:>10} {unit}".rstrip())
    for reason, count in plain["unknown"].items():
        click.echo(f"  {count} interval(s) cannot be judged: {say(f'verdict.{reason}')}{CURES.get(reason, '')}")
    table = Table("finding", "severity", "opened", "cleared", "intervals", "days", "episodes", "route")
    for f in plain["findings"]:
        cleared = rfc3339(f["cleared_ms"]) if f["cleared_ms"] is not None else "-"
        counts = (str(f[n]) for n in ("intervals", "days", "episodes"))
        severity = f["severity"] + (" (trial)" if f["trial"] else "")
        table.add_row(f["finding"], severity, rfc3339(f["opened_ms"]), cleared, *counts, f["route"])
    console = Console(width=None if Console().is_terminal else 200)
    console.print(table if plain["findings"] else "no findings")


def _names(site: Site) -> str:
    return ", ".join(p.id for p in site.point)


def _zone(tz: str | None) -> ZoneInfo | None:
    try:
        return None if tz is None else ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError):
        raise click.ClickException(f"--tz {tz!r} is no time zone; for example Europe/Berlin or Asia/Shanghai") from None
