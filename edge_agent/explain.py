"""A finding in plain words, from the message that was sent: nothing is said that the centre does not have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from math import floor
from typing import TYPE_CHECKING, Any

from edge_agent.words import Phrase, say, sentences, spoken

if TYPE_CHECKING:
    from edge_agent.tariff import Estimate, Said

Data = Mapping[str, Any]
KILO = frozenset({"W", "var", "VA", "Wh", "varh", "VAh"})
"""Units that people read with a k before them."""
FACT_UNIT = {
    "transformer": "VA", "demand_period": "min", "demand_slide": "min", "rated_voltage": "V", "maximum_current": "A",
}  # fmt: skip
"""Of facts that are numbers; a capacity is in VA or W, as the contract has it."""
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_ALIKE = re.compile(r"(\d+) times in (\d+) min")


def explain(steps: Sequence[Data], lang: str = "en", zone: tzinfo | None = None) -> list[str]:
    """Lines for a person.

    `steps`: the `data` of every step of one finding, first to last, each with the `severity` and `time` of its message.
    `zone`: of the point, where it is known: then every instant stands there in local time as well.
    """
    last = steps[-1]
    title = title_of(last["topic"], lang)
    lines = [
        f"{title}  [{last['finding']}]",
        *_state(last, lang),
        *_seen(last, lang),
        *_rests(last, lang),
        *_estimated(last, lang),
        *_asks(last, lang),
        *_history(steps, lang),
    ]
    return lines if zone is None else [_INSTANT.sub(lambda said: _in_both(said[0], zone), line) for line in lines]


def title_of(topic: str, lang: str = "en") -> str:
    """The finding's own title in that language, else the topic's name; a topic that nobody named, by its id."""
    for code in (f"finding.title.{topic}", f"topic.{topic}"):
        if code in sentences(lang):
            return say(code, lang)
    return say(f"finding.title.{topic}") if f"finding.title.{topic}" in sentences("en") else topic


def action_of(topic: str, lang: str = "en") -> tuple[str, str]:
    """Code and sentence of what could be done next about a topic's finding."""
    code = f"finding.action.{topic}"
    return code, say(code if code in sentences(lang) else "finding.action.generic", lang)


def word_of(kind: str, word: str, lang: str) -> str:
    """A code of the message in the reader's language; as it is where nobody has a word for it."""
    code = f"finding.{kind}.{word}"
    return say(code, lang) if code in sentences("en") else word


def name_of(name: str, lang: str) -> str:
    """A measured value's name in the reader's language; as it was sent where nobody has a word for it."""
    for code in (f"finding.name.{name}", f"finding.quantity.{name}", f"finding.quantity.{name.rpartition('_')[0]}"):
        if code in sentences("en"):
            return say(code, lang)
    return name


def amount_of(fact: Data, unit: str) -> str:
    """A fact's value as people write it. `unit`: of a capacity."""
    return _amount(fact["value"], unit if fact["name"] == "capacity" else FACT_UNIT.get(fact["name"], ""))


def rests_on_ratio(data: Data) -> bool:
    """Whether it would be another finding behind other transformers."""
    return data.get("k", 1) != 1 and any(f["name"] in {"ct", "vt"} for f in data.get("facts", ()))


def text_of(name: str, text: str, lang: str) -> str:
    """A measured text in the reader's language; as it was sent where nobody has a word for it."""
    code = f"finding.text.{name}.{text.replace(' ', '_')}"
    if code in sentences(lang):
        return say(code, lang)
    alike = _ALIKE.fullmatch(text)
    return text if alike is None else say("finding.alike", lang, times=alike[1], minutes=alike[2])


def reckoned(estimate: Mapping[str, Any] | None, lang: str = "en") -> list[str]:
    """The arithmetic of an estimate as a finding keeps it: codes and fields, one a line."""
    return [] if estimate is None else [spoken(_kept(line), lang) for line in estimate.get("lines", ())]


def explain_estimate(estimate: Estimate, lang: str = "en") -> list[str]:
    """What a rule would make of measured quantities, line by line, with the arithmetic."""
    return [spoken(_phrase(said), lang) for said in estimate.said()]


def _kept(line: Mapping[str, Any]) -> Phrase:
    fields = {n: _kept(v) if isinstance(v, Mapping) else v for n, v in line["fields"].items()}
    return Phrase(line["code"], fields)


