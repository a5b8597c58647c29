"""`backtest`: the same recorded data through two sets of releases, and what they find otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from edge_agent.assembly import releases_of, shelf_of
from edge_agent.audit.release import ReleaseError
from edge_agent.audit.topic import Release
from edge_agent.cli.compared import show_comparison
from edge_agent.cli.replaying import recorded, replayed
from edge_agent.releases import Change, Entry, NoSuchRelease, Shelf, State, differences
from edge_agent.releases.entry import parts_of, told
from edge_agent.replay import PointReport, ReplayError
from edge_agent.replay.compare import Comparison, compare
from edge_agent.settings import Site, config_files
from edge_agent.words import say

RUNNING, SHIPPED = "running", "shipped"
_NOT_PARAMETERS = frozenset({"digest", "version", "status"})


@dataclass(frozen=True, slots=True)
class Backtest:
    """`before` is what `releases` is held against."""

    point: str
    names: tuple[str, str]  # as they were asked for: against, releases
    before: Mapping[str, Release]
    after: Mapping[str, Release]
    reports: tuple[PointReport, PointReport]
    comparison: Comparison

    def changes(self) -> dict[str, list[Change]]:
        """Topic -> the parameters that differ; [] where a topic runs in one of them only."""
        return {
            t: differences(_plain(self.before[t]), _plain(self.after[t]))
            if t in self.before and t in self.after
            else []
            for t in sorted(self.before.keys() | self.after.keys())
            if self.before.get(t) != self.after.get(t)
        }

    def plain(self) -> dict[str, Any]:
        return {
            "against": {"set": self.names[0], "releases": sorted(r.name for r in self.before.values())},
            "releases": {"set": self.names[1], "releases": sorted(r.name for r in self.after.values())},
            "changes": {t: [c._asdict() for c in changes] for t, changes in self.changes().items()},
            "points": {
                self.point: {
                    **self.comparison.plain(),
                    "intervals": self.reports[1].intervals,
                    "unknown": dict(sorted(self.reports[1].unknown.items())),
                }
            },
        }


def backtest_file(
    file: Path, site: Site, *, releases: str, against: str, point: str | None, tz: str | None, stamp: str
) -> Backtest:
    """Raises `ClickException` with what is wrong and what would be right."""
    try:
        shelf = shelf_of(site, config_files())
        before, after = _set(against, site, shelf), _set(releases, site, shelf)
        data = recorded(file, site, point=point, tz=tz, stamp=stamp)
        runs = {f"{file.name} with {against} (1 of 2)": before, f"{file.name} with {releases} (2 of 2)": after}
        first, second = replayed(data, runs, site.site.gateway)
    except (ReplayError, ReleaseError) as wrong:
        raise click.ClickException(str(wrong)) from None
    found = compare(first.findings, second.findings)
    return Backtest(data.point, (against, releases), before, after, (first, second), found)


def show_backtest(found: Backtest) -> None:
    click.echo(
        f"point {found.point}: {found.names[1]} against {found.names[0]}, {found.reports[1].intervals} intervals"
    )
    for topic, changes in found.changes().items():
        names = [r[topic].name if topic in r else "nothing" for r in (found.before, found.after)]
        click.echo(f"  {topic}: {names[0]} -> {names[1]}")
        for change in changes:
            click.echo(f"    {change.key}: {change.before} -> {change.after}")
    show_comparison(found.comparison)


def _set(asked: str, site: Site, shelf: Shelf) -> dict[str, Release]:
    """What runs, with what was asked for in its place. Raises `ReleaseError`, `ClickException`."""
    config, release_set = config_files(), site.site.release_set
    if asked == SHIPPED:
        return releases_of(config, release_set)
    running = releases_of(config, release_set, shelf.rulings())
    path = Path(asked)
    if asked == RUNNING:
        return running
    if path.is_dir() or path.suffix == ".toml":
        files = sorted(path.glob("*.toml")) if path.is_dir() else [path]
        if not files:
            raise click.ClickException(say("backtest.empty", path=path))
        return running | {r.topic: r for r in map(_from_file, files)}
    if parts_of(asked)[1]:
        try:
            entry = shelf.entry(asked)
        except NoSuchRelease:
            raise click.ClickException(say("releases.no_such", name=asked)) from None
        return running | {entry.topic: _usable(entry)}
    try:
        return releases_of(config, asked, shelf.rulings())
    except ReleaseError:
        raise click.ClickException(say("backtest.no_such", asked=asked)) from None


def _from_file(path: Path) -> Release:
    """Whatever its state: it is tried, it does not run."""
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as wrong:
        raise click.ClickException(f"{path}: {wrong}") from None
    return _usable(told(Entry("", 0, State.DRAFT, str(path)), text))


def _usable(entry: Entry) -> Release:
    if entry.wrong is not None or entry.release is None:
        raise click.ClickException(f"{entry.origin}: {entry.wrong}")
    return entry.release


def _plain(release: Release) -> dict[str, Any]:
    return {key: value for key, value in asdict(release).items() if key not in _NOT_PARAMETERS}
