"""`edge-agent`: one group, one verb each, every listing with `--json`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from edge_agent.control import ControlError, NoAgent, ask
from edge_agent.logs import logs_to_stderr
from edge_agent.settings import Site, SiteError, check, load_site

SITE = "/etc/edge-agent/edge-agent.toml"
OK, FAILED, USAGE = 0, 1, 2


def site_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--site",
        "site_path",
        default=SITE,
        show_default=True,
        type=click.Path(path_type=Path),
        help="the site file",
    )(command)


lang_option = click.option(
    "--lang", default="en", show_default=True, type=click.Choice(["en", "zh"]), help="the language of the sentences"
)
json_option = click.option("--json", "as_json", is_flag=True, help="one JSON document instead of text")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edge-agent")
def main() -> None:
    """Reads meters and current transformers, and says where load and contract, meter and archive do not agree.

    \b
    Example:  edge-agent check --site edge-agent.toml
    """
    logs_to_stderr()


@main.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@site_option
@json_option
def check_verb(file: Path | None, site_path: Path, as_json: bool) -> None:
    """Look for mistakes in a site file: all of them at once, with line, key and what would be right.

    \b
    Example:  edge-agent check config/examples/factory.toml
    """
    path = file or site_path
    mistakes = check(path)
    errors = [m for m in mistakes if m.severity == "error"]
    if as_json:
        emit(
            [
                {
                    "file": m.file,
                    "line": m.line,
                    "key": m.key_path,
                    "code": m.code,
                    "severity": m.severity,
                    "wrong": m.wrong,
                    "right": m.right,
                }
                for m in mistakes
            ]
        )
    else:
        for mistake in mistakes:
            click.echo(mistake.sentence(), err=mistake.severity == "error")
        if not errors:
            click.echo(f"{path}: no mistakes" + (f", {len(mistakes)} hint(s)" if mistakes else ""))
    sys.exit(FAILED if errors else OK)


@main.command()
@site_option
def run(site_path: Path) -> None:
    """Run the agent: poll, work out demand, audit, keep, deliver. Stops on SIGTERM or Ctrl-C.

    \b
    Example:  edge-agent run --site /etc/edge-agent/edge-agent.toml
    """
    from edge_agent.app import run_agent

    sys.exit(run_agent(site_path))


@main.command()
@site_option
@click.option("--gateway-baud", type=click.IntRange(min=300), help="TCP links lead to a serial line, 8N1")
@click.option("--turnaround-ms", type=click.FloatRange(0, 10_000), help="of the devices, where it has been measured")
@json_option
def plan(site_path: Path, gateway_baud: int | None, turnaround_ms: float | None, as_json: bool) -> None:
    """Say, before anything is wired, what is asked of each device, whether it fits the lines, and what it sends.

    Exit code 1: it does not fit, or for a device it cannot be said.

    \b
    Example:  edge-agent plan --site config/examples/factory.toml
    """
    from edge_agent.archive import Archive
    from edge_agent.cli.plan_shown import plain, show
    from edge_agent.cli.planning import behind_gateway, plan_link
    from edge_agent.cli.volume import month
    from edge_agent.settings import device_specs, link_specs

    site = site_or_exit(site_path)
    turnaround_s = None if turnaround_ms is None else turnaround_ms / 1000
    links = [behind_gateway(x, gateway_baud) if gateway_baud else x for x in link_specs(site)]
    devices = device_specs(site)
    try:
        plans = [plan_link(x, devices, turnaround_s) for x in links]
    except ValueError as reason:
        raise click.ClickException(str(reason)) from None
    volumes = month(site, Archive.of(site))
    if as_json:
        emit(plain(plans, volumes, turnaround_s))
    else:
        show(plans, volumes, turnaround_s)
    sys.exit(OK if all(p.fits and not p.unplanned for p in plans) else FAILED)


@main.command()
@click.argument("device")
@site_option
@click.option("--watch", "watch_s", is_flag=False, flag_value=5.0, type=click.FloatRange(min=0.2), metavar="[S]",
              help="again and again, every S seconds (5), until Ctrl-C; --json: one line for each round")  # fmt: skip
@json_option
def read(device: str, site_path: Path, watch_s: float | None, as_json: bool) -> None:
    """Read a device once: register, raw, secondary, primary, unit and frame of every quantity.

    \b
    Example:  edge-agent read m1 --site config/examples/factory.toml
              edge-agent read m1 --watch 2
    """
    from edge_agent.cli.reading import read_rows, show_rows

    site = site_or_exit(site_path)
    if watch_s is not None:
        from edge_agent.cli.watching import watch

        watch(site, device, watch_s, as_json=as_json)
        sys.exit(OK)
    try:
        rows = ask(Path(site.paths.runtime), "read", device=device)
    except NoAgent:
        rows = read_rows(site, device)
    except ControlError as reason:  # an agent that owns the port: it is not ours to take
        raise click.ClickException(str(reason)) from None
    if as_json:
        emit(rows)
    else:
        show_rows(device, rows)
    sys.exit(OK if any("value" in r or "text" in r for r in rows) else FAILED)


def link_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which link: its id in the site file, or a place that needs no entry there; and who else may be on it."""
    for option in reversed((
        click.argument("link", required=False),
        click.option("--serial", help="a serial port, such as /dev/ttyUSB0, instead of LINK"),
        click.option("--tcp", help="HOST:PORT of a device or gateway that speaks Modbus TCP"),
        click.option("--tcp-serial", help="HOST:PORT of a converter with a serial line behind it"),
        click.option("--settlement", is_flag=True, help="the line is a settlement meter's own port: listen for 16 min"),
        click.option("--shared-line", is_flag=True, help="sharing the line with another master has been agreed"),
        click.option("--listen", "listen_s", type=click.FloatRange(0, 7200),
                     help="seconds to listen first; fewer than usual only with --shared-line"),
    )):  # fmt: skip
        command = option(command)
    return command


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    folder = click.Path(file_okay=False, path_type=Path)
    command = click.option("--dump", type=folder, help="write each device's frames and values there, as a vector")(
        command
    )
    return click.option("--write", type=folder, help="write the tables for the site file there, not to the terminal")(
        command
    )


