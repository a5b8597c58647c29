"""A day's load against the contract, as text for a terminal and as an SVG file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import svg

_WIDTH, _HEIGHT = 960, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 48, 44


@dataclass(frozen=True, slots=True)
class Block:
    """Mean apparent power of one closed interval; `hour` is the local time of day of its end, (0, 24]."""

    hour: float
    s_kva: float


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when a finding was open, in hours of the day."""

    opened: float
    cleared: float | None


def chart(blocks: Sequence[Block], contract_kva: float, *, color: bool) -> str:
    """The day for a terminal of 80 columns; without `color` plain characters, as for a pipe."""
    import plotext

    figure = plotext.figure
    figure.clear()
    figure.plot_size(80, 20)
    figure.theme("colorless")
    load = figure.signal([b.hour for b in blocks], [b.s_kva for b in blocks], marker="braille")
    load.lines()
    figure.draw(load)
    figure.draw(figure.segment((0, 24), (contract_kva, contract_kva), marker="-"))
    figure.title(f"S of each 15 minutes, kVA;  - - contract {contract_kva:g} kVA")
    figure.ruler("x").lim(0, 24)
    figure.ruler("x").ticks(list(range(0, 25, 3)), [f"{h:02d}:00" for h in range(0, 25, 3)])
    top_kva = _top(blocks, contract_kva)
    figure.ruler("y").lim(0, top_kva)
    figure.ruler("y").ticks(list(range(0, top_kva + 1, 50)))
    return str(figure.build().string(colorless=not color))


def drawing(blocks: Sequence[Block], contract_kva: float, spans: Sequence[Span], *, title: str) -> str:
    """The day as an SVG document: each interval a bar, red where it is over the contract, findings shaded."""
    top_kva = _top(blocks, contract_kva)

    def x(hour: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * hour / 24, 2)

    def y(kva: float) -> float:
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * kva / top_kva, 2)

    shapes: list[svg.Element] = [svg.Rect(x=0, y=0, width=_WIDTH, height=_HEIGHT, fill="#ffffff")]
    for span in spans:
        end = 24.0 if span.cleared is None else span.cleared
        shapes.append(
            svg.Rect(x=x(span.opened), y=_TOP, width=x(end) - x(span.opened), height=y(0) - _TOP, fill="#fdecc8")
        )
        shapes.append(_text(x(span.opened) + 4, _TOP + 14, "finding open", "#8a5a00"))
    for kva in range(0, top_kva + 1, 50):
        shapes.append(svg.Line(x1=_LEFT, y1=y(kva), x2=_WIDTH - _RIGHT, y2=y(kva), stroke="#e3e3e3", stroke_width=1))
        shapes.append(_text(_LEFT - 8, y(kva) + 4, str(kva), "#444444", anchor="end"))
    for b in blocks:
        color = "#c62828" if b.s_kva > contract_kva else "#3b6ea5"
        start = x(b.hour - 0.25)
        shapes.append(
            svg.Rect(x=start, y=y(b.s_kva), width=round(x(b.hour) - start - 1, 2), height=y(0) - y(b.s_kva), fill=color)
        )
    limit_y = y(contract_kva)
    shapes.append(
        svg.Line(
            x1=_LEFT,
            y1=limit_y,
            x2=_WIDTH - _RIGHT,
            y2=limit_y,
            stroke="#111111",
            stroke_width=1.5,
            stroke_dasharray=[6, 4],
        )
    )
    shapes.append(_text(_WIDTH - _RIGHT, limit_y - 6, f"contract {contract_kva:g} kVA", "#111111", anchor="end"))
    for hour in range(0, 25, 3):
        shapes.append(_text(x(hour), _HEIGHT - _BOTTOM + 18, f"{hour:02d}:00", "#444444", anchor="middle"))
    shapes.append(_text(_LEFT, 28, title, "#111111", size=16))
    return str(svg.SVG(width=_WIDTH, height=_HEIGHT, viewBox=svg.ViewBoxSpec(0, 0, _WIDTH, _HEIGHT), elements=shapes))


def _top(blocks: Sequence[Block], contract_kva: float) -> int:
    """Where the scale ends: the next 50 kVA above everything."""
    return 50 * (int(max([contract_kva, *(b.s_kva for b in blocks)]) // 50) + 1)


def _text(x: float, y: float, words: str, color: str, *, anchor: str = "start", size: int = 12) -> svg.Text:
    return svg.Text(
        x=x, y=y, text=words, fill=color, font_size=size, font_family="sans-serif",
        text_anchor=anchor,  # type: ignore[arg-type]
    )  # fmt: skip
