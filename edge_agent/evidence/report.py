"""佐证材料: what an inspector reads and takes along. One HTML page per language, with its pictures inside.

The first part says what was found and follows the way from the raw frame to the finding; the second is filled in on
site, by hand. Everything in it comes from the frozen bundles and the messages: the page adds words and arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from html import escape
from zoneinfo import ZoneInfo

from edge_agent.contract.shapes import rfc3339
from edge_agent.evidence.curve import demand_curve, phase_bars
from edge_agent.evidence.page import Data, amount, heads, hexed, note, pairs, table, told
from edge_agent.evidence.recent import EACH_WAY
from edge_agent.evidence.site_page import site_page
from edge_agent.evidence.unknown import unknown
from edge_agent.evidence.way import opening, way
from edge_agent.evidence.worked import taken_at
from edge_agent.explain import amount_of, explain, name_of, text_of, title_of, word_of
from edge_agent.model import UNIT, Quantity
from edge_agent.words import say, sentences

STYLE = """
body { font: 14px/1.45 "Noto Sans CJK SC", "Microsoft YaHei", sans-serif; color: #222 }
body { max-width: 960px; margin: 2em auto }
h1 { font-size: 22px } h2 { font-size: 16px; border-bottom: 1px solid #bbb; margin-top: 1.6em }
h3 { font-size: 14px; margin: 1.2em 0 .4em }
table { border-collapse: collapse; width: 100% } th, td { border: 1px solid #ccc; padding: 3px 7px; text-align: left }
th { background: #f3f3f3; font-weight: 600 } td.hex { font: 12px/1.35 monospace; word-break: break-all }
td { overflow-wrap: break-word } .long td { overflow-wrap: anywhere }
svg { max-width: 100%; height: auto } .note { color: #555 }
.form td { height: 2.4em } .form th { width: 34% } .page { page-break-before: always }
@media print { body { margin: 0; max-width: none } }
"""


def report(steps: Sequence[Data], bundles: Sequence[Data], chain: Sequence[Data], lang: str) -> str:
    """The page. `steps`: as `explain` takes them; `bundles`: frozen documents by step; `chain`: the steps' places."""
    data = steps[-1] if steps else bundles[-1]["said"]
    body = "".join((*_head(data, lang), *_words(steps, bundles, lang), *_bundle(bundles, lang), *_chain(chain, lang)))
    title = escape(f"{say('report.title', lang)} {data['finding']}")
    return (
        f'<!DOCTYPE html>\n<html lang="{lang}"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>{body}{site_page(data, bundles, lang)}</body></html>\n"
    )


def _head(data: Data, lang: str) -> Iterator[str]:
    yield f"<h1>{told('report.heading', lang, topic=title_of(data['topic'], lang))}</h1>"
    names = ("finding", "point", "consumer_no", "supply_org", "metering_point", "asset_no", "release", "archive")
    rows = [(told(f"report.{n}", lang), escape(str(data[n]))) for n in names if data.get(n)]
    yield pairs([*rows, (told("report.digest", lang), escape(data["params_digest"]))])
    yield note("report.suspected", lang)


def _words(steps: Sequence[Data], bundles: Sequence[Data], lang: str) -> Iterator[str]:
    if steps:
        zone = ZoneInfo(bundles[-1]["window"]["zone"]) if bundles else None
        yield f"<h2>{told('report.in_words', lang)}</h2>"
        yield "".join(f"<p>{escape(line)}</p>" for line in explain(steps, lang, zone)[1:])


def _bundle(bundles: Sequence[Data], lang: str) -> Iterator[str]:
    """What was judged as the last step has it; registers and frames as they were when it opened."""
    if not bundles:
        yield f"<p>{told('report.no_bundle', lang)}</p>"
        return
    shown, first = bundles[-1], bundles[0]
    data, window = shown["said"], shown["window"]
    yield f"<h2>{told('report.window', lang)}</h2>"
    rows = [
        ("report.local", f"{window['start_local']} … {window['end_local']} ({window['zone']})"),
        ("report.utc", f"{window['start']} … {window['end']}"),
        ("report.clock", _clock(shown["clock"], lang)),
        ("report.coverage", f"{data['coverage']:.2%}" if "coverage" in data else ""),
        ("report.sources", str(data.get("sources", ""))),
        ("report.k", f"{data['k']:g}" if "k" in data else ""),
        ("report.serial", shown.get("meter_serial", "")),
    ]
    yield pairs([(told(code, lang), escape(text)) for code, text in rows if text])
    yield note("report.times", lang, zone=window["zone"], offset=window["start_local"][19:])
    if first["window"] != window:
        yield note("report.worst", lang, start=first["window"]["start_local"], end=first["window"]["end_local"])
    yield from _facts(data, ZoneInfo(window["zone"]), lang)
    yield from unknown(bundles, lang)
    yield from _pictures(shown, first, merged(bundles), lang)
    ends = next((b for b in reversed(bundles) if b["window"] == window and len(b["registers"]) == 2), first)
    frames = frames_of(first, ends)
    yield from way(first, ends, frames, lang)
    yield from _release(shown, lang)
    yield from _measured(data, lang)
    yield from _registers(ends, lang)
    yield from _frames(frames, first, lang)


def _measured(data: Data, lang: str) -> Iterator[str]:
    yield f"<h2>{told('report.measured', lang)}</h2>"
    rows = [
        [
            name_of(m["name"], lang),
            amount(m.get("low"), m.get("unit", "1")),
            _text(m, lang) if m.get("text") else amount(m.get("value"), m.get("unit", "1")),
            amount(m.get("high"), m.get("unit", "1")),
        ]
        for m in data["measured"]
    ]
    yield table(heads(("name", "low", "value", "high"), lang), rows)


def _text(measured: Data, lang: str) -> str:
    """A text has its word under its own name, or is a code that sentences use."""
    name, text = measured["name"], measured["text"]
    said = text_of(name, text, lang)
    return said if said != text else word_of(name, text, lang)


def _facts(data: Data, zone: ZoneInfo, lang: str) -> Iterator[str]:
    if data.get("facts"):
        yield f"<h2>{told('report.facts', lang)}</h2>"
        columns = ("name", "value", "state", "source", "since", "verified_at")
        unit = data.get("capacity", {}).get("unit", "")
        yield table(heads(columns, lang), [[_of_fact(f, n, unit, zone, lang) for n in columns] for f in data["facts"]])


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
    yield f"<h2>{told('report.around', lang)}</h2><p class='note'>{escape(say('report.blocks', lang, **counted))}</p>"
    yield curve if curve is not None else f"<p>{told('report.no_curve', lang)}</p>"
    if bars is not None:
        yield f"<div>{bars}</div>"


def _release(shown: Data, lang: str) -> Iterator[str]:
    release = shown.get("release")
    if release is None:
        return
    yield f"<h2>{told('report.limits', lang, release=release['name'])}</h2>"
    rows = [
        [
            word_of("severity", x["severity"], lang),
            f"{100 * x['above']:g} %" if release["unit"] == "1" else f"{x['above']:g} {release['unit']}",
            opening(x["open"], lang),
            source_of(x["source"], lang),
        ]
        for x in release["levels"]
    ]
    yield table(heads(("severity", "above", "open", "source"), lang), rows)
    yield note("report.marks", lang)
    yield f'<p class="note">SHA-256 {escape(release["digest"])}</p>'


def source_of(source: str, lang: str) -> str:
    """Where a level comes from, in the reader's language; word for word as published where nobody has said it."""
    code = _sources().get(source)
    return source if code is None else say(code, lang)


@cache
def _sources() -> Mapping[str, str]:
    return {said: code for code, said in sentences("en").items() if code.startswith("report.limit.")}


def _registers(shown: Data, lang: str) -> Iterator[str]:
    registers = {end: shown["registers"][end] for end in ("start", "end") if end in shown["registers"]}
    if not registers:
        return
    yield f"<h2>{told('report.registers', lang)}</h2>"
    names = sorted({q for end in registers.values() for q in end.get("registers", {})})
    tops = [f"{told(f'report.{end}', lang)} {escape(registers[end]['at'])}" for end in registers]
    rows = [[name_of(q, lang), *(_reading(end, q) for end in registers.values())] for q in names]
    yield table([*heads(("name",), lang), *tops], rows)
    yield note("report.registers_note", lang)


def frames_of(shown: Data, ends: Data) -> list[Data]:
    """Those that the devices had given last when it opened, and those of the registers at both ends, each once."""
    frames = list(shown["frames"])
    known = {(f["request"], f["reply"]) for f in frames}
    for name in ("start", "end"):
        end = ends["registers"].get(name, {})
        carried = taken_at(ends, name)
        for request, reply in end.get("frames", ()):
            if (request, reply) in known:
                continue
            own = [t for t in carried if t.first and t.reply == reply]
            quantities = [t.quantity for t in own] or sorted(end.get("registers", {}))
            at = own[0].at if own else end["at"]
            frames.append({
                "device": ends.get("meter", ""), "quantities": quantities, "at": at, "request": request, "reply": reply
            })  # fmt: skip
    return frames


def _frames(frames: Sequence[Data], first: Data, lang: str) -> Iterator[str]:
    if not frames:
        yield f"<p>{told('report.no_frames', lang)}</p>"
        return
    yield f"<h2>{told('report.frames', lang)}</h2>"
    rows = []
    for n, frame in enumerate(frames, start=1):
        of = escape(say("report.comma", lang).join(name_of(q, lang) for q in frame["quantities"]))
        hexes = "<br>".join(f"{mark} {hexed(frame[name])}" for mark, name in (("→", "request"), ("←", "reply")))
        at = f"{escape(frame.get('at', ''))}<br>{escape(frame['device'])}"
        rows.append(f"<tr><td>{n}</td><td>{at}</td><td>{of}</td><td class='hex'>{hexes}</td></tr>")
    tops = "".join(f"<th>{h}</th>" for h in heads(("frame", "at", "quantities", "bytes"), lang))
    yield f"<table><tr>{tops}</tr>{''.join(rows)}</table>"
    if first.get("left_out"):
        yield note("report.left_out", lang, count=first["left_out"])


def _chain(chain: Sequence[Data], lang: str) -> Iterator[str]:
    yield f"<h2>{told('report.chain', lang)}</h2>{note('report.chain_note', lang)}"
    columns = ("seq", "time", "step", "evidence", "prevhash")
    rows = [[_of_link(c, n, lang) for n in columns] for c in chain]
    yield f"<div class='long'>{table(heads(columns, lang), rows)}</div>"


def _clock(clock: Data, lang: str) -> str:
    quality = text_of("gateway_clock", clock["quality"], lang)
    error = clock.get("error_ms")
    code = "report.clock_said" if error is not None else "report.clock_said.no_error"
    text = say(code, lang, quality=quality, error=error)
    meter = clock.get("meter")
    if meter is None:
        return f"{text} {say('report.clock_unread', lang)}"
    offset = meter.get("offset_s", "?")
    return f"{text} {say('report.clock_meter', lang, offset=offset, text=meter['text'], at=meter['read_at'])}"


def _of_fact(fact: Data, column: str, unit: str, zone: ZoneInfo, lang: str) -> str:
    said = fact.get(column, "")
    if column in {"name", "state", "source"}:
        return word_of(f"fact.{column}", str(said), lang)
    if column == "value":
        return text_of("fact", amount_of({**fact, "value": said}, unit), lang)
    if column == "since" and said:
        return datetime.fromisoformat(said).astimezone(zone).isoformat(sep=" ", timespec="seconds")
    return str(said)


def _of_link(link: Data, column: str, lang: str) -> str:
    said = str(link.get(column, ""))
    if column != "step":
        return said
    step, _, n = said.partition(" ")
    return f"{word_of('step', step, lang)} {n}"


def _reading(end: Data, quantity: str) -> str:
    found = end.get("registers", {}).get(quantity)
    if found is None:
        return ""
    at = "" if found[2] is None else f"; {rfc3339(found[2])}"
    unit = UNIT[Quantity(quantity)]
    return f"{amount(found[0], unit)} (± {amount(found[1], unit)}){at}"
