"""A finding in plain words, from the message that was sent: nothing is said that the centre does not have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edge_agent.words import say


def explain(steps: Sequence[Mapping[str, Any]], lang: str = "en") -> list[str]:
    """Lines for a person. `steps`: the `data` of every step of one finding, first to last."""
    last = steps[-1]
    title = say(f"finding.title.{last['topic']}", lang)
    return [
        f"{title}  [{last['finding']}]",
        *_seen(last, lang),
        *_rests(last, lang),
        *_asks(last, lang),
        *_history(steps, lang),
    ]


def action_of(topic: str, lang: str = "en") -> tuple[str, str]:
    """Code and sentence of what could be done next about a topic's finding."""
    code = f"finding.action.{topic}"
    return code, say(code, lang)


def _seen(data: Mapping[str, Any], lang: str) -> Iterator[str]:
    named = {m["name"]: m for m in data["measured"]}
    interval = data["interval"]
    running = data.get("capacity", {}).get("running", 0.0)
    yield say(
        f"finding.seen.{data['topic']}",
        lang,
        start=interval.get("start", "?"),
        end=interval.get("end", "?"),
        point=data.get("point", "?"),
        low=f"{100 * _value(named, 'low'):.1f} %",
        running=f"{running / 1000:g}",
        s_low=f"{_bound(named, 'apparent_va') / 1000:.1f}",
        p_low=f"{_bound(named, 'active_w') / 1000:.1f}",
        quantity=_text(named, "quantity"),
        before=f"{_value(named, 'before') / 1000:g} kWh",
        after=f"{_value(named, 'after') / 1000:g} kWh",
        devices=_text(named, "devices"),
        link=_text(named, "link"),
        detail=_text(named, "detail"),
        silent_min=round(_value(named, "silent_s") / 60),
    )
    if "coverage" in data and "source" in named:
        source = say(f"finding.source.{_text(named, 'source')}", lang)
        yield say("finding.sure.bounds", lang, coverage=f"{100 * data['coverage']:.0f} %", source=source)
        if _value(named, "sources") > 1:
            yield say("finding.sure.both", lang)
    counts = {c["name"]: f"{c['value']:g}" for c in data["counts"]}
    if counts.get("intervals", "0") != "0":
        yield say("finding.counts", lang, **counts)


def _rests(data: Mapping[str, Any], lang: str) -> Iterator[str]:
    if "threshold" in data:
        limit = data["threshold"]
        unit = "" if limit["unit"] == "1" else f" {limit['unit']}"
        value = f"{limit['value']:.2f}" if limit["unit"] == "1" else f"{limit['value']:g}"
        yield say("finding.threshold", lang, value=value, unit=unit, release=data["release"])
    for fact in data["facts"]:
        yield say("finding.fact", lang, **{k: fact[k] for k in ("name", "value", "state", "source")})
    if data["check_archive"]:
        yield say("finding.archive_first", lang)
    if data["trial"]:
        yield say("finding.trial", lang)


def _asks(data: Mapping[str, Any], lang: str) -> Iterator[str]:
    yield say("finding.route", lang, route=say(f"finding.route.{data['route']}", lang), due=data.get("due", "?"))
    yield action_of(data["topic"], lang)[1]


def _history(steps: Sequence[Mapping[str, Any]], lang: str) -> Iterator[str]:
    for data in steps:
        yield say(
            "finding.history",
            lang,
            time=data["interval"].get("end", "?"),
            step=say(f"finding.step.{data['step']}", lang),
            reason=data["reason"],
            severity=data.get("severity", "-"),
        )


def _value(named: Mapping[str, Any], name: str) -> float:
    return float(named.get(name, {}).get("value", 0.0))


def _bound(named: Mapping[str, Any], name: str) -> float:
    return float(named.get(name, {}).get("low", 0.0))


def _text(named: Mapping[str, Any], name: str) -> str:
    return str(named.get(name, {}).get("text", "?"))
