"""`edge-agent-sim`: simulated meters, a broker, a reference centre, and the demo that plays them all."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from simulator.clock import ScaledClock, boot_ms, iso
from simulator.fleet import Fleet
from simulator.scenario import Scenario, ScenarioMistake, load_scenario, scenarios_dir


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Simulated meters, broker and centre for the edge agent."""


@main.command()
@click.argument("scenario", type=str)
@click.option("--port", type=click.IntRange(0, 65535), help="Listen here instead of where the scenario says.")
@click.option("--host", help="Address to listen on.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Seconds of the scenario in one second.")
@click.option("--anchor-bt-ms", type=int, help="Boot time, ms, at which the scenario starts; default: now.")
@click.option("--profiles", type=click.Path(file_okay=False, exists=True, path_type=Path), help="Look here first.")
@click.option(
    "--ports", type=click.Path(file_okay=False, path_type=Path), help="Folder for a symlink to each line's serial port."
)
@click.option(
    "--state", type=click.Path(file_okay=False, path_type=Path), help="Folder for the counters of DLMS meters, kept."
)
def serve(
    scenario: str,
    port: int | None,
    host: str | None,
    rate: float | None,
    anchor_bt_ms: int | None,
    profiles: Path | None,
    ports: Path | None,
    state: Path | None,
) -> None:
    """Play the meters of SCENARIO (a file, or the name of one that ships) over TCP and serial lines until stopped."""
    path = Path(scenario)
    if not path.suffix and not path.exists():
        path = scenarios_dir() / f"{scenario}.toml"
    try:
        if state is not None:
            state.mkdir(parents=True, exist_ok=True)
        plan = load_scenario(path, profiles=profiles, state=state)
    except ScenarioMistake as mistake:
        raise click.ClickException(str(mistake)) from mistake
    plan = replace(plan, host=host or plan.host, rate=rate or plan.rate, anchor_bt_ms=anchor_bt_ms or boot_ms())
    if port and (plan.meters or plan.dlms):
        up = port - min([meter.port for meter in plan.meters] + [meter.port for meter in plan.dlms])
        plan = replace(
            plan,
            meters=tuple(replace(meter, port=meter.port + up) for meter in plan.meters),
            dlms=tuple(replace(meter, port=meter.port + up) for meter in plan.dlms),
        )
    try:
        asyncio.run(_serve(plan, ephemeral=port == 0, ports=ports))
    except OSError as error:
        raise click.ClickException(f"cannot listen: {error}") from error


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The broker's.")
@click.option("--port", default=1883, show_default=True, help="The broker's.")
@click.option("--db", type=click.Path(dir_okay=False, path_type=Path), default="centre.db", show_default=True)
@click.option("--version", type=click.Choice(["5", "3.1.1"]), default="5", show_default=True, help="MQTT version.")
@click.option("--root", default="ea", show_default=True, help="First topic level.")
@click.option("--client-id", default="centre", show_default=True, help="Names the session that the broker keeps.")
@click.option("--ack-every-s", default=2.0, show_default=True, help="At most one acknowledgement in this time ...")
@click.option("--ack-after", default=50, show_default=True, help="... or after so many messages.")
def central(
    host: str, port: int, db: Path, version: str, root: str, client_id: str, ack_every_s: float, ack_after: int
) -> None:
    """Run the reference centre: validate, store, acknowledge."""
    from simulator.central.centre import Centre
    from simulator.central.view import View

    try:
        centre = Centre(
            db, host=host, port=port, version=version, root=root, client_id=client_id, ack_every_s=ack_every_s,
            ack_after=ack_after,
        )  # fmt: skip
        centre.start()
    except OSError as error:
        raise click.ClickException(f"no broker at {host}:{port}: {error}") from error
    click.echo(f"centre of {root}/v1 at {host}:{port}, MQTT {version}, in {db}")
    _until_stopped()
    centre.stop()
    with View(db) as view:
        for head in view.heads():
            click.echo(f"{head.gateway} {head.epoch}: {head.upto} kept, head {head.head}")
        click.echo(f"{view.tally('messages')} messages, {view.tally('rejected')} rejected")


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=1883, show_default=True)
def broker(host: str, port: int) -> None:
    """Run an MQTT 3.1.1 broker without passwords: for the demo and for trying things out."""
    from simulator.broker import InProcessBroker

    try:
        with InProcessBroker(port, host=host):
            click.echo(f"broker at {host}:{port}, MQTT 3.1.1, no passwords")
            _until_stopped()
    except OSError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.option("--seconds", default=100.0, show_default=True, type=click.FloatRange(5), help="Length of the day.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default="demo-output", show_default=True)
def demo(seconds: float, output: Path) -> None:
    """A factory's day from meter to acknowledged alert, in about two minutes."""
    from simulator.demo import Demo

    sys.exit(Demo(day_s=seconds, output=output).play())


async def _serve(plan: Scenario, *, ephemeral: bool, ports: Path | None) -> None:
    from simulator.dlms.station import DlmsStation
    from simulator.line.pty import PtyLine

    clock = plan.clock()
    fleet = Fleet(plan, clock, ephemeral=ephemeral)
    await fleet.start()
    stopped = asyncio.Event()
    _on_stop(asyncio.get_running_loop().add_signal_handler, stopped.set)
    for asked, port in sorted(fleet.ports.items()):
        units = [meter for meter in plan.meters if meter.port == asked]
        names = f"{units[0].id} (unit {units[0].unit_id})"
        if len(units) > 1:
            names += f" to {units[-1].id} (unit {units[-1].unit_id})"
        click.echo(f"{names} at {plan.host}:{port.port}")
    for asked, dlms_port in sorted(fleet.dlms_ports.items()):
        names = ", ".join(f"{meter.id} (SAP {meter.sap})" for meter in plan.dlms if meter.port == asked)
        click.echo(f"{names} at {plan.host}:{dlms_port.port}, DLMS")
    served: list[PtyLine] = []
    try:
        for line in plan.lines:
            served.append(PtyLine(line, clock, symlink=None if ports is None else ports / line.id))
            served[-1].start()
            names = ", ".join(f"{station.id} ({station.place})" for station in line.stations)
            click.echo(f"{line.id} at {served[-1].symlink or served[-1].path}, {line.form}: {names}")
        click.echo(_clock_table(clock))
        await stopped.wait()
    finally:
        lines = [pty.played for pty in served if pty.path]
        for pty in served:
            pty.stop()
        await fleet.stop()
        requests = fleet.requests + sum(line.requests for line in lines)
        writes = fleet.writes_seen + sum(line.writes_seen for line in lines)
        click.echo(f"{requests} requests, {writes} attempts to write")
        on_lines = [
            station.meter for line in lines for station in line.stations.values() if isinstance(station, DlmsStation)
        ]
        for meter in (*fleet.dlms.values(), *on_lines):
            if seen := len(meter.ledger.seen):
                click.echo(f"{meter.name}: {seen} invocation counters of clients, {len(meter.ledger.twice)} sent twice")
        for master in (master for line in lines for master in line.masters.values()):
            counts = master.counts
            click.echo(
                f"{master.name}: {counts.asked} asked, {counts.lost} lost, {counts.lost_to_strangers} of them to others"
            )


def _clock_table(clock: ScaledClock) -> str:
    """What a site file needs to live in the same time."""
    return (
        f'[clock]\nkind = "scaled"\nstart = {iso(clock.start_ms)}\nrate = {clock.rate!r}\n'
        f"anchor_bt_ms = {clock.anchor_bt_ms}"
    )


def _until_stopped() -> None:
    stopped = threading.Event()
    _on_stop(signal.signal, lambda *_: stopped.set())
    while not stopped.wait(1.0):  # a wait without end would keep the handler from running
        pass


def _on_stop(install: Callable[..., object], handler: Callable[..., None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        install(number, handler)


if __name__ == "__main__":
    main()
