"""A picture of two runs over the same data: each finding as a bar, above as it was, below as it would be."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import svg

from edge_agent.cli.backtesting import Backtest
from edge_agent.model import Ms
from edge_agent.replay.compare import Told

WIDTH, LEFT, RIGHT, TOP, BOTTOM, LANE, GAP = 960, 190, 16, 56, 46, 10, 14
INK, PALE, GRID = "#222222", "#555555", "#e4e4e4"
COLOURS = {"same": "#b9c4cf", "new": "#c0392b", "gone": "#2e7d4f", "moved": "#d68910", "regraded": "#7d3c98"}
LEAST = 2.0
"""Pixels of a bar at least: a quarter of an hour in a year is seen all the same."""


def write_comparison(found: Backtest, path: Path) -> None:
    """Raises OSError."""
    told = list(_told(found))
    topics = sorted({t.topic for _, _, t in told})
    start_ms = min((t.opened_ms for _, _, t in told), default=0)
    end_ms = max((t.cleared_ms or t.opened_ms for _, _, t in told), default=start_ms + 1)
    span_ms = max(1, end_ms - start_ms)
    height = TOP + BOTTOM + max(1, len(topics)) * (2 * LANE + GAP)

    def x(at_ms: Ms) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (at_ms - start_ms) / span_ms

    parts: list[svg.Element] = [
        svg.Rect(x=0, y=0, width=WIDTH, height=height, fill="#ffffff"),
        _text(16, 24, f"{found.point}: {found.names[1]} (below) against {found.names[0]} (above)", size=15),
    ]
    for at_ms, label in _months(start_ms, end_ms):
        parts += [
            svg.Line(x1=x(at_ms), x2=x(at_ms), y1=TOP - 6, y2=height - BOTTOM, stroke=GRID),
            _text(x(at_ms) + 2, height - BOTTOM + 14, label, size=10, ink=PALE),
        ]
    for row, topic in enumerate(topics):
        top = TOP + row * (2 * LANE + GAP)
        parts.append(_text(16, top + LANE + 4, topic, size=12))
        for what, lane, one in told:
            if one.topic == topic:
                end = x(one.cleared_ms if one.cleared_ms is not None else end_ms)
                width = max(LEAST, end - x(one.opened_ms))
                parts.append(
                    svg.Rect(x=x(one.opened_ms), y=top + lane * LANE, width=width, height=LANE - 1, fill=COLOURS[what])
                )
    at = 16.0
    for what, colour in COLOURS.items():
        parts.append(svg.Rect(x=at, y=height - 18, width=10, height=10, fill=colour))
        parts.append(_text(at + 14, height - 9, f"{what}: {_count(found, what)}", size=11))
        at += 110
    style = svg.Style(text="text { font-family: sans-serif }")
    path.write_text(str(svg.SVG(width=WIDTH, height=height, elements=[style, *parts])), encoding="utf-8")


def _told(found: Backtest) -> Iterator[tuple[str, int, Told]]:
    """(what became of it, lane, the finding): lane 0 as it was, 1 as it would be."""
    yield from (("gone", 0, t) for t in found.comparison.gone)
    yield from (("new", 1, t) for t in found.comparison.new)
    for what in ("same", "moved", "regraded"):
        for pair in getattr(found.comparison, what):
            yield what, 0, pair.before
            yield what, 1, pair.after


def _count(found: Backtest, what: str) -> int:
    return len(getattr(found.comparison, what))


def _months(start_ms: Ms, end_ms: Ms) -> Iterator[tuple[Ms, str]]:
    at = datetime.fromtimestamp(start_ms / 1000, UTC)
    year, month = at.year, at.month
    while True:
        year, month = year + month // 12, month % 12 + 1
        first_ms = round(datetime(year, month, 1, tzinfo=UTC).timestamp() * 1000)
        if first_ms > end_ms:
            return
        yield first_ms, f"{year}-{month:02d}"


def _text(x: float, y: float, text: str, *, size: int, ink: str = INK) -> svg.Text:
    return svg.Text(x=x, y=y, text=text, font_size=size, fill=ink)