def _phrase(said: Said) -> Phrase:
    from decimal import Decimal

    from edge_agent.tariff import Said

    def field(value: object) -> object:
        if isinstance(value, Said):
            return _phrase(value)
        return f"{value:f}" if isinstance(value, Decimal) else value

    return Phrase(said.code, {name: field(value) for name, value in said.fields.items()})


def _state(data: Data, lang: str) -> Iterator[str]:
    word = "open" if data["active"] else "over"
    yield say(f"finding.state.{word}", lang, opened=data.get("opened", "?"), at=data.get("time") or "?")


def _seen(data: Data, lang: str) -> Iterator[str]:
    """What was measured against what: the interval, the bound that counts, and how sure that is."""
    named = {m["name"]: m for m in data["measured"]}
    interval, capacity = data["interval"], data.get("capacity", {})
    unit = capacity.get("unit", "")
    drawn = named.get("active_w" if unit == "W" else "apparent_va", {}).get("low")
    only_active = drawn is None and "low" in named.get("active_w", {})
    fields = {
        "start": interval.get("start", "?"),
        "end": interval.get("end", "?"),
        "point": data.get("point", "?"),
        "share": _percent(named.get("judged", {}).get("low"), 1),
        "threshold": limit_of(data),
        "release": data["release"],
        "drawn": _at_least(named["active_w"]["low"], "W") if only_active else _at_least(drawn, unit),
        "running": _amount(capacity.get("running"), unit),
        "contracted": _amount(capacity.get("contracted"), unit),
        "quantity": _told(named, "quantity", lang),
        "before": _amount(named.get("before", {}).get("value"), named.get("before", {}).get("unit", "")),
        "after": _amount(named.get("after", {}).get("value"), named.get("after", {}).get("unit", "")),
        "devices": _text(named, "devices"),
        "link": _text(named, "link"),
        "detail": _detail(named, lang),
        "silent_min": round(named.get("silent_s", {}).get("value", 0.0) / 60),
    }
    fields |= {name: _plainly(m, lang) for name, m in named.items() if name not in fields}
    fields |= {
        "coverage_share": _percent(data.get("coverage")),
        "projected": _at_least(named.get("projected_w", {}).get("low"), "W"),
        "level_before": _level(named, "before"),
        "level_since": _level(named, "since"),
        "rated": _amount(named.get("limit_va", named.get("rated_va", {})).get("value"), "VA"),
        "free": _percent(named.get("free_share", {}).get("value")),
        "times": _times(named.get("judged", {}).get("low")),
        "suspended_since": _text(named, "suspended_since_at"),
    }
    periods = round(named.get("periods", {}).get("value", 1))
    code = f"finding.seen.{data['topic']}"
    if periods > 1 and f"{code}.several" in sentences("en"):
        code, fields = f"{code}.several", {**fields, "periods": periods}
    if "event" in named:
        by_meter = f"{code}.meter" if f"{code}.meter" in sentences("en") else code
        code, fields = f"{by_meter}{_sources(named)}", {**fields, **_event(named, lang)}
    else:
        fields |= _phases(named, lang)
    if code not in sentences(lang):
        code, fields = "finding.seen.generic", {**fields, "values": _values(data["measured"], lang)}
    yield say(code, lang, **fields)
    yield from _between(named, lang)
    if "source" in named and "coverage" in data:
        source = _text(named, "source")
        yield say(
            f"finding.sure.{'recorded' if source == 'recorded' else 'bounds'}",
            lang,
            coverage=_percent(data["coverage"]),
            source=say(f"finding.source.{source}", lang),
        )
        if data.get("sources", 1) > 1:
            yield say("finding.sure.both", lang)
        if only_active:
            yield say("finding.sure.active_only", lang)
    if "witness" in named:
        yield say("finding.sure.witness", lang, event=say(f"finding.event.{_text(named, 'witness')}", lang))
    counts = {c["name"]: f"{c['value']:g}" for c in data["counts"]}
    if counts.get("intervals", "0") != "0":
        yield say("finding.counts", lang, **counts)


