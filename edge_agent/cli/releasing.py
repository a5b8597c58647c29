"""`edge-agent releases`: drafts, reviews and decisions about the parameters of audit topics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_agent.cli.main import emit, json_option, site_option, site_or_exit

if TYPE_CHECKING:
    pass

DAYS = 7
key_option = click.option("--key", "key_path", required=True, type=click.Path(path_type=Path),
                          help="your private key; never that of somebody else")  # fmt: skip
days_option = click.option("--days", default=DAYS, show_default=True, type=click.IntRange(0, 366),
                           help="of stored intervals on which it is tried; 0: do not try it")  # fmt: skip


@click.group()
def releases() -> None:
    """Manage the releases of audit topics: from a draft to what runs, with two people who answer for it.

    draft - submit -> in_review - approve -> approved - publish -> published; suspend, retire. Author and approver are
    two different keys; only published releases run. docs/releases.md

    \b
    Example:  edge-agent releases list
              edge-agent releases new cap-over-contract
    """


@releases.command("list")
@site_option
@json_option
def list_verb(site_path: Path, as_json: bool) -> None:
    """List every version of every topic, its state, who wrote and approved it, and which one runs.

    \b
    Example:  edge-agent releases list --json
    """
    from edge_agent.cli.release_work import listed, show_list

    rows = listed(site_or_exit(site_path))
    if as_json:
        emit(rows)
    else:
        show_list(rows)


@releases.command()
@click.argument("topic")
@site_option
def new(topic: str, site_path: Path) -> None:
    """Draft the next version of TOPIC: a copy of its newest release, to be changed with an editor.

    \b
    Example:  edge-agent releases new cap-over-contract
    """
    from edge_agent.cli.release_work import draft

    draft(site_or_exit(site_path), topic)


@releases.command()
@click.argument("release")
@click.option("--against", help="another version, such as cap-over-contract@1; else the one that runs")
@days_option
@site_option
@json_option
def diff(release: str, against: str | None, days: int, site_path: Path, as_json: bool) -> None:
    """Show what RELEASE (topic@version) says otherwise, and what it would have found on the last days.

    Every mistake in it is said at once; exit code 1 where there is one.

    \b
    Example:  edge-agent releases diff cap-over-contract@2
    """
    from edge_agent.cli.release_work import difference, show_difference

    found = difference(site_or_exit(site_path), release, against, days)
    if as_json:
        emit(found.plain())
    else:
        show_difference(found)


def decision(name: str, wanted: str, help_: str, *, tried: bool = False) -> Callable[..., Any]:
    """One verb that signs a step. `help_` is its help; `tried`: on stored data first."""

    def verb(release: str, site_path: Path, key_path: Path, scope: str, as_json: bool, days: int = 0) -> None:
        from edge_agent.cli.release_work import decide

        done = decide(site_or_exit(site_path), release, wanted, key_path, scope=scope, days=days, quiet=as_json)
        if as_json:
            emit(done)

    verb.__doc__ = help_
    scope = click.option("--scope", default="fleet", show_default=True, help="fleet, or the id of one gateway")
    made: Callable[..., Any] = site_option(json_option(verb))
    made = scope(days_option(made) if tried else made)
    return releases.command(name)(click.argument("release")(key_option(made)))


decision("submit", "in_review", """Sign a draft as its author: from now on its text stays as it is.

    \b
    Example:  edge-agent releases submit cap-over-contract@2 --key author.pem
    """)  # fmt: skip
decision("approve", "approved", """Sign a submitted release as its approver: another person than its author.

    \b
    Example:  edge-agent releases approve cap-over-contract@2 --key approver.pem
    """)  # fmt: skip
decision("publish", "published", """Let an approved release run, or a suspended one again; it is tried first.

    It is tried on the stored days and the difference is shown; what cannot judge them is not published.

    \b
    Example:  edge-agent releases publish cap-over-contract@2 --key approver.pem
    """, tried=True)  # fmt: skip
decision("suspend", "suspended", """Stop a release, and with it its topic, until it is published again.

    \b
    Example:  edge-agent releases suspend cap-over-contract@2 --key author.pem
    """)  # fmt: skip
decision("retire", "retired", """Take a release back for good: the version below speaks for its topic again.

    \b
    Example:  edge-agent releases retire cap-over-contract@2 --key author.pem
    """)  # fmt: skip


@releases.command()
@click.argument("file", type=click.Path(path_type=Path))
@site_option
def receive(file: Path, site_path: Path) -> None:
    """Take a signed release from elsewhere: FILE is the .signed file of another machine's state folder.

    \b
    Example:  edge-agent releases receive cap-over-contract@2.signed
    """
    from edge_agent.cli.release_work import receive_file

    receive_file(site_or_exit(site_path), file)


@releases.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--pin", type=click.Path(path_type=Path), help="add the public half to this file of signers")
def key(name: str, file: Path, pin: Path | None) -> None:
    """Make a new key for a person: FILE is the private half, the public one is shown as it is pinned.

    \b
    Example:  edge-agent releases key ops-2026a author.pem --pin signers.toml
    """
    from edge_agent.cli.release_work import make_key

    make_key(name, file, pin)
