"""What was found on a link, for a terminal, as one JSON document, and as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.table import Table

from edge_agent.model import LINES, LinkSpec
from edge_agent.sighting import Inventory, Seen, Sighting
from edge_agent.survey import Probed, Report
from edge_agent.survey.fragment import fragment
from edge_agent.survey.meter_profile import site_tables
from edge_agent.survey.scan import minutes, refused, said, who
from edge_agent.survey.vector import file_name, vector
from edge_agent.survey.wiring import Guess
from edge_agent.words import phrase, say, spoken


class Output(NamedTuple):
    """Where a technician wants what was found."""

    write: Path | None = None
    dump: Path | None = None


class Visit(NamedTuple):
    """What was found on a link, and which profiles fit; `known`: the site file has the link."""

    spec: LinkSpec
    known: bool
    report: Report | None
    probed: list[Probed]
    profile: str = "dlms-generic-3p"
    """Of the DLMS meters that were found."""
    device: str = ""
    """The device of the site that was asked, alone."""

    @property
    def meters(self) -> list[tuple[Sighting, Inventory]]:
        """The DLMS meters that were found, and what they list."""
        found = [f.sighting for f in self.report.found] if self.report is not None else []
        return [(s, s.inventory) for s in found if s.inventory is not None and s.seen is Seen.DEVICE]


def plain_report(report: Report) -> dict[str, Any]:
    """A scan as one document."""
    return {
        "link": report.link,
        "kind": report.kind,
        "where": report.where,
        "setting": str(report.setting) if report.setting and report.kind in LINES else None,
        "complete": report.complete,
        "objection": report.objection,
        "masters": list(report.heard),
        "listened_s": round(report.listened_s, 1),
        "spent_s": round(report.spent_s, 1),
        "worst_s": round(report.worst_s, 1),
        "limit_s": round(report.limit_s, 1),
        "not_looked_at": report.left_out,
        "found": [
            {
                "driver": f.sighting.driver,
                "address": f.sighting.address,
                "setting": str(f.setting) if report.kind in LINES else None,
                "seen": f.sighting.seen.value,
                "detail": f.sighting.detail,
                "refusal": refused(f.sighting) if f.sighting.refusal is not None else "",
                "says": dict(f.sighting.texts),
                "waited_ms": round(1000 * f.sighting.waited_s, 1),
                "asked": f.sighting.frame.request.hex(" ") if f.sighting.frame else "",
                "frame": f.sighting.frame.reply.hex(" ") if f.sighting.frame else "",
            }
            for f in report.found
        ],
        "advice": report.advice(),
    }


def show_report(report: Report) -> None:
    table = Table("device", "protocol", "setting", "seen", "answered after", title=f"{report.link} ({report.where})")
    for f in sorted(report.found, key=lambda f: (f.sighting.driver, f.sighting.address.zfill(12))):
        waited = f"{1000 * f.sighting.waited_s:.0f} ms" if f.sighting.waited_s else ""
        setting = str(f.setting) if report.kind in LINES else ""
        table.add_row(who(f.sighting), f.sighting.driver, setting, said(f.sighting), waited)
    if report.found:
        Console(width=None if Console().is_terminal else 160).print(table)
    click.echo(
        f"{len(report.devices)} device(s) in {minutes(report.spent_s)}, after {report.listened_s:.0f} s of listening"
    )
    if report.objection:
        click.echo(report.objection)
    if report.left_out:
        click.echo(say("survey.left_out", what="; ".join(report.left_out)))
    for line in report.advice():
        click.echo(line)


def plain_visit(visit: Visit) -> dict[str, Any]:
    """A visit as one document."""
    document = {} if visit.report is None else plain_report(visit.report)
    return {**document, "probed": [plain_probed(p) for p in visit.probed], "fragment": fragment_of(visit)}


def fragment_of(visit: Visit) -> str:
    """The tables for the site file; "" where there are none."""
    if visit.device or not (visit.probed or visit.meters):
        return ""
    setting = next((p.setting for p in visit.probed if p.setting is not None), None)
    if visit.report is not None and visit.report.kind in LINES:
        setting = setting or visit.report.setting
    more: list[str] = []
    for sighting, inventory in visit.meters:
        more += ["", *site_tables(visit.spec, visit.profile, sighting, inventory)]
    return fragment(visit.spec, setting, visit.probed, known=visit.known, more=more[1:])


def plain_probed(probed: Probed) -> dict[str, Any]:
    return {
        "driver": probed.sighting.driver,
        "address": probed.sighting.address,
        "setting": None if probed.setting is None else str(probed.setting),
        "says": dict(probed.sighting.texts),
        "verdict": spoken(probed.verdict),
        "profile": None if probed.best is None else probed.best.profile.name,
        "score": None if probed.best is None else round(probed.best.score, 3),
        "cannot_tell_from": [f.profile.name for f in probed.alike],
        "cut_short": probed.cut_short,
        "fits": [
            {
                "profile": f.profile.name,
                "score": round(f.score, 3),
                "reasons": [
                    {
                        "fits": None if r.fit is None else round(r.fit, 3),
                        "weight": round(r.weight, 1),
                        "says": spoken(r.says),
                    }
                    for r in f.remarks
                ],
            }
            for f in probed.fits
        ],
        "passed_over": {name: spoken(why) for name, why in probed.passed_over},
        "other_word_order": [
            {"profile": f.profile.name, "order": f.order, "score": round(f.score, 3)} for f in probed.reordered
        ],
        "side": _plain_guess(probed.side),
        "phases": _plain_guess(probed.phases),
    }


def _plain_guess(guess: Guess | None) -> dict[str, Any] | None:
    if guess is None:
        return None
    return {"guess": guess.what or None, "confidence": guess.confidence, "why": spoken(guess.why)}


def write_out(visit: Visit, output: Output) -> None:
    """The fragment and the vectors, as files of their own names. Raises `ClickException`."""
    try:
        if output.write is not None and fragment_of(visit):
            output.write.mkdir(parents=True, exist_ok=True)
            path = output.write / f"{visit.spec.id}.toml"
            path.write_text(fragment_of(visit), encoding="utf-8")
            click.echo(f"wrote {path}", err=True)
        if output.dump is not None:
            output.dump.mkdir(parents=True, exist_ok=True)
            taken: list[str] = []
            for probed in visit.probed:
                if probed.best is None:
                    continue
                taken.append(file_name(probed.best, probed, taken))
                path = output.dump / taken[-1]
                path.write_text(vector(probed, probed.best), encoding="utf-8")
                click.echo(f"wrote {path}", err=True)
    except OSError as cause:
        raise click.ClickException(f"{cause.filename}: {cause.strerror}") from None


def show_visit(visit: Visit, output: Output, show_more: Callable[[Visit], None] = lambda visit: None) -> None:
    if visit.report is not None:
        show_report(visit.report)
    show_more(visit)
    for probed in visit.probed:
        show_probed(probed)
    if fragment_of(visit) and output.write is None:
        click.echo()
        click.echo(fragment_of(visit), nl=False)


def show_probed(probed: Probed) -> None:
    """The likeliest profiles, each with its score and what could be checked."""
    click.echo(f"\n{who(probed.sighting)}: {spoken(probed.verdict)}")
    for n, fit in enumerate(probed.fits[:4]):
        click.echo(f"  {fit.score:.2f}  {fit.profile.name}  ({fit.profile.model})")
        for remark in fit.remarks:
            wrong = remark.fit is not None and remark.fit < 0.75
            if n == 0 or wrong:
                mark = "?" if remark.fit is None else "-" if remark.fit < 0.4 else "~" if wrong else "+"
                click.echo(f"        {mark} {spoken(remark.says)}")
    for fit in probed.reordered[:2]:
        fields = {"profile": fit.profile.name, "score": f"{fit.score:.2f}", "order": fit.order}
        click.echo(f"  {spoken(phrase('survey.reordered', **fields))}")
    for name, guess in (("side", probed.side), ("phases", probed.phases)):
        if guess is not None:
            what = f"{guess.what} (confidence {guess.confidence:.2f})" if guess.what else "cannot say"
            click.echo(f"  {name}: {what}; {spoken(guess.why)}")
    if probed.cut_short:
        click.echo(f"  {say('survey.cut_short')}")