def _between(named: Mapping[str, Data], lang: str) -> Iterator[str]:
    """The best value and the upper bound, beside the lower one that counts."""
    for limit, name, unit in (("limit_va", "apparent_va", "VA"), ("limit_w", "active_w", "W")):
        of, band = named.get(limit, {}).get("value"), named.get(name, {})
        if of and {"value", "high"} <= band.keys() and named.get("periods", {}).get("value", 1) == 1:
            value, high = (f"{band[n] / 1000:.1f} k{unit}" for n in ("value", "high"))
            share, share_high = (f"{100 * band[n] / of:.1f} %" for n in ("value", "high"))
            yield say("finding.sure.between", lang, value=value, high=high, share=share, share_high=share_high)


def _rests(data: Data, lang: str) -> Iterator[str]:
    if data.get("origin") == "meter":
        yield say("finding.sure.meter", lang)
    if "threshold" in data and data["threshold"]["unit"] != "count":
        yield say(
            "finding.threshold", lang, threshold=limit_of(data), release=data["release"],
            digest=data["params_digest"][: len("sha-256:") + 16],
        )  # fmt: skip
    for fact in data["facts"]:
        value = text_of("fact", amount_of(fact, data.get("capacity", {}).get("unit", "")), lang)
        yield say("finding.fact", lang, **_fact(fact, value, lang))
    if rests_on_ratio(data):
        yield say("finding.k", lang, k=f"{data['k']:g}")
    if data["check_archive"]:
        yield say("finding.archive_first", lang)
    if data["trial"]:
        yield say("finding.trial", lang)


def _estimated(data: Data, lang: str) -> Iterator[str]:
    estimate = data.get("estimate")
    if estimate is not None:
        from edge_agent.words.again import again

        yield say("tariff.estimate", lang, rule=estimate["rule"])
        yield from (again(line, "tariff.", lang) for line in estimate["lines"])
        code = "tariff.total_at_most" if estimate["at_most"] else "tariff.total"
        yield say(code, lang, amount=estimate["amount"], currency=estimate["currency"])


def _asks(data: Data, lang: str) -> Iterator[str]:
    yield say("finding.route", lang, route=say(f"finding.route.{data['route']}", lang), due=data.get("due", "?"))
    yield action_of(data["topic"], lang)[1]


def _history(steps: Sequence[Data], lang: str) -> Iterator[str]:
    for data in steps:
        yield say(
            "finding.history",
            lang,
            time=data.get("time") or "?",
            step=say(f"finding.step.{data['step']}", lang),
            reason=word_of("reason", data["reason"], lang),
            severity=word_of("severity", data.get("severity", "?"), lang),
        )


def _values(measured: Sequence[Data], lang: str) -> str:
    """Every number with the bound that counts, and every text: for a topic without a sentence."""
    said = []
    for m in measured:
        name, unit = name_of(m["name"], lang), m.get("unit", "")
        mark, number = next(
            ((k, m[n]) for k, n in (("≥ ", "low"), ("", "value"), ("≤ ", "high")) if n in m), ("", None)
        )
        said.append(f"{name} = {m.get('text') or mark + _amount(number, '' if unit == '1' else unit)}")
    return "; ".join(said)


def _fact(fact: Data, value: Any, lang: str) -> dict[str, Any]:
    said = {part: word_of(f"fact.{part}", fact[part], lang) for part in ("name", "state", "source")}
    verified = fact.get("verified_at", "") if fact["state"] == "verified" else ""
    return {**said, "state": f"{said['state']} {verified}".rstrip(), "value": value}


def _sources(named: Mapping[str, Data]) -> str:
    """Which of a meter's words there are: its counter's, its log's, both."""
    if "after" not in named:
        return ".log"
    return ".both" if "logged_first_at" in named else ""


def _phases(named: Mapping[str, Data], lang: str) -> dict[str, str]:
    """What a meter showed of its phases, and which of them is meant."""
    phase, at = _text(named, "phase"), _text(named, "at", "")
    pattern = say(f"finding.pattern.{_text(named, 'pattern', 'none')}", lang)
    return {
        "phase": phase,
        "of_phase": "" if phase == "?" else say("finding.of_phase", lang, phase=phase),
        "voltage": _percent(named.get("voltage_share", {}).get("value"), 1),
        "shown": _shown(named) or _told(named, "shown", lang),
        "ratio": f"{named.get('ratio', {}).get('value', 0):.3g}",
        "pattern": say("finding.at", lang, pattern=pattern, at=at) if at else pattern,
        "direction": say(f"finding.direction.{_text(named, 'direction', 'low')}", lang),
        "measure": say(f"finding.measure.{_text(named, 'measure', 'spread')}", lang),
        "unbalance": f"{named.get('unbalance_percent', {}).get('value', 0):.3g}",
        "limit": f"{named.get('limit_percent', {}).get('value', 0):.3g}",
        "sequence_of": _told(named, "sequence_of", lang),
        "status_word": _text(named, "status_word"),
        "median": f"{named.get('median_percent', {}).get('high', 0):.3g} %",
        "days": f"{named.get('days', {}).get('value', 0):g}",
    }


