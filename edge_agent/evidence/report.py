"""佐证材料: what an inspector reads and takes along. One HTML page per language, with its pictures inside.

The first part follows the way from the raw frame to the finding; the second is filled in on site, by hand. Everything
in it comes from the frozen bundles and the messages: the page adds words and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from edge_agent.evidence.curve import demand_curve, phase_bars
from edge_agent.evidence.recent import EACH_WAY
from edge_agent.explain import explain, text_of, title_of, word_of
from edge_agent.words import say

STYLE = """
body { font: 14px/1.45 "Noto Sans CJK SC", "Microsoft YaHei", sans-serif; color: #222 }
body { max-width: 960px; margin: 2em auto }
h1 { font-size: 22px } h2 { font-size: 16px; border-bottom: 1px solid #bbb; margin-top: 1.6em }
table { border-collapse: collapse; width: 100% } th, td { border: 1px solid #ccc; padding: 3px 7px; text-align: left }
th { background: #f3f3f3; font-weight: 600 } td.hex { font: 12px/1.35 monospace; word-break: break-all }
svg { max-width: 100%; height: auto } .note { color: #555 }
.form td { height: 2.4em } .form th { width: 34% } .page { page-break-before: always }
@media print { body { margin: 0; max-width: none } }
"""
FIELDS = (
    "inspector_1", "inspector_2", "arrived", "left", "seals_found", "seals_applied", "meter_display", "meter_serial",
    "ct_plate", "customer_present", "statement", "measures",
)  # fmt: skip
CODES = ("confirmed", "not_confirmed", "cannot_tell")
CAUSES = ("archive", "wiring", "meter_fault", "collection", "breach", "established_by_inspection", "normal")
Data = Mapping[str, Any]


def report(steps: Sequence[Data], bundles: Sequence[Data], chain: Sequence[Data], lang: str) -> str:
    """The page. `steps`: as `explain` takes them; `bundles`: frozen documents by step; `chain`: the steps' places."""
    said = steps[-1] if steps else bundles[-1]["said"]
    body = "".join((*_head(said, lang), *_words(steps, lang), *_bundle(bundles, lang), *_chain(chain, lang)))
    title = escape(f"{say('report.title', lang)} {said['finding']}")
    return (
        f'<!DOCTYPE html>\n<html lang="{lang}"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>{body}{_site_page(said, lang)}</body></html>\n"
    )


def _head(said: Data, lang: str) -> Iterator[str]:
    yield f"<h1>{_said('report.title', lang)}: {escape(title_of(said['topic'], lang))}</h1>"
    names = ("finding", "point", "consumer_no", "supply_org", "metering_point", "asset_no", "release", "archive")
    yield _pairs([(_said(f"report.{n}", lang), escape(str(said[n]))) for n in names if said.get(n)])
    yield f'<p class="note">{_said("report.suspected", lang)}</p>'


def _words(steps: Sequence[Data], lang: str) -> Iterator[str]:
    if steps:
        yield f"<h2>{_said('report.in_words', lang)}</h2>"
        yield "".join(f"<p>{escape(line)}</p>" for line in explain(steps, lang)[1:])


def _bundle(bundles: Sequence[Data], lang: str) -> Iterator[str]:
    """What was judged as the last step has it; registers and frames as they were when it opened."""
    if not bundles:
        yield f"<p>{_said('report.no_bundle', lang)}</p>"
        return
    shown, first = bundles[-1], bundles[0]
    said, window = shown["said"], shown["window"]
    yield f"<h2>{_said('report.window', lang)}</h2>"
    rows = [
        ("report.local", f"{window['start_local']} … {window['end_local']} ({window['zone']})"),
        ("report.utc", f"{window['start']} … {window['end']}"),
        ("report.clock", _clock(shown["clock"], lang)),
        ("report.coverage", f"{said['coverage']:.2%}" if "coverage" in said else ""),
        ("report.sources", str(said.get("sources", ""))),
        ("report.k", f"{said['k']:g}" if "k" in said else ""),
        ("report.serial", shown.get("meter_serial", "")),
    ]
    yield _pairs([(_said(code, lang), escape(text)) for code, text in rows if text])
    yield from _pictures(shown, first, merged(bundles), lang)
    yield f"<h2>{_said('report.measured', lang)}</h2>"
    yield _table(
        [_said(f"report.column.{n}", lang) for n in ("name", "low", "value", "high", "unit")],
        [
            [
                m["name"],
                _number(m.get("low")),
                text_of(m["name"], m["text"], lang) if m.get("text") else _number(m.get("value")),
                _number(m.get("high")),
                m.get("unit", ""),
            ]
            for m in said["measured"]
        ],
    )
    yield from _release(shown, lang)
    if said.get("facts"):
        yield f"<h2>{_said('report.facts', lang)}</h2>"
        columns = ("name", "value", "state", "source", "since", "verified_at")
        heads = [_said(f"report.column.{n}", lang) for n in columns]
        yield _table(heads, [[_of_fact(f, n, lang) for n in columns] for f in said["facts"]])
    ends = next((b for b in reversed(bundles) if b["window"] == window and len(b["registers"]) == 2), first)
    yield from _registers(ends, lang)
    yield from _frames(first, ends, lang)


def merged(bundles: Sequence[Data]) -> dict[str, list[Data]]:
    """The blocks of all bundles, each once, around the window of the last."""
    window = bundles[-1]["window"]
    blocks = {b["end"]: b for bundle in bundles for part in bundle["intervals"].values() for b in part}
    out: dict[str, list[Data]] = {"before": [], "during": [], "after": []}
    for end, block in sorted(blocks.items()):
        late = block["start"] >= window["end"]
        out["before" if end <= window["start"] else "after" if late else "during"].append(block)
    return {"before": out["before"][-EACH_WAY:], "during": out["during"], "after": out["after"][:EACH_WAY]}


def _pictures(shown: Data, first: Data, blocks: Mapping[str, list[Data]], lang: str) -> Iterator[str]:
    limits = []
    capacity = shown["said"].get("capacity")
    if capacity is not None:
        limits = [(say("report.running", lang), capacity["running"])]
        if capacity["contracted"] != capacity["running"]:
            limits.append((say("report.contracted", lang), capacity["contracted"]))
    unit = "W" if capacity is not None and capacity["unit"] == "W" else "VA"
    title, judged = say("report.curve", lang), say("report.judged", lang)
    curve = demand_curve(blocks, limits, unit, shown["window"]["zone"], title, judged)
    bars = phase_bars(first["shown"], say("report.phases", lang))
    counted = {part: len(rows) for part, rows in blocks.items()}
    yield f"<h2>{_said('report.around', lang)}</h2><p class='note'>{escape(say('report.blocks', lang, **counted))}</p>"
    yield curve if curve is not None else f"<p>{_said('report.no_curve', lang)}</p>"
    if bars is not None:
        yield f"<div>{bars}</div>"


def _release(shown: Data, lang: str) -> Iterator[str]:
    release = shown.get("release")
    if release is None:
        return
    yield f"<h2>{escape(say('report.limits', lang, release=release['name']))}</h2>"
    heads = [_said(f"report.column.{n}", lang) for n in ("severity", "above", "open", "source")]
    yield _table(
        heads,
        [
            [
                word_of("severity", x["severity"], lang),
                f"{x['above']:g} {release['unit']}",
                _opening(x["open"], lang),
                x["source"],
            ]
            for x in release["levels"]
        ],
    )
    yield f'<p class="note">sha-256 {escape(release["digest"])}</p>'


def _registers(shown: Data, lang: str) -> Iterator[str]:
    registers = {end: shown["registers"][end] for end in ("start", "end") if end in shown["registers"]}
    if not registers:
        return
    yield f"<h2>{_said('report.registers', lang)}</h2>"
    names = sorted({q for end in registers.values() for q in end.get("registers", {})})
    heads = [_said("report.column.name", lang)] + [
        f"{_said(f'report.{end}', lang)} {escape(registers[end]['at'])}" for end in registers
    ]
    yield _table(
        heads, [[text_of("quantity", q, lang), *(_reading(end, q) for end in registers.values())] for q in names]
    )
    yield f'<p class="note">{_said("report.registers_note", lang)}</p>'
    both = [end.get("registers", {}).get("active_energy_import") for end in registers.values()]
    k, window = shown["said"].get("k"), shown["window"]
    hours = (datetime.fromisoformat(window["end"]) - datetime.fromisoformat(window["start"])).total_seconds() / 3600
    if len(both) == 2 and None not in both and k is not None and hours > 0:
        start, end = (reading[0] / 1000 for reading in both)
        kw = f"{(end - start) * k / hours:.2f}"
        numbers = {
            "start": f"{start:.10g} kWh",
            "end": f"{end:.10g} kWh",
            "k": f"{k:g}",
            "hours": f"{hours:g}",
            "kw": kw,
        }
        yield f"<p>{escape(say('report.sum', lang, **numbers))}</p>"


def _frames(shown: Data, ends: Data, lang: str) -> Iterator[str]:
    """Those of the registers at both ends, and those that the devices had given last when it opened."""
    frames = list(shown["frames"])
    for end in ends["registers"].values():
        frames += [
            {"device": "", "quantities": sorted(end.get("registers", {})), "at": end["at"], "request": a, "reply": b}
            for a, b in end.get("frames", ())
        ]
    if not frames:
        yield f"<p>{_said('report.no_frames', lang)}</p>"
        return
    yield f"<h2>{_said('report.frames', lang)}</h2>"
    rows = []
    for frame in frames:
        at, of = escape(frame.get("at", "")), escape(", ".join(frame["quantities"]))
        hexes = "<br>".join(f"{mark} {_hex(frame[name])}" for mark, name in (("→", "request"), ("←", "reply")))
        rows.append(f"<tr><td>{at}<br>{escape(frame['device'])}</td><td>{of}</td><td class='hex'>{hexes}</td></tr>")
    heads = "".join(f"<th>{_said(f'report.column.{n}', lang)}</th>" for n in ("at", "quantities", "bytes"))
    yield f"<table><tr>{heads}</tr>{''.join(rows)}</table>"
    if shown.get("left_out"):
        yield f"<p class='note'>{escape(say('report.left_out', lang, count=shown['left_out']))}</p>"


def _chain(chain: Sequence[Data], lang: str) -> Iterator[str]:
    yield f"<h2>{_said('report.chain', lang)}</h2><p class='note'>{_said('report.chain_note', lang)}</p>"
    columns = ("seq", "time", "step", "evidence", "prevhash")
    heads = [_said(f"report.column.{n}", lang) for n in columns]
    yield _table(heads, [[_of_link(c, n, lang) for n in columns] for c in chain])


def _site_page(said: Data, lang: str) -> str:
    """To be filled in on site, by two."""
    rows = "".join(f"<tr><th>{_said(f'report.site.{n}', lang)}</th><td></td></tr>" for n in FIELDS)
    phases = "".join(f"<th>L{n}</th>" for n in (1, 2, 3)) + "<th>N</th>"
    clamps = "".join(
        f"<tr><th>{_said(f'report.site.{n}', lang)}</th><td></td><td></td><td></td><td></td></tr>"
        for n in ("clamp_primary", "clamp_secondary", "voltage")
    )
    boxes = "".join(f"<td>☐ {_said(f'report.code.{c}', lang)}</td>" for c in CODES)
    causes = " ".join(f"☐ {_said(f'report.cause.{c}', lang)}" for c in CAUSES)
    signs = "".join(f"<td>{_said(f'report.site.sign_{n}', lang)}<br><br></td>" for n in ("1", "2", "customer"))
    return (
        f'<div class="page"><h1>{_said("report.site", lang)}</h1><p>{escape(said["finding"])}</p>'
        f"<p class='note'>{_said('report.site.safety', lang)}</p><table class='form'>{rows}</table>"
        f"<h2>{_said('report.site.clamps', lang)}</h2><table class='form'><tr><th></th>{phases}</tr>{clamps}</table>"
        f"<h2>{_said('report.site.result', lang)}</h2><table class='form'><tr>{boxes}</tr></table><p>{causes}</p>"
        f"<table class='form'><tr>{signs}</tr></table></div>"
    )


def _clock(clock: Data, lang: str) -> str:
    text = say(
        "report.clock_said",
        lang,
        quality=text_of("gateway_clock", clock["quality"], lang),
        error=clock.get("error_ms", "?"),
    )
    meter = clock.get("meter")
    if meter is None:
        return text
    offset = meter.get("offset_s", "?")
    return f"{text} {say('report.clock_meter', lang, offset=offset, text=meter['text'], at=meter['read_at'])}"


def _of_fact(fact: Data, column: str, lang: str) -> str:
    said = str(fact.get(column, ""))
    return word_of(f"fact.{column}", said, lang) if column in {"name", "state", "source"} else said


def _of_link(link: Data, column: str, lang: str) -> str:
    said = str(link.get(column, ""))
    return word_of("step", said, lang) if column == "step" else said


def _reading(end: Data, quantity: str) -> str:
    found = end.get("registers", {}).get(quantity)
    return "" if found is None else f"{found[0]:.12g} (± {found[1]:g})"


def _opening(opening: Data, lang: str) -> str:
    if opening.get("hold_s") is not None:
        return f"{opening['hold_s']} s"
    return f"{opening['k']} / {opening['n']} {text_of('per', opening['unit'], lang)}"


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.10g}"


def _hex(text: str) -> str:
    return escape(" ".join(text[i : i + 2] for i in range(0, len(text), 2)))


def _pairs(rows: Sequence[tuple[str, str]]) -> str:
    return "<table>" + "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows) + "</table>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{h}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _said(code: str, lang: str) -> str:
    return escape(say(code, lang))
