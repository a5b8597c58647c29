"""What the parts of a page are put together from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import floor
from typing import Any

from edge_agent.explain import KILO
from edge_agent.words import say

Data = Mapping[str, Any]


def told(code: str, lang: str, **fields: object) -> str:
    return escape(say(code, lang, **fields))


def line(code: str, lang: str, **fields: object) -> str:
    return f"<p>{told(code, lang, **fields)}</p>"


def note(code: str, lang: str, **fields: object) -> str:
    return f'<p class="note">{told(code, lang, **fields)}</p>'


def heads(names: Iterable[str], lang: str) -> list[str]:
    return [told(f"report.column.{n}", lang) for n in names]


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    return "<table>" + "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows) + "</table>"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{h}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def amount(value: float | None, unit: str) -> str:
    """`1234.56 kWh`, with every digit; a plain number has no unit."""
    if value is None:
        return ""
    thousand = unit in KILO
    return f"{value / 1000 if thousand else value:.10g} {'k' if thousand else ''}{'' if unit == '1' else unit}".rstrip()


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def at_least(share: float) -> str:
    """Rounded down: what is said to be at least so much is."""
    return f"{floor(round(1e4 * share, 6)) / 100:.2f} %"


def hexed(text: str) -> str:
    return escape(" ".join(text[i : i + 2] for i in range(0, len(text), 2)))
