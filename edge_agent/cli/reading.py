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
from edge_agent.fieldbus import Stamp, open_line
from edge_agent.holding import AskedStamp, HeldLinks, LinkHeld
from edge_agent.listing import plain_outcome
from edge_agent.load.points import Timeline
from edge_agent.model import DeviceSpec, Gap, GapCause, LinkSpec, Outcome
from edge_agent.ports import Clock, DriverError, LinkDown, NoReply
from edge_agent.settings import Site, device_specs, link_specs
from edge_agent.words import say


def read_rows(site: Site, device: str) -> list[dict[str, Any]]:
    """Open the link, ask everything once, close. Raises `ClickException` naming device, link and cure."""
    spec = next((d for d in device_specs(site) if d.id == device), None)
    if spec is None:
        raise click.ClickException(f"no device {device!r}; there are {', '.join(d.id for d in site.device) or 'none'}")
    link = next(x for x in link_specs(site) if x.id == spec.link)
    archive = Archive.of(site)
    point = next((p.id for p in archive.points.values() if p.meter == device), None)
    k: Timeline = () if point is None else archive.k_timeline(point)
    clock = SystemClock()
    try:
        with _held(Path(site.paths.runtime), link.id):
            stamp = AskedStamp(Path(site.paths.runtime), link.id, clock.now_ms)
            outcomes = asyncio.run(_ask(link, spec, clock, stamp))
    except LinkHeld as held:
        raise click.ClickException(f"{held}; wait for it, or stop it: no two masters share a meter's line") from None
    except DriverError as error:
        meter = f"address {spec.address}" if spec.address else f"unit {spec.unit}"
        where = f"device {device} ({meter}) on link {link.id} ({link.path or f'{link.host}:{link.port}'})"
        raise click.ClickException(f"{where}: {error}. {say(f'read.{error.cause.value}')}") from None
    now_ms = clock.state().utc_ms(clock.now_ms()) or 0
    return [plain_outcome(o, spec.profile, k, now_ms) for o in outcomes]


async def _ask(link: LinkSpec, device: DeviceSpec, clock: Clock, stamp: Stamp) -> list[Outcome]:
    """Everything once. A question that fails is a gap, unless the device answers none: then its `DriverError`."""
    line = open_line(link, [device], clock, stamp=stamp)
    found: list[Outcome] = []
    failed: DriverError | None = None
    try:
        if listens_s := line.listens_s:
            click.echo(f"listening to the line for {listens_s:.0f} s before the first question", err=True)
            if objection := await line.listen(lambda left_s: None):
                raise click.ClickException(objection)
        for request in line.requests:
            try:
                found += await line.read(request)
            except LinkDown:
                raise
            except DriverError as error:
                failed = error
                found += [Gap(device.id, q, error.cause, clock.now_ms(), str(error)) for q in request.quantities]
                if isinstance(error, NoReply):
                    break  # a silent device is not asked again and again while a person waits
    finally:
        await line.close()
    if failed is not None and all(isinstance(o, Gap) for o in found):
        raise failed
    return found


def _held(runtime: Path, link: str) -> AbstractContextManager[object]:
    """The link for this process alone, where the runtime folder can be used."""
    try:
        return HeldLinks(runtime, [link])
    except OSError as cause:
        click.echo(f"the link is not locked against others: {runtime}: {cause.strerror}", err=True)
        return nullcontext()


def show_rows(device: str, rows: Sequence[Mapping[str, Any]]) -> None:
    table = Table("register", "quantity", "raw", "secondary", "primary", "unit", "frame", title=device)
    for row in rows:
        if "gap" in row:
            value = f"— {row['gap']}: {row['detail']}"
        else:
            value = row["text"] if "text" in row else f"{row['value']:.10g}"
        ratio = f" (K = {row['k']:g})" if "k" in row else ""
        primary = f"{row['primary']:.10g}{ratio}" if "primary" in row else ""
        if row.get("side") == "primary" and "primary" in row:
            value = ""  # the meter applies its own ratio
        table.add_row(
            row["register"], row["quantity"], row.get("raw", ""), value, primary, row["unit"], row.get("frame", "")
        )
    console = Console(width=None if Console().is_terminal else 220)
    console.print(table)
    if any(row.get("gap") == GapCause.IMPLAUSIBLE for row in rows):
        console.print(say("read.implausible"))
