"""The way from the raw frame to the finding, one step of arithmetic after the other, to be gone once more by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from edge_agent.evidence.page import Data, amount, at_least, heads, line, note, percent, table, told
from edge_agent.evidence.worked import ACTIVE, REACTIVE, Phase, Summed, Taken, phases, ratio_of, summed, taken, taken_at
from edge_agent.explain import limit_of, name_of, text_of, word_of
from edge_agent.model import UNIT, Quantity
from edge_agent.words import say

SAMPLE = ("active_power", "reactive_power", "apparent_power")
A_VA_OR_TWO = 2.0
"""Powers are compared in whole VA or W."""

LAID_OUT = frozenset({"modbus", "dlt645"})


def way(first: Data, ends: Data, frames: Sequence[Data], lang: str) -> Iterator[str]:
    """`first`: frozen when it opened. `ends`: with the registers at both ends. `frames`: as they are numbered."""
    found = summed(ends)
    values = _of_means(first, ends) if found else _wanted(first)
    if not values:
        return
    document = ends if found else first
    yield f"<h2>{told('report.way', lang)}</h2>"
    yield from _bytes(document, values, frames, lang)
    if found:
        yield from _means(document, found, lang)
        yield from _sample(values, document, lang)
    elif seen := phases(document):
        yield from _phases(document, seen, lang)
    yield from _limit(document, lang)


def opening(opens: Data, lang: str) -> str:
    """When a level of a release opens a finding."""
    hold = opens.get("hold_s")
    if hold is None:
        return say("report.opens.count", lang, **{**opens, "unit": text_of("per", opens["unit"], lang)})
    fields = {"minutes": f"{hold / 60:g}", "k": opens["k"], "n": opens["n"]}
    return say("report.opens.of" if opens["n"] > 1 else "report.opens.hold", lang, **fields)


def _of_means(first: Data, ends: Data) -> list[Taken]:
    """The registers at both ends, and beside them one sample of the powers."""
    registers = [t for end in ("start", "end") for t in taken_at(ends, end) if t.quantity in {ACTIVE, REACTIVE}]
    return registers + [t for t in taken(first) if t.quantity in SAMPLE]


def local_time(instant: str, document: Data) -> str:
    if not instant:
        return ""
    at = datetime.fromisoformat(instant).astimezone(ZoneInfo(document["window"]["zone"]))
    return at.replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")


def _wanted(document: Data) -> list[Taken]:
    """Of what the devices showed, that which goes into the sum; else what the topic wants to see."""
    names = {v["quantity"] for rows in document["extras"].values() for v in rows}
    found = [t for t in taken(document) if t.quantity in names]
    if phases(document):
        order = ("voltage_l", "current_l", "power_factor", "active_power")
        found = [t for begins in order for t in found if t.quantity.startswith(begins)]
    return found


def _bytes(document: Data, values: Sequence[Taken], frames: Sequence[Data], lang: str) -> Iterator[str]:
    yield f"<h3>{told('report.way.bytes', lang)}</h3>"
    numbers = {frame["reply"]: n for n, frame in enumerate(frames, start=1)}
    rows = [
        [
            name_of(t.quantity, lang),
            local_time(t.at, document),
            say("report.way.register", lang, **{**t.register, "scale": f"{t.register['scale']:g}", "unit": _unit(t)}),
            say("report.way.place", lang, frame=numbers.get(t.reply, "?"), first=t.first) if t.first else "",
            t.raw,
            t.number,
            amount(t.value, UNIT[Quantity(t.quantity)]),
            "" if t.factor is None else amount(t.value * t.factor, UNIT[Quantity(t.quantity)]),
        ]
        for t in values
    ]
    yield table(heads(("name", "at_time", "register", "place", "bytes", "number", "shown", "primary"), lang), rows)
    for device in document["devices"].values():
        yield note("report.way.profile", lang, **{n: device[n] for n in ("profile", "model", "source")})
    for driver in sorted({d["driver"] for d in document["devices"].values()}):
        yield note(f"report.way.{driver}" if driver in LAID_OUT else "report.way.other", lang)
    data = document["said"]
    if data.get("k") is not None and any(t.factor is not None for t in values):
        ratios = [ratio_of(data.get("facts", ()), name) for name in ("ct", "vt")]
        ct, vt = ("1" if r is None else f"{r:g}" for r in ratios)
        yield line("report.way.primary", lang, k=f"{data['k']:g}", ct=ct, vt=vt)


def _means(document: Data, found: Sequence[Summed], lang: str) -> Iterator[str]:
    data = document["said"]
    yield f"<h3>{told('report.way.means', lang)}</h3>"
    for s in found:
        unit = "kW" if s.quantity == ACTIVE else "kvar"
        fields = {"start": f"{s.start / 1000:.10g}", "end": f"{s.end / 1000:.10g}", "unit": f"{unit}h"}
        start_at, end_at = (local_time(at, document) for at in (s.start_at, s.end_at))
        times = {"start_at": start_at, "end_at": end_at, "seconds": f"{s.seconds:.10g}"}
        power = {"power": f"{s.power / 1000:.2f} {unit}", "off": f"{s.off / 1000:.2f} {unit}"}
        name, k = name_of(s.quantity, lang), f"{data['k']:g}"
        yield line("report.way.sum", lang, name=name, k=k, **fields, **times, **power)
    powers = [s.power / 1000 for s in found]
    if len(powers) == 2:
        s_kva = (powers[0] ** 2 + powers[1] ** 2) ** 0.5
        yield line("report.way.apparent", lang, p=f"{powers[0]:.2f}", q=f"{powers[1]:.2f}", s=f"{s_kva:.2f}")
    named = {m["name"]: m for m in data["measured"]}
    for name, unit in (("active_w", "kW"), ("reactive_var", "kvar"), ("apparent_va", "kVA")):
        band = named.get(name, {})
        if "low" in band and "high" in band:
            figures = {n: f"{band[n] / 1000:.2f}" for n in ("low", "value", "high")}
            yield line("report.way.band", lang, name=name_of(name, lang), unit=unit, **figures)
    yield from _share(named, lang)


def _share(named: Mapping[str, Data], lang: str) -> Iterator[str]:
    for limit_name, name, unit in (("limit_va", "apparent_va", "kVA"), ("limit_w", "active_w", "kW")):
        limit, band = named.get(limit_name, {}).get("value"), named.get(name, {})
        if limit and {"low", "value", "high"} <= band.keys():
            shares = {f"share_{n}": percent(band[n] / limit) for n in ("value", "high")}
            shares["share_low"] = at_least(band["low"] / limit)
            figures = {n: f"{band[n] / 1000:.2f}" for n in ("low", "value", "high")}
            yield f"<h3>{told('report.way.against', lang)}</h3>"
            yield line("report.way.share", lang, unit=unit, limit=f"{limit / 1000:g}", **figures, **shares)
            judged = named.get("judged", {}).get("low")
            if judged is not None and judged < band["low"] / limit - A_VA_OR_TWO / limit:
                yield line("report.way.lower", lang, low=at_least(judged))


def _sample(values: Sequence[Taken], document: Data, lang: str) -> Iterator[str]:
    limit = next((m["value"] for m in document["said"]["measured"] if m["name"] == "limit_va"), 0.0)
    for t in values:
        if t.quantity == "apparent_power" and t.factor is not None and limit:
            s_va = t.value * t.factor
            fields = {"shown": f"{t.value / 1000:.10g}", "k": f"{t.factor:g}", "s": f"{s_va / 1000:.10g}"}
            yield line(
                "report.way.sample",
                lang,
                at=local_time(t.at, document),
                share=percent(s_va / limit),
                limit=f"{limit / 1000:g}",
                **fields,
            )


def _phases(document: Data, seen: Sequence[Phase], lang: str) -> Iterator[str]:
    yield f"<h3>{told('report.way.phases', lang)}</h3>"
    rows = [
        [p.name, f"{p.u:.10g}", f"{p.i:.10g}", f"{p.cos:.10g}", *_compared(p.made, p.shown)]
        for p in seen
    ]  # fmt: skip
    made, shown = sum(p.made for p in seen), sum(p.shown for p in seen)
    rows.append([say("report.way.all", lang), "", "", "", *_compared(made, shown)])
    yield table(heads(("phase", "volts", "amps", "factor", "made", "power_shown", "ratio"), lang), rows)
    named = {m["name"]: m for m in document["said"]["measured"]}
    ratio, judged = named.get("ratio", {}).get("value"), named.get("judged", {}).get("low")
    if ratio is None or judged is None:
        return
    off = abs(ratio - 1)
    figures = {"made": f"{made / 1000:.2f}", "shown": f"{shown / 1000:.2f}", "ratio": f"{ratio:.4f}"}
    yield line(
        "report.way.deviation", lang, **figures, off=f"{off:.4f}", tolerance=f"{off - judged:.2g}", low=f"{judged:.4f}"
    )
    pattern = say(f"finding.pattern.{named.get('pattern', {}).get('text', 'none')}", lang)
    at = named.get("at", {}).get("text")
    yield line("report.way.pattern", lang, pattern=say("finding.at", lang, pattern=pattern, at=at) if at else pattern)


def _limit(document: Data, lang: str) -> Iterator[str]:
    """Which level was passed, by what, and how it was made sure of."""
    release, passed = document.get("release"), document["said"].get("threshold", {})
    levels = [] if release is None else [x for x in release["levels"] if x["above"] == passed.get("value")]
    judged: Data = next((m for m in document["said"]["measured"] if m["name"] == "judged"), {})
    if release is None or not levels or "low" not in judged:
        return
    level = levels[-1]
    yield f"<h3>{told('report.way.limit', lang)}</h3>"
    fields = {"severity": word_of("severity", level["severity"], lang), "release": release["name"]}
    low = at_least(judged["low"]) if release["unit"] == "1" else f"{judged['low']:g} {release['unit']}"
    yield line("report.way.passed", lang, above=limit_of(document["said"]), low=low, **fields)
    yield line("report.way.opened", lang, opening=opening(level["open"], lang))
    sources = {m.get("text") for m in document["said"]["measured"] if m["name"] == "source"}
    if level["open"].get("hold_s"):
        if document["said"].get("origin") != "meter":
            yield line("report.way.sure.held", lang)
    elif sources & {"register", "power"}:  # what a meter wrote down has no next reading
        yield line("report.way.sure.next", lang)


def _compared(made: float, shown: float) -> tuple[str, str, str]:
    return f"{made / 1000:.3f}", f"{shown / 1000:.3f}", f"{shown / made:.4f}" if made else ""


def _unit(value: Taken) -> str:
    unit = value.register["unit"]
    return "" if unit == "1" else f" {unit}"
