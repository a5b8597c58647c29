"""`read`: what a device shows, register by register; without an agent the port is opened for this one question."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from edge_agent.archive import Archive
from edge_agent.clock import SystemClock
from edge_agent.holding import HeldLinks, LinkHeld
from edge_agent.listing import plain_outcome
from edge_agent.load.points import Timeline
from edge_agent.model import Outcome
from edge_agent.ports import DriverError
from edge_agent.settings import Site, device_specs, link_specs


def read_rows(site: Site, device: str) -> list[dict[str, Any]]:
    """Open the link, ask everything once, close. Raises `ClickException` naming device, link and cure."""
    spec = next((d for d in device_specs(site) if d.id == device), None)
    if spec is None:
        raise click.ClickException(f"no device {device!r}; there are {', '.join(d.id for d in site.device) or 'none'}")
    link = next(x for x in link_specs(site) if x.id == spec.link)
    archive = Archive.of(site)
    point = next((p.id for p in archive.points.values() if device in (p.meter, p.ct)), None)
    k: Timeline = archive.k_timeline(point) if point is not None and spec.profile.side == "secondary" else ((0, 1.0),)
    clock = SystemClock()
    now_ms = clock.state().utc_ms(clock.now_ms()) or 0

    async def ask() -> list[Outcome]:
        from edge_agent.fieldbus import open_driver, requests_of

        driver = open_driver(link, clock)
        try:
            return [outcome for request in requests_of(spec) for outcome in await driver.read(request)]
        finally:
            await driver.close()

    try:
        with _held(Path(site.paths.runtime), link.id):
            outcomes = asyncio.run(ask())
    except LinkHeld as held:
        raise click.ClickException(f"{held}; wait for it, or stop it: no two masters share a meter's line") from None
    except DriverError as error:
        raise click.ClickException(
            f"device {device} (unit {spec.unit}) on link {link.id} ({link.host}:{link.port}): {error}"
        ) from None
    return [plain_outcome(o, spec.profile, k, now_ms) for o in outcomes]


def _held(runtime: Path, link: str) -> AbstractContextManager[object]:
    """The link for this process alone, where the runtime folder can be used."""
    try:
        return HeldLinks(runtime, [link])
    except OSError as cause:
        click.echo(f"the link is not locked against others: {runtime}: {cause.strerror}", err=True)
        return nullcontext()


def show_rows(device: str, rows: Sequence[Mapping[str, Any]]) -> None:
    table = Table("register", "quantity", "value", "unit", "primary", "frame", title=device)
    for row in rows:
        value = row.get("text") or (f"{row['value']:.10g}" if "value" in row else f"— {row['gap']}: {row['detail']}")
        primary = f"{row['primary']:.10g} (K = {row['k']:g})" if "primary" in row else ""
        table.add_row(row["register"], row["quantity"], value, row["unit"], primary, row.get("frame", ""))
    Console(width=None if Console().is_terminal else 220).print(table)
