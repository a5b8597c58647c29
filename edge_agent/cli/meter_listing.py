"""`scan --dlms`: who is called, and what the meters list, for a terminal, as a document, and as device profiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.table import Table

from edge_agent.cli.found import Visit
from edge_agent.cli.surveying import Asked, Showing, on_link, with_given
from edge_agent.model import DeviceSpec, LinkSpec, Reading
from edge_agent.settings import Site, device_specs, link_specs
from edge_agent.sighting import DlmsCalls, Inventory, Sighting
from edge_agent.survey import list_device
from edge_agent.survey.meter_profile import (
    can_be_profile,
    class_name,
    others,
    place_of,
    profile,
    profile_name,
    value_of,
)
from edge_agent.survey.scan import refused, who
from edge_agent.words import say


class DlmsAsked(NamedTuple):
    """What of DLMS a person asks for."""

    dlms: bool = False
    device: str | None = None
    client: int | None = None
    servers: str | None = None
    physicals: str | None = None
    profile: Path | None = None

    def checked(self, asked: Asked) -> None:
        """Raises `ClickException` for what does not go together."""
        alone = {"--device": self.device, "--client": self.client, "--server": self.servers,
                 "--physical": self.physicals, "-o": self.profile}  # fmt: skip
        given = [name for name, value in alone.items() if value is not None]
        if given and not self.dlms:
            raise click.ClickException(f"{given[0]} goes with --dlms")
        if self.device is not None:
            if len(given) > 1 and given[1] != "-o":
                raise click.ClickException(f"--device is asked as the site file says: leave out {given[1]}")
            if asked.serial or asked.tcp or asked.tcp_serial:
                raise click.ClickException("--device is on the link that the site file says: leave out the place")
        if self.profile is not None:
            try:
                profile_name(self.profile)
            except ValueError as error:
                raise click.ClickException(f"-o: {error}") from None

    def calls(self) -> DlmsCalls:
        """Raises `ClickException`."""
        return DlmsCalls(
            self.client or DlmsCalls().client,
            tuple(_numbers(self.servers, "--server", 65_535)),
            tuple(_numbers(self.physicals, "--physical", 16_381)),
        )


def list_known(
    asked: Asked, dlms: DlmsAsked, site_path: Path, site_or_exit: Callable[[Path], Site], *, quiet: bool
) -> Visit:
    """What a device of the site lists, in its own association. Raises `ClickException`."""
    site = site_or_exit(site_path)
    device = next((d for d in device_specs(site) if d.id == dlms.device), None)
    if device is None:
        known = ", ".join(d.id for d in site.device) or "none"
        raise click.ClickException(f"no device {dlms.device!r}; there are {known}")
    spec = _link_of(site, device, asked)
    with Showing(quiet=quiet) as showing:
        report = on_link(spec, Path(site.paths.runtime), lambda place: list_device(place, device, showing))
    return Visit(spec, True, report, [], device=device.id)


def _link_of(site: Site, device: DeviceSpec, asked: Asked) -> LinkSpec:
    if device.profile.driver != "dlms":
        raise click.ClickException(f"device {device.id} is no DLMS/COSEM meter: its profile is {device.profile.name}")
    if asked.link and asked.link != device.link:
        raise click.ClickException(f"device {device.id} is on link {device.link}, not on {asked.link}")
    return with_given(next(s for s in link_specs(site) if s.id == device.link), asked)


def _numbers(written: str | None, option: str, most: int) -> list[int]:
    found: list[int] = []
    for part in filter(None, (p.strip() for p in (written or "").split(","))):
        low, dash, high = part.partition("-")
        if not all(p.isdecimal() and int(p) <= most for p in ((low, high) if dash else (low,))):
            raise click.ClickException(f"{option}: {part!r} is not 0 to {most}, such as 1,16 or 17-32")
        found += range(int(low), int(high if dash else low) + 1)
    if len(found) > 256:
        raise click.ClickException(f"{option}: {len(found)} addresses; at most 256 are called at once")
    return list(dict.fromkeys(found))


def show_meters(visit: Visit) -> None:
    """One table for each meter, and what could not be read of its list."""
    for sighting, inventory in visit.meters:
        click.echo()
        if inventory.refusal is not None and inventory.refusal is not sighting.refusal:
            click.echo(refused(sighting._replace(refusal=inventory.refusal)))
        if not inventory.objects:
            continue
        table = Table("object", "class", "is", "reads", title=f"{who(sighting)}, as client {inventory.spec.client}")
        class_of = {o.name: o.class_id for o in inventory.objects}
        for register, outcome in inventory.matched:
            place = place_of(register.address)
            table.add_row(place, class_name(class_of[place]), register.quantity, value_of(outcome))
        for place, what in inventory.near:
            table.add_row(place, class_name(class_of[place]), f"({what})", "")
        for kind, records in (("load profile", inventory.load_profiles), ("event log", inventory.event_logs)):
            for record in records:
                every = f"every {record.every_s} s" if record.every_s else ""
                table.add_row(record.name, class_name(7), kind, record.flaw or every)
        for listed in others(inventory):
            table.add_row(listed.name, class_name(listed.class_id), "", "")
        Console(width=None if Console().is_terminal else 160).print(table)
        if not can_be_profile(inventory):
            click.echo(say("survey.profile.public", who=who(sighting), client=inventory.spec.client))


def plain_meters(visit: Visit) -> list[dict[str, Any]]:
    return [_plain(sighting, inventory) for sighting, inventory in visit.meters]


def _plain(sighting: Sighting, inventory: Inventory) -> dict[str, Any]:
    refusal = inventory.refusal
    return {
        "address": sighting.address,
        "client": inventory.spec.client,
        "says": dict(sighting.texts),
        "refusal": None if refusal is None else refused(sighting._replace(refusal=refusal)),
        "objects": [
            {"class": o.class_id, "version": o.version, "name": o.name, "readable": sorted(o.readable)}
            for o in inventory.objects
        ],
        "quantities": [
            {
                "quantity": register.quantity,
                "address": register.address,
                **({"value": outcome.value} if isinstance(outcome, Reading) else {"says": value_of(outcome)}),
            }
            for register, outcome in inventory.matched
        ],
        "near": dict(inventory.near),
        "load_profiles": [r._asdict() for r in inventory.load_profiles],
        "event_logs": [r._asdict() for r in inventory.event_logs],
    }


def write_profiles(visit: Visit, path: Path) -> bool:
    """A profile for each meter that was found, the second one under a name of its own; whether there was any.

    Raises `ClickException`.
    """
    written = 0
    for sighting, inventory in visit.meters:
        if not can_be_profile(inventory):
            code = "survey.profile.public" if inventory.objects else "survey.profile.no_list"
            click.echo(say(code, who=who(sighting), client=inventory.spec.client), err=True)
            continue
        own = path if not written else path.with_name(f"{path.stem[:29]}-{written + 1}.toml")
        try:
            text = profile(profile_name(own), sighting, inventory, visit.spec, visit.device)
            own.write_text(text, encoding="utf-8")
        except ValueError as error:
            click.echo(f"{own}: {error}", err=True)
            continue
        except OSError as cause:
            raise click.ClickException(f"{cause.filename}: {cause.strerror}") from None
        written += 1
        click.echo(f"wrote {own}", err=True)
    return written > 0