def dlms_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which DLMS meters, as whom, and where their profile goes."""
    for option in reversed((
        click.option("--dlms", is_flag=True, help="call DLMS/COSEM meters too; --tcp is then their TCP wrapper"),
        click.option("--device", help="a DLMS meter of the site file, in the association that it has there"),
        click.option("--client", type=click.IntRange(1, 65_535), help="DLMS client; 16, the public one, if not said"),
        click.option("--server", "servers", help="DLMS logical devices, such as 1,16; the usual ones if not said"),
        click.option("--physical", "physicals", help="HDLC physical addresses, such as 17-32,2836"),
        click.option("-o", "--profile", type=click.Path(dir_okay=False, path_type=Path),
                     help="write a device profile of what a DLMS meter lists: FILE.toml"),
    )):  # fmt: skip
        command = option(command)
    return command


@main.command()
@link_options
@site_option
@click.option("--baud", "bauds", help="only these speeds, such as 9600,2400")
@click.option("--parity", "parities", help="only these parities, such as N,E")
@click.option("--units", default="1-247", show_default=True, help="Modbus units, such as 1-32,100")
@click.option("--thorough", is_flag=True, help="also walk DL/T 645 addresses, and ask silent units in another way")
@click.option("--within", "within_s", type=click.FloatRange(1), help="seconds to look at most; listening comes on top")
@click.option("--probe", "probes", is_flag=True, help="then say which profile fits each device that was found")
@dlms_options
@output_options
@json_option
def scan(
    site_path: Path, bauds: str | None, parities: str | None, units: str, thorough: bool, within_s: float | None,
    probes: bool, write: Path | None, dump: Path | None, as_json: bool, **asked: Any,
) -> None:  # fmt: skip
    """Find out what hangs on a link: speed, parity, Modbus units, addresses of DL/T 645 and 698.45. It only reads.

    It listens first, as `run` does, and stops when somebody else is master on the line. LINK is a link of the site
    file; with --serial, --tcp or --tcp-serial there need be none.

    With --dlms it calls DLMS/COSEM meters as well, and reads what each lists to the client that asks.

    \b
    Example:  edge-agent scan --serial /dev/ttyUSB0 --units 1-32 --probe
              edge-agent scan --dlms --device m1 -o m1-profile.toml
    """
    from edge_agent.cli.found import Output, plain_visit, show_visit, write_out
    from edge_agent.cli.meter_listing import DlmsAsked, list_known, plain_meters, show_meters, write_profiles
    from edge_agent.cli.surveying import Asked, scan_link
    from edge_agent.survey.meter_profile import profile_name

    output = Output(write, dump)
    dlms = DlmsAsked(
        asked["dlms"], *(asked.pop(key) for key in ("device", "client", "servers", "physicals", "profile"))
    )
    given = Asked(**asked)
    dlms.checked(given)
    if dlms.device is not None:
        visit = list_known(given, dlms, site_path, site_or_exit, quiet=as_json)
    else:
        visit = scan_link(
            given, site_path, site_or_exit, bauds=bauds, parities=parities, units=units, thorough=thorough,
            within_s=within_s, probes=probes or write is not None or dump is not None, quiet=as_json,
            dlms=dlms.calls() if dlms.dlms else None,
        )  # fmt: skip
    if dlms.profile is not None:
        visit = visit._replace(profile=profile_name(dlms.profile))
    write_out(visit, output)
    written = dlms.profile is None or write_profiles(visit, dlms.profile)
    if as_json:
        emit({**plain_visit(visit), "meters": plain_meters(visit)})
    else:
        show_visit(visit, output, show_meters)
    listed = dlms.device is None or any(inventory.objects for _, inventory in visit.meters)
    found = visit.report is not None and bool(visit.report.devices) and not visit.report.objection
    sys.exit(OK if found and listed and written else FAILED)


@main.command()
@link_options
@site_option
@click.option("--unit", type=click.IntRange(1, 247), help="the device's Modbus unit")
@click.option("--address", help="the meter's DL/T 645 address, 12 digits")
@click.option("--all", "everybody", is_flag=True, help="scan the link at its own speed and parity, and probe everybody")
@click.option("--baud", help="the line's speed, where the site file does not say it or says another")
@click.option("--parity", help="the line's parity, N, E or O")
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(0, 600),
              help="between two readings of the energies, which are compared with the power")  # fmt: skip
@output_options
@json_option
def probe(
    site_path: Path, unit: int | None, address: str | None, everybody: bool, baud: str | None, parity: str | None,
    seconds: float, write: Path | None, dump: Path | None, as_json: bool, **asked: Any,
) -> None:  # fmt: skip
    """Say which profile fits a device, with a score and reasons, and write it down for the site file. It only reads.

    Profiles that cannot be told apart by what was measured are named together.

    \b
    Example:  edge-agent probe bus-1 --unit 3 --write found
    """
    from edge_agent.cli.found import Output, plain_visit, show_visit, write_out
    from edge_agent.cli.surveying import Asked, probe_everybody, probe_link

    given, output = Asked(**asked), Output(write, dump)
    if everybody:
        if unit is not None or address is not None:
            raise click.ClickException("--all is everybody: leave out --unit and --address")
        visit = probe_everybody(
            given, site_path, site_or_exit, baud=baud, parity=parity, seconds=seconds, quiet=as_json
        )
    else:
        visit = probe_link(
            given, site_path, site_or_exit, unit=unit, address=address, baud=baud, parity=parity, seconds=seconds,
            quiet=as_json,
        )  # fmt: skip
    write_out(visit, output)
    if as_json:
        emit(plain_visit(visit))
    else:
        show_visit(visit, output)
    sys.exit(OK if any(p.best for p in visit.probed) else FAILED)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@site_option
@click.option("--point", help="the point whose data these are; may be left out where the site has one point")
@click.option("--tz", help="time zone of times without an offset, and the calendar for days and months")
@click.option("--stamp", type=click.Choice(["start", "end"]), default="end", show_default=True,
              help="whether `time` is the start or the end of its row")  # fmt: skip
@click.option("--svg", type=click.Path(path_type=Path), help="write a picture of the daily peaks against the contract")
@json_option
def replay(
    file: Path, site_path: Path, point: str | None, tz: str | None, stamp: str, svg: Path | None, as_json: bool
) -> None:
    """Run recorded load data through the same audit as live readings.

    FILE is CSV with `time` (ISO 8601) and quantities named with their unit: p_kw, q_kvar, s_kva (means over the row,
    primary side), e_kwh, eq_kvarh (register readings).

    \b
    Example:  edge-agent replay load.csv --site config/examples/factory.toml --tz Europe/Berlin --stamp start
    """
    from edge_agent.cli.replaying import replay_file, show_report

    report = replay_file(file, site_or_exit(site_path), point=point, tz=tz, stamp=stamp)
    if svg is not None:
        from edge_agent.cli.picture import write_daily_peaks

        try:
            write_daily_peaks(report, svg)
        except OSError as cause:
            raise click.ClickException(f"--svg {svg}: {cause.strerror or cause}") from None
    if as_json:
        emit({"file": str(file), "points": {report.point: report.plain()}})
    else:
        show_report(report)


@main.command()
@site_option
@json_option
def findings(site_path: Path, as_json: bool) -> None:
    """List findings: the latest step of each.

    \b
    Example:  edge-agent findings --json
    """
    from edge_agent.cli.listing import finding_rows, show_findings

    rows = finding_rows(site_or_exit(site_path))
    if as_json:
        emit(rows)
    else:
        show_findings(rows)


@main.command()
@click.argument("finding")
@site_option
@lang_option
@json_option
def explain(finding: str, site_path: Path, lang: str, as_json: bool) -> None:
    """Say in plain words what was measured against what, how sure it is, and whose answer is asked.

    \b
    Example:  edge-agent explain gw-1.factory.cap-over-contract.2026-03
              edge-agent explain gw-1.factory.cap-over-contract.2026-03 --lang zh
    """
    from edge_agent.cli.listing import explained

    lines = explained(site_or_exit(site_path), finding, lang)
    if as_json:
        emit({"finding": finding, "lines": lines})
    else:
        click.echo("\n".join(lines))


@main.command()
@click.argument("finding")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="the bundle to write: FILE.zip")
@click.option("--send", is_flag=True, help="have the running agent send it to the centre, in pieces")
@site_option
@json_option
def evidence(finding: str, output: Path | None, send: bool, site_path: Path, as_json: bool) -> None:
    """Write what a finding rests on as one file: messages and facts byte by byte, tables, and a report to take along.

    The report is one page each in English and Chinese, with a second page to fill in on site.

    \b
    Example:  edge-agent evidence gw-1.factory.cap-over-contract.2026-03 -o finding.zip
    """
    from edge_agent.cli.bundling import send_bundle, write_bundle

    if (output is None) == (not send):
        raise click.UsageError("say where it goes: -o FILE.zip, or --send")
    site = site_or_exit(site_path)
    done = send_bundle(site, finding) if output is None else write_bundle(site, finding, output)
    if as_json:
        emit(done)
    else:
        click.echo(done["said"])


@main.command()
@click.argument("point")
@site_option
@lang_option
@json_option
def case(point: str, site_path: Path, lang: str, as_json: bool) -> None:
    """Read what is open at one point together: likely causes in order, why, whose answer is asked, what to do next.

    \b
    Example:  edge-agent case factory --lang zh
    """
    from edge_agent.cli.cases import case_row, show_case

    row = case_row(site_or_exit(site_path), point)
    if as_json:
        emit(row)
    else:
        show_case(row, lang)


@main.command()
@site_option
@lang_option
@json_option
def cases(site_path: Path, lang: str, as_json: bool) -> None:
    """List the points where something is open, with the likeliest cause and the next step of each.

    \b
    Example:  edge-agent cases --json
    """
    from edge_agent.cli.cases import case_rows, show_cases

    rows = case_rows(site_or_exit(site_path))
    if as_json:
        emit(rows)
    else:
        show_cases(rows, lang)


@main.command()
@site_option
@json_option
def status(site_path: Path, as_json: bool) -> None:
    """How the running agent is: clock, links, devices, points, store, delivery.

    \b
    Example:  edge-agent status --site edge-agent.toml
    """
    from edge_agent.cli.listing import show_status

    site = site_or_exit(site_path)
    try:
        state = ask(Path(site.paths.runtime), "status")
    except ControlError as reason:
        raise click.ClickException(str(reason)) from None
    if as_json:
        emit(state)
    else:
        show_status(state)


def site_or_exit(path: Path) -> Site:
    """The site, or every mistake in it on stderr and exit code 2."""
    try:
        return load_site(path)
    except SiteError as error:
        for mistake in error.mistakes:
            click.echo(mistake.sentence(), err=True)
        sys.exit(USAGE)


def emit(document: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
