"""`scan` and `probe`: which link is meant, whose it is now, and how it goes, with progress on a terminal alone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Container, Coroutine
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from edge_agent.cli.found import Visit
from edge_agent.cli.port import cure, held
from edge_agent.clock import SystemClock
from edge_agent.holding import AskedStamp
from edge_agent.model import LINES, LinkSpec, Profile
from edge_agent.ports import DriverError, NoReply
from edge_agent.settings import Profiles, Site, SiteError, config_files, link_specs, load_site
from edge_agent.settings.link_rules import PORTS
from edge_agent.sighting import DlmsCalls
from edge_agent.survey import Place, Wanted, probe_device, scan_and_probe
from edge_agent.survey.watch import Stopped
from edge_agent.words import say

T = TypeVar("T")

RUNTIME = Path("/run/edge-agent")
BAUDS = frozenset({300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200})


class Asked(NamedTuple):
    """Which link a person means: an id of the site file, or a place without an entry there."""

    link: str | None
    serial: str | None = None
    tcp: str | None = None
    tcp_serial: str | None = None
    settlement: bool = False
    shared_line: bool = False
    listen_s: float | None = None
    dlms: bool = False
    """A place on the network is one of DLMS meters in the TCP wrapper."""


def scan_link(
    asked: Asked,
    site_path: Path,
    site_or_exit: Callable[[Path], Site],
    *,
    bauds: str | None,
    parities: str | None,
    units: str,
    thorough: bool,
    within_s: float | None,
    probes: bool,
    quiet: bool,
    dlms: DlmsCalls | None = None,
) -> Visit:
    """The scan of a link; `dlms`: for DLMS meters too. Raises `ClickException` with what is wrong and what is right."""
    wanted = Wanted(
        _units(units),
        tuple(_number(b, BAUDS, "--baud", "a speed such as 9600") for b in _listed(bauds)),
        tuple(_parity(p) for p in _listed(parities)),
        thorough,
        within_s,
        {} if dlms is None else {"dlms": dlms},
    )
    spec, runtime, known = link_asked(asked, site_path, site_or_exit)
    if dlms is not None and spec.kind == "modbus-tcp":
        raise click.ClickException(f"link {spec.id} is one of Modbus TCP: DLMS meters on the network are on a dlms-tcp")
    if dlms is not None and spec.kind in LINES:
        check_calls(dlms)
    if spec.kind == "dlms-tcp":
        wanted = wanted._replace(units=(1,))  # nobody asks for units there
    profiles = shipped_profiles() if probes else []
    with Showing(quiet=quiet) as showing:
        report, probed = on_link(
            spec, runtime, lambda place: scan_and_probe(place, wanted, profiles, showing, probes=probes)
        )
    return Visit(spec, known, report, probed)


def check_calls(calls: DlmsCalls) -> None:
    """Addresses of HDLC are smaller than those of the wrapper. Raises `ClickException`."""
    if calls.client > 127:
        raise click.ClickException(f"--client: {calls.client} is no client of a line, whose clients are 1 to 127")
    most = 16_381 if calls.physicals else 125
    if any(server > most for server in calls.servers):
        without = "" if calls.physicals else " without --physical"
        raise click.ClickException(f"--server: {max(calls.servers)} is no server of a line{without}, up to {most}")


def probe_link(
    asked: Asked,
    site_path: Path,
    site_or_exit: Callable[[Path], Site],
    *,
    unit: int | None,
    address: str | None,
    baud: str | None,
    parity: str | None,
    seconds: float,
    quiet: bool,
) -> Visit:
    """The probe of one device. Raises `ClickException`."""
    if (unit is None) == (address is None):
        raise click.ClickException(
            "say one device: --unit 1 to 247 for Modbus, or --address with 12 digits for DL/T 645"
        )
    if address is not None and not re.fullmatch(r"[0-9]{12}", address):
        raise click.ClickException(f"--address: {address!r} is not the 12 digits of a meter's address")
    spec, runtime, known = link_asked(asked, site_path, site_or_exit)
    if baud:
        spec = replace(spec, baud=_number(baud, BAUDS, "--baud", "a speed such as 9600"))
    if parity:
        spec = replace(spec, parity=_parity(parity))
    if spec.kind == "dlms-tcp":
        raise click.ClickException(say("survey.unprobed.dlms"))
    driver, where = ("modbus", str(unit)) if unit is not None else ("dlt645", address or "")
    if driver == "dlt645" and spec.kind == "modbus-tcp":
        raise click.ClickException("DL/T 645 is spoken on serial lines, not over Modbus TCP")
    profiles = shipped_profiles()
    with Showing(quiet=quiet) as showing:
        try:
            probed = on_link(
                spec, runtime, lambda place: probe_device(place, driver, where, profiles, showing, seconds=seconds)
            )
        except Stopped as objection:
            raise click.ClickException(str(objection)) from None
    if probed is None:
        nobody = say("survey.nobody", who=f"unit {unit}" if unit is not None else f"meter {address}")
        raise click.ClickException(cure(spec, NoReply(nobody)))
    return Visit(spec, known, None, [probed])


def probe_everybody(
    asked: Asked,
    site_path: Path,
    site_or_exit: Callable[[Path], Site],
    *,
    baud: str | None,
    parity: str | None,
    seconds: float,
    quiet: bool,
) -> Visit:
    """Everybody at the link's own speed and parity. Raises `ClickException`."""
    spec, runtime, known = link_asked(asked, site_path, site_or_exit)
    wanted = Wanted(
        bauds=(_number(baud, BAUDS, "--baud", "a speed such as 9600") if baud else spec.baud,),
        parities=(_parity(parity) if parity else spec.parity,),
    )
    profiles = shipped_profiles()
    with Showing(quiet=quiet) as showing:
        report, probed = on_link(
            spec, runtime, lambda place: scan_and_probe(place, wanted, profiles, showing, seconds=seconds)
        )
    return Visit(spec, known, report, probed)


