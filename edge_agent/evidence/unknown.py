"""What the facts of a finding do not say, said: an inspector asks there first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edge_agent.evidence.page import Data, told
from edge_agent.explain import name_of, rests_on_ratio, word_of
from edge_agent.words import say

OF_RATIOS = frozenset({"met-ratio-mismatch", "met-unmetered-current"})
"""Topics that measure the ratio themselves."""


def unknown(bundles: Sequence[Data], lang: str) -> Iterator[str]:
    """`bundles`: by step; asked are what was frozen when it opened, and what was said last."""
    first, data = bundles[0], bundles[-1]["said"]
    yield f"<h2>{told('report.unknown', lang)}</h2><ul>"
    yield from (f"<li>{line}</li>" for line in _lines(first, data, lang))
    yield "</ul>"


def _lines(first: Data, data: Data, lang: str) -> Iterator[str]:
    shown = {v["quantity"] for v in first["shown"] if "gap" not in v}
    if rests_on_ratio(data) and data["topic"] not in OF_RATIOS:
        yield told("report.unknown.ratio", lang)
    if "meter" in first and "meter_serial" not in shown:
        yield told("report.unknown.serial", lang)
    if "meter" in first and "meter" not in first["clock"]:
        yield told("report.unknown.clock", lang)
    if data.get("coverage", 1.0) < 1.0:
        yield told("report.unknown.coverage", lang, share=f"{1 - data['coverage']:.2%}")
    if data.get("sources") == 1:
        yield told("report.unknown.one_way", lang)
    if gaps := sorted({name_of(v["quantity"], lang) for v in first["shown"] if "gap" in v}):
        yield told("report.unknown.gaps", lang, names=say("report.comma", lang).join(gaps))
    if open_facts := [word_of("fact.name", f["name"], lang) for f in data["facts"] if f["state"] != "verified"]:
        yield told("report.unknown.facts", lang, names=say("report.comma", lang).join(open_facts))
    yield told("report.unknown.why", lang)
