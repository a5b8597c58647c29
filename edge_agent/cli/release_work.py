"""What the verbs of `releases` do: on the shelf of the site, with stored intervals where there are any."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from edge_agent.app.recalling import interval_from
from edge_agent.archive import Archive
from edge_agent.assembly import keyset_of, load_point, releases_of, shelf_of
from edge_agent.audit.release import ReleaseError
from edge_agent.audit.topic import Release
from edge_agent.cli.compared import show_comparison
from edge_agent.package import PackageRefused, PrivateKey, new_private_key, private_key_from
from edge_agent.package.ed25519 import NoCryptography
from edge_agent.releases import Change, Entry, NoSuchRelease, Shelf, State, differences
from edge_agent.replay.compare import Comparison, compare
from edge_agent.replay.dry_run import dry_run
from edge_agent.settings import Site, config_files, device_specs
from edge_agent.store import IntervalRow, StoreError, StoreMissing, TelemetryReader
from edge_agent.words import Phrase, say, spoken

MOST = 200_000
"""Stored intervals on which a release is tried at most."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What a release says otherwise, and what it would have found. `tried` is None where `untried` says why."""

    name: str
    against: str
    changes: tuple[Change, ...]
    days: int
    intervals: int = 0
    tried: Comparison | None = None
    untried: str = ""

    def plain(self) -> dict[str, Any]:
        return {
            "release": self.name,
            "against": self.against,
            "changes": [c._asdict() for c in self.changes],
            "tried": None if self.tried is None else {"intervals": self.intervals, **self.tried.plain()},
            "untried": self.untried or None,
        }


def listed(site: Site) -> list[dict[str, Any]]:
    """Every version there is. Raises `ClickException`."""
    shelf = _shelf(site)
    running = {r.name: r.digest for r in _running(site, shelf).values()}
    return [
        {
            "release": e.name,
            "topic": e.topic,
            "version": e.version,
            "state": e.state.value,
            "origin": e.origin,
            "runs": running.get(e.name) == e.digest,
            "author": e.author or None,
            "approver": e.approver or None,
            "sets": list(e.sets),
            "digest": e.digest,
            "wrong": None if e.wrong is None else why(e.wrong),
        }
        for e in shelf.entries()
    ]


def show_list(rows: Sequence[dict[str, Any]]) -> None:
    table = Table("release", "state", "runs", "origin", "author", "approver", "digest")
    for r in rows:
        table.add_row(
            r["release"], r["state"], "yes" if r["runs"] else "", r["origin"], r["author"] or "", r["approver"] or "",
            r["digest"][:12],
        )  # fmt: skip
    Console(width=None if Console().is_terminal else 160).print(table)
    for r in rows:
        if r["wrong"]:
            click.echo(f"{r['release']}: {r['wrong']}", err=True)


def draft(site: Site, topic: str) -> None:
    try:
        path = _shelf(site).new(topic)
    except NoSuchRelease:
        raise click.ClickException(say("releases.no_such", name=topic)) from None
    except OSError as cause:
        raise click.ClickException(f"{cause.filename}: {cause.strerror}") from None
    click.echo(say("releases.drafted", path=path, name=path.stem))


def difference(site: Site, name: str, against: str | None, days: int) -> Difference:
    """Raises `ClickException`, with every mistake where the release has some."""
    shelf = _shelf(site)
    entry = _entry(shelf, name)
    running = _running(site, shelf)
    other = running.get(entry.topic)
    beside = _entry(shelf, against or (other.name if other is not None else entry.name))
    if beside.wrong is not None:
        raise click.ClickException(why(beside.wrong))
    changes = tuple(differences(beside.plain or {}, entry.plain or {}))
    assert entry.release is not None
    if site.site.release_set not in entry.sets:
        untried = say("releases.silent", name=name, sets=", ".join(entry.sets), release_set=site.site.release_set)
        return Difference(name, beside.name, changes, days, untried=untried)
    before = {t: r for t, r in running.items() if t != entry.topic}
    if beside.release is not None:
        before[entry.topic] = beside.release
    return _tried(site, Difference(name, beside.name, changes, days), before, {**before, entry.topic: entry.release})


def show_difference(found: Difference) -> None:
    for change in found.changes:
        click.echo(f"  {change.key}: {_shown(change.before)} -> {_shown(change.after)}")
    if not found.changes:
        click.echo(say("releases.alike", name=found.name, against=found.against))
    if found.tried is None:
        click.echo(say("releases.untried", cause=found.untried))
    else:
        click.echo(say("releases.tried", days=found.days, count=found.intervals))
        show_comparison(found.tried)


def decide(site: Site, name: str, wanted: str, key_path: Path, *, scope: str, days: int, quiet: bool) -> dict[str, Any]:
    """Sign one step, after the trial that goes before publishing. Raises `ClickException` where it must not be."""
    shelf = _shelf(site)
    _entry(shelf, name)
    key = signing_key(site, key_path)
    found = difference(site, name, None, days) if wanted == State.PUBLISHED and days else None
    if found is not None and not quiet:
        show_difference(found)
    try:
        dossier = shelf.decide(name, State(wanted), key, at=_now(), scope=scope)
    except (PackageRefused, ReleaseError) as wrong:
        raise click.ClickException(why(wrong)) from None
    except ValueError as wrong:
        raise click.ClickException(str(wrong)) from None
    except OSError as cause:
        raise click.ClickException(f"{cause.filename}: {cause.strerror}") from None
    if not quiet:
        click.echo(say("releases.decided", name=name, state=dossier.state.value, key=key.id))
        click.echo(say(f"releases.next.{dossier.state.value}", name=name))
    trial = {} if found is None else {"trial": found.plain()}
    return {"release": name, "state": dossier.state.value, "key": key.id, "digest": dossier.digest, **trial}