def shipped_profiles() -> list[Profile]:
    """All that can be read; one with mistakes is left out, and said."""
    profiles = Profiles(config_files())
    found = []
    for name in profiles.names:
        try:
            found.append(profiles.get(name))
        except SiteError as error:
            click.echo(f"profile {name} is left out: {error.mistakes[0].sentence()}", err=True)
    return found


def _listed(written: str | None) -> list[str]:
    return [part.strip() for part in (written or "").split(",") if part.strip()]


def _units(written: str) -> list[int]:
    found: list[int] = []
    for part in _listed(written):
        low, dash, high = part.partition("-")
        first = _number(low, range(1, 248), "--units", "1 to 247, such as 1-32,100")
        found += range(
            first, _number(high, range(1, 248), "--units", "1 to 247, such as 1-32,100") + 1 if dash else first + 1
        )
    if not found:
        raise click.ClickException("--units: no unit between 1 and 247")
    return list(dict.fromkeys(found))


def _number(written: str, known: Container[int], option: str, right: str) -> int:
    if not written.strip().isdecimal() or int(written) not in known:
        raise click.ClickException(f"{option}: {written!r} is not {right}")
    return int(written)


def _parity(written: str) -> str:
    if written.upper() not in {"N", "E", "O"}:
        raise click.ClickException(f"--parity: {written!r} is not N, E or O")
    return written.upper()


def link_asked(asked: Asked, site_path: Path, site_or_exit: Callable[[Path], Site]) -> tuple[LinkSpec, Path, bool]:
    """The link, the runtime folder, and whether the site file has the link: a place that it has is that link. Raises
    `ClickException`."""
    places = [p for p in (asked.link, asked.serial, asked.tcp, asked.tcp_serial) if p]
    if len(places) != 1:
        raise click.ClickException("say one link: its id in the site file, or --serial, --tcp or --tcp-serial")
    if asked.link:
        site = site_or_exit(site_path)
        spec = next((s for s in link_specs(site) if s.id == asked.link), None)
        if spec is None:
            raise click.ClickException(
                f"no link {asked.link!r}; there are {', '.join(k.id for k in site.link) or 'none'}"
            )
        return with_given(spec, asked), Path(site.paths.runtime), True
    runtime, known = _known(site_path)
    spec = _by_place(asked)
    same = next((k for k in known if _place(k) == _place(spec)), None)
    return with_given(same or spec, asked), runtime, same is not None


def _known(site_path: Path) -> tuple[Path, tuple[LinkSpec, ...]]:
    """What the site file says, where there is one that can be read: it is not needed here."""
    try:
        site = load_site(site_path)
    except SiteError:
        return RUNTIME, ()
    return Path(site.paths.runtime), link_specs(site)


def _by_place(asked: Asked) -> LinkSpec:
    if asked.serial:
        name = re.sub(r"[^a-z0-9]+", "-", Path(asked.serial).name.lower()).strip("-")[:32] or "serial"
        return LinkSpec(name, "serial", path=asked.serial)
    kind = "tcp-serial" if asked.tcp_serial else "dlms-tcp" if asked.dlms else "modbus-tcp"
    host, port = _endpoint(asked.tcp or asked.tcp_serial or "", PORTS.get(kind))
    name = re.sub(r"[^a-z0-9]+", "-", f"{host}-{port}".lower()).strip("-")[:32]
    return LinkSpec(name, kind, host, port)


def _endpoint(written: str, usual: int | None) -> tuple[str, int]:
    host, colon, port = written.rpartition(":")
    if not colon:
        host, port = written, "" if usual is None else str(usual)
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise click.ClickException(f"{written!r} is no HOST:PORT, such as 192.168.1.50:4001")
    return host, int(port)


def _place(spec: LinkSpec) -> tuple[object, ...]:
    return (str(Path(spec.path).resolve()),) if spec.kind == "serial" else (spec.host, spec.port)


def with_given(spec: LinkSpec, asked: Asked) -> LinkSpec:
    """The link with what the command line says of it."""
    given: dict[str, Any] = {
        "listen_s": asked.listen_s,
        "settlement": asked.settlement or None,
        "shared_line": asked.shared_line or None,
    }
    return replace(spec, **{key: value for key, value in given.items() if value is not None})


def on_link(spec: LinkSpec, runtime: Path, work: Callable[[Place], Coroutine[Any, Any, T]]) -> T:
    """Do it with the link for this process alone. Raises `ClickException` naming who has it, or what is wrong."""
    clock = SystemClock()
    try:
        with held(runtime, spec.id):
            place = Place(spec, clock, stamp=AskedStamp(runtime, spec.id, clock.now_ms))
            return asyncio.run(work(place))
    except DriverError as error:
        raise click.ClickException(f"link {spec.id}: {cure(spec, error)}") from None


class Showing:
    """A `Notice` on stderr: one moving line on a terminal, and only what is worth keeping in a pipe."""

    def __init__(self, *, quiet: bool) -> None:
        console = Console(stderr=True)
        self._moves = console.is_terminal
        self._quiet = quiet and not self._moves
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
            console=console, transient=True, disable=not self._moves,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def says(self, text: str) -> None:
        if self._moves:
            self._bar.console.print(text, highlight=False, markup=False)
        elif not self._quiet:
            click.echo(text, err=True)

    def listens(self, left_s: float) -> None:
        self._bar.update(self._task, description=f"listening, {left_s:.0f} s left")

    def asks(self, what: str, spent_s: float, worst_s: float) -> None:
        self._bar.update(self._task, description=what, completed=spent_s, total=worst_s)
