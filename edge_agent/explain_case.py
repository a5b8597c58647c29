"""A case in plain words, from the message that was sent: which cause is likeliest, why, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import floor
from typing import Any

from edge_agent.explain import title_of
from edge_agent.words import say

Data = Mapping[str, Any]


def explain_case(data: Data, lang: str = "en") -> list[str]:
    """Lines for a person, from a case's `data`."""
    if not data["causes"]:
        return [say("case.over", lang, point=data["point"])]
    lines = [say("case.title", lang, point=data["point"], count=len(data["findings"]))]
    for rank, cause in enumerate(data["causes"], start=1):
        lines += _cause(rank, cause, data, lang)
    if data["check_archive"]:
        lines.append(say("case.archive_first", lang))
    if data["trial"]:
        lines.append(say("case.trial", lang))
    return [*lines, say("case.order_only", lang)]


def reason_of(cause: Data, findings: Mapping[str, Data], lang: str = "en") -> str:
    """What speaks for a cause, in one sentence. `findings`: those of the case, by id."""
    clues = [_clue(findings[id_], lang) for id_ in cause["findings"]]
    clues += [say(f"case.value.{v['name']}", lang, share=percent(v["value"])) for v in cause["values"]]
    return say("case.and", lang).join(clues)


def next_of(cause: str, lang: str = "en") -> tuple[str, str]:
    """Code and sentence of the next step."""
    code = f"case.next.{cause}"
    return code, say(code, lang)


def percent(share: float) -> str:
    """Rounded down: what is said to be at least so much is."""
    return f"{floor(round(1000 * share, 6)) / 10:g} %"


def _cause(rank: int, cause: Data, data: Data, lang: str) -> Iterator[str]:
    findings = {f["finding"]: f for f in data["findings"]}
    name = say(f"case.cause.{cause['cause']}", lang)
    yield say("case.cause", lang, rank=rank, cause=name, score=f"{cause['score']:g}")
    yield say("case.because", lang, clues=reason_of(cause, findings, lang))
    follow = [title_of(f["topic"], lang) for f in data["findings"] if f.get("follows") == cause["cause"]]
    if follow:
        yield say("case.follows", lang, titles=say("case.and", lang).join(follow))
    yield say("case.route", lang, route=say(f"finding.route.{cause['route']}", lang), due=cause.get("due", "?"))
    yield say("case.next", lang, next=next_of(cause["cause"], lang)[1])


def _clue(finding: Data, lang: str) -> str:
    title = title_of(finding["topic"], lang)
    fields = {"title": title, "since": finding.get("since", "")[:16].replace("T", " ") + "Z"}
    judged = finding.get("judged")
    if judged is not None:
        unit = finding.get("unit", "1")
        fields["judged"] = f"≥ {percent(judged)}" if unit == "1" else f"≥ {judged:.6g} {unit}"
    code = "case.clue"
    if "since" in finding:
        code += ".since_judged" if judged is not None else ".since"
    elif judged is not None:
        code += ".judged"
    return say(code, lang, **fields)
