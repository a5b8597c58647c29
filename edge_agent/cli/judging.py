"""`backtest`: how good the judgement is, or would be."""

from __future__ import annotations

from pathlib import Path

import click

from edge_agent.cli.main import emit, json_option, site_option, site_or_exit


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--releases", required=True, metavar="SET", help="what is tried")
@click.option("--against", default="running", show_default=True, metavar="SET", help="what it is held against")
@site_option
@click.option("--point", help="the point whose data these are; may be left out where the site has one point")
@click.option("--tz", help="time zone of times without an offset, and the calendar for days and months")
@click.option("--stamp", type=click.Choice(["start", "end"]), default="end", show_default=True,
              help="whether `time` is the start or the end of its row")  # fmt: skip
@click.option("--svg", type=click.Path(path_type=Path), help="write a picture of both runs, finding by finding")
@json_option
def backtest(
    data: Path, releases: str, against: str, site_path: Path, point: str | None, tz: str | None, stamp: str,
    svg: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Run recorded load data through two sets of releases: which findings are new, gone, moved, graded otherwise.

    DATA is CSV as `replay` takes it. A SET is `running`, `shipped`, a release set, a release (topic@version) or a
    folder or file of releases: these take the place of what runs for their topics, whatever their state.

    \b
    Example:  edge-agent backtest load.csv --releases cap-over-contract@2 --against running --tz Europe/Berlin
    """
    from edge_agent.cli.backtesting import backtest_file, show_backtest

    found = backtest_file(
        data, site_or_exit(site_path), releases=releases, against=against, point=point, tz=tz, stamp=stamp
    )
    if svg is not None:
        from edge_agent.cli.picture_compared import write_comparison

        try:
            write_comparison(found, svg)
        except OSError as cause:
            raise click.ClickException(f"--svg {svg}: {cause.strerror or cause}") from None
    if as_json:
        emit({"file": str(data), **found.plain()})
    else:
        show_backtest(found)