def receive_file(site: Site, path: Path) -> None:
    try:
        dossier = _shelf(site).receive(path.read_bytes(), now_ms=round(datetime.now(UTC).timestamp() * 1000))
    except (PackageRefused, ReleaseError) as wrong:
        raise click.ClickException(say("releases.refused", what=path, why=why(wrong))) from None
    except OSError as cause:
        raise click.ClickException(f"{cause.filename}: {cause.strerror}") from None
    click.echo(say("releases.received", name=dossier.name, state=dossier.state.value, path=path))
    click.echo(say(f"releases.next.{dossier.state.value}", name=dossier.name))


def make_key(name: str, path: Path, pin: Path | None) -> None:
    try:
        pem, public = new_private_key()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
        table = f'[[key]]\nid = "{name}"\npublic = "{public}"\n'
        if pin is not None:
            with pin.open("a", encoding="utf-8") as signers:
                signers.write(table)
    except NoCryptography:
        raise click.ClickException(say("package.no_cryptography")) from None
    except FileExistsError:
        raise click.ClickException(say("releases.key_there", path=path)) from None
    except OSError as cause:
        raise click.ClickException(f"{cause.filename}: {cause.strerror}") from None
    click.echo(say("releases.key_made", path=path), err=True)
    click.echo(table, nl=False)


def why(wrong: PackageRefused | ReleaseError) -> str:
    """Why it is not taken, in words; every mistake of a release on a line of its own."""
    if isinstance(wrong, PackageRefused):
        return spoken(Phrase(f"package.{wrong.code}", wrong.fields))
    return "\n".join(wrong.mistakes)


def _tried(site: Site, found: Difference, before: dict[str, Release], after: dict[str, Release]) -> Difference:
    """With what both find on the last days. Raises `ClickException` where the release cannot judge them."""
    archive, config = Archive.of(site), config_files()
    devices = {d.id: d for d in device_specs(site, config=config)}
    points = [load_point(archive, p, devices[p.meter]) for p in archive.points.values() if p.meter in devices]
    try:
        rows = _stored(site, found.days) if found.days else []
    except StoreMissing:
        rows = []
    except StoreError as error:
        return Difference(found.name, found.against, found.changes, found.days, untried=str(error))
    intervals = [i for row in rows if row.point in archive.points and (i := interval_from(row)) is not None]
    if not intervals:
        untried = say("releases.nothing_stored") if found.days else "--days 0"
        return Difference(found.name, found.against, found.changes, found.days, untried=untried)
    try:
        runs = [dry_run(intervals, archive, points, each, gateway=site.site.gateway) for each in (before, after)]
    except ReleaseError as wrong:
        raise click.ClickException(f"{found.name}: {why(wrong)}") from None
    return Difference(found.name, found.against, found.changes, found.days, len(intervals), compare(*runs))


def _stored(site: Site, days: int) -> list[IntervalRow]:
    with TelemetryReader(Path(site.paths.state) / "telemetry.db") as reader:
        return reader.last(days, MOST)


def _shelf(site: Site) -> Shelf:
    try:
        return shelf_of(site, config_files())
    except ReleaseError as wrong:
        raise click.ClickException(why(wrong)) from None


def _running(site: Site, shelf: Shelf) -> dict[str, Release]:
    try:
        return releases_of(config_files(), site.site.release_set, shelf.rulings())
    except ReleaseError as wrong:
        raise click.ClickException(why(wrong)) from None


def _entry(shelf: Shelf, name: str) -> Entry:
    try:
        entry = shelf.entry(name)
    except NoSuchRelease:
        raise click.ClickException(say("releases.no_such", name=name)) from None
    if entry.wrong is not None:
        raise click.ClickException(why(entry.wrong))
    return entry


def signing_key(site: Site, path: Path) -> PrivateKey:
    """A person's key, pinned at the site. Raises `ClickException` with what is wrong and what would be right."""
    signers = Path(site.paths.signers)
    try:
        keyset = keyset_of(signers)
        if not keyset.signers:
            raise click.ClickException(say("releases.no_signers", path=signers))
        return private_key_from(path.read_bytes(), keyset)
    except ReleaseError as wrong:
        raise click.ClickException(why(wrong)) from None
    except NoCryptography:
        raise click.ClickException(say("package.no_cryptography")) from None
    except OSError as cause:
        raise click.ClickException(say("releases.no_key", path=path, cause=cause.strerror)) from None
    except ValueError as wrong:
        raise click.ClickException(say("releases.no_key", path=path, cause=wrong)) from None


def _shown(value: Any) -> str:
    return "absent" if value is None else str(value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
