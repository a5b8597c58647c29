"""What `feedback`, `evaluate` and `seal` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from edge_agent.archive import Archive
from edge_agent.audit.standing import Standing
from edge_agent.cli.release_work import signing_key
from edge_agent.contract.commands import Command
from edge_agent.contract.messages import FeedbackPackage
from edge_agent.control import ControlError, NoAgent, ask
from edge_agent.evaluation import DEFINITIONS, Blindness, dockets_of, indicators, plain_indicators
from edge_agent.listing import sentence
from edge_agent.package import seal_package
from edge_agent.settings import Site
from edge_agent.store import Store, StoreError
from edge_agent.words import say


def say_feedback(
    site: Site, finding: str | None, step: str | None, by: str | None, at: str | None, given: Mapping[str, Any],
    package: Path | None,
) -> dict[str, Any]:  # fmt: skip
    """Hand it to the running agent, which owns the chain. Raises `ClickException` with its reason."""
    runtime = Path(site.paths.runtime)
    try:
        if package is not None:
            done = ask(runtime, "feedback", package=package.read_text(encoding="utf-8"))
        elif finding is None or step is None or by is None:
            raise click.ClickException(say("evaluate.what"))
        else:
            said = {"finding": finding, "step": step, "by": by, "at": _instant(at, runtime)}
            done = ask(runtime, "feedback", said=said | {k: v for k, v in given.items() if v is not None})
    except (OSError, UnicodeDecodeError) as cause:
        raise click.ClickException(f"{package}: {cause}") from None
    except NoAgent as nobody:
        raise click.ClickException(say("evaluate.no_agent", cause=nobody)) from None
    except ControlError as reason:
        raise click.ClickException(str(reason)) from None
    return dict(done)


def evaluation(site: Site, month: str | None) -> list[dict[str, Any]]:
    """From the running agent, or from the store as it lies on the disk."""
    try:
        return list(ask(Path(site.paths.runtime), "evaluate", month=month or ""))
    except NoAgent:
        pass
    except ControlError as reason:
        raise click.ClickException(str(reason)) from None
    archive, blindness, standing = Archive.of(site), Blindness(), Standing()

    def zone_of(point: str) -> tzinfo:
        return archive.points[point].tz if point in archive.points else UTC

    try:
        with Store.read_only(Path(site.paths.state) / "findings.db") as reader:
            found = dockets_of(reader.bodies("finding"), reader.bodies("record", "/feedback/"), zone_of)
            for name, state in (("~blind", blindness), ("~standing", standing)):
                if (blob := reader.track(name)) is not None:
                    state.restore(msgspec.msgpack.decode(blob))
    except StoreError as error:
        raise click.ClickException(sentence(error)) from None
    dockets, today = list(found.values()), datetime.now(UTC).date()
    wanted = {(d.month, d.topic) for d in dockets if d.counts}
    wanted |= {(at, t) for at in blindness.months() for t in blindness.topics(at)}
    return [
        plain_indicators(
            indicators(dockets, topic, at, today, blind=blindness.share(topic, at), capped=standing.poor(topic))
        )
        for at, topic in sorted(wanted)
        if month in {None, at}
    ]


def show_evaluation(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        click.echo(say("evaluate.nothing"))
        return
    rates = ("completion", "timeliness", "confirmation", "rectification", "recurrence")
    table = Table("month", "topic", "opened", "exempt", *(f"{DEFINITIONS[r][0]} {r}" for r in rates),
                  "追补电量 kWh", "blind")  # fmt: skip
    for row in rows:
        blind = f"{100 * row['blind']:.1f} %" if "blind" in row else "-"
        table.add_row(
            row["month"], row["topic"] + (" (capped)" if row["capped"] else ""), str(row["opened"]),
            str(row["exempted"]), *(_rate(row[r]) for r in rates), f"{row['recovered_kwh']:g}", blind,
        )  # fmt: skip
    Console(width=None if Console().is_terminal else 220).print(table)
    for row in rows:
        if row["capped"]:
            click.echo(say("evaluate.capped", topic=row["topic"]))


SEALED: dict[str, Any] = {"feedback": FeedbackPackage, "command": Command}


def seal_file(
    site: Site, file: Path, out: Path, key_path: Path, number: int, scope: str, kind: str, minutes: int | None
) -> None:
    key = signing_key(site, key_path)
    exp_s = None if minutes is None else round(datetime.now(UTC).timestamp()) + 60 * minutes
    if kind == "command" and exp_s is None:
        raise click.ClickException(say("evaluate.no_end"))
    try:
        payload = msgspec.json.encode(msgspec.json.decode(file.read_bytes(), type=SEALED[kind]))
        out.write_bytes(seal_package(payload, kind=kind, version=number, scope=scope, key=key, exp_s=exp_s))
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as wrong:
        raise click.ClickException(f"{file}: {wrong}") from None
    except OSError as cause:
        raise click.ClickException(f"{cause.filename}: {cause.strerror}") from None
    click.echo(say("evaluate.sealed", path=out, key=key.id, number=number))


def _instant(at: str | None, runtime: Path) -> str:
    """As messages write it. Without one, the time by the agent's own clock, which may not be this machine's."""
    if at is None:
        at = ask(runtime, "status")["clock"]["utc"]
        if at is None:
            raise click.ClickException(say("evaluate.no_time"))
    try:
        instant = datetime.fromisoformat(at)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise click.ClickException(say("evaluate.at", at=at))
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _rate(rate: Mapping[str, Any]) -> str:
    share = f"{100 * rate['share']:.0f} %, " if "share" in rate else ""
    return f"{share}{rate['count']} of {rate['of']}"
