"""`read`: what a device shows, register by register; without an agent the port is opened for this one device."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from edge_agent.archive import Archive
from edge_agent.cli.port import cure, held
from edge_agent.clock import SystemClock
from edge_agent.fieldbus import FieldLine, open_line
from edge_agent.holding import AskedStamp
from edge_agent.listing import plain_outcome
from edge_agent.load.points import Timeline
from edge_agent.model import DeviceSpec, Gap, GapCause, LinkSpec, Outcome
from edge_agent.ports import DriverError, LinkDown, NoReply
from edge_agent.settings import Site, device_specs, link_specs
from edge_agent.words import say


class OwnPort:
    """One device of the site, asked by this process over its own link: for want of an agent that has it.

    Raises `ClickException` for a device that there is not, and for a line that is another master's.
    """

    def __init__(self, site: Site, device: str) -> None:
        self.spec: DeviceSpec = device_of(site, device)
        self.link: LinkSpec = next(x for x in link_specs(site) if x.id == self.spec.link)
        self._runtime = Path(site.paths.runtime)
        archive = Archive.of(site)
        point = next((p.id for p in archive.points.values() if p.meter == device), None)
        self._k: Timeline = () if point is None else archive.k_timeline(point)
        self._clock = SystemClock()
        self._line: FieldLine | None = None
        self._listened = False

    def held(self) -> AbstractContextManager[None]:
        """The link for this process alone, where the runtime folder can be used."""
        return held(self._runtime, self.link.id)

    async def read(self, listening: Callable[[float], None] = lambda left_s: None) -> list[dict[str, Any]]:
        """Everything once, after the line has been listened to. `listening` hears how many seconds that takes yet.

        A question that fails is a gap, unless the device answers none: then its `DriverError`.
        """
        if self._line is None:
            stamp = AskedStamp(self._runtime, self.link.id, self._clock.now_ms)
            self._line = open_line(self.link, [self.spec], self._clock, stamp=stamp)
        line = self._line
        try:
            if not self._listened and line.listens_s:
                click.echo(f"listening to the line for {line.listens_s:.0f} s before the first question", err=True)
                refuse(await line.listen(listening))
            self._listened = True
            refuse(line.foreign())
            found = await self._ask(line)
        except LinkDown:
            self._listened = False  # it may come back on another line
            raise
        now_ms = self._clock.state().utc_ms(self._clock.now_ms()) or 0
        return [plain_outcome(o, self.spec.profile, self._k, now_ms) for o in found]

    async def _ask(self, line: FieldLine) -> list[Outcome]:
        found: list[Outcome] = []
        failed: DriverError | None = None
        for request in line.requests:
            if isinstance(failed, NoReply):
                break  # a silent device is not asked again and again while a person waits
            try:
                found += await line.read(request)
            except LinkDown:
                raise
            except DriverError as error:
                failed = error
                now_ms = self._clock.now_ms()
                found += [Gap(self.spec.id, q, error.cause, now_ms, str(error)) for q in request.quantities]
        if failed is not None and all(isinstance(o, Gap) for o in found):
            raise failed
        return found

    async def close(self) -> None:
        if self._line is not None:
            await self._line.close()
            self._line = None

    def sentence(self, error: DriverError) -> str:
        """The same with device and link."""
        meter = f"address {self.spec.address}" if self.spec.address else f"unit {self.spec.unit}"
        if (dlms := self.spec.dlms) is not None:
            meter = f"client {dlms.client}, server {dlms.server}"
            meter += "" if dlms.physical is None else f", physical {dlms.physical}"
        at = self.link.path or f"{self.link.host}:{self.link.port}"
        where = f"device {self.spec.id} ({meter}) on link {self.link.id} ({at})"
        return f"{where}: {cure(self.link, error)}"


def device_of(site: Site, device: str) -> DeviceSpec:
    """Raises `ClickException` naming the devices that there are."""
    spec = next((d for d in device_specs(site) if d.id == device), None)
    if spec is None:
        raise click.ClickException(f"no device {device!r}; there are {', '.join(d.id for d in site.device) or 'none'}")
    return spec


def refuse(objection: str) -> None:
    """Nothing is asked on a line that is another master's."""
    if objection:
        raise click.ClickException(objection)


def read_rows(site: Site, device: str) -> list[dict[str, Any]]:
    """Open the link, ask everything once, close. Raises `ClickException` naming device, link and cure."""
    port = OwnPort(site, device)

    async def once() -> list[dict[str, Any]]:
        try:
            return await port.read()
        finally:
            await port.close()

    with port.held():
        try:
            return asyncio.run(once())
        except DriverError as error:
            raise click.ClickException(port.sentence(error)) from None


def show_rows(device: str, rows: Sequence[Mapping[str, Any]]) -> None:
    Console(width=None if Console().is_terminal else 220).print(table_of(device, rows))


def table_of(device: str, rows: Sequence[Mapping[str, Any]], *, frames: bool = True) -> Table:
    """One line for each register; without the frames it fits a terminal."""
    table = Table("register", "quantity", "raw", "secondary", "primary", "unit", title=device)
    if frames:
        table.add_column("frame")
    for row in rows:
        if "gap" in row:
            value = f"— {row['gap']}: {row['detail']}"
        else:
            value = row["text"] if "text" in row else f"{row['value']:.10g}"
        ratio = f" (K = {row['k']:g})" if "k" in row else ""
        primary = f"{row['primary']:.10g}{ratio}" if "primary" in row else ""
        if row.get("side") == "primary" and "primary" in row:
            value = ""  # the meter applies its own ratio
        cells = [row["register"], row["quantity"], row.get("raw", ""), value, primary, row["unit"]]
        table.add_row(*cells, *([row.get("frame", "")] if frames else []))
    if any(row.get("gap") == GapCause.IMPLAUSIBLE for row in rows):
        table.caption = say("read.implausible")
    return table