def _shown(named: Mapping[str, Data]) -> str:
    """`L1 230.1 V, 198.4 A, 41.2 kW; L2 ...`: as far as the meter shows it."""
    out: list[str] = []
    for place in ("l1", "l2", "l3", "l12", "l23", "l31"):
        kinds = (("voltage", "V", 1.0), ("current", "A", 1.0), ("active_power", "kW", 1e-3))
        parts = [
            f"{measured['value'] * factor:.10g} {unit}"
            for kind, unit, factor in kinds
            if "value" in (measured := named.get(f"{kind}_{place}_{unit[-1].lower()}", {}))
        ]
        out += [f"{place.upper()} {', '.join(parts)}"] if parts else []
    return "; ".join(out)


def _event(named: Mapping[str, Data], lang: str) -> dict[str, str]:
    first, last = _text(named, "logged_first_at"), _text(named, "logged_last_at")
    return {
        "event": say(f"finding.event.{_text(named, 'event')}", lang),
        "events": f"{named['events']['value']:g}",
        "before": f"{named.get('before', {}).get('value', 0):g}",
        "after": f"{named.get('after', {}).get('value', 0):g}",
        "before_at": _text(named, "before_at"),
        "after_at": _text(named, "after_at"),
        "logged": first if first == last else f"{first} … {last}",
    }


def _level(named: Mapping[str, Data], when: str) -> str:
    """The peaks before and since, VA or W."""
    for unit in ("VA", "W"):
        found = named.get(f"level_{when}_{unit.lower()}")
        if found is not None:
            return _at_least(found.get("low", found.get("value")), unit)
    return "?"


def _plainly(measured: Data, lang: str) -> str:
    """A measured value as it stands: its text, or the bound that counts and its unit."""
    if "text" in measured:
        return text_of(measured["name"], str(measured["text"]), lang)
    number = measured.get("low", measured.get("value", measured.get("high")))
    return "?" if number is None else f"{number:.10g}"


def _times(ratio: float | None) -> str:
    return "?" if ratio is None else f"{floor(ratio * 100 + 1e-6) / 100:g}"


def limit_of(data: Data) -> str:
    """The published limit that was passed."""
    limit = data.get("threshold")
    if limit is None:
        return "?"
    return _percent(limit["value"]) if limit["unit"] == "1" else _amount(limit["value"], limit["unit"])


def _in_both(instant: str, zone: tzinfo) -> str:
    local = datetime.fromisoformat(instant).astimezone(zone)
    return f"{local.isoformat(sep=' ', timespec='seconds')} [{instant}]"


def _percent(share: float | None, digits: int = 0) -> str:
    """Rounded down: what is said to be at least so much is."""
    if share is None:
        return "?"
    return f"{floor(round(100 * share * 10**digits, 6)) / 10**digits:.{digits}f} %"


def _at_least(value: float | None, unit: str) -> str:
    """`262.3 kVA`, rounded down."""
    return "?" if value is None else f"{floor(value / 100) / 10:.1f} k{unit}"


def _amount(value: Any, unit: str) -> str:
    """`250 kVA`, with every digit that was sent; a text as it is."""
    if not isinstance(value, int | float):
        return "?" if value is None else str(value)
    if unit in KILO:
        return f"{value / 1000:.10g} k{unit}"
    return f"{value:.10g} {unit}".rstrip()


def _text(named: Mapping[str, Data], name: str, otherwise: str = "?") -> str:
    return str(named.get(name, {}).get("text", otherwise))


def _told(named: Mapping[str, Data], name: str, lang: str) -> str:
    return text_of(name, _text(named, name), lang)


def _detail(named: Mapping[str, Data], lang: str) -> str:
    """What the driver wrote, in English; to another reader the cause, for which there is a word."""
    if "detail" in named and (lang == "en" or "cause" not in named):
        return _text(named, "detail")
    return _told(named, "cause", lang)
