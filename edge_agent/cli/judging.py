"""`feedback`, `evaluate`, `backtest`: what became of findings, and how good the judgement is or would be."""

from __future__ import annotations

from pathlib import Path

import click

from edge_agent.cli.main import emit, json_option, site_option, site_or_exit

STEPS = ("received", "dispatched", "on_site", "confirmed", "not_confirmed", "cannot_tell", "rectified", "closed")
CAUSES = ("archive", "wiring", "meter_fault", "collection", "breach", "established_by_inspection", "normal")


@click.command()
@click.argument("finding", required=False)
@click.argument("step", required=False, type=click.Choice(STEPS))
@click.option("--by", help="opaque code of who says so, never a name")
@click.option("--at", help="when it happened, ISO 8601 with an offset; else now, by the agent's clock")
@click.option("--cause", type=click.Choice(CAUSES), help="what it turned out to be")
@click.option("--work-order", help="number of the work order")
@click.option("--recovered-kwh", type=click.FloatRange(0), help="energy billed afterwards")
@click.option("--recovered-money", type=click.FloatRange(0), help="in the utility's currency")
@click.option("--package", type=click.Path(path_type=Path), help="a signed package of feedback instead, as it is")
@site_option
@json_option
def feedback(
    finding: str | None, step: str | None, by: str | None, at: str | None, cause: str | None, work_order: str | None,
    recovered_kwh: float | None, recovered_money: float | None, package: Path | None, site_path: Path, as_json: bool,
) -> None:  # fmt: skip
    """Say what became of a finding. It enters the chain and the evaluation; the running agent takes it.

    Exemptions take two people, and come signed: --package.

    \b
    Example:  edge-agent feedback gw-1.factory.cap-over-contract.2026-03 confirmed --by t-17 --cause breach
    """
    from edge_agent.cli.judged import say_feedback

    given = {"cause": cause, "work_order": work_order, "recovered_kwh": recovered_kwh,
             "recovered_money": recovered_money}  # fmt: skip
    done = say_feedback(site_or_exit(site_path), finding, step, by, at, given, package)
    if as_json:
        emit(done)
    else:
        click.echo("\n".join(done["records"]))


@click.command()
@click.option("--month", metavar="YYYY-MM", help="this month alone; else every month that the store still holds")
@site_option
@json_option
def evaluate(month: str | None, site_path: Path, as_json: bool) -> None:
    """Show the audit indicators per topic and month: what was closed, in time, confirmed, rectified, came again.

    Only findings on accepted points count; exempt ones are counted apart. docs/evaluation.md

    \b
    Example:  edge-agent evaluate --month 2026-03
    """
    from edge_agent.cli.judged import evaluation, show_evaluation

    rows = evaluation(site_or_exit(site_path), month)
    if as_json:
        emit(rows)
    else:
        show_evaluation(rows)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--key", "key_path", required=True, type=click.Path(path_type=Path), help="your private key")
@click.option("--number", required=True, type=click.IntRange(1), help="above every number that this key has used")
@click.option("--scope", default="fleet", show_default=True, help="fleet, or the id of one gateway")
@click.option("--kind", type=click.Choice(["feedback", "command"]), default="feedback", show_default=True)
@click.option("--minutes", type=click.IntRange(1), help="how long it holds; a command must have an end")
@site_option
def seal(
    file: Path, out: Path, key_path: Path, number: int, scope: str, kind: str, minutes: int | None, site_path: Path
) -> None:
    """Sign a document of feedback, or a command: FILE is JSON, OUT the package for `down/feedback` or `down/command`.

    \b
    Example:  edge-agent seal feedback.json feedback.pkg --key ops.pem --number 17
              edge-agent seal ask.json ask.pkg --kind command --minutes 60 --scope gw-1 --key ops.pem --number 18
    """
    from edge_agent.cli.judged import seal_file

    seal_file(site_or_exit(site_path), file, out, key_path, number, scope, kind, minutes)


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
